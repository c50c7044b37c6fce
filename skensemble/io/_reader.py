"""The objects and entries of a file to fitted estimators. Nothing is built before everything was audited."""

import copy
import importlib
from collections.abc import Sequence

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring, get_scorer

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.named import BaseNamedMembers
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import put_curve_scorer
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.forward import stack_values
from skensemble._engine.records import Variables
from skensemble._engine.stacked import StackedMember, StackedMembers, estimator_of
from skensemble._engine.trajectory import EpochStates
from skensemble._files.arrays import read_arrays
from skensemble._files.strict_json import read_json
from skensemble._layers import SelectColumns, WeightedAverage
from skensemble._table_layers import EmbedCategories, InputColumns
from skensemble.io._architecture import dry_build
from skensemble.io._errors import FormatError, IntegrityError, PersistenceError
from skensemble.io._fitted_state import check_attributes
from skensemble.io._manifest import NO_DIRECTORIES, STACKED, TRUSTED_CLASSES, WITHOUT_PARAMS, architecture_entry
from skensemble.io._networks import (
    build_model,
    compile_as,
    predict_probe,
    probe_rows,
    put_optimizer,
    put_values,
    restore_network,
    stacked_optimizer_values,
    values_for,
)
from skensemble.io._skops import read_skops
from skensemble.io._values.callables import import_path
from skensemble.io._values.typed_json import Decoder

#: How far predictions may be from those of the process that wrote the file, relative to their size: rounding on another
#: machine stays far below, a layer that works differently far above.
_PROBE_TOLERANCE = 1e-5


