import pickle
import warnings
from threading import Thread

import cloudpickle
import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, StackingClassifier, StackingRegressor, VotingClassifier
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.metrics import log_loss, r2_score
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

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
from skensemble.model_selection import GridSearchCV

# Eager, since tracing a graph takes longer than the few steps of these tests.
SMALL = {"hidden_layer_sizes": (3,), "epochs": 1, "batch_size": -1, "run_eagerly": True, "random_state": 0}


def small_classifier(**params):
    """Classifier that trains in a moment."""
    return KerasClassifier(**{**SMALL, **params})


def good_classifier(**params):
    """Classifier that trains in half a second, by a program that all share, and tells the blobs apart."""
    learns = {"hidden_layer_sizes": (20,), "epochs": 25, "optimizer__learning_rate": 0.05, "run_eagerly": False}
    return small_classifier(**{**learns, **params})


def small_regressor(**params):
    """Regressor that trains in a moment."""
    return KerasRegressor(**{**SMALL, **params})


def build_softmax(meta, units=4, activation="relu"):
    """Network with one hidden layer, found by pickle by its name."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, activation=activation),
            keras.layers.Dense(meta["n_classes_"], activation="softmax"),
        ]
    )


def same_weights(first, second):
    """Tell whether two fitted members hold the same variables, bit for bit."""
    pairs = zip(first.model_.get_weights(), second.model_.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


# What scikit-learn sees


def test_scikit_learn_knows_classifiers_and_regressors():
    """Classifiers are classifiers and regressors regressors, which scoring and stratification go by."""
    assert is_classifier(KerasClassifier())
    assert not is_regressor(KerasClassifier())
    assert is_regressor(KerasRegressor())
    assert not is_classifier(KerasRegressor())


@pytest.mark.parametrize("cls", [KerasClassifier, KerasRegressor])
def test_tags(cls):
    """Tags tell which targets and which arrays are taken, and whether results repeat."""
    tags = get_tags(cls())
    assert tags.target_tags.required
    assert tags.target_tags.multi_output
    assert tags.input_tags.three_d_array
    assert tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.non_deterministic
    assert not get_tags(cls(random_state=0)).non_deterministic
    assert (tags.classifier_tags is not None) == (cls is KerasClassifier)
    assert (tags.regressor_tags is not None) == (cls is KerasRegressor)
    if cls is KerasClassifier:
        assert tags.classifier_tags.multi_label


@pytest.mark.parametrize("fitted", [False, True])
def test_representations(blobs, fitted):
    """The representations, as text and in notebooks, name the class and what was set."""
    member = small_classifier(optimizer__learning_rate=0.25)
    if fitted:
        member.fit(*blobs)
    assert repr(member).startswith("KerasClassifier(")
    assert "hidden_layer_sizes=(3,)" in repr(member)
    assert "optimizer__learning_rate=0.25" in repr(member)
    html = member._repr_html_()
    assert "KerasClassifier" in html
    assert "hidden_layer_sizes" in html


# The default network


@pytest.mark.parametrize(
    ("member", "y", "n_outputs", "activation", "loss"),
    [
        (small_classifier(), np.arange(12) % 2, 1, "sigmoid", "binary_crossentropy"),
        (small_classifier(), np.array(["no", "yes"] * 6), 1, "sigmoid", "binary_crossentropy"),
        (small_classifier(), np.arange(12) % 3, 3, "softmax", "sparse_categorical_crossentropy"),
        (small_classifier(), np.array([[1, 1, 0], [0, 0, 1], [0, 0, 0]] * 4), 3, "sigmoid", "binary_crossentropy"),
        (small_regressor(), np.linspace(0, 1, 12), 1, "linear", "mean_squared_error"),
        (small_regressor(), np.linspace(0, 1, 24).reshape(12, 2), 2, "linear", "mean_squared_error"),
    ],
    ids=["binary", "binary strings", "multiclass", "multilabel", "regression", "two outputs"],
)
def test_default_network_follows_the_target(member, y, n_outputs, activation, loss):
    """Without a model, output layer and loss are those that fit the target, and predictions are shaped like it."""
    X = np.linspace(-1, 1, 24, dtype="float32").reshape(12, 2)
    member.fit(X, y)
    assert member.model_.output_shape == (None, n_outputs)
    assert member.model_.layers[-1].activation.__name__ == activation
    assert member.model_.loss == loss
    assert member.predict(X).shape == y.shape
    if is_classifier(member):
        assert set(np.unique(member.predict(X))) <= set(np.unique(y))


@pytest.mark.parametrize("row_shape", [(3, 2), (4, 4, 1)])
def test_default_network_flattens_images_and_sequences(row_shape):
    """X may have three or four dimensions; the default network reads each row as one long vector."""
    X = np.random.default_rng(0).normal(size=(12, *row_shape)).astype("float32")
    member = small_classifier().fit(X, np.arange(12) % 3)
    assert member.model_.input_shape == (None, *row_shape)
    assert member.model_.layers[0].output.shape == (None, np.prod(row_shape))
    assert member.predict_proba(X).shape == (12, 3)
    with pytest.raises(ValueError, match="is expecting"):
        member.predict(X[:, :-1])


def test_parameters_of_the_default_network(blobs):
    """Units, activation and dropout reach the layers of the default network."""
    member = small_classifier(hidden_layer_sizes=(5, 2), activation="tanh", dropout=0.25).fit(*blobs)
    layers = member.model_.layers
    assert [type(layer).__name__ for layer in layers] == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [layers[0].units, layers[2].units] == [5, 2]
    assert layers[0].activation is layers[2].activation is keras.activations.tanh
    assert layers[1].rate == layers[3].rate == 0.25


def test_default_network_without_parameters(blobs):
    """Left at None, they mean one hidden layer of 100 rectified units without dropout."""
    layers = small_classifier(hidden_layer_sizes=None).fit(*blobs).model_.layers
    assert [layer.units for layer in layers] == [100, 3]
    assert layers[0].activation is keras.activations.relu


def test_parameters_reach_a_builder_that_names_them(blobs):
    """A builder of the user's is given those of them that are set, and keeps its own defaults for the rest."""
    seen = []

    def build(meta, hidden_layer_sizes=(7,), activation="tanh", dropout=0.5):
        seen.append((hidden_layer_sizes, activation, dropout))
        return build_softmax(meta)

    small_classifier(model=build, hidden_layer_sizes=None).fit(*blobs)
    small_classifier(model=build, hidden_layer_sizes=(2,), dropout=0.0).fit(*blobs)
    small_classifier(model=build, hidden_layer_sizes=None, activation="elu").fit(*blobs)
    assert seen == [((7,), "tanh", 0.5), ((2,), "tanh", 0.0), ((7,), "elu", 0.5)]


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1")  # meant so here
def test_compiled_model_is_left_as_it_is(blobs):
    """A builder that compiles its model decides on loss and optimizer."""

    def build(meta, compile_kwargs):
        model = build_softmax(meta)
        model.compile(loss="kl_divergence", optimizer=compile_kwargs["optimizer"])
        return model

    y = np.eye(3)[blobs[1]]
    member = small_classifier(
        model=build, hidden_layer_sizes=None, optimizer="sgd", optimizer__learning_rate=0.125, run_eagerly=False
    ).fit(blobs[0], y)
    assert member.model_.loss == "kl_divergence"
    assert isinstance(member.model_.optimizer, keras.optimizers.SGD)
    assert float(member.model_.optimizer.learning_rate) == 0.125


