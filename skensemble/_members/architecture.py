"""The architecture of a compiled Keras model as a hashable, equal for two models that may share one program.

All that a program depends on is described, and nothing that is state: values of variables, seeds, a float learning rate
and the names that Keras counts up (``dense_3``) are left out.
"""

import functools
import random
import re
import types
import warnings
import weakref
from typing import Any

import keras
import numpy as np

from skensemble._compat.keras import (
    Functional,
    all_layers,
    compiled_objects,
    excluded_from_weight_decay,
    given_losses_and_metrics,
)
from skensemble.exceptions import NotFusableError

#: Keys of a configuration under which a string is the name of a layer.
_NAME_KEYS = {"name", "keras_history", "input_layers", "output_layers"}
_PLAIN = (str, bool, int, float, types.NoneType, types.FunctionType)
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

    Functions and classes of the user enter as themselves (not by name) and are kept alive by it. A function defined
    anew by the same code with the
    same defaults and closure counts as the same.

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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a Lambda is unsafe to load; it is not loaded.
        config = None if _is_subclassed(model) else freeze(_without_state(model.get_config(), names))
    parts = tuple((type(layer), _attributes(layer)) for layer in layers)
    variables = tuple((tuple(v.shape), v.dtype, v.trainable) for v in model.variables)
    return config, parts, described(model), variables, freeze(getattr(model, "input_shape", None))


def _is_subclassed(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.Model) and not isinstance(layer, keras.Sequential | Functional)


class _Bare(keras.Model):
    """A model without anything of the user's."""


@functools.cache
def _known_attributes() -> Any:
    """Attributes of every model: Keras' own, what `compile` and `fit` add, and the `outputs` that scikeras counts."""
    bare = _Bare()
    bare.compile("sgd", "mse")
    return vars(bare).keys() | {"history", "outputs", *_WRAPPED}


@functools.cache
def _known_attributes_of_described() -> Any:
    """`_known_attributes` and those of models that are described by their configuration."""
    sequential = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    functional = keras.Model(sequential.inputs, sequential.outputs)
    return _known_attributes() | vars(sequential).keys() | vars(functional).keys()


def _own_attributes(model: keras.Model) -> Any:
    known = _known_attributes() if _is_subclassed(model) else _known_attributes_of_described()
    # TensorFlow's own begin with _self_
    return {name: value for name, value in vars(model).items() if name not in known and not name.startswith("_self_")}


def described(model: keras.Model) -> Any:
    """What the configuration of a model does not tell.

    That is the configuration of layers which layers or models of the user's own hold, and the attributes of models of
    the user's own classes, whose configuration Keras 3.8 to 3.15 makes of the defaults of their arguments, or of their
    layers alone, whatever was given.
    """
    layers = all_layers(model)
    if all(_is_keras(layer) for layer in layers):
        return ()
    names, position = _names(model), {id(layer): i for i, layer in enumerate(layers)}
    found = []
    for layer in layers:
        if _is_subclassed(layer):
            found.append(_freeze_attribute(_own_attributes(layer), position))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # as in `_architecture`
                found.append(freeze(_without_state(layer.get_config(), names)))
            if isinstance(layer, keras.Model) and not _is_keras(layer):
                found.append(_freeze_attribute(_own_attributes(layer), position))
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


