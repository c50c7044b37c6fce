"""What each member draws, all of it from `random_state`: its seed, its rows and columns of X, its parameters."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import ParameterSampler

from skensemble._members.spec import is_frozen


def draw_entropy(random_state: int | np.random.RandomState | None) -> int:
    """Number from which all seeds of an ensemble follow; a RandomState advances by one draw, None draws a new one."""
    if random_state is None:
        entropy: Any = np.random.SeedSequence().entropy
        return entropy
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(np.iinfo(np.int32).max))
    return int(random_state)


def spawn_seeds(entropy: int, n_members: int) -> list[int]:
    """One seed per member; that of member i does not depend on how many members there are.

    Parameters
    ----------
    entropy : int
        As returned by `draw_entropy`.
    n_members : int

    Returns
    -------
    list of int
    """
    children = np.random.SeedSequence(entropy).spawn(n_members)
    # Keras and scikit-learn take seeds that fit a signed 32-bit integer.
    return [int(child.generate_state(1)[0] >> 1) for child in children]


def count_rows(max_samples: int | float, n_samples: int, *, replace: bool) -> int:
    """How many rows each member draws.

    Raises
    ------
    ValueError
        Where, without replacement, there are fewer rows.
    """
    n_drawn = _count(max_samples, n_samples)
    if n_drawn > n_samples and not replace:
        raise ValueError(
            f"`max_samples` must not exceed the rows of X without `bootstrap`: got {n_drawn} for {n_samples} rows."
        )
    return n_drawn


def count_columns(max_features: int | float, row_shape: tuple[int, ...]) -> int | None:
    """How many columns each member draws; None where all see all.

    Raises
    ------
    ValueError
        Where there are no columns to draw, or fewer.
    """
    if not isinstance(max_features, numbers.Integral) and max_features == 1:
        return None
    if len(row_shape) != 1:
        raise ValueError(
            "`max_features` needs X of two dimensions, whose columns can be drawn: got "
            f"max_features={max_features} for rows of shape {row_shape}. Set max_features=1.0, so that members take "
            "all of X."
        )
    (n_features,) = row_shape
    n_columns = _count(max_features, n_features)
    if n_columns > n_features:
        raise ValueError(
            f"`max_features` must not exceed the columns of X: got max_features={max_features} for {n_features} "
            "columns."
        )
    return n_columns if n_columns < n_features else None


def _count(most: int | float, n_all: int) -> int:
    """A number as it is; a fraction of all, at least one."""
    return int(most) if isinstance(most, numbers.Integral) else max(1, int(most * n_all))


def draw_columns(entropy: int, n_members: int, n_features: int, n_columns: int) -> list[np.ndarray]:
    """Columns of each member, in ascending order; those of member i do not depend on how many members there are.

    Parameters
    ----------
    entropy : int
        As returned by `draw_entropy`.
    n_members, n_features, n_columns : int

    Returns
    -------
    list of ndarray of int of shape (n_columns,)
    """
    # Children of the sequences that give the members' seeds: the seeds stay as they are without columns.
    sequences = [np.random.SeedSequence(entropy, spawn_key=(i, 0)) for i in range(n_members)]
    generators = map(np.random.default_rng, sequences)
    return [np.sort(generator.choice(n_features, n_columns, replace=False)) for generator in generators]


def draw_rows(seeds: Sequence[int], n_samples: int, n_drawn: int, *, replace: bool) -> list[np.ndarray]:
    """Rows of each member, in ascending order."""
    # Separate generators: the seed itself gives the order in which the rows are visited.
    generators = [np.random.default_rng([seed, n_samples]) for seed in seeds]
    return [np.sort(generator.choice(n_samples, n_drawn, replace=replace)) for generator in generators]


def rows_left_out(rows: Sequence[np.ndarray], n_samples: int) -> np.ndarray:
    """Which rows each member did not draw, (n_members, n_samples)."""
    left_out = np.ones((len(rows), n_samples), bool)
    for i, drawn in enumerate(rows):
        left_out[i, drawn] = False
    return left_out


def validation_rows(left_out: np.ndarray) -> list[np.ndarray]:
    """Rows on which each member is validated: the same number for each, so that they train together, evenly spread."""
    n_rows = left_out.sum(axis=1).min()
    if n_rows == 0:
        raise ValueError("`oob_validation` needs rows that every member leaves out: one of them drew all rows.")
    rows = [np.flatnonzero(row) for row in left_out]
    return [row[np.arange(n_rows) * len(row) // n_rows] for row in rows]


def check_param_distributions(estimator: Any, distributions: Any) -> None:
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
    if any(name.split("__")[-1] == "random_state" for name in names):
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
    return [
        {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
        for params in drawn
    ]


def with_params(estimator: BaseEstimator, params: Sequence[dict[str, Any]]) -> list[BaseEstimator]:
    """Copies of an estimator with these parameters."""
    return [clone(estimator).set_params(**clone(one, safe=False)) for one in params]
