"""The fused program on JAX. See `_engine/backend.py` for what it has to offer."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from skensemble._engine.jax.cost_model import local_devices, may_differ_in_rows
from skensemble._engine.jax.data import load_data
from skensemble._engine.jax.fusable import why_not_fusable
from skensemble._engine.jax.program import make_program
from skensemble._engine.records import Array

__all__ = [
    "limit_cores",
    "load_data",
    "local_devices",
    "make_program",
    "may_differ_in_rows",
    "stack",
    "training_forward",
    "why_not_fusable",
]


def stack(values: Sequence[Array]) -> Array:
    """Values of one variable of several models, stacked."""
    if jax.default_backend() == "cpu" or all(isinstance(value, np.ndarray) for value in values):
        return np.stack([np.asarray(value) for value in values])  # views: JAX would dispatch an operation for each
    return jnp.stack(values)


def training_forward(model: keras.Model) -> Callable[[Any], Any]:
    """The forward pass in training mode, compiled; what it assigns to variables is written into the model."""

    @jax.jit
    def forward(trainable: Any, non_trainable: Any, batch: Any) -> Any:
        return model.stateless_call(trainable, non_trainable, batch, training=True)

    def call(batch: Any) -> Any:
        values = ([v.value for v in part] for part in (model.trainable_variables, model.non_trainable_variables))
        output, updated = forward(*values, batch)
        for variable, value in zip(model.non_trainable_variables, updated, strict=True):
            variable.assign(value)
        return output

    return call


def limit_cores(n_cores: int) -> None:
    """Let XLA compute in `n_cores` threads, if JAX has not started its threads yet."""
    os.environ.setdefault("NPROC", str(n_cores))  # XLA's own name for the cores that a process may use
