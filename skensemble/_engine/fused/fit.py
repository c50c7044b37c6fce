"""The fused engine: a group of members trained by one program, from the first epoch to the last."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from skensemble._engine.ensemble_stopping import EnsembleStopping
from skensemble._engine.fused.callback_run import run_with_callbacks
from skensemble._engine.fused.group_fit import group_fit
from skensemble._engine.fused.group_run import GroupRun, Logs, log_values
from skensemble._engine.group_checkpoint import GroupCheckpoint
from skensemble._engine.plan import FusedGroup
from skensemble._engine.progress import Task, count_members, print_progress
from skensemble._engine.stacked_members import FittedMember
from skensemble._engine.trajectory import TrajectoryRecorder
from skensemble._members.inputs import TrainingData

# Row orders that are drawn at once take at most this many bytes.
_ORDER_BYTES = 32 * 2**20
# Approximate number of progress lines for a training that nothing else interrupts.
_REPORTS = 10
# With a checkpoint, Python takes over at least this often (in seconds), except for longer epochs.
_LOOK_SECONDS = 0.5


def run_fused(
    group: FusedGroup,
    data: TrainingData,
    task: Task,
    recorder: TrajectoryRecorder | None = None,
    checkpoint: GroupCheckpoint | None = None,
    stopping: EnsembleStopping | None = None,
) -> list[FittedMember]:
    """The members of a group, trained by one program.

    Parameters
    ----------
    group : FusedGroup
    data : TrainingData
    task : Task
        Has not begun.
    recorder : TrajectoryRecorder, default=None
        Follows the run of a single member.
    checkpoint : GroupCheckpoint, default=None
        Where the members continue from what they had reached.
    stopping : EnsembleStopping, default=None
        Ends the training; only for members without Keras callbacks.
    """
    run = GroupRun(group.members, group_fit(group.members, data), recorder)
    saved = None
    if checkpoint is not None:
        saved = checkpoint.load()
        checkpoint.start(run.n_bytes)
    if saved is not None:
        run.resume(saved)
        if task.verbose:
            print(f"{count_members(group.members)}, resumed at epoch {run.epoch} of {run.fit.epochs}", flush=True)
    task.begin(run.fit.epochs)
    if group.members[0].has_callbacks:
        members = run_with_callbacks([member.spec for member in group.members], run, task, checkpoint, saved)
    else:
        members = _run_without_callbacks(run, task, checkpoint, saved, stopping)
    task.end(lambda: members)
    return members


def _run_without_callbacks(
    run: GroupRun,
    task: Task,
    checkpoint: GroupCheckpoint | None,
    saved: Mapping[str, Any] | None,
    stopping: EnsembleStopping | None,
) -> list[FittedMember]:
    """Train without Keras callbacks; report and save between segments of epochs."""
    fit = run.fit
    if stopping is not None and saved is not None:
        stopping.resume(saved["stopping"])
    histories: list[dict[str, list]] = [{} for _ in fit.seeds] if saved is None else saved["histories"]
    n_reports = fit.epochs if task.is_watched or stopping is not None else _REPORTS if task.verbose else 1
    for n_epochs in _segments(run, n_reports, None if checkpoint is None else _LOOK_SECONDS):
        step = task.step("epoch")
        logs = run.advance(n_epochs)
        run.record()
        _append_logs(histories, logs)
        if task.verbose:
            means = {name: values.mean(axis=1) for name, values in logs.items()}
            print_progress(f"{count_members(fit.seeds)}, epoch {run.epoch} of {fit.epochs}, mean", means)
        is_last = stopping is not None and stopping.end_epoch(run.members(histories), run.variables())
        if checkpoint is not None and not run.is_over and not is_last:
            known = {} if stopping is None else {"stopping": stopping.state()}
            checkpoint.save(partial(run.saved, histories=histories, **known))
        if step.end(partial(run.members, histories)) or is_last:
            break
    return list(run.members(histories, None if stopping is None else stopping.best(run.variables())))


def run_to_the_end(run: GroupRun) -> list[dict[str, list]]:
    """Train for all epochs, without callbacks; returns the history of each member."""
    histories: list[dict[str, list]] = [{} for _ in run.fit.seeds]
    for n_epochs in _segments(run):
        _append_logs(histories, run.advance(n_epochs))
    return histories


def _segments(run: GroupRun, n_reports: int = 1, look_seconds: float | None = None) -> Iterator[int]:
    """Number of epochs in each segment in which Python is not needed, `n_reports` of them or more.

    With `look_seconds` each takes at most about that time, in steps of 1, 2, 4, ... epochs.
    """
    fit = run.fit
    longest = max(1, min(_ORDER_BYTES // max(1, fit.indices.nbytes), -(-fit.epochs // n_reports)))
    cuts = [] if run.recorder is None else [end + 1 for end in run.recorder.last_ends(fit.epochs)]
    now = longest if look_seconds is None else 1
    while not run.is_over:
        start = run.epoch
        stop = min([fit.epochs, start + now, *(cut for cut in cuts if cut > start)])
        evaluates = fit.evaluates(start)
        stop = next((epoch for epoch in range(start + 1, stop) if fit.evaluates(epoch) != evaluates), stop)
        began = time.perf_counter()
        yield stop - start
        if look_seconds is not None and now < longest and time.perf_counter() - began < look_seconds:
            now = min(longest, 2 * now)


def _append_logs(histories: list[dict[str, list]], logs: Logs) -> None:
    for name, values in logs.items():
        for k, history in enumerate(histories):
            history.setdefault(name, []).extend(log_values(values[:, k]))
