"""The fused program: many Keras models of one architecture trained, evaluated and run as one JAX program.

Keras' stateless step is mapped over the members and looped over batches and epochs in the program
(`mapped_steps.py`). Where that is slower (`cost_model.is_slow_in_loops`) each member is trained by itself, by steps
called from Python; so are all members where X does not fit on the device. Members are spread over several devices by
sharding their axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import keras
import numpy as np

from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.base import BaseProgram
from skensemble._engine.all_backends.batches import Batches, make_batches
from skensemble._engine.all_backends.data import is_on_host
from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.all_backends.shards import run_in_shards
from skensemble._engine.jax import cost_model
from skensemble._engine.jax.data import load_data
from skensemble._engine.jax.mapped_steps import Kind, Steps, each_member
from skensemble._engine.jax.member_step import FunctionalModel
from skensemble._engine.jax.placement import Placement, devices_for
from skensemble._engine.jax.runs import run_epochs, run_steps
from skensemble._engine.records import Array, Data, RunPlan, State, Variables

#: Kinds of steps, in the order of the batches of a run.
KINDS: tuple[Kind, Kind] = ("train", "test")


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
        self.in_loops = not cost_model.is_slow_in_loops(member.model)
        self.alone = None if self.in_loops or n_members == 1 else Program(member, 1)
        self._placement = Placement(devices_for(member.model, n_members), n_members)
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

    def finalize(self, state: State) -> State:
        """With ``use_ema`` the averages take the place of the variables."""
        if not getattr(self.member.model.optimizer, "use_ema", False):
            return state
        trainable = self._finalize(_in_lists(state.variables))
        return dataclasses.replace(state, variables=state.variables._replace(trainable=trainable))

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

    def run(self, state: State, data: Data, plan: RunPlan) -> tuple[State, dict[str, np.ndarray]]:
        """Train all members for some epochs; see `BaseProgram.run`."""
        data, validation = load_data(*data), plan.validation
        if self.alone is not None:
            return run_in_shards(self.alone, limits.CORES, jnp.concatenate, state, data, plan)
        batches = [make_batches(data, plan.orders, plan.batch_size, plan.n_rows, self.learning_rates(plan))]
        if validation is not None:
            rows = np.asarray(validation.sample_indices)[None]
            batches.append(make_batches(load_data(*validation.data), rows, validation.batch_size, None, None).at(0))
        if not plan.stop_on_nan and plan.n_rows is None and state.active.all():
            batches = [dataclasses.replace(one, has_step=None) for one in batches]
        variables = jax.tree.map(self._placement.of_members, _in_lists(state.variables))
        active = self._placement.of_members(state.active)
        steps = self._steps_for(variables, *batches)
        by_step = not self.in_loops or any(is_on_host(one.data) for one in batches)
        run = run_steps if by_step else run_epochs
        variables, active, epochs_run, history = run(
            steps, self._placement, plan.stop_on_nan, variables, active, *batches
        )
        n = self.n_members
        if self._placement.n_places > n:
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
                self._steps = Steps(self.member, self._placement.n_places)
            for kind, one in zip(KINDS, batches, strict=False):
                n_rows = one.batch_size if one.most_whole else one.partial_sizes[0]
                self._steps.check(kind, variables, one.data, n_rows)
            return self._steps


def _in_lists(variables: Variables) -> Variables:
    """The same in lists, since a program is compiled for one structure."""
    return Variables(*map(list, variables))
