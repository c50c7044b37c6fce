"""Which estimators build the same network, decided before it is built, so that it is built only once."""

import inspect
from collections.abc import Hashable
from typing import Any

import keras
import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.multiclass import type_of_target

from skensemble._compat.scikeras import BaseWrapper, encode_target, has_own_encoders
from skensemble._compat.scikeras_building import given_model, initialize_like, own_build_function
from skensemble._members.hashables import freeze
from skensemble._members.network_inputs import check_whole_numbers
from skensemble._members.output_check import check_output

# Parameters that make no difference when networks are built and compiled.
_OF_FIT = {
    "batch_size",
    "callbacks",
    "class_weight",
    "engine",
    "epochs",
    "random_state",
    "shuffle",
    "validation_batch_size",
    "validation_split",
    "verbose",
    "warm_start",
}
_OF_FIT_PREFIXES = ("callbacks__", "fit__", "predict__")


def network_keys(estimator: BaseWrapper, X: Any, y: np.ndarray) -> tuple[Hashable | None, Hashable | None]:
    """Two keys: equal where estimators build the same network, and where it is the same except for its optimizer.

    The user's functions and objects count as the same where `signature` takes them for the same, so that nothing that
    might build another network is equal. None where that cannot be decided.

    Parameters
    ----------
    estimator : scikeras estimator
        A clone, not initialized.
    X, y : ndarray
        The data to initialize it with.
    """
    is_known = isinstance(X, np.ndarray) and given_model(estimator) is None and not has_own_encoders(estimator)
    if not is_known or any(isinstance(value, keras.Layer) for value in vars(estimator).values()):
        return None, None
    own = {name: value for name, value in vars(estimator).items() if name != "_initialize_callbacks"}
    if not _sees_parameters(estimator):
        own = {
            name: value for name, value in own.items() if name not in _OF_FIT and not name.startswith(_OF_FIT_PREFIXES)
        }
    labels = tuple(np.unique(y).tolist()) if is_classifier(estimator) else None
    data = X.shape, X.dtype.str, y.shape, y.dtype.str, type_of_target(y), labels
    builder = {name: value for name, value in own.items() if name.partition("__")[0] != "optimizer"}
    kind = type(estimator), data
    try:
        return (*kind, freeze(own)), (*kind, freeze(builder))
    except Exception:  # whatever an object raises that the function reads
        return None, None


def _sees_parameters(estimator: BaseWrapper) -> bool:
    """Whether the function that builds the network is given all parameters, or how it takes them is unknown."""
    build = estimator.build_fn if estimator.model is None else estimator.model
    if build is None:
        return own_build_function(estimator) is not None
    parameters = inspect.signature(build).parameters.values()
    return any(one.name in ("params", "compile_kwargs") or one.kind is one.VAR_KEYWORD for one in parameters)


def take_over(estimator: BaseWrapper, initialized: BaseWrapper, X: np.ndarray, y: np.ndarray) -> None:
    """Initialize an estimator like another one with the same key, from its model."""
    initialize_like(estimator, initialized)
    check_whole_numbers(estimator.model_, X)
    check_output(estimator, encode_target(estimator, y))
