"""Training of members spread over joblib workers, in parts that stay fused."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from joblib.parallel import MultiprocessingBackend, get_active_backend

from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.checkpoints import Checkpoint
from skensemble._engine.execution import Results, fit_here
from skensemble._engine.plan import families
from skensemble._engine.progress import Task, count_members
from skensemble._engine.stacked import estimator_of
from skensemble._members.functions import Registered, put_functions_back
from skensemble._members.inputs import TrainingData
from skensemble._members.spec import MemberSpec


def check_backend(n_jobs: int | None) -> None:
    """Raise where workers would be forks of this process, in which TensorFlow hangs."""
    backend, _ = get_active_backend()
    if isinstance(backend, MultiprocessingBackend) and effective_n_jobs(n_jobs) > 1:
        raise ValueError(
            "joblib's workers must not be forks of this process, in which TensorFlow hangs: got the backend "
            "'multiprocessing'. Use 'loky', which is joblib's default, or n_jobs=1."
        )


def parts_of(members: Mapping[int, MemberSpec], finished: Results, n_jobs: int | None) -> list[dict[int, MemberSpec]]:
    """Members to train, by number, in a part for each worker: those of one estimator stay together where they can.

    Parts do not depend on which members are `finished`: the others must form the groups in which they were.
    """
    to_train = [i for family in families(members) for i in family]
    if not to_train:
        return []
    parts = np.array_split(to_train, min(len(to_train), effective_n_jobs(n_jobs)))
    unfinished = [{int(i): members[int(i)] for i in part if int(i) not in finished} for part in parts]
    return [part for part in unfinished if part]


def fit_parts(
    parts: list[dict[int, MemberSpec]],
    data: TrainingData,
    engine: str,
    task: Task,
    checkpoint: Checkpoint | None,
    n_jobs: int | None,
) -> Results:
    """Fit parts of members, as of `parts_of`, each in a worker; with one worker, in this process."""
    tasks = task.parts([count_members(part) for part in parts])
    registered = Registered() if len(parts) > 1 else None
    fitted = Parallel(n_jobs=n_jobs)(
        delayed(_fit_part)(registered, part, _needed(data, part), engine, of_part, None, checkpoint)
        for part, of_part in zip(parts, tasks, strict=True)
    )
    results: Results = {}
    for part, of_part in zip(parts, fitted, strict=True):
        if registered is not None:
            for i, result in of_part.items():
                put_functions_back(estimator_of(result.member), part[i].estimator)
        results |= of_part
    return results


def _fit_part(registered: Registered | None, *args: Any) -> Results:
    """`fit_here` where it is called, in a worker perhaps, after unpickling what was `registered` with Keras."""
    return fit_here(*args)


def _needed(data: TrainingData, members: Mapping[int, MemberSpec]) -> TrainingData:
    """The data in the forms of X that members are trained on."""
    networks = [isinstance(member.estimator, BaseWrapper) for member in members.values()]
    return data._replace(X=data.X.forms(given=not all(networks), floats=any(networks)))
