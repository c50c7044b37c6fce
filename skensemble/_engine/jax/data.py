"""Data of the fused program, and the rows of its steps: on the devices, or on the host where they are too large."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from skensemble._engine.jax import estimates
from skensemble._engine.program import limits
from skensemble._engine.program.batches import Batches, bucket
from skensemble._engine.records import Array, Data
from skensemble._numeric.host_rows import HostRows, as_rows


def load_data(X: Array, y: Array, sample_weight: Array | None = None) -> Data:
    """Data for `Program.run`, on each device where X is small enough; see `_engine/backend.py`.

    A program is compiled for a number of rows: padding rows, which are never read, make this one of few numbers.
    """
    if isinstance(X, jax.Array):
        return Data(X, y, sample_weight)
    X = as_rows(X)
    parts = [None if part is None else _as_floatx(as_rows(part)) for part in (X, y, sample_weight)]
    if X.nbytes <= limits.RESIDENT_BYTES and not isinstance(X, HostRows):
        n_more, devices = bucket(len(X)) - len(X), Mesh(np.array(estimates.local_devices()), ("members",))
        for i, part in enumerate(parts):
            if part is not None:
                rows_axis = part.ndim - 1 if i > 1 else 0  # weights may be of each member
                padding = [(0, n_more if axis == rows_axis else 0) for axis in range(part.ndim)]
                parts[i] = jax.device_put(np.pad(part, padding), NamedSharding(devices, PartitionSpec()))
    return Data(*parts)


def _as_floatx(array: Array) -> Array:
    """Floats become Keras' floatx, as in `Model.fit`; a memory map is converted when its rows are gathered."""
    if not isinstance(array, HostRows) and array.dtype.kind == "f" and array.nbytes <= limits.RESIDENT_BYTES:
        return array.astype(keras.config.floatx(), copy=False)
    return array


def is_on_host(data: Data) -> bool:
    """Whether X was too large for the devices."""
    return not isinstance(data.X, jax.Array)


def gather(data: Data, rows: Array) -> tuple[Array, ...]:
    """The batches of all members: parts (X, y[, sample_weight]) of shape (n_members, n, ...).

    Data on the host are gathered there, and `rows` are an ndarray then.
    """
    if is_on_host(data):
        batch = [_as_floatx(part[rows.ravel()]).reshape(*rows.shape, *part.shape[1:]) for part in data[:2]]
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
