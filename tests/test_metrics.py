"""Scores of predictive distributions."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.datasets import make_regression
from sklearn.linear_model import BayesianRidge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import KerasAveragingRegressor, KerasRegressor
from skensemble.metrics import neg_normal_nll

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
