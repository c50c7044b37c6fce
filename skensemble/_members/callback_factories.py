"""Keras callbacks of one member: made by the user's functions, its number in their paths, none shared with others."""

import copy
import inspect
import io
import os
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.python import dumps_for_workers
from skensemble._compat.scikeras import made_callbacks

_PLACEHOLDER = re.compile(r"\{member(?::([^{}]*))?\}")
# Attributes that name what a callback writes to: those of Keras' callbacks, and spellings of users.
_PATHS = ("filepath", "file_path", "filename", "file_name", "log_dir", "backup_dir")
# Values that any pickler takes.
_PLAIN: Any = str | bytes | bool | int | float | complex | np.generic | type(None)


class OwnCallbacks(NamedTuple):
    """Keras callbacks of one member."""

    fit: list[keras.callbacks.Callback]
    predict: list[keras.callbacks.Callback]


def own_callbacks(estimator: BaseEstimator, number: int, *, copies: bool = True) -> OwnCallbacks:
    """Keras callbacks of a scikeras estimator that is member `number` of an ensemble.

    Parameters
    ----------
    estimator : scikeras estimator
        Not changed. Functions among its callbacks are called; `{member}` in paths becomes the number.
    number : int
    copies : bool, default=True
        Whether callbacks that are given as instances are copied.

    Returns
    -------
    OwnCallbacks
    """
    made = made_callbacks(estimator, lambda value: _prepared(value, number, copies))
    filled: dict[int, keras.callbacks.Callback] = {}  # a callback for both `fit` and `predict` stays one
    return OwnCallbacks(
        *([filled.setdefault(id(one), _fill(one, number)) for one in keras.tree.flatten(part)] for part in made)
    )


def has_factory(value: Any) -> bool:
    """Whether there is a function that makes callbacks in the value of a parameter."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(map(has_factory, value))
    return _is_factory(value)


def _is_factory(value: Any) -> bool:
    return callable(value) and not isinstance(value, type | keras.callbacks.Callback)


def _prepared(value: Any, number: int, copies: bool) -> Any:
    """The value of a parameter with its functions replaced by what they make; classes are left to scikeras."""
    if isinstance(value, Mapping):
        return {name: _prepared(one, number, copies) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_prepared(one, number, copies) for one in value]
    if _is_factory(value):
        return _made(value, number)
    return copy.deepcopy(value) if copies and isinstance(value, keras.callbacks.Callback) else value


def _made(factory: Any, number: int) -> Any:
    made = _call(factory, number)
    made = list(made) if isinstance(made, tuple) else made
    for one in made if isinstance(made, list) else [made]:
        is_class = isinstance(one, type) and issubclass(one, keras.callbacks.Callback)
        if not is_class and not isinstance(one, keras.callbacks.Callback):
            raise TypeError(
                f"A function in `callbacks` must return a Keras callback or a list of them: {_name(factory)} returned "
                f"{made!r} for member {number}. Return [] where a member has none."
            )
    return made


def _call(factory: Any, number: int) -> Any:
    """Call with the number if there is a parameter without a default, or one named `member`; otherwise with nothing."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # functions that are not written in Python
        return factory()
    fixed = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    wanted = [p for p in parameters if p.kind not in fixed and (p.default is p.empty or p.name == "member")]
    if len(wanted) > 1:
        raise TypeError(
            f"A function in `callbacks` must take the number of the member or nothing: {_name(factory)} needs "
            f"{', '.join(p.name for p in wanted)}. Give the others defaults, or use functools.partial."
        )
    if not wanted:
        return factory()
    if wanted[0].kind == inspect.Parameter.POSITIONAL_ONLY:
        return factory(number)
    return factory(**{wanted[0].name: number})


def _name(factory: Any) -> str:
    return getattr(factory, "__qualname__", repr(factory))


def _fill(callback: keras.callbacks.Callback, number: int) -> keras.callbacks.Callback:
    """The callback with the number for `{member}` in its texts and paths; a copy where there is one to fill in."""
    filled = {}
    for name, value in vars(callback).items():
        if isinstance(value, str | PurePath) and _PLACEHOLDER.search(str(value)):
            filled[name] = type(value)(_PLACEHOLDER.sub(lambda match: format(number, match[1] or ""), str(value)))
    if not filled:
        return callback
    callback = copy.copy(callback)
    vars(callback).update(filled)
    return callback


def writes_files(callbacks: list[keras.callbacks.Callback]) -> bool:
    """Whether callbacks name what they write to."""
    return any(_is_path(vars(callback).get(name)) for callback in callbacks for name in _PATHS)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) and bool(os.fspath(value))


def check_paths(callbacks: Mapping[int, list[keras.callbacks.Callback]]) -> None:
    """Raise where two members would write to one path.

    Parameters
    ----------
    callbacks : dict of int to list of keras.callbacks.Callback
        Callbacks by the number of the member.
    """
    owners: dict[str, int] = {}
    for number, own in callbacks.items():
        for callback in own:
            for name in _PATHS:
                path = vars(callback).get(name)
                if not _is_path(path):
                    continue
                owner = owners.setdefault(os.path.abspath(path), number)
                if owner != number:
                    raise ValueError(
                        f"`callbacks` of several members must not write to the same path: members {owner} and {number} "
                        f"share {name}={os.fspath(path)!r} of {type(callback).__name__}. Put {{member}} into the path, "
                        "which becomes the number of the member, or give a function of that number that makes the "
                        "callback."
                    )


def picklable(callbacks: list[keras.callbacks.Callback]) -> list[keras.callbacks.Callback]:
    """Copies of callbacks without what no pickler takes, such as open files and locks."""
    copies = []
    for callback in callbacks:
        kept = {name: value for name, value in vars(callback).items() if name == "_model" or _is_picklable(value)}
        if len(kept) < len(vars(callback)):
            callback = copy.copy(callback)
            vars(callback).clear()
            vars(callback).update(kept)
        copies.append(callback)
    return copies


def _is_picklable(value: Any) -> bool:
    if isinstance(value, _PLAIN) or (isinstance(value, np.ndarray) and not value.dtype.hasobject):
        return True
    if isinstance(value, io.IOBase):  # cloudpickle would write what is in the file
        return False
    try:
        dumps_for_workers(value)
    except Exception:  # whatever an object of the user's raises: it cannot be pickled
        return False
    return True
