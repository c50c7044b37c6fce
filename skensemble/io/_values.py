"""Values as typed JSON: parameters, labels, histories and whatever else estimators hold besides networks.

JSON's own types represent themselves, except objects: each is ``{"t": tag, "v": content}``. Functions and classes are
written as import paths, and imported only where they are trusted.
"""

import functools
import importlib
import inspect
import math
import re
import types
from collections import defaultdict

import keras
import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from skensemble._files.strict_json import MAX_DIGITS, write_json
from skensemble._keras_objects.losses import NormalNLL
from skensemble._members.user_functions import by_name
from skensemble.io._architecture import untrusted_names
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._not_restored import LEFT_OUT, UNNAMED, NotRestored

#: Public modules of Keras, and the class of what may be built from them. Functions are in the first three.
_KERAS_BASES = {
    "activations": None,
    "losses": keras.losses.Loss,
    "metrics": keras.metrics.Metric,
    "optimizers": keras.optimizers.Optimizer,
    "optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
    "regularizers": keras.regularizers.Regularizer,
    "initializers": keras.initializers.Initializer,
    "constraints": keras.constraints.Constraint,
    "callbacks": keras.callbacks.Callback,
    "skensemble": keras.losses.Loss,
}
#: Used in place of a module: skensemble's own classes.
_OWN = types.SimpleNamespace(NormalNLL=NormalNLL)
_TRUSTED_OWN = frozenset(["keras.skensemble.NormalNLL"])
_KERAS_KINDS = tuple(kind for kind in _KERAS_BASES.values() if kind is not None)
_NO_FUNCTIONS = {"get", "serialize", "deserialize"}
_BUILTINS = {kind.__name__: kind for kind in (bool, bytes, dict, float, int, list, object, str, tuple)}
#: Keras callbacks whose arguments can be read from their attributes.
_CALLBACKS = (keras.callbacks.EarlyStopping, keras.callbacks.ReduceLROnPlateau, keras.callbacks.TerminateOnNaN)
_MAX_INT_DIGITS = 100
#: The most thresholds or classes of a metric, whose variables have this size or its square: 64 MiB.
_MAX_METRIC_SIZE = 4096
_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


def keras_path(value):
    """(module, name) by which a function or class of Keras is public, or None."""
    for module in _KERAS_BASES:
        name = getattr(value, "__name__", None)
        if name is not None and vars(_keras_module(module)).get(name) is value and name not in _NO_FUNCTIONS:
            return module, name
    return None


def _keras_module(name):
    if name == "skensemble":
        return _OWN
    return functools.reduce(getattr, name.split("."), keras)


