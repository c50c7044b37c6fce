import copy
import pickle
from collections import Counter

import keras
import numpy as np
import pandas as pd
import pytest
import scikeras.wrappers
import scipy.sparse
import scipy.stats
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, StratifiedKFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from skensemble import KerasAveragingClassifier, KerasAveragingRegressor, KerasClassifier, KerasRegressor
from skensemble._engine.prediction import predict_members
from skensemble._members.random_draws import validation_rows
from skensemble._numeric.selection import greedy_weights, held_out_rows

# Rounding of one float32 forward pass against another that sums in another order.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
# The same after training, where differences of rounding have grown.
TRAINED_FLOAT32 = {"rtol": 1e-3, "atol": 1e-4}

# What the members of most tests share: one architecture and one batch of all rows, so that most share a traced program.
QUICK = {"hidden_layer_sizes": (3,), "epochs": 1, "batch_size": -1}
# Members that Keras trains, eagerly: tracing a graph takes longer than so few steps.
EAGER = {**QUICK, "run_eagerly": True}
BY_KERAS = {"engine": "keras", "estimator__run_eagerly": True}
# Enough to get nearly every row of the blobs right.
LEARNS = {**QUICK, "hidden_layer_sizes": (), "epochs": 6, "optimizer__learning_rate": 0.5}
# Members whose training two fits can repeat with other rows, and which follows the size of the gradient, unlike Adam's.
REPEATABLE = {
    "estimator__shuffle": False,
    "estimator__epochs": 2,
    "estimator__optimizer": "sgd",
    "estimator__optimizer__learning_rate": 0.05,
}


def read_only(array):
    """The array, which `fit` must not write to."""
    array.flags.writeable = False
    return array


def _make_data():
    X, y = make_blobs(n_samples=60, n_features=4, centers=3, random_state=0)
    X_regression, y_regression = make_regression(n_samples=60, n_features=4, noise=1.0, random_state=0)
    arrays = (X.astype("float32"), y, X_regression.astype("float32"), y_regression / y_regression.std())
    return [read_only(array) for array in arrays]


X, Y, X_REGRESSION, Y_REGRESSION = _make_data()
LABELS = read_only(np.array(["a", "b", "c"])[Y])


def quick_classifier(**params):
    """Unfitted ensemble of two; parameters of the member start with `estimator__`."""
    return KerasAveragingClassifier(KerasClassifier(**QUICK), n_estimators=2, random_state=0).set_params(**params)


def quick_regressor(**params):
    """Unfitted ensemble of two; parameters of the member start with `estimator__`."""
    return KerasAveragingRegressor(KerasRegressor(**QUICK), n_estimators=2, random_state=0).set_params(**params)


def build_network(meta, units=3):
    """Not compiled; the loss follows the target."""
    n_outputs = meta["n_classes_"] if "n_classes_" in meta else meta["n_outputs_"]
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units, activation="relu"),
            keras.layers.Dense(n_outputs, activation="softmax" if "n_classes_" in meta else None),
        ]
    )


def outputs(member, rows=X):
    """What Keras computes with the network of a fitted member."""
    return keras.ops.convert_to_numpy(member.model_(rows))


def frozen(ensemble):
    """The fitted members of an ensemble, to be averaged in other ways without training."""
    return [FrozenEstimator(member) for member in ensemble.estimators_]


@pytest.fixture(scope="module")
def trained():
    """Three fitted members that make errors, on string labels."""
    return quick_classifier(n_estimators=3, estimator__epochs=2).fit(X, LABELS)


@pytest.fixture(scope="module")
def trained_regressor():
    """Three fitted members."""
    return quick_regressor(n_estimators=3).fit(X_REGRESSION, Y_REGRESSION)


# The loop that a user would write by hand


def test_soft_voting_is_the_loop_by_hand(trained):
    """Probabilities are the mean over the members, and the prediction is the largest of them."""
    by_hand = np.zeros((60, 3))
    for member in trained.estimators_:
        by_hand += outputs(member)
    by_hand /= 3
    np.testing.assert_allclose(trained.predict_proba(X), by_hand, **FLOAT32)
    np.testing.assert_array_equal(trained.predict(X), np.array(["a", "b", "c"])[by_hand.argmax(axis=1)])
    np.testing.assert_array_equal(trained.weights_, np.full(3, 1 / 3))


def test_weighted_soft_voting_is_the_loop_by_hand(trained):
    """Weights are scaled to sum to 1 and multiply the probabilities of their members."""
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3, weights=[3, 0, 1]).fit(X, LABELS)
    first, _, last = (outputs(member) for member in trained.estimators_)
    np.testing.assert_allclose(ensemble.predict_proba(X), 0.75 * first + 0.25 * last, **FLOAT32)
    np.testing.assert_array_equal(ensemble.weights_, [0.75, 0, 0.25])


def test_hard_voting_is_the_loop_by_hand(trained):
    """The label that most members predict wins; ties go to the smallest label."""
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3, voting="hard").fit(X, LABELS)
    by_hand = []
    for votes in zip(*(member.predict(X) for member in trained.estimators_), strict=True):
        counts = Counter(votes)
        by_hand.append(min(counts, key=lambda label: (-counts[label], label)))
    assert len(set(by_hand)) > 1
    np.testing.assert_array_equal(ensemble.predict(X), by_hand)


def test_weighted_hard_voting(trained):
    """A member with more than half of the weights decides alone."""
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3, voting="hard", weights=[1, 1, 3]).fit(
        X, LABELS
    )
    np.testing.assert_array_equal(ensemble.predict(X), trained.estimators_[2].predict(X))


def test_regression_is_the_loop_by_hand(trained_regressor):
    """The prediction is the mean over the members, its deviation theirs."""
    each = np.stack([outputs(member, X_REGRESSION)[:, 0] for member in trained_regressor.estimators_])
    mean, std = trained_regressor.predict(X_REGRESSION, return_std=True)
    np.testing.assert_allclose(mean, each.mean(axis=0), **FLOAT32)
    np.testing.assert_allclose(std, each.std(axis=0), **FLOAT32)
    np.testing.assert_array_equal(trained_regressor.predict(X_REGRESSION), mean)
    assert mean.shape == std.shape == (60,)

    weighted = KerasAveragingRegressor(frozen(trained_regressor), n_estimators=3, weights=[1, 0, 3])
    mean, std = weighted.fit(X_REGRESSION, Y_REGRESSION).predict(X_REGRESSION, return_std=True)
    by_hand = 0.25 * each[0] + 0.75 * each[2]
    np.testing.assert_allclose(mean, by_hand, **FLOAT32)
    variance = 0.25 * (each[0] - by_hand) ** 2 + 0.75 * (each[2] - by_hand) ** 2
    np.testing.assert_allclose(std, np.sqrt(variance), **FLOAT32)


def test_predict_members(trained, trained_regressor):
    """The first axis is the member, the rest is what the member alone predicts."""
    proba = trained.predict_members(X)
    assert proba.shape == (3, 60, 3)
    for member, got in zip(trained.estimators_, proba, strict=True):
        np.testing.assert_allclose(got, member.predict_proba(X), **FLOAT32)
    values = trained_regressor.predict_members(X_REGRESSION)
    assert values.shape == (3, 60)
    for member, got in zip(trained_regressor.estimators_, values, strict=True):
        np.testing.assert_allclose(got, member.predict(X_REGRESSION), **FLOAT32)


def test_stages_of_a_classifier(trained):
    """Stage k combines the first k members; the last stage is the ensemble."""
    each = trained.predict_members(X)
    stages = list(trained.staged_predict_proba(X))
    labels = list(trained.staged_predict(X))
    assert len(stages) == len(labels) == 3
    for k in range(3):
        np.testing.assert_allclose(stages[k], each[: k + 1].mean(axis=0), **FLOAT32)
        np.testing.assert_array_equal(labels[k], trained.classes_[stages[k].argmax(axis=1)])
    np.testing.assert_array_equal(stages[2], trained.predict_proba(X))
    np.testing.assert_array_equal(labels[0], trained.estimators_[0].predict(X))


def test_stages_of_votes(trained):
    """With votes there are stages of labels, and none of probabilities."""
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3, voting="hard").fit(X, LABELS)
    each = [member.predict(X) for member in trained.estimators_]
    stages = list(ensemble.staged_predict(X))
    np.testing.assert_array_equal(stages[0], each[0])
    np.testing.assert_array_equal(stages[1], [min(votes) for votes in zip(*each[:2], strict=True)])
    np.testing.assert_array_equal(stages[2], ensemble.predict(X))
    assert not hasattr(ensemble, "staged_predict_proba")


