"""The fused program: many Keras models of one architecture trained, evaluated and run as one TensorFlow program.

One member's training step is a pure function (`_step`). It is mapped over the members, the optimizer updates all
members at once where its rule allows (`_pure_optimizer`), and the steps of many epochs are looped in the graph with
all state as tensors. Nothing runs in Python between two steps.

Two modes, chosen by the architecture (`Program.mode`):

- "mapped": ``tf.vectorized_map`` turns the step of one member into batched operations. Best for dense networks.
- "side by side": the step is a function called once per member in one graph. Best for convolutions, and for what
  cannot be mapped.

The step is traced once, its batch dimension unknown, and called for the full and for the last, partial batch: a
partial batch is a step of its own size, never padded. Row orders go in as a tensor padded to a fixed number of
epochs, with the number to run, so that every number of epochs uses one compilation.
"""

import copy
import dataclasses
import os
import threading
from collections import OrderedDict, namedtuple
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.ops.parallel_for import pfor

from skensemble._program_state import (
    ROW_ORDER_BYTES,
    State,
    chunks,
    first_rows,
    gather_batches,
    load_data,
    padded,
    present,
    read_state,
    specs_of,
    stack_values,
    write_state,
)
from skensemble._pure_optimizer import FlatOptimizer, is_elementwise, is_linear
from skensemble._signature import NotFusable, signature, why_not_fusable
from skensemble._step import Member

__all__ = [
    "NotFusable",
    "Program",
    "State",
    "get_program",
    "load_data",
    "read_state",
    "signature",
    "stack_values",
    "why_not_fusable",
    "write_state",
]

#: Epochs whose row orders are handed over at once: at most so many, and at most so many bytes of orders. An epoch of
#: more bytes runs in chunks of steps, because the program holds its row orders several times over.
SEGMENT_EPOCHS, SEGMENT_BYTES = 64, 4 * 2**20
#: Values (of the widest layer, all members) that one chunk of `Program.predict` may hold.
PREDICT_VALUES = 2**23
#: XLA compiles the whole program (about a second) where there are many steps of little work: at most so many values
#: times rows of a batch, and at least so many steps. Its matrix products are slower than TensorFlow's, its fused
#: arithmetic is faster: for larger work it compiles the optimizer's update only (a tenth of a second), if that
#: changes at least so many values. Never loops (recurrent layers) and convolutions.
XLA_MIN_STEPS, XLA_MAX_WORK, XLA_MIN_UPDATE = 300, 10**7, 2 * 10**5
#: From so many values of all members on, mapped members run in parts, one a core.
MIN_LANE_VALUES, CORES = 2 * 10**5, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
#: For tests: "all", "update" or None instead of the choice.
FORCE_XLA = NotImplemented
#: Programs kept by `get_program`.
CACHE_SIZE = 16

if "Bitcast" not in pfor._pfor_converter_registry:

    @pfor.RegisterPFor("Bitcast")
    def _convert_bitcast(pfor_input):
        """Keras' `argmax` looks at the sign bit; ``tf.vectorized_map`` knows no Bitcast (TensorFlow 2.18 to 2.21)."""
        return pfor.wrap(tf.bitcast(pfor_input.stacked_input(0), pfor_input.get_attr("type")), True)


#: Keras models are traced by one thread at a time (Keras' TensorFlow backend is not thread-safe).
_LOCK = threading.RLock()

_Plan = namedtuple("_Plan", "batch_size n_rows rates masked stop_on_nan xla")


