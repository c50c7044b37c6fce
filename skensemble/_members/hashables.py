"""Values as hashables that are equal for values that can be treated as the same.

The user's functions, classes and objects enter with everything that their code reads: defaults, closures, globals and
attributes. Any of these may change from one fit to the next, as in a notebook whose cells are run again.
"""

import argparse
import dis
import functools
import hashlib
import re
import sys
import types
from collections import UserDict
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Frozen = Callable[[Any], Any]

#: Where packages are installed, whose globals and classes stay as they are.
_INSTALLED = ("site-packages", "dist-packages")
_PLAIN = (str, bool, int, float, types.NoneType, types.FunctionType)
#: Methods that Keras wraps in every new layer, and those that its `fit` and `predict` make for a model.
WRAPPED = ("build", "quantize", "call", "quantized_build", "train_function", "test_function", "predict_function")
#: Larger arrays are represented by their digest.
_DIGESTED_BYTES = 1024
_N_REMEMBERED = 1024


class Same:
    """Equal only for the same object, which it keeps alive."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: Any) -> Any:
        return isinstance(other, Same) and self.value is other.value

    def __hash__(self) -> Any:
        return id(self.value)


def freeze(value: Any) -> Any:
    """A hashable that is equal for equal values; 1, 1.0 and True differ."""
    return _Freezing()(value)


class _Freezing:
    """A hashable of one value; what occurs a second time is represented by its number, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if value is None or isinstance(value, str | bytes):
            return value
        if isinstance(value, bool | int | float | complex | np.generic):
            return type(value).__name__, repr(value)
        if isinstance(value, dict | UserDict | types.MappingProxyType):
            return "dict", tuple(sorted(((str(k), self(v)) for k, v in value.items()), key=lambda item: item[0]))
        if isinstance(value, list | tuple):
            return "list", tuple(map(self, value))
        if isinstance(value, set | frozenset):
            return "set", frozenset(map(self, value))
        if isinstance(value, np.ndarray):
            return "array", value.dtype.str, value.shape, _digest(value)
        if str(type(value).__module__).startswith("tensorflow.") and type(value).__name__ in ("DType", "TensorShape"):
            return str(value)
        if hasattr(value, "get_config") and not isinstance(value, type):
            return freeze_object(value)
        if id(value) in self._seen:
            return "again", self._seen[id(value)][0]
        self._seen[id(value)] = len(self._seen), value  # the value too, so that its id is not used again
        return next(rule for kind, rule in _RULES if isinstance(value, kind))(value, self)


# How what a user's code holds becomes a hashable; `frozen` gives that of the values in it.


def _held(value: Any, frozen: Frozen) -> Any:
    """What code reads; layers and variables in it are represented by their identity."""
    return (Same(value), _constants(value)) if isinstance(value, keras.Layer | keras.Variable) else frozen(value)


def _partial(value: functools.partial, frozen: Frozen) -> Any:
    return "partial", frozen(value.func), frozen(value.args), frozen(value.keywords)


def _method(value: types.MethodType, frozen: Frozen) -> Any:
    return "method", frozen(value.__func__), Same(value.__self__), _held(value.__self__, frozen)


def _function(function: types.FunctionType, frozen: Frozen) -> Any:
    if (function.__module__ or "").partition(".")[0] in ("keras", "tensorflow"):
        return Same(function)
    code, names = function.__code__, function.__globals__
    cells = tuple(_held(cell_content(cell), frozen) for cell in function.__closure__ or ())
    defaults = frozen([function.__defaults__, function.__kwdefaults__])
    read = () if _is_library(function.__module__) else globals_of(code)
    held = tuple((name, _global(names[name], code, frozen)) for name in read if name in names)
    return "function", code, Same(names), defaults, cells, held


def _global(value: Any, code: types.CodeType, frozen: Frozen) -> Any:
    if not isinstance(value, types.ModuleType):
        return _held(value, frozen)
    if _is_library(value.__name__):
        return None
    held = {name: one for name, one in vars(value).items() if name in names_in(code)}
    held = {name: one for name, one in held.items() if not isinstance(one, types.ModuleType)}
    return tuple((name, _held(one, frozen)) for name, one in sorted(held.items()))


def _class(value: type, frozen: Frozen) -> Any:
    own = [base for base in value.__mro__ if not _is_library(base.__module__)]
    if not own:
        return value
    held = [(name, one) for base in own for name, one in sorted(vars(base).items())]
    held = [(name, one) for name, one in held if callable(one) or not name.startswith("__")]
    return "class", value, tuple((name, _held(underlying(one), frozen)) for name, one in held)


def _object(value: Any, frozen: Frozen) -> Any:
    is_library = _is_library(type(value).__module__)
    if is_library and not isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return Same(value)
    held = sorted(getattr(value, "__dict__", {}).items())
    return Same(value), frozen(type(value)), tuple((name, _held(one, frozen)) for name, one in held)


_RULES: tuple[tuple[Any, Callable[..., Any]], ...] = (
    (functools.partial, _partial),
    (types.MethodType, _method),
    (types.FunctionType, _function),
    (type, _class),
    (object, _object),
)


