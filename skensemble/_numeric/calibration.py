"""Temperature of combined probabilities: one number, fitted on rows that no member saw; pure NumPy."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from skensemble._numeric.combination import from_log_pool_parts, log_pool_parts

# The temperature is searched for between one hundredth and one hundred.
_LARGEST_LOG = float(np.log(100))


def with_temperature(proba, temperature, target):
    """Probabilities whose logarithms (log-odds of labels) are divided by the temperature.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    temperature : float or ndarray of shape (n_labels,)
        Above 1, probabilities become more equal. The order of the classes does not change.
    target : {"classes", "labels"}
        Whether probabilities sum to 1 in each row, or each is that of a label.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
    """
    return from_log_pool_parts(log_pool_parts(np.asarray(proba, dtype=np.float64), target) / temperature, target)


def fit_temperature(proba, y, target, sample_weight=None):
    """The temperature with the smallest log-loss [1]_; for several labels, one for each.

    The labels of n rows count as n / (n + 1), and 1 / (n + 1) is shared by all classes, as if there were one more row
    with an unknown label [2]_. So rows that are all predicted right do not turn every later probability into 1.

    Parameters
    ----------
    proba : ndarray of shape (n_samples, n_classes)
    y : ndarray of int of shape (n_samples,) or (n_samples, n_labels)
        Number of the class, or an indicator matrix.
    target : {"classes", "labels"}
    sample_weight : ndarray of shape (n_samples,), default=None

    Returns
    -------
    float or ndarray of shape (n_labels,)

    References
    ----------
    .. [1] Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
    .. [2] Platt, "Probabilistic outputs for support vector machines", 1999, who smooths labels in the same way.
    """
    logs = log_pool_parts(np.asarray(proba, dtype=np.float64), target)
    if target == "classes":
        indicators = np.eye(logs.shape[-1])[y] if y.ndim == 1 else y
        return _smallest_loss(logs, indicators, sample_weight)
    both = ((np.stack([np.zeros(len(y)), odds], axis=1), label) for odds, label in zip(logs.T, y.T, strict=True))
    return np.array([_smallest_loss(pair, np.eye(2)[label.astype(int)], sample_weight) for pair, label in both])


def _smallest_loss(logs, indicators, sample_weight):
    n_samples, n_classes = logs.shape
    shares = (n_samples * indicators + 1 / n_classes) / (n_samples + 1)

    def loss(log_temperature):
        scaled = logs / np.exp(log_temperature)
        return np.average(logsumexp(scaled, axis=1) - (shares * scaled).sum(axis=1), weights=sample_weight)

    found = minimize_scalar(loss, bounds=(-_LARGEST_LOG, _LARGEST_LOG), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))
