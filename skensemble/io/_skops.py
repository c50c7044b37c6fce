"""scikit-learn estimators that are not networks, as skops parts: written the same each time, and audited before skops.

Trust is narrower than skops' own: a tree whose arrays were changed crashes the process when it predicts (T24), so trees
need the user's trust.
"""

import io
import json
import math
import re
import struct
import zipfile

import numpy as np

from skensemble._files.strict_json import read_json
from skensemble.io._errors import FormatError, PersistenceError, UntrustedTypesFoundError

#: Packages whose types are trusted if skops trusts them, too: linear algebra on arrays that NumPy checks.
_TRUSTED_MODULES = re.compile(
    r"(sklearn\.(linear_model|preprocessing|calibration|isotonic|dummy|impute|compose|pipeline|frozen|decomposition"
    r"|feature_selection|discriminant_analysis|naive_bayes|random_projection|kernel_approximation|model_selection)"
    r"|numpy|builtins|scipy\.sparse|collections|functools)(\.|$)"
)
#: skops trusts estimators, but not splitters of cross-validation, which hold numbers only, types of arrays, which it
#: reads from an empty array, and the parts of calibrated estimators, which hold estimators that are audited too.
_TRUSTED_NAMES = frozenset(
    {
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.compose._column_transformer._RemainderColsList",  # scikit-learn 1.6: a list
        "sklearn.multiclass._ConstantPredictor",  # a number
        "skensemble.preprocessing.TableEncoder",  # estimators of scikit-learn, texts and numbers
    }
) | {
    f"sklearn.model_selection._split.{name}"
    for name in (
        "KFold",
        "StratifiedKFold",
        "GroupKFold",
        "ShuffleSplit",
        "StratifiedShuffleSplit",
        "RepeatedKFold",
        "RepeatedStratifiedKFold",
        "TimeSeriesSplit",
        "LeaveOneOut",
    )
}
_MAX_FILES = 10_000
_SCHEMA = "schema.json"
_MESSAGE = "scikit-learn parts need skops: install skensemble[io], or skops itself."


def write_skops(estimator, where):
    """Bytes of a scikit-learn estimator; the same for the same estimator, where skops numbers files by addresses.

    Parameters
    ----------
    estimator : object
    where : str
        Name of what is saved, for errors.

    Returns
    -------
    bytes
    """
    try:
        import skops.io
    except ImportError as error:
        raise PersistenceError(_MESSAGE) from error
    try:
        data = skops.io.dumps(estimator)
    except Exception as error:  # whatever an estimator's own methods raise
        raise PersistenceError(f"{where} cannot be saved by skops: {error}") from error
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read(_SCHEMA))
        names = {}
        schema = _renumbered(schema, names, {})
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as renamed:
            for old, new in names.items():
                renamed.writestr(zipfile.ZipInfo(new), _without_padding(archive.read(old)))
            renamed.writestr(zipfile.ZipInfo(_SCHEMA), json.dumps(schema))
    data = out.getvalue()
    try:
        untrusted_skops(data)
    except FormatError as error:
        raise PersistenceError(f"{where} cannot be saved without pickle: {error} Save with joblib.") from error
    return data


def _without_padding(data):
    """An array without uninitialized bytes after its fields, which those of trees have."""
    if not data.startswith(np.lib.format.MAGIC_PREFIX):
        return data
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.dtype.names is None:
        return data
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    stream = io.BytesIO()
    np.save(stream, clean, allow_pickle=False)
    return stream.getvalue()


