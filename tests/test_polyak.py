import pickle

import keras
import numpy as np
import pytest
from backends import ON_JAX
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator

from skensemble import KerasClassifier, KerasRegressor, MembersDisplay, PolyakWeightClassifier, PolyakWeightRegressor
from skensemble import _polyak as polyak_module
from skensemble._members.random_draws import spawn_seeds
from skensemble._numeric.combination import average_variables, checkpoint_weights
from skensemble._numeric.selection import held_out_rows

# Rounding of float32 that has grown over some steps of training.
TRAINED = {"rtol": 1e-3, "atol": 1e-5}
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
# 60 rows in batches of 25: three steps an epoch, the last one with fewer rows.
NETWORK = {"hidden_layer_sizes": (4,), "batch_size": 25, "shuffle": False, "optimizer__learning_rate": 0.01}
EPOCHS = 6
both_engines = pytest.mark.parametrize("engine", ["fused", "keras"])


def classifier(**parameters):
    """The network of most tests."""
    return KerasClassifier(**{**NETWORK, "epochs": EPOCHS, **parameters})


def polyak(n_checkpoints=3, *, member=None, **parameters):
    """The estimator of most tests."""
    member = classifier() if member is None else member
    return PolyakWeightClassifier(member, n_checkpoints=n_checkpoints, **{"random_state": 0, **parameters})


class Keep(keras.callbacks.Callback):
    """Keeps all variables at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def on_epoch_end(self, epoch, logs=None):
        """Keep them."""
        self.kept.append(self.model.get_weights())


def fit_keras(member, X, y, seed=0, callbacks=()):
    """Keras' own fit under the seed of the ensemble's run; the fitted member and its variables after each epoch."""
    member = clone(member).set_params(random_state=spawn_seeds(seed, 1)[0], callbacks=[*callbacks, Keep()])
    member.set_params(engine="keras").fit(X, y)
    return member, member.callbacks[-1].kept


# The averages


def test_weights_by_hand():
    """n, n - 1, ..., 1 and exp(-i / decay), newest first, all summing to 1; of an array the first entries count."""
    np.testing.assert_allclose(checkpoint_weights("uniform", 4, 2), [0.25] * 4)
    np.testing.assert_allclose(checkpoint_weights("linear", 4, 2), [0.4, 0.3, 0.2, 0.1])
    exponential = np.array([1, np.exp(-0.5), np.exp(-1)])
    np.testing.assert_allclose(checkpoint_weights("exponential", 3, 2), exponential / exponential.sum())
    np.testing.assert_allclose(checkpoint_weights([3, 1, 4], 2, 2), [0.75, 0.25])


def test_average_is_that_of_numpy():
    """Floats are averaged in float64 and rounded once; counters and seeds are those of the newest."""
    values = np.random.default_rng(0).normal(size=(3, 50)).astype("float32")
    weights = np.array([0.5, 0.3, 0.2])
    expected = np.average(values.astype("float64"), axis=0, weights=weights).astype("float32")
    np.testing.assert_array_equal(average_variables(values, weights), expected)
    counters = np.array([[7, 8], [5, 6], [3, 4]], dtype="uint32")
    np.testing.assert_array_equal(average_variables(counters, weights), [7, 8])
    assert average_variables(values, weights).dtype == "float32"


# The run


@both_engines
def test_checkpoints_are_those_of_keras(blobs, engine, once):
    """Checkpoints are the variables at the ends of the last epochs of Keras' own fit, newest first."""
    X, y = blobs
    ensemble = polyak(engine=engine).fit(X, y)
    alone, kept = once("network", lambda: fit_keras(classifier(), X, y))
    assert ensemble.engine_ == engine
    assert len(ensemble.checkpoints_) == 3
    for checkpoint, variables in zip(ensemble.checkpoints_, kept[:-4:-1], strict=True):
        for ours, theirs in zip(checkpoint.model_.get_weights(), variables, strict=True):
            np.testing.assert_allclose(ours, theirs, **TRAINED)
    assert [len(checkpoint.history_["loss"]) for checkpoint in ensemble.checkpoints_] == [6, 5, 4]
    np.testing.assert_allclose(ensemble.estimator_.history_["loss"], alone.history_["loss"], **TRAINED)


