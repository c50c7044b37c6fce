"""Files of a checkpoint: JSON, and arrays in the format of safetensors, each with a digest of what is in it."""

import contextlib
import hashlib
import json
import math
import os

import ml_dtypes  # noqa: F401  # with it NumPy knows Keras' small types, such as bfloat16, by name
import numpy as np

from skensemble._files.arrays import read_arrays, write_arrays
from skensemble._files.atomic import published
from skensemble._files.strict_json import MAX_DIGITS, read_json, write_json
from skensemble._members.stable_description import digest_text

_ARRAY, _NUMBER, _DIGEST, _TREE = "array", "number", "sha256", "tree"


def write_description(path, tree):
    """Write a dict of plain data as a JSON file."""
    data = write_json({**tree, _DIGEST: digest_text(json.dumps(tree, sort_keys=True))})
    with published(path) as file:
        file.write(data)


def read_description(path):
    """What `write_description` wrote; None where there is no file.

    Raises
    ------
    ValueError
        Where the file is cut off, was changed, or is another kind of file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    tree = read_json(data, "it")
    if not isinstance(tree, dict) or tree.pop(_DIGEST, None) != digest_text(json.dumps(tree, sort_keys=True)):
        raise ValueError("it is cut off, or was changed")
    return tree


def write_state_file(path, tree):
    """Write plain data with arrays in it.

    Parameters
    ----------
    path : Path
    tree : dict
        Dicts with string keys, lists and tuples (read back as lists) of numbers, strings, None and arrays. Integers of
        any size and floats come back as they were.
    """
    arrays = {}
    encoded = write_json(_encode(tree, arrays))
    arrays[_TREE] = np.frombuffer(encoded, np.uint8)
    arrays[_DIGEST] = np.frombuffer(bytes.fromhex(_digest_arrays(arrays)), np.uint8)
    data = write_arrays(arrays)
    with published(path) as file:
        file.write(data)


def read_state_file(path):
    """What `write_state_file` wrote.

    Raises
    ------
    ValueError
        Where the file is cut off, was changed, or is another kind of file.
    """
    try:
        arrays = read_arrays(path.read_bytes(), "it")
    except ValueError as error:
        raise ValueError("it is cut off, was changed, or is no state file") from error
    digest = arrays.pop(_DIGEST, np.empty(0, np.uint8))
    if digest.tobytes().hex() != _digest_arrays(arrays):
        raise ValueError("its bytes were changed")
    return _decode(read_json(arrays.pop(_TREE).tobytes(), "it"), arrays)


def _digest_arrays(arrays):
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def _encode(tree, arrays):
    """JSON of plain data, the arrays in it moved to `arrays`."""
    if isinstance(tree, np.ndarray | np.generic):
        return {_ARRAY: [_keep(np.asarray(tree), arrays), tree.dtype.name]}
    if isinstance(tree, dict):
        return {"dict": {key: _encode(value, arrays) for key, value in tree.items()}}
    if isinstance(tree, list | tuple):
        return [_encode(value, arrays) for value in tree]
    if isinstance(tree, int) and abs(tree) >= 10 ** (MAX_DIGITS - 1):
        return {_NUMBER: ["int", str(tree)]}
    if isinstance(tree, float) and not math.isfinite(tree):
        return {_NUMBER: ["float", repr(tree)]}
    return tree


def _keep(array, arrays):
    """Name of an array that is added to `arrays`; types that safetensors does not have as unsigned integers."""
    if array.dtype.hasobject:
        raise TypeError(f"Arrays must hold numbers to be written without pickle: got dtype {array.dtype}.")
    name = str(len(arrays))
    arrays[name] = array if array.dtype.kind in "biuf" else array.view(f"u{array.dtype.itemsize}")
    return name


def _decode(tree, arrays):
    if isinstance(tree, list):
        return [_decode(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    if tag == _ARRAY:
        return arrays[content[0]].view(content[1])
    if tag == _NUMBER:
        return {"int": int, "float": float}[content[0]](content[1])
    return {key: _decode(value, arrays) for key, value in content.items()}


def set_aside(path):
    """Give a file a name under which it is not read; returns the new path."""
    for i in range(1, 10**6):
        aside = path.with_name(f"{path.name}.aside-{i}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL))
            os.replace(path, aside)
            return aside
    raise FileExistsError(f"There are too many files beside {path} that were set aside: remove some.")
