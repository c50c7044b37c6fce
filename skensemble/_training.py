"""Training of members: which engine and why, spread over joblib workers, with progress."""

import warnings
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed

from skensemble._compat import seeded, without_own_seed
from skensemble._members import is_frozen


class TrainedMembers(NamedTuple):
    """Result of `fit_members`.

    Attributes
    ----------
    estimators : list of estimators
        The fitted members, in order.
    engine : str
        "keras", or "none" where every member was fitted already.
    reason : str
        Why this engine.
    """

    estimators: list
    engine: str
    reason: str


def fit_members(members, X, y, sample_weight=None, *, n_jobs=None, verbose=0):
    """Train every member that is not frozen on the same rows.

    Parameters
    ----------
    members : list of estimators
        Clones with an integer `random_state`, changed in place where `n_jobs` is 1; or FrozenEstimator.
    X : ndarray of shape (n_samples, ...)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        The user's labels or targets.
    sample_weight : ndarray of shape (n_samples,), default=None
    n_jobs : int, default=None
        Number of joblib workers.
    verbose : int, default=0
        Above 0, a line is printed for each member that is trained.

    Returns
    -------
    TrainedMembers
    """
    to_train = [i for i, member in enumerate(members) if not is_frozen(member)]
    if not to_train:
        return TrainedMembers(members, "none", "all members were fitted already")
    fitted = Parallel(n_jobs=n_jobs)(
        delayed(_fit_with_keras)(members[i], X, y, sample_weight, f"member {k} of {len(to_train)}" if verbose else None)
        for k, i in enumerate(to_train, start=1)
    )
    trained = list(members)
    for i, member in zip(to_train, fitted, strict=True):
        trained[i] = member
    _warn_of_divergence(trained)
    return TrainedMembers(trained, "keras", "each member was trained by Keras' own fit")


def _fit_with_keras(member, X, y, sample_weight, progress):
    with seeded(member.random_state), without_own_seed(member):
        # A copy each: scikeras 0.13 multiplies class weights into the array it is given.
        member.fit(X, y, sample_weight=None if sample_weight is None else sample_weight.copy())
    if progress:
        losses = ", ".join(f"{name} {values[-1]:.4f}" for name, values in member.history_.items())
        print(f"{progress}: {losses}", flush=True)
    return member


def _warn_of_divergence(members):
    diverged = [
        i for i, member in enumerate(members) if not is_frozen(member) and not np.isfinite(member.history_["loss"][-1])
    ]
    if diverged:
        warnings.warn(
            f"The loss of members {diverged} is not finite: they diverged, and their predictions are not usable. "
            "Lower the learning rate, scale the features, or clip the gradients.",
            RuntimeWarning,
            stacklevel=4,
        )
