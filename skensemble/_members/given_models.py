"""Keras models that are given in place of a function that builds them: whether they were trained, and what follows."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from sklearn.frozen import FrozenEstimator

from skensemble._compat.global_seeds import seeded
from skensemble._compat.keras import all_layers, batch_norm_layers, own_variables, recorded_initializers
from skensemble._compat.keras_copies import copy_architecture
from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.scikeras_building import given_model
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.spec import MemberSpec


def check_models(members: Sequence[MemberSpec], n_samples: int) -> None:
    """Raise where members would start from a trained model and `reinitialize` is None; warn where they would be equal.

    Parameters
    ----------
    members : list of MemberSpec
    n_samples : int
        Rows of X.
    """
    for estimator in {id(member.estimator): member.estimator for member in members}.values():
        if isinstance(estimator, FrozenEstimator) or not isinstance(estimator, BaseWrapper):
            continue
        model = given_model(estimator)
        if model is None:
            continue
        reinitialize = getattr(estimator, "reinitialize", None)
        copies = [member for member in members if member.estimator is estimator]
        if reinitialize is None:
            _refuse_trained(model, hasattr(estimator, "reinitialize"))
        elif not reinitialize and _are_alike(copies, model, n_samples):
            warnings.warn(
                f"{len(copies)} members start from the values of the model {model.name!r} and see the same rows in the "
                "same order: they will be equal. Shuffle the rows of each batch, draw rows for each member "
                "(`bootstrap=True`), or use reinitialize=True.",
                stacklevel=find_stacklevel(),
            )


def _refuse_trained(model: keras.Model, has_parameter: bool) -> None:
    reason = why_trained(model)
    if reason is None:
        return
    ways_out = (
        "say what is meant: reinitialize=False keeps the values to train further, reinitialize=True draws new ones."
        if has_parameter
        else "use skensemble's KerasClassifier or KerasRegressor, whose parameter `reinitialize` says what is meant."
    )
    raise ValueError(
        f"A Keras model as `model` of a member must not be trained already: in {model.name!r}, {reason}. Pass a "
        f"function that builds the model, so that each member starts from values of its own; or {ways_out}"
    )


def why_trained(model: keras.Model) -> str | None:
    """In words, why a model must have other values than it started from; None where it does not.

    Initializers keep their seed, so each gives the starting value again, bit for bit.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and int(optimizer.iterations) > 0:
        return f"the optimizer has taken {int(optimizer.iterations)} steps"
    others = [(i, k) for i, layer in enumerate(all_layers(model)) for k in _not_initial(layer)]
    if not others:
        return None
    with recorded_initializers() as record, seeded(0):
        twins = all_layers(copy_architecture(model))
    for i, k in others:
        layer = all_layers(model)[i]
        if not np.array_equal(own_variables(layer)[k].numpy(), _initial_value(layer, twins[i], k, record)):
            return f"the values of layer {layer.name!r} are not those that its initializers gave it"
    return None


def _initial_value(layer: keras.Layer, twin: keras.Layer, k: int, record: dict[int, Any]) -> np.ndarray:
    """What variable `k` of a layer started from, by what made its twin's: that is not always one of its attributes."""
    variable = own_variables(twin)[k]
    initializer: Any = record.get(id(variable))
    seeds = {getattr(value, "seed", None): name for name, value in vars(twin).items() if _is_initializer(value)}
    name = seeds.get(getattr(initializer, "seed", None))
    if not isinstance(getattr(initializer, "seed", None), int) or name is None:
        return variable.numpy()  # does not depend on a seed, or cannot be told
    seeded_alike = type(initializer).from_config(initializer.get_config() | {"seed": vars(layer)[name].seed})
    return np.asarray(seeded_alike(variable.shape, dtype=variable.dtype))


def _not_initial(layer: keras.Layer) -> Iterator[int]:
    """Indices of a layer's own variables that training changes and whose values none of its initializers gives."""
    trained = {id(variable) for variable in layer.trainable_variables}
    if layer in batch_norm_layers(layer):
        trained |= {id(variable) for variable in layer.non_trainable_variables}
    initializers = {name: value for name, value in vars(layer).items() if _is_initializer(value)}
    for k, variable in enumerate(own_variables(layer)):
        if id(variable) in trained:
            likely = [name for name in initializers if variable.name in name]
            names = dict.fromkeys([*likely, *initializers])
            if not any(_gives(initializers[name], variable) for name in names):
                yield k


def _is_initializer(value: Any) -> bool:
    return isinstance(value, keras.initializers.Initializer)


def _gives(initializer: Any, variable: Any) -> bool:
    """Whether an initializer gives a variable the value that it has."""
    if not isinstance(getattr(initializer, "seed", None), int | None):
        return False  # a SeedGenerator, which gives something else each time
    try:
        return np.array_equal(np.asarray(initializer(variable.shape, dtype=variable.dtype)), variable.numpy())
    except ValueError:  # not for variables of this shape
        return False


def _are_alike(copies: Sequence[MemberSpec], model: keras.Model, n_samples: int) -> bool:
    """Whether members that start from the same values will end with the same."""
    if len(copies) < 2 or any(copy.sample_indices is not copies[0].sample_indices for copy in copies):
        return False
    arguments = FitArguments.of(copies[0].estimator)
    n_rows = n_samples if copies[0].sample_indices is None else len(copies[0].sample_indices)
    one_order = arguments.shuffle is False or arguments.train_batch_size(n_rows) >= n_rows
    own = {id(v) for layer in all_layers(model) for v in own_variables(layer)}
    return one_order and all(id(v) in own for v in model.variables)  # others are states of random generators


def initializer_seeds(model: keras.Model) -> list[dict[str, int]]:
    """Seeds of the initializers of all layers, a list of dicts; copies of Keras models have other seeds."""
    return [
        {
            name: value.seed
            for name, value in vars(layer).items()
            if _is_initializer(value) and isinstance(getattr(value, "seed", None), int)
        }
        for layer in all_layers(model)
    ]


def set_initializer_seeds(model: keras.Model, seeds: list[dict[str, int]]) -> None:
    """Give the initializers of a copy the seeds of the original, from `initializer_seeds`."""
    for layer, own in zip(all_layers(model), seeds, strict=True):
        for name, seed in own.items():
            vars(layer)[name].seed = seed
