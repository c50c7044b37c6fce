"""The training of a group by one program: the state that changes from epoch to epoch, and what of it is saved."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from operator import itemgetter
from typing import Any

import keras
import numpy as np

from skensemble._compat.scikeras import history_of
from skensemble._compat.scikeras_building import rebuild_model
from skensemble._engine.backend import get_program
from skensemble._engine.engine_choice import BYTES
from skensemble._engine.fused.group_fit import GroupFit
from skensemble._engine.initial_values import KEPT
from skensemble._engine.plan import ReadyMember, bytes_in_training
from skensemble._engine.records import RunPlan, State, Variables
from skensemble._engine.stacked_members import StackedMember, StackedMembers
from skensemble._engine.trajectory import TrajectoryRecorder
from skensemble._members.architecture import signature

Logs = dict[str, np.ndarray]
#: Where runs ask to be trained, in place of their own programs: those of a search ask together.
ASKED: ContextVar["Callable[[Advance], tuple[State, Logs]] | None"] = ContextVar("asked", default=None)


class GroupRun:
    """The training of a group of members.

    Parameters
    ----------
    members : list of ReadyMember
    fit : GroupFit
        Of these members.
    recorder : TrajectoryRecorder, default=None
        Follows the run of a single member.
    first_epoch : int, default=0
        Number of the epoch that the training begins with.

    Attributes
    ----------
    program : Program
    state : State
        Variables of all members after `epoch` epochs, as the program has them.
    epoch : int
        Number of the next epoch.
    rebuild : callable
        As in `get_program`.
    member_bytes : int
        As returned by `working_bytes`.
    expected_steps : int
        Steps of the whole training.
    by_itself : bool
        Whether it runs to its end before others go on, since its callbacks write files that others write, too.
    """

    by_itself = False

    def __init__(
        self,
        members: Sequence[ReadyMember],
        fit: GroupFit,
        recorder: TrajectoryRecorder | None = None,
        first_epoch: int = 0,
    ):
        self.fit, self.recorder, self.epoch = fit, recorder, first_epoch
        self.expected_steps = max(0, fit.epochs - first_epoch) * fit.n_steps
        if recorder is not None:
            callbacks = members[0].spec.fit_callbacks
            recorder.start(fit.prototype.model_, callbacks, members[0].indices.training, fit.batch_size)
        self.rebuild: Callable[[], keras.Model] = partial(rebuild_model, fit.prototype, fit.seeds[0])
        self.member_bytes = bytes_in_training(members[0], fit.indices.shape[1])
        # Otherwise the program holds them as constants, as Keras does.
        differ = KEPT.get() is not None or len({signature(one.model_) for one in fit.prototypes}) > 1
        self.program = get_program(fit.prototype.model_, len(members), self.rebuild, differ)
        self.state = self.program.stack([member.variables for member in members])
        if differ:
            self.state = self.program.with_hyperparameters(self.state, fit.hyperparameters)
        self._generators = [np.random.default_rng(member.spec.order_seed) for member in members]

    @property
    def is_over(self) -> bool:
        """Whether all epochs were trained."""
        return self.epoch >= self.fit.epochs

    @property
    def n_bytes(self) -> int:
        """Bytes of the variables of all members."""
        return sum(np.asarray(v).nbytes for part in self.state.variables for v in part)

    def advance(self, n_epochs: int, *, stop_on_nan: bool = False) -> Logs:
        """Train for the next epochs; returns logs of arrays of shape (n_epochs, n_members)."""
        request = Advance(self, n_epochs, stop_on_nan=stop_on_nan)
        asked = None if self.by_itself else ASKED.get()
        self.state, logs = request.alone() if asked is None else asked(request)
        self.epoch += n_epochs
        return logs

    def plan(self, first: int, n_epochs: int, *, stop_on_nan: bool) -> RunPlan:
        """What a program is told about the next epochs, beginning with epoch `first`; draws their rows."""
        fit, recorder = self.fit, self.recorder
        return RunPlan(
            fit.orders(self._generators, n_epochs),
            fit.batch_size,
            n_rows=fit.n_rows,
            learning_rates=None if recorder is None else recorder.epoch_rates(first, n_epochs),
            validation=fit.validation if fit.evaluates(first) else None,
            stop_on_nan=stop_on_nan,
            expected_steps=self.expected_steps,
        )

    def record(self, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        """Let the recorder keep the state after the last epoch, as Keras would leave it if the run ended here."""
        if self.recorder is not None and self.recorder.wants(self.epoch - 1):
            variables = self.program.unstack(self.program.finalize(self.state), 0)
            self.recorder.record(self.epoch - 1, variables, callbacks)

    def variables(self) -> Variables:
        """Variables of all members as if training ended now, as arrays."""
        variables = self.program.finalize(self.state).variables._replace(hyperparameters=())
        return variables.map(np.asarray)

    def members(
        self, histories: Sequence[Mapping[str, list]], variables: Variables | None = None
    ) -> list[StackedMember]:
        """The members as if training ended now, or with the given `variables`; `histories` are Keras'."""
        arrays = self.variables() if variables is None else variables
        prototypes, seeds = self.fit.prototypes, self.fit.seeds
        trained: dict[int, StackedMember] = {}
        for prototype in {id(prototype): prototype for prototype in prototypes}.values():
            own = [k for k, other in enumerate(prototypes) if other is prototype]
            values = arrays
            if len(own) < len(prototypes):
                values = arrays.map(itemgetter(own))
            stack = StackedMembers(prototype, [seeds[k] for k in own], values, [history_of(histories[k]) for k in own])
            trained |= {k: StackedMember(stack, i) for i, k in enumerate(own)}
        return [trained[k] for k in range(len(prototypes))]

    def saved(self, **more: Any) -> dict[str, Any]:
        """What is needed to continue from here, including `more`, as plain data and arrays."""
        return {
            "epoch": self.epoch,
            "variables": [[np.asarray(v) for v in part] for part in self.state.variables],
            "active": self.state.active,
            "generators": [generator.bit_generator.state for generator in self._generators],
            "recorder": None if self.recorder is None else self.recorder.state(),
            **more,
        }

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Continue from what `saved` returned."""
        for generator, state in zip(self._generators, saved["generators"], strict=True):
            generator.bit_generator.state = state
        if self.recorder is not None:
            self.recorder.resume(saved["recorder"])
        self.state = self.program.restore(Variables(*saved["variables"]), saved["active"])
        self.epoch = saved["epoch"]


class Advance:
    """What a run asks for: to be trained for its next epochs.

    Parameters
    ----------
    run : GroupRun
    n_epochs : int
    stop_on_nan : bool

    Attributes
    ----------
    seconds : float
        The time that its training took, or its share of the time for all.
    """

    def __init__(self, run: GroupRun, n_epochs: int, *, stop_on_nan: bool) -> None:
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
        return state, concatenated(logs)

    @property
    def n_bytes(self) -> int:
        """Bytes of the data and of the variables, about."""
        return self.run.n_bytes + sum(n_bytes_of(part) for part in self.run.fit.data if part is not None)


def n_bytes_of(array: Any) -> int:
    """Bytes that an array takes as floats."""
    return int(np.prod(array.shape)) * BYTES


def concatenated(logs: Sequence[Logs]) -> Logs:
    """Logs of epochs one after the other."""
    return logs[0] if len(logs) == 1 else {name: np.concatenate([part[name] for part in logs]) for name in logs[0]}


def log_values(values: np.ndarray) -> list:
    """What Keras logs for each epoch: a float, or an array where a metric has several values (`F1Score`).

    Parameters
    ----------
    values : ndarray of shape (n_epochs, ...)
        Of one member.
    """
    return values.astype(float).reshape(-1).tolist() if values[0].size == 1 else list(values)
