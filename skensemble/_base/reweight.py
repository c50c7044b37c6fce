"""Members that are combined differently after `fit`, or of which only some are kept, without training."""

import warnings
from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skensemble._base.combining import (
    calibrates,
    check_calibration,
    check_combination,
    fit_temperature_of,
    learned,
    remember_parameters,
    select_weights,
)
from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.prediction import predict_members
from skensemble._engine.stacked_members import StackedMember
from skensemble._members.inputs import TrainingData
from skensemble._members.rollback import unchanged_on_error
from skensemble._members.spec import unwrapped
from skensemble._numeric.combination import combine, first_weights, normalize_weights
from skensemble._typing import MatrixLike


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
        _check_reweight(self, given, weights, (X, y, sample_weight))
        n_members, n_before = len(self.estimators_), learned(self, "n_last") or len(self.estimators_)
        n_counted = given.get("n_last", n_before)
        with unchanged_on_error(self):
            vars(self).update({f"{name}_": value for name, value in given.items()})
            for name in ("_conformity", "temperature_"):  # of the earlier combination
                vars(self).pop(name, None)
            data = None if X is None else TrainingData(*self._validate_more_data(X, y, sample_weight))
            if isinstance(weights, str) and weights == "greedy":
                _check_learned_combination(self, weights, n_counted)
                selected = select_weights(self, _predict_rows(self, data, n_counted), data)
            else:
                selected = _given_or_kept(self.weights_[:n_before], weights, n_counted)
            self.weights_ = np.concatenate([selected, np.zeros(n_members - n_counted)])
            _check_learned_combination(self, self.weights_, n_counted)
            if calibrates(self):
                pooled = combine(_predict_rows(self, data, n_members), self.weights_, self._combination())
                self.temperature_ = fit_temperature_of(self, pooled, data)
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

    def _given_weights(self):
        """The parameter `weights` without entries of members that are left out."""
        return self.weights

    def _learn_subset(self, indices):
        """Change what else was learned of each member."""

    def _indices(self, members):
        """Positions of members, in the order in which a subset has them."""
        return positions(members, len(self.estimators_), getattr(self, "_names", None))


def _check_learned_combination(ensemble, weights, n_members):
    voting, combination = learned(ensemble, "voting", "soft"), learned(ensemble, "combination")
    check_combination(voting, combination, learned(ensemble, "trim_fraction"), weights, n_members)


def _check_reweight(ensemble, given, weights, rows):
    """Raise where `reweight` was given what contradicts the ensemble, or rows without a use, or no rows.

    Parameters
    ----------
    ensemble : fitted estimator
    given : dict of str to object
        Parameters by name, without those that stay as they are.
    weights : str, array-like or None
    rows : tuple of X, y and sample_weight
    """
    parameters = ensemble.get_params(deep=False)
    for name, value in given.items():
        if name not in parameters:
            raise TypeError(f"`{name}` is not a parameter of {type(ensemble).__name__}: got {name}={value!r}.")
    ensemble._check_parameters(given)
    if "n_last" in given and given["n_last"] > len(ensemble.estimators_):
        raise ValueError(
            f"`n_last` must be at most the number of snapshots that were kept: got {given['n_last']}, "
            f"{len(ensemble.estimators_)} were kept. Fit with a larger `n_last`, or None, to keep more."
        )
    if isinstance(weights, str) and weights not in ("uniform", "greedy"):
        raise ValueError(f"`weights` must be 'uniform', 'greedy', or an array of numbers: got {weights!r}.")
    greedy = isinstance(weights, str) and weights == "greedy"
    if greedy and any(one is None for one in rows[:2]):
        raise ValueError("`weights='greedy'` needs rows to select members on: pass them as `X` and `y`.")
    if calibrates(ensemble) and any(one is None for one in rows[:2]):
        raise ValueError(
            "With `calibration`, reweight needs rows to fit the temperature of the new combination on: pass them "
            "as `X` and `y`, preferably rows that no member was trained on."
        )
    if not greedy and not calibrates(ensemble) and any(one is not None for one in rows):
        raise ValueError(f"`X`, `y` and `sample_weight` are for weights='greedy': got weights={weights!r}.")
    check_calibration(ensemble, given.get("voting"))
    if given.get("voting") == "soft":
        check_soft(ensemble)


def check_soft(ensemble):
    """Raise where a fitted member has no probabilities."""
    for i, entry in enumerate(ensemble.estimators_.entries()):
        member = unwrapped(entry)
        if not isinstance(member, StackedMember | BaseWrapper) and not hasattr(member, "predict_proba"):
            raise ValueError(
                f"With `voting='soft'`, members need predict_proba: member {i} is {type(member).__name__}, which "
                "has none. Leave it out with `subset`."
            )


def _given_or_kept(kept, weights, n_counted):
    """Weights of the `n_counted` members that count; `kept` are those from before."""
    if weights is not None:
        return normalize_weights(None if isinstance(weights, str) else weights, n_counted)
    if (kept == kept[0]).all():
        return normalize_weights(None, n_counted)
    if n_counted > len(kept):
        raise ValueError(
            f"`weights` must be given where more snapshots count than before: got n_last={n_counted}, "
            f"{len(kept)} had weights. Pass them, or 'uniform'."
        )
    return first_weights(kept, n_counted)


def _predict_rows(ensemble, data, n_members):
    """What the first `n_members` predict for rows that the user gives."""
    members = ensemble.estimators_.select(range(n_members))
    predictions = predict_members(members, data.X, ensemble._member_classes())
    if ensemble._member_classes() is None and data.y.shape[1:] != predictions.shape[2:]:
        raise ValueError(
            f"`y` must have the columns of fit: got rows of shape {data.y.shape[1:]}, members predict rows of shape "
            f"{predictions.shape[2:]}."
        )
    return predictions
