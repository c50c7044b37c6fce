"""The checks of a manifest: what it must say, whether it is consistent, and the names in it. Imports no TensorFlow."""

import warnings

from skensemble._compat.python import find_stacklevel
from skensemble._files.strict_json import dicts_in
from skensemble.io._errors import FormatError, UnsupportedVersionError

FORMAT = "skensemble"
#: Files of another major version are refused, those of a later minor one are read with a warning.
FORMAT_VERSION = [1, 0]
#: Parameters that are not written: the contents of these directories would be unpickled or overwritten by a fit (T39).
NO_DIRECTORIES = ("memory", "checkpoint_dir")
_KEYS = {"format", "format_version", "versions", "metadata", "root", "objects", "n_architectures", "entries", "probe"}
#: Kinds of members that were trained together: copies of one network, and states of one run.
STACKED = ("stacked_members", "epoch_states")
_STACKED = {"prototype": int, "seeds": list, "histories": list, "variables": list, "optimizer": (str, type(None))}
#: Keys of each kind of object, and the type of each value; None means typed JSON.
_KINDS = {
    "model": {"architecture": int, "variables": (str, type(None)), "optimizer": (str, type(None)), "compile": None},
    "network": {"class": str, "params": None, "attributes": None, "target": None, "model": (int, type(None))},
    "stacked_members": _STACKED,
    "epoch_states": _STACKED | {"epochs": list},
    "members": {"entries": list},
    "estimator": {"class": str, "params": None, "attributes": None},
    "skops": {"entry": str},
}


def check_manifest(manifest, entries):
    """Raise where a manifest is not one, or contradicts itself.

    Parameters
    ----------
    manifest : object
        Parsed.
    entries : collection of str
        Entries of the file.
    """
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FormatError("The file was not written by skensemble.io.")
    later = _check_version(manifest)
    _check_keys(manifest, _KEYS, "The manifest", later)
    objects = manifest["objects"]
    if not isinstance(objects, list) or not isinstance(manifest["versions"], dict):
        raise FormatError("The manifest must have a list of objects, and versions.")
    used = {"probe.safetensors"} if manifest["probe"] is not None else set()
    used |= {architecture_entry(i) for i in range(_count(manifest["n_architectures"]))}
    for number, node in enumerate(objects):
        used |= _check_object(number, node, objects, manifest["n_architectures"], later)
    root = manifest["root"]
    if type(root) is not int or not 0 <= root < len(objects) or objects[root]["kind"] not in ("network", "estimator"):
        raise FormatError("The manifest must name the estimator that was saved.")
    _check_used(set(entries) - {"manifest.json", "arrays.safetensors"}, used, later)


def architecture_entry(number):
    """Name of the entry of an architecture."""
    return f"architectures/{number:04}.json"


def _check_version(manifest):
    """Whether the file was written in a later minor version of the format."""
    version = manifest.get("format_version")
    if not isinstance(version, list) or [type(part) for part in version] != [int, int]:
        raise FormatError("The manifest must have a format version of two numbers.")
    if version[0] != FORMAT_VERSION[0]:
        raise UnsupportedVersionError(
            f"The file has the format {version[0]}.{version[1]}, this version of skensemble reads "
            f"{FORMAT_VERSION[0]}.x: it was written by {str(manifest.get('versions'))[:200]}. Load it with those."
        )
    return version[1] > FORMAT_VERSION[1]


def _check_keys(value, known, where, later):
    if not known <= value.keys():
        raise FormatError(f"{where} must have the keys {sorted(known)}.")
    unknown = sorted(value.keys() - known)
    if unknown and not later:
        raise FormatError(f"{where} must have no other keys than {sorted(known)}: got {unknown}.")
    if unknown:
        _warn_of_later(where, unknown)


def _count(value):
    if type(value) is not int or not 0 <= value <= 10_000:
        raise FormatError("The manifest must have a number of architectures.")
    return value


