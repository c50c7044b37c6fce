import os
import random
import shutil
import threading
import time
from contextlib import suppress
from functools import partial

import keras
import numpy as np
import pytest
from checkpointed_fits import FITS, FitProcess, data, digest, network, pass_points
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    SnapshotEnsembleClassifier,
)
from skensemble._checkpoint import store as _checkpoint
from skensemble._checkpoint.state_file import write_description
from skensemble._checkpoint.store import Pace, open_checkpoint
from skensemble._engine import execution as _execution

POINTS = ["before the write", "after the write", "after the replacement", "after the end"]
every_fit = pytest.mark.parametrize("name", FITS)


class Killed(BaseException):
    """Takes the place of a kill in a test's own process."""


@pytest.fixture
def always_due(monkeypatch):
    """A write at every chance."""
    monkeypatch.setattr(_checkpoint, "MAX_SHARE", 1.0)


@pytest.fixture
def interrupt():
    """Function that raises `Killed` when a point of a write is passed for the n-th time from now on."""
    wanted = {"point": None, "passes": 0}

    def reach(point):
        if point == wanted["point"]:
            wanted["passes"] -= 1
            if wanted["passes"] == 0:
                raise Killed

    before = pass_points(reach)
    yield lambda point, number: wanted.update(point=point, passes=number)
    for owner, name, function in before:
        setattr(owner, name, function)


def fit(name, directory, **params):
    return FITS[name](checkpoint_dir=directory, random_state=0, **params).fit(*data())


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "lock"}


def averaging(directory=None, **params):
    given = {"estimator": network(), "n_estimators": 2, "random_state": 0, **params}
    return KerasAveragingClassifier(checkpoint_dir=directory, **given)


# Resuming


@every_fit
def test_interrupted_fit_ends_as_the_uninterrupted(name, tmp_path, always_due, interrupt):
    """A fit that is interrupted at every third write has the variables and histories of one that never was."""
    expected = digest(FITS[name](random_state=0).fit(*data()))
    n_interruptions = 0
    while True:
        interrupt("after the replacement", 3)
        try:
            ensemble = fit(name, tmp_path)
            break
        except Killed:
            n_interruptions += 1
    assert n_interruptions >= 1
    assert digest(ensemble) == expected


@every_fit
def test_finished_fit_is_taken_from_the_directory(name, tmp_path, monkeypatch):
    """A fit that is finished is not trained again, and gives the same."""
    first = fit(name, tmp_path)
    monkeypatch.setattr("skensemble._engine.execution.run_fused", None)
    monkeypatch.setattr("skensemble._engine.execution.fit_with_keras", None)
    assert digest(fit(name, tmp_path)) == digest(first)


@pytest.mark.parametrize("point", POINTS)
def test_interruption_at_each_point_of_a_write(point, tmp_path, always_due, interrupt):
    """Wherever a write is interrupted, the state before or after it is there, and no half-written file stays."""
    expected = digest(FITS["averaging"](random_state=0).fit(*data()))
    for number in (4, 2, 1):
        interrupt(point, number)
        try:
            fit("averaging", tmp_path)
        except Killed:
            pass
    interrupt(None, 0)
    assert digest(fit("averaging", tmp_path)) == expected
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".json", ".result"]


def test_regressors_resume(tmp_path, always_due, interrupt, regression):
    """A regressor with rows in another order goes on with the order that it would have drawn."""
    member = KerasRegressor(hidden_layer_sizes=(4,), epochs=7, batch_size=8)
    expected = KerasAveragingRegressor(member, 2, random_state=0).fit(*regression)
    ensemble = clone(expected).set_params(checkpoint_dir=tmp_path)
    interrupt("after the replacement", 3)
    with pytest.raises(Killed):
        ensemble.fit(*regression)
    np.testing.assert_array_equal(ensemble.fit(*regression).predict(regression[0]), expected.predict(regression[0]))


