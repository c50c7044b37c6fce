"""Data of a program: on the device where X is small enough, otherwise on the host."""

from collections.abc import Callable

import keras

from skensemble._engine.all_backends import limits
from skensemble._engine.records import Array, Data
from skensemble._numeric.host_rows import HostRows, as_rows


def load(X: Array, y: Array, sample_weight: Array | None, place: Callable[[Array, int], Array]) -> Data:
    """Data for `Program.run`; see `backend.load_data`.

    Parameters
    ----------
    X, y, sample_weight
        Those of `backend.load_data`, or as they were loaded before.
    place : callable
        Puts an array, along whose axis of this number the rows are, on the device.
    """
    if keras.ops.is_tensor(X):
        return Data(X, y, sample_weight)
    X = as_rows(X)
    parts = [None if part is None else as_floatx(part) for part in (X, y, sample_weight)]
    if is_small(X):
        rows_axes = 0, 0, -1  # weights may be of each member
        parts = [None if part is None else place(part, axis) for part, axis in zip(parts, rows_axes, strict=True)]
    return Data(*parts)


def is_small(X: Array) -> bool:
    """Whether X is kept on the device."""
    return X.nbytes <= limits.RESIDENT_BYTES and not isinstance(X, HostRows)


def is_on_host(data: Data) -> bool:
    """Whether X was too large for the device."""
    return not keras.ops.is_tensor(data.X)


def as_floatx(array: Array) -> Array:
    """Floats become Keras' floatx, as in `Model.fit`; a memory map is converted when its rows are gathered."""
    array = as_rows(array)
    return array.astype(keras.config.floatx(), copy=False) if array.dtype.kind == "f" and is_small(array) else array
