"""What a value is, as text that is the same in each process: estimators by parameters, functions by their code."""

import dataclasses
import functools
import hashlib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.keras_copies import kept_values
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.scikeras_building import draws_new_values
from skensemble._members.hashables import cell_content, in_snake_case, names_in, underlying
from skensemble._members.spec import is_frozen

Text = Callable[[Any], str]

# Rows of the data that are hashed at once hold about this many bytes: X may be a file larger than the memory.
_CHUNK_BYTES = 16 * 2**20
# Packages whose version identifies their code; the code of others is described itself.
PACKAGES = ("keras", "numpy", "scikeras", "sklearn", keras.backend.backend())
_LIBRARIES = {"builtins", "functools", "joblib", "scipy", "skensemble", *PACKAGES}
# Parameters of members on which their training does not depend, or which the ensemble sets.
_IRRELEVANT = {"random_state", "verbose", "engine"}
_NAME = re.compile(r"(?<=['\"/])([A-Za-z_][A-Za-z_0-9]*?)(?:_(\d+))?(?=['\"/])")
_CLASS_NAME = re.compile(r"'class_name': '(\w+)'")


def digest_text(text: str) -> str:
    """SHA-256 of a text, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_array(array: np.ndarray) -> str:
    """Digest of the type, the shape and the values of an array, read in chunks of rows."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    n_rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, n_rows):
        rows = array[start : start + n_rows] if array.ndim else array
        if array.dtype.hasobject:
            digest.update("".join(f"{row!r}," for row in np.atleast_1d(rows).tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def describe_parameters(estimator: BaseEstimator) -> dict[str, str]:
    """Text of the type and of each parameter of an estimator; for a fitted one that is not trained, only the type."""
    texts = {"estimator": describe(type(estimator))}
    if is_frozen(estimator):
        return texts
    parameters = estimator.get_params(deep=False)
    without = _IRRELEVANT if isinstance(estimator, BaseWrapper) else set()
    if isinstance(estimator, BaseWrapper) and draws_new_values(estimator):  # its own values do not matter
        name = "build_fn" if estimator.model is None else "model"
        parameters[name] = _Architecture(parameters[name])
    return texts | {name: describe(value) for name, value in sorted(parameters.items()) if name not in without}


@dataclasses.dataclass
class _Architecture:
    """A Keras model without the values that are drawn again."""

    model: keras.Model


def describe(value: Any) -> str:
    """What a value is, as text that is the same in each process: functions by their code, objects by what they hold."""
    return _Description()(value)


class _Description:
    """Text of one value; what occurs a second time is represented by its number, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}

    def __call__(self, value: Any) -> str:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            return repr(value)
        if id(value) in self._seen:
            return f"<{self._seen[id(value)][0]}>"
        self._seen[id(value)] = len(self._seen), value  # the value too, so that its id is not used again
        rule = next(rule for kinds, rule in _RULES if isinstance(value, kinds))
        return rule(value, self)


# How values of each kind become text; `text` gives that of the values in them.


def _all(values: Iterable, text: Text) -> str:
    return ", ".join(map(text, values))


def _mapping(value: Mapping, text: Text) -> str:
    items = sorted(value.items(), key=lambda item: str(item[0]))
    return "{" + ", ".join(f"{text(key)}: {text(one)}" for key, one in items) + "}"


def _sequence(value: Any, text: Text) -> str:
    return f"({_all(value, text)})" if isinstance(value, tuple) else f"[{_all(value, text)}]"


def _set(value: Any, text: Text) -> str:
    return "{" + ", ".join(sorted(map(text, value))) + "}"


def _array(value: np.ndarray, text: Text) -> str:
    return f"array {value.dtype} {value.shape} {digest_array(value)}"


def _generator(value: Any, text: Text) -> str:
    return text(value.get_state() if isinstance(value, np.random.RandomState) else value.bit_generator.state)


def _partial(value: functools.partial, text: Text) -> str:
    return f"partial({text(value.func)}, {text(value.args)}, {text(value.keywords)})"


def _method(value: types.MethodType, text: Text) -> str:
    return f"{text(value.__func__)} of {text(value.__self__)}"


def _function(value: types.FunctionType, text: Text) -> str:
    name = f"{value.__module__}.{value.__qualname__}"
    if _is_library(value.__module__):
        return name
    cells = [cell_content(cell) for cell in value.__closure__ or ()]
    used = {name: value.__globals__[name] for name in sorted(names_in(value.__code__)) if name in value.__globals__}
    used = {name: one for name, one in used.items() if not isinstance(one, types.ModuleType)}
    parts = value.__defaults__, value.__kwdefaults__, cells, used
    return f"{value.__qualname__} {digest_text(_code(value.__code__, text) + _all(parts, text))}"


def _code(code: types.CodeType, text: Text) -> str:
    constants = [_code(one, text) if isinstance(one, types.CodeType) else text(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {constants}"


def _class(value: type, text: Text) -> str:
    if _is_library(value.__module__):
        return f"{value.__module__}.{value.__qualname__}"
    members = {name: one for name, one in vars(value).items() if not name.startswith("__") or callable(one)}
    members = {name: underlying(one) for name, one in members.items()}
    return f"{value.__qualname__} {digest_text(_all([value.__bases__, members], text))}"


def _architecture(value: _Architecture, text: Text) -> str:
    return _keras(value.model, text, kept_values(value.model))


def _keras(value: Any, text: Text, values: Iterable[np.ndarray]) -> str:
    """A layer, model, optimizer, loss, metric or initializer: its configuration and the `values` of its variables."""
    try:
        config = text(value.get_config())
    except NotImplementedError:  # Keras asks models of a class of one's own to say how they are made
        config = ""
    compiled = text(value.get_compile_config() if isinstance(value, keras.Model) else None)
    config, compiled = _renumbered(config, type(value)), _renumbered(compiled)
    return f"{text(type(value))} {config} {_all(values, text)} {compiled}"


def _object(value: Any, text: Text) -> str:
    if hasattr(value, "get_params"):
        return f"{text(type(value))} {text(value.get_params(deep=False))}"
    if hasattr(value, "get_config"):
        return _keras(value, text, value.get_weights() if isinstance(value, keras.Layer) else [])
    if hasattr(value, "__array__"):
        return _array(np.asarray(value), text)
    if hasattr(value, "python_function"):  # of a `tf.function`
        return text(value.python_function)
    name = getattr(value, "__name__", "")  # functions that are not written in Python
    return f"{text(type(value))} {name} {text(vars(value)) if hasattr(value, '__dict__') else ''}"


_RULES: tuple[tuple[Any, Callable[[Any, Text], str]], ...] = (
    (Mapping, _mapping),
    (list | tuple, _sequence),
    (set | frozenset, _set),
    (np.ndarray, _array),
    (np.random.RandomState | np.random.Generator, _generator),
    (functools.partial, _partial),
    (types.MethodType, _method),
    (types.FunctionType, _function),
    (type, _class),
    (_Architecture, _architecture),
    (object, _object),
)


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES


def _renumbered(text: str, *classes: type) -> str:
    """Names that Keras counts up in a process ("dense", "dense_7"), counted from their first use in the text.

    The first one in a process has no number. It is recognized by its class: one of `classes`, or one that the text
    names.
    """
    bases = {in_snake_case(name) for name in (*(cls.__name__ for cls in classes), *_CLASS_NAME.findall(text))}
    names: dict[str, str] = {}

    def renumber(match: re.Match) -> str:
        base, count = match.groups()
        if count is None and base not in bases:
            return match.group()
        return names.setdefault(match.group(), f"{base}#{len(names)}")

    return _NAME.sub(renumber, text)
