import pickle

import keras
import numpy as np
import pytest
from backends import ON_JAX
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_score

from skensemble import (
    KerasClassifier,
    KerasRegressor,
    MembersDisplay,
    SnapshotEnsembleClassifier,
    SnapshotEnsembleRegressor,
)
from skensemble._engine.all_backends import cache as program_cache
from skensemble._members.random_draws import spawn_seeds
from skensemble._numeric.selection import held_out_rows

# Rounding of float32 that has grown over some steps of training.
TRAINED = {"rtol": 1e-3, "atol": 1e-5}
# 60 rows in batches of 25: three steps an epoch, the last one with fewer rows.
NETWORK = {"hidden_layer_sizes": (4,), "batch_size": 25, "shuffle": False}
EPOCHS, RATE = 7, 0.1
both_engines = pytest.mark.parametrize("engine", ["fused", "keras"])


def classifier(**parameters):
    """The network of most tests; SGD with momentum, whose slots matter from cycle to cycle."""
    optimizer = {"optimizer": "sgd", "optimizer__momentum": 0.9, "optimizer__learning_rate": RATE}
    return KerasClassifier(**{**NETWORK, **optimizer, "epochs": EPOCHS, **parameters})


class RatesByHand(keras.callbacks.Callback):
    """The cyclic rate written by hand: three cycles of 2, 2 and 3 epochs; keeps the variables at their ends."""

    def __init__(self, update, rate=RATE):
        super().__init__()
        self.update, self.rate, self.kept, self.used = update, rate, [], []

    def on_epoch_begin(self, epoch, logs=None):
        """Remember the place in the cycle."""
        self.start, self.length = [(0, 2), (0, 2), (2, 2), (2, 2), (4, 3), (4, 3), (4, 3)][epoch]
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate."""
        done = (self.epoch - self.start) / self.length
        if self.update == "batch":
            done += batch / (3 * self.length)
        self.used.append(self.rate / 2 * (np.cos(np.pi * done) + 1))
        self.model.optimizer.learning_rate = self.used[-1]

    def on_epoch_end(self, epoch, logs=None):
        """Keep the variables."""
        if epoch in (1, 3, 6):
            self.kept.append(self.model.get_weights())


@both_engines
@pytest.mark.parametrize("update", ["batch", "epoch"])
def test_snapshots_are_those_of_keras(blobs, engine, update, once):
    """Snapshots are the variables at the cycle ends of a run of Keras with a callback that sets the rate by hand."""
    X, y = blobs
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, update=update, engine=engine, random_state=0).fit(X, y)
    own = {"engine": "keras", "random_state": spawn_seeds(0, 1)[0], "callbacks": [RatesByHand(update)]}
    alone = once(update, lambda: classifier(**own).fit(X, y))
    by_hand = alone.callbacks[0]

    assert ensemble.engine_ == engine
    np.testing.assert_allclose(ensemble.learning_rates_, by_hand.used, rtol=1e-6)
    assert len(ensemble.estimators_) == 3
    for snapshot, variables in zip(ensemble.estimators_, by_hand.kept[::-1], strict=True):  # newest first
        for ours, theirs in zip(snapshot.model_.get_weights(), variables, strict=True):
            np.testing.assert_allclose(ours, theirs, **TRAINED)
    np.testing.assert_allclose(ensemble.estimators_[0].history_["loss"], alone.history_["loss"], **TRAINED)


@pytest.mark.parametrize(
    "optimizer",
    [keras.optimizers.Adam(0.05, clipnorm=1.0), keras.optimizers.RMSprop(0.01), keras.optimizers.Adafactor(0.01)],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_any_optimizer(blobs, optimizer):
    """Both engines set the rate of every optimizer, whether its update is elementwise or not."""
    member = KerasClassifier(**NETWORK, epochs=EPOCHS, optimizer=optimizer)
    fused, kerass_own = (
        SnapshotEnsembleClassifier(member, 2, engine=engine, random_state=0).fit(*blobs)
        for engine in ("fused", "keras")
    )
    np.testing.assert_array_equal(fused.learning_rates_, kerass_own.learning_rates_)
    assert fused.learning_rates_[0] == pytest.approx(float(optimizer.learning_rate))
    np.testing.assert_allclose(
        fused.predict_members(blobs[0]), kerass_own.predict_members(blobs[0]), rtol=1e-2, atol=1e-4
    )


@both_engines
def test_optimizer_slots_of_a_snapshot_are_its_own(blobs, engine):
    """A snapshot can be trained on: its optimizer has counted the steps up to its epoch."""
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, engine=engine, random_state=0).fit(*blobs)
    assert [int(snapshot.model_.optimizer.iterations) for snapshot in ensemble.estimators_] == [21, 12, 6]


@both_engines
def test_each_history_ends_with_its_epoch(blobs, engine):
    """`history_` of a snapshot is that of the run up to it, of validation in every second epoch likewise."""
    member = classifier(validation_split=0.2, fit__validation_freq=2)
    ensemble = SnapshotEnsembleClassifier(member, 3, engine=engine, random_state=0).fit(*blobs)
    assert [len(snapshot.history_["loss"]) for snapshot in ensemble.estimators_] == [7, 4, 2]
    assert [len(snapshot.history_["val_loss"]) for snapshot in ensemble.estimators_] == [3, 2, 1]


def test_watched_run_gives_the_same(blobs):
    """A Keras callback that looks at every epoch changes nothing."""
    seen = {"callbacks": [keras.callbacks.EarlyStopping(monitor="loss", patience=99, restore_best_weights=True)]}
    plain = SnapshotEnsembleClassifier(classifier(), 3, random_state=0).fit(*blobs)
    watched = SnapshotEnsembleClassifier(classifier(**seen), 3, random_state=0).fit(*blobs)
    assert plain.engine_ == watched.engine_ == "fused"
    np.testing.assert_allclose(plain.predict_members(blobs[0]), watched.predict_members(blobs[0]), **TRAINED)


def test_last_snapshots_alone(blobs):
    """`n_last` keeps the newest snapshots of the same run."""
    X, y = blobs
    all_of_them = SnapshotEnsembleClassifier(classifier(), 3, random_state=0).fit(X, y)
    last = SnapshotEnsembleClassifier(classifier(), 3, n_last=2, random_state=0).fit(X, y)
    assert len(last.estimators_) == len(last.weights_) == 2
    np.testing.assert_allclose(last.predict_members(X), all_of_them.predict_members(X)[:2], **TRAINED)
    np.testing.assert_allclose(last.predict_proba(X), all_of_them.predict_members(X)[:2].mean(axis=0), **TRAINED)


def test_stages_begin_with_the_newest(blobs):
    """The first stage is the newest snapshot, the last one the whole ensemble; the display agrees."""
    X, y = blobs
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, weights=[5, 2, 1], random_state=0).fit(X, y)
    newest, middle, oldest = ensemble.predict_members(X)
    stages = list(ensemble.staged_predict_proba(X))
    expected = [newest, (2 * middle + 5 * newest) / 7, (oldest + 2 * middle + 5 * newest) / 8]
    np.testing.assert_allclose(stages, expected, rtol=1e-6)
    np.testing.assert_allclose(stages[-1], ensemble.predict_proba(X), rtol=1e-12)

    display = MembersDisplay.from_estimator(ensemble, X, y)
    np.testing.assert_allclose(display.member_scores, [s.score(X, y) for s in ensemble.estimators_])
    assert display.ensemble_scores[0] == display.member_scores[0]


def test_votes(blobs):
    """With voting="hard" the label that most snapshots choose wins."""
    X, y = blobs
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, voting="hard", random_state=0).fit(X, y)
    votes = ensemble.predict_members(X).argmax(axis=-1)
    expected = [np.bincount(column, minlength=3).argmax() for column in votes.T]
    np.testing.assert_array_equal(ensemble.predict(X), expected)
    assert not hasattr(ensemble, "predict_proba")


@pytest.mark.parametrize("labels", ["names", "indicator"])
def test_greedy_weights_are_not_worse_than_the_best_snapshot(blobs, labels):
    """On the rows that were held out, the selection has at most the log-loss of each single snapshot."""
    X, y = blobs
    y = np.array(["a", "b", "c"])[y] if labels == "names" else np.stack([y == 0, y > 0, y < 2], axis=1).astype(int)
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, weights="greedy", random_state=0).fit(X, y)
    assert ensemble.weights_.shape == (3,)
    assert ensemble.weights_.sum() == pytest.approx(1)

    _, held_out = held_out_rows(y, 0.2, spawn_seeds(0, 1)[0], stratify=True)
    assert len(held_out) == 12

    def log_loss(proba):
        hit = (y[:, np.newaxis] == ensemble.classes_) if labels == "names" else y == 1
        misses = 0 if labels == "names" else -np.log(np.where(hit, 1, 1 - proba))
        return (-np.log(np.where(hit, proba, 1)) + misses)[held_out].sum()

    assert log_loss(ensemble.predict_proba(X)) <= min(map(log_loss, ensemble.predict_members(X))) + 1e-4


def test_rows_that_choose_must_have_weight(blobs):
    """Where all rows that are held out have weight 0, `fit` says so before any training."""
    X, y = blobs
    _, held_out = held_out_rows(y, 0.2, spawn_seeds(0, 1)[0], stratify=True)
    sample_weight = np.ones(len(y))
    sample_weight[held_out] = 0
    member = classifier(model=lambda: pytest.fail("The network was built."))
    with pytest.raises(ValueError, match="`sample_weight` above 0: it is 0 for all 12 of them. Hold out more rows"):
        SnapshotEnsembleClassifier(member, 3, weights="greedy", random_state=0).fit(X, y, sample_weight=sample_weight)


def test_held_out_rows_are_not_trained_on(blobs):
    """With weights="greedy", a fifth of the rows takes no part in the training: steps are fewer."""
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, weights="greedy", random_state=0).fit(*blobs)
    assert ensemble.learning_rates_.shape == (EPOCHS * 2,)  # 48 rows in batches of 25


def test_regressor(regression):
    """The prediction is the weighted mean of the snapshots, with their deviation on request."""
    X, y = regression
    member = KerasRegressor(**NETWORK, epochs=4)
    ensemble = SnapshotEnsembleRegressor(member, 2, weights=[3, 1], random_state=0).fit(X, y)
    second, first = ensemble.predict_members(X).astype(float)
    mean, std = ensemble.predict(X, return_std=True)
    np.testing.assert_allclose(mean, (first + 3 * second) / 4, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(std, np.abs(first - second) * np.sqrt(3) / 4, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(next(ensemble.staged_predict(X)), second, rtol=1e-6)
    greedy = SnapshotEnsembleRegressor(member, 2, weights="greedy", random_state=0).fit(X, y)
    assert greedy.weights_.sum() == pytest.approx(1)


def test_initial_rate_of_its_own(blobs):
    """`initial_learning_rate` takes the place of the optimizer's; a function gives shares of it."""
    X, y = blobs
    ensemble = SnapshotEnsembleClassifier(
        classifier(), 1, schedule=lambda fraction: 0.5, initial_learning_rate=0.03, random_state=0
    ).fit(X, y)
    np.testing.assert_allclose(ensemble.learning_rates_, np.full(EPOCHS * 3, 0.015), rtol=1e-12)
    own = {"engine": "keras", "random_state": spawn_seeds(0, 1)[0]}
    alone = classifier(optimizer__learning_rate=0.015, **own).fit(X, y)
    np.testing.assert_allclose(ensemble.predict_proba(X), alone.predict_proba(X), **TRAINED)


