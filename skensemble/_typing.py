"""Types in public signatures."""

from numpy.typing import ArrayLike
from scipy.sparse import sparray, spmatrix

#: Rows of features: arrays of two or more dimensions, tables, sparse matrices.
MatrixLike = ArrayLike | spmatrix | sparray
