"""scikit-learn estimators that are not networks, by skops: written the same each time, and audited before skops."""

import io
import json
import zipfile

import numpy as np

from skensemble.io._audit.allowed import TRUSTED_PART_NAMES
from skensemble.io._audit.skops_parts import NEEDS_SKOPS, SCHEMA, untrusted_skops
from skensemble.io._errors import FormatError, PersistenceError, UntrustedTypesFoundError


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
        raise PersistenceError(NEEDS_SKOPS) from error
    try:
        data = skops.io.dumps(estimator)
    except Exception as error:  # whatever an estimator's own methods raise
        raise PersistenceError(f"{where} cannot be saved by skops: {error}") from error
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        names = {}
        schema = _renumbered(schema, names, {})
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as renamed:
            for old, new in names.items():
                renamed.writestr(zipfile.ZipInfo(new), _without_padding(archive.read(old)))
            renamed.writestr(zipfile.ZipInfo(SCHEMA), json.dumps(schema))
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
        estimator = skops.io.loads(data, trusted=sorted(set(trusted) | TRUSTED_PART_NAMES))
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
