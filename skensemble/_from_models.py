"""Networks that were trained elsewhere, Keras models and files, as fitted members."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.frozen import FrozenEstimator

from skensemble import io
from skensemble._base.combining import check_combining_parameters, learn_combination
from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.independent import warn_of_equal
from skensemble._base.reweight import Reweighted
from skensemble._compat.keras import copy_architecture, copy_values, output_shape
from skensemble._compat.scikeras import BaseWrapper, as_fitted
from skensemble._compat.seeds import seeded
from skensemble._compat.sklearn import tags_of
from skensemble._engine.fitted import FittedMembers
from skensemble._members.architecture import why_not_from_configuration
from skensemble._members.checks import check_kind, check_member
from skensemble._members.encoders import is_categorical_crossentropy
from skensemble._members.loaded_anew import LoadedAnew, without_model
from skensemble._members.other_estimators import known_labels, last_step, unnamed_columns
from skensemble._members.output_check import takes_indicators
from skensemble._members.spec import is_frozen, unwrapped
from skensemble._numeric.combination import normalize_weights
from skensemble._wrappers.adapters import as_member
from skensemble.io._not_restored import UNNAMED, NotRestored
from skensemble.wrappers import KerasClassifier, KerasRegressor

_KERAS_FILE, _VARIABLES_FILE = ".keras", ".weights.h5"
_OLD_FILES = (".h5", ".hdf5")


class LoadedAnewClassifier(LoadedAnew, KerasClassifier):
    """`KerasClassifier` whose trained network stays in its file."""


class LoadedAnewRegressor(LoadedAnew, KerasRegressor):
    """`KerasRegressor` whose trained network stays in its file."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """How models are read, as given to `from_models`.

    Attributes
    ----------
    classifier : bool
    classes : array-like of shape (n_classes,) or None
        In the order of the outputs; None where members know the labels, for several labels per row, and for regressors.
    build, custom_objects, trusted, row_shape, lazy
        See `KerasAveragingClassifier.from_models`.
    """

    classifier: bool
    classes: Any = None
    build: Callable[[], keras.Model] | None = None
    custom_objects: Mapping[str, Any] | None = None
    trusted: Sequence[str] | None = None
    row_shape: Sequence[int] | None = None
    lazy: bool = False

    def __post_init__(self) -> None:
        if self.build is not None and (not callable(self.build) or isinstance(self.build, keras.Layer)):
            raise TypeError(
                f"`build` must be a function without arguments that returns a Keras model: got {self.build!r}. Give a "
                "model itself among the models."
            )


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


@dataclasses.dataclass(frozen=True)
class NetworkFile:
    """A file with a trained network.

    Attributes
    ----------
    path : str
    label : str
        Its name in messages.
    reading : Reading
    """

    path: str
    label: str
    reading: Reading

    @property
    def is_of_keras(self) -> bool:
        """Whether Keras wrote it; raises for kinds of files that are not read."""
        if not os.path.isfile(self.path):
            what = "a directory" if os.path.isdir(self.path) else "nothing there"
            raise FileNotFoundError(
                f"{self.label} must be a file: there is {what} at {os.path.abspath(self.path)}. Give the files in a "
                "directory one by one, as with sorted(pathlib.Path(directory).glob('*.keras'))."
            )
        if self.path.endswith(_OLD_FILES) and not self.path.endswith(_VARIABLES_FILE):
            raise ValueError(
                f"{self.label} must be a file of `Model.save` that ends in {_KERAS_FILE!r}, of `Model.save_weights` "
                f"that ends in {_VARIABLES_FILE!r}, or of `skensemble.io.dump`. Loading a model in Keras' old format "
                "can run code from the file. If you trust it, load it with keras.saving.load_model, and give the model."
            )
        return self.path.endswith((_KERAS_FILE, _VARIABLES_FILE))

    def __call__(self) -> keras.Model:
        """The network in the file."""
        if not self.is_of_keras:
            return self.estimator().model_
        try:
            with seeded(0):  # initial values that are replaced are drawn
                return self._read()
        except Exception as error:  # whatever a layer raises
            raise ValueError(
                f"{self.label} cannot be read: {error} Give layers and functions of your own as `custom_objects`, by "
                "their names. What Keras does not load in its safe mode, load yourself, if you trust it, and give "
                "the model."
            ) from error

    def _read(self) -> keras.Model:
        custom_objects = dict(self.reading.custom_objects or {})
        if self.path.endswith(_KERAS_FILE):
            return keras.saving.load_model(self.path, custom_objects=custom_objects, compile=False, safe_mode=True)
        if self.reading.build is None:
            raise ValueError("it holds only variables. Give a function that builds the network as `build`.")
        model = self.reading.build()
        if not isinstance(model, keras.Model) or not model.built:
            raise ValueError(f"`build` must return a Keras model that begins with keras.Input: got {model!r}.")
        model.load_weights(self.path)
        return model

    def estimator(self) -> Any:
        """The estimator in a file of `skensemble.io`."""
        try:
            return io.load(self.path, trusted=self.reading.trusted, custom_objects=self.reading.custom_objects)
        except io.UntrustedTypesFoundError:
            raise
        except io.PersistenceError as error:
            raise type(error)(f"{self.label} cannot be read: {error}") from error


class TrainedModels(NamedTuple):
    """What `from_models` makes an ensemble of.

    Attributes
    ----------
    members : list of TrainedNetwork
    row_shape : tuple of int
        Of the rows of X that all take.
    feature_names : ndarray of str of shape (n_features,) or None
        None where no member knows them.
    y : ndarray
        A minimal y, from which an ensemble can learn what `fit` learns from y.
    """

    members: list[TrainedNetwork]
    row_shape: tuple[int, ...]
    feature_names: np.ndarray | None
    y: np.ndarray

    @property
    def estimators(self) -> list[FrozenEstimator]:
        """The members, frozen."""
        return [member.estimator for member in self.members]

    def describe_data_to(self, ensemble: BaseKerasEnsemble) -> None:
        """Let an ensemble learn what `fit` learns about the data."""
        if is_classifier(ensemble):
            ensemble._validate_classes(self.y)
        ensemble._row_shape, ensemble.n_features_in_ = self.row_shape, self.row_shape[0]
        if self.feature_names is not None:
            ensemble.feature_names_in_ = self.feature_names
        ensemble.engine_, ensemble.engine_reason_ = "none", "no network was trained"

    def become_members_of(self, ensemble: Reweighted) -> None:
        """Let an ensemble of independent runs learn what `fit` learns from its members, without data."""
        self.describe_data_to(ensemble)
        ensemble._check_parameters()
        if isinstance(ensemble.weights, str):
            raise ValueError(
                f"`weights={ensemble.weights!r}` needs rows to select members on. Leave it out, and call "
                f"reweight({ensemble.weights!r}, X=X, y=y) afterwards."
            )
        weights = normalize_weights(ensemble.weights, len(self.members))
        check_combining_parameters(ensemble, weights, len(self.members))
        ensemble.estimators_, ensemble.weights_ = FittedMembers(self.estimators), weights
        learn_combination(ensemble)
        warn_of_equal(ensemble)

    def weights(self, given: Any) -> Any:
        """The parameter `weights`: as given, otherwise by the weights of members in the ensembles they come from."""
        shares = [float(member.share) for member in self.members]
        return shares if given is None and len(set(shares)) > 1 else given


def read_models(models: Sequence[tuple[str, Any]], reading: Reading, *, apart: bool) -> TrainedModels:
    """Models that the user gave as fitted members, checked one by one and against each other.

    Parameters
    ----------
    models : list of (str, object)
        The name of each in messages, and the model.
    reading : Reading
    apart : bool
        Whether an ensemble is replaced by its members.
    """
    members = [member for label, model in models for member in read_members(model, label, reading, apart=apart)]
    row_shape, feature_names = _common_rows(members)
    return TrainedModels(members, row_shape, feature_names, _target_like(members, reading))


def labelled(models: Any) -> list[tuple[str, Any]]:
    """Models in a list, each with its name in messages.

    Raises
    ------
    TypeError, ValueError
        Where `models` is not a list, or is empty.
    """
    if isinstance(models, str | os.PathLike | keras.Model | BaseEstimator | Mapping):
        raise TypeError(f"`models` must be a list: got {models!r}. For one model, pass [{models!r}].")
    models = list(models)
    if not models:
        raise ValueError("`models` must not be empty: give Keras models, paths of files, or fitted estimators.")
    return [(f"models[{i}]", model) for i, model in enumerate(models)]


def read_members(model: Any, label: str, reading: Reading, *, apart: bool) -> Iterator[TrainedNetwork]:
    """What one of the models that the user gave is as members; checks their kind, outputs and classes.

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
        builds = reading.build if file.path.endswith(_VARIABLES_FILE) else None
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
            units = (output_shape(model) or (None, 1))[1:] or (1,)
            y = np.arange(2 * units[-1], dtype=float).reshape(2, units[-1])
            return as_fitted(KerasRegressor(builder), model, shape, y[:, 0] if units[-1] == 1 else y)
        estimator = KerasClassifier(builder, loss=loss)
        if reading.classes is not None:
            estimator.classes_ = np.asarray(reading.classes)
            encoded = np.eye(len(estimator.classes_)) if takes_indicators(getattr(model, "loss", None)) else None
            return as_fitted(estimator, model, shape, estimator.classes_, encoded=encoded)
        return as_fitted(estimator, model, shape, _indicators(model))
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


