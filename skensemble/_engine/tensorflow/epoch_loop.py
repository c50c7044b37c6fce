"""Steps of all members, looped over batches and epochs in TensorFlow functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from skensemble._engine.all_backends.batches import steps_of
from skensemble._engine.records import Variables
from skensemble._engine.tensorflow.cost_model import Compiled
from skensemble._engine.tensorflow.data import DataRows, gather_batches, specs_of
from skensemble._engine.tensorflow.mapped_step import Steps
from skensemble._engine.tensorflow.member_step import replaced


class RunSettings(NamedTuple):
    """What a traced run depends on, besides the shapes of its inputs.

    Attributes
    ----------
    batch_size : int
    n_rows : int or tuple of int
        Rows of an epoch, of all members or of each.
    masked : bool
        Whether some members are not trained, or may stop.
    stop_on_nan : bool
    xla : {"all", "update"} or None
        What XLA compiles.
    """

    batch_size: int
    n_rows: int | tuple[int, ...]
    masked: bool
    stop_on_nan: bool
    xla: Compiled


class Carry(NamedTuple):
    """What goes from step to step, of all members.

    Attributes
    ----------
    variables : Variables
        In the loops, those of the optimizer are packed.
    metrics : list of tensor
        Variables of the metrics.
    active : bool tensor of shape (n_members,)
        Which members are trained.
    """

    variables: Variables
    metrics: list[tf.Tensor]
    active: tf.Tensor


class EpochInputs(NamedTuple):
    """What whole epochs are computed from.

    Attributes
    ----------
    n_epochs : tensor
        How many of the epochs in `training.rows` are run.
    training : DataRows
        Rows of shape (n_epochs, n_members, n_columns), columns as in `steps_of`.
    rates : tuple
        Learning rates of shape (n_epochs, n_steps, n_members), or nothing.
    validation : tuple of DataRows
        One, or none.
    variables : Variables
        Stacked.
    active : bool tensor of shape (n_members,)
    """

    n_epochs: tf.Tensor
    training: DataRows
    rates: tuple[tf.Tensor, ...]
    validation: tuple[DataRows, ...]
    variables: Variables
    active: tf.Tensor


class ChunkInputs(NamedTuple):
    """What some steps are computed from: as in `EpochInputs`, without an axis for epochs."""

    training: DataRows
    rates: tuple[tf.Tensor, ...]
    carry: Carry


class EvaluationInputs(NamedTuple):
    """What the evaluation of some rows is computed from."""

    validation: DataRows
    carry: Carry


def train_epochs(steps: Steps, settings: RunSettings, batch_size_v: int | None, inputs: EpochInputs) -> tuple:
    """Train for some epochs, each evaluated with batches of `batch_size_v`.

    Returns (variables, active, epochs that each member ran, metrics (n_epochs, n_members, ...)).
    """
    return _call(_epochs, steps, (settings, batch_size_v), inputs, settings.xla)


def train_chunk(steps: Steps, settings: RunSettings, inputs: ChunkInputs) -> Carry:
    """Train for some steps."""
    return _call(_chunk, steps, (settings,), inputs, settings.xla)


def evaluate_chunk(
    steps: Steps, batch_size: int, xla: Compiled, inputs: EvaluationInputs
) -> tuple[Variables, list[tf.Tensor]]:
    """Evaluate some rows; returns variables and metrics."""
    return _call(_evaluate, steps, (batch_size, xla == "all"), inputs, xla)


def _call(body: Callable, steps: Steps, options: tuple, inputs: Any, xla: Compiled) -> Any:
    """`body(steps, *options, *inputs)`, traced for these options and inputs like these."""
    specs = type(inputs)(*map(_specs, inputs))
    key = body, options, xla, *map(str, tf.nest.flatten(specs))
    function = steps.functions.traced(
        key, lambda *given: body(steps, *options, *given), lambda: specs, compiled=xla == "all"
    )
    return function(*inputs)


def _specs(value: Any) -> Any:
    """Specs; the number of rows of X, y and shared weights is not among them."""
    if isinstance(value, DataRows):
        return DataRows(specs_of(value.data), _specs(value.rows))
    if type(value) is tuple:
        return tuple(map(_specs, value))
    return tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape, v.dtype), value)


def _epochs(
    steps: Steps, settings: RunSettings, batch_size_v: int | None, *inputs: Any
) -> tuple[Variables, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
    n_epochs, (data, order), rates, validation, variables, active = EpochInputs(*inputs)
    zero = steps.zero_metrics()
    history = [
        tf.TensorArray(v.dtype, order.shape[0], element_shape=v.shape, clear_after_read=False)
        for v in zero * (2 if validation else 1)
    ]

    def epoch(
        e: tf.Tensor, variables: Variables, active: tf.Tensor, ran: tf.Tensor, history: list[tf.TensorArray]
    ) -> list[Any]:
        ran = ran + tf.cast(active, "int32")
        began = Carry(variables, zero, active)
        variables, metrics, active = _steps(steps, settings, DataRows(data, order[e]), [r[e] for r in rates], began)
        if batch_size_v is not None:
            before = began._replace(variables=variables)
            variables, evaluated = _evaluate(steps, batch_size_v, settings.xla == "all", validation[0], before)
            metrics = metrics + evaluated
        history = [h.write(e, value) for h, value in zip(history, metrics, strict=True)]
        return [e + 1, variables, active, ran, history]

    start = [tf.constant(0), _packed(steps, variables), active, tf.zeros(steps.n_members, "int32"), history]
    _, variables, active, ran, history = tf.while_loop(lambda e, *_: e < n_epochs, epoch, start)
    return _unpacked(steps, variables), active, ran, [h.stack() for h in history]


def _chunk(
    steps: Steps, settings: RunSettings, training: DataRows, rates: tuple[tf.Tensor, ...], carry: Carry
) -> Carry:
    carry = carry._replace(variables=_packed(steps, carry.variables))
    carry = _steps(steps, settings, training, rates, carry)
    return carry._replace(variables=_unpacked(steps, carry.variables))


def _steps(steps: Steps, settings: RunSettings, training: DataRows, rates: Sequence[tf.Tensor], carry: Carry) -> Carry:
    """The carry after all steps over rows of shape (n_members, n_columns), columns as in `steps_of`."""
    sizes, has_step = steps_of(settings.n_rows, settings.batch_size)
    step = steps.train(specs_of(training.data), settings.xla)

    def one(i: tf.Tensor, rows: tf.Tensor, carry: Carry) -> Carry:
        variables = _with_rates(steps, carry.variables, [r[i] for r in rates])
        variables, metrics = step(variables, carry.metrics, gather_batches(training.data, rows))
        if not settings.masked and has_step.all():
            return Carry(variables, metrics, carry.active)
        active = carry.active
        now = active & tf.constant(has_step)[i]
        variables, metrics = _where(now, (variables, metrics), (carry.variables, carry.metrics))
        if settings.stop_on_nan:
            active = active & (~now | steps.of_member.metrics.loss_is_finite(metrics))
        return Carry(variables, metrics, active)

    return _loop(one, training.rows, sizes, carry, compiled=settings.xla == "all")


def _evaluate(
    steps: Steps, batch_size: int, compiled: bool, validation: DataRows, carry: Carry
) -> tuple[Variables, list[tf.Tensor]]:
    """Variables and metrics after the evaluation of rows of shape (n_members, n_val).

    The variables are the same except those that layers assign to in evaluation (seeds of random numbers).
    """
    variables = carry.variables
    step = steps.test(specs_of(validation.data))

    def with_changed(changed: dict[int, tf.Tensor]) -> Variables:
        values = replaced([*variables.trainable, *variables.non_trainable], changed)
        n_trainable = len(variables.trainable)
        return variables._replace(trainable=values[:n_trainable], non_trainable=values[n_trainable:])

    def one(i: tf.Tensor, rows: tf.Tensor, state: tuple) -> tuple:
        changed, metrics = state
        return step(with_changed(changed)._replace(optimizer=[]), metrics, gather_batches(validation.data, rows))

    sizes, _ = steps_of(validation.rows.shape[1], batch_size)
    values = [*variables.trainable, *variables.non_trainable]
    before = {i: values[i] for i in step.structured_outputs[0]}
    changed, metrics = _loop(one, validation.rows, sizes, (before, carry.metrics), compiled=compiled)
    return with_changed(_where(carry.active, changed, before)), metrics


def _loop(step: Callable, rows: tf.Tensor, sizes: list[int], state: Any, *, compiled: bool) -> Any:
    """`state` after `step(i, rows of the step, state)` for batches of `sizes`, the last ones smaller."""
    starts = np.cumsum([0, *sizes[:-1]])
    # XLA compiles for one size: first a loop over the whole batches, then the others.
    n_looped = sizes.count(sizes[0]) if compiled else len(sizes)

    def one(i: tf.Tensor | int, start: tf.Tensor | int, size: tf.Tensor | int, state: Any) -> Any:
        new = step(i, tf.slice(rows, [0, start], [rows.shape[0], size]), state)
        # TensorFlow 2.18 loses shapes where the size of the batch is not known.
        for value, before in zip(tf.nest.flatten(new), tf.nest.flatten(state), strict=True):
            value.set_shape(before.shape)
        return new

    def looped(i: tf.Tensor, state: Any) -> list[Any]:
        size = sizes[0] if compiled else tf.constant(sizes)[i]
        return [i + 1, one(i, tf.constant(starts, "int32")[i], size, state)]

    _, state = tf.while_loop(lambda i, _: i < n_looped, looped, [tf.constant(0), state])
    for i in range(n_looped, len(sizes)):
        state = one(i, starts[i], sizes[i], state)
    return state


def _with_rates(steps: Steps, variables: Variables, rates: Sequence[tf.Tensor]) -> Variables:
    """Packed variables with these learning rates, where there are any."""
    index = steps.optimizer.rate_index
    if not rates or index is None:  # `Program.run` refuses rates where a schedule sets them
        return variables
    optimizer = list(variables.optimizer)
    optimizer[index] = tf.reshape(tf.cast(rates[0], optimizer[index].dtype), optimizer[index].shape)
    return variables._replace(optimizer=optimizer)


def _packed(steps: Steps, variables: Variables) -> Variables:
    return variables._replace(optimizer=steps.optimizer.pack(variables.optimizer))


def _unpacked(steps: Steps, variables: Variables) -> Variables:
    return variables._replace(optimizer=steps.optimizer.unpack(variables.optimizer))


def _where(active: tf.Tensor, new: Any, old: Any) -> Any:
    """New values of active members, old values of the others."""

    def select(n: tf.Tensor, o: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(active, (-1, *([1] * (n.shape.rank - 1)))), n, o)

    return tf.nest.map_structure(select, new, old)
