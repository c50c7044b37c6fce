import pickle
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest
import scikeras.wrappers
from backends import tensorflow_only
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

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

ROOT = Path(__file__).parents[1]
# Rounding of one float32 forward pass against another that sums in another order.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}

# Members run eagerly: tracing a graph takes longer than so few steps.
QUICK = {"epochs": 3, "batch_size": -1, "run_eagerly": True}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 4)).astype("float32")
IMAGES = RNG.normal(size=(24, 5, 5, 1)).astype("float32")
WORDS = RNG.integers(0, 7, size=(24, 3)).astype("float32")
TARGETS = {
    "binary": np.array(["no", "yes"])[np.arange(24) % 2],
    "classes": np.array(["b", "c", "a"])[np.arange(24) % 3],
    "labels": np.stack([np.arange(24) % 2, X[:, 0] > 0, X[:, 1] > 0], axis=1).astype(int),
    "one-hot": np.eye(3, dtype=int)[np.arange(24) % 3],
    "value": X @ [1, 2, 0, -1],
    "values": X @ RNG.normal(size=(4, 2)),
}


def mlp(units=3, **params):
    """A small classifier."""
    return KerasClassifier(hidden_layer_sizes=(units,), **{**QUICK, **params})


def mlp_regressor(units=3, **params):
    """A small regressor."""
    return KerasRegressor(hidden_layer_sizes=(units,), **{**QUICK, **params})


def averaging(member=None, **params):
    """Three copies of a small classifier, not fitted."""
    return KerasAveragingClassifier(member or mlp(), **{"n_estimators": 3, "random_state": 0, **params})


def averaging_regressor(**params):
    """Three copies of a small regressor, not fitted."""
    return KerasAveragingRegressor(mlp_regressor(), **{"n_estimators": 3, "random_state": 0, **params})


def voting(*members, **params):
    """Different classifiers, not fitted."""
    return KerasVotingClassifier(list(members), **{"random_state": 0, **params})


def voting_regressor(*members, **params):
    """Different regressors, not fitted."""
    return KerasVotingRegressor(list(members), **{"random_state": 0, **params})


def stacked(final_estimator, **params):
    """Two classifiers under a final one, not fitted."""
    members = [("one", mlp(2, epochs=1)), ("two", mlp(5, epochs=1))]
    return StackedKerasClassifier(members, final_estimator, **{"cv": 2, "random_state": 0, **params})


def stacked_regressor(final_estimator, **params):
    """Two regressors under a final one, not fitted."""
    members = [("one", mlp_regressor(2, epochs=1)), ("two", mlp_regressor(5, epochs=1))]
    return StackedKerasRegressor(members, final_estimator, **{"cv": 2, "random_state": 0, **params})


def by_name(table):
    """Mark a test as one that runs for each row of a table."""
    return pytest.mark.parametrize("row", table.values(), ids=table.keys())


def outputs_of(model, rows):
    """What a Keras model gives in inference."""
    return keras.ops.convert_to_numpy(model(rows, training=False))


def build_with(*layers, shape=(4,), n_classes=3):
    """Builder of a classifier with these layers before a softmax, each made anew from its configuration."""

    def build():
        copies = [type(layer).from_config(layer.get_config()) for layer in layers]
        return keras.Sequential([keras.Input(shape), *copies, keras.layers.Dense(n_classes, activation="softmax")])

    return KerasClassifier(build, **QUICK)


def constant_member(proba, classes=("a", "b", "c")):
    """A fitted classifier that gives every row these probabilities."""

    def build():
        logits = keras.initializers.Constant(np.log(proba))
        dense = keras.layers.Dense(
            len(proba), activation="softmax", kernel_initializer="zeros", bias_initializer=logits
        )
        return keras.Sequential([keras.Input((4,)), dense])

    member = KerasClassifier(build, epochs=0, run_eagerly=True)
    return FrozenEstimator(member.fit(X, np.array(classes)[np.arange(24) % len(classes)]))


# The same predictions

