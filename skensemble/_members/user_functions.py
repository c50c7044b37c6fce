"""Functions and classes typed into a script or notebook, which exist more than once.

Worker processes return copies of them (cloudpickle stores the code itself), and running a cell again defines them anew.
"""

import functools
import pickle
import sys
import types
from typing import Any

import keras
from joblib import wrap_non_picklable_objects
from sklearn.base import BaseEstimator

from skensemble._members.stable_description import describe


def by_name(value: Any) -> Any:
    """A value whose functions are replaced by those that their names lead to now, if these have the same code.

    pickle stores a function's name and refuses a function that its name does not lead to.

    Parameters
    ----------
    value : object
        Lists, tuples, dicts, partials and Keras callbacks are looked into, and copied where something in them changes.

    Returns
    -------
    object
    """
    return _replaced(value, _found_by_name, in_place=False)


def put_functions_back(estimator: BaseEstimator, original: Any) -> None:
    """Give an estimator that a worker process returned the functions of the one that was sent there.

    Parameters
    ----------
    estimator : estimator
        Changed in place.
    original : estimator
    """
    known: dict[int, Any] = {}

    def remember(function: Any) -> Any:
        known.setdefault(_key(function), set()).add(function)
        return function

    _replaced(original, remember, in_place=True)
    only = {key: functions.pop() for key, functions in known.items() if len(functions) == 1}
    _replaced(estimator, lambda function: only.get(_key(function), function), in_place=True)


def _key(function: Any) -> Any:
    return function.__module__, function.__qualname__, function.__code__


def _replaced(value: Any, find: Any, in_place: Any) -> Any:
    """A value with each function in it replaced by `find(function)`; estimators are changed `in_place`, or not."""
    if isinstance(value, types.FunctionType):
        return find(value)
    if type(value) in (list, tuple):
        items = [_replaced(item, find, in_place) for item in value]
        return type(value)(items) if _differ(items, value) else value
    if type(value) is dict:
        items = [_replaced(item, find, in_place) for item in value.values()]
        return dict(zip(value, items, strict=True)) if _differ(items, value.values()) else value
    if type(value) is functools.partial:
        parts = value.func, value.args, value.keywords
        func, args, keywords = items = [_replaced(part, find, in_place) for part in parts]
        return functools.partial(func, *args, **keywords) if _differ(items, parts) else value
    if isinstance(value, keras.callbacks.Callback) or (in_place and isinstance(value, BaseEstimator)):
        return _with_replaced_attributes(value, find, in_place)
    return value


def _with_replaced_attributes(value: Any, find: Any, in_place: Any) -> Any:
    attributes = _replaced(vars(value), find, in_place)
    if attributes is vars(value):
        return value
    if not in_place:
        kind: Any = type(value)
        value, original = kind.__new__(kind), value
        vars(value).update(vars(original))
    vars(value).update(attributes)
    return value


def _differ(items: Any, others: Any) -> bool:
    return any(item is not other for item, other in zip(items, others, strict=True))


def _found_by_name(function: Any) -> Any:
    parts = function.__qualname__.split(".")
    found = functools.reduce(
        lambda owner, name: getattr(owner, name, None), parts, sys.modules.get(function.__module__)
    )
    return found if isinstance(found, types.FunctionType) and describe(function) == describe(found) else function


class Registered:
    """What a script or notebook registered with Keras, for worker processes, which do not run it.

    Unpickling it registers the same objects there. As the first argument of what workers call, it comes before the
    arguments that Keras looks up.
    """

    def __init__(self) -> None:
        objects = keras.saving.get_custom_objects()
        typed = {name: value for name, value in objects.items() if _is_typed(value)}
        self._objects = {name: value for name, value in typed.items() if _can_travel(value)}

    def __reduce__(self) -> Any:
        return _register, (self._objects,)


def _register(objects: Any) -> Any:
    for registered_name, value in objects.items():
        package, _, name = registered_name.rpartition(">")
        keras.saving.register_keras_serializable(package, name)(value)
    return Registered()


def _is_typed(value: Any) -> bool:
    """Whether cloudpickle stores the code of a function or class, since it cannot be imported."""
    return getattr(value, "__module__", None) == "__main__" or "<locals>" in getattr(value, "__qualname__", "")


def _can_travel(value: Any) -> Any:
    try:
        pickle.dumps(wrap_non_picklable_objects([value]))  # by cloudpickle, wherever joblib has it from
    except Exception:  # whatever is in reach of the code; the fit may not need it
        return False
    return True
