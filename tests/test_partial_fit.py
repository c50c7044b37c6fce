"""Tests for `partial_fit` of ensembles of independent members."""

import keras
import numpy as np
import pytest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    io,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype("float32")
Y = np.where(X[:, 0] > 0.5, "c", np.where(X[:, 1] > 0, "a", "b"))
ORDERED = {"hidden_layer_sizes": (5,), "shuffle": False, "batch_size": 10}


def averaging(member=None, **params):
    """Two members, rows in their order."""
    member = KerasClassifier(**ORDERED, epochs=3) if member is None else member
    return KerasAveragingClassifier(member, n_estimators=2, random_state=0, **params)


@pytest.mark.parametrize("engine", ["fused", pytest.param("keras", marks=pytest.mark.slow)])
def test_calls_give_what_one_fit_gives(engine):
    """With rows in their order, calls of one epoch end where one fit of as many epochs ends, optimizer included."""
    fitted = averaging(engine=engine).fit(X, Y)
    ensemble = averaging(engine=engine)
    for _ in range(3):
        ensemble.partial_fit(X, Y)
    assert ensemble.engine_ == engine
    np.testing.assert_allclose(ensemble.predict_proba(X), fitted.predict_proba(X), rtol=1e-5)
    np.testing.assert_allclose(ensemble[1].history_["loss"], fitted[1].history_["loss"], rtol=1e-5)
    assert ensemble[0].epochs == 3


def test_several_epochs_at_once():
    """`epochs` says how many; the first call with as many as `fit` has is `fit`."""
    ensemble = averaging().partial_fit(X, Y, epochs=3)
    np.testing.assert_array_equal(ensemble.predict_proba(X), averaging().fit(X, Y).predict_proba(X))
    assert len(ensemble.partial_fit(X, Y, epochs=2)[0].history_["loss"]) == 5


def test_rows_are_shuffled_anew():
    """Each call visits the rows in another order, so that calls and one fit differ, and a seed gives one result."""
    member = KerasClassifier(**ORDERED | {"shuffle": True}, epochs=2)
    twice = averaging(member).partial_fit(X, Y).partial_fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(averaging(member).partial_fit(X, Y).partial_fit(X, Y).predict_proba(X), twice)
    assert not np.array_equal(averaging(member).fit(X, Y).predict_proba(X), twice)


def test_training_goes_on_after_fit():
    """`partial_fit` goes on with the members of `fit`, also those that were looked at or loaded from a file."""
    fitted = averaging().fit(X, Y)
    expected = averaging(KerasClassifier(**ORDERED, epochs=4)).fit(X, Y).predict_proba(X)
    loaded = io.loads(io.dumps(fitted, include_optimizer=True))
    fitted[0].predict(X)
    np.testing.assert_allclose(fitted.partial_fit(X, Y).predict_proba(X), expected, rtol=1e-5)
    np.testing.assert_allclose(loaded.partial_fit(X, Y).predict_proba(X), expected, rtol=1e-5)


def test_ensembles_that_were_never_fitted_are_saved():
    """Training in parts leaves nothing in an ensemble that files do not take, and goes on after them."""
    ensemble = averaging().partial_fit(X, Y)
    loaded = io.loads(io.dumps(ensemble, include_optimizer=True))
    expected = ensemble.partial_fit(X, Y).predict_proba(X)
    np.testing.assert_array_equal(loaded.partial_fit(X, Y).predict_proba(X), expected)


def test_first_rows_need_not_have_all_classes():
    """With `classes`, members know labels that come later; those of a call must be among them."""
    seen = Y != "b"
    ensemble = averaging().partial_fit(X[seen], Y[seen], classes=["b", "c", "a"])
    assert ensemble.predict_proba(X).shape == (40, 3)
    assert ensemble.partial_fit(X, Y, epochs=100).score(X, Y) > 0.7
    assert ensemble.classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="labels of fit: got \\['d'\\]"):
        ensemble.partial_fit(X[:2], ["a", "d"])
    with pytest.raises(ValueError, match="`classes` must be those of the first call"):
        ensemble.partial_fit(X, Y, classes=["a", "b"])
    with pytest.raises(ValueError, match="must have every label of y: got \\['c'\\]"):
        averaging().partial_fit(X, Y, classes=["a", "b"])


def build(meta, trainable=False):
    """A network whose first layer is trained in a second phase only."""
    first = keras.layers.Dense(5, activation="relu", trainable=trainable)
    return keras.Sequential([keras.Input((4,)), first, keras.layers.Dense(3, activation="softmax")])


def test_second_phase():
    """Between calls, other layers may become trainable and the learning rate may change; values are kept."""
    member = KerasClassifier(build, optimizer__learning_rate=0.1, batch_size=-1)
    ensemble = averaging(member, engine="fused").partial_fit(X, Y, epochs=5)
    frozen, head = ensemble[0].model_.get_weights()[0], ensemble[0].model_.get_weights()[2]
    np.testing.assert_array_equal(
        averaging(member).partial_fit(X, Y)[0].model_.get_weights()[0], frozen
    )  # the values it started from
    ensemble.set_params(estimator__model__trainable=True, estimator__optimizer__learning_rate=0.001)
    ensemble.partial_fit(X, Y)
    # Adam's first step is the learning rate in each value, away from 0 gradients.
    steps = np.abs(ensemble[0].model_.get_weights()[2] - head)
    np.testing.assert_allclose(steps, 0.001, rtol=0.05)
    steps = np.abs(ensemble[0].model_.get_weights()[0] - frozen)
    assert 0 < steps.max() <= 0.00101