SOFT = {
    "averaging, classes": (averaging(), X, "classes"),
    "averaging, binary": (averaging(), X, "binary"),
    "averaging, labels": (averaging(), X, "labels"),
    "averaging, one-hot": (averaging(), X, "one-hot"),
    "averaging, one member": (averaging(n_estimators=1), X, "binary"),
    "averaging, weights": (averaging(weights=[1, 0, 3]), X, "classes"),
    "averaging, weights, labels": (averaging(weights=[1, 2, 3]), X, "labels"),
    "averaging, greedy": (averaging(weights="greedy"), X, "classes"),
    "averaging, bootstrap": (averaging(bootstrap=True), X, "classes"),
    "averaging, scikeras": (
        averaging(scikeras.wrappers.KerasClassifier(lambda: build_mlp(), loss="categorical_crossentropy", **QUICK)),
        X,
        "classes",
    ),
    "averaging, images": (averaging(mlp()), IMAGES, "classes"),
    "averaging, Dropout": (averaging(mlp(dropout=0.5)), X, "classes"),
    "averaging, BatchNormalization": (averaging(build_with(keras.layers.BatchNormalization())), X, "classes"),
    "averaging, Conv2D": (
        averaging(
            build_with(keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D(), shape=(5, 5, 1)),
            weights=[2, 1, 1],
        ),
        IMAGES,
        "classes",
    ),
    "averaging, Embedding": (
        averaging(KerasClassifier(lambda: build_words(), **QUICK)),
        WORDS,
        "classes",
    ),
    "voting, classes": (voting(("one", mlp(2)), ("two", mlp(5, activation="tanh"))), X, "classes"),
    "voting, binary": (voting(("one", mlp(2)), ("two", build_with(n_classes=2)), weights=[1, 3]), X, "binary"),
    "voting, greedy, labels": (voting(("one", mlp(2)), ("two", mlp(5)), weights="greedy"), X, "labels"),
    "snapshots": (SnapshotEnsembleClassifier(mlp(), n_estimators=3, n_last=2, random_state=0), X, "classes"),
    "snapshots, weights": (
        SnapshotEnsembleClassifier(mlp(), n_estimators=3, weights=[1, 2, 2], random_state=0),
        X,
        "binary",
    ),
    "average": (PolyakWeightClassifier(mlp(), n_checkpoints=2, weights="linear", random_state=0), X, "classes"),
    "average, binary": (PolyakWeightClassifier(mlp(), n_checkpoints=2, random_state=0), X, "binary"),
    "average, labels": (PolyakWeightClassifier(mlp(), n_checkpoints=2, random_state=0), X, "labels"),
    "average, BatchNormalization": (
        PolyakWeightClassifier(build_with(keras.layers.BatchNormalization()), n_checkpoints=3, random_state=0),
        X,
        "classes",
    ),
}


STACKED = {
    "concatenate": KerasHeadClassifier("concatenate", **QUICK),
    "average": KerasHeadClassifier("average", **QUICK),
    "weighted average": KerasHeadClassifier("weighted_average", weights=[1, 2], **QUICK),
    "network": mlp(4),
}


@pytest.mark.slow
@by_name(STACKED)
@pytest.mark.parametrize(("target", "passthrough"), [("binary", False), ("classes", True), ("labels", False)])
def test_stacked_probabilities(row, target, passthrough):
    """Members and the network that combines them are one model."""
    ensemble = stacked(row, passthrough=passthrough).fit(X, TARGETS[target])
    np.testing.assert_allclose(outputs_of(ensemble.to_keras(), X), ensemble.predict_proba(X), **FLOAT32)


def build_mlp():
    """A network for three classes."""
    layers = [keras.layers.Dense(3, activation="relu"), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((4,)), *layers])


def build_words():
    """A network on integers."""
    layers = [keras.layers.Embedding(7, 2), keras.layers.Flatten(), keras.layers.Dense(3, activation="softmax")]
    return keras.Sequential([keras.Input((3,), dtype="int32"), *layers])


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1")  # meant so here
@by_name(SOFT)
def test_probabilities(row):
    """The model gives the probabilities of the ensemble, in the order of its classes."""
    ensemble, rows, target = row
    ensemble.fit(rows, TARGETS[target])
    np.testing.assert_allclose(outputs_of(ensemble.to_keras(), rows), ensemble.predict_proba(rows), **FLOAT32)