def test_progress_says_where_the_fit_was_resumed(tmp_path, always_due, interrupt, capsys):
    """With `verbose`, a line tells the epoch; without, nothing is printed."""
    interrupt("after the replacement", 2)  # `fit.json`, then the state after the first epoch
    with pytest.raises(Killed):
        averaging(tmp_path).fit(*data())
    assert capsys.readouterr().out == ""
    averaging(tmp_path, verbose=1).fit(*data())
    assert capsys.readouterr().out.startswith("2 members, resumed at epoch 1 of 9\n2 members, epoch 2 of 9, mean: loss")


def test_callbacks_of_ones_own_keep_finished_members_only(tmp_path, always_due, interrupt):
    """What a callback of one's own knows cannot be stored: an interrupted group begins anew, with the same result."""

    class Counter(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 3:
                self.model.stop_execution = True

    member = network(callbacks=[Counter()])
    expected = KerasAveragingClassifier(member, 2, random_state=0).fit(*data())
    ensemble = KerasAveragingClassifier(member, 2, random_state=0, checkpoint_dir=tmp_path)
    interrupt("before the write", 2)  # `fit.json`, then the result
    with pytest.raises(Killed):
        ensemble.fit(*data())
    assert [path.suffix for path in tmp_path.glob("*.*")] == [".json"]
    assert digest(ensemble.fit(*data())) == digest(expected)


# Reuse of finished members


def test_larger_ensembles_take_the_finished_members(tmp_path, monkeypatch):
    """With a larger `n_estimators`, in a new process or with `warm_start`, only new members are trained."""
    trained, run = [], _execution.run_fused

    def counting(group, *args):
        trained.append(len(group.members))
        return run(group, *args)

    monkeypatch.setattr(_execution, "run_fused", counting)
    small = averaging(tmp_path).fit(*data())
    again = averaging(tmp_path, n_estimators=3).fit(*data())
    warm = small.set_params(warm_start=True, n_estimators=4).fit(*data())
    assert trained == [2, 1, 1]
    np.testing.assert_array_equal(warm.predict_members(data()[0])[:3], again.predict_members(data()[0]))
    np.testing.assert_allclose(
        warm.predict_members(data()[0]), averaging(n_estimators=4).fit(*data()).predict_members(data()[0]), rtol=1e-5
    )


def test_smaller_ensembles_take_the_first_members(tmp_path):
    """A smaller `n_estimators` takes the first of the finished members."""
    large = averaging(tmp_path, n_estimators=3).fit(*data())
    small = averaging(tmp_path).fit(*data())
    np.testing.assert_array_equal(small.predict_members(data()[0]), large.predict_members(data()[0])[:2])


def test_combination_may_change(tmp_path, monkeypatch):
    """What changes the combination only, such as `voting`, trains nothing again."""
    averaging(tmp_path).fit(*data())
    monkeypatch.setattr("skensemble._engine.execution.run_fused", None)
    assert averaging(tmp_path, voting="hard", weights=[1, 2]).fit(*data()).predict(data()[0]).shape == (40,)


def test_fit_without_a_seed_keeps_its_seed(tmp_path, always_due, interrupt):
    """With `random_state=None` the seed that was drawn is in the directory; another directory gets another one."""
    interrupt("after the replacement", 4)
    with pytest.raises(Killed):
        averaging(tmp_path / "a", random_state=None).fit(*data())
    interrupt(None, 0)
    state = next((tmp_path / "a").glob("*.state")).name
    first, second, other = (averaging(tmp_path / d, random_state=None).fit(*data()) for d in "aab")
    assert (tmp_path / "a" / state).with_suffix(".result").exists()
    assert digest(first) == digest(second)
    assert digest(first) != digest(other)


def test_frozen_members_stay_as_they_are(tmp_path):
    """Fitted members are not stored, and the others are."""
    frozen = FrozenEstimator(network().fit(*data()))
    ensemble = KerasVotingClassifier([("new", network()), ("old", frozen)], random_state=0, checkpoint_dir=tmp_path)
    first = ensemble.fit(*data()).predict_members(data()[0])
    np.testing.assert_array_equal(ensemble.fit(*data()).predict_members(data()[0]), first)


# What must not change


def changed(name):
    """(ensemble, X, y, sample_weight) that differ from those of the test in one thing."""
    X, y = data()
    weights = np.ones(len(y))
    ensemble = averaging()
    if name == "X":
        X = X.copy()
        X[-1, -1] += 1e-3
    elif name == "y":
        y = y.copy()
        y[0] = (y[0] + 1) % 3
    elif name == "sample_weight":
        weights[3] = 2.0
    elif name in ("`epochs`", "`hidden_layer_sizes`", "`optimizer`"):
        value = {"`epochs`": 10, "`hidden_layer_sizes`": (7,), "`optimizer`": keras.optimizers.SGD(0.1)}[name]
        ensemble.set_params(**{f"estimator__{name.strip('`')}": value})
    elif name == "`random_state`":
        ensemble.set_params(random_state=1)
    elif name == "`engine`":
        ensemble.set_params(engine="fused")
    elif name == "`bootstrap`":
        ensemble.set_params(bootstrap=True)
    return ensemble, X, y, weights


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("X", "Changed: `X`\\."),
        ("y", "Changed: `y`\\."),
        ("sample_weight", "Changed: `sample_weight`\\."),
        ("`epochs`", "Changed: `epochs` of member 0 \\(9, now 10\\)\\."),
        ("`hidden_layer_sizes`", "Changed: `hidden_layer_sizes` of member 0 \\(\\(6\\), now \\(7\\)\\)\\."),
        ("`optimizer`", "Changed: `optimizer` of member 0\\."),
        ("`random_state`", "the seed of member 0 \\(`random_state`\\)"),
        ("`engine`", "Changed: `engine` \\(auto, now fused\\)\\."),
        ("`bootstrap`", "the rows of member 0 \\(`random_state`, `bootstrap`"),
        ("version", "the version of keras \\(.+, now 99.0\\)\\."),
    ],
)
def test_changed_fits_are_errors(name, message, tmp_path, monkeypatch):
    """A fit of something else says what changed, and leaves every file as it was."""
    X, y = data()
    averaging(tmp_path).fit(X, y, sample_weight=np.ones(len(y)))
    before = contents(tmp_path)
    ensemble, X, y, weights = changed(name)
    if name == "version":
        monkeypatch.setattr(keras, "__version__", "99.0")
    with pytest.raises(ValueError, match=message):
        ensemble.set_params(checkpoint_dir=tmp_path).fit(X, y, sample_weight=weights)
    assert contents(tmp_path) == before


