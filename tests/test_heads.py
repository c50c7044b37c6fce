import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.exceptions import NotFittedError

from skensemble import KerasHeadClassifier, KerasHeadRegressor, WeightedAverage

FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
# Eager: tracing a graph takes longer than so few steps.
QUICK = {"epochs": 2, "batch_size": -1, "run_eagerly": True, "random_state": 0}

_, Y = make_blobs(n_samples=30, centers=3, random_state=0)
# Probabilities of two members for three classes: the first knows the answer, the second knows nothing.
RIGHT = np.full((30, 3), 0.1, dtype="float32")
RIGHT[np.arange(30), Y] = 0.8
COLUMNS = np.hstack([RIGHT, np.full((30, 3), 1 / 3, dtype="float32")])


def layers_of(head):
    """Names of the kinds of layers of a fitted head, without those that Keras makes for slices."""
    return [type(layer).__name__ for layer in head.model_.layers if type(layer).__module__ != "keras.src.ops.numpy"]


@pytest.mark.parametrize(
    ("merge", "layers"),
    [
        ("concatenate", ["InputLayer", "Dropout", "Dense"]),
        ("average", ["InputLayer", "Average", "Dense", "Dropout", "Dense"]),
        ("weighted_average", ["InputLayer", "WeightedAverage", "Dense"]),
    ],
)
def test_default_layers(merge, layers):
    """Each way to merge has the layers, units and dropout of the tutorials where nothing is said."""
    head = KerasHeadClassifier(merge, member_columns=(3, 3), **QUICK).fit(COLUMNS, Y)
    assert layers_of(head) == layers
    assert [layer.rate for layer in head.model_.layers if isinstance(layer, keras.layers.Dropout)] == {
        "concatenate": [0.5],
        "average": [0.3],
        "weighted_average": [],
    }[merge]
    units = [layer.units for layer in head.model_.layers if isinstance(layer, keras.layers.Dense)]
    assert units == ([16, 3] if merge == "average" else [3])
    assert head.model_.layers[-1].activation is keras.activations.softmax


def test_layers_as_asked():
    """Hidden layers each have a dropout layer after them; 0 is no dropout."""
    head = KerasHeadClassifier("average", member_columns=(3, 3), hidden_layer_sizes=(4, 5), dropout=0.2, **QUICK)
    assert layers_of(head.fit(COLUMNS, Y)) == ["InputLayer", "Average", *["Dense", "Dropout"] * 2, "Dense"]
    assert layers_of(head.set_params(hidden_layer_sizes=(), dropout=0).fit(COLUMNS, Y))[2:] == ["Dense"]


def test_merges_are_means_of_the_members():
    """Before any training, the average and the weighted one are those of NumPy."""
    fixed = KerasHeadClassifier("weighted_average", weights=[1, 3], member_columns=(3, 3), **QUICK).fit(COLUMNS, Y)
    average = KerasHeadClassifier("average", member_columns=(3, 3), **QUICK).fit(COLUMNS, Y)
    weights = fixed.weights_[:, np.newaxis, np.newaxis]
    for head, kind, expected in [
        (fixed, WeightedAverage, (np.stack([COLUMNS[:, :3], COLUMNS[:, 3:]]) * weights).sum(axis=0)),
        (average, keras.layers.Average, (COLUMNS[:, :3] + COLUMNS[:, 3:]) / 2),
    ]:
        (merged,) = (layer.output for layer in head.model_.layers if isinstance(layer, kind))
        np.testing.assert_allclose(keras.Model(head.model_.input, merged)(COLUMNS), expected, **FLOAT32)


def test_fixed_weights_stay():
    """Weights that are not trained are the given ones, scaled to sum to 1."""
    head = KerasHeadClassifier(
        "weighted_average", weights=[1, 3], train_weights=False, member_columns=(3, 3), **QUICK
    ).fit(COLUMNS, Y)
    np.testing.assert_allclose(head.weights_, [0.25, 0.75], rtol=1e-6)


def test_a_weighted_mean_with_nothing_after_it():
    """Its output is the mean of the probabilities, by weights that go to the member that is right."""
    head = KerasHeadClassifier(
        "weighted_average", output_layer=False, member_columns=(3, 3), **{**QUICK, "epochs": 20}
    ).set_params(optimizer__learning_rate=0.1)
    head.fit(COLUMNS, Y)
    right, knows_nothing = head.weights_
    assert right > 0.8
    assert layers_of(head) == ["InputLayer", "WeightedAverage"]
    np.testing.assert_allclose(
        head.predict_proba(COLUMNS), right * COLUMNS[:, :3] + knows_nothing * COLUMNS[:, 3:], **FLOAT32
    )


