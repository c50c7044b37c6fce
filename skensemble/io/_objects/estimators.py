"""Ensembles, and the meta-estimators of other packages that hold networks: parameters, and what they learned."""

import keras
import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import check_scoring, get_scorer

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.named_members import BaseNamedMembers
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import put_curve_scorer
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.stacked_members import StackedMembers, estimator_of
from skensemble.io._audit.allowed import TRUSTED_CLASSES, WITHOUT_PARAMS
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._manifest import NO_DIRECTORIES
from skensemble.io._objects.classes import class_path, new_estimator
from skensemble.io._objects.fitted_state import check_attributes, saved_attributes

#: How deep networks may be in estimators, lists and dicts.
_MAX_DEPTH = 20


def holds_network(value, depth=0):
    """Whether there is a Keras network in an estimator."""
    if isinstance(value, BaseWrapper | StackedMembers | FittedMembers | keras.Model | BaseKerasEnsemble):
        return True
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, BaseEstimator) or f"{type(value).__module__}.{type(value).__qualname__}" in WITHOUT_PARAMS:
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return isinstance(value, list | tuple) and any(holds_network(inner, depth + 1) for inner in value)


def write_estimator(estimator, writer):
    """Node of an ensemble, or of another estimator that holds networks."""
    path = class_path(estimator)
    if path not in TRUSTED_CLASSES and not isinstance(estimator, BaseKerasEnsemble):
        raise PersistenceError(
            f"{path} with a Keras network in it cannot be saved. Save the network on its own, or with joblib. Of "
            "what holds networks, the meta-estimators of scikit-learn and the Pipeline of imbalanced-learn can be."
        )
    params = {} if path in WITHOUT_PARAMS else dict(estimator.get_params(deep=False))
    params |= {name: None for name in NO_DIRECTORIES if name in params}
    attributes = saved_attributes(estimator, without=params)

    def encode(values):
        where = type(estimator).__name__
        pairs = [[name, writer.encode(value, f"`{name}` of {where}")] for name, value in values.items()]
        return {"t": "dict", "v": pairs}

    return {"class": path, "params": encode(params), "attributes": encode(attributes)}


def read_estimator(node, number, reader):
    """An ensemble, or another estimator that holds networks."""
    estimator = new_estimator(node, reader)
    attributes = reader.decode(node["attributes"])
    if isinstance(estimator, BaseWrapper) or not isinstance(attributes, dict):
        raise FormatError(f"Object {number} of the manifest must be an ensemble or the like, with attributes.")
    if node["class"] not in WITHOUT_PARAMS and not attributes.keys().isdisjoint(estimator.get_params(deep=False)):
        raise FormatError(f"Object {number} of the manifest must not learn what are its parameters.")
    check_attributes(estimator, attributes)
    vars(estimator).update(attributes)
    # An ensemble among the parameters of a search is not fitted.
    if isinstance(estimator, BaseKerasEnsemble) and (attributes or number == reader.root):
        check_ensemble(estimator)
    if hasattr(estimator, "best_index_") and hasattr(estimator, "scoring"):
        estimator.scorer_ = _scorer(estimator)
    put_curve_scorer(estimator)
    return estimator


def check_ensemble(estimator):
    """Refuse ensembles whose parts are inconsistent, which a changed file can hold but no fit gives."""
    members = getattr(estimator, "checkpoints_", getattr(estimator, "estimators_", None))
    if not isinstance(members, FittedMembers) or not len(members):
        raise FormatError(f"{type(estimator).__name__} must have fitted members.")
    n_weights, weights = getattr(estimator, "n_checkpoints_", len(members)), getattr(estimator, "weights_", None)
    if weights is not None or hasattr(estimator, "weights"):
        if np.shape(weights) != (n_weights,) or not np.isfinite(weights).all() or np.min(weights) < 0:
            raise FormatError(f"An ensemble of {n_weights} members must have a weight for each, at least 0.")
        if n_weights > len(members):
            raise FormatError(f"An average of {n_weights} checkpoints must have them: got {len(members)}.")
    if isinstance(estimator, BaseNamedMembers):
        _check_names(vars(estimator), len(members))
    if is_classifier(estimator):
        _check_classes(getattr(estimator, "classes_", None), members)


def _check_names(learned, n_members):
    names, entries = (learned.get(name) for name in ("_names", "_entry_names"))
    if not all(isinstance(one, list) and all(type(name) is str for name in one) for one in (names, entries)):
        raise FormatError("An ensemble of named members must have lists of their names.")
    if len(names) != n_members or not set(names) <= set(entries):
        raise FormatError(f"An ensemble of {n_members} members must have a name for each: got {names} of {entries}.")


def _check_classes(classes, members):
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < 2:
        raise FormatError(f"A classifier must have an array of two or more classes: got {str(classes)[:80]}.")
    for entry in members.entries():
        known = getattr(estimator_of(entry), "classes_", None)
        if isinstance(known, np.ndarray) and not np.isin(known, classes).all():
            raise FormatError(f"The classes of a member must be those of its ensemble: got {str(known)[:80]}.")


def _scorer(search):
    """The scorer of a search, made as its `fit` makes it."""
    scoring = search.scoring
    if isinstance(scoring, list | tuple | set):
        return {name: get_scorer(name) for name in scoring}
    if isinstance(scoring, dict):
        return {name: check_scoring(search.estimator, scoring=one) for name, one in scoring.items()}
    return scoring if hasattr(scoring, "raise_not_restored") else check_scoring(search.estimator, scoring=scoring)