def builder(source):
    """A builder with this code, as a script would define it."""
    namespace = {"keras": keras, "__name__": "__main__"}
    exec(source, namespace)
    return namespace["build"]


BUILDER = """
WIDTH = 3

def activation():
    return "relu"

def build(meta):
    layers = [keras.layers.Dense(WIDTH, activation=activation()), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers])
"""


@pytest.mark.parametrize(("old", "new"), [("Dense(3", "Dense(units=3"), ("WIDTH = 3", "WIDTH = 4"), ("relu", "tanh")])
def test_changed_builders_are_errors(old, new, tmp_path):
    """The code of a builder counts, and that of functions and the constants it uses; its place in the file does not."""
    params = {"loss": "sparse_categorical_crossentropy", "epochs": 1}
    ensemble = averaging(tmp_path, estimator=KerasClassifier(builder(BUILDER), **params))
    same = averaging(tmp_path, estimator=KerasClassifier(builder("\n\n" + BUILDER), **params))
    for one in (ensemble, same):
        one.fit(*data())
    changed = clone(ensemble).set_params(estimator__model=builder(BUILDER.replace(old, new, 1)))
    with pytest.raises(ValueError, match="Changed: `model` of member 0"):
        changed.fit(*data())


def test_changed_schedules_are_errors(tmp_path):
    """The cycles of a snapshot ensemble are part of the fit; how its snapshots are combined is not."""
    ensemble = SnapshotEnsembleClassifier(network(), 3, random_state=0, checkpoint_dir=tmp_path).fit(*data())
    ensemble.set_params(voting="hard").fit(*data())
    for params in ({"n_estimators": 2}, {"schedule": "triangular"}, {"initial_learning_rate": 0.5}, {"n_last": 1}):
        with pytest.raises(ValueError, match="what is kept of the run"):
            clone(ensemble).set_params(**params).fit(*data())


