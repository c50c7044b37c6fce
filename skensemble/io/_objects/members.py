"""Members: lists of them, stacks of those that were trained together, and the states of one run."""

import copy
from collections.abc import Sequence

import numpy as np

from skensemble._engine.fitted import FittedMembers
from skensemble._engine.forward import stack_values
from skensemble._engine.records import Variables
from skensemble._engine.stacked_members import StackedMember, StackedMembers
from skensemble._engine.trajectory import EpochStates
from skensemble._engine.variables import write_state
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._objects.models import named_values, optimizer_values_for, values_for
from skensemble.io._objects.networks import write_prototype
from skensemble.io._objects.probe import check_probe, write_probe


def write_members(members, writer):
    """Node of the fitted members of an ensemble."""
    writer.member_lists.append(members)
    entries = []
    for entry in members.entries():
        number = writer.add(entry.stack if isinstance(entry, StackedMember) else entry)
        if number is None:
            raise PersistenceError(
                f"The member {type(entry).__name__} cannot be saved: skensemble.io writes Keras networks and "
                "estimators that derive from scikit-learn's BaseEstimator. Save with joblib, or leave it out."
            )
        entries.append([number, entry.index] if isinstance(entry, StackedMember) else number)
    return {"entries": entries}


def read_members(node, number, reader):
    """The fitted members of an ensemble."""

    def read(entry):
        return StackedMember(reader.object(entry[0]), entry[1]) if isinstance(entry, list) else reader.object(entry)

    entries = _OnDemand(lambda i: read(node["entries"][i]), len(node["entries"]))
    return FittedMembers(entries if reader.lazy else list(entries))


def write_stacked(trained, writer):
    """Node of members that were trained together: a prototype, and the variables of each."""
    name = type(trained.prototype).__name__
    where = f"A member of {name}"
    node = {
        "prototype": writer.add(trained.prototype, write_prototype),
        "seeds": [int(seed) for seed in trained.seeds],
        "histories": [writer.encode(history, f"The history of {where}") for history in trained.histories],
        "optimizer": None,
    }
    values = [trained.values(k)[:2] for k in range(len(trained.seeds))]
    node["variables"] = [writer.add_variables(named_values(*value), where) for value in values]
    if writer.include_optimizer and trained.variables.optimizer:
        node["optimizer"] = writer.add_optimizer(trained.variables.optimizer, where)
    model = trained.prototype.model_
    for k, value in enumerate(values):
        write_state(model, value)
        write_probe(model, where, f"object{writer.next_number}/{k:05}", writer)
    return node


def write_epoch_states(states, writer):
    """Node of the states of one run, at the ends of some epochs."""
    return write_stacked(states, writer) | {"epochs": [int(epoch) for epoch in states.epochs]}


def read_stacked(node, number, reader):
    """Members that were trained together."""
    prototype, values, histories = _parts(node, number, reader)
    if reader.lazy and node["optimizer"] is None:
        return LazyStackedMembers(prototype, node["seeds"], values, histories)
    variables = _read_variables(node, number, reader, values, [(len(values),)])
    return StackedMembers(prototype, node["seeds"], variables, histories)


def read_epoch_states(node, number, reader):
    """The states of one run; the variables of the optimizer may be those of the newest state only."""
    prototype, values, histories = _parts(node, number, reader)
    variables = _read_variables(node, number, reader, values, [(len(values),), (1,)])
    return EpochStates(prototype, node["seeds"], variables, histories, node["epochs"])


def _parts(node, number, reader):
    """The prototype of members that were trained together, their variables, on demand, and their histories."""
    prototype = reader.object(node["prototype"])
    if getattr(prototype, "model_", None) is None:
        raise FormatError(f"The members of object {number} must have a prototype with a model.")
    model, entries = prototype.model_, node["variables"]
    values = _OnDemand(lambda k: values_for(model, reader.arrays(entries[k]), entries[k]), len(entries))
    histories = [reader.decode(history) for history in node["histories"]]
    if not all(isinstance(history, dict) for history in histories):
        raise FormatError(f"The members of object {number} must have a dict as history of each.")
    return prototype, values, histories


def _read_variables(node, number, reader, values, stacked):
    """`Variables` of members that were trained together; `stacked` is as in `optimizer_values_for`."""
    model = reader.object(node["prototype"]).model_
    write_state(model, values[0])
    check_probe(model, f"Object {number}", f"object{number}/00000", reader)
    optimizer = []
    if node["optimizer"] is not None:
        optimizer = optimizer_values_for(model, reader.arrays(node["optimizer"]), node["optimizer"], stacked)
    return Variables(*_stack(values), optimizer)


class _OnDemand(Sequence):
    """Items that are made when they are first used, and kept."""

    def __init__(self, make, length):
        self._make, self._items = make, [None] * length

    def __len__(self):
        return len(self._items)

    def __getitem__(self, i):
        if self._items[i] is None:
            self._items[i] = self._make(i)
        return self._items[i]


class LazyStackedMembers(StackedMembers):
    """Members whose variables are read from the file when they are used.

    Parameters
    ----------
    prototype : scikeras estimator
    seeds : list of int
    values : sequence of (trainable, non_trainable)
        Of each member.
    histories : list of dict of str to list of float
    """

    def __init__(self, prototype, seeds, values, histories):
        self.prototype, self.seeds, self.histories = prototype, seeds, histories
        self._values = values

    def __reduce_ex__(self, protocol):
        return _itself, (self._read_all(),)

    def __deepcopy__(self, memo):
        return copy.deepcopy(self._read_all(), memo)

    def _read_all(self):
        return StackedMembers(self.prototype, self.seeds, self.variables, self.histories)

    @property
    def variables(self):
        """Variables of all members, stacked."""
        return Variables(*_stack(self._values), [])

    def values(self, k):
        """Variables of member `k`."""
        return Variables(*self._values[k], [])

    def predict(self, copies, built, X):
        """Outputs of some members; see `StackedMembers`."""
        values = [self.values(k)[:2] if copy is None else copy.values() for k, copy in zip(copies, built, strict=True)]
        return self._outputs(stack_values(values), X)


def _itself(value):
    return value


def _stack(values):
    return tuple([np.stack(one) for one in zip(*part, strict=True)] for part in zip(*values, strict=True))
