"""A small saved ensemble, its parts, and files made of changed parts, for the tests of damaged and hostile files."""

import copy
import functools
import io
import json

import keras
import numpy as np

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble.io import dumps
from skensemble.io._zip_container import Container, write_container

X = np.linspace(-1, 1, 48, dtype="float32").reshape(12, 4)
LABELS = np.repeat(["a", "b", "c"], 4)


def network(meta):
    """A builder that is not there where the file is loaded."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(3, activation="softmax")])


@functools.cache
def ensemble():
    """Two members, fitted."""
    member = KerasClassifier(network, loss="sparse_categorical_crossentropy", epochs=1)
    return KerasAveragingClassifier(member, 2, random_state=0).fit(X, LABELS)


@functools.cache
def saved():
    """The bytes of its file, optimizer included."""
    return dumps(ensemble(), include_optimizer=True)


@functools.cache
def _parts():
    with Container(saved()) as container:
        names = [entry["name"] for entry in container.manifest["entries"]]
        return container.manifest, {name: container.read(name) for name in names}


def parts():
    """The manifest and the entries of that file, copies."""
    manifest, entries = _parts()
    return copy.deepcopy(manifest), dict(entries)


def file_of(manifest, entries):
    """A file of these parts, all digests worked out again, as somebody would who changes a file on purpose."""
    stream = io.BytesIO()
    manifest = {key: value for key, value in manifest.items() if key != "entries"}
    write_container(stream, manifest, entries)
    return stream.getvalue()


def name_of(ending):
    """Name of the first entry that ends like this."""
    return next(name for name in parts()[1] if name.endswith(ending))


def with_architecture(change):
    """The file with its architecture changed: `change(config)` alters it in place, or returns another."""
    manifest, entries = parts()
    name = name_of("architectures/0000.json")
    config = json.loads(entries[name])
    changed = change(config)
    entries[name] = json.dumps(config if changed is None else changed).encode()
    return file_of(manifest, entries)


def with_manifest(change):
    """The file with its manifest changed: `change(manifest)` alters it in place, or returns another."""
    manifest, entries = parts()
    changed = change(manifest)
    return file_of(manifest if changed is None else changed, entries)