@both_engines
def test_stopped_run_has_the_snapshots_it_reached(blobs, engine):
    """A run that stops in its last cycle has two of three snapshots, weighted by what was given for the newest."""
    stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=4)  # no epoch is good enough
    member = classifier(callbacks=[stop])
    ensemble = SnapshotEnsembleClassifier(member, 3, weights=[3, 1, 5], engine=engine, random_state=0).fit(*blobs)
    assert len(ensemble.estimators_) == 2
    np.testing.assert_allclose(ensemble.weights_, [3 / 4, 1 / 4])
    assert ensemble.learning_rates_.shape == (5 * 3,)

    member = classifier(callbacks=[keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=1)])
    with pytest.raises(ValueError, match="it was stopped after 2 of 7 epochs"):
        SnapshotEnsembleClassifier(member, 2, engine=engine, random_state=0).fit(*blobs)


def test_cross_validation_traces_once(blobs):
    """Folds share the traced program: the second one traces nothing."""
    X, y = blobs
    ensemble = SnapshotEnsembleClassifier(classifier(), 3, engine="fused", random_state=0).fit(X[:40], y[:40])
    ensemble.predict(X)
    before = sum(program.n_traces for program in program_cache._PROGRAMS.values())
    assert np.isfinite(cross_val_score(ensemble, X, y, cv=[(np.arange(20, 60), np.arange(20))])).all()
    assert sum(program.n_traces for program in program_cache._PROGRAMS.values()) == before


