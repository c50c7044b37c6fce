"""How members are combined: parameters checked before training, weights and temperature learned from held-out rows."""

import numbers
import warnings

import numpy as np
from sklearn.base import is_classifier

from skensemble._compat.python import find_stacklevel
from skensemble._compat.sklearn import Interval, RealNotInt, StrOptions
from skensemble._engine.prediction import predict_members
from skensemble._numeric.calibration import fit_temperature
from skensemble._numeric.combination import combine_where
from skensemble._numeric.selection import greedy_weights, held_out_rows

#: Constraints of the parameters with which all ensembles combine predictions, and of those of classifiers.
COMBINATION_CONSTRAINTS = {
    "weights": [StrOptions({"greedy"}), "array-like", None],
    "combination": [StrOptions({"mean", "median", "trimmed_mean"})],
    "trim_fraction": [Interval(numbers.Real, 0, 0.5, closed="neither")],
    "validation_fraction": [Interval(RealNotInt, 0, 1, closed="neither")],
}
CLASSIFIER_CONSTRAINTS = {
    "voting": [StrOptions({"soft", "hard"})],
    "combination": [StrOptions({"mean", "median", "geometric_mean", "trimmed_mean"})],
    "calibration": [StrOptions({"temperature"}), None],
}
#: Parameters that change how members are combined, and not the members.
COMBINING = ("voting", "combination", "trim_fraction", "weights", "n_last", "n_checkpoints", "decay", "calibration")


def learned(ensemble, name, default=None):
    """What `fit` or `reweight` learned of a parameter that only combines members; before `fit` the parameter itself."""
    return getattr(ensemble, f"{name}_", None) or getattr(ensemble, name, default)


def check_combination(voting, combination, trim_fraction, weights, n_members):
    """Raise where members cannot be combined in this way.

    Parameters
    ----------
    voting : {"soft", "hard"}
    combination : {"mean", "median", "geometric_mean", "trimmed_mean"}
    trim_fraction : float
    weights : ndarray of shape (n_members,) or str
        As learned, or the name of the rule that will choose them.
    n_members : int
    """
    if combination == "mean":
        return
    if voting == "hard":
        raise ValueError(
            f"With `voting='hard'`, votes are counted, and a {combination} cannot be taken of them: got "
            f"combination={combination!r}. Use combination='mean' or voting='soft'."
        )
    if combination != "trimmed_mean":
        return
    counted = weights if isinstance(weights, str) else np.unique(weights[weights > 0])
    if isinstance(weights, str) or len(counted) > 1:
        raise ValueError(
            "`combination='trimmed_mean'` counts members equally, since their predictions decide for each row which of "
            f"them are left out: got weights={weights if isinstance(weights, str) else weights.tolist()}. Use equal "
            "weights, or combination='median', which takes weights."
        )
    n_counted = np.count_nonzero(weights)
    if int(trim_fraction * n_counted) == 0:
        warnings.warn(
            f"The trimmed mean of {n_counted} members with trim_fraction={trim_fraction} leaves none out: it is the "
            "mean. Use more members or a larger fraction.",
            stacklevel=find_stacklevel(),
        )


def calibrates(ensemble):
    """Whether `fit` of an ensemble learns a temperature."""
    return getattr(ensemble, "calibration", None) is not None


def check_calibration(ensemble, voting):
    """Raise where there would be no probabilities to calibrate."""
    if calibrates(ensemble) and voting == "hard":
        raise ValueError(
            "`calibration` needs probabilities, which votes do not have: got "
            f"calibration={ensemble.calibration!r} with voting='hard'. Use voting='soft' or calibration=None."
        )


def check_combining_parameters(ensemble, weights, n_members):
    """Raise where the parameters do not say how members are combined; `weights` is None where they are selected."""
    voting = getattr(ensemble, "voting", "soft")
    check_calibration(ensemble, voting)
    weights = ensemble.weights if weights is None else weights
    check_combination(voting, ensemble.combination, ensemble.trim_fraction, weights, n_members)