# Parameters


def test_routed_parameters_arrive(blobs):
    """`model__`, `optimizer__`, `loss__` and `fit__` go where they say, extra keywords to the builder."""
    member = small_classifier(
        model=build_softmax,
        hidden_layer_sizes=None,
        units=6,
        model__activation="tanh",
        optimizer="sgd",
        optimizer__learning_rate=0.5,
        loss=keras.losses.SparseCategoricalCrossentropy,
        loss__reduction="sum",
        fit__batch_size=25,
    ).fit(*blobs)
    assert member.model_.layers[0].units == 6
    assert member.model_.layers[0].activation is keras.activations.tanh
    assert float(member.model_.optimizer.learning_rate) == 0.5
    assert member.model_.loss.get_config()["reduction"] == "sum"
    assert int(member.model_.optimizer.iterations) == 3  # 60 rows in batches of 25, 25 and 10


class CountBatches(keras.callbacks.Callback):
    """Counts the batches of predictions."""

    n_batches = 0

    def on_predict_batch_end(self, batch, logs=None):
        """Count."""
        self.n_batches += 1


def test_further_routed_parameters(blobs):
    """`metrics__`, `compile__` and `predict__` go where they say; arguments of a call come before parameters."""
    X, y = blobs
    counter = CountBatches()
    member = small_classifier(
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy],
        metrics__k=3,
        compile__steps_per_execution=2,
        fit__epochs=2,
        epochs=5,
        predict__batch_size=25,
        predict__callbacks=[counter],
    ).fit(X, y)
    assert member.history_["sparse_top_k_categorical_accuracy"] == [1.0, 1.0]  # of three classes
    assert member.model_.steps_per_execution == 2
    member.set_params(compile__steps_per_execution=1).fit(X, y, epochs=3)
    assert len(member.history_["loss"]) == 3
    assert member.model_.steps_per_execution == 1
    member.predict(X)
    assert counter.n_batches == 3
    member.predict(X, batch_size=60)
    assert counter.n_batches == 4


def test_get_and_set_params():
    """Routed and extra parameters are read and set like others; unknown ones raise."""
    member = KerasClassifier(build_softmax, units=6, optimizer__learning_rate=0.5)
    params = member.get_params()
    assert params["model"] is build_softmax
    assert params["units"] == 6
    assert params["optimizer__learning_rate"] == 0.5
    assert member.set_params(units=7, optimizer__learning_rate=0.25, fit__batch_size=10, dropout=0.5) is member
    params = member.get_params()
    assert [params[name] for name in ("units", "optimizer__learning_rate", "fit__batch_size", "dropout")] == [
        7,
        0.25,
        10,
        0.5,
    ]
    with pytest.raises(ValueError, match="Invalid parameter"):
        member.set_params(unit=7)


def test_parameters_of_callbacks_are_set(blobs):
    """Searches and `set_params` reach the parameters of Keras callbacks."""
    X, y = blobs
    member = small_classifier(
        callbacks=keras.callbacks.EarlyStopping, callbacks__monitor="loss", callbacks__patience=99, epochs=5
    )
    assert len(clone(member).fit(X, y).history_["loss"]) == 5
    patience = clone(member).set_params(callbacks__patience=0, callbacks__min_delta=1e9)
    assert clone(patience).get_params()["callbacks__patience"] == 0
    assert len(clone(patience).fit(X, y).history_["loss"]) == 2


def test_clone_keeps_all_parameters(blobs):
    """A clone of a fitted member has its parameters, routed and extra ones too, and is not fitted."""
    member = small_classifier(model=build_softmax, hidden_layer_sizes=None, units=6, optimizer__learning_rate=0.5)
    member.set_params(model__activation="tanh")
    copy = clone(member.fit(*blobs))
    assert copy.get_params() == member.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(blobs[0])
    assert same_weights(copy.fit(*blobs), member)


