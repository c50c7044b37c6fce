import csv
import functools
import pickle
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest
import scikeras.wrappers
from comparison import ensemble_of
from keras import callbacks as kc
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

import skensemble.io
from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._members.callback_factories import own_callbacks, picklable

X, Y = make_blobs(n_samples=24, n_features=4, centers=2, cluster_std=4.0, random_state=0)
X = X.astype("float32") / 5
X.flags.writeable = Y.flags.writeable = False
EPOCHS = 2
both_engines = pytest.mark.parametrize("engine", ["fused", "keras"])


def member(callbacks, engine="fused", **params):
    """Small unfitted network; Keras runs it eagerly, since tracing takes longer than so few steps."""
    return KerasClassifier(
        **{"hidden_layer_sizes": (2,), "epochs": EPOCHS, "batch_size": 12, "callbacks": callbacks, **params},
        run_eagerly=engine == "keras",
    )


class Losses(kc.Callback):
    """Record the loss of each epoch."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["loss"])


class WritesTo(kc.Callback):
    """A callback of the user's that has a path."""

    def __init__(self, **paths):
        super().__init__()
        vars(self).update(paths)


class Pruned(Exception):
    """As Optuna raises it."""


class Prune(kc.Callback):
    """Raise at the end of the first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        raise Pruned(f"epoch {epoch}")


def make_losses():
    """One callback, by a function that can be pickled."""
    return Losses()


# What a function is called with


@pytest.mark.parametrize(
    ("factory", "seen"),
    [
        (lambda: Tagged("none"), ["none"]),
        (lambda member: Tagged(member), [7]),
        (lambda i: [Tagged(i), Tagged(i + 1)], [7, 8]),
        (lambda i: (Tagged(i),), [7]),
        (lambda *, member: Tagged(member), [7]),
        (lambda member=3: Tagged(member), [7]),
        (lambda patience=3: Tagged(patience), [3]),
        (lambda *args, **kwargs: Tagged((args, kwargs)), [((), {})]),
        (lambda i, patience=3: Tagged((i, patience)), [(7, 3)]),
        (functools.partial(lambda patience, i: Tagged((i, patience)), 5), [(7, 5)]),
        (lambda i: [], []),
        ([lambda i: Tagged(i), lambda: Tagged("none")], [7, "none"]),
        ({"a": lambda i: Tagged(i)}, [7]),
    ],
)
def test_call(factory, seen):
    """Functions get the number of the member by their parameter without a default, or nothing."""
    for_fit, for_predict = own_callbacks(member(factory), 7)
    assert [callback.tag for callback in for_fit] == seen
    assert for_fit == for_predict


class Tagged(kc.Callback):
    """Remember what it was made with."""

    def __init__(self, tag=None):
        super().__init__()
        self.tag = tag


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda i: None, "must return a Keras callback or a list of them: .*<lambda> returned None for member 0"),
        (lambda: [Losses(), 3], "returned .*3] for member 0"),
        (lambda: dict, "returned <class 'dict'>"),
        (lambda i, j: Losses(), "must take the number of the member or nothing: .*<lambda> needs i, j"),
    ],
)
def test_functions_that_cannot_be_used(factory, message):
    """What is no callback, or asks for more than the number, is refused before training."""
    with pytest.raises(TypeError, match=message):
        KerasAveragingClassifier(member(factory), n_estimators=1).fit(X, Y)


def test_classes_take_parameters():
    """Classes are made by scikeras, of the parameters that are routed to them, also where a function returns one."""
    own, _ = own_callbacks(member(Tagged, callbacks__tag="routed"), 0)
    assert own[0].tag == "routed"
    own, _ = own_callbacks(member(lambda: Tagged, callbacks__tag="routed"), 0)
    assert own[0].tag == "routed"


# Placeholders


def test_placeholder():
    """`{member}` becomes the number in texts and paths, with a format where one is given; Keras' own stay."""
    given = [
        kc.ModelCheckpoint("m{member}/{epoch:02d}-{val_loss:.2f}.keras"),
        kc.BackupAndRestore("backup{member:03d}"),
        WritesTo(folder=Path("a") / "{member}"),
        kc.EarlyStopping(),
    ]
    (checkpoint, backup, own, stop), _ = own_callbacks(member(given), 4)
    assert checkpoint.filepath == "m4/{epoch:02d}-{val_loss:.2f}.keras"
    assert backup.backup_dir == "backup004"
    assert backup._weights_path.startswith("backup004")
    assert own.folder == Path("a") / "4"
    assert given[0].filepath == "m{member}/{epoch:02d}-{val_loss:.2f}.keras"
    assert stop is not given[3]


