"""Rows of a member: which it trains and validates on, and how much each counts in the loss."""

from typing import NamedTuple

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from skensemble._compat.scikeras import BaseWrapper
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.spec import MemberSpec

# A mean that differs from 1 by less than this, far below the precision of float32, counts as 1.
_ROUNDING = 1e-9


class SampleIndices(NamedTuple):
    """Rows of X that a member trains on, some perhaps more than once, and those it validates on (None without)."""

    training: np.ndarray
    validation: np.ndarray | None


def sample_indices_of(
    spec: MemberSpec,
    estimator: BaseWrapper,
    arguments: FitArguments,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> SampleIndices:
    """Rows that a member trains on, without those of weight 0, and rows that it validates on.

    Parameters
    ----------
    spec : MemberSpec
    estimator : scikeras estimator
        Its `class_weight` counts.
    arguments : FitArguments
        Of the estimator.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,) or None
    """
    indices = np.asarray(np.arange(len(y)) if spec.sample_indices is None else spec.sample_indices, dtype="int32")
    for weights in (sample_weight, _class_weights(spec, estimator, y)):
        if weights is not None:
            indices = indices[weights[indices] != 0]
    if spec.validation_indices is not None:
        return SampleIndices(indices, np.asarray(spec.validation_indices))
    return SampleIndices(*arguments.split(indices))


def row_weights(
    spec: MemberSpec,
    estimator: BaseWrapper,
    indices: SampleIndices,
    y: np.ndarray,
    sample_weight: np.ndarray | None,
) -> np.ndarray | None:
    """Weight of each row of y in the loss of a member; None where all are 1.

    The weight of the sample, scaled to mean 1 over the rows that the member trains on (except where a training
    continues), times the weight of its class, which is not scaled.
    """
    weights = _class_weights(spec, estimator, y)
    if sample_weight is None:
        return weights
    # The rows of other calls of `partial_fit` count, too.
    scaled = sample_weight if spec.start is not None else with_mean_one(sample_weight, indices.training)
    return scaled if weights is None else weights * scaled


def _class_weights(spec: MemberSpec, estimator: BaseWrapper, y: np.ndarray) -> np.ndarray | None:
    """Weight of the class of each row of y; None where all are 1. "balanced" counts the classes in `sample_indices`."""
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is None:
        return None
    indices = spec.sample_indices if class_weight == "balanced" else None
    return compute_sample_weight(class_weight, y, indices=indices)


def with_mean_one(sample_weight: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Weights scaled so that their mean over `rows` is 1: the scale of weights does not act as a learning rate.

    Weights whose mean is already 1, up to rounding, are returned as they are, and so are those without a positive mean.
    """
    mean = sample_weight[rows].mean() if len(rows) else 0
    if mean <= 0 or abs(mean - 1) < _ROUNDING:
        return sample_weight
    return sample_weight / mean
