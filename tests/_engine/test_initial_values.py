import random
import threading

import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend.common import global_state
from sklearn.base import clone

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._compat.global_seeds import seeded
from skensemble._compat.scikeras_building import initialize
from skensemble._engine.initial_values import initialize_members
from skensemble._engine.variables import read_state
from skensemble.exceptions import NotFusableError

SEEDS = [11, 22, 33, 44]
Y = np.array([0, 1, 2] * 4)
# Rows of the shapes that the builders take; whole numbers, which an embedding can look up.
FLAT, SERIES, IMAGE = (np.arange(12 * np.prod(s)).reshape(12, *s) % 5 + 0.0 for s in ((4,), (4, 2), (4, 4, 1)))

n_built = 0


def softmax():
    """Output layer for three classes."""
    return layers.Dense(3, activation="softmax")


def build_dense():
    """Dense layers, some with initializers that have arguments."""
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(3, kernel_initializer="he_normal", bias_initializer=keras.initializers.RandomUniform(0, 1)),
            layers.Dense(3, kernel_initializer=keras.initializers.TruncatedNormal(1.0), bias_initializer="ones"),
            softmax(),
        ]
    )


def build_convolution():
    """Convolution, pooling and a regularised layer."""
    return keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            layers.Conv2D(2, 3, kernel_regularizer="l2"),
            layers.GlobalAveragePooling2D(),
            softmax(),
        ]
    )


def build_lstm():
    """Orthogonal recurrent kernel, and a bias that starts as 1 for the forget gate."""
    return keras.Sequential([keras.Input((4, 2)), layers.LSTM(3, dropout=0.5, recurrent_dropout=0.5), softmax()])


def build_embedding():
    """Table of vectors."""
    return keras.Sequential([keras.Input((4,)), layers.Embedding(5, 2), layers.Flatten(), softmax()])


def build_normalised():
    """Variables that do not train: moving averages, and the states of random generators."""
    return keras.Sequential(
        [keras.Input((4,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.GaussianNoise(0.1), softmax()]
    )


def build_attention():
    """Layers made by a layer."""
    inputs = keras.Input((4, 2))
    hidden = layers.MultiHeadAttention(2, 2, dropout=0.5)(inputs, inputs)
    return keras.Model(inputs, softmax()(layers.Flatten()(hidden)))


def build_fixed_seed():
    """The user's own seed is the same in every member."""
    kernel = keras.initializers.GlorotUniform(seed=7)
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, kernel_initializer=kernel), layers.Dropout(0.1, seed=3), softmax()]
    )


def build_deferred():
    """Built by the builder itself, after the layers were made."""
    model = keras.Sequential([layers.Dense(3), softmax()])
    model.build((None, 4))
    return model


def build_shared_initializer():
    """One initializer for two layers gives both the same values."""
    kernel = keras.initializers.RandomNormal()
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(4, kernel_initializer=kernel),
            layers.Dense(4, kernel_initializer=kernel),
            softmax(),
        ]
    )


def build_compiled():
    """Compiled by the builder, with slots that exist already."""
    model = build_dense()
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)
    return model


KNOWN = {
    build_dense: FLAT,
    build_convolution: IMAGE,
    build_lstm: SERIES,
    build_embedding: FLAT,
    build_normalised: FLAT,
    build_attention: SERIES,
    build_fixed_seed: FLAT,
    build_deferred: FLAT,
    build_shared_initializer: FLAT,
    build_compiled: FLAT,
}


def build_set_weights():
    """Values from NumPy's global generator."""
    model = build_dense()
    model.set_weights([np.random.normal(size=w.shape) for w in model.get_weights()])
    return model


def build_python_random():
    """Values from Python's generator, between those that Keras draws there."""
    scale = random.uniform(1, 2)
    kernel = keras.initializers.RandomNormal(stddev=scale)
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer=kernel), softmax()])


def build_keras_random():
    """An initializer of the user's own, that draws from the global generator of Keras."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, kernel_initializer=keras.random.normal), softmax()])


def build_scaled():
    """Values that Keras drew, changed afterwards."""
    model = build_dense()
    model.set_weights([2 * w for w in model.get_weights()])
    return model


def build_random_rate():
    """The learning rate is the builder's choice."""
    model = build_dense()
    model.compile(keras.optimizers.SGD(float(np.random.uniform(0.1, 0.2))), "sparse_categorical_crossentropy")
    return model


UNKNOWN = [build_set_weights, build_python_random, build_keras_random, build_scaled, build_random_rate]


def counted(build):
    """The builder, which counts its calls in `n_built`."""

    def build_and_count():
        global n_built
        n_built += 1
        return build()

    return build_and_count


def initialized(build, X, seeds):
    """The starting values of members, and how many models were built for them."""
    global n_built
    n_built = 0
    estimator = KerasClassifier(counted(build))
    return initialize_members(estimator, seeds, X, Y), n_built


def really_built(build, X, seed):
    """The starting values of a model that is built under a seed."""
    with seeded(seed):
        return read_state(initialize(KerasClassifier(build), X, Y).model_)


def assert_equal_states(state, expected):
    """Equal bit for bit."""
    for values, expected_values in zip(state, expected, strict=True):
        for value, expected_value in zip(values, expected_values, strict=True):
            assert value.dtype == expected_value.dtype
            np.testing.assert_array_equal(value, expected_value)


@pytest.mark.parametrize("build", KNOWN)
def test_values_are_drawn_as_keras_draws_them(build):
    """Two models are built for any number of members; the values are those of models really built, bit for bit."""
    X = KNOWN[build]
    states, n_models = initialized(build, X, SEEDS)
    assert n_models == 2
    for seed, state in zip(SEEDS, states, strict=True):
        assert_equal_states(state, really_built(build, X, seed))
    assert not np.array_equal(states[2][0][-2], states[3][0][-2])


