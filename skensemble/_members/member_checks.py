"""What a member must be: a network of the ensemble's kind and, if it is already fitted, fitted on data like these."""

import inspect
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skensemble._compat.scikeras import (
    BaseWrapper,
    ScikerasClassifier,
    ScikerasRegressor,
    encodes_features,
    fit_override,
    give_tags,
)
from skensemble._compat.scikeras_building import given_model
from skensemble._compat.sklearn import InvalidParameterError, is_of_kind
from skensemble._members.inputs import Inputs, as_inputs
from skensemble._members.other_estimators import known_labels, knows_positions, last_step, unnamed_columns
from skensemble._members.spec import is_frozen, unwrapped


def check_restored(value: Any) -> None:
    """Raise where something that training needs was left out when an estimator was loaded (`skensemble.io`).

    `value` is an estimator; lists, tuples and the parameters of estimators in it are looked into.
    """
    if hasattr(value, "raise_not_restored"):
        value.raise_not_restored()
    if isinstance(value, BaseEstimator) and not isinstance(value, FrozenEstimator):  # which is not trained
        value = list(value.get_params(deep=False).values())
    if isinstance(value, list | tuple):
        for part in value:
            check_restored(part)


def check_member(
    estimator: BaseEstimator, *, classifier: bool, name: str = "estimator", pipelines: bool = False
) -> None:
    """Raise where `estimator` is not a scikeras estimator of the kind of the ensemble, or frozen and not fitted.

    Parameters
    ----------
    estimator : object
        What the user gave.
    classifier : bool
        Whether the ensemble is a classifier.
    name : str, default="estimator"
        Its name in messages.
    pipelines : bool, default=False
        Whether it may be a pipeline that ends in a scikeras estimator.
    """
    inner = unwrapped(estimator)
    _, network = last_step(inner) if pipelines else ("", inner)
    if not isinstance(network, BaseWrapper):
        way_out = _how_to_wrap(inner, classifier)
        if isinstance(inner, Pipeline) and not pipelines:
            way_out = "Put the steps before the network into a pipeline around the ensemble."
        raise TypeError(
            f"`{name}` must be a scikeras estimator{', or a Pipeline that ends in one' if pipelines else ''}: got "
            f"{_described(inner)}. {way_out}"
        )
    check_kind(estimator, classifier=classifier, name=name)


def check_takes_columns(estimator: Any) -> None:
    """Raise where members that are copies of `estimator` cannot each be trained on columns of their own.

    Parameters
    ----------
    estimator : object
        As the user gave it; None means the default network.
    """
    way_out = "Set max_features=1.0, so that members take all columns."
    if isinstance(estimator, list) or is_frozen(estimator):
        raise ValueError(
            f"`max_features` needs an estimator to train: got {_described(estimator)}, whose members are fitted "
            f"already. {way_out}"
        )
    if estimator is None:
        return
    if not isinstance(estimator, BaseWrapper):
        raise ValueError(
            f"`max_features` needs a network as `estimator`: got {_described(estimator)}. Put the steps before the "
            "network into a pipeline around the ensemble, or set max_features=1.0."
        )
    if given_model(estimator) is not None:
        raise ValueError(
            "`max_features` needs a function that builds networks for the columns drawn: got a Keras model, "
            f"{given_model(estimator).name!r}, as `model`. Give the function that builds it, or set max_features=1.0."
        )
    own = fit_override(estimator) or ("feature_encoder" if encodes_features(estimator) else None)
    if own is not None:
        raise ValueError(
            f"`max_features` needs networks that are trained on X as it is, by the `fit` of scikeras: "
            f"{type(estimator).__name__} has its own {own}. {way_out}"
        )


