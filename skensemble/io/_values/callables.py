"""Codecs of functions and classes: written as import paths, and imported only where they are trusted."""

import functools
import importlib
import inspect
import types

import numpy as np

from skensemble._members.user_functions import by_name
from skensemble.io._audit.trusted_names import IMPORT_PATH
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._values.codec import Codec
from skensemble.io._values.not_restored import UNNAMED, NotRestored

_BUILTINS = {kind.__name__: kind for kind in (bool, bytes, dict, float, int, list, object, str, tuple)}


def _is_builtin(value):
    return isinstance(value, type) and value in _BUILTINS.values()


def _is_number_type(value):
    return isinstance(value, type) and issubclass(value, np.generic)


def _decode_number_type(content, decoder):
    kind = getattr(np, content)
    if not _is_number_type(kind):
        raise FormatError(f"numpy.{content} is not a type of numbers.")
    return kind


def _is_partial(value):
    return type(value) is functools.partial or (isinstance(value, NotRestored) and value.parts is not None)


def _encode_partial(value, encoder, where):
    parts = value.parts if isinstance(value, NotRestored) else (value.func, value.args, value.keywords)
    return [encoder.encode(part, where) for part in parts]


def _decode_partial(content, decoder):
    function, args, keywords = decoder.decode(content)
    for part in (function, *args, *keywords.values()):
        if isinstance(part, NotRestored):
            return NotRestored(part.path, (function, args, keywords))
    return functools.partial(function, *args, **keywords)


def _is_unnamed(value):
    """Whether a function cannot be imported: a lambda, or a function inside another."""
    if isinstance(value, NotRestored):
        return value.path.startswith(UNNAMED)
    # Running a notebook cell again makes another function with the same name and code.
    return isinstance(value, types.FunctionType | types.MethodType) and _found(value) is not by_name(value)


def _encode_unnamed(value, encoder, where):
    return _path_of(value).removeprefix(UNNAMED)


def _decode_unnamed(content, decoder):
    return NotRestored(f"{UNNAMED}{content}")


def _is_callable(value):
    return isinstance(value, type | np.ufunc | NotRestored) or inspect.isroutine(value)


def _encode_callable(value, encoder, where):
    path = _path_of(value)
    is_checked = isinstance(value, NotRestored | types.FunctionType | types.MethodType)
    if not is_checked and _found(value) is not value:
        raise PersistenceError(
            f"{where} cannot be saved: {path} cannot be imported by its name. Define it at the top of a module."
        )
    return path


def _decode_callable(content, decoder):
    if not IMPORT_PATH.fullmatch(content):
        raise FormatError(f"An import path of the manifest is not valid: {content[:80]!r}.")
    if content not in decoder.trusted:
        return decoder.placeholders.setdefault(content, NotRestored(content))
    return import_path(content)


def _path_of(value):
    if isinstance(value, NotRestored):
        return value.path
    if isinstance(value, np.ufunc):
        return f"numpy.{value.__name__}"
    return f"{getattr(value, '__module__', 'builtins')}.{value.__qualname__}"


def _found(value):
    """What is found under the name of a function or class; None if nothing is."""
    if isinstance(value, np.ufunc):
        return getattr(np, value.__name__, None)
    try:
        return functools.reduce(getattr, value.__qualname__.split("."), importlib.import_module(value.__module__))
    except (ImportError, AttributeError, TypeError):
        return None


def import_path(path):
    """The function or class at a path that the user trusts.

    Parameters
    ----------
    path : str

    Returns
    -------
    callable
    """
    parts = path.split(".")
    for n_parts in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:n_parts]))
        except ModuleNotFoundError as error:
            if ".".join(parts[:n_parts]).startswith(error.name or "\0"):
                continue
            raise PersistenceError(f"{path!r} is trusted, but importing it raised: {error}.") from error
        value = functools.reduce(lambda owner, name: getattr(owner, name, None), parts[n_parts:], module)
        own = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
        if callable(value) and (own == path or isinstance(value, np.ufunc)):
            return value
        break
    raise PersistenceError(
        f"{path!r} is trusted, but no function or class can be imported from there. Make its module importable, or "
        "leave it out of `trusted` to load without it."
    )


CALLABLES = (
    Codec("builtin", _is_builtin, lambda value, *_: value.__name__, lambda content, _: _BUILTINS[content]),
    Codec("numpy", _is_number_type, lambda value, *_: value.__name__, _decode_number_type),
    Codec("partial", _is_partial, _encode_partial, _decode_partial),
    Codec("unnamed", _is_unnamed, _encode_unnamed, _decode_unnamed),
    Codec("callable", _is_callable, _encode_callable, _decode_callable),
)
