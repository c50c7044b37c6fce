import pickle
import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    SnapshotEnsembleRegressor,
    StackedKerasClassifier,
    io,
)
from skensemble._numeric.selection import greedy_weights

FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
QUICK = {"hidden_layer_sizes": (4,), "batch_size": 20, "optimizer__learning_rate": 0.05}

X, Y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4, random_state=0)
X = X.astype("float32")
X_REGRESSION, Y_REGRESSION = make_regression(n_samples=60, n_features=4, noise=1.0, random_state=0)
Y_REGRESSION = Y_REGRESSION / Y_REGRESSION.std()
OTHERS = [
    ("logistic", LogisticRegression()),
    ("bayes", GaussianNB()),
    ("tree", DecisionTreeClassifier(max_depth=2, random_state=0)),
]


def averaging(n_estimators=5, epochs=1, **params):
    """Fitted averaging classifier."""
    member = KerasClassifier(**QUICK, epochs=epochs)
    return KerasAveragingClassifier(member, n_estimators, random_state=0, **params).fit(X, Y)


def snapshots(**params):
    """Fitted snapshot ensemble of three cycles."""
    return SnapshotEnsembleClassifier(KerasClassifier(**QUICK, epochs=3), 3, random_state=0, **params).fit(X, Y)


@pytest.fixture(scope="module")
def fitted():
    """A fitted averaging classifier to copy."""
    return pickle.dumps(averaging())


@pytest.fixture
def ensemble(fitted):
    """One of its own for each test."""
    return pickle.loads(fitted)


def combined_by_scipy(rule, proba):
    """What NumPy and SciPy say."""
    values = {
        "median": lambda: np.median(proba, axis=0),
        "geometric_mean": lambda: scipy.stats.gmean(proba.astype(float), axis=0),
        "trimmed_mean": lambda: scipy.stats.trim_mean(proba, 0.2, axis=0),
    }[rule]()
    return values / values.sum(axis=-1, keepdims=True)


# Ways to combine


@pytest.mark.parametrize("rule", ["median", "geometric_mean", "trimmed_mean"])
def test_combination_is_used_everywhere(rule):
    """Predictions, stages and exported models agree with NumPy and SciPy, also after pickling."""
    ensemble = averaging(combination=rule)
    proba = ensemble.predict_members(X)
    expected = combined_by_scipy(rule, proba)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, **FLOAT32)
    np.testing.assert_array_equal(ensemble.predict(X), expected.argmax(axis=1))
    stages = list(ensemble.staged_predict_proba(X))
    np.testing.assert_allclose(stages[0], proba[0], **FLOAT32)
    np.testing.assert_allclose(stages[-1], expected, **FLOAT32)
    np.testing.assert_allclose(ensemble.to_keras()(X), expected, **FLOAT32)
    assert ensemble.combination_ == rule
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ensemble)).predict_proba(X), ensemble.predict_proba(X))


@pytest.mark.parametrize("rule", ["median", "geometric_mean"])
@pytest.mark.parametrize("weights", [[1, 2, 3, 4, 5], [1, 1, 0, 2, 0]])
def test_weighted_combination_is_exported(ensemble, rule, weights):
    """The exported model takes the weights as `predict_proba` does; members of weight 0 are not in it."""
    ensemble.reweight(weights, combination=rule)
    np.testing.assert_allclose(ensemble.to_keras()(X), ensemble.predict_proba(X), **FLOAT32)
    if rule == "geometric_mean":
        logs = np.log(ensemble.predict_members(X).astype(float))
        pooled = np.exp(np.average(logs, axis=0, weights=weights))
        np.testing.assert_allclose(ensemble.predict_proba(X), pooled / pooled.sum(axis=1, keepdims=True), **FLOAT32)