def test_stages_of_a_regressor(trained_regressor):
    """Stages use the weights of their members; one whose members all weigh nothing counts them equally."""
    ensemble = KerasAveragingRegressor(frozen(trained_regressor), n_estimators=3, weights=[0, 1, 3])
    each = ensemble.fit(X_REGRESSION, Y_REGRESSION).predict_members(X_REGRESSION)
    stages = list(ensemble.staged_predict(X_REGRESSION))
    for stage, expected in zip(stages, [each[0], each[1], 0.25 * each[1] + 0.75 * each[2]], strict=True):
        np.testing.assert_allclose(stage, expected, **FLOAT32)


def test_uncertainty(trained):
    """Total is the entropy of the mean, aleatoric the mean of the entropies, epistemic what is left."""
    each = np.stack([member.predict_proba(X) for member in trained.estimators_])
    uncertainty = trained.predict_uncertainty(X)
    total = scipy.stats.entropy(each.mean(axis=0), axis=1)
    aleatoric = scipy.stats.entropy(each, axis=2).mean(axis=0)
    np.testing.assert_allclose(uncertainty.total, total, **FLOAT32)
    np.testing.assert_allclose(uncertainty.aleatoric, aleatoric, **FLOAT32)
    np.testing.assert_allclose(uncertainty.epistemic, total - aleatoric, **FLOAT32)
    assert (uncertainty.epistemic >= 0).all()
    assert uncertainty.epistemic.max() > 0.01


def test_score(trained, trained_regressor):
    """`score` is scikit-learn's: accuracy, and R^2."""
    assert trained.score(X, LABELS) == accuracy_score(LABELS, trained.predict(X))
    predicted = trained_regressor.predict(X_REGRESSION)
    assert trained_regressor.score(X_REGRESSION, Y_REGRESSION) == r2_score(Y_REGRESSION, predicted)


# Labels


@pytest.mark.parametrize(
    "names",
    [
        np.array([-7, 3, 100]),
        np.array(["b", "bb", "c"]),
        np.array(["b", "bb", "c"], dtype=object),
        np.array([2, 1, 0]),
        np.array(["z", "y", "x"]),
        np.array([1.0, 2.0, 3.0]),
    ],
    ids=["gaps", "strings", "objects", "reversed ints", "reversed strings", "floats"],
)
def test_any_labels(names):
    """Whatever the labels are, predictions are of them, and columns are in their sorted order."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**LEARNS), n_estimators=2, random_state=0).fit(X, names[Y])
    predicted = ensemble.predict(X)
    assert predicted.dtype == names.dtype
    assert (predicted == names[Y]).mean() > 0.9
    assert ensemble.score(X, list(names[Y])) == (predicted == names[Y]).mean()
    np.testing.assert_array_equal(ensemble.classes_, sorted(names))
    np.testing.assert_array_equal(np.array(sorted(names))[ensemble.predict_proba(X).argmax(axis=1)], predicted)


@pytest.mark.parametrize("n_outputs", [1, 2])
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_two_classes(n_outputs, voting):
    """Two classes, here bools, may be one sigmoid output or two softmax outputs."""

    def build():
        activation = "sigmoid" if n_outputs == 1 else "softmax"
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(n_outputs, activation=activation)])

    member = KerasClassifier(build, epochs=5, batch_size=-1, optimizer__learning_rate=1.0)
    rows = Y != 0
    labels = Y[rows] == 1
    ensemble = KerasAveragingClassifier(member, n_estimators=2, voting=voting, random_state=0).fit(X[rows], labels)
    np.testing.assert_array_equal(ensemble.predict(X[rows]), labels)
    assert ensemble.predict(X[rows]).dtype == bool
    np.testing.assert_array_equal(ensemble.classes_, [False, True])
    proba = ensemble.predict_members(X[rows])
    assert proba.shape == (2, 40, 2)
    for member, got in zip(ensemble.estimators_, proba, strict=True):
        computed = outputs(member, X[rows])
        expected = np.column_stack([1 - computed, computed]) if n_outputs == 1 else computed
        np.testing.assert_allclose(got, expected, **FLOAT32)


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_members_that_lack_a_class(voting):
    """The probability of a class that a member never saw is 0 from that member."""
    members = [KerasClassifier(**EAGER).fit(X[rows], LABELS[rows]) for rows in (Y != 2, Y != 0)]
    ensemble = KerasAveragingClassifier([FrozenEstimator(member) for member in members], 2, voting=voting)
    ensemble.fit(X, LABELS)
    first = np.column_stack([members[0].predict_proba(X), np.zeros(60)])
    last = np.column_stack([np.zeros(60), members[1].predict_proba(X)])
    np.testing.assert_array_equal(ensemble.classes_, ["a", "b", "c"])
    np.testing.assert_allclose(ensemble.predict_members(X), [first, last], **FLOAT32)
    if voting == "soft":
        np.testing.assert_allclose(ensemble.predict_proba(X), (first + last) / 2, **FLOAT32)
    else:  # two votes: the smaller label wins whenever they differ
        votes = np.minimum(first.argmax(axis=1), last.argmax(axis=1))
        np.testing.assert_array_equal(ensemble.predict(X), np.array(["a", "b", "c"])[votes])


# Several labels or targets per row


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_multilabel(voting):
    """Each label is decided by itself: by its mean probability, or by votes, where a tie means absent."""
    indicators = np.column_stack([Y == 0, Y != 1, X[:, 0] > X[:, 0].mean()]).astype(int)
    ensemble = quick_classifier(voting=voting, estimator__epochs=3).fit(X, indicators)
    each = np.stack([outputs(member) for member in ensemble.estimators_])
    np.testing.assert_allclose(ensemble.predict_members(X), each, **FLOAT32)
    if voting == "soft":
        np.testing.assert_allclose(ensemble.predict_proba(X), each.mean(axis=0), **FLOAT32)
        expected = each.mean(axis=0) > 0.5
    else:
        expected = (each > 0.5).all(axis=0)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(ensemble.predict(X), expected)
    np.testing.assert_array_equal(next(ensemble.staged_predict(X)), each[0] > 0.5)
    np.testing.assert_array_equal(ensemble.classes_, [0, 1, 2])
    # Each label is a coin: its entropy is that of (p, 1 - p).
    coins = np.stack([each.mean(axis=0), 1 - each.mean(axis=0)])
    uncertainty = ensemble.predict_uncertainty(X)
    np.testing.assert_allclose(uncertainty.total, scipy.stats.entropy(coins, axis=0).sum(axis=1), **FLOAT32)


@pytest.mark.filterwarnings("ignore:`y` has exactly one 1")  # meant so here
@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_one_hot_target(voting):
    """Indicators with one label in each row are decoded by the largest output, as the members do."""
    one_hot = np.eye(3, dtype=int)[Y]
    ensemble = quick_classifier(n_estimators=3, voting=voting).fit(X, one_hot)
    each = np.stack([outputs(member) for member in ensemble.estimators_])
    if voting == "soft":
        chosen = each.mean(axis=0).argmax(axis=1)
    else:
        chosen = [np.bincount(votes).argmax() for votes in each.argmax(axis=2).T]
    np.testing.assert_array_equal(ensemble.predict(X), np.eye(3)[chosen])
    np.testing.assert_array_equal(next(ensemble.staged_predict(X)), ensemble.estimators_[0].predict(X))


def test_several_targets():
    """Mean and deviation have one column a target."""
    targets = np.column_stack([Y_REGRESSION, -Y_REGRESSION])
    ensemble = quick_regressor().fit(X_REGRESSION, targets)
    each = np.stack([outputs(member, X_REGRESSION) for member in ensemble.estimators_])
    mean, std = ensemble.predict(X_REGRESSION, return_std=True)
    assert ensemble.predict_members(X_REGRESSION).shape == (2, 60, 2)
    np.testing.assert_allclose(mean, each.mean(axis=0), **FLOAT32)
    np.testing.assert_allclose(std, each.std(axis=0), **FLOAT32)
    assert [stage.shape for stage in ensemble.staged_predict(X_REGRESSION)] == [(60, 2), (60, 2)]


# Features


def test_images():
    """X may be images, and the member a convolutional network; other rows are refused at prediction."""
    images = np.random.default_rng(0).normal(size=(60, 5, 5, 1))

    def build():
        layers = [keras.layers.Conv2D(2, 3, activation="relu"), keras.layers.Flatten()]
        return keras.Sequential([keras.Input((5, 5, 1)), *layers, keras.layers.Dense(3, activation="softmax")])

    ensemble = KerasAveragingClassifier(KerasClassifier(build, epochs=1, run_eagerly=True), 2).fit(images, Y)
    each = [outputs(member, images) for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_members(images), each, **FLOAT32)
    assert ensemble.predict(images).shape == (60,)
    with pytest.raises(ValueError, match=r"X must have rows shaped as in fit: got rows of shape \(5, 4, 1\)"):
        ensemble.predict(images[:, :, :4])


def test_sequences():
    """X may have three dimensions."""
    sequences = np.stack([X_REGRESSION, X_REGRESSION[:, ::-1]], axis=1)

    def build():
        layers = [keras.layers.Conv1D(2, 2), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
        return keras.Sequential([keras.Input((2, 4)), *layers])

    ensemble = KerasAveragingRegressor(KerasRegressor(build, epochs=1, run_eagerly=True), 2)
    ensemble.fit(sequences, Y_REGRESSION)
    each = [outputs(member, sequences)[:, 0] for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_members(sequences), each, **FLOAT32)


def test_data_frames():
    """Names of columns are kept, and columns in another order are refused; the values are those of the array."""
    frame = pd.DataFrame(X, columns=["w", "x", "y", "z"])
    ensemble = quick_classifier().fit(frame, pd.Series(LABELS))
    np.testing.assert_array_equal(ensemble.feature_names_in_, ["w", "x", "y", "z"])
    assert ensemble.n_features_in_ == 4
    np.testing.assert_array_equal(ensemble.predict_proba(frame), quick_classifier().fit(X, LABELS).predict_proba(X))
    with pytest.raises(ValueError, match="feature names should match"):
        ensemble.predict(frame[["x", "w", "y", "z"]])


def test_column_of_labels_warns():
    """A y of one column is taken as a vector, with scikit-learn's warning."""
    with pytest.warns(sklearn.exceptions.DataConversionWarning):
        ensemble = quick_classifier(estimator__epochs=1).fit(X, Y[:, np.newaxis])
    assert ensemble.predict(X).shape == (60,)


