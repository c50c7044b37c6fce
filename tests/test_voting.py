import pickle
from collections import Counter

import keras
import numpy as np
import pandas as pd
import pytest
import scikeras.wrappers
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor, VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    StackedKerasClassifier,
)
from skensemble._engine.fused import group_run as _group_run
from skensemble.wrappers import build_mlp

# Rounding of one float32 forward pass against another that sums in another order; and after training.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
TRAINED_FLOAT32 = {"rtol": 1e-3, "atol": 1e-4}

# Most members share an architecture and one batch of all rows, and so a program, which is traced once for many tests.
QUICK = {"epochs": 2, "batch_size": -1}
# Members that Keras trains, eagerly: tracing a graph takes longer than so few steps.
EAGER = {**QUICK, "run_eagerly": True}


def _make_data():
    X, y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4, random_state=0)
    X_regression, y_regression = make_regression(n_samples=60, n_features=4, noise=1.0, random_state=0)
    return X.astype("float32"), y, X_regression.astype("float32"), y_regression / y_regression.std()


X, Y, X_REGRESSION, Y_REGRESSION = _make_data()
LABELS = np.array(["a", "b", "c"])[Y]
IMAGES = (
    np.random.default_rng(0).normal(size=(60, 5, 5, 1)).astype("float32") + Y[:, np.newaxis, np.newaxis, np.newaxis]
)


def mlp(units=3, **params):
    """A small classifier."""
    return KerasClassifier(hidden_layer_sizes=(units,), **{**QUICK, **params})


def mlp_regressor(units=3, **params):
    """A small regressor."""
    return KerasRegressor(hidden_layer_sizes=(units,), **{**EAGER, **params})


def build_convnet(filters=2):
    """A ConvNet on small images, its output as for three classes."""
    layers = [keras.layers.Conv2D(filters, 3, activation="relu"), keras.layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((5, 5, 1)), *layers, keras.layers.Dense(3, activation="softmax")])


def voting(*members, **params):
    """Unfitted voting classifier with a seed."""
    return KerasVotingClassifier(list(members), **{"random_state": 0, **params})


def must_not_build():
    """Builder of a member that must not come to be trained."""
    pytest.fail("The network was built before the input was checked.")


@pytest.fixture(scope="module")
def fitted():
    """Two architectures and a forest, on string labels."""
    forest = RandomForestClassifier(5, random_state=0)
    return voting(("narrow", mlp(3)), ("wide", mlp(8, epochs=3, run_eagerly=True)), ("forest", forest)).fit(X, LABELS)


@pytest.fixture(scope="module")
def fitted_regressor():
    """Two architectures and a linear model."""
    members = [("narrow", mlp_regressor(3)), ("wide", mlp_regressor(8)), ("linear", LinearRegression())]
    return KerasVotingRegressor(members, random_state=0).fit(X_REGRESSION, Y_REGRESSION)


# The loop that a user would write by hand


def test_soft_voting_is_the_loop_by_hand(fitted):
    """Probabilities are the mean over networks and other estimators, each a fitted estimator of its own."""
    narrow, wide, forest = fitted.estimators_
    by_hand = (narrow.model_.predict(X, verbose=0) + wide.model_.predict(X, verbose=0) + forest.predict_proba(X)) / 3
    np.testing.assert_allclose(fitted.predict_proba(X), by_hand, **FLOAT32)
    np.testing.assert_array_equal(fitted.predict(X), np.array(["a", "b", "c"])[by_hand.argmax(axis=1)])
    assert [narrow.model_.layers[0].units, wide.model_.layers[0].units] == [3, 8]
    assert [len(narrow.history_["loss"]), len(wide.history_["loss"])] == [2, 3]


def test_hard_voting_is_the_loop_by_hand(fitted):
    """The label that most members choose wins, also those without `predict_proba`; ties go to the smallest."""
    ridge = RidgeClassifier().fit(X, LABELS)
    members = [("one", FrozenEstimator(fitted.estimators_[0])), ("ridge", FrozenEstimator(ridge)), ("mlp", mlp())]
    ensemble = voting(*members, voting="hard").fit(X, LABELS)
    by_hand = []
    for votes in zip(*(member.predict(X) for member in ensemble.estimators_), strict=True):
        counts = Counter(votes)
        by_hand.append(min(counts, key=lambda label: (-counts[label], label)))
    np.testing.assert_array_equal(ensemble.predict(X), by_hand)
    assert not hasattr(ensemble, "predict_proba")


def test_weights_are_those_of_the_members(fitted):
    """Weights are scaled to sum to 1 and stand in the order of the members."""
    members = [(name, FrozenEstimator(member)) for name, member in fitted.named_estimators_.items()]
    ensemble = voting(*members, weights=[1, 0, 3]).fit(X, LABELS)
    expected = 0.25 * fitted.estimators_[0].predict_proba(X) + 0.75 * fitted.estimators_[2].predict_proba(X)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, **FLOAT32)
    np.testing.assert_array_equal(ensemble.weights_, [0.25, 0, 0.75])