def _indicators(model: keras.Model) -> np.ndarray:
    """Rows of y with no label and with all labels, for a network that predicts several per row."""
    shape = output_shape(model)
    if shape is None or len(shape) < 2 or (shape[-1] or 0) < 2:
        raise ValueError(
            "Without `classes`, each output is a label of its own, and a row may have several of them: got the "
            f"output shape {shape}. Give the labels as `classes`, in the order of the outputs."
        )
    return np.stack([np.zeros(shape[-1], dtype=int), np.ones(shape[-1], dtype=int)])


def _target_like(members: Sequence[TrainedNetwork], reading: Reading) -> np.ndarray:
    """The fewest labels or targets from which an ensemble of members learns what it learns of y.

    Raises
    ------
    ValueError
        Where members do not predict the same labels, or as many columns.
    """
    counts = [_count_columns(unwrapped(member.estimator), reading) for member in members]
    for member, count in zip(members, counts, strict=True):
        if count != counts[0]:
            raise ValueError(
                f"Models must predict as many columns of y: {members[0].label} predicts {counts[0]}, {member.label} "
                f"predicts {count}."
            )
    if reading.classifier and counts[0] == 1:
        return _common_classes(members, reading)
    if reading.classifier:
        if reading.classes is not None:
            raise ValueError(
                f"`classes` are for one label per row: {members[0].label} predicts {counts[0]} labels per row. Leave "
                "`classes` out."
            )
        _check_binary_columns(members)
        return np.stack([np.zeros(counts[0], dtype=int), np.ones(counts[0], dtype=int)])
    return np.zeros((2, counts[0])) if counts[0] > 1 else np.zeros(2)


