"""What the programs of all backends share: the state of the members, learning rates, predictions in chunks."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from skensemble._engine.records import Array, Data, RunPlan, State, Variables
from skensemble._numeric.host_rows import as_rows, rows_at_once

#: The most values (of the widest layer, all members) that one chunk of `BaseProgram.predict` may hold.
PREDICT_VALUES = 2**23


class BaseProgram(abc.ABC):
    """The state of members of one architecture and their predictions; a backend's subclasses train them.

    Parameters
    ----------
    member : FunctionalModel
        The backend's own. Has `widest`, the values of the largest layer output for one row, and `optimizer`, which has
        `initial` (its variables before training) and `rate_index` (which of them is the learning rate; None where it
        follows a schedule), and `hyperparameters`, a list of those that are inputs.
    n_members : int
    """

    def __init__(self, member: Any, n_members: int) -> None:
        self.member, self.n_members = member, n_members

    @property
    @abc.abstractmethod
    def maps_members(self) -> bool:
        """Whether a step computes all members at once, so that more of them take little longer."""

    @abc.abstractmethod
    def outputs(self, variables: Variables, rows: np.ndarray) -> np.ndarray:
        """Outputs of all members for some rows, which fit into memory."""

    @abc.abstractmethod
    def finalize(self, state: State) -> State:
        """The state as Keras leaves it when training ends: with ``use_ema`` the averages replace the variables."""

    @abc.abstractmethod
    def run(self, state: State, data: Data, plan: RunPlan) -> tuple[State, dict[str, np.ndarray]]:
        """Train all members for some epochs.

        Parameters
        ----------
        state : State
        data : Data
            As returned by `load_data`, or arrays.
        plan : RunPlan

        Returns
        -------
        state : State
        logs : dict of str to float64 ndarray of shape (n_epochs, n_members)
            Keys and order of Keras' ``History.history``. Meaningless for epochs after the `epochs_run` of a member that
            stopped.
        """

    def stack(self, states: list[Variables]) -> State:
        """Put the variables of all members together.

        Parameters
        ----------
        states : list of Variables
            One entry per member, as returned by `read_state`. `optimizer` may be empty for prediction, or lack the
            variables that Keras has not built yet.
        """
        states = [values._replace(optimizer=self._complete(values.optimizer)) for values in states]
        return self.restore(
            Variables(*([np.stack(own) for own in zip(*part, strict=True)] for part in zip(*states, strict=True))),
            np.ones(len(states), bool),
        )

    def _complete(self, values: Sequence[Array]) -> Sequence[Array]:
        """Add the variables of an optimizer that was not built: they start the same in every member."""
        return [*values, *self.member.optimizer.initial[len(values) :]] if values else values

    def restore(self, variables: Variables, active: np.ndarray) -> State:
        """The state with these stacked variables, in which the members in `active` are trained."""
        parts = ([keras.ops.convert_to_tensor(v) for v in part] for part in variables)
        return State(Variables(*parts), active, np.zeros(len(active), int))

    def with_hyperparameters(self, state: State, values: np.ndarray) -> State:
        """The state with these hyperparameters, (n_members, n_hyperparameters, 2), if the program takes them."""
        inputs = [keras.ops.convert_to_tensor(values)] if self.member.hyperparameters else []
        return dataclasses.replace(state, variables=state.variables._replace(hyperparameters=inputs))

    def unstack(self, state: State, k: int) -> Variables:
        """Variables of member `k`, NumPy arrays, for `write_state`."""
        return Variables(*([np.array(v[k]) for v in part] for part in state.variables[:3]))

    def set_learning_rates(self, state: State, rates: list[Any]) -> State:
        """The state with other learning rates, one for each member; unchanged where the optimizer has a schedule."""
        index = self.member.optimizer.rate_index
        if index is None:
            return state
        optimizer = list(state.variables.optimizer)
        dtype = keras.backend.standardize_dtype(optimizer[index].dtype)
        optimizer[index] = keras.ops.convert_to_tensor(np.array([float(rate) for rate in rates], dtype))
        return dataclasses.replace(state, variables=state.variables._replace(optimizer=optimizer))

    def learning_rates(self, plan: RunPlan) -> np.ndarray | None:
        """The learning rates of a plan, (n_epochs, n_steps, n_members); None if it sets none."""
        if plan.learning_rates is None:
            return None
        if self.member.optimizer.rate_index is None:
            raise ValueError("The learning rate cannot be set: this optimizer follows a LearningRateSchedule.")
        rates = np.asarray(plan.learning_rates, "float32")
        rates = rates[:, :, None] if rates.ndim == 2 else rates
        n_epochs, _, most_rows = plan.orders.shape
        return np.broadcast_to(rates, (n_epochs, -(-most_rows // plan.batch_size), self.n_members))

    def predict(self, variables: Variables, X: Array, *, chunk_rows: int | None = None) -> np.ndarray:
        """Outputs of all members for the same rows.

        Parameters
        ----------
        variables : Variables
            Stacked; those of the optimizer are not needed.
        X : ndarray or HostRows of shape (n_rows, ...)
        chunk_rows : int, optional
            Rows per call; by default as many as keep the widest layer within a bounded number of values.

        Returns
        -------
        ndarray of shape (n_members, n_rows, ...)
        """
        X = as_rows(X)
        if chunk_rows is None:
            chunk_rows = rows_at_once(X, max(32, PREDICT_VALUES // (self.n_members * self.member.widest)))
        outputs = []
        for start in range(0, max(1, len(X)), chunk_rows):
            chunk = X[start : start + chunk_rows]
            if chunk.dtype.kind == "f":
                chunk = chunk.astype(keras.config.floatx(), copy=False)
            outputs.append(self.outputs(variables, chunk))
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=1)
