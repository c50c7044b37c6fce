"""Pure rules that combine the predictions of members, in NumPy: means, medians, votes."""

from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax

# Used instead of a probability of 0, which has no logarithm.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)
# Weights whose sum differs from a half by less than this count as a half in a median.
HALF_TOLERANCE = 1e-6


class Combination(NamedTuple):
    """How the predictions of members become one.

    Attributes
    ----------
    rule : {"mean", "median", "geometric_mean", "trimmed_mean"}
    trim_fraction : float
        For a trimmed mean: the share of members that is left out at each end.
    target : {"values", "classes", "labels"}
        Whether the columns are values, probabilities that sum to 1 in each row, or probabilities of labels.
    """

    rule: str = "mean"
    trim_fraction: float = 0.0
    target: str = "values"


MEAN = Combination()


def normalize_weights(weights, n_members):
    """Weights of the members as float64 that sum to 1; equal where `weights` is None."""
    if weights is None:
        return np.full(n_members, 1 / n_members)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != (n_members,):
        given = f"{len(weights)} weights" if weights.ndim == 1 else f"an array of shape {weights.shape}"
        raise ValueError(
            f"`weights` must have one entry per member: got {given} for {n_members} members. "
            "Pass as many weights as there are members, or None for equal ones."
        )
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(f"`weights` must be finite and not negative: got {weights.tolist()}.")
    if not weights.any():
        raise ValueError("`weights` must not all be 0: no member would count. Pass None for equal weights.")
    return weights / weights.sum()


def first_weights(weights, n_members):
    """Weights of only the first `n_members`, summing to 1; equal where all of them are 0."""
    weights = weights[:n_members]
    return weights / weights.sum() if weights.any() else np.full(n_members, 1 / n_members)


def weighted_mean(predictions, weights):
    """Mean over the members, in float64.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_samples, ...)
    weights : ndarray of shape (n_members,)
        Must sum to 1.
    """
    return np.tensordot(weights, np.asarray(predictions, dtype=np.float64), axes=1)


def log_proba(proba):
    """Logarithm of probabilities, minus infinity for 0."""
    with np.errstate(divide="ignore"):
        return np.log(proba)


def combine(predictions, weights, how=MEAN):
    """One prediction from those of the members, in float64.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_samples, ...)
    weights : ndarray of shape (n_members,) or (n_members, n_samples)
        Must sum to 1 over the members; members of weight 0 do not count. For a trimmed mean they only say which members
        count. A row whose weights are NaN gets NaN.
    how : Combination

    Returns
    -------
    ndarray of shape (n_samples, ...)
        Probabilities of classes sum to 1, except those of a mean, which sum to the same as those of the members. Where
        the medians or trimmed means of all classes are 0 (each member is certain of another class), the mean is used.
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    shares = weights.reshape(*weights.shape, *[1] * (predictions.ndim - weights.ndim))
    if how.rule == "mean":
        return weighted_mean(predictions, weights) if weights.ndim == 1 else (shares * predictions).sum(axis=0)
    if how.rule == "geometric_mean":
        return _geometric_mean(predictions, shares, how.target)
    if how.rule == "median":
        combined = weighted_median(predictions, shares)
    else:
        combined = trimmed_mean(predictions, shares > 0, how.trim_fraction)
    unknown = np.isnan((shares * predictions).sum(axis=0))  # as NumPy's median: NaN where a member says NaN
    combined = np.where(unknown, np.nan, combined)
    if how.target != "classes":
        return combined
    total = combined.sum(axis=-1, keepdims=True)
    mean = (shares * predictions).sum(axis=0)
    return np.where(total == 0, mean, combined / np.where(total == 0, 1, total))


def combine_where(predictions, valid, weights, how=MEAN):
    """Combine the members that may be judged on each row, NaN where there is none.

    Members of weight 0 count, equally, only on rows on which no other member may be judged.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_samples, ...)
    valid : ndarray of bool of shape (n_members, n_samples)
    weights : ndarray of shape (n_members,)
    how : Combination

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    counts = weights[:, np.newaxis] * valid
    counts = np.where(counts.any(axis=0), counts, valid)
    with np.errstate(invalid="ignore"):
        shares = counts / counts.sum(axis=0)
    predictions = np.asarray(predictions, dtype=np.float64)
    # Members that do not count may predict NaN.
    predictions = np.where(shares.reshape(*shares.shape, *[1] * (predictions.ndim - 2)) == 0, 0, predictions)
    if how.rule == "mean":
        return np.einsum("ms,ms...->s...", shares, predictions)
    return combine(predictions, shares, how)


