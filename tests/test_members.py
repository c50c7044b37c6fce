import keras
import numpy as np
import pytest
import scikeras.wrappers
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skensemble import KerasClassifier, KerasRegressor, _members
from skensemble._members import check_frozen_members, check_member, make_members, predict_members, spawn_seeds

INT32_MAX = 2**31 - 1


def small_classifier(**params):
    """Classifier that trains in a moment: eagerly, since tracing a graph takes longer than the steps."""
    return KerasClassifier(hidden_layer_sizes=(3,), epochs=1, batch_size=-1, run_eagerly=True, random_state=0, **params)


def small_regressor(**params):
    """Regressor that trains in a moment."""
    return KerasRegressor(hidden_layer_sizes=(3,), epochs=1, batch_size=-1, run_eagerly=True, random_state=0, **params)


# Seeds


@pytest.mark.parametrize("random_state", [0, 1, INT32_MAX, np.int64(5)])
def test_seed_of_a_member_depends_on_its_place_alone(random_state):
    """The first seeds of many members are the seeds of few members."""
    many = spawn_seeds(random_state, 50)
    assert spawn_seeds(random_state, 3) == many[:3]
    assert len(set(many)) == 50
    assert all(type(seed) is int and 0 <= seed <= INT32_MAX for seed in many)


def test_other_seed_other_members():
    """No member is shared between ensembles of neighbouring seeds."""
    assert set(spawn_seeds(0, 20)).isdisjoint(spawn_seeds(1, 20))


def test_random_state_instance_is_advanced():
    """A RandomState gives other seeds each time, and the same ones from the same state."""
    rng = np.random.RandomState(0)
    first, second = spawn_seeds(rng, 3), spawn_seeds(rng, 3)
    assert first != second
    rng = np.random.RandomState(0)
    assert [spawn_seeds(rng, 3), spawn_seeds(rng, 3)] == [first, second]


def test_without_random_state_seeds_differ():
    """None means other seeds each time, whatever NumPy's global seed is."""
    before = np.random.get_state()
    try:
        np.random.seed(0)
        first = spawn_seeds(None, 3)
        np.random.seed(0)
        assert spawn_seeds(None, 3) != first
    finally:
        np.random.set_state(before)


# Members before training


@pytest.mark.parametrize(
    ("estimator", "classifier"),
    [
        (KerasClassifier(), True),
        (KerasRegressor(), False),
        (scikeras.wrappers.KerasClassifier(lambda: None), True),
        (scikeras.wrappers.KerasRegressor(lambda: None), False),
    ],
)
def test_scikeras_estimators_are_members(estimator, classifier):
    """Our own and plain scikeras estimators are members of an ensemble of their kind, and of no other."""
    check_member(estimator, classifier=classifier)
    with pytest.raises(TypeError, match="must be a"):
        check_member(estimator, classifier=not classifier)


@pytest.mark.parametrize(
    ("estimator", "classifier", "error", "message"),
    [
        (LogisticRegression(), True, TypeError, "must be a scikeras estimator: got LogisticRegression"),
        (KerasClassifier, True, TypeError, "must be a scikeras estimator"),
        (FrozenEstimator(LogisticRegression()), True, TypeError, "got LogisticRegression"),
        (KerasRegressor(), True, TypeError, "must be a classifier in an ensemble of classifiers: got the regressor"),
        (KerasClassifier(), False, TypeError, "must be a regressor in an ensemble of regressors: got the classifier"),
        (scikeras.wrappers.BaseWrapper(lambda: None), True, TypeError, "got the estimator without predict_proba"),
        (FrozenEstimator(KerasClassifier()), True, NotFittedError, "not fitted yet"),
    ],
)
def test_bad_member(estimator, classifier, error, message):
    """What cannot be a member is refused, with what it is and what it should be."""
    with pytest.raises(error, match=message):
        check_member(estimator, classifier=classifier)


def test_bad_member_is_named():
    """The message calls the member what the caller calls it."""
    with pytest.raises(TypeError, match=r"`estimator\[3\]` must be"):
        check_member(LogisticRegression(), classifier=True, name="estimator[3]")


def test_members_are_clones_with_seeds():
    """Each member is an unfitted clone that carries its seed; the estimator keeps its own."""
    estimator = KerasClassifier(random_state=7, epochs=3, optimizer__learning_rate=0.5)
    members = make_members(estimator, [11, 12])
    assert [member.random_state for member in members] == [11, 12]
    assert estimator.random_state == 7
    for member in members:
        expected = estimator.get_params() | {"random_state": member.random_state}
        assert member.get_params() == expected


