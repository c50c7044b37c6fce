"""Training for some epochs: whole epochs in one call, or chunks of steps where an epoch is too long for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from skensemble._engine.records import Data, State, ValidationData, Variables
from skensemble._engine.tensorflow import estimates
from skensemble._engine.tensorflow.data import chunks, is_on_host, padded, present
from skensemble._engine.tensorflow.estimates import Compiled
from skensemble._engine.tensorflow.graph import ChunkInputs, EvaluationInputs, Graph, RunSettings, SegmentInputs

#: Variables of the metrics after each epoch, (n_epochs, n_members, ...) each; those of the validation come last.
History = list[np.ndarray]


class PreparedRun(NamedTuple):
    """A `RunPlan` as the graph takes it.

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


def run(graph: Graph, state: State, prepared: PreparedRun) -> tuple[State, History]:
    """Train all members; long row orders, or an X on the host, are never in the program as a whole."""
    validation = prepared.validation
    on_host = is_on_host(prepared.data) or (validation is not None and is_on_host(validation.data))
    n_rows = prepared.settings.n_rows
    if not on_host and not estimates.are_long(graph.n_members, int(np.max(n_rows))):
        return _run_epochs(graph, state, prepared)
    if isinstance(n_rows, tuple):
        raise ValueError("Members with other numbers of rows cannot be trained in chunks: see `may_differ_in_rows`.")
    return _run_chunks(graph, state, prepared)


def _run_epochs(graph: Graph, state: State, prepared: PreparedRun) -> tuple[State, History]:
    """All epochs of a segment in one call."""
    settings, data, orders, rates, validation = prepared
    segment = estimates.epochs_at_once(orders[0].size)
    evaluation: tuple = ()
    if validation is not None:
        evaluation = present(validation.data), tf.convert_to_tensor(validation.sample_indices)
    variables, active = state.variables, tf.constant(state.active)
    epochs_run, histories = np.zeros(graph.n_members, int), []
    for start in range(0, len(orders), segment):
        now = min(segment, len(orders) - start)
        inputs = SegmentInputs(
            tf.constant(now),
            present(data),
            padded(orders[start : start + now], segment, "int32"),
            () if rates is None else (padded(rates[start : start + now], segment, "float32"),),
            evaluation,
            variables,
            active,
        )
        batch_size_v = None if validation is None else validation.batch_size
        variables, active, ran, history = graph.segment(settings, batch_size_v, inputs)
        epochs_run += ran.numpy()
        histories.append([h.numpy()[:now] for h in history])
    return State(variables, active.numpy(), epochs_run), _joined(histories)


def _run_chunks(graph: Graph, state: State, prepared: PreparedRun) -> tuple[State, History]:
    """Chunk of steps after chunk of steps."""
    settings, _, orders, _, validation = prepared
    variables, active, zero = state.variables, tf.constant(state.active), graph.zero_metrics()
    epochs_run, histories = np.zeros(graph.n_members, int), []
    for epoch in range(len(orders)):
        began, metrics = active, zero
        epochs_run += active.numpy()
        for chunk_settings, inputs in _chunks_of(prepared, epoch):
            variables, metrics, active = graph.chunk(chunk_settings, ChunkInputs(*inputs, variables, metrics, active))
        if validation is not None:
            variables, evaluated = _evaluate(graph, settings.xla, validation, variables, zero, began)
            metrics = [*metrics, *evaluated]
        histories.append([m.numpy()[None] for m in metrics])
    return State(variables, active.numpy(), epochs_run), _joined(histories)


def _chunks_of(
    prepared: PreparedRun, epoch: int
) -> Iterator[tuple[RunSettings, tuple[tuple[tf.Tensor, ...], tf.Tensor, tuple[tf.Tensor, ...]]]]:
    """(settings, (data, rows, rates)) of each chunk of an epoch."""
    settings, data, orders, rates, _ = prepared
    for start, chunk, rows in chunks(data, orders[epoch], settings.batch_size):
        first, n_steps = start // settings.batch_size, -(-rows.shape[1] // settings.batch_size)
        rate = () if rates is None else (tf.constant(rates[epoch, first : first + n_steps], "float32"),)
        yield settings._replace(n_rows=rows.shape[1]), (chunk, rows, rate)


def _evaluate(
    graph: Graph,
    xla: Compiled,
    validation: ValidationData,
    variables: Variables,
    metrics: list[tf.Tensor],
    active: tf.Tensor,
) -> tuple[Variables, list[tf.Tensor]]:
    for _, chunk, rows in chunks(validation.data, validation.sample_indices, validation.batch_size):
        inputs = EvaluationInputs(chunk, rows, variables, metrics, active)
        variables, metrics = graph.evaluate_chunk(validation.batch_size, xla, inputs)
    return variables, metrics


def _joined(histories: list[list[np.ndarray]]) -> History:
    return [np.concatenate(values) for values in zip(*histories, strict=True)]
