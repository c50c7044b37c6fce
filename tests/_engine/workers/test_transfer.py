"""What goes to a worker and what comes back."""

import dataclasses
import pickle
from functools import partial

import keras
import numpy as np
import pytest
from scipy.sparse import csr_matrix, random
from sklearn.linear_model import LogisticRegression

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.execution import fit_here
from skensemble._engine.progress import Task
from skensemble._engine.workers.transfer import (
    PackedIndices,
    as_arguments,
    needed,
    pack,
    unpack,
    with_networks,
    without_networks,
)
from skensemble._engine.workers.work import count_work
from skensemble._members.inputs import Inputs, TrainingData
from skensemble._members.spec import MemberSpec, with_callbacks
from skensemble._numeric.sparse_rows import SparseRows

NETWORK = KerasClassifier(hidden_layer_sizes=(3,), epochs=1)


def specs(network, n_members):
    return dict(enumerate(with_callbacks([MemberSpec(network, i) for i in range(n_members)])))


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize(
    ("indices", "n_bytes"),
    [
        ([5, 3, 5, 255], 4),  # a byte each
        ([5, 3, 5, 256], 8),
        ([2**16, 0, 2**16], 12),
        (range(0, 1000, 2), 125),  # a bit for each row up to the last
        ([0, 60_000], 4),  # few of many rows, in order
        ([0], 1),
    ],
)
def test_indices_take_few_bytes(indices, n_bytes):
    """Rows drawn with replacement keep their order; ascending ones are a bit for each row where that is less."""
    packed = PackedIndices.of(np.array(indices))
    assert packed.values.nbytes == n_bytes
    np.testing.assert_array_equal(through_pickle(packed).indices(), indices)


def test_members_share_their_indices():
    """Members on the same rows are still on the same rows, in one array, when they have travelled."""
    rows = np.arange(0, 60, 2)
    members = {i: MemberSpec(NETWORK, i, sample_indices=rows, columns=np.array([1, 3])) for i in (4, 7)}
    travelled = unpack(through_pickle(pack(members)))
    assert list(travelled) == [4, 7]
    assert travelled[4].sample_indices is travelled[7].sample_indices
    np.testing.assert_array_equal(travelled[4].sample_indices, rows)
    np.testing.assert_array_equal(travelled[4].columns, [1, 3])
    assert travelled[4].validation_indices is None


def test_members_without_rows():
    """No rows at all, and rows counted from the end, travel as they are."""
    members = {0: MemberSpec(NETWORK, 0, sample_indices=np.array([], int), validation_indices=np.array([-1, 3]))}
    travelled = unpack(pack(members))[0]
    assert len(travelled.sample_indices) == 0
    np.testing.assert_array_equal(travelled.validation_indices, [-1, 3])


def test_memory_maps_travel_as_names_of_their_files(tmp_path):
    """A part of a memory map is the same part of it in the worker; no rows are in the pickle."""
    whole = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "float32", (5000, 10))
    whole[:] = np.arange(50_000).reshape(5000, 10)
    whole.flush()
    for mapped in (whole, np.asarray(np.load(tmp_path / "X.npy", mmap_mode="r"))[100:]):
        arguments = as_arguments(TrainingData(Inputs(mapped, mapped), np.zeros(len(mapped))))
        assert arguments.given is arguments.floats
        assert len(pickle.dumps(arguments.floats)) < 1000
        X = through_pickle(arguments).data(None).X
        assert isinstance(X.floats, np.memmap)
        np.testing.assert_array_equal(X.floats, mapped)


def test_changes_of_a_copy_on_write_memory_map_travel(tmp_path):
    """What was changed in memory alone is not in the file: the rows travel."""
    np.save(tmp_path / "X.npy", np.ones((100, 10), "float32"))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    mapped[50] = 7
    travelled = as_arguments(TrainingData(Inputs(mapped, mapped), np.zeros(100)))
    assert not isinstance(travelled.floats, np.memmap)  # which joblib would open again
    np.testing.assert_array_equal(through_pickle(travelled).data(None).X.floats, mapped)


def test_memory_map_that_the_worker_does_not_see(tmp_path):
    """Where the file is missing, shorter or another one, the error says so and what to do."""
    np.save(tmp_path / "X.npy", np.ones((100, 10), "float32"))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    travelled = through_pickle(as_arguments(TrainingData(Inputs(mapped, mapped), np.zeros(100))))
    message = "whose file must be on a disk that all workers share: the worker on .* in .*X.npy"
    for other in (np.zeros((100, 10), "float32"), np.ones((10, 10), "float32"), None):
        (tmp_path / "X.npy").unlink()
        if other is not None:
            np.save(tmp_path / "X.npy", other)
        with pytest.raises(FileNotFoundError, match=message):
            travelled.data(None)


def test_sparse_rows_travel_as_a_matrix():
    """Rows that are dense when they are needed travel sparse, as a matrix that Dask knows."""
    rows = SparseRows(random(50, 20, 0.1, "csr", random_state=0))
    arguments = as_arguments(TrainingData(Inputs(None, rows), np.zeros(50)))
    assert isinstance(arguments.floats, csr_matrix)
    np.testing.assert_array_equal(arguments.data(None).X.floats[3:7], rows[3:7])


def test_only_the_form_that_members_need():
    """Networks need X as numbers, other estimators X as it was given."""
    given, floats = [["a"], ["b"]], np.ones((2, 1))
    arguments = as_arguments(TrainingData(Inputs(given, floats), np.zeros(2)))
    network, other = MemberSpec(NETWORK, 0), MemberSpec(LogisticRegression(), 0)
    assert [one is not None for one in needed(arguments, {0: network})[:2]] == [True, False]
    assert [one is not None for one in needed(arguments, {0: other})[:2]] == [False, True]
    assert [one is not None for one in needed(arguments, {0: other, 1: network})[:2]] == [True, True]


