"""Candidates that are as good as the best one, up to rounding."""

import warnings
from typing import Any

import numpy as np

from skensemble._compat.python import find_stacklevel

#: Scores with a relative difference below the first may be ranked the other way round where fits are trained one by
#: one; those below the second are equal except for the order in which a mean adds them up.
_LARGEST, _SMALLEST = 1e-6, 1e-12


def warn_of_near_ties(search: Any) -> None:
    """Warn where other scores are those of the best candidate up to rounding, but not exactly.

    Parameters
    ----------
    search : fitted search of scikit-learn
    """
    name = f"mean_test_{search.refit if isinstance(search.refit, str) else 'score'}"
    if not hasattr(search, "best_index_") or name not in search.cv_results_:
        return
    scores = np.asarray(search.cv_results_[name], "float64")
    best = scores[search.best_index_]
    distances = np.abs(scores - best) / max(abs(best), np.finfo("float64").tiny)
    is_near = (distances > _SMALLEST) & (distances <= _LARGEST)
    if "iter" in search.cv_results_:
        is_near &= search.cv_results_["iter"] == search.cv_results_["iter"][search.best_index_]
    if is_near.any():
        warnings.warn(
            f"The candidates {np.flatnonzero(is_near).tolist()} have the score of the best one, "
            f"{int(search.best_index_)}, up to the rounding of floats: {best:.9g}. Rounding "
            "decides which of them is the best. Choose by other criteria, with a function as `refit`.",
            UserWarning,
            stacklevel=find_stacklevel(),
        )