def check_kind(estimator: BaseEstimator, *, classifier: bool, name: str) -> None:
    """Raise where `estimator` is a classifier in an ensemble of regressors or the reverse, or frozen and not fitted."""
    give_tags()
    inner = unwrapped(estimator)
    if isinstance(inner, BaseWrapper):  # a plain scikeras estimator is neither to scikit-learn 1.6 and later
        is_kind = isinstance(inner, ScikerasClassifier if classifier else ScikerasRegressor)
    else:
        is_kind = is_of_kind(inner, classifier=classifier)
    if not is_kind:
        kind = "classifier" if classifier else "regressor"
        way_out = f" {_how_to_wrap(inner, classifier)}" if _is_builder(inner) or isinstance(inner, keras.Model) else ""
        raise InvalidParameterError(f"`{name}` must be a {kind}, as the ensemble is: got {_described(inner)}.{way_out}")
    if is_frozen(estimator):
        check_is_fitted(inner)


def _is_builder(value: Any) -> bool:
    return callable(value) and not isinstance(value, type | keras.Layer) and not hasattr(value, "fit")


def _described(value: Any) -> str:
    return f"the function {value.__name__}" if inspect.isroutine(value) else type(value).__name__


def _how_to_wrap(value: Any, classifier: bool) -> str:
    """What to do with something that is not an estimator."""
    wrapper = "KerasClassifier" if classifier else "KerasRegressor"
    if _is_builder(value):
        return f"Wrap it: {wrapper}({getattr(value, '__name__', 'build')})."
    if isinstance(value, keras.Model):
        return f"Pass the function that builds the model, wrapped: {wrapper}(build)."
    return f"Wrap the function that builds a Keras model: skensemble.{wrapper}(build)."


def check_frozen_members(
    members: Any, X: Any, y: np.ndarray, classes: np.ndarray | None, feature_names: Any = None
) -> None:
    """Raise where a fitted member saw other features, or predicts other classes or targets than the ensemble."""
    X, n_targets = as_inputs(X), 1 if y.ndim == 1 else y.shape[1]
    for i, member in enumerate(members):
        if not is_frozen(member.estimator):
            continue
        fitted = unwrapped(member.estimator)
        shape = fitted.X_shape_[1:] if isinstance(fitted, BaseWrapper) else (getattr(fitted, "n_features_in_", None),)
        if shape != (None,) and tuple(shape) != X.row_shape:
            raise ValueError(
                f"Fitted members must have seen rows shaped like X: member {i} was fitted on rows of shape {shape}, "
                f"X has rows of shape {X.row_shape}."
            )
        names = getattr(fitted, "feature_names_in_", None)
        if names is not None and feature_names is not None and names.tolist() != feature_names.tolist():
            raise ValueError(
                f"Fitted members must have seen the columns of X: member {i} was fitted on {names.tolist()}, X has "
                f"{feature_names.tolist()}."
            )
        n_predicted = _count_targets(fitted, X)
        if n_predicted != n_targets:
            raise ValueError(
                f"Fitted members must predict as many columns as y has: member {i} predicts {n_predicted}, y has "
                f"{n_targets}."
            )
        if classes is not None and hasattr(fitted, "classes_"):
            _check_frozen_classes(i, fitted, classes)


def _check_frozen_classes(i: int, fitted: BaseEstimator, classes: np.ndarray) -> None:
    known = known_labels(fitted, classes)
    if not np.isin(known, classes).all():
        raise ValueError(
            f"Fitted members must not know classes that y lacks: member {i} has classes {list(known)}, "
            f"y has {list(classes)}."
        )
    own = np.asarray(fitted.classes_)
    if knows_positions(fitted, classes) and np.isin(own, classes).all() and not np.array_equal(own, known):
        raise ValueError(
            f"The classes of fitted members must be labels of y, or their positions in {classes.tolist()}: those of "
            f"member {i}, {own.tolist()}, could be either. Fit it on rows of every class."
        )


def _count_targets(fitted: BaseEstimator, X: Inputs) -> int:
    if isinstance(fitted, ScikerasClassifier):
        return fitted.n_classes_ if fitted.target_type_ == "multilabel-indicator" else 1
    if isinstance(fitted, BaseWrapper):
        return fitted.n_outputs_
    with unnamed_columns():
        return np.size(fitted.predict(X.take([0]).given))