@pytest.mark.parametrize(
    ("parameters", "weights"),
    [
        ({}, [1, 1, 1]),
        ({"weights": "linear"}, [3, 2, 1]),
        ({"weights": "exponential", "decay": 1.5}, np.exp([0, -1 / 1.5, -2 / 1.5])),
        ({"weights": [2, 0, 6]}, [2, 0, 6]),
    ],
)
def test_averaged_member(blobs, parameters, weights):
    """`estimator_` has NumPy's weighted means of the checkpoints to the last bit, and gives the predictions."""
    X, y = blobs
    ensemble = polyak(**parameters).fit(X, y)
    weights = np.asarray(weights) / np.sum(weights)
    np.testing.assert_allclose(ensemble.weights_, weights, rtol=1e-12)
    checkpoints = [checkpoint.model_.get_weights() for checkpoint in ensemble.checkpoints_]
    for ours, *values in zip(ensemble.estimator_.model_.get_weights(), *checkpoints, strict=True):
        expected = np.average(np.array(values, "float64"), axis=0, weights=ensemble.weights_).astype("float32")
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_allclose(ensemble.predict_proba(X), ensemble.estimator_.predict_proba(X), **FLOAT32)
    np.testing.assert_array_equal(ensemble.predict(X), ensemble.estimator_.predict(X))


@both_engines
def test_one_checkpoint_is_the_last_epoch(blobs, engine, once):
    """With one checkpoint the network is that of an ordinary fit."""
    X, y = blobs
    alone, _ = once("network", lambda: fit_keras(classifier(), X, y))
    np.testing.assert_allclose(polyak(1, engine=engine).fit(X, y).predict_proba(X), alone.predict_proba(X), **TRAINED)


def test_seeds_are_those_of_the_newest(blobs):
    """The state of a dropout's seed generator is not averaged."""
    ensemble = polyak(2, member=classifier(dropout=0.2, epochs=3), engine="fused").fit(*blobs)
    seeds = [
        [v.numpy() for v in model.non_trainable_variables]
        for model in (ensemble.estimator_.model_, ensemble.checkpoints_[0].model_, ensemble.checkpoints_[1].model_)
    ]
    np.testing.assert_array_equal(seeds[0], seeds[1])
    assert (np.asarray(seeds[0]) != seeds[2]).any()


def test_stages_are_averages_of_the_newest(blobs):
    """Stage n is the network averaged over the n newest checkpoints, as a fit with n_checkpoints=n would give."""
    X, y = blobs
    ensemble = polyak(3, weights="linear").fit(X, y)
    stages = list(ensemble.staged_predict_proba(X))
    for n, stage in enumerate(stages, start=1):
        np.testing.assert_allclose(stage, polyak(n, weights="linear").fit(X, y).predict_proba(X), **TRAINED)
    assert len(stages) == 3
    assert [labels.shape for labels in ensemble.staged_predict(X)] == [(60,)] * 3


def test_display_and_members(blobs):
    """Members are the single checkpoints, newest first; the display shows them and the growing average."""
    X, y = blobs
    ensemble = polyak().fit(X, y)
    members = ensemble.predict_members(X)
    for prediction, checkpoint in zip(members, ensemble.checkpoints_, strict=True):
        np.testing.assert_allclose(prediction, checkpoint.predict_proba(X), **FLOAT32)
    display = MembersDisplay.from_estimator(ensemble, X, y)
    np.testing.assert_allclose(display.member_scores, [c.score(X, y) for c in ensemble.checkpoints_])
    assert display.ensemble_scores[-1] == ensemble.score(X, y)
    assert ensemble.predict_uncertainty(X).total.shape == (60,)