class Encoder:
    """Writes values as typed JSON.

    Parameters
    ----------
    encode_object : callable
        `encode_object(value)` returns the number of an estimator, network or the like, None for anything else.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays of numbers, which are stored separately.
    """

    def __init__(self, encode_object):
        self._encode_object = encode_object
        self.arrays = {}

    def encode(self, value, where):
        """Typed JSON of a value.

        Parameters
        ----------
        value : object
        where : str
            Name in errors: the attribute or parameter.

        Returns
        -------
        object of JSON's types
        """
        if value is None or type(value) in (bool, str):
            return value
        kind = type(value)
        if kind is int:
            return value if len(str(abs(value))) < MAX_DIGITS else _tagged("int", str(value))
        if kind is float:
            return value if math.isfinite(value) else _tagged("float", repr(value))
        if kind is list:
            return [self.encode(item, where) for item in value]
        for accepts, method in self._methods():
            if accepts(value):
                encoded = method(value, where)
                if encoded is not None:
                    return encoded
        number = self._encode_object(value)
        if number is None:
            raise PersistenceError(
                f"{where} cannot be saved: {kind.__module__}.{kind.__qualname__} is not one of the types that "
                "skensemble.io writes. Remove it, replace it by plain values, or save with joblib."
            )
        return _tagged("object", number)

    def _encode_tuple(self, value, where):
        if len(value) > 1 and isinstance(value[0], str):  # the name of a member or of a step
            where = f"{value[0]!r} of {where}"
        return _tagged("tuple", [self.encode(item, where) for item in value])

    def _methods(self):
        return [
            (lambda v: type(v) is tuple, self._encode_tuple),
            (lambda v: type(v) is dict, lambda v, at: _tagged("dict", self._pairs(v, at))),
            (lambda v: type(v) is Bunch, lambda v, at: _tagged("bunch", self._pairs(v, at))),
            (lambda v: type(v) is slice, lambda v, at: _tagged("slice", [self.encode(i, at) for i in _ends(v)])),
            (_is_index, lambda v, at: self._array(v.to_numpy(), at)),
            (_is_dict_of_lists, lambda v, at: _tagged("lists", self._pairs(v, at))),
            (
                lambda v: type(v) is set,
                lambda v, at: _tagged("set", sorted((self.encode(i, at) for i in v), key=write_json)),
            ),
            (lambda v: isinstance(v, np.ma.MaskedArray), self._masked),
            (lambda v: type(v) is np.ndarray or type(v) is np.memmap, self._array),
            (lambda v: isinstance(v, np.dtype), lambda v, at: _tagged("dtype", v.str)),
            (lambda v: isinstance(v, np.generic), self._scalar),
            (lambda v: type(v) is bytes, lambda v, at: _tagged("bytes", v.hex())),
            (lambda v: isinstance(v, np.random.RandomState), self._random_state),
            (lambda v: isinstance(v, stats.distributions.rv_frozen), self._distribution),
            (lambda v: isinstance(v, NotRestored) and v.parts is None, lambda v, at: _not_restored(v.path)),
            (lambda v: isinstance(v, NotRestored), lambda v, at: self._partial(v.parts, at)),
            (
                lambda v: type(v) is functools.partial,
                lambda v, at: self._partial((v.func, v.args, v.keywords), at),
            ),
            (lambda v: isinstance(v, type) or inspect.isroutine(v), self._callable),
            (lambda v: isinstance(v, np.ufunc), self._callable),
            (lambda v: isinstance(v, _KERAS_KINDS), self._keras_object),
        ]

    def _partial(self, parts, where):
        return _tagged("partial", [self.encode(part, where) for part in parts])

    def _pairs(self, value, where):
        return [[self.encode(k, where), self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]

    def _array(self, value, where):
        if value.dtype.kind in "OUS" and value.dtype.names is None:
            items = [self.encode(item, where) for item in value.ravel().tolist()]
            return _tagged("items", [value.dtype.str, list(value.shape), items])
        if value.dtype.kind in "mM":
            return _tagged("array", [self._keep(value.view(np.int64)), value.dtype.str])
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
            raise PersistenceError(f"{where} cannot be saved: arrays of {value.dtype} are not supported.")
        return _tagged("array", [self._keep(value)])

    def _keep(self, value):
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return name

    def _masked(self, value, where):
        parts = np.ma.getdata(value), np.ma.getmaskarray(value), np.asarray(value.fill_value)
        return _tagged("masked", [self._array(part, where) for part in parts])

    def _scalar(self, value, where):
        return _tagged("scalar", self._array(np.asarray(value), where))

    def _random_state(self, value, where):
        _, keys, position, has_gauss, cached = value.get_state()
        return _tagged("random_state", [self._array(keys, where), int(position), int(has_gauss), float(cached)])

    def _distribution(self, value, where):
        if type(getattr(stats, value.dist.name, None)) is not type(value.dist):
            return None
        return _tagged(
            "distribution", [value.dist.name, self.encode(value.args, where), self.encode(value.kwds, where)]
        )

    def _callable(self, value, where):
        if value in _BUILTINS.values():
            return _tagged("builtin", value.__name__)
        if isinstance(value, type) and issubclass(value, np.generic):
            return _tagged("numpy", value.__name__)
        if isinstance(value, type) and issubclass(value, keras.callbacks.Callback) and value not in _CALLBACKS:
            return _left_out(value)
        public = keras_path(value)
        if public is not None:
            return _tagged("keras", list(public))
        path = (
            f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else f"numpy.{value.__name__}"
        )
        if isinstance(value, types.FunctionType | types.MethodType):
            # Running a notebook cell again makes another function with the same name and code.
            return _tagged("callable" if _found(value) is by_name(value) else "unnamed", path)
        if _found(value) is not value:
            raise PersistenceError(
                f"{where} cannot be saved: {path} cannot be imported by its name. Define it at the top of a module."
            )
        return _tagged("callable", path)

    def _keras_object(self, value, where):
        kind = type(value)
        if isinstance(value, keras.callbacks.Callback):
            if kind not in _CALLBACKS:
                return _left_out(kind)
            names = [name for name in inspect.signature(kind).parameters if name != "kwargs"]
            config = {name: getattr(value, name) for name in names}
            if "min_delta" in config:
                config["min_delta"] = abs(config["min_delta"])  # EarlyStopping turns its sign with the direction
        else:
            if keras_path(kind) is None and isinstance(value, keras.losses.Loss | keras.metrics.Metric):
                return _left_out(kind)
            config = value.get_config()
            check_keras_config({**config, **_named(kind)}, where, PersistenceError)
            _check_effects({**_named(kind), "config": config})
        return _tagged("keras_object", [*keras_path(kind), self.encode(config, where)])


def _not_restored(path):
    for tag, start in (("left_out", LEFT_OUT), ("unnamed", UNNAMED)):
        if path.startswith(start):
            return _tagged(tag, path.removeprefix(start))
    return _tagged("callable", path)


def _named(kind):
    """How Keras' configurations name a class."""
    module, name = keras_path(kind) or (kind.__module__, kind.__name__)
    return {"module": f"keras.{module}", "class_name": name, "registered_name": None}


def _left_out(kind):
    """Placeholder for an object of the user's that does not matter to predictions."""
    return _tagged("left_out", f"{kind.__module__}.{kind.__qualname__}")


def _tagged(tag, content):
    return {"t": tag, "v": content}


def _ends(value):
    return value.start, value.stop, value.step


def _is_index(value):
    """Whether a value is the index of a table, which is written as the array of its entries."""
    return type(value).__name__.endswith("Index") and type(value).__module__.partition(".")[0] == "pandas"


def _is_dict_of_lists(value):
    return type(value) is defaultdict and value.default_factory is list


def _found(value):
    """What is found under the name of a function or class; None if nothing is."""
    module, name = value.__module__, getattr(value, "__qualname__", value.__name__)
    try:
        return functools.reduce(getattr, name.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, TypeError):
        return None


def check_keras_config(config, where, error):
    """Raise where the configuration of a Keras object names anything but public objects of Keras."""
    if isinstance(config, dict):
        if "class_name" in config:
            module, _, name = str(config.get("module")).partition("keras.")[2], None, config["class_name"]
            known = module in _KERAS_BASES and isinstance(getattr(_keras_module(module), str(name), None), type)
            if config.get("registered_name") is not None or not (known or name == "DTypePolicy"):
                raise error(f"{where} must be made of Keras' own objects: got {config.get('module')}.{name}.")
        for value in config.values():
            check_keras_config(value, where, error)
    elif isinstance(config, list | tuple):
        for value in config:
            check_keras_config(value, where, error)


def _check_effects(config):
    """Raise where a Keras object would call what is registered in this process (T6), or take much memory (T12)."""
    untrusted = untrusted_names(config, _TRUSTED_OWN)
    if untrusted:
        raise FormatError(f"A Keras object must be made of Keras' own parts: {config['class_name']} names {untrusted}.")
    if config["module"] == "keras.metrics":
        for name, value in config["config"].items():
            if isinstance(value, int) and abs(value) > _MAX_METRIC_SIZE:
                raise FormatError(f"`{name}` of a metric must not exceed {_MAX_METRIC_SIZE}: got {value}.")


class Decoder:
    """Reads typed JSON; the methods are named after the tags.

    Parameters
    ----------
    arrays : dict of str to ndarray
    objects : callable
        `objects(number)` returns an estimator, network or the like.
    trusted : collection of str
        Import paths.
    """

    def __init__(self, arrays, objects, trusted=()):
        self._arrays, self._objects, self._trusted = arrays, objects, set(trusted)
        self._not_restored = {}

    def decode(self, value):
        """The value.

        Parameters
        ----------
        value : object of JSON's types

        Returns
        -------
        object
        """
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() != {"t", "v"} or not isinstance(value["t"], str) or value["t"] not in _TAGS:
            raise FormatError(f"A value of the manifest has no known type: got {str(value)[:80]}.")
        try:
            return getattr(self, f"_{value['t']}")(value["v"])
        except FormatError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, SyntaxError, MemoryError) as error:
            if isinstance(error, PersistenceError):
                raise
            raise FormatError(f"A value of type {value['t']!r} in the manifest cannot be read: {error}.") from error

    def _int(self, content):
        if not re.fullmatch(rf"-?[0-9]{{1,{_MAX_INT_DIGITS}}}", content):
            raise FormatError("An integer of the manifest is not one.")
        return int(content)

    def _float(self, content):
        return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}[content]

    def _tuple(self, content):
        return tuple([self.decode(item) for item in _a_list(content)])

    def _set(self, content):
        return {self.decode(item) for item in _a_list(content)}

    def _dict(self, content):
        value = {self.decode(k): self.decode(v) for k, v in content}
        if len(value) < len(content):
            raise FormatError("A dict of the manifest has a key twice.")
        return value

    def _bunch(self, content):
        return Bunch(**self._dict(content))

    def _slice(self, content):
        start, stop, step = [self.decode(part) for part in content]
        return slice(start, stop, step)

    def _lists(self, content):
        return defaultdict(list, self._dict(content))

    def _array(self, content):
        name, *dtype = content
        array = self._arrays[name]
        return array.view(_dtype(dtype[0], "mM")) if dtype else array

    def _items(self, content):
        dtype, shape, items = content
        dtype = _dtype(dtype, "OUS")
        if math.prod(shape) != len(items) or dtype.itemsize > 4 * 2**20:
            raise FormatError(f"An array of the manifest must have {math.prod(shape)} items: got {len(items)}.")
        array = np.empty(len(items), dtype)
        array[:] = [self.decode(item) for item in items]
        return array.reshape(shape)

    def _masked(self, content):
        data, mask, fill = [self.decode(part) for part in content]
        return np.ma.MaskedArray(data, mask, fill_value=fill[()])

    def _scalar(self, content):
        return self.decode(content)[()]

    def _dtype(self, content):
        return _dtype(content, "biufcOUSmM")

    def _bytes(self, content):
        return bytes.fromhex(content)

    def _random_state(self, content):
        keys, *rest = content
        state = np.random.RandomState()
        state.set_state(("MT19937", self.decode(keys), *rest))
        return state

    def _distribution(self, content):
        name, args, keywords = content
        distribution = getattr(stats, name)
        if not isinstance(distribution, stats.rv_continuous | stats.rv_discrete):
            raise FormatError(f"scipy.stats.{name} is not a distribution.")
        return distribution(*self.decode(args), **self.decode(keywords))

    def _builtin(self, content):
        return _BUILTINS[content]

    def _numpy(self, content):
        kind = getattr(np, content)
        if not (isinstance(kind, type) and issubclass(kind, np.generic)):
            raise FormatError(f"numpy.{content} is not a type of numbers.")
        return kind

    def _partial(self, content):
        function, args, keywords = [self.decode(part) for part in content]
        for part in (function, *args, *keywords.values()):
            if isinstance(part, NotRestored):
                return NotRestored(part.path, (function, args, keywords))
        return functools.partial(function, *args, **keywords)

    def _callable(self, content):
        if not _PATH.fullmatch(content):
            raise FormatError(f"An import path of the manifest is not valid: {content[:80]!r}.")
        if content not in self._trusted:
            return self._not_restored.setdefault(content, NotRestored(content))
        return import_path(content)

    def _keras(self, content):
        return _keras_attribute(*content)

    def _keras_object(self, content):
        module, name, config = content
        config = self.decode(config)
        check_keras_config(config, "A Keras object of the manifest", FormatError)
        if module != "callbacks":
            _check_effects({"module": f"keras.{module}", "class_name": name, "config": config, "registered_name": None})
        kind = _keras_attribute(module, name)
        if not (isinstance(kind, type) and issubclass(kind, _KERAS_BASES[module] or ())):
            raise FormatError(f"keras.{module}.{name} is not a class that a file may name.")
        return kind(**config) if module == "callbacks" else kind.from_config(config)

    def _left_out(self, content):
        return NotRestored(f"{LEFT_OUT}{content}")

    def _unnamed(self, content):
        return NotRestored(f"{UNNAMED}{content}")

    def _object(self, content):
        return self._objects(content)


