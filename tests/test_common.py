"""What is true of every public estimator, tried once for each: seeds, what belongs to the user, failed fits, files."""

import copy
import inspect
import pickle
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest
import scikeras.wrappers
import scipy.sparse
import sklearn
import tensorflow as tf
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skensemble
from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasHeadClassifier,
    KerasHeadRegressor,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    PolyakWeightRegressor,
    SnapshotEnsembleClassifier,
    SnapshotEnsembleRegressor,
    StackedKerasClassifier,
    StackedKerasRegressor,
)
from skensemble._compat import global_seeds

# All networks are of one architecture with two outputs or one, so that most fits of a process share one program.
NETWORK = {"hidden_layer_sizes": (3,), "dropout": 0.2, "epochs": 3, "batch_size": 20}
CLASSIFIER, REGRESSOR = KerasClassifier(**NETWORK), KerasRegressor(**NETWORK)
CLASSIFIERS = [("network", CLASSIFIER), ("logistic", LogisticRegression())]
REGRESSORS = [("network", REGRESSOR), ("ridge", Ridge())]

ESTIMATORS = {
    type(estimator).__name__: estimator.set_params(random_state=0)
    for estimator in (
        KerasClassifier(**NETWORK),
        KerasRegressor(**NETWORK),
        KerasHeadClassifier(**NETWORK),
        KerasHeadRegressor(**NETWORK),
        KerasAveragingClassifier(CLASSIFIER, 2),
        KerasAveragingRegressor(REGRESSOR, 2),
        KerasVotingClassifier(CLASSIFIERS),
        KerasVotingRegressor(REGRESSORS),
        SnapshotEnsembleClassifier(CLASSIFIER, 2),
        SnapshotEnsembleRegressor(REGRESSOR, 2),
        PolyakWeightClassifier(CLASSIFIER, n_checkpoints=2),
        PolyakWeightRegressor(REGRESSOR, n_checkpoints=2),
        StackedKerasClassifier(CLASSIFIERS, cv=2),
        StackedKerasRegressor(REGRESSORS, cv=2),
    )
}
# The same where Keras trains; in few steps and eagerly, since tracing takes longer than these.
for prefix, name in (
    ("estimator", "KerasAveragingClassifier"),
    ("network", "KerasVotingClassifier"),
    ("estimator", "SnapshotEnsembleClassifier"),
    ("estimator", "PolyakWeightClassifier"),
    ("network", "StackedKerasClassifier"),
):
    eager = {"run_eagerly": True, "epochs": 2, "batch_size": 30}
    eager = {f"{prefix}__{key}": value for key, value in eager.items()}
    ESTIMATORS[f"{name}, by Keras"] = clone(ESTIMATORS[name]).set_params(**eager)

METHODS = ("predict", "predict_proba", "predict_members", "predict_uncertainty", "decision_function", "transform")
STAGES = ("staged_predict", "staged_predict_proba")

ON_TENSORFLOW = keras.backend.backend() == "tensorflow"

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def _make_data():
    X, y = make_blobs(n_samples=60, n_features=4, centers=2, cluster_std=4, random_state=0)
    X, targets = X.astype("float32"), X[:, 0].astype("float32")
    arrays = {"X": X, "labels": np.array(["a", "b"])[y], "targets": targets / targets.std()}
    for array in arrays.values():
        array.flags.writeable = False  # `fit` must not write to it
    return arrays


DATA = _make_data()
X = DATA["X"]


def unfitted(name, **params):
    """The estimator of that class, with its seed."""
    return clone(ESTIMATORS[name]).set_params(**params)


def fit(estimator):
    """Fit to labels or to targets."""
    return estimator.fit(X, DATA["labels" if is_classifier(estimator) else "targets"])


@cache
def fitted(name):
    """The fitted estimator of that class; tests do not change it."""
    return fit(unfitted(name))


def outputs(estimator, rows=X):
    """All that an estimator says of some rows: one array for each of its methods."""
    found = {}
    for method in METHODS:
        if hasattr(estimator, method):
            result = getattr(estimator, method)(rows)
            parts = result if isinstance(result, dict) else {"": result}
            found.update({f"{method} {part}": np.asarray(value) for part, value in parts.items()})
    for method in STAGES:
        if hasattr(estimator, method):
            found[method] = np.array(list(getattr(estimator, method)(rows)))
    return found


def assert_equal(estimator, other, rows=X):
    """Fail where two estimators differ in one bit of what they say."""
    ours, theirs = outputs(estimator, rows), outputs(other, rows)
    assert ours.keys() == theirs.keys()
    for method, value in ours.items():
        np.testing.assert_array_equal(value, theirs[method], err_msg=method)


def differ(estimator, other):
    """Whether two estimators differ by more than rounding."""
    method = "predict_proba" if is_classifier(estimator) else "predict"
    return not np.allclose(getattr(estimator, method)(X), getattr(other, method)(X), rtol=1e-3, atol=1e-4)


