"""Training of members: by which engine and why, spread over joblib workers; Keras' own fit where that is the engine."""

import math
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import MultiprocessingBackend, get_active_backend
from sklearn.base import clone

from skensemble._compat import (
    BaseWrapper,
    encode_features,
    encode_target,
    extra_fit_callbacks,
    fit_arguments,
    fit_callbacks,
    fit_initialized,
    initialize,
    seeded,
    without_own_seed,
)
from skensemble._fused import clone_member, group_by_program, prepare_copies, print_progress, run_fused
from skensemble._members import FittedMembers, is_frozen
from skensemble._program import NotFusable
from skensemble._progress import KerasTask, Task
from skensemble._rows import row_weights, rows_of, train_batch_size
from skensemble._trajectory import Checkpoints, KerasRecorder, Recorder


class TrainedMembers(NamedTuple):
    """Result of `fit_members`.

    Attributes
    ----------
    estimators : FittedMembers
        In the order of the members.
    engine : str
        "fused", "keras", "fused and keras", or "none" where no network was trained.
    reason : str
        Why this engine.
    """

    estimators: FittedMembers
    engine: str
    reason: str


def fit_members(members, X, y, sample_weight=None, *, engine="auto", n_jobs=None, task=None, checkpoint=None, first=0):
    """Train every member that is not frozen.

    Parameters
    ----------
    members : list of Member
    X : ndarray of shape (n_samples, ...)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The user's labels or targets.
    sample_weight : ndarray of shape (n_samples,), default=None
    engine : {"auto", "fused", "keras"}, default="auto"
        "auto" falls back to "keras" where the fused program cannot give Keras' result; "fused" raises then.
    n_jobs : int, default=None
        Number of joblib workers.
    task : Task, default=None
        What tells how far the training is; it has not begun. `Task.end` takes `TrainedMembers`.
    checkpoint : Checkpoint, default=None
        Where the state of the fit is kept, and taken from.
    first : int, default=0
        Position of the first of `members` in the ensemble; for the checkpoint.

    Returns
    -------
    TrainedMembers

    Raises
    ------
    NotFusable
        With `engine="fused"`: the reason in words.
    """
    _check_backend(n_jobs)
    results = {}
    if checkpoint is not None:
        kept = checkpoint.begin(members, X, y, sample_weight, engine, first=first)
        results = {i: result[:3] for i, result in kept.items()}
    to_train = [i for family in _families(dict(enumerate(members))) for i in family]
    parts = np.array_split(to_train, min(len(to_train), effective_n_jobs(n_jobs))) if to_train else []
    # Finished members are taken out only now: the others must form the groups in which they were.
    parts = [{int(i): members[i] for i in part if i not in results} for part in parts]
    parts = [part for part in parts if part]
    task = Task() if task is None else task
    tasks = task.mapped(lambda fitted: _gather(members, results | fitted)).parts([_count(part) for part in parts])
    fitted = Parallel(n_jobs=n_jobs)(
        delayed(_fit_together)(part, X, y, sample_weight, engine, of_part, checkpoint=checkpoint)
        for part, of_part in zip(parts, tasks, strict=True)
    )
    for of_part in fitted:
        results |= of_part
    if checkpoint is not None:
        checkpoint.clean(members)
    trained = _gather(members, results)
    _warn_of_divergence(trained.estimators)
    return trained


def _gather(members, results):
    """`TrainedMembers` from what `_fit_together` gave, by index; members without a result are fitted already."""
    entries = [results[i][0] if i in results else member.estimator for i, member in enumerate(members)]
    reports = [result[1:] for _, result in sorted(results.items()) if result[1] is not None]
    engines = list(dict.fromkeys(engine for engine, _ in reports)) or ["none"]
    reasons = list(dict.fromkeys(reason for _, reason in reports)) or ["no network was trained"]
    return TrainedMembers(FittedMembers(entries), " and ".join(sorted(engines)), "; ".join(reasons))


def _count(members):
    return f"{len(members)} member{'s' if len(members) > 1 else ''}"


def _check_backend(n_jobs):
    """Raise where workers would be forks of this process, in which TensorFlow hangs."""
    backend, _ = get_active_backend()
    if isinstance(backend, MultiprocessingBackend) and effective_n_jobs(n_jobs) > 1:
        raise ValueError(
            "joblib's workers must not be forks of this process, in which TensorFlow hangs: got the backend "
            "'multiprocessing'. Use 'loky', which is joblib's default, or n_jobs=1."
        )


