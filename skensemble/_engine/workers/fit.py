"""Training of members spread over joblib workers, in parts that stay fused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed

from skensemble._compat.joblib import count_workers, died, forks, how_to_return, lost_data, received, spread
from skensemble._engine.backend import use_share_of_cores
from skensemble._engine.execution import FitControls, Results, fit_here
from skensemble._engine.group_checkpoint import Checkpoint
from skensemble._engine.initial_values import BuiltNetwork
from skensemble._engine.plan import families
from skensemble._engine.progress import Task, count_members
from skensemble._engine.stacked_members import StackedMember, estimator_of
from skensemble._engine.workers.parts import split
from skensemble._engine.workers.transfer import (
    Arguments,
    as_arguments,
    needed,
    pack,
    unpack,
    with_networks,
    without_networks,
)
from skensemble._engine.workers.work import count_work
from skensemble._members.inputs import TrainingData
from skensemble._members.spec import MemberSpec
from skensemble._members.user_functions import Registered, put_functions_back

# An error names at most this many members.
_MOST_NAMES = 10
# How often parts are sent if data were lost with a Dask worker that died.
_ATTEMPTS = 3


class Parts(NamedTuple):
    """Members to train, in parts for workers.

    Attributes
    ----------
    unfinished : list of dict of int to MemberSpec
        The members of each part that are not finished, by their numbers; parts without any are left out.
    n_workers : int
        How many parts there are if none is finished. A single one is trained in this process.
    networks : dict of int to BuiltNetwork
        As returned by `count_work`.
    """

    unfinished: list[dict[int, MemberSpec]]
    n_workers: int
    networks: Mapping[int, BuiltNetwork]


@dataclass(frozen=True)
class SentPart:
    """The small things that a worker gets; joblib's backends send large arrays once only as separate arguments.

    Attributes
    ----------
    number : int
        Of the part.
    members : dict of int to MemberSpec
        As returned by `pack`.
    names : ndarray of str or None
        Those of the columns of X.
    engine : {"auto", "fused", "keras"}
    task : Task
        Without data.
    checkpoint : Checkpoint or None
    known : frozenset of int
        Members whose networks are known where the results are sent.
    """

    number: int
    members: Mapping[int, MemberSpec]
    names: np.ndarray | None
    engine: str
    task: Task
    checkpoint: Checkpoint | None
    known: frozenset[int]


def check_backend(n_jobs: int | None) -> None:
    """Raise where workers would be forks of this process, in which TensorFlow hangs."""
    if forks(n_jobs):
        raise ValueError(
            "joblib's workers must not be forks of this process, in which TensorFlow hangs: got the backend "
            "'multiprocessing'. Use 'loky', which is joblib's default, or n_jobs=1."
        )


def parts_of(
    members: Mapping[int, MemberSpec], data: TrainingData, engine: str, finished: Results, n_jobs: int | None
) -> Parts:
    """Members to train, in one part for each worker that pays.

    Parts do not depend on which members are `finished`: the others must form the same groups as before.
    """
    to_train = [i for family in families(members) for i in family]
    if all(i in finished for i in to_train):
        return Parts([], 1, {})
    n_workers = min(len(to_train), count_workers(n_jobs))
    numbers: list[list[int]] = [to_train]
    networks: dict[int, BuiltNetwork] = {}
    if n_workers > 1:
        works, networks = count_work(members, data, engine)
        numbers = split(works, n_workers)
    parts = [{i: members[i] for i in part if i not in finished} for part in numbers]
    return Parts([part for part in parts if part], len(numbers), networks)


def fit_parts(parts: Parts, data: TrainingData, engine: str, task: Task, checkpoint: Checkpoint | None) -> Results:
    """Fit parts of members, from `parts_of`, each in a worker; a single part in this process."""
    if not parts.unfinished:
        task.begin(0)
        return {}
    if parts.n_workers == 1:
        return fit_here(parts.unfinished[0], data, engine, task, FitControls(checkpoint=checkpoint), parts.networks)
    tasks = task.parts([count_members(part) for part in parts.unfinished])
    to_train = {i: member for part in parts.unfinished for i, member in part.items()}
    arguments = needed(as_arguments(data), to_train, is_watched=task.is_watched)
    fitted = _fit_in_workers(parts, arguments, data.X.names, engine, tasks, checkpoint)
    results: Results = {}
    for part, of_part in zip(parts.unfinished, fitted, strict=True):
        with_networks(of_part, parts.networks)
        for i, result in of_part.items():
            if not (i in parts.networks and isinstance(result.member, StackedMember)):
                put_functions_back(estimator_of(result.member), part[i].estimator)
        results |= of_part
    return results


def _fit_in_workers(
    parts: Parts,
    arguments: Arguments,
    names: np.ndarray | None,
    engine: str,
    tasks: Sequence[Task],
    checkpoint: Checkpoint | None,
) -> list[Results]:
    """The results of each part."""
    share, registered, known = ShareOfCores(), Registered(), frozenset(parts.networks)
    fitted: dict[int, Results] = {}

    def call(k: int, sent: Mapping[int, Any]) -> Any:
        part, task = parts.unfinished[k], tasks[k]
        own = [sent.get(id(one), one) for one in needed(arguments, part, is_watched=task.is_watched)]
        sent_part = SentPart(k, pack(part), names, engine, task.without_data(), checkpoint, known)
        return delayed(_fit_part)(share, registered, *own, sent_part)

    for attempt in range(_ATTEMPTS):
        left = [k for k in range(len(tasks)) if k not in fitted]
        try:
            with spread(arguments, parts.n_workers) as sent:
                # Tasks are not put together: each is worth a worker.
                run = Parallel(n_jobs=parts.n_workers, batch_size=1, return_as=how_to_return())
                for k, results in run([call(k, sent) for k in left]):
                    fitted[k] = results
            break
        except Exception as error:
            if lost_data(error) and attempt + 1 < _ATTEMPTS:
                continue
            if not died(error):
                raise
            left = [k for k in left if k not in fitted]
            message = _worker_died([parts.unfinished[k] for k in left], has_checkpoint=checkpoint is not None)
            raise RuntimeError(message) from error
    return [fitted[k] for k in range(len(tasks))]


def _fit_part(
    share: Any,
    registered: Registered,
    floats: Any,
    given: Any,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
    part: SentPart,
) -> tuple[int, Results]:
    """Fit a part in a worker, where the share of the cores is set and `registered` is known; with its number."""
    data = Arguments(*map(received, (floats, given, y, sample_weight))).data(part.names)
    part.task.set_data(data.X.given, data.y, data.sample_weight)
    controls = FitControls(checkpoint=part.checkpoint)
    results = fit_here(unpack(part.members), data, part.engine, part.task, controls)
    return part.number, without_networks(results, part.members, part.known)


class ShareOfCores:
    """Unpickled in a worker, lets it use its share of the cores.

    As the first argument of a task, it is unpickled before those with which TensorFlow starts its threads.
    """

    def __reduce__(self) -> Any:
        return use_share_of_cores, ()


def _worker_died(parts: Sequence[Mapping[int, MemberSpec]], *, has_checkpoint: bool) -> str:
    members = {i: member for part in parts for i, member in part.items()}
    names = [str(member.name) for _, member in sorted(members.items())]
    more = "" if len(names) <= _MOST_NAMES else f" and {len(names) - _MOST_NAMES} more"
    way_out = (
        "Members that were finished are in `checkpoint_dir`, and the next fit uses them."
        if has_checkpoint
        else "With `checkpoint_dir` the next fit would use members that were finished."
    )
    return (
        f"A worker died while these members were trained: {', '.join(names[:_MOST_NAMES])}{more}. It was killed, most "
        f"often because the memory of its machine was full: use a smaller `n_jobs`, or larger machines. {way_out}"
    )
