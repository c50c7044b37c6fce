"""One member's steps as pure functions of arrays: Keras' own stateless ones, of a private copy of the model.

Private Keras names (Keras 3.8 to 3.15): ``_symbolic_build``, by which `Model.fit`, too, makes the variables of losses
and metrics before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import keras

from skensemble._compat.keras import created_variables, excluded_from_weight_decay
from skensemble._engine.all_backends.hyperparameters import Hyperparameter, bound, make_inputs
from skensemble._engine.all_backends.prototype import (
    compile_alike,
    make_prototype,
    refuse_global_random_numbers,
    widest_output,
)
from skensemble._engine.records import Array, Data, Variables
from skensemble._engine.variables import adapted_layers, optimizer_variables
from skensemble._members.architecture import described
from skensemble.exceptions import NotFusableError

#: Logs of a step, name -> value.
Logs = dict[str, Array]
#: What a step returns: logs, variables, and variables of the metrics.
Stepped = tuple[Logs, Variables, list[Array]]

#: What JAX raises where a function cannot be traced, or mapped.
_TRACE_ERRORS = (jax.errors.JAXTypeError, jax.errors.JAXIndexError, NotImplementedError)


class OptimizerState(NamedTuple):
    """The variables of an optimizer.

    Attributes
    ----------
    initial : list of ndarray
        What they start from.
    n_tracked : int
        How many of them, from the first, Keras' stateless update knows.
    rate_index : int or None
        Which of them is the learning rate; None where it follows a schedule.
    """

    initial: list[Array]
    n_tracked: int
    rate_index: int | None


class FunctionalModel:
    """The steps of one member, traced from a copy of a model whose own variables no step writes.

    Parameters
    ----------
    model : keras.Model
        Compiled; neither kept nor changed.
    rebuild : callable, optional
        That of `get_program`.
    takes_hyperparameters : bool, default=False
        That of `get_program`.

    Attributes
    ----------
    model : keras.Model
        The copy.
    optimizer : OptimizerState
    widest : int
        Values of the largest layer output for one row.
    hyperparameters : list of Hyperparameter
        Those that are inputs.
    """

    def __init__(
        self,
        model: keras.Model,
        rebuild: Callable[[], keras.Model] | None = None,
        *,
        takes_hyperparameters: bool = False,
    ) -> None:
        self.model = _copied(model, rebuild)
        optimizer = _like(model.optimizer)
        compile_alike(self.model, self.model, optimizer)
        optimizer.build(self.model.trainable_variables)
        variables = optimizer_variables(optimizer)
        rate = getattr(optimizer, "inner_optimizer", optimizer).learning_rate
        self.optimizer = OptimizerState(
            [v.numpy() for v in variables],
            len(optimizer.variables),
            next((i for i, v in enumerate(variables) if v is rate), None),
        )
        self.widest = widest_output(self.model)
        self.hyperparameters: list[Hyperparameter] = []
        if takes_hyperparameters:
            self.hyperparameters = make_inputs(self.model, optimizer, type(optimizer))

    def build(self, data: Data, *, again: bool) -> None:
        """Make the variables of losses and metrics, whose meaning ("accuracy") follows from one row of the data."""
        if again:
            compile_alike(self.model, self.model)
        with self.refusing("train"):
            self.model._symbolic_build(data_batch=(data.X[:1], data.y[:1]))

    @contextmanager
    def refusing(self, kind: str) -> Iterator[None]:
        """While a step is traced, refuse what JAX cannot trace or map, and what a program would do only once."""
        before = described(self.model)
        try:
            with refuse_global_random_numbers():
                yield
        except _TRACE_ERRORS as error:
            first_line = str(error).strip().split("\n")[0]
            raise NotFusableError(f"its {kind} step cannot be traced and mapped by JAX ({first_line})") from error
        if described(self.model) != before:
            raise NotFusableError(f"its {kind} step changes attributes of the model, which are Python's")

    def train(self, variables: Variables, metrics: list[Array], batch: tuple[Array, ...]) -> Stepped:
        """Keras' `train_step`: (logs, variables, metrics)."""
        self._finalize_adapted(variables)
        n, optimizer = self.optimizer.n_tracked, list(variables.optimizer)
        with bound(self.hyperparameters, variables.hyperparameters):
            logs, state = self.model.train_step((*variables[:2], optimizer[:n], metrics), batch)
        trainable, non_trainable, optimizer = list(state[0]), list(state[1]), [*state[2], *optimizer[n:]]
        return logs, Variables(trainable, non_trainable, optimizer, variables.hyperparameters), list(state[3])

    def test(self, variables: Variables, metrics: list[Array], batch: tuple[Array, ...]) -> Stepped:
        """Keras' `test_step`: (logs, variables, metrics)."""
        self._finalize_adapted(variables)
        with bound(self.hyperparameters, variables.hyperparameters):
            logs, state = self.model.test_step((*variables[:2], metrics), batch)
        return logs, variables._replace(trainable=list(state[0]), non_trainable=list(state[1])), list(state[2])

    def predict(self, variables: Variables, x: Array) -> Array:
        """The model's output."""
        self._finalize_adapted(variables)
        output, _ = self.model.predict_step(variables[:2], (x,))
        if not isinstance(output, jax.Array):  # of a subclassed model
            raise NotFusableError("the model's output is not a single array")
        return output

    def results(self, metrics: list[Array]) -> Logs:
        """Value of every metric."""
        with keras.StatelessScope(list(zip(self.model.metrics_variables, metrics, strict=True))):
            return self.model.get_metrics_result()

    def finalize(self, variables: Variables) -> list[Array]:
        """The trainable variables when training ends: their averages with ``use_ema``."""
        own, known = self.model.trainable_variables, self.model.optimizer.variables
        mapping = [*zip(own, variables.trainable, strict=True), *zip(known, variables.optimizer, strict=False)]
        with keras.StatelessScope(mapping) as scope:
            self.model.optimizer.finalize_variable_values(own)
        return [scope.get_current_value(v) for v in own]

    def _finalize_adapted(self, variables: Variables) -> None:
        """Let layers compute from the member's own values what Keras keeps as constants of the model."""
        layers = adapted_layers(self.model)
        if layers:
            own = [*self.model.trainable_variables, *self.model.non_trainable_variables]
            values: list[Any] = [*variables.trainable, *variables.non_trainable]
            with keras.StatelessScope(list(zip(own, values, strict=True))):
                for layer in layers:
                    layer.finalize_state()


def _copied(model: keras.Model, rebuild: Callable[[], keras.Model] | None) -> keras.Model:
    """A copy of a model, all of whose variables are among those that the program carries."""
    with created_variables() as created:
        copy = make_prototype(model, rebuild)
    known = {id(v) for v in (*copy.variables, *copy.metrics_variables, *optimizer_variables(copy.optimizer))}
    hidden = [v for v in created() if id(v) not in known]
    if hidden:
        raise NotFusableError(
            f"the model holds the variable {hidden[0].path!r}, which is not among the model's variables"
        )
    return copy


def _like(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """A new optimizer with the settings of another one."""
    copy = type(optimizer).from_config(optimizer.get_config())
    pattern = excluded_from_weight_decay(optimizer)
    if pattern:
        copy.exclude_from_weight_decay(var_names=[pattern])
    return copy
