"""Classes of estimators: the name under which a file has one, and a new estimator of a class that a file names."""

import importlib
import sys

from skensemble.io._audit.allowed import TRUSTED_CLASSES, WITHOUT_PARAMS
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._manifest import NO_DIRECTORIES
from skensemble.io._values.callables import import_path


def class_path(estimator):
    """Where the class of an estimator is imported from."""
    kind = type(estimator)
    path = public_paths().get(kind) or f"{kind.__module__}.{kind.__qualname__}"
    if "<" in path:
        raise PersistenceError(f"{path} cannot be saved: define the class at the top of a module.")
    return path


def public_paths():
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


def new_estimator(node, reader):
    """An estimator of the class and with the parameters of a node, which learned nothing yet."""
    params = reader.decode(node["params"])
    if not isinstance(params, dict) or any(params.get(name) is not None for name in NO_DIRECTORIES):
        raise FormatError(f"{node['class']} must have a dict of parameters, and none that names a directory.")
    kind = class_at(node["class"])
    if node["class"] in WITHOUT_PARAMS:
        if params:
            raise FormatError(f"{node['class']} must have attributes only: got the parameters {sorted(params)}.")
        return kind.__new__(kind)
    try:
        return kind(**params)
    except TypeError as error:
        raise FormatError(f"{node['class']} does not take the parameters of the file: {error}.") from error


def class_at(path):
    """The class at a path, which is in `TRUSTED_CLASSES` or that the user trusts."""
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
