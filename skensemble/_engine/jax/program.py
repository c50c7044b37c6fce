"""The fused program: many Keras models of one architecture trained, evaluated and run as one JAX program.

Keras' stateless step is mapped over the members and looped over batches and epochs in the program (`steps.py`). Where
that is slower (`estimates.is_slow_in_loops`) each member is trained by itself, by steps called from Python; so are all
members where X does not fit on the device. Members are spread over several devices by sharding their axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from skensemble._engine import limits
from skensemble._engine.base_program import BaseProgram
from skensemble._engine.batches import Batches, make_batches
from skensemble._engine.jax import estimates
from skensemble._engine.jax.data import gather, is_on_host, load_data
from skensemble._engine.jax.step import FunctionalModel, Logs
from skensemble._engine.jax.steps import Carry, Kind, Steps, each_member
from skensemble._engine.prototype import LOCK
from skensemble._engine.records import Array, Data, RunPlan, State, Variables
from skensemble._engine.shards import run_in_shards

#: Kinds of steps, in the order of the batches of a run.
KINDS: tuple[Kind, Kind] = ("train", "test")
#: Variables and active members after a run, epochs of each, and logs of its parts.
Trained = tuple[Variables, Array, np.ndarray, list[Logs]]


def make_program(
    model: keras.Model,
    n_members: int,
    rebuild: Callable[[], keras.Model] | None = None,
    takes_hyperparameters: bool = False,
) -> Program:
    """A new program. See `backend.get_program`."""
    return Program(FunctionalModel(model, rebuild, takes_hyperparameters=takes_hyperparameters), n_members)


class Program(BaseProgram):
    """Train, evaluate and run forward members of one architecture together. Made by `get_program`.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int

    Attributes
    ----------
    in_loops : bool
        Whether all steps are in the program, mapped over the members.
    alone : Program or None
        That of one member, where each is trained by itself.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        super().__init__(member, n_members)
        self.in_loops = not estimates.is_slow_in_loops(member.model)
        self.alone = None if self.in_loops or n_members == 1 else Program(member, 1)
        devices = estimates.devices_for(member.model, n_members)
        self._mesh, self._n_padding = Mesh(np.array(devices), ("members",)), -n_members % len(devices)
        self._target_shape: tuple[int, ...] | None = None
        self._steps: Steps | None = None
        self._predict = jax.jit(self._predict_members)
        self._finalize = jax.jit(each_member(member.finalize, n_members))

    @property
    def n_traces(self) -> int:
        """How many functions of the training were traced so far; for tests."""
        program = self if self.alone is None else self.alone
        return 0 if program._steps is None else program._steps.n_traces

    @property
    def maps_members(self) -> bool:
        """Whether a step computes all members at once."""
        return self.in_loops

    def as_array(self, values: np.ndarray) -> jax.Array:
        """Values on the device."""
        return jnp.asarray(values)

    def finalize(self, state: State) -> State:
        """With ``use_ema`` the averages take the place of the variables."""
        if not getattr(self.member.model.optimizer, "use_ema", False):
            return state
        trainable = self._finalize(_in_lists(state.variables))
        return dataclasses.replace(state, variables=state.variables._replace(trainable=trainable))

    # Prediction

    def outputs(self, variables: Variables, rows: np.ndarray) -> np.ndarray:
        """Outputs of all members for some rows."""
        variables, n_rows = _in_lists(variables._replace(optimizer=[])), len(rows)
        # A program is compiled for a number of rows: padding rows, which are not read, make this a power of two.
        padding = [(0, (1 << max(0, n_rows - 1).bit_length()) - n_rows), *[(0, 0)] * (rows.ndim - 1)]
        rows = np.pad(rows, padding, "edge" if n_rows else "constant")
        if self.in_loops:
            return np.asarray(self._predict(variables, rows)[:, :n_rows])
        variables = jax.tree.map(np.asarray, variables)
        each = (jax.tree.map(lambda v: v[k : k + 1], variables) for k in range(self.n_members))  # noqa: B023
        return np.concatenate([self._predict(one, rows)[:, :n_rows] for one in each])

    def _predict_members(self, variables: Variables, rows: Array) -> Array:
        n_members = self.n_members if self.in_loops else 1
        return each_member(lambda variables: self.member.predict(variables, rows), n_members)(variables)

    # Training

    def run(self, state: State, data: Data, plan: RunPlan) -> tuple[State, dict[str, np.ndarray]]:
        """Train all members for some epochs; see `BaseProgram.run`."""
        data, held_out = load_data(*data), plan.validation
        if self.alone is not None:
            return run_in_shards(self.alone, limits.CORES, jnp.concatenate, state, data, plan)
        batches = [make_batches(data, plan.orders, plan.batch_size, plan.n_rows, self.learning_rates(plan))]
        if held_out is not None:
            rows = np.asarray(held_out.sample_indices)[None]
            batches.append(make_batches(load_data(*held_out.data), rows, held_out.batch_size, None, None).at(0))
        if not plan.stop_on_nan and plan.n_rows is None and state.active.all():
            batches = [dataclasses.replace(one, has_step=None) for one in batches]
        variables = jax.tree.map(self._of_members, _in_lists(state.variables))
        steps = self._steps_for(variables, *batches)
        by_step = not self.in_loops or any(is_on_host(one.data) for one in batches)
        train = self._by_step if by_step else self._by_segment
        variables, active, epochs_run, history = train(
            steps, plan.stop_on_nan, variables, self._of_members(state.active), *batches
        )
        n = self.n_members
        if self._n_padding:
            variables = jax.tree.map(lambda v: v[:n], variables)
        logs = {name: np.concatenate([part[name] for part in history])[:, :n] for name in sorted(history[0])}
        state = State(variables, np.array(active)[:n], epochs_run[:n])
        return state, {name: values.astype("float64") for name, values in logs.items()}

    def _steps_for(self, variables: Variables, *batches: Batches) -> Steps:
        """Steps for targets of this shape, checked with data of these shapes."""
        data = batches[0].data
        with LOCK:
            if self._steps is None or self._target_shape != data.y.shape[1:]:
                self.member.build(data, again=self._steps is not None)
                self._target_shape = data.y.shape[1:]
                self._steps = Steps(self.member, self.n_members + self._n_padding)
            for kind, one in zip(KINDS, batches, strict=False):
                n_rows = one.batch_size if one.most_whole else one.partial_sizes[0]
                self._steps.check(kind, variables, one.data, n_rows)
            return self._steps

    def _by_segment(
        self,
        steps: Steps,
        stop_on_nan: bool,
        variables: Variables,
        active: Array,
        training: Batches,
        held_out: Batches | None = None,
    ) -> Trained:
        """All epochs of a segment in one call."""
        n_epochs = len(training.order)
        length = max(1, min(limits.SEGMENT_EPOCHS, limits.SEGMENT_BYTES // training.order[0].nbytes))
        held_out = None if held_out is None else self._placed(held_out)
        epochs_run, history = np.zeros(len(active), int), []
        for start in range(0, n_epochs, length):
            segment = training.at(slice(start, start + length))
            now = len(segment.order)
            segment = self._placed(segment.padded(length))
            variables, active, ran, logs = steps.epochs(
                stop_on_nan, np.int32(now), segment, held_out, variables, active
            )
            epochs_run += np.asarray(ran)
            history.append({name: values[:now] for name, values in logs.items()})
        return variables, active, epochs_run, history

    def _by_step(
        self,
        steps: Steps,
        stop_on_nan: bool,
        variables: Variables,
        active: Array,
        training: Batches,
        held_out: Batches | None = None,
    ) -> Trained:
        """Step after step, called from Python."""
        epochs_run, history = np.zeros(len(active), int), []
        for epoch in range(len(training.order)):
            began = active
            epochs_run += np.asarray(began)
            carry = self._walk(steps, "train", stop_on_nan, variables, began, training.at(epoch))
            logs, active, variables = steps.logs("train", carry), carry.active, carry.variables
            if held_out is not None:
                carry = self._walk(steps, "test", False, variables, began, held_out)
                logs, variables = logs | steps.logs("test", carry), carry.variables
            history.append({name: np.asarray(value)[None] for name, value in logs.items()})
        return variables, active, epochs_run, history

    def _walk(
        self, steps: Steps, kind: Kind, stop_on_nan: bool, variables: Variables, active: Array, batches: Batches
    ) -> Carry:
        """The steps of an epoch."""
        carry = steps.begin(kind, variables, active)
        # Copies, since each step donates the buffers of the last one; placed as a step places them, so that it is
        # compiled once.
        carry = jax.tree.map(lambda v: jax.device_put(jnp.copy(v), self._by_member), carry)
        size = batches.batch_size
        whole = ((i, i * size, size) for i in range(int(batches.n_whole)))
        on_host = is_on_host(batches.data)
        data = batches.data if on_host else self._placed_data(batches.data)
        for i, first, n_rows in (*whole, *batches.partial_steps()):
            rows = batches.order[:, first : first + n_rows]
            parts = batches.has_step, batches.rates
            of_step = [None if part is None else self._of_members(part[i]) for part in parts]
            taken = jax.tree.map(self._of_members, gather(data, rows)) if on_host else data
            carry = steps.step(kind, stop_on_nan, carry, taken, None if on_host else self._of_members(rows), *of_step)
        return carry

    # Devices

    def _placed(self, batches: Batches) -> Batches:
        """On the devices."""
        parts = batches.order, batches.has_step, batches.rates
        axes = batches.order.ndim - 2, 1, batches.order.ndim - 1
        order, has_step, rates = (
            None if part is None else self._of_members(part, axis) for part, axis in zip(parts, axes, strict=True)
        )
        data = self._placed_data(batches.data)
        return dataclasses.replace(batches, data=data, order=order, has_step=has_step, rates=rates)

    def _placed_data(self, data: Data) -> Data:
        X, y, weights = data
        if weights is not None:
            weights = self._of_members(weights) if weights.ndim > 1 else self._everywhere(weights)
        return Data(self._everywhere(X), self._everywhere(y), weights)

    def _everywhere(self, value: Array) -> jax.Array:
        """A value on each device."""
        return jax.device_put(value, NamedSharding(self._mesh, PartitionSpec()))

    def _of_members(self, value: Array, axis: int = 0) -> jax.Array:
        """A value of all members, spread over the devices. Uneven numbers are padded with the last member."""
        if self._n_padding:
            last = np.asarray(value).take([-1], axis)
            value = np.concatenate([value, last.repeat(self._n_padding, axis)], axis)
        return jax.device_put(value, NamedSharding(self._mesh, PartitionSpec(*[None] * axis, "members")))

    @property
    def _by_member(self) -> NamedSharding:
        """How values of all members are placed on the devices."""
        return NamedSharding(self._mesh, PartitionSpec("members"))


def _in_lists(variables: Variables) -> Variables:
    """The same in lists, since a program is compiled for one structure."""
    return Variables(*map(list, variables))