class TrainedRun(NamedTuple):
    """Result of `fit_trajectory`.

    Attributes
    ----------
    checkpoints : Checkpoints
        The states that were kept, oldest first; None where the run stopped before there was one.
    n_epochs : int
        Epochs that were trained.
    rates : ndarray of shape (n_epochs, n_steps) or None
        The learning rate of each step, where the trajectory set it.
    rows : ndarray of int
        Rows that were trained on.
    batch_size : int
    engine, reason : str
        As in `TrainedMembers`.
    """

    checkpoints: Checkpoints | None
    n_epochs: int
    rates: np.ndarray | None
    rows: np.ndarray
    batch_size: int
    engine: str
    reason: str


def fit_trajectory(member, trajectory, X, y, sample_weight=None, *, engine="auto", task=None, checkpoint=None):
    """Train one member and keep states of it on the way.

    Parameters
    ----------
    member : Member
        Not frozen.
    trajectory : Trajectory
    X, y, sample_weight, engine, checkpoint
        As in `fit_members`.
    task : Task, default=None
        As in `fit_members`, but `Task.end` takes `TrainedRun`.

    Returns
    -------
    TrainedRun
    """
    recorder = Recorder(trajectory)
    kept = {}
    if checkpoint is not None:
        kept = checkpoint.begin([member], X, y, sample_weight, engine, trajectory=trajectory)
    if kept:
        entry, engine, reason, recorded = kept[0]
        recorder.resume(recorded)
    else:
        task = (Task() if task is None else task).mapped(lambda fitted: _run_of(member, recorder, *fitted[0]))
        ((entry, engine, reason),) = _fit_together(
            {0: member}, X, y, sample_weight, engine, task, recorder, checkpoint
        ).values()
    _warn_of_divergence(FittedMembers([entry]))
    return _run_of(member, recorder, entry, engine, reason)


def _run_of(member, recorder, entry, engine, reason):
    """`TrainedRun` from what `_fit_together` gave of the single member."""
    if isinstance(entry, tuple):
        trained, k = entry
        template, history = trained.template, trained.histories[k]
    else:
        template, history = entry, entry.history_
    n_epochs = len(history["loss"])
    return TrainedRun(
        recorder.checkpoints(template, member.seed, history),
        n_epochs,
        recorder.epoch_rates(0, n_epochs),
        recorder.rows,
        recorder.batch_size,
        engine,
        reason,
    )


def _families(members):
    """Numbers of the members to train, a dict by number, those whose estimators differ in the seed at most together."""
    families = []
    for i, member in members.items():
        if is_frozen(member.estimator):
            continue
        for family in families:
            if _is_same(members[family[0]].estimator, member.estimator):
                family.append(i)
                break
        else:
            families.append([i])
    return families


def _is_same(estimator, other):
    if estimator is other:
        return True
    if type(estimator) is not type(other) or not isinstance(estimator, BaseWrapper):
        return False
    try:
        return bool(estimator.get_params() | {"random_state": None} == other.get_params() | {"random_state": None})
    except ValueError:  # arrays among the parameters have no single truth
        return False


def _fit_together(members, X, y, sample_weight, engine, task, recorder=None, checkpoint=None):
    """Fit members, a dict by their numbers in the ensemble, in this process.

    Returns a dict by number of (entry for `FittedMembers`, engine, reason). `task`, which has not begun, takes such a
    dict too. A `recorder` follows the run of a single member.
    """
    candidates, reasons = _prepare(members, X, y, engine)
    numbers, ready = list(candidates), list(candidates.values())
    groups = [[numbers[i] for i in group] for group in group_by_program(ready, X, y, sample_weight)]
    alone = [i for i in members if i not in candidates]
    tasks = task.parts([*map(_count, groups), *(type(members[i].estimator).__name__ for i in alone)])
    results = {}
    for group, of_group in zip(groups, tasks[: len(groups)], strict=True):
        part = None if checkpoint is None else checkpoint.part(group)
        to_results = partial(_fused_results, group, recorder)
        try:
            fitted = run_fused(
                [candidates[i] for i in group], X, y, sample_weight, of_group.mapped(to_results), recorder, part
            )
        except NotFusable as error:  # found in tracing only
            reasons.update(dict.fromkeys(group, _reason_for_keras(engine, error)))
            continue
        results |= to_results(fitted)
        if part is not None:
            part.finish(fitted, *results[group[0]][1:], recorder)
    of_alone = dict(zip(alone, tasks[len(groups) :], strict=True))
    for i, reason in sorted(reasons.items()):
        member = _fit_with_keras(members[i], X, y, sample_weight, recorder, of_alone.get(i, Task()))
        results[i] = member, "keras", reason
        if checkpoint is not None:
            checkpoint.part([i]).finish([member], "keras", reason, recorder)
        if task.verbose:
            print_progress(f"member {i + 1}", member.history_)
    for i in sorted(members.keys() - results.keys()):
        results[i] = _fit_other(members[i], X, y, sample_weight, of_alone[i]), None, None
    return results