def test_regression_is_the_loop_by_hand(fitted_regressor):
    """The prediction is the mean over the members, its deviation theirs."""
    each = np.stack([member.predict(X_REGRESSION) for member in fitted_regressor.estimators_])
    mean, std = fitted_regressor.predict(X_REGRESSION, return_std=True)
    np.testing.assert_allclose(mean, each.mean(axis=0), **FLOAT32)
    np.testing.assert_allclose(std, each.std(axis=0), **FLOAT32)
    linear = LinearRegression().fit(X_REGRESSION, Y_REGRESSION)
    np.testing.assert_allclose(each[2], linear.predict(X_REGRESSION), **TRAINED_FLOAT32)


def test_stages_and_uncertainty_follow_the_order(fitted):
    """Stage k is the vote of the first k members."""
    stages = list(fitted.staged_predict_proba(X))
    np.testing.assert_allclose(stages[0], fitted.named_estimators_["narrow"].predict_proba(X), **FLOAT32)
    np.testing.assert_allclose(stages[1], fitted.predict_members(X)[:2].mean(axis=0), **FLOAT32)
    np.testing.assert_array_equal(stages[2], fitted.predict_proba(X))
    assert (fitted.predict_uncertainty(X).epistemic >= 0).all()


# Members by name


def test_named_estimators(fitted):
    """Members are found by name, in order."""
    assert isinstance(fitted.named_estimators_, Bunch)
    assert list(fitted.named_estimators_) == ["narrow", "wide", "forest"]
    for one, other in zip(fitted.named_estimators_.values(), fitted.estimators_, strict=True):
        assert one is other
    assert fitted.named_estimators_.forest is fitted.estimators_[2]


def test_names_are_those_of_the_fit():
    """Parameters that were set after `fit` do not rename the members there are."""
    ensemble = voting(("a", LogisticRegression()), ("b", LogisticRegression())).fit(X, LABELS)
    ensemble.set_params(estimators=[("c", mlp())])
    assert list(ensemble.named_estimators_) == ["a", "b"]


def test_parameters_through_names():
    """Parameters of a member, and of its network's optimizer, are reached by its name."""
    network = mlp()
    ensemble = voting(("mlp", network), ("forest", RandomForestClassifier()))
    assert ensemble.get_params()["mlp"] is network
    assert ensemble.get_params()["mlp__epochs"] == 2
    assert ensemble.get_params()["forest__n_estimators"] == 100
    assert "mlp" not in ensemble.get_params(deep=False)
    ensemble.set_params(mlp__optimizer__learning_rate=0.25, mlp__epochs=1, forest__n_estimators=2, voting="hard")
    ensemble.fit(X, LABELS)
    assert ensemble.named_estimators_.mlp.model_.optimizer.learning_rate.numpy() == 0.25
    assert len(ensemble.named_estimators_.mlp.history_["loss"]) == 1
    assert len(ensemble.named_estimators_.forest.estimators_) == 2


def test_exchanged_member():
    """A member is exchanged by its name; the list that the user gave is not changed."""
    members = [("mlp", mlp()), ("other", LogisticRegression())]
    ensemble = KerasVotingClassifier(members).set_params(mlp=KNeighborsClassifier())
    assert [type(member) for _, member in ensemble.estimators] == [KNeighborsClassifier, LogisticRegression]
    assert type(members[0][1]) is KerasClassifier
    ensemble.fit(X, LABELS)
    assert ensemble.engine_ == "none"
    assert ensemble.score(X, LABELS) > 0.5


def test_grid_search_over_parameters_of_members():
    """A grid goes over the parameters of members by their names, and over the weights."""
    member = KerasClassifier(**{**QUICK, "epochs": 5}, hidden_layer_sizes=())
    grid = {"mlp__optimizer__learning_rate": [0.0, 0.5], "weights": [[1, 0]]}
    search = GridSearchCV(voting(("mlp", member), ("logistic", LogisticRegression())), grid, cv=2).fit(X, LABELS)
    assert search.best_params_["mlp__optimizer__learning_rate"] == 0.5
    rate = search.best_estimator_.named_estimators_.mlp.model_.optimizer.learning_rate.numpy()
    assert rate == 0.5


def test_clone_is_unfitted_and_trains_to_the_same(fitted):
    """A clone has clones of the members, frozen ones themselves."""
    copied = clone(fitted)
    with pytest.raises(NotFittedError):
        copied.predict(X)
    assert copied.estimators[0][1] is not fitted.estimators[0][1]
    np.testing.assert_array_equal(copied.fit(X, LABELS).predict_members(X), fitted.predict_members(X))
    frozen = FrozenEstimator(fitted.estimators_[0])
    assert clone(voting(("frozen", frozen))).estimators[0][1] is frozen


