"""Uncertainty of predictions, split into what the members share (aleatoric) and where they disagree (epistemic)."""

from typing import NamedTuple

import numpy as np

from skensemble._numeric.combination import weighted_mean, weighted_std


class Uncertainty(NamedTuple):
    """Predictive uncertainty of each sample; `total` is the sum of the two parts.

    In nats and of shape (n_samples,) for classifiers; variances, in the units of y squared and shaped like y, for
    regressors.

    Attributes
    ----------
    total : ndarray
        Entropy of the combined probabilities; variance of the mixture.
    aleatoric : ndarray
        Mean entropy, or variance, of the members: noise in the data, which more members do not remove.
    epistemic : ndarray
        Mutual information between label and member, or variance of the members' means: how much they disagree.
    """

    total: np.ndarray
    aleatoric: np.ndarray
    epistemic: np.ndarray


def split_entropy(proba, weights, multilabel=False):
    """Entropy of the combined prediction, split into what the members share and where they disagree.

    total = aleatoric + epistemic, that is H(mean of p) = mean of H(p) + mutual information [1]_. With several labels
    per sample, entropies of the labels are summed.

    Parameters
    ----------
    proba : ndarray of shape (n_members, n_samples, n_classes)
    weights : ndarray of shape (n_members,)
    multilabel : bool, default=False
        Whether each column is the probability of a separate label.

    Returns
    -------
    Uncertainty

    References
    ----------
    .. [1] Depeweg et al., "Decomposition of Uncertainty in Bayesian Deep Learning for Efficient and Risk-sensitive
       Learning", ICML 2018, equation 5.
    """
    entropy = _binary_entropy if multilabel else _entropy
    proba = np.clip(np.asarray(proba, dtype=np.float64), 0, 1)
    if not multilabel:
        # Outputs are float32: rows that sum to 1 + 1e-7 would give negative parts.
        proba = proba / proba.sum(axis=-1, keepdims=True)
    total = entropy(weighted_mean(proba, weights))
    aleatoric = np.minimum(weighted_mean(entropy(proba), weights), total)
    return Uncertainty(total, aleatoric, total - aleatoric)


def _entropy(proba):
    logs = np.log(proba, out=np.zeros_like(proba), where=proba > 0)
    # Adding 0 turns -0.0 into 0.0.
    return -(proba * logs).sum(axis=-1) + 0.0


def _binary_entropy(proba):
    return _entropy(np.stack([proba, 1 - proba], axis=-1)).sum(axis=-1)


def split_variance(means, scales, weights):
    """Variance of the mixture, split into the mean variance of the members and the variance of their means.

    Parameters
    ----------
    means : ndarray of shape (n_members, n_samples, ...)
    scales : ndarray of the same shape, or None
        Standard deviations. None where members have none: `total` and `aleatoric` are then NaN.
    weights : ndarray of shape (n_members,)
        Must sum to 1.

    Returns
    -------
    Uncertainty
    """
    epistemic = np.square(weighted_std(means, weights))
    if scales is None:
        aleatoric = np.full_like(epistemic, np.nan)
    else:
        aleatoric = weighted_mean(np.square(np.asarray(scales, dtype=np.float64)), weights)
    return Uncertainty(aleatoric + epistemic, aleatoric, epistemic)


def deviation(means, scales, weights):
    """Standard deviation of the mixture, or of the means alone where `scales` is None; see `split_variance`."""
    return weighted_std(means, weights) if scales is None else np.sqrt(split_variance(means, scales, weights).total)
