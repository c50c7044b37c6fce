"""Training of members, and of one run whose states are kept on the way."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.divergence import warn_of_divergence
from skensemble._engine.execution import NO_CONTROLS, FitControls, Results, fit_here
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.group_checkpoint import Checkpoint
from skensemble._engine.other_members import check_own_fits
from skensemble._engine.partial_fit import history_of_member
from skensemble._engine.progress import Task
from skensemble._engine.results import MemberResult, TrainedMembers, TrainedRun
from skensemble._engine.stacked_members import estimator_of
from skensemble._engine.trajectory import Trajectory, TrajectoryRecorder
from skensemble._engine.workers.fit import check_backend, fit_parts, parts_of
from skensemble._members.given_models import check_models
from skensemble._members.inputs import TrainingData, as_inputs
from skensemble._members.spec import MemberSpec, knowing_columns, with_callbacks


def fit_members(
    members: Sequence[MemberSpec],
    data: TrainingData,
    *,
    engine: str = "auto",
    n_jobs: int | None = None,
    task: Task | None = None,
    controls: FitControls = NO_CONTROLS,
    first: int = 0,
) -> TrainedMembers:
    """Train every member that is not frozen.

    Parameters
    ----------
    members : list of MemberSpec
    data : TrainingData
    engine : {"auto", "fused", "keras"}, default="auto"
        "auto" falls back to "keras" where the fused program cannot give Keras' result; "fused" raises then.
    n_jobs : int, default=None
        Largest number of joblib workers; fewer where more do not pay.
    task : Task, default=None
        Reports progress; must not have begun. `Task.end` takes `TrainedMembers`.
    controls : FitControls, default=NO_CONTROLS
    first : int, default=0
        Position of the first of `members` in the ensemble, for the checkpoint and the numbers that callbacks get.

    Returns
    -------
    TrainedMembers

    Raises
    ------
    NotFusableError
        With `engine="fused"`, and where `controls` have a stopping: the reason in words.
    """
    checkpoint, stopping = controls.checkpoint, controls.stopping
    check_backend(n_jobs)
    check_own_fits(members, engine)
    data = data._replace(X=as_inputs(data.X))
    members = knowing_columns(with_callbacks(members, first=first), data.X.columns)
    check_models(members, len(data.X))
    members = [
        member if member.name else dataclasses.replace(member, name=f"member {i}")
        for i, member in enumerate(members, first)
    ]
    kept: Results = {}
    if checkpoint is not None:
        kept = checkpoint.begin(members, data, engine, first=first, run=None if stopping is None else stopping.rule)
    task = (Task() if task is None else task).mapped(lambda fitted: _gather(members, kept | fitted))
    numbered = dict(enumerate(members))
    if stopping is None:
        results = fit_parts(parts_of(numbered, data, engine, kept, n_jobs), data, engine, task, checkpoint)
    elif len(kept) == len(members):
        stopping.resume(kept[0].recorded or {})
        results = {}
    else:
        results = fit_here(numbered, data, engine, task, controls)
    trained = _gather(members, kept | results)
    if checkpoint is not None:
        checkpoint.clean(members)
    warn_of_divergence(kept | results)
    _name_columns(kept | results, data.X.names)
    return trained


def _gather(members: Sequence[MemberSpec], results: Results) -> TrainedMembers:
    """`TrainedMembers` from results by number; members without a result are fitted already."""
    fitted = FittedMembers([results[i].member if i in results else one.estimator for i, one in enumerate(members)])
    reports = [(result.engine, result.reason) for _, result in sorted(results.items())]
    reasons = {str(reason): engine for engine, reason in reports if engine is not None}
    engines = {name for engine, _ in reports if engine is not None for name in engine.split(" and ")} or {"none"}
    return TrainedMembers(fitted, " and ".join(sorted(engines)), "; ".join(reasons or ["no network was trained"]))


def fit_trajectory(
    member: MemberSpec,
    trajectory: Trajectory,
    data: TrainingData,
    *,
    engine: str = "auto",
    task: Task | None = None,
    checkpoint: Checkpoint | None = None,
) -> TrainedRun:
    """Train one member and keep some of its states on the way.

    Parameters
    ----------
    member : MemberSpec
        Not frozen.
    trajectory : Trajectory
    data, engine, checkpoint
        As in `fit_members`.
    task : Task, default=None
        As in `fit_members`, but `Task.end` takes `TrainedRun`.

    Returns
    -------
    TrainedRun
    """
    data = data._replace(X=as_inputs(data.X))
    check_models([member], len(data.X))
    recorder = TrajectoryRecorder(trajectory)
    (member,) = knowing_columns(with_callbacks([member]), data.X.columns)
    kept: Results = {}
    if checkpoint is not None:
        kept = checkpoint.begin([member], data, engine, run=trajectory)
    if kept:
        result = kept[0]
        recorder.resume(result.recorded or {})
    else:
        task = (Task() if task is None else task).mapped(lambda fitted: _run_of(member, recorder, fitted[0]))
        result = fit_here({0: member}, data, engine, task, FitControls(recorder, checkpoint))[0]
    warn_of_divergence({0: result})
    _name_columns({0: result}, data.X.names)
    return _run_of(member, recorder, result)


def _run_of(spec: MemberSpec, recorder: TrajectoryRecorder, result: MemberResult) -> TrainedRun:
    """`TrainedRun` from the result of its member."""
    member = result.member
    history = history_of_member(member)
    n_epochs = len(history["loss"])
    return TrainedRun(
        recorder.checkpoints(estimator_of(member), spec.seed, history),
        n_epochs,
        recorder.epoch_rates(0, n_epochs),
        recorder.sample_indices,
        recorder.batch_size,
        result.engine,
        result.reason,
    )


def _name_columns(results: Results, names: np.ndarray | None) -> None:
    """Give networks the names of the columns, as all other estimators have them."""
    for result in results.values():
        network = estimator_of(result.member)
        if names is not None and isinstance(network, BaseWrapper):
            network.feature_names_in_ = names
