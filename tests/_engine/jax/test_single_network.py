"""One network by itself on JAX; `tests/_engine/test_single_network.py` passes there too and tries the rest."""

import keras
import numpy as np
import pytest
from comparison import TRAINED_FLOAT32
from sklearn.base import clone

from skensemble import KerasClassifier

if keras.backend.backend() != "jax":
    pytest.skip("Keras does not run on JAX here: see `make test-jax`", allow_module_level=True)


def test_rows_are_visited_as_by_keras():
    """Orders of rows are those that Keras draws under the seed, in a first fit and in one that goes on."""
    X = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    network = KerasClassifier(
        hidden_layer_sizes=(4,), dropout=0.4, epochs=2, batch_size=16, validation_split=0.2, random_state=0
    )
    ours, theirs = clone(network), clone(network).set_params(engine="keras", run_eagerly=True)
    for one in (ours, theirs):
        one.fit(X, y).partial_fit(X, y)
    assert (ours.engine_, theirs.engine_) == ("fused", "keras")
    for name, values in theirs.history_.items():
        np.testing.assert_allclose(ours.history_[name], values, err_msg=name, **TRAINED_FLOAT32)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), **TRAINED_FLOAT32)
