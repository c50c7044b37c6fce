"""Members that are not networks: their own fit, and the networks that it trains, as that of a pipeline does."""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.keras import KERAS_WRAPPERS
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import check_method_params
from skensemble._engine.progress import Task
from skensemble._members.inputs import TrainingData
from skensemble._members.other_estimators import encoded_labels, fit_other, seeded_clone
from skensemble._members.spec import MemberSpec, is_frozen
from skensemble.exceptions import NotFusableError


def fit_other_member(spec: MemberSpec, data: TrainingData, task: Task) -> BaseEstimator:
    """A member that is not a network, after its own `fit`; `task` must not have begun."""
    member = seeded_clone(spec.estimator, spec.seed)
    metadata = check_method_params(data.X, spec.metadata or {}, indices=spec.sample_indices)
    y = encoded_labels(data.y, np.unique(data.y)) if spec.encodes_labels else data.y
    task.begin(1)
    with task.fit_of(member):
        start = time.perf_counter()
        fitted = fit_other(member, data.X, y, spec.weights(data.sample_weight), spec.sample_indices, metadata)
        if task.verbose:
            seconds = time.perf_counter() - start
            print(f"{spec.name}: {type(spec.estimator).__name__} trained in {seconds:.1f} s", flush=True)
    return fitted


def check_own_fits(members: Sequence[MemberSpec], engine: str) -> None:
    """Raise where `engine="fused"` is not possible, since a network is trained inside another estimator.

    Parameters
    ----------
    members : list of MemberSpec
    engine : str
    """
    if engine != "fused":
        return
    for member in members:
        if isinstance(member.estimator, BaseWrapper):
            continue
        for network in _networks_in(member.estimator):
            if _is_ensemble(network) and network.get_params(deep=False)["engine"] == "fused":
                continue
            name, inner = type(member.estimator).__name__, type(network).__name__
            own = "" if name == inner else f", and with it {inner},"
            way_out = "its own engine='fused'" if _is_ensemble(network) else "the network itself as the member"
            raise NotFusableError(
                f"engine='fused' is not possible: {name}{own} is trained by a fit of its own. Use {way_out}, or "
                "engine='auto' or 'keras'."
            )


def trains_networks(estimator: BaseEstimator) -> bool:
    """Whether a fit of an estimator trains networks."""
    return next(_networks_in(estimator), None) is not None


def engine_of(estimator: BaseEstimator) -> tuple[str | None, str | None]:
    """(engine, reason) of networks in a fitted estimator that is not a network; (None, None) if it trained none."""
    networks = list(_networks_in(estimator))
    if not networks:
        return None, None
    fitted = _fitted_in(estimator, set())
    engines = {engine for one in fitted for engine in one.split(" and ")} - {"none"}
    if not engines:
        engines = {"keras"} if any(not _is_ensemble(one) for one in networks) else {"none"}
    return " and ".join(sorted(engines)), f"{type(estimator).__name__} trains its networks by a fit of its own"


def _networks_in(value: Any, seen: Collection[int] = ()) -> Iterator[Any]:
    """Networks, and ensembles of them, that a fit of an estimator trains."""
    if is_frozen(value) or id(value) in seen:  # parameters may lead back to the estimator
        return
    if isinstance(value, BaseWrapper | keras.Model | KERAS_WRAPPERS) or _is_ensemble(value):
        yield value
        return
    parts = value.get_params(deep=False) if isinstance(value, BaseEstimator) else value
    for part in _items(parts):
        yield from _networks_in(part, {*seen, id(value)})


def _items(value: Any) -> Iterable[Any]:
    """What a container holds; nothing for what is none."""
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list | tuple) else ()


def _is_ensemble(value: Any) -> bool:
    is_own = isinstance(value, BaseEstimator) and type(value).__module__.partition(".")[0] == "skensemble"
    return is_own and not isinstance(value, BaseWrapper) and "engine" in value.get_params(deep=False)


def _fitted_in(value: Any, seen: set[int]) -> Iterator[str]:
    """Engines of the networks in the learned attributes of an estimator, and of scikit-learn objects in these."""
    if id(value) in seen or is_frozen(value):
        return
    seen.add(id(value))
    if isinstance(value, BaseWrapper | KERAS_WRAPPERS):
        if hasattr(value, "model_"):
            # An estimator that fits its networks in threads of its own does not tell them that they are in an ensemble.
            yield getattr(value, "engine_", "keras")
    elif _is_ensemble(value):
        if hasattr(value, "engine_"):
            yield value.engine_
    else:
        is_object = isinstance(value, BaseEstimator) or type(value).__module__.partition(".")[0] == "sklearn"
        for part in _items(getattr(value, "__dict__", {}) if is_object else value):
            yield from _fitted_in(part, seen)
