"""Members that are not networks: the labels, weights and seeds that their own `fit` is given, and what they predict."""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import is_of_kind, routing_enabled, tags_of

# Classifiers of these packages take labels of any kind.
_TAKE_ANY_LABELS = {"sklearn", "scikeras", "skensemble"}
# Parameters that hold the estimator to which a meta-estimator's `fit` passes on arguments that it does not know itself.
_INNER = ("estimator", "regressor", "classifier", "base_estimator")


def fit_other(
    member: BaseEstimator,
    X: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    rows: Any = None,
    metadata: Any = None,
) -> Any:
    """Fit an estimator that is not a network, and return it.

    Parameters
    ----------
    member : estimator
        As returned by `seeded_clone`; changed in place.
    X : Inputs
    y, sample_weight : ndarray of shape (n_samples, ...)
        Of all rows; the weights may be None.
    rows : ndarray of int, default=None
        Rows that it is trained on; None means all.
    metadata : dict, default=None
        Other arguments of its `fit`, of these rows.
    """
    if takes_encoded_labels(member, y):
        y = encoded_labels(y, np.unique(y))
    if rows is not None:
        X, y = X.forms(given=True, floats=False).take(rows), y[rows]
        sample_weight = None if sample_weight is None else sample_weight[rows]
    metadata = dict(metadata or {})
    if sample_weight is not None:
        metadata["sample_weight" if routing_enabled() else weight_parameter(member)] = sample_weight
    return member.fit(X.given, y, **metadata)


def seeded_clone(estimator: BaseEstimator, seed: int) -> BaseEstimator:
    """A clone, with `seed` as each `random_state` in it that is None."""
    member = clone(estimator)
    seeds = {name: seed for name, value in member.get_params().items() if _is_open_seed(name, value)}
    return member.set_params(**seeds)


def without_network_seed(estimator: BaseEstimator) -> BaseEstimator:
    """A pipeline whose last step is a network, which then takes the seed of the member; others as they are."""
    prefix, network = last_step(estimator)
    if estimator is network or not isinstance(network, BaseWrapper):
        return estimator
    return clone(estimator).set_params(**{f"{prefix}random_state": None})


def _is_open_seed(name: str, value: Any) -> bool:
    return value is None and (name == "random_state" or name.endswith("__random_state"))


def last_step(estimator: BaseEstimator) -> tuple[str, BaseEstimator]:
    """The last step of a pipeline, also of pipelines in it, and the prefix of its parameters; others as they are."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return prefix, estimator


def weight_parameter(estimator: BaseEstimator) -> str | None:
    """Name under which the `fit` of an estimator takes the weights of the rows; None where it does not take them.

    Parameters
    ----------
    estimator : estimator
        In a pipeline the last step takes them; in a search, or another meta-estimator that passes on what its `fit` is
        given, the estimator in it.
    """
    if has_fit_parameter(estimator, "sample_weight"):
        return "sample_weight"
    if isinstance(estimator, Pipeline):
        prefix, last = last_step(estimator)
        name = weight_parameter(last) if hasattr(last, "fit") else None
        return None if name is None else f"{prefix}{name}"
    parameters = inspect.signature(estimator.fit).parameters.values()
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return None
    inner = next((one for one in (getattr(estimator, name, None) for name in _INNER) if hasattr(one, "fit")), None)
    return "sample_weight" if inner is None else weight_parameter(inner)


def takes_any_shape(estimator: BaseEstimator) -> bool:
    """Whether an estimator, or the first step of a pipeline, takes X of more than two dimensions."""
    if isinstance(estimator, Pipeline):
        steps = [step for _, step in estimator.steps if step is not None and not isinstance(step, str)]
        return bool(steps) and takes_any_shape(steps[0])
    tags = tags_of(estimator)
    return tags.input_tags.three_d_array or tags.no_validation


def takes_encoded_labels(estimator: BaseEstimator, y: np.ndarray) -> bool:
    """Whether a member is given the labels 0, 1, ..., n_classes - 1 in place of those in y.

    Classifiers of other libraries often take nothing else, and scikit-learn's own ensembles give them these. A
    classifier that names labels of y in a parameter, such as a dict of class weights, is given the labels as they are.
    """
    if y.ndim > 1 or not is_of_kind(estimator, classifier=True) or not _is_of_other_library(estimator):
        return False
    classes = np.unique(y)
    return not _are_encoded(classes) and not _names_labels(estimator, classes)


def encoded_labels(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Labels as their positions in `classes`, which are sorted."""
    return np.searchsorted(classes, y)