_TAGS = {name[1:] for name in vars(Decoder) if name.startswith("_") and not name.startswith("__")}


def _a_list(content):
    if not isinstance(content, list):
        raise FormatError("A tuple or set of the manifest must be a list.")
    return content


def _dtype(text, kinds):
    dtype = np.dtype(text) if isinstance(text, str) else None
    if dtype is None or dtype.kind not in kinds:
        raise FormatError(f"The manifest names the dtype {text!r}, which it must not.")
    return dtype


def _keras_attribute(module, name):
    value = getattr(_keras_module(module), name) if module in _KERAS_BASES and name not in _NO_FUNCTIONS else None
    is_of_keras = str(getattr(value, "__module__", None)).startswith("keras.")
    if keras_path(value) != (module, name) or not (is_of_keras or module == "skensemble"):
        raise FormatError(f"keras.{module}.{name} is not one of the names of Keras that a file may use.")
    if module == "callbacks" and value not in _CALLBACKS:  # others write files or send requests when they are called
        raise FormatError(f"A file must not name callbacks that write or send: got keras.callbacks.{name}.")
    return value


def import_path(path):
    """The function or class at a path that the user trusts.

    Parameters
    ----------
    path : str

    Returns
    -------
    callable
    """
    parts = path.split(".")
    for n_parts in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:n_parts]))
        except ModuleNotFoundError as error:
            if ".".join(parts[:n_parts]).startswith(error.name or "\0"):
                continue
            raise PersistenceError(f"{path!r} is trusted, but importing it raised: {error}.") from error
        value = functools.reduce(lambda owner, name: getattr(owner, name, None), parts[n_parts:], module)
        own = f"{getattr(value, '__module__', None)}.{getattr(value, '__qualname__', None)}"
        if callable(value) and (own == path or isinstance(value, np.ufunc)):
            return value
        break
    raise PersistenceError(
        f"{path!r} is trusted, but no function or class can be imported from there. Make its module importable, or "
        "leave it out of `trusted` to load without it."
    )
