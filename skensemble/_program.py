"""The fused program: many Keras models of one architecture trained, evaluated and run as one TensorFlow program.

One member's training step is a pure function (`_step`). It is mapped over the members, the optimizer updates all
members at once where its rule allows (`_pure_optimizer`), and the steps of many epochs are looped in the graph with
all state as tensors (`_graph`). Nothing runs in Python between two steps.

Two modes, chosen by the architecture (`Program.mode`):

- "mapped": ``tf.vectorized_map`` turns the step of one member into batched operations. Best for dense networks.
- "side by side": the step is a function called once per member in one graph. Best for convolutions, and for what
  cannot be mapped.

Row orders go in as a tensor padded to a fixed number of epochs, with the number to run, so that every number of epochs
uses one compilation.
"""

import copy
import dataclasses
import math
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf

from skensemble._graph import LOCK, Graph, Plan, any_layer, laid_out
from skensemble._program_state import (
    RESIDENT_BYTES,
    ROW_ORDER_BYTES,
    State,
    chunks,
    load_data,
    padded,
    present,
    read_state,
    stack_values,
    write_state,
)
from skensemble._signature import NotFusable, signature, why_not_fusable
from skensemble._step import Member

__all__ = [
    "NotFusable",
    "Program",
    "State",
    "get_program",
    "load_data",
    "may_differ_in_rows",
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
#: Members with other numbers of rows wait for those with the most; the waiting leaves at least this share of the steps.
MIN_SHARE_OF_ROWS = 0.5
#: Programs kept by `get_program`.
CACHE_SIZE = 16


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
        self.graph = Graph(self.member, n_members)
        self.n_values = n_members * sum(v.shape.num_elements() for v in self.member.trainable)
        self.xla_works = True
        self.lane = self._make_lane()

    @property
    def mode(self):
        """How the members are computed."""
        return self.graph.mode

    @property
    def n_traces(self):
        """How many TensorFlow functions were traced so far."""
        return self.graph.n_traces + (0 if self.lane is None else self.lane.n_traces)

    def _make_lane(self):
        """A program for as many members as one core trains while the others train as many; None for small work."""
        n_lanes = max(n for n in range(1, CORES + 1) if self.n_members % n == 0)
        if n_lanes == 1 or self.mode != "mapped" or self.n_values < MIN_LANE_VALUES:
            return None
        lane = copy.copy(self)
        lane.n_members, lane.lane = self.n_members // n_lanes, None
        lane.graph = Graph(self.member, lane.n_members)
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
        n_rows=None,
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
        n_rows : None or tuple of int
            How many of its rows each member uses, where they differ and `may_differ_in_rows`.
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
        n_epochs, _, most_rows = orders.shape
        n_steps = -(-most_rows // batch_size)
        expected_steps = n_epochs * n_steps if expected_steps is None else expected_steps
        data = load_data(*data)
        if self.lane is not None:
            return self._run_lanes(
                state, data, orders, n_rows, learning_rates, validation, batch_size, stop_on_nan, expected_steps
            )
        if validation is not None:
            validation = (load_data(*validation[:3]), np.asarray(validation[3], "int32"), validation[4])
        rates = self._rates(learning_rates, n_epochs, n_steps)
        self.graph.trace_steps(data, validation)
        masked = stop_on_nan or not state.active.all()
        n_sizes = 1
        if n_rows is not None:
            orders, n_sizes = laid_out(orders, n_rows, batch_size), len({n % batch_size for n in n_rows} - {0})
        xla = self._choose_xla(expected_steps, batch_size, n_sizes)
        plan = Plan(batch_size, most_rows if n_rows is None else n_rows, rates is not None, masked, stop_on_nan, xla)
        on_host = not tf.is_tensor(data.X) or (validation is not None and not tf.is_tensor(validation[0].X))
        long = _are_long(self.n_members, most_rows)
        execute = self._run_chunks if on_host or long else self._run_epochs
        try:
            return execute(plan, state, data, orders, rates, validation)
        except _COMPILE_ERRORS:
            if xla is None:
                raise
            result = execute(plan._replace(xla=None), state, data, orders, rates, validation)
            self.xla_works = False
            return result

    def _run_lanes(
        self, state, data, orders, n_rows, learning_rates, validation, batch_size, stop_on_nan, expected_steps
    ):
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
                n_rows=None if n_rows is None else n_rows[own],
                learning_rates=learning_rates if np.ndim(learning_rates) < 3 else learning_rates[:, :, own],
                validation=held_out,
                stop_on_nan=stop_on_nan,
                expected_steps=expected_steps,
            )

        starts = range(0, self.n_members, size)
        with ThreadPoolExecutor(len(starts)) as threads:
            states, logs = zip(*threads.map(run, starts), strict=True)
        parts = [
            [tf.concat(v, 0) for v in zip(*part, strict=True)] for part in zip(*(s.parts for s in states), strict=True)
        ]
        active, epochs_run = (np.concatenate([getattr(s, n) for s in states]) for n in ("active", "epochs_run"))
        return State(*parts, active, epochs_run), {
            name: np.concatenate([log[name] for log in logs], 1) for name in logs[0]
        }

    def _choose_xla(self, n_steps, batch_size, n_sizes):
        """What XLA compiles: "all", the "update" of the variables, or nothing (None). See `XLA_MIN_STEPS`.

        Last batches of other sizes, `n_sizes` in all, take it as long again.
        """
        if FORCE_XLA is not NotImplemented:
            return FORCE_XLA
        if not self.xla_works or n_steps < XLA_MIN_STEPS * max(1, n_sizes):
            return None
        if self.mode == "mapped" and not self.graph.has_loops() and self.n_values * batch_size <= XLA_MAX_WORK:
            return "all"
        return "update" if self.graph.flat is not None and self.n_values >= XLA_MIN_UPDATE else None

    def _run_epochs(self, plan, state, data, orders, rates, validation):
        """All epochs of a segment in one call."""
        n_epochs = len(orders)
        segment = max(1, min(SEGMENT_EPOCHS, SEGMENT_BYTES // (ROW_ORDER_BYTES * orders[0].size)))
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
            parts, active, run, history = self.graph.segment(plan, batch_size_v, *inputs)
            epochs_run += run.numpy()
            histories.append([h.numpy()[:now] for h in history])
        history = [np.concatenate(values) for values in zip(*histories, strict=True)]
        return State(*parts, active=active.numpy(), epochs_run=epochs_run), self._logs(history)

    def _run_chunks(self, plan, state, data, orders, rates, validation):
        """Chunk of steps after chunk of steps: long row orders, or an X on the host, are never in the program whole."""
        parts = [state.trainable, state.non_trainable, state.optimizer]
        active, zero = tf.constant(state.active), self.graph.zero_metrics()
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
                parts, metrics, active = self.graph.chunk(chunk_plan, *inputs)
            if validation is not None:
                metrics = [*metrics, *self._evaluate_chunks(validation, plan.xla, parts, zero)]
            histories.append([m.numpy()[None] for m in metrics])
        history = [np.concatenate(values) for values in zip(*histories, strict=True)]
        return State(*parts, active=active.numpy(), epochs_run=epochs_run), self._logs(history)

    def _evaluate_chunks(self, validation, xla, parts, metrics):
        data, rows_v, batch_size = validation
        for _, chunk, rows in chunks(data, rows_v, batch_size, SEGMENT_BYTES):
            metrics = self.graph.evaluate_chunk(batch_size, xla, chunk, rows, parts, metrics)
        return metrics

    def _rates(self, learning_rates, n_epochs, n_steps):
        if learning_rates is None:
            return None
        if self.member.optimizer.rate_index is None:
            raise ValueError("The learning rate cannot be set: this optimizer follows a LearningRateSchedule.")
        rates = np.asarray(learning_rates, "float32")
        rates = rates[:, :, None] if rates.ndim == 2 else rates
        return np.broadcast_to(rates, (n_epochs, n_steps, self.n_members))

    def _logs(self, history):
        """Metric variables of every epoch and member -> Keras' logs."""
        n_metrics = len(self.member.metrics)
        logs = {}
        for prefix, values in (("", history[:n_metrics]), ("val_", history[n_metrics:])):
            if values:
                logs |= {prefix + name: value for name, value in self.graph.results(values).items()}
        return dict(sorted(logs.items()))

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
            forward = self.graph.forward(tf.as_dtype(chunk.dtype), X.shape[1:])
            outputs.append(forward(state.trainable, state.non_trainable, tf.convert_to_tensor(chunk)).numpy())
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)


def may_differ_in_rows(model, n_rows, batch_size, X):
    """Whether members with different numbers of rows train in less time together than by a program for each number.

    They do where tracing and compiling take the time: small networks on data in memory.

    Parameters
    ----------
    model : keras.Model
        Built.
    n_rows : list of int
        One number for each member.
    batch_size : int
    X : ndarray
        The rows of all.
    """
    n_values = len(n_rows) * sum(math.prod(v.shape) for v in model.trainable_variables)
    return (
        n_values * batch_size <= XLA_MAX_WORK
        and sum(n_rows) >= MIN_SHARE_OF_ROWS * len(n_rows) * max(n_rows)
        and X.nbytes <= RESIDENT_BYTES
        and not _are_long(len(n_rows), max(n_rows))
        and not any_layer(model, "Conv")
    )


def _are_long(n_members, n_rows):
    """Whether the row orders of an epoch are too long for one call."""
    return ROW_ORDER_BYTES * n_members * n_rows > SEGMENT_BYTES


#: What TensorFlow raises where XLA cannot compile or run a program.
_COMPILE_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


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
    with LOCK:
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