def known_labels(estimator: BaseEstimator, classes: np.ndarray) -> np.ndarray:
    """The labels that a fitted member knows, as they are in y.

    Parameters
    ----------
    estimator : fitted classifier
        Its `classes_` may be positions in `classes` (see `takes_encoded_labels`).
    classes : ndarray of shape (n_classes,)
    """
    known = np.asarray(estimator.classes_)
    return classes[known] if knows_positions(estimator, classes) else known


def knows_positions(estimator: BaseEstimator, classes: np.ndarray) -> bool:
    """Whether the `classes_` of a fitted member are positions in `classes`."""
    known = np.asarray(estimator.classes_)
    if isinstance(estimator, BaseWrapper) or known.dtype.kind not in "iu" or _are_encoded(classes):
        return False
    if not np.isin(known, np.arange(len(classes))).all():
        return False
    return _is_of_other_library(estimator) and not _names_labels(estimator, classes)


def _are_encoded(classes: np.ndarray) -> bool:
    return classes.dtype.kind in "iu" and np.array_equal(classes, np.arange(len(classes)))


def _is_of_other_library(estimator: BaseEstimator) -> bool:
    """Whether an estimator, or a classifier in it, has a `fit` from a package that is not in `_TAKE_ANY_LABELS`."""
    inner = [one for one in estimator.get_params(deep=True).values() if is_of_kind(one, classifier=True)]
    return not all(map(_takes_any_labels, [estimator, *inner]))


def _takes_any_labels(estimator: BaseEstimator) -> bool:
    kinds = type(estimator).__mro__
    return any("fit" in vars(kind) and kind.__module__.partition(".")[0] in _TAKE_ANY_LABELS for kind in kinds)


def _names_labels(estimator: BaseEstimator, classes: np.ndarray) -> bool:
    labels = set(classes.tolist())
    dicts = [value for value in estimator.get_params(deep=True).values() if isinstance(value, dict) and value]
    return any(labels.issuperset(value) for value in dicts)


@contextmanager
def unnamed_columns() -> Iterator[Any]:
    """Silence estimators about names of columns, about which the ensemble has already warned."""
    with warnings.catch_warnings():
        for message in ("X does not have valid feature names", "X has feature names, but"):
            warnings.filterwarnings("ignore", message, UserWarning)
        yield


def predict_other(estimator: BaseEstimator, X: Any) -> np.ndarray:
    """Prediction of a fitted estimator that is not a network, shaped like that of a network.

    Parameters
    ----------
    estimator : fitted estimator
    X : array-like
        As the user gave it.

    Returns
    -------
    ndarray of shape (n_samples, n_classes or n_labels) or (n_samples[, n_outputs])
    """
    with unnamed_columns():
        if not is_of_kind(estimator, classifier=True):
            return estimator.predict(X)
        if hasattr(estimator, "predict_proba"):
            proba = estimator.predict_proba(X)
            return _present(proba, estimator.classes_) if isinstance(proba, list) else proba
        predictions = estimator.predict(X)
    if predictions.ndim == 2 and predictions.shape[1] > 1:
        return predictions.astype(float)
    chosen = predictions.reshape(-1, 1) == estimator.classes_
    if not chosen.any(axis=1).all():
        raise ValueError(
            f"A classifier must predict labels that are in its `classes_`: {type(estimator).__name__} predicts "
            f"{predictions[~chosen.any(axis=1)][0]!r}, its classes are {np.asarray(estimator.classes_).tolist()}."
        )
    return chosen.astype(float)


def predict_distribution(estimator: BaseEstimator, X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations from a fitted pipeline that ends in a network that predicts both.

    Parameters
    ----------
    estimator : Pipeline
    X : array-like
        As the user gave it.

    Returns
    -------
    (ndarray, ndarray) of shape (n_samples[, n_outputs])
    """
    with unnamed_columns():
        while isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        return estimator.predict(X, return_std=True)


def _present(proba: list[np.ndarray], classes: list[np.ndarray]) -> np.ndarray:
    """Probability of each label, where forests and neighbours return an array with a column for each of its values.

    A label that was always or never there in training has one column.
    """
    return np.stack([(p * (known == 1)).sum(axis=1) for p, known in zip(proba, classes, strict=True)], axis=1)