HARD = {
    "averaging, binary": (averaging(voting="hard"), "binary"),
    "averaging, one-hot": (averaging(voting="hard"), "one-hot"),
    "averaging, weights": (averaging(voting="hard", weights=[1, 2, 4]), "classes"),
    "averaging, greedy": (averaging(voting="hard", weights="greedy"), "classes"),
    "voting": (voting(("one", mlp(2)), ("two", mlp(5)), ("three", mlp(7)), voting="hard"), "classes"),
    "snapshots": (SnapshotEnsembleClassifier(mlp(), n_estimators=3, voting="hard", random_state=0), "binary"),
}


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1")  # meant so here
@by_name(HARD)
def test_votes(row):
    """With votes, the model gives the share of the weights that choose each class; the first largest is predicted."""
    ensemble, target = row
    ensemble.fit(X, TARGETS[target])
    proba = ensemble.predict_members(X)
    expected = np.average(np.eye(proba.shape[-1])[proba.argmax(axis=-1)], axis=0, weights=ensemble.weights_)
    shares = outputs_of(ensemble.to_keras(), X)
    np.testing.assert_allclose(shares, expected, **FLOAT32)
    chosen = shares.argmax(axis=1)
    predicted = np.eye(3)[chosen] if target == "one-hot" else ensemble.classes_[chosen]
    np.testing.assert_array_equal(predicted, ensemble.predict(X))


@pytest.mark.parametrize("weights", [None, [1, 2, 4], "greedy"])
def test_votes_for_labels(weights):
    """With votes and several labels, the model gives the share of each label; those above a half are predicted."""
    ensemble = averaging(voting="hard", weights=weights).fit(X, TARGETS["labels"])
    expected = np.average(ensemble.predict_members(X) > 0.5, axis=0, weights=ensemble.weights_)
    shares = outputs_of(ensemble.to_keras(), X)
    np.testing.assert_allclose(shares, expected, **FLOAT32)
    np.testing.assert_array_equal(shares > 0.5, ensemble.predict(X))


@pytest.mark.filterwarnings("ignore:Members .0, 1. are equal")  # so that they tie
@pytest.mark.parametrize(
    ("weights", "shares"),
    [([1, 1, 2], [0.5, 0, 0.5]), ([0.1, 0.2, 0.3], [0.5, 0, 0.5]), ([0.7, 0.2, 0.9], [0.5, 0, 0.5])],
)
def test_ties_of_votes(weights, shares):
    """Classes with the same sum of weights have the same share, and a member that wavers chooses its first class."""
    last, wavering = [0.1, 0.2, 0.7], [0.4, 0.2, 0.4]
    members = [constant_member(proba) for proba in (last, last, wavering)]
    ensemble = KerasAveragingClassifier(members, 3, voting="hard", weights=weights).fit(X, TARGETS["classes"])
    np.testing.assert_array_equal(outputs_of(ensemble.to_keras(), X[:1]), np.float32([shares]))
    assert ensemble.predict(X[:1]) == ["a"]


REGRESSORS = {
    "averaging": (averaging_regressor(), "value"),
    "averaging, weights": (averaging_regressor(weights=[1, 0, 3]), "values"),
    "averaging, greedy": (averaging_regressor(weights="greedy"), "values"),
    "voting": (voting_regressor(("one", mlp_regressor(2)), ("two", mlp_regressor(5)), weights=[1, 3]), "value"),
    "snapshots": (SnapshotEnsembleRegressor(mlp_regressor(), n_estimators=3, random_state=0), "values"),
    "average": (PolyakWeightRegressor(mlp_regressor(), n_checkpoints=2, random_state=0), "value"),
    "stacked": (stacked_regressor(KerasHeadRegressor("average", **QUICK)), "values"),
    "stacked, weights": (
        stacked_regressor(KerasHeadRegressor("weighted_average", output_layer=False, **QUICK)),
        "value",
    ),
    "stacked, X": (stacked_regressor(KerasHeadRegressor(**QUICK), passthrough=True), "value"),
}