def test_html_shows_every_member(fitted):
    """The HTML has every member with its name side by side, before and after `fit`."""
    for ensemble in (fitted, clone(fitted)):
        html = ensemble._repr_html_()
        assert "sk-parallel" in html
        for text in ("KerasVotingClassifier", "narrow", "wide", "forest", "RandomForestClassifier"):
            assert text in html
    assert repr(fitted).startswith("KerasVotingClassifier(")


# What members see


def test_members_see_the_labels_of_the_user():
    """Every kind of member is given the labels as they are in y, so `class_weight` is keyed by them."""
    class_weight = {"a": 1, "b": 2, "c": 5}
    mean = np.mean([class_weight[label] for label in LABELS])
    class_weight = {label: weight / mean for label, weight in class_weight.items()}  # as weights of rows, not scaled
    params = {**EAGER, "shuffle": False, "optimizer": "sgd", "optimizer__learning_rate": 0.05}
    ensemble = voting(
        ("mlp", mlp(**params, class_weight=class_weight, random_state=3)),
        ("logistic", LogisticRegression(class_weight=class_weight)),
    ).fit(X, LABELS)
    for member in ensemble.estimators_:
        np.testing.assert_array_equal(member.classes_, ["a", "b", "c"])
    expected = LogisticRegression(class_weight=class_weight).fit(X, LABELS).predict_proba(X)
    predicted = ensemble.predict_members(X)[1]
    np.testing.assert_array_equal(predicted, expected.astype(predicted.dtype))
    weights = np.vectorize(class_weight.get)(LABELS)
    by_row = mlp(**params, random_state=3).fit(X, LABELS, sample_weight=weights).predict_proba(X)
    plain = mlp(**params, random_state=3).fit(X, LABELS).predict_proba(X)
    np.testing.assert_allclose(ensemble.predict_members(X)[0], by_row, **TRAINED_FLOAT32)
    assert not np.allclose(by_row, plain, **TRAINED_FLOAT32)


def test_weights_of_rows_reach_every_member():
    """Each member is trained with the weights, as it would be alone."""
    weights = np.random.default_rng(0).uniform(0, 2, size=60)
    members = [("mlp", mlp_regressor(shuffle=False, random_state=1)), ("ridge", Ridge())]
    ensemble = KerasVotingRegressor(members).fit(X_REGRESSION, Y_REGRESSION, sample_weight=weights)
    for (_, member), got in zip(members, ensemble.predict_members(X_REGRESSION), strict=True):
        alone = clone(member).fit(X_REGRESSION, Y_REGRESSION, sample_weight=weights).predict(X_REGRESSION)
        plain = clone(member).fit(X_REGRESSION, Y_REGRESSION).predict(X_REGRESSION)
        np.testing.assert_allclose(got, alone, **TRAINED_FLOAT32)
        assert not np.allclose(alone, plain, **TRAINED_FLOAT32)


@pytest.mark.parametrize("vote", ["soft", "hard"])
def test_multilabel(vote):
    """Forests, which give a list of probabilities, stand beside networks; each label is decided by itself."""
    indicators = np.column_stack([Y == 0, Y != 1, X[:, 0] > 0]).astype(int)
    members = [
        ("mlp", mlp(epochs=3)),
        ("forest", RandomForestClassifier(5, random_state=0)),
        ("logistic", MultiOutputClassifier(LogisticRegression())),
    ]
    ensemble = voting(*members, voting=vote).fit(X, indicators)
    network, *others = ensemble.estimators_
    each = [network.model_.predict(X, verbose=0)]
    each += [np.column_stack([proba[:, 1] for proba in other.predict_proba(X)]) for other in others]
    np.testing.assert_allclose(ensemble.predict_members(X), each, **FLOAT32)
    expected = np.mean(each, axis=0) > 0.5 if vote == "soft" else (np.stack(each) > 0.5).sum(axis=0) >= 2
    np.testing.assert_array_equal(ensemble.predict(X), expected)


def test_several_targets():
    """Mean and deviation have one column a target, networks and forests alike."""
    targets = np.column_stack([Y_REGRESSION, -Y_REGRESSION])
    members = [("mlp", mlp_regressor()), ("forest", RandomForestRegressor(5, random_state=0))]
    ensemble = KerasVotingRegressor(members, random_state=0).fit(X_REGRESSION, targets)
    each = np.stack([member.predict(X_REGRESSION) for member in ensemble.estimators_])
    mean, std = ensemble.predict(X_REGRESSION, return_std=True)
    assert mean.shape == (60, 2)
    np.testing.assert_allclose(mean, each.mean(axis=0), **FLOAT32)
    np.testing.assert_allclose(std, each.std(axis=0), **FLOAT32)


def test_plain_scikeras_members():
    """Plain scikeras estimators are members like ours."""
    plain = scikeras.wrappers.KerasClassifier(
        lambda meta: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")]),
        loss="sparse_categorical_crossentropy",
        verbose=0,
        run_eagerly=True,
    )
    ensemble = voting(("plain", plain), ("ours", mlp())).fit(X, LABELS)
    each = [member.model_.predict(X, verbose=0) for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_proba(X), np.mean(each, axis=0), **FLOAT32)


