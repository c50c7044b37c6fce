"""The steps of all members as TensorFlow functions: mapped or side by side, looped over rows and epochs, traced once.

The step is traced once, its batch dimension unknown, and called for the full and for the last, partial batch: a
partial batch is a step of its own size, never padded.
"""

import threading
from collections import namedtuple

import numpy as np
import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

from skensemble._program_state import first_rows, gather_batches, specs_of
from skensemble._pure_optimizer import FlatOptimizer, is_elementwise, is_linear
from skensemble._signature import NotFusable

if "Bitcast" not in pfor._pfor_converter_registry:

    @pfor.RegisterPFor("Bitcast")
    def _convert_bitcast(pfor_input):
        """Keras' `argmax` looks at the sign bit; ``tf.vectorized_map`` knows no Bitcast (TensorFlow 2.18 to 2.21)."""
        return pfor.wrap(tf.bitcast(pfor_input.stacked_input(0), pfor_input.get_attr("type")), True)


#: Keras models are traced by one thread at a time (Keras' TensorFlow backend is not thread-safe).
LOCK = threading.RLock()

#: What a traced run depends on, besides the shapes of its inputs. `n_rows` of an epoch is a number, or a tuple with one
#: for each member.
Plan = namedtuple("Plan", "batch_size n_rows rates masked stop_on_nan xla")


