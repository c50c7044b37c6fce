"""Greedy weights of members on held-out predictions, and the rows that are held out for them."""

from functools import partial

import numpy as np
from scipy.special import log_softmax
from sklearn.model_selection import train_test_split

from skensemble._numeric.combination import MEAN, combine_where, log_pool_parts


def held_out_rows(y, fraction, seed, *, stratify, sample_weight=None):
    """Split the rows into those that members train on and those that no member sees.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    fraction : float
        Fraction of the rows that is held out.
    seed : int
    stratify : bool
        Whether both parts keep the shares of the classes in a one-dimensional y; ignored where a class has only one
        row.
    sample_weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    (ndarray of int, ndarray of int)
        Rows to train on and rows held out, both in ascending order.

    Raises
    ------
    ValueError
        Where all rows that are held out have weight 0.
    """
    counts = np.unique(y, return_counts=True)[1] if stratify and y.ndim == 1 else np.array([0])
    n_held_out = int(np.ceil(fraction * len(y)))
    possible = counts.min() >= 2 and len(counts) <= min(n_held_out, len(y) - n_held_out)
    rows = train_test_split(
        np.arange(len(y)), test_size=n_held_out, random_state=seed, stratify=y if possible else None
    )
    kept, held_out = (np.sort(part) for part in rows)
    check_judged_rows(held_out, sample_weight)
    return kept, held_out


def check_judged_rows(rows, sample_weight):
    """Raise where all rows that members, or checkpoints, are to be judged on have weight 0."""
    if sample_weight is not None and not sample_weight[rows].any():
        raise ValueError(
            "At least one of the rows that are held out, for weights, calibration or early stopping, must have a "
            f"`sample_weight` above 0: it is 0 for all {len(rows)} of them. Hold out more rows, use other weights, or "
            "pass weights, calibration=None and early_stopping=None."
        )


def greedy_weights(
    predictions,
    y,
    *,
    valid=None,
    sample_weight=None,
    target="classes",
    how=MEAN,
    max_rounds=50,
):
    """Weights of members by ensemble selection with replacement.

    Starting from the best single member, the member that lowers the loss of the combination most is added again and
    again; a member may be added several times, and its weight is its share of all additions [1]_. Of all rounds and the
    equal weights, the best is kept. So the result is never worse than the best single member on these rows. The loss is
    the log-loss for classes, summed over labels for several labels, and the squared error for regression. A member that
    predicts values that are not finite, as after diverging in training, does not count, unless all do.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_samples, n_classes) or (n_members, n_samples[, n_outputs])
        Probabilities, or values for regression.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    valid : ndarray of bool of shape (n_members, n_samples), default=None
        Which rows each member may be judged on (those it left out); None means all. A row that none of the chosen
        members may be judged on counts with the combination of all members that may. A member without rows gets a
        weight only where equal weights are best.
    sample_weight : ndarray of shape (n_samples,), default=None
    target : {"classes", "labels", "values"}, default="classes"
        What y is: the index of a class, an indicator matrix of labels, or values.
    how : Combination
        How members are combined: by a mean, a median or a geometric mean.
    max_rounds : int, default=50
        Number of additions.

    Returns
    -------
    ndarray of shape (n_members,)
        Sums to 1.

    Raises
    ------
    ValueError
        Where there is no row to judge on.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.
    """
    predictions = np.asarray(predictions)
    n_members, n_samples = predictions.shape[:2]
    finite = np.isfinite(predictions).reshape(n_members, -1).all(axis=1)
    counted = finite if finite.any() else ~finite
    valid = np.ones((counted.sum(), n_samples), bool) if valid is None else valid[counted]
    covered = valid.any(axis=0) & (True if sample_weight is None else sample_weight > 0)
    if not covered.any():
        raise ValueError(
            "`weights='greedy'` needs rows of positive weight that a member was not trained on: there are none. Leave "
            "out more rows, or give the weights."
        )
    predictions, y, valid = predictions[np.ix_(counted, covered)], y[covered], valid[:, covered]
    row_weights = None if sample_weight is None else sample_weight[covered]
    if how.rule == "median":
        growing = _GrowingMedian(predictions, partial(row_losses, y=y, target=target), valid, row_weights, how)
    else:
        parts = _log_parts if how.rule == "geometric_mean" else _linear_parts
        growing = _GrowingMean(*parts(predictions, y, target), valid, row_weights)
    weights = np.zeros(n_members)
    weights[counted] = _best_additions(growing, ~valid.any(axis=1), max_rounds)
    return weights


