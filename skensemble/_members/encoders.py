"""How labels and targets become what a network is trained on, and its outputs predictions.

scikeras uses transformers of scikit-learn, which tools such as mlflow watch.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from scikeras.utils.transformers import ClassifierLabelEncoder, RegressorTargetEncoder
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras import (
    BaseWrapper,
    ScikerasClassifier,
    encode_target,
    has_own_encoders,
    is_categorical_crossentropy,
    is_one_hot_target,
)
from skensemble._compat.sklearn import plain_transforms
from skensemble._members.distribution import has_scales
from skensemble._members.targets import check_indicators


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
        """Raise where y has labels that are not among the classes."""
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


def encode_validation_data(estimator: BaseWrapper, data: Any) -> Any:
    """The user's `validation_data`, with labels as in y, as the Keras model of an initialized estimator takes it.

    What an encoder of the user's would have to encode is returned as it is.
    """
    if not isinstance(data, tuple | list) or has_own_encoders(estimator):
        return data
    _check_validation_data(estimator, data)
    X, y, *weights = data
    X, y = _as_numbers(X), np.asarray(y)
    if not isinstance(estimator, ScikerasClassifier):
        return X, encode_target(estimator, y), *weights
    is_encoded = y.ndim == 2 and y.shape[1] > 1  # one-hot
    if is_encoded or estimator.target_type_ not in ("binary", "multiclass"):
        return X, y, *weights
    y = y.reshape(len(y))
    unknown = np.setdiff1d(y, estimator.classes_)
    if len(unknown):
        raise ValueError(
            f"The labels of `validation_data` must be among those of y, {estimator.classes_.tolist()}: got "
            f"{unknown.tolist()}."
        )
    return X, encode_target(estimator, y), *weights


def _check_validation_data(estimator: BaseWrapper, data: Sequence[Any]) -> None:
    """Raise where numbers of rows differ, or the shape of rows or the names of columns from those of `fit`."""
    if len(data) not in (2, 3):
        raise ValueError(f"`validation_data` must be (X, y) or (X, y, weights of the rows): got {len(data)} parts.")
    shapes = [np.shape(part) if not hasattr(part, "shape") else part.shape for part in data if part is not None]
    n_rows = [shape[0] for shape in shapes]
    if len(set(n_rows)) > 1:
        raise ValueError(
            "X, y and the weights of `validation_data` must have as many rows as each other: got "
            f"{' and '.join(map(str, n_rows))}."
        )
    if tuple(shapes[0][1:]) != tuple(estimator.X_shape_[1:]):
        raise ValueError(
            f"X of `validation_data` must have rows shaped as in fit, {tuple(estimator.X_shape_[1:])}: got "
            f"{tuple(shapes[0][1:])}."
        )
    told = getattr(getattr(estimator, "_told_columns", None), "names", None)  # by an ensemble
    names, given = getattr(estimator, "feature_names_in_", told), getattr(data[0], "columns", None)
    if names is not None and given is not None and list(given) != list(names):
        raise ValueError(
            f"X of `validation_data` must have the columns of X in their order: got {list(given)}, X has {list(names)}."
        )


def _as_numbers(X: Any) -> Any:
    """Tables and lists as arrays of Keras' float type; others as they are."""
    is_table = isinstance(X, list | tuple) or hasattr(X, "columns")
    return np.asarray(X, dtype=keras.config.floatx()) if is_table else X


def encode_class_weight(estimator: BaseWrapper, class_weight: Any) -> Any:
    """A `class_weight` of `Model.fit`, keyed by the user's labels, as Keras takes it: keyed by class numbers.

    What scikeras does not encode is returned as it is.
    """
    encodes = isinstance(estimator, ScikerasClassifier) and estimator.target_type_ in ("binary", "multiclass")
    if not encodes or has_own_encoders(estimator) or not isinstance(class_weight, dict):
        return class_weight
    numbers = {label: number for number, label in enumerate(estimator.classes_.tolist())}
    unknown = [label for label in class_weight if label not in numbers]
    if unknown:
        raise ValueError(f"The labels of `class_weight` must be among those of y, {list(numbers)}: got {unknown}.")
    return {numbers[label]: weight for label, weight in class_weight.items()}


def decode_outputs(estimator: BaseWrapper, outputs: np.ndarray) -> np.ndarray:
    """Raw outputs of the model as predictions: probabilities (n_samples, n_classes) or values shaped like y.

    scikeras 0.13 squeezes the probabilities of a single row to one dimension; here they keep two. They are float32 or
    more exact, also of networks in mixed precision: scikit-learn knows no bfloat16.
    """
    with plain_transforms():
        if isinstance(estimator, ScikerasClassifier):
            proba = np.asarray(estimator.target_encoder_.inverse_transform(outputs, return_proba=True))
            return proba.reshape(len(outputs), -1).astype(np.result_type(proba.dtype, np.float32), copy=False)
        if has_scales(estimator):
            outputs = np.reshape(outputs, (len(outputs), -1))[:, : estimator.n_outputs_]
        return np.asarray(estimator.target_encoder_.inverse_transform(outputs))