# Weights of rows and classes


def test_rows_of_weight_zero_are_left_out():
    """Training with weights of 0 and 1, in an array, a list or a Series, is training on the rows of weight 1."""
    kept = np.arange(60) % 3 > 0
    without = quick_classifier(**REPEATABLE).fit(X[kept], LABELS[kept]).predict_proba(X)
    plain = quick_classifier(**REPEATABLE).fit(X, LABELS).predict_proba(X)
    for form in (np.asarray, list, pd.Series):
        weighted = quick_classifier(**REPEATABLE).fit(X, LABELS, sample_weight=form(kept.astype(float)))
        np.testing.assert_allclose(weighted.predict_proba(X), without, err_msg=form.__name__, **TRAINED_FLOAT32)
        assert not np.allclose(weighted.predict_proba(X), plain, **TRAINED_FLOAT32)


def test_weights_reach_regressors():
    """Members are trained with the weights, as each would be alone."""
    weights = np.random.default_rng(0).uniform(0, 2, size=60)
    weighted = quick_regressor(**REPEATABLE).fit(X_REGRESSION, Y_REGRESSION, sample_weight=weights)
    alone = [
        clone(member)
        .set_params(run_eagerly=True)
        .fit(X_REGRESSION, Y_REGRESSION, sample_weight=weights)
        .predict(X_REGRESSION)
        for member in weighted.estimators_
    ]
    np.testing.assert_allclose(weighted.predict_members(X_REGRESSION), alone, **TRAINED_FLOAT32)
    plain = quick_regressor(**REPEATABLE).fit(X_REGRESSION, Y_REGRESSION)
    assert not np.allclose(weighted.predict(X_REGRESSION), plain.predict(X_REGRESSION), **TRAINED_FLOAT32)


@pytest.mark.parametrize("class_weight", [{"a": 1, "b": 2, "c": 5}, "balanced"])
def test_class_weight_is_keyed_by_labels(class_weight):
    """A member's `class_weight` is what the same weights of the rows would be."""
    rows = np.arange(60) % 2 + Y > 0  # fewer rows of class "a"
    if class_weight != "balanced":  # of mean 1, as weights of rows are made
        mean = np.mean([class_weight[label] for label in LABELS[rows]])
        class_weight = {label: weight / mean for label, weight in class_weight.items()}
    by_class = quick_classifier(**REPEATABLE, estimator__class_weight=class_weight).fit(X[rows], LABELS[rows])
    weights = compute_sample_weight(class_weight, LABELS[rows])
    by_row = quick_classifier(**REPEATABLE).fit(X[rows], LABELS[rows], sample_weight=weights)
    plain = quick_classifier(**REPEATABLE).fit(X[rows], LABELS[rows])
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), **TRAINED_FLOAT32)
    assert not np.allclose(by_class.predict_proba(X), plain.predict_proba(X), **TRAINED_FLOAT32)


# Members


@pytest.mark.slow
def test_default_members():
    """Without an estimator, members are multilayer perceptrons of 100 hidden units."""
    classifier = KerasAveragingClassifier(n_estimators=1)
    assert classifier.fit(X[:6], Y[:6]).estimators_[0].model_.layers[0].units == 100
    assert type(classifier.estimators_[0]) is KerasClassifier
    regressor = KerasAveragingRegressor(n_estimators=1).fit(X_REGRESSION[:6], Y_REGRESSION[:6])
    assert type(regressor.estimators_[0]) is KerasRegressor


def test_plain_scikeras_members():
    """Plain scikeras estimators are members like ours."""
    params = {"model": build_network, "epochs": 1, "batch_size": 60, "run_eagerly": True, "verbose": 0}
    classifier = scikeras.wrappers.KerasClassifier(loss="sparse_categorical_crossentropy", **params)
    ensemble = KerasAveragingClassifier(classifier, 2, random_state=0).fit(X, LABELS)
    assert [type(member) for member in ensemble.estimators_] == [scikeras.wrappers.KerasClassifier] * 2
    first, last = (outputs(member) for member in ensemble.estimators_)
    assert not np.allclose(first, last)
    np.testing.assert_allclose(ensemble.predict_proba(X), (first + last) / 2, **FLOAT32)

    regressor = scikeras.wrappers.KerasRegressor(loss="mse", **params)
    ensemble = KerasAveragingRegressor(regressor, 2, random_state=0).fit(X_REGRESSION, Y_REGRESSION)
    each = np.stack([outputs(member, X_REGRESSION)[:, 0] for member in ensemble.estimators_])
    np.testing.assert_allclose(ensemble.predict(X_REGRESSION), each.mean(axis=0), **FLOAT32)


def test_frozen_members_are_not_trained(trained):
    """Fitted members are averaged as they are; the ensemble says that nothing was trained."""
    before = [[variable.numpy() for variable in member.model_.variables] for member in trained.estimators_]
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3).fit(X, LABELS)
    np.testing.assert_array_equal(ensemble.predict_proba(X), trained.predict_proba(X))
    assert ensemble.engine_ == "none"
    for member, values in zip(trained.estimators_, before, strict=True):
        for variable, value in zip(member.model_.variables, values, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)


def test_trained_members_are_ordinary(trained):
    """Members are fitted scikeras estimators with their history, and the engine is named with a reason."""
    for member in trained.estimators_:
        assert type(member) is KerasClassifier
        assert len(member.history_["loss"]) == 2
        np.testing.assert_array_equal(member.classes_, ["a", "b", "c"])
    assert trained.engine_ == "fused"
    eager = quick_classifier(estimator__run_eagerly=True, estimator__epochs=0).fit(X, LABELS)
    assert eager.engine_ == "keras"
    assert "run_eagerly=True" in eager.engine_reason_


def test_engine_keras_is_keras():
    """A member is what Keras' own `fit` makes of the same network, starting values and rows."""
    params = {**BY_KERAS, "n_estimators": 1, "estimator__shuffle": False, "estimator__batch_size": 20}
    (member,) = quick_classifier(**params, estimator__epochs=3).fit(X, Y).estimators_
    (untrained,) = quick_classifier(**params, estimator__epochs=0).fit(X, Y).estimators_

    model = keras.models.clone_model(untrained.model_)
    model.set_weights(untrained.model_.get_weights())
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    history = model.fit(X, Y, shuffle=False, epochs=3, batch_size=20, verbose=0).history
    np.testing.assert_allclose(member.history_["loss"], history["loss"], **TRAINED_FLOAT32)
    np.testing.assert_allclose(outputs(member), model.predict(X, verbose=0), **TRAINED_FLOAT32)


# Rows that members draw


@pytest.mark.parametrize(
    ("max_samples", "n_drawn"), [(1.0, 60), (0.5, 30), (0.99, 59), (7, 7), (1, 1), (1e-9, 1)], ids=str
)
@pytest.mark.parametrize("bootstrap", [True, False])
def test_rows_of_members(max_samples, n_drawn, bootstrap):
    """`max_samples` is a number or a fraction of the rows; each member draws others, repeated with `bootstrap` only."""
    params = {"bootstrap": bootstrap, "max_samples": max_samples, "estimator__epochs": 0}
    ensemble = quick_regressor(**params).fit(X_REGRESSION, Y_REGRESSION)
    if n_drawn == 60 and not bootstrap:
        assert not hasattr(ensemble, "estimators_samples_")
        return
    first, second = ensemble.estimators_samples_
    assert len(first) == len(second) == n_drawn
    assert ((first >= 0) & (first < 60)).all()
    if n_drawn > 1:
        assert not np.array_equal(first, second)
    if bootstrap:
        assert n_drawn < 30 or len(np.unique(first)) < n_drawn
    else:
        assert len(np.unique(first)) == n_drawn


