"""The work of training members, estimated from one network of each estimator, which is built and not trained."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from skensemble._compat.keras import row_products
from skensemble._compat.scikeras import BaseWrapper, fit_override, given_callbacks
from skensemble._engine.initial_values import BuiltNetwork, build_network
from skensemble._engine.other_members import trains_networks
from skensemble._engine.plan import (
    check_fusable_estimator,
    check_fusable_network,
    count_values,
    families,
    reason_for_keras,
)
from skensemble._engine.workers.parts import Work, network_work, other_work
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inputs import TrainingData
from skensemble._members.spec import MemberSpec
from skensemble.exceptions import NotFusableError


def count_work(
    members: Mapping[int, MemberSpec], data: TrainingData, engine: str
) -> tuple[list[Work], dict[int, BuiltNetwork]]:
    """The work of the members, and the networks that were built to estimate it.

    Parameters
    ----------
    members : dict of int to MemberSpec
        Members by their numbers in the ensemble.
    data : TrainingData
    engine : {"auto", "fused", "keras"}

    Returns
    -------
    works : list of Work
        For the members of each estimator that is to be trained.
    networks : dict of int to BuiltNetwork
        One for all copies of an estimator that may be trained by a program, by their numbers.

    Raises
    ------
    NotFusableError
        With `engine="fused"`, where a network cannot be: the reason in words.
    """
    works: list[Work] = []
    networks: dict[int, BuiltNetwork] = {}
    for family in families(members):
        specs = [members[i] for i in family]
        if not isinstance(specs[0].estimator, BaseWrapper):
            works += [_work_of_other(i, members[i], data) for i in family]
            continue
        prototype = specs[0].new_estimator()
        arguments = FitArguments.of(prototype)
        built, is_fused = _build(prototype, arguments, specs, data, engine)
        if built is not None and is_fused:
            networks |= dict.fromkeys(family, built)
        n_rows = sum(_count_rows(spec, data) for spec in specs) // len(specs)
        model = None if built is None else prototype.model_
        runs_eagerly = model is not None and model.run_eagerly
        works.append(
            network_work(
                family,
                n_values=0 if model is None else count_values(model),
                row_products=0 if model is None else row_products(model),
                n_rows=n_rows,
                epochs=arguments.epochs,
                batch_size=arguments.train_batch_size(n_rows),
                trained_by="program" if is_fused else "keras eagerly" if runs_eagerly else "keras",
            )
        )
    return works, networks


def _build(
    prototype: BaseWrapper, arguments: FitArguments, specs: Sequence[MemberSpec], data: TrainingData, engine: str
) -> tuple[BuiltNetwork | None, bool]:
    """The network of an estimator (None where its own `fit` has to build it), and whether a program may train it."""
    try:
        check_fusable_estimator(prototype, arguments)
        may_be_fused = True
    except NotFusableError as error:
        if engine != "keras":
            reason_for_keras(engine, error)
        may_be_fused = False
    if fit_override(prototype) is not None:
        return None, False
    with given_callbacks(prototype, specs[0].callbacks):
        built = build_network(prototype, specs[0].seed, data.X.floats, data.y)
    if engine == "keras" or not may_be_fused:
        return built, False
    try:
        check_fusable_network(prototype, specs, data.X.floats, engine)
    except NotFusableError as error:
        reason_for_keras(engine, error)
        return built, False
    return built, True


def _work_of_other(number: int, spec: MemberSpec, data: TrainingData) -> Work:
    row: Any = data.X.row_shape
    n_numbers = _count_rows(spec, data) * math.prod(row)
    return other_work(number, n_numbers=n_numbers, has_network=trains_networks(spec.estimator))


def _count_rows(spec: MemberSpec, data: TrainingData) -> int:
    return len(data.y) if spec.sample_indices is None else len(spec.sample_indices)
