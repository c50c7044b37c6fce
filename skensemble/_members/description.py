"""What a value is, as text that is the same in each process: estimators by parameters, functions by their code."""

import functools
import hashlib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.keras import kept_values
from skensemble._compat.scikeras import BaseWrapper, draws_new_values
from skensemble._members.frozen import cell_content, names_in, underlying
from skensemble._members.spec import is_frozen

# Rows of the data that are hashed at once hold about this many bytes: X may be a file larger than the memory.
_CHUNK_BYTES = 16 * 2**20
# Packages whose version identifies their code; the code of others is described itself.
PACKAGES = ("keras", "numpy", "scikeras", "sklearn", keras.backend.backend())
_LIBRARIES = {"builtins", "functools", "joblib", "scipy", "skensemble", *PACKAGES}
# Parameters of members that their training does not depend on, or that the ensemble sets.
_NO_MATTER = {"random_state", "verbose", "engine"}
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
    without = _NO_MATTER if isinstance(estimator, BaseWrapper) else set()
    if isinstance(estimator, BaseWrapper) and draws_new_values(estimator):  # its own values do not matter
        name = "build_fn" if estimator.model is None else "model"
        parameters[name] = _Architecture(parameters[name])
    return texts | {name: describe(value) for name, value in sorted(parameters.items()) if name not in without}


class _Architecture:
    """A Keras model without the values that are drawn again."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model


def describe(value: Any) -> str:
    """What a value is, as text that is the same in each process: functions by their code, objects by what they hold."""
    return _Description().of(value)


class _Description:
    """Text of one value; what occurs a second time is represented by its number, so that cycles end."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[int, Any]] = {}

    def of(self, value: Any) -> str:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            return repr(value)
        if id(value) in self._seen:
            return f"<{self._seen[id(value)][0]}>"
        self._seen[id(value)] = len(self._seen), value  # the value too, so that its id is not used again
        for kinds, rule in self._RULES:
            if isinstance(value, kinds):
                return rule(self, value)
        return self._object(value)

    def _all(self, values: Iterable) -> str:
        return ", ".join(map(self.of, values))

    def _mapping(self, value: Mapping) -> str:
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return "{" + ", ".join(f"{self.of(key)}: {self.of(one)}" for key, one in items) + "}"

    def _sequence(self, value: Any) -> str:
        return f"({self._all(value)})" if isinstance(value, tuple) else f"[{self._all(value)}]"

    def _set(self, value: Any) -> str:
        return "{" + ", ".join(sorted(map(self.of, value))) + "}"

    def _array(self, value: np.ndarray) -> str:
        return f"array {value.dtype} {value.shape} {digest_array(value)}"

    def _generator(self, value: Any) -> str:
        return self.of(value.get_state() if isinstance(value, np.random.RandomState) else value.bit_generator.state)

    def _partial(self, value: functools.partial) -> str:
        return f"partial({self.of(value.func)}, {self.of(value.args)}, {self.of(value.keywords)})"

    def _method(self, value: types.MethodType) -> str:
        return f"{self.of(value.__func__)} of {self.of(value.__self__)}"

    def _function(self, value: types.FunctionType) -> str:
        name = f"{value.__module__}.{value.__qualname__}"
        if _is_library(value.__module__):
            return name
        cells = [cell_content(cell) for cell in value.__closure__ or ()]
        used = {name: value.__globals__[name] for name in sorted(names_in(value.__code__)) if name in value.__globals__}
        used = {name: one for name, one in used.items() if not isinstance(one, types.ModuleType)}
        parts = value.__defaults__, value.__kwdefaults__, cells, used
        return f"{value.__qualname__} {digest_text(self._code(value.__code__) + self._all(parts))}"

    def _code(self, code: types.CodeType) -> str:
        constants = [self._code(one) if isinstance(one, types.CodeType) else self.of(one) for one in code.co_consts]
        return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {constants}"

    def _class(self, value: type) -> str:
        if _is_library(value.__module__):
            return f"{value.__module__}.{value.__qualname__}"
        members = {name: one for name, one in vars(value).items() if not name.startswith("__") or callable(one)}
        members = {name: underlying(one) for name, one in members.items()}
        return f"{value.__qualname__} {digest_text(self._all([value.__bases__, members]))}"

    def _keras(self, value: Any) -> str:
        """A layer, model, optimizer, loss, metric or initializer: its configuration and the values of its variables."""
        try:
            config = self.of(value.get_config())
        except NotImplementedError:  # Keras asks models of a class of one's own to say how they are made
            config = ""
        weights = value.get_weights() if isinstance(value, keras.Layer) else []
        compiled = value.get_compile_config() if isinstance(value, keras.Model) else None
        config, compiled = _renumbered(config, type(value)), _renumbered(self.of(compiled))
        return f"{self.of(type(value))} {config} {self._all(weights)} {compiled}"

    def _architecture(self, value: _Architecture) -> str:
        model = value.model
        config = _renumbered(self.of(model.get_config()), type(model))
        compiled = _renumbered(self.of(model.get_compile_config()))
        return f"{self.of(type(model))} {config} {self._all(kept_values(model))} {compiled}"

    def _object(self, value: Any) -> str:
        if hasattr(value, "get_params"):
            return f"{self.of(type(value))} {self.of(value.get_params(deep=False))}"
        if hasattr(value, "get_config"):
            return self._keras(value)
        if hasattr(value, "__array__"):
            return self._array(np.asarray(value))
        if hasattr(value, "python_function"):  # of a `tf.function`
            return self.of(value.python_function)
        name = getattr(value, "__name__", "")  # functions that are not written in Python
        return f"{self.of(type(value))} {name} {self.of(vars(value)) if hasattr(value, '__dict__') else ''}"

    _RULES: tuple[tuple[Any, Callable], ...] = (
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
    )


def _is_library(module: str | None) -> bool:
    return (module or "").partition(".")[0] in _LIBRARIES


def _renumbered(text: str, *classes: type) -> str:
    """Names that Keras counts up in a process ("dense", "dense_7"), counted from their first use in the text.

    The first one in a process has no number. It is recognized by its class: one of `classes`, or one that the text
    names.
    """
    bases = {_in_snake_case(name) for name in (*(cls.__name__ for cls in classes), *_CLASS_NAME.findall(text))}
    names: dict[str, str] = {}

    def renumber(match: re.Match) -> str:
        base, count = match.groups()
        if count is None and base not in bases:
            return match.group()
        return names.setdefault(match.group(), f"{base}#{len(names)}")

    return _NAME.sub(renumber, text)


def _in_snake_case(name: str) -> str:
    """The name that Keras makes from the name of a class."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
