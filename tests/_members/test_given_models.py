import pickle
import warnings

import keras
import numpy as np
import pytest
import scikeras.wrappers
from comparison import assert_same_members, fit_with_keras
from keras import layers
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._members.given_models import why_trained
from skensemble._members.stable_description import describe_parameters

FIT = {"epochs": 1, "batch_size": 20, "run_eagerly": True, "optimizer": "sgd"}


def build(compiles=False):
    """Network with a random layer and two initializers."""
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, kernel_initializer="he_normal"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Dense(3, activation="softmax"),
        ]
    )
    if compiles:
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def weights(ensemble):
    """Variables of each member, as lists of arrays."""
    return [member.model_.get_weights() for member in ensemble.estimators_]


def are_equal(first, second):
    """Tell whether two lists of arrays are equal, bit for bit."""
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


# New values


@pytest.mark.parametrize("engine", ["keras", "fused"])
@pytest.mark.parametrize("compiles", [False, True])
def test_members_start_as_if_a_function_had_built_them(blobs, engine, compiles):
    """An untrained model gives the members that its builder gives, for the same seed, and is left as it is."""
    model = build(compiles)
    before = model.get_weights()
    params = {**FIT, "epochs": 0} if engine == "keras" else {**FIT, "run_eagerly": False, "epochs": 0}
    ensemble = KerasAveragingClassifier(KerasClassifier(model, **params), 4, engine=engine, random_state=0)
    by_function = clone(ensemble).set_params(estimator=KerasClassifier(build, model__compiles=compiles, **params))
    ensemble.fit(*blobs)
    by_function.fit(*blobs)
    assert all(map(are_equal, weights(ensemble), weights(by_function)))
    assert not are_equal(*weights(ensemble)[:2])
    assert are_equal(model.get_weights(), before)
    assert int(getattr(ensemble.estimators_[0].model_.optimizer, "iterations", 0)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("compiles", [False, True])
def test_both_engines_give_the_same(blobs, compiles):
    """Fused training of copies of a model is Keras' own."""
    member = KerasClassifier(build(compiles), epochs=2, batch_size=20, shuffle=False, reinitialize=True)
    member.model.layers[2].rate = 0.0  # the engines draw other masks
    fused = KerasAveragingClassifier(member, 2, engine="fused", random_state=0).fit(*blobs)
    assert_same_members(fused, fit_with_keras(fused, *blobs), blobs[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda member: KerasVotingClassifier([("a", member), ("b", clone(member))], random_state=0),
        lambda member: StackedKerasClassifier([("a", member), ("b", clone(member))], cv=2, random_state=0),
        lambda member: SnapshotEnsembleClassifier(member.set_params(epochs=2), 2, random_state=0),
        lambda member: PolyakWeightClassifier(member, n_checkpoints=1, random_state=0),
    ],
    ids=["voting", "stacked", "snapshot", "polyak"],
)
def test_every_ensemble_draws_values(blobs, make):
    """The seed of every ensemble decides on the starting values, not those that the model happens to have."""
    first, second = (make(KerasClassifier(build(), **FIT)).set_params(engine="keras").fit(*blobs) for _ in range(2))
    proba = [ensemble.predict_proba(blobs[0]) for ensemble in (first, second)]
    assert_array_equal(*proba)
    if hasattr(first, "named_estimators_"):
        assert not are_equal(*weights(first)[:2])


def test_plain_members_draw_values(blobs):
    """Members of scikeras' own class do so too."""
    member = scikeras.wrappers.KerasClassifier(
        build(), loss="sparse_categorical_crossentropy", epochs=1, verbose=0, run_eagerly=True
    )
    ensemble = KerasAveragingClassifier(member, 2, engine="keras", random_state=0).fit(*blobs)
    assert not are_equal(*weights(ensemble))


def test_frozen_layers_keep_their_values(blobs):
    """A frozen backbone and adapted preprocessing keep their values; what is on top starts anew in each member."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.BatchNormalization()])
    inner.set_weights([np.full_like(w, 2.0) for w in inner.get_weights()])
    inner.trainable = False
    scaling = layers.Normalization()
    scaling.adapt(blobs[0])
    model = keras.Sequential([keras.Input((4,)), scaling, inner, layers.Dense(3, activation="softmax")])
    assert why_trained(model) is None
    ensemble = KerasAveragingClassifier(KerasClassifier(model, **FIT), 2, engine="keras", random_state=0).fit(*blobs)
    for member in ensemble.estimators_:
        assert all((w == 2.0).all() for w in member.model_.layers[1].get_weights())
        assert are_equal(member.model_.layers[0].get_weights(), scaling.get_weights())
    kernels = [member.model_.layers[2].kernel for member in ensemble.estimators_]
    assert not np.array_equal(*kernels)


# What tells that a model was trained

INITIAL = {
    "dense": lambda: build(),
    "compiled": lambda: build(compiles=True),
    "recurrent": lambda: keras.Sequential([keras.Input((3, 2)), layers.Bidirectional(layers.LSTM(2)), layers.Dense(3)]),
    "gated": lambda: keras.Sequential([keras.Input((3, 2)), layers.GRU(2), layers.Dense(3)]),
    "convolution": lambda: keras.Sequential([keras.Input((4, 4, 1)), layers.SeparableConv2D(2, 2), layers.PReLU()]),
    "embedding": lambda: keras.Sequential([keras.Input((3,)), layers.Embedding(5, 2), layers.LayerNormalization()]),
    "user's seed": lambda: keras.Sequential(
        [keras.Input((2,)), layers.Dense(2, kernel_initializer=keras.initializers.Orthogonal(seed=3))]
    ),
}


def attention():
    """Network with layers made by a layer."""
    inputs = keras.Input((4, 2))
    return keras.Model(inputs, layers.MultiHeadAttention(2, 2)(inputs, inputs))


INITIAL["attention"] = attention


@pytest.mark.parametrize("name", INITIAL)
def test_untrained_models_are_known(name):
    """A model that was only built has the values that its initializers give, also as a copy."""
    member = KerasClassifier(INITIAL[name]())
    copies = [member, clone(member), clone(clone(member)), pickle.loads(pickle.dumps(member))]
    assert [why_trained(copy.model) for copy in copies] == [None] * 4


def trained_by_fit():
    """Train for a step."""
    model = build(compiles=True)
    model.fit(np.ones((4, 4)), np.zeros(4), verbose=0)
    return model


def with_other_kernel():
    """Set a single variable."""
    model = build()
    model.layers[0].kernel.assign(model.layers[0].kernel + 1)
    return model


def with_other_statistics():
    """Change nothing but the statistics of BatchNormalization."""
    model = build()
    model(np.ones((4, 4)), training=True)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (trained_by_fit, "the optimizer has taken 1 steps"),
        (with_other_kernel, "the values of layer 'dense.*' are not those"),
        (with_other_statistics, "the values of layer 'batch_normalization.*' are not those"),
    ],
)
@pytest.mark.parametrize("engine", ["keras", "fused"])
def test_trained_models_are_refused(blobs, make, message, engine):
    """Where a model was trained, an ensemble asks what is meant, before training; a clone tells it too."""
    ensemble = KerasAveragingClassifier(KerasClassifier(make(), **FIT), 2, engine=engine)
    for one in (ensemble, clone(ensemble)):
        with pytest.raises(ValueError, match=f"{message}.* Pass a function .* reinitialize=False keeps"):
            one.fit(*blobs)


def test_trained_models_of_scikeras_are_refused(blobs):
    """Members of scikeras' own class have no such parameter: the message names the classes that do."""
    member = scikeras.wrappers.KerasClassifier(trained_by_fit(), verbose=0)
    with pytest.raises(ValueError, match="use skensemble's KerasClassifier"):
        KerasAveragingClassifier(member, 2).fit(*blobs)


# What is asked for


@pytest.mark.parametrize("engine", ["keras", "fused"])
def test_values_are_kept(blobs, engine):
    """With `reinitialize=False` all members start from the values of the model."""
    model = trained_by_fit()
    member = KerasClassifier(model, epochs=0, batch_size=20, reinitialize=False)
    ensemble = KerasAveragingClassifier(member, 2, engine=engine, random_state=0).fit(*blobs)
    for one in weights(ensemble):
        assert are_equal(one, model.get_weights())


@pytest.mark.parametrize("engine", ["keras", "fused"])
def test_values_of_a_trained_model_are_drawn(blobs, engine):
    """With `reinitialize=True` nothing is left of the training: values, statistics and optimizer are new."""
    member = KerasClassifier(trained_by_fit(), epochs=0, batch_size=20, reinitialize=True)
    by_function = KerasClassifier(build, model__compiles=True, epochs=0, batch_size=20)
    pair = [
        KerasAveragingClassifier(one, 3, engine=engine, random_state=0).fit(*blobs) for one in (member, by_function)
    ]
    assert all(map(are_equal, *map(weights, pair)))
    assert int(pair[0].estimators_[0].model_.optimizer.iterations) == 0


def test_alone_a_model_is_trained_as_it_is(blobs):
    """Outside of an ensemble the values of a model are kept, unless new ones are asked for."""
    kept = KerasClassifier(build(), epochs=0, random_state=0)
    before = kept.model.get_weights()
    assert are_equal(kept.fit(*blobs).model_.get_weights(), before)
    drawn = KerasClassifier(trained_by_fit(), epochs=0, random_state=0, reinitialize=True).fit(*blobs)
    by_function = KerasClassifier(build, model__compiles=True, epochs=0, random_state=0).fit(*blobs)
    assert are_equal(drawn.model_.get_weights(), by_function.model_.get_weights())


@pytest.mark.parametrize("params", [{"shuffle": False}, {"batch_size": -1}], ids=str)
def test_equal_members_are_told(blobs, params):
    """Where nothing tells members apart that start from the same values, a warning says so."""

    def fit(**more):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="softmax")])
        member = KerasClassifier(model, **{**FIT, "epochs": 0, "reinitialize": False, **more})
        KerasAveragingClassifier(member, 2, engine="keras", random_state=0).fit(*blobs)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(**params)
    (told,) = [warning for warning in caught if "2 members start from" in str(warning.message)]
    assert "they will be equal" in str(told.message)
    assert told.filename == __file__
    fit()