@by_name(REGRESSORS)
def test_values(row):
    """The model of a regressor gives its predictions, one column per target."""
    ensemble, target = row
    y = TARGETS[target]
    ensemble.fit(X, y)
    values = outputs_of(ensemble.to_keras(), X)
    assert values.shape == (24, y[0].size)
    np.testing.assert_allclose(values, ensemble.predict(X).reshape(24, -1), **FLOAT32)


def frozen(ensemble, classes=("a", "b", "c")):
    """An ensemble fitted on the rows of these classes, as a member."""
    rows = np.isin(TARGETS["classes"], classes)
    return FrozenEstimator(ensemble.fit(X[rows], TARGETS["classes"][rows]))


NESTED = {
    "frozen": (lambda: voting(("inner", frozen(averaging())), ("other", mlp())), "classes"),
    "fewer classes": (lambda: voting(("inner", frozen(averaging(), classes=["a", "c"])), ("other", mlp())), "classes"),
    "binary": (lambda: voting(("inner", averaging(weights=[1, 0, 2])), ("other", mlp())), "binary"),
    "labels": (lambda: voting(("inner", averaging()), ("other", averaging())), "labels"),
    "under a network": (lambda: stacked_on(averaging(), mlp(4)), "binary"),
    "that combines": (lambda: stacked_on(mlp(), averaging()), "classes"),
    "of every kind": (
        lambda: voting(
            ("vote", voting(("deep", averaging()), ("mlp", mlp()))),
            ("snapshots", SnapshotEnsembleClassifier(mlp(), n_estimators=2, random_state=0)),
            ("average", PolyakWeightClassifier(mlp(), n_checkpoints=2, random_state=0)),
            ("stacked", stacked(KerasHeadClassifier("average", **QUICK))),
        ),
        "classes",
    ),
}

FAST = {"fewer classes", "binary"}


def stacked_on(member, final_estimator):
    """Two members under a final estimator, not fitted."""
    return StackedKerasClassifier([("inner", member), ("other", mlp())], final_estimator, cv=2, random_state=0)


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[] if name in FAST else pytest.mark.slow, id=name) for name, row in NESTED.items()]
)
def test_ensembles_in_ensembles(row):
    """A member that is an ensemble is a model in the model."""
    make, target = row
    ensemble = make().fit(X, TARGETS[target])
    np.testing.assert_allclose(outputs_of(ensemble.to_keras(), X), ensemble.predict_proba(X), **FLOAT32)


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1 in each row")
@pytest.mark.slow
@pytest.mark.parametrize("target", ["classes", "labels", "one-hot"])
def test_votes_of_ensembles_in_ensembles(target):
    """What the members of an inner ensemble choose by their votes is one vote of the outer ensemble."""
    inner = averaging(voting="hard", weights=[1, 2, 4])
    ensemble = voting(("inner", inner), ("one", mlp()), ("two", mlp(5)), voting="hard").fit(X, TARGETS[target])
    shares = outputs_of(ensemble.to_keras(), X)
    if target == "labels":
        chosen = shares > 0.5
    else:
        chosen = np.eye(3)[shares.argmax(axis=1)] if target == "one-hot" else ensemble.classes_[shares.argmax(axis=1)]
    np.testing.assert_array_equal(chosen, ensemble.predict(X))


def test_regressors_in_regressors():
    """A member that is an ensemble of regressors is a model in the model."""
    ensemble = voting_regressor(("inner", averaging_regressor()), ("other", mlp_regressor())).fit(X, TARGETS["values"])
    np.testing.assert_allclose(outputs_of(ensemble.to_keras(), X), ensemble.predict(X), **FLOAT32)


def test_inner_ensembles_are_frozen_whole():
    """What combines the members of an inner ensemble is part of a member."""
    ensemble = voting(("inner", stacked(mlp(4))), ("other", mlp())).fit(X, TARGETS["classes"])
    assert ensemble.to_keras().trainable_variables == []
    inner, other = ensemble.estimators_
    networks = [*inner.estimators_, inner.final_estimator_, other]
    n_variables = sum(len(network.model_.trainable_variables) for network in networks)
    assert len(ensemble.to_keras(trainable=True).trainable_variables) == n_variables


