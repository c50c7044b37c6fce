"""Cyclic learning rates, in NumPy: which part of a cycle each step is in, and the rate that belongs to it."""

import numpy as np

# Smith 2017, section 3.3: the smallest rate of a cycle is a third or a quarter of the largest.
_TRIANGLE_BASE = 0.25


def cosine(progress):
    """Share of the initial rate after a fraction of the cycle: from 1 down to 0.

    Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017, equation 2.
    """
    return (np.cos(np.pi * progress) + 1) / 2


def triangular(progress):
    """Share of the initial rate after a fraction of the cycle: linearly from a quarter up to 1 in the middle, and back.

    Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.
    """
    return _TRIANGLE_BASE + (1 - _TRIANGLE_BASE) * (1 - np.abs(2 * progress - 1))


SCHEDULES = {"cosine": cosine, "triangular": triangular}


def cycle_lengths(n_epochs, n_cycles):
    """Epochs of each cycle; what does not divide evenly goes to the last one."""
    lengths = np.full(n_cycles, n_epochs // n_cycles)
    lengths[-1] += n_epochs % n_cycles
    return lengths


def cycle_ends(n_epochs, n_cycles):
    """Last epoch of each cycle, counted from 0."""
    return [int(end) - 1 for end in np.cumsum(cycle_lengths(n_epochs, n_cycles))]


def cycle_progress(n_epochs, n_cycles, n_steps, update):
    """Fraction of its cycle that is done before each step, (n_epochs, n_steps).

    Parameters
    ----------
    n_epochs, n_cycles : int
    n_steps : int
        Steps of an epoch.
    update : {"batch", "epoch"}
        Whether it grows from step to step, or only from epoch to epoch.
    """
    lengths = cycle_lengths(n_epochs, n_cycles)
    epoch = np.concatenate([np.arange(length) for length in lengths])[:, np.newaxis]
    length = np.repeat(lengths, lengths)[:, np.newaxis]
    if update == "epoch":
        return np.repeat(epoch / length, n_steps, axis=1)
    return (epoch * n_steps + np.arange(n_steps)) / (length * n_steps)


def cyclic_rates(schedule, initial, n_epochs, n_cycles, n_steps, update="batch"):
    """Learning rate of each step, (n_epochs, n_steps).

    Parameters
    ----------
    schedule : {"cosine", "triangular"} or callable
        A function takes the fraction of the cycle done (float, 0 to below 1) and returns the share of `initial`.
    initial : float
    n_epochs, n_cycles, n_steps, update
        As in `cycle_progress`.

    Raises
    ------
    ValueError
        Where a function returns anything but one finite number that is not negative.
    """
    progress = cycle_progress(n_epochs, n_cycles, n_steps, update)
    if not callable(schedule):
        return initial * SCHEDULES[schedule](progress)
    fractions, where = np.unique(progress, return_inverse=True)
    shares = np.array([_share(schedule, float(fraction)) for fraction in fractions])
    return initial * shares[where].reshape(progress.shape)


def _share(schedule, fraction):
    share = schedule(fraction)
    try:
        value = float(share)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`schedule` must return one number: got {share!r} for the fraction {fraction:g} of the cycle."
        ) from error
    if not np.isfinite(value) or value < 0:
        raise ValueError(
            "`schedule` must return a finite number that is not negative, the share of the initial learning rate: got "
            f"{value:g} for the fraction {fraction:g} of the cycle."
        )
    return value
