"""The warning of members that diverged, whose loss is not a finite number."""

import math
import warnings

from sklearn.exceptions import ConvergenceWarning

from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.execution import Results
from skensemble._engine.partial_fit import history_of_member
from skensemble._engine.stacked_members import FittedMember, StackedMember


def warn_of_divergence(results: Results) -> None:
    """Warn of members whose training loss in the last epoch is not finite."""
    diverged = [i for i, result in sorted(results.items()) if not math.isfinite(_final_loss(result.member))]
    if diverged:
        warnings.warn(
            f"The loss of members {diverged} is not finite: they diverged, and their predictions are not usable. "
            "Lower the learning rate, scale the features, or clip the gradients.",
            ConvergenceWarning,
            stacklevel=find_stacklevel(),
        )


def _final_loss(member: FittedMember) -> float:
    """Its training loss in the last epoch, 0 for a member without epochs or that is not a network."""
    is_network = isinstance(member, StackedMember | BaseWrapper)
    losses = history_of_member(member).get("loss") if is_network else None
    return losses[-1] if losses else 0.0
