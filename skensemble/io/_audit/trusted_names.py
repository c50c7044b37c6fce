"""All names in a file that need the user's trust."""

import re

from skensemble.io._audit.allowed import TRUSTED_CLASSES, TRUSTED_LAYERS
from skensemble.io._audit.architectures import untrusted_names
from skensemble.io._audit.skops_parts import untrusted_skops
from skensemble.io._errors import FormatError
from skensemble.io._manifest import architecture_entry, tagged

#: A path that a function or class may be imported from: names of Python, in any alphabet.
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def all_names(container):
    """Names that `load` imports only if they are trusted, sorted; also those that are only needed to train again."""
    return sorted(_import_paths(container.manifest) | needed_names(container))


def needed_names(container):
    """Names without which the file cannot be loaded, and that are not trusted by default."""
    manifest = container.manifest
    names = _class_paths(manifest)
    for number in range(manifest["n_architectures"]):
        names.update(untrusted_names(container.read_json(architecture_entry(number)), TRUSTED_LAYERS))
    for node in manifest["objects"]:
        if node["kind"] == "skops":
            names.update(untrusted_skops(container.read(node["entry"])))
    return names


def _import_paths(manifest):
    """Functions and classes among parameters and learned attributes: they are restored only if they are trusted."""
    paths = [content for tag, content in tagged(manifest["objects"]) if tag == "callable"]
    if not all(isinstance(path, str) and IMPORT_PATH.fullmatch(path) for path in paths):
        raise FormatError("The manifest must name functions and classes by import paths.")
    return set(paths)


def _class_paths(manifest):
    """The estimators' classes, except those that are trusted by default."""
    paths = {node["class"] for node in manifest["objects"] if node["kind"] in ("network", "estimator")}
    if not all(IMPORT_PATH.fullmatch(path) for path in paths):
        raise FormatError("The manifest must name classes by import paths.")
    return paths - TRUSTED_CLASSES
