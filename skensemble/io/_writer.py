"""Fitted estimators to the objects and entries of a file."""

import sys

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skensemble._adapters import as_member
from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.stacked import StackedMember, StackedMembers
from skensemble._engine.trajectory import EpochStates
from skensemble._engine.variables import write_state
from skensemble._files.strict_json import write_json
from skensemble._members.lazy_networks import in_memory
from skensemble.io._architecture import canonical_config, untrusted_names
from skensemble.io._container import digest
from skensemble.io._errors import PersistenceError
from skensemble.io._fitted_state import saved_attributes
from skensemble.io._manifest import (
    FORMAT,
    FORMAT_VERSION,
    NO_DIRECTORIES,
    TRUSTED_CLASSES,
    WITHOUT_PARAMS,
    architecture_entry,
)
from skensemble.io._networks import (
    PROBE_ROWS,
    compile_record,
    model_values,
    named_values,
    network_attributes,
    network_params,
    network_target,
    optimizer_values,
    own_classes,
    predict_probe,
    probe_rows,
    tensors_of,
)
from skensemble.io._skops import write_skops
from skensemble.io._values import Encoder
from skensemble.io._versions import versions


class Writer:
    """Takes an estimator apart.

    Parameters
    ----------
    include_optimizer : bool
        Whether variables of optimizers are written.
    check_finite : bool
        Whether networks with NaN are an error.

    Attributes
    ----------
    own_classes : dict of str to object
        The user's own layers and functions in the networks.
    member_lists : list of FittedMembers
        In the order in which they were written.
    """

    def __init__(self, *, include_optimizer, check_finite):
        self.include_optimizer, self.check_finite = include_optimizer, check_finite
        self.own_classes, self.member_lists = {}, []
        self._objects, self._numbers, self._kept = [], {}, []
        self._architectures, self._members, self._parts, self._probe = {}, {}, {}, {}
        self._encoder = Encoder(self._add)

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
        root = self._add(estimator)
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "versions": versions(),
            "metadata": metadata,
            "root": root,
            "objects": self._objects,
            "n_architectures": len(self._architectures),
            "probe": {"n_rows": PROBE_ROWS} if self._probe else None,
        }
        architectures = enumerate(self._architectures.values())
        entries = {"arrays.safetensors": tensors_of(self._encoder.arrays, "An attribute", check_finite=False)}
        entries |= {architecture_entry(i): data for i, (_, data) in architectures}
        entries |= self._members | self._parts
        if self._probe:
            entries["probe.safetensors"] = tensors_of(self._probe, "A prediction", check_finite=False)
        return manifest, entries

    def _add(self, value):
        """Number of an object, which is written when it is first met; None for what is not an object."""
        if id(value) in self._numbers:
            number = self._numbers[id(value)]
            if number is None:
                raise PersistenceError(f"{type(value).__name__} cannot be saved: it contains itself.")
            return number
        member = as_member(value)
        write = self._method_for(member)
        if write is None:
            return None
        self._numbers[id(value)] = None
        self._kept += [value, member]  # so that their ids are not used again
        node = write(member)
        self._numbers[id(value)] = len(self._objects)
        self._objects.append(node)
        return self._numbers[id(value)]

    def _method_for(self, value):
        if isinstance(value, keras.Model):
            return self._model
        if isinstance(value, BaseWrapper):
            return self._network
        if isinstance(value, StackedMembers):
            return self._stacked
        if isinstance(value, FittedMembers):
            return self._member_list
        if isinstance(value, BaseKerasEnsemble) or type(value) in _public_paths() or _is_holder(value):
            return self._estimator
        if isinstance(value, BaseEstimator) or type(value).__module__.partition(".")[0] == "sklearn":
            return self._part
        return None

    def _model(self, model, values=None):
        """A model with its own values, or with none where it only represents an architecture."""
        where = f"The network {model.name!r}"
        node = {"kind": "model", "architecture": self._architecture(model), "variables": None, "optimizer": None}
        node["compile"] = compile_record(model, self._encoder, where)
        if values is None:
            values = model_values(model)
            node["variables"] = self._tensors(named_values(*values), where)
            if self.include_optimizer and model.optimizer is not None:
                node["optimizer"] = self._tensors(optimizer_values(model), where, ".optimizer")
            self._probe_model(model, where, f"object{len(self._objects)}")
        return node

    def _architecture(self, model):
        config = canonical_config(model)
        untrusted_names(config)  # what can never be loaded is refused here
        self.own_classes |= own_classes(model)
        data = write_json(config)
        number, _ = self._architectures.setdefault(digest(data), (len(self._architectures), data))
        return number

    def _tensors(self, arrays, where, kind=""):
        name = f"members/{len(self._members):05}{kind}.safetensors"
        self._members[name] = tensors_of(arrays, where, check_finite=self.check_finite and not kind)
        return name

    def _network(self, estimator, *, prototype=False):
        estimator = in_memory(estimator)
        where = type(estimator).__name__
        model = getattr(estimator, "model_", None)
        node = {"kind": "network", "class": self._class_path(estimator)}
        node["params"] = self._encoder.encode(network_params(estimator), f"A parameter of {where}")
        if model is None:
            return node | {"attributes": {"t": "dict", "v": []}, "target": None, "model": None}
        if not prototype:
            _check_trained(estimator)
        node["attributes"] = self._encoder.encode(network_attributes(estimator), f"An attribute of {where}")
        node["target"] = self._encoder.encode(network_target(estimator), f"The target of {where}")
        if prototype and id(model) not in self._numbers:
            self._kept.append(model)
            self._objects.append(self._model(model, values=()))
            self._numbers[id(model)] = len(self._objects) - 1
        return node | {"model": self._add(model)}

    def _prototype(self, estimator):
        if id(estimator) not in self._numbers:
            node = self._network(estimator, prototype=True)
            self._kept.append(estimator)
            self._objects.append(node)
            self._numbers[id(estimator)] = len(self._objects) - 1
        return self._numbers[id(estimator)]

    def _stacked(self, trained):
        where = f"A member of {type(trained.prototype).__name__}"
        values = [trained.values(k)[:2] for k in range(len(trained.seeds))]
        node = {"kind": "stacked_members", "prototype": self._prototype(trained.prototype)}
        if isinstance(trained, EpochStates):
            node |= {"kind": "epoch_states", "epochs": [int(epoch) for epoch in trained.epochs]}
        node["seeds"] = [int(seed) for seed in trained.seeds]
        node["histories"] = [self._encoder.encode(history, f"The history of {where}") for history in trained.histories]
        node["variables"] = [self._tensors(named_values(*value), where) for value in values]
        node["optimizer"] = None
        if self.include_optimizer and trained.variables.optimizer:
            arrays = {f"optimizer/{i:05}": np.asarray(value) for i, value in enumerate(trained.variables.optimizer)}
            node["optimizer"] = self._tensors(arrays, where, ".optimizer")
        model = trained.prototype.model_
        for k, value in enumerate(values):
            write_state(model, (*value, []))
            self._probe_model(model, where, f"object{len(self._objects)}/{k:05}")
        return node

    def _member_list(self, members):
        self.member_lists.append(members)
        entries = []
        for entry in members.entries():
            number = self._add(entry.stack if isinstance(entry, StackedMember) else entry)
            if number is None:
                raise PersistenceError(
                    f"The member {type(entry).__name__} cannot be saved: skensemble.io writes Keras networks and "
                    "estimators that derive from scikit-learn's BaseEstimator. Save with joblib, or leave it out."
                )
            entries.append([number, entry.index] if isinstance(entry, StackedMember) else number)
        return {"kind": "members", "entries": entries}

    def _estimator(self, estimator):
        where = type(estimator).__name__
        path = self._class_path(estimator)
        if path not in TRUSTED_CLASSES and not isinstance(estimator, BaseKerasEnsemble):
            raise PersistenceError(
                f"{path} with a Keras network in it cannot be saved. Save the network on its own, or with joblib. Of "
                "what holds networks, the meta-estimators of scikit-learn and the Pipeline of imbalanced-learn can be."
            )
        params = {} if path in WITHOUT_PARAMS else dict(estimator.get_params(deep=False))
        params |= {name: None for name in NO_DIRECTORIES if name in params}
        attributes = saved_attributes(estimator, without=params)
        encoded = {name: self._encoder.encode(value, f"`{name}` of {where}") for name, value in params.items()}
        learned = {name: self._encoder.encode(value, f"`{name}` of {where}") for name, value in attributes.items()}
        node = {"kind": "estimator", "class": path}
        return node | {"params": _pairs(encoded), "attributes": _pairs(learned)}

    def _part(self, estimator):
        name = f"meta/{len(self._parts):04}.skops"
        self._parts[name] = write_skops(estimator, type(estimator).__name__)
        return {"kind": "skops", "entry": name}

    def _class_path(self, estimator):
        kind = type(estimator)
        path = _public_paths().get(kind) or f"{kind.__module__}.{kind.__qualname__}"
        if "<" in path:
            raise PersistenceError(f"{path} cannot be saved: define the class at the top of a module.")
        return path

    def _probe_model(self, model, where, name):
        rows = probe_rows(model)
        if rows is None:
            return
        try:
            outputs = predict_probe(model, rows)
        except Exception as error:  # whatever a layer raises
            raise PersistenceError(f"{where} cannot be saved: it does not predict random rows: {error}") from error
        self._probe[name] = outputs


