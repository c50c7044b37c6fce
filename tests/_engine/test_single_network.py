"""One network by itself: the program for one member beside Keras' own fit, which runs eagerly."""

import pickle
import random
import re

import keras
import numpy as np
import pytest
from comparison import TRAINED_FLOAT32, assert_same_network
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import KerasClassifier, KerasHeadClassifier, KerasRegressor, KerasVotingClassifier, io
from skensemble._checkpoint.fingerprint import fingerprint
from skensemble._compat import global_seeds
from skensemble._engine.backend import get_program
from skensemble._engine.engine_choice import LARGE_MEMBER, why_keras_alone
from skensemble._members.inputs import as_inputs
from skensemble._members.spec import MemberSpec
from skensemble.exceptions import NotFusableError

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 3)).astype("float32")
Y = np.array(["a", "b", "c"])[(X[:, 0] + rng.normal(size=50) * 0.1 > 0).astype(int) + (X[:, 1] > 0.5)]
SMALL = {"hidden_layer_sizes": (4,), "epochs": 3, "batch_size": 16, "random_state": 0}


def network(**params):
    """The classifier of most tests, not fitted; it shuffles its rows."""
    return KerasClassifier(**{**SMALL, **params})


def by_keras(estimator):
    """A clone that Keras' own fit trains, eagerly: tracing takes longer than so few steps."""
    return clone(estimator).set_params(engine="keras", run_eagerly=True)


def assert_is_that_of_keras(ours, theirs):
    """Histories, variables of the model and its optimizer, and predictions are those of Keras to rounding."""
    assert (ours.engine_, theirs.engine_) == ("fused", "keras")
    assert ours.current_epoch == theirs.current_epoch
    assert_same_network(ours, theirs)
    for callback, expected in zip(ours.callbacks_, theirs.callbacks_, strict=True):
        assert callback.params == expected.params  # those of the fit: Keras' `predict` gives them others
        assert getattr(callback, "epochs", None) == getattr(expected, "epochs", None)
    predict = "predict_proba" if hasattr(ours, "classes_") else "predict"
    np.testing.assert_allclose(getattr(ours, predict)(X), getattr(theirs, predict)(X), **TRAINED_FLOAT32)


class Halve(keras.callbacks.Callback):
    """Halves the kernels after the first epoch, and keeps the numbers of the epochs."""

    def on_train_begin(self, logs=None):
        """Begin to count."""
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        """Change the model."""
        self.epochs.append(epoch)
        if epoch == 0:
            self.model.set_weights([value / 2 for value in self.model.get_weights()])