def _best_additions(growing, unknown, max_rounds):
    """Shares of the members in the best of all rounds, or equal shares; `unknown` members have no rows."""
    additions = np.zeros(len(unknown))
    best_loss, best = np.inf, None
    for _ in range(max_rounds):
        losses = np.where(unknown, np.inf, growing.losses_with_each())
        chosen = int(np.argmin(losses))
        additions[chosen] += 1
        growing.add(chosen)
        if losses[chosen] < best_loss:
            best_loss, best = losses[chosen], additions / additions.sum()
    if best is None or growing.loss_of_all() < best_loss:
        return np.full(len(unknown), 1 / len(unknown))
    return best


class _GrowingMean:
    """Losses of a mean that members are added to, from what the loss depends on and is linear in the prediction.

    Parameters
    ----------
    parts : ndarray of shape (n_members, n_samples, ...)
    loss : callable
        Loss of a mean of parts, of shape (..., n_samples) or with further dimensions, which are summed.
    valid : ndarray of bool of shape (n_members, n_samples)
    row_weights : ndarray of shape (n_samples,) or None
    """

    def __init__(self, parts, loss, valid, row_weights):
        self._loss, self._row_weights = loss, row_weights
        self._counted = valid.reshape(*valid.shape, *[1] * (parts.ndim - 2)).astype(float)
        self._sums = parts * self._counted
        self._fallback = self._sums.sum(axis=0) / self._counted.sum(axis=0)
        self._total, self._count = np.zeros_like(self._sums[0]), np.zeros_like(self._counted[0])

    def add(self, member):
        """Add a member, which may have been added before."""
        self._total, self._count = self._total + self._sums[member], self._count + self._counted[member]

    def losses_with_each(self):
        """Loss if each member were added, one number per member."""
        return self._score(self._total + self._sums, self._count + self._counted)

    def loss_of_all(self):
        """Loss of the mean of all members with equal weights."""
        return self._score(self._sums.sum(axis=0)[np.newaxis], self._counted.sum(axis=0)[np.newaxis])[0]

    def _score(self, total, count):
        fallback = np.broadcast_to(self._fallback, total.shape).copy()
        values = self._loss(np.divide(total, count, out=fallback, where=count > 0))
        values = values.reshape(*values.shape[:2], -1).sum(axis=-1)
        return np.average(values, axis=-1, weights=self._row_weights)


class _GrowingMedian:
    """Losses of a median that members are added to; parameters as in `_GrowingMean`, but whole predictions."""

    def __init__(self, predictions, loss, valid, row_weights, how):
        self._predictions, self._loss, self._valid = predictions, loss, valid
        self._row_weights, self._how = row_weights, how
        self._additions = np.zeros(len(predictions))

    def add(self, member):
        """Add a member, which may have been added before."""
        self._additions[member] += 1

    def losses_with_each(self):
        """Loss if each member were added, one number per member."""
        return np.array([self._score(self._additions + one) for one in np.eye(len(self._predictions))])

    def loss_of_all(self):
        """Loss of the median of all members with equal weights."""
        return self._score(np.ones(len(self._predictions)))

    def _score(self, weights):
        values = self._loss(combine_where(self._predictions, self._valid, weights, self._how))
        return np.average(values, weights=self._row_weights)


def _linear_parts(predictions, y, target):
    """What the loss of a prediction depends on, linear in it: for a mean it is the mean over the members."""
    predictions = np.asarray(predictions, dtype=np.float64)
    if target == "values":
        return predictions - y, np.square
    if target == "labels":
        return np.where(y == 1, predictions, 1 - predictions), _log_loss
    return predictions[:, np.arange(len(y)), y], _log_loss


def _log_parts(proba, y, target):
    """The same for geometric means of probabilities, whose logarithms have a mean."""
    parts = log_pool_parts(np.asarray(proba, dtype=np.float64), target)
    if target == "labels":
        return parts, lambda odds: np.logaddexp(0, np.where(y == 1, -odds, odds))
    return parts, lambda logs: -log_softmax(logs, axis=-1)[..., np.arange(len(y)), y]


def row_losses(prediction, y, *, target="classes"):
    """Loss of each row, as in `greedy_weights`.

    Parameters
    ----------
    prediction : ndarray of shape (n_samples, n_classes) or (n_samples[, n_outputs])
    y, target
        As in `greedy_weights`.

    Returns
    -------
    ndarray of shape (n_samples,)
    """
    parts, of_parts = _linear_parts(prediction[np.newaxis], y, target)
    return of_parts(parts)[0].reshape(len(y), -1).sum(axis=-1)


def _log_loss(part):
    return -np.log(np.clip(part, np.finfo(np.float32).eps, 1))
