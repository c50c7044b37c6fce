"""Where the training of a member continues: the values that it has reached."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What a member has reached before it is trained further.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,) or None
        All labels, of which the rows may lack some; None for regressors and several labels per row.
    epoch : int, default=0
        How many epochs it was trained for.
    values : list of ndarray, default=None
        Of all variables of its network, in the order of `model.variables`; None for new ones.
    optimizer : list of ndarray, default=None
        Of the variables of its optimizer.
    phase : object, default=None
        Equal where the optimizer continues: its configuration, and which variables are trained.
    """

    classes: np.ndarray | None
    epoch: int = 0
    values: list[np.ndarray] | None = None
    optimizer: list[np.ndarray] | None = None
    phase: Any = None
