"""Fitted members in order, and their predictions: those of one architecture by one forward pass."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras import BaseWrapper, encode_features, encodes_features, fit_callbacks
from skensemble._engine.backend import why_not_fusable
from skensemble._engine.forward import forward, forward_alone, stack_values
from skensemble._engine.hyperparameters import free_signature
from skensemble._engine.stacked import BuiltMember, FittedMember, StackedMember
from skensemble._members.distribution import check_all_or_none, decode_scales, has_scales
from skensemble._members.encoders import decode_outputs
from skensemble._members.inputs import as_inputs
from skensemble._members.lazy_networks import LoadedAnew
from skensemble._members.network_inputs import check_whole_numbers
from skensemble._members.other_estimators import known_labels, last_step, predict_distribution, predict_other
from skensemble._members.pickling import CheckedPickling
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


class FittedMembers(CheckedPickling, Sequence):
    """Fitted members in order; those of the fused training become scikeras estimators when they are first used.

    Building a small Keras model takes longer than the fused training of a member, and prediction does not need it.
    Compares with lists and adds to them like a list.

    Parameters
    ----------
    entries : iterable of fitted estimator or StackedMember
        A sequence is kept as it is, so that its items may be made when they are first used.
    """

    def __init__(self, entries: Iterable[FittedMember]) -> None:
        self._entries = entries if isinstance(entries, Sequence) else list(entries)
        self._built: dict[int, BuiltMember] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": [self._current(i) for i in range(len(self))], "_built": {}}

    def _current(self, i: int) -> FittedMember:
        """Member `i`: its estimator if there is one, otherwise what was kept of it."""
        return self._built[i].estimator if i in self._built else self._entries[i]

    def _unbuilt(self, i: int) -> StackedMember | None:
        """Member `i` if it is a copy without its own model, or still with the one it was built with."""
        entry = self._entries[i]
        if isinstance(entry, StackedMember) and (i not in self._built or self._built[i].is_current()):
            return entry
        return None

    def entries(self) -> list[FittedMember]:
        """Members as they can be kept: estimators, or StackedMember for unbuilt or unchanged copies."""
        return [
            self._built[i].estimator if i in self._built and not self._built[i].is_unchanged(entry) else entry
            for i, entry in enumerate(self._entries)
        ]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        entry = self._entries[i]
        if isinstance(entry, StackedMember) and i not in self._built:
            self._built[i] = BuiltMember(entry.build())
        return self._current(i)

    def __repr__(self) -> str:
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return list(self) == list(other) if isinstance(other, FittedMembers | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, as a list

    def __add__(self, other: Any) -> Any:
        if isinstance(other, list):
            return list(self) + other
        if not isinstance(other, FittedMembers):
            return NotImplemented
        both = FittedMembers([*self._entries, *other._entries])
        both._built = self._built | {len(self) + i: built for i, built in other._built.items()}
        return both

    def __radd__(self, other: Any) -> Any:
        return other + list(self) if isinstance(other, list) else NotImplemented

    def select(self, indices: Sequence[int]) -> "FittedMembers":
        """Some of the members; those that were not built yet stay unbuilt."""
        selected = FittedMembers(self._entries[i] for i in indices)
        selected._built = {new: self._built[i] for new, i in enumerate(indices) if i in self._built}
        return selected

    def final_losses(self) -> list[float]:
        """Training loss of each member in its last epoch, 0 for members without epochs or that are not networks."""
        losses = []
        for entry in self._entries:
            if isinstance(entry, StackedMember):
                history = entry.history
            else:
                history = entry.history_ if isinstance(entry, BaseWrapper) else {}
            losses.append([0.0, *history.get("loss", [])][-1])
        return losses

    def _trained_here(self) -> Iterator[BaseEstimator]:
        """Each member, or the prototype of a copy."""
        for entry in self._entries:
            yield entry.stack.prototype if isinstance(entry, StackedMember) else entry

    def callbacks(self) -> list[list[keras.callbacks.Callback]]:
        """The Keras callbacks that each member was trained with."""
        return [fit_callbacks(one) if hasattr(one, "_fit_callbacks") else [] for one in self._trained_here()]

    def name_features(self, names: np.ndarray | None) -> None:
        """Give networks the names of the columns that they were trained on, as all other estimators have them."""
        for network in self._trained_here():
            if names is not None and isinstance(network, BaseWrapper):
                network.feature_names_in_ = names

    def predict(self, X: Any, *, check: bool = True) -> list[MemberPrediction]:
        """Decoded predictions of all members.

        Members of one architecture go through one fused forward pass.

        Parameters
        ----------
        X : Inputs or ndarray of shape (n_samples, ...)
        check : bool, default=True
            Whether to raise where inputs that take whole numbers would get others.
        """
        X = as_inputs(X)
        results: dict[int, MemberPrediction] = {}
        for indices in self._groups():
            first = unwrapped(self._entries[indices[0]])
            if not isinstance(first, StackedMember | BaseWrapper):
                results[indices[0]] = _predict_other(first, X.given)
                continue
            estimators, outputs = self._forward_group(indices, X.floats, check)
            for i, *prediction in zip(indices, estimators, *_decode(estimators, outputs), strict=True):
                results[i] = MemberPrediction(*prediction)
        return [results[i] for i in range(len(self))]

    def first_network(self) -> int | None:
        """Index of the first network; None where there is none."""
        networks = (isinstance(unwrapped(one), StackedMember | BaseWrapper) for one in self._entries)
        return next((i for i, is_network in enumerate(networks) if is_network), None)

    def has_networks_only(self) -> bool:
        """Whether there is no member of another kind."""
        return all(isinstance(unwrapped(one), StackedMember | BaseWrapper) for one in self._entries)

    def _groups(self) -> Iterable[list[int]]:
        """Indices of members that share one forward pass."""
        groups: dict[Any, list[int]] = {}
        for i in range(len(self)):
            copy = self._unbuilt(i)
            key = _forward_key(unwrapped(self._current(i)), i) if copy is None else id(copy.stack)
            groups.setdefault(key, []).append(i)
        return groups.values()

    def _forward_group(self, indices: list[int], X: Any, check: bool) -> tuple[list[BaseEstimator], Any]:
        copies = [self._unbuilt(i) for i in indices]
        first = copies[0]
        estimators = [
            unwrapped(self._current(i)) if copy is None else copy.stack.prototype
            for i, copy in zip(indices, copies, strict=True)
        ]
        models = [estimator.model_ for estimator in estimators]
        X = encode_features(estimators[0], X)
        if check:
            check_whole_numbers(models[0], X)
        if first is not None:
            places = [copy.index for copy in copies if copy is not None]
            return estimators, first.stack.predict(places, [self._built.get(i) for i in indices], X)
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
    predictions = members.predict(X)
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
    predictions = members.predict(X)
    check_all_or_none([one.scales is not None for one in predictions])
    scales = [one.scales for one in predictions if one.scales is not None]
    return np.stack([one.values for one in predictions]), np.stack(scales) if scales else None
