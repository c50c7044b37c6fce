import operator

import keras
import numpy as np
import pandas as pd
import pytest
import scikeras.wrappers
from sklearn.base import clone, is_classifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.tree import DecisionTreeClassifier

from skensemble import KerasClassifier, KerasRegressor
from skensemble._engine import forward as forward_module
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.prediction import predict_members
from skensemble._members.member_checks import check_frozen_members, check_member
from skensemble._members.random_draws import draw_entropy, spawn_seeds
from skensemble._members.spec import MemberSpec
from skensemble.exceptions import NotFusableError

INT32_MAX = 2**31 - 1


def small_classifier(**params):
    """Classifier that trains in a moment: eagerly, since tracing a graph takes longer than the steps."""
    return KerasClassifier(hidden_layer_sizes=(3,), epochs=1, batch_size=-1, run_eagerly=True, random_state=0, **params)


def small_regressor(**params):
    """Regressor that trains in a moment."""
    return KerasRegressor(hidden_layer_sizes=(3,), epochs=1, batch_size=-1, run_eagerly=True, random_state=0, **params)


def build_member(meta):
    """Stand for a user's builder; never called."""


# Seeds


@pytest.mark.parametrize("random_state", [0, 1, INT32_MAX, np.int64(5)])
def test_seed_of_a_member_depends_on_its_place_alone(random_state):
    """The first seeds of many members are the seeds of few members."""
    entropy = draw_entropy(random_state)
    many = spawn_seeds(entropy, 50)
    assert spawn_seeds(entropy, 3) == many[:3]
    assert len(set(many)) == 50
    assert all(type(seed) is int and 0 <= seed <= INT32_MAX for seed in many)


def test_other_seed_other_members():
    """No member is shared between ensembles of neighbouring seeds."""
    assert set(spawn_seeds(0, 20)).isdisjoint(spawn_seeds(1, 20))


def test_random_state_instance_is_advanced():
    """A RandomState gives other seeds each time, and the same ones from the same state."""
    rng = np.random.RandomState(0)
    first, second = draw_entropy(rng), draw_entropy(rng)
    assert first != second
    rng = np.random.RandomState(0)
    assert [draw_entropy(rng), draw_entropy(rng)] == [first, second]


def test_without_random_state_seeds_differ():
    """None means other seeds each time, whatever NumPy's global seed is."""
    before = np.random.get_state()
    try:
        np.random.seed(0)
        first = draw_entropy(None)
        np.random.seed(0)
        assert draw_entropy(None) != first
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
        (build_member, True, TypeError, r"got the function build_member. Wrap it: KerasClassifier\(build_member\)."),
        (build_member, False, TypeError, r"Wrap it: KerasRegressor\(build_member\)."),
        (keras.Sequential(), True, TypeError, r"got Sequential. Pass the function .*: KerasClassifier\(build\)."),
        (FrozenEstimator(LogisticRegression()), True, TypeError, "got LogisticRegression"),
        (KerasRegressor(), True, TypeError, "must be a classifier, as the ensemble is: got KerasRegressor"),
        (KerasClassifier(), False, TypeError, "must be a regressor, as the ensemble is: got KerasClassifier"),
        (
            scikeras.wrappers.BaseWrapper(lambda: None),
            True,
            TypeError,
            "must be a classifier, as the ensemble is: got BaseWrapper",
        ),
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


# Predictions of fitted members


def test_predictions_are_those_of_keras(blobs):
    """Probabilities are what `keras.Model.predict` says, one row of the first axis a member."""
    X, y = blobs
    members = [small_classifier().fit(X, y) for _ in range(2)]
    proba = predict_members(FittedMembers(members), X, np.arange(3))
    assert proba.shape == (2, 60, 3)
    for member, got in zip(members, proba, strict=True):
        np.testing.assert_allclose(got, member.model_.predict(X, verbose=0), rtol=1e-5, atol=1e-7)


def test_one_output_makes_two_columns(blobs):
    """One sigmoid output is the probability of the larger class."""
    X, y = blobs
    member = small_classifier().fit(X, y == 2)
    (proba,) = predict_members(FittedMembers([member]), X, np.array([False, True]))
    outputs = member.model_.predict(X, verbose=0)[:, 0]
    np.testing.assert_allclose(proba, np.column_stack([1 - outputs, outputs]), rtol=1e-5, atol=1e-6)