def test_optimizer_instance_serves_many_fits(blobs):
    """An optimizer instance is copied for each fit: a second fit starts anew, and the instance itself is not used."""
    optimizer = keras.optimizers.Adam(0.25)
    member = small_classifier(optimizer=optimizer)
    first = clone(member).fit(*blobs)
    second = member.fit(*blobs).fit(*blobs)
    assert same_weights(first, second)
    assert float(second.model_.optimizer.learning_rate) == 0.25
    assert int(second.model_.optimizer.iterations) == 1
    assert int(optimizer.iterations) == 0
    assert not optimizer.built


# Weights


@pytest.mark.parametrize(
    ("class_weight", "expected"),
    [({"a": 3.0, "b": 0.75, "c": 0.5}, [3.0, 0.75, 0.5]), ("balanced", [60 / (3 * 10), 60 / (3 * 20), 60 / (3 * 30)])],
)
def test_class_weight_is_keyed_by_labels(blobs, class_weight, expected):
    """Class weights multiply the sample weights, and the user's array stays as it is."""
    X, _ = blobs
    codes = np.repeat([0, 1, 2], [10, 20, 30])
    y = np.array(["a", "b", "c"])[codes]
    sample_weight = np.tile([0.5, 1.5], 30)  # of mean 1, also times the weights of the classes: nothing is scaled
    before = sample_weight.copy()
    weighted = small_classifier(class_weight=class_weight).fit(X, y, sample_weight=sample_weight)
    by_hand = small_classifier().fit(X, y, sample_weight=before * np.array(expected)[codes])
    assert_array_equal(sample_weight, before)
    assert same_weights(weighted, by_hand)
    assert not same_weights(weighted, small_classifier().fit(X, y, sample_weight=before))


def test_partial_fit_keeps_sample_weight(blobs):
    """`partial_fit` does not change the user's array either."""
    sample_weight = np.ones(60)
    small_classifier(class_weight={0: 5.0, 1: 1.0, 2: 0.5}).partial_fit(*blobs, sample_weight=sample_weight)
    assert_array_equal(sample_weight, np.ones(60))


def test_rows_of_weight_zero_are_left_out(blobs):
    """A row of weight 0 counts as little as a missing one."""
    X, y = blobs
    weights = np.ones(60)
    weights[40:] = 0
    weighted = small_classifier().fit(X, y, sample_weight=weights)
    assert same_weights(weighted, small_classifier().fit(X[:40], y[:40], sample_weight=weights[:40]))


# Targets


@pytest.mark.parametrize("member", [small_classifier(), small_regressor()], ids=["classifier", "regressor"])
def test_column_y_is_flattened(blobs, member):
    """A column y warns, as in scikit-learn, and predictions are one number or label a row."""
    X, y = blobs
    member = clone(member)
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        member.fit(X, y.reshape(-1, 1))
    assert member.predict(X).shape == (60,)
    assert member.score(X, y.reshape(-1, 1)) == member.score(X, y)
    assert same_weights(member, clone(member).fit(X, y))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("float32", "float32"), ("float64", "float64"), ("int64", "float64"), ("float16", "float32")],
)
def test_float_type_of_predicted_values(regression, dtype, expected):
    """Values come in the float type of y, several targets too."""
    X, y = regression
    for targets in (y.astype(dtype), np.stack([y, -y], axis=1).astype(dtype)):
        predicted = small_regressor().fit(X, targets).predict(X)
        assert predicted.dtype == expected
        assert predicted.shape == targets.shape


@pytest.mark.parametrize("validation_y", [["x", "y", "x"], np.array([["y"], ["x"], ["x"]])], ids=["list", "column"])
def test_labels_of_validation_data(blobs, validation_y):
    """Validation data have the labels of y, given to the estimator or to `fit`."""
    X, y = blobs
    labels = np.array(["y", "x"])[y % 2]
    held_out = X[:3], validation_y
    member = small_classifier(fit__validation_data=held_out).fit(X, labels)
    codes = np.ravel(validation_y) == "y"  # the second class, in the order of the alphabet
    expected = np.mean(keras.losses.binary_crossentropy(codes[:, None].astype("float32"), member.model_(X[:3])))
    assert_allclose(member.history_["val_loss"], [expected], rtol=1e-5)
    by_argument = small_classifier().fit(X, labels, validation_data=held_out)
    assert by_argument.history_["val_loss"] == member.history_["val_loss"]
    with pytest.raises(ValueError, match=r"must be among those of y, \['x', 'y'\]: got \['z'\]"):
        small_classifier(fit__validation_data=(X[:3], ["x", "y", "z"])).fit(X, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X[:, :2], y), r"rows shaped as in fit, \(4,\): got \(2,\)"),
        (lambda X, y: (X,), r"must be \(X, y\) or .*: got 1 parts"),
    ],
    ids=["columns", "no y"],
)
def test_bad_validation_data(blobs, change, message):
    """Validation data that do not match X, or lack y, are refused before training."""
    X, y = blobs
    for member in (small_classifier(), KerasAveragingClassifier(small_classifier(), 1)):
        name = "fit__validation_data" if isinstance(member, KerasClassifier) else "estimator__fit__validation_data"
        with pytest.raises(ValueError, match=message):
            member.set_params(**{name: change(X, y)}).fit(X, y)


def test_validation_data_in_lists_and_tables(blobs):
    """X of validation data may be a list or a table, as X may be."""
    X, y = blobs
    expected = small_classifier(random_state=0, fit__validation_data=(X[:9], y[:9])).fit(X, y)
    for table in (X[:9].tolist(), pd.DataFrame(X[:9])):
        member = small_classifier(random_state=0, fit__validation_data=(table, y[:9])).fit(X, y)
        assert member.history_ == expected.history_


