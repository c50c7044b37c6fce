"""The kinds of objects: what is of a kind, and how it becomes a node of the manifest and comes back."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
from sklearn.base import BaseEstimator

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.stacked_members import StackedMembers
from skensemble._engine.trajectory import EpochStates
from skensemble.io._objects.classes import public_paths
from skensemble.io._objects.estimators import holds_network, read_estimator, write_estimator
from skensemble.io._objects.members import (
    read_epoch_states,
    read_members,
    read_stacked,
    write_epoch_states,
    write_members,
    write_stacked,
)
from skensemble.io._objects.models import read_model, write_model
from skensemble.io._objects.networks import read_network, write_network
from skensemble.io._objects.skops_parts import read_skops, write_skops
from skensemble.io._values.codec import is_a


class Kind(NamedTuple):
    """Both directions of one kind of object.

    Attributes
    ----------
    name : str
        What manifests call it; its keys are in `_manifest.py`.
    accepts : callable
        `accepts(value)`: whether an object is of this kind.
    write : callable
        `write(value, writer)` returns the node of the manifest, a dict without the kind.
    read : callable
        `read(node, number, reader)` returns the object.
    """

    name: str
    accepts: Callable[[Any], bool]
    write: Callable[[Any, Any], dict]
    read: Callable[[dict, int, Any], Any]


def _is_estimator(value):
    if isinstance(value, BaseKerasEnsemble) or type(value) in public_paths():
        return True
    return isinstance(value, BaseEstimator) and holds_network(value)


def _is_of_sklearn(value):
    return isinstance(value, BaseEstimator) or type(value).__module__.partition(".")[0] == "sklearn"


def _write_part(value, writer):
    return {"entry": writer.add_part(write_skops(value, type(value).__name__))}


def _read_part(node, number, reader):
    return read_skops(reader.container.read(node["entry"]), reader.trusted)


#: An object is of the first kind that accepts it.
KINDS = {
    kind.name: kind
    for kind in (
        Kind("model", is_a(keras.Model), write_model, read_model),
        Kind("network", is_a(BaseWrapper), write_network, read_network),
        Kind("epoch_states", is_a(EpochStates), write_epoch_states, read_epoch_states),
        Kind("stacked_members", is_a(StackedMembers), write_stacked, read_stacked),
        Kind("members", is_a(FittedMembers), write_members, read_members),
        Kind("estimator", _is_estimator, write_estimator, read_estimator),
        Kind("skops", _is_of_sklearn, _write_part, _read_part),
    )
}