@both_engines
def test_rows_of_weight_0_are_left_out(blobs, engine):
    """Rows without weight take no step: the run is that of the others alone, class weights included."""
    X, y = blobs
    weights = np.ones(60)
    weights[40:] = 0
    member = classifier(class_weight={0: 1.0, 1: 2.0, 2: 0.5})
    ensemble = SnapshotEnsembleClassifier(member, 3, engine=engine, random_state=0).fit(X, y, weights)
    others = SnapshotEnsembleClassifier(member, 3, engine=engine, random_state=0).fit(X[:40], y[:40])
    assert ensemble.learning_rates_.shape == (EPOCHS * 2,)  # 40 rows in batches of 25
    np.testing.assert_allclose(ensemble.predict_members(X), others.predict_members(X), **TRAINED)


def test_same_seed_same_result_and_pickle(blobs):
    """A seed repeats the run bit for bit, and a loaded ensemble predicts alike."""
    X, y = blobs
    first, second = (SnapshotEnsembleClassifier(classifier(shuffle=True), 2, random_state=3).fit(X, y) for _ in "ab")
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(first)).predict_proba(X), first.predict_proba(X))
    # A member that was asked for is pickled as an estimator: loaded, it goes through TensorFlow by itself, where a
    # product of another shape rounds the last bit in another way.
    first.estimators_[0].predict(X)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(first)).predict_proba(X), first.predict_proba(X), rtol=1e-5)


