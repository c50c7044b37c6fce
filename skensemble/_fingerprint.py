"""What the result of a fit follows from, as text and digests that another process can compare: data, code, versions."""

import functools
import hashlib
import importlib.metadata
import json
import re
import sys
import types
from collections.abc import Mapping

import keras
import numpy as np

from skensemble._compat import BaseWrapper
from skensemble._members import is_frozen

FORMAT = 1
# Rows of the data that are hashed at once hold about so many bytes: X may be a file larger than the memory.
_CHUNK_BYTES = 16 * 2**20
_PACKAGES = ("keras", "numpy", "scikeras", "sklearn", "tensorflow")
# Code of these is told by their versions; that of others by itself.
_LIBRARIES = {"builtins", "functools", "joblib", "scipy", "skensemble", *_PACKAGES}
# Parameters of members that their training does not depend on, or that the ensemble sets.
_NO_MATTER = {"random_state", "verbose"}
_COUNTED_NAME = re.compile(r"(?<=['\"/])([A-Za-z_][A-Za-z_0-9]*)_(\d+)(?=['\"/])")
# Longer texts are shown as "changed" only.
_LONGEST_SHOWN = 60


def fingerprint(members, X, y, sample_weight, engine, *, first=0, run=None):
    """What the training of members follows from.

    Parameters
    ----------
    members : list of Member
    X, y, sample_weight : ndarray
    engine : str
    first : int, default=0
        Position of the first member in the ensemble.
    run : object, default=None
        What is kept of a single run.

    Returns
    -------
    dict
        Plain data for JSON. "members" maps the position to the seed, the digest of the rows and that of the estimator,
        "estimators" maps the latter to the text of each parameter.
    """
    estimators, records, digests = {}, {}, {}
    for i, member in enumerate(members, first):
        if id(member.estimator) not in digests:
            parameters = describe_parameters(member.estimator)
            digests[id(member.estimator)] = digest_text(json.dumps(parameters))
            estimators[digests[id(member.estimator)]] = parameters
        rows = [None if rows is None else digest_array(rows) for rows in (member.rows, member.validation_rows)]
        seed = None if is_frozen(member.estimator) else member.seed
        records[str(i)] = {"estimator": digests[id(member.estimator)], "seed": seed, "rows": rows}
    data = {"X": X, "y": y, "sample_weight": sample_weight}
    return {
        "format": FORMAT,
        "versions": _versions(),
        "settings": _settings(),
        "data": {name: None if array is None else digest_array(array) for name, array in data.items()},
        "engine": engine,
        "run": None if run is None else describe(run),
        "estimators": estimators,
        "members": records,
    }


def _versions():
    versions = {name: sys.modules[name].__version__ for name in _PACKAGES}
    versions["python"] = f"{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        versions["skensemble"] = importlib.metadata.version("skensemble")
    except importlib.metadata.PackageNotFoundError:
        versions["skensemble"] = "not installed"
    return versions


def _settings():
    return {"floatx": keras.config.floatx(), "dtype_policy": keras.config.dtype_policy().name}


def changes(before, now):
    """In words, what differs between two fingerprints, the members that both have; an empty list where nothing does."""
    if before["format"] != now["format"]:
        return [f"the format of the files{_shown(before['format'], now['format'])}"]
    found = [
        f"{words} {name}{_shown(before[part].get(name), value)}"
        for part, words in (("versions", "the version of"), ("settings", "Keras' setting"))
        for name, value in now[part].items()
        if before[part].get(name) != value
    ]
    found += [f"`{name}`" for name, digest in now["data"].items() if before["data"][name] != digest]
    if before["engine"] != now["engine"]:
        found.append(f"`engine`{_shown(before['engine'], now['engine'])}")
    if before["run"] != now["run"]:
        found.append("what is kept of the run (the parameters of the ensemble)")
    for i in sorted(before["members"].keys() & now["members"].keys(), key=int):
        found += _member_changes(i, before, now)
        if found:
            break
    return found


def _member_changes(i, before, now):
    old, new = before["members"][i], now["members"][i]
    found = []
    if old["estimator"] != new["estimator"]:
        parameters = before["estimators"][old["estimator"]], now["estimators"][new["estimator"]]
        for name in sorted(parameters[0].keys() | parameters[1].keys()):
            texts = [one.get(name, "absent") for one in parameters]
            if texts[0] != texts[1]:
                found.append(f"`{name}` of member {i}{_shown(*texts)}")
    if old["seed"] != new["seed"]:
        found.append(f"the seed of member {i} (`random_state`)")
    if old["rows"] != new["rows"]:
        found.append(f"the rows of member {i} (`random_state`, `bootstrap`, `max_samples`, `weights` or alike)")
    return found


def _shown(before, now):
    return f" ({before}, now {now})" if len(f"{before}{now}") <= _LONGEST_SHOWN else ""


def digest_text(text):
    return hashlib.sha256(text.encode()).hexdigest()