@pytest.mark.parametrize("bootstrap", [True, False])
def test_members_are_trained_on_their_rows(bootstrap):
    """A member is what Keras makes of its rows, each as often as it was drawn, from the member's starting values."""
    params = {"bootstrap": bootstrap, "max_samples": 0.5, "estimator__shuffle": False, "estimator__batch_size": 20}
    ensemble = quick_classifier(**params, estimator__epochs=3).fit(X, LABELS)
    untrained = quick_classifier(**params, estimator__epochs=0).fit(X, LABELS)
    for member, start, rows in zip(
        ensemble.estimators_, untrained.estimators_, ensemble.estimators_samples_, strict=True
    ):
        model = keras.models.clone_model(start.model_)
        model.set_weights(start.model_.get_weights())
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
        history = model.fit(X[rows], Y[rows], shuffle=False, epochs=3, batch_size=20, verbose=0).history
        np.testing.assert_allclose(member.history_["loss"], history["loss"], **TRAINED_FLOAT32)
        np.testing.assert_allclose(outputs(member), model.predict(X, verbose=0), **TRAINED_FLOAT32)


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 1, "b": 2, "c": 3}])
def test_members_that_did_not_draw_a_class(class_weight):
    """A member whose rows lack a class knows it all the same."""
    rows = np.flatnonzero((Y != 2) | (np.cumsum(Y == 2) == 1))  # one row of class "c"
    ensemble = quick_classifier(n_estimators=4, bootstrap=True, estimator__class_weight=class_weight)
    ensemble.fit(X[rows], LABELS[rows])
    has_c = [np.isin("c", LABELS[rows][drawn]) for drawn in ensemble.estimators_samples_]
    assert not all(has_c)
    for member in ensemble.estimators_:
        np.testing.assert_array_equal(member.classes_, ["a", "b", "c"])
        assert np.isfinite(member.history_["loss"]).all()
    assert ensemble.predict_members(X).shape == (4, 60, 3)
    np.testing.assert_allclose(ensemble.predict_proba(X).sum(axis=1), 1, **FLOAT32)


def test_weights_of_rows_follow_the_rows():
    """Each drawn row keeps its weight, relative to the mean of those that the member drew."""
    weights = np.random.default_rng(0).uniform(0, 2, size=60)
    params = {**REPEATABLE, "bootstrap": True}
    ensemble = quick_regressor(**params).fit(X_REGRESSION, Y_REGRESSION, sample_weight=weights)
    start = quick_regressor(**{**params, "estimator__epochs": 0}).fit(X_REGRESSION, Y_REGRESSION)
    for member, untrained, rows in zip(
        ensemble.estimators_, start.estimators_, ensemble.estimators_samples_, strict=True
    ):
        model = keras.models.clone_model(untrained.model_)
        model.set_weights(untrained.model_.get_weights())
        model.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
        data = X_REGRESSION[rows], Y_REGRESSION[rows]
        scaled = weights[rows] / weights[rows].mean()
        model.fit(*data, sample_weight=scaled, shuffle=False, epochs=2, batch_size=60, verbose=0)
        values = member.predict(X_REGRESSION)
        np.testing.assert_allclose(values, model.predict(X_REGRESSION, verbose=0)[:, 0], **TRAINED_FLOAT32)


def left_out_rows(ensemble):
    """Whether each member left out each row, from the rows that it drew."""
    return np.array([~np.isin(np.arange(60), rows) for rows in ensemble.estimators_samples_])


def predict_left_out(ensemble, each):
    """Mean over the members that left out a row, row by row; NaN where there is none."""
    left_out = left_out_rows(ensemble)
    by_hand = np.full(each.shape[1:], np.nan)
    for row in range(60):
        members = [k for k in range(len(each)) if left_out[k, row]]
        if members:
            by_hand[row] = np.mean([each[k, row] for k in members], axis=0)
    return by_hand


def test_out_of_bag_score():
    """Each row is predicted by the mean of the members that did not draw it, and the score is the accuracy."""
    params = {"n_estimators": 4, "max_samples": 0.2, "oob_score": True, "estimator__epochs": 2}
    ensemble = quick_classifier(**params).fit(X, LABELS)
    by_hand = predict_left_out(ensemble, np.stack([member.predict_proba(X) for member in ensemble.estimators_]))
    assert left_out_rows(ensemble).any(axis=0).all()
    assert 0 < left_out_rows(ensemble).mean() < 1
    np.testing.assert_allclose(ensemble.oob_decision_function_, by_hand, **FLOAT32)
    expected = accuracy_score(LABELS, np.array(["a", "b", "c"])[by_hand.argmax(axis=1)])
    assert ensemble.oob_score_ == expected


def test_out_of_bag_score_of_votes():
    """With votes, what is averaged is the share of the votes, and ties go to the smallest label."""
    params = {"n_estimators": 4, "max_samples": 0.2, "oob_score": True, "voting": "hard"}
    ensemble = quick_classifier(**params).fit(X, LABELS)
    votes = np.stack([member.predict(X)[:, np.newaxis] == ["a", "b", "c"] for member in ensemble.estimators_])
    shares = predict_left_out(ensemble, votes.astype(float))
    np.testing.assert_allclose(ensemble.oob_decision_function_, shares, atol=1e-12)
    chosen = []
    for row, left_out in enumerate(left_out_rows(ensemble).T):
        counts = votes[left_out, row].sum(axis=0)
        chosen.append("abc"[counts.argmax()])
    assert ensemble.oob_score_ == accuracy_score(LABELS, chosen)


def test_out_of_bag_score_of_labels():
    """Several labels are decided one by one, and scored as rows that are right in all of them."""
    indicators = np.column_stack([Y == 0, Y != 1]).astype(int)
    ensemble = quick_classifier(n_estimators=4, max_samples=0.2, oob_score=True).fit(X, indicators)
    by_hand = predict_left_out(ensemble, np.stack([member.predict_proba(X) for member in ensemble.estimators_]))
    np.testing.assert_allclose(ensemble.oob_decision_function_, by_hand, **FLOAT32)
    assert ensemble.oob_score_ == ((by_hand > 0.5) == indicators).all(axis=1).mean()


@pytest.mark.parametrize("n_targets", [1, 2])
def test_out_of_bag_score_of_regressors(n_targets):
    """The score is R^2, or what a function makes of targets and predictions."""
    y = Y_REGRESSION if n_targets == 1 else np.column_stack([Y_REGRESSION, -Y_REGRESSION])
    params = {"n_estimators": 4, "max_samples": 0.2}
    ensemble = quick_regressor(**params, oob_score=True).fit(X_REGRESSION, y)
    each = np.stack([member.predict(X_REGRESSION) for member in ensemble.estimators_])
    by_hand = predict_left_out(ensemble, each)
    np.testing.assert_allclose(ensemble.oob_prediction_, by_hand, **FLOAT32)
    assert ensemble.oob_score_ == pytest.approx(r2_score(y, by_hand), rel=1e-5)
    other = quick_regressor(**params, oob_score=mean_absolute_error).fit(X_REGRESSION, y)
    assert other.oob_score_ == pytest.approx(mean_absolute_error(y, by_hand), rel=1e-5)


def test_rows_that_every_member_drew():
    """A row without an out-of-bag prediction is NaN and not scored, with a warning that shows the caller's line."""
    ensemble = quick_classifier(bootstrap=True, oob_score=True)
    with pytest.warns(UserWarning, match="rows were drawn by every member and have no out-of-bag prediction") as caught:
        ensemble.fit(X, LABELS)
    (warning,) = (one for one in caught if issubclass(one.category, UserWarning))
    assert warning.filename == __file__
    judged = left_out_rows(ensemble).any(axis=0)
    assert 0 < judged.mean() < 1
    assert str(warning.message).startswith(f"{(~judged).sum()} rows")
    np.testing.assert_array_equal(np.isnan(ensemble.oob_decision_function_).any(axis=1), ~judged)
    by_hand = predict_left_out(ensemble, ensemble.predict_members(X))[judged]
    assert ensemble.oob_score_ == (np.array(["a", "b", "c"])[by_hand.argmax(axis=1)] == LABELS[judged]).mean()