def test_labels_of_class_weights(blobs):
    """Class weights for `Model.fit` have the labels of y, too."""
    X, y = blobs
    labels, weights = y % 2 + 1, {1: 1.0, 2: 5.0}
    expected = small_classifier(class_weight=weights).fit(X, labels).predict_proba(X)
    assert_allclose(small_classifier().fit(X, labels, class_weight=weights).predict_proba(X), expected, rtol=1e-5)
    assert_allclose(small_classifier(fit__class_weight=weights).fit(X, labels).predict_proba(X), expected, rtol=1e-5)
    with pytest.raises(ValueError, match=r"`class_weight` must be among those of y, \[1, 2\]: got \[0\]"):
        small_classifier().fit(X, labels, class_weight={0: 1.0, 1: 5.0})


@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
def test_callbacks_in_a_call(blobs, method):
    """Callbacks that a method is given, which scikeras leaves out, are refused in words."""
    X, y = blobs
    member = small_classifier().fit(X, y)
    with pytest.raises(TypeError, match=r"not of its methods: .* KerasClassifier\(callbacks="):
        getattr(member, method)(*(X, y) if method != "predict" else (X,), callbacks=[keras.callbacks.TerminateOnNaN()])


# Settings of scikit-learn


@pytest.mark.parametrize("output", ["pandas", "polars"])
def test_tables_as_output_of_transformers(blobs, output):
    """Where transformers of scikit-learn give tables, networks train and predict as ever, without a warning."""
    X, y = blobs
    expected = small_classifier(class_weight="balanced").fit(X, y)
    with config_context(transform_output=output):
        member = small_classifier(class_weight="balanced").fit(X, y)
        assert_array_equal(member.predict_proba(X), expected.predict_proba(X))
        assert_array_equal(member.predict(X), expected.predict(X))
        assert member.score(X, y) == expected.score(X, y)
        assert small_regressor().fit(X, y).predict(X).shape == (60,)


# Encoders and several outputs


class Logarithms(BaseEstimator):
    """Encoder of positive targets."""

    def fit(self, y):
        """Return itself."""
        return self

    def transform(self, y):
        """Logarithms."""
        return np.log(y)

    def inverse_transform(self, values):
        """Positive values, one a row."""
        return np.exp(values).reshape(-1)


class ScaledRegressor(KerasRegressor):
    """Scales X, and learns the logarithm of y."""

    feature_encoder = property(lambda self: StandardScaler())
    target_encoder = property(lambda self: Logarithms())


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_the_network_sees_what_the_encoders_make(regression, engine):
    """X and y are encoded before the network, and predictions are decoded, as by hand."""
    X, y = regression
    y = np.exp(y)
    given = {"model": lambda: from_ones(1), "loss": "mse", "run_eagerly": engine == "keras", "engine": engine}
    encoded = ScaledRegressor(**{**SMALL, "hidden_layer_sizes": None, **given}).fit(10 * X, y)
    by_hand = small_regressor(hidden_layer_sizes=None, **given).fit(StandardScaler().fit_transform(10 * X), np.log(y))
    expected = np.exp(by_hand.predict(StandardScaler().fit(10 * X).transform(10 * X[:5])))
    assert_allclose(encoded.predict(10 * X[:5]), expected, rtol=1e-5)


class TwoTargets(BaseEstimator):
    """Encoder of two columns of y for a network with two outputs."""

    def fit(self, y):
        """Return itself."""
        return self

    def get_metadata(self):
        """What the estimator knows of the outputs."""
        return {"n_outputs_": 2, "n_outputs_expected_": 2}

    def transform(self, y):
        """A target for each output."""
        return [y[:, 0], y[:, 1]]

    def inverse_transform(self, outputs):
        """Two columns."""
        return np.hstack(outputs)


class TwoOutputs(KerasRegressor):
    """A network with an output for each column of y."""

    target_encoder = property(lambda self: TwoTargets())


def from_ones(*units):
    """Network whose outputs, of so many units each, all begin with ones."""
    X = keras.Input((4,))
    outputs = [keras.layers.Dense(n, kernel_initializer="ones")(X) for n in units]
    return keras.Model(X, outputs if len(units) > 1 else outputs[0])


def test_several_outputs(regression):
    """With a target for each output the network is trained as by Keras' own fit, and `engine_reason_` says so."""
    X, y = regression
    both = np.stack([y, -y], axis=1)
    losses = {"loss": ["mse", "mae"], "optimizer": "sgd"}
    expected = from_ones(1, 1)
    expected.compile(**losses)
    expected.fit(X, [y, -y], batch_size=60, epochs=2, shuffle=False, verbose=0)
    member = TwoOutputs(lambda: from_ones(1, 1), **losses, batch_size=-1, epochs=2, shuffle=False).fit(X, both)
    for fitted in (member, KerasAveragingRegressor(member, n_estimators=1).fit(X, both)):
        assert fitted.engine_reason_ == "Keras' own fit, because the model has 2 outputs"
        assert_allclose(fitted.predict(X), np.hstack(expected.predict(X, verbose=0)), rtol=1e-5)


class Distance(keras.losses.Loss):
    """Mean distance, as people write it: a class without Keras' care for the dimensions of y."""

    def call(self, y_true, y_pred):
        """Distance of each row."""
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


