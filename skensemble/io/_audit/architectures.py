"""The audit of an architecture: what the config of a Keras model may name.

A config decides what Keras imports, calls and allocates. Keras' own checks list what is forbidden, and one call of
`keras.config.enable_unsafe_deserialization` anywhere in the process switches them off. Here everything that is not
allowed is refused, before Keras sees it (T2 to T8, T12, T19, T20).
"""

import math
import re
import sys

from skensemble.io._audit.allowed import (
    ALLOWED_CLASSES,
    ALLOWED_FUNCTIONS,
    FORBIDDEN_LAYERS,
    FORBIDDEN_MODULES,
    LAYERS_WITH_FILES,
)
from skensemble.io._errors import FormatError

_MAX_DEPTH = 64
_MAX_VALUES = 2_000_000
_MAX_INTEGER = 2**31 - 1

_OBJECT_KEYS = {"module", "class_name", "config", "registered_name"}
_OTHER_KEYS = {"build_config", "inbound_nodes", "name", "shared_object_id"}
# Values that are not objects, but for which JSON has no notation. Keras writes them without a module.
_PLAIN_VALUES = {"__bytes__", "__ellipsis__", "__keras_tensor__", "__numpy__", "__slice__", "__tensor__"}
_NUMBERS = re.compile(r"bool|bfloat16|(u?int|float|complex)\d{1,3}")
_EINSUM = re.compile(r"[A-Za-z.,\s]*->[A-Za-z.\s]*")
_FUNCTIONS = frozenset().union(*ALLOWED_FUNCTIONS.values())
# Keras takes values as text where a key ends like this.
_WORDS = {
    "activation": ALLOWED_FUNCTIONS["keras.activations"],
    "constraint": ALLOWED_CLASSES["keras.constraints"],
    "initializer": ALLOWED_CLASSES["keras.initializers"],
    "regularizer": ALLOWED_CLASSES["keras.regularizers"],
}


def untrusted_names(config, trusted=()):
    """Names in a config that need the user's trust.

    Does not import Keras. If Keras is already imported, text that it would look up among the custom objects of the
    process needs trust as well.

    Parameters
    ----------
    config : object
        Parsed JSON, as returned by `canonical_config`.
    trusted : iterable of str, default=()
        Names that are not listed.

    Returns
    -------
    list of str
        Sorted: "package>Name" or the bare name for what is registered with Keras, "keras.layers.Lambda" for Keras' own.

    Raises
    ------
    FormatError
        Where the config holds what cannot be trusted: a pickled function, a layer that reads files or runs programs of
        another framework, a function of Keras that is not for models, or what Keras would not have written.
    """
    if not (isinstance(config, dict) and "class_name" in config):
        raise FormatError(f"An architecture must be the config of a Keras model: got {_short(config)}.")
    trusted, names = frozenset(trusted), set()
    for n_values, (key, value) in enumerate(_walk(config)):
        if n_values > _MAX_VALUES:
            raise FormatError(f"An architecture must not have more than {_MAX_VALUES} values.")
        if isinstance(value, dict) and "class_name" in value:
            names |= _names_of_object(value)
        elif isinstance(value, str):
            names |= _names_of_text(key, value)
        else:
            _check_number(key, value)
        if key == "inbound_nodes":
            _check_nodes(value)
    return sorted(names - trusted)


def _walk(config):
    """Every value with its key, from the outside inwards; items of a list have the key of the list."""
    waiting = [(None, config, 0)]
    while waiting:
        key, value, depth = waiting.pop()
        yield key, value
        if depth > _MAX_DEPTH:
            raise FormatError(f"An architecture must not be nested deeper than {_MAX_DEPTH} levels.")
        if isinstance(value, dict):
            waiting += [(inner_key, inner, depth + 1) for inner_key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(key, inner, depth + 1) for inner in value]