def convolutions(meta):
    """Convolutions and batch normalization, the last batch smaller than the others."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            layers.Reshape((3, 1)),
            layers.Conv1D(3, 2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.SpatialDropout1D(0.3),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def partly(estimator):
    """Fit in three calls."""
    for part in (slice(20), slice(20), slice(20, 40)):
        estimator.partial_fit(X[part], Y[part], classes=list("abc"))


def stopping():
    return keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0, restore_best_weights=True)


#: name -> estimator, how it is fitted (None: with X and Y)
CASES = {
    "shuffled": (network(metrics=["accuracy"]), None),
    "dropout and held-out rows": (network(dropout=0.4, validation_split=0.2), None),
    "weights": (
        network(class_weight={"a": 1.0, "b": 3.0, "c": 0.5}),
        lambda one: one.fit(X, Y, sample_weight=np.arange(50) % 4),
    ),
    "validation data and arguments of fit": (
        network(validation_batch_size=7),
        lambda one: one.fit(X, Y, validation_data=(X[:15], Y[:15]), batch_size=-1, epochs=2, shuffle=False),
    ),
    "early stopping": (network(validation_split=0.2, callbacks=[stopping()], epochs=9), None),
    "a callback that changes the model": (network(callbacks=[Halve()]), None),
    "averages of the optimizer": (network(optimizer__use_ema=True), None),
    "partial fits": (network(), partly),
    "warm start": (
        network(warm_start=True, validation_split=0.2, fit__validation_freq=2),
        lambda one: one.fit(X, Y).fit(X, Y, epochs=2, initial_epoch=3),
    ),
    "convolutions": (network(model=convolutions, hidden_layer_sizes=None), None),
    "a regressor": (
        KerasRegressor(**SMALL, distribution="normal"),
        lambda one: one.fit(X, X[:, :2] - 1),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_result_is_that_of_keras(name):
    """Rows are visited in the orders that Keras draws under the seed, and all that it learns is the same."""
    estimator, fit = CASES[name]
    ours, theirs = clone(estimator), by_keras(estimator)
    for one in (ours, theirs):
        (fit or (lambda given: given.fit(X, Y)))(one)
    assert_is_that_of_keras(ours, theirs)


def test_seeds_of_the_process():
    """Without a seed of its own a network follows those of the process; with one it leaves no trace in them."""
    estimator = network(random_state=None, dropout=0.4)
    fitted = []
    for one in (clone(estimator), by_keras(estimator)):
        keras.utils.set_random_seed(3)
        fitted.append(one.fit(X, Y))
    assert_is_that_of_keras(*fitted)

    states, drawn = [], []
    for fits in (False, True):
        # In Keras 3.8 the generator of Keras is seeded when it is made, and only then.
        global_seeds.set_keras_global(global_seeds._KERAS_GENERATOR, None)
        keras.utils.set_random_seed(3)
        if fits:
            network(dropout=0.4).fit(X, Y).predict(X)
        states.append((random.getstate(), np.random.get_state()[1].tolist()))
        drawn.append(np.asarray(keras.random.uniform((2,))))
    assert states[0] == states[1]
    np.testing.assert_array_equal(*drawn)


def test_program_is_traced_once():
    """Searches over one architecture share a program, whatever its seeds and learning rates."""
    grid = {"optimizer__learning_rate": [0.001, 0.01], "random_state": [1, 2]}
    search = GridSearchCV(network(hidden_layer_sizes=(5,)), grid, cv=2).fit(X[:40], Y[:40])
    program = get_program(search.best_estimator_.model_, 1)
    n_traces = program.n_traces
    assert n_traces > 0
    again = clone(search).fit(X[:40], Y[:40])
    assert get_program(again.best_estimator_.model_, 1) is program
    assert program.n_traces == n_traces


def test_network_goes_on_in_keras():
    """The model is compiled, its optimizer has its variables, and Keras' own methods go on with it."""
    ours, theirs = network(shuffle=False).fit(X, Y), by_keras(network(shuffle=False)).fit(X, Y)
    y = np.searchsorted(ours.classes_, Y)
    for one in (ours, theirs):
        one.model_.fit(X, y, batch_size=16, epochs=1, shuffle=False, verbose=0)
    assert_is_that_of_keras(ours, theirs)
    np.testing.assert_allclose(*(one.model_.evaluate(X, y, verbose=0) for one in (ours, theirs)), **TRAINED_FLOAT32)
    theirs.set_params(warm_start=True).fit(X, Y)
    assert_is_that_of_keras(ours.set_params(warm_start=True).fit(X, Y), theirs)


def test_lines_of_progress(capsys):
    """With `verbose=2` the lines are those of Keras but for the times."""
    printed = []
    for one in (network(verbose=2, fit__validation_split=0.2), by_keras(network(verbose=2, fit__validation_split=0.2))):
        one.fit(X, Y)
        printed.append(re.sub(r"\d+m?s", "", capsys.readouterr().out))
    assert printed[0] == printed[1]
    assert printed[0].count("val_loss") == SMALL["epochs"]


class EveryBatch(keras.callbacks.Callback):
    """Acts on every batch."""

    def on_train_batch_end(self, batch, logs=None):
        """Do nothing."""


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"run_eagerly": True}, "the model is compiled with run_eagerly=True"),
        ({"callbacks": [EveryBatch()]}, "the callback EveryBatch acts on every batch"),
        ({"verbose": 1}, "progress is printed after each step"),
        ({"fit__steps_per_epoch": 2}, "the argument 'steps_per_epoch' of Model.fit is not known"),
    ],
)
def test_keras_where_the_program_cannot(params, reason, capsys):
    """Keras' own fit trains, `engine_reason_` says why, and with "fused" it is an error before training."""
    fitted = network(**params).fit(X, Y)
    assert fitted.engine_ == "keras"
    assert f"Keras' own fit, because {reason}" in fitted.engine_reason_
    refused = network(**params, engine="fused")
    with pytest.raises(NotFusableError, match=f"engine='fused' is not possible: {re.escape(reason)}"):
        refused.fit(X, Y)
    assert not refused.initialized_
    capsys.readouterr()


