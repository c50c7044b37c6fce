"""One run and what is kept of it: the learning rate of each step, and the variables at the ends of epochs."""

import dataclasses
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.keras import follows_schedule
from skensemble._engine.backend import why_not_fusable
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.records import Variables
from skensemble._engine.stacked_members import BuiltMember, History, StackedMember, StackedMembers
from skensemble._engine.variables import read_state
from skensemble._members.fit_arguments import FitArguments


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """What is kept of a run, and how its learning rate changes.

    Attributes
    ----------
    n_kept : int
        How many of the last states are kept.
    ends : tuple of int, default=None
        Epochs, counted from 0 and ascending, at whose ends the state is kept; None means every epoch; a run whose best
        variables are restored (`EarlyStopping`) then counts as ended with its best epoch.
    rates : callable, default=None
        `rates(learning_rate, n_steps)` returns the learning rate of each step, (n_epochs, n_steps), from that of the
        optimizer; None leaves the optimizer alone.
    keeps_optimizer : bool, default=False
        Whether the optimizer's variables are kept for every state, not only for the newest.
    """

    n_kept: int
    ends: tuple | None = None
    rates: Callable | None = None
    keeps_optimizer: bool = False

    def facts(self) -> list:
        """What can be compared with another trajectory; learning rates by their values for an example run."""
        rates = None if self.rates is None else self.rates(1.0, 7)
        return [self.n_kept, self.ends, self.keeps_optimizer, rates]


class TrajectoryRecorder:
    """Follows one run of a member.

    Attributes
    ----------
    rates : ndarray of shape (n_epochs, n_steps) or None
        The learning rate of each step.
    sample_indices : ndarray of int
        Rows that are trained on.
    batch_size : int
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self.trajectory = trajectory
        self.rates: np.ndarray | None = None
        self._kept: deque[tuple[int, Variables]] = deque(maxlen=trajectory.n_kept)
        self._best: list[tuple[int, Variables]] | None = None

    def start(
        self,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        sample_indices: np.ndarray,
        batch_size: int,
    ) -> None:
        """Compute the learning rates; called before the first step.

        Parameters
        ----------
        model : keras.Model
            Compiled.
        callbacks : list of keras.callbacks.Callback
        sample_indices : ndarray of int
        batch_size : int
        """
        self.sample_indices, self.batch_size = sample_indices, batch_size
        self._kept.clear()
        self._best = None
        if self.trajectory.rates is not None:
            _check_free_rate(model, callbacks)
            self.rates = self.trajectory.rates(
                float(model.optimizer.learning_rate), -(-len(sample_indices) // batch_size)
            )

    def epoch_rates(self, first_epoch: int, n_epochs: int) -> np.ndarray | None:
        """Learning rates of some epochs; None where the optimizer is left alone."""
        return None if self.rates is None else self.rates[first_epoch : first_epoch + n_epochs]

    def last_ends(self, n_epochs: int) -> Sequence[int]:
        """Epochs at whose ends the state is kept where the run is not stopped."""
        ends = range(n_epochs) if self.trajectory.ends is None else self.trajectory.ends
        return ends[-self.trajectory.n_kept :]

    def wants(self, epoch: int) -> bool:
        """Whether the state at the end of this epoch is kept."""
        return self.trajectory.ends is None or epoch in self.trajectory.ends

    def record(self, epoch: int, values: Variables, callbacks: Sequence[keras.callbacks.Callback] = ()) -> None:
        """Keep `values`, as returned by `read_state`, at the end of an epoch after the callbacks were called."""
        if self._kept and not self.trajectory.keeps_optimizer:
            newest, before = self._kept[-1]
            self._kept[-1] = newest, Variables(before[0], before[1], [])
        self._kept.append((epoch, values))
        if self.trajectory.ends is None and any(_has_best(callback, epoch) for callback in callbacks):
            self._best = list(self._kept)

    def state(self) -> dict[str, Any]:
        """Everything that was learned since the start, as plain data and arrays."""
        return {
            "rates": self.rates,
            "rows": self.sample_indices,
            "batch_size": self.batch_size,
            "kept": list(self._kept),
            "best": self._best,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`, in place of `start` and what came after it."""
        self.rates, self.sample_indices, self.batch_size = state["rates"], state["rows"], state["batch_size"]
        self._kept.clear()
        self._kept.extend(state["kept"])
        self._best = state["best"]

    def checkpoints(self, prototype: BaseEstimator, seed: int, history: History) -> "EpochStates | None":
        """What was kept, oldest first, as `EpochStates`; None where nothing was.

        Parameters
        ----------
        prototype : scikeras estimator
            Initialized.
        seed : int
        history : dict of str to list of float
            Of the whole run.
        """
        kept = list(self._kept) if self._best is None else self._best
        if not kept:
            return None
        trainable, non_trainable, optimizer = zip(*[values[:3] for _, values in kept], strict=True)
        if not self.trajectory.keeps_optimizer:
            optimizer = optimizer[-1:]
        parts = trainable, non_trainable, optimizer
        variables = Variables(*([np.stack(values) for values in zip(*part, strict=True)] for part in parts))
        arguments = FitArguments.of(prototype)
        histories = [_history_until(history, epoch + 1, arguments) for epoch, _ in kept]
        return EpochStates(prototype, [seed] * len(kept), variables, histories, [epoch for epoch, _ in kept])


