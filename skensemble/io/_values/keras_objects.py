"""Codecs of Keras' own functions, classes and objects, and of the user's objects that predictions do not need."""

import functools
import inspect
import types

import keras

from skensemble._keras_objects.losses import NormalNLL
from skensemble.io._audit.architectures import untrusted_names
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._values.codec import Codec, is_a
from skensemble.io._values.not_restored import LEFT_OUT, NotRestored

#: Public modules of Keras, and the class of what may be built from them. Functions are in the first three.
_KERAS_BASES = {
    "activations": None,
    "losses": keras.losses.Loss,
    "metrics": keras.metrics.Metric,
    "optimizers": keras.optimizers.Optimizer,
    "optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
    "regularizers": keras.regularizers.Regularizer,
    "initializers": keras.initializers.Initializer,
    "constraints": keras.constraints.Constraint,
    "callbacks": keras.callbacks.Callback,
    "skensemble": keras.losses.Loss,
}
#: Used in place of a module: skensemble's own classes.
_OWN = types.SimpleNamespace(NormalNLL=NormalNLL)
_TRUSTED_OWN = frozenset(["keras.skensemble.NormalNLL"])
_KERAS_KINDS = tuple(kind for kind in _KERAS_BASES.values() if kind is not None)
_NO_FUNCTIONS = {"get", "serialize", "deserialize"}
#: Keras callbacks whose arguments can be read from their attributes.
_CALLBACKS = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau, keras.callbacks.TerminateOnNaN)
#: The most thresholds or classes of a metric, whose variables have this size or its square: 64 MiB.
_MAX_METRIC_SIZE = 4096


# Functions and classes


def keras_path(value):
    """(module, name) by which a function or class of Keras is public, or None."""
    for module in _KERAS_BASES:
        name = getattr(value, "__name__", None)
        if name is not None and vars(_keras_module(module)).get(name) is value and name not in _NO_FUNCTIONS:
            return module, name
    return None


def _keras_module(name):
    if name == "skensemble":
        return _OWN
    return functools.reduce(getattr, name.split("."), keras)


def _is_public(value):
    return (isinstance(value, type) or inspect.isroutine(value)) and keras_path(value) is not None


def _encode_public(value, encoder, where):
    return list(keras_path(value))


def _decode_public(content, decoder):
    return _keras_attribute(*content)


def _keras_attribute(module, name):
    value = getattr(_keras_module(module), name) if module in _KERAS_BASES and name not in _NO_FUNCTIONS else None
    is_of_keras = str(getattr(value, "__module__", None)).startswith("keras.")
    if keras_path(value) != (module, name) or not (is_of_keras or module == "skensemble"):
        raise FormatError(f"keras.{module}.{name} is not one of the names of Keras that a file may use.")
    if module == "callbacks" and value not in _CALLBACKS:  # others write files or send requests when they are called
        raise FormatError(f"A file must not name callbacks that write or send: got keras.callbacks.{name}.")
    return value


# Objects


def _encode_object(value, encoder, where):
    kind = type(value)
    if isinstance(value, keras.callbacks.Callback):
        names = [name for name in inspect.signature(kind).parameters if name != "kwargs"]
        config = {name: getattr(value, name) for name in names}
        if "min_delta" in config:
            config["min_delta"] = abs(config["min_delta"])  # EarlyStopping turns its sign with the direction
    else:
        config = value.get_config()
        module, name = keras_path(kind) or (kind.__module__, kind.__name__)
        as_written = {"module": f"keras.{module}", "class_name": name, "registered_name": None}
        _check_keras_config({**config, **as_written}, where, PersistenceError)
        _check_effects({**as_written, "config": config})
    return [*keras_path(kind), encoder.encode(config, where)]


def _decode_object(content, decoder):
    module, name, config = content
    config = decoder.decode(config)
    _check_keras_config(config, "A Keras object of the manifest", FormatError)
    if module != "callbacks":
        _check_effects({"module": f"keras.{module}", "class_name": name, "config": config, "registered_name": None})
    kind = _keras_attribute(module, name)
    if not (isinstance(kind, type) and issubclass(kind, _KERAS_BASES[module] or ())):
        raise FormatError(f"keras.{module}.{name} is not a class that a file may name.")
    return kind(**config) if module == "callbacks" else kind.from_config(config)


def _check_keras_config(config, where, error):
    """Raise where the configuration of a Keras object names anything but public objects of Keras."""
    if isinstance(config, dict):
        if "class_name" in config:
            module, name = str(config.get("module")).partition("keras.")[2], config["class_name"]
            known = module in _KERAS_BASES and isinstance(getattr(_keras_module(module), str(name), None), type)
            if config.get("registered_name") is not None or not (known or name == "DTypePolicy"):
                raise error(f"{where} must be made of Keras' own objects: got {config.get('module')}.{name}.")
        for value in config.values():
            _check_keras_config(value, where, error)
    elif isinstance(config, list | tuple):
        for value in config:
            _check_keras_config(value, where, error)


def _check_effects(config):
    """Raise where a Keras object would call what is registered in this process (T6), or take much memory (T12)."""
    untrusted = untrusted_names(config, _TRUSTED_OWN)
    if untrusted:
        raise FormatError(f"A Keras object must be made of Keras' own parts: {config['class_name']} names {untrusted}.")
    if config["module"] == "keras.metrics":
        for name, value in config["config"].items():
            if isinstance(value, int) and abs(value) > _MAX_METRIC_SIZE:
                raise FormatError(f"`{name}` of a metric must not exceed {_MAX_METRIC_SIZE}: got {value}.")


# What is left out: callbacks, losses and metrics of the user's, and Keras' other callbacks


def _is_left_out(value):
    if isinstance(value, NotRestored):
        return value.parts is None and value.path.startswith(LEFT_OUT)
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, keras.callbacks.Callback):
        return kind not in _CALLBACKS
    return isinstance(value, keras.losses.Loss | keras.metrics.Metric) and keras_path(kind) is None


def _encode_left_out(value, encoder, where):
    if isinstance(value, NotRestored):
        return value.path.removeprefix(LEFT_OUT)
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _decode_left_out(content, decoder):
    return NotRestored(f"{LEFT_OUT}{content}")


KERAS_OBJECTS = (
    Codec("left_out", _is_left_out, _encode_left_out, _decode_left_out),
    Codec("keras", _is_public, _encode_public, _decode_public),
    Codec("keras_object", is_a(_KERAS_KINDS), _encode_object, _decode_object),
)
