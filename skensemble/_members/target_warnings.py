"""Targets that are valid but probably not intended: one warning for the ensemble, not one for each member."""

import warnings

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning

from skensemble._compat.python import find_stacklevel
from skensemble._members.inside import is_inside_ensemble


def warn_of_one_hot(y: np.ndarray) -> None:
    """Say how labels whose rows all have exactly one 1, which are most often classes, are understood."""
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
