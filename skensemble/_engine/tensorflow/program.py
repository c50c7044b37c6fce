"""The fused program: many Keras models of one architecture trained, evaluated and run as one TensorFlow program.

One member's training step is a pure function (`member_step.py`). It is mapped over the members (`mapped_step.py`,
`mapping.py`), the optimizer updates all members at once where its rule allows (`optimizer.py`), and the steps of many
epochs are looped in the graph with all state as tensors (`epoch_loop.py`, called by `runs.py`). Nothing runs in Python
between two steps.

Row orders go in as a tensor padded to a fixed number of epochs, with the number to run, so that every number of epochs
uses one compilation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf

from skensemble._engine.all_backends.base import BaseProgram
from skensemble._engine.all_backends.batches import order_in_columns
from skensemble._engine.all_backends.shards import run_in_shards
from skensemble._engine.records import Data, RunPlan, State, ValidationData, Variables
from skensemble._engine.tensorflow import cost_model
from skensemble._engine.tensorflow.data import load_data
from skensemble._engine.tensorflow.epoch_loop import RunSettings
from skensemble._engine.tensorflow.forward import Forward
from skensemble._engine.tensorflow.functional_model import FunctionalModel
from skensemble._engine.tensorflow.mapped_step import Steps
from skensemble._engine.tensorflow.mapping import Mode
from skensemble._engine.tensorflow.metrics import logs_of
from skensemble._engine.tensorflow.runs import PreparedRun, run

#: What TensorFlow raises where XLA cannot compile or run a program.
_COMPILE_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


def make_program(
    model: keras.Model,
    n_members: int,
    rebuild: Callable[[], keras.Model] | None = None,
    takes_hyperparameters: bool = False,
) -> Program:
    """A new program; members that are mapped are trained in shards where that pays. See `backend.get_program`."""
    member = FunctionalModel(model, rebuild, takes_hyperparameters=takes_hyperparameters)
    n_shards = 1
    if cost_model.first_mode(model, n_members) == "mapped":
        n_shards = cost_model.count_shards(n_members, n_members * member.n_values)
    return Program(member, n_members, n_shards)


class Program(BaseProgram):
    """Train, evaluate and run forward members of one architecture together. Made by `make_program`.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int
    n_shards : int, default=1
        Shards of members that are trained each in its own thread, since a mapped operation uses one core.

    Attributes
    ----------
    shard : Program or None
        Trains the members of one shard.
    n_traces : int
        How many TensorFlow functions were traced so far; for tests.
    xla_works : bool
        Whether nothing has failed to compile yet.
    """

    def __init__(self, member: FunctionalModel, n_members: int, n_shards: int = 1) -> None:
        super().__init__(member, n_members)
        self.n_shards = n_shards
        self.shard: Program | None = None if n_shards == 1 else Program(member, n_members // n_shards)
        self.steps: Steps = Steps(member, n_members) if self.shard is None else self.shard.steps
        self.forward = Forward(member, n_members)
        self.xla_works = True

    @property
    def mode(self) -> Mode:
        """How the members are computed in training and evaluation."""
        return self.steps.functions.mode

    @property
    def maps_members(self) -> bool:
        """Whether a step computes all members at once."""
        return self.mode == "mapped"

    @property
    def n_traces(self) -> int:
        """How many TensorFlow functions were traced so far."""
        return self.steps.functions.n_traces + self.forward.functions.n_traces

    def outputs(self, variables: Variables, rows: np.ndarray) -> np.ndarray:
        """Outputs of all members for some rows."""
        function = self.forward.function(tf.as_dtype(rows.dtype), rows.shape[1:])
        return function(list(variables.trainable), list(variables.non_trainable), tf.convert_to_tensor(rows)).numpy()

    def finalize(self, state: State) -> State:
        """With ``use_ema`` the averages take the place of the variables."""
        averages = self.member.optimizer.average_index
        if averages is None:
            return state
        variables = state.variables
        trainable = [
            v if i is None else variables.optimizer[i] for v, i in zip(variables.trainable, averages, strict=True)
        ]
        return dataclasses.replace(state, variables=variables._replace(trainable=trainable))

    def run(self, state: State, data: Data, plan: RunPlan) -> tuple[State, dict[str, np.ndarray]]:
        """Train all members for some epochs; see `BaseProgram.run`."""
        data = load_data(*data)
        if self.shard is not None:
            return run_in_shards(self.shard, self.n_shards, partial(tf.concat, axis=0), state, data, plan)
        prepared = self._prepare(state, data, plan)
        try:
            state, history = run(self.steps, state, prepared)
        except _COMPILE_ERRORS:
            if prepared.settings.xla is None:
                raise
            state, history = run(self.steps, state, prepared.without_xla())
            self.xla_works = False
        return state, logs_of(history, self.steps.of_member.metrics, self.steps.functions)

    def _prepare(self, state: State, data: Data, plan: RunPlan) -> PreparedRun:
        """Load the validation data, trace the steps and lay out the rows."""
        orders, validation = np.asarray(plan.orders), plan.validation
        n_epochs, _, most_rows = orders.shape
        n_steps = -(-most_rows // plan.batch_size)
        if validation is not None:
            indices = np.asarray(validation.sample_indices, "int32")
            validation = ValidationData(load_data(*validation.data), indices, validation.batch_size)
        rates = self.learning_rates(plan)
        self.steps.trace(data, validation)
        n_sizes = 1
        if plan.n_rows is not None:
            orders = order_in_columns(orders, plan.n_rows, plan.batch_size)
            n_sizes = len({n % plan.batch_size for n in plan.n_rows} - {0})
        masked = plan.stop_on_nan or not state.active.all()
        xla = self._what_to_compile(data, plan.expected_steps or n_epochs * n_steps, n_sizes, plan.batch_size)
        n_rows = most_rows if plan.n_rows is None else plan.n_rows
        settings = RunSettings(plan.batch_size, n_rows, masked, plan.stop_on_nan, xla)
        return PreparedRun(settings, data, orders, rates, validation)

    def _what_to_compile(self, data: Data, n_steps: int, n_sizes: int, batch_size: int) -> cost_model.Compiled:
        if not self.xla_works and cost_model.FORCE_XLA is NotImplemented:
            return None
        return cost_model.what_to_compile(
            n_steps,
            n_sizes,
            self.n_members * self.member.n_values,
            batch_size,
            whole=self.maps_members and not self.steps.has_loops(data),
            flat=self.steps.flat is not None,
        )
