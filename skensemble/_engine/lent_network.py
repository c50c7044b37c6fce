"""Single networks in a search: trained on a model that they share with others, and built when they are first used."""

import random
from typing import Any

import keras
import numpy as np
from sklearn.base import clone

from skensemble._compat.keras import build_optimizer
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.scikeras_building import given_model, rebuild_model
from skensemble._engine.backend import why_not_fusable
from skensemble._engine.initial_values import KEPT, StartingValues
from skensemble._engine.records import Variables
from skensemble._engine.variables import write_state
from skensemble._members.inside_ensemble import inside_ensemble, is_inside_ensemble

_LARGEST_SEED = 2**31 - 1


class LentNetwork:
    """What an estimator has in place of its own model: a model that it does not change, and its own values.

    Parameters
    ----------
    starting : StartingValues
        Of the network that is lent.
    seed : int

    Attributes
    ----------
    prototype : scikeras estimator
        Whose model is lent.
    model : keras.Model
        The model that is lent.
    values : Variables or None
        After the training.
    """

    def __init__(self, starting: StartingValues, seed: int) -> None:
        self._starting, self._own_seed = starting, seed
        self.prototype = starting.built.estimator
        self.model: keras.Model = self.prototype.model_
        self.values: Any = None

    @property
    def starting_values(self) -> Variables:
        """Values with which training begins."""
        return self._starting.of([self._own_seed])[0]

    def build(self, estimator: BaseWrapper) -> keras.Model:
        """A separate model for the estimator, as its training left it."""
        model = rebuild_model(estimator, self._own_seed)
        write_state(model, self.values)
        build_optimizer(model)
        model.history = keras.callbacks.History()
        model.history.set_model(model)
        model.history.history = {name: list(values) for name, values in estimator.history_.items()}
        model.history.epoch = list(range(len(estimator.history_["loss"])))
        return model


def lent_network(estimator: BaseWrapper, X: Any, y: Any) -> LentNetwork | None:
    """A network for an estimator that is to be fitted in a search; None where it needs its own.

    Parameters
    ----------
    estimator : scikeras estimator
    X, y : array-like
        The data to fit it to, not validated.
    """
    kept = KEPT.get()
    if kept is None or is_inside_ensemble() or not (isinstance(X, np.ndarray) and isinstance(y, np.ndarray)):
        return None
    seed = estimator.random_state
    reports = estimator.callbacks is not None or estimator.verbose
    if reports or estimator.warm_start or estimator.engine == "keras" or given_model(estimator) is not None:
        return None
    if X.dtype.kind not in "fiu" or isinstance(seed, np.random.RandomState):
        return None
    if seed is None:
        seed = random.randint(0, _LARGEST_SEED)  # as Keras does where it is given no seed
    with inside_ensemble():  # the estimator itself warns of y
        starting = kept.starting_values(clone(estimator), int(seed), X.astype(keras.config.floatx(), copy=False), y)
    if starting is None or why_not_fusable(starting.built.estimator.model_) is not None:
        return None
    return LentNetwork(starting, int(seed))
