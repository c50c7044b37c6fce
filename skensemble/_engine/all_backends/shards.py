"""Members in shards of equal size, each trained in its own thread by a program of that size."""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

import numpy as np

from skensemble._engine.all_backends.base import BaseProgram
from skensemble._engine.records import Array, Data, RunPlan, State, Variables


def run_in_shards(
    shard: BaseProgram,
    n_threads: int,
    join: Callable[[Sequence[Array]], Array],
    state: State,
    data: Data,
    plan: RunPlan,
) -> tuple[State, dict[str, np.ndarray]]:
    """Like `BaseProgram.run`, for a multiple of the members that `shard` trains.

    Parameters
    ----------
    shard : BaseProgram
        For the members of one shard.
    n_threads : int
        Shards that are trained at the same time.
    join : callable
        Concatenates arrays of the backend along the members.
    state, data, plan
        Of all members; the data loaded.
    """
    size, n_members = shard.n_members, len(state.active)
    shards = [slice(start, start + size) for start in range(0, n_members, size)]

    def train(own: slice) -> tuple[State, dict[str, np.ndarray]]:
        return shard.run(_state_of(state, own), _data_of(data, own), _plan_of(plan, own))

    with ThreadPoolExecutor(n_threads) as threads:
        states, logs = zip(*threads.map(train, shards), strict=True)
    return _joined(states, join), {name: np.concatenate([log[name] for log in logs], 1) for name in logs[0]}


def _state_of(state: State, own: slice) -> State:
    return State(state.variables.map(itemgetter(own)), state.active[own], state.epochs_run[own])


def _data_of(data: Data, own: slice) -> Data:
    weights = data.sample_weight
    return data if weights is None or len(weights.shape) == 1 else data._replace(sample_weight=weights[own])


def _plan_of(plan: RunPlan, own: slice) -> RunPlan:
    rates, validation = plan.learning_rates, plan.validation
    if validation is not None:
        validation = validation._replace(
            data=_data_of(validation.data, own), sample_indices=validation.sample_indices[own]
        )
    return dataclasses.replace(
        plan,
        orders=plan.orders[:, own],
        n_rows=None if plan.n_rows is None else plan.n_rows[own],
        learning_rates=rates if rates is None or np.ndim(rates) < 3 else rates[:, :, own],
        validation=validation,
    )


def _joined(states: Sequence[State], join: Callable[[Sequence[Array]], Array]) -> State:
    return State(
        Variables.joined(join, [state.variables for state in states]),
        np.concatenate([state.active for state in states]),
        np.concatenate([state.epochs_run for state in states]),
    )
