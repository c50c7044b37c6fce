"""X in two forms: as the user gave it, for members that are not networks, and as numbers, for networks."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils import check_array

from skensemble._compat.sklearn import safe_indexing
from skensemble._numeric.host_rows import HostRows, chunks_of, take_rows, without_rows
from skensemble._numeric.lazy_rows import LazyRows, is_lazily_indexed, read, read_or_rows, refuse_lazy_frame

# Sparse formats whose rows can be taken.
_INDEXED_FORMATS = ("csr", "csc", "lil")
# Booleans, integers and floats.
_KINDS_OF_NUMBERS = "biuf"
# Dates and durations.
_KINDS_OF_TIMES = ("m", "M")


class Columns(NamedTuple):
    """What the columns of a table are, for builders of networks, which see arrays.

    Attributes
    ----------
    names : ndarray of str of shape (n_features,), default=None
        None where they have none.
    n_categories : tuple of int, default=None
        How many categories each column has, 0 for numbers; None where all hold numbers.
    """

    names: np.ndarray | None = None
    n_categories: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Inputs:
    """X of a fit or of a prediction.

    Attributes
    ----------
    given : array-like, DataFrame, sparse matrix or list of n_samples
        X as the user gave it, or the `LazyRows` of it; None where no member takes it.
    floats : ndarray or HostRows of shape (n_samples, ...)
        X in Keras' float type; None where there is no network to take it.
    names : ndarray of str of shape (n_features,)
        Names of the columns; None where X has none.
    n_categories : tuple of int
        As returned by `count_categories`.
    """

    given: Any
    floats: np.ndarray | HostRows | None = None
    names: np.ndarray | None = None
    n_categories: tuple[int, ...] | None = None

    def __len__(self) -> int:
        X = self.given if self.floats is None else self.floats
        return X.shape[0] if hasattr(X, "shape") else len(X)

    @property
    def columns(self) -> Columns:
        """What the columns are."""
        return Columns(self.names, self.n_categories)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one row; () for a text."""
        X = self.given if self.floats is None else self.floats
        return tuple(X.shape[1:]) if hasattr(X, "shape") else np.shape(X[0])

    def take(self, rows: Any) -> "Inputs":
        """Some rows, in both forms; the same object where these are all rows in their order."""
        if np.array_equal(rows, np.arange(len(self))):
            return self
        given = None if self.given is None else _take_given(self.given, rows)
        if self.floats is None or self.floats is self.given:
            return dataclasses.replace(self, given=given, floats=None if self.floats is None else given)
        return dataclasses.replace(self, given=given, floats=take_rows(self.floats, rows))

    def forms(self, *, given: bool, floats: bool) -> "Inputs":
        """The same without the form that is not needed, so that it is not sent to other processes."""
        return dataclasses.replace(self, given=self.given if given else None, floats=self.floats if floats else None)


class TrainingData(NamedTuple):
    """What members are trained on.

    Attributes
    ----------
    X : Inputs
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The user's labels or targets.
    sample_weight : ndarray of shape (n_samples,), default=None
    """

    X: Inputs
    y: np.ndarray
    sample_weight: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> "TrainingData":
        """Some rows."""
        weights = None if self.sample_weight is None else self.sample_weight[rows]
        return TrainingData(self.X.take(rows), self.y[rows], weights)


def as_inputs(X: Any) -> Inputs:
    """`Inputs` as they are; an array is both forms."""
    return X if isinstance(X, Inputs) else Inputs(X, X)


def _take_given(X: Any, rows: Any) -> Any:
    return X.take(rows) if isinstance(X, LazyRows) else safe_indexing(X, rows)


def as_given(X: Any) -> Any:
    """X as the user gave it, in a form whose rows can be counted and taken."""
    if issparse(X):
        return X if X.format in _INDEXED_FORMATS else X.tocsr()
    return X if hasattr(X, "shape") or hasattr(X, "__len__") else np.asarray(X)


def lazily_or_read(X: Any, name: BaseEstimator | str, *, networks_only: bool) -> Any:
    """`LazyRows` of a large HDF5, Zarr or similar array, all of a small one as an array; others as they are.

    Parameters
    ----------
    X : object
    name : estimator or str
        Name in messages of what is given X.
    networks_only : bool
        Whether everything that takes X is a network: others need all of it.

    Raises
    ------
    TypeError, ValueError
        Where values are not numbers, or are missing or infinite. To find these, all rows are read once, some at a time,
        unless scikit-learn is told to assume that they are finite.
    """
    if not is_lazily_indexed(X):
        return without_rows(X) if isinstance(X, LazyRows) and not networks_only else X
    X = read_or_rows(X, keras.config.floatx()) if networks_only else read(X)
    if isinstance(X, LazyRows):
        _check_numbers(X, name)
    return X


