"""Keras' own fit of one member, where that is the engine."""

from typing import Any

import keras
import numpy as np

from skensemble._compat.global_seeds import seeded_fit
from skensemble._compat.keras import build_optimizer
from skensemble._compat.keras_optimizer import build_before_fit
from skensemble._compat.scikeras import (
    BaseWrapper,
    encode_features,
    encode_target,
    extra_fit_callbacks,
    fit_callbacks,
    fit_initialized,
    fit_override,
    given_callbacks,
    has_own_model_check,
    without_own_seed,
)
from skensemble._compat.scikeras_building import built_before_checks, new_values
from skensemble._compat.sklearn import plain_transforms
from skensemble._engine.partial_fit import started
from skensemble._engine.progress import KerasTask, Task
from skensemble._engine.trajectory import KerasTrajectoryRecorder, TrajectoryRecorder
from skensemble._engine.variables import read_state, write_state
from skensemble._keras_objects.ensemble_layers import put_columns
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inputs import TrainingData
from skensemble._members.output_check import initialize_checked
from skensemble._members.sample_weights import SampleIndices, row_weights, sample_indices_of, with_mean_one
from skensemble._members.spec import MemberSpec
from skensemble._numeric.host_rows import take_rows, without_rows


def fit_with_keras(
    spec: MemberSpec, data: TrainingData, task: Task, recorder: TrajectoryRecorder | None = None
) -> BaseWrapper:
    """A member trained by Keras' own fit.

    Parameters
    ----------
    spec : MemberSpec
    data : TrainingData
    task : Task
        Has not begun.
    recorder : TrajectoryRecorder, default=None
        Follows the run.
    """
    member = spec.new_estimator()
    arguments = FitArguments.of(member)
    with seeded_fit(spec.order_seed), without_own_seed(member), given_callbacks(member, spec.callbacks):
        own_fit = has_own_model_check(member) or fit_override(member) is not None
        if own_fit and spec.takes_all_data and spec.start is None and recorder is None and not task.is_watched:
            return _fit_itself(member, spec, arguments, data)
        # On all rows, so that the member knows classes that its own rows lack.
        initialize_checked(member, data.X.floats, data.y)
        put_columns(member.model_, spec.columns)
        if spec.start is not None and spec.start.values is not None:
            build_optimizer(member.model_)
            write_state(member.model_, started(member.model_, read_state(member.model_), spec.start))
        indices = sample_indices_of(spec, member, arguments, data.y, spec.weights(data.sample_weight))
        callbacks = _own_callbacks(member, arguments, indices, task, recorder)
        with extra_fit_callbacks(member, callbacks):
            return _fit_initialized(member, spec, indices, data)


def _fit_itself(member: BaseWrapper, spec: MemberSpec, arguments: FitArguments, data: TrainingData) -> BaseWrapper:
    """The member after its own `fit`, on all rows."""
    sample_weight = spec.weights(data.sample_weight)
    if sample_weight is not None:
        indices = sample_indices_of(spec, member, arguments, data.y, sample_weight)
        # A copy for each: scikeras 0.13 multiplies class weights into the array it is given.
        sample_weight = with_mean_one(sample_weight, indices.training).copy()
    with plain_transforms(), new_values(member), built_before_checks(member):
        return member.fit(without_rows(data.X.floats), data.y, sample_weight=sample_weight)


def _own_callbacks(
    member: BaseWrapper,
    arguments: FitArguments,
    indices: SampleIndices,
    task: Task,
    recorder: TrajectoryRecorder | None,
) -> list[keras.callbacks.Callback]:
    """Callbacks that report to the task and to the recorder."""
    own: list[keras.callbacks.Callback] = []
    if task.is_watched:
        own.append(KerasTask(task, arguments.epochs))
    if recorder is not None:
        callbacks = fit_callbacks(member)
        batch_size = arguments.train_batch_size(len(indices.training))
        recorder.start(member.model_, callbacks, indices.training, batch_size)
        own.append(KerasTrajectoryRecorder(recorder, callbacks))
    return own


def _fit_initialized(member: BaseWrapper, spec: MemberSpec, indices: SampleIndices, data: TrainingData) -> BaseWrapper:
    X, y = data.X.floats, data.y
    rows = np.arange(len(data.X)) if spec.sample_indices is None else spec.sample_indices
    weights = row_weights(spec, member, indices, y, spec.weights(data.sample_weight))
    held_out: dict[str, Any] = {}
    if spec.validation_indices is not None:
        v = spec.validation_indices
        validation = without_rows(encode_features(member, take_rows(X, v))), encode_target(member, y[v])
        held_out["validation_data"] = validation if weights is None else (*validation, weights[v])
    own_weights = None if weights is None else weights[rows]
    build_before_fit(member.model_, fit_callbacks(member))
    return fit_initialized(member, without_rows(take_rows(X, rows)), y[rows], own_weights, **held_out)