class Reader:
    """Puts estimators together from a file whose names were audited.

    Parameters
    ----------
    container : Container
    trusted : collection of str
    custom_objects : dict of str to object
    lazy : bool
        Whether members are read only when they are used.
    """

    def __init__(self, container, trusted, custom_objects, *, lazy=False):
        self._container, self._manifest = container, container.manifest
        self._trusted, self._lazy = trusted, lazy
        layers = (EmbedCategories, InputColumns, SelectColumns, WeightedAverage)
        own = {f"skensemble>{layer.__name__}": layer for layer in layers}
        self._custom_objects = custom_objects | own
        self._built, self._configs = {}, {}
        self._probe = None

    def read(self):
        """The estimator that was saved.

        Returns
        -------
        estimator
        """
        self._dry_build()
        arrays = self._arrays("arrays.safetensors")
        self._decoder = Decoder(arrays, self.object, self._trusted)
        if self._manifest["probe"] is not None and not self._lazy:
            self._probe = self._arrays("probe.safetensors")
        return self.object(self._manifest["root"])

    def object(self, number):
        """An object of the manifest, built when it is first used."""
        if type(number) is not int or not 0 <= number < len(self._manifest["objects"]):
            raise FormatError(f"The manifest has no object {str(number)[:80]}.")
        if number not in self._built:
            node = self._manifest["objects"][number]
            self._built[number] = getattr(self, f"_{node['kind']}")(node, number)
        return self._built[number]

    def _dry_build(self):
        """Refuse architectures that need more memory than the file holds for them, before any of it is used."""
        stored = dict.fromkeys(range(self._manifest["n_architectures"]), 0)
        objects = self._manifest["objects"]
        for node in objects:
            if node["kind"] == "model" and node["variables"] is not None:
                size = self._container.size_of(node["variables"])
                stored[node["architecture"]] = max(size, stored[node["architecture"]])
            if node["kind"] in STACKED and objects[node["prototype"]]["model"] is not None:
                architecture = objects[objects[node["prototype"]]["model"]]["architecture"]
                sizes = [self._container.size_of(name) for name in node["variables"]]
                stored[architecture] = max(*sizes, stored[architecture])
        for number, size in stored.items():
            name = architecture_entry(number)
            self._configs[number] = read_json(self._container.read(name), name, FormatError)
            dry_build(self._configs[number], self._custom_objects, size)

    def _model(self, node, number):
        where = f"The network of object {number}"
        model = build_model(self._configs[node["architecture"]], self._custom_objects)
        compile_as(model, self._decoder.decode(node["compile"]))
        if node["variables"] is not None:
            put_values(model, self._values(model, node["variables"]))
            self._check_probe(model, f"object{number}", where)
        if node["optimizer"] is not None:
            put_optimizer(model, self._arrays(node["optimizer"]), where)
        return model

    def _values(self, model, entry):
        return values_for(model, self._arrays(entry), entry)

    def _arrays(self, entry):
        return read_arrays(self._container.read(entry), entry, FormatError)

    def _network(self, node, number):
        estimator = self._new(node)
        if not isinstance(estimator, BaseWrapper):
            raise FormatError(f"Object {number} of the manifest must be a scikeras estimator: got {node['class']}.")
        if node["model"] is None:
            return estimator
        attributes, target = self._decoder.decode(node["attributes"]), self._decoder.decode(node["target"])
        if not isinstance(attributes, dict) or not isinstance(target, dict):
            raise FormatError(f"Object {number} of the manifest must have dicts of attributes and of the target.")
        return restore_network(estimator, attributes, target, self.object(node["model"]))

    def _new(self, node):
        params = self._decoder.decode(node["params"])
        if not isinstance(params, dict) or any(params.get(name) is not None for name in NO_DIRECTORIES):
            raise FormatError(f"{node['class']} must have a dict of parameters, and none that names a directory.")
        kind = self._class(node["class"])
        if node["class"] in WITHOUT_PARAMS:
            if params:
                raise FormatError(f"{node['class']} must have attributes only: got the parameters {sorted(params)}.")
            return kind.__new__(kind)
        try:
            return kind(**params)
        except TypeError as error:
            raise FormatError(f"{node['class']} does not take the parameters of the file: {error}.") from error

    def _class(self, path):
        if path not in TRUSTED_CLASSES:
            return import_path(path)
        module, _, name = path.rpartition(".")
        if name.startswith("Halving"):
            importlib.import_module("sklearn.experimental.enable_halving_search_cv")
        try:
            kind = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            raise PersistenceError(f"The file needs {path}: install what is missing ({error}).") from error
        if kind is None:
            raise PersistenceError(f"This version of {module} has no {name}: load the file with the one that wrote it.")
        return kind

    def _stacked_members(self, node, number):
        prototype, values, histories = self._stacked(node, number)
        if self._lazy and node["optimizer"] is None:
            return LazyStackedMembers(prototype, node["seeds"], values, histories)
        return StackedMembers(prototype, node["seeds"], self._stacked_state(node, number, values), histories)

    def _epoch_states(self, node, number):
        prototype, values, histories = self._stacked(node, number)
        state = self._stacked_state(node, number, values, newest=True)
        return EpochStates(prototype, node["seeds"], state, histories, node["epochs"])

    def _stacked(self, node, number):
        """The prototype of members that were trained together, their variables, on demand, and their histories."""
        prototype = self.object(node["prototype"])
        if getattr(prototype, "model_", None) is None:
            raise FormatError(f"The members of object {number} must have a prototype with a model.")
        model = prototype.model_
        values = _OnDemand(lambda k: self._values(model, node["variables"][k]), len(node["seeds"]))
        histories = [self._decoder.decode(history) for history in node["histories"]]
        if not all(isinstance(history, dict) for history in histories):
            raise FormatError(f"The members of object {number} must have a dict as history of each.")
        return prototype, values, histories

    def _stacked_state(self, node, number, values, *, newest=False):
        """`Variables` of members that were trained together."""
        model = self.object(node["prototype"]).model_
        put_values(model, values[0])
        self._check_probe(model, f"object{number}/00000", f"Object {number}")
        optimizer = []
        if node["optimizer"] is not None:
            arrays = self._arrays(node["optimizer"])
            optimizer = stacked_optimizer_values(model, arrays, len(values), node["optimizer"], newest=newest)
        return Variables(*_stacked(values), optimizer)

    def _members(self, node, number):
        entries = _OnDemand(lambda i: self._entry(node["entries"][i]), len(node["entries"]))
        return FittedMembers(entries if self._lazy else list(entries))

    def _entry(self, entry):
        return StackedMember(self.object(entry[0]), entry[1]) if isinstance(entry, list) else self.object(entry)

    def _estimator(self, node, number):
        estimator = self._new(node)
        attributes = self._decoder.decode(node["attributes"])
        if isinstance(estimator, BaseWrapper) or not isinstance(attributes, dict):
            raise FormatError(f"Object {number} of the manifest must be an ensemble or the like, with attributes.")
        if node["class"] not in WITHOUT_PARAMS and not attributes.keys().isdisjoint(estimator.get_params(deep=False)):
            raise FormatError(f"Object {number} of the manifest must not learn what are its parameters.")
        check_attributes(estimator, attributes)
        vars(estimator).update(attributes)
        # Searches have one that is not fitted among their parameters.
        if isinstance(estimator, BaseKerasEnsemble) and (attributes or number == self._manifest["root"]):
            _check_ensemble(estimator)
        if hasattr(estimator, "best_index_") and hasattr(estimator, "scoring"):
            estimator.scorer_ = _scorer(estimator)
        put_curve_scorer(estimator)
        return estimator

    def _skops(self, node, number):
        return read_skops(self._container.read(node["entry"]), self._trusted)

    def _check_probe(self, model, name, where):
        """Refuse networks that do not predict what they predicted in the process that wrote the file (T34)."""
        rows = probe_rows(model)
        if self._probe is None or rows is None:
            return
        if name not in self._probe:
            raise FormatError(f"{where} has no prediction in the probe.")
        outputs = predict_probe(model, rows)
        expected = self._probe[name]
        if outputs.shape != expected.shape or not np.allclose(
            outputs, expected, rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE, equal_nan=True
        ):
            raise IntegrityError(
                f"{where} does not predict what it predicted when it was saved: a layer works differently with this "
                "version of Keras. Load it with the versions that `skensemble.io.inspect` shows."
            )


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
        return Variables(*_stacked(self._values), [])

    def values(self, k):
        """Variables of member `k`."""
        return Variables(*self._values[k], [])

    def predict(self, copies, built, X):
        """Outputs of some members; see `StackedMembers`."""
        values = [self.values(k)[:2] if copy is None else copy.values() for k, copy in zip(copies, built, strict=True)]
        return self._outputs(stack_values(values), X)