def test_data_frames():
    """Names of columns are kept and checked; members see arrays, and none of them warns."""
    frame = pd.DataFrame(X, columns=["w", "x", "y", "z"])
    frozen = FrozenEstimator(LogisticRegression().fit(frame, LABELS))
    ensemble = voting(("mlp", mlp()), ("forest", RandomForestClassifier(3)), ("frozen", frozen)).fit(frame, LABELS)
    np.testing.assert_array_equal(ensemble.feature_names_in_, ["w", "x", "y", "z"])
    assert ensemble.predict(frame).shape == (60,)
    with pytest.raises(ValueError, match="feature names should match"):
        ensemble.predict(frame[["x", "w", "y", "z"]])


def test_in_a_pipeline_and_as_a_member():
    """A voting ensemble follows a scaler, and a pipeline may be a member of one."""
    members = [("mlp", mlp()), ("scaled", make_pipeline(StandardScaler(), LogisticRegression()))]
    pipeline = make_pipeline(StandardScaler(), voting(*members)).fit(X, LABELS)
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_array_equal(pipeline.predict(X), voting(*members).fit(scaled, LABELS).predict(scaled))
    assert cross_val_score(pipeline, X, LABELS, cv=2).shape == (2,)


def test_averaging_as_a_member():
    """An averaging ensemble is a member like any scikit-learn estimator."""
    inner = KerasAveragingClassifier(mlp(), 2, random_state=0)
    ensemble = voting(("average", inner), ("logistic", LogisticRegression())).fit(X, LABELS)
    np.testing.assert_allclose(ensemble.predict_members(X)[0], inner.fit(X, LABELS).predict_proba(X), **FLOAT32)


# Fitted members


def test_pretrained_convnet_beside_others():
    """A trained ConvNet on images of four dimensions is used as it is, beside a network that is trained."""
    convnet = KerasClassifier(build_convnet, **EAGER).fit(IMAGES, LABELS)
    before = [value.copy() for value in convnet.model_.get_weights()]
    ensemble = voting(("pretrained", FrozenEstimator(convnet)), ("mlp", mlp(**EAGER))).fit(IMAGES, LABELS)
    each = [convnet.model_.predict(IMAGES, verbose=0), ensemble.estimators_[1].model_.predict(IMAGES, verbose=0)]
    np.testing.assert_allclose(ensemble.predict_proba(IMAGES), np.mean(each, axis=0), **FLOAT32)
    for value, expected in zip(convnet.model_.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)
    with pytest.raises(ValueError, match=r"X must have rows shaped as in fit: got rows of shape \(5, 4, 1\)"):
        ensemble.predict(IMAGES[:, :, :4])


def test_only_fitted_members():
    """Networks and other estimators that are fitted are combined without training, on no matter which rows."""
    network, logistic = mlp().fit(X, LABELS), LogisticRegression().fit(X, LABELS)
    members = [("network", FrozenEstimator(network)), ("logistic", FrozenEstimator(logistic))]
    ensemble = voting(*members).fit(X[:20], LABELS[:20])
    np.testing.assert_allclose(
        ensemble.predict_proba(X), (network.predict_proba(X) + logistic.predict_proba(X)) / 2, **FLOAT32
    )
    assert (ensemble.engine_, ensemble.engine_reason_) == ("none", "no network was trained")


def test_fitted_members_that_lack_a_class():
    """A fitted member gives no chance to a class that it does not know."""
    logistic = LogisticRegression().fit(X[Y != 1], LABELS[Y != 1])
    ensemble = voting(("logistic", FrozenEstimator(logistic)), ("mlp", mlp())).fit(X, LABELS)
    proba = ensemble.predict_members(X)[0]
    np.testing.assert_array_equal(proba[:, 1], 0)
    np.testing.assert_array_equal(proba[:, [0, 2]], logistic.predict_proba(X).astype(proba.dtype))


# Learned weights


def test_greedy_weights_hold_out_rows():
    """No member sees the held-out rows, which are those that the weights are chosen on."""
    seen = []

    class Recording(LogisticRegression):
        def fit(self, X, y, sample_weight=None):
            seen.append(X)
            return super().fit(X, y, sample_weight)

    network = mlp(validation_split=0.0)
    ensemble = voting(("mlp", network), ("logistic", Recording()), weights="greedy", validation_fraction=0.25)
    ensemble.fit(X, LABELS)
    (rows,) = seen
    assert rows.shape == (45, 4)
    kept = (X[:, np.newaxis] == rows).all(axis=-1).any(axis=1)
    held_out = ~kept
    np.testing.assert_array_equal(np.unique(LABELS[held_out], return_counts=True)[1], [5, 5, 5])
    each = ensemble.predict_members(X[held_out])
    exact = each / each.sum(axis=-1, keepdims=True, dtype=float)  # log_loss wants sums of 1 in float64
    combined = log_loss(LABELS[held_out], np.tensordot(ensemble.weights_, exact, axes=1))
    assert combined <= min(log_loss(LABELS[held_out], proba) for proba in [*exact, exact.mean(axis=0)]) + 1e-6
    assert ensemble.weights_.sum() == pytest.approx(1)
    # The network too: it is what training on the other rows alone gives.
    alone = voting(("mlp", network), ("logistic", LogisticRegression()), random_state=0).fit(X[kept], LABELS[kept])
    np.testing.assert_allclose(each[0], alone.predict_members(X[held_out])[0], **TRAINED_FLOAT32)


