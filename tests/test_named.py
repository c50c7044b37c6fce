"""Members with names: entries that are dropped."""

import re

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.ensemble import VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB

from skensemble import (
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    MembersDisplay,
    StackedKerasClassifier,
    StackedKerasRegressor,
    io,
)

# Rounding of one float32 forward pass against another that sums in another order.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
# Members run eagerly: tracing a graph takes longer than so few steps.
QUICK = {"epochs": 2, "batch_size": -1, "run_eagerly": True}


def _make_data():
    X, y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4, random_state=0)
    X_regression, y_regression = make_regression(n_samples=60, n_features=4, noise=1.0, random_state=0)
    return X.astype("float32"), y, X_regression.astype("float32"), y_regression / y_regression.std()


X, Y, X_REGRESSION, Y_REGRESSION = _make_data()


def mlp(units=3, **params):
    """A small classifier."""
    return KerasClassifier(hidden_layer_sizes=(units,), **{**QUICK, **params})


def mlp_regressor(units=3, **params):
    """A small regressor."""
    return KerasRegressor(hidden_layer_sizes=(units,), **{**QUICK, **params})


# Entries that are dropped

CLASSIFIERS = [("first", mlp()), ("bayes", GaussianNB()), ("second", LogisticRegression()), ("mlp", mlp())]
REGRESSORS = [("first", Ridge()), ("linear", LinearRegression()), ("second", mlp_regressor()), ("mlp", mlp_regressor())]
ENSEMBLES = [
    (KerasVotingClassifier(CLASSIFIERS, random_state=0), X, Y),
    (KerasVotingRegressor(REGRESSORS, random_state=0), X_REGRESSION, Y_REGRESSION),
    (StackedKerasClassifier(CLASSIFIERS, cv=2, random_state=0), X, Y),
    (StackedKerasRegressor(REGRESSORS, cv=2, random_state=0), X_REGRESSION, Y_REGRESSION),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ensemble", "X", "y"), ENSEMBLES, ids=["voting", "voting-regressor", "stacked", "stacked-regressor"]
)
def test_a_dropped_member_is_as_if_it_were_not_there(ensemble, X, y):
    """Predictions equal those of an ensemble of the others alone, after `io` too; its name stays."""
    without = clone(ensemble).set_params(estimators=ensemble.estimators[1:2] + ensemble.estimators[3:]).fit(X, y)
    names = [name for name, _ in ensemble.estimators]
    dropped = clone(ensemble).set_params(**{names[0]: "drop", names[2]: "drop"}).fit(X, y)
    np.testing.assert_array_equal(dropped.predict(X), without.predict(X))
    np.testing.assert_array_equal(dropped.predict_members(X), without.predict_members(X))
    assert [len(dropped.estimators_), list(dropped.named_estimators_)] == [2, names]
    assert [dropped.named_estimators_[name] for name in (names[0], names[2])] == ["drop", "drop"]
    assert dropped.named_estimators_["mlp"] is dropped.estimators_[1]
    assert dropped.get_params()[names[0]] == "drop"
    assert names[0] in dropped._repr_html_()
    loaded = io.loads(io.dumps(dropped))
    np.testing.assert_array_equal(loaded.predict(X), dropped.predict(X))
    assert loaded.named_estimators_[names[0]] == "drop"


@pytest.mark.parametrize("vote", ["soft", "hard"])
def test_weights_keep_an_entry_for_a_dropped_member(vote):
    """As in scikit-learn's VotingClassifier, of the same fitted members."""
    members = [(f"member{i}", FrozenEstimator(GaussianNB().fit(X[i::3], Y[i::3]))) for i in range(3)]
    members[1] = ("gone", "drop")
    expected = VotingClassifier(members, voting=vote, weights=[1, 7, 3]).fit(X, Y)
    ensemble = KerasVotingClassifier(members, voting=vote, weights=[1, 7, 3]).fit(X, Y)
    np.testing.assert_array_equal(ensemble.weights_, [0.25, 0.75])
    np.testing.assert_array_equal(ensemble.predict(X), expected.predict(X))
    if vote == "soft":
        np.testing.assert_allclose(ensemble.predict_proba(X), expected.predict_proba(X), **FLOAT32)


@pytest.mark.slow
def test_greedy_weights_and_export_of_what_is_left():
    """Weights are selected among the others, and the exported model and the plot have these alone."""
    ensemble = KerasVotingClassifier(
        [("gone", "drop"), ("narrow", mlp()), ("wide", mlp(6))], weights="greedy", random_state=0
    )
    ensemble.fit(X, Y)
    assert ensemble.weights_.shape == (2,)
    np.testing.assert_allclose(ensemble.to_keras().predict(X, verbose=0), ensemble.predict_proba(X), **FLOAT32)
    assert len(MembersDisplay.from_estimator(ensemble, X, Y).member_scores) == 2


def test_search_over_members():
    """A grid may leave members out and put them in again."""
    ensemble = KerasVotingClassifier([("bayes", GaussianNB()), ("logistic", LogisticRegression())], random_state=0)
    grid = [{"bayes": ["drop"]}, {"logistic": ["drop"]}, {"logistic": [GaussianNB()], "bayes": ["drop"]}]
    scores = GridSearchCV(ensemble, grid, cv=2).fit(X, Y).cv_results_["mean_test_score"]
    alone = [cross_val_score(one, X, Y, cv=2).mean() for one in (LogisticRegression(), GaussianNB(), GaussianNB())]
    np.testing.assert_array_equal(scores, alone)


def test_members_of_prefit_stacking_may_be_dropped():
    """With `cv="prefit"` too."""
    members = [("gone", "drop"), ("bayes", GaussianNB().fit(X, Y))]
    stacked = StackedKerasClassifier(members, cv="prefit").fit(X, Y)
    np.testing.assert_array_equal(stacked.transform(X), members[1][1].predict_proba(X))
    assert stacked.get_feature_names_out()[0] == "stackedkerasclassifier_bayes0"


@pytest.mark.parametrize(
    ("members", "params", "message"),
    [
        ([("a", "drop"), ("b", "drop")], {}, "must have a member that is not 'drop': got 'drop' for all of ['a', 'b']"),
        ([("a", "dropped")], {}, "`a` must be a classifier, as the ensemble is: got str"),
        ([("a", None)], {}, "`a` must be a classifier, as the ensemble is: got NoneType"),
        (
            [("a", "drop"), ("b", GaussianNB())],
            {"weights": [1]},
            "including dropped ones: got weights of shape (1,) for 2 entries",
        ),
        ([("a", "drop"), ("b", GaussianNB())], {"weights": [1, 0]}, "`weights` must not all be 0"),
    ],
)
def test_bad_entries(members, params, message):
    """What came, and the way out."""
    with pytest.raises(ValueError, match=re.escape(message)):
        KerasVotingClassifier(members, **params).fit(X, Y)


def test_entries_may_be_lists():
    """As scikit-learn takes them: what JSON or YAML gives has no tuples."""
    entries = [["bayes", GaussianNB()], ["gone", "drop"]]
    ensemble = KerasVotingClassifier(entries).fit(X, Y)
    np.testing.assert_array_equal(ensemble.predict(X), GaussianNB().fit(X, Y).predict(X))
    assert entries == [["bayes", entries[0][1]], ["gone", "drop"]]
    stacked = StackedKerasClassifier(entries, cv=2).fit(X, Y)
    assert stacked.set_params(gone=LogisticRegression()).fit(X, Y).transform(X).shape == (60, 6)
    assert clone(stacked).get_params()["bayes"].get_params() == GaussianNB().get_params()
