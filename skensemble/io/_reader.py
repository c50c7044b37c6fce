"""The objects and entries of a file to fitted estimators. Nothing is built before everything was audited."""

import copy
import importlib
from collections.abc import Sequence

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring, get_scorer

from skensemble._base import BaseKerasEnsemble
from skensemble._compat import BaseWrapper
from skensemble._members import FittedMembers, Trained, forward, unwrapped
from skensemble._merge import WeightedAverage
from skensemble._program import stack_values
from skensemble._trajectory import Checkpoints
from skensemble.io._architecture import dry_build
from skensemble.io._errors import FormatError, IntegrityError, PersistenceError
from skensemble.io._json import read_json
from skensemble.io._manifest import NO_DIRECTORIES, TRUSTED_CLASSES, architecture_entry
from skensemble.io._networks import (
    arrays_of,
    build_model,
    check_no_methods,
    compile_as,
    predict_probe,
    probe_rows,
    put_optimizer,
    put_values,
    restore_network,
    stacked_slots,
    values_for,
)
from skensemble.io._skops import read_skops
from skensemble.io._values import Decoder, import_path

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
        Whether members are read when they are asked for.
    """

    def __init__(self, container, trusted, custom_objects, *, lazy=False):
        self._container, self._manifest = container, container.manifest
        self._trusted, self._lazy = trusted, lazy
        self._custom_objects = {**custom_objects, "skensemble>WeightedAverage": WeightedAverage}
        self._built, self._configs = {}, {}
        self._probe = None

    def read(self):
        """The estimator that was saved.

        Returns
        -------
        estimator
        """
        self._dry_build()
        arrays = arrays_of(self._container.read("arrays.safetensors"), "arrays.safetensors")
        self._decoder = Decoder(arrays, self.object, self._trusted)
        if self._manifest["probe"] is not None and not self._lazy:
            self._probe = arrays_of(self._container.read("probe.safetensors"), "probe.safetensors")
        return self.object(self._manifest["root"])

    def object(self, number):
        """An object of the manifest, built when it is first asked for."""
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
            if node["kind"] == "copies" and objects[node["template"]]["model"] is not None:
                architecture = objects[objects[node["template"]]["model"]]["architecture"]
                sizes = [self._container.size_of(name) for name in node["variables"]]
                stored[architecture] = max(*sizes, stored[architecture])
        for number, size in stored.items():
            name = architecture_entry(number)
            self._configs[number] = read_json(self._container.read(name), name)
            dry_build(self._configs[number], self._custom_objects, size)

    def _model(self, node, number):
        where = f"The network of object {number}"
        model = build_model(self._configs[node["architecture"]], self._custom_objects)
        compile_as(model, self._decoder.decode(node["compile"]))
        if node["variables"] is not None:
            put_values(model, self._values(model, node["variables"]))
            self._check_probe(model, f"object{number}", where)
        if node["optimizer"] is not None:
            put_optimizer(model, arrays_of(self._container.read(node["optimizer"]), node["optimizer"]), where)
        return model

    def _values(self, model, entry):
        return values_for(model, arrays_of(self._container.read(entry), entry), entry)

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
        try:
            return kind(**params)
        except TypeError as error:
            raise FormatError(f"{node['class']} does not take the parameters of the file: {error}.") from error

    def _class(self, path):
        if path not in TRUSTED_CLASSES:
            return import_path(path)
        module, _, name = path.rpartition(".")
        kind = getattr(importlib.import_module(module), name, None)
        if kind is None:
            raise PersistenceError(f"This version of {module} has no {name}: load the file with the one that wrote it.")
        return kind

    def _copies(self, node, number):
        template = self.object(node["template"])
        model = getattr(template, "model_", None)
        if model is None:
            raise FormatError(f"The copies of object {number} must have a template with a model.")
        values = _OnDemand(lambda k: self._values(model, node["variables"][k]), len(node["seeds"]))
        histories = [self._decoder.decode(history) for history in node["histories"]]
        if not all(isinstance(history, dict) for history in histories):
            raise FormatError(f"The copies of object {number} must have a dict as history of each.")
        if self._lazy and node["class"] == "Trained" and node["optimizer"] is None:
            return LazyTrained(template, node["seeds"], values, histories)
        put_values(model, values[0])
        self._check_probe(model, f"object{number}/00000", f"Object {number}")
        optimizer = []
        if node["optimizer"] is not None:
            slots = arrays_of(self._container.read(node["optimizer"]), node["optimizer"])
            optimizer = stacked_slots(
                model, slots, len(values), node["optimizer"], newest=node["class"] == "Checkpoints"
            )
        state = (*_stacked(values), optimizer)
        if node["class"] == "Trained":
            return Trained(template, node["seeds"], state, histories)
        return Checkpoints(template, node["seeds"], state, histories, node["epochs"])

    def _members(self, node, number):
        entries = _OnDemand(lambda i: self._entry(node["entries"][i]), len(node["entries"]))
        return FittedMembers(entries if self._lazy else list(entries))

    def _entry(self, entry):
        return (self.object(entry[0]), entry[1]) if isinstance(entry, list) else self.object(entry)

    def _estimator(self, node, number):
        estimator = self._new(node)
        attributes = self._decoder.decode(node["attributes"])
        if isinstance(estimator, BaseWrapper) or not isinstance(attributes, dict):
            raise FormatError(f"Object {number} of the manifest must be an ensemble or the like, with attributes.")
        if not attributes.keys().isdisjoint(estimator.get_params(deep=False)):
            raise FormatError(f"Object {number} of the manifest must not learn what are its parameters.")
        check_no_methods(estimator, attributes)
        vars(estimator).update(attributes)
        # Searches have one that is not fitted among their parameters.
        if isinstance(estimator, BaseKerasEnsemble) and (attributes or number == self._manifest["root"]):
            _check_ensemble(estimator)
        if hasattr(estimator, "best_index_") and hasattr(estimator, "scoring"):
            estimator.scorer_ = _scorer(estimator)
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
    """Items that are made when they are asked for, and kept."""

    def __init__(self, make, length):
        self._make, self._items = make, [None] * length

    def __len__(self):
        return len(self._items)

    def __getitem__(self, i):
        if self._items[i] is None:
            self._items[i] = self._make(i)
        return self._items[i]


class LazyTrained(Trained):
    """Copies whose values are read from the file when they are asked for.

    Parameters
    ----------
    template : scikeras estimator
    seeds : list of int
    rows : sequence of (trainable, non_trainable)
        Values of each copy.
    histories : list of dict of str to list of float
    """

    def __init__(self, template, seeds, rows, histories):
        self.template, self.seeds, self.histories = template, seeds, histories
        self._rows = rows

    def __reduce_ex__(self, protocol):
        return _itself, (self._read_all(),)

    def __deepcopy__(self, memo):
        return copy.deepcopy(self._read_all(), memo)

    def _read_all(self):
        return Trained(self.template, self.seeds, self.state, self.histories)

    @property
    def state(self):
        """Values of all copies, stacked."""
        return (*_stacked(self._rows), [])

    def values(self, k):
        """Variables of copy `k`, as of `read_state`."""
        return (*self._rows[k], [])

    def predict(self, copies, built, X):
        """Outputs of some copies; see `Trained`."""
        values = [self.values(k)[:2] if copy is None else copy.values() for k, copy in zip(copies, built, strict=True)]
        return forward(self.template.model_, stack_values(values), X)


def _itself(value):
    return value


def _stacked(rows):
    return tuple([np.stack(values) for values in zip(*part, strict=True)] for part in zip(*rows, strict=True))


def _check_ensemble(estimator):
    """Refuse ensembles whose parts do not agree: what a changed file can say that no fit says."""
    members = getattr(estimator, "checkpoints_", getattr(estimator, "estimators_", None))
    if not isinstance(members, FittedMembers) or not len(members):
        raise FormatError(f"{type(estimator).__name__} must have fitted members.")
    n_weights, weights = getattr(estimator, "n_checkpoints_", len(members)), getattr(estimator, "weights_", None)
    if weights is not None or hasattr(estimator, "weights"):
        if np.shape(weights) != (n_weights,) or not np.isfinite(weights).all() or np.min(weights) < 0:
            raise FormatError(f"An ensemble of {n_weights} members must have a weight for each, at least 0.")
        if n_weights > len(members):
            raise FormatError(f"An average of {n_weights} checkpoints must have them: got {len(members)}.")
    if is_classifier(estimator):
        _check_classes(getattr(estimator, "classes_", None), members)


def _check_classes(classes, members):
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < 2:
        raise FormatError(f"A classifier must have an array of two or more classes: got {str(classes)[:80]}.")
    for entry in members.entries():
        known = getattr(entry[0].template if isinstance(entry, tuple) else unwrapped(entry), "classes_", None)
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
