"""What only combines members: learned by `fit`, changed without training by `reweight` and `subset`."""

import numbers
import warnings
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils import column_or_1d
from sklearn.utils.validation import check_array, check_consistent_length, check_is_fitted

from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import (
    Interval,
    RealNotInt,
    StrOptions,
    check_sample_weight,
    validate_parameter_constraints,
)
from skensemble._engine.prediction import predict_members
from skensemble._engine.stacked import StackedMember
from skensemble._members.rollback import unchanged_on_error
from skensemble._members.spec import unwrapped
from skensemble._members.targets import check_indicators
from skensemble._numeric.calibration import fit_temperature
from skensemble._numeric.combination import combine, combine_where, first_weights, normalize_weights
from skensemble._numeric.selection import greedy_weights
from skensemble._typing import MatrixLike

#: Constraints of the parameters with which all ensembles combine predictions, and of those of classifiers.
COMBINATION_CONSTRAINTS = {
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


def positions(members, n_members, names=None):
    """Positions of members that are given by position, by name or by a mask; raises where they are not there."""
    asked = np.asarray(members)
    if asked.ndim != 1:
        raise ValueError(f"`members` must be a list: got {members!r}. For one member, pass [{members!r}].")
    if asked.dtype.kind in "UO" and names is not None and set(asked) <= set(names):
        asked = np.array([names.index(name) for name in asked])
    if asked.dtype == bool and len(asked) == n_members:
        asked = np.flatnonzero(asked)
    known = range(-n_members, n_members)
    if asked.dtype.kind not in "iu" or not len(asked) or not all(i in known for i in asked):
        which = f"from 0 to {n_members - 1}" + (f", or names of {names}" if names is not None else "")
        raise ValueError(f"`members` must be one or more positions {which}: got {list(members)}.")
    asked = asked % n_members
    if len(set(asked)) < len(asked):
        raise ValueError(f"`members` must name each member once: got {list(members)}. Use `reweight` for weights.")
    return [int(i) for i in asked]


def copy_fitted(ensemble):
    """A copy with parameters of its own, and the same learned attributes."""
    copied, parameters = clone(ensemble), ensemble.get_params(deep=False)
    vars(copied).update({name: value for name, value in vars(ensemble).items() if name not in parameters})
    return copied


def greedy_weights_of(ensemble, X, y, sample_weight, rows, left_out=None):
    """Greedy weights of the members of an ensemble, by their loss on some rows of the data of its fit.

    Parameters
    ----------
    ensemble : estimator
        With `estimators_` and everything that its predictions depend on except `weights_`.
    X : Inputs
    y, sample_weight : ndarray
        Validated.
    rows : ndarray of int
        Those to judge members on.
    left_out : ndarray of bool of shape (n_estimators, n_samples), default=None
        Which of all rows each member may be judged on; None means all.
    """
    return greedy_weights(
        predict_members(ensemble.estimators_, X.take(rows), ensemble._member_classes()),
        ensemble._encode(y[rows]),
        valid=None if left_out is None else left_out[:, rows],
        sample_weight=None if sample_weight is None else sample_weight[rows],
        how=ensemble._combination(),
        **ensemble._target_kind(),
    )


def temperature_of(ensemble, X, y, sample_weight, rows, left_out=None):
    """Temperature of the combined probabilities of an ensemble; parameters as in `greedy_weights_of`."""
    proba = predict_members(ensemble.estimators_, X.take(rows), ensemble._member_classes())
    valid = np.ones(proba.shape[:2], bool) if left_out is None else left_out[:, rows]
    pooled = combine_where(proba, valid, ensemble.weights_, ensemble._combination())
    return fit_temperature_of(ensemble, pooled, y[rows], None if sample_weight is None else sample_weight[rows])


def fit_temperature_of(ensemble, pooled, y, sample_weight):
    """Temperature of an ensemble from its probabilities; rows of NaN, which no member may be judged on, are left out.

    Parameters
    ----------
    ensemble : fitted classifier
    pooled : ndarray of shape (n_samples, n_classes)
    y : ndarray of shape (n_samples,) or (n_samples, n_labels)
    sample_weight : ndarray of shape (n_samples,) or None
    """
    known = ~np.isnan(pooled).any(axis=1)
    weights = None if sample_weight is None else sample_weight[known]
    return fit_temperature(pooled[known], ensemble._encode(y[known]), ensemble._combined_target(), weights)


class Reweighted:
    """Members that can be combined differently after `fit`; comes left of `BaseKerasEnsemble`."""

    _fitted_state = ("voting_", "combination_", "trim_fraction_", "weights_", "_combined_by", "_is_subset")

    def reweight(
        self,
        weights: str | ArrayLike | None = None,
        *,
        voting: str | None = None,
        combination: str | None = None,
        trim_fraction: float | None = None,
        n_last: int | None = None,
        X: MatrixLike | None = None,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Combine the members differently, without training.

        Parameters stay as they are: they determine the next `fit`, while predictions use what the last `fit` or
        `reweight` learned.

        Parameters
        ----------
        weights : "uniform", "greedy" or array-like of shape (n_members,), default=None
            How much each member counts; "greedy" selects members by their loss on `X` and `y`, as `fit` does on rows
            that it held out. None leaves it as it is.
        voting : {"soft", "hard"}, default=None
            For classifiers; None leaves it as it is.
        combination : {"mean", "median", "geometric_mean", "trimmed_mean"}, default=None
            None leaves it as it is.
        trim_fraction : float, default=None
            For a trimmed mean; None leaves it as it is.
        n_last : int, default=None
            For snapshot ensembles: how many of the newest snapshots count, at most as many as were kept. Array-like
            `weights` have as many entries. None leaves it as it is.
        X : array-like of shape (n_samples, n_features, ...), default=None
            Rows for greedy weights and for the temperature of a calibrated ensemble, which is fitted again; preferably
            rows that no member was trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Their labels or targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights.

        Returns
        -------
        object
            Itself. `weights_` and the other learned attributes have changed.
        """
        check_is_fitted(self)
        given = {"voting": voting, "combination": combination, "trim_fraction": trim_fraction, "n_last": n_last}
        given = {name: value for name, value in given.items() if value is not None}
        self._check_reweight(given, weights, (X, y, sample_weight))
        changed = {f"{name}_": learned(self, name) for name in ("voting", "combination", "trim_fraction")}
        changed = {name: value for name, value in changed.items() if value is not None}
        changed |= {f"{name}_": value for name, value in given.items()}
        n_counted = given.get("n_last", learned(self, "n_last") or len(self.estimators_))
        how = changed.get("voting_", "soft"), changed["combination_"], changed["trim_fraction_"]
        if isinstance(weights, str) and weights == "greedy":
            check_combination(*how, weights, n_counted)
            selected = self._select_on(X, y, sample_weight, n_counted, changed)
        else:
            selected = self._given_or_kept(weights, n_counted)
        changed["weights_"] = np.concatenate([selected, np.zeros(len(self.estimators_) - n_counted)])
        check_combination(*how, changed["weights_"], n_counted)
        with unchanged_on_error(self):
            vars(self).update(changed)
            for name in ("_conformity", "temperature_"):  # of the earlier combination
                vars(self).pop(name, None)
            if calibrates(self):
                self._calibrate_on(X, y, sample_weight)
            remember_parameters(self, {*given, "calibration", *([] if weights is None else ["weights"])})
            return self

    def subset(self, members: ArrayLike) -> Self:
        """An ensemble of some of the members, without training.

        Parameters
        ----------
        members : array-like of int or bool, or of str where members have names
            Which members: positions, names or a mask.

        Returns
        -------
        object
            A new fitted ensemble of these members in the order given (snapshots always newest first), with their
            weights scaled to sum to 1, equal where all of them are 0. Members are not copied. Its parameters are those
            of the whole ensemble, which its `fit` would train. It is not calibrated, whatever `calibration` says:
            `reweight(X=..., y=...)` calibrates it.
        """
        check_is_fitted(self)
        indices = self._indices(members)
        part = copy_fitted(self)
        if hasattr(part, "temperature_"):
            del part.temperature_
            warnings.warn(
                "A subset of a calibrated ensemble is not calibrated: the temperature was that of all members. Call "
                "reweight(X=..., y=...) on it, with rows that no member was trained on.",
                stacklevel=find_stacklevel(),
            )
        part.estimators_ = self.estimators_.select(indices)
        part.weights_ = first_weights(self.weights_[indices], len(indices))
        part._is_subset = True
        part._learn_subset(indices)
        return part

    def _learn_subset(self, indices):
        """Change what else was learned of each member."""

    def _indices(self, members):
        """Positions of members, in the order in which a subset has them."""
        return positions(members, len(self.estimators_), getattr(self, "_names", None))

    def _check_reweight(self, given, weights, rows):
        parameters = self.get_params(deep=False)
        for name, value in given.items():
            if name not in parameters:
                raise TypeError(f"`{name}` is not a parameter of {type(self).__name__}: got {name}={value!r}.")
        validate_parameter_constraints(self._parameter_constraints, given, type(self).__name__)
        if "n_last" in given and given["n_last"] > len(self.estimators_):
            raise ValueError(
                f"`n_last` must be at most the number of snapshots that were kept: got {given['n_last']}, "
                f"{len(self.estimators_)} were kept. Fit with a larger `n_last`, or None, to keep more."
            )
        if isinstance(weights, str) and weights not in ("uniform", "greedy"):
            raise ValueError(f"`weights` must be 'uniform', 'greedy', or an array of numbers: got {weights!r}.")
        greedy = isinstance(weights, str) and weights == "greedy"
        if greedy and any(one is None for one in rows[:2]):
            raise ValueError("`weights='greedy'` needs rows to select members on: pass them as `X` and `y`.")
        if calibrates(self) and any(one is None for one in rows[:2]):
            raise ValueError(
                "With `calibration`, reweight needs rows to fit the temperature of the new combination on: pass them "
                "as `X` and `y`, preferably rows that no member was trained on."
            )
        if not greedy and not calibrates(self) and any(one is not None for one in rows):
            raise ValueError(f"`X`, `y` and `sample_weight` are for weights='greedy': got weights={weights!r}.")
        check_calibration(self, given.get("voting"))
        if given.get("voting") == "soft":
            self._check_soft()

    def _check_soft(self):
        """Raise where a member has no probabilities."""
        for i, entry in enumerate(self.estimators_.entries()):
            member = unwrapped(entry)
            if not isinstance(member, StackedMember | BaseWrapper) and not hasattr(member, "predict_proba"):
                raise ValueError(
                    f"With `voting='soft'`, members need predict_proba: member {i} is {type(member).__name__}, which "
                    "has none. Leave it out with `subset`."
                )

    def _given_or_kept(self, weights, n_counted):
        """Weights of the members that count."""
        if weights is not None:
            return normalize_weights(None if isinstance(weights, str) else weights, n_counted)
        n_before = learned(self, "n_last") or len(self.estimators_)
        kept = self.weights_[:n_before]
        if (kept == kept[0]).all():
            return normalize_weights(None, n_counted)
        if n_counted > n_before:
            raise ValueError(
                f"`weights` must be given where more snapshots count than before: got n_last={n_counted}, "
                f"{n_before} had weights. Pass them, or 'uniform'."
            )
        return first_weights(kept, n_counted)

    def _predict_rows(self, X, y, sample_weight, n_members):
        """What the first `n_members` predict for rows that the user gives, and these rows, checked."""
        X, y = self._validate_X(X), self._validate_target(y)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
        predictions = predict_members(self.estimators_.select(range(n_members)), X, self._member_classes())
        if self._member_classes() is None and y.shape[1:] != predictions.shape[2:]:
            raise ValueError(
                f"`y` must have the columns of fit: got rows of shape {y.shape[1:]}, members predict rows of shape "
                f"{predictions.shape[2:]}."
            )
        return predictions, y, sample_weight

    def _calibrate_on(self, X, y, sample_weight):
        """Learn the temperature on rows that the user gives."""
        predictions, y, sample_weight = self._predict_rows(X, y, sample_weight, len(self.estimators_))
        pooled = combine(predictions, self.weights_, self._combination())
        self.temperature_ = fit_temperature_of(self, pooled, y, sample_weight)

    def _select_on(self, X, y, sample_weight, n_members, changed):
        """Greedy weights of the first `n_members` on rows that the user gives."""
        predictions, y, sample_weight = self._predict_rows(X, y, sample_weight, n_members)
        return greedy_weights(
            predictions,
            self._encode(y),
            sample_weight=sample_weight,
            how=self._combination(changed["combination_"], changed["trim_fraction_"]),
            **self._target_kind(),
        )

    def _validate_target(self, y):
        """Labels or targets of new rows, which must be those that `fit` could have seen."""
        classes, of_numbers = self._member_classes(), self._target_kind().get("regression", False)
        y = check_array(y, ensure_2d=False, dtype="numeric" if of_numbers else None, input_name="y")
        if classes is None:
            if not of_numbers:
                check_indicators(y, len(self.classes_))
            return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        y = column_or_1d(y, warn=True)
        if not np.isin(y, classes).all():
            raise ValueError(
                f"`y` must have the labels of fit: got {np.setdiff1d(y, classes).tolist()}, which are not."
            )
        return y