def learn_combination(ensemble):
    """Learn how members are combined from the parameters, at the end of `fit`."""
    for name in ("voting", "combination", "trim_fraction"):
        if hasattr(ensemble, name):
            setattr(ensemble, f"{name}_", getattr(ensemble, name))
    remember_parameters(ensemble, COMBINING)


def remember_parameters(ensemble, names):
    """Keep the parameters that were learned from, so that `warn_if_changed` sees which have been set since."""
    values = {name: getattr(ensemble, name) for name in ensemble.get_params(deep=False) if name in names}
    ensemble._combined_by = {**getattr(ensemble, "_combined_by", {}), **values}


def warn_if_changed(ensemble):
    """Warn where a parameter was set after `fit` that predictions do not read."""
    changed = [
        name
        for name, value in getattr(ensemble, "_combined_by", {}).items()
        if not _is_equal(getattr(ensemble, name, value), value)
    ]
    if changed:
        names = ", ".join(f"`{name}`" for name in changed)
        arguments = [f"{name}=..." for name in changed if name != "calibration"]
        if "calibration" in changed and calibrates(ensemble):
            arguments.append("X=..., y=...")  # the parameter itself says whether to calibrate
        warnings.warn(
            f"{names} {'was' if len(changed) == 1 else 'were'} set after fit. Predictions use what fit or reweight "
            f"learned: call reweight({', '.join(arguments)}), or fit again.",
            stacklevel=find_stacklevel(),
        )


def _is_equal(value, other):
    if value is other:
        return True
    if isinstance(value, str) or isinstance(other, str) or value is None or other is None:
        return isinstance(value, str) and isinstance(other, str) and value == other
    return np.array_equal(value, other)


def hold_out(ensemble, data, seed):
    """Rows to train on, and `validation_fraction` of all rows, on which members are judged."""
    return held_out_rows(
        data.y,
        ensemble.validation_fraction,
        seed,
        stratify=is_classifier(ensemble),
        sample_weight=data.sample_weight,
    )


def learn_from_rows(ensemble, data, rows, left_out=None):
    """Learn greedy weights and the temperature, where the parameters ask for them, from rows without training on them.

    Parameters
    ----------
    ensemble : estimator
        With `estimators_` and everything else that its predictions depend on.
    data : TrainingData
        Of the fit.
    rows : ndarray of int or None
        Those to judge members on; None where nothing is learned.
    left_out : ndarray of bool of shape (n_estimators, n_samples), default=None
        Which of all rows each member may be judged on; None means all.
    """
    vars(ensemble).pop("temperature_", None)
    selects = isinstance(ensemble.weights, str)
    if not selects and not calibrates(ensemble):
        return
    data, valid = data.take(rows), None if left_out is None else left_out[:, rows]
    predictions = predict_members(ensemble.estimators_, data.X, ensemble._member_classes())
    if selects:
        ensemble.weights_ = select_weights(ensemble, predictions, data, valid)
    if calibrates(ensemble):
        valid = np.ones(predictions.shape[:2], bool) if valid is None else valid
        pooled = combine_where(predictions, valid, ensemble.weights_, ensemble._combination())
        ensemble.temperature_ = fit_temperature_of(ensemble, pooled, data)


def select_weights(ensemble, predictions, data, valid=None):
    """Greedy weights of members, by the loss of their predictions for rows."""
    return greedy_weights(
        predictions,
        ensemble._encode(data.y),
        valid=valid,
        sample_weight=data.sample_weight,
        how=ensemble._combination(),
        target=ensemble._kind_of_target(),
    )


def fit_temperature_of(ensemble, pooled, data):
    """Temperature of an ensemble from its probabilities; rows of NaN, which no member may be judged on, are left out.

    Parameters
    ----------
    ensemble : fitted classifier
    pooled : ndarray of shape (n_rows, n_classes)
    data : TrainingData
        The same rows.
    """
    known = ~np.isnan(pooled).any(axis=1)
    weights = None if data.sample_weight is None else data.sample_weight[known]
    return fit_temperature(pooled[known], ensemble._encode(data.y[known]), ensemble._combined_target(), weights)
