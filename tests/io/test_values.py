"""Typed JSON: every type that parameters and learned attributes have comes back as it was."""

import functools
import json
from collections import defaultdict

import keras
import numpy as np
import pytest
from scipy import special, stats

from skensemble.io import PersistenceError
from skensemble.io._values.not_restored import NotRestored
from skensemble.io._values.typed_json import Decoder, Encoder

MASKED = np.ma.MaskedArray([1.0, 2.0, 3.0], [True, False, True], fill_value=9.0)


def round_trip(value):
    encoder = Encoder(lambda value: None)
    text = json.dumps(encoder.encode(value, "A value"), allow_nan=False)
    return Decoder(encoder.arrays, None).decode(json.loads(text))


VALUES = {
    "text": "ä\n",
    "large integer": -(10**30),
    "not a number": float("nan"),
    "infinite": [float("inf"), float("-inf")],
    "tuple in a list": [(1, (2.5, None)), True],
    "dict with other keys": {1: "a", (2, "b"): {"t": "v"}, None: []},
    "dict of lists": defaultdict(list, {"a": [1]}),
    "set": {(2,)},
    "bytes": b"\0\xff",
    "builtin": [int, float],
    "number type": np.float32,
    "dtype": np.dtype("<M8[ns]"),
    "function of Keras": keras.losses.mean_squared_error,
    "class of Keras": keras.optimizers.Adam,
}
# They do not say which module they are from.
NOT_TO_BE_IMPORTED = [str.upper, special.expit]
ARRAYS = {
    "numbers": np.arange(6, dtype=">i4").reshape(2, 3),
    "scalar": np.float32(0.1),
    "truth": np.bool_(True),
    "text": np.array([["a", "bc"]]),
    "text of bytes": np.array([b"a"]),
    "objects": np.array([None, 1, "a", (1,)], dtype=object),
    "days": np.array(["2020-01-01", "NaT"], "datetime64[D]"),
    "durations": np.array([1, 2], "timedelta64[s]"),
    "a day": np.datetime64("2020-01-01"),
    "no dimensions": np.array(3),
    "empty": np.zeros((0, 3)),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name):
    """Equal, and of the same type."""
    value, again = VALUES[name], round_trip(VALUES[name])
    assert type(again) is type(value)
    assert repr(again) == repr(value)


@pytest.mark.parametrize("value", NOT_TO_BE_IMPORTED)
def test_functions_that_cannot_be_imported(value):
    """What no import path leads to is an error that says so."""
    with pytest.raises(PersistenceError, match=f"{value.__name__} cannot be imported by its name"):
        round_trip(value)


def test_functions_of_numpy():
    """A function of NumPy is written as its path, and left out where that is not trusted."""
    assert round_trip(np.exp) == NotRestored("numpy.exp")


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    """Equal, in their shape and type (numbers in the machine's order of bytes)."""
    value, again = ARRAYS[name], round_trip(ARRAYS[name])
    assert type(again) is type(value)
    assert again.dtype == value.dtype.newbyteorder("=")
    np.testing.assert_array_equal(again, value)


def test_masked_arrays():
    """What is hidden, and what stands for it, come back."""
    again = round_trip(MASKED)
    np.testing.assert_array_equal(again.mask, MASKED.mask)
    np.testing.assert_array_equal(again.data, MASKED.data)
    assert again.fill_value == MASKED.fill_value


def test_random_states():
    """A generator goes on where it was."""
    state = np.random.RandomState(0)
    state.normal(size=3)  # leaves a number for the next call
    again = round_trip(state)
    np.testing.assert_array_equal(again.normal(size=5), state.normal(size=5))


def test_partial():
    """The function and its arguments."""
    again = round_trip(functools.partial(keras.losses.huber, delta=2.0))
    assert (again.func, again.args, again.keywords) == (keras.losses.huber, (), {"delta": 2.0})


@pytest.mark.parametrize("distribution", [stats.loguniform(1e-3, 1e-1), stats.randint(low=1, high=5), stats.norm()])
def test_distributions(distribution):
    """What searches draw from comes back, with its parameters."""
    again = round_trip(distribution)
    assert type(again.dist) is type(distribution.dist)
    np.testing.assert_array_equal(again.rvs(9, random_state=0), distribution.rvs(9, random_state=0))


def test_keras_objects():
    """Objects of Keras are made again from their configuration."""
    again = round_trip(keras.losses.Huber(delta=3.0))
    assert again.get_config() == keras.losses.Huber(delta=3.0).get_config()


def test_early_stopping():
    """A callback of Keras is made again from its parameters, also where it has turned one around."""
    again = round_trip(keras.callbacks.EarlyStopping("val_loss", min_delta=0.1, patience=3))
    assert (again.monitor, abs(again.min_delta), again.patience) == ("val_loss", 0.1, 3)