def _names_of_object(config):
    """Names to trust for a dict from which Keras makes an object; its contents are left to the other checks."""
    class_name = config["class_name"]
    if not isinstance(class_name, str):
        raise FormatError(f"`class_name` must be text: got {_short(class_name)}.")
    if class_name in _PLAIN_VALUES:
        _check_plain_value(config)
        return set()
    if class_name.startswith("__"):
        raise FormatError(
            f"An architecture must not hold code or types: got {class_name!r}. Use functions that are registered with "
            "keras.saving.register_keras_serializable instead of lambdas."
        )
    if not _OBJECT_KEYS <= config.keys() <= _OBJECT_KEYS | _OTHER_KEYS:
        raise FormatError(f"The config of {class_name!r} must have the keys that Keras 3 writes: got {sorted(config)}.")
    module, registered = config["module"], config["registered_name"]
    if not all(isinstance(name, str | None) for name in (module, registered)):
        raise FormatError(f"The module and the registered name of {class_name!r} must be text: got {_short(config)}.")
    if class_name == "function":
        return _names_of_function(module, config["config"])
    _check_possible_class(module, class_name, registered, config["config"])
    if class_name in ALLOWED_CLASSES.get(module, ()):
        return set()
    return {f"{module}.{class_name}" if is_of_keras(module) else registered or class_name}


def _check_plain_value(config):
    content = config.get("config", {})
    if not config.keys() <= {"class_name", "config"} or not isinstance(content, dict):
        raise FormatError(f"A value must be as Keras writes it: got {_short(config)}.")
    if not _NUMBERS.fullmatch(str(content.get("dtype", "float32"))):
        raise FormatError(f"Arrays and tensors must be of numbers: got the type {_short(content['dtype'])}.")


def _names_of_function(module, name):
    if not isinstance(name, str):
        raise FormatError(f"A function must be named by text: got {_short(name)}.")
    if name in (_FUNCTIONS if module == "builtins" else ALLOWED_FUNCTIONS.get(module, ())):
        return set()
    _check_possible_module(module, name)
    return {name if module in (None, "builtins") else f"{module}.{name}"}


def _check_possible_class(module, class_name, registered, content):
    """Raise for classes that no trust can make loadable."""
    for name in (class_name, str(registered).rpartition(">")[2]):
        if name in FORBIDDEN_LAYERS:
            raise FormatError(f"An architecture must not run programs of another framework: got {name}.")
    if not isinstance(content, dict):
        raise FormatError(f"The config of {class_name!r} must be an object: got {_short(content)}.")
    if not is_of_keras(module):
        return
    if class_name in LAYERS_WITH_FILES:
        raise FormatError(
            f"Layers with a vocabulary cannot be stored: got {class_name}. Encode text before the network, or save "
            "with joblib."
        )
    if registered not in (None, class_name):
        raise FormatError(f"A class of Keras has no registered name: {module}.{class_name} has {registered!r}.")
    _check_possible_module(module, class_name)


def _check_possible_module(module, name):
    if module is not None and any(f"{module}.".startswith(f"{forbidden}.") for forbidden in FORBIDDEN_MODULES):
        if name not in ALLOWED_CLASSES.get(module, ()):
            raise FormatError(f"An architecture must be made of what computes: got {module}.{name}.")


def is_of_keras(module):
    return module is not None and module.partition(".")[0] == "keras"


def _names_of_text(key, value):
    if key == "vocabulary":
        raise FormatError(f"An architecture must not name files: got the vocabulary {value!r}.")
    if _is_registered(value):
        return {value}
    if ">" in value and not _EINSUM.fullmatch(value):
        return {value}
    words = next((words for ending, words in _WORDS.items() if str(key).endswith(ending)), None)
    return set() if words is None or value in words else {value}


def _is_registered(name):
    """Whether Keras would take this text for an object that this process has registered and that is not Keras' own."""
    if "keras" not in sys.modules:
        return False
    found = sys.modules["keras"].saving.get_registered_object(name)
    return found is not None and not getattr(found, "__module__", "").startswith("keras.")


def _check_number(key, value):
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"Numbers of an architecture must be finite: got {key}={value}.")
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        raise FormatError(f"Integers of an architecture must not exceed {_MAX_INTEGER}: got {key}={_short(value)}.")
    if key == "compile_config" and value:
        raise FormatError("An architecture must not say how it is compiled: got a `compile_config`.")


def _check_nodes(nodes):
    """Raise where a layer would be called on numbers: Keras would compute at once, with unchecked shapes."""
    if not isinstance(nodes, list):
        return  # an item of the list, whose items have its key
    for node in nodes:
        if not isinstance(node, dict) or node.keys() != {"args", "kwargs"}:
            raise FormatError(f"`inbound_nodes` must be as Keras 3 writes them: got {_short(node)}.")
        if not any(isinstance(v, dict) and v.get("class_name") == "__keras_tensor__" for _, v in _walk(node)):
            raise FormatError(f"A layer must be called on the output of another: got {_short(node)}.")


def _short(value):
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
