"""What is sent to a worker and what comes back: data once, rows in few bytes, trained members as stacked arrays."""

import dataclasses
import pickle
import socket
import zlib
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from skensemble._compat.joblib import in_memory, open_memmap
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.initial_values import BuiltNetwork
from skensemble._engine.results import MemberResult
from skensemble._engine.stacked_members import StackedMember, StackedMembers
from skensemble._members.inputs import Inputs, TrainingData
from skensemble._members.spec import MemberSpec
from skensemble._numeric.host_rows import without_rows
from skensemble._numeric.lazy_rows import LazyRows
from skensemble._numeric.sparse_rows import with_rows

_INDICES = "sample_indices", "validation_indices", "columns"


# Data


class MappedArray:
    """A memory map on its way to a worker, which opens the same file: the rows are not sent.

    Parameters
    ----------
    array : ndarray
        The map, or a part of it.
    opening : (callable, tuple)
        As returned by `open_memmap`.
    """

    def __init__(self, array: np.ndarray, opening: tuple[Callable[..., np.ndarray], tuple]) -> None:
        self._open, self._arguments = opening
        self._check = _checksum(array)

    def open(self) -> np.ndarray:
        """The rows, in the worker.

        Raises
        ------
        FileNotFoundError
            Where the worker does not see the file, or sees a different one with that name.
        """
        try:
            array = self._open(*self._arguments)
        except (OSError, ValueError) as error:  # not there, or too short
            raise self._not_there() from error
        if _checksum(array) != self._check:
            raise self._not_there()
        return array

    def _not_there(self) -> FileNotFoundError:
        return FileNotFoundError(
            f"X is a memory map, whose file must be on a disk that all workers share: the worker on "
            f"{socket.gethostname()} does not find the same rows in {self._arguments[0]}. Put the file where all "
            "workers see it under this name, or give X as an array in memory, which is sent to them."
        )


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(array[-1:].tobytes(), zlib.crc32(array[:1].tobytes()))


class Arguments(NamedTuple):
    """`TrainingData` as arguments of a task, each of which joblib's backends send to a worker once for all its tasks.

    Attributes
    ----------
    floats, given : array-like, sparse matrix, LazyRows, MappedArray or None
        The two forms of X; None where the members of the part do not need it.
    y, sample_weight : ndarray
    """

    floats: Any
    given: Any
    y: np.ndarray
    sample_weight: np.ndarray | None

    def data(self, names: np.ndarray | None) -> TrainingData:
        """The data in the worker; `names` are those of the columns."""
        floats, given = (one.open() if isinstance(one, MappedArray) else one for one in (self.floats, self.given))
        return TrainingData(Inputs(given, with_rows(floats), names), self.y, self.sample_weight)


def as_arguments(data: TrainingData) -> Arguments:
    """Data on the way to workers; memory maps as the names of their files, lazily indexed arrays as they pickle."""
    floats = _on_the_way(data.X.floats)
    given = floats if data.X.given is data.X.floats else _on_the_way(data.X.given)
    return Arguments(floats, given, data.y, data.sample_weight)


def _on_the_way(form: Any) -> Any:
    if isinstance(form, LazyRows):
        _check_travels(form)
        return form
    form = without_rows(form)
    if not isinstance(form, np.ndarray) or not len(form):
        return form
    form = in_memory(form)
    opening = open_memmap(form)
    return form if opening is None else MappedArray(form, opening)


def _check_travels(rows: LazyRows) -> None:
    """Raise where an array that is read when it is indexed cannot be opened again by a worker."""
    try:
        pickle.dumps(rows.array)
    except Exception as error:  # as many types as there are packages
        kind = type(rows.array)
        raise TypeError(
            f"With `n_jobs` above 1 each worker opens X by itself, so X must be something that can be pickled: got "
            f"{kind.__module__}.{kind.__qualname__}, which cannot ({error}). Use n_jobs=None, or give X as a memory "
            "map (`numpy.load(path, mmap_mode='r')`), which workers open by its name."
        ) from error


