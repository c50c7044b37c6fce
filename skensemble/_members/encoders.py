"""What a network sees of X and y; scikeras uses transformers of scikit-learn, which tools such as mlflow watch."""

from typing import Any

import keras
import numpy as np
from scikeras.utils.transformers import ClassifierLabelEncoder, RegressorTargetEncoder
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras import is_categorical_crossentropy, is_one_hot_target
from skensemble._members.checks import check_indicators


class Unchanged(BaseEstimator):
    """Used as an encoder where there is nothing to encode."""

    def fit(self, values: Any) -> Any:
        """Return itself."""
        return self

    def transform(self, values: Any) -> Any:
        """Return the values."""
        return values

    inverse_transform = transform


class _Numbers(BaseEstimator):
    """Labels, one per row, as a column of class numbers."""

    def __init__(self, classes: np.ndarray) -> None:
        self.classes = classes

    def transform(self, y: np.ndarray) -> Any:
        """Column of numbers."""
        return self._indices(y).astype(keras.config.floatx())

    def inverse_transform(self, numbers: Any) -> Any:
        """Labels of a column of numbers."""
        return self.classes[np.asarray(numbers).astype(int)]

    def check(self, y: np.ndarray) -> None:
        """Raise where y has others than the classes."""
        unknown = np.setdiff1d(y, self.classes)
        if unknown.size:
            raise ValueError(f"`y` must hold known classes: got {unknown.tolist()}, known are {self.classes.tolist()}.")

    def _indices(self, y: np.ndarray) -> Any:
        y = np.asarray(y).reshape(-1, 1)
        self.check(y)
        order = np.argsort(self.classes)
        return order[np.searchsorted(self.classes, y, sorter=order)]


class _Indicators(_Numbers):
    """Labels, one per row, as a row of zeros with a one for the class."""

    def transform(self, y: np.ndarray) -> Any:
        """A row of zeros and a one for each label."""
        return np.eye(len(self.classes), dtype=keras.config.floatx())[self._indices(y)[:, 0]]

    def inverse_transform(self, indicators: Any) -> Any:
        """Column of the labels that have the ones."""
        return self.classes[np.asarray(indicators).argmax(axis=1)][:, np.newaxis]


class _IndicatorsOfTwo(_Indicators):
    """`_Indicators` of two classes, for which scikeras returns predictions as numbers."""

    def inverse_transform(self, indicators: Any) -> Any:
        """Labels of a column of numbers."""
        return _Numbers.inverse_transform(self, indicators)


class LabelEncoder(ClassifierLabelEncoder):
    """scikeras' encoder of labels, made of parts that no tool watches.

    Its results are the same, except for two classes with categorical cross-entropy, which scikeras does not make
    one-hot.

    mlflow's autologging takes any fit of a scikit-learn estimator that is not called by another one for the training of
    the user's model. With `transform_output="pandas"`, scikit-learn's encoders would also return tables.
    """

    def fit(self, y: np.ndarray) -> Any:
        """Learn the classes.

        Parameters
        ----------
        y : ndarray of shape (n_samples,) or (n_samples, n_labels)

        Returns
        -------
        LabelEncoder
            Itself.
        """
        target_type = self._type_of_target(y)
        if target_type in ("binary", "multiclass"):
            self.classes_: Any = np.unique(y) if isinstance(self.categories, str) else np.asarray(self.categories[0])
            kind: type = _Numbers
            if is_categorical_crossentropy(self.loss):
                kind = _Indicators if target_type == "multiclass" else _IndicatorsOfTwo
            self._final_encoder = kind(self.classes_)
            self._final_encoder.check(y)
        elif target_type in ("multilabel-indicator", "multiclass-multioutput"):
            self.classes_ = None
            if target_type == "multilabel-indicator":
                check_indicators(y)
                self.classes_ = np.arange(y.shape[1])
            self._final_encoder = Unchanged()
        else:
            return super().fit(y)  # which says what there is instead
        if target_type == "multilabel-indicator" and is_one_hot_target(y):
            target_type = "multiclass-onehot"
        self.n_classes_ = None if self.classes_ is None else len(self.classes_)
        self.n_outputs_ = self.n_outputs_expected_ = 1
        self._y_shape, self._y_dtype, self._target_type = y.shape, y.dtype, target_type
        return self


class ValueEncoder(RegressorTargetEncoder):
    """scikeras' encoder of targets, which gives networks a column where y has one dimension.

    So does Keras with a Series of pandas. A loss or metric of the user's own would subtract outputs of shape
    (n_samples, 1) from a y of shape (n_samples,) as a matrix.
    """

    def transform(self, y: np.ndarray) -> Any:
        """Targets of shape (n_samples, n_outputs)."""
        columns: np.ndarray = np.reshape(y, (len(y), -1))
        if columns.shape[1] != self.n_outputs_:
            raise ValueError(f"`y` must have the {self.n_outputs_} columns of fit: got {columns.shape[1]}.")
        return columns
