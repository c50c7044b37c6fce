"""Float hyperparameters of networks as inputs of a program, so that networks that differ in them share one.

Keras keeps dropout rates, regularisation factors and the constants of an optimizer as Python floats, which a program
would hold as constants. In the private copy from which a program is traced they are replaced by objects that represent
the values of a member, with which Keras' own code computes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from skensemble._compat.keras import Functional, all_layers
from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.records import Array
from skensemble._members.architecture import remembered, signature

_REGULARIZERS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)
_ADAM = ("beta_1", "beta_2", "epsilon", "weight_decay")


@functools.cache
def _dropout_layers() -> tuple[type, ...]:
    layers = keras.layers
    return layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D


@functools.cache
def _names_of_optimizers() -> dict[type, tuple[str, ...]]:
    """By exact type: a subclass may do anything with them."""
    kinds = keras.optimizers
    return {
        kinds.SGD: ("momentum", "weight_decay"),
        kinds.RMSprop: ("rho", "momentum", "epsilon", "weight_decay"),
        kinds.Adam: _ADAM,
        kinds.AdamW: _ADAM,
        kinds.Adamax: _ADAM,
        kinds.Lion: ("beta_1", "beta_2", "weight_decay"),
    }


class Hyperparameter:
    """Replaces a Python float in Keras' code: positive where it is compared, otherwise the value that it is `bound` to.

    Attributes
    ----------
    value, complement : array
        What it is bound to, and 1 minus that, which in float32 differs from the result with Python floats. NaN at
        first, so that nothing is computed with them unnoticed.
    dtype : str
        Keras asks for it.
    """

    value: Array = np.nan
    complement: Array = np.nan

    @property
    def dtype(self) -> str:
        return keras.config.floatx()

    def __gt__(self, other: float) -> bool:
        return True

    def __rsub__(self, other: float) -> Array:
        return self.complement if other == 1 else other - self.value

    def __jax_array__(self) -> Array:
        return keras.ops.convert_to_tensor(self.value, self.dtype)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> Array:
        return keras.ops.cast(self.value, self.dtype if dtype is None else keras.backend.standardize_dtype(dtype))


def hyperparameters_of(model: keras.Model) -> np.ndarray:
    """Values and their differences from 1, (n_hyperparameters, 2), of all that can be inputs of a program.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.
    """
    values = np.array([float(getattr(owner, name)) for owner, name in _places(model, model.optimizer)], "float64")
    return np.stack([values, 1 - values], axis=1).astype("float64" if keras.config.floatx() == "float64" else "float32")


@remembered
def free_signature(model: keras.Model) -> Any:
    """`signature` without the values that `hyperparameters_of` returns."""
    places = _places(model, model.optimizer)
    if not places:
        return signature(model)
    with LOCK:
        values = [getattr(owner, name) for owner, name in places]
        try:
            for owner, name in places:
                setattr(owner, name, np.nan)
            return signature.__wrapped__(model)
        finally:
            for (owner, name), value in zip(places, values, strict=True):
                setattr(owner, name, value)


def make_inputs(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, kind: type, make: type[Hyperparameter] = Hyperparameter
) -> list[Hyperparameter]:
    """Replace the floats of private copies of a model and its optimizer, whose class was `kind`, in the same order."""
    inputs = []
    for owner, name in _places(model, optimizer, kind):
        inputs.append(make())
        object.__setattr__(owner, name, inputs[-1])
    return inputs


@contextmanager
def bound(inputs: Sequence[Hyperparameter], values: Sequence[Array]) -> Iterator[None]:
    """Bind the inputs to values of shape (..., n_hyperparameters, 2), the only entry of a list, which may be empty."""
    for one, i in zip(inputs, range(len(inputs)) if values else (), strict=bool(values)):
        one.value, one.complement = values[0][..., i, 0], values[0][..., i, 1]
    try:
        yield
    finally:
        for one in inputs:
            one.value = one.complement = np.nan


def _places(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, kind: type | None = None
) -> list[tuple[Any, str]]:
    """The objects that hold the floats, and names of their attributes; an object as often as the model refers to it."""
    layers = all_layers(model)
    floatx = keras.config.floatx()
    if floatx not in ("float32", "float64") or not all(map(_is_plain, layers)):
        return []
    places = [(one, "rate") for one in layers if type(one) in _dropout_layers() and one.compute_dtype == floatx]
    regularizers = [v.regularizer for v in model.trainable_variables]
    regularizers += [getattr(layer, "activity_regularizer", None) for layer in layers]
    places += [(one, name) for one in regularizers if type(one) in _REGULARIZERS for name in vars(one)]
    if all(v.dtype == floatx for v in model.trainable_variables):
        places += [(optimizer, name) for name in _names_of_optimizers().get(kind or type(optimizer), ())]
    return [(owner, name) for owner, name in places if _is_used(getattr(owner, name))]


def _is_plain(layer: keras.layers.Layer) -> bool:
    """Whether it is Keras' own, so that no other code reads what it holds."""
    if isinstance(layer, keras.Model):
        return type(layer) in (keras.Sequential, Functional)
    return type(layer).__module__.split(".")[0] == "keras"


def _is_used(value: Any) -> bool:
    """Whether Keras computes with it: for 0, None and a rate of 1 it does something else."""
    return not isinstance(value, bool | None) and not isinstance(value, int) and 0 < float(value) < 1
