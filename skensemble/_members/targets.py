"""What y must be, and when it is valid but probably not intended."""

import math
import warnings
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning

from skensemble._compat.python import find_stacklevel
from skensemble._keras_objects.losses import MIN_VARIANCE
from skensemble._members.inside_ensemble import is_inside_ensemble


def check_indicators(y: np.ndarray, n_labels: int | None = None) -> None:
    """Raise where y, with several columns, is no matrix of 0 and 1 with so many columns; None for any number."""
    shape, values = np.shape(y), np.unique(y)
    if len(shape) != 2 or (n_labels is not None and shape[1] != n_labels):
        raise ValueError(
            f"`y` must have the columns of fit: got rows of shape {shape[1:]}, in fit they had {n_labels} labels."
        )
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"`y` with several columns must be an indicator matrix of 0 and 1: got the values {values.tolist()}. Make "
            "1 what is there, and 0 what is not."
        )


def check_classes_again(classes: Any, known: np.ndarray) -> None:
    """Raise where training goes on with other `classes` than it began with."""
    if not np.array_equal(np.unique(classes), np.unique(known)):
        raise ValueError(
            f"`classes` must be those of the first call, or None: got {np.unique(classes).tolist()}, they were "
            f"{list(known)}. `fit` begins again."
        )


def warn_of_one_hot(y: np.ndarray) -> None:
    """Warn how labels with exactly one 1 in each row, which are most often classes, are understood.

    One warning for the ensemble, not one for each member.
    """
    if is_inside_ensemble() or issparse(y):
        return
    y = np.asarray(y)
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biuf" or not np.isin(y, (0, 1)).all():
        return
    if (y.sum(axis=1) == 1).all():
        warnings.warn(
            f"`y` has exactly one 1 in each row, and is taken as {y.shape[1]} labels of which a row could have "
            "several: networks learn each label separately, unless their loss says otherwise, and `predict` gives rows "
            "of 0 and 1. If each row has one class, pass the classes: y.argmax(axis=1).",
            DataConversionWarning,
            stacklevel=find_stacklevel(),
        )


def warn_of_small_targets(y: np.ndarray) -> None:
    """Warn where targets vary by less than the smallest standard deviation that a network can predict."""
    deviations, smallest = np.std(np.asarray(y, "float64"), axis=0), math.sqrt(MIN_VARIANCE)
    if np.any((deviations > 0) & (deviations < smallest)):
        warnings.warn(
            f"The standard deviations that networks predict are never below {smallest:g}, and y, or a column of it, "
            "varies by less: intervals will be too wide. Scale y to about unit variance before fit.",
            stacklevel=find_stacklevel(),
        )
