import re

import h5py
import keras
import numpy as np
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._engine.workers.transfer import as_arguments
from skensemble._members.inputs import Inputs, TrainingData
from skensemble._numeric import host_rows
from skensemble._numeric.lazy_rows import LazyRows, is_lazily_indexed, read_or_rows

BATCH = 20
TRAINED_FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}


class OnDisk:
    """Stands for an array of HDF5: takes slices and ascending indices, and remembers the most rows read at once."""

    def __init__(self, values):
        self.values, self.most_rows, self.n_rows = values, 0, 0
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        part = self.values[rows]
        self.most_rows, self.n_rows = max(self.most_rows, len(part)), self.n_rows + len(part)
        return part


def _make_data():
    X = np.random.default_rng(0).normal(size=(100, 5))
    return X, np.where(X[:, 0] + X[:, 1] > 0, "yes", "no")


X, Y = _make_data()


def mlp(**params):
    return KerasClassifier(hidden_layer_sizes=(3,), **{"epochs": 2, "batch_size": BATCH, **params})


def as_hdf5(path, values):
    with h5py.File(path, "w") as file:
        file["X"] = values
    return h5py.File(path, "r")


@pytest.fixture
def all_are_large(monkeypatch):
    """However small they are, lazily indexed arrays are read in parts of about a batch."""
    row = np.float32(0).nbytes * X.shape[1]
    monkeypatch.setattr(host_rows, "DENSE_BYTES", 0)
    monkeypatch.setattr(host_rows, "BYTES_AT_ONCE", BATCH * row)
    if keras.backend.backend() == "tensorflow":
        monkeypatch.setattr("skensemble._engine.tensorflow.cost_model.CHUNK_BYTES", BATCH * row)


NORMALIZED = KerasClassifier(
    lambda: keras.Sequential(
        [keras.Input((5,)), keras.layers.BatchNormalization(), keras.layers.Dense(1, activation="sigmoid")]
    ),
    loss="binary_crossentropy",
    epochs=2,
    batch_size=BATCH,
)
ESTIMATORS = {
    "alone": mlp(random_state=0),
    "averaging": KerasAveragingClassifier(
        mlp(), n_estimators=2, bootstrap=True, oob_validation=True, max_features=3, weights="greedy", random_state=0
    ),
    "voting": KerasVotingClassifier([("a", mlp()), ("b", mlp(activation="tanh"))], weights="greedy", random_state=0),
    "stacking": StackedKerasClassifier([("a", mlp())], LogisticRegression(), cv=2, random_state=0),
    "snapshot": SnapshotEnsembleClassifier(mlp(), n_estimators=2, weights="greedy", random_state=0),
    "polyak": PolyakWeightClassifier(NORMALIZED, n_checkpoints=2, random_state=0),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_large_arrays_are_never_read_as_a_whole(name, all_are_large):
    """Training and prediction read batches, and give what they give on the array in memory."""
    estimator, weights = ESTIMATORS[name], np.tile([0.0, 1, 1, 2], 25)
    expected = estimator.fit(X, Y, sample_weight=weights).predict_proba(X)
    on_disk = OnDisk(X)
    fitted = estimator.fit(on_disk, Y, sample_weight=weights)
    assert fitted.engine_ == "fused"
    assert fitted.n_features_in_ == 5
    np.testing.assert_allclose(fitted.predict_proba(on_disk), expected, **TRAINED_FLOAT32)
    # A step of two members reads the batches of both.
    assert 0 < on_disk.most_rows <= 2 * BATCH


def test_hdf5(tmp_path, all_are_large):
    """Images in a file of HDF5 train as the array does, whatever their type; prediction takes files, too."""
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype="uint8")
    labels = np.arange(40) % 2
    convnet = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(2, 3),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    member = KerasClassifier(convnet, loss="binary_crossentropy", batch_size=8)
    ensemble = KerasAveragingClassifier(member, n_estimators=2, random_state=0)
    expected = ensemble.fit(images, labels).predict_proba(images)
    with as_hdf5(tmp_path / "images.h5", images) as file:
        np.testing.assert_allclose(
            ensemble.fit(file["X"], labels).predict_proba(file["X"]), expected, **TRAINED_FLOAT32
        )


def test_others_get_all_rows(all_are_large):
    """Where a member is no network, and in Keras' own fit, X is read into memory; the result is that of the array."""
    members = [("tree", make_pipeline(StandardScaler(), LogisticRegression())), ("net", mlp(epochs=1))]
    for ensemble in (
        KerasVotingClassifier(members, random_state=0),
        KerasAveragingClassifier(mlp(epochs=1), n_estimators=1, engine="keras", random_state=0),
        mlp(epochs=1, engine="keras", random_state=0),
    ):
        expected = ensemble.fit(X, Y).predict_proba(X)
        fitted = ensemble.fit(OnDisk(X), Y)
        np.testing.assert_allclose(fitted.predict_proba(OnDisk(X)), expected, **TRAINED_FLOAT32)


def test_encoder_of_the_users_gets_all_rows(all_are_large):
    """An encoder of the user's is fitted on the values, not on what stands for them."""

    class Scaled(KerasRegressor):
        @property
        def feature_encoder(self):
            return StandardScaler()

    member = Scaled(hidden_layer_sizes=(3,), epochs=2, random_state=0)
    for estimator in (member, KerasVotingRegressor([("scaled", member)])):
        expected = estimator.fit(X, X[:, 0]).predict(X)
        np.testing.assert_allclose(estimator.fit(OnDisk(X), X[:, 0]).predict(OnDisk(X)), expected, **TRAINED_FLOAT32)


