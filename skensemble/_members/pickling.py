"""What pickle could write, but not read again: networks with parts that Keras would not find by their names."""

import copy
import copyreg
import pickle
from collections.abc import Iterator
from typing import Any

import keras
from sklearn.frozen import FrozenEstimator

from skensemble._compat.keras_copies import model_config
from skensemble._compat.scikeras import BaseWrapper
from skensemble._members.architecture import why_not_from_configuration
from skensemble._members.user_functions import by_name

# Keras writes only their names, and looks them up when the pickle is loaded.
_BY_NAME = keras.Model | keras.Loss | keras.Metric | keras.Optimizer


class PickledByName:
    """Base of what holds the user's functions, which pickle stores as names; comes left of the other bases."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        new = copyreg.__newobj__  # type: ignore[attr-defined]  # not in the stubs
        return new, (type(self),), by_name(self.__getstate__())

    def __reduce__(self) -> Any:
        # skops.io asks here; pickle, copy and joblib ask above.
        if any(name.endswith("_") for name in vars(self)):
            raise TypeError(
                f"skops.io cannot save {type(self).__name__}, which has Keras networks in it. Use skensemble.io.dump, "
                "which also does without pickle, or joblib."
            )
        return super().__reduce__()


class CheckedPickling(PickledByName):
    """Base of what refuses to be pickled where it could not be loaded; copies within this process need no names."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        check_loadable(self.__getstate__())
        return super().__reduce_ex__(protocol)

    def __copy__(self) -> Any:
        copied = type(self).__new__(type(self))
        _set_state(copied, self.__getstate__())
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        memo[id(self)] = copied = type(self).__new__(type(self))
        _set_state(copied, copy.deepcopy(self.__getstate__(), memo))
        return copied


def _set_state(copied: Any, state: Any) -> None:
    if hasattr(copied, "__setstate__"):
        copied.__setstate__(state)
    else:
        vars(copied).update(state)


def check_loadable(value: Any) -> None:
    """Raise where pickle would write Keras objects that cannot be loaded.

    Parameters
    ----------
    value : object
        A Keras object or a scikeras estimator; lists, tuples and dicts are searched for them.

    Raises
    ------
    pickle.PicklingError
        Where a class or a function is not registered with Keras, or is a lambda.
    """
    if isinstance(value, FrozenEstimator):
        value = value.estimator
    if isinstance(value, BaseWrapper) and not isinstance(value, CheckedPickling):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            check_loadable(item)
    elif isinstance(value, _BY_NAME):
        is_model = isinstance(value, keras.Model)
        reason = why_not_from_configuration(value) if is_model else None
        if reason is not None:
            raise pickle.PicklingError(f"pickle could not load the model {value.name!r} again: {reason}.")
        config = model_config(value) if is_model else keras.saving.serialize_keras_object(value)
        for part in _objects(config):
            _check_found(part, f"the model {value.name!r}" if is_model else type(value).__name__)


def _objects(config: Any) -> Iterator[Any]:
    """Every dict in a config that Keras makes an object of."""
    if isinstance(config, dict):
        if "class_name" in config and "config" in config:
            yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from _objects(value)


def _check_found(part: Any, owner: Any) -> None:
    if part["class_name"] == "__lambda__":
        raise pickle.PicklingError(
            f"pickle could not load {owner} again: a lambda in it has no name. Use a function that is registered with "
            "@keras.saving.register_keras_serializable()."
        )
    if "module" not in part:  # a plain value
        return
    is_function = part["class_name"] == "function"
    name = part["config"] if is_function else part["registered_name"] or part["class_name"]
    if _is_of_keras(part, name, is_function):
        return
    # scikeras registers the classes of the models that it pickles, under such names, for this process only.
    for_now = name.startswith(">") or "<locals>" in name
    if for_now or keras.saving.get_registered_object(name) is None:
        raise pickle.PicklingError(
            f"pickle could not load {owner} again: Keras does not find {name.rpartition('>')[2]!r} by its name. "
            "Put @keras.saving.register_keras_serializable() above its definition, and build the model anew."
        )


def _is_of_keras(part: Any, name: str, is_function: Any) -> bool:
    if is_function and part["module"] == "builtins":
        return any(hasattr(module, name) for module in (keras.activations, keras.losses, keras.metrics))
    return part["module"] is not None and part["module"].partition(".")[0] == "keras"
