"""Float hyperparameters as inputs of a program, beside Keras' own fit."""

import keras
import numpy as np
import pytest

from skensemble._engine.all_backends.hyperparameters import free_signature, hyperparameters_of
from skensemble._engine.backend import get_program
from skensemble._engine.records import Data, RunPlan, ValidationData
from skensemble._engine.variables import read_state
from skensemble._members.architecture import signature

layers, optimizers = keras.layers, keras.optimizers
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(25, 4)).astype("float32"), RNG.integers(0, 3, 25)
N_TRAINED, EPOCHS, BATCH_SIZE = 20, 4, 8


class OwnDense(layers.Dense):
    """A layer of the user's own, whose code might read anything."""


def network(optimizer, rate=0.0, l2=0.01, hidden=layers.Dense):
    """A compiled network with penalties of all kinds."""
    keras.utils.set_random_seed(0)
    regularizers = keras.regularizers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            hidden(5, "relu", kernel_regularizer=regularizers.L2(l2), activity_regularizer=regularizers.L1(l2 / 10)),
            *([layers.Dropout(rate, seed=1)] if rate else []),
            layers.Dense(3, "softmax", bias_regularizer=regularizers.L1L2(l2, 2 * l2)),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def differing(kind, *options, rates=(0.0, 0.0), **common):
    """Two networks that differ in their optimizers, penalties and dropout rates."""
    return [
        network(getattr(optimizers, kind)(**common, **own), rate, l2)
        for own, rate, l2 in zip(options, rates, (0.01, 0.1), strict=True)
    ]


CASES = {
    "dropout": lambda: differing("Adam", {"beta_2": 0.99}, {"epsilon": 1e-3}, rates=(0.2, 0.6)),
    "Adam": lambda: differing("Adam", {"beta_1": 0.8, "beta_2": 0.999}, {"beta_2": 0.99, "epsilon": 1e-3}),
    "AdamW": lambda: differing("AdamW", {"weight_decay": 0.1}, {"weight_decay": 0.01}),
    "SGD": lambda: differing("SGD", {"momentum": 0.9}, {"momentum": 0.5}, nesterov=True, weight_decay=0.1),
    "SGD, clipped": lambda: differing("SGD", {"momentum": 0.9}, {"momentum": 0.5}, clipnorm=0.1),
    "RMSprop": lambda: differing("RMSprop", {"rho": 0.5, "momentum": 0.5}, {"momentum": 0.1}, centered=True),
    "Adamax": lambda: differing("Adamax", {"beta_1": 0.5}, {"beta_2": 0.9, "epsilon": 1e-3}),
    "Lion": lambda: differing("Lion", {"beta_1": 0.5}, {"beta_2": 0.5}),
}


@pytest.mark.parametrize(
    "case",
    [
        one if one in ("dropout", "Adam", "SGD", "RMSprop") else pytest.param(one, marks=pytest.mark.slow)
        for one in CASES
    ],
)
def test_equal_to_keras_fit(case):
    """Networks that differ in their hyperparameters are trained by one program as Keras trains each."""
    models = CASES[case]()
    assert free_signature(models[0]) == free_signature(models[1])
    assert signature(models[0]) != signature(models[1])
    program = get_program(models[0], 2, None, True)
    assert get_program(models[1], 2, None, True) is program
    state = program.stack([read_state(model) for model in models])
    state = program.with_hyperparameters(state, np.stack([hyperparameters_of(model) for model in models]))
    held_out = ValidationData(Data(X, Y), np.broadcast_to(np.arange(N_TRAINED, len(Y)), (2, len(Y) - N_TRAINED)), 5)
    orders = np.broadcast_to(np.arange(N_TRAINED), (EPOCHS, 2, N_TRAINED))
    state, logs = program.run(state, Data(X, Y), RunPlan(orders, BATCH_SIZE, validation=held_out))
    for k, model in enumerate(models):
        history = model.fit(
            X[:N_TRAINED],
            Y[:N_TRAINED],
            epochs=EPOCHS,
            batch_size=BATCH_SIZE,
            shuffle=False,
            validation_data=(X[N_TRAINED:], Y[N_TRAINED:]),
            verbose=0,
        ).history
        for name, values in history.items():
            np.testing.assert_allclose(logs[name][:, k], values, rtol=1e-5, err_msg=name)
        for ours, theirs in zip(program.unstack(state, k).trainable, model.trainable_variables, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-5, atol=1e-7)


def test_what_is_read_by_others_is_no_input():
    """Beside layers of the user's own, whose code may read a rate, each value makes a program."""
    models = [network("adam", rate, hidden=OwnDense) for rate in (0.2, 0.6)]
    assert hyperparameters_of(models[0]).shape == (0, 2)
    assert free_signature(models[0]) != free_signature(models[1])


def test_zero_makes_another_program():
    """Keras computes something else with 0: no momentum, no penalty of one kind."""
    for name, values in {"momentum": (0.0, 0.5), "weight_decay": (None, 0.1)}.items():
        models = [network(optimizers.SGD(**{name: value})) for value in values]
        assert free_signature(models[0]) != free_signature(models[1])


def test_signature_leaves_the_model_as_it_is():
    """The values are as they were."""
    model = network(optimizers.Adam(beta_1=0.7), 0.2)
    before = model.get_config(), model.optimizer.get_config()
    free_signature(model)
    assert (model.get_config(), model.optimizer.get_config()) == before
