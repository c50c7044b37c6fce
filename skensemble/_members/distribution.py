"""Networks that predict a distribution: which do (in an ensemble all or none), and the scales in their outputs."""

from collections.abc import Iterable, Sequence

import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras import ScikerasRegressor, has_own_target_encoder
from skensemble._keras_objects.losses import MIN_VARIANCE
from skensemble._members.other_estimators import last_step
from skensemble._members.spec import is_frozen, unwrapped

#: What a network can predict for each target, and how many outputs that takes.
N_UNITS = {None: 1, "normal": 2}


def check_distribution(estimator: BaseEstimator) -> None:
    """Raise where the `distribution` of a regressor is not one that its network can predict."""
    distribution = estimator.distribution
    if not isinstance(distribution, str | None) or distribution not in N_UNITS:
        raise ValueError(f"`distribution` must be 'normal' or None: got {distribution!r}.")
    if distribution is not None and has_own_target_encoder(estimator):
        raise ValueError(
            f"`distribution` needs targets that the network sees as they are: {type(estimator).__name__} has a "
            "target_encoder of its own, which cannot handle standard deviations. Scale y before fit, or pass "
            "distribution=None."
        )


def check_distributions(estimators: Iterable[BaseEstimator]) -> None:
    """Raise where some members, before `fit`, predict a distribution and others do not."""
    check_all_or_none([_predicts_distribution(one) for one in estimators])


def check_all_or_none(predicts: Sequence[bool]) -> None:
    """Raise where some members predict a distribution and others do not."""
    if any(predicts) and not all(predicts):
        without = [i for i, one in enumerate(predicts) if not one]
        raise ValueError(
            "All members must predict a distribution, or none of them: the noise of a mixture is not known where a "
            f"member does not predict it. Of {len(predicts)} members, {without} (counted from 0) have none. Give them "
            "distribution='normal', or leave them out."
        )


def _predicts_distribution(estimator: BaseEstimator) -> bool:
    network = last_step(unwrapped(estimator))[1]
    if is_frozen(estimator):
        return has_scales(network)
    return isinstance(network, ScikerasRegressor) and getattr(network, "distribution", None) is not None


def has_scales(estimator: BaseEstimator) -> bool:
    """Whether the network of an initialized estimator predicts a mean and a standard deviation for each target."""
    n_units = getattr(estimator, "n_output_units_", None)
    return n_units is not None and n_units != estimator.n_outputs_


def decode_scales(estimator: BaseEstimator, outputs: np.ndarray) -> np.ndarray:
    """Standard deviations, shaped like y, in the raw outputs of a model that has them (see `has_scales`)."""
    log_scales = np.reshape(outputs, (len(outputs), -1))[:, estimator.n_outputs_ :]
    scales = np.sqrt(np.exp(2 * log_scales.astype(np.float64)) + MIN_VARIANCE)
    return np.asarray(estimator.target_encoder_.inverse_transform(scales))