def root_of_squares(y_true, y_pred):
    """Give the root of the mean square, another one of these."""
    return keras.ops.sqrt(keras.ops.mean(keras.ops.square(y_true - y_pred)))


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_own_losses_of_values(regression, engine):
    """Losses and metrics of the user's own get y as a column, like the outputs, as Keras makes one of a Series."""
    X, y = regression
    arguments = {"loss": Distance(), "metrics": [root_of_squares], "optimizer": "sgd"}
    expected = from_ones(1)
    expected.compile(**arguments, run_eagerly=True)
    held_out = X[:20], pd.Series(y[:20])
    logs = expected.fit(
        X, pd.Series(y), batch_size=60, epochs=2, shuffle=False, verbose=0, validation_data=held_out
    ).history
    member = KerasRegressor(lambda: from_ones(1), **arguments, batch_size=-1, epochs=2, shuffle=False, engine=engine)
    member.set_params(run_eagerly=engine == "keras", fit__validation_data=(X[:20], y[:20])).fit(X, y)
    assert_allclose(member.predict(X), expected.predict(X, verbose=0)[:, 0], rtol=1e-5)
    for name in ("loss", "root_of_squares", "val_loss", "val_root_of_squares"):
        assert_allclose(member.history_[name], logs[name], rtol=1e-5)


# Prediction


@pytest.mark.parametrize("n_classes", [2, 3])
def test_proba_of_one_row_has_two_dimensions(blobs, n_classes):
    """`predict_proba` gives a matrix for a single row too, the row it gives among others."""
    X, y = blobs
    member = small_classifier().fit(X, y % n_classes)
    one = member.predict_proba(X[:1])
    assert one.shape == (1, n_classes)
    assert_allclose(one, member.predict_proba(X)[:1], rtol=1e-5)
    assert_allclose(one.sum(), 1, rtol=1e-6)


def test_proba_is_what_the_model_says(blobs):
    """Probabilities are the outputs of the Keras model; with one sigmoid, of the second class."""
    X, y = blobs
    member = small_classifier().fit(X, y)
    assert_allclose(member.predict_proba(X), member.model_(X), rtol=1e-5)
    assert_array_equal(member.predict(X), member.classes_[np.argmax(member.model_(X), axis=1)])
    binary = small_classifier().fit(X, y % 2)
    assert_allclose(binary.predict_proba(X)[:, 1:], binary.model_(X), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "int64", "float16"])
def test_other_number_type_at_prediction(blobs, dtype):
    """X is converted to Keras' float type, in `fit` and in `predict`."""
    X, y = np.round(blobs[0]), blobs[1]
    member = small_classifier().fit(X, y)
    assert_array_equal(member.predict_proba(X.astype(dtype)), member.predict_proba(X))
    assert same_weights(member, small_classifier().fit(X.astype(dtype), y))


@pytest.mark.parametrize("columns", [["b", "a", "c", "d"], ["a", "b", "c", "e"]], ids=["shuffled", "renamed"])
def test_columns_must_be_those_of_fit(blobs, columns):
    """A DataFrame with other names, or the same ones in another order, raises."""
    X, y = blobs
    member = small_classifier().fit(pd.DataFrame(X, columns=list("abcd")), y)
    assert list(member.feature_names_in_) == list("abcd")
    assert member.predict(pd.DataFrame(X, columns=list("abcd"))).shape == y.shape
    with pytest.raises(ValueError, match="feature names should match"):
        member.predict(pd.DataFrame(X, columns=columns))


# Bad input and failed fits


@pytest.mark.parametrize("member", [small_classifier(), small_regressor()])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (None, y), "requires X to be passed"),
        (lambda X, y: (X, None), "requires y to be passed"),
        (lambda X, y: (np.where(X == X[3, 1], np.nan, X), y), "Input X contains NaN"),
        (lambda X, y: (np.where(X == X[3, 1], np.inf, X), y), "Input X contains infinity"),
        (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
        (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array"),
        (lambda X, y: (X[:0], y[:0]), "0 sample"),
    ],
    ids=["no X", "no y", "NaN", "infinity", "lengths", "one dimension", "empty"],
)
def test_bad_data(blobs, member, change, message):
    """Data that cannot be trained on raise before training, and leave nothing behind."""
    member = clone(member)
    before = set(vars(member))
    with pytest.raises(ValueError, match=message):
        member.fit(*change(*blobs))
    assert set(vars(member)) == before


def test_names_of_columns_are_checked_first(blobs):
    """Other columns are told before NaN in them, as scikit-learn does."""
    X, y = blobs
    member = small_classifier().fit(pd.DataFrame(X, columns=list("abcd")), y)
    with pytest.raises(ValueError, match="feature names should match"):
        member.predict(pd.DataFrame(X * np.nan, columns=list("abce")))


def rows_in_turn(X):
    """Generate the rows of X."""
    yield from X


@pytest.mark.parametrize(
    "stream",
    [rows_in_turn, tf.data.Dataset.from_tensor_slices, lambda X: tf.data.Dataset.from_tensor_slices(X).batch(2)],
    ids=["generator", "dataset", "batches"],
)
@pytest.mark.parametrize("estimator", [small_regressor(), KerasAveragingRegressor(small_regressor())], ids=str)
def test_streams_are_refused(blobs, stream, estimator):
    """Rows that come one after the other cannot be shuffled or drawn; the message says what to give."""
    with pytest.raises(TypeError, match=r"X must be an array.*got .*memory map"):
        clone(estimator).fit(stream(blobs[0]), blobs[1])


def build_nothing(meta):
    """Forget to return the model."""
    build_softmax(meta)


def build_dict(meta):
    """Name the output in a dict, as models with several have them."""
    model = build_softmax(meta)
    return keras.Model(model.inputs, {"probabilities": model.outputs[0]})


