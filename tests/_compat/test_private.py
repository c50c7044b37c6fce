"""Later versions of other packages, which lack private names that skensemble uses."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WITHOUT_PRIVATE_NAMES = """
import importlib, sys, types
import numpy as np

import_module = importlib.import_module

def import_without_names(name, package=None):
    module = import_module(name, package)
    asks = sys._getframe(1).f_globals["__name__"] == "skensemble._compat.private"
    lacks = asks and sys._getframe(1).f_code.co_name == "private" and name.startswith(sys.argv[1])
    return types.SimpleNamespace() if lacks else module

importlib.import_module = import_without_names
import skensemble
for name in skensemble.__all__:
    getattr(skensemble, name)

X = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
member = skensemble.KerasClassifier(hidden_layer_sizes=(), epochs=1)
ensemble = skensemble.KerasAveragingClassifier(member, 3, random_state=0)
ensemble.fit(X, (X[:, 0] > 0).astype(int))
np.save(sys.argv[2], ensemble.predict_proba(X))
"""


def run_without(package, path):
    """Run the script above where all private names of `package` are missing."""
    arguments = [sys.executable, "-c", WITHOUT_PRIVATE_NAMES, package, str(path)]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.slow
def test_keras_without_private_names_trains(tmp_path):
    """With a Keras that lacks the private names of `_compat`, members train as before."""
    completed = [run_without(package, tmp_path / f"{package}.npy") for package in ("keras.", "none of all")]
    assert [one.returncode for one in completed] == [0, 0], completed[0].stderr
    without, reference = ((tmp_path / f"{name}.npy").read_bytes() for name in ("keras.", "none of all"))
    assert without == reference


@pytest.mark.slow
@pytest.mark.parametrize("package", ["sklearn", "scikeras"])
def test_packages_without_private_names_are_refused_in_words(package, tmp_path):
    """With a scikit-learn or scikeras that lacks private names, skensemble imports, and `fit` says what is missing."""
    completed = run_without(package, tmp_path / "proba.npy")
    assert f"ImportError: skensemble needs {package}." in completed.stderr
    assert f"Install an earlier version of {package}" in completed.stderr


WITHOUT_FUSED_PROGRAM = """
import sys
import keras
import numpy as np
import skensemble

sys.modules["keras.src.optimizers.base_optimizer"] = None  # importing it raises ImportError
X = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
member = skensemble.KerasClassifier(hidden_layer_sizes=(), epochs=1)
ensemble = skensemble.KerasAveragingClassifier(member, 3, random_state=0).fit(X, (X[:, 0] > 0).astype(int))
assert ensemble.predict_proba(X).shape == (20, 2)
print(ensemble.engine_, ensemble.engine_reason_)
try:
    ensemble.set_params(engine="fused").fit(X, (X[:, 0] > 0).astype(int))
except skensemble.exceptions.NotFusableError as error:
    print(error)
"""


@pytest.mark.slow
def test_keras_that_the_fused_program_does_not_know():
    """With a Keras that lacks what the fused program needs, Keras' own fit trains; `engine="fused"` says why not."""
    arguments = [sys.executable, "-c", WITHOUT_FUSED_PROGRAM]
    completed = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    assert completed.returncode == 0, completed.stderr
    by_keras, refused = completed.stdout.splitlines()
    assert by_keras.startswith("keras ")
    assert all("the fused program does not know Keras" in line for line in (by_keras, refused))
    assert refused.startswith("engine='fused' is not possible")
