"""Planning: which members share a program, which engine trains each of them, and why. Builds networks, trains none."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import keras
from sklearn.base import BaseEstimator

from skensemble._compat.keras import layer_output_shapes
from skensemble._compat.scikeras import (
    BaseWrapper,
    encode_features,
    encode_target,
    fit_override,
    given_callbacks,
    has_own_encoders,
)
from skensemble._engine.all_backends.hyperparameters import free_signature
from skensemble._engine.backend import may_differ_in_rows, why_not_fusable
from skensemble._engine.callbacks import stops_on_nan, why_not_per_epoch
from skensemble._engine.engine_choice import members_at_once, why_keras, working_bytes
from skensemble._engine.initial_values import BuiltNetwork, initialize_members
from skensemble._engine.partial_fit import started
from skensemble._engine.records import Variables
from skensemble._keras_objects.ensemble_layers import with_columns
from skensemble._members.architecture import signature
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inputs import TrainingData
from skensemble._members.sample_weights import SampleIndices, sample_indices_of
from skensemble._members.spec import MemberSpec, is_frozen
from skensemble._numeric.lazy_rows import LazyRows
from skensemble.exceptions import NotFusableError


@dataclasses.dataclass(frozen=True, eq=False)
class ReadyMember:
    """A member ready for the fused engine.

    Attributes
    ----------
    spec : MemberSpec
    prototype : scikeras estimator
        Initialized; one for all copies of an estimator.
    arguments : FitArguments
    indices : SampleIndices
        One object for members of an estimator that train and validate on the same rows.
    variables : Variables
        Its starting values.
    """

    spec: MemberSpec
    prototype: BaseWrapper
    arguments: FitArguments
    indices: SampleIndices
    variables: Variables

    @property
    def has_callbacks(self) -> bool:
        """Whether it has Keras callbacks of its own, and so is a scikeras estimator right after training."""
        return self.spec.callbacks is not None and any(self.spec.callbacks)


@dataclasses.dataclass(frozen=True, eq=False)
class FusedGroup:
    """Members that are trained together by one program, and their numbers in the ensemble."""

    numbers: list[int]
    members: list[ReadyMember]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingPlan:
    """How members are trained.

    Attributes
    ----------
    groups : list of FusedGroup
    alone : list of int
        Numbers of the other members, each trained by its own fit.
    reasons : dict of int to str
        Why Keras' own fit trains those of `alone` that are networks.
    """

    groups: list[FusedGroup]
    alone: list[int]
    reasons: dict[int, str]


def plan_training(
    members: Mapping[int, MemberSpec],
    data: TrainingData,
    engine: str,
    networks: Mapping[int, BuiltNetwork] | None = None,
) -> TrainingPlan:
    """Plan the training of members.

    Parameters
    ----------
    members : dict of int to MemberSpec
        Members by their numbers in the ensemble, with their own callbacks (`with_callbacks`); none is frozen.
    data : TrainingData
    engine : {"auto", "fused", "keras"}
        With "auto", networks for which a program does not pay are trained by Keras, too.
    networks : dict of int to BuiltNetwork, default=None
        Networks of members that were already built.

    Raises
    ------
    NotFusableError
        With `engine="fused"`, where the fused program cannot give Keras' result: the reason in words.
    """
    ready: dict[int, ReadyMember] = {}
    reasons: dict[int, str] = {}
    for family in families(members):
        specs = [members[i] for i in family]
        if not isinstance(specs[0].estimator, BaseWrapper):
            continue
        if engine == "keras":
            reasons.update(dict.fromkeys(family, "Keras' own fit, as asked"))
            continue
        try:
            built = None if networks is None else networks.get(family[0])
            ready.update(zip(family, _prepare_family(specs, data, engine, built), strict=True))
        except NotFusableError as error:
            reasons.update(dict.fromkeys(family, reason_for_keras(engine, error)))
    groups = [FusedGroup(numbers, [ready[i] for i in numbers]) for numbers in _group_by_program(ready, data)]
    return TrainingPlan(groups, [i for i in members if i not in ready], reasons)


def reason_for_keras(engine: str, error: NotFusableError) -> str:
    """Why Keras' own fit is used where the program is not possible; raises if only the program was asked for."""
    if engine == "fused":
        raise NotFusableError(f"engine='fused' is not possible: {error}. Use engine='auto' or 'keras'.") from error
    return f"Keras' own fit, because {error}"


def families(members: Mapping[int, MemberSpec]) -> list[list[int]]:
    """Numbers of the members to train, grouped by estimators that differ at most in the seed."""
    found: list[list[int]] = []
    for i, member in members.items():
        if is_frozen(member.estimator):
            continue
        for family in found:
            if _is_same(members[family[0]].estimator, member.estimator):
                family.append(i)
                break
        else:
            found.append([i])
    return found


def _is_same(estimator: BaseEstimator, other: BaseEstimator) -> bool:
    if estimator is other:
        return True
    if type(estimator) is not type(other) or not isinstance(estimator, BaseWrapper):
        return False
    try:
        return bool(estimator.get_params() | {"random_state": None} == other.get_params() | {"random_state": None})
    except ValueError:  # arrays among the parameters have no single truth
        return False


