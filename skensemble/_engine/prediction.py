"""Predictions of fitted members: those of one architecture by one forward pass."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras import BaseWrapper, encode_features, encodes_features
from skensemble._engine.all_backends.hyperparameters import free_signature
from skensemble._engine.backend import why_not_fusable
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.forward import forward, forward_alone, stack_values
from skensemble._engine.stacked_members import BuiltMember, StackedMember
from skensemble._members.distribution import check_all_or_none, decode_scales, has_scales
from skensemble._members.encoders import decode_outputs
from skensemble._members.inputs import as_inputs
from skensemble._members.lazy_networks import LoadedAnew
from skensemble._members.network_inputs import check_whole_numbers
from skensemble._members.other_estimators import known_labels, last_step, predict_distribution, predict_other
from skensemble._members.spec import unwrapped
from skensemble._numeric.combination import align_classes
from skensemble.exceptions import NotFusableError


class MemberPrediction(NamedTuple):
    """What one member predicts, decoded, and the estimator that knows how it was encoded.

    `scales` are the standard deviations of networks that predict them, None for others.
    """

    estimator: BaseEstimator
    values: np.ndarray
    scales: np.ndarray | None = None


def predict_each(members: FittedMembers, X: Any, *, check: bool = True) -> list[MemberPrediction]:
    """Decoded predictions of all members, in order.

    Parameters
    ----------
    members : FittedMembers
    X : Inputs or ndarray of shape (n_samples, ...)
    check : bool, default=True
        Whether to raise where inputs that take whole numbers would get others.
    """
    X = as_inputs(X)
    results: dict[int, MemberPrediction] = {}
    for indices in _groups(members):
        first = unwrapped(members.current(indices[0]))
        if not isinstance(first, StackedMember | BaseWrapper):
            results[indices[0]] = _predict_other(first, X.given)
            continue
        estimators, outputs = _forward_group(members, indices, X.floats, check)
        for i, *prediction in zip(indices, estimators, *_decode(estimators, outputs), strict=True):
            results[i] = MemberPrediction(*prediction)
    return [results[i] for i in range(len(members))]


def _groups(members: FittedMembers) -> Iterable[list[int]]:
    """Indices of members that share one forward pass."""
    groups: dict[Any, list[int]] = {}
    for i in range(len(members)):
        copy = members.stacked(i)
        key = _forward_key(unwrapped(members.current(i)), i) if copy is None else id(copy.stack)
        groups.setdefault(key, []).append(i)
    return groups.values()


def _forward_group(members: FittedMembers, indices: list[int], X: Any, check: bool) -> tuple[list[BaseEstimator], Any]:
    """For each of the members of a group, the estimator that decodes its outputs, and the outputs."""
    copies = [members.stacked(i) for i in indices]
    first = copies[0]
    estimators = [
        unwrapped(members.current(i)) if copy is None else copy.stack.prototype
        for i, copy in zip(indices, copies, strict=True)
    ]
    models = [estimator.model_ for estimator in estimators]
    X = encode_features(estimators[0], X)
    if check:
        check_whole_numbers(models[0], X)
    if first is not None:
        places = [copy.index for copy in copies if copy is not None]
        return estimators, first.stack.predict(places, [members.built.get(i) for i in indices], X)
    # A program would keep a second model in memory.
    if isinstance(estimators[0], LoadedAnew) or why_not_fusable(models[0]) is not None:
        return estimators, [forward_alone(model, X) for model in models]
    values = [BuiltMember(estimator).values() for estimator in estimators]
    try:
        return estimators, forward(models[0], stack_values(values), X)
    except NotFusableError:  # found only when the model is copied
        return estimators, [forward_alone(model, X) for model in models]


def _forward_key(fitted: BaseEstimator, i: int) -> Any:
    """What fitted members that share one forward pass have in common; `i` for a member that shares it with no other."""
    if not isinstance(fitted, BaseWrapper) or isinstance(fitted, LoadedAnew):
        return i
    if why_not_fusable(fitted.model_) is not None:
        return i
    try:
        return free_signature(fitted.model_), id(fitted) if encodes_features(fitted) else None
    except NotFusableError:  # a loss or metric that has no configuration
        return i


def _predict_other(fitted: BaseEstimator, X: Any) -> MemberPrediction:
    """Prediction of a member that is not a network, but may be a pipeline that ends in one."""
    if has_scales(last_step(fitted)[1]):
        return MemberPrediction(fitted, *predict_distribution(fitted, X))
    return MemberPrediction(fitted, predict_other(fitted, X))


def _decode(
    estimators: list[BaseEstimator], outputs: Sequence[np.ndarray]
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray | None]]:
    """Predictions and standard deviations from raw outputs."""
    scales: Sequence[np.ndarray | None] = [None] * len(estimators)
    if has_scales(estimators[0]):  # so have the others, which are of one architecture
        scales = _decode_by(decode_scales, estimators, outputs)
    return _decode_by(decode_outputs, estimators, outputs), scales


def _decode_by(
    decode: Callable[[BaseEstimator, np.ndarray], np.ndarray],
    estimators: list[BaseEstimator],
    outputs: Sequence[np.ndarray],
) -> Sequence[np.ndarray]:
    """Decoded outputs; those of copies are decoded together, since decoding takes as long as the networks."""
    if all(estimator is estimators[0] for estimator in estimators):
        rows = np.reshape(outputs, (-1, *outputs[0].shape[1:]))
        decoded: Any = decode(estimators[0], rows)
        return decoded.reshape(len(outputs), -1, *decoded.shape[1:])
    return [decode(estimator, output) for estimator, output in zip(estimators, outputs, strict=True)]


def predict_members(members: FittedMembers, X: Any, classes: np.ndarray | None = None) -> np.ndarray:
    """What each fitted member predicts for X.

    Parameters
    ----------
    members : FittedMembers
    X : Inputs or ndarray of shape (n_samples, ...)
        Validated.
    classes : ndarray of shape (n_classes,) or None
        Order of the columns for classifiers; None for regressors and for several labels per row.

    Returns
    -------
    ndarray of shape (n_members, n_samples, n_classes) or (n_members, n_samples[, n_outputs])
    """
    predictions = predict_each(members, X)
    if classes is None:
        return np.stack([one.values for one in predictions])
    regressors = [type(one.estimator).__name__ for one in predictions if not hasattr(one.estimator, "classes_")]
    if regressors:
        raise ValueError(
            f"Probabilities of members need classifiers: got {', '.join(regressors)}. Use transform, which gives the "
            "predictions of regressors as they are."
        )
    proba = [align_classes(one.values, known_labels(one.estimator, classes), classes) for one in predictions]
    # Networks compute in float32: together with other members, rows sum to 1 only as exactly as float32 allows.
    least_exact = min((one.dtype for one in proba), key=lambda dtype: dtype.itemsize)
    return np.stack([one.astype(least_exact, copy=False) for one in proba])


def predict_distributions(members: FittedMembers, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Means that fitted regressors predict for X, and their standard deviations if they predict them.

    Parameters
    ----------
    members : FittedMembers
    X : Inputs or ndarray of shape (n_samples, ...)
        Validated.

    Returns
    -------
    means : ndarray of shape (n_members, n_samples[, n_outputs])
    scales : ndarray of the same shape, or None
    """
    predictions = predict_each(members, X)
    check_all_or_none([one.scales is not None for one in predictions])
    scales = [one.scales for one in predictions if one.scales is not None]
    return np.stack([one.values for one in predictions]), np.stack(scales) if scales else None