def build_with_more(units, meta, rate=0.5):
    """Need an argument that has no default."""
    return build_softmax(meta, units)


class Builder:
    """Builds as a method, and when it is called."""

    def build(self, meta):
        """Build the model."""
        return build_softmax(meta)

    __call__ = build


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (build_nothing, "must be a function that returns a Keras model: build_nothing returned None"),
        (lambda: 7, "lambda> returned an object of type int"),
        (build_dict, r"must return its output as it is: got a dict of \['probabilities'\]"),
        (build_with_more, "build_with_more needs 'units'. Give it as `model__units=...`"),
        ("dense", "must be a callable"),
        (keras.layers.Dense(3), "must be a callable"),
    ],
    ids=["nothing", "number", "dict", "argument", "text", "layer"],
)
def test_bad_builders(blobs, model, message):
    """A builder that cannot be used is refused with what is wrong with it."""
    with pytest.raises(TypeError, match=message):
        small_classifier(model=model, hidden_layer_sizes=None).fit(*blobs)


@pytest.mark.parametrize("model", [Builder().build, Builder()], ids=["method", "callable object"])
def test_builders_that_are_no_functions(blobs, model):
    """Methods and callable objects build models as functions do."""
    member = small_classifier(model=model, hidden_layer_sizes=None).fit(*blobs)
    assert same_weights(member, small_classifier(model=build_softmax, hidden_layer_sizes=None).fit(*blobs))


class Subclass(KerasClassifier):
    """A method builds the network, from the estimator's own parameters, as scikeras' documentation has it."""

    def __init__(self, hidden_layer_sizes=(2,), epochs=1, **kwargs):
        super().__init__(**kwargs)
        self.hidden_layer_sizes = hidden_layer_sizes
        self.epochs = epochs

    def _keras_build_fn(self, meta):
        layers = [keras.layers.Dense(units, activation="tanh") for units in self.hidden_layer_sizes * self.epochs]
        output = keras.layers.Dense(meta["n_classes_"], activation="softmax")
        return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers, output])


def test_subclasses_that_build(blobs):
    """The network is that of the method, not the default one; in a search, too, it follows all parameters."""
    member = Subclass(hidden_layer_sizes=(2, 3), random_state=0)
    assert [layer.units for layer in clone(member).fit(*blobs).model_.layers] == [2, 3, 3]
    search = GridSearchCV(member, {"epochs": [1, 2]}, cv=2, refit=False, return_estimator=True).fit(*blobs)
    assert [len(networks[0].model_.layers) for networks in search.estimators_] == [3, 5]


def test_builder_without_meta(blobs):
    """A builder need not take `meta`."""
    member = small_classifier(model=lambda: build_softmax({"X_shape_": (60, 4), "n_classes_": 3}))
    assert member.set_params(hidden_layer_sizes=None).fit(*blobs).predict(blobs[0]).shape == (60,)


def test_several_columns_of_classes(blobs):
    """The default network has no output for them; the error says what takes them."""
    X, y = blobs
    with pytest.raises(ValueError, match="got several columns of classes. Fit one network for each column"):
        small_classifier().fit(X, np.stack([y, y + 1], axis=1))


def test_one_class(blobs):
    """One class is nothing to learn."""
    with pytest.raises(ValueError, match="at least two classes: got one class, 'a'"):
        small_classifier().fit(blobs[0], ["a"] * 60)


class Interrupt(keras.callbacks.Callback):
    """Raise in the middle of training."""

    def on_epoch_end(self, epoch, logs=None):
        """Raise."""
        raise KeyboardInterrupt


def test_interrupted_fit_leaves_no_trace(blobs):
    """A fit that is interrupted leaves a new member unfitted and a fitted one as it was."""
    X, y = blobs
    member = small_classifier(callbacks=[Interrupt])
    with pytest.raises(KeyboardInterrupt):
        member.fit(X, y)
    with pytest.raises(NotFittedError):
        member.predict(X)

    member.set_params(callbacks=None).fit(X, y)
    proba = member.predict_proba(X)
    with pytest.raises(KeyboardInterrupt):
        member.set_params(callbacks=[Interrupt], hidden_layer_sizes=(5,)).fit(X[:, :2], y % 2)
    assert member.n_features_in_ == 4
    assert_array_equal(member.classes_, [0, 1, 2])
    assert_array_equal(member.predict_proba(X), proba)


# Seeds