@both_engines
def test_files(tmp_path, engine):
    """Each member writes its own files, with its own variables and losses."""
    callbacks = [
        kc.ModelCheckpoint(tmp_path / "m{member}-{epoch}.keras"),
        kc.CSVLogger(tmp_path / "{member}.csv"),
    ]
    fitted = ensemble_of(member(callbacks, engine), engine=engine).fit(X, Y)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("0.csv", "1.csv"),
        *("m0-1.keras", "m0-2.keras", "m1-1.keras", "m1-2.keras"),
    ]
    for i, one in enumerate(fitted.estimators_):
        saved = keras.models.load_model(tmp_path / f"m{i}-2.keras")
        np.testing.assert_array_equal(saved.get_weights()[0], one.model_.get_weights()[0])
        with open(tmp_path / f"{i}.csv") as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        np.testing.assert_allclose(losses, one.history_["loss"])


# Paths that members would share


@pytest.mark.parametrize(
    "callback",
    [
        kc.ModelCheckpoint("same.keras"),
        kc.ModelCheckpoint("{epoch}.keras"),
        kc.CSVLogger("same.csv"),
        kc.TensorBoard("same"),
        kc.BackupAndRestore("same"),
        WritesTo(filename=Path("same")),
        lambda i: kc.CSVLogger("same.csv"),
        lambda i: kc.CSVLogger("same.csv" if i else "./same.csv"),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_shared_path(callback, monkeypatch):
    """Members that would write over each other's files are refused before anything is built."""
    monkeypatch.setattr("skensemble._wrappers.building.build_mlp", None)
    with pytest.raises(ValueError, match="members 0 and 1 share .*same|members 0 and 1 share .*epoch"):
        KerasAveragingClassifier(member(callback)).fit(X, Y)


def shared():
    """A member that writes to a path without a placeholder."""
    return member(kc.CSVLogger("same.csv"))


@pytest.mark.parametrize(
    "ensemble",
    [
        KerasVotingClassifier([("a", shared()), ("b", shared())]),
        StackedKerasClassifier([("a", shared())], cv=2),
        StackedKerasClassifier([("a", LogisticRegression()), ("b", shared())], final_estimator=shared(), cv=2),
    ],
)
def test_shared_path_elsewhere(ensemble, monkeypatch):
    """Named members, the members of folds and the final estimator do not share paths either."""
    monkeypatch.setattr("skensemble._wrappers.building.build_mlp", None)
    with pytest.raises(ValueError, match="share filename='same.csv' of CSVLogger"):
        ensemble.fit(X, Y)


def test_shared_path_of_later_members(tmp_path):
    """Members that `warm_start` adds do not write over the files of those there are."""
    ensemble = ensemble_of(member(kc.CSVLogger(tmp_path / "same.csv")), n_estimators=1, warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="members 0 and 1 share filename"):
        ensemble.set_params(n_estimators=2).fit(X, Y)


@pytest.mark.parametrize("callback", [WritesTo(folder=Path("same")), WritesTo(filename=""), WritesTo(filename=3)])
def test_paths_that_may_be_shared(callback):
    """A folder in which a callback finds names of its own is no path that it writes to."""
    assert ensemble_of(member(callback)).fit(X, Y).estimators_[1].callbacks_[0].model is not None


def test_one_member_may_write_anywhere(tmp_path):
    """A path needs no placeholder where one network is trained."""
    estimators = [("a", LogisticRegression()), ("b", member(kc.CSVLogger(tmp_path / "one.csv")))]
    KerasVotingClassifier(estimators).fit(X, Y)
    assert (tmp_path / "one.csv").exists()


# Callbacks after training


@both_engines
def test_callbacks_after_fit(engine):
    """What the callbacks of each member recorded is there after fit; the user's own object saw nothing."""
    given = Losses()
    fitted = ensemble_of(member([given, kc.EarlyStopping("loss")], engine), engine=engine).fit(X, Y)
    assert given.losses == []
    for one in fitted.estimators_:
        recorded, stop = one.callbacks_
        np.testing.assert_allclose(recorded.losses, one.history_["loss"])
        assert stop.best == min(one.history_["loss"])


@both_engines
def test_functions_are_called_once_for_each_member(engine):
    """A function makes the callbacks of each member once, and the user can keep them."""
    made = {}

    def make(i):
        made.setdefault(i, []).append(Losses())
        return made[i][-1]

    fitted = ensemble_of(member(make, engine), n_estimators=3, engine=engine).fit(X, Y)
    assert {i: len(own) for i, own in made.items()} == {0: 1, 1: 1, 2: 1}
    for i, one in enumerate(fitted.estimators_):
        assert one.callbacks_ == made[i]
        np.testing.assert_allclose(made[i][0].losses, one.history_["loss"])
    assert fitted.estimator.callbacks is make


def test_members_of_warm_start():
    """Members that are added later have the numbers after those there are."""
    numbers = []
    ensemble = ensemble_of(member(lambda i: numbers.append(i) or Losses()), warm_start=True).fit(X, Y)
    ensemble.set_params(n_estimators=3).fit(X, Y)
    assert numbers == [0, 1, 2]


def test_plain_scikeras_members(tmp_path):
    """Functions and placeholders work in members of scikeras' own class."""
    callbacks = [Losses, lambda i: kc.CSVLogger(tmp_path / "{member}")]
    plain = scikeras.wrappers.KerasClassifier(build, epochs=1, verbose=0, callbacks=callbacks)
    for engine in ("fused", "keras"):
        ensemble_of(plain, engine=engine).fit(X, Y)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]


def build(meta):
    """Network for plain scikeras."""
    layers = [keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(1, activation="sigmoid")]
    model = keras.Sequential(layers)
    model.compile(loss="binary_crossentropy")
    return model


def test_network_by_itself(tmp_path):
    """Outside of an ensemble the number is 0, and the user's own objects are called, as by scikeras."""
    given = Losses()
    alone = member([given, lambda i: kc.CSVLogger(tmp_path / f"{i}.csv")]).fit(X, Y)
    assert alone.callbacks_[0] is given
    assert len(given.losses) == EPOCHS
    assert (tmp_path / "0.csv").exists()
    assert not hasattr(member(given), "callbacks_")


@both_engines
def test_different_callbacks(engine):
    """Only some of the members may have callbacks, and only some may look at variables or stop at NaN."""

    def make(i):
        return [[], Losses(), kc.EarlyStopping("loss", restore_best_weights=True), [kc.TerminateOnNaN(), Losses()]][i]

    fitted = ensemble_of(member(make, engine), n_estimators=4, engine=engine).fit(X, Y)
    without = ensemble_of(member(None, engine), n_estimators=4, engine=engine).fit(X, Y)
    assert fitted.engine_ == engine
    assert [len(own.callbacks_) for own in fitted.estimators_] == [0, 1, 1, 2]
    np.testing.assert_allclose(fitted.predict_members(X), without.predict_members(X), rtol=1e-5)
    assert fitted.estimators_[1].callbacks_[0].losses == fitted.estimators_[1].history_["loss"]


@both_engines
def test_pruning(engine):
    """What a callback raises reaches the user, and the ensemble is not fitted."""
    ensemble = ensemble_of(member(lambda i: Prune() if i == 1 else [], engine), engine=engine)
    with pytest.raises(Pruned, match="epoch 0"):
        ensemble.fit(X, Y)
    assert not hasattr(ensemble, "estimators_")


# In each kind of ensemble


def test_stacked_numbers():
    """Members have the numbers from 0, those in the folds the next, fold by fold, the final estimator the last."""
    numbers = []

    def make(i):
        numbers.append(i)
        return Losses()

    network = member(make, "keras")
    estimators = [("a", network), ("b", LogisticRegression()), ("c", clone(network))]
    stacked = StackedKerasClassifier(estimators, final_estimator=network, cv=2, engine="keras").fit(X, Y)
    assert numbers == [0, 2, 3, 5, 6, 8, 9]
    for one in (stacked.estimators_[0], stacked.estimators_[2], stacked.final_estimator_):
        np.testing.assert_allclose(one.callbacks_[0].losses, one.history_["loss"])


@both_engines
@pytest.mark.parametrize("kind", [SnapshotEnsembleClassifier, PolyakWeightClassifier])
def test_one_run(kind, engine, tmp_path):
    """The members of one run share its callbacks, which have the number 0."""
    size = {"n_estimators": 2} if kind is SnapshotEnsembleClassifier else {"n_checkpoints": 2}
    estimator = member([make_losses, kc.CSVLogger(tmp_path / "{member}.csv")], engine)
    fitted = kind(estimator, engine=engine, random_state=0, **size).fit(X, Y)
    members = fitted.estimators_ if size.get("n_estimators") else [fitted.estimator_, *fitted.checkpoints_]
    for one in members:
        assert len(one.callbacks_[0].losses) == EPOCHS
        assert one.callbacks_[0] is members[0].callbacks_[0]
    assert [path.name for path in tmp_path.iterdir()] == ["0.csv"]


def test_cross_validation():
    """Clones call the same function."""
    made = []
    ensemble = ensemble_of(member(lambda: made.append(Losses()) or made[-1]), n_estimators=1)
    cross_val_score(ensemble, X, Y, cv=2)
    assert [len(one.losses) for one in made] == [EPOCHS, EPOCHS]


@pytest.mark.slow
@pytest.mark.workers
def test_workers(tmp_path, workers_pay):
    """Callbacks come back from workers with what they recorded, without their open files."""
    callbacks = [Losses, lambda i: kc.CSVLogger(tmp_path / f"{i}.csv")]
    fitted = ensemble_of(member(callbacks, "keras"), n_jobs=2, engine="keras").fit(X, Y)
    for i, one in enumerate(fitted.estimators_):
        assert one.callbacks_[0].losses == one.history_["loss"]
        assert len((tmp_path / f"{i}.csv").read_text().splitlines()) == 1 + EPOCHS


def test_checkpoint_dir(tmp_path):
    """Members that were finished are taken from the directory; the others get their own numbers."""
    numbers = []

    def make(i):
        return [kc.EarlyStopping("loss", patience=9)] if i >= 0 else numbers

    params = {"checkpoint_dir": tmp_path / "fit", "engine": "fused"}
    first = ensemble_of(member(make), **params).fit(X, Y)
    more = ensemble_of(member(make), n_estimators=3, **params).fit(X, Y)
    np.testing.assert_array_equal(more.predict_members(X)[:2], first.predict_members(X))
    assert more.estimators_[2].callbacks_[0].best == min(more.estimators_[2].history_["loss"])


# Kept


def test_pickled_callbacks(tmp_path):
    """Pickles keep what the callbacks recorded, and leave out open files."""
    callbacks = [make_losses, kc.CSVLogger(tmp_path / "{member}.csv")]
    fitted = ensemble_of(member(callbacks)).fit(X, Y)
    joblib.dump(fitted, tmp_path / "ensemble")
    for loaded in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "ensemble")):
        for one, before in zip(loaded.estimators_, fitted.estimators_, strict=True):
            assert one.callbacks_[0].losses == before.callbacks_[0].losses
            assert one.callbacks_[1].filename == before.callbacks_[1].filename
        clone(loaded).fit(X, Y)


def test_picklable():
    """Only what cannot be pickled is left out, and the callback in use keeps it."""
    callback = WritesTo(file=open(__file__), text="text", rows=np.arange(3), function=lambda: 3)
    (copied,) = picklable([callback])
    callback.file.close()
    assert vars(callback).keys() - vars(copied).keys() == {"file"}
    (same,) = picklable([copied])
    assert same is copied


def test_files_of_io(tmp_path):
    """A file holds the parameters; functions are not called when it is loaded, but by the next fit."""
    fitted = ensemble_of(member([make_losses, kc.EarlyStopping("loss")]), n_estimators=1).fit(X, Y)
    skensemble.io.dump(fitted, tmp_path / "a")
    trusted = [f"{make_losses.__module__}.make_losses"]
    loaded = skensemble.io.load(tmp_path / "a", trusted=trusted).estimators_[0]
    np.testing.assert_allclose(loaded.predict_proba(X), fitted.predict_proba(X), rtol=1e-5)
    assert not hasattr(loaded, "callbacks_")
    loaded.partial_fit(X, Y)
    assert len(loaded.callbacks_[0].losses) == 1
