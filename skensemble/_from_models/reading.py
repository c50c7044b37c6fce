"""Files with trained networks, of Keras and of `skensemble.io`, and how they are read."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from skensemble import io
from skensemble._compat.global_seeds import seeded

_KERAS_FILE, VARIABLES_FILE = ".keras", ".weights.h5"
_OLD_FILES = (".h5", ".hdf5")


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
                f"{self.label} must be a file: there is {what} at {self.path}. Give the files in a "
                "directory one by one, as with sorted(pathlib.Path(directory).glob('*.keras'))."
            )
        if self.path.endswith(_OLD_FILES) and not self.path.endswith(VARIABLES_FILE):
            raise ValueError(
                f"{self.label} must be a file of `Model.save` that ends in {_KERAS_FILE!r}, of `Model.save_weights` "
                f"that ends in {VARIABLES_FILE!r}, or of `skensemble.io.dump`. Loading a model in Keras' old format "
                "can run code from the file. If you trust it, load it with keras.saving.load_model, and give the model."
            )
        return self.path.endswith((_KERAS_FILE, VARIABLES_FILE))

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
