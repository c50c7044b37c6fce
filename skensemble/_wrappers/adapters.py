"""What counts as a member: networks in wrappers of other packages become estimators of this one; others stay as given.

Training, saving and exporting rely on what `KerasClassifier` and `KerasRegressor` have: `model` and the arguments of
`Model.compile` and `Model.fit` as parameters, a seed, encoders of labels, and, once fitted, the network as `model_`.
Only this file knows which wrapper the user gave.
"""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

from skensemble._compat.keras import output_shape
from skensemble._compat.scikeras_building import as_fitted
from skensemble._members.encoders import is_categorical_crossentropy
from skensemble._members.spec import is_frozen
from skensemble.wrappers import KerasClassifier, KerasRegressor

#: Arguments of `Model.fit` for which members have parameters with the same meaning.
_FIT_PARAMETERS = {
    "batch_size",
    "callbacks",
    "epochs",
    "shuffle",
    "validation_batch_size",
    "validation_split",
    "verbose",
}
_WRAPPERS = keras.wrappers.SKLearnClassifier | keras.wrappers.SKLearnRegressor
# Keras 3.8 to 3.15: the wrappers' `__sklearn_clone__` forgets it.
_FORGOTTEN = "fit_kwargs"


def as_member(given: Any) -> Any:
    """What the user gave as a member, with Keras' wrappers converted.

    Parameters
    ----------
    given : object
        An estimator, a pipeline that ends in one, a FrozenEstimator of one, or a list of these.

    Returns
    -------
    object
        `given` itself where it has no Keras wrapper in it; it is not changed.
    """
    if isinstance(given, list):
        return [as_member(one) for one in given]
    if is_frozen(given):
        taken = _fitted(given.estimator) if isinstance(given.estimator, _WRAPPERS) else as_member(given.estimator)
        return given if taken is given.estimator else FrozenEstimator(taken)
    if isinstance(given, Pipeline) and given.steps and _holds_wrapper(given.steps[-1][1]):
        taken = copy.copy(given)
        taken.steps = [*given.steps[:-1], (given.steps[-1][0], as_member(given.steps[-1][1]))]
        return taken
    return _taken_over(given) if isinstance(given, _WRAPPERS) else given


def _holds_wrapper(step: Any) -> bool:
    return isinstance(step, _WRAPPERS | Pipeline | FrozenEstimator)


def _taken_over(wrapper: Any) -> BaseEstimator:
    """A member that builds and trains the network of a wrapper of Keras, not fitted."""
    arguments = {"epochs": 1, **(wrapper.fit_kwargs or {})}  # Keras' own default
    parameters = {name if name in _FIT_PARAMETERS else f"fit__{name}": value for name, value in arguments.items()}
    if isinstance(wrapper.model, keras.Model):
        parameters |= {"model": wrapper.model, "reinitialize": True}
    else:
        weighted = {"class_weight": arguments["class_weight"]} if "class_weight" in arguments else {}
        given = wrapper.model_kwargs or {}
        parameters["model"] = functools.partial(build_from_shapes, wrapper.model, given, **weighted)
    if isinstance(wrapper, keras.wrappers.SKLearnRegressor):
        return KerasRegressor(warm_start=wrapper.warm_start, **parameters)
    return KerasClassifier(warm_start=wrapper.warm_start, loss="categorical_crossentropy", **parameters)


def _fitted(wrapper: Any) -> BaseEstimator:
    """The fitted network of a wrapper of Keras as a fitted member; a wrapper that is not fitted stays as it is."""
    if not hasattr(wrapper, "model_"):
        return wrapper
    member, row_shape = _taken_over(wrapper), (wrapper.n_features_in_,)
    if hasattr(wrapper, "feature_names_in_"):
        member.feature_names_in_ = wrapper.feature_names_in_
    if isinstance(member, KerasClassifier):
        member.classes_ = wrapper.classes_
        if not is_categorical_crossentropy(wrapper.model_.loss):  # that it was trained with
            member.loss = None
        return as_fitted(member, wrapper.model_, row_shape, wrapper.classes_, encoded=np.eye(len(wrapper.classes_)))
    n_targets = output_shape(wrapper.model_)[-1]
    return as_fitted(member, wrapper.model_, row_shape, np.zeros(2) if n_targets == 1 else np.zeros((2, n_targets)))