def _common_classes(members: Sequence[TrainedNetwork], reading: Reading) -> np.ndarray:
    """The classes as given, otherwise those that members know."""
    if reading.classes is None:
        return np.unique(np.concatenate([unwrapped(member.estimator).classes_ for member in members]))
    given = np.asarray(reading.classes)
    if given.ndim != 1 or len(np.unique(given)) < len(given):
        raise ValueError(f"`classes` must be a list of different labels: got {reading.classes!r}.")
    for member in members:
        known = known_labels(unwrapped(member.estimator), np.sort(given))
        if not np.isin(known, given).all():
            raise ValueError(
                f"`classes` must have every class that a model knows: {member.label} knows {known.tolist()}, got "
                f"{given.tolist()}."
            )
    return given


def _check_binary_columns(members: Sequence[TrainedNetwork]) -> None:
    """Raise where a member chooses among several classes in each column."""
    for member in members:
        of_columns = getattr(last_step(unwrapped(member.estimator))[1], "classes_", None)
        for classes in of_columns if isinstance(of_columns, list) else []:
            if not np.isin(classes, [0, 1]).all():
                raise ValueError(
                    f"Several labels per row must be 0 or 1 each: {member.label} predicts a column of "
                    f"{np.asarray(classes).tolist()}. Make an ensemble for each column."
                )


def _count_columns(fitted: Any, reading: Reading) -> int:
    """How many labels or targets a fitted estimator predicts for each row."""
    _, fitted = last_step(fitted)  # which takes numbers, and knows more than a pipeline
    if reading.classifier:
        if hasattr(fitted, "_multilabel"):
            return len(fitted.classes_) if fitted._multilabel else 1
        if isinstance(fitted, BaseWrapper):
            return len(fitted.classes_) if fitted.target_type_ == "multilabel-indicator" else 1
    elif isinstance(fitted, BaseWrapper):
        return fitted.n_outputs_
    tags = tags_of(fitted)
    if not tags.target_tags.multi_output and not (tags.classifier_tags and tags.classifier_tags.multi_label):
        return 1
    shape = (1, *_row_shape_of(fitted))
    with unnamed_columns():
        return int(np.size(fitted.predict(np.zeros(shape, dtype=keras.config.floatx()))))


def _row_shape_of(fitted: Any) -> tuple[int, ...]:
    """Shape of the rows that a fitted estimator takes."""
    if isinstance(fitted, BaseWrapper):
        return tuple(fitted.X_shape_[1:])
    return tuple(getattr(fitted, "_row_shape", None) or (fitted.n_features_in_,))


def _common_rows(members: Sequence[TrainedNetwork]) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Shape of the rows that all members take, and the names of the columns where a member knows them.

    Raises
    ------
    ValueError
        Where members disagree.
    """
    shapes = [_row_shape_of(unwrapped(member.estimator)) for member in members]
    names = [getattr(unwrapped(member.estimator), "feature_names_in_", None) for member in members]
    named = next((i for i, name in enumerate(names) if name is not None), None)
    for i, member in enumerate(members):
        if shapes[i] != shapes[0]:
            raise ValueError(
                f"Models must take rows of one shape: {members[0].label} takes {shapes[0]}, {member.label} takes "
                f"{shapes[i]}."
            )
        if names[i] is not None and names[i].tolist() != names[named].tolist():
            raise ValueError(
                f"Models must take the same columns: {members[named].label} takes {names[named].tolist()}, "
                f"{member.label} takes {names[i].tolist()}."
            )
    return shapes[0], None if named is None else names[named]