def networks(estimator):
    """Estimators of networks that are parameters of an estimator, or the estimator itself where it is one."""
    if hasattr(estimator, "model"):
        return [estimator]
    return [value for value in estimator.get_params().values() if isinstance(value, scikeras.wrappers.BaseWrapper)]


def set_in_network(estimator, **params):
    """Set parameters of the networks in an estimator."""
    for network in networks(estimator):
        network.set_params(**params)
    return estimator


def test_every_public_estimator_is_here():
    """Classes that come to be are missing here until they stand in the list above."""
    public = (getattr(skensemble, name) for name in skensemble.__all__)
    expected = {one.__name__ for one in public if isinstance(one, type) and issubclass(one, BaseEstimator)}
    assert {type(estimator).__name__ for estimator in ESTIMATORS.values()} == expected


@every_estimator
def test_both_engines_are_here(name):
    """Ensembles above are trained by the program, but for those that say otherwise."""
    if hasattr(fitted(name), "engine_"):
        assert fitted(name).engine_ == ("keras" if name.endswith("by Keras") else "fused")


# Seeds


@every_estimator
def test_seed_repeats_the_fit(name):
    """A clone is unfitted; an integer seed trains it to the same, bit for bit, and another seed to another result."""
    copied = clone(fitted(name))
    with pytest.raises(NotFittedError):
        copied.predict(X)
    assert_equal(fit(copied), fitted(name))
    assert differ(fit(copied.set_params(random_state=1)), fitted(name))


@every_estimator
def test_fits_without_a_seed_differ(name):
    """Without a seed, each fit gives another result."""
    estimator = unfitted(name, random_state=None)
    first = copy.deepcopy(fit(estimator))
    # Several: of networks whose ReLUs are all dead a stack predicts the mean, whatever their seeds.
    assert any(differ(first, fit(estimator)) for _ in range(4))


@every_estimator
def test_random_state_is_advanced(name):
    """A RandomState is advanced by each fit, and equal ones give equal results."""
    rng = np.random.RandomState(3)
    first, second = (fit(unfitted(name).set_params(random_state=rng)) for _ in range(2))
    assert_equal(fit(unfitted(name, random_state=np.random.RandomState(3))), first)
    assert differ(second, first)


# What belongs to the user


def draws_without_seed():
    """Tell whether TensorFlow draws without a seed, which it refuses once operations must be deterministic."""
    tf.random.set_seed(None)
    try:
        tf.random.uniform((1,))
    except RuntimeError:
        return False
    return True


def draws():
    """One number of each global generator."""
    numbers = [random.random(), np.random.random(), float(keras.random.uniform(()))]
    return [*numbers, float(tf.random.uniform(()))] if ON_TENSORFLOW else numbers


def settings():
    """Global settings that a fit might change."""
    of_all = keras.config.floatx(), sklearn.get_config()
    return (*of_all, tf.config.functions_run_eagerly(), draws_without_seed()) if ON_TENSORFLOW else of_all


def seed_generators():
    """Seed all global generators."""
    global_seeds.set_keras_global(
        global_seeds._KERAS_GENERATOR, None
    )  # in Keras 3.8 it is seeded when it is made, and only then
    keras.utils.set_random_seed(5)


def build_network(meta):
    """Not compiled."""
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(2, activation="softmax")])


PLAIN = scikeras.wrappers.KerasClassifier(build_network, loss="sparse_categorical_crossentropy", epochs=2, verbose=0)


def described(parameters):
    """Text and attributes of each parameter, by name."""
    return {
        name: (repr(value), sorted(vars(value)) if isinstance(value, BaseEstimator) else None)
        for name, value in parameters.items()
    }


@pytest.mark.parametrize("name", [*ESTIMATORS, "plain scikeras"])
def test_fits_leave_no_trace(name, capfd):
    """A fit, also one that fails, leaves all global state and the user's parameters alone, and prints nothing.

    The state is that of the generators, determinism, the float type and scikit-learn's settings.
    """
    plain = name == "plain scikeras"
    estimator = KerasAveragingClassifier(clone(PLAIN), 2, random_state=0) if plain else unfitted(name)
    failing = set_in_network(clone(estimator), callbacks=[Failure()])
    parameters = estimator.get_params()
    before = described(parameters)
    random_before, numpy_before, settings_before = random.getstate(), np.random.get_state(), settings()
    try:
        seed_generators()
        expected = draws()
        for fails in (False, True):
            seed_generators()
            if fails:
                with pytest.raises(ConnectionError):
                    fit(failing)
            else:
                outputs(fit(estimator))
            assert draws() == expected, f"{fails=}"
    finally:
        random.setstate(random_before)
        np.random.set_state(numpy_before)
    assert settings() == settings_before
    after = estimator.get_params()
    assert all(after[key] is value for key, value in parameters.items())
    assert described(after) == before
    assert capfd.readouterr() == ("", "")
    with pytest.raises(NotFittedError):
        failing.predict(X)