def test_no_scores_of_an_earlier_fit():
    """A fit without rows of their own leaves no score and no rows of an earlier one behind."""
    ensemble = quick_classifier(n_estimators=4, max_samples=0.2, oob_score=True).fit(X, LABELS)
    ensemble.set_params(max_samples=1.0, oob_score=False).fit(X, LABELS)
    for name in ("estimators_samples_", "oob_score_", "oob_decision_function_"):
        assert not hasattr(ensemble, name)


def test_validation_on_rows_left_out():
    """A member's `val_loss` is that of Keras on the rows that it left out."""
    params = {**BY_KERAS, "max_samples": 0.5, "oob_validation": True, "estimator__epochs": 2}
    ensemble = quick_classifier(**params).fit(X, LABELS)
    for member, left_out in zip(ensemble.estimators_, left_out_rows(ensemble), strict=True):
        loss = member.model_.evaluate(X[left_out], Y[left_out], verbose=0)
        assert member.history_["val_loss"][-1] == pytest.approx(loss, rel=1e-5)
        assert len(member.history_["val_loss"]) == 2


def test_early_stopping_on_rows_left_out():
    """Each member stops where its own out-of-bag rows say so, and keeps its best epoch."""
    stopping = keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)
    params = {"estimator__callbacks": [stopping], "estimator__optimizer__learning_rate": 1.0, "estimator__epochs": 20}
    ensemble = quick_classifier(**BY_KERAS, bootstrap=True, oob_validation=True, **params).fit(X, LABELS)
    rows = left_out_rows(ensemble)
    n_rows = rows.sum(axis=1).min()
    for member, left_out in zip(ensemble.estimators_, rows, strict=True):
        losses = member.history_["val_loss"]
        assert len(losses) < 20
        assert losses[-1] >= min(losses)
        validated = np.flatnonzero(left_out)[np.arange(n_rows) * left_out.sum() // n_rows]
        loss = member.model_.evaluate(X[validated], Y[validated], verbose=0)
        assert loss == pytest.approx(min(losses), rel=1e-4)


def test_validation_rows_are_as_many_for_each():
    """Members that left out more rows are validated on some of them, from the first part to the last."""
    left_out = np.zeros((2, 12), bool)
    left_out[0, [1, 5, 9]] = True
    left_out[1, [0, 2, 4, 6, 8, 10]] = True
    first, second = validation_rows(left_out)
    np.testing.assert_array_equal(first, [1, 5, 9])
    np.testing.assert_array_equal(second, [0, 4, 8])


@pytest.mark.slow
def test_bagging_is_the_same_in_both_engines():
    """Members that draw rows, validate on the others and are weighed by them are fused with Keras' result."""
    member = KerasClassifier(hidden_layer_sizes=(3,), epochs=3, batch_size=20, shuffle=False)
    rows = {"bootstrap": True, "max_samples": 0.5}
    params = {**rows, "oob_score": True, "oob_validation": True, "weights": "greedy"}
    fused = KerasAveragingClassifier(member, 8, engine="fused", random_state=0, **params).fit(X, LABELS)
    reference = clone(fused).set_params(engine="keras", estimator__run_eagerly=True).fit(X, LABELS)
    assert fused.engine_ == "fused"
    np.testing.assert_allclose(fused.predict_members(X), reference.predict_members(X), **TRAINED_FLOAT32)
    np.testing.assert_allclose(fused.oob_decision_function_, reference.oob_decision_function_, atol=0.05)
    for one, other in zip(fused.estimators_, reference.estimators_, strict=True):
        np.testing.assert_allclose(one.history_["val_loss"], other.history_["val_loss"], **TRAINED_FLOAT32)


# Learned weights


def test_greedy_weights_hold_out_rows():
    """Members are trained on the other rows only; on those held out, no member and no equal weights are better."""
    params = {"n_estimators": 3, "estimator__shuffle": False}
    ensemble = quick_classifier(**params, weights="greedy", validation_fraction=0.3).fit(X, LABELS)
    kept, held_out = held_out_rows(LABELS, 0.3, 0, stratify=True)
    np.testing.assert_array_equal(np.unique(LABELS[held_out], return_counts=True)[1], [6, 6, 6])
    alone = quick_classifier(**params).fit(X[kept], LABELS[kept])
    np.testing.assert_allclose(ensemble.predict_members(X), alone.predict_members(X), **TRAINED_FLOAT32)
    each = alone.predict_members(X[held_out]).astype(float)
    each /= each.sum(axis=-1, keepdims=True)
    loss = log_loss(LABELS[held_out], np.tensordot(ensemble.weights_, each, axes=1))
    assert loss <= min(log_loss(LABELS[held_out], proba) for proba in [*each, each.mean(axis=0)]) + 1e-6
    assert ensemble.weights_.sum() == pytest.approx(1)


def test_rows_that_judge_must_have_weight():
    """Where all rows that members are judged on have weight 0, `fit` says so before any training."""
    _, held_out = held_out_rows(LABELS, 0.2, 0, stratify=True)
    sample_weight = np.ones(60)
    sample_weight[held_out] = 0
    seed = {"random_state": 0}
    with pytest.raises(ValueError, match="`sample_weight` above 0: it is 0 for all 12 of them. Hold out more rows"):
        KerasAveragingClassifier(KerasClassifier(must_not_build), weights="greedy", **seed).fit(
            X, LABELS, sample_weight=sample_weight
        )
    drawn = quick_classifier(max_samples=0.5, estimator__epochs=0).fit(X, LABELS).estimators_samples_
    sample_weight = np.zeros(60)
    sample_weight[np.intersect1d(*drawn)] = 1
    with pytest.raises(ValueError, match="`sample_weight` above 0"):
        quick_classifier(estimator__model=must_not_build, max_samples=0.5, weights="greedy").fit(
            X, LABELS, sample_weight=sample_weight
        )


def test_greedy_weights_on_rows_left_out():
    """Where members draw rows, they are judged on those that they left out, and all rows are there to be drawn."""
    params = {"n_estimators": 3, "bootstrap": True}
    ensemble = quick_regressor(**params, weights="greedy").fit(X_REGRESSION, Y_REGRESSION)
    equal = quick_regressor(**params).fit(X_REGRESSION, Y_REGRESSION)
    np.testing.assert_array_equal(ensemble.predict_members(X_REGRESSION), equal.predict_members(X_REGRESSION))
    each = ensemble.predict_members(X_REGRESSION).astype(float)
    expected = greedy_weights(each, Y_REGRESSION, valid=left_out_rows(ensemble), target="values")
    np.testing.assert_array_equal(ensemble.weights_, expected)


def test_greedy_weights_of_fitted_members(trained):
    """Where nothing is trained, the weights are chosen on all rows; a member that knows nothing gets none."""
    rng = np.random.default_rng(0)
    bad = KerasClassifier(**EAGER, random_state=0).fit(X, LABELS[rng.permutation(60)])
    good = KerasClassifier(**LEARNS, run_eagerly=True, random_state=0).fit(X, LABELS)
    members = [FrozenEstimator(bad), FrozenEstimator(good)]
    ensemble = KerasAveragingClassifier(members, n_estimators=2, weights="greedy").fit(X, LABELS)
    assert ensemble.weights_[1] > 0.9


def test_members_of_weight_zero_are_not_evaluated(trained, monkeypatch):
    """Prediction evaluates the members that count, and no others unless they are asked for."""
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3, weights=[1, 0, 3]).fit(X, LABELS)
    evaluated = []

    def counting(members, *args):
        evaluated.append(len(members))
        return predict_members(members, *args)

    monkeypatch.setattr("skensemble._base.ensemble.predict_members", counting)
    ensemble.predict(X)
    ensemble.predict_proba(X)
    ensemble.predict_uncertainty(X)
    assert evaluated == [2, 2, 2]
    assert ensemble.predict_members(X).shape == (3, 60, 3)
    assert evaluated[-1] == 3


# Growing


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"weights": "greedy"},
        {"bootstrap": True, "max_samples": 0.5},
        {"max_samples": 0.1, "weights": "greedy", "oob_score": True, "random_state": 2},  # no row is drawn by all
    ],
    ids=str,
)
def test_growing_is_training_all_at_once(params):
    """Only new members are trained; with the same seed, all is as if they had been trained with the others."""
    ensemble = quick_classifier(**BY_KERAS, warm_start=True, **params).fit(X, LABELS)
    before = list(ensemble.estimators_)
    ensemble.set_params(n_estimators=3).fit(X, LABELS)
    assert len(ensemble.estimators_) == 3
    for old, kept in zip(before, ensemble.estimators_, strict=False):
        assert kept is old
    at_once = quick_classifier(**BY_KERAS, n_estimators=3, **params).fit(X, LABELS)
    np.testing.assert_allclose(ensemble.predict_members(X), at_once.predict_members(X), **TRAINED_FLOAT32)
    np.testing.assert_allclose(ensemble.weights_, at_once.weights_)
    np.testing.assert_allclose(ensemble.predict_proba(X), at_once.predict_proba(X), **TRAINED_FLOAT32)
    if "oob_score" in params:
        assert ensemble.oob_score_ == at_once.oob_score_
        np.testing.assert_allclose(ensemble.oob_decision_function_, at_once.oob_decision_function_, **TRAINED_FLOAT32)


