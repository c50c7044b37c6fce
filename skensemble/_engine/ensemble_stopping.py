"""Early stopping of all members together, by the loss of their combined prediction."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skensemble._engine.fitted import FittedMembers
from skensemble._engine.plan import TrainingPlan
from skensemble._engine.records import Variables
from skensemble._engine.stacked_members import StackedMember
from skensemble.exceptions import NotFusableError

_WAY_OUT = (
    "Give the members Keras' EarlyStopping as `callbacks`, which stops each of them alone, or pass early_stopping=None."
)


@dataclasses.dataclass(frozen=True)
class StoppingRule:
    """When the training ends, as in scikit-learn's `MLPClassifier`.

    Attributes
    ----------
    n_iter_no_change : int
        Training ends after more epochs than this, one after the other, without an improvement.
    tol : float
        How much the loss must fall to count as an improvement.
    combined_by : tuple
        How members are combined, which also decides when training ends.
    """

    n_iter_no_change: int
    tol: float
    combined_by: tuple = ()

    def facts(self) -> list:
        """What can be compared with another rule."""
        return ["early stopping", self.n_iter_no_change, self.tol, *self.combined_by]


class EnsembleStopping:
    """Follows the training of a group and keeps the variables of the best epoch.

    Parameters
    ----------
    rule : StoppingRule
    loss : callable
        Takes `FittedMembers`, returns the loss of their combined prediction on rows that none of them is trained on.

    Attributes
    ----------
    losses : list of float
        After each epoch.
    best_epoch : int
        Epoch with the lowest loss, counted from 1; 0 where no loss was finite.
    """

    def __init__(self, rule: StoppingRule, loss: Callable[[FittedMembers], float]) -> None:
        self.rule, self._loss = rule, loss
        self.losses: list[float] = []
        self.best_epoch = 0
        self._best: Variables | None = None
        self._n_without = 0

    def end_epoch(self, members: Sequence[StackedMember], variables: Variables) -> bool:
        """Take the loss after an epoch; returns whether the training is to end.

        Parameters
        ----------
        members : list of StackedMember
            The members as they are now.
        variables : Variables
            Variables of all members, as arrays.
        """
        loss = float(self._loss(FittedMembers(members)))
        best = self.losses[self.best_epoch - 1] if self.best_epoch else math.inf
        self.losses.append(loss)
        self._n_without = 0 if loss < best - self.rule.tol else self._n_without + 1
        if loss < best:
            self.best_epoch = len(self.losses)
            self._best = variables.map(np.array)
        return self._n_without > self.rule.n_iter_no_change

    def best(self, last: Variables) -> Variables:
        """Variables of the best epoch; `last` where no loss was finite."""
        return last if self._best is None else self._best

    def state(self) -> dict[str, Any]:
        """What was learned since the start, as plain data and arrays."""
        best = None if self._best is None else [list(part) for part in self._best]
        return {"losses": self.losses, "epoch": self.best_epoch, "best": best, "n_without": self._n_without}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`."""
        self.losses, self.best_epoch, self._n_without = list(state["losses"]), state["epoch"], state["n_without"]
        self._best = None if state["best"] is None else Variables(*state["best"])


def check_one_program(plan: TrainingPlan) -> None:
    """Raise where the members are not trained together by one program, so that nothing stops them together."""
    if plan.alone:
        raise cannot_stop_together(plan.reasons.get(plan.alone[0], "members are trained by fits of their own"))
    if len(plan.groups) > 1:
        raise cannot_stop_together(f"{len(plan.groups)} programs train the members, one after the other")
    if plan.groups[0].members[0].has_callbacks:
        raise cannot_stop_together("the members have Keras callbacks, which act on each of them alone")


def cannot_stop_together(reason: str) -> NotFusableError:
    """The error where members cannot be stopped together."""
    return NotFusableError(
        f"`early_stopping='ensemble'` needs all members side by side in one program, without Keras callbacks: "
        f"{reason}. {_WAY_OUT}"
    )
