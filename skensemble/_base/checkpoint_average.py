"""Averages of the variables of the newest checkpoints of a run, and which of them is the best."""

import numbers
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skensemble._compat.scikeras import encode_features
from skensemble._engine.batch_norm import estimate_statistics, has_batch_norm
from skensemble._engine.prediction import predict_members
from skensemble._engine.records import Variables
from skensemble._engine.trajectory import EpochStates
from skensemble._numeric.combination import average_variables, checkpoint_weights, normalize_weights
from skensemble._numeric.selection import row_losses

#: Rules for the weights of checkpoints.
WEIGHTINGS = ("uniform", "linear", "exponential")


class Average(NamedTuple):
    """Which average is taken of checkpoints.

    Attributes
    ----------
    weights : {"uniform", "linear", "exponential"} or array-like of shape (n_checkpoints,)
        How much each checkpoint counts, newest first.
    n_checkpoints : int
        How many of the newest are averaged.
    decay : float
        Decay of exponential weights, in epochs.
    """

    weights: str | ArrayLike
    n_checkpoints: int
    decay: float


def check_average(average, n_kept):
    """Raise where no such average can be taken of `n_kept` checkpoints."""
    weights, n_checkpoints, decay = average
    if not isinstance(n_checkpoints, numbers.Integral) or not 1 <= n_checkpoints <= n_kept:
        raise ValueError(
            f"`n_checkpoints` must be from 1 to the number of checkpoints that were kept: got {n_checkpoints!r}, "
            f"{n_kept} were kept."
        )
    if not decay > 0:
        raise ValueError(f"`decay` must be above 0: got {decay!r}.")
    if not isinstance(weights, str):
        normalize_weights(weights, n_checkpoints)
    elif weights not in WEIGHTINGS:
        raise ValueError(f"`weights` must be one of {', '.join(WEIGHTINGS)} or an array: got {weights!r}.")


def average_states(checkpoints, average, sizes, statistics=None, optimizer=()):
    """Averages of different numbers of the newest checkpoints, as states of one run.

    Parameters
    ----------
    checkpoints : EpochStates
        Newest first.
    average : Average
    sizes : sequence of int
        Numbers of checkpoints, in place of that of `average`.
    statistics : list of dict, default=None
        As returned by `stage_statistics`; None averages the statistics like the other variables.
    optimizer : sequence of ndarray, default=()
        Variables of the optimizer.

    Returns
    -------
    EpochStates
    """
    averages = [_average(checkpoints, average._replace(n_checkpoints=size), statistics) for size in sizes]
    parts = ([np.stack(v) for v in zip(*part, strict=True)] for part in zip(*averages, strict=True))
    return EpochStates(
        checkpoints.prototype,
        checkpoints.seeds[:1] * len(sizes),
        Variables(*parts, optimizer),
        checkpoints.histories[:1] * len(sizes),
        checkpoints.epochs[:1] * len(sizes),
    )


def _average(checkpoints, average, statistics=None):
    """(trainable, non_trainable) of an average."""
    shares, newest = checkpoint_weights(*average), slice(average.n_checkpoints)
    trainable, non_trainable = (
        [average_variables(v[newest], shares) for v in part] for part in checkpoints.variables[:2]
    )
    if statistics is not None:
        for i, values in statistics[average.n_checkpoints - 1].items():
            non_trainable[i] = values
    return trainable, non_trainable


def estimates_statistics(polyak):
    """Whether an ensemble estimates the statistics of BatchNormalization for each average."""
    return polyak.update_batch_norm and has_batch_norm(polyak._checkpoints.prototype.model_)


def stage_statistics(polyak, average, X):
    """Statistics for the averages of 1, 2, ... checkpoints; a checkpoint alone keeps those of its training.

    Parameters
    ----------
    polyak : estimator
        With its checkpoints.
    average : Average
    X : array of shape (n_samples, ...) or None
        The encoded training rows.

    Returns
    -------
    list of dict, or None
        By the number of the variable; None where they are not estimated.
    """
    if not estimates_statistics(polyak) or average.n_checkpoints == 1:
        return None
    checkpoints = polyak._checkpoints
    states = (_average(checkpoints, average._replace(n_checkpoints=n)) for n in range(2, average.n_checkpoints + 1))
    return [{}, *estimate_statistics(checkpoints.prototype.model_, states, X, polyak._batch_size)]


def rows_for_statistics(polyak, n_checkpoints, X):
    """Encoded rows for the statistics of an average, from those that the user gave; None where none are needed."""
    if not estimates_statistics(polyak) or n_checkpoints == 1:
        return None
    if X is None:
        raise ValueError(
            "`X` must hold the training rows: the network has BatchNormalization, whose statistics are estimated "
            "for each average. Pass them, or set update_batch_norm=False to average the statistics too."
        )
    return encode_features(polyak._checkpoints.prototype, polyak._validate_X(X).floats)


def predict_stages(polyak, average, statistics, X):
    """Predictions of the averages of the newest 1, 2, ... checkpoints for `Inputs`."""
    stages = average_states(polyak._checkpoints, average, range(1, average.n_checkpoints + 1), statistics)
    return predict_members(stages.members(), X, polyak._member_classes())


def choose_average(polyak, data, X_trained):
    """The average with the smallest loss on held-out rows; the newest checkpoint alone comes first.

    Parameters
    ----------
    polyak : estimator
        With its checkpoints.
    data : TrainingData
        The rows that were held out.
    X_trained : array of shape (n_samples, ...) or None
        The encoded training rows, as for `stage_statistics`.

    Returns
    -------
    Average
    """
    best = np.inf, Average("uniform", 1, polyak.decay)
    y, kind = polyak._encode(data.y), polyak._kind_of_target()
    for weights in WEIGHTINGS:
        average = Average(weights, len(polyak._checkpoints), polyak.decay)
        predictions = predict_stages(polyak, average, stage_statistics(polyak, average, X_trained), data.X)
        losses = [np.average(row_losses(one, y, target=kind), weights=data.sample_weight) for one in predictions]
        i = int(np.argmin(losses))
        best = min(best, (losses[i], average._replace(n_checkpoints=i + 1)), key=lambda candidate: candidate[0])
    return best[1]
