"""One member's training step, evaluation step and forward pass as pure functions of tensors.

The functions repeat Keras' ``train_step``, ``test_step`` and ``predict_step`` for TensorFlow (Keras 3.8 to 3.15) line
by line, inside a ``StatelessScope``, so that variables come in and go out as tensors and no ``tf.Variable`` is
written. Layers, losses, metrics and regularisers are Keras' own.

Layers may assign to the model's variables, including trainable ones (``SpectralNormalization``), in training and in
evaluation; the new values are kept. Anything else that a step changes is refused: see `hidden_state.py`.

Private Keras names: ``_compute_loss``, ``_loss_tracker``, ``_compile_loss``, ``_compile_metrics`` and
``_call_has_training_arg`` are what ``train_step`` itself uses; ``_flatten_layers`` walks the layers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from skensemble._engine.program.hyperparameters import Hyperparameter, bound, make_inputs
from skensemble._engine.program.prototype import (
    compile_alike,
    make_prototype,
    refuse_global_random_numbers,
    widest_output,
)
from skensemble._engine.records import Data, Variables
from skensemble._engine.tensorflow.hidden_state import created_variables, refuse_hidden_assignments
from skensemble._engine.tensorflow.optimizer import MemberOptimizer
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
    trainable, non_trainable : list of keras.Variable
    optimizer : MemberOptimizer
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
        with created_variables() as self.created:
            self.model = make_prototype(model, rebuild)
        self.trainable = list(self.model.trainable_variables)
        self.non_trainable = list(self.model.non_trainable_variables)
        self.optimizer = MemberOptimizer(model.optimizer, self.trainable)
        self.model.optimizer = None  # it is the user's own
        self.hyperparameters: list[Hyperparameter] = []
        if takes_hyperparameters:
            kind, optimizer = self.optimizer.kind, self.optimizer.optimizer
            self.hyperparameters = make_inputs(self.model, optimizer, kind, _RealHyperparameter)

    @property
    def n_values(self) -> int:
        """Trainable values."""
        return sum(v.shape.num_elements() for v in self.trainable)

    @property
    def has_loops(self) -> bool:
        """Whether the network has recurrent layers, whose steps are loops."""
        return any(isinstance(layer, keras.layers.RNN) for layer in self.model._flatten_layers())

    @property
    def widest(self) -> int:
        """Values of the largest layer output for one row."""
        return widest_output(self.model)

    def specs(self, n_members: int) -> Variables:
        """Specs of the variables, stacked."""
        hyperparameters = []
        if self.hyperparameters:
            hyperparameters.append(tf.TensorSpec((n_members, len(self.hyperparameters), 2), keras.config.floatx()))
        parts = self.trainable, self.non_trainable, self.optimizer.variables
        return Variables(*(stacked_specs(part, n_members) for part in parts))._replace(hyperparameters=hyperparameters)

    def predict(self, trainable: list[tf.Tensor], non_trainable: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        """The model's output."""
        pairs = [*zip(self.trainable, trainable, strict=True), *zip(self.non_trainable, non_trainable, strict=True)]
        with _StepScope(pairs, self.trainable) as scope:
            output = tf.convert_to_tensor(self.call(x, training=False))
        refuse_hidden_assignments(scope.updated, [*self.trainable, *self.non_trainable])
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


class Gradients(NamedTuple):
    """One batch of training up to the optimizer's update.

    Attributes
    ----------
    values : list of tensor, tf.IndexedSlices or None
        None where there is no gradient.
    assigned : dict of int to tensor
        New values of the trainable variables that layers assigned to, by index: the optimizer updates these.
    non_trainable, metrics : list of tensor
        New values.
    are_sparse : bool
        Whether there were sparse ones (of embeddings) among them, even if they were made dense.
    """

    values: list[tf.Tensor | tf.IndexedSlices | None]
    assigned: dict[int, tf.Tensor]
    non_trainable: list[tf.Tensor]
    metrics: list[tf.Tensor]
    are_sparse: bool


