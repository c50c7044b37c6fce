"""Forward passes: outputs of all members of one architecture by one program, or of one model called as it is."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np

from skensemble._engine.backend import get_program, stack
from skensemble._engine.initial_values import KEPT
from skensemble._engine.records import Array, Variables
from skensemble._numeric.host_rows import rows_at_once

# Rows that go through a network at once where it is called alone; this bounds the memory of the activations.
PREDICTION_ROWS = 1024


def forward(
    model: keras.Model, variables: Variables, X: Any, rebuild: Callable[[], keras.Model] | None = None
) -> np.ndarray:
    """Outputs of all members with one architecture, (n_members, n_samples, ...).

    Parameters
    ----------
    model : keras.Model
        Of that architecture.
    variables : Variables
        Stacked: arrays of shape (n_members, ...). Those of the optimizer are not needed.
    X : ndarray or HostRows of shape (n_samples, ...)
    rebuild : callable, default=None
        As in `get_program`.
    """
    n_members = len((variables.trainable or variables.non_trainable)[0])
    # In a search the networks of many fits predict, which differ in ways that do not matter here.
    shares = KEPT.get() is not None
    return get_program(model, n_members, rebuild, shares).predict(variables, X)


def forward_alone(model: keras.Model, X: Any) -> np.ndarray:
    """Outputs of one model, in chunks; calls the model itself, since `Model.predict` costs 70 ms a call.

    What layers assign to their variables (counters, states of random numbers) lasts only until the end of the call: a
    prediction changes nothing. X may be a list or dict of inputs, made by the user's own encoder.
    """
    inputs = keras.tree.flatten(X)
    n_rows = min(rows_at_once(one, PREDICTION_ROWS) for one in inputs)
    starts = range(0, len(inputs[0]), n_rows)
    chunks = (keras.tree.map_structure(lambda one, k=k: one[k : k + n_rows], X) for k in starts)
    with keras.StatelessScope():
        return np.concatenate([np.asarray(model(chunk, training=False)) for chunk in chunks])


def stack_values(values: Iterable[Sequence[Sequence[Array]]]) -> Variables:
    """Values of models of one architecture, `Variables` of each, stacked on the device."""
    return Variables.joined(stack, values)
