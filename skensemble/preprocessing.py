"""Tables of numbers, categories and dates, made ready for networks."""

import numbers
from collections import Counter
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skensemble._compat.sklearn import Interval, check_feature_names_in, fit_context
from skensemble._numeric.columns import CATEGORY, DATE, EMPTY, NUMBER, column_of, kind_of, values_of
from skensemble._numeric.lazy_rows import refuse_lazy_frame
from skensemble._typing import MatrixLike

__all__ = ["TableEncoder"]


class TableEncoder(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):
    """Make a table of numbers, categories, booleans, dates and missing values ready for networks.

    The kind of a column follows from its type or, where that is object, from its values:

    - Numbers, booleans (0 and 1), durations and dates (in days) are scaled to mean 0 and variance 1. Missing values
      become the median, with an extra column that marks where they were.
    - Columns of categories (strings, and categorical columns) with few different values become a column of 0 and 1 for
      each of them. Those with more become whole numbers, which networks embed: `KerasClassifier` and `KerasRegressor`
      without `model` do so, and functions that build models find the numbers of categories in `meta["n_categories_"]`.
      Missing values are a category like any other.

    The work is done by scikit-learn's `SimpleImputer`, `StandardScaler`, `OneHotEncoder` and `OrdinalEncoder`.

    Parameters
    ----------
    max_one_hot : int or None, default=10
        Columns of categories with at most this many different values, apart from rare ones, become columns of 0 and 1,
        and others whole numbers. None: all become columns of 0 and 1, for estimators that take all columns as numbers.
    min_frequency : int, default=2
        A category with fewer rows is treated as one that `fit` did not see, and a column with no other categories is
        left out.
    max_categories : int or None, default=1000
        The largest number of categories that are kept per column, the most frequent ones; rarer ones are treated as not
        seen.

    Attributes
    ----------
    kinds_ : list of str
        What each column of X holds: "numbers", "dates", "categories", or "no values", which are left out.
    n_categories_ : dict of str to int
        The number of categories of each column of the output that holds whole numbers, by its name. The number 0 means
        categories that `fit` did not see, or that are rare.
    numbers_ : Pipeline or None
        Imputes and scales numbers and dates.
    one_hot_ : OneHotEncoder or None
        Encodes categories of few values.
    codes_ : OrdinalEncoder or None
        Encodes the other categories. Its numbers are one less than those of the output.
    n_features_in_ : int
        Number of columns of X.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame.

    See Also
    --------
    EmbedCategories : The Keras layer that takes the output, for networks of your own.

    Notes
    -----
    The output is a pandas DataFrame where pandas is installed. Columns of whole numbers have a categorical type with
    the categories 0, 1, ..., n - 1, whatever the rows are. scikit-learn's
    `HistGradientBoostingClassifier(categorical_features="from_dtype")` takes these columns as categories, too.

    Examples
    --------
    >>> import pandas as pd
    >>> from skensemble.preprocessing import TableEncoder
    >>> X = pd.DataFrame({"size": [1.0, None, 3.0, 5.0], "colour": ["red", "blue", "red", "blue"]})
    >>> TableEncoder().fit_transform(X).columns.tolist()
    ['size', 'missingindicator_size', 'colour_blue', 'colour_red']
    >>> TableEncoder(max_one_hot=1).fit(X).n_categories_  # red, blue, and others
    {'colour': 3}
    """

    _parameter_constraints = {
        "max_one_hot": [Interval(numbers.Integral, 0, None, closed="left"), None],
        "min_frequency": [Interval(numbers.Integral, 1, None, closed="left")],
        "max_categories": [Interval(numbers.Integral, 2, None, closed="left"), None],
    }

    def __init__(self, max_one_hot=10, *, min_frequency=2, max_categories=1000):
        self.max_one_hot = max_one_hot
        self.min_frequency = min_frequency
        self.max_categories = max_categories

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: MatrixLike, y: ArrayLike | None = None) -> Self:
        """Learn the kinds of the columns, their scales and categories.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
        y : array-like, default=None
            Not used.

        Returns
        -------
        TableEncoder
            Itself, fitted.

        Raises
        ------
        TypeError
            Where a column holds values of several kinds, or of an unknown kind.
        ValueError
            Where no column can be used.

        Warns
        -----
        UserWarning
            From the transformers of scikit-learn.
        """
        columns = self._read(X, reset=True)
        counts = [Counter(values) if values.dtype == object else Counter() for values in columns]
        self.kinds_ = list(map(self._useful_kind, columns, counts, self._names()))
        self._places = {"numbers": [i for i, kind in enumerate(self.kinds_) if kind in (NUMBER, DATE)]}
        categories = [i for i, kind in enumerate(self.kinds_) if kind == CATEGORY]
        self._places["one_hot"] = [i for i in categories if self._is_small(counts[i])]
        self._places["codes"] = [i for i in categories if not self._is_small(counts[i])]
        if not any(self._places.values()):
            raise ValueError(
                "X must have a column that tells rows apart: none of its columns holds numbers, dates, or a category "
                f"with min_frequency={self.min_frequency} rows."
            )
        self._fit_parts(columns)
        return self

    def _useful_kind(self, values, counts, name):
        """Kind of a column; a kind of its own for columns that carry no information."""
        kind = kind_of(values, name)
        return EMPTY if kind == CATEGORY and max(counts.values()) < self.min_frequency else kind

    def _is_small(self, counts):
        n_frequent = sum(count >= self.min_frequency for count in counts.values())
        return self.max_one_hot is None or n_frequent <= self.max_one_hot

    def _fit_parts(self, columns):
        """Fit the transformers for each kind of columns."""
        frequent = {"min_frequency": self.min_frequency, "max_categories": self.max_categories}
        parts = {
            "numbers": make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
            "one_hot": OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False, **frequent),
            "codes": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, **frequent),
        }
        for name, part in parts.items():
            part.set_output(transform="default")
            setattr(self, f"{name}_", part.fit(self._block(columns, name)) if self._places[name] else None)
        names = self._names()
        self.n_categories_ = {names[place]: self._count_known(i) for i, place in enumerate(self._places["codes"])}

    def _count_known(self, i):
        """Number of categories of a column of codes, including the one for unknown categories."""
        infrequent = self.codes_.infrequent_categories_[i]
        return 1 + len(self.codes_.categories_[i]) - (0 if infrequent is None else len(infrequent))

    def transform(self, X: MatrixLike) -> Any:
        """Turn a table into numbers.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_features)
            With the columns of `fit`, in their order.

        Returns
        -------
        DataFrame or ndarray of shape (n_samples, n_columns)
            An ndarray only where pandas is not installed, and no column holds whole numbers for categories.

        Raises
        ------
        TypeError
            Where a column holds values of another kind than in `fit`.
        """
        check_is_fitted(self)
        columns = self._read(X, reset=False)
        for values, kind, name in zip(columns, self.kinds_, self._names(), strict=True):
            found = kind_of(values, name)
            if kind != found and EMPTY not in (kind, found):
                raise TypeError(f"The column {name!r} must hold {kind}, as in fit: got {found}.")
        blocks = [np.empty((len(columns[0]), 0))]
        blocks += [
            getattr(self, f"{name}_").transform(self._block(columns, name))
            for name in ("numbers", "one_hot")
            if self._places[name]
        ]
        codes = self._codes(columns) if self._places["codes"] else None
        return self._as_table(np.hstack(blocks), codes, getattr(X, "index", None) if hasattr(X, "iloc") else None)

    def _codes(self, columns):
        """Codes of categories, of which 0 means those that were not seen, and rare ones."""
        codes = self.codes_.transform(self._block(columns, "codes")).astype(int) + 1
        is_rare = codes >= list(self.n_categories_.values())  # scikit-learn's last code stands for all of them
        return np.where(is_rare, 0, codes)

    def _as_table(self, floats, codes, index):
        try:
            import pandas as pd
        except ImportError as error:
            if codes is None:
                return floats
            raise ImportError(
                "Columns of categories need pandas, whose types tell networks which columns these are: install pandas, "
                "or set max_one_hot=None, which turns all categories into columns of 0 and 1."
            ) from error
        names = self.get_feature_names_out()
        table = pd.DataFrame(floats, columns=names[: floats.shape[1]], index=index)
        if codes is None:
            return table
        coded = {
            name: pd.Categorical.from_codes(codes[:, i], categories=range(n))
            for i, (name, n) in enumerate(self.n_categories_.items())
        }
        return pd.concat([table, pd.DataFrame(coded, index=table.index)], axis=1)

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns of the output.

        Parameters
        ----------
        input_features : array-like of str of shape (n_features_in_,), default=None
            Names of the columns of X, where it was not a DataFrame; None means x0, x1, ...

        Returns
        -------
        ndarray of str
            Numbers and where they were missing, columns of 0 and 1, and whole numbers.
        """
        check_is_fitted(self)
        names = check_feature_names_in(self, input_features)
        floats = [
            getattr(self, f"{name}_").get_feature_names_out(names[self._places[name]])
            for name in ("numbers", "one_hot")
            if self._places[name]
        ]
        return np.concatenate([*floats, names[self._places["codes"]]]).astype(object)

    def set_output(self, *, transform: str | None = None) -> Self:
        """Set the type of the output, as for scikit-learn's transformers; it is a pandas DataFrame in any case.

        Parameters
        ----------
        transform : {"default", "pandas"}, default=None
            Both mean a pandas DataFrame, whose types say which columns are categories.

        Returns
        -------
        TableEncoder
            Itself.
        """
        if transform not in (None, "default", "pandas"):
            raise ValueError(
                "TableEncoder returns a pandas DataFrame, whose types tell networks which columns hold categories: got "
                f"transform={transform!r}. Use 'default' or 'pandas'."
            )
        return self

    def _names(self):
        return check_feature_names_in(self, None).tolist()

    def _block(self, columns, name):
        """The columns for one transformer, side by side."""
        dtype, missing = (float, np.nan) if name == "numbers" else (object, None)
        block = np.full((len(columns[0]), len(self._places[name])), missing, dtype)
        for k, i in enumerate(self._places[name]):
            if columns[i].dtype == dtype:  # otherwise it has no values
                block[:, k] = columns[i]
        return block

    def _read(self, X, *, reset):
        """Columns of X, each an array of floats, of dates as days, or of objects."""
        refuse_lazy_frame(X)
        if not hasattr(X, "iloc") and not hasattr(X, "get_column"):  # neither pandas nor polars
            X = check_array(X, dtype=None, ensure_all_finite="allow-nan", estimator=self, input_name="X")
        elif min(X.shape) < 1:
            raise ValueError(f"X must have rows and columns: got a table of the shape {X.shape}.")
        validate_data(self, X, reset=reset, skip_check_array=True)
        names = self._names()
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:  # which scikit-learn refuses since version 1.9
            raise ValueError(f"The columns of X must have names of their own: {twice[0]!r} is that of several.")
        return [values_of(column_of(X, i), name) for i, name in enumerate(names)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags
