"""Rows of a member: which it trains and validates on, in batches of how many, and how much each counts in the loss."""

import math

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from skensemble._compat import fit_arguments

DEFAULT_BATCH_SIZE = 32  # of `Model.fit`


def rows_of(template, copy, X, y, sample_weight):
    """Rows that a member trains on and rows that it validates on (None without)."""
    rows = np.arange(len(X), dtype="int32") if copy.rows is None else np.asarray(copy.rows, dtype="int32")
    weights = row_weights(template, y, sample_weight, copy.rows)
    if weights is not None:
        rows = rows[weights[rows] != 0]
    if copy.validation_rows is not None:
        return rows, np.asarray(copy.validation_rows)
    return _split(rows, fit_arguments(template))


def row_weights(estimator, y, sample_weight, rows=None):
    """Weight of each row of y in the loss: that of the sample times that of its class; None where all are 1.

    "balanced" counts the classes in `rows`.
    """
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is None:
        return sample_weight
    indices = rows if class_weight == "balanced" else None
    weights = compute_sample_weight(class_weight, y, indices=indices)
    return weights if sample_weight is None else weights * sample_weight


def weights_of(estimators, copies, y, sample_weight):
    """Weights of the rows, (n_samples,) where all copies have the same, else (n_copies, n_samples); None without.

    `estimators` holds one for each copy, which may be the same one.
    """
    if all(getattr(estimator, "class_weight", None) is None for estimator in estimators):
        return sample_weight
    if all(estimator is estimators[0] for estimator in estimators) and all(copy.rows is None for copy in copies):
        return row_weights(estimators[0], y, sample_weight)
    weights = [row_weights(e, y, sample_weight, copy.rows) for e, copy in zip(estimators, copies, strict=True)]
    return np.stack([np.ones(len(y)) if w is None else w for w in weights])


def _split(rows, arguments):
    """Rows to train on and rows to validate on (None without), as Keras splits arrays: the last ones are held out."""
    fraction = arguments.get("validation_split") or 0
    if not fraction or arguments.get("validation_data") is not None:
        return rows, None
    split_at = math.floor(len(rows) * (1 - fraction))
    if split_at in (0, len(rows)):
        raise ValueError(
            f"`validation_split` must leave rows to train and to validate on: got {fraction} for {len(rows)} rows."
        )
    return rows[:split_at], rows[split_at:]


def train_batch_size(estimator, n_rows):
    return given_batch_size(fit_arguments(estimator).get("batch_size"), n_rows, DEFAULT_BATCH_SIZE)


def given_batch_size(batch_size, n_rows, default):
    if batch_size is None:
        return default
    return n_rows if batch_size == -1 else batch_size


def evaluated_epochs(frequency):
    """Whether Keras validates at the end of an epoch, counted from 0, as a function of it."""
    if isinstance(frequency, int):
        return lambda epoch: (epoch + 1) % frequency == 0
    return lambda epoch: epoch + 1 in frequency
