"""The fused engine beside Keras' own fit, which runs eagerly: tracing a graph takes longer than so few steps."""

import numpy as np
import scikeras.wrappers
from sklearn.base import clone

from skensemble import KerasAveragingClassifier, KerasAveragingRegressor
from skensemble._engine.variables import read_state

# Differences of rounding after a few steps.
TRAINED_FLOAT32 = {"rtol": 5e-4, "atol": 5e-5}


def ensemble_of(member, **params):
    """Two copies of `member`, trained by the fused engine, not fitted."""
    classifies = isinstance(member, scikeras.wrappers.KerasClassifier)
    kind = KerasAveragingClassifier if classifies else KerasAveragingRegressor
    return kind(member, **{"n_estimators": 2, "engine": "fused", "random_state": 0, **params})


def fit_with_keras(ensemble, X, y, sample_weight=None):
    """A copy of a fused ensemble, trained by Keras' own fit."""
    reference = clone(ensemble).set_params(engine="keras", estimator__run_eagerly=True)
    return reference.fit(X, y, sample_weight=sample_weight)


def assert_same_members(fused, keras, X, rounding=TRAINED_FLOAT32):
    """Histories, variables of models and optimizers, and predictions are those of Keras to rounding."""
    assert fused.engine_ == "fused"
    assert keras.engine_ == "keras"
    np.testing.assert_allclose(fused.predict_members(X), keras.predict_members(X), **rounding)
    for member, expected in zip(fused.estimators_, keras.estimators_, strict=True):
        assert_same_network(member, expected, rounding)


def assert_same_network(ours, keras, rounding=TRAINED_FLOAT32):
    """History and variables of a trained network, those of the optimizer included, are Keras' to rounding."""
    assert list(ours.history_) == list(keras.history_)
    for name, values in keras.history_.items():
        np.testing.assert_allclose(ours.history_[name], values, err_msg=name, **rounding)
    for part, expected_part in zip(read_state(ours.model_), read_state(keras.model_), strict=True):
        for value, expected_value in zip(part, expected_part, strict=True):
            np.testing.assert_allclose(value, expected_value, **rounding)
