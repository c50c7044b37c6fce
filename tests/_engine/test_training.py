import contextlib
import dataclasses
import pickle
import re
import subprocess
import sys
import threading
from pathlib import Path

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import scikeras.wrappers
from backends import ON_JAX, tensorflow_only
from comparison import TRAINED_FLOAT32, assert_same_members, ensemble_of, fit_with_keras
from keras import callbacks as kc
from program_cases import cost_model
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer

from skensemble import KerasAveragingClassifier, KerasClassifier, KerasRegressor
from skensemble._engine import plan as _plan
from skensemble._engine.all_backends import base as base_program
from skensemble._engine.all_backends import limits
from skensemble._engine.backend import get_program
from skensemble._engine.fused import fit as _fused
from skensemble._engine.fused import group_fit as _group_fit
from skensemble._engine.fused import group_run as _group_run
from skensemble._engine.training import fit_members
from skensemble._engine.variables import read_state
from skensemble._members.inputs import TrainingData, as_inputs
from skensemble._members.spec import MemberSpec, with_callbacks
from skensemble.exceptions import NotFusableError

X, Y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4.0, random_state=0)
X = X.astype("float32") / 5
LABELS = np.array(["a", "b", "c"])[Y]
TARGET = X[:, 0] - X[:, 1] ** 2
WEIGHT = np.arange(60) % 4 / 2
DATA = TrainingData(as_inputs(X), Y)
for array in (X, Y, LABELS, TARGET, WEIGHT):
    array.flags.writeable = False

SMALL = {"hidden_layer_sizes": (4,), "batch_size": 24, "epochs": 2, "optimizer__learning_rate": 0.05}

n_built = 0


def classifier(**params):
    """Unfitted classifier of a few steps."""
    return KerasClassifier(**{**SMALL, **params})


def regressor(**params):
    """Unfitted regressor of a few steps."""
    return KerasRegressor(**{**SMALL, **params})


def build_network(meta):
    """Not compiled, one hidden layer; counted in `n_built`."""
    global n_built
    n_built += 1
    n_classes = meta["n_classes_"]
    shape = meta["X_shape_"][1:]
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(n_classes, activation="softmax"),
        ]
    )


def build_convolutions(meta):
    """Small, with a convolution."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Conv1D(2, 2),
            keras.layers.Flatten(),
            keras.layers.Dense(meta["n_classes_"], activation="softmax"),
        ]
    )


def plain_scikeras(**params):
    """Scikeras' own classifier, which prints by default."""
    return scikeras.wrappers.KerasClassifier(
        build_network, loss="sparse_categorical_crossentropy", optimizer="adam", batch_size=24, epochs=2, **params
    )


def states_of(ensemble):
    """All variables of all members, one list."""
    return [v for member in ensemble.estimators_ for part in read_state(member.model_) for v in part]


def assert_equal(first, second):
    """Equal bit for bit."""
    for value, expected in zip(states_of(first), states_of(second), strict=True):
        np.testing.assert_array_equal(value, expected)


# Keras' own fit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "y", "sample_weight"),
    [
        ({}, Y, None),
        ({"validation_split": 0.3, "metrics": ["accuracy"], "fit__validation_freq": 2, "epochs": 4}, LABELS, None),
        ({"validation_split": 0.3, "validation_batch_size": 7, "metrics": ["accuracy"]}, Y, WEIGHT),
        ({"validation_split": 0.9, "batch_size": -1, "validation_batch_size": -1}, Y, WEIGHT),
        ({"class_weight": {"a": 5.0, "b": 1.0, "c": 0.0}, "batch_size": 7}, LABELS, None),
        ({"class_weight": "balanced", "fit__validation_freq": [1, 3], "validation_split": 0.2}, LABELS[::-1], WEIGHT),
        (
            {"batch_size": None, "metrics": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top")]},
            Y,
            None,
        ),
        ({"loss": "categorical_crossentropy", "metrics": ["accuracy", keras.metrics.AUC(name="area")]}, Y, None),
        ({"optimizer": "sgd", "optimizer__learning_rate": keras.optimizers.schedules.CosineDecay(0.5, 6)}, Y, None),
        ({"fit__validation_data": (X[:20], Y[:20]), "validation_split": 0.3}, Y, None),
        ({"fit__validation_data": (X[:20], Y[:20], WEIGHT[:20])}, Y, None),
        ({"metrics": ["accuracy"]}, Y == 1, None),
        ({"metrics": ["accuracy"]}, np.column_stack([Y == 1, X[:, 0] > 0, X[:, 1] > 0]).astype(int), None),
        ({"fit__epochs": 1, "fit__batch_size": 30, "epochs": 5}, Y, None),
    ],
)
def test_classifiers_are_those_of_keras(params, y, sample_weight):
    """Without shuffling, what is trained and recorded is what Keras' own fit trains and records."""
    y = np.asarray(y)
    fused = ensemble_of(classifier(shuffle=False, **params)).fit(X, y, sample_weight=sample_weight)
    assert_same_members(fused, fit_with_keras(fused, X, y, sample_weight), X)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "y", "sample_weight"),
    [
        ({"metrics": ["mae", "r2_score"], "validation_split": 0.25}, TARGET, None),
        ({"loss": "huber"}, np.column_stack([TARGET, -TARGET]), WEIGHT),
        ({}, np.round(TARGET).astype(int), None),
    ],
)
def test_regressors_are_those_of_keras(params, y, sample_weight):
    """The same for one target and for several."""
    fused = ensemble_of(regressor(shuffle=False, **params)).fit(X, y, sample_weight=sample_weight)
    assert_same_members(fused, fit_with_keras(fused, X, y, sample_weight), X)


