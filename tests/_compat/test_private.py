"""Later versions of other packages, which lack private names that skensemble uses."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Each case runs in a process that is forked from one that has imported the packages and run nothing.
CASES = """
import importlib, os, sys, traceback, types
import keras, numpy as np, scikeras.wrappers, sklearn.ensemble, tensorflow

import_module = importlib.import_module
X = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
y = (X[:, 0] > 0).astype(int)

def train_without_private_names(of):
    def import_without_names(name, package=None):
        module = import_module(name, package)
        asks = sys._getframe(1).f_globals["__name__"] == "skensemble._compat.private"
        lacks = asks and sys._getframe(1).f_code.co_name == "private" and name.startswith(of)
        return types.SimpleNamespace() if lacks else module

    importlib.import_module = import_without_names
    import skensemble
    for name in skensemble.__all__:
        getattr(skensemble, name)
    print(fit(skensemble).predict_proba(X).tobytes().hex())

def train_without_the_fused_program():
    import skensemble
    sys.modules["keras.src.optimizers.base_optimizer"] = None  # importing it raises ImportError
    ensemble = fit(skensemble)
    assert ensemble.predict_proba(X).shape == (20, 2)
    print(ensemble.engine_, ensemble.engine_reason_)
    try:
        ensemble.set_params(engine="fused").fit(X, y)
    except skensemble.exceptions.NotFusableError as error:
        print(error)

def fit(skensemble):
    member = skensemble.KerasClassifier(hidden_layer_sizes=(), epochs=1)
    return skensemble.KerasAveragingClassifier(member, 3, random_state=0).fit(X, y)

assert "skensemble" not in sys.modules
for case in sys.argv[2:]:
    if os.fork() == 0:
        sys.stdout = sys.stderr = open(f"{sys.argv[1]}/{case}", "w")
        try:
            train_without_the_fused_program() if case == "fused program" else train_without_private_names(case)
        except BaseException:
            traceback.print_exc()
        sys.stdout.close()
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What each case prints, errors among it, by the package whose private names are missing."""
    folder = tmp_path_factory.mktemp("cases")
    names = ("keras.", "none of all", "sklearn", "scikeras", "fused program")
    subprocess.run([sys.executable, "-c", CASES, str(folder), *names], cwd=ROOT, check=True)
    return {name: (folder / name).read_text() for name in names}


@pytest.mark.slow
def test_keras_without_private_names_trains(printed):
    """With a Keras that lacks the private names of `_compat`, members train as before."""
    assert len(bytes.fromhex(printed["none of all"])) == 20 * 2 * 4
    assert printed["keras."] == printed["none of all"]


@pytest.mark.slow
@pytest.mark.parametrize("package", ["sklearn", "scikeras"])
def test_packages_without_private_names_are_refused_in_words(printed, package):
    """With a scikit-learn or scikeras that lacks private names, skensemble imports, and `fit` says what is missing."""
    assert f"ImportError: skensemble needs {package}." in printed[package]
    assert f"Install an earlier version of {package}" in printed[package]


@pytest.mark.slow
def test_keras_that_the_fused_program_does_not_know(printed):
    """With a Keras that lacks what the fused program needs, Keras' own fit trains; `engine="fused"` says why not."""
    by_keras, refused = printed["fused program"].splitlines()
    assert by_keras.startswith("keras ")
    assert all("the fused program does not know Keras" in line for line in (by_keras, refused))
    assert refused.startswith("engine='fused' is not possible")