def test_nothing_is_kept_of_a_fit_that_failed_before_execution(tmp_path):
    """After an error in a first fit, its parameters may be changed."""
    ensemble = averaging(tmp_path, estimator=network(loss="no such loss"))
    with pytest.raises(ValueError, match="no such loss"):
        ensemble.fit(*data())
    ensemble.set_params(estimator__loss="sparse_categorical_crossentropy").fit(*data())


def test_checkpoint_dir_must_be_a_directory(tmp_path):
    """A file in the place of the directory is an error before training."""
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ValueError, match="must be a directory"):
        averaging(file).fit(*data())
    assert file.read_text() == "mine"


# Damaged files


def damages(whole, foreign):
    """Functions that spoil a file, each in another way; `foreign` is the file of another fit."""
    rng = random.Random(0)
    cuts = [0, 1, 18, 19, 27, 40, len(whole) - 33, len(whole) - 1, *rng.sample(range(len(whole)), 10)]
    flips = [0, 19, 26, 27, len(whole) - 1, *rng.sample(range(len(whole)), 15)]
    texts = [b"text", b"{}", b"\x93NUMPY", b"PK\x03\x04" + bytes(100), bytes(1000), foreign]
    yield from (whole[:cut] for cut in cuts)
    yield from (whole[:i] + bytes([whole[i] ^ 0x40]) + whole[i + 1 :] for i in flips)
    yield from texts
    yield from (whole + extra for extra in (b"\n", whole))
    yield from (whole[1:], whole[::-1], foreign[: len(foreign) // 2], whole[: len(whole) // 2] + foreign)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(directory with a finished fit, its digest, the result file of another fit)."""
    directory, other = (tmp_path_factory.mktemp(name) for name in ("finished", "other"))
    learned = digest(averaging(directory).fit(*data()))
    averaging(other, random_state=1).fit(*data())
    return directory, learned, next(other.glob("*.result")).read_bytes()


N_DAMAGES = 50
SHOWN_DAMAGES = [0, 7, 18, 24, 38, 43]


@pytest.mark.parametrize(
    "i", [i if i in SHOWN_DAMAGES else pytest.param(i, marks=pytest.mark.slow) for i in range(N_DAMAGES)]
)
def test_damaged_files_are_set_aside(i, finished, tmp_path):
    """A result that is cut off, changed or foreign is kept under another name, and trained again to the same."""
    source, expected, foreign = finished
    directory = shutil.copytree(source, tmp_path / "fit")
    (result,) = directory.glob("*.result")
    damaged = list(damages(result.read_bytes(), foreign))[i]
    result.write_bytes(damaged)
    with pytest.warns(
        RuntimeWarning, match="cannot be used: .* It is kept as .*, and what it held is trained again"
    ) as caught:
        ensemble = averaging(directory).fit(*data())
    assert [one.filename for one in caught if issubclass(one.category, RuntimeWarning)] == [__file__]
    assert digest(ensemble) == expected
    assert next(directory.glob("*.aside-1")).read_bytes() == damaged
    assert result.read_bytes() == (source / result.name).read_bytes()


def test_there_are_as_many_damages_as_tests(finished):
    """The damages above are different from each other."""
    source, _, foreign = finished
    whole = next(source.glob("*.result")).read_bytes()
    assert len(set(damages(whole, foreign))) == N_DAMAGES
    assert whole not in damages(whole, foreign)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1, 2]", b'{"format": 1, "sha256": "0"}'])
def test_damaged_descriptions_are_set_aside(damage, finished, tmp_path):
    """Without the description of the fit, its results still tell what they are of."""
    directory = shutil.copytree(finished[0], tmp_path / "fit")
    (directory / "fit.json").write_bytes(damage)
    with pytest.warns(RuntimeWarning, match="fit.json in `checkpoint_dir` cannot be used") as caught:
        ensemble = averaging(directory).fit(*data())
    assert [one.filename for one in caught if issubclass(one.category, RuntimeWarning)] == [__file__]
    assert digest(ensemble) == finished[1]
    assert [path.suffix for path in directory.glob("*.result*")] == [".result"]


@pytest.mark.parametrize("before", [{"format": 1, "members": {}}, {"members": {}}, {"format": 2}])
def test_descriptions_of_another_format_are_refused(before, finished, tmp_path):
    """A directory of another version of skensemble is told apart in words, and stays as it is."""
    directory = shutil.copytree(finished[0], tmp_path / "fit")
    write_description(directory / "fit.json", before)
    kept = contents(directory)
    with pytest.raises(ValueError, match="was begun with something else. Changed: the format of the files"):
        averaging(directory).fit(*data())
    assert contents(directory) == kept


def test_results_of_other_fits_are_not_taken(finished, tmp_path):
    """A directory whose description is gone does not give its members to a fit of something else."""
    directory = shutil.copytree(finished[0], tmp_path / "fit")
    (directory / "fit.json").unlink()
    X, y = data()
    with pytest.warns(RuntimeWarning, match="it is of another fit"):
        ensemble = averaging(directory).fit(X + 1, y)
    assert digest(ensemble) == digest(averaging().fit(X + 1, y))


def test_damaged_states_are_set_aside(tmp_path, always_due, interrupt):
    """A damaged state of an unfinished fit is trained again from the start."""
    interrupt("after the replacement", 3)
    with pytest.raises(Killed):
        averaging(tmp_path).fit(*data())
    (state,) = tmp_path.glob("*.state")
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match="it is cut off"):
        ensemble = averaging(tmp_path).fit(*data())
    assert digest(ensemble) == digest(averaging().fit(*data()))


