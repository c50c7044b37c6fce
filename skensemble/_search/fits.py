"""The fits of a search, trained together: in this process, or in parts by workers."""

from collections.abc import Sequence
from typing import Any, Protocol

from skensemble._engine.backend import use_share_of_cores
from skensemble._engine.fused.group_run import ASKED
from skensemble._engine.initial_values import KEPT, KeptNetworks
from skensemble._search.common_programs import CommonPrograms
from skensemble._search.scheduling import Turn, take_turns

#: Fits that wait to be trained together have at most this many bytes of data and variables.
WAITING_BYTES = 2**30

#: Where a result has the estimator and the rows that it was trained on; None where its fit failed.
KEPT_NETWORK = "skensemble: estimator and rows"


class Fit(Protocol):
    """A fit and its scores, as scikit-learn hands them to joblib.

    Attributes
    ----------
    items : list of tuple
        The function that fits, its arguments, the first of which is the estimator, and those by name.
    """

    items: list[tuple[Any, Sequence[Any], dict[str, Any]]]

    def __call__(self) -> list[dict[str, Any]]:
        """A list with the scores and times of each."""


def run_fits(fits: Sequence[Fit], keeps: bool = False) -> list[list[dict[str, Any]]]:
    """What the fits return, in order; with `keeps`, including the fitted estimators and their rows."""
    use_share_of_cores()
    token = KEPT.set(KeptNetworks())
    try:
        turns = take_turns(fits, CommonPrograms().answer, ASKED, WAITING_BYTES)
    finally:
        KEPT.reset(token)
    results = [_with_own_time(turn) for turn in turns]
    if keeps:
        for fit, of_fit in zip(fits, results, strict=True):
            for (_, arguments, given), result in zip(fit.items, of_fit, strict=True):
                if "train" in given:  # otherwise a part of the fit on all rows
                    result[KEPT_NETWORK] = None if result.get("fit_error") else (arguments[0], given["train"])
    return results


def _with_own_time(turn: Turn) -> list[dict[str, Any]]:
    """The result of a fit, with the time of the fit alone: its own, and its share of the joint training."""
    for result in turn.result:
        if isinstance(result, dict) and "fit_time" in result:
            result["fit_time"] = max(0.0, result["fit_time"] - turn.waited) + turn.answered
    return turn.result
