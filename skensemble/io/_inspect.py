"""What is in a file, without loading it and without TensorFlow."""

import dataclasses
import os

from skensemble.io._audit.trusted_names import all_names
from skensemble.io._manifest import STACKED, architecture_entry, check_manifest
from skensemble.io._zip_container import Container

_MAX_TEXT = 80


@dataclasses.dataclass(frozen=True)
class FileSummary:
    """What `inspect` says about a file; its text is a table.

    Attributes
    ----------
    class_name : str
        Class of the estimator that was saved.
    params : dict of str to str
        Its parameters, as text.
    classes : list or None
        Labels, where it is a classifier with labels of JSON's types.
    n_networks : int
        Number of trained networks in it.
    architectures : list of str
        One line each: class of the model, and its layers.
    untrusted : list of str
        Names that `load` imports only if they are trusted.
    versions : dict of str to str or None
        Versions of the packages that wrote it.
    format_version : tuple of int
    metadata : dict or None
        As given to `dump`.
    size : int
        Size of the file in bytes.
    fingerprint : str
        For `load(..., expected_fingerprint=...)`.
    """

    class_name: str
    params: dict
    classes: list | None
    n_networks: int
    architectures: list
    untrusted: list
    versions: dict
    format_version: tuple
    metadata: dict | None
    size: int
    fingerprint: str

    def __str__(self):
        rows = [
            ("class", self.class_name),
            *((f"  {name}", value) for name, value in self.params.items()),
            ("classes", self.classes),
            ("networks", self.n_networks),
            *(("architecture", line) for line in self.architectures),
            *(("needs trust", name) for name in self.untrusted),
            *((f"version of {name}", version) for name, version in self.versions.items() if version),
            ("format", ".".join(map(str, self.format_version))),
            ("metadata", self.metadata),
            ("size", f"{self.size:,} bytes"),
            ("fingerprint", self.fingerprint),
        ]
        return "\n".join(f"{name:<24}{value}" for name, value in rows if value is not None)


def inspect(file):
    """What is in a file that `dump` wrote; reads its manifest and architectures only.

    Parameters
    ----------
    file : str or path

    Returns
    -------
    FileSummary
        Print it.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> io.dump(ensemble, "iris.skens")
    >>> summary = io.inspect("iris.skens")
    >>> summary.class_name, summary.n_networks
    ('skensemble.KerasAveragingClassifier', 2)
    >>> summary.architectures
    ['Sequential: InputLayer, Dense, Dense']
    """
    with Container(os.fspath(file)) as container:
        manifest = container.manifest
        check_manifest(manifest, container.names)
        root = manifest["objects"][manifest["root"]]
        return FileSummary(
            class_name=root["class"],
            params={name: _text(value) for name, value in _pairs(root["params"])},
            classes=_classes(manifest),
            n_networks=sum(_n_networks(node) for node in manifest["objects"]),
            architectures=[_architecture(container, i) for i in range(manifest["n_architectures"])],
            untrusted=all_names(container),
            versions=manifest["versions"],
            format_version=tuple(manifest["format_version"]),
            metadata=manifest["metadata"],
            size=container.size,
            fingerprint=container.fingerprint,
        )


def verify(file):
    """Raise where a file is damaged: every byte is read and compared with its digest. Nothing is built.

    Parameters
    ----------
    file : str or path

    Raises
    ------
    FormatError, IntegrityError, UnsupportedVersionError

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> io.dump(ensemble, "iris.skens")
    >>> io.verify("iris.skens")
    """
    with Container(os.fspath(file)) as container:
        check_manifest(container.manifest, container.names)
        container.check_all()


def _pairs(typed):
    """(name, typed JSON) of a dict in typed JSON."""
    return [pair for pair in typed["v"] if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)]


def _text(value):
    """Typed JSON as a person would write the value."""
    if isinstance(value, dict):
        tag, content = value.get("t"), value.get("v")
        if tag in ("tuple", "set"):
            brackets = "()" if tag == "tuple" else "{}"
            text = f"{brackets[0]}{', '.join(map(_text, content))}{brackets[1]}"
        elif tag == "dict":
            text = "{" + ", ".join(f"{_text(k)}: {_text(v)}" for k, v in content) + "}"
        else:
            text = f"<{tag}>" if tag in ("object", "array", "items") else str(content)
    elif isinstance(value, list):
        text = f"[{', '.join(map(_text, value))}]"
    else:
        text = repr(value)
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."


def _classes(manifest):
    """Labels of the last object that has labels of text or other values that are not numbers."""
    for node in reversed(manifest["objects"]):
        for name, value in _pairs(node["attributes"]) if "attributes" in node else ():
            if name == "classes_" and isinstance(value, dict) and value.get("t") == "items":
                return [item for item in value["v"][2] if not isinstance(item, dict | list)]
    return None


def _n_networks(node):
    if node["kind"] in STACKED:
        return len(node["variables"])
    return int(node["kind"] == "model" and node["variables"] is not None)


def _architecture(container, number):
    config = container.read_json(architecture_entry(number))
    inner = config.get("config") if isinstance(config, dict) else None
    layers = inner.get("layers") if isinstance(inner, dict) else None
    names = [str(layer.get("class_name")) for layer in layers or () if isinstance(layer, dict)]
    return f"{config.get('class_name')}: {', '.join(names)}"