# Two at once, and the time it takes


def test_second_fit_in_a_directory_is_an_error(tmp_path):
    """A directory is for one fit at a time; when that has ended, for the next."""
    with open_checkpoint(tmp_path), pytest.raises(RuntimeError, match=f"in use by process {os.getpid()} on "):
        averaging(tmp_path).fit(*data())
    assert contents(tmp_path) == {}
    averaging(tmp_path).fit(*data())


def test_fits_of_two_threads_do_not_mix(tmp_path):
    """The lock holds between the threads of a process too."""
    holds, end = threading.Event(), threading.Event()

    def hold():
        with open_checkpoint(tmp_path):
            holds.set()
            end.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert holds.wait(60)
        with pytest.raises(RuntimeError, match="one fit at a time"):
            averaging(tmp_path).fit(*data())
    finally:
        end.set()
        thread.join()


def test_workers_of_a_killed_fit_do_not_write(tmp_path, always_due):
    """A worker that outlived its fit stops where another fit has taken over the directory."""
    with open_checkpoint(tmp_path) as old:
        pass
    with open_checkpoint(tmp_path), pytest.raises(RuntimeError, match="Another fit has taken over"):
        old.part([]).save(dict)
    assert contents(tmp_path) == {}


class Clock:
    """Seconds that pass when the test says so."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(("epoch", "cost"), [(0.01, 0.5), (0.3, 0.02), (7.0, 0.1), (0.1, 3.0)])
def test_writing_takes_a_bounded_share_of_the_time(epoch, cost):
    """However long epochs and writes last, writing takes at most 5 % of the time, and nearly that much is used."""
    clock = Clock()
    pace, start, spent = Pace(cost * 2e8, clock), clock.now, 0.0
    while clock.now - start < 3000:
        clock.now += epoch
        if pace.is_due():
            with pace.writing():
                clock.now += cost
            spent += cost
    share = spent / (clock.now - start)
    assert share <= 0.05
    assert share >= 0.5 * min(0.05, cost / (epoch + cost))


def test_short_fits_write_once(tmp_path, interrupt, monkeypatch):
    """A fit of a fraction of a second writes its description and its result only."""
    # No time passes, however slow the machine is.
    monkeypatch.setattr(_checkpoint, "Pace", partial(Pace, clock=Clock()))
    interrupt("before the write", 3)
    averaging(tmp_path / "second", random_state=5).fit(*data())


# Processes that are killed


# One run each of what is kept differently; `make test-fuzz` tries the others too, and workers, whose start takes long.
IN_FULL = pytest.mark.skipif(os.environ.get("SKENSEMBLE_FUZZ") != "full", reason="tried by `make test-fuzz`")
RUNS = [
    ("averaging", 1),
    ("watched", 1),
    ("polyak", 1),
    *(
        pytest.param(*run, marks=IN_FULL)
        for run in (("averaging", 2), ("with_keras", 2), ("bagging", 2), ("voting", 1), ("stacked", 1), ("snapshot", 1))
    ),
]


def wait_for_a_write(process, directory):
    """Wait until a fit has kept something in its directory, or has ended."""
    while process.is_alive() and not [*directory.glob("*.state"), *directory.glob("*.result")]:
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "n_jobs"), RUNS)
def test_processes_that_are_killed_at_random_moments(name, n_jobs, tmp_path, counts):
    """Kills at random moments of a fit, workers and all: the next process ends as one that was never killed."""
    rng = random.Random(f"{name} {n_jobs}")
    begin = partial(FitProcess, name, n_jobs=n_jobs, n_epochs=150)
    reference = begin(directory=tmp_path / "reference")
    wait_for_a_write(reference, tmp_path / "reference")
    began = time.monotonic()
    expected = reference.result()
    longest, n_kills = reference.ended - began, 0
    while n_kills < counts(1, 3):
        process = begin(directory=tmp_path / "killed")
        wait_for_a_write(process, tmp_path / "killed")
        time.sleep(rng.uniform(0, longest))
        with suppress(ProcessLookupError):  # it was faster
            process.kill()
        if process.result() is None:
            n_kills += 1
        else:  # the next one is killed earlier
            shutil.rmtree(tmp_path / "killed")
            longest /= 4
    assert begin(directory=tmp_path / "killed").result() == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", ["averaging", "polyak_watched"])
def test_processes_that_are_killed_at_points_of_a_write(name, tmp_path):
    """Processes that die one after the other, each at another point of a write, leave what the next goes on from."""
    expected = digest(FITS[name](random_state=0).fit(*data()))
    for point in POINTS:
        process = FitProcess(name, tmp_path, point=point, number=1 if point == "after the end" else 2)
        assert process.result() is None
    assert FitProcess(name, tmp_path).result() == expected
    assert not list(tmp_path.glob("*.state"))


@pytest.mark.slow
def test_second_process_is_an_error(tmp_path):
    """A process that fits into the directory of another one, which is still training, ends with an error."""
    first = FitProcess("with_keras", tmp_path, point="before the write", number=2, waits=True)
    with pytest.raises(RuntimeError, match=f"in use by process {first.pid} on "):
        fit("with_keras", tmp_path)
    first.go_on()
    assert first.result() == digest(fit("with_keras", tmp_path))
