"""Members whose network learns the shape of its input from the data: subclassed models, Sequential without an Input."""

import random

import keras
import numpy as np
import pytest
import scikeras.wrappers
from comparison import assert_same_members, ensemble_of, fit_with_keras

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    io,
)
from skensemble._members import architecture
from skensemble._members.architecture import signature

QUICK = {"epochs": 2, "batch_size": 30, "shuffle": False}


class Net(keras.Model):
    """A model of the user's, with an attribute that no configuration tells."""

    def __init__(self, units, n_outputs=3, scale=1.0, activation="softmax"):
        super().__init__()
        self.hidden = [keras.layers.Dense(units, activation="tanh"), keras.layers.Dropout(0.5)]
        self.last = keras.layers.Dense(n_outputs, activation=activation)
        self.scale = scale

    def call(self, x, training=False):
        for layer in self.hidden:
            x = layer(x, training=training) if isinstance(layer, keras.layers.Dropout) else layer(x)
        return self.last(self.scale * x)


def build_net(meta, scale=1.0):
    return Net(5, meta["n_classes_"], scale)


def build_regression():
    return Net(5, 1, activation=None)


def build_inside():
    inputs = keras.Input((4,))
    return keras.Model(inputs, Net(4, scale=2.0)(inputs))


def build_without_input():
    return keras.Sequential([keras.layers.Dense(4, activation="relu"), keras.layers.Dense(3, activation="softmax")])


def build_dict():
    class Named(Net):
        def call(self, x, training=False):
            return {"one": super().call(x, training=training)}

    return Named(4)


@pytest.mark.slow
@pytest.mark.parametrize("build", [build_net, build_without_input])
def test_networks_are_those_of_keras(build, blobs):
    """Trained in one program, they are what Keras' own fit makes of them, and predict the same."""
    X, y = blobs
    fused = ensemble_of(KerasClassifier(build, **QUICK)).fit(X, y)
    assert_same_members(fused, fit_with_keras(fused, X, y), X)


@pytest.mark.slow
def test_inside_of_another_model(blobs):
    """In a model made of inputs and outputs, whose configuration does not tell its arguments, Keras trains it."""
    X, y = blobs
    ensemble = ensemble_of(KerasClassifier(build_inside, **QUICK), engine="auto").fit(X, y)
    assert ensemble.engine_ == "keras"
    assert "the model cannot be described by its configuration" in ensemble.engine_reason_


@pytest.mark.slow
def test_regression(regression):
    """Regressors may be subclassed models too."""
    X, y = regression
    fused = ensemble_of(KerasRegressor(build_regression, **QUICK)).fit(X, y)
    assert_same_members(fused, fit_with_keras(fused, X, y), X)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_plain_scikeras_members(engine, blobs):
    """Members of scikeras' own class, which counts the outputs of models that have none yet."""
    X, y = blobs
    member = scikeras.wrappers.KerasClassifier(
        build_net, loss="sparse_categorical_crossentropy", optimizer="adam", verbose=0, **QUICK
    )
    ensemble = KerasAveragingClassifier(member, n_estimators=2, engine=engine, random_state=0).fit(X, y)
    assert ensemble.engine_ == engine
    assert ensemble.predict_proba(X).shape == (60, 3)