def _itself(value):
    return value


def _stacked(values):
    return tuple([np.stack(one) for one in zip(*part, strict=True)] for part in zip(*values, strict=True))


def _check_ensemble(estimator):
    """Refuse ensembles whose parts are inconsistent, which a changed file can hold but no fit gives."""
    members = getattr(estimator, "checkpoints_", getattr(estimator, "estimators_", None))
    if not isinstance(members, FittedMembers) or not len(members):
        raise FormatError(f"{type(estimator).__name__} must have fitted members.")
    n_weights, weights = getattr(estimator, "n_checkpoints_", len(members)), getattr(estimator, "weights_", None)
    if weights is not None or hasattr(estimator, "weights"):
        if np.shape(weights) != (n_weights,) or not np.isfinite(weights).all() or np.min(weights) < 0:
            raise FormatError(f"An ensemble of {n_weights} members must have a weight for each, at least 0.")
        if n_weights > len(members):
            raise FormatError(f"An average of {n_weights} checkpoints must have them: got {len(members)}.")
    if isinstance(estimator, BaseNamedMembers):
        _check_names(vars(estimator), len(members))
    if is_classifier(estimator):
        _check_classes(getattr(estimator, "classes_", None), members)


def _check_names(learned, n_members):
    names, entries = (learned.get(name) for name in ("_names", "_entry_names"))
    if not all(isinstance(one, list) and all(type(name) is str for name in one) for one in (names, entries)):
        raise FormatError("An ensemble of named members must have lists of their names.")
    if len(names) != n_members or not set(names) <= set(entries):
        raise FormatError(f"An ensemble of {n_members} members must have a name for each: got {names} of {entries}.")


def _check_classes(classes, members):
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < 2:
        raise FormatError(f"A classifier must have an array of two or more classes: got {str(classes)[:80]}.")
    for entry in members.entries():
        known = getattr(estimator_of(entry), "classes_", None)
        if isinstance(known, np.ndarray) and not np.isin(known, classes).all():
            raise FormatError(f"The classes of a member must be those of its ensemble: got {str(known)[:80]}.")


def _scorer(search):
    """The scorer of a search, made as its `fit` makes it."""
    scoring = search.scoring
    if isinstance(scoring, list | tuple | set):
        return {name: get_scorer(name) for name in scoring}
    if isinstance(scoring, dict):
        return {name: check_scoring(search.estimator, scoring=one) for name, one in scoring.items()}
    return scoring if hasattr(scoring, "raise_not_restored") else check_scoring(search.estimator, scoring=scoring)
