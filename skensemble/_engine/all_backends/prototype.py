"""A private copy of a user's model, from which a program is traced, and what holds while it is traced."""

from __future__ import annotations

import math
import random
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from skensemble._compat.keras import Functional, all_layers, given_losses_and_metrics
from skensemble._members.architecture import described
from skensemble.exceptions import NotFusableError

#: Keras models are traced by one thread at a time: Keras is not thread-safe there.
LOCK = threading.RLock()


def make_prototype(model: keras.Model, rebuild: Callable[[], keras.Model] | None = None) -> keras.Model:
    """A private copy of a compiled `model` whose variables no other code reads or writes.

    Metrics and losses that the user gave as objects are shared with `model`: they are only ever used inside a
    ``StatelessScope``. `rebuild` is that of `get_program`.
    """
    copy = rebuild() if rebuild is not None and _has_own_model(model) else _copy_from_configuration(model)
    for ours, theirs in zip(all_layers(copy), all_layers(model), strict=True):
        if ours.trainable != theirs.trainable:
            ours.trainable = theirs.trainable
    if [(v.shape, v.trainable) for v in copy.variables] != [(v.shape, v.trainable) for v in model.variables]:
        raise ValueError("its copy made from its configuration has other variables")
    if described(copy) != described(model):
        raise ValueError("its copy made from its configuration has other layers or attributes")
    if getattr(model, "compiled", False):
        compile_alike(copy, model)
    return copy


def _has_own_model(model: keras.Model) -> bool:
    """Whether a model, or one in it, is of the user's own class, whose attributes need not be in its configuration."""
    return any(isinstance(layer, keras.Model) and not _is_keras(layer) for layer in all_layers(model))


def _copy_from_configuration(model: keras.Model) -> keras.Model:
    state = random.getstate()  # Keras draws the seeds of initializers and dropout from Python's global generator.
    classes = {type(layer).__name__: type(layer) for layer in all_layers(model)}
    try:
        with keras.saving.custom_object_scope(classes):
            return _copy_model(model)
    finally:
        random.setstate(state)


def _copy_model(model: keras.Model) -> keras.Model:
    """Keras' `clone_model` without compiling, which would look up the user's losses and metrics by name."""
    if type(model) is keras.Sequential:
        inputs = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        return keras.Sequential([inputs, *map(_copy_layer, model.layers)])
    if isinstance(model, Functional) and type(model).get_config is Functional.get_config:
        bare = keras.Model(model.input, model.output)
        return keras.models.clone_model(bare, clone_function=_copy_layer, recursive=True)
    config = model.get_config()
    copy = type(model).from_config(config)
    if not copy.built:  # a subclassed model
        copy.build_from_config(model.get_build_config())
    return copy


def _copy_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    """A layer like this one, with the user's own functions and objects, which Keras would look up by name."""
    if isinstance(layer, keras.Model):
        return _copy_model(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a lambda is unsafe to load; it is not loaded.
        config = layer.get_config()
    own = {
        name: value
        for name, value in vars(layer).items()
        if name in config and callable(value) and not _is_keras(value) and not isinstance(value, keras.Layer)
    }
    return type(layer)(**{**config, **own}) if own else type(layer).from_config(config)


def _is_keras(value: object) -> bool:
    module = value.__module__ if isinstance(value, types.FunctionType) else type(value).__module__
    return (module or "").split(".")[0] == "keras"


def compile_alike(copy: keras.Model, model: keras.Model, optimizer: keras.optimizers.Optimizer | None = None) -> None:
    """Compile `copy` as `model` is compiled, with the same optimizer unless another one is given."""
    loss, metrics = given_losses_and_metrics(model)
    loss, loss_weights = (None, None) if loss is None else loss
    metrics, weighted_metrics = (None, None) if metrics is None else metrics
    copy.compile(
        optimizer=model.optimizer if optimizer is None else optimizer,
        loss=loss,
        loss_weights=loss_weights,
        metrics=metrics,
        weighted_metrics=weighted_metrics,
        jit_compile=False,
    )


def has_convolutions(model: keras.Model) -> bool:
    """Whether a layer, at any depth, is a convolution."""
    return any("Conv" in type(layer).__name__ for layer in all_layers(model))


def widest_output(model: keras.Model) -> int:
    """Values of the largest layer output for one row."""
    outputs: list[Any] = [getattr(layer, "output", None) for layer in all_layers(model)]
    return max([1, *(math.prod(d or 1 for d in o.shape[1:]) for o in outputs if hasattr(o, "shape"))])


@contextmanager
def refuse_global_random_numbers() -> Iterator[None]:
    """Raise where the block draws from the global generators of Python or NumPy; their states are unchanged afterwards.

    Keras' own graphs keep such numbers as well, but draw them again for each network. Other threads of the process,
    such as those of a server or of a Dask worker, may draw at any time.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with LOCK, _drawing_threads(random) as by_python, _drawing_threads(np.random) as by_numpy:
            yield
        (_, keys, position, *_), (_, now, position_now, *_) = of_numpy, np.random.get_state()
        for name, is_same, threads in (
            ("Python", random.getstate() == of_python, by_python),
            ("NumPy", position == position_now and np.array_equal(keys, now), by_numpy),
        ):
            are_others = threads and threading.get_ident() not in threads
            if not is_same and not are_others:
                raise NotFusableError(
                    f"a layer, loss or metric draws random numbers of {name}, not of a keras.random.SeedGenerator: "
                    "they would be the same in all members"
                )
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


@contextmanager
def _drawing_threads(module: types.ModuleType) -> Iterator[set[int]]:
    """Identifiers of the threads that call functions of a module's global generator, as `random.random`."""
    threads: set[int] = set()
    names = vars(module)
    generator = names["getstate" if "getstate" in names else "get_state"].__self__

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def draw(*args: Any, **options: Any) -> Any:
            threads.add(threading.get_ident())
            return function(*args, **options)

        draw.__self__ = generator  # type: ignore[attr-defined]  # for blocks inside of this one
        return draw

    functions = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__self__", None) is generator and not name.endswith("state")
    }
    for name, function in functions.items():
        setattr(module, name, watched(function))
    try:
        yield threads
    finally:
        for name, function in functions.items():
            setattr(module, name, function)