def test_results_are_stacked_arrays(blobs):
    """Trained members come back without Keras objects, those that only predict without their optimizers' values."""
    X, y = blobs
    data = TrainingData(Inputs(X, X), y)
    members = specs(NETWORK, 4)
    members |= {i: dataclasses.replace(members[i], keeps_optimizer=False) for i in (2, 3)}
    _, networks = count_work(members, data, "auto")
    results = fit_here(members, data, "auto", Task())
    light = without_networks(results, members, frozenset(networks))
    assert b"keras.src" not in pickle.dumps(light)
    came = through_pickle(light)
    with_networks(came, networks)
    for i, result in results.items():
        sent, values = result.member.values(), came[i].member.values()
        for part, part_came in zip(sent[:2], values[:2], strict=True):
            for value, value_came in zip(part, part_came, strict=True):
                np.testing.assert_array_equal(value, value_came)
        assert len(values.optimizer) == (len(sent.optimizer) if i < 2 else 0)
        assert came[i].member.history == result.member.history
    here, there = (one[0].member.build() for one in (results, came))
    np.testing.assert_array_equal(here.predict_proba(X), there.predict_proba(X))
    assert len(there.model_.optimizer.variables) == len(here.model_.optimizer.variables)


# What is counted


def build(*hidden, row=(4,), units=3, meta=None):
    layers = [one() for one in hidden]
    return keras.Sequential([keras.Input(row), *layers, keras.layers.Dense(units, activation="softmax")])


def work_of(X, y, *hidden, engine="auto", **params):
    network = KerasClassifier(
        partial(build, *hidden, row=X.shape[1:]), loss="sparse_categorical_crossentropy", **params
    )
    members = specs(network, 2)
    (work,), networks = count_work(members, TrainingData(Inputs(X, X), y), engine)
    return work, networks


def test_networks_are_built_once_an_estimator(blobs):
    """One network tells what all its copies take; Keras' own fits are no program."""
    X, y = blobs
    n_built = []

    def counted():
        n_built.append(1)
        return build()

    network = KerasClassifier(counted, loss="sparse_categorical_crossentropy")
    members = specs(network, 20)
    for engine, is_fused in (("auto", True), ("keras", False)):
        n_built.clear()
        (work,), networks = count_work(members, TrainingData(Inputs(X, X), y), engine)
        assert len(n_built) == 1
        assert work.is_fused == is_fused
        assert list(networks) == (list(range(20)) if is_fused else [])


def test_networks_that_cannot_be_fused(blobs):
    """They are counted as fits of their own."""
    work, networks = work_of(*blobs, fit__initial_epoch=1, epochs=2)
    assert not work.is_fused
    assert not networks


@pytest.mark.parametrize(
    ("row", "hidden", "products"),
    [
        ((4,), [], 4 * 3 + 3),
        # 3 x 3 x 1 x 2 + 2 values at 6 x 6 places, then 72 x 3 + 3
        ((8, 8, 1), [partial(keras.layers.Conv2D, 2, 3), keras.layers.Flatten], 20 * 36 + 219),
        # gates of 4 x (2 x 3 + 3 x 3 + 3) values in 5 steps, then 3 x 3 + 3
        ((5, 2), [partial(keras.layers.LSTM, 3)], 72 * 5 + 12),
    ],
)
def test_products_of_a_row(row, hidden, products):
    """Values count in each place that they are applied to: pixels, steps."""
    from skensemble._compat.keras import row_products

    assert row_products(build(*hidden, row=row)) == products


def test_products_of_wrapped_layers():
    """Values of layers in layers count in each step; looking values up is no multiplication."""
    from skensemble._compat.keras import row_products

    within = keras.layers.TimeDistributed(keras.layers.Dense(2))
    model = keras.Sequential([keras.Input((5,)), keras.layers.Embedding(100, 3), within, keras.layers.Flatten()])
    assert row_products(model) == 5 * (3 * 2 + 2)


def test_parts_do_not_depend_on_what_is_finished(blobs, monkeypatch):
    """Members that are finished leave their part; the others stay in theirs."""
    from skensemble._engine.workers import fit as _workers
    from skensemble._engine.workers import parts as _parts

    X, y = blobs
    members = specs(NETWORK, 6)
    monkeypatch.setattr(_parts, "WORKER_SECONDS", 1e-9)
    monkeypatch.setattr(_workers, "count_workers", lambda n_jobs: n_jobs)
    arguments = members, TrainingData(Inputs(X, X), y), "auto"
    assert [list(part) for part in _workers.parts_of(*arguments, {}, 2).unfinished] == [[0, 1, 2], [3, 4, 5]]
    left = _workers.parts_of(*arguments, dict.fromkeys([0, 1, 2, 4]), 2)
    assert [list(part) for part in left.unfinished] == [[3, 5]]
    assert left.n_workers == 2
    assert _workers.parts_of(*arguments, dict.fromkeys(members), 2).unfinished == []


def test_small_members_stay_in_this_process(blobs, monkeypatch):
    """With `n_jobs=2` an ensemble of small networks starts no workers."""
    monkeypatch.setattr("skensemble._engine.workers.fit.Parallel", None)
    ensemble = KerasAveragingClassifier(NETWORK, 20, n_jobs=2, random_state=0).fit(*blobs)
    assert ensemble.engine_ == "fused"