@pytest.mark.slow
def test_one_member():
    """An ensemble of one is that member."""
    fused = ensemble_of(classifier(shuffle=False), n_estimators=1).fit(X, Y)
    assert_same_members(fused, fit_with_keras(fused, X, Y), X)


def build_around_network(meta):
    """A functional network, of which the first layer is fixed, as a layer of a sequential one."""
    inputs = keras.Input(meta["X_shape_"][1:])
    fixed = keras.layers.Dense(5, activation="tanh", trainable=False)
    inner = keras.Model(inputs, keras.layers.Dense(4, activation="relu")(fixed(inputs)))
    outputs = keras.layers.Dense(meta["n_classes_"], activation="softmax")
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), inner, keras.layers.Flatten(), outputs])


def test_a_network_inside_of_another():
    """A network that is a layer of another, as pretrained ones are, is trained and predicts as with Keras."""
    member = KerasClassifier(build_around_network, shuffle=False, batch_size=24, epochs=2)
    fused = ensemble_of(member).fit(X, Y)
    assert_same_members(fused, fit_with_keras(fused, X, Y), X)


@pytest.mark.slow
def test_functions_without_a_source():
    """A network with a lambda that was typed at a prompt is trained by Keras, and predicts."""
    names = {}
    exec("double = lambda x: 2 * x", names)
    X, y = np.linspace(-1, 1, 8).reshape(4, 2).astype("float32"), np.arange(4.0)

    def build():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, names["double"])])
        model.compile("sgd", "mse")
        return model

    ensemble = ensemble_of(KerasRegressor(build, epochs=1), engine="auto").fit(X, y)
    assert ensemble.engine_ == "keras"
    assert "could not get source code" in ensemble.engine_reason_
    for member, prediction in zip(ensemble.estimators_, ensemble.predict_members(X), strict=True):
        np.testing.assert_allclose(prediction, member.model_.predict(X, verbose=0)[:, 0], rtol=1e-6)


class Undescribed(keras.losses.Loss):
    """A loss whose configuration Keras cannot write."""

    def call(self, y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)

    def get_config(self):
        raise NotImplementedError("no configuration")


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_losses_without_a_configuration(n_estimators):
    """A loss that cannot be described is no reason to fail: Keras trains."""
    X, y = np.linspace(-1, 1, 8).reshape(4, 2).astype("float32"), np.arange(4.0)

    def build():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", Undescribed())
        return model

    ensemble = ensemble_of(KerasRegressor(build, epochs=1), engine="auto", n_estimators=n_estimators).fit(X, y)
    assert ensemble.engine_ == "keras"
    assert "no configuration" in ensemble.engine_reason_
    assert ensemble.predict(X).shape == (4,)


def test_images_and_data_frames():
    """X may have more than two dimensions, or be a DataFrame."""
    images = X.reshape(60, 2, 2)
    fused = ensemble_of(KerasClassifier(build_network, shuffle=False, batch_size=24, epochs=2)).fit(images, Y)
    assert_same_members(fused, fit_with_keras(fused, images, Y), images)
    frame = pd.DataFrame(X, columns=list("abcd"))
    of_frame, of_array = (ensemble_of(classifier()).fit(data, Y) for data in (frame, X))
    np.testing.assert_array_equal(of_frame.predict_proba(frame), of_array.predict_proba(X))


