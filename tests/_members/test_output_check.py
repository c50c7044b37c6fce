import keras
import numpy as np
import pytest
import scikeras.wrappers
from keras import layers
from numpy.testing import assert_array_equal

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._compat.scikeras_building import initialize
from skensemble._members.output_check import initialize_checked

X = np.linspace(-1, 1, 48, dtype="float32").reshape(12, 4)
TWO = np.arange(12) % 2
THREE = np.arange(12) % 3
ONE_HOT = np.eye(3, dtype=int)[THREE]
LABELS = np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]] * 4)
VALUES = np.linspace(0, 1, 12)
TWO_VALUES = np.stack([VALUES, -VALUES], axis=1)

SPARSE, CATEGORICAL, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"


def dense(units, activation=None):
    """Output layer."""
    return lambda: [layers.Dense(units, activation=activation)]


def scaled_exponential(x):
    """Give probabilities, by a function of the user's own."""
    return keras.ops.softmax(2 * x)


def tanh(x):
    """Give probabilities, by a function that has the name of one that does not."""
    return keras.ops.sigmoid(x)


def member_of(make_layers, y, loss=None, compiles=None, kind="skensemble"):
    """Classifier or regressor, of this package or of scikeras itself, with these layers."""

    def build():
        model = keras.Sequential([keras.Input((4,)), *make_layers()])
        if compiles is not None:
            model.compile("sgd", compiles)
        return model

    values = y.dtype.kind == "f"
    if kind == "scikeras":
        wrapper = scikeras.wrappers.KerasRegressor if values else scikeras.wrappers.KerasClassifier
        return wrapper(build, loss=loss, verbose=0, epochs=1)
    wrapper = KerasRegressor if values else KerasClassifier
    return wrapper(build, loss=loss, epochs=1, run_eagerly=True, random_state=0)