def build_from_shapes(
    build: Callable[..., keras.Model],
    arguments: Mapping[str, Any],
    meta: Mapping[str, Any],
    class_weight: Mapping[int, float] | None = None,
) -> Any:
    """Call a function that builds a network for a wrapper of Keras.

    Parameters
    ----------
    build : callable
        `build(X, y, **arguments)` returns a compiled Keras model. It sees only shapes and types of X and y (for labels,
        of their one-hot form), since the networks of members are built again where the rows are not available.
    arguments : dict
    meta : dict
        As in scikeras.
    class_weight : dict, default=None
        That of `fit_kwargs`, whose keys are positions of classes in Keras, and labels in members.
    """
    n_classes = meta.get("n_classes_")
    if class_weight and n_classes is not None and not np.array_equal(meta["classes_"], np.arange(n_classes)):
        raise ValueError(
            "The keys of `class_weight` in the `fit_kwargs` of a wrapper of Keras are positions of classes, and those "
            f"of a member are labels: these differ for the classes {np.asarray(meta['classes_']).tolist()}. Give the "
            "function that builds the network to skensemble's KerasClassifier(class_weight={label: weight}), or let y "
            "be 0, 1, 2, ..."
        )
    y_shape = (meta["X_shape_"][0], meta["n_outputs_"] if n_classes is None else n_classes)
    X = ShapeOnly(meta["X_shape_"], meta["X_dtype_"], "X")
    model = build(X=X, y=ShapeOnly(y_shape, np.dtype(keras.config.floatx()), "y"), **arguments)
    if not isinstance(model, keras.Model) or not model.compiled:
        raise ValueError(
            f"The function that a wrapper of Keras has as `model` must return a compiled Keras model: got {model!r}."
        )
    loss = model.loss
    by_name = isinstance(loss, str | keras.losses.Loss)
    if n_classes is not None and by_name and not is_categorical_crossentropy(loss):
        raise ValueError(
            "The network in a SKLearnClassifier gets labels in one-hot form, and as a member of an ensemble it must be "
            f"compiled with 'categorical_crossentropy': got the loss {loss!r}. Change the loss, or give the function "
            "that builds it to skensemble's KerasClassifier."
        )
    return model


class ShapeOnly:
    """Represents X or y where a network is built: its shape and type are known, its values are not.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype
    name : str
        Its name in messages.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, name: str) -> None:
        self.shape, self.dtype, self.ndim = tuple(shape), np.dtype(dtype), len(shape)
        self.size = int(np.prod(shape))
        self._name = name

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> "ShapeOnly":
        if not isinstance(key, int):
            self._refuse()
        return ShapeOnly(self.shape[1:], self.dtype, self._name)

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse()

    def __iter__(self) -> Any:
        self._refuse()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    def _refuse(self) -> None:
        raise TypeError(
            f"A function that builds the networks of members sees the shape of {self._name}, not its values, since "
            "networks are built again where the rows are not available. Let it use only shapes and arguments: prepare "
            "layers that learn from data beforehand, or in a pipeline."
        )


def keep_fit_arguments(ensemble: BaseEstimator, cloned: BaseEstimator) -> BaseEstimator:
    """Give the wrappers of Keras in a clone the `fit_kwargs` that their own cloning forgets."""
    given = {name: value for name, value in ensemble.get_params().items() if isinstance(value, _WRAPPERS)}
    copies = cloned.get_params() if given else {}
    for name, wrapper in given.items():
        setattr(copies[name], _FORGOTTEN, copy.deepcopy(getattr(wrapper, _FORGOTTEN)))
    return cloned