@pytest.mark.slow
def test_plain_scikeras_members(capsys):
    """Scikeras' own estimators are trained too; their `verbose=1` does not print."""
    fused = ensemble_of(plain_scikeras(shuffle=False)).fit(X, LABELS)
    assert capsys.readouterr().out == ""
    assert_same_members(fused, fit_with_keras(fused, X, LABELS), X)


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_outputs_that_do_not_fit(engine):
    """Scikeras' complaint about a loss that the builder ignored comes from both engines."""

    def build():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
        model.compile("sgd", "sparse_categorical_crossentropy")
        return model

    ensemble = ensemble_of(KerasClassifier(build, loss="mean_squared_error", epochs=1), engine=engine)
    with pytest.raises(ValueError, match="loss=mean_squared_error but model compiled with sparse_categorical"):
        ensemble.fit(X, Y)


# Members after training


@pytest.fixture(scope="module")
def trained():
    """Three members of the fused engine; nobody changes them."""
    return ensemble_of(KerasClassifier(build_network, epochs=2, optimizer__learning_rate=0.05), n_estimators=3).fit(
        X, LABELS
    )


def test_members_are_built_when_asked_for():
    """Two models are built for the training, one for each member that is asked for, and each only once."""
    global n_built
    n_built = 0
    ensemble = ensemble_of(KerasClassifier(build_network, epochs=1), n_estimators=5).fit(X, Y)
    ensemble.predict(X)
    assert n_built == 2
    member = ensemble.estimators_[3]
    assert n_built == 3
    assert ensemble.estimators_[3] is member
    assert ensemble.estimators_[-2] is member
    assert n_built == 3


def test_members_are_a_sequence(trained):
    """`estimators_` has length, order, slices and indices from the end, like the list of any ensemble."""
    members = trained.estimators_
    assert len(members) == 3
    assert [m.random_state for m in members] == [members[i].random_state for i in range(3)]
    assert members[1:] == [members[1], members[2]]
    assert members[::-1] == [members[2], members[1], members[0]]
    assert members[-1] is members[2]
    assert next(reversed(members)) is members[2]
    assert members[0] in members
    assert repr(members) == repr([members[0], members[1], members[2]])
    with pytest.raises(IndexError):
        members[3]


