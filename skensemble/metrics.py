"""Scores of predictive distributions."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length

from skensemble._typing import MatrixLike

__all__ = ["neg_normal_nll"]


def neg_normal_nll(
    estimator: BaseEstimator, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean log-density of y, in nats, under normal distributions that a fitted regressor predicts; a scorer.

    For `scoring` of scikit-learn's searches and cross-validation. The larger the better: it rewards means that are
    right and deviations that are neither too small nor too large. The mixture of an ensemble counts as the normal
    distribution of its mean and deviation [1]_.

    Parameters
    ----------
    estimator : fitted regressor
        Whose `predict(X, return_std=True)` gives means and standard deviations: a `KerasRegressor` with a
        `distribution`, an ensemble of such, a pipeline that ends in one of them, or one of scikit-learn's such as
        `GaussianProcessRegressor`.
    X : array-like of shape (n_samples, n_features, ...)
        As in `fit`.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True values.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row.

    Returns
    -------
    float
        Averaged over rows and targets; minus infinity where a deviation is 0 and the mean is not y.

    References
    ----------
    .. [1] Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
       Ensembles", NeurIPS 2017, section 2.4.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import BayesianRidge
    >>> from skensemble.metrics import neg_normal_nll
    >>> X, y = load_diabetes(return_X_y=True)
    >>> round(neg_normal_nll(BayesianRidge().fit(X, y), X, y), 1)
    -5.4
    """
    mean, std = (np.asarray(part, dtype=np.float64) for part in estimator.predict(X, return_std=True))
    y = np.asarray(y, dtype=np.float64)
    check_consistent_length(mean, y, sample_weight)
    with np.errstate(divide="ignore", invalid="ignore"):
        densities = -np.log(std) - np.square((y.reshape(mean.shape) - mean) / std) / 2 - np.log(2 * np.pi) / 2
    return float(np.average(densities.reshape(len(y), -1).mean(axis=1), weights=sample_weight))