@pytest.mark.slow
def test_growing_of_fused_members():
    """Fused members stay as they are when others are added, also in a copy from a file."""
    member = KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=20)
    params = {"engine": "fused", "random_state": 0}
    ensemble = KerasAveragingClassifier(member, 2, warm_start=True, **params).fit(X, LABELS)
    first = ensemble.predict_members(X)
    grown = pickle.loads(pickle.dumps(ensemble)).set_params(n_estimators=3).fit(X, LABELS)
    np.testing.assert_array_equal(grown.predict_members(X)[:2], first)
    at_once = KerasAveragingClassifier(member, 3, **params).fit(X, LABELS)
    np.testing.assert_allclose(grown.predict_members(X), at_once.predict_members(X), **TRAINED_FLOAT32)


@pytest.mark.parametrize("random_state", [None, 3])
def test_growing_does_not_draw_the_seed_again(random_state):
    """Without a fixed seed, new members are still others than the old ones, and rows of the old ones stay theirs."""
    rng = None if random_state is None else np.random.RandomState(random_state)
    ensemble = quick_regressor(random_state=rng, warm_start=True, max_samples=0.5).fit(X_REGRESSION, Y_REGRESSION)
    rows = [drawn.copy() for drawn in ensemble.estimators_samples_]
    ensemble.set_params(n_estimators=3).fit(X_REGRESSION, Y_REGRESSION)
    for before, after in zip(rows, ensemble.estimators_samples_, strict=False):
        np.testing.assert_array_equal(after, before)
    each = ensemble.predict_members(X_REGRESSION)
    assert not np.allclose(each[0], each[2], **TRAINED_FLOAT32)
    assert not np.allclose(each[1], each[2], **TRAINED_FLOAT32)


def test_without_warm_start_members_are_trained_anew():
    """`fit` begins again, whatever was there."""
    ensemble = quick_classifier().fit(X, LABELS)
    before = ensemble.estimators_[0]
    assert ensemble.set_params(n_estimators=3).fit(X, LABELS).estimators_[0] is not before


def test_same_number_of_members_warns():
    """Where no member is new, nothing is trained, and a warning says so; new weights are taken."""
    ensemble = quick_classifier(warm_start=True).fit(X, LABELS)
    before, engine = list(ensemble.estimators_), ensemble.engine_
    with pytest.warns(UserWarning, match="fit trains no new member") as caught:
        ensemble.set_params(weights=[3, 1]).fit(X, LABELS)
    assert caught[0].filename == __file__
    assert [one is other for one, other in zip(before, ensemble.estimators_, strict=True)] == [True, True]
    np.testing.assert_array_equal(ensemble.weights_, [0.75, 0.25])
    assert ensemble.engine_ == engine


@pytest.mark.parametrize(
    ("params", "data", "message"),
    [
        (
            {"n_estimators": 1},
            {},
            "`n_estimators` must not be smaller than the 2 members there are: got n_estimators=1",
        ),
        ({}, {"X": X[:, :3]}, "the shape of X must be (60, 4), got (60, 3)"),
        ({}, {"X": X[:50], "y": LABELS[:50]}, "the shape of X must be (60, 4), got (50, 4)"),
        ({}, {"y": np.array(["a", "b", "d"])[Y]}, "the classes must be ['a', 'b', 'c'], got ['a', 'b', 'd']"),
        ({}, {"y": np.column_stack([Y == 0, Y != 1]).astype(int)}, "the shape of y must be (60,), got (60, 2)"),
        ({"bootstrap": True}, {}, "the rows that members draw must be None, got (True, 60)"),
        ({"weights": "greedy"}, {}, "the validation_fraction for weights='greedy' must be None, got 0.2"),
    ],
)
def test_bad_growth(params, data, message):
    """Members are added to those there are on the same rows only; after the error, the ensemble is as before."""
    ensemble = quick_classifier(warm_start=True).fit(X, LABELS)
    before = ensemble.predict_proba(X)
    ensemble.set_params(**{"n_estimators": 3, **params})
    with pytest.raises(ValueError) as caught:
        ensemble.fit(**{"X": X, "y": LABELS, **data})
    assert message in str(caught.value)
    ensemble.set_params(weights=None)  # as it was fitted: otherwise a warning tells that weights were set since
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


def test_copies_of_one_fitted_member_warn(trained):
    """A single fitted member is the same in every copy, which is probably not what was meant."""
    ensemble = KerasAveragingClassifier(FrozenEstimator(trained.estimators_[0]), n_estimators=2)
    with pytest.warns(UserWarning, match="its 2 copies predict the same") as caught:
        ensemble.fit(X, LABELS)
    assert caught[0].filename == __file__
    np.testing.assert_allclose(ensemble.predict_proba(X), trained.estimators_[0].predict_proba(X), **FLOAT32)
    ensemble.set_params(n_estimators=1).fit(X, LABELS)


# Seeds


def test_member_does_not_depend_on_how_many_there_are():
    """The first two members of three are the members of two, which differ."""
    two, three = (quick_regressor(**BY_KERAS, n_estimators=n).fit(X_REGRESSION, Y_REGRESSION) for n in (2, 3))
    np.testing.assert_array_equal(three.predict_members(X_REGRESSION)[:2], two.predict_members(X_REGRESSION))
    assert not np.allclose(*two.predict_members(X_REGRESSION), **TRAINED_FLOAT32)


# What belongs to the user


def test_nothing_of_the_user_is_changed():
    """Estimator, arrays, dicts and callbacks are after `fit` what they were before."""
    stopping = keras.callbacks.EarlyStopping(monitor="loss", patience=0, min_delta=1e9)
    class_weight = {"a": 1.0, "b": 2.0, "c": 3.0}
    member = KerasClassifier(**EAGER, callbacks=[stopping], class_weight=class_weight).set_params(epochs=5)
    data = (X.copy(), LABELS.copy(), np.linspace(0, 2, 60))
    before = copy.deepcopy((data, class_weight, vars(stopping)))
    params = member.get_params()

    ensemble = KerasAveragingClassifier(member, 2, weights=[1, 3], random_state=0).fit(*data[:2], sample_weight=data[2])

    for array, value in zip(data, before[0], strict=True):
        np.testing.assert_array_equal(array, value)
    assert class_weight == before[1]
    assert vars(stopping) == before[2]
    assert member.get_params() == params
    assert member.callbacks[0] is stopping
    assert not hasattr(member, "model_")
    assert ensemble.estimator is member
    assert ensemble.weights == [1, 3]
    # The callback did its work: no epoch is better by 1e9.
    assert [len(member.history_["loss"]) for member in ensemble.estimators_] == [2, 2]


def test_progress(capfd):
    """With `verbose=1` there is a line a member that Keras trains, with its loss."""
    ensemble = quick_classifier(**BY_KERAS, verbose=1).fit(X, Y)
    losses = [member.history_["loss"][-1] for member in ensemble.estimators_]
    assert capfd.readouterr().out.splitlines() == [
        f"member 0: loss {losses[0]:.4f}",
        f"member 1: loss {losses[1]:.4f}",
    ]


# Failures


def test_divergence_warns():
    """Members whose loss is no longer finite are named."""
    learning_rates = iter([0.01, 1e30])

    def build():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(next(learning_rates)), loss="mse")
        return model

    ensemble = KerasAveragingRegressor(KerasRegressor(build, epochs=3, run_eagerly=True), 2, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"The loss of members \[1\] is not finite") as caught:
        ensemble.fit(X_REGRESSION, Y_REGRESSION)
    assert [one.filename for one in caught if issubclass(one.category, ConvergenceWarning)] == [__file__]