def test_members_predict_as_the_ensemble(trained):
    """Each of `estimators_` is an ordinary fitted estimator."""
    for member, proba in zip(trained.estimators_, trained.predict_members(X), strict=True):
        np.testing.assert_allclose(member.predict_proba(X), proba, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(member.model_.predict(X, verbose=0), proba, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(member.classes_, trained.classes_)
        assert member.n_features_in_ == 4
        assert len(member.history_["loss"]) == 2
        assert int(member.model_.optimizer.iterations) == 4


@pytest.mark.slow
def test_training_goes_on():
    """`partial_fit` goes on from the variables of the fused training, slots included, and the ensemble follows."""
    fused = ensemble_of(classifier(shuffle=False)).fit(X, Y)
    reference = fit_with_keras(fused, X, Y)
    before = fused.predict_members(X)
    for ensemble in (fused, reference):
        ensemble.estimators_[1].set_params(run_eagerly=True).partial_fit(X, Y)
    after = fused.predict_members(X)
    np.testing.assert_allclose(after[0], before[0], rtol=1e-5, atol=1e-6)
    assert np.abs(after[1] - before[1]).max() > 1e-3
    assert_same_members(fused, reference, X)
    assert len(fused.estimators_[1].history_["loss"]) == 3


def test_members_can_be_copied_and_saved(trained, tmp_path):
    """A member pickles, clones and saves its model like any scikeras estimator."""
    member = trained.estimators_[0]
    expected = member.predict_proba(X)
    again = pickle.loads(pickle.dumps(member))
    np.testing.assert_array_equal(again.predict_proba(X), expected)
    assert again.history_ == member.history_
    for value, expected_value in zip(again.model_.optimizer.variables, member.model_.optimizer.variables, strict=True):
        np.testing.assert_array_equal(value, expected_value)
    assert not hasattr(clone(member), "model_")
    member.model_.save(tmp_path / "member.keras")
    loaded = keras.models.load_model(tmp_path / "member.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), expected)


LOAD = """
import sys, warnings
warnings.simplefilter("error", UserWarning)
import joblib, numpy as np
ensemble, X, proba, values = joblib.load(sys.argv[1])
assert ensemble.engine_ == "fused"
np.testing.assert_array_equal(ensemble.predict_members(X), proba)
for member, value in zip(ensemble.estimators_, values, strict=True):
    np.testing.assert_array_equal(member.model_.get_weights()[0], value)
"""


@pytest.mark.slow
@pytest.mark.parametrize("built", [False, True])
def test_file_in_another_process(tmp_path, built):
    """A dumped ensemble predicts the same in a fresh process, bit for bit, and its members can be built there."""
    ensemble = ensemble_of(classifier(dropout=0.1)).fit(X, LABELS)
    proba = ensemble.predict_members(X)
    values = [values[0] for values in (read_state(m.model_)[0] for m in clone_of(ensemble).estimators_)]
    if built:
        values = [member.model_.get_weights()[0] for member in ensemble.estimators_]
        proba = ensemble.predict_members(X)
    joblib.dump((ensemble, X, proba, values), tmp_path / "ensemble")
    subprocess.run([sys.executable, "-c", LOAD, tmp_path / "ensemble"], check=True)


def clone_of(ensemble):
    """A pickled copy, whose members are built instead of those of the ensemble."""
    return pickle.loads(pickle.dumps(ensemble))


# The same result


@pytest.mark.slow
def test_same_seed_same_result():
    """Two runs are equal bit for bit, shuffling and dropout included; another seed gives another result."""
    ensemble = ensemble_of(classifier(dropout=0.3))
    first, second = clone(ensemble).fit(X, Y), clone(ensemble).fit(X, Y)
    assert_equal(first, second)
    other = clone(ensemble).set_params(random_state=1).fit(X, Y)
    assert not np.array_equal(other.predict_proba(X), first.predict_proba(X))


@pytest.mark.slow
def test_number_of_members_changes_nothing():
    """Member i is the same in a smaller and in a larger ensemble."""
    few, many = (ensemble_of(classifier(), n_estimators=n).fit(X, Y) for n in (2, 5))
    np.testing.assert_allclose(few.predict_members(X), many.predict_members(X)[:2], **TRAINED_FLOAT32)


@pytest.mark.slow
@pytest.mark.workers
def test_number_of_jobs_changes_nothing(workers_pay):
    """Members trained in two processes are those trained in one."""
    one, two = (ensemble_of(classifier(), n_estimators=3, n_jobs=n).fit(X, LABELS) for n in (1, 2))
    np.testing.assert_allclose(one.predict_members(X), two.predict_members(X), **TRAINED_FLOAT32)
    assert two.engine_ == "fused"
    assert [m.history_.keys() for m in two.estimators_] == [m.history_.keys() for m in one.estimators_]


@pytest.mark.slow
def test_segments_change_nothing(monkeypatch):
    """However many epochs run at once, the result is the same bit for bit."""
    ensemble = ensemble_of(classifier(epochs=5, validation_split=0.2))
    whole = clone(ensemble).fit(X, Y)
    monkeypatch.setattr(_fused, "_ORDER_BYTES", 2 * 2 * 48 * 4)
    parts = clone(ensemble).fit(X, Y)
    monkeypatch.setattr(limits, "SEGMENT_EPOCHS", 1)
    single = clone(ensemble).fit(X, Y)
    assert_equal(whole, parts)
    assert_equal(whole, single)
    for member, of_parts in zip(whole.estimators_, parts.estimators_, strict=True):
        assert member.history_ == of_parts.history_
        assert len(member.history_["val_loss"]) == 5


# Members that diverge


@pytest.mark.slow
def test_member_that_diverges(monkeypatch):
    """A member whose loss is not finite is named in a warning and does not disturb the others."""
    ensemble = ensemble_of(classifier(epochs=3), n_estimators=3)
    healthy = clone(ensemble).fit(X, Y)
    initialize_members = _plan.initialize_members

    def diverging(*args):
        states = initialize_members(*args)
        states[1][0][0] = np.full_like(states[1][0][0], 1e38)
        return states

    monkeypatch.setattr(_plan, "initialize_members", diverging)
    with pytest.warns(ConvergenceWarning, match=r"The loss of members \[1\] is not finite"):
        ensemble.fit(X, Y)
    for k in (0, 2):
        for value, expected in zip(
            read_state(ensemble.estimators_[k].model_)[0], read_state(healthy.estimators_[k].model_)[0], strict=True
        ):
            np.testing.assert_array_equal(value, expected)
    assert not np.isfinite(ensemble.estimators_[1].history_["loss"][-1])


# What cannot be fused


class OwnStep(keras.Model):
    """A model with a training step of its own."""

    def train_step(self, *args):
        return super().train_step(*args)


def build_own_step():
    """Functional model of a subclass."""
    inputs = keras.Input((4,))
    return OwnStep(inputs, keras.layers.Dense(3, activation="softmax")(inputs))


class OwnTraining(KerasClassifier):
    """Trains in its own way."""

    def _fit_keras_model(self, *args, **kwargs):
        self.trained_alone_ = True
        super()._fit_keras_model(*args, **kwargs)


class OwnFit(KerasClassifier):
    """Changes the data before the training."""

    def fit(self, X, y, sample_weight=None, **kwargs):
        self.fitted_alone_ = True
        return super().fit(X, y, sample_weight=sample_weight, **kwargs)


class TwoInputs(KerasClassifier):
    """A network with two inputs."""

    @property
    def feature_encoder(self):
        return FunctionTransformer(split_columns)


def split_columns(X):
    """The first two columns and the last two."""
    return [X[:, :2], X[:, 2:]]


def build_two_inputs():
    """Functional model of two inputs."""
    inputs = [keras.Input((2,)), keras.Input((2,))]
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Concatenate()(inputs))
    return keras.Model(inputs, outputs)


class PerBatch(kc.Callback):
    """Act on batches."""

    def on_train_batch_end(self, batch, logs=None):
        pass


QUICK = {"epochs": 1, "batch_size": -1}
NOT_FUSABLE = [
    pytest.param(
        *(KerasClassifier(build_own_step, **QUICK), "the model has its own train_step"),
        marks=tensorflow_only("the program on JAX maps it"),
    ),
    (classifier(run_eagerly=True, **QUICK), "the model is compiled with run_eagerly=True"),
    (classifier(callbacks=[PerBatch()], **QUICK), "the callback PerBatch acts on every batch"),
    (classifier(fit__steps_per_epoch=1, **QUICK), "the argument 'steps_per_epoch' of Model.fit is not known"),
    (classifier(fit__shuffle="batch", **QUICK), "rows are shuffled all together or not at all: got shuffle='batch'"),
    (OwnTraining(**QUICK), "OwnTraining._fit_keras_model trains in a way of its own"),
    (OwnFit(**QUICK), "OwnFit.fit trains in a way of its own"),
    (TwoInputs(build_two_inputs, epochs=1), "the model has 2 inputs"),
]


@pytest.mark.parametrize(("member", "reason"), NOT_FUSABLE)
def test_fused_engine_raises_the_reason(member, reason):
    """`engine="fused"` raises why Keras' result cannot be given, before anything is trained."""
    ensemble = ensemble_of(member)
    with pytest.raises(NotFusableError) as caught:
        ensemble.fit(X, Y)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith("engine='fused' is not possible: ")
    assert reason in str(caught.value)
    assert not hasattr(ensemble, "estimators_")


@pytest.mark.slow
@pytest.mark.parametrize(("member", "reason"), NOT_FUSABLE)
def test_auto_engine_falls_back(member, reason):
    """`engine="auto"` trains with Keras' own fit then, and says why."""
    ensemble = ensemble_of(member, engine="auto", n_estimators=1).fit(X, Y)
    assert ensemble.engine_ == "keras"
    assert ensemble.engine_reason_.startswith("Keras' own fit, because ")
    assert reason in ensemble.engine_reason_
    assert ensemble.predict(X).shape == (60,)


def test_forked_workers_are_refused():
    """The multiprocessing backend of joblib forks, and TensorFlow would hang in its workers."""
    ensemble = ensemble_of(classifier(), n_estimators=2)
    with joblib.parallel_config(backend="multiprocessing", n_jobs=2), pytest.raises(ValueError, match="Use 'loky'"):
        ensemble.fit(X, Y)
    assert not hasattr(ensemble, "estimators_")


# Memory and traces


class CountedRows(np.memmap):
    """A memory map that remembers the largest number of bytes it was asked for at once."""

    largest = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if isinstance(part, np.ndarray):
            CountedRows.largest = max(CountedRows.largest, part.nbytes)
        return part

    def __array__(self, *args, **kwargs):
        CountedRows.largest = max(CountedRows.largest, self.nbytes)
        return np.asarray(self.view(np.ndarray), *args)


@pytest.mark.slow
def test_memory_map(tmp_path, monkeypatch):
    """X larger than the bound stays on the disk: batches are gathered, with the result of X in memory."""
    ensemble = ensemble_of(classifier(batch_size=7))
    resident = clone(ensemble).fit(X, Y)
    np.asarray(X).tofile(tmp_path / "X")
    on_disk = np.memmap(tmp_path / "X", "float32", "r", shape=X.shape).view(CountedRows)
    monkeypatch.setattr(limits, "RESIDENT_BYTES", 100)
    monkeypatch.setattr(cost_model, "CHUNK_BYTES", 300, raising=False)  # on JAX, batches
    load = _group_fit.load_data
    monkeypatch.setattr(_group_fit, "load_data", lambda _, *others: load(on_disk, *others))
    streamed = clone(ensemble).fit(X, Y)
    for value, expected in zip(states_of(streamed), states_of(resident), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert 0 < CountedRows.largest <= X.nbytes / 2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory of the process is read from /proc")
def test_large_memory_map(tmp_path):
    """A fit on a memory map of a gigabyte, mostly a hole in the file, takes a fraction of its size in memory."""
    n_rows, n_features = 2**22, 64
    on_disk = np.memmap(tmp_path / "X", "float32", "w+", shape=(n_rows, n_features))
    y = np.arange(n_rows) % 2
    ensemble = ensemble_of(classifier(batch_size=2**13, epochs=1), engine="fused").fit(X, Y)  # what is loaded once
    before, peak, ended = anonymous_bytes(), [], threading.Event()

    def watch():
        while not ended.wait(0.01):
            peak.append(anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        ensemble.fit(on_disk, y)
    finally:
        ended.set()
        watcher.join()
    assert max(peak) - before < on_disk.nbytes / 2


def anonymous_bytes():
    """Memory of this process that is not of a file."""
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory of the process is read from /proc")
def test_memory_does_not_grow_with_the_number_of_fits():
    """After the first fits, another one leaves less than half a megabyte behind."""
    sizes = []
    for seed in range(160):
        ensemble_of(classifier(epochs=1), engine="fused", random_state=seed).fit(X, Y).predict(X)
        sizes.append(anonymous_bytes())
    growth = np.mean(sizes[110:]) - np.mean(sizes[60:110])  # two periods of the clearing up
    assert growth / 50 < 2**19


def test_threads_get_what_they_would_get_alone():
    """Ensembles that are fitted at the same time in threads of a process have the results of fits in turn."""
    ensembles = [ensemble_of(classifier(epochs=2), engine="fused", random_state=seed) for seed in range(3)]
    expected = [clone(ensemble).fit(X, Y).predict_proba(X) for ensemble in ensembles]
    threads = [threading.Thread(target=ensemble.fit, args=(X, Y)) for ensemble in ensembles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ensemble, proba in zip(ensembles, expected, strict=True):
        np.testing.assert_array_equal(ensemble.predict_proba(X), proba)


def n_traces(ensemble):
    """Functions traced so far by the program of a fitted ensemble."""
    return get_program(ensemble.estimators_[0].model_, ensemble.n_estimators).n_traces


def test_prediction_traces_once(trained, monkeypatch):
    """Any number of rows is predicted by the same function, in chunks of bounded size."""
    whole = trained.predict_members(X)
    n_before = n_traces(trained)
    monkeypatch.setattr(base_program, "PREDICT_VALUES", 1)  # chunks have 32 rows at least
    for n_rows in (1, 2, 31, 32, 33, 60):
        np.testing.assert_allclose(trained.predict_members(X[:n_rows]), whole[:, :n_rows], rtol=1e-5, atol=1e-6)
    assert n_traces(trained) == n_before


@pytest.mark.slow
def test_search_over_learning_rates_traces_once(monkeypatch):
    """Candidates of a grid search, and refits, share one program: nothing is traced for the second."""
    programs, counts = [], []
    get = _group_run.get_program

    def watched(*args):
        programs.append(get(*args))
        counts.append(programs[-1].n_traces)
        return programs[-1]

    monkeypatch.setattr(_group_run, "get_program", watched)
    ensemble = ensemble_of(classifier(hidden_layer_sizes=(5,)))
    GridSearchCV(ensemble, {"estimator__optimizer__learning_rate": [0.1, 0.01, 0.001]}, cv=3, refit=False).fit(X, Y)
    assert len(programs) == 9
    assert len({id(program) for program in programs}) == 1
    assert counts[1:] == [counts[1]] * 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "sample_weight"),
    [
        ({"metrics": ["accuracy"]}, None),
        ({"optimizer": "sgd", "optimizer__momentum": 0.9, "class_weight": "balanced"}, WEIGHT),
    ],
)
def test_other_numbers_of_rows_share_a_program(params, sample_weight):
    """Members that are trained on fewer rows than others train with them, and as Keras trains each."""
    member = classifier(hidden_layer_sizes=(3,), shuffle=False, **params)
    rows = [np.arange(60), np.arange(41), np.arange(20, 59), np.arange(30)]
    members = [MemberSpec(member, seed, own) for seed, own in enumerate(rows)]
    fused = fit_members(members, TrainingData(X, Y, sample_weight), engine="fused").estimators
    assert fused.entries()[0].stack is fused.entries()[-1].stack  # of one program
    eager = clone(member).set_params(run_eagerly=True)
    keras_members = [dataclasses.replace(one, estimator=eager) for one in members]
    expected = fit_members(keras_members, TrainingData(X, Y, sample_weight), engine="keras").estimators
    for ours, theirs in zip(fused, expected, strict=True):
        for name, values in theirs.history_.items():
            np.testing.assert_allclose(ours.history_[name], values, **TRAINED_FLOAT32)
        for part, expected_part in zip(read_state(ours.model_), read_state(theirs.model_), strict=True):
            for value, expected_value in zip(part, expected_part, strict=True):
                np.testing.assert_allclose(value, expected_value, **TRAINED_FLOAT32)


def groups_of(members, X):
    """Groups in which members are planned to be trained on X."""
    members = dict(enumerate(with_callbacks(members)))
    return _plan.plan_training(members, TrainingData(as_inputs(X), Y), "fused").groups


def test_shuffled_rows_do_not_depend_on_the_others():
    """A member visits its rows in the order that it would alone, each row once an epoch."""
    members = [MemberSpec(classifier(), seed, np.arange(n)) for seed, n in enumerate((60, 41))]
    together, alone = (_group_fit.group_fit(groups_of(chosen, X)[0].members, DATA) for chosen in (members, members[1:]))
    orders = together.orders([np.random.default_rng(seed) for seed in together.seeds], 3)
    assert together.n_rows == (60, 41)
    np.testing.assert_array_equal(np.sort(orders[:, 1, :41]), np.tile(np.arange(41), (3, 1)))
    np.testing.assert_array_equal(orders[:, 1, :41], alone.orders([np.random.default_rng(1)], 3)[:, 0])


@pytest.mark.parametrize(
    ("member", "n_rows"),
    [
        (classifier(callbacks=kc.EarlyStopping("loss")), (60, 50)),
        (classifier(batch_size=-1), (60, 50)),
        (classifier(fit__validation_data=(X[:9], Y[:9])), (60, 50)),
        (classifier(), (60, 3, 3)),
        pytest.param(
            *(classifier(hidden_layer_sizes=(20000,), batch_size=60), (60, 59)),
            marks=tensorflow_only("the program on JAX does not ask how much work a step is"),
        ),
        (KerasClassifier(build_convolutions), (60, 50)),
    ],
    ids=["callbacks", "batches of all rows", "validation data", "much waiting", "much work", "convolutions"],
)
def test_other_numbers_of_rows_have_programs_of_their_own(member, n_rows):
    """Where the number of rows matters, or waiting costs more than compiling, each number has its program."""
    data = X[:, :, None] if member.model is not None else X
    members = [MemberSpec(member, seed, np.arange(n)) for seed, n in enumerate(n_rows)]
    groups = [group.numbers for group in groups_of(members, data)]
    assert groups == [[i for i, n in enumerate(n_rows) if n == own] for own in dict.fromkeys(n_rows)]


# Progress and data


def test_progress(capsys):
    """With `verbose` a line tells the epoch and the mean loss; without it nothing is printed."""
    ensemble = ensemble_of(classifier()).fit(X, Y)
    assert capsys.readouterr().out == ""
    ensemble.set_params(verbose=1).fit(X, Y)
    mean = np.mean([member.history_["loss"][-1] for member in ensemble.estimators_])
    assert f"2 members, epoch 2 of 2, mean: loss {mean:.4f}" in capsys.readouterr().out


def test_nothing_of_the_user_changes():
    """Data (read-only here), estimator and weights stay as they are; nothing warns."""
    member = classifier(class_weight="balanced")
    before = member.get_params()
    with contextlib.redirect_stdout(None):
        ensemble = ensemble_of(member).fit(X, Y, sample_weight=WEIGHT)  # warnings are errors in all tests
    assert member.get_params() == before
    assert not hasattr(member, "model_")
    assert ensemble.estimator is member


def test_split_that_leaves_nothing():
    """A `validation_split` that leaves no row is refused."""
    with pytest.raises(ValueError, match="`validation_split` must leave rows to train and to validate on: got 0.99"):
        ensemble_of(classifier(validation_split=0.99)).fit(X[::20], Y[::20] + np.arange(3))


@pytest.mark.slow
def test_no_epochs():
    """With no epochs members are as they were built."""
    fused = ensemble_of(classifier(epochs=0)).fit(X, Y)
    reference = fit_with_keras(fused, X, Y)
    np.testing.assert_allclose(fused.predict_members(X), reference.predict_members(X), rtol=1e-5, atol=1e-6)
    assert [dict(member.history_) for member in fused.estimators_] == [{}, {}]
    for ours, theirs in zip(fused.estimators_, reference.estimators_, strict=True):
        for value, expected in zip(ours.model_.get_weights(), theirs.model_.get_weights(), strict=True):
            np.testing.assert_array_equal(value, expected)


def build_loss_scale():
    """Network whose loss is scaled, as mixed precision does it."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "keras"])
def test_loss_scaling(engine):
    """Keras, or the program on JAX, trains networks with a LossScaleOptimizer; the ensemble predicts as they do."""
    ensemble = ensemble_of(KerasClassifier(build_loss_scale, **QUICK), engine=engine).fit(X, Y)
    assert ensemble.engine_ == ("fused" if ON_JAX and engine == "auto" else "keras")
    expected = [member.predict_proba(X) for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_members(X), expected, rtol=1e-5, atol=1e-6)


def build_f1():
    """Network with a metric that has a value for each class."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(), "accuracy"])
    return model


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`y` has exactly one 1 in each row")  # F1Score of Keras needs such targets
@pytest.mark.parametrize("callbacks", [None, [kc.TerminateOnNaN()]])
def test_metrics_with_several_values(callbacks, capsys):
    """A metric with a value for each class is in the history as Keras records it: an array for each epoch."""
    member = KerasClassifier(
        build_f1, epochs=2, batch_size=24, validation_split=0.2, shuffle=False, callbacks=callbacks
    )
    fused = ensemble_of(member, verbose=1).fit(X, np.eye(3, dtype="float32")[Y])
    assert "f1_score" in capsys.readouterr().out
    keras_fitted = fit_with_keras(fused, X, np.eye(3, dtype="float32")[Y])
    assert_same_members(fused, keras_fitted, X)
    value = fused.estimators_[0].history_["val_f1_score"][0]
    assert type(value) is type(keras_fitted.estimators_[0].history_["val_f1_score"][0]) is np.ndarray
    assert value.shape == (3,)


VALIDATION = pd.DataFrame(X[:9], columns=list("abcd"))


@pytest.mark.parametrize("engine", ["auto", "keras"])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"fit__validation_data": (X[:9], Y[:10])}, "as many rows as each other: got 9 and 10"),
        ({"fit__validation_data": (X[:9], Y[:9], WEIGHT[:10])}, "as many rows as each other: got 9 and 9 and 10"),
        ({"fit__validation_data": (VALIDATION[["b", "a", "c", "d"]], Y[:9])}, "must have the columns of X in their"),
        ({"batch_size": 0}, "`batch_size` must be a whole number from 1"),
        ({"batch_size": -5}, "`batch_size` must be a whole number from 1"),
        ({"epochs": -1}, "`epochs` must be a whole number from 0: got -1"),
    ],
)
def test_arguments_that_mean_nothing(engine, params, message):
    """Data for validation that do not belong together, and numbers that count nothing, are refused."""
    table = pd.DataFrame(X, columns=list("abcd"))
    for one in (KerasAveragingClassifier(classifier(**params), 1, engine=engine), classifier(**params, engine=engine)):
        with pytest.raises(ValueError, match=message):
            one.fit(table, Y)


def test_sparse_validation_data():
    """A sparse X is validated on as a dense one."""
    losses = [
        KerasAveragingClassifier(classifier(fit__validation_data=(held_out, Y[:9])), 1, random_state=0)
        .fit(X, Y)[0]
        .history_["val_loss"]
        for held_out in (X[:9], csr_matrix(X[:9]))
    ]
    assert losses[0] == losses[1]