# Failures


class Failure(keras.callbacks.Callback):
    """Fails in the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        """Fail."""
        if epoch == 1:
            raise ConnectionError


@every_estimator
def test_nothing_is_predicted_before_the_fit(name):
    """Every method says that the estimator is not fitted."""
    estimator = unfitted(name)
    for method in (*METHODS, *STAGES):
        if hasattr(estimator, method):
            with pytest.raises(NotFittedError):
                list(getattr(estimator, method)(X))
    with pytest.raises(NotFittedError):
        estimator.score(X, DATA["labels"])
    if "return_std" in inspect.signature(estimator.predict).parameters:
        with pytest.raises(NotFittedError):
            estimator.predict(X, return_std=True)


@every_estimator
def test_failed_fit_leaves_the_earlier_one(name):
    """After a `fit` that fails, before training or in it, an estimator predicts as before."""
    estimator = copy.deepcopy(fitted(name))
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(np.full_like(X, np.nan), DATA["labels" if is_classifier(estimator) else "targets"])
    assert_equal(estimator, fitted(name))
    set_in_network(estimator, callbacks=[Failure()])
    with pytest.raises(ConnectionError):  # other columns, labels and targets
        estimator.fit(X[:, :3], X[:, 3] > 0 if is_classifier(estimator) else X[:, 3])
    assert_equal(estimator, fitted(name))


@every_estimator
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (X[:, :3], "features"),
        (X[:, :, np.newaxis], "shape|dimensions"),
        (np.where(X == X[0, 0], np.nan, X), "NaN"),
        (X[0], "1D array"),
        (X[:0], "0 sample"),
        (scipy.sparse.csr_array(np.where(X == X[0, 0], np.nan, X)), "NaN"),
    ],
    ids=["columns", "dimensions", "NaN", "one row", "no rows", "sparse NaN"],
)
def test_rows_that_fit_would_refuse(name, rows, message):
    """Every method refuses what the estimator was not fitted on."""
    estimator = fitted(name)
    for method in (*METHODS, *STAGES):
        if hasattr(estimator, method):
            with pytest.raises(ValueError, match=message):
                list(getattr(estimator, method)(rows))


# Copies and files


@every_estimator
def test_copies_say_the_same(name, tmp_path):
    """Pickled, copied and dumped estimators say the same, bit for bit."""
    joblib.dump(fitted(name), tmp_path / "file.joblib")
    for duplicate in (
        pickle.loads(pickle.dumps(fitted(name))),
        copy.deepcopy(fitted(name)),
        joblib.load(tmp_path / "file.joblib"),
    ):
        assert_equal(duplicate, fitted(name))


IN_A_FRESH_PROCESS = """
import sys
import joblib
import skensemble.io

folder, *names = sys.argv[1:]
X = joblib.load(f"{folder}/X")
predicted = {}
for name in names:
    for kind, load in (("joblib", joblib.load), ("skens", skensemble.io.load)):
        estimator = load(f"{folder}/{name}.{kind}")
        methods = [m for m in ("predict", "predict_proba", "predict_members") if hasattr(estimator, m)]
        predicted[name, kind] = [getattr(estimator, method)(X) for method in methods]
joblib.dump(predicted, f"{folder}/predicted")
"""


@pytest.mark.slow
def test_files_load_in_a_fresh_process(tmp_path):
    """What one process dumps, as joblib's file or as ours, another loads and predicts with, equal bit for bit."""
    joblib.dump(X, tmp_path / "X")
    for name in ESTIMATORS:
        joblib.dump(fitted(name), tmp_path / f"{name}.joblib")
        skensemble.io.dump(fitted(name), tmp_path / f"{name}.skens")
    command = [sys.executable, "-c", IN_A_FRESH_PROCESS, str(tmp_path), *ESTIMATORS]
    completed = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert completed.returncode == 0, completed.stderr
    predicted = joblib.load(tmp_path / "predicted")
    for name in ESTIMATORS:
        methods = [m for m in ("predict", "predict_proba", "predict_members") if hasattr(fitted(name), m)]
        for kind in ("joblib", "skens"):
            for method, value in zip(methods, predicted[name, kind], strict=True):
                np.testing.assert_array_equal(value, getattr(fitted(name), method)(X), err_msg=f"{name} {kind}")


# With the rest of scikit-learn


@every_estimator
def test_in_a_pipeline(name):
    """A pipeline trains the estimator on what comes before it, here a change of sign, and is pickled with it."""
    pipeline = make_pipeline(FunctionTransformer(np.negative), unfitted(name))
    pipeline.fit(-X, DATA["labels" if is_classifier(pipeline) else "targets"])
    loaded = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(loaded.predict(-X), fitted(name).predict(X))