class Graph:
    """Functions that train, evaluate and run forward members of one architecture, in terms of stacked values.

    Parameters
    ----------
    member : Member
        Of `_step`.
    n_members : int

    Attributes
    ----------
    mode : {"mapped", "side by side"}
    flat : FlatOptimizer or None
        Updates all members at once, where the rule of the optimizer allows.
    n_traces : int
        How many TensorFlow functions were traced so far.
    """

    def __init__(self, member, n_members):
        self.member, self.n_members = member, n_members
        self.mode = "side by side" if any_layer(member.model, "Conv") else "mapped"
        self.flat = None
        if member.optimizer is not None and is_elementwise(member.optimizer):
            self.flat = FlatOptimizer(member.optimizer, n_members)
        self.n_traces = 0
        self._functions = {}

    def segment(self, plan, batch_size_v, *inputs):
        """Train for some epochs, each evaluated with batches of `batch_size_v`.

        `inputs` are the number of epochs, (X, y[, sample_weight]), row orders, learning rates, (data, rows) of the
        validation or (), the parts of the state, and which members are trained.
        """
        return self._compiled(("segment", plan, batch_size_v), list(inputs), self._segment, plan.xla)(*inputs)

    def chunk(self, plan, *inputs):
        """Train for some steps; `inputs` are the data, rows, learning rates, state, metrics and who is trained."""
        return self._compiled(("chunk", plan), list(inputs), self._chunk, plan.xla)(*inputs)

    def evaluate_chunk(self, batch_size, xla, *inputs):
        """Metrics after the evaluation of some rows; `inputs` are the data, rows, state and metrics."""
        key = "evaluate", batch_size, xla == "all"
        return self._compiled(key, list(inputs), self._evaluate_chunk, xla)(*inputs)

    def has_loops(self):
        """Whether a traced step holds a loop, as of recurrent layers."""
        steps = [f for key, f in self._functions.items() if key[0] == "train"]
        return any(op.type in ("While", "StatelessWhile") for f in steps for op in f.graph.get_operations())

    def trace_steps(self, data, validation):
        """Trace the steps, side by side where they cannot be mapped."""
        with LOCK:
            if self.member.build_metrics(*first_rows(data)):
                self._functions = {key: f for key, f in self._functions.items() if key[0] == "predict"}
            try:
                self._train_step(specs_of(data))
                if validation is not None:
                    self._test_step(specs_of(validation[0]))
            except _MissingGradient:  # Keras leaves such variables alone
                self.flat = None
                self.trace_steps(data, validation)
            except Exception as error:  # whatever a user's layer, loss or metric raises
                if self.mode == "side by side":
                    raise NotFusable(f"the training step cannot be traced ({_first_line(error)})") from error
                self.work_side_by_side()
                self.trace_steps(data, validation)
            member = self.member
            if member.has_sparse_gradients and not member.keep_sparse and not is_linear(member.optimizer):
                member.keep_sparse, self.flat = True, None
                self.work_side_by_side()
                self.trace_steps(data, validation)

    def work_side_by_side(self):
        """Call the step once per member from now on."""
        self.mode = "side by side"
        self._functions.clear()

    def zero_metrics(self):
        """Values of the metrics at the start of an epoch, stacked."""
        return [tf.tile(v[None], (self.n_members, *([1] * v.shape.rank))) for v in self.member.zero_metrics()]

    def results(self, values):
        """Metrics by name from the values of their variables, (n_epochs, n_members) each."""
        shape = values[0].shape[:2]
        flat = [tf.reshape(v, (-1, *v.shape[2:])) for v in values]
        with LOCK:
            if "results" not in self._functions:
                specs = [tf.TensorSpec((None, *v.shape), v.dtype) for v in self.member.metrics]
                function = tf.function(lambda m: tf.vectorized_map(self.member.results, m, warn=False), autograph=False)
                self._functions["results"] = function.get_concrete_function(specs)
                self.n_traces += 1
        results = self._functions["results"](flat)
        return {name: v.numpy().reshape(*shape, *v.shape[1:]).astype("float64") for name, v in results.items()}

    def forward(self, dtype, shape):
        """Function of (trainable, non_trainable, rows) that gives the outputs of all members."""
        key = ("predict", dtype, shape)
        with LOCK:
            if key not in self._functions:
                specs = [*self.member.state_specs(self.n_members)[:2], tf.TensorSpec((None, *shape), dtype)]
                try:
                    function = tf.function(self._predict_members, autograph=False).get_concrete_function(*specs)
                except Exception:  # whatever cannot be mapped; another error comes again
                    if self.mode == "side by side":
                        raise
                    self.work_side_by_side()
                    function = tf.function(self._predict_members, autograph=False).get_concrete_function(*specs)
                self._functions[key] = function
                self.n_traces += 1
            return self._functions[key]

    def _compiled(self, key, inputs, body, xla):
        """The traced `body` for inputs like these; the number of rows of X, y and shared weights is not part of it."""
        specs = tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape, v.dtype), inputs)
        where = next(i for i, part in enumerate(inputs) if isinstance(part, tuple))
        specs[where] = specs_of(inputs[where])
        if key[0] == "segment" and specs[4]:
            specs[4] = (specs_of(inputs[4][0]), specs[4][1])
        cached = (*key, xla, tuple(map(str, tf.nest.flatten(specs))))
        with LOCK:
            if cached not in self._functions:
                function = tf.function(lambda *given: body(*key[1:], *given), autograph=False, jit_compile=xla == "all")
                self._functions[cached] = function.get_concrete_function(*specs)
                self.n_traces += 1
            return self._functions[cached]

    # What is traced

    def _chunk(self, plan, data, order, rates, state, metrics, active):
        carry, metrics, active = self._steps(plan, data, order, rates, self._pack(state), metrics, active)
        return self._unpack(carry), metrics, active

    def _evaluate_chunk(self, batch_size, compiled, data, rows, state, metrics):
        return self._evaluate(batch_size, compiled, data, rows, self._pack(state), metrics)

    def _segment(self, plan, batch_size_v, n_epochs, data, order, rates, evaluation, state, active):
        zero = self.zero_metrics()
        n_logged = len(zero) * (2 if evaluation else 1)
        history = [
            tf.TensorArray(v.dtype, order.shape[0], element_shape=v.shape, clear_after_read=False)
            for v in (zero * 2)[:n_logged]
        ]

        def epoch(e, carry, active, run, history):
            run = run + tf.cast(active, "int32")
            carry, metrics, active = self._steps(plan, data, order[e], [r[e] for r in rates], carry, zero, active)
            if evaluation:
                metrics = metrics + self._evaluate(batch_size_v, plan.xla == "all", *evaluation, carry, zero)
            history = [h.write(e, value) for h, value in zip(history, metrics, strict=True)]
            return [e + 1, carry, active, run, history]

        start = [tf.constant(0), self._pack(state), active, tf.zeros(self.n_members, "int32"), history]
        _, carry, active, run, history = tf.while_loop(lambda e, *_: e < n_epochs, epoch, start)
        return self._unpack(carry), active, run, [h.stack() for h in history]

    def _steps(self, plan, data, order, rates, carry, metrics, active):
        """All steps over `order` (n_members, n_columns), columns as of `steps_of`."""
        sizes, has_step = steps_of(plan.n_rows, plan.batch_size)
        step = self._train_step(specs_of(data), plan.xla)

        def one(i, rows, carry, metrics, active):
            new_carry, new_metrics = step(
                self._set_rates(carry, [r[i] for r in rates]), metrics, gather_batches(data, rows)
            )
            if not plan.masked and has_step.all():
                return [new_carry, new_metrics, active]
            now = active & tf.constant(has_step)[i]
            carry, metrics = _where(now, [new_carry, new_metrics], [carry, metrics])
            if plan.stop_on_nan:
                active = active & (~now | self.member.loss_is_finite(metrics))
            return [carry, metrics, active]

        return self._loop(one, order, sizes, [carry, metrics, active], compiled=plan.xla == "all")

    def _loop(self, step, rows, sizes, state, *, compiled):
        """`state` after `step(i, rows of the step, *state)` for batches of `sizes`, the last ones smaller."""
        starts = np.cumsum([0, *sizes[:-1]])
        # XLA compiles for one size: a loop over the whole batches, then the others.
        n_looped = sizes.count(sizes[0]) if compiled else len(sizes)

        def one(i, start, size, state):
            new = step(i, tf.slice(rows, [0, start], [self.n_members, size]), *state)
            # TensorFlow 2.18 loses shapes where the size of the batch is not known.
            for value, before in zip(tf.nest.flatten(new), tf.nest.flatten(state), strict=True):
                value.set_shape(before.shape)
            return new

        def looped(i, *state):
            size = sizes[0] if compiled else tf.constant(sizes)[i]
            return [i + 1, *one(i, tf.constant(starts, "int32")[i], size, state)]

        _, *state = tf.while_loop(lambda i, *_: i < n_looped, looped, [tf.constant(0), *state])
        for i in range(n_looped, len(sizes)):
            state = one(i, starts[i], sizes[i], state)
        return state

    def _evaluate(self, batch_size, compiled, data, rows, carry, metrics):
        """Metrics after the evaluation of `rows` (n_members, n_val)."""
        step = self._test_step(specs_of(data))
        trainable, fixed, _ = self._unpack(carry)

        def one(i, rows, metrics):
            return [step(trainable, fixed, metrics, gather_batches(data, rows))]

        sizes, _ = steps_of(rows.shape[1], batch_size)
        (metrics,) = self._loop(one, rows, sizes, [metrics], compiled=compiled)
        return metrics

    def _set_rates(self, carry, rates):
        if not rates:
            return carry
        trainable, fixed, slots = carry
        index = self.member.optimizer.rate_index
        if self.flat is not None:
            index = self.flat.scalar_index.index(index)
        slots = list(slots)
        slots[index] = tf.reshape(tf.cast(rates[0], slots[index].dtype), slots[index].shape)
        return [trainable, fixed, slots]

    def _pack(self, state):
        trainable, fixed, slots = state
        if self.flat is None:
            return [list(trainable), list(fixed), list(slots)]
        return [list(trainable), list(fixed), self.flat.pack(slots)]

    def _unpack(self, carry):
        trainable, fixed, slots = carry
        if self.flat is None:
            return [trainable, fixed, slots]
        return [trainable, fixed, self.flat.unpack(slots)]

    def _train_step(self, specs, xla=None):
        """(carry, metrics, batch) -> (carry, metrics): one step of all members, traced for batches of any size."""

        def step(carry, metrics, batch):
            trainable, fixed, slots = carry
            if self.flat is None:
                trainable, fixed, slots, metrics = self._each(
                    self._member_step, trainable, fixed, slots, metrics, batch
                )
            else:
                gradients, fixed, metrics = self._each(self._member_gradients, trainable, fixed, metrics, batch)
                if any(g is None for g in gradients):
                    raise _MissingGradient
                update = tf.function(self.flat.apply, autograph=False, jit_compile=xla == "update")
                trainable, slots = update(trainable, slots, gradients)
            return [trainable, fixed, slots], metrics

        name = "train with compiled update" if xla == "update" else "train"
        return self._inner(name, step, specs, lambda: [self._carry_specs(), self.member.metric_specs(self.n_members)])

    def _test_step(self, specs):
        def step(trainable, fixed, metrics, batch):
            return self._each(self._member_evaluate, trainable, fixed, metrics, batch)

        return self._inner(
            "test",
            step,
            specs,
            lambda: [*self.member.state_specs(self.n_members)[:2], self.member.metric_specs(self.n_members)],
        )

    def _inner(self, name, step, specs, arguments):
        batch = tuple(
            tf.TensorSpec((self.n_members, None, *(s.shape[1:] if i < 2 else ())), s.dtype) for i, s in enumerate(specs)
        )
        key = (name, batch)
        if key not in self._functions:
            function = tf.function(step, autograph=False)
            self._functions[key] = function.get_concrete_function(*arguments(), batch)
            self.n_traces += 1
        return self._functions[key]

    def _carry_specs(self):
        specs = self.member.state_specs(self.n_members)
        if self.flat is None:
            return specs
        trainable, fixed, slots = specs
        packed = self.flat.pack([tf.zeros(s.shape, s.dtype) for s in slots])
        return [trainable, fixed, [tf.TensorSpec(v.shape, v.dtype) for v in packed]]

    def _each(self, function, *arguments):
        """Call `function` for every member: stacked arguments in, stacked results out."""
        if self.mode == "mapped":
            return tf.vectorized_map(lambda a: function(*a), arguments, fallback_to_while_loop=False)
        calls = tf.function(function, autograph=False)
        flat = [tf.unstack(v, self.n_members) for v in tf.nest.flatten(arguments)]
        members = [calls(*tf.nest.pack_sequence_as(arguments, values)) for values in zip(*flat, strict=True)]
        return tf.nest.map_structure(lambda *values: tf.stack(values), *members)

    def _member_gradients(self, trainable, fixed, metrics, batch):
        gradients, fixed, metrics = self.member.gradients(trainable, fixed, metrics, *_with_weights(batch))
        return gradients, fixed, metrics

    def _member_step(self, trainable, fixed, slots, metrics, batch):
        gradients, fixed, metrics = self.member.gradients(trainable, fixed, metrics, *_with_weights(batch))
        trainable, slots = self.member.optimizer.apply(trainable, slots, gradients)
        return trainable, fixed, slots, metrics

    def _member_evaluate(self, trainable, fixed, metrics, batch):
        return self.member.evaluate(trainable, fixed, metrics, *_with_weights(batch))

    def _predict_members(self, trainable, fixed, x):
        if self.mode == "mapped":
            return tf.vectorized_map(
                lambda a: self.member.predict(*a, x), (trainable, fixed), fallback_to_while_loop=False
            )
        return self._each(lambda t, f: self.member.predict(t, f, x), trainable, fixed)


