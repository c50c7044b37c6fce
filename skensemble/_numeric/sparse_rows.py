"""Sparse X for networks: rows become dense when they are needed, a large X is never dense as a whole."""

from scipy.sparse import csr_matrix, issparse

from skensemble._numeric import host_rows
from skensemble._numeric.host_rows import HostRows


class SparseRows(HostRows):
    """Sparse matrix that returns its rows as dense arrays; used like an array of two dimensions on the host.

    Parameters
    ----------
    matrix : sparse matrix of shape (n_rows, n_columns)

    Attributes
    ----------
    matrix : csr_matrix
        scikeras 0.13 knows sparse matrices, not sparse arrays.
    """

    def __init__(self, matrix):
        self.matrix = csr_matrix(matrix)
        super().__init__(self.matrix.shape, self.matrix.dtype)

    def __getitem__(self, rows):
        """Dense array of some rows, which are a slice or an array of indices."""
        return self.matrix[rows].toarray()

    def take(self, rows):
        """`SparseRows` of some rows."""
        return SparseRows(self.matrix[rows])

    def whole(self):
        """The sparse matrix."""
        return self.matrix


def dense_or_rows(X):
    """`X` as a dense array, or `SparseRows` of it where that array would be large; arrays stay as they are."""
    if not issparse(X):
        return X
    rows = SparseRows(X)
    return rows if rows.nbytes > host_rows.DENSE_BYTES else rows.matrix.toarray()


def with_rows(X):
    """`X` with `SparseRows` around it where it is sparse; others stay as they are."""
    return SparseRows(X) if issparse(X) else X
