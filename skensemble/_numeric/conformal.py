"""Prediction intervals and sets with a guarantee, from members that left rows out; pure NumPy."""

import numpy as np

from skensemble._numeric.combination import combine
from skensemble._numeric.mixture import PredictionInterval

# The most numbers that are compared at once: 32 MiB of float64.
_AT_ONCE = 2**22
# Sums of probabilities that differ by rounding are equal.
_TOLERANCE = 1e-6


def predict_without_each(predictions, left_out, weights, how):
    """What the members that left out a training row predict for new rows, for each training row.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_new, ...)
    left_out : ndarray of bool of shape (n_members, n_samples)
        Rows that each member was not trained on; each of these rows was left out by some member.
    weights : ndarray of shape (n_members,)
    how : Combination

    Returns
    -------
    groups : ndarray of int of shape (n_samples,)
        Rows that were left out by the same members share a prediction; this says which one each row has.
    combined : ndarray of shape (n_groups, n_new, ...)
    """
    members, groups = np.unique(left_out.T, axis=0, return_inverse=True)
    combined = []
    for counted in members:
        shares = weights * counted
        # As in `combine_where`: members of weight 0 count only where there is no other.
        shares = shares / shares.sum() if shares.any() else counted / counted.sum()
        combined.append(combine(predictions[shares > 0], shares[shares > 0], how))
    return groups.ravel(), np.stack(combined)


def jackknife_interval(predictions, left_out, weights, how, residuals, coverage):
    """Jackknife+-after-bootstrap [1]_: quantiles of the predictions without each row, minus and plus its residual.

    Parameters
    ----------
    predictions, left_out, weights, how
        As in `predict_without_each`.
    residuals : ndarray of shape (n_samples, ...)
        Distance of y of each row from its prediction by the members that left it out.
    coverage : float

    Returns
    -------
    PredictionInterval
        Infinite where there are too few rows for the coverage.

    References
    ----------
    .. [1] Kim, Xu and Barber, "Predictive Inference Is Free with the Jackknife+-after-Bootstrap", NeurIPS 2020.
    """
    n_samples, shape = len(residuals), predictions.shape[1:]
    rank = int(np.ceil(coverage * (n_samples + 1) - _TOLERANCE))  # of the upper end, counted from 1
    lower, upper = np.full(shape, -np.inf), np.full(shape, np.inf)
    for rows in _chunks(predictions, n_samples) if rank <= n_samples else ():
        groups, combined = predict_without_each(predictions[:, rows], left_out, weights, how)
        each, distance = combined[groups], residuals[:, np.newaxis]
        # The k-th largest value is minus the k-th smallest of the negative values.
        lower[rows] = -np.partition(distance - each, rank - 1, axis=0)[rank - 1]
        upper[rows] = np.partition(each + distance, rank - 1, axis=0)[rank - 1]
    return PredictionInterval(lower, upper)


def _chunks(predictions, n_samples):
    """Slices of new rows, of which each is compared with all training rows at once."""
    n_new, *rest = predictions.shape[1:]
    n_at_once = max(1, _AT_ONCE // (n_samples * int(np.prod(rest))))
    return [slice(start, start + n_at_once) for start in range(0, n_new, n_at_once)]


def adaptive_scores(proba):
    """Probability of all classes that are more probable than each [1]_: the smaller, the better a class conforms.

    Parameters
    ----------
    proba : ndarray of shape (..., n_classes)

    Returns
    -------
    ndarray of the same shape

    References
    ----------
    .. [1] Romano, Sesia and Candes, "Classification with Valid and Adaptive Coverage", NeurIPS 2020, equation 6 with 0
       in place of the random share of the class itself: sets are the same each time, and never empty.
    """
    order = np.argsort(-proba, axis=-1, kind="stable")
    ordered = np.take_along_axis(proba, order, axis=-1)
    before = np.cumsum(ordered, axis=-1) - ordered
    scores = np.empty_like(before)
    np.put_along_axis(scores, order, before, axis=-1)
    return scores


def jackknife_sets(predictions, left_out, weights, how, scores, coverage):
    """Classes that conform no worse than all but a share of the rows; CV+ of Romano et al. (2020), section 2.3.

    Parameters
    ----------
    predictions, left_out, weights, how
        As in `predict_without_each`: probabilities.
    scores : ndarray of shape (n_samples,)
        That of the label of each row, by the members that left it out.
    coverage : float

    Returns
    -------
    ndarray of bool of shape (n_new, n_classes)
    """
    sets = np.empty(predictions.shape[1:], bool)
    for rows in _chunks(predictions, len(scores)):
        groups, combined = predict_without_each(predictions[:, rows], left_out, weights, how)
        n_better = np.zeros(combined.shape[1:], int)
        for group, own in enumerate(adaptive_scores(combined)):
            n_better += np.searchsorted(np.sort(scores[groups == group]), own - _TOLERANCE)
        sets[rows] = n_better < coverage * (len(scores) + 1) - _TOLERANCE
    return sets
