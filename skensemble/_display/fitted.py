"""What plots need to know about a fitted ensemble: names and order of its members, and how they were trained."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.stacked_members import StackedMember, estimator_of
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.spec import unwrapped


class Training(NamedTuple):
    """How one network was trained.

    Attributes
    ----------
    name : str or None
        Of the member.
    history : dict of str to ndarray of shape (n_epochs,)
        NaN for epochs without a validation.
    """

    name: str | None
    history: dict[str, np.ndarray]


def check_ensemble(ensemble: Any) -> None:
    """Raise where this is not a fitted ensemble of this package."""
    if not isinstance(ensemble, BaseKerasEnsemble):
        raise TypeError(
            f"`ensemble` must be an ensemble of skensemble: got {_kind_of(ensemble)}. Pass the fitted ensemble itself, "
            "such as search.best_estimator_ or pipeline[-1]."
        )
    check_is_fitted(ensemble)


def member_names(ensemble: Any) -> list[str] | None:
    """Names of the fitted members; None where they are copies."""
    return getattr(ensemble, "_names", None)


def is_run(ensemble: BaseKerasEnsemble) -> bool:
    """Whether the members come from one training, newest first."""
    return hasattr(ensemble, "checkpoints_") or hasattr(ensemble, "n_last_")


def order_of(ensemble: BaseKerasEnsemble) -> str:
    """Which members come first: "newest" where they come from one training, otherwise "first"."""
    return "newest" if is_run(ensemble) else "first"


def trainings_of(estimator: Any) -> list[Training]:
    """The trainings of the networks of a fitted ensemble, or of one network.

    Raises
    ------
    ValueError
        Where no network was trained.
    """
    check_is_fitted(estimator)
    trainings = list(_trainings(estimator, None))
    if not trainings:
        inner = [_kind_of(one) for one in _inner(estimator)]
        members = f" of {', '.join(sorted(set(inner)))}" if inner else ""
        raise ValueError(
            "A training history needs networks that were trained, whose `history_` has at least one epoch: got "
            f"{_kind_of(estimator)}{members}. Pass a fitted network, or an ensemble that has one."
        )
    return trainings


def kept_epochs(ensemble: BaseKerasEnsemble) -> list[int]:
    """Epochs, counted from 1, at whose ends the checkpoints that a run combines were kept, newest first."""
    kept = _entries(ensemble)[: getattr(ensemble, "n_checkpoints_", None)]
    return [max(map(len, _history_of(entry).values())) for entry in kept]


def _trainings(fitted: Any, name: str | None) -> Iterator[Training]:
    fitted = fitted if isinstance(fitted, StackedMember) else unwrapped(fitted)
    if isinstance(fitted, StackedMember | BaseWrapper):
        history = _history_of(fitted)
        if any(map(len, history.values())):
            yield Training(name, _at_epochs(history, FitArguments.of(estimator_of(fitted))))
        return
    inner = _inner(fitted)
    for own_name, one in zip(_inner_names(fitted, name, len(inner)), inner, strict=True):
        yield from _trainings(one, own_name)


def _inner(fitted: Any) -> list[Any]:
    """The fitted estimators in an estimator; for one training, the newest checkpoint, whose history has all epochs."""
    if isinstance(fitted, Pipeline):
        return [fitted.steps[-1][1]]
    if not isinstance(fitted, BaseKerasEnsemble):
        return []
    return _entries(fitted)[:1] if is_run(fitted) else _entries(fitted)


def _entries(ensemble: BaseKerasEnsemble) -> list[Any]:
    """Fitted members as they are stored; for a Polyak average, its checkpoints."""
    return (ensemble.checkpoints_ if hasattr(ensemble, "checkpoints_") else ensemble.estimators_).entries()


def _inner_names(fitted: Any, name: str | None, n_inner: int) -> list[str | None]:
    """Names of the estimators inside an estimator that is itself a member called `name`."""
    names = member_names(fitted)
    if names is None and (name is None or n_inner == 1):
        return [name] * n_inner
    own = range(1, n_inner + 1) if names is None else names
    return [f"{name} {one}" if name else str(one) for one in own]


def _history_of(fitted: Any) -> dict[str, list]:
    return fitted.history if isinstance(fitted, StackedMember) else fitted.history_


def _at_epochs(history: dict[str, list], arguments: FitArguments) -> dict[str, np.ndarray]:
    """Values at each epoch: with Keras' `validation_freq`, not every epoch ends with a validation."""
    n_epochs = max(map(len, history.values()))
    first = arguments.initial_epoch or 0
    validated = np.array([arguments.evaluates(first + epoch) for epoch in range(n_epochs)])
    series = {}
    for key, values in history.items():
        if not values:  # a key that was asked for: scikeras' history is a defaultdict
            continue
        series[key] = np.full(n_epochs, np.nan)
        where = validated if len(values) < n_epochs else slice(None)
        if len(series[key][where]) != len(values):
            raise ValueError(
                f"Values of {key!r} must belong to epochs: got {len(values)} of them for {n_epochs} epochs, with "
                f"validation_freq={arguments.validation_freq!r}. Give the display the histories, NaN where there is "
                "no value."
            )
        series[key][where] = values
    return series


def _kind_of(estimator: Any) -> str:
    return type(estimator_of(estimator)).__name__
