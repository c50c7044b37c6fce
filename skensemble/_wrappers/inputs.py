"""How X and y become what a network takes: checks, rows that are read when they are needed, columns of categories."""

from typing import Any

import keras
import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import is_regressor
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length, column_or_1d, validate_data

from skensemble._compat.scikeras import encodes_features
from skensemble._compat.scikeras_building import column_choice
from skensemble._compat.sklearn import check_feature_names
from skensemble._members.encoders import Unchanged
from skensemble._members.inputs import (
    Columns,
    count_categories,
    lazily_or_read,
    refuse_other_types,
    refuse_streams,
    texts_refused,
)
from skensemble._members.network_inputs import check_whole_numbers
from skensemble._numeric.lazy_rows import LazyRows, placeholder


class InputsMixin:
    """Checks X and y, and learns what their columns are; comes left of scikeras' estimators."""

    @property
    def feature_encoder(self) -> Any:
        """What encodes X; like scikeras' own, it changes nothing."""
        return Unchanged()

    def _validate_data(self, X=None, y=None, reset=False, y_numeric=False):
        if y is not None and _is_column(y):
            y = column_or_1d(y, warn=X is not None)  # in `score` the shape of y does not matter
        if X is not None:
            refuse_streams(X)
            check_feature_names(self, X, reset=reset)  # before NaN, as in scikit-learn
            X = lazily_or_read(X, self, networks_only=not encodes_features(self))
            checked = _as_numbers(X, self)
            validate_data(self, X, reset=reset, skip_check_array=True)
            n_categories = count_categories(X)
            if reset:
                _learn_categories(self, n_categories)
            X = checked
        shaped = placeholder(X) if isinstance(X, LazyRows) else X
        if y is not None and not reset:
            y = self._validate_further_target(X, y)
            checked, _ = super()._validate_data(shaped)
        else:
            checked, y = super()._validate_data(shaped, y, reset=reset, y_numeric=y_numeric)
        X = checked if shaped is X else X
        model = _built_model(self)
        if model is not None and not reset and not encodes_features(self):
            check_whole_numbers(model, X)
        return X, y

    def _validate_further_target(self, X, y):
        """Check y of a score, or of a training that goes on.

        It may be of another type than in `fit`, such as longer texts or floats, which scikeras 0.13 refuses.
        """
        y = check_array(y, ensure_2d=False, dtype="numeric" if is_regressor(self) else None, input_name="y")
        if y.ndim != self.y_ndim_:
            raise ValueError(
                f"`y` must have as many dimensions as in fit, {self.y_ndim_}: got an array of shape {y.shape}."
            )
        if X is not None:
            check_consistent_length(X, y)
        return y

    def _validate_sample_weight(self, X, y, sample_weight):
        if not isinstance(X, LazyRows):
            return super()._validate_sample_weight(X, y, sample_weight)
        rows, y, sample_weight = super()._validate_sample_weight(np.arange(len(X)), y, sample_weight)
        return X.take(rows), y, sample_weight

    def _get_metadata(self):
        # For members that draw columns, the function that builds the network sees no others.
        meta, names = super()._get_metadata(), columns_of(self).names
        meta.setdefault("n_categories_", (0,) * self.n_features_in_)
        if names is not None and column_choice(self) is None:
            meta["feature_names_in_"] = names
        return meta


def columns_of(estimator):
    """What the columns of X are: as the ensemble told its member, which sees an array, otherwise by their names."""
    told = vars(estimator).get("_told_columns", Columns())
    if any(part is not None and len(part) != estimator.n_features_in_ for part in told):
        told = Columns()  # fitted again, on something else
    return told._replace(names=getattr(estimator, "feature_names_in_", told.names))


def _built_model(estimator):
    """The model that is in memory, which may be lent; None without."""
    lent = vars(estimator).get("_lent")
    return vars(estimator).get("model_") if lent is None else lent.model


def _learn_categories(estimator, n_categories):
    """Remember which columns hold categories: by their types, or as the ensemble found from its X."""
    n_categories = columns_of(estimator).n_categories if n_categories is None else n_categories
    vars(estimator).pop("n_categories_", None)
    if n_categories is not None:
        estimator.n_categories_ = n_categories


def _as_numbers(X, estimator):
    """X as a network takes it, checked except for rows that are read later; `estimator` is named in messages."""
    if isinstance(X, LazyRows):
        return X
    if issparse(X):
        # scikeras 0.13 knows sparse matrices, not sparse arrays, and does not look for NaN in them.
        return check_array(csr_matrix(X), accept_sparse=True, dtype=None, input_name="X", estimator=estimator)
    refuse_other_types(X)
    with texts_refused(type(estimator).__name__):
        return check_array(X, dtype=keras.config.floatx(), allow_nd=True, input_name="X", estimator=estimator)


def _is_column(y):
    shape = np.asarray(y).shape  # some array-likes refuse `np.shape`
    return len(shape) == 2 and shape[1] == 1
