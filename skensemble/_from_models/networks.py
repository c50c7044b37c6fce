"""Keras models, files and fitted estimators as fitted members, one by one."""

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.reweight import Reweighted
from skensemble._compat.global_seeds import seeded
from skensemble._compat.keras import output_shape
from skensemble._compat.keras_copies import copy_architecture, copy_values
from skensemble._compat.scikeras_building import as_fitted
from skensemble._from_models.reading import VARIABLES_FILE, NetworkFile, Reading
from skensemble._members.architecture import why_not_from_configuration
from skensemble._members.encoders import is_categorical_crossentropy
from skensemble._members.lazy_networks import LoadedAnew, without_model
from skensemble._members.member_checks import check_kind, check_member
from skensemble._members.output_check import takes_indicators
from skensemble._members.spec import is_frozen, unwrapped
from skensemble._wrappers.adapters import as_member
from skensemble.io._values.not_restored import UNNAMED, NotRestored
from skensemble.wrappers import KerasClassifier, KerasRegressor


class LoadedAnewClassifier(LoadedAnew, KerasClassifier):
    """`KerasClassifier` whose trained network stays in its file."""


class LoadedAnewRegressor(LoadedAnew, KerasRegressor):
    """`KerasRegressor` whose trained network stays in its file."""


class TrainedNetwork(NamedTuple):
    """A fitted member.

    Attributes
    ----------
    estimator : FrozenEstimator
    share : float
        How much it counts: 1, or in an ensemble of n members n times its weight.
    label : str
        Its name in messages.
    """

    estimator: FrozenEstimator
    share: float
    label: str

    @property
    def fitted(self) -> Any:
        """The member, not frozen."""
        return unwrapped(self.estimator)


def read_members(model: Any, label: str, reading: Reading, *, apart: bool) -> Iterator[TrainedNetwork]:
    """Yield the members that a model of the user stands for, once their kind, outputs and classes are checked.

    Parameters
    ----------
    model : keras.Model, path or fitted estimator
    label : str
    reading : Reading
    apart : bool
        Whether an ensemble is replaced by its members.
    """
    if isinstance(model, str | os.PathLike):
        label = f"{label} ({os.fspath(model)!r})"
        fitted = _from_file(NetworkFile(os.path.abspath(model), label, reading))
    elif isinstance(model, keras.Model):
        fitted = _from_model(model, label, reading)
    else:
        fitted = unwrapped(as_member(model if is_frozen(model) else FrozenEstimator(model)))
    if isinstance(fitted, BaseKerasEnsemble) and apart:
        parts = _members_of(fitted, label)
    else:
        parts = [TrainedNetwork(FrozenEstimator(fitted), 1.0, label)]
    for part in parts:
        if apart:
            check_member(part.estimator, classifier=reading.classifier, name=part.label, pipelines=True)
        else:
            check_kind(part.estimator, classifier=reading.classifier, name=part.label)
        yield part


def _members_of(ensemble: BaseKerasEnsemble, label: str) -> list[TrainedNetwork]:
    """Fitted members of an ensemble; for Polyak averaging, the averaged network."""
    if isinstance(ensemble, Reweighted):
        n_members = len(ensemble.estimators_)
        return [
            TrainedNetwork(FrozenEstimator(unwrapped(member)), n_members * weight, f"member {i} of {label}")
            for i, (member, weight) in enumerate(zip(ensemble.estimators_, ensemble.weights_, strict=True))
        ]
    if hasattr(ensemble, "checkpoints_"):
        return [TrainedNetwork(FrozenEstimator(ensemble.estimator_), 1.0, label)]
    raise TypeError(
        f"{label} must be a network, or an ensemble whose members are averaged: got {type(ensemble).__name__}. Give it "
        "as a member of KerasVotingClassifier or KerasVotingRegressor, where an ensemble stands for itself."
    )


def _from_file(file: NetworkFile) -> Any:
    reading = file.reading
    if not file.is_of_keras:
        fitted = file.estimator()
        if reading.lazy and type(fitted) not in (KerasClassifier, KerasRegressor):
            raise ValueError(
                f"With `lazy=True`, each file must hold one network: {file.label} holds {type(fitted).__name__}. Save "
                "its members in files of their own, or set lazy=False."
            )
    else:
        builds = reading.build if file.path.endswith(VARIABLES_FILE) else None
        fitted = _fitted(file(), builds, os.path.basename(file.path), file.label, reading)
    if not reading.lazy:
        return fitted
    kind = LoadedAnewClassifier if isinstance(fitted, KerasClassifier) else LoadedAnewRegressor
    return without_model(fitted, kind, file)


