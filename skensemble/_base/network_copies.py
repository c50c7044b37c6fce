"""The members of an average: copies of one network, each with the rows, columns and parameters that it draws."""

import dataclasses
import warnings

from sklearn.base import is_classifier

from skensemble._base.combining import calibrates
from skensemble._compat.python import find_stacklevel
from skensemble._members.member_checks import check_member
from skensemble._members.other_estimators import without_network_seed
from skensemble._members.random_draws import (
    count_rows,
    draw_columns,
    draw_params,
    draw_rows,
    rows_left_out,
    spawn_seeds,
    validation_rows,
    with_params,
)
from skensemble._members.spec import MemberSpec, is_frozen, is_network


def is_fitted_already(given):
    """Whether the parameter `estimator` is fitted, so that nothing is trained."""
    return isinstance(given, list) or is_frozen(given)


def check_given(ensemble, given):
    """Raise where the parameter `estimator` is neither a network to train nor fitted members."""
    classifier = is_classifier(ensemble)
    if isinstance(given, list):
        _check_fitted_members(given, ensemble.n_estimators, classifier)
    elif given is not None:
        check_member(given, classifier=classifier, pipelines=True)
        if ensemble.oob_validation and not is_frozen(given) and not is_network(given):
            raise ValueError(
                "`oob_validation` needs networks that are validated while they are trained: got a Pipeline as "
                "`estimator`, which is trained by its own fit. Use oob_score, or put the other steps before the "
                "ensemble."
            )
    if is_frozen(given) and ensemble.n_estimators > 1:
        warnings.warn(
            f"`estimator` is one fitted member: its {ensemble.n_estimators} copies predict the same. Give a list of "
            "FrozenEstimator, or an estimator to train.",
            stacklevel=find_stacklevel(),
        )


def _check_fitted_members(given, n_estimators, classifier):
    """Raise where a list as `estimator` does not hold `n_estimators` fitted members."""
    if len(given) != n_estimators:
        raise ValueError(
            f"A list as `estimator` holds every member: got {len(given)} members for "
            f"n_estimators={n_estimators}. Set n_estimators={len(given)}."
        )
    for i, member in enumerate(given):
        check_member(member, classifier=classifier, name=f"estimator[{i}]", pipelines=True)
        if not is_frozen(member):
            raise TypeError(
                f"A list as `estimator` holds fitted members: `estimator[{i}]` is {member!r}. Wrap a fitted one as "
                "sklearn.frozen.FrozenEstimator(member), or give one unfitted estimator to train copies of it."
            )


def draws_rows(ensemble, n_samples):
    """Whether members draw rows of their own; learns how many."""
    ensemble._n_drawn = count_rows(ensemble.max_samples, n_samples, replace=ensemble.bootstrap)
    draws = (ensemble.bootstrap or ensemble._n_drawn < n_samples) and not is_fitted_already(ensemble._given)
    for name in ("oob_score", "oob_validation"):
        if getattr(ensemble, name) and not draws:
            raise ValueError(
                f"`{name}` needs rows that members leave out: set bootstrap=True or max_samples below the "
                f"{n_samples} rows of X, and an estimator to train."
            )
    return draws


def make_members(ensemble, X, metadata, params_of_kept, *, draws, n_columns):
    """All members, and which rows each leaves out; sets what they drew.

    Parameters
    ----------
    ensemble : estimator
    X : Inputs
    metadata : dict
        Arguments of `MemberSpec` that all members have.
    params_of_kept : list of dict
        Parameters that the members drew that `warm_start` keeps.
    draws : bool
        As returned by `draws_rows`.
    n_columns : int or None
        How many columns each draws; None where all see all.

    Returns
    -------
    members : list of MemberSpec
    left_out : ndarray of bool of shape (n_estimators, n_samples), or None
        None where all see all rows.
    """
    template, n_members = ensemble._template(is_classifier(ensemble)), ensemble.n_estimators
    estimators = ensemble._given if template is None else [without_network_seed(template)] * n_members
    if ensemble.param_distributions is not None:
        drawn = draw_params(ensemble._entropy, n_members, ensemble.param_distributions)
        estimators = with_params(estimators[0], drawn)
        # Those of kept members may come from other distributions, which have been set anew since.
        ensemble.estimators_params_ = [*params_of_kept, *drawn[len(params_of_kept) :]]
    seeds, left_out = spawn_seeds(ensemble._entropy, n_members), None
    members = [MemberSpec(estimator, seed, **metadata) for estimator, seed in zip(estimators, seeds, strict=True)]
    if draws:
        members, left_out = _with_rows(ensemble, members, len(X))
    if n_columns is not None:
        ensemble.estimators_features_ = draw_columns(ensemble._entropy, n_members, X.row_shape[0], n_columns)
        members = _with_each(members, columns=ensemble.estimators_features_)
    return members, left_out


def _with_rows(ensemble, members, n_samples):
    """Members with the rows that they draw, and which rows each leaves out."""
    rows = draw_rows([one.seed for one in members], n_samples, ensemble._n_drawn, replace=ensemble.bootstrap)
    left_out = rows_left_out(rows, n_samples)
    if not left_out.any() and (ensemble.oob_score or isinstance(ensemble.weights, str) or calibrates(ensemble)):
        raise ValueError(
            "`oob_score`, `weights='greedy'` and `calibration` need rows that members leave out, but every member "
            f"drew all rows: lower max_samples={ensemble.max_samples}."
        )
    ensemble.estimators_samples_ = rows
    validation = validation_rows(left_out) if ensemble.oob_validation else [None] * len(rows)
    return _with_each(members, sample_indices=rows, validation_indices=validation), left_out


def _with_each(members, **values):
    """Members with a value of their own for each of these attributes."""
    own = [dict(zip(values, one, strict=True)) for one in zip(*values.values(), strict=True)]
    return [dataclasses.replace(member, **changes) for member, changes in zip(members, own, strict=True)]
