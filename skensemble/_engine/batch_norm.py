"""Statistics of BatchNormalization for variables that were averaged, and so never saw data."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from skensemble._compat.keras import batch_norm_layers
from skensemble._engine.backend import training_forward
from skensemble._engine.variables import write_state


def has_batch_norm(model: keras.Model) -> bool:
    """Whether a model has statistics to estimate."""
    return bool(batch_norm_layers(model))


def estimate_statistics(
    model: keras.Model, states: Iterable[Any], X: np.ndarray, batch_size: int
) -> list[dict[int, np.ndarray]]:
    """Means over all batches of the statistics that BatchNormalization computes for each batch.

    The rows go through the network once, in order and in training mode; all batches count equally, as in PyTorch's
    `update_bn` [1]_. The variance of a batch is Keras' (divided by the number of rows, not by one less).

    Parameters
    ----------
    model : keras.Model
        A model with the architecture of the states; its variables are overwritten.
    states : iterable of Variables
    X : ndarray of shape (n_samples, ...)
        As the network takes it.
    batch_size : int

    Returns
    -------
    list of dict of int to ndarray
        For each state, the statistics by their index among the non-trainable variables.

    References
    ----------
    .. [1] Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018.
    """
    layers = batch_norm_layers(model)
    place = {id(variable): i for i, variable in enumerate(model.non_trainable_variables)}
    statistics = {
        place[id(variable)]: variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)
    }
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0  # the moving statistics are then those of the last batch
    forward = training_forward(model)
    try:
        return [_mean_statistics(forward, model, state, X, batch_size, statistics) for state in states]
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _mean_statistics(
    forward: Callable[[Any], Any],
    model: keras.Model,
    state: Any,
    X: np.ndarray,
    batch_size: int,
    statistics: dict[int, keras.Variable],
) -> dict[int, np.ndarray]:
    write_state(model, state)
    sums = {i: np.zeros(variable.shape, np.float64) for i, variable in statistics.items()}
    starts = range(0, len(X), batch_size)
    for start in starts:
        forward(X[start : start + batch_size])
        for i, variable in statistics.items():
            sums[i] += variable.numpy()
    return {i: (total / len(starts)).astype(statistics[i].numpy().dtype) for i, total in sums.items()}