def _check_object(number, node, objects, n_architectures, later):
    """Entries that an object uses; raises where it is not what its kind requires."""
    where = f"Object {number} of the manifest"
    kind = node.get("kind") if isinstance(node, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        raise FormatError(f"{where} must be of a known kind: got {str(kind)[:80]}.")
    _check_keys(node, _KINDS[kind].keys() | {"kind"}, where, later)
    for key, types in _KINDS[kind].items():
        if types is not None and (not isinstance(node[key], types) or isinstance(node[key], bool)):
            raise FormatError(f"{where} must have `{key}` of another type: got {str(node[key])[:80]}.")
    for reference, kinds in _references(node):
        if type(reference) is not int or not 0 <= reference < number:
            raise FormatError(f"{where} must refer to objects before it: got {str(reference)[:80]}.")
        if kinds is not None and objects[reference]["kind"] not in kinds:
            raise FormatError(f"{where} must refer to one of {kinds}: got {objects[reference]['kind']}.")
    if kind == "model" and not 0 <= node["architecture"] < n_architectures:
        raise FormatError(f"{where} must have an architecture of the file.")
    if kind in STACKED:
        _check_stacked(node, where)
    if kind == "members":
        _check_members(node, objects, where)
    return _entries_of(node)


def _references(node):
    """(number, allowed kinds or None) of the objects that an object refers to."""
    kind = node["kind"]
    if kind == "network":
        yield from [] if node["model"] is None else [(node["model"], ("model",))]
    if kind in STACKED:
        yield node["prototype"], ("network",)
    if kind == "members":
        for entry in node["entries"]:
            copied = isinstance(entry, list) and len(entry) == 2
            yield (entry[0], STACKED) if copied else (entry, ("network", "estimator", "skops"))
    for key, types in _KINDS[kind].items():
        if types is None:
            yield from ((value, None) for tag, value in tagged(node[key]) if tag == "object")


def _check_stacked(node, where):
    n_members = len(node["seeds"])
    if any(len(node[name]) != n_members for name in ("histories", "variables", "epochs") if name in node):
        raise FormatError(f"{where} must have a seed, a history and variables for each member, at least one.")
    if not n_members or not all(type(seed) is int for seed in node["seeds"]):
        raise FormatError(f"{where} must have seeds that are integers.")
    if not all(type(epoch) is int for epoch in node.get("epochs", ())):
        raise FormatError(f"{where} must have epochs that are integers.")


def _check_members(node, objects, where):
    for entry in node["entries"]:
        if isinstance(entry, list) and not (type(entry[1]) is int and 0 <= entry[1] < len(objects[entry[0]]["seeds"])):
            raise FormatError(f"{where} must name members that there are: got {str(entry)[:80]}.")


def _entries_of(node):
    """Entries of the file that an object names."""
    named = [node.get("variables"), node.get("optimizer"), node.get("entry")]
    if node["kind"] in STACKED:
        named = [*node["variables"], node["optimizer"]]
    named = [name for name in named if name is not None]
    if not all(isinstance(name, str) for name in named):
        raise FormatError("The manifest must name entries by text.")
    return set(named)


def _check_used(entries, used, later):
    if used - entries:
        raise FormatError(f"The file lacks the entries {sorted(used - entries)[:5]}, which the manifest needs.")
    if entries - used and not later:
        raise FormatError(f"The file has the entries {sorted(entries - used)[:5]}, which the manifest does not use.")
    if entries - used:
        _warn_of_later("The file", f"the entries {sorted(entries - used)[:5]}")


def _warn_of_later(where, what):
    text = f"{where} was written by a later version of skensemble: {what} are not read."
    warnings.warn(text, UserWarning, stacklevel=find_stacklevel())


def tagged(value):
    """Yield (tag, content) of every tagged value in typed JSON."""
    for one in dicts_in(value):
        if isinstance(one.get("t"), str):
            yield one["t"], one.get("v")
