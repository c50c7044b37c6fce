"""Several runs side by side in one program: their data, states and plans put together, and the results split again."""

import itertools
from collections.abc import Sequence
from operator import itemgetter

import keras
import numpy as np

from skensemble._engine.all_backends import limits
from skensemble._engine.backend import get_program, load_data
from skensemble._engine.fused.group_run import GroupRun, Logs
from skensemble._engine.records import Data, RunPlan, State, ValidationData, Variables

#: This many rows distinguish most data, before all rows are compared.
_N_COMPARED = 16


def counts_of(runs: Sequence[GroupRun]) -> list[int]:
    """How many rows each member of the runs is trained on."""
    return [count for run in runs for count in run.fit.n_rows or (run.fit.indices.shape[1],) * len(run.fit.seeds)]


class JoinedRuns:
    """Several runs as one.

    Parameters
    ----------
    runs : list of GroupRun
    layout : tuple of int
        Numbers of rows of all members of the program, in descending order: those of the runs, and of additional
        members, which are thrown away.

    Attributes
    ----------
    program : Program
    """

    def __init__(self, runs: Sequence[GroupRun], layout: tuple[int, ...]) -> None:
        self._runs, self._layout = runs, layout
        self._places = _places(counts_of(runs), layout)
        self.program = get_program(runs[0].fit.prototype.model_, len(layout), runs[0].rebuild, True)

    def state(self, states: Sequence[State]) -> State:
        """The states of the runs as one for the program."""
        variables = Variables.joined(np.concatenate, [state.variables.map(np.asarray) for state in states])
        active = np.concatenate([state.active for state in states])
        return self.program.restore(variables.map(self._at_places), self._at_places(active))

    def plan(self, plans: Sequence[RunPlan], starts: Sequence[tuple[int, int]], data: "JoinedData") -> RunPlan:
        """The plans of the runs as one for the program.

        Parameters
        ----------
        plans : list of RunPlan
        starts : list of (int, int)
            As returned by `JoinedData.place`.
        data : JoinedData
            Of these runs, and maybe of others.
        """
        first, most_rows = plans[0], max(self._layout)
        # Members that are thrown away may read any rows.
        orders = np.broadcast_to(np.arange(most_rows, dtype="int32") % len(data.training.y), (1, 1, most_rows))
        orders = np.repeat(np.repeat(orders, len(first.orders), 0), len(self._layout), 1)
        place = iter(self._places)
        for plan, (start, _) in zip(plans, starts, strict=True):
            for k in range(plan.orders.shape[1]):
                orders[:, next(place), : plan.orders.shape[2]] = plan.orders[:, k] + start
        return RunPlan(
            orders,
            first.batch_size,
            n_rows=None if len(set(self._layout)) == 1 else self._layout,
            learning_rates=self._rates(plans),
            validation=self._validation(plans, starts, data),
            stop_on_nan=first.stop_on_nan,
            expected_steps=max(plan.expected_steps or 0 for plan in plans),
        )

    def _rates(self, plans: Sequence[RunPlan]) -> np.ndarray | None:
        if plans[0].learning_rates is None:
            return None
        rates = []
        for plan in plans:
            own = np.asarray(plan.learning_rates, "float32")
            rates.append(own if own.ndim > 2 else np.repeat(own[:, :, None], plan.orders.shape[1], 2))
        return np.moveaxis(self._at_places(np.moveaxis(np.concatenate(rates, 2), 2, 0)), 0, 2)

    def _validation(
        self, plans: Sequence[RunPlan], starts: Sequence[tuple[int, int]], data: "JoinedData"
    ) -> ValidationData | None:
        if plans[0].validation is None:
            return None
        own = [
            np.asarray(plan.validation.sample_indices) + start
            for plan, (_, start) in zip(plans, starts, strict=True)
            if plan.validation is not None
        ]
        return ValidationData(data.held_out, self._at_places(np.concatenate(own)), plans[0].validation.batch_size)

    def split(self, state: State, logs: Logs) -> list[tuple[State, Logs]]:
        """The state and the logs of each run."""
        variables = state.variables.map(np.asarray)
        answers, first = [], 0
        for run in self._runs:
            own = self._places[first : first + len(run.fit.seeds)]
            first += len(own)
            of_run = variables.map(itemgetter(own)).map(keras.ops.convert_to_tensor)
            own_state = State(of_run, state.active[own], state.epochs_run[own])
            answers.append((own_state, {name: values[:, own] for name, values in logs.items()}))
        return answers

    def _at_places(self, values: np.ndarray) -> np.ndarray:
        """Values of the members at their places in the layout; elsewhere those of the first member."""
        source = np.zeros(len(self._layout), int)
        source[self._places] = np.arange(len(self._places))
        return values[source]


def _places(counts: Sequence[int], layout: tuple[int, ...]) -> np.ndarray:
    """The place of each member in the layout, with the same number of rows."""
    free = {count: itertools.count(layout.index(count)) for count in set(counts)}  # equal numbers are side by side
    return np.array([next(free[count]) for count in counts])


class JoinedData:
    """Data of several fits, for training and held out; equal data only once."""

    def __init__(self) -> None:
        self._training, self._held_out = _Rows(), _Rows()

    def place(self, runs: Sequence[GroupRun]) -> list[tuple[int, int]] | None:
        """Where the data of each run, and its validation data, begin; None if they are too large together.

        Data of earlier runs are left out if there are too many.
        """
        for _ in range(2):
            starts = [self._place(run) for run in runs]
            if max(self._training.n_bytes, self._held_out.n_bytes) <= limits.RESIDENT_BYTES:
                return starts
            self._training, self._held_out = _Rows(), _Rows()
        return None

    def _place(self, run: GroupRun) -> tuple[int, int]:
        start, validation = self._training.place(run.fit.data), run.fit.validation
        if validation is None:
            return start, 0
        return start, start if validation.data is run.fit.data else self._held_out.place(validation.data)

    @property
    def training(self) -> Data:
        """Rows for training, loaded for programs."""
        return self._training.joined()

    @property
    def held_out(self) -> Data:
        """Rows of validation data: others, or those of training, of which a part is held out."""
        return (self._held_out if self._held_out.n_bytes else self._training).joined()


class _Rows:
    """Data of several fits, concatenated."""

    def __init__(self) -> None:
        self._parts: list[tuple[Data, Data]] = []
        self._joined: Data | None = None
        self.n_bytes = 0

    def place(self, data: Data) -> int:
        """Number of the row at which these data begin."""
        start = 0
        for given, known in self._parts:
            if given is data or _are_equal(known, data):
                return start
            start += len(known.y)
        arrays = Data(*(None if part is None else np.asarray(part) for part in data))
        self._parts.append((data, arrays))
        self._joined = None
        self.n_bytes += arrays.X.nbytes
        return start

    def joined(self) -> Data:
        """All of them, loaded for programs."""
        if self._joined is None:
            parts = zip(*(known for _, known in self._parts), strict=True)
            self._joined = load_data(*(None if part[0] is None else np.concatenate(part) for part in parts))
        return self._joined


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
