"""Data of the fused program as tensors, whole or in chunks.

Data stay in memory once, as tensors, where X is small enough; a larger X (a memory map, `HostRows`) stays where it is,
and `chunks` gathers the rows of some steps at a time.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.data import as_floatx, is_on_host, load
from skensemble._engine.records import Array, Data
from skensemble._engine.tensorflow import cost_model
from skensemble._numeric.host_rows import row_bytes


class DataRows(NamedTuple):
    """The rows of data that members visit.

    Attributes
    ----------
    data : tuple of tensor
        (X, y[, sample_weight]), from `present`.
    rows : int tensor of shape ([n_epochs,] n_members, n)
    """

    data: tuple[tf.Tensor, ...]
    rows: tf.Tensor


def load_data(X: Array, y: Array, sample_weight: Array | None = None) -> Data:
    """Data for `Program.run`, as tensors where X is small enough; see `_engine/backend.py`."""
    return load(X, y, sample_weight, lambda part, _: tf.convert_to_tensor(part))


def chunks(data: Data, order: np.ndarray, batch_size: int) -> Iterator[tuple[int, DataRows]]:
    """Yield (first column, rows of some steps) of `order` (n_members, n_columns).

    Data on the host are gathered, at most `cost_model.CHUNK_BYTES`; row orders for data in tensors take at most
    `limits.SEGMENT_BYTES`.
    """
    on_host = is_on_host(data)
    bytes_of_row, limit = cost_model.ROW_ORDER_BYTES, limits.SEGMENT_BYTES
    if on_host:
        bytes_of_row, limit = row_bytes(data.X), cost_model.CHUNK_BYTES
    size = batch_size * max(1, limit // max(1, bytes_of_row * len(order) * batch_size))
    for start in range(0, order.shape[1], size):
        rows = order[:, start : start + size]
        if not on_host:
            yield start, DataRows(present(data), tf.constant(rows, "int32"))
            continue
        parts = []
        for part in present(data):
            part = part.numpy() if tf.is_tensor(part) else part
            taken = (
                part[rows.ravel()]
                if part is data.y or part is data.X or part.ndim == 1
                else np.take_along_axis(part, rows, 1).ravel()
            )
            parts.append(tf.convert_to_tensor(as_floatx(taken)))
        yield start, DataRows(tuple(parts), tf.reshape(tf.range(rows.size), rows.shape))


def padded(array: np.ndarray, n_epochs: int, dtype: str) -> tf.Tensor:
    """`array` with zeros for the epochs that are not run, as a tensor."""
    longer = np.zeros((n_epochs, *array.shape[1:]), dtype)
    longer[: len(array)] = array
    return tf.convert_to_tensor(longer)


def present(data: Data) -> tuple[Array, ...]:
    """The parts of data that are not None: (X, y[, sample_weight])."""
    return tuple(part for part in data if part is not None)


def specs_of(parts: Sequence[Array]) -> tuple[tf.TensorSpec, ...]:
    """Specs of (X, y[, sample_weight]), from `present`, whose number of rows is not part of the program."""
    return tuple(
        tf.TensorSpec(
            (None, *part.shape[1:]) if i < 2 or len(part.shape) == 1 else (part.shape[0], None), _tf_dtype(part)
        )
        for i, part in enumerate(parts)
    )


def _tf_dtype(part: Array) -> tf.DType:
    """The dtype that `part` has in the program."""
    if tf.is_tensor(part):
        return part.dtype
    return tf.as_dtype(keras.config.floatx() if part.dtype.kind == "f" else part.dtype)


def first_rows(data: Data) -> Data:
    """The first row, as tensors, with weight 1."""
    first = tf.convert_to_tensor(data.X[:1]), tf.convert_to_tensor(data.y[:1])
    return Data(*first, None if data.sample_weight is None else tf.ones(1, keras.config.floatx()))


def gather_batches(data: Sequence[tf.Tensor], rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """The batches of all members: parts of shape (n_members, n, ...)."""
    X, y, *weights = data
    batch = [tf.gather(X, rows), tf.gather(y, rows)]
    for w in weights:
        batch.append(tf.gather(w, rows) if w.shape.rank == 1 else tf.gather(w, rows, batch_dims=1))
    return tuple(batch)