def test_combination_of_regressors():
    """Regressors have a median and a trimmed mean; the deviation is still that around the mean."""
    member = KerasRegressor(**QUICK, epochs=1)
    ensemble = KerasAveragingRegressor(member, 5, combination="median", random_state=0).fit(X_REGRESSION, Y_REGRESSION)
    values = ensemble.predict_members(X_REGRESSION)
    median, std = ensemble.predict(X_REGRESSION, return_std=True)
    np.testing.assert_allclose(median, np.median(values, axis=0), **FLOAT32)
    np.testing.assert_allclose(std, values.std(axis=0), rtol=1e-4)
    np.testing.assert_allclose(ensemble.to_keras()(X_REGRESSION)[:, 0], median, **FLOAT32)
    trimmed = ensemble.reweight(combination="trimmed_mean").predict(X_REGRESSION)
    np.testing.assert_allclose(trimmed, scipy.stats.trim_mean(values, 0.2, axis=0), **FLOAT32)
    with pytest.raises(ValueError, match="'combination' parameter"):
        ensemble.reweight(combination="geometric_mean")


def test_combination_in_voting_and_snapshots():
    """The parameter is the same in every class that combines predictions."""
    voting = KerasVotingClassifier(OTHERS, combination="median").fit(X, Y)
    np.testing.assert_allclose(
        voting.predict_proba(X), combined_by_scipy("median", voting.predict_members(X)), **FLOAT32
    )
    regressors = [("linear", LinearRegression()), ("ridge", Ridge(100.0)), ("stronger", Ridge(1000.0))]
    values = KerasVotingRegressor(regressors, combination="median").fit(X_REGRESSION, Y_REGRESSION)
    np.testing.assert_allclose(
        values.predict(X_REGRESSION), np.median(values.predict_members(X_REGRESSION), axis=0), **FLOAT32
    )
    snapshot = snapshots(combination="geometric_mean")
    expected = combined_by_scipy("geometric_mean", snapshot.predict_members(X))
    np.testing.assert_allclose(snapshot.predict_proba(X), expected, **FLOAT32)
    member = KerasRegressor(**QUICK, epochs=3)
    regressor = SnapshotEnsembleRegressor(member, 3, combination="median", random_state=0)
    regressor.fit(X_REGRESSION, Y_REGRESSION)
    np.testing.assert_allclose(
        regressor.predict(X_REGRESSION), np.median(regressor.predict_members(X_REGRESSION), axis=0), **FLOAT32
    )


def test_several_labels():
    """Each label has its own median; the geometric mean is that of its odds. Models agree."""
    labels = np.stack([Y == 0, Y > 0, Y < 2], axis=1).astype(int)
    ensemble = averaging(3).set_params(combination="median").fit(X, labels)
    proba = ensemble.predict_members(X).astype(float)
    np.testing.assert_allclose(ensemble.predict_proba(X), np.median(proba, axis=0), **FLOAT32)
    ensemble.reweight([1, 2, 3], combination="geometric_mean")
    odds = np.exp(np.average(np.log(proba / (1 - proba)), axis=0, weights=[1, 2, 3]))
    np.testing.assert_allclose(ensemble.predict_proba(X), odds / (1 + odds), **FLOAT32)
    np.testing.assert_allclose(ensemble.to_keras()(X), ensemble.predict_proba(X), **FLOAT32)
    ensemble.reweight("greedy", X=X, y=labels)
    with pytest.raises(ValueError, match=r"columns of fit: got rows of shape \(2,\)"):
        ensemble.reweight("greedy", X=X, y=labels[:, :2])


@pytest.mark.parametrize("rule", ["median", "geometric_mean", "trimmed_mean"])
def test_out_of_bag_predictions_are_combined_so(rule):
    """A row is predicted by the members that left it out, combined as the ensemble is."""
    ensemble = averaging(5, max_samples=0.3, oob_score=True, combination=rule, trim_fraction=0.34)
    proba = ensemble.predict_members(X)
    left_out = np.array([~np.isin(np.arange(60), rows) for rows in ensemble.estimators_samples_])
    row = int(np.flatnonzero(left_out.sum(axis=0) == 3)[0])
    values = proba[left_out[:, row], row]
    expected = {
        "median": np.median(values, axis=0),
        "geometric_mean": scipy.stats.gmean(values, axis=0),
        "trimmed_mean": np.median(values, axis=0),  # of three, one is cut at each end
    }[rule]
    np.testing.assert_allclose(ensemble.oob_decision_function_[row], expected / expected.sum(), **FLOAT32)