def test_columns_of_members_that_know_fewer_classes():
    """Probabilities stand in the columns of the ensemble's classes, also those of one sigmoid output."""
    y = TARGETS["classes"]
    sigmoid = mlp().fit(X[y != "b"], y[y != "b"])
    softmax = build_with(n_classes=2).fit(X[y != "a"], y[y != "a"])
    assert sigmoid.model_.output_shape == (None, 1)
    members = [("all", mlp()), ("a and c", FrozenEstimator(sigmoid)), ("b and c", FrozenEstimator(softmax))]
    ensemble = voting(*members).fit(X, y)
    model = ensemble.to_keras()
    np.testing.assert_allclose(outputs_of(model, X), ensemble.predict_proba(X), **FLOAT32)
    model.get_layer("a_and_c__classes")


@pytest.mark.parametrize(("units", "activation", "shape"), [(3, "softmax", (1, 3)), (1, "sigmoid", ())])
def test_outputs_of_other_dimensions(units, activation, shape):
    """Outputs that are not one row of columns are read as the ensemble reads them."""

    def build():
        layers = [keras.layers.Dense(units, activation=activation), keras.layers.Reshape(shape)]
        return keras.Sequential([keras.Input((4,)), *layers])

    member = KerasClassifier(build, epochs=0, run_eagerly=True)
    ensemble = averaging(member).fit(X, TARGETS["binary" if units == 1 else "classes"])
    np.testing.assert_allclose(outputs_of(ensemble.to_keras(), X), ensemble.predict_proba(X), **FLOAT32)


def test_reweighted_average():
    """The model of an average follows `reweight`."""
    ensemble = PolyakWeightClassifier(mlp(), n_checkpoints=3, random_state=0).fit(X, TARGETS["classes"])
    before = outputs_of(ensemble.to_keras(), X)
    after = outputs_of(ensemble.reweight(n_checkpoints=1).to_keras(), X)
    np.testing.assert_allclose(after, ensemble.predict_proba(X), **FLOAT32)
    assert np.abs(after - before).max() > 1e-4


def test_last_step_of_a_pipeline():
    """The model of a pipeline's last step takes rows as the steps before leave them."""
    pipeline = make_pipeline(StandardScaler(), averaging()).fit(X, TARGETS["classes"])
    outputs = outputs_of(pipeline[-1].to_keras(), pipeline[:-1].transform(X))
    np.testing.assert_allclose(outputs, pipeline.predict_proba(X), **FLOAT32)


def test_stacked_images():
    """X of more than two dimensions goes to the network that combines the members as one line of numbers."""
    ensemble = stacked(KerasHeadClassifier(**QUICK), passthrough="flatten").fit(IMAGES, TARGETS["classes"])
    np.testing.assert_allclose(outputs_of(ensemble.to_keras(), IMAGES), ensemble.predict_proba(IMAGES), **FLOAT32)


# What is in the model


@pytest.mark.parametrize("weights", [None, [1, 2, 3]])
@pytest.mark.parametrize("target", ["binary", "classes"])
def test_only_layers_of_keras(weights, target):
    """Means and fixed weights need no layer but Keras' own."""
    model = averaging(weights=weights).fit(X, TARGETS[target]).to_keras()
    assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}


def test_members_of_weight_0_are_left_out():
    """The model holds the networks that count, so that an estimator of weight 0 may be none."""
    forest = RandomForestClassifier(n_estimators=2)
    ensemble = voting(("one", mlp()), ("two", forest), ("three", mlp()), weights=[1, 0, 2]).fit(X, TARGETS["classes"])
    model = ensemble.to_keras()
    names = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert names == ["one", "three"]
    np.testing.assert_allclose(outputs_of(model, X), ensemble.predict_proba(X), **FLOAT32)


