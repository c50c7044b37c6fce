"""The fused program: many Keras models of one architecture trained, evaluated and run as one TensorFlow program.

One member's training step is a pure function (`step.py`). It is mapped over the members (`mapping.py`), the optimizer
updates all members at once where its rule allows (`optimizer.py`), and the steps of many epochs are looped in the graph
with all state as tensors (`graph.py`, `runs.py`). Nothing runs in Python between two steps.

Row orders go in as a tensor padded to a fixed number of epochs, with the number to run, so that every number of epochs
uses one compilation.
"""

from __future__ import annotations

import abc
import dataclasses

import numpy as np
import tensorflow as tf

from skensemble._engine.base_program import BaseProgram
from skensemble._engine.program.batches import order_in_columns
from skensemble._engine.records import Data, RunPlan, State, ValidationData, Variables
from skensemble._engine.tensorflow import estimates
from skensemble._engine.tensorflow.data import load_data
from skensemble._engine.tensorflow.forward import Forward
from skensemble._engine.tensorflow.graph import Graph, RunSettings
from skensemble._engine.tensorflow.mapping import Mode
from skensemble._engine.tensorflow.runs import History, PreparedRun, run
from skensemble._engine.tensorflow.step import FunctionalModel

#: What TensorFlow raises where XLA cannot compile or run a program.
_COMPILE_ERRORS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)


class TensorFlowProgram(BaseProgram):
    """The state of members of one architecture and their predictions; subclasses train them.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        super().__init__(member, n_members)
        self.forward = Forward(member, n_members)

    @property
    @abc.abstractmethod
    def mode(self) -> Mode:
        """How the members are computed in training and evaluation."""

    @property
    def maps_members(self) -> bool:
        """Whether a step computes all members at once."""
        return self.mode == "mapped"

    def as_array(self, values: np.ndarray) -> tf.Tensor:
        """Values as a tensor."""
        return tf.convert_to_tensor(values)

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


class Program(TensorFlowProgram):
    """Train, evaluate and run forward members of one architecture together. Made by `get_program`.

    Attributes
    ----------
    mode : {"mapped", "side by side"}
        Of training and evaluation.
    n_traces : int
        How many TensorFlow functions were traced so far; for tests.
    xla_works : bool
        Whether nothing has failed to compile yet.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        super().__init__(member, n_members)
        self.graph = Graph(member, n_members)
        self.xla_works = True

    @property
    def mode(self) -> Mode:
        """How the members are computed."""
        return self.graph.mode

    @property
    def n_traces(self) -> int:
        """How many TensorFlow functions were traced so far."""
        return self.graph.n_traces + self.forward.n_traces

    def run(self, state: State, data: Data, plan: RunPlan) -> tuple[State, dict[str, np.ndarray]]:
        """Train all members for some epochs; see `BaseProgram.run`."""
        prepared = self._prepare(state, data, plan)
        try:
            state, history = run(self.graph, state, prepared)
        except _COMPILE_ERRORS:
            if prepared.settings.xla is None:
                raise
            state, history = run(self.graph, state, prepared.without_xla())
            self.xla_works = False
        return state, self._logs(history)

    def _prepare(self, state: State, data: Data, plan: RunPlan) -> PreparedRun:
        """Load the data, trace the steps and lay out the rows."""
        orders = np.asarray(plan.orders)
        n_epochs, _, most_rows = orders.shape
        n_steps = -(-most_rows // plan.batch_size)
        data, validation = load_data(*data), plan.validation
        if validation is not None:
            indices = np.asarray(validation.sample_indices, "int32")
            validation = ValidationData(load_data(*validation.data), indices, validation.batch_size)
        rates = self.learning_rates(plan)
        self.graph.trace_steps(data, validation)
        n_sizes = 1
        if plan.n_rows is not None:
            orders = order_in_columns(orders, plan.n_rows, plan.batch_size)
            n_sizes = len({n % plan.batch_size for n in plan.n_rows} - {0})
        masked = plan.stop_on_nan or not state.active.all()
        xla = self._what_to_compile(plan.expected_steps or n_epochs * n_steps, n_sizes, plan.batch_size)
        n_rows = most_rows if plan.n_rows is None else plan.n_rows
        settings = RunSettings(plan.batch_size, n_rows, masked, plan.stop_on_nan, xla)
        return PreparedRun(settings, data, orders, rates, validation)

    def _what_to_compile(self, n_steps: int, n_sizes: int, batch_size: int) -> estimates.Compiled:
        if not self.xla_works and estimates.FORCE_XLA is NotImplemented:
            return None
        return estimates.what_to_compile(
            n_steps,
            n_sizes,
            self.n_members * self.member.n_values,
            batch_size,
            whole=self.mode == "mapped" and not self.graph.has_loops(),
            flat=self.graph.flat is not None,
        )

    def _logs(self, history: History) -> dict[str, np.ndarray]:
        """Metric variables of every epoch and member -> Keras' logs."""
        n_metrics = len(self.graph.step.metrics)
        logs: dict[str, np.ndarray] = {}
        for prefix, values in (("", history[:n_metrics]), ("val_", history[n_metrics:])):
            if values:
                logs |= {prefix + name: value for name, value in self.graph.results(values).items()}
        return dict(sorted(logs.items()))
