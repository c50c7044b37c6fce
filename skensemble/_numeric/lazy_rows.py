"""Arrays that are read when they are indexed, such as those of HDF5 and Zarr: a large one is never read as a whole."""

import numpy as np
from scipy.sparse import issparse

from skensemble._numeric import host_rows
from skensemble._numeric.host_rows import HostRows, row_bytes

# Reading a slice with up to this many times the rows that are needed takes less time than reading them by number.
_ROWS_FOR_ONE = 8
# The time that h5py 3 takes to read rows by number grows with the square of their number.
_INDICES_AT_ONCE = 1000
_OF_ARRAYS = ("shape", "dtype", "ndim", "__getitem__")
# Attributes of what has its values in memory: tensors and arrays of other packages; tables.
_IN_MEMORY = ("__dlpack__", "__array_namespace__", "numpy", "iloc")


class LazyRows(HostRows):
    """Rows of an array that is read when it is indexed, cast to one type.

    Rows are read in ascending order, each once, as HDF5 requires, and put into the order that was asked for. Rows that
    are close together are read with what is between them, others by number.

    Parameters
    ----------
    array : object with `shape` and `__getitem__`
        An object that takes slices and ascending arrays of indices, and returns what NumPy can convert to an array.
    dtype : dtype
    indices : ndarray of int of shape (n_rows,), default=None
        Which rows of `array` these are; None means all of them.
    """

    def __init__(self, array, dtype, indices=None):
        self.array, self.indices = array, indices
        n_rows = array.shape[0] if indices is None else len(indices)
        super().__init__((n_rows, *array.shape[1:]), dtype)

    def __getitem__(self, rows):
        """Array of some rows, which are a slice, a mask or an array of indices."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        rows = self._of_array(rows)
        ascending, places = np.unique(rows, return_inverse=True)
        values = self._read(ascending).astype(self.dtype, copy=False)
        return values if np.array_equal(ascending, rows) else values[places]

    def __array__(self, dtype=None, copy=None):
        """All rows, read into memory."""
        return self.whole() if dtype is None else self.whole().astype(dtype, copy=False)

    def take(self, rows):
        """`LazyRows` of some rows: nothing is read."""
        return LazyRows(self.array, self.dtype, self._of_array(rows))

    def whole(self):
        """All rows, read into memory."""
        return self[:]

    def _of_array(self, rows):
        """The numbers in the array of some of these rows."""
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype.kind == "b" else np.where(rows < 0, rows + len(self), rows)
        rows = rows.astype(np.intp)
        return rows if self.indices is None else self.indices[rows]

    def _read(self, ascending):
        """Array of rows whose numbers are in ascending order."""
        n_rows = len(ascending)
        if not n_rows:
            return np.empty((0, *self.shape[1:]), self.dtype)
        first, end = int(ascending[0]), int(ascending[-1]) + 1
        if end - first == n_rows:
            return np.asarray(self.array[first:end])
        if end - first <= _ROWS_FOR_ONE * n_rows and (end - first) * row_bytes(self) <= host_rows.BYTES_AT_ONCE:
            return np.asarray(self.array[first:end])[ascending - first]
        if n_rows <= _INDICES_AT_ONCE:
            return np.asarray(self.array[ascending])
        starts = range(0, n_rows, _INDICES_AT_ONCE)
        return np.concatenate([self._read(ascending[start : start + _INDICES_AT_ONCE]) for start in starts])


def is_lazily_indexed(X):
    """Whether `X` is an array of at least two dimensions whose values are not in memory, as far as can be seen."""
    if isinstance(X, np.ndarray | np.generic | HostRows) or issparse(X):
        return False
    if not all(hasattr(X, name) for name in _OF_ARRAYS) or any(hasattr(X, name) for name in _IN_MEMORY):
        return False
    return len(X.shape) > 1 and X.shape[0] > 0


def refuse_lazy_frame(X):
    """Raise where `X` is a polars table that has not been computed yet."""
    if hasattr(X, "collect_schema") and not hasattr(X, "shape"):
        raise TypeError(f"X must be a table in memory: got {type(X).__name__}. Give X.collect().")


def read(X):
    """All of an array that `is_lazily_indexed`."""
    return np.asarray(X[: X.shape[0]])


def read_or_rows(X, dtype):
    """An array that `is_lazily_indexed` as an ndarray, or `LazyRows` of it where that would be large."""
    rows = LazyRows(X, dtype)
    return rows if rows.nbytes > host_rows.DENSE_BYTES else read(X)


def placeholder(X):
    """Zeros with the shape and type of `LazyRows`, for code that needs only these; takes no memory."""
    return np.broadcast_to(np.zeros((1,) * X.ndim, X.dtype), X.shape)
