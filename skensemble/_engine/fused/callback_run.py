"""Training with Keras callbacks: epoch by epoch, with each member's own callbacks called in between."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from sklearn.base import clone

from skensemble._compat.scikeras import BaseWrapper, fit_callbacks, history_of
from skensemble._compat.scikeras_building import rebuild_model, replace_model
from skensemble._engine.callbacks import MemberCallbacks, stops_on_nan
from skensemble._engine.fused.group_run import GroupRun, Logs, log_values
from skensemble._engine.group_checkpoint import GroupCheckpoint
from skensemble._engine.progress import Task, print_progress
from skensemble._engine.records import Data
from skensemble._engine.stacked_members import FittedMember
from skensemble._engine.variables import read_state, write_state
from skensemble._members.callback_factories import writes_files
from skensemble._members.spec import MemberSpec


def run_with_callbacks(
    specs: Sequence[MemberSpec],
    run: GroupRun,
    task: Task,
    checkpoint: GroupCheckpoint | None,
    saved: Mapping[str, Any] | None,
) -> list[FittedMember]:
    """Train members with their own Keras callbacks; see `run_fused`."""
    callback_run = CallbackRun(run, [_build(run.fit.prototype, spec) for spec in specs])
    if saved is not None:
        callback_run.resume(saved)
    while callback_run.running and not run.is_over:
        step = task.step("epoch")
        logs = callback_run.advance()
        if task.verbose:
            means = {name: values[:, callback_run.running].mean(axis=1) for name, values in logs.items()}
            who = f"{len(callback_run.running)} of {len(callback_run.members)} members"
            print_progress(f"{who}, epoch {run.epoch} of {run.fit.epochs}, mean", means)
        callback_run.end_stopped(stop_all=step.end(partial(callback_run.members_now, list(callback_run.running))))
        if checkpoint is not None and callback_run.running and callback_run.can_be_saved:
            checkpoint.save(callback_run.saved)
    return list(callback_run.members)


class CallbackRun:
    """The models of the members of a group, which their callbacks see, next to the run of the program.

    Parameters
    ----------
    run : GroupRun
    members : list of scikeras estimator
        Initialized, with the callbacks of each.
    verbose : int, default=0
        Whether each prints as Keras' `fit` does, and how.

    Attributes
    ----------
    reads_variables : bool
        Whether the variables of all members must be in their models, since one of them needs that.
    running : list of int
        Members whose training has not ended.
    """

    def __init__(self, run: GroupRun, members: list[BaseWrapper], verbose: int = 0) -> None:
        self.run, self.members = run, members
        self.models = [member.model_ for member in self.members]
        for model in self.models:
            _build_metrics(model, run.fit.data)
        self.watchers = [
            MemberCallbacks(fit_callbacks(m), m.model_, run.fit.epochs, run.fit.n_steps, verbose) for m in self.members
        ]
        self.reads_variables = any(watcher.reads_variables for watcher in self.watchers)
        run.by_itself = any(writes_files(fit_callbacks(member)) for member in members)
        self.running = list(range(len(self.members)))
        for k, watcher in enumerate(self.watchers):
            write_state(self.models[k], run.program.unstack(run.state, k))
            watcher.begin()

    def advance(self) -> Logs:
        """Train for an epoch, and call the callbacks before and after it."""
        run, epoch = self.run, self.run.epoch
        for k in self.running:
            self.watchers[k].begin_epoch(epoch)
        run.state = self._state_of_models()
        logs = run.advance(1, stop_on_nan=stops_on_nan(self.watchers[0].callbacks))
        for k in self.running:
            self.models[k].stop_training |= not run.state.active[k]
            if self.reads_variables:
                write_state(self.models[k], run.program.unstack(run.state, k))
            self.watchers[k].end_epoch(epoch, {name: log_values(values[:1, k])[0] for name, values in logs.items()})
        run.record(self.watchers[0].callbacks)
        return logs

    def end_stopped(self, *, stop_all: bool) -> None:
        """End the training of members that a callback stopped, or of all."""
        for k in list(self.running):
            if self.watchers[k].stopped or stop_all or self.run.is_over:
                self._end(k)

    def _end(self, k: int) -> None:
        """Leave a member as Keras leaves a model at the end of `fit`."""
        model = self.models[k]
        if not self.reads_variables:
            rate = np.asarray(model.optimizer.learning_rate)
            write_state(model, self.run.program.unstack(self.run.state, k))
            if rate != np.asarray(model.optimizer.learning_rate):
                model.optimizer.learning_rate = rate
        model.optimizer.finalize_variable_values(model.trainable_weights)
        self.watchers[k].end()
        self.members[k].history_ = history_of(model.history.history)
        self.running.remove(k)

    def members_now(self, running: Sequence[int]) -> list[FittedMember]:
        """The members as if those that are still running ended now."""
        now = self.run.members([model.history.history for model in self.models])
        return [one if k in running else self.members[k] for k, one in enumerate(now)]

    @property
    def can_be_saved(self) -> bool:
        """Whether everything that the callbacks know can be saved."""
        return all(watcher.has_state for watcher in self.watchers)

    def saved(self) -> dict[str, Any]:
        """What is needed to continue from here: of the run, the callbacks, and the members that have ended."""
        self.run.state = self._state_of_models()
        ended = {
            str(k): {"values": read_state(self.models[k]), "history": member.history_}
            for k, member in enumerate(self.members)
            if k not in self.running
        }
        return self.run.saved(watchers={str(k): self.watchers[k].state() for k in self.running}, ended=ended)

    def resume(self, saved: Mapping[str, Any]) -> None:
        """Put the members where `saved` had them; the run must have been resumed already."""
        for k, ended in saved["ended"].items():
            write_state(self.models[int(k)], ended["values"])
            self.members[int(k)].history_ = history_of(ended["history"])
        for k, known in saved["watchers"].items():
            self.watchers[int(k)].resume(known)
        self.running = [int(k) for k in saved["watchers"]]

    def _state_of_models(self) -> Any:
        """The state after what callbacks changed in the models: the learning rates, or everything."""
        program, state = self.run.program, self.run.state
        if self.reads_variables:
            values = [
                read_state(model) if k in self.running else program.unstack(state, k)
                for k, model in enumerate(self.models)
            ]
            variables = program.stack(values).variables._replace(hyperparameters=state.variables.hyperparameters)
            return dataclasses.replace(state, variables=variables)
        return program.set_learning_rates(state, [model.optimizer.learning_rate for model in self.models])


def _build(prototype: BaseWrapper, spec: MemberSpec) -> BaseWrapper:
    member = clone(prototype).set_params(random_state=spec.seed)
    if spec.callbacks is not None:
        member._fit_callbacks, member._predict_callbacks = spec.callbacks
    return replace_model(prototype, member, rebuild_model(prototype, spec.seed), history_of({}))


def _build_metrics(model: keras.Model, data: Data) -> None:
    """Let Keras choose the metrics from one row: callbacks ask them whether more is better."""
    x, y = np.asarray(data.X[:1]), np.asarray(data.y[:1])
    model.compute_metrics(x, y, model(x))
    model.reset_metrics()
