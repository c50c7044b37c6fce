"""Sparse X for networks: rows become dense when they are needed, a large X is never dense as a whole."""

import numpy as np
from scipy.sparse import csr_matrix, issparse

#: A sparse X that takes no more bytes than this as a dense array is made dense once.
DENSE_BYTES = 64 * 2**20
# Rows of a larger one that are predicted at once take about as many as this.
_PREDICTION_BYTES = 32 * 2**20


class SparseRows:
    """Sparse matrix that gives its rows as dense arrays; stands for an array of two dimensions on the host.

    Parameters
    ----------
    matrix : sparse matrix of shape (n_rows, n_columns)

    Attributes
    ----------
    matrix : csr_matrix
        scikeras 0.13 knows sparse matrices, not sparse arrays.
    nbytes : int
        What all rows would take as a dense array.
    """

    ndim = 2

    def __init__(self, matrix):
        self.matrix = csr_matrix(matrix)
        self.shape, self.dtype = self.matrix.shape, self.matrix.dtype
        self.nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        """Dense array of some rows, which are a slice or an array of indices."""
        return self.matrix[rows].toarray()

    def take(self, rows):
        """`SparseRows` of some rows."""
        return SparseRows(self.matrix[rows])


def dense_or_rows(X):
    """`X` as a dense array, or `SparseRows` of it where that array would be large; arrays stay as they are."""
    if not issparse(X):
        return X
    rows = SparseRows(X)
    return rows if rows.nbytes > DENSE_BYTES else rows.matrix.toarray()


def rows_at_once(X, n_rows):
    """How many rows to make dense at once for a prediction; `n_rows` where X is dense already."""
    return max(1, min(n_rows, _PREDICTION_BYTES // X[:1].nbytes)) if isinstance(X, SparseRows) else n_rows


def with_rows(X):
    """`X` with `SparseRows` around it where it is sparse; arrays stay as they are."""
    return SparseRows(X) if issparse(X) else X


def without_rows(X):
    """The sparse matrix in `SparseRows`; arrays stay as they are."""
    return X.matrix if isinstance(X, SparseRows) else X


def take_rows(X, rows):
    """Some rows of an array or of `SparseRows`, of the same kind."""
    return X.take(rows) if isinstance(X, SparseRows) else X[rows]


def as_rows(X):
    """`X` as an object whose rows can be taken: `SparseRows` and arrays as they are, else an array."""
    return X if isinstance(X, SparseRows | np.ndarray) else np.asarray(X)