def _is_library(module: str | None) -> bool:
    """Whether a module belongs to Python, to this package or to an installed one."""
    if not isinstance(module, str | None):  # of a class in compiled code
        return True
    package = (module or "").partition(".")[0]
    if package == "skensemble" or package in sys.stdlib_module_names:
        return True
    path = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return any(folder in path for folder in _INSTALLED)


def _digest(array: np.ndarray) -> bytes:
    content = array.tobytes()
    return content if len(content) <= _DIGESTED_BYTES else hashlib.sha256(content).digest()


def _constants(value: keras.Layer | keras.Variable) -> tuple[bytes, ...]:
    """What becomes a constant of a program: JAX takes the current values of variables that are not the model's."""
    if keras.backend.backend() == "tensorflow":  # which reads them in each step
        return ()
    variables = value.variables if isinstance(value, keras.Layer) else [value]
    return tuple(_digest(keras.ops.convert_to_numpy(variable)) for variable in variables)


def cell_content(cell: types.CellType) -> Any:
    """What a closure holds; None where it has not been assigned yet."""
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def underlying(attribute: Any) -> Any:
    """The function in a static method, a class method or a property."""
    return getattr(attribute, "__func__", None) or getattr(attribute, "fget", None) or attribute


@functools.lru_cache(_N_REMEMBERED)
def globals_of(code: types.CodeType) -> tuple[str, ...]:
    """Names of the globals that code, or a function in it, reads."""
    read = {one.argval for one in dis.get_instructions(code) if one.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return tuple(sorted(read.union(*map(globals_of, _inner(code)))))


def names_in(code: types.CodeType) -> set[str]:
    """Names of globals and of attributes in code, or in a function in it."""
    return set(code.co_names).union(*map(names_in, _inner(code)))


def _inner(code: types.CodeType) -> list[types.CodeType]:
    return [one for one in code.co_consts if isinstance(one, types.CodeType)]


def freeze_object(value: Any) -> Any:
    """A loss, metric, regularizer, schedule ...: its class, its configuration and the functions it holds."""
    config = dict(value.get_config())
    name = config.pop("name", None)
    if isinstance(value, keras.metrics.Metric):
        # Keras counts up the names it gives; a name that the user gave is a key of the logs.
        own = in_snake_case(type(value).__name__)
        config["name"] = own if re.fullmatch(rf"{re.escape(own)}(_\d+)?", name or own) else name
    return freeze(type(value)), freeze(config), attributes(value), own_state(value)


def in_snake_case(name: str) -> str:
    """The name that Keras makes from the name of a class."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def attributes(value: Any) -> Any:
    """The user's functions and objects that an object holds: its configuration has only their names."""
    found = []
    for name, attribute in sorted(vars(value).items()):
        if name in WRAPPED or "initializer" in name:
            continue
        if isinstance(attribute, types.FunctionType):
            found.append((name, freeze(attribute)))
        elif isinstance(attribute, keras.regularizers.Regularizer | keras.constraints.Constraint) and not is_keras(
            attribute
        ):
            found.append((name, freeze_object(attribute)))
    return tuple(found)


def freeze_attribute(value: Any, position: Any) -> Any:
    """`freeze` where layers are represented by their position, and variables by their shape."""
    if isinstance(value, keras.Layer):
        return "layer", position.get(id(value))
    if isinstance(value, keras.Variable):
        return "variable", tuple(value.shape), value.dtype
    if isinstance(value, keras.random.SeedGenerator):
        return "seed generator"
    if isinstance(value, dict):
        return "dict", tuple((str(key), freeze_attribute(one, position)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return "list", tuple(freeze_attribute(one, position) for one in value)
    return freeze(value)


@functools.cache
def _attributes_of_bases() -> dict[type, set[str]]:
    """What Keras' base classes hold, and is in the configuration."""
    bases = (keras.losses.Loss(), keras.metrics.Metric(), keras.optimizers.SGD())
    kinds = (keras.losses.Loss, keras.metrics.Metric, keras.optimizers.Optimizer)
    return {kind: set(vars(base)) for kind, base in zip(kinds, bases, strict=True)}


def own_state(value: Any) -> Any:
    """What an object of the user's own class holds in addition to what Keras gave it.

    Without its own `get_config`, that of Keras' base class says nothing about it.
    """
    if is_keras(value):
        return ()
    known = {name for kind, names in _attributes_of_bases().items() if isinstance(value, kind) for name in names}
    own = {name: held for name, held in vars(value).items() if name not in known}
    if isinstance(value, keras.optimizers.Optimizer):  # its variables are made when it is built
        own = {name: held for name, held in own.items() if isinstance(held, _PLAIN)}
    return tuple((name, freeze_attribute(held, {})) for name, held in sorted(own.items()))


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, an array, or consists of these."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    if isinstance(value, dict):
        return all(map(is_plain, value.values()))
    return value is None or isinstance(value, str | bool | int | float | np.ndarray | np.generic)


def is_keras(value: Any) -> bool:
    return str(type(value).__module__).split(".")[0] == "keras"