WRONG = {
    "one softmax unit, two classes": (
        TWO,
        dense(1, "softmax"),
        {},
        r"is 1 for every row.*Dense\(2, .*Dense\(1",
    ),
    "one softmax unit, three classes": (
        THREE,
        dense(1, "softmax"),
        {},
        r"is 1 for every row.*Dense\(3",
    ),
    "one sigmoid unit": (
        THREE,
        dense(1, "sigmoid"),
        {},
        r"got 1 unit for 3 classes.*Dense\(3",
    ),
    "two units": (THREE, dense(2, "softmax"), {}, "got 2 units for 3 classes"),
    "four units": (THREE, dense(4, "softmax"), {}, "got 4 units for 3 classes"),
    "three units for two classes": (TWO, dense(3, "softmax"), {}, "got 3 units for 2 classes"),
    "no activation": (
        THREE,
        dense(3),
        {},
        r"without an activation are not. .*softmax'\)\.$",
    ),
    "no activation, one unit": (
        TWO,
        dense(1),
        {},
        r"without an activation are not. .*sigmoid'\)\.$",
    ),
    "logits": (
        THREE,
        dense(3),
        {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        "activation='softmax'.* and leave out `from_logits=True`",
    ),
    "logits of something else": (
        TWO,
        lambda: [layers.Dense(1), layers.Rescaling(2.0)],
        {"loss": keras.losses.BinaryCrossentropy(from_logits=True)},
        "whose loss, .BinaryCrossentropy., takes logits are not.* and leave out `from_logits=True`",
    ),
    "loss in a list": (
        THREE,
        dense(3, "softmax"),
        {"compiles": ["mean_squared_error"]},
        "'mean_squared_error' compares",
    ),
    "tanh": (TWO, dense(1, "tanh"), {}, "with the activation 'tanh' are not"),
    "relu as a layer": (THREE, lambda: [layers.Dense(3), layers.ReLU()], {}, "with the activation 'relu' are not"),
    "inside a model": (THREE, lambda: [keras.Sequential([keras.Input((4,)), layers.Dense(3)])], {}, "without an act"),
    "sigmoids": (THREE, dense(3, "sigmoid"), {}, "must sum to 1 in each row.*indicator matrix"),
    "two sigmoids": (TWO, dense(2, "sigmoid"), {}, "must sum to 1 in each row"),
    "categorical loss": (
        THREE,
        dense(3, "softmax"),
        {"compiles": CATEGORICAL},
        "'categorical_crossentropy' compares .* Use the loss 'sparse_categorical_crossentropy'",
    ),
    "categorical loss, one unit": (TWO, dense(1, "sigmoid"), {"loss": CATEGORICAL}, "Use 'binary_crossentropy'"),
    "loss as an object": (
        THREE,
        dense(3, "softmax"),
        {"compiles": keras.losses.MeanSquaredError()},
        "'MeanSquaredError'",
    ),
    "sparse loss for one unit": (
        TWO,
        dense(1, "sigmoid"),
        {"loss": SPARSE},
        "an output for each class",
    ),
    "labels, too few units": (
        LABELS,
        dense(1, "sigmoid"),
        {},
        r"got 1 unit for 3 columns.*Dense\(3",
    ),
    "labels, softmax": (LABELS, dense(3, "softmax"), {}, "rows of y have several labels"),
    "labels, no activation": (LABELS, dense(3), {}, "must be probabilities"),
    "one-hot, sparse loss": (ONE_HOT, dense(3, "softmax"), {"loss": SPARSE}, "takes y as one number for each row"),
    "three dimensions": (
        THREE,
        lambda: [layers.Reshape((2, 2)), layers.Dense(3, "softmax")],
        {},
        r"\(None, 2, 3\)",
    ),
    "two values for one": (VALUES, dense(2), {}, r"each target: got 2 units for 1 target. Use keras.layers.Dense\(1\)"),
    "one value for two": (TWO_VALUES, dense(1), {}, "got 1 unit for 2 targets"),
    "softmax for a value": (VALUES, dense(1, "softmax"), {}, "is 1 for every row: it cannot predict values"),
    "values in two dimensions": (TWO_VALUES, lambda: [layers.Dense(2), layers.Reshape((1, 2))], {}, "one vector of"),
    "sequences of values": (VALUES, lambda: [layers.Reshape((4, 1)), layers.Dense(1)], {}, "return no sequences"),
}


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1 in each row")
@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("kind", ["skensemble", "scikeras"])
def test_wrong_outputs_are_refused(name, kind):
    """An output layer or a loss that cannot be right for y is refused before training, with what to change."""
    y, make_layers, params, message = WRONG[name]
    if kind == "scikeras" and not params:  # it has no default loss
        params = {"loss": "mean_squared_error" if y.dtype.kind == "f" else BINARY if y.ndim == 2 else SPARSE}
    member = member_of(make_layers, y, **params, kind=kind)
    with pytest.raises(ValueError, match=message):
        initialize_checked(member, X, y)


def test_refused_before_training():
    """A network that is refused stays unfitted, alone and by either engine."""
    trained = []

    class Recorder(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            trained.append(1)

    member = member_of(dense(3), THREE).set_params(callbacks=[Recorder])
    for estimator in (member, *(KerasAveragingClassifier(member, 2, engine=engine) for engine in ("keras", "fused"))):
        with pytest.raises(ValueError, match="must be probabilities"):
            estimator.fit(X, THREE)
        assert not [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]
    assert not trained


RIGHT = {
    "sigmoid": (TWO, dense(1, "sigmoid"), {}),
    "two softmax units": (TWO, dense(2, "softmax"), {}),
    "softmax": (THREE, dense(3, "softmax"), {}),
    "softmax as a layer": (THREE, lambda: [layers.Dense(3), layers.Softmax()], {}),
    "activation as a layer": (THREE, lambda: [layers.Dense(3), layers.Activation("softmax")], {}),
    "own activation": (THREE, dense(3, scaled_exponential), {}),
    "own activation with the name of another": (TWO, dense(1, tanh), {}),
    "lambda": (THREE, lambda: [layers.Dense(3), layers.Lambda(scaled_exponential, output_shape=(3,))], {}),
    "one-hot by the loss, two classes": (TWO, dense(2, "softmax"), {"loss": CATEGORICAL}),
    "one-hot by the loss": (THREE, dense(3, "softmax"), {"loss": CATEGORICAL}),
    "one-hot y": (ONE_HOT, dense(3, "softmax"), {"loss": CATEGORICAL}),
    "one-hot y, sigmoids": (ONE_HOT, dense(3, "sigmoid"), {}),
    "own loss": (THREE, dense(3, "softmax"), {"loss": lambda y, p: keras.ops.mean(p, axis=-1)}),
    "labels": (LABELS, dense(3, "sigmoid"), {}),
    "values": (VALUES, dense(1), {}),
    "positive values": (VALUES, dense(1, "softplus"), {}),
    "two values": (TWO_VALUES, dense(2, "tanh"), {}),
    "classes in two dimensions": (THREE, lambda: [layers.Dense(3, "softmax"), layers.Reshape((1, 3))], {}),
    "value in two dimensions": (VALUES, lambda: [layers.Dense(1), layers.Reshape((1, 1))], {}),
    "one dimension": (VALUES, lambda: [layers.Dense(1), layers.Reshape(())], {}),
}


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1 in each row")  # the layer may be right all the same
@pytest.mark.parametrize("name", RIGHT)
def test_right_outputs_are_taken(name):
    """What is right, or of which nothing can be known, is taken."""
    y, make_layers, params = RIGHT[name]
    member = initialize(member_of(make_layers, y, **params), X, y)
    assert len(member.model_.outputs) == 1


@pytest.mark.parametrize(
    "ensemble",
    [
        lambda member: KerasVotingClassifier([("a", member)]),
        lambda member: StackedKerasClassifier([("a", member)], cv=2),
        lambda member: StackedKerasClassifier([("a", KerasClassifier(epochs=0))], member, cv=2),
        lambda member: SnapshotEnsembleClassifier(member, 2),
        lambda member: PolyakWeightClassifier(member, n_checkpoints=2),
    ],
    ids=["voting", "stacked", "final", "snapshot", "polyak"],
)
def test_every_ensemble_checks(ensemble):
    """The output is checked wherever a network is trained."""

    def build(meta):
        return keras.Sequential([keras.Input(meta["X_shape_"][1:]), layers.Dense(3)])

    with pytest.raises(ValueError, match="must be probabilities"):
        ensemble(KerasClassifier(build, epochs=2)).fit(X, THREE)


def test_ensembles_of_regressors_check():
    """The same for regressors."""
    with pytest.raises(ValueError, match="one unit for each target"):
        KerasAveragingRegressor(member_of(dense(2), VALUES), 2).fit(X, VALUES)


def test_own_encoders_are_left_alone():
    """What an encoder of the user's makes of outputs is not known."""

    class Mean(KerasRegressor):
        @property
        def target_encoder(self):
            return Repeat()

    class Repeat:
        def fit(self, y):
            return self

        def transform(self, y):
            return np.stack([y, y, y], axis=1)

        def inverse_transform(self, outputs):
            return outputs.mean(axis=1)

    member = Mean(member_of(dense(3), VALUES).model, epochs=1, run_eagerly=True).fit(X, VALUES)
    assert member.predict(X).shape == (12,)


def test_model_without_known_shape():
    """A model that Keras builds in training is checked by its last layer, and trains where that is right."""

    def build(units):
        return keras.Sequential([layers.Dense(units, activation="softmax")])

    member = KerasClassifier(build, model__units=3, epochs=1, run_eagerly=True, random_state=0).fit(X, THREE)
    assert member.predict_proba(X).shape == (12, 3)
    with pytest.raises(ValueError, match="got 2 units for 3 classes"):
        member.set_params(model__units=2).fit(X, THREE)
    assert_array_equal(member.classes_, [0, 1, 2])
