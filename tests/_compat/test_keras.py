import keras
import pytest

from skensemble._compat.keras import compile_arguments


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
