"""The architecture of a compiled Keras model as a hashable, equal for two models that may share one program.

It describes everything that a program depends on, and no state: values of variables, seeds, a float learning rate and
the names that Keras counts up (``dense_3``) are left out.
"""

import functools
import random
import re
import warnings
import weakref
from typing import Any, NamedTuple

import keras

from skensemble._compat.keras import (
    Functional,
    all_layers,
    compiled_objects,
    excluded_from_weight_decay,
    given_losses_and_metrics,
)
from skensemble._members.hashables import WRAPPED, attributes, freeze, freeze_attribute, is_keras, is_plain, own_state
from skensemble.exceptions import NotFusableError

#: Keys of a configuration under which a string is the name of a layer.
_NAME_KEYS = {"name", "keras_history", "input_layers", "output_layers"}
_REMEMBERED: Any = weakref.WeakKeyDictionary()


def remembered(describe: Any) -> Any:
    """Describe a model once, and again when it is compiled anew or other variables become trainable.

    A description takes a millisecond or two, as long as the prediction of twenty small models.
    """

    @functools.wraps(describe)
    def wrapper(model: keras.Model) -> Any:
        compiled = compiled_objects(model)
        flags = len(model.trainable_variables), getattr(model, "run_eagerly", None)
        known = _REMEMBERED.setdefault(model, {}).get(describe.__name__)
        if known is None or known[1] != flags or any(a is not b for a, b in zip(known[0], compiled, strict=True)):
            known = _REMEMBERED[model][describe.__name__] = compiled, flags, describe(model)
        return known[2]

    return wrapper


@remembered
def signature(model: keras.Model) -> Any:
    """A hashable that is equal for two compiled models which may share one program.

    The user's functions and classes enter as themselves (not by name) and are kept alive by it. A function defined
    again by the same code, with the same defaults and closure, counts as the same.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.

    Raises
    ------
    NotFusableError
        If the model cannot be described by its configuration.
    """
    try:
        compiled = _compilation(model) if getattr(model, "compiled", False) else None
        return describe_architecture(model), compiled, keras.config.floatx()
    except NotFusableError:
        raise
    except Exception as error:
        first_line = str(error).strip().split("\n")[0]
        raise NotFusableError(f"the model cannot be described by its configuration ({first_line})") from error


def describe_architecture(model: keras.Model) -> Any:
    """A hashable of the layers, their attributes and the variables of a model, whatever it is compiled with."""
    layers, names = all_layers(model), _names(model)
    config = None if _is_subclassed(model) else _configuration(model, names)
    parts = tuple((freeze(type(layer)), attributes(layer)) for layer in layers)
    variables = tuple((tuple(v.shape), v.dtype, v.trainable) for v in model.variables)
    return config, parts, described(model), variables, freeze(getattr(model, "input_shape", None))