@pytest.mark.parametrize("build", UNKNOWN)
def test_values_that_are_not_known_are_built(build):
    """Where values do not come from initializers of Keras alone, every member is built."""
    states, n_models = initialized(build, FLAT, SEEDS)
    assert n_models == len(SEEDS)
    for seed, state in zip(SEEDS, states, strict=True):
        assert_equal_states(state, really_built(build, FLAT, seed))


def test_twenty_members_are_two_models():
    """The number of models that are built does not grow with the number of members."""
    states, n_models = initialized(build_dense, FLAT, list(range(20)))
    assert (len(states), n_models) == (20, 2)
    assert len({state[0][0].tobytes() for state in states}) == 20


@pytest.mark.parametrize("seeds", [[5], [5, 6]])
def test_one_member_and_two(seeds):
    """One or two members are built, one each."""
    states, n_models = initialized(build_normalised, FLAT, seeds)
    assert n_models == len(seeds)
    for seed, state in zip(seeds, states, strict=True):
        assert_equal_states(state, really_built(build_normalised, FLAT, seed))


def test_members_do_not_depend_on_each_other():
    """A member has the same values among others, in any order, and where its seed is there twice."""
    forth, _ = initialized(build_normalised, FLAT, SEEDS)
    back, _ = initialized(build_normalised, FLAT, [*SEEDS[::-1], SEEDS[-1]])
    for state, expected in zip(back, [*forth[::-1], forth[-1]], strict=True):
        assert_equal_states(state, expected)


def build_random_width():
    """Another width for another seed."""
    return keras.Sequential([keras.Input((4,)), layers.Dense(np.random.randint(2, 50)), softmax()])


def build_random_choice():
    """Another rate of dropout for another seed; the variables have the same shapes."""
    rate = random.choice([0.1, 0.2, 0.4, 0.8])
    return keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dropout(rate), softmax()])


@pytest.mark.parametrize("build", [build_random_width, build_random_choice])
def test_random_architecture(build):
    """Members of other architectures cannot share a program; the fallback trains each as it was built."""
    ensemble = KerasAveragingClassifier(
        KerasClassifier(build, epochs=1), n_estimators=5, random_state=0, engine="fused"
    )
    with pytest.raises(NotFusableError, match="another architecture for another seed"):
        ensemble.fit(FLAT, Y)
    assert not hasattr(ensemble, "estimators_")
    ensemble.set_params(engine="auto", n_estimators=3, estimator__batch_size=-1).fit(FLAT, Y)
    assert ensemble.engine_ == "keras"
    assert "the builder gives another architecture for another seed" in ensemble.engine_reason_
    made = {(m.model_.layers[0].units, getattr(m.model_.layers[1], "rate", None)) for m in ensemble.estimators_}
    assert len(made) > 1


def test_model_that_was_built_before():
    """A model whose values are kept: every member begins with them, and the model stays as it is."""
    model = build_compiled()
    before = [v.numpy() for v in model.variables]
    states = initialize_members(clone(KerasClassifier(model, reinitialize=False)), SEEDS, FLAT, Y)
    for state in states:
        assert_equal_states(state, read_state(model))
    for variable, value in zip(model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("build", [build_normalised, build_scaled])
def test_engines_begin_alike(build):
    """Both engines start a member from the same values: with a learning rate of 0 it keeps them."""
    member = KerasClassifier(
        build, epochs=1, batch_size=-1, shuffle=False, optimizer="sgd", optimizer__learning_rate=0.0
    )
    fused = KerasAveragingClassifier(member, n_estimators=3, random_state=0, engine="fused").fit(FLAT, Y)
    keras_ = clone(fused).set_params(engine="keras", estimator__run_eagerly=True).fit(FLAT, Y)
    for ours, theirs in zip(fused.estimators_, keras_.estimators_, strict=True):
        assert_equal_states([read_state(ours.model_)[0]], [read_state(theirs.model_)[0]])


@pytest.mark.parametrize("build", [build_normalised, build_set_weights, build_python_random, "model"])
def test_global_generators_are_left_alone(build):
    """Drawing starting values changes neither Python's nor NumPy's nor Keras' generator."""
    model = build_dense() if build == "model" else build
    keras.random.normal((1,))  # Keras makes its generator when it is first used
    generator = global_state.get_global_attribute("global_seed_generator")
    before = random.getstate(), np.random.get_state()[1:3], generator.state.numpy()
    initialize_members(KerasClassifier(model), SEEDS, FLAT, Y)
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1][0])
    assert np.random.get_state()[2] == before[1][1]
    assert global_state.get_global_attribute("global_seed_generator") is generator
    np.testing.assert_array_equal(generator.state, before[2])


def test_other_threads_draw_from_the_same_generators():
    """Threads that draw from Python's and NumPy's generators meanwhile (Dask's, say) change no starting value."""
    member = KerasClassifier(build_dense, loss="sparse_categorical_crossentropy")
    alone = initialize_members(clone(member), SEEDS, FLAT, Y)
    ended = threading.Event()

    def draw():
        while not ended.is_set():
            random.random()
            np.random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        beside = [initialize_members(clone(member), SEEDS, FLAT, Y) for _ in range(3)]
    finally:
        ended.set()
        thread.join()
    for states in beside:
        for one, other in zip(alone, states, strict=True):
            assert all(map(np.array_equal, one.trainable, other.trainable))
