"""Parameters that members draw from distributions, as the candidates of a randomized search do."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterSampler

from skensemble._members.spec import is_frozen

# Parameters that the ensemble sets for each member.
_OF_ENSEMBLE = "random_state"


def check_distributions(estimator: Any, distributions: Any) -> None:
    """Raise where members cannot draw parameters from these distributions.

    Parameters
    ----------
    estimator : estimator, list or None
        As given to an averaging ensemble.
    distributions : dict, list of dict or None
    """
    if distributions is None:
        return
    if isinstance(estimator, list) or is_frozen(estimator):
        raise ValueError(
            "`param_distributions` are for members that are trained: got members that are fitted already. Set "
            "param_distributions=None, or give an estimator to train."
        )
    parts = distributions if isinstance(distributions, list) else [distributions]
    names = [name for part in parts for name in part]
    if not names:
        raise ValueError("`param_distributions` must name at least one parameter: got none. None draws nothing.")
    if any(name.split("__")[-1] == _OF_ENSEMBLE for name in names):
        raise ValueError(
            "`param_distributions` must not draw `random_state`: each member has a seed of its own, which follows from "
            "random_state of the ensemble. Leave it out."
        )


def draw_params(entropy: int, n_members: int, distributions: Any) -> list[dict[str, Any]]:
    """Parameters of each member; those of member i do not depend on how many members there are.

    Parameters
    ----------
    entropy : int
        As returned by `draw_entropy`.
    n_members : int
    distributions : dict or list of dict
        As in scikit-learn's `ParameterSampler`.
    """
    # Children of the sequences that give the members' seeds, separate from those that give their columns.
    sequences = [np.random.SeedSequence(entropy, spawn_key=(i, 1)) for i in range(n_members)]
    states = [np.random.RandomState(int(sequence.generate_state(1)[0])) for sequence in sequences]
    drawn = [next(iter(ParameterSampler(distributions, 1, random_state=state))) for state in states]
    return [{name: _plain(value) for name, value in params.items()} for params in drawn]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def with_params(estimator: BaseEstimator, params: Sequence[dict[str, Any]]) -> list[BaseEstimator]:
    """Copies of an estimator with these parameters."""
    return [clone(estimator).set_params(**clone(one, safe=False)) for one in params]
