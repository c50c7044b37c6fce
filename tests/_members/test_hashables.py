"""Values as hashables: what code reads is a part of it."""

import functools
import types

import keras
import numpy as np
import pytest

from skensemble import KerasRegressor
from skensemble._members.architecture import signature
from skensemble._members.hashables import freeze

FACTOR = 1.0
SETTINGS = types.SimpleNamespace(factor=1.0)
X, y = np.linspace(-1, 1, 16).reshape(8, 2).astype("float32"), np.arange(8.0)


def by_global(y_true, y_pred):
    return FACTOR * keras.losses.mean_squared_error(y_true, y_pred)


def by_another_function(y_true, y_pred):
    return by_global(y_true, y_pred)


def by_object(y_true, y_pred):
    return SETTINGS.factor * keras.losses.mean_squared_error(y_true, y_pred)


def times(x):
    return FACTOR * x


class Times(keras.layers.Layer):
    """A layer that reads a global."""

    def call(self, x):
        return FACTOR * x


class Held(keras.layers.Layer):
    """A layer with an attribute that no configuration tells."""

    factor = 1.0

    def call(self, x):
        return self.factor * x


class Step(keras.optimizers.SGD):
    """An optimizer that reads a global."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * FACTOR, variable, learning_rate)


def with_attribute():
    layer = Held()
    layer.factor = FACTOR
    return layer


READ = {
    "global of a loss": {"loss": by_global},
    "global of a function that a loss calls": {"loss": by_another_function},
    "object": {"loss": by_object},
    "partial": {"loss": functools.partial(by_global)},
    "Lambda": {"layer": lambda: keras.layers.Lambda(times)},
    "layer": {"layer": Times},
    "attribute of a layer": {"layer": with_attribute},
    "regularizer": {"regularizer": lambda w: FACTOR * keras.ops.sum(w * w)},
    "optimizer": {"optimizer": lambda: Step(0.01)},
}


def build(meta=None, *, loss="mse", layer=keras.layers.Identity, regularizer=None, optimizer=lambda: "sgd"):
    model = keras.Sequential([keras.Input((2,)), layer(), keras.layers.Dense(1, kernel_regularizer=regularizer)])
    model.compile(optimizer(), loss)
    return model


@pytest.mark.parametrize("read", READ)
def test_what_code_reads_tells_models_apart(read, monkeypatch):
    """Models share no program where a value has changed that their code reads, and share it as long as it has not."""
    before, same = signature(build(**READ[read])), signature(build(**READ[read]))
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    monkeypatch.setattr(SETTINGS, "factor", 3.0)
    assert before == same
    assert before != signature(build(**READ[read]))


@pytest.mark.parametrize("read", ["global of a loss", "attribute of a layer"])
def test_fits_follow_changed_values(read, monkeypatch):
    """A second fit is Keras' with the values of now, though the program of the first one is kept."""
    network = KerasRegressor(functools.partial(build, **READ[read]), epochs=1, random_state=0).fit(X, y)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    predicted = network.fit(X, y).predict(X)
    np.testing.assert_allclose(predicted, network.set_params(engine="keras").fit(X, y).predict(X), rtol=1e-5)


def test_functions_that_call_each_other():
    """Functions that lead back to themselves are told, and equal where they are defined anew."""

    def make(factor):
        def power(x, n):
            return factor * x * power(x, n - 1) if n else x

        return power

    assert freeze(make(2)) == freeze(make(2)) != freeze(make(3))


@pytest.mark.parametrize(("backend", "is_constant"), [("tensorflow", False), ("jax", True)])
def test_variables_that_code_reads(backend, is_constant, monkeypatch):
    """TensorFlow reads them in each step; JAX takes the values that they have when a program is traced."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    factor = keras.Variable(1.0)

    def loss(y_true, y_pred):
        return factor * keras.losses.mean_squared_error(y_true, y_pred)

    before = freeze(loss)
    factor.assign(2.0)
    assert (before != freeze(loss)) == is_constant