def weighted_median(predictions, shares):
    """Value up to which the members have half the weight; halfway to the next one where it is half exactly.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, ...)
    shares : ndarray
        Weights that sum to 1 over the first axis, of a shape that can be broadcast to that of `predictions`.
    """
    order = np.argsort(predictions, axis=0, kind="stable")
    values = np.take_along_axis(predictions, order, axis=0)
    below = np.cumsum(np.take_along_axis(np.broadcast_to(shares, predictions.shape), order, axis=0), axis=0)
    lower, upper = (
        np.take_along_axis(values, np.argmax(below > half, axis=0)[np.newaxis], axis=0)[0]
        for half in (0.5 - HALF_TOLERANCE, 0.5 + HALF_TOLERANCE)
    )
    return (lower + upper) / 2


def trimmed_mean(predictions, counted, trim_fraction):
    """Mean of the members that count without the smallest and the largest values, as in `scipy.stats.trim_mean`.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, ...)
    counted : ndarray of bool
        Of a shape that can be broadcast to that of `predictions`.
    trim_fraction : float
        Share of the members that is left out at each end, rounded down.
    """
    counted = np.broadcast_to(counted, predictions.shape)
    n_counted = counted.sum(axis=0)
    n_cut = (trim_fraction * n_counted).astype(int)
    values = np.sort(np.where(counted, predictions, np.inf), axis=0)
    rank = np.arange(len(predictions)).reshape(-1, *[1] * (predictions.ndim - 1))
    kept = (rank >= n_cut) & (rank < n_counted - n_cut)
    return np.where(kept, values, 0).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)


def log_pool_parts(proba, target):
    """What the geometric mean of probabilities is linear in: logarithms of classes, log-odds of labels."""
    logs = np.log(np.maximum(proba, SMALLEST_PROBABILITY))
    return logs - np.log(np.maximum(1 - proba, SMALLEST_PROBABILITY)) if target == "labels" else logs


def from_log_pool_parts(parts, target):
    """Probabilities from their logarithms, up to a constant for classes, or from the log-odds of labels."""
    return expit(parts) if target == "labels" else softmax(parts, axis=-1)


def _geometric_mean(proba, shares, target):
    """Weighted geometric mean, scaled to probabilities."""
    return from_log_pool_parts((shares * log_pool_parts(proba, target)).sum(axis=0), target)


def weighted_std(predictions, weights):
    """Standard deviation over the members (no correction for degrees of freedom), shaped like one prediction."""
    deviations = np.asarray(predictions, dtype=np.float64) - weighted_mean(predictions, weights)
    return np.sqrt(weighted_mean(deviations**2, weights))


def checkpoint_weights(weights, n_checkpoints, decay):
    """How much each checkpoint counts in an average of the newest ones, newest first, summing to 1.

    Parameters
    ----------
    weights : {"uniform", "linear", "exponential"} or array-like of at least n_checkpoints
        "linear" falls as n, n - 1, ..., 1, "exponential" as exp(-i / decay). The first entries of an array count.
    n_checkpoints : int
    decay : float
    """
    age = np.arange(n_checkpoints)
    if isinstance(weights, str):
        weights = {
            "uniform": np.ones(n_checkpoints),
            "linear": n_checkpoints - age,
            "exponential": np.exp(-age / decay),
        }[weights]
        return weights / weights.sum()
    return first_weights(np.asarray(weights, dtype=np.float64), n_checkpoints)


def average_variables(values, weights):
    """Weighted mean of one variable over checkpoints, computed in float64 and returned in its own type.

    Parameters
    ----------
    values : ndarray of shape (n_checkpoints, ...)
        Newest first. For integers (counters, seeds), which have no mean, the newest is taken.
    weights : ndarray of shape (n_checkpoints,)
        Must sum to 1.
    """
    if len(values) == 1 or values.dtype.kind in "biu":
        return values[0]
    return np.average(values.astype(np.float64), axis=0, weights=weights).astype(values.dtype)


def majority_vote(votes, weights, n_classes):
    """Class index with the largest sum of weights; ties go to the smallest index.

    Parameters
    ----------
    votes : ndarray of int of shape (n_members, n_samples) or (n_members, n_samples, n_outputs)
        The class index that each member chose.
    weights : ndarray of shape (n_members,)
    n_classes : int

    Returns
    -------
    ndarray of int of shape (n_samples,) or (n_samples, n_outputs)
    """
    counts = np.stack([weighted_mean(votes == k, weights) for k in range(n_classes)])
    # Sums of equal weights in another order differ by rounding: without this, a tie could go to either class.
    return np.argmax(np.round(counts, decimals=12), axis=0)


def align_classes(proba, member_classes, classes):
    """Probabilities of one member in the columns of `classes`; a class that the member does not know gets 0.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, len(member_classes))
    member_classes, classes : ndarray of shape (n_classes,)
        `classes` must be sorted and contain every one of `member_classes`.
    """
    if np.array_equal(member_classes, classes):
        return proba
    aligned = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
    aligned[:, np.searchsorted(classes, member_classes)] = proba
    return aligned
