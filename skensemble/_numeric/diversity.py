"""How different members are, and what the ensemble gains by it; pure NumPy."""

from typing import NamedTuple

import numpy as np

from skensemble._numeric.combination import weighted_mean

# Used instead of a probability of 0 in a log-loss, as in greedy weights.
_SMALLEST = float(np.finfo(np.float32).eps)


class Diversity(NamedTuple):
    """How different the members of an ensemble are; `member_loss` = `ensemble_loss` + `ambiguity`.

    Attributes
    ----------
    disagreement : ndarray of shape (n_members, n_members)
        For classifiers, the share of rows, or of labels, for which two members predict something different; for
        regressors, the root mean square of the difference of two members.
    error_correlation : ndarray of shape (n_members, n_members)
        Correlation of the errors of two members over the rows; for classifiers, of being wrong. NaN where a member has
        the same error everywhere, such as no error.
    member_loss : float
        Loss of the members, weighted as they are in the ensemble: squared error, or log-loss in nats.
    ensemble_loss : float
        Loss of the weighted mean of their predictions.
    ambiguity : float
        What the ensemble gains over a member; not negative.
    """

    disagreement: np.ndarray
    error_correlation: np.ndarray
    member_loss: float
    ensemble_loss: float
    ambiguity: float


def diversity_of_values(predictions, y, weights):
    """Diversity of regressors; the ambiguity is the mean variance of the members' predictions [1]_.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_samples[, n_outputs])
    y : ndarray of shape (n_samples[, n_outputs])
    weights : ndarray of shape (n_members,)

    Returns
    -------
    Diversity

    References
    ----------
    .. [1] Krogh and Vedelsby, "Neural Network Ensembles, Cross Validation, and Active Learning", NIPS 1994, equation 5.
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    flat = predictions.reshape(len(predictions), -1)
    differences = np.sqrt(np.mean((flat[:, np.newaxis] - flat) ** 2, axis=-1))
    losses = np.mean((flat - np.ravel(y)) ** 2, axis=1)
    ensemble_loss = float(np.mean((weighted_mean(flat, weights) - np.ravel(y)) ** 2))
    return _diversity(differences, flat - np.ravel(y), losses, ensemble_loss, weights)


def diversity_of_classes(proba, choices, y, weights, *, multilabel):
    """Diversity of classifiers; the ambiguity is the mean of log p(y) of the mean less the mean of log p(y) of members.

    Parameters
    ----------
    proba : ndarray of shape (n_members, n_samples, n_classes)
    choices : ndarray of int of shape (n_members, n_samples) or (n_members, n_samples, n_labels)
        Number of the class that each member predicts, or 0 and 1 for each label.
    y : ndarray of int of shape (n_samples,) or (n_samples, n_labels)
    weights : ndarray of shape (n_members,)
    multilabel : bool

    Returns
    -------
    Diversity
    """
    proba = np.asarray(proba, dtype=np.float64)
    of_y = np.where(y == 1, proba, 1 - proba) if multilabel else proba[:, np.arange(len(y)), y]
    of_y = np.clip(of_y, _SMALLEST, 1).reshape(*proba.shape[:2], -1)  # of each label; one for classes
    losses = -np.log(of_y).sum(axis=-1).mean(axis=-1)
    ensemble_loss = float(-np.log(weighted_mean(of_y, weights)).sum(axis=-1).mean())
    flat = choices.reshape(len(choices), -1)
    differences = np.mean(flat[:, np.newaxis] != flat, axis=-1)
    return _diversity(differences, (flat != np.ravel(y)).astype(float), losses, ensemble_loss, weights)


def _diversity(disagreement, errors, losses, ensemble_loss, weights):
    centered = errors - errors.mean(axis=1, keepdims=True)
    covariance = centered @ centered.T
    deviations = np.sqrt(np.diag(covariance))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = covariance / np.outer(deviations, deviations)
    member_loss = float(weights @ losses)
    return Diversity(disagreement, correlation, member_loss, ensemble_loss, member_loss - ensemble_loss)
