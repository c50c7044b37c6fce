"""The fits of a search, trained together: in this process, or in parts by workers."""

from collections.abc import Callable, Sequence
from typing import Any

from skensemble._engine.backend import use_share_of_cores
from skensemble._engine.initial_values import KEPT, KeptNetworks
from skensemble._engine.together import ASKED, CommonPrograms
from skensemble._search.turns import Turn, Turns

#: Fits that wait to be trained together have at most so many bytes of data and variables.
WAITING_BYTES = 2**30

#: A fit and its scores, as scikit-learn hands them to joblib: gives a list with a dict.
Fit = Callable[[], list[dict[str, Any]]]


def run_fits(fits: Sequence[Fit]) -> list[list[dict[str, Any]]]:
    """What the fits return, in their order."""
    use_share_of_cores()
    token = KEPT.set(KeptNetworks())
    try:
        turns = Turns(CommonPrograms().answer, ASKED, WAITING_BYTES).run(fits)
    finally:
        KEPT.reset(token)
    return [_with_own_time(turn) for turn in turns]


def _with_own_time(turn: Turn) -> list[dict[str, Any]]:
    """The result of a fit, whose time is its own and its share of the training together, without that of the others."""
    for result in turn.result:
        if isinstance(result, dict) and "fit_time" in result:
            result["fit_time"] = max(0.0, result["fit_time"] - turn.waited) + turn.answered
    return turn.result
