"""Training for some epochs: whole epochs in one call, or chunks of steps where an epoch is too long for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.data import is_on_host
from skensemble._engine.records import Data, State, ValidationData, Variables
from skensemble._engine.tensorflow import cost_model
from skensemble._engine.tensorflow.data import DataRows, chunks, padded, present
from skensemble._engine.tensorflow.epoch_loop import (
    Carry,
    ChunkInputs,
    EpochInputs,
    EvaluationInputs,
    RunSettings,
    evaluate_chunk,
    train_chunk,
    train_epochs,
)
from skensemble._engine.tensorflow.mapped_step import Steps
from skensemble._engine.tensorflow.metrics import History


class PreparedRun(NamedTuple):
    """A `RunPlan` as the loops take it.

    Attributes
    ----------
    settings : RunSettings
    data : Data
        Loaded.
    orders : int ndarray of shape (n_epochs, n_members, n_columns)
        Columns as in `batches.steps_of`.
    rates : None or ndarray of shape (n_epochs, n_steps, n_members)
    validation : None or ValidationData
        Loaded.
    """

    settings: RunSettings
    data: Data
    orders: np.ndarray
    rates: np.ndarray | None
    validation: ValidationData | None

    def without_xla(self) -> PreparedRun:
        """The same, compiled only by TensorFlow."""
        return self._replace(settings=self.settings._replace(xla=None))


def run(steps: Steps, state: State, prepared: PreparedRun) -> tuple[State, History]:
    """Train all members; long row orders, or an X on the host, are never in the program as a whole."""
    validation = prepared.validation
    on_host = is_on_host(prepared.data) or (validation is not None and is_on_host(validation.data))
    n_rows = prepared.settings.n_rows
    if not on_host and not cost_model.are_long(steps.n_members, int(np.max(n_rows))):
        return _run_epochs(steps, state, prepared)
    if isinstance(n_rows, tuple):
        raise ValueError("Members with other numbers of rows cannot be trained in chunks: see `may_differ_in_rows`.")
    return _run_chunks(steps, state, prepared)


def _run_epochs(steps: Steps, state: State, prepared: PreparedRun) -> tuple[State, History]:
    """All epochs of a segment in one call."""
    settings, data, orders, rates, validation = prepared
    segment = limits.epochs_at_once(cost_model.ROW_ORDER_BYTES * orders[0].size)
    batch_size_v: int | None = None
    rows_v: tuple[DataRows, ...] = ()
    if validation is not None:
        batch_size_v = validation.batch_size
        rows_v = (DataRows(present(validation.data), tf.convert_to_tensor(validation.sample_indices)),)
    variables, active = state.variables, tf.constant(state.active)
    epochs_run, histories = np.zeros(steps.n_members, int), []
    for start in range(0, len(orders), segment):
        now = min(segment, len(orders) - start)
        inputs = EpochInputs(
            tf.constant(now),
            DataRows(present(data), padded(orders[start : start + now], segment, "int32")),
            () if rates is None else (padded(rates[start : start + now], segment, "float32"),),
            rows_v,
            variables,
            active,
        )
        variables, active, ran, history = train_epochs(steps, settings, batch_size_v, inputs)
        epochs_run += ran.numpy()
        histories.append([h.numpy()[:now] for h in history])
    return State(variables, active.numpy(), epochs_run), _joined(histories)


def _run_chunks(steps: Steps, state: State, prepared: PreparedRun) -> tuple[State, History]:
    """Chunk of steps after chunk of steps."""
    xla, validation = prepared.settings.xla, prepared.validation
    variables, active, zero = state.variables, tf.constant(state.active), steps.zero_metrics()
    epochs_run, histories = np.zeros(steps.n_members, int), []
    for epoch in range(len(prepared.orders)):
        began = active
        epochs_run += began.numpy()
        carry = Carry(variables, zero, began)
        for settings, rows, rates in _chunks_of(prepared, epoch):
            carry = train_chunk(steps, settings, ChunkInputs(rows, rates, carry))
        variables, metrics, active = carry
        if validation is not None:
            variables, evaluated = _evaluate(steps, xla, validation, Carry(variables, zero, began))
            metrics = [*metrics, *evaluated]
        histories.append([m.numpy()[None] for m in metrics])
    return State(variables, active.numpy(), epochs_run), _joined(histories)


def _chunks_of(prepared: PreparedRun, epoch: int) -> Iterator[tuple[RunSettings, DataRows, tuple[tf.Tensor, ...]]]:
    """(settings, rows, rates) of each chunk of an epoch."""
    settings, data, orders, rates, _ = prepared
    for start, training in chunks(data, orders[epoch], settings.batch_size):
        n_rows = training.rows.shape[1]
        first, n_steps = start // settings.batch_size, -(-n_rows // settings.batch_size)
        rate = () if rates is None else (tf.constant(rates[epoch, first : first + n_steps], "float32"),)
        yield settings._replace(n_rows=n_rows), training, rate


def _evaluate(
    steps: Steps, xla: cost_model.Compiled, validation: ValidationData, carry: Carry
) -> tuple[Variables, list[tf.Tensor]]:
    for _, rows in chunks(validation.data, validation.sample_indices, validation.batch_size):
        variables, metrics = evaluate_chunk(steps, validation.batch_size, xla, EvaluationInputs(rows, carry))
        carry = carry._replace(variables=variables, metrics=metrics)
    return carry.variables, carry.metrics


def _joined(histories: list[list[np.ndarray]]) -> History:
    return [np.concatenate(values) for values in zip(*histories, strict=True)]