def test_other_architectures_are_refused():
    """Networks of other shapes cannot go on with the values there are; the ensemble stays as it was."""
    ensemble = averaging().partial_fit(X, Y)
    before = ensemble.predict_proba(X)
    ensemble.set_params(estimator__hidden_layer_sizes=(6,))
    with pytest.raises(ValueError, match="variables of those before"):
        ensemble.partial_fit(X, Y)
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


def test_weights_are_taken_as_they_are():
    """Weights of rows are not scaled: rows of half the weight move a network trained by SGD half as far."""
    member = KerasRegressor(hidden_layer_sizes=(), optimizer="sgd", batch_size=-1)
    moved = []
    start = KerasAveragingRegressor(member, n_estimators=1, random_state=0).partial_fit(X, X[:, 0], np.zeros(40) + 1e-9)
    for weight in (1.0, 0.5):
        ensemble = KerasAveragingRegressor(member, n_estimators=1, random_state=0)
        ensemble.partial_fit(X, X[:, 0], np.full(40, weight))
        moved.append(ensemble[0].model_.get_weights()[0] - start[0].model_.get_weights()[0])
    np.testing.assert_allclose(moved[0], 2 * moved[1], rtol=1e-3)


def test_voting():
    """Different networks with names go on each by itself."""
    members = [("small", KerasClassifier(**ORDERED, epochs=2)), ("none", KerasClassifier((), epochs=2, shuffle=False))]
    members[1][1].set_params(model=None, hidden_layer_sizes=())
    fitted = KerasVotingClassifier(members, random_state=0).fit(X, Y)
    ensemble = KerasVotingClassifier(members, random_state=0).partial_fit(X, Y).partial_fit(X, Y)
    np.testing.assert_allclose(ensemble.predict_proba(X), fitted.predict_proba(X), rtol=1e-5)
    assert list(ensemble.named_estimators_) == ["small", "none"]
    with pytest.raises(ValueError, match=r"members there are further, \['small', 'none'\]: got \['small'\]"):
        ensemble.set_params(none="drop").partial_fit(X, Y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bootstrap": True}, "got bootstrap=True. Set bootstrap=False"),
        ({"max_samples": 0.5}, "got max_samples=0.5"),
        ({"warm_start": True}, "got warm_start=True"),
        ({"checkpoint_dir": "somewhere"}, "got checkpoint_dir='somewhere'"),
        ({"weights": "greedy"}, r"reweight\('greedy', X=X, y=y\)"),
        ({"estimator": [FrozenEstimator(KerasClassifier(**ORDERED, epochs=1).fit(X, Y))] * 2}, "copies of one network"),
    ],
)
def test_what_needs_one_fit_is_refused(params, message):
    """What only one fit can do is refused before anything is trained."""
    with pytest.raises(ValueError, match=message):
        averaging().set_params(**params).partial_fit(X, Y)


def test_members_that_are_not_networks_are_refused():
    """Where other estimators stand beside networks, there is no `partial_fit`."""
    ensemble = KerasVotingClassifier([("net", KerasClassifier(**ORDERED)), ("line", LogisticRegression())])
    assert not hasattr(ensemble, "partial_fit")
    assert hasattr(ensemble.set_params(line="drop"), "partial_fit")


@pytest.mark.parametrize("epochs", [0, 1.5, "many"])
def test_epochs_are_counted(epochs):
    """`epochs` is a whole number from 1."""
    with pytest.raises(ValueError, match="`epochs` must be a whole number from 1"):
        averaging().partial_fit(X, Y, epochs=epochs)


def test_members_are_as_many_as_before():
    """Members are added by `fit`, which needs the rows of those there are."""
    ensemble = averaging().partial_fit(X, Y)
    with pytest.raises(ValueError, match="2 members there are further"):
        ensemble.set_params(n_estimators=3).partial_fit(X, Y)
    with pytest.raises(ValueError, match="trained by `partial_fit`"):
        ensemble.set_params(warm_start=True).fit(X, Y)


LABELS = np.column_stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > 0]).astype(int)


def test_labels_of_another_kind_are_refused():
    """Where rows have several labels, those of later rows are as many, and 0 or 1; so are those of `reweight`."""
    ensemble = averaging().partial_fit(X, LABELS)
    with pytest.raises(ValueError, match=r"columns of fit: got rows of shape \(\), in fit they had 3 labels"):
        ensemble.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"must be an indicator matrix of 0 and 1: got the values \[0, 2\]"):
        ensemble.partial_fit(X, LABELS * 2)
    with pytest.raises(ValueError, match=r"must be an indicator matrix of 0 and 1: got the values \[-1, 1\]"):
        ensemble.reweight("greedy", X=X, y=LABELS * 2 - 1)


@pytest.mark.parametrize("classifier", [averaging(), KerasClassifier(**ORDERED, epochs=3)])
def test_indicators_are_zeros_and_ones(classifier):
    """A matrix of two other values is not learned as if they were 0 and 1."""
    with pytest.raises(ValueError, match=r"must be an indicator matrix of 0 and 1: got the values \[-1, 1\]"):
        classifier.fit(X, LABELS * 2 - 1)
