"""Files of plain data and arrays: whole or not there, checked when read, and without pickle."""

import contextlib
import hashlib
import json
import os
import re
import time
from pathlib import Path

import numpy as np
import tensorflow as tf

# A file is this line, the length of the header, the header (JSON), the bytes of the arrays, and the SHA-256 of all.
_MAGIC = b"skensemble state 1\n"
_LENGTH_BYTES, _DIGEST_BYTES = 8, 32
_ARRAY, _DIGEST = "array", "sha256"
_TEMPORARY = re.compile(r"^\..+\.[0-9a-f]+\.writing$")


def write_atomically(path, chunks):
    """Write a file that is there as a whole or not at all, also when the process or the machine dies on the way.

    Parameters
    ----------
    path : Path
    chunks : iterable of bytes
    """
    temporary = path.with_name(f".{path.name}.{os.getpid():x}{time.time_ns():x}.writing")
    try:
        with open(temporary, "xb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path):
    """Make the new name of a file survive a loss of power."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows has no such call
        return
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def sweep_temporaries(directory):
    """Remove what writes that were killed left in a directory."""
    for path in Path(directory).iterdir():
        if _TEMPORARY.match(path.name):
            path.unlink(missing_ok=True)


def write_json(path, tree):
    """Write a dict of plain data as a JSON file."""
    write_atomically(path, [json.dumps({**tree, _DIGEST: _digest_json(tree)}, indent=1).encode()])


def _digest_json(tree):
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()


def read_json(path):
    """What `write_json` wrote; None where there is no file.

    Raises
    ------
    ValueError
        Where the file is not whole, was changed, or is another kind of file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    tree = json.loads(data)
    if not isinstance(tree, dict) or tree.pop(_DIGEST, None) != _digest_json(tree):
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
    arrays = []
    header = json.dumps({"tree": _encode(tree, arrays), "arrays": [_describe(a) for a in arrays]}).encode()
    write_atomically(path, _with_digest([_MAGIC, len(header).to_bytes(_LENGTH_BYTES, "big"), header, *arrays]))


def _encode(tree, arrays):
    if isinstance(tree, np.ndarray | np.generic):
        arrays.append(np.ascontiguousarray(tree).reshape(tree.shape))  # `ascontiguousarray` gives scalars a dimension
        return {_ARRAY: len(arrays) - 1}
    if isinstance(tree, dict):
        return {"dict": {key: _encode(value, arrays) for key, value in tree.items()}}
    if isinstance(tree, list | tuple):
        return [_encode(value, arrays) for value in tree]
    return tree


def _describe(array):
    if array.dtype.hasobject:
        raise TypeError(f"Arrays must hold numbers to be written without pickle: got dtype {array.dtype}.")
    return {"dtype": array.dtype.name, "shape": array.shape}


def _with_digest(chunks):
    digest = hashlib.sha256()
    for chunk in chunks:
        data = chunk.reshape(-1).view(np.uint8).data if isinstance(chunk, np.ndarray) else chunk
        digest.update(data)
        yield data
    yield digest.digest()


def read_state_file(path):
    """What `write_state_file` wrote.

    Raises
    ------
    ValueError
        Where the file is not whole, was changed, or is another kind of file.
    """
    data = memoryview(path.read_bytes())
    start = len(_MAGIC) + _LENGTH_BYTES
    if bytes(data[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("it is no state file")
    if len(data) < start + _DIGEST_BYTES or hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise ValueError("it is cut off, or its bytes were changed")
    stop = start + int.from_bytes(data[len(_MAGIC) : start], "big")
    header = json.loads(bytes(data[start:stop]))
    arrays = []
    for description in header["arrays"]:
        dtype, shape = tf.as_dtype(description["dtype"]).as_numpy_dtype, tuple(description["shape"])
        size = int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize
        arrays.append(np.frombuffer(data[stop : stop + size], dtype).reshape(shape).copy())
        stop += size
    return _decode(header["tree"], arrays)


def _decode(tree, arrays):
    if isinstance(tree, list):
        return [_decode(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    if _ARRAY in tree:
        return arrays[tree[_ARRAY]]
    return {key: _decode(value, arrays) for key, value in tree["dict"].items()}


def set_aside(path):
    """Give a file a name under which it is not read; returns the new path."""
    for i in range(1, 10**6):
        aside = path.with_name(f"{path.name}.aside-{i}")
        with contextlib.suppress(FileExistsError):
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL))
            os.replace(path, aside)
            return aside
    raise FileExistsError(f"There are too many files beside {path} that were set aside: remove some.")