def test_two_classes_have_one_column():
    """Probabilities of the second class are merged; the output is a probability again."""
    y = (Y > 0).astype(int)
    columns = COLUMNS[:, [1, 4]]
    head = KerasHeadClassifier("weighted_average", output_layer=False, member_columns=(1, 1), **QUICK).fit(columns, y)
    np.testing.assert_allclose(head.predict_proba(columns)[:, 1], columns @ head.weights_, **FLOAT32)
    assert KerasHeadClassifier(**QUICK).fit(columns, y).model_.output_shape == (None, 1)


def test_columns_of_no_member_stand_beside_the_merged_ones():
    """Columns after those of the members go to the dense layers as they are."""
    passed = np.arange(60, dtype="float32").reshape(30, 2)
    head = KerasHeadClassifier("average", member_columns=(3, 3), **QUICK).fit(np.hstack([COLUMNS, passed]), Y)
    (together,) = (layer.output for layer in head.model_.layers if isinstance(layer, keras.layers.Concatenate))
    output = keras.Model(head.model_.input, together)(np.hstack([COLUMNS, passed]))
    np.testing.assert_allclose(output, np.hstack([(COLUMNS[:, :3] + COLUMNS[:, 3:]) / 2, passed]), **FLOAT32)


def test_regression_is_linear():
    """Heads of regressors end in a linear layer, or in the weighted mean of the values."""
    X, y = make_regression(n_samples=30, n_features=2, random_state=0)
    X, y = X.astype("float32"), y / y.std()
    head = KerasHeadRegressor("average", member_columns=(1, 1), **QUICK).fit(X, y)
    assert head.model_.layers[-1].activation is keras.activations.linear
    bare = KerasHeadRegressor("weighted_average", output_layer=False, member_columns=(1, 1), **QUICK).fit(X, y)
    np.testing.assert_allclose(bare.predict(X), X @ bare.weights_, **FLOAT32)


def test_one_member():
    """A single member is its own average."""
    for merge in ("average", "weighted_average"):
        head = KerasHeadClassifier(merge, member_columns=(3,), **QUICK).fit(RIGHT, Y)
        assert head.predict_proba(RIGHT).shape == (30, 3)


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.3), "sgd", keras.optimizers.SGD])
def test_learning_rate_of_an_optimizer(optimizer):
    """An instance keeps its own learning rate, a name or a class gets that of the head."""
    head = KerasHeadClassifier(optimizer=optimizer, **QUICK).fit(COLUMNS, Y)
    expected = 0.01 if optimizer in ("sgd", keras.optimizers.SGD) else 0.3
    np.testing.assert_allclose(float(head.model_.optimizer.learning_rate), expected, rtol=1e-6)


def test_clones_and_parameters():
    """Clones have the same parameters, which do not include a model: a head builds its own."""
    head = KerasHeadClassifier("average", dropout=0.1, member_columns=(3, 3), optimizer__beta_1=0.5)
    copy = clone(head)
    assert copy.get_params() == head.get_params()
    assert copy.get_params()["optimizer__beta_1"] == 0.5
    assert not {"model", "build_fn"} & set(copy.get_params())


def test_weights_exist_where_members_are_weighted():
    """Other heads have no `weights_`, nor have heads that are not fitted."""
    assert not hasattr(KerasHeadClassifier(**QUICK).fit(COLUMNS, Y), "weights_")
    with pytest.raises(NotFittedError):
        KerasHeadClassifier("weighted_average").weights_  # noqa: B018 (a property)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"merge": "sum"}, "`merge` must be one of concatenate, average, weighted_average: got 'sum'"),
        ({"merge": "average"}, "needs members that predict equally many columns, .* got None"),
        ({"merge": "average", "member_columns": (2, 4)}, r"equally many columns, .* got \(2, 4\)"),
        ({"weights": [1, 2]}, "`weights` belong to merge='weighted_average': got merge='concatenate'"),
        ({"output_layer": False}, "Without `output_layer`, only the weights .* got merge='concatenate'"),
        (
            {"merge": "weighted_average", "output_layer": False, "train_weights": False},
            "Without `output_layer`, only the weights .* train_weights=False. Use KerasVotingClassifier",
        ),
        (
            {"merge": "weighted_average", "output_layer": False, "hidden_layer_sizes": (3,)},
            r"Hidden layers need an output layer: got hidden_layer_sizes=\(3,\)",
        ),
        ({"model": keras.Sequential}, "builds its own model: leave out `model`"),
    ],
)
def test_bad_input_is_refused(params, message):
    """Parameters that contradict each other are refused when the head is built."""
    with pytest.raises(ValueError, match=message):
        KerasHeadClassifier(**{**QUICK, **params}).fit(COLUMNS, Y)
