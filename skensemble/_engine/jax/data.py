"""Data of the fused program, and the rows of its steps: on the devices, or on the host where they are too large."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from skensemble._engine.all_backends.batches import Batches, bucket
from skensemble._engine.all_backends.data import as_floatx, is_on_host, load
from skensemble._engine.jax import cost_model
from skensemble._engine.records import Array, Data


def load_data(X: Array, y: Array, sample_weight: Array | None = None) -> Data:
    """Data for `Program.run`, on each device where X is small enough; see `_engine/backend.py`.

    A program is compiled for a number of rows: padding rows, which are never read, make this one of few numbers.
    """

    def place(part: np.ndarray, rows_axis: int) -> jax.Array:
        padding = [(0, 0)] * part.ndim
        padding[rows_axis] = (0, bucket(part.shape[rows_axis]) - part.shape[rows_axis])
        devices = Mesh(np.array(cost_model.local_devices()), ("members",))
        return jax.device_put(np.pad(part, padding), NamedSharding(devices, PartitionSpec()))

    return load(X, y, sample_weight, place)


def gather(data: Data, rows: Array) -> tuple[Array, ...]:
    """The batches of all members: parts (X, y[, sample_weight]) of shape (n_members, n, ...).

    Data on the host are gathered there, and `rows` are an ndarray then.
    """
    if is_on_host(data):
        batch = [as_floatx(part[rows.ravel()]).reshape(*rows.shape, *part.shape[1:]) for part in data[:2]]
    else:
        batch = [data.X[rows], data.y[rows]]
    weights = data.sample_weight
    if weights is not None:
        take = np if is_on_host(data) else jnp
        batch.append(weights[rows] if weights.ndim == 1 else take.take_along_axis(weights, rows, 1))
    return tuple(batch)


jax.tree_util.register_dataclass(
    Batches,
    data_fields=["data", "order", "n_whole", "has_step", "rates"],
    meta_fields=["batch_size", "partial_sizes"],
)
