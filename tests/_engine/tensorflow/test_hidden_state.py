"""Layers, losses and metrics that change variables while they compute: carried as Keras carries them, or refused."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers
from program_cases import N_ROWS, check_against_keras, dense, fit_fused, make_data, make_members, row_orders

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.backend import get_program
from skensemble._engine.records import Data, ValidationData
from skensemble._engine.tensorflow import cost_model
from skensemble._engine.variables import read_state
from skensemble.exceptions import NotFusableError


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    keras.utils.set_random_seed(0)
    monkeypatch.setattr(cost_model, "FORCE_XLA", None)


class Drift(layers.Layer):
    """Changes a trainable variable whenever it is called, in evaluation too, and reads it before and after."""

    def build(self, input_shape):
        self.drift = self.add_weight(shape=(), initializer="ones", name="drift")
        self.built = True

    def call(self, x):
        before = x * self.drift
        self.drift.assign(0.5 * self.drift + 0.1)
        return before + x * self.drift


class AlwaysDropout(layers.Dropout):
    """Drops units in evaluation too, as Monte Carlo dropout does: evaluation moves the seeds on."""

    def call(self, inputs, training=None):
        return super().call(inputs, training=True)


def spectral(layer):
    """The layer, its kernel divided by its largest singular value in every training step."""
    return lambda: layers.SpectralNormalization(layer(), power_iterations=2)


CARRIED = {
    "spectral normalization": (
        [spectral(lambda: layers.Dense(5, activation="tanh", kernel_regularizer="l2"))],
        (4,),
        lambda: optimizers.SGD(0.1, clipnorm=1.0),
    ),
    "of convolutions": ([spectral(lambda: layers.Conv1D(3, 2)), layers.Flatten], (6, 2), optimizers.Adam),
    "read before and after": ([Drift], (4,), lambda: optimizers.AdamW(0.1)),
    "seeds": ([lambda: AlwaysDropout(0.5)], (4,), optimizers.Adam),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CARRIED)
def test_assignments_to_the_models_variables_are_carried(name):
    """What layers assign to variables, trainable or not, in training and evaluation, is what Keras' fit leaves."""
    hidden, shape, optimizer = CARRIED[name]
    X, y = make_data(shape=shape)
    rows = np.tile(np.arange(5, 17), (2, 1))
    # Keras' own predict, with which the predictions are compared, moves the variables on.
    predict = name not in ("read before and after", "seeds")
    members = make_members(dense(hidden, shape=shape), 2, optimizer)
    check_against_keras(members, X, y, validation=ValidationData(Data(X, y), rows, 5), predict=predict)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [optimizers.SGD, optimizers.Adam])
def test_assignments_to_embeddings(optimizer):
    """Sparse gradients count for the assigned embeddings."""
    X = np.random.default_rng(0).integers(0, 6, (N_ROWS, 4)).astype("int32")
    build = dense([spectral(lambda: layers.Embedding(6, 3)), layers.Flatten])
    check_against_keras(make_members(build, 2, lambda: optimizer(0.1)), X, make_data()[1])


class Counter(layers.Layer):
    """Counts its calls where Keras does not see it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = tf.Variable(0.0)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x


class HeldByAnotherObject(layers.Layer):
    """Reads a Keras variable, random in each model, that Keras does not find."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = types.SimpleNamespace(value=keras.Variable(np.random.default_rng().random(), name="hidden"))

    def call(self, x):
        return x * self.scale.value


class AssignsToAnotherObject(HeldByAnotherObject):
    """Changes it."""

    def call(self, x):
        self.scale.value.assign(self.scale.value + 1)
        return x


class Noise(layers.Layer):
    """Draws from TensorFlow's own generator."""

    def call(self, x):
        return x + tf.random.normal(tf.shape(x))