def test_reweight(blobs):
    """Another average of the same checkpoints is what a fit with it gives; nothing is trained."""
    X, y = blobs
    ensemble = polyak(4).fit(X, y)
    assert ensemble.reweight(n_checkpoints=2, weights="exponential", decay=3) is ensemble
    np.testing.assert_allclose(ensemble.weights_, np.array([1, np.exp(-1 / 3)]) / (1 + np.exp(-1 / 3)))
    other = polyak(2, weights="exponential", decay=3).fit(X, y)
    np.testing.assert_allclose(ensemble.predict_proba(X), other.predict_proba(X), **TRAINED)
    assert ensemble.predict_members(X).shape == (2, 60, 3)
    assert len(list(ensemble.staged_predict(X))) == 2
    assert ensemble.reweight(n_checkpoints=4).weights_.shape == (4,)  # still exponential
    assert ensemble.weights_[0] / ensemble.weights_[1] == pytest.approx(np.exp(1 / 3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_checkpoints": 4}, "number of checkpoints that were kept: got 4, 3 were kept"),
        ({"n_checkpoints": 0}, "from 1 to the number"),
        ({"n_checkpoints": 1.5}, "got 1.5"),
        ({"weights": [1, 2]}, "got 2 weights for 3 members"),
        ({"weights": "best"}, "must be one of uniform, linear, exponential"),
        ({"decay": 0}, "`decay` must be above 0: got 0"),
        ({"decay": np.nan}, "`decay` must be above 0"),
    ],
)
def test_reweight_refuses(blobs, arguments, message):
    """What cannot be averaged is refused, and the average stays."""
    ensemble = polyak().fit(*blobs)
    before = ensemble.predict_proba(blobs[0])
    with pytest.raises(ValueError, match=message):
        ensemble.reweight(**arguments)
    np.testing.assert_array_equal(ensemble.predict_proba(blobs[0]), before)


# Early stopping


@both_engines
@pytest.mark.parametrize("restore", [False, True])
def test_early_stopping(blobs, engine, restore, once):
    """The last epochs before the stop are averaged; where the best variables are restored, those up to the best."""
    X, y = blobs
    epochs = 20
    member = classifier(epochs=epochs)
    # "Best" is the first loss below a bound between the third and the fourth one, then nothing is good enough.
    losses = once("network", lambda: fit_keras(classifier(), X, y))[0].history_["loss"]
    stop = keras.callbacks.EarlyStopping(
        monitor="loss", min_delta=losses[0] - (losses[2] + losses[3]) / 2, patience=3, restore_best_weights=restore
    )
    alone, kept = once(("stopped", restore), lambda: fit_keras(member, X, y, callbacks=[stop]))
    ensemble = polyak(2, member=clone(member).set_params(callbacks=[stop]), engine=engine).fit(X, y)
    n_epochs = len(alone.history_["loss"])
    assert 4 < n_epochs < epochs
    best = next(
        epoch
        for epoch, variables in enumerate(kept)
        if all(np.array_equal(a, b) for a, b in zip(variables, alone.model_.get_weights(), strict=True))
    )
    assert best == (n_epochs - 4 if restore else n_epochs - 1)
    for ours, newest, before in zip(ensemble.estimator_.model_.get_weights(), kept[best], kept[best - 1], strict=True):
        np.testing.assert_allclose(ours, (newest + before) / 2, **TRAINED)


def test_stop_before_enough_checkpoints(blobs):
    """A run that stops too early has fewer checkpoints, and they are averaged."""
    stop = keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=1)
    ensemble = polyak(4, member=classifier(callbacks=[stop]), weights=[4, 1, 1, 1]).fit(*blobs)
    assert ensemble.n_checkpoints_ == len(ensemble.checkpoints_) == 2
    np.testing.assert_allclose(ensemble.weights_, [0.8, 0.2])


# BatchNormalization


