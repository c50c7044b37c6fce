"""Types in public signatures."""

from numpy.typing import ArrayLike
from scipy.sparse import sparray, spmatrix

#: Rows of features: arrays of two or more dimensions, in memory or read when they are indexed, tables, sparse matrices.
MatrixLike = ArrayLike | spmatrix | sparray
