"""Runs of several fits at the same time, such as those of a search, trained by common programs."""

from __future__ import annotations

import itertools
import time
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

import keras
import numpy as np

from skensemble._compat.python import find_stacklevel
from skensemble._engine import limits
from skensemble._engine.backend import get_program, load_data, may_differ_in_rows
from skensemble._engine.choice import members_at_once
from skensemble._engine.group_fit import GroupFit
from skensemble._engine.hyperparameters import free_signature
from skensemble._engine.records import Data, RunPlan, State, ValidationData, Variables
from skensemble._numeric.host_rows import HostRows

Logs = dict[str, np.ndarray]
#: The state of a run after the epochs that it asked for, and their logs; or the exception that was raised instead.
Answer = tuple[State, Logs] | Exception

#: Row orders of all runs that are drawn at once take at most this many bytes.
_ORDER_BYTES = 128 * 2**20
#: Runs use a program for up to this many times as many members, and the additional ones are thrown away: a program for
#: their own number would have to be traced.
_MOST_PADDING = 4


class Run(Protocol):
    """The training of a group of members by a program of its own; see `GroupRun`."""

    fit: GroupFit
    program: Any
    state: State
    epoch: int
    recorder: Any
    rebuild: Callable[[], keras.Model]
    member_bytes: int
    expected_steps: int
    by_itself: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of the variables of all members."""

    def plan(self, first: int, n_epochs: int, *, stop_on_nan: bool) -> RunPlan:
        """What a program is told about the next epochs."""


class Advance:
    """What a run asks for: to be trained for its next epochs.

    Parameters
    ----------
    run : Run
    n_epochs : int
    stop_on_nan : bool

    Attributes
    ----------
    seconds : float
        The time that its training took, or its share of the time for all.
    """

    def __init__(self, run: Run, n_epochs: int, *, stop_on_nan: bool) -> None:
        self.run, self.n_epochs, self.stop_on_nan = run, n_epochs, stop_on_nan
        self.seconds = 0.0
        self._first: RunPlan | None = None

    def plan(self, first: int, n_epochs: int) -> RunPlan:
        """What a program is told about some of the epochs; called in order, since it draws the orders of their rows."""
        plan = self.run.plan(self.run.epoch + first, n_epochs, stop_on_nan=self.stop_on_nan)
        if first == 0:
            self._first = plan
        return plan

    def alone(self) -> tuple[State, Logs]:
        """By the program of the run itself."""
        state, logs = self.run.state, []
        drawn = [] if self._first is None else [self._first]
        n_drawn = sum(len(plan.orders) for plan in drawn)
        if n_drawn < self.n_epochs:
            drawn.append(self.plan(n_drawn, self.n_epochs - n_drawn))
        for plan in drawn:
            state, part = self.run.program.run(state, self.run.fit.data, plan)
            logs.append(part)
        return state, _concatenated(logs)

    @property
    def n_bytes(self) -> int:
        """Bytes of the data and of the variables, about."""
        return self.run.n_bytes + sum(_n_bytes(part) for part in self.run.fit.data if part is not None)


#: Where runs ask to be trained, in place of their own programs.
ASKED: ContextVar[Callable[[Advance], tuple[State, Logs]] | None] = ContextVar("asked", default=None)


def advance(run: Run, n_epochs: int, *, stop_on_nan: bool) -> tuple[State, Logs]:
    """The state of a run after its next epochs, and their logs."""
    asked, request = None if run.by_itself else ASKED.get(), Advance(run, n_epochs, stop_on_nan=stop_on_nan)
    return request.alone() if asked is None else asked(request)


class CommonPrograms:
    """Trains runs that ask at the same time, by one program where possible.

    What they have in common is kept from one call to the next: data on the device, and how many members the program is
    for.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, _Common] = {}

    def answer(self, requests: Sequence[Advance]) -> list[Answer]:
        """Answers in the order of the requests."""
        answers: dict[int, Answer] = {}
        groups: dict[Hashable, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(_common_key(request), []).append(i)
        for key, group in groups.items():
            for part in _at_once([requests[i] for i in group], group):
                began = time.perf_counter()
                own = [requests[i] for i in part]
                answers |= zip(part, self._answer_part(key, own), strict=True)
                _share_out(time.perf_counter() - began, own)
        return [answers[i] for i in range(len(requests))]

    def _answer_part(self, key: Hashable, requests: Sequence[Advance]) -> list[Answer]:
        if key is None or len(requests) == 1:
            return [_alone(request) for request in requests]
        common, failure = self._kept.setdefault(key, _Common()), None
        try:
            trained = common.train(requests)
        except Exception as error:  # whatever a user's loss or layer raises
            del self._kept[key]
            if common.has_begun:
                return [error] * len(requests)
            trained, failure = None, error
        if trained is not None:
            return list(trained)
        # If one of them is the cause of a failure, that shows here.
        answers = [_alone(request) for request in requests]
        if failure is not None and not any(isinstance(answer, Exception) for answer in answers):
            warnings.warn(
                f"{len(requests)} fits could not be trained together, and each was trained by itself, which takes "
                f"longer: {type(failure).__name__}: {failure}. If memory was too small, let fewer wait for each other, "
                "with `pre_dispatch` of the search.",
                RuntimeWarning,
                stacklevel=find_stacklevel(),
            )
        return answers


def _share_out(seconds: float, requests: Sequence[Advance]) -> None:
    """Give the requests their shares of a time, by their numbers of members."""
    n_members = [len(request.run.fit.seeds) for request in requests]
    for request, n in zip(requests, n_members, strict=True):
        request.seconds = seconds * n / sum(n_members)


def _alone(request: Advance) -> Answer:
    try:
        return request.alone()
    except Exception as error:
        return error


def _common_key(request: Advance) -> Hashable:
    """Equal for requests that one program can answer; None for those that it cannot."""
    run = request.run
    data, validation = run.fit.data, run.fit.validation if run.fit.evaluates(run.epoch) else None
    parts = [data] if validation is None else [data, validation.data]
    if any(_is_on_host(part) for part in parts):
        return None
    return (
        free_signature(run.fit.prototype.model_),
        request.stop_on_nan,
        run.fit.batch_size,
        None if run.recorder is None else run.fit.n_steps,
        tuple(map(_kind_of, parts)),
        None if validation is None else (validation.batch_size, validation.sample_indices.shape[1]),
        validation is not None and validation.data is data,
    )


def _is_on_host(data: Data) -> bool:
    """Whether X is never in memory as a whole, or each member has its own weights for all rows."""
    X = data.X
    large = isinstance(X, HostRows | np.memmap) or _n_bytes(X) > limits.RESIDENT_BYTES
    return large or (data.sample_weight is not None and len(data.sample_weight.shape) > 1)


def _n_bytes(X: Any) -> int:
    return int(np.prod(X.shape)) * 4


def _kind_of(data: Data) -> Hashable:
    return tuple(None if part is None else (str(part.dtype), tuple(part.shape[1:])) for part in data)


def _at_once(requests: Sequence[Advance], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of the requests that are answered at once: no more than easily fit into memory."""
    most = max(len(request.run.fit.seeds) for request in requests)
    member_bytes = max(request.run.member_bytes for request in requests)
    remaining = iter(numbers)
    for size in members_at_once(len(requests), most * member_bytes):
        yield list(itertools.islice(remaining, size))


class _Common:
    """What requests of one key share: the rows that they are trained on, and the members of the program."""

    def __init__(self) -> None:
        self._rows, self._held_out = _Rows(), _Rows()
        self._layouts: list[tuple[int, ...]] = []
        self.has_begun = False  # whether epochs were trained, beyond which nothing can be done over

    def train(self, requests: Sequence[Advance]) -> list[tuple[State, Logs]] | None:
        """States and logs of each; None where one program for all does not pay."""
        runs = [request.run for request in requests]
        counts = [count for run in runs for count in _counts(run)]
        starts = self._place(runs)
        if starts is None:
            return self._train_in_halves(requests)
        data = self._rows.joined()
        model = runs[0].fit.prototype.model_
        rows = np.asarray(runs[0].fit.data.X)  # of all that matters here
        if len(set(counts)) > 1 and not may_differ_in_rows(model, counts, runs[0].fit.batch_size, rows):
            return self._train_by_count(requests)
        if not get_program(model, len(self._layout_for(counts)), runs[0].rebuild, True).maps_members:
            return None
        states: list[State] = [run.state for run in runs]
        logs: list[list[Logs]] = [[] for _ in runs]
        layout = self._layout_for(counts)
        step = max(1, _ORDER_BYTES // (4 * len(layout) * max(layout)))
        for first, stop in _stages([request.n_epochs for request in requests], step):
            going_on = [i for i, request in enumerate(requests) if request.n_epochs >= stop]
            self.has_begun = first > 0
            own = [requests[i] for i in going_on], [states[i] for i in going_on], [starts[i] for i in going_on]
            for i, (state, part) in zip(going_on, self._train_epochs(*own, data, first, stop), strict=True):
                states[i] = state
                logs[i].append(part)
        self.has_begun = False
        return [(state, _concatenated(parts)) for state, parts in zip(states, logs, strict=True)]

    def _train_epochs(
        self,
        requests: Sequence[Advance],
        states: Sequence[State],
        starts: Sequence[tuple[int, int]],
        data: Data,
        first: int,
        stop: int,
    ) -> list[tuple[State, Logs]]:
        """States and logs of each after the epochs from `first` up to `stop`, before which they have these states."""
        runs = [request.run for request in requests]
        counts = [count for run in runs for count in _counts(run)]
        layout = self._layout_for(counts)
        program = get_program(runs[0].fit.prototype.model_, len(layout), runs[0].rebuild, True)
        places = _places(counts, layout)
        plans = [request.plan(first, stop - first) for request in requests]
        plan = self._joined_plan(plans, starts, places, layout)
        state, logs = program.run(_joined_state(program, states, places), data, plan)
        return _split(runs, state, logs, places)

    def _train_by_count(self, requests: Sequence[Advance]) -> list[tuple[State, Logs]] | None:
        """`train`, separately for requests with different numbers of rows."""
        groups: dict[Hashable, list[int]] = {}
        for i, request in enumerate(requests):
            groups.setdefault(tuple(sorted(_counts(request.run))), []).append(i)
        if len(groups) == 1:
            return None
        answers: dict[int, tuple[State, Logs]] = {}
        for group in groups.values():
            own = [requests[i] for i in group]
            trained = self.train(own) if len(own) > 1 else None
            answers |= zip(group, trained or [request.alone() for request in own], strict=True)
        return [answers[i] for i in range(len(requests))]

    def _train_in_halves(self, requests: Sequence[Advance]) -> list[tuple[State, Logs]]:
        """`train` for requests whose data together are too large."""
        half = len(requests) // 2
        answers: list[tuple[State, Logs]] = []
        for part in (requests[:half], requests[half:]):
            trained = self.train(part) if len(part) > 1 else None
            answers += [request.alone() for request in part] if trained is None else trained
        return answers

    def _place(self, runs: Sequence[Run]) -> list[tuple[int, int]] | None:
        """Where the data of each run, and its validation data, begin in the common data; None if they are too large.

        Data of earlier runs are left out if there are too many.
        """
        for _ in range(2):
            starts = self._placed(runs)
            if max(self._rows.n_bytes, self._held_out.n_bytes) <= limits.RESIDENT_BYTES:
                return starts
            self._rows, self._held_out = _Rows(), _Rows()
        return None

    def _placed(self, runs: Sequence[Run]) -> list[tuple[int, int]]:
        starts = []
        for run in runs:
            start, held_out = self._rows.place(run.fit.data), 0
            validation = run.fit.validation
            if validation is not None and validation.data is run.fit.data:
                held_out = start
            elif validation is not None:
                held_out = self._held_out.place(validation.data)
            starts.append((start, held_out))
        return starts

    def _layout_for(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Numbers of rows of all members of a program, in descending order, among them `counts`."""
        wanted = Counter(counts)
        for layout in self._layouts:
            if len(layout) <= _MOST_PADDING * len(counts) and wanted <= Counter(layout):
                return layout
        self._layouts.append(tuple(sorted(counts, reverse=True)))
        return self._layouts[-1]

    def _joined_plan(
        self,
        plans: Sequence[RunPlan],
        starts: Sequence[tuple[int, int]],
        places: np.ndarray,
        layout: tuple[int, ...],
    ) -> RunPlan:
        """The plans of all runs as one plan for the program."""
        first = plans[0]
        # It does not matter which rows the members read that are thrown away.
        orders = np.broadcast_to(np.arange(max(layout), dtype="int32") % self._rows.n_rows, (1, 1, max(layout)))
        orders = np.repeat(np.repeat(orders, len(first.orders), 0), len(layout), 1)
        member = itertools.count()
        for plan, (start, _) in zip(plans, starts, strict=True):
            for k in range(plan.orders.shape[1]):
                orders[:, places[next(member)], : plan.orders.shape[2]] = plan.orders[:, k] + start
        return RunPlan(
            orders,
            first.batch_size,
            n_rows=None if len(set(layout)) == 1 else layout,
            learning_rates=_joined_rates(plans, places, len(layout)),
            validation=self._joined_validation(plans, starts, places, len(layout)),
            stop_on_nan=first.stop_on_nan,
            expected_steps=max(plan.expected_steps or 0 for plan in plans),
        )

    def _joined_validation(
        self, plans: Sequence[RunPlan], starts: Sequence[tuple[int, int]], places: np.ndarray, n_members: int
    ) -> ValidationData | None:
        if plans[0].validation is None:
            return None
        own = [
            np.asarray(plan.validation.sample_indices) + start
            for plan, (_, start) in zip(plans, starts, strict=True)
            if plan.validation is not None
        ]
        indices = _by_place(np.concatenate(own), places, n_members)
        rows = self._held_out if self._held_out.n_rows else self._rows
        return ValidationData(rows.joined(), indices, plans[0].validation.batch_size)


class _Rows:
    """Data of several fits, concatenated; equal data only once."""

    def __init__(self) -> None:
        self._parts: list[tuple[Data, Data]] = []
        self._joined: Data | None = None
        self.n_rows = self.n_bytes = 0

    def place(self, data: Data) -> int:
        """Number of the row at which these data begin."""
        start = 0
        for given, known in self._parts:
            if given is data or _are_equal(known, data):
                return start
            start += len(known.y)
        arrays = Data(*(None if part is None else np.asarray(part) for part in data))
        self._parts.append((data, arrays))
        self.n_rows, self._joined = self.n_rows + len(arrays.y), None
        self.n_bytes += arrays.X.nbytes
        return start

    def joined(self) -> Data:
        """All of them, loaded for programs."""
        if self._joined is None:
            parts = zip(*(known for _, known in self._parts), strict=True)
            self._joined = load_data(*(None if part[0] is None else np.concatenate(part) for part in parts))
        return self._joined


#: This many rows distinguish most data, before all rows are compared.
_N_COMPARED = 16


def _are_equal(known: Data, other: Data) -> bool:
    for a, b in zip(known, other, strict=True):
        if a is None or b is None:
            if a is not b:
                return False
            continue
        few = np.linspace(0, len(a) - 1, _N_COMPARED).astype(int)
        if a.shape != tuple(b.shape):
            return False
        b = np.asarray(b)
        if not (np.array_equal(a[few], b[few], equal_nan=True) and np.array_equal(a, b, equal_nan=True)):
            return False
    return True


def _stages(n_epochs: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """(first, stop) of epochs in which the same requests are trained, by their numbers of epochs; `most` per stage."""
    first = 0
    for end in sorted(set(n_epochs)):
        while first < end:
            stop = min(end, first + most)
            yield first, stop
            first = stop


def _counts(run: Run) -> tuple[int, ...]:
    """How many rows each member is trained on."""
    return run.fit.n_rows or (run.fit.indices.shape[1],) * len(run.fit.seeds)


def _places(counts: Sequence[int], layout: tuple[int, ...]) -> np.ndarray:
    """The place of each member in the layout, with the same number of rows."""
    free: dict[int, list[int]] = {}
    for place, count in enumerate(layout):
        free.setdefault(count, []).append(place)
    taken = {count: iter(places) for count, places in free.items()}
    return np.array([next(taken[count]) for count in counts])


def _by_place(values: np.ndarray, places: np.ndarray, n_members: int) -> np.ndarray:
    """Values of the members at their places; elsewhere those of the first member."""
    source = np.zeros(n_members, int)
    source[places] = np.arange(len(places))
    return values[source]


def _joined_state(program: Any, states: Sequence[State], places: np.ndarray) -> State:
    stacked = [
        [_by_place(np.concatenate(arrays), places, program.n_members) for arrays in zip(*part, strict=True)]
        for part in zip(*([[np.asarray(v) for v in own] for own in state.variables] for state in states), strict=True)
    ]
    active = _by_place(np.concatenate([state.active for state in states]), places, program.n_members)
    return program.restore(Variables(*stacked), active)


def _joined_rates(plans: Sequence[RunPlan], places: np.ndarray, n_members: int) -> np.ndarray | None:
    if plans[0].learning_rates is None:
        return None
    rates = []
    for plan in plans:
        own = np.asarray(plan.learning_rates, "float32")
        n_own = plan.orders.shape[1]
        rates.append(own if own.ndim > 2 else np.repeat(own[:, :, None], n_own, 2))
    return np.moveaxis(_by_place(np.moveaxis(np.concatenate(rates, 2), 2, 0), places, n_members), 0, 2)


def _split(runs: Sequence[Run], state: State, logs: Logs, places: np.ndarray) -> list[tuple[State, Logs]]:
    """The state and the logs of each run."""
    variables = [[np.asarray(v) for v in part] for part in state.variables]
    answers, first = [], 0
    for run in runs:
        own = places[first : first + len(run.fit.seeds)]
        first += len(own)
        part = Variables(*([keras.ops.convert_to_tensor(v[own]) for v in values] for values in variables))
        own_state = State(part, state.active[own], state.epochs_run[own])
        answers.append((own_state, {name: values[:, own] for name, values in logs.items()}))
    return answers


def _concatenated(logs: Sequence[Logs]) -> Logs:
    return logs[0] if len(logs) == 1 else {name: np.concatenate([part[name] for part in logs]) for name in logs[0]}