def test_greedy_weights_of_fitted_members_use_all_rows():
    """Where nothing is trained, no row is lost: weights are chosen on all of them."""
    good = LogisticRegression().fit(X, LABELS)
    bad = LogisticRegression().fit(X, LABELS[::-1])
    members = [("bad", FrozenEstimator(bad)), ("good", FrozenEstimator(good))]
    ensemble = voting(*members, weights="greedy").fit(X, LABELS)
    p_bad, p_good = (member.predict_proba(X)[np.arange(60), Y] for member in (bad, good))
    losses = [-np.log(w * p_good + (1 - w) * p_bad).mean() for w in np.linspace(0, 1, 51)]
    best = np.linspace(0, 1, 51)[np.argmin(losses)]
    assert best > 0.5
    assert ensemble.weights_[1] == pytest.approx(best, abs=0.021)


def test_greedy_weights_of_regressors():
    """The squared error on the held-out rows decides; a network that learned nothing gets no weight."""
    untrained = mlp_regressor(optimizer__learning_rate=0.0)
    ensemble = KerasVotingRegressor(
        [("linear", LinearRegression()), ("mlp", untrained)], weights="greedy", random_state=0
    )
    ensemble.fit(X_REGRESSION, Y_REGRESSION, sample_weight=np.linspace(0.5, 2, 60))
    np.testing.assert_array_equal(ensemble.weights_, [1, 0])
    assert mean_squared_error(Y_REGRESSION, ensemble.predict(X_REGRESSION)) < 0.01


def test_greedy_weights_for_several_labels_and_votes():
    """Weights are chosen for several labels, and for votes of members without probabilities, as well."""
    indicators = np.column_stack([Y == 0, Y != 1]).astype(int)
    untrained = mlp(optimizer__learning_rate=0.0)
    forest = RandomForestClassifier(20, random_state=0)
    ensemble = voting(("mlp", untrained), ("forest", forest), weights="greedy").fit(X, indicators)
    assert ensemble.weights_[1] > 0.5
    votes = voting(("mlp", untrained), ("ridge", RidgeClassifier()), weights="greedy", voting="hard").fit(X, LABELS)
    assert votes.weights_.sum() == pytest.approx(1)
    assert set(votes.predict(X)) <= {"a", "b", "c"}


def test_members_of_weight_zero_are_not_evaluated():
    """Prediction costs nothing for members that do not count; asked for, they are still there."""

    class Once(LogisticRegression):
        def predict_proba(self, X):
            raise RuntimeError("evaluated")

    ensemble = voting(("mlp", mlp()), ("idle", Once()), weights=[1, 0]).fit(X, LABELS)
    np.testing.assert_allclose(ensemble.predict_proba(X), ensemble.estimators_[0].predict_proba(X), **FLOAT32)
    ensemble.predict(X)
    ensemble.predict_uncertainty(X)
    with pytest.raises(RuntimeError, match="evaluated"):
        ensemble.predict_members(X)


# Training together


def test_members_of_one_architecture_are_trained_together():
    """Equal members are fused although each is an object of its own, and each has a seed of its own."""
    member = {"hidden_layer_sizes": (3,), "epochs": 2, "batch_size": 20, "shuffle": False}
    members = [("one", KerasClassifier(**member)), ("wide", KerasClassifier(**{**member, "hidden_layer_sizes": (5,)}))]
    members += [("logistic", LogisticRegression()), ("two", KerasClassifier(**member, random_state=7))]
    ensemble = voting(*members, engine="fused").fit(X, LABELS)
    assert ensemble.engine_ == "fused"
    entries = ensemble.estimators_._entries
    assert entries[0].stack is entries[3].stack
    assert entries[0].stack is not entries[1].stack
    each = ensemble.predict_members(X)
    assert not np.allclose(each[0], each[3], **TRAINED_FLOAT32)

    by_keras = {f"{name}__run_eagerly": True for name in ("one", "wide", "two")}
    reference = clone(ensemble).set_params(engine="keras", **by_keras).fit(X, LABELS)
    np.testing.assert_allclose(each, reference.predict_members(X), **TRAINED_FLOAT32)