@pytest.mark.parametrize("rule", ["median", "geometric_mean"])
def test_greedy_weights_of_other_rules(rule):
    """Greedy weights are chosen for the rule that is used: there they beat each member and equal weights."""
    voting = KerasVotingClassifier(OTHERS, combination=rule).fit(X[:40], Y[:40])
    members = voting.predict_members(X[40:])
    each = [log_loss(Y[40:], proba / proba.sum(axis=1, keepdims=True)) for proba in members]
    equal = log_loss(Y[40:], voting.predict_proba(X[40:]))
    voting.reweight("greedy", X=X[40:], y=Y[40:])
    assert log_loss(Y[40:], voting.predict_proba(X[40:])) <= min(*each, equal) + 1e-6


def test_greedy_median_of_values():
    """Values 0, 1 and 10 for a target of 1: the second member alone is best, by mean and by median."""
    predictions = np.array([[0.0] * 4, [1.0] * 4, [10.0] * 4])
    from skensemble._numeric.combination import Combination

    weights = greedy_weights(predictions, np.ones(4), target="values", how=Combination("median"))
    np.testing.assert_array_equal(weights, [0, 1, 0])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"voting": "hard", "combination": "median"}, "a median cannot be taken of them"),
        ({"combination": "trimmed_mean", "weights": "greedy"}, "got weights=greedy"),
        ({"combination": "trimmed_mean", "weights": [1, 2, 3]}, "counts members equally"),
        ({"combination": "middle"}, "'combination' parameter"),
        ({"trim_fraction": 0.5}, "'trim_fraction' parameter"),
    ],
)
def test_bad_combinations_are_refused_before_the_training(params, message):
    """What has no meaning is refused, in every class."""
    member = KerasClassifier(lambda meta: 1 / 0)
    for ensemble in (
        KerasAveragingClassifier(member, 3),
        SnapshotEnsembleClassifier(member, 3),
        KerasVotingClassifier([("a", member), ("b", member), ("c", member)]),
    ):
        with pytest.raises(ValueError, match=message):
            ensemble.set_params(**params).fit(X, Y)


def test_trimming_nothing_warns():
    """Of three members a fifth is none: the trimmed mean is the mean, which was hardly meant."""
    with pytest.warns(UserWarning, match="of 3 members with trim_fraction=0.2 leaves none out") as caught:
        KerasVotingClassifier(OTHERS, combination="trimmed_mean").fit(X, Y)
    assert caught[0].filename == __file__


# Changes after fit


def test_reweight_changes_what_is_predicted(ensemble):
    """Weights, votes and the way to combine change without training; the parameters do not."""
    proba = ensemble.predict_members(X)
    assert ensemble.reweight([1, 2, 3, 4, 0]) is ensemble
    np.testing.assert_allclose(ensemble.predict_proba(X), np.average(proba, axis=0, weights=[1, 2, 3, 4, 0]), **FLOAT32)
    ensemble.reweight(voting="hard")
    assert not hasattr(ensemble, "predict_proba")
    votes = np.eye(3)[proba.argmax(axis=-1)]
    np.testing.assert_array_equal(
        ensemble.predict(X), np.average(votes, axis=0, weights=[1, 2, 3, 4, 0]).round(9).argmax(axis=1)
    )
    ensemble.reweight("uniform", voting="soft")
    np.testing.assert_allclose(ensemble.predict_proba(X), proba.mean(axis=0), **FLOAT32)
    assert (ensemble.voting, ensemble.weights, ensemble.combination) == ("soft", None, "mean")
    copied = clone(ensemble.reweight(voting="hard"))
    assert hasattr(copied, "predict_proba")  # as its parameters say


def test_parameters_that_are_set_after_fit_warn(ensemble):
    """Predictions use what fit learned; whoever sets a parameter is told, where it happens, until it is learned."""
    expected = ensemble.predict_proba(X)
    ensemble.set_params(weights=[1, 2, 3, 4, 5], voting="hard")
    with pytest.warns(
        UserWarning, match=r"`voting`, `weights` were set after fit.*reweight\(voting=..., weights"
    ) as caught:
        np.testing.assert_array_equal(ensemble.predict_proba(X), expected)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="`weights` was set after fit"):
        ensemble.reweight(voting="hard").predict(X)
    ensemble.reweight([1, 2, 3, 4, 5]).predict(X)
    with pytest.warns(UserWarning, match="`weights` was set after fit"):
        list(ensemble.set_params(weights=None).staged_predict(X))
    pickle.loads(pickle.dumps(averaging(2, weights=np.array([1, 2])))).predict(X)  # an equal array is no change