class FunctionalStep:
    """The training and the evaluation step of one member for targets of one shape; it is never changed.

    Parameters
    ----------
    member : FunctionalModel
    example : Data
        One row, as tensors, from which Keras chooses what "accuracy" means and makes the variables of the metrics.
    recompile : bool
        Whether Keras has already chosen, for targets of another shape.
    """

    def __init__(self, member: FunctionalModel, example: Data, *, recompile: bool = False) -> None:
        self.member, self.model = member, member.model
        self.target_shape = tuple(example.y.shape[1:])
        if recompile:
            compile_alike(self.model, self.model)
            self.model.optimizer = None
        x, y, weights = example
        with refuse_global_random_numbers():
            y_pred = member.call(x, training=False)
            self.model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=False)
            if self.model._compile_metrics is not None:
                with keras.StatelessScope():  # some metrics create their variables in their first update
                    self.model._compile_metrics.update_state(y, y_pred, weights)
        self.metrics = list(self.model.metrics_variables)
        total = self.model._loss_tracker.variables[0]
        self._loss_index = next(i for i, v in enumerate(self.metrics) if v is total)
        #: Whether all metrics are means, such as the loss and "accuracy": quotients of their variables.
        self.are_means = all(type(m).result is keras.metrics.Mean.result for m in _single_metrics(self.model.metrics))

    def metric_specs(self, n_members: int) -> list[tf.TensorSpec]:
        """Specs of the metrics' variables, stacked."""
        return stacked_specs(self.metrics, n_members)

    def zero_metrics(self) -> list[tf.Tensor]:
        """The metrics' variables at the start of an epoch."""
        with keras.StatelessScope() as scope:
            self.model.reset_metrics()
        values = [scope.get_current_value(v) for v in self.metrics]
        return [tf.convert_to_tensor(v if new is None else new) for v, new in zip(self.metrics, values, strict=True)]

    def loss_is_finite(self, metrics: list[tf.Tensor]) -> tf.Tensor:
        """Whether the running loss of the epoch is finite, per member; `metrics` stacked."""
        return tf.math.is_finite(metrics[self._loss_index])

    def results(self, metrics: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Name -> value of every metric, in the order of Keras' logs."""
        with self._scope([], [], metrics):
            return dict(sorted(self.model.get_metrics_result().items()))

    def means(self, values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Name -> values of every metric, where all of them are means, from variables of one shape."""
        with keras.StatelessScope() as scope:
            scope.state_mapping.update({id(v): value for v, value in zip(self.metrics, values, strict=True)})
            return dict(sorted(self.model.get_metrics_result().items()))

    def gradients(
        self,
        variables: Variables,
        metrics: list[tf.Tensor],
        batch: Data,
        *,
        keep_sparse: bool,
    ) -> Gradients:
        """One batch up to the optimizer's update; sparse gradients become dense unless they are to be kept."""
        trainable, non_trainable = list(variables.trainable), list(variables.non_trainable)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            scope = self._scope(trainable, non_trainable, metrics, tape)
            with bound(self.member.hyperparameters, variables.hyperparameters):
                loss = self._forward_loss(scope, batch, training=True)
            loss = self.member.optimizer.optimizer.scale_loss(loss)
        reads = [[value, *scope.assigned[i]] for i, value in enumerate(trainable)]
        by_read = tape.gradient(loss, reads)
        return Gradients(
            [_sum_of_gradients(own, keep_sparse) for own in by_read],
            {i: values[-1] for i, values in enumerate(scope.assigned) if values},
            [scope.get_current_value(v) for v in self.member.non_trainable],
            [scope.get_current_value(v) for v in self.metrics],
            any(isinstance(g, tf.IndexedSlices) for g in tf.nest.flatten(by_read)),
        )

    def evaluate(
        self, variables: Variables, metrics: list[tf.Tensor], batch: Data
    ) -> tuple[dict[int, tf.Tensor], list[tf.Tensor]]:
        """One batch of evaluation: the variables that it changes, and the new metrics.

        Variables are given by their index among all variables, trainable ones first. Recurrent layers with dropout draw
        masks, and so change the state of their random numbers, even where they do not apply them.
        """
        scope = self._scope(variables.trainable, variables.non_trainable, metrics)
        with bound(self.member.hyperparameters, variables.hyperparameters):
            self._forward_loss(scope, batch, training=False)
        own = [*self.member.trainable, *self.member.non_trainable]
        changed = {i: scope.get_current_value(v) for i, v in enumerate(own) if id(v) in scope.updated}
        return changed, [scope.get_current_value(v) for v in self.metrics]

    def _forward_loss(self, scope: _StepScope, batch: Data, training: bool) -> tf.Tensor:
        model = self.model
        x, y, weights = batch
        with scope, refuse_global_random_numbers():
            y_pred = self.member.call(x, training)
            loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=training)
            model._loss_tracker.update_state(loss, sample_weight=tf.shape(x)[0])
            if model._compile_metrics is not None:
                model._compile_metrics.update_state(y, y_pred, weights)
            model._clear_losses()
        refuse_hidden_assignments(scope.updated, [*self.member.trainable, *self.member.non_trainable, *self.metrics])
        return loss

    def _scope(
        self,
        trainable: list[tf.Tensor],
        non_trainable: list[tf.Tensor],
        metrics: list[tf.Tensor],
        tape: tf.GradientTape | None = None,
    ) -> _StepScope:
        variables = self.member.trainable, self.member.non_trainable, self.metrics
        given = [pair for pair in zip(variables, (trainable, non_trainable, metrics), strict=True) if pair[1]]
        mapping = [pair for own, values in given for pair in zip(own, values, strict=True)]
        return _StepScope(mapping, self.member.trainable, tape)


def _single_metrics(metrics: Sequence[keras.metrics.Metric]) -> Iterator[keras.metrics.Metric]:
    """Metrics, those that `compile` was given in place of the one that holds them."""
    for metric in metrics:
        held = getattr(metric, "metrics", None)
        if held is None:
            yield metric
        else:
            yield from held


def _sum_of_gradients(gradients: list, keep_sparse: bool) -> tf.Tensor | tf.IndexedSlices | None:
    """The gradient of a variable from those of each of its values: Keras sees one variable, read several times."""
    gradients = [g for g in gradients if g is not None]
    if keep_sparse and len(gradients) == 1:
        return gradients[0]
    if keep_sparse and gradients and all(isinstance(g, tf.IndexedSlices) for g in gradients):
        raise NotFusableError("a layer assigns to embeddings between two uses")
    gradients = [tf.convert_to_tensor(g) for g in gradients]
    return tf.add_n(gradients) if len(gradients) > 1 else next(iter(gradients), None)


class _StepScope(keras.StatelessScope):
    """Notes which variables are assigned to. A value assigned to a trainable variable gets a gradient of its own.

    On TensorFlow, a gradient does not go past an assignment: what is read afterwards counts as the variable, whatever
    the value was computed from.

    Attributes
    ----------
    updated : dict of int to keras.Variable
        By `id`.
    assigned : list of list of tensor
        Values assigned to each trainable variable, in order.
    """

    def __init__(
        self, state_mapping: list[tuple], trainable: list[keras.Variable], tape: tf.GradientTape | None = None
    ) -> None:
        super().__init__(state_mapping, collect_losses=True)
        self.updated: dict[int, keras.Variable] = {}
        self.assigned: list[list[tf.Tensor]] = [[] for _ in trainable]
        self._position, self._tape = {id(v): i for i, v in enumerate(trainable)}, tape

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        variable, value = update
        self.updated[id(variable)] = variable
        if self._tape is not None and id(variable) in self._position:
            value = tf.stop_gradient(value)
            self._tape.watch(value)
            self.assigned[self._position[id(variable)]].append(value)
        super().add_update((variable, value))


def stacked_specs(variables: Sequence[keras.Variable], n_members: int) -> list[tf.TensorSpec]:
    """Specs of variables of all members, stacked."""
    return [tf.TensorSpec((n_members, *v.shape), v.dtype) for v in variables]