def test_estimators_of_one_architecture_share_a_program(monkeypatch):
    """Networks that differ in learning rate, class weights or builder go through one program, other epochs do not."""
    n_members = []
    get_program = _group_run.get_program
    monkeypatch.setattr(
        _group_run, "get_program", lambda model, n, *rest: n_members.append(n) or get_program(model, n, *rest)
    )
    member = {"hidden_layer_sizes": (3,), "epochs": 2, "batch_size": 20, "shuffle": False}

    def build(meta):
        return build_mlp(meta, (3,))

    members = [
        ("slow", KerasClassifier(**member, optimizer__learning_rate=0.001)),
        ("fast", KerasClassifier(**member, optimizer__learning_rate=0.1)),
        ("weighted", KerasClassifier(**member, class_weight=dict.fromkeys(LABELS, 1.0) | {LABELS[0]: 5.0})),
        ("built", KerasClassifier(build, epochs=2, batch_size=20, shuffle=False)),
        ("longer", KerasClassifier(**{**member, "epochs": 3})),
    ]
    fused = voting(*members, engine="fused").fit(X, LABELS)
    assert n_members == [4, 1]

    reference = voting(*members, engine="keras")
    reference.set_params(**{f"{name}__run_eagerly": True for name, _ in members}).fit(X, LABELS)
    np.testing.assert_allclose(fused.predict_members(X), reference.predict_members(X), **TRAINED_FLOAT32)
    for ours, theirs in zip(fused.estimators_, reference.estimators_, strict=True):
        np.testing.assert_allclose(ours.history_["loss"], theirs.history_["loss"], rtol=1e-4)
    rates = [float(fitted.model_.optimizer.learning_rate) for fitted in fused.estimators_[:2]]
    np.testing.assert_allclose(rates, [0.001, 0.1])


def test_members_with_arrays_among_their_parameters():
    """Members whose parameters hold arrays are compared without an error."""
    data = [(X[:10].copy(), Y[:10].copy()) for _ in range(2)]
    members = [(f"m{i}", mlp(fit__validation_data=held_out)) for i, held_out in enumerate(data)]
    ensemble = voting(*members).fit(X, Y)
    assert all("val_loss" in member.history_ for member in ensemble.estimators_)


def test_engine_says_why():
    """A member that cannot be fused is trained by Keras, and both engines are named."""
    fused = KerasClassifier(hidden_layer_sizes=(3,), epochs=1)
    ensemble = voting(("fused", fused), ("eager", mlp(**EAGER))).fit(X, LABELS)
    assert ensemble.engine_ == "fused and keras"
    assert "Keras' own fit, because" in ensemble.engine_reason_
    with pytest.raises(ValueError, match="engine='fused' is not possible"):
        ensemble.set_params(engine="fused").fit(X, LABELS)


# Seeds


def test_seeds():
    """A seed repeats the ensemble; equal members differ; a member's own seed stands, as in scikit-learn."""
    members = [("one", mlp()), ("two", mlp()), ("forest", RandomForestClassifier(3))]
    first = voting(*members).fit(X, LABELS).predict_members(X)
    np.testing.assert_array_equal(voting(*members).fit(X, LABELS).predict_members(X), first)
    assert not np.allclose(first[0], first[1], **TRAINED_FLOAT32)
    other = voting(*members, random_state=1).fit(X, LABELS).predict_members(X)
    for k in range(3):
        assert not np.allclose(first[k], other[k], **TRAINED_FLOAT32)

    own = [(name, clone(member).set_params(random_state=4)) for name, member in members]
    with pytest.warns(UserWarning, match="are equal"):
        one, other = (voting(*own, random_state=seed).fit(X, LABELS).predict_members(X) for seed in (0, 1))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(one[0], one[1])
    np.testing.assert_allclose(one[0], mlp(random_state=4).fit(X, LABELS).predict_proba(X), **TRAINED_FLOAT32)


# Files


# Bad input

UNTRAINED = KerasClassifier(must_not_build)
FITTED_ELSEWHERE = FrozenEstimator(LogisticRegression().fit(X[:, :3], LABELS))


