"""One member's training and evaluation step as pure functions of tensors.

The functions repeat Keras' ``train_step`` and ``test_step`` for TensorFlow (Keras 3.8 to 3.15) line by line. Layers,
losses, metrics and regularisers are Keras' own.

Layers may assign to the model's variables, including trainable ones (``SpectralNormalization``), in training and in
evaluation; the new values are kept. Anything else that a step changes is refused: see `hidden_state.py`.

Private Keras names: ``_compute_loss``, ``_loss_tracker``, ``_compile_loss``, ``_compile_metrics`` and
``_call_has_training_arg`` are what ``train_step`` itself uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from skensemble._engine.all_backends.hyperparameters import bound
from skensemble._engine.all_backends.prototype import (
    compile_alike,
    refuse_global_random_numbers,
)
from skensemble._engine.records import Data, Variables
from skensemble._engine.tensorflow.functional_model import FunctionalModel
from skensemble._engine.tensorflow.hidden_state import refuse_hidden_assignments
from skensemble._engine.tensorflow.metrics import Metrics
from skensemble._engine.tensorflow.optimizer import is_linear
from skensemble._engine.tensorflow.variable_scope import StepScope
from skensemble.exceptions import NotFusableError

#: A batch: (X, y[, sample_weight]).
Batch = tuple[tf.Tensor, ...]


class MissingGradientError(Exception):
    """A trainable variable has no gradient."""


class SparseGradientError(Exception):
    """A gradient is sparse, and the optimizer treats it differently."""


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
    """

    values: list[tf.Tensor | tf.IndexedSlices | None]
    assigned: dict[int, tf.Tensor]
    non_trainable: list[tf.Tensor]
    metrics: list[tf.Tensor]


class FunctionalStep:
    """The training and the evaluation step of one member for targets of one shape; it is never changed.

    Parameters
    ----------
    member : FunctionalModel
    example : Data
        One row, as tensors, from which Keras chooses what "accuracy" means and makes the variables of the metrics.
    recompile : bool
        Whether Keras has already chosen, for targets of another shape.

    Attributes
    ----------
    metrics : Metrics
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
        self.metrics = Metrics(self.model)

    def train(
        self, variables: Variables, metrics: list[tf.Tensor], batch: Batch, *, keep_sparse: bool
    ) -> tuple[Variables, list[tf.Tensor]]:
        """One batch of training: new variables and metrics. See `gradients`."""
        found = self.gradients(variables, metrics, batch, keep_sparse=keep_sparse)
        with bound(self.member.hyperparameters, variables.hyperparameters):
            trainable, optimizer = self.member.optimizer.apply(
                replaced(variables.trainable, found.assigned), variables.optimizer, found.values
            )
        new = variables._replace(trainable=trainable, non_trainable=found.non_trainable, optimizer=optimizer)
        return new, found.metrics

    def gradients(
        self, variables: Variables, metrics: list[tf.Tensor], batch: Batch, *, keep_sparse: bool = False
    ) -> Gradients:
        """One batch of training up to the optimizer's update.

        Sparse gradients become dense unless they are to be kept; an error where the optimizer treats them differently.
        """
        trainable = list(variables.trainable)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            scope = self._scope(variables, metrics, tape)
            with bound(self.member.hyperparameters, variables.hyperparameters):
                loss = self._forward_loss(scope, batch, training=True)
            loss = self.member.optimizer.optimizer.scale_loss(loss)
        reads = [[value, *scope.assigned[i]] for i, value in enumerate(trainable)]
        by_read = tape.gradient(loss, reads)
        are_sparse = any(isinstance(g, tf.IndexedSlices) for own in by_read for g in own)
        if are_sparse and not keep_sparse and not is_linear(self.member.optimizer):
            raise SparseGradientError
        return Gradients(
            [_sum_of_gradients(own, keep_sparse) for own in by_read],
            {i: values[-1] for i, values in enumerate(scope.assigned) if values},
            [scope.get_current_value(v) for v in self.member.non_trainable],
            [scope.get_current_value(v) for v in self.metrics.variables],
        )

    def evaluate(
        self, variables: Variables, metrics: list[tf.Tensor], batch: Batch
    ) -> tuple[dict[int, tf.Tensor], list[tf.Tensor]]:
        """One batch of evaluation: the variables that it changes, and the new metrics.

        Variables are given by their index among all variables, trainable ones first. Recurrent layers with dropout draw
        masks, and so change the state of their random numbers, even where they do not apply them.
        """
        scope = self._scope(variables, metrics)
        with bound(self.member.hyperparameters, variables.hyperparameters):
            self._forward_loss(scope, batch, training=False)
        changed = {i: scope.get_current_value(v) for i, v in enumerate(self.member.variables) if id(v) in scope.updated}
        return changed, [scope.get_current_value(v) for v in self.metrics.variables]

    def _scope(self, variables: Variables, metrics: list[tf.Tensor], tape: tf.GradientTape | None = None) -> StepScope:
        return self.member.scope(variables, zip(self.metrics.variables, metrics, strict=True), tape)

    def _forward_loss(self, scope: StepScope, batch: Batch, training: bool) -> tf.Tensor:
        model = self.model
        x, y, weights = Data(*batch)
        with scope, refuse_global_random_numbers():
            y_pred = self.member.call(x, training)
            loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=training)
            model._loss_tracker.update_state(loss, sample_weight=tf.shape(x)[0])
            if model._compile_metrics is not None:
                model._compile_metrics.update_state(y, y_pred, weights)
            model._clear_losses()
        refuse_hidden_assignments(scope.updated, [*self.member.variables, *self.metrics.variables])
        return loss


def _sum_of_gradients(gradients: list, keep_sparse: bool) -> tf.Tensor | tf.IndexedSlices | None:
    """The gradient of a variable from those of each of its values: Keras sees one variable, read several times."""
    gradients = [g for g in gradients if g is not None]
    if keep_sparse and len(gradients) == 1:
        return gradients[0]
    if keep_sparse and gradients and all(isinstance(g, tf.IndexedSlices) for g in gradients):
        raise NotFusableError("a layer assigns to embeddings between two uses")
    gradients = [tf.convert_to_tensor(g) for g in gradients]
    return tf.add_n(gradients) if len(gradients) > 1 else next(iter(gradients), None)


def replaced(values: Sequence[tf.Tensor], by_index: dict[int, tf.Tensor]) -> list[tf.Tensor]:
    """The values, those that `by_index` holds in place of the others."""
    return [by_index.get(i, value) for i, value in enumerate(values)]
