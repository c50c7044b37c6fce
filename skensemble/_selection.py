"""Greedy weights of members on held-out predictions, and the rows that are held out for them."""

import numpy as np
from sklearn.model_selection import train_test_split


def held_out_rows(y, fraction, seed, *, stratify):
    """Split the rows into those that members train on and those that no member sees.

    Parameters
    ----------
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    fraction : float
        Of the rows, held out.
    seed : int
    stratify : bool
        Whether both parts keep the shares of the classes in a one-dimensional y; given up where a class has one row.

    Returns
    -------
    (ndarray of int, ndarray of int)
        Rows to train on and rows held out, both in ascending order.
    """
    counts = np.unique(y, return_counts=True)[1] if stratify and y.ndim == 1 else np.array([0])
    n_held_out = int(np.ceil(fraction * len(y)))
    possible = counts.min() >= 2 and len(counts) <= min(n_held_out, len(y) - n_held_out)
    rows = train_test_split(
        np.arange(len(y)), test_size=n_held_out, random_state=seed, stratify=y if possible else None
    )
    return tuple(np.sort(part) for part in rows)


def greedy_weights(
    predictions, y, *, valid=None, sample_weight=None, multilabel=False, regression=False, max_rounds=50
):
    """Weights of members by ensemble selection with replacement.

    Starting from the best single member, the member that lowers the loss of the mean most is added again and again; a
    member may be added several times, and its weight is its share of all additions [1]_. Of all rounds and the equal
    weights, the best is kept. So the result is never worse than the best single member on these rows. The loss is the
    log-loss for classes, summed over labels for several labels, and the squared error for regression.

    Parameters
    ----------
    predictions : ndarray of shape (n_members, n_samples, n_classes) or (n_members, n_samples[, n_outputs])
        Probabilities, or values for regression.
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Index of the class, an indicator matrix of labels, or targets.
    valid : ndarray of bool of shape (n_members, n_samples), default=None
        Which rows each member may be judged on (those it left out); None means all. A row that none of the chosen
        members may be judged on counts with the mean of all members that may. A member without rows gets a weight
        only where equal weights are best.
    sample_weight : ndarray of shape (n_samples,), default=None
    multilabel, regression : bool, default=False
        What y is.
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
    parts, loss = _linear_parts(predictions, y, multilabel=multilabel, regression=regression)
    n_members, n_samples = parts.shape[:2]
    valid = np.ones((n_members, n_samples), bool) if valid is None else valid
    covered = valid.any(axis=0) & (True if sample_weight is None else sample_weight > 0)
    if not covered.any():
        raise ValueError(
            "`weights='greedy'` needs rows of positive weight that a member was not trained on: there are none. Leave "
            "out more rows, or give the weights."
        )
    parts, valid = parts[:, covered], valid[:, covered]
    unknown = ~valid.any(axis=1)
    row_weights = None if sample_weight is None else sample_weight[covered]

    counted = valid.reshape(*valid.shape, *[1] * (parts.ndim - 2)).astype(float)
    sums = parts * counted
    fallback = sums.sum(axis=0) / counted.sum(axis=0)

    def score(total, count):
        mean = np.divide(total, count, out=np.broadcast_to(fallback, total.shape).copy(), where=count > 0)
        values = loss(mean)
        values = values.reshape(*values.shape[:2], -1).sum(axis=-1)
        return np.average(values, axis=-1, weights=row_weights)

    total, count, additions = np.zeros_like(sums[0]), np.zeros_like(counted[0]), np.zeros(n_members)
    best_loss, best = np.inf, None
    for _ in range(max_rounds):
        losses = np.where(unknown, np.inf, score(total + sums, count + counted))
        chosen = int(np.argmin(losses))
        additions[chosen] += 1
        total, count = total + sums[chosen], count + counted[chosen]
        if losses[chosen] < best_loss:
            best_loss, best = losses[chosen], additions / additions.sum()
    equal = score(sums.sum(axis=0)[np.newaxis], counted.sum(axis=0)[np.newaxis])[0]
    if best is None or equal < best_loss:
        return np.full(n_members, 1 / n_members)
    return best


def _linear_parts(predictions, y, *, multilabel, regression):
    """What of a prediction its loss depends on, linear in the prediction: the mean's part is the mean of the parts."""
    predictions = np.asarray(predictions, dtype=np.float64)
    if regression:
        return predictions - y, np.square
    tiny = np.finfo(np.float32).eps
    if multilabel:
        parts = np.where(y == 1, predictions, 1 - predictions)
    else:
        parts = predictions[:, np.arange(len(y)), y]
    return parts, lambda part: -np.log(np.clip(part, tiny, 1))