@pytest.mark.parametrize(
    ("members", "params", "error", "message"),
    [
        ([], {}, ValueError, "`estimators` must not be empty"),
        ((("mlp", UNTRAINED),), {}, ValueError, "'estimators' parameter"),
        (UNTRAINED, {}, ValueError, "'estimators' parameter"),
        ([UNTRAINED], {}, TypeError, "must be a list of (name, estimator): got the entry KerasClassifier"),
        ([("mlp", UNTRAINED, 1)], {}, TypeError, "must be a list of (name, estimator): got the entry ('mlp'"),
        ([(1, UNTRAINED)], {}, TypeError, "must be a list of (name, estimator): got the entry (1"),
        ([("mlp", UNTRAINED), ("mlp", UNTRAINED)], {}, ValueError, "Names provided are not unique: ['mlp', 'mlp']"),
        ([("m__p", UNTRAINED)], {}, ValueError, "must not contain __: got ['m__p']"),
        ([("weights", UNTRAINED)], {}, ValueError, "conflict with constructor arguments: ['weights']"),
        ([("mlp", UNTRAINED)], {"weights": [1, 2]}, ValueError, "got 2 weights for 1 members"),
        ([("mlp", UNTRAINED)], {"weights": "learned"}, ValueError, "'weights' parameter"),
        ([("mlp", UNTRAINED)], {"weights": [-1]}, ValueError, "finite and not negative"),
        ([("mlp", UNTRAINED)], {"voting": "median"}, ValueError, "'voting' parameter"),
        ([("mlp", UNTRAINED)], {"validation_fraction": 1.0}, ValueError, "'validation_fraction' parameter"),
        ([("mlp", UNTRAINED)], {"engine": "torch"}, ValueError, "'engine' parameter"),
        (
            [("mlp", UNTRAINED), ("other", KerasRegressor(must_not_build))],
            {},
            TypeError,
            "`other` must be a classifier, as the ensemble is: got KerasRegressor",
        ),
        ([("mlp", UNTRAINED), ("ridge", Ridge())], {}, TypeError, "`ridge` must be a classifier"),
        ([("mlp", UNTRAINED), ("text", "ridge")], {}, TypeError, "`text` must be a classifier"),
        ([("mlp", UNTRAINED), ("class", LogisticRegression)], {}, TypeError, "`class` must be a classifier"),
        ([("mlp", UNTRAINED), ("drop", None)], {}, TypeError, "`drop` must be a classifier"),
        ([("mlp", UNTRAINED), ("frozen", FrozenEstimator(KerasClassifier()))], {}, NotFittedError, "not fitted yet"),
        ([("mlp", UNTRAINED), ("frozen", FrozenEstimator(Ridge()))], {}, TypeError, "`frozen` must be a classifier"),
        (
            [("mlp", UNTRAINED), ("frozen", FITTED_ELSEWHERE)],
            {},
            ValueError,
            "member 1 was fitted on rows of shape (3,), X has rows of shape (4,)",
        ),
        (
            [("mlp", UNTRAINED), ("ridge", RidgeClassifier())],
            {},
            ValueError,
            "With `voting='soft'`, members need predict_proba: 'ridge' is RidgeClassifier",
        ),
        (
            [("mlp", UNTRAINED), ("ridge", FrozenEstimator(RidgeClassifier().fit(X, LABELS)))],
            {},
            ValueError,
            "With `voting='soft'`, members need predict_proba: 'ridge' is RidgeClassifier",
        ),
    ],
)
def test_bad_members(members, params, error, message):
    """What cannot be the members of a voting ensemble is refused before anything is trained."""
    ensemble = KerasVotingClassifier(members, **params)
    with pytest.raises(error) as caught:
        ensemble.fit(X, LABELS)
    assert message in str(caught.value)
    with pytest.raises(NotFittedError):
        ensemble.predict(X)


def test_members_whose_classes_differ():
    """A fitted member must not know classes that y lacks."""
    frozen = FrozenEstimator(LogisticRegression().fit(X, np.array(["a", "b", "d"])[Y]))
    with pytest.raises(ValueError, match="must not know classes that y lacks: member 1 has classes"):
        voting(("mlp", UNTRAINED), ("frozen", frozen)).fit(X, LABELS)


@pytest.mark.parametrize("network", [True, False])
def test_fitted_members_that_predict_other_labels(network):
    """Fitted members that know another number of labels are refused before anything is trained."""
    indicators = np.column_stack([Y == 0, Y != 1, X[:, 0] > 0]).astype(int)
    member = (mlp() if network else RandomForestClassifier(3)).fit(X, indicators[:, :2])
    with pytest.raises(ValueError, match="member 1 predicts 2, y has 3"):
        voting(("mlp", UNTRAINED), ("frozen", FrozenEstimator(member))).fit(X, indicators)


def test_regressors_refuse_classifiers():
    """A classifier is no member of a voting regressor."""
    members = [("mlp", KerasRegressor(must_not_build)), ("logistic", LogisticRegression())]
    with pytest.raises(TypeError, match="`logistic` must be a regressor, as the ensemble is: got LogisticRegression"):
        KerasVotingRegressor(members).fit(X_REGRESSION, Y_REGRESSION)


def test_weights_of_rows_that_a_member_cannot_take():
    """`sample_weight` needs members that take it."""
    ensemble = voting(("mlp", UNTRAINED), ("neighbours", KNeighborsClassifier()))
    with pytest.raises(ValueError, match="`sample_weight` needs members that take it: 'neighbours' is KNeighbors"):
        ensemble.fit(X, LABELS, sample_weight=np.ones(60))


def test_images_for_a_member_that_cannot_take_them():
    """Members that are no networks need X of two dimensions."""
    ensemble = voting(("mlp", UNTRAINED), ("forest", RandomForestClassifier()))
    with pytest.raises(ValueError, match="take X of two dimensions: 'forest' is RandomForestClassifier, X has 4"):
        ensemble.fit(IMAGES, LABELS)