def test_greedy_weights_on_rows_that_are_given(ensemble):
    """`reweight("greedy")` selects on the rows it is given, as the function does."""
    ensemble.reweight("greedy", X=X[:30], y=Y[:30])
    np.testing.assert_array_equal(ensemble.weights_, greedy_weights(ensemble.predict_members(X[:30]), Y[:30]))
    with pytest.raises(ValueError, match=r"labels of fit: got \[7\]"):
        ensemble.reweight("greedy", X=X[:3], y=[0, 7, 1])


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"weights": [1, 2]}, ValueError, "got 2 weights for 5 members"),
        ({"weights": "best"}, ValueError, "must be 'uniform', 'greedy', or an array"),
        ({"weights": "greedy"}, ValueError, "needs rows to select members on"),
        ({"weights": "uniform", "X": X, "y": Y}, ValueError, "are for weights='greedy'"),
        ({"sample_weight": np.ones(60)}, ValueError, "are for weights='greedy'"),
        ({"voting": "loud"}, ValueError, "'voting' parameter"),
        ({"n_last": 2}, TypeError, "`n_last` is not a parameter of KerasAveragingClassifier"),
        ({"voting": "hard", "combination": "median"}, ValueError, "a median cannot be taken of them"),
        ({"weights": [1, 2, 3, 4, 5], "combination": "trimmed_mean"}, ValueError, "counts members equally"),
    ],
)
def test_bad_reweights_change_nothing(ensemble, params, error, message):
    """What cannot be is refused, and the ensemble predicts as before."""
    before = ensemble.predict_proba(X)
    with pytest.raises(error, match=message):
        ensemble.reweight(**params)
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


def test_probabilities_that_members_do_not_have():
    """Votes cannot become probabilities where a member has none."""
    voting = KerasVotingClassifier([("ridge", RidgeClassifier()), *OTHERS], voting="hard").fit(X, Y)
    with pytest.raises(ValueError, match="member 0 is RidgeClassifier"):
        voting.reweight(voting="soft")
    voting.subset([1, 2, 3]).reweight(voting="soft").predict_proba(X)


def test_ensembles_that_are_not_fitted():
    """There is nothing to combine before fit; stacking has learned how, and has neither method."""
    for method, argument in (("reweight", "uniform"), ("subset", [0])):
        with pytest.raises(NotFittedError):
            getattr(KerasAveragingClassifier(), method)(argument)
        assert not hasattr(StackedKerasClassifier([]), method)


# Subsets


def test_subsets_of_members(ensemble):
    """Pairs of members, by position, as a mask or in another order, without training."""
    proba = ensemble.predict_members(X)
    pair = ensemble.subset([3, -5])
    np.testing.assert_allclose(pair.predict_proba(X), (proba[0] + proba[3]) / 2, **FLOAT32)
    # Not bit for bit: two members are multiplied in other blocks than five, which rounds otherwise on some processors.
    np.testing.assert_allclose(pair.predict_members(X), proba[[3, 0]], **FLOAT32)
    assert len(ensemble) == 5
    ensemble.reweight([0, 1, 3, 0, 0])
    np.testing.assert_array_equal(ensemble.subset(ensemble.weights_ > 0).weights_, [0.25, 0.75])
    np.testing.assert_array_equal(ensemble.subset([0, 3]).weights_, [0.5, 0.5])
    assert pair.get_params()["n_estimators"] == 5
    pair.set_params(estimator__epochs=7)
    assert ensemble.estimator.epochs == 1
    with pytest.raises(ValueError, match="is a `subset` of another"):
        pair.set_params(warm_start=True).fit(X, Y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pair)).predict_members(X), pair.predict_members(X))


def test_subset_of_bagged_members():
    """Rows stay with their members; a score on rows that others left out does not."""
    ensemble = averaging(4, max_samples=0.2, oob_score=True)
    pair = ensemble.subset([0, 2])
    np.testing.assert_array_equal(pair.estimators_samples_, [ensemble.estimators_samples_[i] for i in (0, 2)])
    assert not hasattr(pair, "oob_score_")


