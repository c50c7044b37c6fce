"""Members on several devices of JAX train as on one. Each test is a process of its own: JAX finds devices once."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("Keras does not run on JAX here: see `make test-jax`", allow_module_level=True)

PREAMBLE = """
import jax
import keras
import numpy as np
from keras import layers
from program_cases import OPTIMIZERS, check_against_keras, convolutional, dense, make_data, make_members

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.all_backends import limits
from skensemble._engine.backend import get_program
from skensemble._engine.jax import cost_model
from skensemble._engine.records import Data, ValidationData

assert jax.local_device_count() == 4
limits.MIN_SHARED_VALUES = 0
keras.utils.set_random_seed(0)
X, y = make_data()
"""
SCRIPTS = {
    "even and uneven numbers": """
for n_members in (4, 3, 5):
    build = dense([layers.BatchNormalization, lambda: layers.Dropout(0.3)])
    members = make_members(build, n_members, OPTIMIZERS["Adam"])
    rows_v = np.arange(3 * n_members).reshape(n_members, 3)
    weight = np.random.default_rng(1).uniform(0, 2, (n_members, len(X))).astype("float32")
    _, state, _ = check_against_keras(
        members, X, y, tolerance=1e-5, sample_weight=weight, validation=ValidationData(Data(X, y), rows_v, 2)
    )
    if n_members == 4:
        assert {len(v.sharding.device_set) for v in state.variables.trainable} == {4}
""",
    "other numbers of rows": """
check_against_keras(make_members(dense(), 5, OPTIMIZERS["schedule"]), X, y, tolerance=1e-5, n_rows=(22, 16, 9, 5, 21))
""",
    "rows on the host": """
members = make_members(dense(), 3, OPTIMIZERS["Adam"])
limits.RESIDENT_BYTES = 10
check_against_keras(members, X, y, tolerance=1e-5, validation=ValidationData(Data(X, y), np.arange(9).reshape(3, 3), 2))
""",
    "convolutions": """
X, y = make_data(shape=(6, 6, 1))
check_against_keras(make_members(convolutional, 3), X, y, tolerance=1e-5)
""",
    "an ensemble, and the devices that the user chooses": """
def fitted():
    member = KerasClassifier(hidden_layer_sizes=(5,), epochs=3, callbacks=[keras.callbacks.EarlyStopping(patience=1)],
                             validation_split=0.2)
    return KerasAveragingClassifier(member, 5, engine="fused", random_state=0).fit(X, y)

assert len(cost_model.local_devices()) == 4
on_all = fitted()
second = jax.devices()[1]
with jax.default_device(second):
    assert cost_model.local_devices() == [second]
    on_one = fitted()
np.testing.assert_allclose(on_all.predict_proba(X), on_one.predict_proba(X), rtol=1e-5)
""",
}

#: The others are tried in `make test-jax ARGS="-m slow"`.
FIRST = "even and uneven numbers"


@pytest.mark.parametrize("name", [FIRST, *(pytest.param(name, marks=pytest.mark.slow) for name in [*SCRIPTS][1:])])
def test_four_devices(name):
    """Members are shared out to all devices, uneven numbers too, with the result of Keras' own fit."""
    tests = Path(__file__).parents[2]
    paths = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    completed = subprocess.run(
        [sys.executable, "-c", PREAMBLE + SCRIPTS[name]], capture_output=True, text=True, env=environment
    )
    assert completed.returncode == 0, completed.stderr