def test_regression_keeps_the_shape_of_y(regression):
    """Values have the shape of y: a vector, or one column an output."""
    X, y = regression
    for target in (y, np.column_stack([y, -y])):
        member = small_regressor().fit(X, target)
        values = predict_members(FittedMembers([member]), X)
        assert values.shape == (1, *target.shape)
        np.testing.assert_allclose(values[0].reshape(60, -1), member.model_.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_model_that_cannot_be_copied_predicts_by_itself(blobs, monkeypatch):
    """Where no program can be made of a fitted model, the model is called."""
    X, y = blobs
    member = small_classifier().fit(X, y)

    def refuse(model, n_members):
        raise NotFusableError("the model cannot be copied")

    monkeypatch.setattr(forward_module, "get_program", refuse)
    proba = predict_members(FittedMembers([member]), X, member.classes_)
    np.testing.assert_allclose(proba[0], member.predict_proba(X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_rows", [1, 7, 8, 60])
def test_chunks_change_nothing(blobs, monkeypatch, n_rows):
    """Rows may go through the network in several chunks, the last of them short, or one row alone."""
    X, y = blobs
    member = small_classifier().fit(X, y)
    expected = member.model_.predict(X[:n_rows], verbose=0)
    monkeypatch.setattr(forward_module, "PREDICTION_ROWS", 4)
    (proba,) = predict_members(FittedMembers([member]), X[:n_rows], np.arange(3))
    np.testing.assert_allclose(proba, expected, rtol=1e-5, atol=1e-7)


def test_columns_follow_the_classes(blobs):
    """Members that saw other classes get a column of zeros for those they lack."""
    X, y = blobs
    labels = np.array(["a", "b", "c"])[y]
    members = [small_classifier().fit(X[labels != left_out], labels[labels != left_out]) for left_out in "ca"]
    proba = predict_members(FittedMembers(map(FrozenEstimator, members)), X, np.array(["a", "b", "c"]))
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
    first, second = predict_members(FittedMembers([member, member]), X, np.arange(3))
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
    member = MemberSpec(FrozenEstimator(small_classifier().fit(X, y)), 0)
    check_frozen_members([member, MemberSpec(KerasClassifier(), 0)], X, y, np.arange(4))
    with pytest.raises(ValueError) as caught:
        check_frozen_members([member], np.zeros((60, n_features)), y, np.array(classes))
    assert message in str(caught.value)


def test_frozen_members_of_other_columns(blobs):
    """A member that was fitted on columns of other names, or in another order, is refused; arrays have no names."""
    X, y = blobs
    frame = pd.DataFrame(X, columns=list("wxyz"))
    for fitted in (small_classifier().fit(frame, y), LogisticRegression().fit(frame, y)):
        member = MemberSpec(FrozenEstimator(fitted), 0)
        for names in (None, np.array(list("wxyz"))):
            check_frozen_members([member], X, y, np.arange(3), names)
        with pytest.raises(ValueError, match=r"member 0 was fitted on \['w', 'x', 'y', 'z'\], X has \['x', 'w'"):
            check_frozen_members([member], X, y, np.arange(3), np.array(list("xwyz")))


@pytest.mark.parametrize("other", [LinearRegression(), DecisionTreeClassifier(random_state=0)])
def test_frozen_members_of_other_targets(blobs, other):
    """A member that predicts another number of targets or labels is refused, network or not."""
    X, y = blobs
    two = np.column_stack([y == 0, y != 1]).astype(int)
    three = np.column_stack([two, y == 2])
    network = small_classifier() if is_classifier(other) else small_regressor()
    for fitted in (clone(network).fit(X, two), clone(other).fit(X, two)):
        member = MemberSpec(FrozenEstimator(fitted), 0)
        check_frozen_members([member], X, two, None)
        for target, n_targets in ((three, 3), (y, 1)):
            with pytest.raises(ValueError, match=f"member 0 predicts 2, y has {n_targets}"):
                check_frozen_members([member], X, target, None)


# Estimators that are no networks


def test_probabilities_of_estimators_that_are_no_networks(blobs):
    """Forests, which give a list for several labels, and networks give the same shape; so do constant labels."""
    X, y = blobs
    labels = np.column_stack([y == 0, np.ones(60), np.zeros(60), y != 1]).astype(int)
    forest = RandomForestClassifier(5, random_state=0).fit(X, labels)
    (proba,) = predict_members(FittedMembers([forest]), X)
    first, _, _, last = forest.predict_proba(X)
    np.testing.assert_array_equal(proba, np.column_stack([first[:, 1], np.ones(60), np.zeros(60), last[:, 1]]))


def test_decisions_count_as_probabilities(blobs):
    """A classifier without probabilities gives 1 for the label that it chooses, 0 for the others."""
    X, y = blobs
    labels = np.array(["a", "b", "c"])[y]
    ridge = RidgeClassifier().fit(X, labels)
    (proba,) = predict_members(FittedMembers([ridge]), X, np.array(["a", "b", "c"]))
    np.testing.assert_array_equal(proba, ridge.predict(X)[:, np.newaxis] == ["a", "b", "c"])
    indicators = np.column_stack([y == 0, y != 1]).astype(int)
    ridge = RidgeClassifier().fit(X, indicators)
    (proba,) = predict_members(FittedMembers([ridge]), X)
    np.testing.assert_array_equal(proba, ridge.predict(X))


def test_names_of_columns_do_not_warn(blobs):
    """A member that was fitted on a DataFrame predicts from the array of the ensemble."""
    X, y = blobs
    logistic = LogisticRegression().fit(pd.DataFrame(X, columns=list("wxyz")), y)
    (proba,) = predict_members(FittedMembers([logistic]), X, np.arange(3))
    np.testing.assert_array_equal(proba, LogisticRegression().fit(X, y).predict_proba(X))


def test_fitted_members_are_like_a_list():
    """They equal the list of themselves, add to lists on both sides, and are not hashable."""
    one, two, three = LogisticRegression(), LogisticRegression(), LogisticRegression()
    members = FittedMembers([one, two])
    assert members == [one, two]
    assert [one, two] == members
    assert members == FittedMembers([one, two])
    assert members != [two, one]
    assert members != [one]
    assert members != (one, two)  # as lists and tuples
    others = [three]
    assert members + others == [one, two, three]
    assert others + members == [three, one, two]
    assert members + FittedMembers(others) == [one, two, three]
    with pytest.raises(TypeError):
        operator.add(members, (three,))
    with pytest.raises(TypeError, match="unhashable"):
        hash(members)
