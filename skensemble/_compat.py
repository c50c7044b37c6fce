"""Every private name of scikit-learn, scikeras, Keras and TensorFlow, and every difference between their versions."""

import random
import threading
from contextlib import contextmanager

import numpy as np
from keras.src.backend.common import global_state  # Keras 3: no public way to reset the generator of `keras.random`
from scikeras.wrappers import BaseWrapper
from scikeras.wrappers import KerasClassifier as ScikerasClassifier
from scikeras.wrappers import KerasRegressor as ScikerasRegressor
from sklearn.base import _fit_context as fit_context  # scikit-learn 1.2 to 1.9: parameter validation around `fit`
from sklearn.utils._param_validation import (  # scikit-learn 1.2 to 1.9: the words of `_parameter_constraints`
    HasMethods,
    Interval,
    StrOptions,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight  # scikit-learn 0.22 to 1.9
from tensorflow.python.eager import context  # TensorFlow 2: the global seed can be set in public, not read

__all__ = [
    "BaseWrapper",
    "HasMethods",
    "Interval",
    "ScikerasClassifier",
    "ScikerasRegressor",
    "StrOptions",
    "check_sample_weight",
    "decode_classes",
    "decode_outputs",
    "encode_features",
    "fit_context",
    "initialize",
    "is_one_hot_target",
    "seeded",
    "without_own_seed",
]

# scikit-learn 1.6 reads this remnant of its old tags instead of `__sklearn_tags__`, although it can only raise: it
# calls its super's, which is gone. Without it, scikeras' estimators have the tags of scikit-learn 1.7 and later.
# TODO(scikit-learn>=1.7): drop it.
if "_more_tags" in vars(BaseWrapper):  # not a second time, where this module is imported again
    del BaseWrapper._more_tags

# Seeds are global to the process: builds and fits of two threads must not interleave.
_SEED_LOCK = threading.RLock()
_KERAS_GENERATOR = "global_seed_generator"  # keras.src.random.seed_generator.GLOBAL_SEED_GENERATOR


@contextmanager
def seeded(seed):
    """Seed Python, NumPy, Keras and TensorFlow, and leave all of them afterwards as they were.

    scikeras' own context leaves TensorFlow's op determinism switched on for the process, so that later fits without a
    seed raise, and lets threads overwrite each other's seeds.

    Parameters
    ----------
    seed : int or None
        With None, nothing is seeded.
    """
    if seed is None:
        yield
        return
    eager = context.context()
    with _SEED_LOCK:
        before = random.getstate(), np.random.get_state(), eager._seed, getattr(eager, "_rng", None)
        keras_generator = global_state.get_global_attribute(_KERAS_GENERATOR)
        random.seed(seed)
        np.random.seed(seed)
        eager._set_global_seed(seed)
        global_state.set_global_attribute(_KERAS_GENERATOR, None)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            eager._set_global_seed(before[2])
            eager._rng = before[3]
            global_state.set_global_attribute(_KERAS_GENERATOR, keras_generator)


@contextmanager
def without_own_seed(estimator):
    """Keep scikeras from seeding by itself while `estimator` is built or trained (see `seeded`)."""
    parameter, drawn = estimator.random_state, getattr(estimator, "_random_state", None)
    estimator.random_state = estimator._random_state = None
    try:
        yield
    finally:
        estimator.random_state, estimator._random_state = parameter, drawn


def initialize(estimator, X, y):
    """Build and compile the model of a scikeras estimator without training it, under the current seeds.

    `initialize` of scikeras 0.13 builds only; compiling waits for `fit`.
    """
    with without_own_seed(estimator):
        estimator.initialize(X, y)
    estimator._ensure_compiled_model()
    return estimator


def encode_features(estimator, X):
    """Features as the Keras model of a fitted scikeras estimator takes them."""
    return estimator.feature_encoder_.transform(X)


def decode_outputs(estimator, outputs):
    """Raw outputs of the model as predictions: probabilities (n_samples, n_classes) or values shaped like y.

    scikeras 0.13 squeezes the probabilities of a single row to one dimension; here they keep two.
    """
    if isinstance(estimator, ScikerasClassifier):
        proba = np.asarray(estimator.target_encoder_.inverse_transform(outputs, return_proba=True))
        return proba.reshape(len(outputs), -1)
    return np.asarray(estimator.target_encoder_.inverse_transform(outputs))


def decode_classes(estimator, proba):
    """Predicted labels, shaped like y, that a fitted scikeras classifier reads from probabilities."""
    return estimator.target_encoder_.inverse_transform(proba)


def is_one_hot_target(y):
    """Whether scikeras 0.13 reads an indicator matrix as one class per row (then decoded by the largest output)."""
    return y.ndim == 2 and y.min() == 0 and bool((y.sum(axis=1) == 1).all())