def build_with_batch_norm(meta):
    """Two BatchNormalization layers, one on the input and one on hidden units."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.Dense(3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )


BATCH_NORM = KerasClassifier(
    build_with_batch_norm, epochs=4, batch_size=25, optimizer="adam", optimizer__learning_rate=0.05
)


def statistics_by_hand(variables, X, batch_size):
    """Mean over the batches of the mean and variance of each batch, worked out in NumPy for the network above."""
    gamma1, beta1, kernel, bias = variables[0], variables[1], variables[4], variables[5]
    found = []
    for start in range(0, len(X), batch_size):
        batch = X[start : start + batch_size].astype("float64")
        mean1, variance1 = batch.mean(axis=0), batch.var(axis=0)
        hidden = gamma1 * (batch - mean1) / np.sqrt(variance1 + 1e-3) + beta1
        hidden = np.maximum(hidden @ kernel + bias, 0)
        found.append((mean1, variance1, hidden.mean(axis=0), hidden.var(axis=0)))
    cumulative = found[0]
    for i, statistics in enumerate(found[1:], start=1):  # as PyTorch's update_bn: momentum 1 / (i + 1)
        cumulative = [old + (new - old) / (i + 1) for old, new in zip(cumulative, statistics, strict=True)]
    return cumulative


@both_engines
@pytest.mark.parametrize("engine_rows", [None, 0.2])
def test_batch_norm_statistics_are_estimated_again(blobs, engine, engine_rows):
    """One pass over the training rows, in order, gives the averaged network its statistics."""
    X, y = blobs
    member = clone(BATCH_NORM).set_params(validation_split=engine_rows or 0.0)
    ensemble = polyak(3, member=member, engine=engine).fit(X, y)
    assert ensemble.engine_ == engine
    variables = ensemble.estimator_.model_.get_weights()
    n_rows = 60 if engine_rows is None else 48
    expected = statistics_by_hand(variables, X[:n_rows], 25)
    # Keras orders the variables of a layer as gamma, beta, mean, variance.
    for ours, theirs in zip([variables[i] for i in (2, 3, 8, 9)], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(list(ensemble.staged_predict_proba(X))[-1], ensemble.predict_proba(X), **FLOAT32)


def test_batch_norm_statistics_averaged_instead(blobs):
    """With update_batch_norm=False the statistics are averaged like everything else."""
    ensemble = polyak(2, member=BATCH_NORM, update_batch_norm=False).fit(*blobs)
    newest, before = (checkpoint.model_.get_weights() for checkpoint in ensemble.checkpoints_)
    for ours, a, b in zip(ensemble.estimator_.model_.get_weights(), newest, before, strict=True):
        np.testing.assert_allclose(ours, (a + b) / 2, rtol=1e-6, atol=1e-8)
    ensemble.reweight(weights="linear")


def test_reweight_needs_rows_for_batch_norm(blobs):
    """Statistics of another average come from the training rows, which the ensemble does not keep."""
    X, y = blobs
    ensemble = polyak(3, member=BATCH_NORM).fit(X, y)
    with pytest.raises(ValueError, match="`X` must hold the training rows"):
        ensemble.reweight(weights="linear")
    ensemble.reweight(weights="linear", X=X)
    other = polyak(3, member=BATCH_NORM, weights="linear").fit(X, y)
    np.testing.assert_allclose(ensemble.predict_proba(X), other.predict_proba(X), **TRAINED)
    ensemble.reweight(n_checkpoints=1)  # the last epoch, as it was trained
    np.testing.assert_allclose(ensemble.predict_proba(X), ensemble.checkpoints_[0].predict_proba(X), **FLOAT32)


# Averages over steps, by the optimizer


@both_engines
def test_moving_average_of_the_optimizer(blobs, engine, once):
    """With `use_ema` the network predicts with the moving average over all steps: a <- m a + (1 - m) w from a = w."""
    X, y = blobs
    momentum, rate, epochs = 0.8, 0.1, 4
    member = KerasClassifier(
        hidden_layer_sizes=(),
        batch_size=-1,
        epochs=epochs,
        shuffle=False,
        optimizer=keras.optimizers.SGD(rate, use_ema=True, ema_momentum=momentum),
    )
    ensemble = polyak(2, member=member, engine=engine).fit(X, y)
    plain = clone(member).set_params(optimizer=keras.optimizers.SGD(rate))
    _, steps = once("SGD", lambda: fit_keras(plain, X, y))  # the same steps: averages do not enter into them
    averages = [steps[0]]
    for variables in steps[1:]:
        averages.append([momentum * a + (1 - momentum) * w for a, w in zip(averages[-1], variables, strict=True)])
    for checkpoint, expected in zip(ensemble.checkpoints_, averages[:-3:-1], strict=True):
        for ours, theirs in zip(checkpoint.model_.get_weights(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, **TRAINED)


# Choosing on held-out rows


@pytest.mark.parametrize("labels", ["names", "indicator"])
def test_chosen_average_is_the_best_on_held_out_rows(blobs, labels):
    """Of all numbers and weightings, the chosen one has the smallest log-loss there; the last epoch alone is one."""
    X, y = blobs
    y = np.array(["a", "b", "c"])[y] if labels == "names" else np.stack([y == 0, y > 0, y < 2], axis=1).astype(int)
    ensemble = polyak("auto").fit(X, y)
    assert len(ensemble.checkpoints_) == EPOCHS
    _, held_out = held_out_rows(y, 0.2, spawn_seeds(0, 1)[0], stratify=True)

    def log_loss():
        proba = ensemble.predict_proba(X)
        if labels == "names":
            proba = np.where(y[:, np.newaxis] == ensemble.classes_, proba, 1)
        else:
            proba = np.where(y == 1, proba, 1 - proba)
        return -np.log(proba[held_out]).sum(axis=1).mean()

    chosen = log_loss()
    for weights in ("uniform", "linear", "exponential"):
        for n_checkpoints in range(1, EPOCHS + 1):
            ensemble.reweight(n_checkpoints=n_checkpoints, weights=weights)
            assert chosen <= log_loss() + 1e-6


def test_rows_that_choose_must_have_weight(blobs):
    """Where all rows that are held out have weight 0, `fit` says so before any training."""
    X, y = blobs
    _, held_out = held_out_rows(y, 0.2, spawn_seeds(0, 1)[0], stratify=True)
    sample_weight = np.ones(len(y))
    sample_weight[held_out] = 0
    member = classifier(model=lambda: pytest.fail("The network was built."))
    with pytest.raises(ValueError, match="`sample_weight` above 0: it is 0 for all 12 of them. Hold out more rows"):
        PolyakWeightClassifier(member, n_checkpoints="auto", random_state=0).fit(X, y, sample_weight=sample_weight)


def test_number_of_checkpoints_to_choose_from_is_bounded(regression, monkeypatch):
    """However many epochs there are, few checkpoints are kept."""
    monkeypatch.setattr(polyak_module, "_MOST_CHECKPOINTS", 3)
    member = KerasRegressor(**NETWORK, epochs=5)
    X, y = regression
    ensemble = PolyakWeightRegressor(member, n_checkpoints="auto", random_state=0).fit(X, y, np.arange(60.0))
    assert len(ensemble.checkpoints_) == 3
    assert ensemble.n_checkpoints_ == len(ensemble.weights_) <= 3


# The estimators


def test_regressor(regression):
    """Values are those of the averaged network; the deviation is that of the checkpoints."""
    X, y = regression
    y = np.stack([y, -2 * y], axis=1)
    member = KerasRegressor(**NETWORK, epochs=4)
    ensemble = PolyakWeightRegressor(member, n_checkpoints=2, weights=[3, 1], random_state=0).fit(X, y)
    mean, std = ensemble.predict(X, return_std=True)
    np.testing.assert_allclose(mean, ensemble.estimator_.predict(X), rtol=1e-4, atol=1e-5)
    newest, before = ensemble.predict_members(X).astype(float)
    np.testing.assert_allclose(std, np.abs(newest - before) * np.sqrt(3) / 4, rtol=1e-4, atol=1e-6)
    assert ensemble.predict(X[:1]).shape == (1, 2)


def test_same_seed_same_result_and_pickle(blobs):
    """A seed repeats the run bit for bit; a loaded estimator predicts alike and can be reweighted."""
    X, y = blobs
    first, second = (polyak(member=classifier(shuffle=True)).fit(X, y) for _ in "ab")
    np.testing.assert_array_equal(first.predict_proba(X), second.predict_proba(X))
    assert first.estimator_ is first.estimator_
    assert first.checkpoints_[1].model_.built
    loaded = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(loaded.predict_proba(X), first.predict_proba(X))
    np.testing.assert_array_equal(
        loaded.reweight(weights="linear").predict_proba(X), second.reweight(weights="linear").predict_proba(X)
    )


class OwnStep(keras.Sequential):
    """A model that trains in a way of its own."""

    def train_step(self, *args):
        """Keras' step."""
        return super().train_step(*args)