def test_names_that_keras_cannot_take():
    """Names of members become names of layers, changed where TensorFlow refuses them or they are taken."""
    names = ["a b", "a/b", "X", "mean", "é"]
    model = voting(*[(name, mlp(2)) for name in names]).fit(X, TARGETS["classes"]).to_keras()
    networks = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert networks == ["a_b", "a_b_", "X_", "mean_", "member_"]
    assert model.predict(X, verbose=0).shape == (24, 3)


def test_mixed_precision():
    """Members are combined in full precision, also where the policy of new layers is another."""
    ensemble = averaging(weights=[1, 2, 3]).fit(X, TARGETS["classes"])
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = ensemble.to_keras()
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(outputs_of(model, X), ensemble.predict_proba(X), **FLOAT32)


def test_picture():
    """The model can be drawn, with the networks open."""
    pytest.importorskip("pydot")
    model = averaging().fit(X, TARGETS["classes"]).to_keras()
    picture = keras.utils.model_to_dot(model, expand_nested=True).to_string()
    assert "member_2" in picture


# Copies


class Doubled(keras.layers.Layer):
    """A layer of the user's own, not registered with Keras."""

    def call(self, inputs):
        return 2 * inputs


def build_normalization():
    """A network whose first layer learned statistics from data."""
    layer = keras.layers.Normalization()
    layer.adapt(10 * X + 3)
    return keras.Sequential([keras.Input((4,)), layer, keras.layers.Dense(3, activation="softmax")])


def build_vocabulary():
    """A network whose first layer learned a vocabulary from data."""
    lookup = keras.layers.IntegerLookup(output_mode="multi_hot")
    lookup.adapt(np.arange(3))
    inputs = keras.Input((4,))
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(lookup(keras.ops.cast(inputs, "int64"))))


def build_branches():
    """A functional network of branches, one of which is a model itself."""
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation="tanh", name="same")], name="inner")
    left, right = inner(inputs), keras.layers.Dense(2, name="same")(inputs)
    both = keras.layers.Concatenate()([left, right, inner(2 * inputs)])
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(both))


def build_local():
    """A network with a layer class and a lambda that nobody else can import."""

    class Halved(keras.layers.Layer):
        def call(self, inputs):
            return inputs / 2

    def squared(x):
        return x * x

    layers = [Halved(), Doubled(), keras.layers.Lambda(lambda x: x + 1), keras.layers.Dense(2, activation=squared)]
    layers.append(keras.layers.Dense(3, activation="softmax"))
    return keras.Sequential([keras.Input((4,)), *layers])


class Subclassed(keras.Model):
    """A model of the user's own, with its own constructor."""

    def __init__(self, units):
        self.units = units
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(units)(inputs)
        super().__init__(inputs, keras.layers.Dense(3, activation="softmax")(hidden))

    def get_config(self):
        """Arguments of the constructor."""
        return {"units": self.units}


def build_undescribed():
    """A network with a layer that Keras cannot describe."""

    class Undescribed(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, inputs):
            return self.function(inputs)

    return keras.Sequential([keras.Input((4,)), Undescribed(abs), keras.layers.Dense(3, activation="softmax")])


def build_namesakes():
    """A network with two layer classes of one name."""

    def make(factor):
        class Scaled(keras.layers.Layer):
            def call(self, inputs):
                return factor * inputs

        return Scaled()

    return keras.Sequential([keras.Input((4,)), make(2), make(3), keras.layers.Dense(3, activation="softmax")])


@pytest.mark.parametrize(
    "build",
    [
        build_normalization,
        pytest.param(build_vocabulary, marks=tensorflow_only("Keras on JAX cannot train networks that look up values")),
        build_branches,
        build_local,
        lambda: Subclassed(2),
    ],
)
def test_copies_of_networks(build):
    """Layers with statistics, branches, inner models and layers of the user's own are copied with their values."""
    member = KerasClassifier(build, **QUICK, loss="sparse_categorical_crossentropy")
    ensemble = averaging(member, n_estimators=2).fit(X, TARGETS["classes"])
    model = ensemble.to_keras()
    np.testing.assert_allclose(outputs_of(model, X), ensemble.predict_proba(X), **FLOAT32)
    before = ensemble.predict_members(X)
    model.set_weights([np.zeros_like(value) for value in model.get_weights()])
    np.testing.assert_array_equal(ensemble.predict_members(X), before)


