"""A fitted estimator to the manifest and the entries of a file."""

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skensemble._compat.scikeras import BaseWrapper
from skensemble._files.arrays import write_arrays
from skensemble._files.strict_json import write_json
from skensemble._wrappers.adapters import as_member
from skensemble.io._errors import PersistenceError
from skensemble.io._manifest import FORMAT, FORMAT_VERSION, architecture_entry
from skensemble.io._objects import probe
from skensemble.io._objects.estimators import holds_network
from skensemble.io._objects.kinds import KINDS
from skensemble.io._values.typed_json import Encoder
from skensemble.io._versions import versions


class Writer:
    """Collects the objects and entries of a file; how an object of each kind is written is in `_objects/`.

    Parameters
    ----------
    include_optimizer : bool
        Whether variables of optimizers are written.
    check_finite : bool
        Whether networks with NaN are an error.

    Attributes
    ----------
    own_classes : dict of str to type
        The user's own layers in the networks.
    member_lists : list of FittedMembers
        In the order in which they were written.
    probe : dict of str to ndarray
        What the networks predict for random rows.
    encode : callable
        `encode(value, where)` returns typed JSON, see `Encoder.encode`.
    """

    def __init__(self, *, include_optimizer, check_finite):
        self.include_optimizer, self.check_finite = include_optimizer, check_finite
        self.own_classes, self.member_lists, self.probe = {}, [], {}
        self._nodes, self._numbers, self._kept = [], {}, []
        self._architectures, self._members, self._parts = {}, {}, {}
        self._encoder = Encoder(self.add)
        self.encode = self._encoder.encode

    def write(self, estimator, metadata):
        """The manifest, and the entries in order.

        Parameters
        ----------
        estimator : fitted estimator
        metadata : object of JSON's types

        Returns
        -------
        manifest : dict
        entries : dict of str to bytes
        """
        _check_root(estimator)
        root = self.add(estimator)
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "versions": versions(),
            "metadata": metadata,
            "root": root,
            "objects": self._nodes,
            "n_architectures": len(self._architectures),
            "probe": {"n_rows": probe.N_ROWS} if self.probe else None,
        }
        entries = {"arrays.safetensors": write_arrays(self._encoder.arrays)}
        entries |= {architecture_entry(i): data for i, data in enumerate(self._architectures)}
        entries |= self._members | self._parts
        if self.probe:
            entries["probe.safetensors"] = write_arrays(self.probe)
        return manifest, entries

    def add(self, value, write=None):
        """Number of an object, which is written when it is first met; None for what is not an object.

        Parameters
        ----------
        value : object
        write : callable, default=None
            What makes its node, instead of what its kind has for that: a `write` as in `Kind`.
        """
        if id(value) in self._numbers:
            number = self._numbers[id(value)]
            if number is None:
                raise PersistenceError(f"{type(value).__name__} cannot be saved: it contains itself.")
            return number
        member = as_member(value)
        kind = next((kind for kind in KINDS.values() if kind.accepts(member)), None)
        if kind is None:
            return None
        self._numbers[id(value)] = None
        self._kept += [value, member]  # so that their ids are not used again
        node = (write or kind.write)(member, self)
        self._numbers[id(value)] = self.next_number
        self._nodes.append({"kind": kind.name, **node})
        return self._numbers[id(value)]

    @property
    def next_number(self):
        """Number of the object that is written next."""
        return len(self._nodes)

    def add_architecture(self, config):
        """Number of an architecture; those that are alike share one."""
        return self._architectures.setdefault(write_json(config), len(self._architectures))

    def add_variables(self, values, where):
        """Name of the entry for named values of a network's variables."""
        return self._add_tensors(values, where, "", check_finite=self.check_finite)

    def add_optimizer(self, values, where):
        """Name of the entry for the values of an optimizer's variables."""
        named = {f"optimizer/{i:05}": value for i, value in enumerate(values)}
        return self._add_tensors(named, where, ".optimizer", check_finite=False)

    def _add_tensors(self, values, where, ending, *, check_finite):
        arrays = {name: np.asarray(value) for name, value in values.items()}
        _check_numbers(arrays, where, check_finite=check_finite)
        name = f"members/{len(self._members):05}{ending}.safetensors"
        self._members[name] = write_arrays(arrays)
        return name

    def add_part(self, data):
        """Name of the entry for a scikit-learn estimator, as skops writes it."""
        name = f"meta/{len(self._parts):04}.skops"
        self._parts[name] = data
        return name


def _check_numbers(arrays, where, *, check_finite):
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise PersistenceError(f"{where} cannot be saved: it has variables of {array.dtype}.")
        if check_finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PersistenceError(
                f"{where} must have finite variables: {name} has NaN or infinite numbers. Train again with a smaller "
                "learning rate, or pass check_finite=False to save it as it is."
            )


def _check_root(estimator):
    if not isinstance(estimator, BaseEstimator):
        raise PersistenceError(
            f"Estimators can be saved: got {type(estimator).__name__}. Save a Keras model with its own `save`."
        )
    try:
        if isinstance(estimator, BaseWrapper) and not estimator.initialized_:
            raise ValueError("it has no model")
        check_is_fitted(estimator)
    except (ValueError, TypeError, AttributeError) as error:
        raise PersistenceError(f"{type(estimator).__name__} must be fitted before it is saved: {error}") from error
    if not holds_network(estimator):
        raise PersistenceError(f"{type(estimator).__name__} has no Keras network: save it with skops.io.dump.")
