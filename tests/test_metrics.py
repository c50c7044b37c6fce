"""Scores of predictive distributions, and the diversity of members."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import make_regression
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    PolyakWeightRegressor,
    StackedKerasRegressor,
)
from skensemble.metrics import diversity, neg_normal_nll

X, Y = make_regression(60, 3, noise=5, random_state=0)
Y = Y / Y.std()


def test_is_the_mean_log_density():
    """SciPy's normal distribution gives the same for means and deviations of a Bayesian regression."""
    regression = BayesianRidge().fit(X, Y)
    mean, std = regression.predict(X, return_std=True)
    assert neg_normal_nll(regression, X, Y) == pytest.approx(norm.logpdf(Y, mean, std).mean())
    weights = np.arange(60)
    expected = np.average(norm.logpdf(Y, mean, std), weights=weights)
    assert neg_normal_nll(regression, X, Y, sample_weight=weights) == pytest.approx(expected)


def test_scores_searches_over_pipelines():
    """A search by density takes a pipeline that ends in an ensemble."""
    member = KerasRegressor(hidden_layer_sizes=(4,), epochs=2, distribution="normal")
    pipeline = make_pipeline(StandardScaler(), KerasAveragingRegressor(member, 2, random_state=0))
    grid = {"kerasaveragingregressor__estimator__epochs": [1, 3]}
    search = GridSearchCV(pipeline, grid, scoring=neg_normal_nll, cv=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# They run eagerly: tracing a graph takes longer than so few steps.
QUICK = {"hidden_layer_sizes": (4,), "epochs": 4, "batch_size": -1, "run_eagerly": True}


def test_losses_of_classifiers_are_those_of_scikit_learn():
    """Weighted log-loss of the members, and log-loss of their mean."""
    labels = np.where(Y > 0, "high", "low")
    members = [("a", KerasClassifier(**QUICK)), ("b", KerasClassifier(**QUICK))]
    ensemble = KerasVotingClassifier(members, weights=[1, 3], random_state=0).fit(X, labels)
    found = diversity(ensemble, X, labels)
    losses = [log_loss(labels, proba) for proba in ensemble.predict_members(X)]
    assert found.member_loss == pytest.approx(0.25 * losses[0] + 0.75 * losses[1], rel=1e-5)
    assert found.ensemble_loss == pytest.approx(log_loss(labels, ensemble.predict_proba(X)), rel=1e-5)
    choices = [member.predict(X) for member in ensemble.estimators_]
    assert found.disagreement[0, 1] == np.mean(choices[0] != choices[1])


@pytest.mark.parametrize(
    "ensemble",
    [
        KerasAveragingRegressor(KerasRegressor(**QUICK), 3, combination="median", random_state=0),
        PolyakWeightRegressor(KerasRegressor(**QUICK), n_checkpoints=3, random_state=0),
    ],
)
def test_losses_of_regressors_are_those_of_scikit_learn(ensemble):
    """Squared errors of the members and of their mean, whatever the combination is."""
    each = ensemble.fit(X, Y).predict_members(X)
    found = diversity(ensemble, X, Y)
    assert found.member_loss == pytest.approx(np.mean([mean_squared_error(Y, one) for one in each]), rel=1e-5)
    assert found.ensemble_loss == pytest.approx(mean_squared_error(Y, each.mean(axis=0)), rel=1e-5)
    assert found.ambiguity == pytest.approx(each.var(axis=0).mean(), rel=1e-3)


def test_diversity_is_of_ensembles_that_take_a_mean():
    """A stacking ensemble takes none, other estimators have no members."""
    stacked = StackedKerasRegressor([("ridge", Ridge()), ("other", Ridge(5))], Ridge()).fit(X, Y)
    for other in (stacked, Ridge().fit(X, Y)):
        with pytest.raises(TypeError, match="`ensemble` must be an averaging, voting or snapshot ensemble"):
            diversity(other, X, Y)
