import keras
import numpy as np
import pytest
import tensorflow as tf
from scikeras.wrappers import KerasClassifier as PlainClassifier

from skensemble import KerasAveragingClassifier, KerasClassifier

# 60 rows in batches of one size: without a trace for the last, smaller one.
SETTINGS = {"epochs": 2, "batch_size": 20, "random_state": 0, "verbose": 0}


def build(meta):
    """A small network with dropout, whose first layer is frozen."""
    layers = [keras.layers.Dense(3), keras.layers.Dropout(0.2), keras.layers.Dense(3, activation="softmax")]
    layers[0].trainable = False
    return keras.Sequential([keras.Input((4,)), *layers])


class Thaw(keras.callbacks.Callback):
    """Trains all layers from the beginning."""

    def on_train_begin(self, logs=None):
        """Thaw the frozen one."""
        for layer in self.model.layers:
            layer.trainable = True


class Look(keras.callbacks.Callback):
    """A user's own callback that is called before the first step."""

    def on_epoch_begin(self, epoch, logs=None):
        """Look at the optimizer, which Keras has not built in the first epoch."""
        self.built = [*getattr(self, "built", []), self.model.optimizer.built]


class TrainsLast(keras.Sequential):
    """A model that trains its last layer only."""

    def train_step(self, data):
        """One step of plain gradient descent, which the optimizer builds for these variables."""
        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(x, y, self(x, training=True))
        trained = self.layers[-1].trainable_variables
        self.optimizer.apply(tape.gradient(loss, trained), trained)
        return {"loss": loss}


@pytest.mark.parametrize(
    ("estimator", "in_ensemble"), [(KerasClassifier, False), (KerasClassifier, True), (PlainClassifier, True)]
)
def test_step_is_traced_once(blobs, estimator, in_ensemble):
    """In Keras' own fit of a network TensorFlow traces the step of Adam, and so the loss, once."""
    calls = []

    def own_loss(y_true, y_pred):
        calls.append(y_pred)
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

    member = estimator(build, loss=own_loss, optimizer="adam", **SETTINGS)
    if in_ensemble:
        KerasAveragingClassifier(member, n_estimators=1, engine="keras").fit(*blobs)
    else:
        member.set_params(engine="keras").fit(*blobs)
    assert len(calls) == 1


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adafactor", "Nadam", "Muon", "ScheduleFreeAdamW", "averages"])
def test_result_is_that_of_keras(blobs, optimizer):
    """Values of the network and its optimizer are those that they get where Keras builds it in its first step."""
    if optimizer == "averages":
        made = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True)
    elif hasattr(keras.optimizers, optimizer):
        made = getattr(keras.optimizers, optimizer)()
    else:
        pytest.skip(f"This version of Keras has no {optimizer}.")
    member = KerasClassifier(build, engine="keras", loss="sparse_categorical_crossentropy", optimizer=made, **SETTINGS)
    look = Look()
    ours, of_keras = (member.set_params(callbacks=callbacks).fit(*blobs).model_ for callbacks in ([], [look]))
    assert look.built == [False, True]
    for found, expected in ((ours, of_keras), (ours.optimizer, of_keras.optimizer)):
        for value, theirs in zip(found.variables, expected.variables, strict=True):
            np.testing.assert_array_equal(value, theirs)


def test_callbacks_choose_what_is_trained(blobs):
    """What a callback thaws before the first step is trained, as in Keras."""
    member = KerasClassifier(build, engine="keras", callbacks=[Thaw()], **SETTINGS).fit(*blobs)
    assert len(member.model_.optimizer.variables) == 2 + 2 * 4  # Adam's two for each kernel and bias


def test_models_choose_what_is_trained(blobs):
    """A model with a step of its own builds the optimizer for the variables that it trains, as in Keras."""

    def build_own(meta):
        return TrainsLast([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(3, activation="softmax")])

    member = KerasClassifier(build_own, engine="keras", **SETTINGS).fit(*blobs)
    assert len(member.model_.optimizer.variables) == 2 + 2 * 2