def needed(arguments: Arguments, members: Mapping[int, MemberSpec], *, is_watched: bool = False) -> Arguments:
    """The same without the form of X that none of the members is trained on; callbacks see X as it was given."""
    networks = [isinstance(member.estimator, BaseWrapper) for member in members.values()]
    return arguments._replace(
        floats=arguments.floats if any(networks) else None,
        given=None if all(networks) and not is_watched else arguments.given,
    )


# Members


class PackedIndices(NamedTuple):
    """Indices in as few bytes as they take.

    Attributes
    ----------
    values : ndarray of unsigned int
        The indices; or a bit for each of `n_bits` numbers from 0, which says whether it is among them.
    n_bits : int or None
        None where `values` are the indices.
    """

    values: np.ndarray
    n_bits: int | None

    @classmethod
    def of(cls, indices: np.ndarray) -> "PackedIndices":
        """Pack indices that are not negative."""
        most = int(indices.max())
        small = indices.astype(np.min_scalar_type(most))
        if small.nbytes > most // 8 and np.all(indices[1:] > indices[:-1]):
            is_in = np.zeros(most + 1, bool)
            is_in[indices] = True
            return cls(np.packbits(is_in), most + 1)
        return cls(small, None)

    def indices(self) -> np.ndarray:
        """The indices as they were."""
        if self.n_bits is None:
            return self.values.astype(np.intp)
        return np.flatnonzero(np.unpackbits(self.values, count=self.n_bits))


def pack(members: Mapping[int, MemberSpec]) -> dict[int, MemberSpec]:
    """Members on the way to a worker: their indices packed, equal arrays once."""
    return _with_indices(
        members,
        lambda one: PackedIndices.of(one) if isinstance(one, np.ndarray) and len(one) and one.min() >= 0 else one,
    )


def unpack(members: Mapping[int, MemberSpec]) -> dict[int, MemberSpec]:
    """Members in the worker, as they were."""
    return _with_indices(members, lambda one: one.indices() if isinstance(one, PackedIndices) else one)


def _with_indices(members: Mapping[int, MemberSpec], change: Callable[[Any], Any]) -> dict[int, MemberSpec]:
    changed: dict[int, Any] = {}  # what is one object stays one: members are grouped by that

    def of(value: Any) -> Any:
        if id(value) not in changed:
            changed[id(value)] = change(value)
        return changed[id(value)]

    return {
        i: dataclasses.replace(member, **{name: of(getattr(member, name)) for name in _INDICES})
        for i, member in members.items()
    }


# Results


def without_networks(
    results: Mapping[int, MemberResult], members: Mapping[int, MemberSpec], known: frozenset[int]
) -> dict[int, MemberResult]:
    """Results on the way back: only stacked arrays for members whose networks are `known` where they go.

    Values of optimizers are left out for members that only predict.
    """
    stacks: dict[Any, list[int]] = {}
    for i, result in results.items():
        if i in known and isinstance(result.member, StackedMember):
            stacks.setdefault((id(result.member.stack), members[i].keeps_optimizer), []).append(i)
    light = dict(results)
    for (_, keeps_optimizer), numbers in stacks.items():
        trained: list[Any] = [results[i].member for i in numbers]
        stack, places = trained[0].stack, [one.index for one in trained]
        optimizer = stack.variables.optimizer if keeps_optimizer else ()
        variables = stack.variables._replace(optimizer=optimizer).map(np.asarray).map(itemgetter(places))
        own = StackedMembers(None, [stack.seeds[k] for k in places], variables, [stack.histories[k] for k in places])
        light |= {i: dataclasses.replace(results[i], member=StackedMember(own, k)) for k, i in enumerate(numbers)}
    return light


def with_networks(results: Mapping[int, MemberResult], networks: Mapping[int, BuiltNetwork]) -> None:
    """Give stacked arrays that came without their network the network of this process, in place."""
    for i, result in results.items():
        if isinstance(result.member, StackedMember) and result.member.stack.prototype is None:
            result.member.stack.prototype = networks[i].estimator
