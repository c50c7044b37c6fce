"""Values of variables that were saved on another backend."""

import keras
import numpy as np
import pytest

from skensemble._engine.variables import write_state
from skensemble.io._errors import FormatError
from skensemble.io._objects.models import optimizer_values_for, values_for

STATE = "non_trainable/00000"


@pytest.fixture
def dropout():
    """A network of which the state of a `SeedGenerator` is the only variable."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])


@pytest.mark.parametrize("dtype", ["int64", "uint32"])
def test_states_of_random_numbers(dropout, dtype):
    """They are int64 on TensorFlow and uint32 on JAX; those of either are read."""
    write_state(dropout, values_for(dropout, {STATE: np.array([2**32 - 1, 3], dtype)}, "It"))
    np.testing.assert_array_equal(dropout.layers[0].seed_generator.state, [2**32 - 1, 3])


@pytest.mark.parametrize(
    "values", [np.array([2**63, 0], "uint64"), np.array([0.0, 1.0])], ids=["too large", "not whole"]
)
def test_numbers_that_a_variable_cannot_hold(dropout, values):
    """No backend keeps them there."""
    with pytest.raises(FormatError, match="It must hold the variables of its architecture, in their shapes and types"):
        values_for(dropout, {STATE: values}, "It")


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_numbers_of_steps(dtype):
    """An optimizer counts in int64 on TensorFlow and in int32 on JAX; counts of either are read."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd")
    one = {"optimizer/00000": np.array(5, dtype), "optimizer/00001": np.array(0.25, "float32")}
    count, rate = optimizer_values_for(model, one, "It")
    assert (count, count.dtype, rate) == (5, model.optimizer.iterations.numpy().dtype, 0.25)
    two = {name: np.stack([value, value + value.dtype.type(1)]) for name, value in one.items()}
    counts, rates = optimizer_values_for(model, two, "It", [(2,)])
    assert (counts.tolist(), counts.dtype, rates.tolist()) == ([5, 6], count.dtype, [0.25, 1.25])
