"""Programs for several fits at the same time: which fits share one, and how they are trained by it."""

import itertools
import time
import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from skensemble._compat.python import find_stacklevel
from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.hyperparameters import free_signature
from skensemble._engine.backend import may_differ_in_rows
from skensemble._engine.engine_choice import members_at_once
from skensemble._engine.fused.group_run import Advance, Logs, concatenated, n_bytes_of
from skensemble._engine.records import Data, State
from skensemble._numeric.host_rows import HostRows
from skensemble._search.joined_runs import JoinedData, JoinedRuns, counts_of

#: The state of a run after the epochs that it asked for, and their logs; or the exception that was raised instead.
Answer = tuple[State, Logs] | Exception

#: Row orders of all runs that are drawn at once take at most this many bytes.
_ORDER_BYTES = 128 * 2**20
#: Runs use a program for up to this many times as many members, and the additional ones are thrown away: a program for
#: their own number would have to be traced.
_MOST_PADDING = 4


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

    def _answer_part(self, key: Hashable, requests: Sequence[Advance]) -> Sequence[Answer]:
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
            return trained
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
    large = isinstance(X, HostRows | np.memmap) or n_bytes_of(X) > limits.RESIDENT_BYTES
    return large or (data.sample_weight is not None and len(data.sample_weight.shape) > 1)


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
        self._data = JoinedData()
        self._layouts: list[tuple[int, ...]] = []
        self.has_begun = False  # whether epochs were trained, after which it is too late to start anew

    def train(self, requests: Sequence[Advance]) -> list[tuple[State, Logs]] | None:
        """States and logs of each; None where one program for all does not pay."""
        runs = [request.run for request in requests]
        starts = self._data.place(runs)
        if starts is None:
            half = len(runs) // 2
            return self._train_parts(requests, [range(half), range(half, len(runs))])
        model, counts = runs[0].fit.prototype.model_, counts_of(runs)
        rows = np.asarray(runs[0].fit.data.X)  # all are of one kind: those of the first run stand for them
        if len(set(counts)) > 1 and not may_differ_in_rows(model, counts, runs[0].fit.batch_size, rows):
            by_counts: dict[Any, list[int]] = {}
            for i, run in enumerate(runs):
                by_counts.setdefault(tuple(sorted(counts_of([run]))), []).append(i)
            return self._train_parts(requests, by_counts.values()) if len(by_counts) > 1 else None
        layout = self._layout_for(counts)
        if not JoinedRuns(runs, layout).program.maps_members:
            return None
        states: list[State] = [run.state for run in runs]
        logs: list[list[Logs]] = [[] for _ in runs]
        step = max(1, _ORDER_BYTES // (4 * len(layout) * max(layout)))
        for first, stop in _stages([request.n_epochs for request in requests], step):
            going_on = [i for i, request in enumerate(requests) if request.n_epochs >= stop]
            self.has_begun = first > 0
            own = [runs[i] for i in going_on]
            joined = JoinedRuns(own, self._layout_for(counts_of(own)))
            plans = [requests[i].plan(first, stop - first) for i in going_on]
            plan = joined.plan(plans, [starts[i] for i in going_on], self._data)
            trained = joined.program.run(joined.state([states[i] for i in going_on]), self._data.training, plan)
            for i, (state, part) in zip(going_on, joined.split(*trained), strict=True):
                states[i] = state
                logs[i].append(part)
        self.has_begun = False
        return [(state, concatenated(parts)) for state, parts in zip(states, logs, strict=True)]

    def _train_parts(self, requests: Sequence[Advance], parts: Iterable[Sequence[int]]) -> list[tuple[State, Logs]]:
        """`train` for some requests after the others; `parts` holds their numbers."""
        answers: dict[int, tuple[State, Logs]] = {}
        for part in parts:
            own = [requests[i] for i in part]
            trained = self.train(own) if len(own) > 1 else None
            answers |= zip(part, trained or [request.alone() for request in own], strict=True)
        return [answers[i] for i in range(len(requests))]

    def _layout_for(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Numbers of rows of all members of a program, in descending order, among them `counts`."""
        wanted = Counter(counts)
        for layout in self._layouts:
            if len(layout) <= _MOST_PADDING * len(counts) and wanted <= Counter(layout):
                return layout
        self._layouts.append(tuple(sorted(counts, reverse=True)))
        return self._layouts[-1]


def _stages(n_epochs: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """(first, stop) of epochs in which the same requests are trained, by their numbers of epochs; `most` per stage."""
    first = 0
    for end in sorted(set(n_epochs)):
        while first < end:
            stop = min(end, first + most)
            yield first, stop
            first = stop
