"""Fitted members in order, as a sequence whose items are built when they are first used."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from skensemble._compat.scikeras import BaseWrapper, fit_callbacks
from skensemble._engine.stacked_members import BuiltMember, FittedMember, StackedMember
from skensemble._members.pickling import CheckedPickling
from skensemble._members.spec import unwrapped


class FittedMembers(CheckedPickling, Sequence):
    """Fitted members in order; those of the fused training become scikeras estimators when they are first used.

    Building a small Keras model takes longer than the fused training of a member, and prediction does not need it.
    Compares with lists and adds to them like a list.

    Parameters
    ----------
    entries : iterable of fitted estimator or StackedMember
        A sequence is kept as it is, so that its items may be made when they are first used.

    Attributes
    ----------
    built : dict of int to BuiltMember
        Copies that were used, by their indices.
    """

    def __init__(self, entries: Iterable[FittedMember]) -> None:
        self._entries = entries if isinstance(entries, Sequence) else list(entries)
        self.built: dict[int, BuiltMember] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_entries": [self.current(i) for i in range(len(self))], "built": {}}

    def current(self, i: int) -> FittedMember:
        """Member `i`: its estimator if there is one, otherwise what was kept of it."""
        return self.built[i].estimator if i in self.built else self._entries[i]

    def stacked(self, i: int) -> StackedMember | None:
        """Member `i` if it is a copy without its own model, or still with the one it was built with."""
        entry = self._entries[i]
        if isinstance(entry, StackedMember) and (i not in self.built or self.built[i].is_current()):
            return entry
        return None

    def entries(self) -> list[FittedMember]:
        """Members as they can be kept: estimators, or StackedMember for unbuilt or unchanged copies."""
        return [
            self.built[i].estimator if i in self.built and not self.built[i].is_unchanged(entry) else entry
            for i, entry in enumerate(self._entries)
        ]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        entry = self._entries[i]
        if isinstance(entry, StackedMember) and i not in self.built:
            self.built[i] = BuiltMember(entry.build())
        return self.current(i)

    def __repr__(self) -> str:
        return repr(list(self))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return list(self) == list(other) if isinstance(other, FittedMembers | list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # mutable, as a list

    def __add__(self, other: Any) -> Any:
        if isinstance(other, list):
            return list(self) + other
        if not isinstance(other, FittedMembers):
            return NotImplemented
        both = FittedMembers([*self._entries, *other._entries])
        both.built = self.built | {len(self) + i: built for i, built in other.built.items()}
        return both

    def __radd__(self, other: Any) -> Any:
        return other + list(self) if isinstance(other, list) else NotImplemented

    def select(self, indices: Sequence[int]) -> "FittedMembers":
        """Some of the members; those that were not built yet stay unbuilt."""
        selected = FittedMembers(self._entries[i] for i in indices)
        selected.built = {new: self.built[i] for new, i in enumerate(indices) if i in self.built}
        return selected

    def callbacks(self) -> list[list[keras.callbacks.Callback]]:
        """The Keras callbacks that each member was trained with."""
        trained = [entry.stack.prototype if isinstance(entry, StackedMember) else entry for entry in self._entries]
        return [fit_callbacks(one) if hasattr(one, "_fit_callbacks") else [] for one in trained]

    def first_network(self) -> int | None:
        """Index of the first network; None where there is none."""
        return next((i for i, entry in enumerate(self._entries) if _is_network(entry)), None)

    def has_networks_only(self) -> bool:
        """Whether there is no member of another kind."""
        return all(map(_is_network, self._entries))


def _is_network(entry: FittedMember) -> bool:
    return isinstance(unwrapped(entry), StackedMember | BaseWrapper)
