"""Fitted networks that stay in their files: each is loaded when it is used, so that only one is in memory at a time."""

import gc
from collections.abc import Callable
from typing import Any

import keras
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras_building import compiled, replace_model


class LoadedAnew:
    """A fitted network whose model is not kept; comes left of a scikeras estimator.

    `without_model` sets `_load`, a function that returns the model, and `_kind`, the class that the network has in
    memory.
    """

    _load: Callable[[], keras.Model]
    _kind: type

    initialized_ = True  # scikeras asks for the model

    @property
    def model_(self) -> keras.Model:
        """The trained network, read from its file whenever it is used."""
        gc.collect()  # models are circles of objects: the one before may still be in memory
        return self._load()

    def _fit(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError(
            "A network that is loaded whenever it is used cannot be trained. Load it with lazy=False to train it on."
        )

    def loaded(self) -> BaseEstimator:
        """The same as an ordinary fitted estimator, with the model in memory."""
        model = self.model_
        unfitted = self._kind(**self.get_params(deep=False))  # type: ignore[attr-defined]  # of the class on the right
        estimator = replace_model(self, unfitted, model, self.history_)  # type: ignore[attr-defined]
        for name in ("_load", "_kind"):
            delattr(estimator, name)
        return compiled(estimator)


def without_model(fitted: BaseEstimator, kind: type, load: Callable[[], keras.Model]) -> BaseEstimator:
    """A fitted estimator that leaves its model in the file.

    Parameters
    ----------
    fitted : fitted scikeras estimator
    kind : type
        A subclass of `LoadedAnew` and of the class of `fitted`.
    load : callable
        Returns the model.
    """
    unloaded = kind(**fitted.get_params(deep=False))
    vars(unloaded).update({name: value for name, value in vars(fitted).items() if name != "model_"})
    unloaded._load, unloaded._kind = load, type(fitted)
    return unloaded


def in_memory(fitted: Any) -> Any:
    """A fitted member with its model in memory; members other than `LoadedAnew` as they are."""
    return fitted.loaded() if isinstance(fitted, LoadedAnew) else fitted