def _renumbered(value, names, numbers):
    if isinstance(value, list):
        return [_renumbered(item, names, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _renumbered(item, names, numbers) for key, item in value.items()}
    if isinstance(value.get("file"), str):
        old = value["file"]
        value["file"] = names.setdefault(old, f"{len(names):06}.{old.rpartition('.')[2]}")
    if isinstance(value.get("__id__"), int):
        # Whether equal texts or numbers are one object depends on the process: each is written as one of its own.
        key = ("plain", len(numbers)) if value.get("__loader__") == "JsonNode" else value["__id__"]
        value["__id__"] = numbers.setdefault(key, len(numbers) + 1)
    return value


def untrusted_skops(data):
    """Names in a skops part that need trust; raises where the part is not as `write_skops` writes it.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    list of str
    """
    schema = _check_part(data)
    try:
        import skops.io
    except ImportError as error:
        raise PersistenceError(_MESSAGE) from error
    named = {f"{node['__module__']}.{node['__class__']}" for node in _nodes(schema)}
    try:
        unsafe = set(skops.io.get_untrusted_types(data=data))
    except Exception as error:  # skops raises whatever its parsing comes to
        raise FormatError(f"A scikit-learn part of the file cannot be read by skops: {error}") from error
    untrusted = {name for name in named if not _TRUSTED_MODULES.match(name)} | unsafe
    return sorted(untrusted - _TRUSTED_NAMES)


def read_skops(data, trusted):
    """The estimator in a skops part.

    Parameters
    ----------
    data : bytes
    trusted : collection of str

    Returns
    -------
    object
    """
    untrusted = set(untrusted_skops(data)) - set(trusted)
    if untrusted:
        raise UntrustedTypesFoundError(untrusted)
    import skops.io

    try:
        estimator = skops.io.loads(data, trusted=sorted(set(trusted) | _TRUSTED_NAMES))
    except Exception as error:  # skops raises whatever its parsing comes to
        raise FormatError(f"A scikit-learn part of the file cannot be restored: {error}") from error
    _check_shadowing(estimator)
    return estimator


def _check_shadowing(estimator):
    """No attribute of an instance may hide a method of its class, at any depth (T25)."""
    waiting, seen = [estimator], set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple | set):
            waiting += value
        elif isinstance(value, np.ndarray) and value.dtype.hasobject:
            waiting += value.ravel().tolist()
        elif not isinstance(value, type):
            attributes = getattr(value, "__dict__", {})
            hidden = [name for name in attributes if callable(getattr(type(value), name, None))]
            if hidden:
                raise FormatError(f"A scikit-learn part of the file must not hide methods of its classes: {hidden}.")
            waiting += attributes.values()


def _check_part(data):
    """Schema of a skops part; every file in it is bounded by its bytes (T13, T21, T22)."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = {info.filename for info in infos}
            if len(names) < len(infos) or len(infos) > _MAX_FILES or _SCHEMA not in names:
                raise FormatError("A scikit-learn part of the file must hold each of its files once.")
            for info in infos:
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits:
                    raise FormatError("A scikit-learn part of the file must be stored as it is.")
                if info.filename != _SCHEMA and not re.fullmatch(r"[0-9]{6}\.(npy|npz|bin)", info.filename):
                    raise FormatError(f"A scikit-learn part of the file must not hold {info.filename!r}.")
            if sum(info.file_size for info in infos) > len(data):
                raise FormatError("A scikit-learn part of the file must not hold more bytes than it has.")
            for info in infos:
                if info.filename.endswith(".npy"):
                    _check_array(archive.read(info))
                elif info.filename.endswith(".npz"):
                    raise FormatError("A scikit-learn part of the file must not hold compressed arrays.")
            return read_json(archive.read(_SCHEMA), "The schema of a scikit-learn part", FormatError)
    except FormatError:
        raise
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, struct.error, LookupError, OSError) as error:
        raise FormatError(f"A scikit-learn part of the file cannot be read: {error}.") from error


def _check_array(data):
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    try:
        shape, _, dtype = read_header(stream)
    except Exception as error:  # of a tokenizer, a parser or NumPy
        raise FormatError(f"An array of a scikit-learn part has no header: {error}.") from error
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
        raise FormatError("An array of a scikit-learn part must have as many bytes as its shape says, and no objects.")


def _nodes(schema):
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            if "__class__" in value or "__module__" in value:
                if not all(isinstance(value.get(key), str) for key in ("__class__", "__module__", "__loader__")):
                    raise FormatError("A scikit-learn part of the file must name each type by its module and class.")
                yield value
            waiting += value.values()
