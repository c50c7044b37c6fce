"""Mixtures of the normal distributions that members predict: their quantiles, and prediction intervals."""

import numbers
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from skensemble._numeric.combination import weighted_mean

# Halvings of an interval, after which what is left is below the rounding of float64.
_N_HALVINGS = 60


class PredictionInterval(NamedTuple):
    """Prediction interval of each row.

    Attributes
    ----------
    lower, upper : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    """

    lower: np.ndarray
    upper: np.ndarray


def check_coverage(coverage):
    """Raise where a coverage is not between 0 and 1."""
    if not isinstance(coverage, numbers.Real) or not 0 < coverage < 1:
        raise ValueError(f"`coverage` must be between 0 and 1, such as 0.9 for 90 %: got {coverage!r}.")


def mixture_quantile(means, scales, weights, level):
    """Value below which a mixture of normal distributions has the share `level`, by halving an interval.

    Parameters
    ----------
    means, scales : ndarray of shape (n_members, n_samples, ...)
        Standard deviations must be positive.
    weights : ndarray of shape (n_members,)
        Positive, of sum 1.
    level : float
        Between 0 and 1.

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    means, scales = (np.asarray(part, dtype=np.float64) for part in (means, scales))
    each = means + scales * ndtri(level)
    low, high = each.min(axis=0), each.max(axis=0)  # between the quantiles of the members
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        is_below = weighted_mean(ndtr((middle - means) / scales), weights) < level
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return (low + high) / 2


def mixture_interval(means, scales, weights, coverage):
    """Interval of a mixture with equal shares below and above it; parameters as in `mixture_quantile`."""
    tail = (1 - coverage) / 2
    return PredictionInterval(
        mixture_quantile(means, scales, weights, tail), mixture_quantile(means, scales, weights, 1 - tail)
    )