def must_not_build():
    """Builder of a member that must not come to be trained."""
    pytest.fail("The network was built before the input was checked.")


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"weights": [1, 2, 3]}, ValueError, "got 3 weights for 2 members"),
        ({"weights": [1, -1]}, ValueError, "finite and not negative: got [1.0, -1.0]"),
        ({"weights": [0, 0]}, ValueError, "must not all be 0"),
        ({"weights": [1, float("nan")]}, ValueError, "finite and not negative: got [1.0, nan]"),
        ({"weights": "learned"}, ValueError, "'weights' parameter"),
        ({"n_estimators": 0}, ValueError, "'n_estimators' parameter"),
        ({"n_estimators": 1.5}, ValueError, "'n_estimators' parameter"),
        ({"engine": "torch"}, ValueError, "'engine' parameter"),
        ({"n_jobs": 1.5}, ValueError, "'n_jobs' parameter"),
        ({"random_state": "seed"}, ValueError, "'random_state' parameter"),
        ({"random_state": -1}, ValueError, "'random_state' parameter"),
        ({"estimator": "mlp"}, ValueError, "'estimator' parameter"),
        (
            {"estimator": LogisticRegression()},
            TypeError,
            "must be a scikeras estimator, or a Pipeline that ends in one: got LogisticRegression",
        ),
        ({"estimator": []}, ValueError, "got 0 members for n_estimators=2. Set n_estimators=0."),
        ({"bootstrap": "yes"}, ValueError, "'bootstrap' parameter"),
        ({"max_samples": 0}, ValueError, "'max_samples' parameter"),
        ({"max_samples": 0.0}, ValueError, "'max_samples' parameter"),
        ({"max_samples": 1.5}, ValueError, "'max_samples' parameter"),
        ({"max_samples": 61}, ValueError, "must not exceed the rows of X without `bootstrap`: got 61 for 60 rows"),
        ({"oob_score": True}, ValueError, "`oob_score` needs rows that members leave out"),
        ({"oob_score": "accuracy"}, ValueError, "'oob_score' parameter"),
        ({"oob_validation": True}, ValueError, "`oob_validation` needs rows that members leave out"),
        ({"validation_fraction": 0.0}, ValueError, "'validation_fraction' parameter"),
        ({"validation_fraction": 1.0}, ValueError, "'validation_fraction' parameter"),
        ({"warm_start": 2}, ValueError, "'warm_start' parameter"),
        (
            {"weights": "greedy", "bootstrap": True, "max_samples": 5000},
            ValueError,
            "need rows that members leave out, but every member drew all rows: lower max_samples=5000",
        ),
        (
            {"oob_validation": True, "bootstrap": True, "max_samples": 5000},
            ValueError,
            "needs rows that every member leaves out: one of them drew all rows",
        ),
    ],
)
@pytest.mark.parametrize("cls", [KerasAveragingClassifier, KerasAveragingRegressor])
def test_bad_parameters(cls, params, error, message):
    """Bad parameters are refused before any training, whatever the kind of ensemble."""
    member = KerasClassifier(must_not_build) if cls is KerasAveragingClassifier else KerasRegressor(must_not_build)
    ensemble = cls(**{"estimator": member, "n_estimators": 2, **params})
    with pytest.raises(error) as caught:
        ensemble.fit(X, Y)
    assert message in str(caught.value)
    with pytest.raises(NotFittedError):
        ensemble.predict(X)


def test_unknown_voting():
    """Members vote "soft" or "hard"."""
    with pytest.raises(ValueError, match="'voting' parameter"):
        KerasAveragingClassifier(KerasClassifier(must_not_build), voting="median").fit(X, Y)


@pytest.mark.parametrize(
    ("ensemble", "message"),
    [
        (
            KerasAveragingClassifier(KerasRegressor(must_not_build)),
            "must be a classifier, as the ensemble is: got KerasRegressor",
        ),
        (
            KerasAveragingRegressor(KerasClassifier(must_not_build)),
            "must be a regressor, as the ensemble is: got KerasClassifier",
        ),
    ],
)
def test_member_of_the_other_kind(ensemble, message):
    """Classifiers are no members of regressors, nor the reverse."""
    with pytest.raises(TypeError, match=message):
        ensemble.fit(X, Y)


def with_value(array, value):
    """Copy of the array whose first entry is another."""
    changed = np.array(array, dtype=float)
    changed.flat[0] = value
    return changed


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"X": with_value(X, np.nan)}, ValueError, "Input X contains NaN"),
        ({"X": with_value(X, np.inf)}, ValueError, "Input X contains infinity"),
        ({"X": X[:-1]}, ValueError, "inconsistent numbers of samples"),
        ({"X": X[:, 0]}, ValueError, "Expected 2D array, got 1D array"),
        ({"X": scipy.sparse.csr_matrix(with_value(X, np.nan))}, ValueError, "Input X contains NaN"),
        ({"X": [["a"]] * 60}, ValueError, "could not convert string to float"),
        ({"y": None}, ValueError, "requires y to be passed, but the target y is None"),
        ({"y": Y[:-1]}, ValueError, "inconsistent numbers of samples"),
        ({"y": with_value(Y, np.nan)}, ValueError, "contains NaN"),
        ({"sample_weight": np.ones(59)}, ValueError, "sample_weight.shape"),
        ({"sample_weight": with_value(np.ones(60), -1)}, ValueError, "Negative values"),
        ({"sample_weight": with_value(np.ones(60), np.nan)}, ValueError, "contains NaN"),
    ],
)
@pytest.mark.parametrize("cls", [KerasAveragingClassifier, KerasAveragingRegressor])
def test_bad_data(cls, data, error, message):
    """Data that cannot be trained on is refused before any training."""
    member = KerasClassifier(must_not_build) if cls is KerasAveragingClassifier else KerasRegressor(must_not_build)
    with pytest.raises(error) as caught:
        cls(member).fit(**{"X": X, "y": Y, **data})
    assert message in str(caught.value)


@pytest.mark.parametrize("ensemble", [KerasAveragingClassifier, KerasAveragingRegressor])
def test_no_row_counts(ensemble):
    """At least one row must have a weight; scikit-learn 1.9 says so before we do."""
    member = KerasClassifier if ensemble is KerasAveragingClassifier else KerasRegressor
    with pytest.raises(ValueError, match="must not be 0 for every row|at least one non-zero number"):
        ensemble(member(must_not_build)).fit(X, Y, sample_weight=np.zeros(60))


def test_no_drawn_row_counts():
    """Each member needs a row that has a weight."""
    weights = np.zeros(60)
    weights[0] = 1
    ensemble = KerasAveragingClassifier(KerasClassifier(must_not_build), max_samples=2, random_state=0)
    with pytest.raises(ValueError, match="must not be 0 for every row that a member is trained on: it is for member 0"):
        ensemble.fit(X, Y, sample_weight=weights)


def test_rows_left_out_by_fitted_members(trained):
    """Fitted members leave out no rows that the ensemble knows of."""
    ensemble = KerasAveragingClassifier(frozen(trained), 3, bootstrap=True, oob_score=True)
    with pytest.raises(ValueError, match="`oob_score` needs rows that members leave out"):
        ensemble.fit(X, LABELS)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.full(60, "a"), "must have at least two classes: got one class, 'a'"),
        (np.column_stack([Y, Y]), "must have one label per row or be an indicator matrix"),
        (X[:, 0], "Unknown label type"),
    ],
)
def test_bad_labels(y, message):
    """Classes must be at least two, and in one column."""
    with pytest.raises(ValueError) as caught:
        KerasAveragingClassifier(KerasClassifier(must_not_build)).fit(X, y)
    # NumPy 2 writes its scalars with their type.
    assert message in str(caught.value).replace("np.str_('a')", "'a'")


def test_bad_lists_of_members(trained, trained_regressor):
    """A list holds as many members as there are to be, each fitted and wrapped, on the same features and classes."""
    members = frozen(trained)
    with pytest.raises(ValueError, match="got 3 members for n_estimators=5. Set n_estimators=3."):
        KerasAveragingClassifier(members).fit(X, LABELS)
    with pytest.raises(TypeError, match=r"`estimator\[1\]` is KerasClassifier"):
        KerasAveragingClassifier([members[0], trained.estimators_[1]], 2).fit(X, LABELS)
    with pytest.raises(TypeError, match=r"`estimator\[2\]` must be a classifier"):
        KerasAveragingClassifier([*members[:2], *frozen(trained_regressor)[:1]], 3).fit(X, LABELS)
    with pytest.raises(NotFittedError):
        KerasAveragingClassifier([FrozenEstimator(KerasClassifier())], 1).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"member 0 was fitted on rows of shape \(4,\), X has rows of shape \(3,\)"):
        KerasAveragingClassifier(members, 3).fit(X[:, :3], LABELS)
    with pytest.raises(ValueError, match="must not know classes that y lacks: member 0 has classes"):
        KerasAveragingClassifier(members, 3).fit(X, np.array(["a", "b", "d"])[Y])