class OwnStep(keras.Sequential):
    """A model that trains in a way of its own, which the program on TensorFlow cannot repeat."""

    def train_step(self, *args):
        """Keras' step."""
        return super().train_step(*args)


def test_model_with_its_own_step(blobs):
    """Snapshots of it come from Keras' own fit, or from the program on JAX, and predict like the others."""

    def build(meta):
        return OwnStep([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])

    X, y = blobs
    member = KerasClassifier(build, epochs=2, batch_size=30, optimizer="sgd")
    ensemble = SnapshotEnsembleClassifier(member, 2, random_state=0).fit(X, y)
    assert ensemble.engine_ == ("fused" if ON_JAX else "keras")
    members = ensemble.predict_members(X)
    assert (members[0] != members[1]).any()
    for prediction, snapshot in zip(members, ensemble.estimators_, strict=True):
        np.testing.assert_allclose(prediction, snapshot.predict_proba(X), rtol=1e-5)


def test_frozen_estimator_is_refused(blobs):
    """There is nothing to keep of a network that is not trained."""
    fitted = FrozenEstimator(classifier(epochs=1).fit(*blobs))
    with pytest.raises(TypeError, match="must be a network to train.*FrozenEstimator"):
        SnapshotEnsembleClassifier(fitted).fit(*blobs)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_estimators": 8}, "at least `n_estimators`, an epoch a cycle: got epochs=7 for n_estimators=8"),
        ({"n_estimators": 0}, "'n_estimators' parameter"),
        ({"n_last": 4}, "got n_last=4 for n_estimators=3"),
        ({"n_last": 0}, "'n_last' parameter"),
        ({"weights": [1, 1]}, "one entry per member: got 2 weights for 3 members"),
        ({"n_last": 2, "weights": [1, 1, 1]}, "got 3 weights for 2 members"),
        ({"weights": "best"}, "'weights' parameter"),
        ({"schedule": "sawtooth"}, "'schedule' parameter"),
        ({"update": "step"}, "'update' parameter"),
        ({"initial_learning_rate": 0}, "'initial_learning_rate' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"schedule": lambda fraction: -1.0}, "finite number that is not negative.*got -1"),
        ({"schedule": lambda fraction: np.nan}, "got nan for the fraction 0 of the cycle"),
        (
            {"estimator__optimizer": keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 5))},
            "number as its learning rate.*LearningRateSchedule",
        ),
        (
            {"estimator__callbacks": [keras.callbacks.ReduceLROnPlateau()]},
            "must not change the learning rate itself.*ReduceLROnPlateau",
        ),
    ],
)
@both_engines
def test_bad_input(blobs, engine, params, message):
    """What cannot be is refused before the training, and leaves no trace."""
    member = KerasClassifier(**NETWORK, epochs=EPOCHS)
    ensemble = SnapshotEnsembleClassifier(member, 3, engine=engine).set_params(**params)
    with pytest.raises(ValueError, match=message):
        ensemble.fit(*blobs)
    with pytest.raises(NotFittedError):
        ensemble.predict(blobs[0])


def test_steps_of_its_own_are_refused(blobs):
    """An epoch that does not visit every row has other steps than the schedule counts."""
    member = classifier(fit__steps_per_epoch=2)
    with pytest.raises(ValueError, match="every epoch to visit every row once, in 3 steps.*got 2 steps"):
        SnapshotEnsembleClassifier(member, 2, random_state=0).fit(*blobs)
