"""The steps of all members as TensorFlow functions: mapped or side by side, looped over rows and epochs, traced once.

The step is traced once, its batch dimension unknown, and called for the full and for the last, partial batch: a
partial batch is a step of its own size, never padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from skensemble._engine.program.batches import steps_of
from skensemble._engine.program.hyperparameters import bound
from skensemble._engine.program.prototype import LOCK
from skensemble._engine.records import Data, ValidationData, Variables
from skensemble._engine.tensorflow.data import first_rows, gather_batches, present, specs_of
from skensemble._engine.tensorflow.estimates import Compiled
from skensemble._engine.tensorflow.forward import first_mode
from skensemble._engine.tensorflow.hidden_state import refuse_hidden_operations
from skensemble._engine.tensorflow.mapping import each_member, map_members
from skensemble._engine.tensorflow.optimizer import FlatOptimizer, is_elementwise, is_linear
from skensemble._engine.tensorflow.step import FunctionalModel, FunctionalStep, Gradients
from skensemble.exceptions import NotFusableError


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


class SegmentInputs(NamedTuple):
    """What whole epochs are computed from.

    Attributes
    ----------
    n_epochs : tensor
        How many of the epochs in `orders` are run.
    data : tuple of tensor
        (X, y[, sample_weight]).
    orders : tensor of shape (n_epochs, n_members, n_columns)
        Columns as in `steps_of`.
    rates : tuple
        Learning rates of shape (n_epochs, n_steps, n_members), or nothing.
    evaluation : tuple
        (data, sample_indices) of the validation, or nothing.
    variables : Variables
        Stacked.
    active : tensor of shape (n_members,)
        Which members are trained.
    """

    n_epochs: tf.Tensor
    data: tuple[tf.Tensor, ...]
    orders: tf.Tensor
    rates: tuple[tf.Tensor, ...]
    evaluation: tuple
    variables: Variables
    active: tf.Tensor

    def specs(self) -> SegmentInputs:
        """Specs; the number of rows of X, y and shared weights is not among them."""
        specs = _specs_like(self)._replace(data=specs_of(self.data))
        if self.evaluation:
            specs = specs._replace(evaluation=(specs_of(self.evaluation[0]), specs.evaluation[1]))
        return specs


class ChunkInputs(NamedTuple):
    """What some steps are computed from: `rows` of shape (n_members, n) of the data, else as in `SegmentInputs`."""

    data: tuple[tf.Tensor, ...]
    rows: tf.Tensor
    rates: tuple[tf.Tensor, ...]
    variables: Variables
    metrics: list[tf.Tensor]
    active: tf.Tensor

    def specs(self) -> ChunkInputs:
        """Specs; the number of rows of X, y and shared weights is not among them."""
        return _specs_like(self)._replace(data=specs_of(self.data))


class EvaluationInputs(NamedTuple):
    """What the evaluation of some rows is computed from, as in `ChunkInputs`."""

    data: tuple[tf.Tensor, ...]
    rows: tf.Tensor
    variables: Variables
    metrics: list[tf.Tensor]
    active: tf.Tensor

    def specs(self) -> EvaluationInputs:
        """Specs; the number of rows of X, y and shared weights is not among them."""
        return _specs_like(self)._replace(data=specs_of(self.data))


class Graph:
    """Functions that train and evaluate members of one architecture, in terms of stacked values.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int

    Attributes
    ----------
    mode : {"mapped", "side by side"}
    flat : FlatOptimizer or None
        Updates all members at once, where the rule of the optimizer allows.
    keep_sparse : bool
        Sparse gradients (of embeddings) are passed to the optimizer as they are: Keras squares and clips the entries of
        a row that occurs twice separately.
    n_traces : int
        How many TensorFlow functions were traced so far.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        self.member, self.n_members = member, n_members
        self.mode = first_mode(member, n_members)
        self._step: FunctionalStep | None = None
        self.flat: FlatOptimizer | None = None
        if is_elementwise(member.optimizer):
            self.flat = FlatOptimizer(member.optimizer, n_members, member.hyperparameters)
        self.keep_sparse = False
        self.n_traces = 0
        self._functions: dict[tuple, tf.types.experimental.ConcreteFunction] = {}

    @property
    def step(self) -> FunctionalStep:
        """The step of one member, for targets of the shape that was traced last."""
        if self._step is None:
            raise RuntimeError("There is no step before `trace_steps`.")
        return self._step

    def segment(self, settings: RunSettings, batch_size_v: int | None, inputs: SegmentInputs) -> tuple:
        """Train for some epochs, each evaluated with batches of `batch_size_v`.

        Returns (variables, active, epochs that each member ran, metrics (n_epochs, n_members, ...)).
        """
        return self._compiled(("segment", settings, batch_size_v), inputs, self._segment, settings.xla)(*inputs)

    def chunk(self, settings: RunSettings, inputs: ChunkInputs) -> tuple:
        """Train for some steps; returns (variables, metrics, active)."""
        return self._compiled(("chunk", settings), inputs, self._chunk, settings.xla)(*inputs)

    def evaluate_chunk(self, batch_size: int, xla: Compiled, inputs: EvaluationInputs) -> tuple:
        """Evaluate some rows; returns (variables, metrics)."""
        key = "evaluate", batch_size, xla == "all"
        return self._compiled(key, inputs, self._evaluate_chunk, xla)(*inputs)

    def has_loops(self) -> bool:
        """Whether a traced step holds a loop, such as that of a recurrent layer."""
        steps = [f for key, f in self._functions.items() if key[0] == "train"]
        return any(op.type in ("While", "StatelessWhile") for f in steps for op in f.graph.get_operations())

    def trace_steps(self, data: Data, validation: ValidationData | None) -> None:
        """Trace the steps, side by side where they cannot be mapped."""
        with LOCK:
            if self._step is None or self._step.target_shape != tuple(data.y.shape[1:]):
                self._step = FunctionalStep(self.member, first_rows(data), recompile=self._step is not None)
                self._functions.clear()
            while not self._traces_steps(data, validation):
                pass

    def _traces_steps(self, data: Data, validation: ValidationData | None) -> bool:
        """Whether the steps can be traced; if not, the obstacle has been removed for the next attempt."""
        try:
            self._train_step(specs_of(present(data)))
            if validation is not None:
                self._test_step(specs_of(present(validation.data)))
        except _MissingGradientError:  # Keras leaves such variables alone
            self.flat = None
        except _SparseGradientError:
            self.keep_sparse, self.flat = True, None
            self.work_side_by_side()
        except NotFusableError:
            raise
        except Exception as error:  # whatever a user's layer, loss or metric raises
            if self.mode == "side by side":
                raise NotFusableError(f"the training step cannot be traced ({_first_line(error)})") from error
            self.work_side_by_side()
        else:
            return True
        return False

    def work_side_by_side(self) -> None:
        """Call the step of one member for each from now on."""
        self.mode = "side by side"
        self._functions.clear()

    def zero_metrics(self) -> list[tf.Tensor]:
        """Values of the metrics at the start of an epoch, stacked."""
        return [tf.tile(v[None], (self.n_members, *([1] * v.shape.rank))) for v in self.step.zero_metrics()]

    def results(self, values: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Metrics by name from the values of their variables, (n_epochs, n_members, ...) each; numbers in float64."""
        with LOCK:
            results = self.step.means(list(map(tf.convert_to_tensor, values))) if self.step.are_means else None
        if results is None:
            results = self._traced_results(values)
        results = {name: np.asarray(v) for name, v in results.items()}
        return {name: v.astype("float64") if v.ndim == 2 else v for name, v in results.items()}

    def _traced_results(self, values: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Those of any metrics, whose results are functions of one epoch and member."""
        shape = values[0].shape[:2]
        flat = [tf.reshape(v, (-1, *v.shape[2:])) for v in values]
        with LOCK:
            if ("results",) not in self._functions:
                specs = [tf.TensorSpec((None, *v.shape), v.dtype) for v in self.step.metrics]
                function = tf.function(lambda m: map_members(self.step.results, m, may_loop=True), autograph=False)
                self._functions[("results",)] = function.get_concrete_function(specs)
                self.n_traces += 1
        results = self._functions[("results",)](flat)
        return {name: v.numpy().reshape(*shape, *v.shape[1:]) for name, v in results.items()}

    def _compiled(
        self, key: tuple, inputs: SegmentInputs | ChunkInputs | EvaluationInputs, body: Callable, xla: Compiled
    ) -> tf.types.experimental.ConcreteFunction:
        """The traced `body` for inputs like these."""
        specs = inputs.specs()
        cached = (*key, xla, tuple(map(str, tf.nest.flatten(specs))))
        with LOCK:
            if cached not in self._functions:
                function = tf.function(lambda *given: body(*key[1:], *given), autograph=False, jit_compile=xla == "all")
                self._functions[cached] = function.get_concrete_function(*specs)
                self.n_traces += 1
            return self._functions[cached]

    # What is traced

    def _chunk(
        self,
        settings: RunSettings,
        data: tuple[tf.Tensor, ...],
        rows: tf.Tensor,
        rates: tuple[tf.Tensor, ...],
        variables: Variables,
        metrics: list[tf.Tensor],
        active: tf.Tensor,
    ) -> tuple[Variables, list[tf.Tensor], tf.Tensor]:
        carry, metrics, active = self._steps(settings, data, rows, rates, self._pack(variables), metrics, active)
        return self._unpack(carry), metrics, active

    def _evaluate_chunk(
        self,
        batch_size: int,
        compiled: bool,
        data: tuple[tf.Tensor, ...],
        rows: tf.Tensor,
        variables: Variables,
        metrics: list[tf.Tensor],
        active: tf.Tensor,
    ) -> tuple[Variables, list[tf.Tensor]]:
        return self._evaluate(batch_size, compiled, (data, rows), variables, metrics, active)

    def _segment(
        self, settings: RunSettings, batch_size_v: int | None, *inputs: Any
    ) -> tuple[Variables, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        n_epochs, data, order, rates, evaluation, variables, active = SegmentInputs(*inputs)
        zero = self.zero_metrics()
        n_logged = len(zero) * (2 if evaluation else 1)
        history = [
            tf.TensorArray(v.dtype, order.shape[0], element_shape=v.shape, clear_after_read=False)
            for v in (zero * 2)[:n_logged]
        ]

        def epoch(
            e: tf.Tensor, carry: Variables, active: tf.Tensor, run: tf.Tensor, history: list[tf.TensorArray]
        ) -> list[Any]:
            run = run + tf.cast(active, "int32")
            began = active
            carry, metrics, active = self._steps(settings, data, order[e], [r[e] for r in rates], carry, zero, active)
            if batch_size_v is not None:
                compiled = settings.xla == "all"
                carry, evaluated = self._evaluate(batch_size_v, compiled, evaluation, carry, zero, began)
                metrics = metrics + evaluated
            history = [h.write(e, value) for h, value in zip(history, metrics, strict=True)]
            return [e + 1, carry, active, run, history]

        start = [tf.constant(0), self._pack(variables), active, tf.zeros(self.n_members, "int32"), history]
        _, carry, active, run, history = tf.while_loop(lambda e, *_: e < n_epochs, epoch, start)
        return self._unpack(carry), active, run, [h.stack() for h in history]

    def _steps(
        self,
        settings: RunSettings,
        data: tuple[tf.Tensor, ...],
        order: tf.Tensor,
        rates: Sequence[tf.Tensor],
        carry: Variables,
        metrics: list[tf.Tensor],
        active: tf.Tensor,
    ) -> list[Any]:
        """[carry, metrics, active] after all steps over `order` (n_members, n_columns), columns as in `steps_of`."""
        sizes, has_step = steps_of(settings.n_rows, settings.batch_size)
        step = self._train_step(specs_of(data), settings.xla)

        def one(
            i: tf.Tensor, rows: tf.Tensor, carry: Variables, metrics: list[tf.Tensor], active: tf.Tensor
        ) -> list[Any]:
            new_carry, new_metrics = step(
                self._set_rates(carry, [r[i] for r in rates]), metrics, gather_batches(data, rows)
            )
            if not settings.masked and has_step.all():
                return [new_carry, new_metrics, active]
            now = active & tf.constant(has_step)[i]
            carry, metrics = _where(now, [new_carry, new_metrics], [carry, metrics])
            if settings.stop_on_nan:
                active = active & (~now | self.step.loss_is_finite(metrics))
            return [carry, metrics, active]

        return self._loop(one, order, sizes, [carry, metrics, active], compiled=settings.xla == "all")

    def _loop(
        self, step: Callable[..., list[Any]], rows: tf.Tensor, sizes: list[int], state: list[Any], *, compiled: bool
    ) -> list[Any]:
        """`state` after `step(i, rows of the step, *state)` for batches of `sizes`, the last ones smaller."""
        starts = np.cumsum([0, *sizes[:-1]])
        # XLA compiles for one size: first a loop over the whole batches, then the others.
        n_looped = sizes.count(sizes[0]) if compiled else len(sizes)

        def one(i: tf.Tensor | int, start: tf.Tensor | int, size: tf.Tensor | int, state: Sequence[Any]) -> list[Any]:
            new = step(i, tf.slice(rows, [0, start], [self.n_members, size]), *state)
            # TensorFlow 2.18 loses shapes where the size of the batch is not known.
            for value, before in zip(tf.nest.flatten(new), tf.nest.flatten(state), strict=True):
                value.set_shape(before.shape)
            return new

        def looped(i: tf.Tensor, *state: Any) -> list[Any]:
            size = sizes[0] if compiled else tf.constant(sizes)[i]
            return [i + 1, *one(i, tf.constant(starts, "int32")[i], size, state)]

        _, *state = tf.while_loop(lambda i, *_: i < n_looped, looped, [tf.constant(0), *state])
        for i in range(n_looped, len(sizes)):
            state = one(i, starts[i], sizes[i], state)
        return state

    def _evaluate(
        self,
        batch_size: int,
        compiled: bool,
        evaluation: tuple[tuple[tf.Tensor, ...], tf.Tensor],
        variables: Variables,
        metrics: list[tf.Tensor],
        active: tf.Tensor,
    ) -> tuple[Variables, list[tf.Tensor]]:
        """`variables` and metrics after the evaluation of (data, rows (n_members, n_val)).

        The variables are the same except those that layers assign to in evaluation (seeds of random numbers).
        """
        data, rows = evaluation
        step = self._test_step(specs_of(data))
        n_trainable = len(variables.trainable)
        values = [*variables.trainable, *variables.non_trainable]
        hyperparameters = list(variables.hyperparameters)

        def one(i: tf.Tensor, rows: tf.Tensor, changed: dict[int, tf.Tensor], metrics: list[tf.Tensor]) -> list[Any]:
            values_now = _replaced(values, changed)
            now = Variables(values_now[:n_trainable], values_now[n_trainable:], [], hyperparameters)
            return list(step(now, metrics, gather_batches(data, rows)))

        sizes, _ = steps_of(rows.shape[1], batch_size)
        before = {i: values[i] for i in step.structured_outputs[0]}
        changed, metrics = self._loop(one, rows, sizes, [before, metrics], compiled=compiled)
        values = _replaced(values, _where(active, changed, before))
        return variables._replace(trainable=values[:n_trainable], non_trainable=values[n_trainable:]), metrics

    def _set_rates(self, carry: Variables, rates: list[tf.Tensor]) -> Variables:
        index = self.member.optimizer.rate_index
        if not rates or index is None:  # `Program.run` refuses rates where a schedule sets them
            return carry
        if self.flat is not None:
            index = self.flat.scalar_index.index(index)
        optimizer = list(carry.optimizer)
        optimizer[index] = tf.reshape(tf.cast(rates[0], optimizer[index].dtype), optimizer[index].shape)
        return carry._replace(optimizer=optimizer)

    def _pack(self, variables: Variables) -> Variables:
        return variables if self.flat is None else variables._replace(optimizer=self.flat.pack(variables.optimizer))

    def _unpack(self, carry: Variables) -> Variables:
        return carry if self.flat is None else carry._replace(optimizer=self.flat.unpack(carry.optimizer))

    def _train_step(
        self, specs: Sequence[tf.TensorSpec], xla: Compiled = None
    ) -> tf.types.experimental.ConcreteFunction:
        """(carry, metrics, batch) -> (carry, metrics): one step of all members, traced for batches of any size."""

        def step(
            carry: Variables, metrics: list[tf.Tensor], batch: tuple[tf.Tensor, ...]
        ) -> tuple[Variables, list[tf.Tensor]]:
            if self.flat is None:
                return self._each(self._member_step, carry, metrics, batch)
            found = self._each(self._member_gradients, carry._replace(optimizer=[]), metrics, batch)
            gradients, assigned, non_trainable, metrics = found
            update = tf.function(self.flat.apply, autograph=False, jit_compile=xla == "update")
            trainable, optimizer = update(
                _replaced(carry.trainable, assigned), carry.optimizer, gradients, carry.hyperparameters
            )
            return carry._replace(trainable=trainable, non_trainable=non_trainable, optimizer=optimizer), metrics

        name = "train with compiled update" if xla == "update" else "train"
        return self._inner(name, step, specs, lambda: [self._carry_specs(), self.step.metric_specs(self.n_members)])

    def _test_step(self, specs: Sequence[tf.TensorSpec]) -> tf.types.experimental.ConcreteFunction:
        """(variables, metrics, batch) -> (changed variables by index, metrics)."""

        def step(
            variables: Variables, metrics: list[tf.Tensor], batch: tuple[tf.Tensor, ...]
        ) -> tuple[dict[int, tf.Tensor], list[tf.Tensor]]:
            return self._each(self._member_evaluate, variables, metrics, batch)

        def arguments() -> list[Any]:
            variables = self.member.specs(self.n_members)._replace(optimizer=[])
            return [variables, self.step.metric_specs(self.n_members)]

        return self._inner("test", step, specs, arguments)

    def _inner(
        self, name: str, step: Callable, specs: Sequence[tf.TensorSpec], arguments: Callable[[], list[Any]]
    ) -> tf.types.experimental.ConcreteFunction:
        batch = tuple(
            tf.TensorSpec((self.n_members, None, *(s.shape[1:] if i < 2 else ())), s.dtype) for i, s in enumerate(specs)
        )
        key = (name, batch)
        if key not in self._functions:
            function = tf.function(step, autograph=False).get_concrete_function(*arguments(), batch)
            refuse_hidden_operations(function, self.member.model, self.member.created)
            self._functions[key] = function
            self.n_traces += 1
        return self._functions[key]

    def _carry_specs(self) -> Variables:
        specs = self.member.specs(self.n_members)
        if self.flat is None:
            return specs
        packed = self.flat.pack([tf.zeros(s.shape, s.dtype) for s in specs.optimizer])
        return specs._replace(optimizer=[tf.TensorSpec(v.shape, v.dtype) for v in packed])

    def _each(self, function: Callable, *arguments: Any) -> Any:
        return each_member(self.mode, self.n_members, function, *arguments)

    def _member_gradients(
        self, variables: Variables, metrics: list[tf.Tensor], batch: tuple[tf.Tensor, ...]
    ) -> tuple[list[tf.Tensor], dict[int, tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        found = self._gradients(variables, metrics, batch)
        if any(g is None for g in found.values):
            raise _MissingGradientError
        return found.values, found.assigned, found.non_trainable, found.metrics

    def _member_step(
        self, variables: Variables, metrics: list[tf.Tensor], batch: tuple[tf.Tensor, ...]
    ) -> tuple[Variables, list[tf.Tensor]]:
        found = self._gradients(variables, metrics, batch)
        with bound(self.member.hyperparameters, variables.hyperparameters):
            trainable, optimizer = self.member.optimizer.apply(
                _replaced(variables.trainable, found.assigned), variables.optimizer, found.values
            )
        new = variables._replace(trainable=trainable, non_trainable=found.non_trainable, optimizer=optimizer)
        return new, found.metrics

    def _gradients(self, variables: Variables, metrics: list[tf.Tensor], batch: tuple[tf.Tensor, ...]) -> Gradients:
        found = self.step.gradients(variables, metrics, Data(*batch), keep_sparse=self.keep_sparse)
        if found.are_sparse and not self.keep_sparse and not is_linear(self.member.optimizer):
            raise _SparseGradientError
        return found

    def _member_evaluate(
        self, variables: Variables, metrics: list[tf.Tensor], batch: tuple[tf.Tensor, ...]
    ) -> tuple[dict[int, tf.Tensor], list[tf.Tensor]]:
        return self.step.evaluate(variables, metrics, Data(*batch))


class _MissingGradientError(Exception):
    """A trainable variable has no gradient."""


class _SparseGradientError(Exception):
    """A gradient is sparse, and the optimizer treats it differently."""


def _specs_like(inputs: Any) -> Any:
    return tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape, v.dtype), inputs)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"


def _replaced(values: Sequence[tf.Tensor], by_index: dict[int, tf.Tensor]) -> list[tf.Tensor]:
    return [by_index.get(i, value) for i, value in enumerate(values)]


def _where(active: tf.Tensor, new: Any, old: Any) -> Any:
    """New values of active members, old values of the others."""

    def select(n: tf.Tensor, o: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(active, (-1, *([1] * (n.shape.rank - 1)))), n, o)

    return tf.nest.map_structure(select, new, old)
