"""How members are trained in separate runs, and which rows choose their weights and temperature."""

import dataclasses
from functools import partial

import numpy as np
from sklearn.base import is_classifier

from skensemble._base.combining import (
    calibrates,
    check_combining_parameters,
    hold_out,
    learn_combination,
    learn_from_rows,
)
from skensemble._base.early_stopping import ensemble_stopping, learn_stopping, stops_together
from skensemble._engine.equal_members import warn_of_equal_members
from skensemble._engine.execution import FitControls
from skensemble._engine.progress import fitted_as
from skensemble._engine.training import fit_members
from skensemble._members.distribution import check_distributions
from skensemble._members.member_checks import check_frozen_members
from skensemble._members.spec import is_frozen, with_callbacks
from skensemble._numeric.combination import normalize_weights
from skensemble._numeric.selection import check_judged_rows
from skensemble._wrappers.adapters import as_member


def fit_independent(ensemble, members, data, task, *, fitted=(), left_out=None, checkpoint=None):
    """Train members in separate runs and weight them; sets `estimators_`, `weights_` and what trained them.

    Parameters
    ----------
    ensemble : estimator
        Its data are validated.
    members : list of MemberSpec
    data : TrainingData
    task : Task
        The fit.
    fitted : sequence of members that are there already, before the new ones
    left_out : ndarray of bool of shape (n_estimators, n_samples), default=None
        Rows that each member, including earlier ones, was not trained on, where members draw their own rows.
    checkpoint : Checkpoint, default=None
        Where the state of the fit is kept, and taken from.
    """
    check_frozen_members(members, data.X, data.y, ensemble._member_classes(), data.X.names)
    selects = isinstance(ensemble.weights, str)
    n_members = len(fitted) + len(members)
    weights = None if selects else normalize_weights(ensemble._given_weights(), n_members)
    check_combining_parameters(ensemble, weights, n_members)
    if not is_classifier(ensemble):
        check_distributions(member.estimator for member in members)
    judged = stopping = None
    if selects or calibrates(ensemble) or stops_together(ensemble):
        members, judged = _without_judged_rows(ensemble, members, data, left_out)
    if stops_together(ensemble):
        of_members = normalize_weights(None, n_members) if selects else weights
        stopping = ensemble_stopping(ensemble, of_members, data.take(judged))
    check_weights_of_rows(members, data.sample_weight)
    members = with_callbacks(members, first=len(fitted), fitted=fitted)

    def learn(learning, trained):
        learning.estimators_ = trained.estimators if not len(fitted) else fitted + trained.estimators
        if members:
            learning.engine_, learning.engine_reason_ = trained.engine, trained.reason
        learning.weights_ = weights
        learn_combination(learning)
        learn_from_rows(learning, data, judged, left_out)

    task.set_data(data.X.given, data.y, data.sample_weight, partial(fitted_as, ensemble, learn))
    trained = fit_members(
        members,
        data,
        engine=ensemble.engine,
        n_jobs=ensemble.n_jobs,
        task=task,
        controls=FitControls(checkpoint=checkpoint, stopping=stopping),
        first=len(fitted),
    )
    learn(ensemble, trained)
    learn_stopping(ensemble, stopping)
    warn_of_equal(ensemble)


def _without_judged_rows(ensemble, members, data, left_out):
    """The members, trained without the rows that they are judged on, and these rows."""
    if left_out is not None:
        check_judged_rows(np.flatnonzero(left_out.any(axis=0)), data.sample_weight)
    if left_out is not None or all(is_frozen(member.estimator) for member in members):
        return members, np.arange(len(data.y))
    kept, held_out = hold_out(ensemble, data, ensemble._entropy % 2**32)
    return [dataclasses.replace(member, sample_indices=kept) for member in members], held_out


def warn_of_equal(ensemble):
    """Warn of members that are equal, unless `fit` has warned before training that they would be."""
    given = as_member(getattr(ensemble, "estimator", None))
    if not is_frozen(given) and getattr(given, "reinitialize", None) is not False:
        warn_of_equal_members(ensemble.estimators_, getattr(ensemble, "_names", None))


def check_weights_of_rows(members, sample_weight):
    """Raise where a member would be trained only on rows of weight 0."""
    for i, member in enumerate(members):
        weights = member.weights(sample_weight)
        if weights is not None and member.sample_indices is not None and not weights[member.sample_indices].any():
            raise ValueError(
                f"`sample_weight` must not be 0 for every row that a member is trained on: it is for member {i} of "
                f"{len(members)}. Leave out the rows of weight 0, or draw more rows for each member."
            )