def test_subsets_by_name(tmp_path):
    """Members with names are chosen by them, and keep them, in files too."""
    voting = KerasVotingClassifier([*OTHERS[:2], ("mlp", KerasClassifier(**QUICK, epochs=1))], random_state=0).fit(X, Y)
    pair = voting.subset(["mlp", "bayes"])
    assert list(pair.named_estimators_) == ["mlp", "bayes"]
    members = voting.predict_members(X)
    np.testing.assert_allclose(pair.predict_proba(X), (members[2] + members[1]) / 2, **FLOAT32)
    assert pair.get_feature_names_out()[0] == "kerasvotingclassifier_mlp0"
    pair.reweight([1, 3], combination="median")
    io.dump(pair, tmp_path / "pair.skens")
    np.testing.assert_array_equal(io.load(tmp_path / "pair.skens").predict_proba(X), pair.predict_proba(X))
    with pytest.raises(ValueError, match=r"or names of \['logistic', 'bayes', 'mlp'\]: got \['forest'\]"):
        voting.subset(["forest"])


@pytest.mark.parametrize("members", [[], [5], [-6], [0, 0], [0, -5], 3, [0.5], [True], ["a"], [[0, 1]]])
def test_bad_subsets(ensemble, members):
    """Members must be there, and be named once."""
    with pytest.raises(ValueError, match="`members` must"):
        ensemble.subset(members)


# Runs


def test_newest_snapshots():
    """`n_last` can be changed after fit, up to what was kept; weights begin with the newest snapshot."""
    ensemble = snapshots()
    proba = ensemble.predict_members(X)
    np.testing.assert_array_equal(ensemble.reweight(n_last=2).weights_, [0.5, 0.5, 0])
    np.testing.assert_allclose(ensemble.predict_proba(X), proba[:2].mean(axis=0), **FLOAT32)
    assert len(ensemble.to_keras().outputs) == 1
    np.testing.assert_allclose(ensemble.reweight([3, 1]).predict_proba(X), (3 * proba[0] + proba[1]) / 4, **FLOAT32)
    with pytest.raises(ValueError, match="`weights` must be given where more snapshots count"):
        ensemble.reweight(n_last=3)
    np.testing.assert_allclose(ensemble.reweight("uniform", n_last=3).weights_, np.full(3, 1 / 3))
    np.testing.assert_allclose(ensemble.reweight(n_last=1).predict_proba(X), proba[0], **FLOAT32)
    with pytest.raises(ValueError, match="got 4, 3 were kept"):
        ensemble.reweight(n_last=4)
    ensemble.reweight("greedy", n_last=2, X=X, y=Y)
    assert ensemble.weights_[2] == 0
    with pytest.warns(UserWarning, match="`n_last` was set after fit"):
        ensemble.set_params(n_last=1).predict(X)


def test_subset_of_snapshots():
    """Snapshots stay in their order, the newest first."""
    ensemble = snapshots()
    pair = ensemble.subset([2, 0])
    assert [len(member.history_["loss"]) for member in pair.estimators_] == [3, 1]
    assert pair.n_last_ == 2
    np.testing.assert_array_equal(pair.reweight(n_last=1).weights_, [1, 0])


def test_subset_of_checkpoints():
    """The average of some checkpoints is that of their variables."""
    member = KerasClassifier(**QUICK, epochs=4)
    polyak = PolyakWeightClassifier(member, n_checkpoints=3, weights="linear", random_state=0).fit(X, Y)
    pair = polyak.subset([2, 0])
    newest, _, oldest = (checkpoint.model_.get_weights() for checkpoint in polyak.checkpoints_)
    for value, first, last in zip(pair.estimator_.model_.get_weights(), newest, oldest, strict=True):
        np.testing.assert_allclose(value, (2 * first + last) / 3, rtol=1e-5, atol=1e-7)
    assert len(polyak.checkpoints_) == 3
    given = polyak.reweight([5, 2, 1]).subset([0, 2])
    np.testing.assert_allclose(given.weights_, [5 / 6, 1 / 6])
    with pytest.warns(UserWarning, match="`decay` was set after fit"):
        polyak.set_params(decay=5.0).predict(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        polyak.reweight(decay=5.0).predict(X)
    with pytest.raises(ValueError, match="`members` must"):
        polyak.subset([3])