def test_checkpoints_tell_data_apart(tmp_path, all_are_large, monkeypatch):
    """A fit on the same values goes on from its directory; another value in the last row is an error."""
    monkeypatch.setattr("skensemble._members.stable_description._CHUNK_BYTES", BATCH * X[:1].nbytes // 2)
    ensemble = KerasAveragingClassifier(mlp(), n_estimators=1, checkpoint_dir=tmp_path, random_state=0)
    expected = ensemble.fit(OnDisk(X), Y).predict_proba(X)
    on_disk = OnDisk(X)
    np.testing.assert_array_equal(ensemble.fit(on_disk, Y).predict_proba(X), expected)
    assert on_disk.most_rows <= BATCH
    other = X.copy()
    other[-1, -1] += 1
    with pytest.raises(ValueError, match="Changed: `X`"):
        ensemble.fit(OnDisk(other), Y)


@pytest.mark.parametrize("estimator", [mlp(), KerasAveragingClassifier(mlp())])
def test_values_are_checked_before_training(estimator, all_are_large):
    """Missing values and texts are an error, without any training; `assume_finite` spares reading all rows for it."""
    broken = X.copy()
    broken[-1, 2] = np.nan
    with pytest.raises(ValueError, match=f"{type(estimator).__name__} does not accept missing values"):
        estimator.fit(OnDisk(broken), Y)
    with pytest.raises(TypeError, match="Networks take X as numbers: got an array of type <U"):
        estimator.fit(OnDisk(X.astype(str)), Y)
    on_disk = OnDisk(X)
    with sklearn.config_context(assume_finite=True):
        estimator.set_params(**{"epochs" if isinstance(estimator, KerasClassifier) else "estimator__epochs": 0})
        estimator.fit(on_disk, Y)
    assert on_disk.n_rows < len(X)


def test_whole_numbers_are_checked_in_all_rows(all_are_large):
    """An input of whole numbers refuses others in whatever row they are."""

    def network():
        codes, numbers = keras.Input((1,), name="codes", dtype="int32"), keras.Input((4,), name="numbers")
        joined = keras.layers.Concatenate()([keras.layers.Flatten()(keras.layers.Embedding(3, 2)(codes)), numbers])
        return keras.Model([codes, numbers], keras.layers.Dense(1, activation="sigmoid")(joined))

    broken = np.column_stack([np.arange(100) % 3, X[:, 1:]])
    broken[-1, 0] = 0.5
    member = KerasClassifier(network, loss="binary_crossentropy", inputs={"codes": [0], "numbers": slice(1, 5)})
    for estimator in (member, KerasAveragingClassifier(member, n_estimators=2)):
        with pytest.raises(ValueError, match=r"takes whole numbers: got 0\.5"):
            estimator.fit(OnDisk(broken), Y)


def test_workers_open_the_array_themselves(tmp_path, workers_pay, all_are_large):
    """What can be pickled goes to workers as it is, and gives the same; an open file of HDF5 is refused in words."""
    ensemble = KerasAveragingClassifier(mlp(), n_estimators=2, random_state=0)
    with as_hdf5(tmp_path / "X.h5", X) as file:
        with pytest.raises(TypeError, match=re.escape("got h5py._hl.dataset.Dataset, which cannot")):
            ensemble.set_params(n_jobs=2).fit(file["X"], Y)
    rows = LazyRows(OnDisk(X), "float32")
    assert as_arguments(TrainingData(Inputs(rows, rows), Y)).floats is rows


def test_rows():
    """Rows come in the order that was asked for; `take` reads nothing."""
    on_disk = OnDisk(X)
    rows = LazyRows(on_disk, "float32")
    assert (rows.shape, len(rows), rows.ndim, rows.dtype, rows.nbytes) == (X.shape, 100, 2, "float32", 2000)
    expected = X.astype("float32")
    for some in (slice(3, 6), slice(None, None, -7), [5, 5, 0], [-1, 3], [], Y == "yes"):
        np.testing.assert_array_equal(rows[some], expected[some])
        assert rows[some].dtype == "float32"
    on_disk.n_rows = 0
    taken = rows.take([7, 1, 7, 99])
    assert on_disk.n_rows == 0
    np.testing.assert_array_equal(taken[[3, 0, 2]], expected[[99, 7, 7]])
    assert on_disk.n_rows == 2
    np.testing.assert_array_equal(taken.take([1])[:], expected[[1]])
    np.testing.assert_array_equal(np.asarray(taken), expected[[7, 1, 7, 99]])


def test_rows_are_read_in_few_slices(monkeypatch):
    """Close rows are read with those between them, far ones by their numbers, no more than so many at once."""
    monkeypatch.setattr("skensemble._numeric.lazy_rows._INDICES_AT_ONCE", 3)
    on_disk = OnDisk(X)
    for numbers, n_read, most in (([9, 1, 3], 9, 9), ([99, 1, 50], 3, 3), ([0, 30, 60, 90, 95], 3 + 6, 6)):
        on_disk.n_rows = on_disk.most_rows = 0
        np.testing.assert_array_equal(LazyRows(on_disk, "float64")[numbers], X[numbers])
        assert (on_disk.n_rows, on_disk.most_rows) == (n_read, most)


def test_what_is_lazily_indexed():
    """Arrays, tensors and tables have their values in memory; a small array on the disk is read at once, as it is."""
    in_memory = [X, X.tolist(), keras.ops.convert_to_tensor(X), keras.Variable(X), np.ma.array(X), X[0, 0], None]
    assert not any(map(is_lazily_indexed, in_memory))
    assert not is_lazily_indexed(OnDisk(X[:, 0]))
    assert is_lazily_indexed(OnDisk(X))
    small = read_or_rows(OnDisk(X), "float32")
    assert isinstance(small, np.ndarray)
    assert small.dtype == X.dtype
