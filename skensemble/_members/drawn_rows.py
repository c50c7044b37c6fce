"""Rows and columns that each member draws: how many, which, and which rows it leaves out."""

import numbers
from collections.abc import Sequence

import numpy as np


def count_rows(max_samples: int | float, n_samples: int, *, replace: bool) -> int:
    """How many rows each member draws.

    Raises
    ------
    ValueError
        Where, without replacement, there are fewer rows.
    """
    is_count = isinstance(max_samples, numbers.Integral)
    n_drawn = int(max_samples) if is_count else max(1, int(max_samples * n_samples))
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
    is_count = isinstance(max_features, numbers.Integral)
    if not is_count and max_features == 1:
        return None
    if len(row_shape) != 1:
        raise ValueError(
            "`max_features` needs X of two dimensions, whose columns can be drawn: got "
            f"max_features={max_features} for rows of shape {row_shape}. Set max_features=1.0, so that members take "
            "all of X."
        )
    (n_features,) = row_shape
    n_columns = int(max_features) if is_count else max(1, int(max_features * n_features))
    if n_columns > n_features:
        raise ValueError(
            f"`max_features` must not exceed the columns of X: got max_features={max_features} for {n_features} "
            "columns."
        )
    return n_columns if n_columns < n_features else None


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
