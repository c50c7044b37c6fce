"""The metrics of the members: their variables when an epoch starts, and their results when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.tensorflow.functional_model import stacked_specs
from skensemble._engine.tensorflow.mapping import map_members
from skensemble._engine.tensorflow.traced_functions import MemberFunctions
from skensemble._engine.variables import reset_metrics

#: Variables of the metrics after each epoch, (n_epochs, n_members, ...) each; those of the validation come last.
History = list[np.ndarray]


class Metrics:
    """The metrics of one member, as functions of the values of their variables.

    Parameters
    ----------
    model : keras.Model
        Whose losses and metrics have made their variables.

    Attributes
    ----------
    variables : list of keras.Variable
    are_means : bool
        Whether all metrics are means, such as the loss and "accuracy": quotients of their variables.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model, self.variables = model, list(model.metrics_variables)
        total = model._loss_tracker.variables[0]
        self._loss_index = next(i for i, v in enumerate(self.variables) if v is total)
        self.are_means = all(type(m).result is keras.metrics.Mean.result for m in _single_metrics(model.metrics))

    def specs(self, n_members: int) -> list[tf.TensorSpec]:
        """Specs of the variables, stacked."""
        return stacked_specs(self.variables, n_members)

    def zero(self, n_members: int) -> list[tf.Tensor]:
        """Values of the variables at the start of an epoch, stacked."""
        values = map(tf.convert_to_tensor, reset_metrics(self.model))
        return [tf.tile(v[None], (n_members, *([1] * v.shape.rank))) for v in values]

    def loss_is_finite(self, values: list[tf.Tensor]) -> tf.Tensor:
        """Whether the running loss of the epoch is finite, per member; `values` stacked."""
        return tf.math.is_finite(values[self._loss_index])

    def results(self, values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Name -> value of every metric of one member."""
        with self._scope(values):
            return self.model.get_metrics_result()

    def means(self, values: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """Name -> values of every metric, from stacked values, where they `are_means`.

        As in `Model.get_metrics_result`, which in Keras 3.8 makes a number of an array that holds only one.
        """
        means: dict[str, tf.Tensor] = {}
        with self._scope(values):
            for metric in self.model.metrics:
                result = metric.result()
                means |= result if isinstance(result, dict) else {metric.name: result}
        return means

    def _scope(self, values: Sequence[tf.Tensor]) -> keras.StatelessScope:
        """Scope in which the variables have these values; not given to the scope itself, which refuses stacked ones."""
        scope = keras.StatelessScope()
        scope.state_mapping.update({id(v): value for v, value in zip(self.variables, values, strict=True)})
        return scope


def _single_metrics(metrics: Sequence[keras.metrics.Metric]) -> Iterator[keras.metrics.Metric]:
    """Metrics, those that `compile` was given in place of the one that holds them."""
    for metric in metrics:
        held = getattr(metric, "metrics", None)
        if held is None:
            yield metric
        else:
            yield from held


def logs_of(history: History, metrics: Metrics, functions: MemberFunctions) -> dict[str, np.ndarray]:
    """Keras' logs, (n_epochs, n_members) each and in Keras' order, from the variables of the metrics."""
    n_metrics = len(metrics.variables)
    logs: dict[str, np.ndarray] = {}
    for prefix, values in (("", history[:n_metrics]), ("val_", history[n_metrics:])):
        if values:
            logs |= {prefix + name: value for name, value in _results(values, metrics, functions).items()}
    # Some metrics, such as F1Score, have several values.
    return {name: value.astype("float64") if value.ndim == 2 else value for name, value in sorted(logs.items())}


def _results(values: list[np.ndarray], metrics: Metrics, functions: MemberFunctions) -> dict[str, np.ndarray]:
    if metrics.are_means:
        with LOCK:
            results = metrics.means(list(map(tf.convert_to_tensor, values)))
        return {name: np.asarray(value) for name, value in results.items()}

    def results_of_each(flat: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        return map_members(metrics.results, flat, may_loop=True)

    def specs() -> tuple:
        return ([tf.TensorSpec((None, *v.shape), v.dtype) for v in metrics.variables],)

    traced = functions.traced("results", results_of_each, specs)
    results = traced([tf.reshape(v, (-1, *v.shape[2:])) for v in values])
    return {name: v.numpy().reshape(*values[0].shape[:2], *v.shape[1:]) for name, v in results.items()}