def test_votes_have_no_probabilities(trained):
    """With `voting="hard"` there is no `predict_proba`, before and after `fit`."""
    ensemble = KerasAveragingClassifier(frozen(trained), n_estimators=3, voting="hard")
    assert not hasattr(ensemble, "predict_proba")
    ensemble.fit(X, LABELS)
    assert not hasattr(ensemble, "predict_proba")
    with pytest.raises(AttributeError, match="predict_proba"):
        ensemble.predict_proba(X)
    assert not hasattr(ensemble.set_params(voting="soft"), "predict_proba")  # what was learned counts
    assert hasattr(ensemble.reweight(voting="soft"), "predict_proba")
    assert hasattr(clone(ensemble), "predict_proba")


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("is_built", [True, False])
def test_layers_that_builders_share_are_refused(is_built, engine):
    """Members that train one layer would end with the values of the last of them; a frozen layer may be shared."""
    body = keras.layers.Dense(3)
    if is_built:
        body.build((None, 4))

    def build():
        return keras.Sequential([keras.Input((4,)), body, keras.layers.Dense(3, activation="softmax")])

    member = KerasClassifier(build, epochs=1, run_eagerly=engine == "keras")
    ensemble = KerasAveragingClassifier(member, 2, engine=engine, random_state=0)
    with pytest.raises(ValueError, match=f"the layer '{body.name}' was there before"):
        ensemble.fit(X, Y)
    with pytest.warns(UserWarning, match=f"the layer '{body.name}' was there before"):
        member.fit(X, Y)
    body.trainable = False
    predicted = ensemble.fit(X, Y).predict_members(X)
    assert not np.array_equal(*predicted)
    np.testing.assert_allclose([one.predict_proba(X) for one in ensemble.estimators_], predicted, **FLOAT32)


# Copies and files


# With the rest of scikit-learn


def test_in_a_pipeline_of_data_frames():
    """Names that a pipeline hands on reach the ensemble, and both are shown as HTML."""
    frame = pd.DataFrame(X, columns=["w", "x", "y", "z"])
    pipeline = make_pipeline(StandardScaler(), quick_classifier()).set_output(transform="pandas").fit(frame, LABELS)
    np.testing.assert_array_equal(pipeline[-1].feature_names_in_, ["w", "x", "y", "z"])
    assert pipeline.predict(frame).shape == (60,)
    assert "KerasAveragingClassifier" in pipeline._repr_html_()


def test_shown_as_text_and_html(trained):
    """Ensembles are shown before and after `fit`, whatever their members are."""
    for ensemble in (KerasAveragingClassifier(), trained, KerasAveragingClassifier(frozen(trained), 3)):
        assert repr(ensemble).startswith("KerasAveragingClassifier(")
        assert "KerasAveragingClassifier" in ensemble._repr_html_()


def test_metadata_routing():
    """A pipeline hands `sample_weight` to an ensemble that asks for it."""
    weights = np.linspace(0, 2, 60)
    expected = quick_classifier(**REPEATABLE).fit(X, LABELS, sample_weight=weights).predict_proba(X)
    with sklearn.config_context(enable_metadata_routing=True):
        ensemble = quick_classifier(**REPEATABLE).set_fit_request(sample_weight=True)
        pipeline = Pipeline([("pass", "passthrough"), ("ensemble", ensemble)])
        pipeline.fit(X, LABELS, sample_weight=weights)
        np.testing.assert_array_equal(pipeline.predict_proba(X), expected)
        assert clone(ensemble).get_metadata_routing().consumes("fit", ["sample_weight", "other"]) == {"sample_weight"}


def test_cross_validation():
    """Each fold is scored by an ensemble trained on the other rows."""
    ensemble = quick_classifier()
    scores = cross_val_score(ensemble, X, LABELS, cv=StratifiedKFold(2))
    for score, (train, test) in zip(scores, StratifiedKFold(2).split(X, LABELS), strict=True):
        assert score == clone(ensemble).fit(X[train], LABELS[train]).score(X[test], LABELS[test])


@pytest.mark.slow
def test_grid_search():
    """A grid may go over the ensemble, the builder of its members and their optimizer."""
    member = KerasClassifier(build_network, **{**LEARNS, "hidden_layer_sizes": None})
    grid = {
        "n_estimators": [1, 2],
        "estimator__model__units": [5],
        "estimator__optimizer__learning_rate": [0.0, 0.3],  # the first learns nothing
    }
    search = GridSearchCV(KerasAveragingClassifier(member, random_state=0), grid, cv=2).fit(X, LABELS)
    assert search.best_params_["estimator__optimizer__learning_rate"] == 0.3
    best = search.best_estimator_
    assert len(best.estimators_) == search.best_params_["n_estimators"]
    for member in best.estimators_:
        assert member.model_.layers[0].units == 5
        assert member.model_.optimizer.learning_rate.numpy() == np.float32(0.3)


def test_randomized_search():
    """A randomized search draws from distributions and lists."""
    distributions = {"n_estimators": [1, 2], "estimator__optimizer__learning_rate": scipy.stats.uniform(0, 0.1)}
    search = RandomizedSearchCV(quick_classifier(), distributions, n_iter=2, cv=2, random_state=0).fit(X, LABELS)
    rates = search.cv_results_["param_estimator__optimizer__learning_rate"]
    assert len(set(rates)) == 2
    best = search.best_estimator_
    rate = search.best_params_["estimator__optimizer__learning_rate"]
    assert best.estimators_[0].model_.optimizer.learning_rate.numpy() == np.float32(rate)


@pytest.mark.slow
@pytest.mark.workers
def test_workers(workers_pay):
    """Two workers give the members of one, also where the builder is a lambda that pickle would refuse."""
    units = 3
    member = KerasClassifier(
        lambda meta: keras.Sequential(
            [
                keras.Input(meta["X_shape_"][1:]),
                keras.layers.Dense(units, activation="relu"),
                keras.layers.Dense(3, activation="softmax"),
            ]
        ),
        epochs=3,
        batch_size=20,
    )
    one, two = (
        KerasAveragingClassifier(member, 3, random_state=0, n_jobs=n_jobs).fit(X, LABELS) for n_jobs in (None, 2)
    )
    np.testing.assert_allclose(two.predict_members(X), one.predict_members(X), **TRAINED_FLOAT32)
    np.testing.assert_allclose(
        [member.history_["loss"] for member in two.estimators_],
        [member.history_["loss"] for member in one.estimators_],
        **TRAINED_FLOAT32,
    )
    assert not hasattr(member, "model_")


@pytest.mark.slow
@pytest.mark.workers
def test_searches_with_workers():
    """Searches and cross-validation give the same in two workers as in one."""
    ensemble = quick_classifier()
    scores = [cross_val_score(ensemble, X, LABELS, cv=2, n_jobs=n_jobs) for n_jobs in (1, 2)]
    np.testing.assert_allclose(scores[1], scores[0])
    distributions = {"estimator__optimizer__learning_rate": [0.01, 0.1]}
    for search in (
        GridSearchCV(ensemble, distributions, cv=2),
        RandomizedSearchCV(ensemble, distributions, n_iter=1, cv=2, random_state=0),
    ):
        one, two = (clone(search).set_params(n_jobs=n_jobs).fit(X, LABELS) for n_jobs in (1, 2))
        np.testing.assert_allclose(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])
        assert two.best_params_ == one.best_params_


def test_length_items_and_iteration(blobs):
    """As scikit-learn's ensembles, it is a sequence of its fitted members; what they are copies of is `estimator_`."""
    X, y = blobs
    member = KerasClassifier(**QUICK)
    ensemble = KerasAveragingClassifier(member, n_estimators=3, random_state=0)
    assert ensemble  # without a length yet
    for ask in (len, iter, lambda one: one[0]):
        with pytest.raises(NotFittedError):
            ask(ensemble)
    assert not hasattr(ensemble, "estimator_")

    ensemble.fit(X, y)
    assert len(ensemble) == 3
    assert ensemble[0] is ensemble.estimators_[0]
    assert ensemble[-1] is ensemble.estimators_[2]
    assert ensemble[1:] == ensemble.estimators_[1:]
    assert list(ensemble) == ensemble.estimators_
    assert ensemble.estimator_ is member
    loaded = pickle.loads(pickle.dumps(ensemble))
    assert len(loaded) == 3
    assert loaded.estimator_.hidden_layer_sizes == (3,)

    frozen = KerasAveragingClassifier([FrozenEstimator(ensemble[0]), FrozenEstimator(ensemble[1])], 2).fit(X, y)
    assert frozen.estimator_ is None
    assert KerasAveragingRegressor(None, 1).set_params(estimator=None)._template(classifier=False).epochs == 100


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_log_probabilities(blobs, voting):
    """`predict_log_proba` is there where `predict_proba` is, and is its logarithm."""
    X, y = blobs
    ensemble = KerasAveragingClassifier(KerasClassifier(**QUICK), 2, voting=voting, random_state=0).fit(X, y)
    assert hasattr(ensemble, "predict_log_proba") == (voting == "soft")
    if voting == "soft":
        np.testing.assert_allclose(np.exp(ensemble.predict_log_proba(X)), ensemble.predict_proba(X), rtol=1e-5)
        np.testing.assert_array_equal(ensemble[0].predict_log_proba(X), np.log(ensemble[0].predict_proba(X)))