def test_engine_by_name():
    """Other engines are refused; of a large network alone the steps take as long in a program."""
    with pytest.raises(ValueError, match="`engine` must be 'auto', 'fused' or 'keras': got 'tensorflow'"):
        network(engine="tensorflow").fit(X, Y)
    assert why_keras_alone(LARGE_MEMBER - 1, 5, 50) is None
    assert "the network is large" in why_keras_alone(LARGE_MEMBER, 5, 50)
    streamed = network().partial_fit(X, Y).partial_fit(X[::-1], Y[::-1])
    assert streamed.engine_ == "fused"
    assert "the epoch has 20 rows, not the 50 of the first call" in streamed.partial_fit(X[:20], Y[:20]).engine_reason_
    head = KerasHeadClassifier(epochs=1, engine="keras", run_eagerly=True)
    assert clone(head).fit(X, Y).engine_reason_ == "Keras' own fit, as asked"


def test_ensembles_decide_for_their_members():
    """Members train together whatever their own engines, inside of pipelines too, and checkpoints hold for them all."""
    engines = ("auto", "fused", "keras")
    members = [(engine, network(engine=engine, random_state=seed)) for seed, engine in enumerate(engines)]
    together = KerasVotingClassifier(members, engine="fused").fit(X, Y)
    assert [one.engine for one in together.estimators_] == list(engines)
    assert not any(hasattr(one, "engine_") for one in together.estimators_)
    assert len({len(entry.stack.seeds) for entry in together.estimators_._entries}) == 1
    prints = [fingerprint([MemberSpec(one, 0)], as_inputs(X), Y, None, "auto") for _, one in members]
    assert prints[0] == prints[1] == prints[2]

    pipeline = make_pipeline(StandardScaler(), network(engine="fused"))
    mixed = KerasVotingClassifier([("net", pipeline), ("line", LogisticRegression())], engine="keras").fit(X, Y)
    assert mixed.engine_ == "keras"
    assert not hasattr(mixed.estimators_[0][-1], "engine_")
    with pytest.raises(NotFusableError, match="Pipeline, and with it KerasClassifier, is trained by a fit of its own"):
        KerasVotingClassifier([("net", pipeline)], engine="fused").fit(X, Y)


class CountPredictions(keras.callbacks.Callback):
    """Counts calls of `Model.predict`."""

    n_calls = 0

    def on_predict_begin(self, logs=None):
        """Count."""
        type(self).n_calls += 1


def test_predictions():
    """They are those of Keras' `predict`, also of other rows and changed values; callbacks for it are called."""
    fitted = network().fit(X, Y)
    other = np.concatenate([X, X])[::-3]
    np.testing.assert_allclose(fitted.predict_proba(other), fitted.model_.predict(other, verbose=0), **TRAINED_FLOAT32)
    fitted.model_.set_weights([value * 2 for value in fitted.model_.get_weights()])
    expected = fitted.model_.predict(other, verbose=0)
    np.testing.assert_allclose(fitted.predict_proba(other), expected, **TRAINED_FLOAT32)
    np.testing.assert_allclose(fitted.predict_proba(other, batch_size=3), expected, **TRAINED_FLOAT32)
    counted = network(callbacks=[CountPredictions()], epochs=1).fit(X, Y)
    counted.predict(X[:2])
    assert (counted.engine_, CountPredictions.n_calls) == ("fused", 1)


def test_saved_and_loaded(tmp_path):
    """Files and pickles keep the engine, and what was trained predicts as before."""
    fitted = network(engine="fused").fit(X, Y)
    io.dump(fitted, tmp_path / "network.skens")
    for loaded in (io.load(tmp_path / "network.skens"), pickle.loads(pickle.dumps(fitted))):
        assert (loaded.engine, loaded.engine_, loaded.engine_reason_) == ("fused", "fused", fitted.engine_reason_)
        np.testing.assert_allclose(loaded.predict_proba(X), fitted.predict_proba(X), rtol=1e-6)
        assert loaded.partial_fit(X, Y).engine_ == "fused"
    assert "engine='fused'" in repr(fitted)
    assert "engine" not in repr(network())