#: How deep networks may be in estimators, lists and dicts.
_MAX_DEPTH = 20


def _public_paths():
    """The path under which each trusted class is written, as far as its module is imported."""
    paths = {}
    for path in TRUSTED_CLASSES:
        module, _, name = path.rpartition(".")
        try:
            kind = getattr(sys.modules.get(module), name, None)
        except ImportError:  # an experimental class that was not enabled
            continue
        if kind is not None:
            paths[kind] = path
    return paths


def _pairs(encoded):
    return {"t": "dict", "v": [[name, value] for name, value in encoded.items()]}


def _check_root(estimator):
    if not isinstance(estimator, BaseEstimator):
        raise PersistenceError(
            f"Estimators can be saved: got {type(estimator).__name__}. Save a Keras model with its own `save`."
        )
    check_is_fitted_by_keras(estimator)
    if not _holds_network(estimator):
        raise PersistenceError(f"{type(estimator).__name__} has no Keras network: save it with skops.io.dump.")


def check_is_fitted_by_keras(estimator):
    """Raise PersistenceError where an estimator is not fitted."""
    try:
        if isinstance(estimator, BaseWrapper) and not estimator.initialized_:
            raise ValueError("it has no model")
        check_is_fitted(estimator)
    except (ValueError, TypeError, AttributeError) as error:
        raise PersistenceError(f"{type(estimator).__name__} must be fitted before it is saved: {error}") from error


def _check_trained(estimator):
    """A failed fit of a plain scikeras estimator leaves a model behind, of which it says that it is fitted (T37)."""
    ours = type(estimator).__module__.startswith("skensemble")
    if not ours and not hasattr(estimator, "history_"):
        raise PersistenceError(
            f"{type(estimator).__name__} must be fitted before it is saved: it has a model, but no training ended "
            "without an error. Fit it again."
        )


def _is_holder(value):
    return isinstance(value, BaseEstimator) and _holds_network(value)


def _holds_network(value, depth=0):
    """Whether there is a Keras network in an estimator."""
    if isinstance(value, BaseWrapper | StackedMembers | FittedMembers | keras.Model | BaseKerasEnsemble):
        return True
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, BaseEstimator) or f"{type(value).__module__}.{type(value).__qualname__}" in WITHOUT_PARAMS:
        return any(_holds_network(inner, depth + 1) for inner in vars(value).values())
    if isinstance(value, dict):
        return any(_holds_network(inner, depth + 1) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_network(inner, depth + 1) for inner in value)
    return False