def build_own_step(meta):
    """That model, with dropout."""
    return OwnStep([keras.Input((4,)), keras.layers.Dropout(0.1), keras.layers.Dense(3, activation="softmax")])


def test_model_with_its_own_step(blobs):
    """A model with a training step of its own is averaged after Keras' own fit, or that of the program on JAX."""
    X, y = blobs
    member = KerasClassifier(build_own_step, epochs=3, batch_size=30)
    ensemble = polyak(2, member=member, weights="linear").fit(X, y)
    assert ensemble.engine_ == ("fused" if ON_JAX else "keras")
    newest, before = (checkpoint.model_.get_weights() for checkpoint in ensemble.checkpoints_)
    for ours, a, b in zip(ensemble.estimator_.model_.get_weights(), newest, before, strict=True):
        np.testing.assert_allclose(ours, (2 * a + b) / 3, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(ensemble.predict_proba(X), ensemble.estimator_.predict_proba(X), **FLOAT32)


def test_frozen_estimator_is_refused(blobs):
    """There is nothing to keep of a network that is not trained."""
    fitted = FrozenEstimator(classifier(epochs=1).fit(*blobs))
    with pytest.raises(TypeError, match="must be a network to train.*FrozenEstimator"):
        PolyakWeightClassifier(fitted).fit(*blobs)


def test_nothing_before_the_fit():
    """An unfitted estimator has no average and says so."""
    assert not hasattr(PolyakWeightClassifier(), "estimator_")
    for method in ("predict", "predict_proba", "predict_members"):
        with pytest.raises(NotFittedError):
            getattr(PolyakWeightClassifier(), method)([[0.0]])
    with pytest.raises(NotFittedError):
        PolyakWeightClassifier().reweight(n_checkpoints=1)
    with pytest.raises(NotFittedError):
        next(PolyakWeightClassifier().staged_predict([[0.0]]))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_checkpoints": 7}, "not be above the epochs.*got n_checkpoints=7 for epochs=6"),
        ({"n_checkpoints": 0}, "'n_checkpoints' parameter"),
        ({"n_checkpoints": "all"}, "'n_checkpoints' parameter"),
        ({"weights": [1, 1]}, "got 2 weights for 3 members"),
        ({"weights": [1, -1, 1]}, "not negative"),
        ({"weights": None}, "'weights' parameter"),
        ({"weights": "quadratic"}, "'weights' parameter"),
        ({"decay": 0.0}, "'decay' parameter"),
        ({"decay": -1.0}, "'decay' parameter"),
        ({"n_checkpoints": "auto", "weights": [1, 2, 3]}, '`weights` must be a string where n_checkpoints="auto"'),
        ({"update_batch_norm": "yes"}, "'update_batch_norm' parameter"),
        ({"validation_fraction": 0.0}, "'validation_fraction' parameter"),
    ],
)
def test_bad_input(blobs, params, message):
    """What cannot be is refused before the training, and leaves no trace."""
    ensemble = polyak().set_params(**params)
    with pytest.raises(ValueError, match=message):
        ensemble.fit(*blobs)
    with pytest.raises(NotFittedError):
        ensemble.predict(blobs[0])