class _MissingGradient(Exception):
    """A trainable variable has no gradient."""


def _first_line(error):
    return f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"


def _with_weights(batch):
    return batch if len(batch) == 3 else (*batch, None)


def steps_of(n_rows, batch_size):
    """The steps of an epoch: (sizes, members that have each).

    Whole batches come first, then the last, partial ones, one step for each size. A member with fewer whole batches
    than others waits for them before its last one.

    Parameters
    ----------
    n_rows : int or tuple of int
        Of all members, or of each.
    batch_size : int

    Returns
    -------
    sizes : list of int
        Rows of each step.
    has_step : ndarray of bool of shape (n_steps, n_members), or (n_steps, 1) where all are alike
    """
    whole, last = np.divmod(np.atleast_1d(n_rows), batch_size)
    partial = np.unique(last[last > 0])
    has_step = np.concatenate([np.arange(whole.max())[:, None] < whole, partial[:, None] == last])
    return [batch_size] * int(whole.max()) + partial.tolist(), has_step


def laid_out(orders, n_rows, batch_size):
    """Row orders (n_epochs, n_members, most rows) of members with `n_rows` each in the columns of `steps_of`."""
    sizes, has_step = steps_of(n_rows, batch_size)
    columns = np.zeros((*orders.shape[:2], sum(sizes)), orders.dtype)
    for k, n in enumerate(n_rows):
        columns[:, k, np.repeat(has_step[:, k], sizes)] = orders[:, k, :n]
    return columns


def _where(active, new, old):
    """New values of active members, old values of the others."""

    def select(n, o):
        return tf.where(tf.reshape(active, (-1, *([1] * (n.shape.rank - 1)))), n, o)

    return tf.nest.map_structure(select, new, old)


def any_layer(model, word):
    return any(word in type(layer).__name__ for layer in model._flatten_layers())