def _prepare_family(
    specs: Sequence[MemberSpec], data: TrainingData, engine: str, built: BuiltNetwork | None
) -> list[ReadyMember]:
    """Members that have the same estimator, ready for the fused engine; raises `NotFusableError` with the reason."""
    if built is not None and built.seed != specs[0].seed:  # of another member
        built = None
    prototype = specs[0].new_estimator() if built is None else built.estimator
    arguments = FitArguments.of(prototype)
    check_fusable_estimator(prototype, arguments)
    X, y = data.X.floats, data.y
    with given_callbacks(prototype, specs[0].callbacks):
        check = partial(check_fusable_network, prototype, specs, X, engine)
        states = initialize_members(prototype, [spec.seed for spec in specs], X, y, check, built)
    indices: dict[Any, SampleIndices] = {}
    ready = []
    for spec, state in zip(specs, states, strict=True):
        key = id(spec.sample_indices), id(spec.validation_indices), spec.is_weighted
        if key not in indices:
            indices[key] = sample_indices_of(spec, prototype, arguments, y, spec.weights(data.sample_weight))
        state = started(prototype.model_, state, spec.start)
        variables = Variables(*with_columns(state, prototype.model_, spec.columns))
        ready.append(ReadyMember(spec, prototype, arguments, indices[key], variables))
    return ready


def check_fusable_estimator(estimator: BaseWrapper, arguments: FitArguments) -> None:
    """Raise `NotFusableError` where an estimator, which need not be built, trains in a way that no program knows."""
    override = fit_override(estimator)
    if override is not None:
        raise NotFusableError(f"{override} trains in a way of its own")
    if arguments.initial_epoch:
        raise NotFusableError("the fused program starts at epoch 0, not at a later `initial_epoch`")
    check_fusable_arguments(arguments)


def check_fusable_arguments(arguments: FitArguments) -> None:
    """Raise `NotFusableError` where there are arguments of `Model.fit` that no program knows."""
    if arguments.others:
        raise NotFusableError(f"the argument {min(arguments.others)!r} of Model.fit is not known to the fused program")
    if not isinstance(arguments.validation_data, tuple | list | None):
        raise NotFusableError("`validation_data` is no tuple of arrays")
    if arguments.shuffle not in (None, True, False):
        raise NotFusableError(f"rows are shuffled all together or not at all: got shuffle={arguments.shuffle!r}")


def check_fusable_network(prototype: BaseWrapper, specs: Sequence[MemberSpec], X: Any, engine: str) -> None:
    """Raise `NotFusableError` where the network of members should not be trained by a program."""
    callbacks = [callback for spec in specs if spec.callbacks is not None for callback in spec.callbacks.fit]
    reason = why_not_fusable(prototype.model_) or why_not_per_epoch(callbacks)
    if reason is None and isinstance(encode_features(prototype, X[:1]), list | tuple | dict):
        reason = "the network takes several inputs"
    if reason is None and engine == "auto" and not isinstance(X, LazyRows):  # which Keras' own fit reads as a whole
        reason = why_keras(count_values(prototype.model_))
    if reason is not None:
        raise NotFusableError(reason)
    signature(prototype.model_)  # raises where a loss, metric or optimizer cannot be described


def count_values(model: keras.Model) -> int:
    """Trainable values of a network."""
    return sum(math.prod(variable.shape) for variable in model.trainable_variables)


def _group_by_program(members: Mapping[int, ReadyMember], data: TrainingData) -> Iterator[list[int]]:
    """Numbers of the members that are trained together, in groups that easily fit into memory."""
    for group in _group_by_steps(members, data):
        first = 0
        for size in members_at_once(len(group), bytes_in_training(members[group[0]], len(data.X))):
            yield group[first : first + size]
            first += size


def bytes_in_training(member: ReadyMember, n_rows: int) -> int:
    """Bytes that a program needs at most for a member that is trained on `n_rows`."""
    model = member.prototype.model_
    shapes = layer_output_shapes(model)
    n_activations = sum(math.prod(d or 1 for d in shape[1:]) for shape in shapes)
    return working_bytes(count_values(model), n_activations, member.arguments.train_batch_size(n_rows))


def _group_by_steps(members: Mapping[int, ReadyMember], data: TrainingData) -> Iterator[list[int]]:
    """Numbers of the members whose steps can be done together, in groups."""
    groups: dict[Any, list[int]] = {}
    for i, member in members.items():
        groups.setdefault(_program_key(member, data), []).append(i)
    n_rows = {i: len(member.indices.training) for i, member in members.items()}
    for group in groups.values():
        if _may_differ_in_rows(members[group[0]], [n_rows[i] for i in group], data):
            # One program for the same numbers in any order.
            yield sorted(group, key=lambda i: n_rows[i], reverse=True)
            continue
        for n in dict.fromkeys(n_rows[i] for i in group):
            yield [i for i in group if n_rows[i] == n]


def _may_differ_in_rows(member: ReadyMember, n_rows: list[int], data: TrainingData) -> bool:
    """Whether members like this one, with `n_rows` each, should be trained together."""
    arguments = member.arguments
    if _is_alone(member) or -1 in (arguments.batch_size, arguments.validation_batch_size):
        return False
    batch_size = arguments.train_batch_size(max(n_rows))
    return may_differ_in_rows(member.prototype.model_, n_rows, batch_size, data.X.floats)


def _program_key(member: ReadyMember, data: TrainingData) -> Any:
    """What members that are trained together have in common: architecture, batches, epochs."""
    prototype, validation = member.prototype, member.indices.validation
    callbacks = [] if member.spec.callbacks is None else member.spec.callbacks.fit
    return (
        free_signature(prototype.model_),
        encode_target(prototype, data.y[:1]).shape,
        member.arguments.key,
        None if validation is None else len(validation),
        member.spec.is_weighted,
        (id(prototype), member.has_callbacks, stops_on_nan(callbacks)) if _is_alone(member) else None,
    )


def _is_alone(member: ReadyMember) -> bool:
    """Whether copies of an estimator are trained without others, and all on the same number of rows."""
    given = member.arguments.validation_data
    return member.has_callbacks or has_own_encoders(member.prototype) or given is not None