def _history_until(history: History, n_epochs: int, arguments: FitArguments) -> History:
    """The history of the first epochs."""
    n_validated = arguments.n_evaluated(n_epochs)
    return {name: values[: n_validated if name.startswith("val_") else n_epochs] for name, values in history.items()}


def _check_free_rate(model: keras.Model, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    if follows_schedule(model.optimizer):
        raise ValueError(
            "The optimizer of `estimator` must have a number as its learning rate, which `schedule` controls: got "
            "a LearningRateSchedule. Give its optimizer a number, and the form of the cycles as `schedule`."
        )
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.LearningRateScheduler | keras.callbacks.ReduceLROnPlateau):
            raise ValueError(
                f"`estimator` must not change the learning rate itself, `schedule` does: got the callback "
                f"{type(callback).__name__}. Remove it."
            )


def _has_best(callback: keras.callbacks.Callback, epoch: int) -> bool:
    """Whether Keras would restore the variables of this epoch if the run ended here."""
    return (
        isinstance(callback, keras.callbacks.EarlyStopping)
        and callback.restore_best_weights
        and callback.best_weights is not None
        and callback.best_epoch == epoch
    )


@dataclasses.dataclass(eq=False)
class EpochStates(StackedMembers):
    """States of one run, as copies of one estimator; see `StackedMembers`.

    `variables.optimizer` may hold the values of the newest state only.

    Attributes
    ----------
    epochs : list of int
        Epochs at whose ends they were taken, counted from 0.
    """

    epochs: list[int]

    def __len__(self) -> int:
        return len(self.epochs)

    def values(self, k: int) -> Variables:
        """Variables of copy `k`, without the optimizer's where they were not kept."""
        return Variables(*([v[k] for v in part if len(v) == len(self)] for part in self.variables))

    def take(self, order: Sequence[int]) -> "EpochStates":
        """Some of the states in another order; `order` holds indices."""
        return EpochStates(
            self.prototype,
            [self.seeds[k] for k in order],
            Variables(*([v[np.asarray(order)] if len(v) == len(self) else v for v in part] for part in self.variables)),
            [self.histories[k] for k in order],
            [self.epochs[k] for k in order],
        )

    def members(self) -> FittedMembers:
        """The states as fitted members."""
        return FittedMembers([StackedMember(self, k) for k in range(len(self))])

    def predict(self, copies: list[int], built: Sequence[BuiltMember | None], X: Any) -> np.ndarray:
        """Outputs of some copies, (len(copies), n_samples, ...); `copies` holds indices."""
        if why_not_fusable(self.prototype.model_) is None:
            return super().predict(copies, built, X)
        return self._predict_alone([self.values(k)[:2] for k in copies], X)


class KerasTrajectoryRecorder(keras.callbacks.Callback):
    """Lets a `TrajectoryRecorder` follow Keras' own `fit`: the last callback, so that it sees what the others decided.

    Parameters
    ----------
    recorder : TrajectoryRecorder
        Started.
    callbacks : list of keras.callbacks.Callback
        The others.
    """

    def __init__(self, recorder: TrajectoryRecorder, callbacks: Sequence[keras.callbacks.Callback]) -> None:
        super().__init__()
        self._recorder, self._callbacks = recorder, callbacks
        self._rates: np.ndarray | None = None

    def on_train_begin(self, logs: Any = None) -> None:
        """Refuse settings that leave some steps without a learning rate."""
        rates = self._recorder.rates
        if rates is None:
            return
        if rates.shape[1] != self.params["steps"] or getattr(self.model, "steps_per_execution", 1) != 1:
            raise ValueError(
                f"`schedule` needs every epoch to visit every row once, in {rates.shape[1]} steps that Python sees: "
                f"got {self.params['steps']} steps. Leave out `steps_per_epoch` and `steps_per_execution`."
            )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Take the rates of this epoch."""
        rates = self._recorder.epoch_rates(epoch, 1)
        self._rates = None if rates is None else rates[0]

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of this step."""
        if self._rates is not None:
            self.model.optimizer.learning_rate = self._rates[batch]

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the state."""
        if self._recorder.wants(epoch):
            self._recorder.record(epoch, _finalized_state(self.model), self._callbacks)


def _finalized_state(model: keras.Model) -> Variables:
    """The variables as if training ended here: with `use_ema`, Keras then replaces them by the averages."""
    if not model.optimizer.use_ema:
        return read_state(model)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    state = read_state(model)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return state
