"""Execution of a plan in this process: groups by the fused engine, networks by Keras, others by their own fits."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from skensemble._engine.backend import use_share_of_cores
from skensemble._engine.ensemble_stopping import EnsembleStopping, cannot_stop_together, check_one_program
from skensemble._engine.fused.fit import run_fused
from skensemble._engine.group_checkpoint import Checkpoint
from skensemble._engine.initial_values import BuiltNetwork
from skensemble._engine.keras_fit import fit_with_keras
from skensemble._engine.other_members import engine_of, fit_other_member
from skensemble._engine.plan import FusedGroup, plan_training, reason_for_keras
from skensemble._engine.progress import Task, count_members, print_progress
from skensemble._engine.results import MemberResult
from skensemble._engine.stacked_members import FittedMember
from skensemble._engine.trajectory import TrajectoryRecorder
from skensemble._members.inputs import TrainingData
from skensemble._members.inside_ensemble import inside_ensemble
from skensemble._members.spec import MemberSpec
from skensemble.exceptions import NotFusableError

Results = dict[int, MemberResult]


class FitControls(NamedTuple):
    """What follows a fit, keeps its state, or ends it; None for nothing.

    Attributes
    ----------
    recorder : TrajectoryRecorder or None
        Follows the run of a single member.
    checkpoint : Checkpoint or None
        Where the state of the fit is kept, and taken from.
    stopping : EnsembleStopping or None
        Ends the training of all members together, in this process.
    """

    recorder: TrajectoryRecorder | None = None
    checkpoint: Checkpoint | None = None
    stopping: EnsembleStopping | None = None


NO_CONTROLS = FitControls()


@inside_ensemble()
def fit_here(
    members: Mapping[int, MemberSpec],
    data: TrainingData,
    engine: str,
    task: Task,
    controls: FitControls = NO_CONTROLS,
    networks: Mapping[int, BuiltNetwork] | None = None,
) -> Results:
    """Fit members in this process.

    Parameters
    ----------
    members : dict of int to MemberSpec
        Members by their numbers in the ensemble.
    data : TrainingData
    engine : {"auto", "fused", "keras"}
    task : Task
        Must not have begun. `Task.end` takes what is returned.
    controls : FitControls, default=NO_CONTROLS
    networks : dict of int to BuiltNetwork, default=None
        Networks of members that were already built.

    Returns
    -------
    dict of int to MemberResult
    """
    use_share_of_cores()  # also in the workers of a search
    plan = plan_training(members, data, engine, networks)
    if controls.stopping is not None:
        check_one_program(plan)
    groups = [count_members(group.members) for group in plan.groups]
    tasks = task.parts([*groups, *(type(members[i].estimator).__name__ for i in plan.alone)])
    of_alone = dict(zip(plan.alone, tasks[len(groups) :], strict=True))
    results: Results = {}
    # First, since they take less time than networks: their errors come soon.
    for i in (i for i in plan.alone if i not in plan.reasons):
        other = fit_other_member(members[i], data, of_alone[i])
        results[i] = MemberResult(other, *engine_of(other))
    reasons = dict(plan.reasons)
    for group, of_group in zip(plan.groups, tasks[: len(groups)], strict=True):
        try:
            results |= _fit_group(group, data, of_group, controls)
        except NotFusableError as error:  # found in tracing only
            if controls.stopping is not None:
                raise cannot_stop_together(str(error)) from error
            reasons |= dict.fromkeys(group.numbers, reason_for_keras(engine, error))
    for i, reason in sorted(reasons.items()):
        member = fit_with_keras(members[i], data, of_alone.get(i, Task()), controls.recorder)
        results[i] = MemberResult(member, "keras", reason)
        if controls.checkpoint is not None:
            controls.checkpoint.part([i]).finish([results[i]], controls.recorder)
        if task.verbose:
            print_progress(str(members[i].name), member.history_)
    return results


def _fit_group(
    group: FusedGroup,
    data: TrainingData,
    task: Task,
    controls: FitControls,
) -> Results:
    """Fit the members of a group by one program."""
    recorder, checkpoint, stopping = controls
    reason = "members of one architecture share one program" if recorder is None else "the run is one program"

    def results(fitted: Sequence[FittedMember]) -> Results:
        return {i: MemberResult(one, "fused", reason) for i, one in zip(group.numbers, fitted, strict=True)}

    part = None if checkpoint is None else checkpoint.part(group.numbers)
    fitted = results(run_fused(group, data, task.mapped(results), recorder, part, stopping))
    if part is not None:
        part.finish(list(fitted.values()), recorder or stopping)
    return fitted
