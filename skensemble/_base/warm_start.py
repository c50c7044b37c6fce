"""Warm start: which members a fit keeps, and what it must share with the fits that trained them."""

import warnings

from skensemble._base.combining import calibrates
from skensemble._base.early_stopping import stops_together
from skensemble._base.network_copies import is_fitted_already
from skensemble._compat.python import find_stacklevel
from skensemble._engine.fitted import FittedMembers


def kept_members(ensemble):
    """Members that `warm_start` keeps."""
    if not ensemble.warm_start or is_fitted_already(ensemble._given) or not hasattr(ensemble, "estimators_"):
        return FittedMembers([])
    n_fitted = len(ensemble.estimators_)
    if getattr(ensemble, "_is_subset", False):
        raise ValueError(
            "With `warm_start=True`, fit adds members to those that it trained: this ensemble is a `subset` of "
            f"another, with {n_fitted} members. Set warm_start=False to begin again, or add to the whole ensemble."
        )
    if ensemble.n_estimators < n_fitted:
        raise ValueError(
            f"With `warm_start=True`, `n_estimators` must not be smaller than the {n_fitted} members there are: "
            f"got n_estimators={ensemble.n_estimators}. Set warm_start=False to begin again."
        )
    if not hasattr(ensemble, "_data"):
        raise ValueError(
            "With `warm_start=True`, fit adds members that are trained on the data of the others: these were "
            "trained by `partial_fit`, on rows that are not known. Set warm_start=False to begin again."
        )
    if ensemble.n_estimators == n_fitted:
        warnings.warn(
            "With `warm_start=True` and `n_estimators` as before, fit trains no new member.",
            stacklevel=find_stacklevel(),
        )
    return ensemble.estimators_


def remember_data(ensemble, X, y, draws, n_columns, *, must_agree):
    """Keep what members of a later `warm_start` must share with those of now, and compare it with the earlier.

    Parameters
    ----------
    ensemble : estimator
    X : Inputs
    y : ndarray
    draws : bool
        Whether members draw rows.
    n_columns : int or None
        How many columns members draw.
    must_agree : bool
        Whether there are members that were trained before.
    """
    selects = isinstance(ensemble.weights, str)
    holds_out = (selects or calibrates(ensemble) or stops_together(ensemble)) and not draws
    classes = ensemble._member_classes()
    known = {
        "shape of X": (len(X), *X.row_shape),
        "shape of y": y.shape,
        "classes": None if classes is None else classes.tolist(),
        "rows that members draw": (ensemble.bootstrap, ensemble._n_drawn) if draws else None,
        "number of columns that members draw": n_columns,
        "validation_fraction for weights='greedy'": ensemble.validation_fraction if holds_out else None,
    }
    for name, value in known.items() if must_agree else ():
        if value != ensemble._data.get(name):
            raise ValueError(
                f"With `warm_start=True`, fit adds members to those there are, on the same data: the {name} must "
                f"be {ensemble._data.get(name)}, got {value}. Set warm_start=False to begin again."
            )
    ensemble._data = known
