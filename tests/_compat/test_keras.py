import keras
import pytest

from skensemble._compat.keras import compile_arguments
from skensemble._compat.keras_copies import copy_architecture


def compiled(**arguments):
    """A compiled network."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", **arguments)
    return model


@pytest.mark.parametrize("arguments", [{}, {"run_eagerly": True}])
def test_whether_to_compile_by_xla_is_left_to_keras(arguments):
    """Keras notes what it chose, which depends on the backend and the device."""
    assert compile_arguments(compiled(**arguments))["jit_compile"] == "auto"


def test_whether_to_compile_by_xla_is_chosen():
    """Another choice than Keras' stays."""
    chosen = not compiled().jit_compile
    assert compile_arguments(compiled(jit_compile=chosen))["jit_compile"] is chosen


class Layered(keras.Model):
    """A network of the user's own, whose configuration has another meaning of "layers" than Keras'."""

    def __init__(self, layers, **arguments):
        inputs = keras.Input((4,))
        outputs = inputs
        for units in layers:
            outputs = keras.layers.Dense(units)(outputs)
        super().__init__(inputs, outputs, **arguments)
        self.units = layers

    def get_config(self):
        """The arguments."""
        return {"layers": list(self.units), "name": self.name}


def test_configurations_of_the_users_own():
    """A copy of a network is made by its own configuration, whatever that holds."""
    copied = copy_architecture(Layered([3, 2]))
    assert [variable.shape for variable in copied.variables] == [(4, 3), (3,), (3, 2), (2,)]


def test_frozen_networks_are_copied_frozen():
    """Inside of a wrapper and of networks, too: Keras forgets it of a Sequential network."""
    frozen = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    frozen.trainable = False
    inputs = keras.Input((2, 4))
    model = keras.Model(inputs, keras.layers.TimeDistributed(keras.Sequential([frozen]))(inputs))
    (copied,) = copy_architecture(model).layers[1].layer.layers
    assert not copied.trainable
    assert not copied.layers[0].trainable
