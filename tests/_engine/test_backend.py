"""The choice of the fused program: JAX without TensorFlow, a backend without a program, unknown private names."""

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pytest
from backends import tensorflow_only
from keras.src.optimizers.base_optimizer import BaseOptimizer

import skensemble
from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble import _engine as engine_package
from skensemble._engine import backend
from skensemble._engine.all_backends import limits
from skensemble.exceptions import NotFusableError

PACKAGE = Path(skensemble.__file__).parent
FUSED = "skensemble._engine.tensorflow"
FUSED_ON_JAX = "skensemble._engine.jax"


def imported_by(path):
    """Names of the modules that a file imports, at its top or in a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_that_import(name):
    """Files outside of the fused program that import a module or something from it."""
    paths = {path.relative_to(PACKAGE).as_posix(): set(imported_by(path)) for path in PACKAGE.rglob("*.py")}
    return {
        path
        for path, modules in paths.items()
        if not path.startswith("_engine/tensorflow/") and any(f"{one}.".startswith(f"{name}.") for one in modules)
    }


def test_one_file_knows_the_fused_program():
    """TensorFlow is imported by the fused program and `_compat/tensorflow.py`, the program by `backend.py` alone."""
    assert files_that_import(FUSED) == {"_engine/backend.py"}
    assert files_that_import("tensorflow") == {"_compat/tensorflow.py"}
    others = {path for path in files_that_import(FUSED_ON_JAX) if not path.startswith("_engine/jax/")}
    assert others == {"_engine/backend.py"}
    assert all(path.startswith("_engine/jax/") for path in files_that_import("jax"))


WITHOUT_TENSORFLOW = """
import pickle, sys
sys.modules["tensorflow"] = None  # importing it raises ImportError

import keras
import numpy as np
import pytest
from scikeras.wrappers import KerasClassifier as PlainClassifier

import skensemble

for kind in ("KerasRegressor", "KerasAveragingClassifier", "SnapshotEnsembleRegressor", "PolyakWeightClassifier"):
    repr(getattr(skensemble, kind)())

X = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
y = (X[:, 0] > 0).astype(int)

def build(meta):
    layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, activation="sigmoid")])
    model.compile("adam", "binary_crossentropy")
    return model

member = PlainClassifier(build, epochs=2, verbose=0)
for engine, used in (("keras", "keras"), ("auto", "fused")):
    ensemble = skensemble.KerasAveragingClassifier(member, 2, engine=engine, random_state=0).fit(X, y)
    assert ensemble.engine_ == used
    # Keras' own predictions, by another way than ours.
    by_keras = np.mean([one.model_.predict_on_batch(X)[:, 0] for one in ensemble.estimators_], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X)[:, 1], by_keras, rtol=1e-5)
    again = skensemble.KerasAveragingClassifier(member, 2, engine=engine, random_state=0).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), ensemble.predict_proba(X))
loaded = pickle.loads(pickle.dumps(ensemble))
np.testing.assert_array_equal(loaded.predict_proba(X), ensemble.predict_proba(X))

own = skensemble.KerasClassifier(hidden_layer_sizes=(4,), epochs=2)
for ensemble in (
    skensemble.SnapshotEnsembleClassifier(own, 2, random_state=0),
    skensemble.PolyakWeightClassifier(member, n_checkpoints=2, random_state=0),
    skensemble.KerasVotingClassifier([("own", own), ("plain", member)], random_state=0),
    skensemble.StackedKerasClassifier([("own", own), ("plain", member)], cv=2, random_state=0),
    skensemble.KerasAveragingClassifier(own, 2, random_state=0, checkpoint_dir=sys.argv[1]),
):
    assert set(ensemble.fit(X, y).predict(X)) <= {0, 1}, ensemble

regressor = skensemble.KerasRegressor(hidden_layer_sizes=(4,), epochs=1)
assert np.isfinite(skensemble.KerasAveragingRegressor(regressor, 2, random_state=0).fit(X, X[:, 0]).predict(X)).all()
"""


@pytest.mark.slow
@pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed (the jax extra)")
def test_keras_on_jax_without_tensorflow(tmp_path):
    """Where Keras runs on JAX and TensorFlow cannot be imported, all ensembles train and predict."""
    arguments = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path)]
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    completed = subprocess.run(arguments, capture_output=True, text=True, cwd=PACKAGE.parent, env=environment)
    assert completed.returncode == 0, completed.stderr


def test_a_backend_without_a_program(monkeypatch):
    """Where Keras runs on another backend, the reason names it."""
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    backend._find_backend.cache_clear()
    try:
        assert backend.why_not_fusable(None) == "Keras runs on torch, for which there is no fused program"
        with pytest.raises(NotFusableError, match="Keras runs on torch"):
            backend.get_program(None, 2)
    finally:
        backend._find_backend.cache_clear()


@pytest.fixture
def unknown_keras(monkeypatch):
    """A Keras that lacks one of the private names that the fused program is made of."""
    backend._find_backend.cache_clear()
    monkeypatch.delattr(BaseOptimizer, "_apply_weight_decay")
    monkeypatch.delattr(engine_package, "tensorflow", raising=False)
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{FUSED}.")]:
        monkeypatch.delitem(sys.modules, name)
    yield
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{FUSED}.")]:
        del sys.modules[name]
    backend._find_backend.cache_clear()


@tensorflow_only("the name is one of the program on TensorFlow")
def test_unknown_keras(unknown_keras):
    """Where the fused program cannot be imported, "auto" trains with Keras and says why, and "fused" refuses."""
    X = np.random.default_rng(0).normal(size=(20, 2)).astype("float32")
    y = (X[:, 0] > 0).astype(int)
    model = KerasClassifier(epochs=1, random_state=0).initialize(X, y).model_
    reason = backend.why_not_fusable(model)
    assert "the fused program does not know Keras" in reason
    assert "_apply_weight_decay" in reason
    with pytest.raises(NotFusableError, match="does not know Keras"):
        backend.get_program(model, 2)
    ensemble = KerasAveragingClassifier(KerasClassifier(epochs=1), 2, random_state=0).fit(X, y)
    assert ensemble.engine_ == "keras"
    assert reason in ensemble.engine_reason_
    with pytest.raises(NotFusableError, match="does not know Keras"):
        ensemble.set_params(engine="fused").fit(X, y)


# Cores


def test_own_process_uses_all_cores(monkeypatch):
    """Only a worker is limited to the cores it was given."""
    cores = limits.CORES
    backend.use_share_of_cores()
    assert cores == limits.CORES
    for given, used in ((1, 1), (cores + 1, cores)):
        monkeypatch.setattr(limits, "CORES", cores)
        monkeypatch.setattr(backend, "worker_cores", lambda given=given: given)
        monkeypatch.setenv("NPROC", str(cores))  # what a worker on JAX is told
        backend.use_share_of_cores()
        assert used == limits.CORES