def digest_array(array):
    """Digest of the type, the shape and the values of an array, read in chunks of rows."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode())
    n_rows = max(1, _CHUNK_BYTES // max(1, array[:1].nbytes)) if array.ndim else 1
    for start in range(0, len(array) if array.ndim else 1, n_rows):
        rows = array[start : start + n_rows] if array.ndim else array
        if array.dtype.hasobject:
            digest.update(repr(rows.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(rows).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def describe_parameters(estimator):
    """Text of the type and of each parameter of an estimator; a fitted one that is not trained is but its type."""
    texts = {"estimator": describe(type(estimator))}
    if is_frozen(estimator):
        return texts
    parameters = estimator.get_params(deep=False)
    without = _NO_MATTER if isinstance(estimator, BaseWrapper) else set()
    return texts | {name: describe(value) for name, value in sorted(parameters.items()) if name not in without}


def describe(value):
    """What a value is, as text that another process gives too: functions by their code, objects by what they hold."""
    return _Description().of(value)


class _Description:
    """Text of one value; what occurs a second time is named by its number, so that cycles end."""

    def __init__(self):
        self._seen = {}

    def of(self, value):
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            return repr(value)
        if id(value) in self._seen:
            return f"<{self._seen[id(value)][0]}>"
        self._seen[id(value)] = len(self._seen), value  # the value too, so that its id is not used again
        for kinds, rule in self._RULES:
            if isinstance(value, kinds):
                return rule(self, value)
        return self._object(value)

    def _all(self, values):
        return ", ".join(map(self.of, values))

    def _mapping(self, value):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return "{" + ", ".join(f"{self.of(key)}: {self.of(one)}" for key, one in items) + "}"

    def _sequence(self, value):
        return f"({self._all(value)})" if isinstance(value, tuple) else f"[{self._all(value)}]"

    def _set(self, value):
        return "{" + ", ".join(sorted(map(self.of, value))) + "}"

    def _array(self, value):
        return f"array {value.dtype} {value.shape} {digest_array(value)}"

    def _generator(self, value):
        return self.of(value.get_state() if isinstance(value, np.random.RandomState) else value.bit_generator.state)

    def _partial(self, value):
        return f"partial({self.of(value.func)}, {self.of(value.args)}, {self.of(value.keywords)})"

    def _method(self, value):
        return f"{self.of(value.__func__)} of {self.of(value.__self__)}"

    def _function(self, value):
        name = f"{value.__module__}.{value.__qualname__}"
        if _is_library(value.__module__):
            return name
        cells = [_content(cell) for cell in value.__closure__ or ()]
        used = {name: value.__globals__[name] for name in sorted(_names(value.__code__)) if name in value.__globals__}
        used = {name: one for name, one in used.items() if not isinstance(one, types.ModuleType)}
        parts = value.__defaults__, value.__kwdefaults__, cells, used
        return f"{value.__qualname__} {digest_text(self._code(value.__code__) + self._all(parts))}"

    def _code(self, code):
        constants = [self._code(one) if isinstance(one, types.CodeType) else self.of(one) for one in code.co_consts]
        return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {constants}"

    def _class(self, value):
        if _is_library(value.__module__):
            return f"{value.__module__}.{value.__qualname__}"
        members = {name: one for name, one in vars(value).items() if not name.startswith("__") or callable(one)}
        members = {name: _underlying(one) for name, one in members.items()}
        return f"{value.__qualname__} {digest_text(self._all([value.__bases__, members]))}"

    def _keras(self, value):
        """A layer, model, optimizer, loss, metric or initializer: its configuration and the values of its variables."""
        try:
            config = self.of(value.get_config())
        except NotImplementedError:  # Keras asks models of a class of one's own to say how they are made
            config = ""
        weights = value.get_weights() if isinstance(value, keras.Layer) else []
        compiled = value.get_compile_config() if isinstance(value, keras.Model) else None
        return f"{self.of(type(value))} {_renumbered(config)} {self._all(weights)} {_renumbered(self.of(compiled))}"

    def _object(self, value):
        if hasattr(value, "get_params"):
            return f"{self.of(type(value))} {self.of(value.get_params(deep=False))}"
        if hasattr(value, "get_config"):
            return self._keras(value)
        if hasattr(value, "__array__"):
            return self._array(np.asarray(value))
        if hasattr(value, "python_function"):  # of a `tf.function`
            return self.of(value.python_function)
        name = getattr(value, "__name__", "")  # functions that are not written in Python
        return f"{self.of(type(value))} {name} {self.of(vars(value)) if hasattr(value, '__dict__') else ''}"

    _RULES = (
        (Mapping, _mapping),
        (list | tuple, _sequence),
        (set | frozenset, _set),
        (np.ndarray, _array),
        (np.random.RandomState | np.random.Generator, _generator),
        (functools.partial, _partial),
        (types.MethodType, _method),
        (types.FunctionType, _function),
        (type, _class),
    )


def _is_library(module):
    return (module or "").partition(".")[0] in _LIBRARIES


def _underlying(attribute):
    """The function in a static method, a class method or a property."""
    return getattr(attribute, "__func__", None) or getattr(attribute, "fget", None) or attribute


def _content(cell):
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _names(code):
    """Names of globals that a function or a function in it uses."""
    inner = (_names(one) for one in code.co_consts if isinstance(one, types.CodeType))
    return set(code.co_names).union(*inner)


def _renumbered(text):
    """Names that Keras counts up in a process ("dense_7"), counted from their first use in the text."""
    names = {}
    return _COUNTED_NAME.sub(lambda match: names.setdefault(match.group(), f"{match.group(1)}#{len(names)}"), text)