@pytest.mark.slow
def test_a_member_alone(blobs):
    """Without an ensemble, too: fitted, trained on, predicting."""
    X, y = blobs
    member = KerasClassifier(build_net, **QUICK).fit(X, y)
    assert member.predict_proba(X[:1]).shape == (1, 3)
    assert len(member.partial_fit(X, y).history_["loss"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize(
    "make",
    [
        lambda member, engine: KerasVotingClassifier([("a", member), ("b", member)], engine=engine),
        lambda member, engine: StackedKerasClassifier([("a", member)], cv=2, engine=engine),
        lambda member, engine: SnapshotEnsembleClassifier(member, n_estimators=2, engine=engine),
        lambda member, engine: PolyakWeightClassifier(member, n_checkpoints=2, engine=engine),
    ],
)
def test_other_ensembles(make, engine, blobs):
    """Every ensemble trains them by both engines and predicts."""
    X, y = blobs
    ensemble = make(KerasClassifier(build_net, **QUICK), engine).fit(X, y)
    assert ensemble.engine_ == engine
    np.testing.assert_allclose(ensemble.predict_proba(X).sum(axis=1), 1, rtol=1e-5)


def test_attributes_enter_the_signature():
    """Models that differ only in an attribute of their own do not share a program."""

    def compiled(*args):
        model = Net(*args)
        model(np.zeros((1, 4), "float32"))
        model.compile("sgd", "mse")
        return model

    assert signature(compiled(5, 3, 1.0)) == signature(compiled(5, 3, 1.0))
    assert signature(compiled(5, 3, 1.0)) != signature(compiled(5, 3, 2.0))
    assert signature(compiled(5, 3, 1.0, "relu")) != signature(compiled(5, 3, 1.0, "tanh"))


def test_a_signature_draws_no_random_numbers():
    """Describing a model leaves Python's generator, from which Keras draws its seeds, as it was."""

    class Own(keras.Sequential):
        pass

    architecture._keras_attributes.cache_clear()
    model = Own([keras.Input((1,)), keras.layers.Dense(1)])
    state = random.getstate()
    signature(model)
    assert random.getstate() == state


def test_dicts_are_refused(blobs):
    """A model whose output is a dict is refused by the program in words."""
    X, y = blobs
    member = KerasClassifier(build_dict, loss="sparse_categorical_crossentropy", **QUICK)
    with pytest.raises(ValueError, match=r"engine='fused' is not possible: "):
        ensemble_of(member).fit(X, y)


@pytest.mark.slow
def test_export_and_files_refuse_in_words(blobs, tmp_path):
    """What needs the configuration, in which Keras leaves out the arguments of the model, says so."""
    X, y = blobs
    ensemble = ensemble_of(KerasClassifier(build_net, **QUICK)).fit(X, y)
    with pytest.raises(ValueError, match=r"`to_keras` needs networks that Keras can build from their configuration"):
        ensemble.to_keras()
    with pytest.raises(io.PersistenceError, match="subclassed model"):
        io.dump(ensemble, tmp_path / "ensemble.skn")
    assert not list(tmp_path.iterdir())


class Scaled(keras.losses.Loss):
    """A loss without a `get_config` of its own: Keras' tells nothing of the factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * keras.losses.mean_squared_error(y_true, y_pred)


class Above(keras.metrics.Mean):
    """A metric without a `get_config` of its own."""

    def __init__(self, threshold):
        super().__init__("above")
        self.threshold = threshold

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(y_pred > self.threshold, sample_weight)


class Halved(keras.optimizers.SGD):
    """An optimizer without a `get_config` of its own."""

    def __init__(self, factor):
        super().__init__(0.1)
        self.factor = factor


@pytest.mark.parametrize("part", ["loss", "metrics", "optimizer"])
def test_objects_of_own_classes_are_told_apart(part):
    """Losses, metrics and optimizers that differ in what their configuration does not tell share no program."""

    def signature_with(value):
        made = {"loss": Scaled(value), "metrics": [Above(value)], "optimizer": Halved(value)}
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(**{"optimizer": "sgd", "loss": "mse"} | {part: made[part]})
        return signature(model)

    assert signature_with(0.5) == signature_with(0.5)
    assert signature_with(0.5) != signature_with(2.0)


def test_own_loss_after_another_one():
    """A fit with another factor is Keras' with that factor, though the first one's program is kept."""
    X, y = np.linspace(-1, 1, 16).reshape(8, 2).astype("float32"), np.arange(8.0)

    def build(meta, factor):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.01), Scaled(factor))
        return model

    network = KerasRegressor(build, model__factor=1.0, epochs=2, random_state=0).fit(X, y)
    network.set_params(model__factor=5.0)
    fused = network.fit(X, y).predict(X)
    assert network.engine_ == "fused"
    np.testing.assert_allclose(fused, network.set_params(engine="keras").fit(X, y).predict(X), rtol=1e-5)