def test_transform_is_that_of_scikit_learn():
    """Outputs and names of `transform` are those of scikit-learn's VotingClassifier with the same members."""
    members = [("log", LogisticRegression()), ("knn", KNeighborsClassifier())]
    for vote, flatten in [("soft", True), ("soft", False), ("hard", True)]:
        params = {"voting": vote, "flatten_transform": flatten}
        ours = KerasVotingClassifier(members, **params).fit(X, LABELS)
        theirs = VotingClassifier(members, **params).fit(X, LABELS)
        np.testing.assert_allclose(ours.transform(X), theirs.transform(X), **FLOAT32)
        if vote == "soft" and not flatten:
            for one in (ours, theirs):
                with pytest.raises(ValueError, match="get_feature_names_out is not supported"):
                    one.get_feature_names_out()
            continue
        names = [name.replace("votingclassifier", "kerasvotingclassifier") for name in theirs.get_feature_names_out()]
        assert ours.get_feature_names_out().tolist() == names


def test_transform_of_a_regressor_is_that_of_scikit_learn():
    """One column a member; with several targets one for each of them."""
    members = [("linear", LinearRegression()), ("ridge", Ridge())]
    ours = KerasVotingRegressor(members).fit(X_REGRESSION, Y_REGRESSION)
    theirs = VotingRegressor(members).fit(X_REGRESSION, Y_REGRESSION)
    np.testing.assert_allclose(ours.transform(X_REGRESSION), theirs.transform(X_REGRESSION), rtol=1e-3, atol=1e-4)
    assert ours.get_feature_names_out().tolist() == ["kerasvotingregressor_linear", "kerasvotingregressor_ridge"]
    assert ours.named_estimators == Bunch(linear=members[0][1], ridge=members[1][1])
    two = KerasVotingRegressor(members).fit(X_REGRESSION, np.stack([Y_REGRESSION, -Y_REGRESSION], axis=1))
    assert two.transform(X_REGRESSION).shape == (60, 4)
    assert two.get_feature_names_out()[1] == "kerasvotingregressor_linear1"


def test_transform_in_a_pipeline():
    """What the members predict can be the features of another estimator, as a table too."""
    ensemble = voting(("a", mlp()), ("b", LogisticRegression())).set_output(transform="pandas")
    table = ensemble.fit_transform(X, LABELS)
    assert list(table.columns) == ensemble.get_feature_names_out().tolist()
    np.testing.assert_allclose(table.to_numpy(), np.hstack(ensemble.predict_members(X)), **FLOAT32)
    labels = np.stack([Y == 0, Y > 0, Y < 2], axis=1).astype(int)
    several = voting(("a", mlp()), voting="hard").fit(X, labels)
    np.testing.assert_array_equal(several.transform(X), several.predict_members(X)[0] > 0.5)


# Equal members


def test_members_of_one_seed_warn():
    """Networks that came out the same are named once they are trained; those of other seeds are not."""
    members = [("one", mlp(random_state=1)), ("two", mlp(random_state=2)), ("again", mlp(random_state=1))]
    eager = [(name, clone(member).set_params(**EAGER)) for name, member in members]
    with pytest.warns(UserWarning, match=r"Members \['one', 'again'\] are equal") as caught:
        voting(*eager, engine="keras").fit(X, LABELS)
    assert [one.filename for one in caught if issubclass(one.category, UserWarning)] == [__file__]
    with pytest.warns(UserWarning, match=r"Members \['one', 'again'\] are equal"):
        StackedKerasClassifier(members, cv=2).fit(X, LABELS)


def test_members_from_one_file_warn():
    """The same network or other estimator, loaded twice, is no ensemble."""
    network, naive_bayes = mlp(random_state=1).fit(X, LABELS), GaussianNB().fit(X, LABELS)
    logistic = LogisticRegression().fit(X, LABELS)
    for fitted, others in ((network, mlp(random_state=2).fit(X, LABELS)), (naive_bayes, logistic)):
        twice = [FrozenEstimator(one) for one in (fitted, others, pickle.loads(pickle.dumps(fitted)))]
        with pytest.warns(UserWarning, match=r"Members \['a', 'c'\] are equal"):
            voting(*zip("abc", twice, strict=True)).fit(X, LABELS)
    twice = [FrozenEstimator(network), FrozenEstimator(network)]
    with pytest.warns(UserWarning, match=r"Members \[0, 1\] are equal"):
        KerasAveragingClassifier(twice, n_estimators=2).fit(X, LABELS)


def test_members_that_differ_in_one_variable_are_not_equal():
    """A shared first layer makes no equal members, nor do equal estimators that the user trains twice."""
    network = mlp(random_state=1).fit(X, LABELS)
    other = pickle.loads(pickle.dumps(network))
    other.model_.set_weights([*network.model_.get_weights()[:-1], np.ones(3)])
    voting(("one", FrozenEstimator(network)), ("other", FrozenEstimator(other))).fit(X, LABELS)
    voting(("one", LogisticRegression()), ("other", LogisticRegression())).fit(X, LABELS)