class CountingLoss(keras.losses.Loss):
    """Has a variable, which is no model's."""

    def __init__(self):
        super().__init__()
        self.calls = keras.Variable(0.0, name="calls")

    def call(self, y_true, y_pred):
        self.calls.assign(self.calls + 1)
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred) * self.calls


class CountingOptimizer(optimizers.SGD):
    """Has a variable that Keras does not find."""

    def build(self, variables):
        super().build(variables)
        self.mine = [types.SimpleNamespace(calls=keras.Variable(0.0, name="calls"))]

    def update_step(self, gradient, variable, learning_rate):
        self.mine[0].calls.assign(self.mine[0].calls + 1)
        super().update_step(gradient, variable, learning_rate)


REFUSED = {
    "tf.Variable": (Counter, {}, "layer 'counter.*' changes a TensorFlow variable or table"),
    "hidden, read": (HeldByAnotherObject, {}, "a layer reads the variable 'hidden.*', which is not among the model's"),
    "hidden, changed": (AssignsToAnotherObject, {}, "changes the variable 'hidden.*', which is not the model's"),
    "random": (Noise, {}, "layer 'noise.*' draws random numbers from a generator of TensorFlow"),
    "loss": (None, {"loss": CountingLoss()}, "a layer, loss or metric changes the variable 'calls.*'"),
    "optimizer": (None, {"optimizer": lambda: CountingOptimizer(0.1)}, "the optimizer CountingOptimizer changes a var"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_state_is_refused(name):
    """Variables that are in no list of the model are refused before a step is made, with the name."""
    layer, changes, message = REFUSED[name]
    members = make_members(dense(() if layer is None else [layer]), 2, **changes)
    with pytest.raises(NotFusableError, match=message):
        fit_fused(members, *make_data(), row_orders(1, 2))


@pytest.mark.parametrize("layer", [Counter, HeldByAnotherObject])
def test_prediction_refuses_other_state(layer):
    """A forward pass of all members at once is refused likewise: it would read one member's state."""
    members = make_members(dense([layer]), 2)
    with pytest.raises(NotFusableError):
        get_program(members[0], 2).forward.function(tf.float32, (4,))


def build_counting(meta):
    """A network that counts the calls of its first layer in a variable of the model."""
    return keras.Sequential([keras.Input((4,)), Drift(), layers.Dense(meta["n_classes_"], activation="softmax")])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_prediction_changes_nothing(engine, blobs):
    """Predicting twice gives the same twice, and leaves the variables of the members alone."""
    X, y = blobs
    member = KerasClassifier(build_counting, epochs=1, batch_size=-1)
    ensemble = KerasAveragingClassifier(member, n_estimators=2, engine=engine, random_state=0).fit(X, y)
    assert ensemble.engine_ == engine
    before = [value for one in ensemble.estimators_ for part in read_state(one.model_) for value in part]
    first = ensemble.predict_proba(X)
    np.testing.assert_array_equal(ensemble.predict_proba(X), first)
    after = [value for one in ensemble.estimators_ for part in read_state(one.model_) for value in part]
    for value, expected in zip(after, before, strict=True):
        np.testing.assert_array_equal(value, expected)


class CountsInInference(Counter):
    """Does in inference what cannot be fused, and not in training."""

    def call(self, x, training=False):
        return x if training else super().call(x)


def build_counting_in_inference(meta):
    return keras.Sequential(
        [keras.Input((4,)), CountsInInference(), layers.Dense(meta["n_classes_"], activation="softmax")]
    )


@pytest.mark.slow
def test_prediction_falls_back(blobs):
    """Members that were trained together, and cannot be predicted together, are predicted one after the other."""
    X, y = blobs
    member = KerasClassifier(build_counting_in_inference, epochs=1, batch_size=-1)
    ensemble = KerasAveragingClassifier(member, n_estimators=2, engine="fused", random_state=0).fit(X, y)
    expected = [one.predict_proba(X) for one in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_members(X), expected, rtol=1e-5, atol=1e-6)