def _fused_results(numbers, recorder, entries):
    reason = "members of one architecture share one program" if recorder is None else "the run is one program"
    return {i: (entry, "fused", reason) for i, entry in zip(numbers, entries, strict=True)}


def _prepare(members, X, y, engine):
    """Candidates for the fused engine, and why the other networks are trained by Keras; dicts by number."""
    candidates, reasons = {}, {}
    for family in _families(members):
        copies = [members[i] for i in family]
        if not isinstance(copies[0].estimator, BaseWrapper):
            continue
        if engine == "keras":
            reasons.update(dict.fromkeys(family, "Keras' own fit, as asked"))
            continue
        try:
            candidates.update(zip(family, prepare_copies(copies, X, y), strict=True))
        except NotFusable as error:
            reasons.update(dict.fromkeys(family, _reason_for_keras(engine, error)))
    return candidates, reasons


def _reason_for_keras(engine, error):
    if engine == "fused":
        raise NotFusable(f"engine='fused' is not possible: {error}. Use engine='auto' or 'keras'.") from error
    return f"Keras' own fit, because {error}"


def _fit_with_keras(copy, X, y, sample_weight, recorder, task):
    member = clone_member(copy)
    with seeded(copy.seed), without_own_seed(member):
        if copy.rows is None and copy.validation_rows is None and recorder is None and not task.is_watched:
            # A copy each: scikeras 0.13 multiplies class weights into the array it is given.
            return member.fit(X, y, sample_weight=None if sample_weight is None else sample_weight.copy())
        initialize(member, X, y)  # on all rows, so that the member knows classes which its own rows lack
        rows = np.arange(len(X)) if copy.rows is None else copy.rows
        weights = row_weights(member, y, sample_weight, copy.rows)
        held_out = {}
        if copy.validation_rows is not None:
            v = copy.validation_rows
            held_out["validation_data"] = (
                encode_features(member, X[v]),
                encode_target(member, y[v]),
                *([] if weights is None else [weights[v]]),
            )
        own = []
        if task.is_watched:
            own.append(KerasTask(task, fit_arguments(member)["epochs"]))
        if recorder is not None:
            callbacks = fit_callbacks(member)
            trained_rows, _ = rows_of(member, copy, X, y, sample_weight)
            recorder.start(member.model_, callbacks, trained_rows, train_batch_size(member, len(trained_rows)))
            own.append(KerasRecorder(recorder, callbacks))
        with extra_fit_callbacks(member, own):
            return fit_initialized(member, X[rows], y[rows], None if weights is None else weights[rows], **held_out)


def _fit_other(copy, X, y, sample_weight, task):
    """Fit a scikit-learn estimator that is no network; it takes the seed where it has none of its own."""
    member = clone(copy.estimator)
    seeds = {name: copy.seed for name, value in member.get_params().items() if _is_open_seed(name, value)}
    rows = slice(None) if copy.rows is None else copy.rows
    weights = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
    member.set_params(**seeds)
    task.begin(1)
    with task.fit_of(member):
        return member.fit(X[rows], y[rows], **weights)


def _is_open_seed(name, value):
    return value is None and (name == "random_state" or name.endswith("__random_state"))


def _warn_of_divergence(members):
    diverged = [i for i, loss in enumerate(members.final_losses()) if not math.isfinite(loss)]
    if diverged:
        warnings.warn(
            f"The loss of members {diverged} is not finite: they diverged, and their predictions are not usable. "
            "Lower the learning rate, scale the features, or clip the gradients.",
            RuntimeWarning,
            stacklevel=4,
        )
