"""One member's variables, optimizer and forward pass, as functions of tensors.

Keras' code runs inside a ``StatelessScope``, so that variables come in and go out as tensors and no ``tf.Variable`` is
written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import keras
import tensorflow as tf

from skensemble._engine.all_backends.hyperparameters import Hyperparameter, make_inputs
from skensemble._engine.all_backends.prototype import make_prototype, widest_output
from skensemble._engine.records import Variables
from skensemble._engine.tensorflow.hidden_state import created_variables, refuse_hidden_assignments
from skensemble._engine.tensorflow.optimizer import MemberOptimizer
from skensemble._engine.tensorflow.variable_scope import StepScope
from skensemble._engine.variables import adapted_layers
from skensemble.exceptions import NotFusableError


class FunctionalModel:
    """The forward pass and the optimizer of one member as pure functions; it is never changed.

    Parameters
    ----------
    model : keras.Model
        Compiled; copied, never written to.
    rebuild : callable, optional
        That of `get_program`.
    takes_hyperparameters : bool, default=False
        That of `get_program`.

    Attributes
    ----------
    model : keras.Model
        The copy.
    created : list of tf.Variable
        All that were created with the copy.
    trainable, non_trainable, variables : list of keras.Variable
        The `variables` are both, trainable ones first.
    optimizer : MemberOptimizer
    hyperparameters : list of Hyperparameter
        Those that are inputs.
    n_values : int
        Trainable values.
    widest : int
        Values of the largest layer output for one row.
    """

    def __init__(
        self,
        model: keras.Model,
        rebuild: Callable[[], keras.Model] | None = None,
        *,
        takes_hyperparameters: bool = False,
    ) -> None:
        with created_variables() as self.created:
            self.model = make_prototype(model, rebuild)
        self.trainable = list(self.model.trainable_variables)
        self.non_trainable = list(self.model.non_trainable_variables)
        self.variables = [*self.trainable, *self.non_trainable]
        self.optimizer = MemberOptimizer(model.optimizer, self.trainable)
        self.model.optimizer = None  # it is the user's own
        self.hyperparameters: list[Hyperparameter] = []
        if takes_hyperparameters:
            kind, optimizer = self.optimizer.kind, self.optimizer.optimizer
            self.hyperparameters = make_inputs(self.model, optimizer, kind, _RealHyperparameter)
        self.n_values = sum(math.prod(v.shape) for v in self.trainable)
        self.widest = widest_output(self.model)

    def specs(self, n_members: int) -> Variables:
        """Specs of the variables, stacked."""
        parts = self.trainable, self.non_trainable, self.optimizer.variables
        hyperparameters = []
        if self.hyperparameters:
            hyperparameters.append(tf.TensorSpec((n_members, len(self.hyperparameters), 2), keras.config.floatx()))
        return Variables(*(stacked_specs(part, n_members) for part in parts))._replace(hyperparameters=hyperparameters)

    def scope(self, variables: Variables, more: Iterable[tuple] = (), tape: tf.GradientTape | None = None) -> StepScope:
        """Scope in which the model has these values, and `more` (variable, value) pairs hold."""
        own = zip(self.variables, [*variables.trainable, *variables.non_trainable], strict=True)
        return StepScope([*own, *more], self.trainable, tape)

    def predict(self, x: tf.Tensor, trainable: list[tf.Tensor], non_trainable: list[tf.Tensor]) -> tf.Tensor:
        """The model's output."""
        with self.scope(Variables(trainable, non_trainable)) as scope:
            output = tf.convert_to_tensor(self.call(x, training=False))
        refuse_hidden_assignments(scope.updated, self.variables)
        return output

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """Keras' own forward pass; inside of a scope."""
        for layer in adapted_layers(self.model):
            layer.finalize_state()
        output = self.model(x, training=training) if self.model._call_has_training_arg else self.model(x)
        if isinstance(output, dict):  # of a subclassed model
            raise NotFusableError("the model's output is a dict")
        return output


class _RealHyperparameter(Hyperparameter, float):
    """A number for TensorFlow, whose dropout takes a tensor as its rate while Keras' does not."""

    def __new__(cls) -> _RealHyperparameter:
        return super().__new__(cls, math.nan)


def stacked_specs(variables: Sequence[keras.Variable], n_members: int) -> list[tf.TensorSpec]:
    """Specs of variables of all members, stacked."""
    return [tf.TensorSpec((n_members, *v.shape), v.dtype) for v in variables]