def _check_numbers(X: LazyRows, name: BaseEstimator | str) -> None:
    dtype = np.asarray(X.array[:1]).dtype
    if dtype.kind not in _KINDS_OF_NUMBERS:
        raise TypeError(f"Networks take X as numbers: got an array of type {dtype}. Convert it to numbers.")
    if get_config()["assume_finite"]:
        return
    for chunk in chunks_of(X):
        check_array(chunk, dtype=X.dtype, allow_nd=True, input_name="X", estimator=name)


def count_categories(X: Any) -> tuple[int, ...] | None:
    """How many categories each column of a pandas DataFrame has by its type, 0 for numbers; None where none has any.

    Raises
    ------
    ValueError
        Where categories are not the numbers 0, 1, 2, ..., which networks take.
    """
    if not hasattr(X, "iloc") or not hasattr(X, "columns"):
        return None
    categories = [getattr(dtype, "categories", None) for dtype in X.dtypes]
    for name, of_column in zip(X.columns, categories, strict=True):
        if of_column is not None and not np.array_equal(of_column, np.arange(len(of_column))):
            raise ValueError(
                f"Networks take categories as the numbers 0, 1, 2, ...: the column {name!r} has the categories "
                f"{shortened(list(of_column))}. {_TABLE_ENCODER}"
            )
    if all(of_column is None for of_column in categories):
        return None
    return tuple(0 if of_column is None else len(of_column) for of_column in categories)


def shortened(values: list) -> str:
    """The first values of a list, for messages."""
    most = 10
    return f"[{', '.join(map(repr, values[:most]))}{', ...' if len(values) > most else ''}]"


def refuse_other_types(X: Any) -> None:
    """Raise where NumPy would silently turn something else in a table or an array into numbers.

    Raises
    ------
    TypeError
        With the column. Texts that are not numbers are refused elsewhere, pandas categories by `count_categories`.
    """
    for name, dtype in _types_of(X):
        if getattr(dtype, "kind", None) in _KINDS_OF_TIMES or _is_time_or_category_of_polars(dtype):
            where = "X holds" if name is None else f"the column {name!r} holds"
            raise TypeError(f"Networks take X as numbers: {where} the type {dtype}. {_TABLE_ENCODER}")


def _types_of(X: Any) -> list[tuple[Any, Any]]:
    """The columns of a table and their types; for an array one type, without a column."""
    if hasattr(X, "get_column"):  # polars
        return list(X.schema.items())
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        return list(zip(X.columns, X.dtypes, strict=True))
    return [(None, getattr(X, "dtype", None))]


def _is_time_or_category_of_polars(dtype: Any) -> bool:
    is_time = hasattr(dtype, "is_temporal") and dtype.is_temporal()
    return is_time or (type(dtype).__module__.startswith("polars") and type(dtype).__name__ in ("Categorical", "Enum"))


_TABLE_ENCODER = (
    "Put what makes numbers of X before it, in a Pipeline that ends in it: for a DataFrame, "
    "skensemble.preprocessing.TableEncoder()."
)


# As NumPy says of texts, and of dates and other objects.
_NO_NUMBERS = ("could not convert", "float() argument must be")


@contextmanager
def texts_refused(name: str) -> Iterator[None]:
    """Raise a clear error where X holds texts, or dates as objects; `name` is the name of the network in messages."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if not any(words in str(error) for words in _NO_NUMBERS):
            raise
        raise type(error)(f"{name} takes X as numbers: {error}. {_TABLE_ENCODER}") from error


def refuse_streams(X: Any) -> None:
    """Raise where X yields its rows one by one, or only later: rows are shuffled, drawn and split by number."""
    refuse_lazy_frame(X)
    tensorflow = sys.modules.get("tensorflow")  # who has a Dataset has imported it
    if isinstance(X, keras.utils.PyDataset | Iterator) or (
        tensorflow is not None and isinstance(X, tensorflow.data.Dataset)
    ):
        raise TypeError(
            f"X must be an array, whose rows can be read in any order: got {type(X).__name__}. Give X and y as arrays; "
            "where X is larger than the memory, as a memory map (`numpy.load(path, mmap_mode='r')`) or an array of "
            'HDF5 or Zarr: the guide, under "Data", shows how to write a Dataset or a folder of images into one.'
        )