def _configuration(layer: keras.Layer, names: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a Lambda is unsafe to load; it is not loaded.
        return freeze(_without_state(layer.get_config(), names))


def _is_subclassed(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential | Functional)


class _BareLayer(keras.Layer):
    """A layer without anything that the user added."""

    def call(self, x: Any) -> Any:
        return x


class _BareModel(keras.Model):
    """A model without anything that the user added."""


class _KerasAttributes(NamedTuple):
    """Names of the attributes that layers and models have without the user."""

    layer: frozenset[str]
    subclassed: frozenset[str]
    described: frozenset[str]  # models that are described by their configuration


@functools.cache
def _keras_attributes() -> _KerasAttributes:
    layer, model = _BareLayer(), _BareModel()
    layer(keras.Input((1,)))
    model.compile("sgd", "mse")
    sequential = keras.Sequential([keras.Input((1,)), keras.layers.Flatten()])  # which draws no seeds
    functional = keras.Model(sequential.inputs, sequential.outputs)
    # What `compile` and `fit` add, and the `outputs` that scikeras counts.
    subclassed = frozenset(vars(model)) | {"history", "outputs", *WRAPPED}
    return _KerasAttributes(frozenset(vars(layer)), subclassed, subclassed | {*vars(sequential), *vars(functional)})


def _own_attributes(layer: keras.Layer, known: frozenset[str]) -> dict[str, Any]:
    # TensorFlow's own begin with _self_
    return {name: value for name, value in vars(layer).items() if name not in known and not name.startswith("_self_")}


def described(model: keras.Model) -> Any:
    """What is missing from the configuration of a model.

    That is the configuration of layers inside the user's own layers or models, and the attributes of models of the
    user's own classes. Keras 3.8 to 3.15 makes the configuration of the latter from the defaults of their arguments, or
    only from their layers, whatever was given.
    """
    layers = all_layers(model)
    if all(is_keras(layer) for layer in layers):
        return ()
    names, position = _names(model), {id(layer): i for i, layer in enumerate(layers)}
    known, found = _keras_attributes(), []
    for layer in layers:
        if _is_subclassed(layer):
            found.append(freeze_attribute(_own_attributes(layer, known.subclassed), position))
            continue
        found.append(_configuration(layer, names))
        if isinstance(layer, keras.Model) and not is_keras(layer):
            found.append(freeze_attribute(_own_attributes(layer, known.described), position))
        elif not is_keras(layer):  # numbers, texts and arrays, which need not be in its configuration
            own = _own_attributes(layer, known.layer)
            found.append(freeze({name: value for name, value in own.items() if is_plain(value) and "seed" not in name}))
    return tuple(found)


def why_not_from_configuration(model: keras.Model) -> str | None:
    """The reason, in words, why Keras would not make the same model from its configuration; None where it does.

    Only subclassed models are looked at: see `described`.
    """
    state = random.getstate()  # Keras draws the seeds of initializers and dropout from Python's global generator.
    try:
        for layer in filter(_is_subclassed, all_layers(model)):
            try:
                is_same = described(type(layer).from_config(layer.get_config())) == described(layer)
            except Exception:  # whatever a user's get_config or from_config raises
                is_same = False
            if not is_same:
                return (
                    f"the subclassed model {type(layer).__name__} needs a `get_config` that returns the arguments of "
                    "its `__init__`, which Keras' own leaves out"
                )
    finally:
        random.setstate(state)
    return None


def _names(model: keras.Model) -> Any:
    """Maps names of layers and operations, which Keras counts up, to names without a counter."""
    layers = all_layers(model)
    functions = [
        one for layer in layers for one in getattr(layer, "operations", ()) if not isinstance(one, keras.Layer)
    ]
    return {one.name: f"layer {i}" for i, one in enumerate([*layers, *functions])}


def _without_state(config: Any, names: Any, is_name: Any = False) -> Any:
    """A layer's configuration without state: initializers, seeds, names (only where a string is a name)."""
    if isinstance(config, dict):
        module = config.get("module", "keras")
        ours = isinstance(module, str) and module.startswith("keras")
        if module == "keras.initializers":
            return None
        return {
            key: _without_state(value, names, key in _NAME_KEYS)
            for key, value in config.items()
            if not (key == "seed" and ours) and not key.endswith("_initializer")
        }
    if isinstance(config, list | tuple):
        return [_without_state(value, names, is_name) for value in config]
    return names.get(config, config) if is_name and isinstance(config, str) else config


def _uncounted_paths(model: keras.Model) -> Any:
    """Paths of the trainable variables, without the counters in names that Keras gave (`dense_3/kernel`)."""
    uncounted = {}
    for layer in all_layers(model):
        base = re.sub(r"_\d+$", "", layer.name)
        if base.replace("_", "") == type(layer).__name__.lower():
            uncounted[layer.name] = base
    return tuple("/".join(uncounted.get(p, p) for p in v.path.split("/")) for v in model.trainable_variables)


def _compilation(model: keras.Model) -> Any:
    optimizer = model.optimizer
    config = {k: v for k, v in optimizer.get_config().items() if k != "name"}
    if isinstance(config.get("learning_rate"), float):  # LossScaleOptimizer has none of its own
        del config["learning_rate"]
    pattern = excluded_from_weight_decay(optimizer)
    # Muon and exclusions by name choose by the names of variables.
    names = _uncounted_paths(model) if pattern or "exclude_layers" in config else None
    return (
        *(None if given is None else tuple(map(freeze, given)) for given in given_losses_and_metrics(model)),
        (freeze(type(optimizer)), freeze(config), pattern, names, own_state(optimizer)),
    )