def test_nothing_else_changes():
    """The ensemble, its pickle and the random states of the process are as before."""
    ensemble = averaging().fit(X, TARGETS["classes"])
    before = pickle.loads(pickle.dumps(ensemble)).predict_proba(X)
    states = random.getstate(), np.random.get_state()[1].tolist()
    names = set(vars(ensemble))
    ensemble.to_keras()
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert set(vars(ensemble)) == names
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ensemble)).predict_proba(X), before)


def test_training_of_the_model():
    """With `trainable=True` the networks train on as one model, and those of the ensemble stay as they are."""
    ensemble = averaging(weights=[1, 2, 3]).fit(X, TARGETS["classes"])
    before = ensemble.predict_proba(X)
    model = ensemble.to_keras(trainable=True)
    assert len(model.trainable_variables) == 3 * 4
    model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=True)
    losses = model.fit(X, np.searchsorted(ensemble.classes_, TARGETS["classes"]), epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


def test_training_of_layers_behind_the_model():
    """By default the networks are frozen, statistics of BatchNormalization included, under what is put on them."""
    ensemble = averaging(build_with(keras.layers.BatchNormalization())).fit(X, TARGETS["classes"])
    model = ensemble.to_keras()
    assert model.trainable_variables == []
    head = keras.Sequential([keras.Input((4,)), model, keras.layers.Dense(1)])
    head.compile("sgd", "mse", run_eagerly=True)
    head.fit(X, TARGETS["value"], verbose=0)
    np.testing.assert_allclose(outputs_of(model, X), ensemble.predict_proba(X), **FLOAT32)


def test_training_of_the_network_that_combines():
    """In a stacking ensemble, by default only the network that combines the members trains on."""
    ensemble = stacked(KerasHeadClassifier("average", **QUICK)).fit(X, TARGETS["classes"])
    model = ensemble.to_keras()
    final = model.get_layer("final_estimator")
    assert len(final.trainable_variables) == 4
    assert len(model.trainable_variables) == 4


def test_dropout_acts_in_further_training():
    """Frozen networks still drop units in training, as Keras' own do."""
    model = averaging(mlp(20, dropout=0.5)).fit(X, TARGETS["classes"]).to_keras()
    dropped = keras.ops.convert_to_numpy(model(X, training=True))
    assert np.abs(dropped - outputs_of(model, X)).max() > 0.01


def test_layers_frozen_by_the_user_stay_frozen():
    """`trainable=True` leaves layers frozen that do not train in the members."""
    member = build_with(keras.layers.Dense(2, trainable=False))
    model = averaging(member).fit(X, TARGETS["classes"]).to_keras(trainable=True)
    assert len(model.trainable_variables) == 3 * 2


# Files

FILES = {
    "mean": averaging(),
    "weights": averaging(weights=[1, 2, 3]),
    "votes": averaging(voting="hard", weights=[1, 2, 3]),
    "stacked": stacked(KerasHeadClassifier("average", **QUICK)),
    "nested": voting(("inner", averaging()), ("other", mlp())),
}


@cache
def exported(name, target):
    """The Keras model of one of these ensembles; tests do not change it."""
    return clone(FILES[name]).fit(X, TARGETS[target]).to_keras()


LOAD = """
import sys
sys.modules["skensemble"] = None  # importing it raises ImportError
import keras, numpy
X = numpy.load("X.npy")
for name in sys.argv[1:]:
    model = keras.models.load_model(name + ".keras")
    outputs = keras.ops.convert_to_numpy(model(X, training=False))
    numpy.testing.assert_array_equal(outputs, numpy.load(name + ".npy"))
"""


@pytest.mark.slow
def test_saved_models_load_without_this_package(tmp_path):
    """A saved model gives the same in a process that cannot import skensemble, binary targets included."""
    np.save(tmp_path / "X.npy", X)
    names = []
    for combination in FILES:
        for target in ("binary", "classes"):
            names.append(f"{combination} {target}")
            model = exported(combination, target)
            model.save(tmp_path / f"{names[-1]}.keras")
            np.save(tmp_path / f"{names[-1]}.npy", outputs_of(model, X))
    completed = subprocess.run([sys.executable, "-c", LOAD, *names], capture_output=True, text=True, cwd=tmp_path)
    assert completed.returncode == 0, completed.stderr


def test_saved_model_with_the_weighted_average(tmp_path):
    """The merge layer of this package is saved with the weights that it learned."""
    ensemble = stacked(KerasHeadClassifier("weighted_average", output_layer=False, **QUICK)).fit(X, TARGETS["classes"])
    model = ensemble.to_keras()
    model.save(tmp_path / "stacked.keras")
    loaded = keras.models.load_model(tmp_path / "stacked.keras")
    np.testing.assert_array_equal(outputs_of(loaded, X), outputs_of(model, X))
    np.testing.assert_allclose(outputs_of(loaded, X), ensemble.predict_proba(X), **FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_saved_model_of_tensorflow(name, tmp_path):
    """The model exports to TensorFlow's SavedModel."""
    tensorflow = pytest.importorskip("tensorflow")
    model = exported(name, "binary")
    model.export(tmp_path / "saved", verbose=False)
    served = tensorflow.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(served.serve(X).numpy(), outputs_of(model, X), **FLOAT32)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras 3.15 asks NumPy whether it has it
@pytest.mark.parametrize("name", FILES)
def test_onnx(name, tmp_path):
    """The model exports to ONNX."""
    for package in ("onnx", "tf2onnx"):
        pytest.importorskip(package)
    onnxruntime = pytest.importorskip("onnxruntime")
    model = exported(name, "binary")
    path = tmp_path / "model.onnx"
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(path)
    (outputs,) = session.run(None, {session.get_inputs()[0].name: X})
    np.testing.assert_allclose(outputs, outputs_of(model, X), **FLOAT32)


# Errors


def test_unfitted():
    """There is no model before `fit`."""
    with pytest.raises(NotFittedError):
        averaging().to_keras()


class OwnFeatures(KerasClassifier):
    """A member that transforms X before the network."""

    @property
    def feature_encoder(self):
        """Doubles X."""
        return FunctionTransformer(lambda X: 2 * X)


@pytest.mark.parametrize(
    ("ensemble", "target", "message"),
    [
        (
            averaging(KerasClassifier(build_namesakes, **QUICK)),
            "classes",
            "`to_keras` needs networks that Keras can build from their configuration: 'member_0' is not one.",
        ),
        (
            voting(("net", mlp()), ("forest", RandomForestClassifier(n_estimators=2))),
            "classes",
            "`to_keras` needs Keras networks only: 'forest' is RandomForestClassifier.",
        ),
        (
            voting_regressor(("net", mlp_regressor()), ("ridge", FrozenEstimator(Ridge().fit(X, TARGETS["value"])))),
            "value",
            "'ridge' is Ridge.",
        ),
        (
            voting(("inner", voting(("net", mlp()), ("forest", RandomForestClassifier(n_estimators=2))))),
            "classes",
            "'forest' is RandomForestClassifier.",
        ),
        (
            stacked(None),
            "classes",
            "`to_keras` needs Keras networks only: 'final_estimator' is LogisticRegression.",
        ),
        (
            stacked(mlp(), stack_method="predict"),
            "classes",
            "by predict_proba: got the methods {'one': 'predict', 'two': 'predict'}.",
        ),
        (
            averaging(OwnFeatures(**QUICK)),
            "classes",
            "'member_0' is OwnFeatures, which has a feature_encoder or target_encoder of its own.",
        ),
        (
            averaging(KerasClassifier(build_undescribed, **QUICK)),
            "classes",
            "`to_keras` needs networks that Keras can build from their configuration: 'member_0' is not one.",
        ),
    ],
)
def test_ensembles_that_are_no_model(ensemble, target, message):
    """Where there can be no model, the error names the member and says why."""
    ensemble.fit(X, TARGETS[target])
    with pytest.raises(ValueError, match=message):
        ensemble.to_keras()
