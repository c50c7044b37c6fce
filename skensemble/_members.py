"""Members of an ensemble before and after training: cloned, seeded and checked; their predictions as one array."""

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skensemble._combine import align_classes
from skensemble._compat import BaseWrapper, ScikerasClassifier, decode_outputs, encode_features

# Rows that go through a network at once, in prediction: bounds the memory of the activations.
PREDICTION_ROWS = 1024


def spawn_seeds(random_state, n_members):
    """One seed per member; that of member i does not depend on how many members there are.

    Parameters
    ----------
    random_state : int, numpy.random.RandomState or None
        With None, other seeds in each call; a RandomState is advanced by one draw.

    Returns
    -------
    list of int
    """
    if random_state is None:
        entropy = None
    elif isinstance(random_state, np.random.RandomState):
        entropy = int(random_state.randint(np.iinfo(np.int32).max))
    else:
        entropy = int(random_state)
    children = np.random.SeedSequence(entropy).spawn(n_members)
    # Keras and scikit-learn take seeds that fit a signed 32-bit integer.
    return [int(child.generate_state(1)[0] >> 1) for child in children]


def is_frozen(estimator):
    """Whether the estimator is already fitted and must not be trained."""
    return isinstance(estimator, FrozenEstimator)


def check_member(estimator, *, classifier, name="estimator"):
    """Raise where `estimator` cannot be a member of an ensemble of this kind.

    Parameters
    ----------
    estimator : object
        What the user gave.
    classifier : bool
        Whether the ensemble is a classifier.
    name : str, default="estimator"
        What the message calls it.
    """
    inner = estimator.estimator if is_frozen(estimator) else estimator
    if not isinstance(inner, BaseWrapper):
        raise TypeError(
            f"`{name}` must be a scikeras estimator: got {type(inner).__name__}. Wrap a Keras model in "
            "skensemble.KerasClassifier or skensemble.KerasRegressor."
        )
    is_kind = isinstance(inner, ScikerasClassifier) or is_classifier(inner)
    if classifier != is_kind:
        wanted, other = ("classifier", "regressor") if classifier else ("regressor", "classifier")
        if classifier and not is_regressor(inner) and not hasattr(inner, "predict_proba"):
            other = "estimator without predict_proba"
        raise TypeError(f"`{name}` must be a {wanted} in an ensemble of {wanted}s: got the {other} {inner!r}.")
    if is_frozen(estimator):
        check_is_fitted(inner)


def make_members(estimator, seeds):
    """Unfitted clones of `estimator`, one per seed, which is their `random_state`; frozen ones as they are."""
    if is_frozen(estimator):
        return [estimator] * len(seeds)
    return [clone(estimator).set_params(random_state=seed) for seed in seeds]


def check_frozen_members(members, X, classes):
    """Raise where a fitted member saw other features or other classes than the ensemble."""
    for i, member in enumerate(members):
        if not is_frozen(member):
            continue
        shape = member.X_shape_[1:]
        if tuple(shape) != X.shape[1:]:
            raise ValueError(
                f"Fitted members must have seen rows shaped like X: member {i} was fitted on rows of shape {shape}, "
                f"X has rows of shape {X.shape[1:]}."
            )
        if classes is not None and not np.isin(member.classes_, classes).all():
            raise ValueError(
                f"Fitted members must not know classes that y lacks: member {i} has classes {list(member.classes_)}, "
                f"y has {list(classes)}."
            )


def predict_members(members, X, classes=None):
    """What each fitted member predicts for X.

    Parameters
    ----------
    members : sequence of fitted scikeras estimators
    X : ndarray of shape (n_samples, ...)
        Validated.
    classes : ndarray of shape (n_classes,) or None
        Order of the columns for classifiers; None for regressors and for several labels per row.

    Returns
    -------
    ndarray of shape (n_members, n_samples, n_classes) or (n_members, n_samples[, n_outputs])
    """
    predictions = []
    for member in members:
        fitted = member.estimator if is_frozen(member) else member
        outputs = _forward(fitted.model_, encode_features(fitted, X))
        prediction = decode_outputs(fitted, outputs)
        predictions.append(prediction if classes is None else align_classes(prediction, fitted.classes_, classes))
    return np.stack(predictions)


def _forward(model, X):
    """Outputs of a Keras model, in chunks; calls the model itself, since `Model.predict` costs 70 ms a call."""
    chunks = [X[start : start + PREDICTION_ROWS] for start in range(0, len(X), PREDICTION_ROWS)]
    return np.concatenate([np.asarray(model(chunk, training=False)) for chunk in chunks])