# Around it


@pytest.mark.slow
def test_cross_validation(blobs):
    """Clones of an ensemble know that the model is untrained; each fold starts from values of the seed."""
    ensemble = KerasAveragingClassifier(KerasClassifier(build(), **FIT), 2, engine="keras", random_state=0)
    first = cross_val_score(ensemble, *blobs, cv=2)
    again = KerasAveragingClassifier(KerasClassifier(build(), **FIT), 2, engine="keras", random_state=0)
    assert_array_equal(first, cross_val_score(again, *blobs, cv=2))


def test_checkpoints_do_not_ask_for_values_that_do_not_matter():
    """Another process that builds the model has other values, and goes on with the same fit; architectures differ."""
    first, second = (describe_parameters(KerasClassifier(build())) for _ in range(2))
    assert first == second
    kept = [describe_parameters(KerasClassifier(build(), reinitialize=False)) for _ in range(2)]
    assert kept[0]["model"] != kept[1]["model"]
    assert describe_parameters(KerasClassifier(keras.Sequential([keras.Input((4,)), layers.Dense(3)]))) != first


def test_model_that_cannot_be_built_anew(blobs):
    """A model without a configuration of its own is refused with what to pass."""

    class Own(keras.Model):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def call(self, x):
            return self.layer(x)

        def __deepcopy__(self, memo):
            return self

    with pytest.raises(ValueError, match="cannot be built anew from its configuration.*Pass a function"):
        KerasAveragingClassifier(KerasClassifier(Own(layers.Dense(3)), **FIT), 2).fit(*blobs)
