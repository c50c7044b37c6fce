"""The networks that a search has kept, and the rows that each of them was not trained on."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator


def networks_of(search: Any, n_samples: int) -> tuple[list[tuple[str, BaseEstimator]], np.ndarray]:
    """Names and networks of a fitted search, and which of the rows each left out, bool of (n_networks, n_samples).

    Parameters
    ----------
    search : search of `skensemble.model_selection`
    n_samples : int
        Rows of its fit.

    Raises
    ------
    ValueError
        Where the search has kept no networks, or was fitted on other rows.
    """
    kept, rows = (getattr(search, name, None) for name in ("estimators_", "_rows_of_networks"))
    if kept is None or rows is None:
        raise ValueError(
            "`search` must have kept its networks: fit a search of skensemble.model_selection with "
            f"return_estimator=True. Got {type(search).__name__} without it."
        )
    named, left_out = [], []
    for candidate, (networks, of_folds) in enumerate(zip(kept, rows, strict=True)):
        for fold, (network, trained) in enumerate(zip(networks, of_folds, strict=True)):
            if network is None:
                continue
            trained = np.asarray(trained)
            if trained.dtype == bool:  # a splitter may give rows as a mask
                trained = np.flatnonzero(trained)
            if trained.max() >= n_samples:
                raise ValueError(
                    f"X and y must be those of the search: got {n_samples} rows, but it was fitted on {trained.max()} "
                    "or more."
                )
            named.append((f"candidate_{candidate}_fold_{fold}", network))
            left_out.append(~np.isin(np.arange(n_samples), trained))
    if not named:
        raise ValueError("`search` must have fitted at least one network: all of its fits failed.")
    return named, np.stack(left_out)
