"""A warning about fitted members that are the same."""

import pickle
import warnings
from collections.abc import Sequence
from typing import Any

import joblib
import numpy as np

from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.stacked_members import BuiltMember, FittedMember, StackedMember
from skensemble._members.lazy_networks import LoadedAnew
from skensemble._members.spec import is_frozen, unwrapped


def warn_of_equal_members(members: FittedMembers, names: Sequence[str] | None = None) -> None:
    """Warn where the same fitted network, or other fitted estimator, occurs several times.

    Parameters
    ----------
    members : FittedMembers
    names : list of str, default=None
        Names of the members in the message; None means their numbers.
    """
    groups: dict[Any, list[int]] = {}
    entries = members.entries()
    for i, entry in enumerate(entries):
        key = _identity(entry)
        if key is not None:
            same = groups.setdefault(key, [])
            if not same or _have_equal_values(entries[same[0]], entry):
                same.append(i)
    for same in groups.values():
        if len(same) > 1:
            warnings.warn(
                f"Members {[i if names is None else names[i] for i in same]} are equal: they count as one with several "
                "times its weight, and say nothing about uncertainty. Train them with different seeds "
                "(random_state=None draws one for each) or on other rows, or load another file.",
                stacklevel=find_stacklevel(),
            )


def _identity(entry: FittedMember) -> Any:
    """What equal members share and different ones hardly ever do, found without comparing all; None for no match."""
    fitted = unwrapped(entry)
    if not _has_values(fitted):
        try:
            return joblib.hash(fitted) if is_frozen(entry) else None
        except pickle.PicklingError:
            return None
    values = _values_of(fitted)
    if not values:
        return None
    return tuple(value.shape for value in values), joblib.hash(np.asarray(values[0]))


def _has_values(fitted: Any) -> bool:
    """Whether a member is a network in memory; those in files are equal where the file is the same."""
    return isinstance(fitted, StackedMember | BaseWrapper) and not isinstance(fitted, LoadedAnew)


def _values_of(fitted: FittedMember) -> list:
    """Variables of a network that training or building gives a value: seeds and counters are left out."""
    trainable, non_trainable = (
        fitted.values()[:2] if isinstance(fitted, StackedMember) else BuiltMember(fitted).values()
    )
    return [value for value in (*trainable, *non_trainable) if np.dtype(str(np.asarray(value).dtype)).kind not in "biu"]


def _have_equal_values(entry: FittedMember, other: FittedMember) -> bool:
    entry, other = unwrapped(entry), unwrapped(other)
    if not _has_values(entry):
        return True  # their hashes are equal
    return all(np.array_equal(*pair) for pair in zip(_values_of(entry), _values_of(other), strict=True))
