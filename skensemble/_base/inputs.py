"""How X, y and the weights of rows become what members take: checked, and in the right forms."""

import keras
import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d, validate_data

from skensemble._compat.sklearn import check_sample_weight
from skensemble._members.inputs import (
    Inputs,
    as_given,
    count_categories,
    lazily_or_read,
    refuse_other_types,
    refuse_streams,
    texts_refused,
)
from skensemble._members.member_checks import check_restored
from skensemble._members.targets import check_indicators
from skensemble._numeric.lazy_rows import LazyRows
from skensemble._numeric.sparse_rows import dense_or_rows


class InputsMixin:
    """Checks the data of `fit` and of predictions; comes left of the base of all ensembles."""

    def _validate_fit_data(self, X, y, sample_weight, classes=None):
        """`Inputs`, target and weights of a first fit, checked; learns the labels of y, or those that are given."""
        check_restored(self)
        refuse_streams(X)
        y = validate_data(self, y=y, multi_output=True, y_numeric=is_regressor(self))
        X = self._validate_inputs(X, reset=True)
        check_consistent_length(X, y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._row_shape = X.row_shape
        sample_weight = _checked_weights(sample_weight, y)
        if sample_weight is not None and not sample_weight.any():
            raise ValueError("`sample_weight` must not be 0 for every row: there would be nothing to train on.")
        if is_classifier(self):
            self._validate_classes(y if classes is None or y.ndim > 1 else np.unique(classes))
            if classes is not None:
                self._check_labels(y)
        return X, y, sample_weight

    def _validate_more_data(self, X, y, sample_weight):
        """`Inputs`, target and weights of rows that are given after the first fit, checked."""
        X, y = self._validate_X(X), _checked_target(self, y)
        check_consistent_length(X, y)
        return X, y, _checked_weights(sample_weight, y)

    def _validate_X(self, X):
        """`Inputs` of a prediction, checked."""
        refuse_streams(X)
        X = self._validate_inputs(X, reset=False)
        if X.row_shape != self._row_shape:
            raise ValueError(
                f"X must have rows shaped as in fit: got rows of shape {X.row_shape}, {type(self).__name__} was fitted "
                f"on rows of shape {self._row_shape}."
            )
        return X

    def _validate_inputs(self, X, *, reset):
        """`Inputs`; X as numbers is made and checked only where there is a network."""
        network, networks_only = self._find_network(fitted=not reset)
        X = lazily_or_read(X, network or type(self).__name__, networks_only=networks_only)
        given = as_given(X)
        if network is None or isinstance(given, LazyRows):
            validate_data(self, given, skip_check_array=True, reset=reset)
            floats = given if isinstance(given, LazyRows) else None
            return Inputs(given, floats, getattr(self, "feature_names_in_", None))
        refuse_other_types(given)
        own = {} if network == "" else {"estimator": network}
        with texts_refused(network or type(self).__name__):
            floats = validate_data(
                self, given, dtype=keras.config.floatx(), allow_nd=True, accept_sparse="csr", reset=reset, **own
            )
        names = getattr(self, "feature_names_in_", None)
        return Inputs(given, dense_or_rows(floats), names, count_categories(given))

    def _find_network(self, *, fitted):
        """Name in messages of the first network that takes X as numbers, and whether only networks take X.

        Networks can read rows when they need them. The name is "" for the ensemble itself, None where there is no
        network.

        Parameters
        ----------
        fitted : bool
            Whether to look at the fitted members, not at the parameters.
        """
        return "", True


def _checked_weights(sample_weight, y):
    if sample_weight is None:
        return None
    return check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)


def _checked_target(ensemble, y):
    """Labels or targets of new rows, which must be those that `fit` could have seen."""
    classes, of_numbers = ensemble._member_classes(), is_regressor(ensemble)
    y = check_array(y, ensure_2d=False, dtype="numeric" if of_numbers else None, input_name="y")
    if classes is None:
        if not of_numbers:
            check_indicators(y, len(ensemble.classes_))
        return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    y = column_or_1d(y, warn=True)
    if not np.isin(y, classes).all():
        raise ValueError(f"`y` must have the labels of fit: got {np.setdiff1d(y, classes).tolist()}, which are not.")
    return y