# Predictions of fitted members


def test_predictions_are_those_of_keras(blobs):
    """Probabilities are what `keras.Model.predict` says, one row of the first axis a member."""
    X, y = blobs
    members = [small_classifier().fit(X, y) for _ in range(2)]
    proba = predict_members(members, X, np.arange(3))
    assert proba.shape == (2, 60, 3)
    for member, got in zip(members, proba, strict=True):
        np.testing.assert_allclose(got, member.model_.predict(X, verbose=0), rtol=1e-5, atol=1e-7)


def test_one_output_makes_two_columns(blobs):
    """One sigmoid output is the probability of the larger class."""
    X, y = blobs
    member = small_classifier().fit(X, y == 2)
    (proba,) = predict_members([member], X, np.array([False, True]))
    outputs = member.model_.predict(X, verbose=0)[:, 0]
    np.testing.assert_allclose(proba, np.column_stack([1 - outputs, outputs]), rtol=1e-5, atol=1e-6)


def test_regression_keeps_the_shape_of_y(regression):
    """Values have the shape of y: a vector, or one column an output."""
    X, y = regression
    for target in (y, np.column_stack([y, -y])):
        member = small_regressor().fit(X, target)
        values = predict_members([member], X)
        assert values.shape == (1, *target.shape)
        np.testing.assert_allclose(values[0].reshape(60, -1), member.model_.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_rows", [1, 7, 8, 60])
def test_chunks_change_nothing(blobs, monkeypatch, n_rows):
    """Rows may go through the network in several chunks, the last of them short, or one row alone."""
    X, y = blobs
    member = small_classifier().fit(X, y)
    expected = member.model_.predict(X[:n_rows], verbose=0)
    monkeypatch.setattr(_members, "PREDICTION_ROWS", 4)
    (proba,) = predict_members([member], X[:n_rows], np.arange(3))
    np.testing.assert_allclose(proba, expected, rtol=1e-5, atol=1e-7)


def test_columns_follow_the_classes(blobs):
    """Members that saw other classes get a column of zeros for those they lack."""
    X, y = blobs
    labels = np.array(["a", "b", "c"])[y]
    members = [small_classifier().fit(X[labels != left_out], labels[labels != left_out]) for left_out in "ca"]
    proba = predict_members([FrozenEstimator(member) for member in members], X, np.array(["a", "b", "c"]))
    assert (proba[0, :, 2] == 0).all()
    assert (proba[1, :, 0] == 0).all()
    np.testing.assert_allclose(proba[0, :, :2], members[0].predict_proba(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(proba[1, :, 1:], members[1].predict_proba(X), rtol=1e-5, atol=1e-6)


def test_prediction_does_not_train(blobs):
    """Layers that act otherwise in training, and their variables, are as in prediction."""
    X, y = blobs

    def build():
        layers = [keras.Input((4,)), keras.layers.Dropout(0.5), keras.layers.BatchNormalization()]
        return keras.Sequential([*layers, keras.layers.Dense(3, activation="softmax")])

    member = KerasClassifier(build, epochs=1, run_eagerly=True).fit(X, y)
    before = [variable.numpy() for variable in member.model_.variables]
    first, second = predict_members([member, member], X, np.arange(3))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, member.model_.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    for variable, value in zip(member.model_.variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.parametrize(
    ("n_features", "classes", "message"),
    [
        (5, [0, 1, 2], "shaped like X: member 0 was fitted on rows of shape (4,), X has rows of shape (5,)"),
        (4, [0, 1], "must not know classes that y lacks: member 0 has classes"),
        (4, ["a", "b", "c"], "must not know classes that y lacks: member 0 has classes"),
    ],
)
def test_frozen_members_that_do_not_fit(blobs, n_features, classes, message):
    """A fitted member that saw other features, or classes that y lacks, is refused."""
    X, y = blobs
    member = FrozenEstimator(small_classifier().fit(X, y))
    check_frozen_members([member, KerasClassifier()], X, np.arange(4))
    with pytest.raises(ValueError) as caught:
        check_frozen_members([member], np.zeros((3, n_features)), np.array(classes))
    assert message in str(caught.value)
