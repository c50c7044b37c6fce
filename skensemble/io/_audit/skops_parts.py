"""The audit of a scikit-learn part: the types that it names, and whether it holds no more than it says.

Trust is narrower than skops' own: a tree whose arrays were changed crashes the process when it predicts (T24), so trees
need the user's trust.
"""

import io
import math
import re
import struct
import zipfile

import numpy as np

from skensemble._files.strict_json import dicts_in, read_json
from skensemble.io._audit.allowed import TRUSTED_PART_MODULES, TRUSTED_PART_NAMES
from skensemble.io._errors import FormatError, PersistenceError

_MAX_FILES = 10_000
SCHEMA = "schema.json"
NEEDS_SKOPS = "scikit-learn parts need skops: install skensemble[io], or skops itself."


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
        raise PersistenceError(NEEDS_SKOPS) from error
    named = {f"{node['__module__']}.{node['__class__']}" for node in _nodes(schema)}
    try:
        unsafe = set(skops.io.get_untrusted_types(data=data))
    except Exception as error:  # skops raises whatever its parsing comes to
        raise FormatError(f"A scikit-learn part of the file cannot be read by skops: {error}") from error
    untrusted = {name for name in named if not TRUSTED_PART_MODULES.match(name)} | unsafe
    return sorted(untrusted - TRUSTED_PART_NAMES)


def _check_part(data):
    """Schema of a skops part; every file in it is bounded by its bytes (T13, T21, T22)."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            names = {info.filename for info in infos}
            if len(names) < len(infos) or len(infos) > _MAX_FILES or SCHEMA not in names:
                raise FormatError("A scikit-learn part of the file must hold each of its files once.")
            for info in infos:
                if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits:
                    raise FormatError("A scikit-learn part of the file must be stored as it is.")
                if info.filename != SCHEMA and not re.fullmatch(r"[0-9]{6}\.(npy|npz|bin)", info.filename):
                    raise FormatError(f"A scikit-learn part of the file must not hold {info.filename!r}.")
            if sum(info.file_size for info in infos) > len(data):
                raise FormatError("A scikit-learn part of the file must not hold more bytes than it has.")
            for info in infos:
                if info.filename.endswith(".npy"):
                    _check_array(archive.read(info))
                elif info.filename.endswith(".npz"):
                    raise FormatError("A scikit-learn part of the file must not hold compressed arrays.")
            return read_json(archive.read(SCHEMA), "The schema of a scikit-learn part", FormatError)
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
    """Every dict of a schema that names a type."""
    for node in dicts_in(schema):
        if "__class__" in node or "__module__" in node:
            if not all(isinstance(node.get(key), str) for key in ("__class__", "__module__", "__loader__")):
                raise FormatError("A scikit-learn part of the file must name each type by its module and class.")
            yield node
