"""Scores of predictive distributions, and the diversity of the members of an ensemble."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_consistent_length

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.predictions import KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._numeric.diversity import Diversity, diversity_of_classes, diversity_of_values
from skensemble._typing import MatrixLike

__all__ = ["diversity", "neg_normal_nll"]


def diversity(ensemble: BaseKerasEnsemble, X: MatrixLike, y: ArrayLike) -> Diversity:
    """How different the members of a fitted ensemble are, and what the ensemble gains by it.

    The loss of an average is the loss of its members less their ambiguity [1]_: the ensemble gains as much as the
    members differ. For regressors the loss is the squared error, and the ambiguity is the variance of the members
    around their mean, whatever y is. For classifiers the loss is the log-loss, and the ambiguity its analogue, the log
    of the mean probability of y less the mean of the logarithms.

    Parameters
    ----------
    ensemble : fitted averaging, voting or snapshot ensemble or Polyak average
        Its members are taken with their weights, and the mean of their predictions, whatever `combination`, `voting`
        and `calibration` are. Those of a Polyak average are its checkpoints.
    X : array-like of shape (n_samples, n_features, ...)
        As in `fit`; preferably rows that no member was trained on.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True labels or values.

    Returns
    -------
    Diversity
        Named tuple of `disagreement` and `error_correlation`, each an ndarray of shape (n_members, n_members), and of
        the numbers `member_loss`, `ensemble_loss` and `ambiguity`, their difference.

    Raises
    ------
    TypeError
        Where `ensemble` is another estimator. A stacking ensemble takes no mean of its members.

    References
    ----------
    .. [1] Krogh and Vedelsby, "Neural Network Ensembles, Cross Validation, and Active Learning", NIPS 1994.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier
    >>> from skensemble.metrics import diversity
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=3), n_estimators=2, random_state=0).fit(X, y)
    >>> diversity(ensemble, X, y).disagreement.shape
    (2, 2)
    """
    if not isinstance(ensemble, KerasEnsembleClassifierMixin | KerasEnsembleRegressorMixin):
        raise TypeError(
            "`ensemble` must be an averaging, voting or snapshot ensemble or a Polyak average of skensemble: got "
            f"{type(ensemble).__name__}. Pass the fitted ensemble itself, such as search.best_estimator_ or "
            "pipeline[-1]."
        )
    predictions = ensemble.predict_members(X)
    y = np.asarray(y)
    check_consistent_length(predictions[0], y)
    if not is_classifier(ensemble):
        return diversity_of_values(predictions, y.reshape(predictions.shape[1:]), ensemble.weights_)
    choices, labels = ensemble._choose_indices(predictions), ensemble._encode(y)
    return diversity_of_classes(predictions, choices, labels, ensemble.weights_, multilabel=ensemble._multilabel)


def neg_normal_nll(
    estimator: BaseEstimator, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None
) -> float:
    """Mean log-density of y, in nats, under normal distributions that a fitted regressor predicts; a scorer.

    For `scoring` of scikit-learn's searches and cross-validation. The larger the better: it rewards means that are
    right and standard deviations that are neither too small nor too large. The mixture of an ensemble is treated as the
    normal distribution with its mean and standard deviation [1]_.

    Parameters
    ----------
    estimator : fitted regressor
        An estimator whose `predict(X, return_std=True)` returns means and standard deviations: a `KerasRegressor` with
        a `distribution`, an ensemble of such, a pipeline that ends in one of them, or one of scikit-learn's such as
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
        Averaged over rows and targets; minus infinity where a standard deviation is 0 and the mean is not y.

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
