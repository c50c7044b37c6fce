"""Results of training: of one member, of the members of an ensemble, of one run with states that were kept."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from skensemble._engine.fitted import FittedMembers
from skensemble._engine.stacked_members import FittedMember
from skensemble._engine.trajectory import EpochStates


@dataclasses.dataclass(frozen=True, eq=False)
class MemberResult:
    """The result of training one member.

    Attributes
    ----------
    member : fitted estimator or StackedMember
    engine, reason : str or None
        As in `TrainedMembers`; None for a member that trained no network.
    recorded : dict or None
        Of a run that was read from a checkpoint: the state of its recorder.
    """

    member: FittedMember
    engine: str | None = None
    reason: str | None = None
    recorded: Mapping[str, Any] | None = None


class TrainedMembers(NamedTuple):
    """Result of `fit_members`.

    Attributes
    ----------
    estimators : FittedMembers
        In the order of the members.
    engine : str
        "fused", "keras", "fused and keras", or "none" where no network was trained; networks in other estimators count,
        too.
    reason : str
        Why this engine was used.
    """

    estimators: FittedMembers
    engine: str
    reason: str


class TrainedRun(NamedTuple):
    """Result of `fit_trajectory`.

    Attributes
    ----------
    checkpoints : EpochStates
        The states that were kept, oldest first; None where the run stopped before there was one.
    n_epochs : int
        Epochs that were trained.
    rates : ndarray of shape (n_epochs, n_steps) or None
        The learning rate of each step, where the trajectory set it.
    sample_indices : ndarray of int
        Rows that were trained on.
    batch_size : int
    engine, reason : str
        As in `TrainedMembers`.
    """

    checkpoints: EpochStates | None
    n_epochs: int
    rates: np.ndarray | None
    sample_indices: np.ndarray
    batch_size: int
    engine: str | None
    reason: str | None