@pytest.mark.parametrize("run_eagerly", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_seeded_fits_are_equal(blobs, run_eagerly):
    """A seed decides on initial values, dropout and row order; another seed gives another network."""
    settings = {"hidden_layer_sizes": (8,), "dropout": 0.5, "epochs": 2, "batch_size": 20, "run_eagerly": run_eagerly}
    first, second = (small_classifier(**settings).fit(*blobs) for _ in range(2))
    assert same_weights(first, second)
    assert first.history_ == second.history_
    assert not same_weights(first, small_classifier(**settings).set_params(random_state=1).fit(*blobs))


@pytest.mark.slow
def test_threads_do_not_disturb_each_other(blobs):
    """Two threads that fit with seeds at the same time get what they would have got one after the other."""
    settings = {"hidden_layer_sizes": (8,), "dropout": 0.5, "epochs": 3, "batch_size": 20}
    alone = [small_classifier(**{**settings, "random_state": seed}).fit(*blobs) for seed in range(2)]
    together = [small_classifier(**{**settings, "random_state": seed}) for seed in range(2)]
    threads = [Thread(target=member.fit, args=blobs) for member in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same_weights(*pair) for pair in zip(alone, together, strict=True))


# Training in parts


def test_partial_fit_goes_on(blobs):
    """Each call trains the same model for one more epoch, and appends to its history."""
    X, y = blobs
    member = small_classifier(epochs=10).partial_fit(X, y)
    model = member.model_
    assert int(model.optimizer.iterations) == 1
    member.partial_fit(X, y)
    assert member.model_ is model
    assert int(model.optimizer.iterations) == 2
    assert len(member.history_["loss"]) == 2


def test_partial_fit_is_told_the_classes(blobs):
    """Labels that the first call does not see are given as `classes`."""
    X, y = blobs
    member = small_classifier().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert member.predict_proba(X).shape == (60, 3)
    member.partial_fit(X[y == 2], y[y == 2])
    assert_array_equal(member.classes_, [0, 1, 2])


def test_types_of_y_may_change(blobs, regression):
    """Later calls may see longer labels, or floats in place of whole numbers."""
    X, y = blobs
    member = small_classifier().partial_fit(X[:2], ["b", "b"], classes=["b", "long"])
    member.partial_fit(X[:2], ["long", "long"])
    assert member.score(X[:2], ["another", "another"]) == 0
    X, y = regression
    member = small_regressor().partial_fit(X, np.round(y).astype(int)).partial_fit(X, y)
    assert len(member.history_["loss"]) == 2
    assert member.score(X, y) == r2_score(y, member.predict(X))
    with pytest.raises(ValueError, match=r"as many dimensions as in fit, 1: got an array of shape \(60, 2\)"):
        member.score(X, np.stack([y, y], axis=1))


def test_classes_of_partial_fit_are_sorted(blobs):
    """Columns are in the order of sorted labels, which scikit-learn's scores assume; later calls cannot change them."""
    X, y = blobs
    names = np.array(["a", "b", "c"])[y]
    member = small_classifier(random_state=0).partial_fit(X, names, classes=["c", "a", "b"])
    expected = small_classifier(random_state=0).partial_fit(X, names)
    assert_array_equal(member.classes_, ["a", "b", "c"])
    assert_array_equal(member.predict_proba(X), expected.predict_proba(X))
    with pytest.raises(ValueError, match="`classes` must be those of the first call"):
        member.partial_fit(X, names, classes=["a", "b"])


def test_warm_start_goes_on(blobs):
    """With `warm_start` a second fit goes on with the model of the first."""
    member = small_classifier(warm_start=True).fit(*blobs)
    model = member.model_
    assert member.fit(*blobs).model_ is model
    assert int(model.optimizer.iterations) == 2


# Saving


@pytest.mark.parametrize("model", [None, build_softmax], ids=["default network", "function of a module"])
@pytest.mark.parametrize("save", ["pickle", "joblib"])
def test_saved_member_predicts_the_same(blobs, tmp_path, model, save):
    """A fitted member comes back from pickle and joblib with equal predictions, bit for bit."""
    X, y = blobs
    member = small_classifier(model=model, hidden_layer_sizes=None).fit(X, y)
    if save == "pickle":
        loaded = pickle.loads(pickle.dumps(member))
    else:
        joblib.dump(member, tmp_path / "member.joblib")
        loaded = joblib.load(tmp_path / "member.joblib")
    assert_array_equal(loaded.predict_proba(X), member.predict_proba(X))
    assert loaded.get_params() == member.get_params()
    assert loaded.history_ == member.history_


def test_saved_member_trains_on(blobs):
    """What comes back has its optimizer's variables: further epochs are the same ones."""
    member = small_classifier().partial_fit(*blobs)
    loaded = pickle.loads(pickle.dumps(member))
    assert same_weights(loaded.partial_fit(*blobs), member.partial_fit(*blobs))


def test_members_with_lambdas_need_cloudpickle(blobs):
    """Builders that have no name to find them by are saved by cloudpickle and refused by pickle."""
    X, y = blobs
    member = small_classifier(model=lambda meta: build_softmax(meta, units=2), hidden_layer_sizes=None).fit(X, y)
    loaded = pickle.loads(cloudpickle.dumps(member))
    assert_array_equal(loaded.predict_proba(X), member.predict_proba(X))
    assert same_weights(loaded.fit(X, y), member)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(member)


@pytest.mark.slow
@pytest.mark.workers
def test_members_with_lambdas_reach_workers(blobs):
    """The workers of `n_jobs` get them, and give the scores of this process."""

    def build(meta):
        return build_softmax(meta, units=20)

    member = good_classifier(model=lambda meta: build(meta), hidden_layer_sizes=None)
    here = cross_val_score(member, *blobs, cv=2)
    assert_allclose(cross_val_score(member, *blobs, cv=2, n_jobs=2), here)


# Inside scikit-learn's own estimators


@pytest.mark.slow
def test_voting_classifier(blobs):
    """`VotingClassifier` averages the probabilities of members."""
    X, y = blobs
    members = [("a", good_classifier(epochs=3)), ("b", good_classifier(epochs=3, random_state=1))]
    voting = VotingClassifier(members, voting="soft").fit(X, y)
    by_hand = np.mean([member.fit(X, y).predict_proba(X) for _, member in members], axis=0)
    assert_allclose(voting.predict_proba(X), by_hand, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_bagging_classifier(blobs):
    """`BaggingClassifier` draws rows and seeds for its members, which differ."""
    X, y = blobs
    bagging = BaggingClassifier(good_classifier(), n_estimators=2, random_state=0).fit(X, y)
    assert not same_weights(*bagging.estimators_)
    assert bagging.score(X, y) > 0.9


@pytest.mark.slow
def test_stacking_classifier(blobs):
    """`StackingClassifier` learns from the probabilities of members."""
    members = [("a", good_classifier()), ("b", good_classifier(random_state=1))]
    stacking = StackingClassifier(members, RidgeClassifier(), cv=2).fit(*blobs)
    assert stacking.final_estimator_.coef_.shape == (3, 6)
    assert stacking.score(*blobs) > 0.9


@pytest.mark.slow
def test_stacking_regressor(regression):
    """`StackingRegressor` learns from the predictions of members."""
    member = small_regressor(hidden_layer_sizes=(20,), epochs=40, optimizer__learning_rate=0.05, run_eagerly=False)
    stacking = StackingRegressor([("a", member), ("b", Ridge())], Ridge(), cv=2).fit(*regression)
    assert stacking.final_estimator_.coef_.shape == (2,)
    assert stacking.score(*regression) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibrated_classifier(blobs, method):
    """`CalibratedClassifierCV` calibrates a member."""
    calibrated = CalibratedClassifierCV(good_classifier(), method=method, cv=2).fit(*blobs)
    assert_allclose(calibrated.predict_proba(blobs[0]).sum(axis=1), 1)
    assert calibrated.score(*blobs) > 0.9


@pytest.mark.slow
def test_cross_validation_is_stratified(blobs):
    """Folds hold all classes also where y is sorted; cut in order, no fold would know its own class."""
    X, y = blobs
    order = np.argsort(y)
    scores = cross_val_score(good_classifier(), X[order], y[order], cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.8


def test_metadata_routing(blobs):
    """A Pipeline passes on the sample weights that a member asks for."""
    X, y = blobs
    sample_weight = np.linspace(0.1, 3, 60)
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        member = small_classifier().set_fit_request(sample_weight=True)
        pipeline = clone(make_pipeline(scaler, member)).fit(X, y, sample_weight=sample_weight)
    by_hand = small_classifier().fit(StandardScaler().fit_transform(X), y, sample_weight=sample_weight)
    assert same_weights(pipeline[-1], by_hand)


# One-hot targets


def one_hot_warnings(fit, *args):
    """Warnings of one-hot targets while something is fitted, and no others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(*args)
    return [one for one in caught if issubclass(one.category, DataConversionWarning)]


@pytest.mark.parametrize("kind", ["array", "float", "table", "list"])
def test_one_hot_targets_warn(blobs, kind):
    """Rows that all have one 1 are most often classes: how they are understood is told, at the line of the user."""
    X, y = blobs
    y = np.eye(3, dtype=float if kind == "float" else int)[y]
    y = {"table": pd.DataFrame, "list": np.ndarray.tolist}.get(kind, np.asarray)(y)
    (warning,) = one_hot_warnings(small_classifier().fit, X, y)
    assert "taken as 3 labels" in str(warning.message)
    assert "y.argmax(axis=1)" in str(warning.message)
    assert warning.filename == __file__


def test_one_hot_targets_warn_once_per_fit(blobs):
    """Ensembles tell it themselves, and neither their members nor those of folds or pipelines tell it again."""
    X, y = blobs
    y = np.eye(3, dtype=int)[y]
    member = small_classifier()
    pipeline = make_pipeline(StandardScaler(), small_classifier())
    ensembles = [
        KerasAveragingClassifier(member, n_estimators=2, engine="keras"),
        KerasVotingClassifier(
            [("network", member), ("pipeline", pipeline), ("nested", KerasAveragingClassifier(member, 1))]
        ),
        StackedKerasClassifier([("network", member), ("pipeline", pipeline)], "average", cv=2),
        SnapshotEnsembleClassifier(member, 1),
        PolyakWeightClassifier(member, n_checkpoints=1),
    ]
    for ensemble in ensembles:
        (warning,) = one_hot_warnings(ensemble.fit, X, y)
        assert warning.filename == __file__


def test_targets_that_are_not_one_hot_do_not_warn(blobs):
    """Neither classes nor labels of which a row may have several or none are told anything."""
    X, y = blobs
    rows = np.eye(3, dtype=int)[y]
    some_none, some_two = rows.copy(), rows.copy()
    some_none[0] = 0
    some_two[0] = [1, 1, 0]
    for labels in (y, some_none, some_two):
        assert one_hot_warnings(KerasAveragingClassifier(small_classifier(), 1).fit, X, labels) == []
    assert one_hot_warnings(KerasRegressor(epochs=1, run_eagerly=True).fit, X, rows) == []


def test_classes_where_the_training_goes_on(blobs):
    """With `warm_start` and in `partial_fit` the classes stay those of the outputs, in their order."""
    X, y = blobs
    classifier = small_classifier(warm_start=True).fit(X, y)
    classes = classifier.classes_
    assert_array_equal(classifier.fit(X, y).classes_, classes)
    assert_array_equal(classifier.partial_fit(X, y, classes=classes[::-1].tolist()).classes_, classes)
    with pytest.raises(ValueError, match="`classes` must be those of the first call, or None"):
        classifier.partial_fit(X, y, classes=[*classes, 99])
    assert_array_equal(classifier.classes_, classes)


def test_probabilities_of_mixed_precision(blobs):
    """Metrics of scikit-learn take the probabilities of networks that compute in bfloat16, which they do not know."""
    X, y = blobs

    def build():
        output = keras.layers.Dense(3, activation="softmax", dtype="mixed_bfloat16")
        return keras.Sequential([keras.Input((4,)), output])

    member = small_classifier(model=build, hidden_layer_sizes=None, run_eagerly=False)
    for classifier in (member, KerasAveragingClassifier(member, 2, random_state=0)):
        proba = classifier.fit(X, y).predict_proba(X)
        assert proba.dtype == np.float32
        assert np.isfinite(log_loss(y, proba / proba.sum(axis=1, keepdims=True)))
