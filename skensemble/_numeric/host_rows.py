"""Rows of X that are on the host but not yet an array: some at a time become an array when they are needed."""

import abc
import math

import numpy as np

#: An X that takes no more bytes than this is made an array at once.
DENSE_BYTES = 64 * 2**20
#: Of a larger X, rows of about this many bytes become an array at a time, where nothing else says how many.
BYTES_AT_ONCE = 32 * 2**20


class HostRows(abc.ABC):
    """Used like an array on the host, whose rows become an ndarray only when they are read.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Attributes
    ----------
    nbytes : int
        What all rows would take as an array.
    """

    def __init__(self, shape, dtype):
        self.shape, self.dtype = tuple(map(int, shape)), np.dtype(dtype)
        self.ndim, self.nbytes = len(self.shape), math.prod(self.shape) * self.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    @abc.abstractmethod
    def __getitem__(self, rows):
        """Array of some rows, which are a slice or an array of indices."""

    @abc.abstractmethod
    def take(self, rows):
        """Some rows, of the same kind."""

    @abc.abstractmethod
    def whole(self):
        """All rows, for code that does not take `HostRows`."""


def row_bytes(X):
    """Bytes that a row of an array or of `HostRows` takes."""
    return math.prod(X.shape[1:]) * X.dtype.itemsize


def rows_at_once(X, n_rows):
    """How many rows of `HostRows` to make an array at a time, at most `n_rows`; `n_rows` if X is already an array."""
    return min(n_rows, _rows_of_chunk(X)) if isinstance(X, HostRows) else n_rows


def chunks_of(X):
    """The rows of an array or of `HostRows` in their order, some at a time, as arrays."""
    n_rows = _rows_of_chunk(X)
    return (X[start : start + n_rows] for start in range(0, len(X), n_rows))


def _rows_of_chunk(X):
    return max(1, BYTES_AT_ONCE // max(1, row_bytes(X)))


def without_rows(X):
    """All rows of `HostRows` as a sparse matrix or an array, for other code; arrays stay as they are."""
    return X.whole() if isinstance(X, HostRows) else X


def take_rows(X, rows):
    """Some rows of an array or of `HostRows`, of the same kind."""
    return X.take(rows) if isinstance(X, HostRows) else X[rows]


def as_rows(X):
    """`X` as an object whose rows can be taken: `HostRows` and arrays as they are, anything else as an array."""
    return X if isinstance(X, HostRows | np.ndarray) else np.asarray(X)
