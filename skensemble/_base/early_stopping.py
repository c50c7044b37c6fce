"""Early stopping of all members together, as a parameter of ensembles whose members are trained at the same time."""

import numbers
from functools import partial

import numpy as np
from scipy.stats import norm

from skensemble._compat.sklearn import Interval, StrOptions
from skensemble._engine.ensemble_stopping import EnsembleStopping, StoppingRule
from skensemble._engine.prediction import predict_distributions, predict_members
from skensemble._numeric.combination import combine
from skensemble._numeric.selection import row_losses
from skensemble._numeric.uncertainty import deviation

#: Constraints of the parameters, as scikit-learn's `validate_parameter_constraints` takes them.
STOPPING_CONSTRAINTS = {
    "early_stopping": [StrOptions({"ensemble"}), None],
    "n_iter_no_change": [Interval(numbers.Integral, 1, None, closed="left")],
    "tol": [Interval(numbers.Real, 0, None, closed="left")],
}
#: What a fit that stopped all members together leaves behind.
LEARNED_OF_STOPPING = ("validation_losses_", "best_epoch_")


def stops_together(ensemble):
    """Whether `fit` of an ensemble stops all members together."""
    return getattr(ensemble, "early_stopping", None) is not None


def check_stopping(ensemble, *, draws, is_fitted_already):
    """Raise where other parameters contradict `early_stopping`.

    Parameters
    ----------
    ensemble : estimator
    draws : bool
        Whether members draw rows of their own.
    is_fitted_already : bool
        Whether there is nothing to train.
    """
    if not stops_together(ensemble):
        return
    reasons = {
        "estimator (fitted)": is_fitted_already,
        "engine='keras'": ensemble.engine == "keras",
        "warm_start=True": ensemble.warm_start,
        "bootstrap=True or max_samples": draws,
    }
    found = [name for name, contradicts in reasons.items() if contradicts]
    if found:
        raise ValueError(
            "`early_stopping='ensemble'` trains all members from their beginning, side by side, and judges them on the "
            f"same `validation_fraction` of the rows: got {found[0]}. Leave that out, or stop each member alone, by "
            "Keras' EarlyStopping in its `callbacks` (with `oob_validation=True` where members draw their rows)."
        )


def ensemble_stopping(ensemble, weights, data):
    """`EnsembleStopping` by the parameters of an ensemble.

    Parameters
    ----------
    ensemble : estimator
    weights : ndarray of shape (n_members,)
        Weights with which members are combined while they are trained.
    data : TrainingData
        The rows that no member is trained on.
    """
    combined_by = ensemble.combination, ensemble.trim_fraction, tuple(map(float, weights))
    rule = StoppingRule(ensemble.n_iter_no_change, float(ensemble.tol), combined_by)
    loss = partial(_combined_loss, ensemble, weights=weights, X=data.X, y=data.y, sample_weight=data.sample_weight)
    return EnsembleStopping(rule, loss)


def _combined_loss(ensemble, members, weights, X, y, sample_weight):
    """Loss of the combined prediction: log-loss, squared error, or for distributions that of the normal mixture.

    Parameters
    ----------
    ensemble : estimator
        Its parameters say how members are combined; with `voting="hard"`, probabilities are evaluated nevertheless.
    members : FittedMembers
    weights : ndarray of shape (n_members,)
    X : Inputs
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The user's labels or targets.
    sample_weight : ndarray of shape (n_samples,) or None

    Returns
    -------
    float
    """
    kind, scales = ensemble._kind_of_target(), None
    if kind == "values":
        predictions, scales = predict_distributions(members, X)
    else:
        predictions = predict_members(members, X, ensemble._member_classes())
    pooled = combine(predictions, weights, ensemble._combination(ensemble.combination, ensemble.trim_fraction))
    if scales is None:
        losses = row_losses(pooled, ensemble._encode(y), target=kind)
    else:
        losses = -norm.logpdf(y, pooled, deviation(predictions, scales, weights)).reshape(len(y), -1).sum(axis=-1)
    return float(np.average(losses, weights=sample_weight))


def learn_stopping(ensemble, stopping):
    """Let an ensemble know how its training ended; `stopping` is None where each member was trained to its end."""
    if stopping is not None:
        ensemble.validation_losses_ = np.array(stopping.losses)
        ensemble.best_epoch_ = stopping.best_epoch