def _from_model(model: keras.Model, label: str, reading: Reading) -> BaseEstimator:
    """A fitted estimator with a Keras model, which stays unchanged: a model that is not compiled is copied."""
    name, label = model.name, f"{label} ({model.name!r})"
    if not model.built:
        raise ValueError(f"{label} must be a trained model: it has no variables yet. Give it after its `fit`.")
    if not model.compiled:
        reason = why_not_from_configuration(model)
        if reason is not None:
            raise ValueError(f"{label} must be compiled, or a model that Keras can copy: {reason}. Call `compile`.")
        with seeded(0):
            copied = copy_architecture(model)
            copied.build(model.input_shape)
        copy_values(model, copied)
        model = copied
    return _fitted(model, None, name, label, reading)


def _fitted(
    model: keras.Model, build: Callable[[], keras.Model] | None, name: str, label: str, reading: Reading
) -> BaseEstimator:
    """A fitted estimator with a trained model.

    Parameters
    ----------
    model : keras.Model
    build : callable or None
        The function that built it; None where that is not known, so that it cannot be trained from the beginning.
    name, label : str
        The name of the model in messages: when its estimator is to be fitted, and now.
    reading : Reading
    """
    builder = NotRestored(f"{UNNAMED}that built {name!r}") if build is None else build
    loss = getattr(model, "loss", None)
    loss = loss if is_categorical_crossentropy(loss) else None  # labels are then one-hot
    try:
        shape = _row_shape(model, reading)
        if not reading.classifier:
            n_units = (1, *(output_shape(model) or ())[1:])[-1]
            y = np.arange(2.0 * n_units).reshape(2, n_units)
            return as_fitted(KerasRegressor(builder), model, shape, y[:, 0] if n_units == 1 else y)
        estimator = KerasClassifier(builder, loss=loss)
        if reading.classes is not None:
            estimator.classes_ = np.asarray(reading.classes)
            encoded = np.eye(len(estimator.classes_)) if takes_indicators(getattr(model, "loss", None)) else None
            return as_fitted(estimator, model, shape, estimator.classes_, encoded=encoded)
        return as_fitted(estimator, model, shape, indicators(_count_labels(model)))
    except ValueError as error:
        logits = "must be probabilities" in str(error)
        way_out = " Or give it as keras.Sequential([model, keras.layers.Softmax()])." if logits else ""
        raise ValueError(f"{label}: {error}{way_out}") from error


def _row_shape(model: keras.Model, reading: Reading) -> tuple[int, ...]:
    """Shape of a row of X."""
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) > 1:
        raise ValueError(
            f"X is one array, and the network has {len(inputs)} inputs. Give a network of one keras.Input, from which "
            "layers skensemble.InputColumns cut what the inputs of this one take."
        )
    own = tuple(inputs[0].shape[1:]) if inputs else None
    if reading.row_shape is None:
        if not own or None in own:
            raise ValueError(
                f"The network does not fix the shape of a row of X: it takes {own}. Give it as `row_shape`, a tuple."
            )
        return own
    given = tuple(int(size) for size in reading.row_shape)
    if own is not None and (len(own) != len(given) or any(a not in (None, b) for a, b in zip(own, given, strict=True))):
        raise ValueError(f"The network must take rows of the `row_shape` {given}: it takes {own}.")
    return given


def indicators(n_labels: int) -> np.ndarray:
    """Two rows of y: one with no label, and one with all of them."""
    return np.repeat([[0], [1]], n_labels, axis=1)


def _count_labels(model: keras.Model) -> int:
    """The number of labels of a network that predicts several per row."""
    shape = output_shape(model)
    if shape is None or len(shape) < 2 or (shape[-1] or 0) < 2:
        raise ValueError(
            "Without `classes`, each output is a label of its own, and a row may have several of them: got the "
            f"output shape {shape}. Give the labels as `classes`, in the order of the outputs."
        )
    return shape[-1]
