"""The fit of one member that is not a network."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.sklearn import check_method_params
from skensemble._engine.progress import Task
from skensemble._members.inputs import TrainingData
from skensemble._members.other_estimators import encoded_labels, fit_other, seeded_clone
from skensemble._members.spec import MemberSpec


def fit_other_member(spec: MemberSpec, data: TrainingData, task: Task) -> BaseEstimator:
    """A member that is not a network, after its own `fit`; `task` must not have begun."""
    member = seeded_clone(spec.estimator, spec.seed)
    metadata = check_method_params(data.X, spec.metadata or {}, indices=spec.sample_indices)
    y = encoded_labels(data.y, np.unique(data.y)) if spec.encodes_labels else data.y
    task.begin(1)
    with task.fit_of(member), _told(spec, task):
        return fit_other(member, data.X, y, spec.weights(data.sample_weight), spec.sample_indices, metadata)


@contextmanager
def _told(spec: MemberSpec, task: Task) -> Iterator[None]:
    """With `verbose`, print how long the fit takes."""
    start = time.perf_counter()
    yield
    if task.verbose:
        seconds = time.perf_counter() - start
        print(f"{spec.name}: {type(spec.estimator).__name__} trained in {seconds:.1f} s", flush=True)
