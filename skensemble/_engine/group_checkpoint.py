"""What the engine asks of the directory in which a fit keeps its state; `_checkpoint` writes and reads it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from skensemble._engine.ensemble_stopping import EnsembleStopping, StoppingRule
from skensemble._engine.results import MemberResult
from skensemble._engine.trajectory import Trajectory, TrajectoryRecorder
from skensemble._members.inputs import TrainingData
from skensemble._members.spec import MemberSpec


class GroupCheckpoint(Protocol):
    """Where members that are trained together keep what they have reached, and their result."""

    def load(self) -> Mapping[str, Any] | None:
        """What the members had reached; None where there is nothing."""

    def start(self, n_bytes: int) -> None:
        """Begin to measure time; the state takes `n_bytes`."""

    def save(self, make_state: Callable[[], Mapping[str, Any]]) -> None:
        """Write what `make_state` gives if it is time for that."""

    def finish(self, results: Sequence[MemberResult], recorder: TrajectoryRecorder | EnsembleStopping | None) -> None:
        """Write the results of the members."""


class Checkpoint(Protocol):
    """What is kept of the members of one fit."""

    def begin(
        self,
        members: Sequence[MemberSpec],
        data: TrainingData,
        engine: str,
        *,
        first: int = 0,
        run: Trajectory | StoppingRule | None = None,
    ) -> dict[int, MemberResult]:
        """Results of the members that were finished, by their numbers; raises where the fit is a different one."""

    def part(self, numbers: Sequence[int]) -> GroupCheckpoint:
        """That of members that are trained together."""

    def clean(self, members: Sequence[MemberSpec]) -> None:
        """Remove what is no longer needed now that all members are finished."""