class Program:
    """Train, evaluate and run forward `n_members` models of one architecture together. Made by `get_program`.

    Attributes
    ----------
    mode : {"mapped", "side by side"}
    n_traces : int
        How many TensorFlow functions were traced so far; for tests.
    """

    def __init__(self, model, n_members):
        self.n_members = n_members
        self.member = Member(model)
        self.mode = "side by side" if _any_layer(model, "Conv") else "mapped"
        self.flat = None
        optimizer = self.member.optimizer
        if optimizer is not None and is_elementwise(optimizer):
            self.flat = FlatOptimizer(optimizer, n_members)
        self.n_values = n_members * sum(v.shape.num_elements() for v in self.member.trainable)
        self.xla_works = True
        self.n_traces = 0
        self._functions = {}
        self.lane = self._make_lane()

    def _make_lane(self):
        """A program for as many members as one core trains while the others train as many; None for small work."""
        n_lanes = max(n for n in range(1, CORES + 1) if self.n_members % n == 0)
        if n_lanes == 1 or self.mode != "mapped" or self.n_values < MIN_LANE_VALUES:
            return None
        lane = copy.copy(self)
        lane.n_members, lane.lane, lane._functions = self.n_members // n_lanes, None, {}
        if self.flat is not None:
            lane.flat = FlatOptimizer(self.member.optimizer, lane.n_members)
        return lane

    # State

    def stack(self, states):
        """Put the variables of all members together.

        Parameters
        ----------
        states : list of (trainable, non_trainable, optimizer)
            One entry per member, as of `read_state`. `optimizer` may be empty for prediction, or lack its slots where
            it was not built.
        """
        states = [(t, f, self._complete(o)) for t, f, o in states]
        parts = [
            [tf.convert_to_tensor(np.stack(values)) for values in zip(*part, strict=True)]
            for part in zip(*states, strict=True)
        ]
        n_members = len(states)
        return State(*parts, active=np.ones(n_members, bool), epochs_run=np.zeros(n_members, int))

    def unstack(self, state, k):
        """Variables of member `k`: (trainable, non_trainable, optimizer) lists of ndarray, for `write_state`."""
        return tuple([v[k].numpy() for v in part] for part in (state.trainable, state.non_trainable, state.optimizer))

    def set_learning_rates(self, state, rates):
        """The state with other learning rates, one for each member; unchanged where the optimizer has a schedule."""
        index = self.member.optimizer.rate_index
        if index is None:
            return state
        optimizer = list(state.optimizer)
        optimizer[index] = tf.stack([tf.cast(rate, optimizer[index].dtype) for rate in rates])
        return dataclasses.replace(state, optimizer=optimizer)

    def finalize(self, state):
        """What Keras does when training ends: with ``use_ema`` the averages take the place of the variables."""
        averages = self.member.optimizer.average_index
        if averages is None:
            return state
        trainable = [v if i is None else state.optimizer[i] for v, i in zip(state.trainable, averages, strict=True)]
        return dataclasses.replace(state, trainable=trainable)

    def _complete(self, values):
        """Add the slots of an optimizer that was not built: they start alike in every member."""
        if not values or self.member.optimizer is None:
            return values
        fresh = self.member.optimizer.initial
        return [*values, *fresh[len(values) :]]

    # Training

    def run(
        self,
        state,
        data,
        orders,
        *,
        batch_size,
        learning_rates=None,
        validation=None,
        stop_on_nan=False,
        expected_steps=None,
    ):
        """Train all members for some epochs.

        Parameters
        ----------
        state : State
        data : (X, y, sample_weight) or the result of `load_data`
        orders : int ndarray of shape (n_epochs, n_members, n_rows)
            The rows of X that each member visits in each epoch, in order. All are used; the last batch may be smaller.
        batch_size : int
        learning_rates : None or float ndarray of shape (n_epochs, n_steps) or (n_epochs, n_steps, n_members)
            Written into the optimizer's learning rate before each step.
        validation : None or (X, y, sample_weight, rows, batch_size)
            Evaluated after each epoch as in `Model.fit`; `rows` is an int array of shape (n_members, n_val). The first
            three may be
            given as the result of `load_data` (then the tuple is ``(*data, rows, batch_size)``).
        stop_on_nan : bool
            Keras' ``TerminateOnNaN`` for each member: after a step that leaves the epoch's running loss NaN or infinite
            the member stays as it
            is (``state.active``). Members whose ``state.active`` is False stay as they are from the start.
        expected_steps : int, optional
            Steps of the whole training where it is split over several calls; decides whether XLA pays. Pass the same in
            all of them.

        Returns
        -------
        state : State
        logs : dict of str to float64 ndarray of shape (n_epochs, n_members)
            Keys and order of Keras' ``History.history``. Meaningless for epochs after `epochs_run` of a member that
            stopped.
        """
        orders = np.asarray(orders)
        n_epochs, _, n_rows = orders.shape
        data = load_data(*data)
        if self.lane is not None:
            if expected_steps is None:
                expected_steps = n_epochs * -(-n_rows // batch_size)
            return self._run_lanes(
                state, data, orders, learning_rates, validation, batch_size, stop_on_nan, expected_steps
            )
        if validation is not None:
            validation = (load_data(*validation[:3]), np.asarray(validation[3], "int32"), validation[4])
        n_steps = -(-n_rows // batch_size)
        rates = self._rates(learning_rates, n_epochs, n_steps)
        self._trace_steps(data, validation)
        masked = stop_on_nan or not state.active.all()
        xla = self._choose_xla(n_epochs * n_steps if expected_steps is None else expected_steps, batch_size)
        plan = _Plan(batch_size, n_rows, rates is not None, masked, stop_on_nan, xla)
        on_host = not tf.is_tensor(data.X) or (validation is not None and not tf.is_tensor(validation[0].X))
        long = ROW_ORDER_BYTES * self.n_members * n_rows > SEGMENT_BYTES
        execute = self._run_chunks if on_host or long else self._run_epochs
        try:
            return execute(plan, state, data, orders, rates, validation)
        except _COMPILE_ERRORS:
            if xla is None:
                raise
            result = execute(plan._replace(xla=None), state, data, orders, rates, validation)
            self.xla_works = False
            return result

    def _run_lanes(self, state, data, orders, learning_rates, validation, batch_size, stop_on_nan, expected_steps):
        """`run` for the members in parts, one a core: a mapped operation uses one core."""
        size = self.lane.n_members

        def run(start):
            own = slice(start, start + size)
            weights = data.sample_weight
            held_out = validation
            if validation is not None:
                x, y, w, rows, n = validation
                held_out = (x, y, w if w is None or len(w.shape) == 1 else w[own], rows[own], n)
            return self.lane.run(
                State(*([v[own] for v in part] for part in state.parts), state.active[own], state.epochs_run[own]),
                data._replace(sample_weight=weights if weights is None or len(weights.shape) == 1 else weights[own]),
                orders[:, own],
                batch_size=batch_size,
                learning_rates=learning_rates if np.ndim(learning_rates) < 3 else learning_rates[:, :, own],
                validation=held_out,
                stop_on_nan=stop_on_nan,
                expected_steps=expected_steps,
            )

        starts = range(0, self.n_members, size)
        with ThreadPoolExecutor(len(starts)) as threads:
            states, logs = zip(*threads.map(run, starts), strict=True)
        self.n_traces = self.lane.n_traces
        parts = [
            [tf.concat(v, 0) for v in zip(*part, strict=True)] for part in zip(*(s.parts for s in states), strict=True)
        ]
        active, epochs_run = (np.concatenate([getattr(s, n) for s in states]) for n in ("active", "epochs_run"))
        return State(*parts, active, epochs_run), {
            name: np.concatenate([log[name] for log in logs], 1) for name in logs[0]
        }

    def _trace_steps(self, data, validation):
        """Trace the steps, side by side where they cannot be mapped."""
        with _LOCK:
            if self.member.build_metrics(*first_rows(data)):
                self._functions = {key: f for key, f in self._functions.items() if key[0] == "predict"}
            try:
                self._train_step(specs_of(data))
                if validation is not None:
                    self._test_step(specs_of(validation[0]))
            except _MissingGradient:  # Keras leaves such variables alone
                self.flat = None
                self._trace_steps(data, validation)
            except Exception as error:  # whatever a user's layer, loss or metric raises
                if self.mode == "side by side":
                    raise NotFusable(f"the training step cannot be traced ({_first_line(error)})") from error
                self._work_side_by_side()
                self._trace_steps(data, validation)
            member = self.member
            if member.has_sparse_gradients and not member.keep_sparse and not is_linear(member.optimizer):
                member.keep_sparse, self.flat = True, None
                self._work_side_by_side()
                self._trace_steps(data, validation)

    def _work_side_by_side(self):
        self.mode = "side by side"
        self._functions.clear()

    def _choose_xla(self, n_steps, batch_size):
        """What XLA compiles: "all", the "update" of the variables, or nothing (None). See `XLA_MIN_STEPS`."""
        if FORCE_XLA is not NotImplemented:
            return FORCE_XLA
        if not self.xla_works or n_steps < XLA_MIN_STEPS:
            return None
        steps = [f for key, f in self._functions.items() if key[0] == "train"]
        loops = any(op.type in ("While", "StatelessWhile") for f in steps for op in f.graph.get_operations())
        if self.mode == "mapped" and not loops and self.n_values * batch_size <= XLA_MAX_WORK:
            return "all"
        return "update" if self.flat is not None and self.n_values >= XLA_MIN_UPDATE else None

    def _run_epochs(self, plan, state, data, orders, rates, validation):
        """All epochs of a segment in one call."""
        n_epochs = len(orders)
        segment = max(1, min(SEGMENT_EPOCHS, SEGMENT_BYTES // (ROW_ORDER_BYTES * self.n_members * plan.n_rows)))
        parts = [state.trainable, state.non_trainable, state.optimizer]
        active = tf.constant(state.active)
        evaluation, batch_size_v = (), None
        if validation is not None:
            evaluation, batch_size_v = (present(validation[0]), tf.convert_to_tensor(validation[1])), validation[2]
        epochs_run, histories = np.zeros(self.n_members, int), []
        for start in range(0, n_epochs, segment):
            now = min(segment, n_epochs - start)
            inputs = [
                tf.constant(now),
                present(data),
                padded(orders[start : start + now], segment, "int32"),
                () if rates is None else (padded(rates[start : start + now], segment, "float32"),),
                evaluation,
                parts,
                active,
            ]
            function = self._compiled(("segment", plan, batch_size_v), inputs, self._segment, plan.xla)
            parts, active, run, history = function(*inputs)
            epochs_run += run.numpy()
            histories.append([h.numpy()[:now] for h in history])
        history = [np.concatenate(values) for values in zip(*histories, strict=True)]
        return State(*parts, active=active.numpy(), epochs_run=epochs_run), self._logs(history)

    def _run_chunks(self, plan, state, data, orders, rates, validation):
        """Chunk of steps after chunk of steps: long row orders, or an X on the host, are never in the program whole."""
        parts = [state.trainable, state.non_trainable, state.optimizer]
        active, zero = tf.constant(state.active), self._zero_metrics()
        epochs_run, histories = np.zeros(self.n_members, int), []
        for e, order in enumerate(orders):
            metrics = zero
            epochs_run += active.numpy()
            for start, chunk, rows in chunks(data, order, plan.batch_size, SEGMENT_BYTES):
                chunk_plan = plan._replace(n_rows=rows.shape[1])
                first = start // plan.batch_size
                rate = (
                    ()
                    if rates is None
                    else (tf.constant(rates[e, first : first + -(-rows.shape[1] // plan.batch_size)], "float32"),)
                )
                inputs = [chunk, rows, rate, parts, metrics, active]
                function = self._compiled(("chunk", chunk_plan), inputs, self._chunk, plan.xla)
                parts, metrics, active = function(*inputs)
            if validation is not None:
                metrics = [*metrics, *self._evaluate_chunks(validation, plan.xla, parts, zero)]
            histories.append([m.numpy()[None] for m in metrics])
        history = [np.concatenate(values) for values in zip(*histories, strict=True)]
        return State(*parts, active=active.numpy(), epochs_run=epochs_run), self._logs(history)

    def _evaluate_chunks(self, validation, xla, parts, metrics):
        data, rows_v, batch_size = validation
        for _, chunk, rows in chunks(data, rows_v, batch_size, SEGMENT_BYTES):
            inputs = [chunk, rows, parts, metrics]
            metrics = self._compiled(("evaluate", batch_size), inputs, self._evaluate_chunk, xla)(*inputs)
        return metrics

    def _rates(self, learning_rates, n_epochs, n_steps):
        if learning_rates is None:
            return None
        if self.member.optimizer.rate_index is None:
            raise ValueError("The learning rate cannot be set: this optimizer follows a LearningRateSchedule.")
        rates = np.asarray(learning_rates, "float32")
        rates = rates[:, :, None] if rates.ndim == 2 else rates
        return np.broadcast_to(rates, (n_epochs, n_steps, self.n_members))

    # Graph functions: everything below is traced

    def _compiled(self, key, inputs, body, xla):
        """The traced `body` for inputs like these; the number of rows of X, y and shared weights is not part of it."""
        specs = tf.nest.map_structure(lambda v: tf.TensorSpec(v.shape, v.dtype), inputs)
        where = next(i for i, part in enumerate(inputs) if isinstance(part, tuple))
        specs[where] = specs_of(inputs[where])
        if key[0] == "segment" and specs[4]:
            specs[4] = (specs_of(inputs[4][0]), specs[4][1])
        cached = (*key, xla, tuple(map(str, tf.nest.flatten(specs))))
        with _LOCK:
            if cached not in self._functions:
                function = tf.function(lambda *given: body(*key[1:], *given), autograph=False, jit_compile=xla == "all")
                self._functions[cached] = function.get_concrete_function(*specs)
                self.n_traces += 1
            return self._functions[cached]

    def _zero_metrics(self):
        return [tf.tile(v[None], (self.n_members, *([1] * v.shape.rank))) for v in self.member.zero_metrics()]

    def _chunk(self, plan, data, order, rates, state, metrics, active):
        carry, metrics, active = self._steps(plan, data, order, rates, self._pack(state), metrics, active)
        return self._unpack(carry), metrics, active

    def _evaluate_chunk(self, batch_size, data, rows, state, metrics):
        return self._evaluate(batch_size, data, rows, self._pack(state), metrics)

    def _segment(self, plan, batch_size_v, n_epochs, data, order, rates, evaluation, state, active):
        zero = self._zero_metrics()
        n_logged = len(zero) * (2 if evaluation else 1)
        history = [
            tf.TensorArray(v.dtype, order.shape[0], element_shape=v.shape, clear_after_read=False)
            for v in (zero * 2)[:n_logged]
        ]

        def epoch(e, carry, active, run, history):
            run = run + tf.cast(active, "int32")
            carry, metrics, active = self._steps(plan, data, order[e], [r[e] for r in rates], carry, zero, active)
            if evaluation:
                metrics = metrics + self._evaluate(batch_size_v, *evaluation, carry, zero)
            history = [h.write(e, value) for h, value in zip(history, metrics, strict=True)]
            return [e + 1, carry, active, run, history]

        start = [tf.constant(0), self._pack(state), active, tf.zeros(self.n_members, "int32"), history]
        _, carry, active, run, history = tf.while_loop(lambda e, *_: e < n_epochs, epoch, start)
        return self._unpack(carry), active, run, [h.stack() for h in history]

    def _steps(self, plan, data, order, rates, carry, metrics, active):
        """All steps over `order` (n_members, n_rows)."""
        full, tail = divmod(plan.n_rows, plan.batch_size)
        step = self._train_step(specs_of(data), plan.xla)

        def one(i, rows, carry, metrics, active):
            new_carry, new_metrics = step(
                self._set_rates(carry, [r[i] for r in rates]), metrics, gather_batches(data, rows)
            )
            if not plan.masked:
                return [new_carry, new_metrics, active]
            carry, metrics = _where(active, [new_carry, new_metrics], [carry, metrics])
            if plan.stop_on_nan:
                active = active & self.member.loss_is_finite(metrics)
            return [carry, metrics, active]

        def full_batch(i, *state):
            rows = tf.slice(order, [0, i * plan.batch_size], [self.n_members, plan.batch_size])
            return [i + 1, *one(i, rows, *state)]

        state = [carry, metrics, active]
        if full:
            _, *state = tf.while_loop(lambda i, *_: i < full, full_batch, [tf.constant(0), *state])
        if tail:
            state = one(full, order[:, full * plan.batch_size :], *state)
        return state

    def _evaluate(self, batch_size, data, rows, carry, metrics):
        """Metrics after the evaluation of `rows` (n_members, n_val)."""
        full, tail = divmod(rows.shape[1], batch_size)
        step = self._test_step(specs_of(data))

        def full_batch(i, metrics):
            batch = tf.slice(rows, [0, i * batch_size], [self.n_members, batch_size])
            return [i + 1, step(trainable, fixed, metrics, gather_batches(data, batch))]

        trainable, fixed, _ = self._unpack(carry)
        if full:
            _, metrics = tf.while_loop(lambda i, *_: i < full, full_batch, [tf.constant(0), metrics])
        if tail:
            metrics = step(trainable, fixed, metrics, gather_batches(data, rows[:, full * batch_size :]))
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

    def _logs(self, history):
        """Metric variables of every epoch and member -> Keras' logs."""
        n_metrics = len(self.member.metrics)
        logs = {}
        for prefix, values in (("", history[:n_metrics]), ("val_", history[n_metrics:])):
            if values:
                logs |= {prefix + name: value for name, value in self._results(values).items()}
        return dict(sorted(logs.items()))

    def _results(self, values):
        shape = values[0].shape[:2]
        flat = [tf.reshape(v, (-1, *v.shape[2:])) for v in values]
        with _LOCK:
            if "results" not in self._functions:
                specs = [tf.TensorSpec((None, *v.shape), v.dtype) for v in self.member.metrics]
                function = tf.function(lambda m: tf.vectorized_map(self.member.results, m, warn=False), autograph=False)
                self._functions["results"] = function.get_concrete_function(specs)
                self.n_traces += 1
        results = self._functions["results"](flat)
        return {name: v.numpy().reshape(*shape, *v.shape[1:]).astype("float64") for name, v in results.items()}

    # Prediction

    def predict(self, state, X, *, chunk_rows=None):
        """Outputs of all members for the same rows.

        Parameters
        ----------
        state : State
            May be stacked without optimizer variables.
        X : ndarray of shape (n_rows, ...)
        chunk_rows : int, optional
            Rows run at once; by default as many as keep the widest layer within a bounded number of values.

        Returns
        -------
        ndarray of shape (n_members, n_rows, ...)
        """
        X = X if isinstance(X, np.ndarray) else np.asarray(X)
        if chunk_rows is None:
            chunk_rows = max(32, PREDICT_VALUES // (self.n_members * self.member.widest))
        outputs = []
        for start in range(0, max(1, len(X)), chunk_rows):
            chunk = X[start : start + chunk_rows]
            if chunk.dtype.kind == "f":
                chunk = chunk.astype(keras.config.floatx(), copy=False)
            forward = self._forward(tf.as_dtype(chunk.dtype), X.shape[1:])
            outputs.append(forward(state.trainable, state.non_trainable, tf.convert_to_tensor(chunk)).numpy())
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)

    def _forward(self, dtype, shape):
        key = ("predict", dtype, shape)
        with _LOCK:
            if key not in self._functions:
                specs = [*self.member.state_specs(self.n_members)[:2], tf.TensorSpec((None, *shape), dtype)]
                try:
                    function = tf.function(self._predict_members, autograph=False).get_concrete_function(*specs)
                except Exception:  # whatever cannot be mapped; another error comes again
                    if self.mode == "side by side":
                        raise
                    self._work_side_by_side()
                    function = tf.function(self._predict_members, autograph=False).get_concrete_function(*specs)
                self._functions[key] = function
                self.n_traces += 1
            return self._functions[key]

    def _predict_members(self, trainable, fixed, x):
        if self.mode == "mapped":
            return tf.vectorized_map(
                lambda a: self.member.predict(*a, x), (trainable, fixed), fallback_to_while_loop=False
            )
        return self._each(lambda t, f: self.member.predict(t, f, x), trainable, fixed)


#: What TensorFlow raises where XLA cannot compile or run a program.
_COMPILE_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class _MissingGradient(Exception):
    """A trainable variable has no gradient."""


def _first_line(error):
    return f"{type(error).__name__}: {str(error).strip().split(chr(10))[0]}"


def _with_weights(batch):
    return batch if len(batch) == 3 else (*batch, None)


def _where(active, new, old):
    """New values of active members, old values of the others."""

    def select(n, o):
        return tf.where(tf.reshape(active, (-1, *([1] * (n.shape.rank - 1)))), n, o)

    return tf.nest.map_structure(select, new, old)


def _any_layer(model, word):
    return any(word in type(layer).__name__ for layer in model._flatten_layers())


_PROGRAMS = OrderedDict()


def get_program(model, n_members):
    """The program for `n_members` models like `model`; kept for later models of the same `signature`.

    Parameters
    ----------
    model : keras.Model
        Built and compiled. Neither kept nor changed.
    n_members : int

    Raises
    ------
    NotFusable
        With the reason in words.
    """
    with _LOCK:
        reason = why_not_fusable(model)
        if reason is not None:
            raise NotFusable(reason)
        key = signature(model), n_members
        if key not in _PROGRAMS:
            try:
                _PROGRAMS[key] = Program(model, n_members)
            except Exception as error:  # whatever a user's from_config raises
                raise NotFusable(f"the model cannot be copied from its configuration ({error})") from error
            while len(_PROGRAMS) > CACHE_SIZE:
                _PROGRAMS.popitem(last=False)
        _PROGRAMS.move_to_end(key)
        return _PROGRAMS[key]