def _freeze_attribute(value: Any, position: Any) -> Any:
    """`freeze` where layers are told by their position, and variables by their shape."""
    if isinstance(value, keras.Layer):
        return "layer", position.get(id(value))
    if isinstance(value, keras.Variable):
        return "variable", tuple(value.shape), value.dtype
    if isinstance(value, keras.random.SeedGenerator):
        return "seed generator"
    if isinstance(value, dict):
        return "dict", tuple((str(key), _freeze_attribute(one, position)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(_freeze_attribute(one, position) for one in value)
    return freeze(value)


def _names(model: keras.Model) -> Any:
    """Names of layers and operations, which Keras counts up, to others that it does not."""
    layers = all_layers(model)
    functions = [
        one for layer in layers for one in getattr(layer, "operations", ()) if not isinstance(one, keras.Layer)
    ]
    return {one.name: f"layer {i}" for i, one in enumerate([*layers, *functions])}


def _without_state(config: Any, names: Any, is_name: Any = False) -> Any:
    """A layer's configuration without what is state: initializers, seeds, names (only where a string is a name)."""
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
    """Paths of the trainable variables, the counter left out of names that Keras gave (`dense_3/kernel`)."""
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
    # Muon and an exclusion by name choose by the names of variables.
    names = _uncounted_paths(model) if pattern or "exclude_layers" in config else None
    return (
        *(None if given is None else tuple(map(freeze, given)) for given in given_losses_and_metrics(model)),
        (type(optimizer), freeze(config), pattern, names, _own_state(optimizer)),
    )


class _Same:
    """Equal only for the same object, which it keeps alive."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: Any) -> Any:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> Any:
        return id(self.value)


def freeze(value: Any) -> Any:
    """A hashable that is equal for equal values; 1, 1.0 and True differ."""
    if value is None or isinstance(value, str | bytes):
        return value
    if isinstance(value, bool | int | float | complex | np.generic):
        return type(value).__name__, repr(value)
    if isinstance(value, dict):
        return "dict", tuple(sorted(((str(k), freeze(v)) for k, v in value.items()), key=lambda item: item[0]))
    if isinstance(value, list | tuple):
        return "list", tuple(freeze(v) for v in value)
    if isinstance(value, set | frozenset):
        return "set", frozenset(map(freeze, value))
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, types.FunctionType):
        return _freeze_function(value)
    if isinstance(value, types.MethodType):
        return "method", _freeze_function(value.__func__), _Same(value.__self__)
    if isinstance(value, type):
        return value
    if type(value).__module__.startswith("tensorflow.") and type(value).__name__ in ("DType", "TensorShape"):
        return str(value)
    if hasattr(value, "get_config"):
        return _freeze_object(value)
    return _Same(value)


def _freeze_object(value: Any) -> Any:
    """A loss, metric, regularizer, schedule ...: its class, its configuration and the functions it holds."""
    config = dict(value.get_config())
    name = config.pop("name", None)
    if isinstance(value, keras.metrics.Metric):
        # Keras counts up the names it gives; a name of the user's is a key of the logs.
        own = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(value).__name__)).lower()
        config["name"] = own if re.fullmatch(rf"{re.escape(own)}(_\d+)?", name or own) else name
    return type(value), freeze(config), _attributes(value), _own_state(value)


def _freeze_function(function: Any) -> Any:
    if function.__module__ and function.__module__.split(".")[0] in ("keras", "tensorflow"):
        return _Same(function)
    cells = tuple(_freeze_cell(cell) for cell in function.__closure__ or ())
    defaults = freeze([function.__defaults__, function.__kwdefaults__])
    return "function", function.__code__, _Same(function.__globals__), defaults, cells


def _freeze_cell(cell: Any) -> Any:
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet
        return None
    return _Same(value) if isinstance(value, keras.Layer) else freeze(value)


#: Methods that Keras wraps anew in every layer, and those that its `fit` and `predict` make for a model.
_WRAPPED = ("build", "quantize", "call", "quantized_build", "train_function", "test_function", "predict_function")


def _attributes(value: Any) -> Any:
    """Functions and objects of the user's that an object holds: its configuration knows them by name only."""
    found = []
    for name, attribute in sorted(vars(value).items()):
        if name in _WRAPPED or "initializer" in name:
            continue
        if isinstance(attribute, types.FunctionType):
            found.append((name, _freeze_function(attribute)))
        elif isinstance(attribute, keras.regularizers.Regularizer | keras.constraints.Constraint) and not _is_keras(
            attribute
        ):
            found.append((name, type(attribute)))
    return tuple(found)


@functools.cache
def _attributes_of_bases() -> dict[type, set[str]]:
    """What Keras' base classes hold, which the configuration tells."""
    bases = (keras.losses.Loss(), keras.metrics.Metric(), keras.optimizers.SGD())
    kinds = (keras.losses.Loss, keras.metrics.Metric, keras.optimizers.Optimizer)
    return {kind: set(vars(base)) for kind, base in zip(kinds, bases, strict=True)}


def _own_state(value: Any) -> Any:
    """What an object of the user's own class holds beside what Keras gave it.

    Without a `get_config` of its own, that of Keras' base class tells nothing of it.
    """
    if _is_keras(value):
        return ()
    known = {name for kind, names in _attributes_of_bases().items() if isinstance(value, kind) for name in names}
    own = {name: held for name, held in vars(value).items() if name not in known}
    if isinstance(value, keras.optimizers.Optimizer):  # its variables are made when it is built
        own = {name: held for name, held in own.items() if isinstance(held, _PLAIN)}
    return tuple((name, _freeze_attribute(held, {})) for name, held in sorted(own.items()))


def _is_keras(value: Any) -> bool:
    return type(value).__module__.split(".")[0] == "keras"
