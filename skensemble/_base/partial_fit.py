"""How members are trained further, on rows that come in parts."""

import dataclasses
import numbers

from sklearn.base import clone

from skensemble._base.combining import check_combining_parameters, learn_combination
from skensemble._base.independent_runs import check_weights_of_rows
from skensemble._engine.partial_fit import (
    epochs_parameter,
    history_of_member,
    put_epochs_back,
    put_history_before,
    start_of,
)
from skensemble._engine.progress import fit_task
from skensemble._engine.training import fit_members
from skensemble._members.inputs import TrainingData
from skensemble._members.member_checks import check_restored
from skensemble._members.spec import Start
from skensemble._members.targets import check_classes_again
from skensemble._numeric.combination import normalize_weights


def train_further(ensemble, X, y, classes, sample_weight, epochs):
    """Train members for some more epochs, or for the first ones; see `KerasAveragingClassifier.partial_fit`."""
    ensemble._check_parameters()
    check_restored(ensemble)
    if isinstance(ensemble.weights, str):
        raise ValueError(
            f"`weights={ensemble.weights!r}` selects members on rows of one fit. Leave it out, and call "
            f"reweight({ensemble.weights!r}, X=X, y=y) between calls of `partial_fit`."
        )
    if not isinstance(epochs, numbers.Integral) or epochs < 1:
        raise ValueError(f"`epochs` must be a whole number from 1: got {epochs!r}.")
    with fit_task(ensemble) as task:
        goes_on = hasattr(ensemble, "estimators_")
        if goes_on:
            if classes is not None:
                check_classes_again(classes, ensemble.classes_)
            data = TrainingData(*ensemble._validate_more_data(X, y, sample_weight))
        else:
            data = TrainingData(*ensemble._validate_fit_data(X, y, sample_weight, classes))
        before = ensemble.estimators_.entries() if goes_on else None
        members = ensemble._members_to_train_on(data.y, len(before) if goes_on else None)
        if not goes_on:
            ensemble.weights_ = normalize_weights(ensemble._given_weights(), len(members))
            check_combining_parameters(ensemble, ensemble.weights_, len(members))
            learn_combination(ensemble)
        check_weights_of_rows(members, data.sample_weight)
        _train_on(ensemble, members, before, data, epochs, task)
        return ensemble


def _train_on(ensemble, members, before, data, epochs, task):
    """Train members for `epochs`, from where those in `before` stopped, if there are any; sets `estimators_`."""
    classes = ensemble._member_classes()
    starts = [Start(classes)] * len(members) if before is None else [start_of(one, classes) for one in before]
    shortened = {id(one.estimator): _for_epochs(one.estimator, epochs) for one in members}  # copies stay copies
    to_train = [
        dataclasses.replace(member, estimator=shortened[id(member.estimator)], start=start)
        for member, start in zip(members, starts, strict=True)
    ]
    trained = fit_members(to_train, data, engine=ensemble.engine, n_jobs=ensemble.n_jobs, task=task)
    for i, (member, entry) in enumerate(zip(members, trained.estimators.entries(), strict=True)):
        put_epochs_back(entry, member.estimator)
        if before is not None:
            put_history_before(entry, history_of_member(before[i]))
    ensemble.estimators_, ensemble.engine_, ensemble.engine_reason_ = trained.estimators, trained.engine, trained.reason


def _for_epochs(estimator, epochs):
    """A copy of a network that is trained for `epochs`."""
    return clone(estimator).set_params(**{epochs_parameter(estimator): epochs})
