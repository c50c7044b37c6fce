"""Files that somebody has made to do harm: each is refused, before anything in it is called, read or allocated.

The payloads only touch a marker in a temporary directory. Names begin with the row of the threat table in
`docs/FORMAT.md`.
"""

import ast
import builtins
import copy
import functools
import io
import json
import marshal
import os
import pickle
import re
import socket
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest
from io_files import LABELS, X, ensemble, file_of, name_of, parts, saved, with_architecture, with_manifest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import fetch_openml
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import skensemble.io
from skensemble import KerasClassifier, KerasVotingClassifier
from skensemble.io import PersistenceError, UntrustedTypesFoundError, dumps, get_untrusted_types, loads
from skensemble.io._objects.skops_parts import write_skops
from skensemble.io._zip_container import Container

MARKER = Path("marker-of-attacks")


def touch(*arguments, **options):
    """What an attack wants to be called."""
    MARKER.touch()
    return arguments[0] if arguments else None


def same(X):
    """A function that does no harm, and needs trust as any other."""
    return X


class Payload:
    """Runs `touch` when it is unpickled."""

    def __reduce__(self):
        return touch, ()


# Parts of attacks


def function(name, module="builtins", registered="function"):
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered}


def python_lambda():
    """A lambda as Keras writes it: marshalled code."""
    code = marshal.dumps((lambda x: __import__("pathlib").Path("marker-of-attacks").touch()).__code__)
    return {"class_name": "__lambda__", "config": {"code": code.hex(), "defaults": None, "closure": None}}


def layer(config):
    """The first layer with variables in a network's config."""
    return next(one for one in config["config"]["layers"] if one["class_name"] == "Dense")


def activation(value):
    """The file with another activation in its network."""
    return lambda: with_architecture(lambda config: layer(config)["config"].update(activation=value))


def replaced_layer(class_name, module="keras.layers", config=None, **others):
    """The file with another layer in its network."""
    new = {"module": module, "class_name": class_name, "config": config or {"name": "x"}, "registered_name": None}
    return lambda: with_architecture(lambda config: layer(config).update({**new, **others}))


def dense(**changed):
    """The file with some values of the config of a Dense layer replaced."""
    return lambda: with_architecture(lambda config: layer(config)["config"].update(changed))


def last_layer(**changed):
    """The file with some values of the config of its last layer replaced."""
    return lambda: with_architecture(lambda config: config["config"]["layers"][-1]["config"].update(changed))


def wide(config, units):
    """A layer like the last one of a network, of another size."""
    layer = copy.deepcopy(config["config"]["layers"][-1])
    layer.pop("build_config", None)
    layer["config"].update(units=units, name=f"wide_{units}")
    return layer


def repeated_rows():
    config = {"name": "repeated", "trainable": True, "dtype": "float32", "n": 2**30}
    return {"module": "keras.layers", "class_name": "RepeatVector", "config": config, "registered_name": None}


def entry(ending, content):
    """The file with the content of an entry replaced, digests worked out again."""

    def build():
        manifest, entries = parts()
        entries[name_of(ending)] = content() if callable(content) else content
        return file_of(manifest, entries)

    return build


def more_entries(**contents):
    """The file with more entries, listed in its manifest."""

    def build():
        manifest, entries = parts()
        return file_of(manifest, {**entries, **contents})

    return build


def tensors(**header):
    """Safetensors bytes of a header and no data."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


def architecture_text(text):
    return entry("architectures/0000.json", text)


def pickled(value):
    return pickle.dumps(value)


def joblib_file():
    stream = io.BytesIO()
    joblib.dump(Payload(), stream)
    return stream.getvalue()


def hdf5():
    stream = io.BytesIO()
    h5py = pytest.importorskip("h5py")
    with h5py.File(stream, "w") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")
    return stream.getvalue()


def numpy_objects():
    stream = io.BytesIO()
    np.save(stream, np.array([Payload()], dtype=object), allow_pickle=True)
    return stream.getvalue()


def contents():
    """(name, content) of the entries of the file, and the zip's comment."""
    with zipfile.ZipFile(io.BytesIO(saved())) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()], archive.comment


def zipped(change=None, *, compress=zipfile.ZIP_STORED, mode=0o100644, name=None, tail=b""):
    """The entries of the file as another program would zip them; `change` takes and returns the list of entries."""

    def build():
        entries, comment = contents()
        stream = io.BytesIO()
        with (
            warnings.catch_warnings(action="ignore"),
            zipfile.ZipFile(stream, "w") as archive,
        ):  # of names that are twice
            for entry_name, content in change(entries) if change else entries:
                info = zipfile.ZipInfo(name or entry_name)
                info.external_attr, info.compress_type = mode << 16, compress
                archive.writestr(info, content)
            archive.comment = comment
        return stream.getvalue() + tail

    return build


def overlapping():
    """Two entries of the directory that point to the same bytes."""
    data = bytearray(saved())
    first = data.index(b"PK\1\2")
    second = data.index(b"PK\1\2", data.index(b"PK\1\2", first + 1) + 1)
    third = data.index(b"PK\1\2", second + 1)
    data[third + 42 : third + 46] = data[second + 42 : second + 46]
    return bytes(data)


def encrypted():
    data = bytearray(saved())
    for start in (data.index(b"PK\3\4"), data.index(b"PK\1\2")):
        offset = 6 if start == 0 else 8
        data[start + offset] |= 1
    return bytes(data)


def manifest_text(change):
    """The file with the text of its manifest changed, and its digest worked out again."""

    def build():
        import hashlib

        entries, _ = contents()
        text = change(entries[0][1])
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for name, content in [("manifest.json", text), *entries[1:]]:
                info = zipfile.ZipInfo(name)
                info.external_attr = 0o100644 << 16
                archive.writestr(info, content)
            archive.comment = b"skensemble-manifest-sha256:" + hashlib.sha256(text).hexdigest().encode()
        return stream.getvalue()

    return build


def node(kind):
    """Changes an object of a kind in the manifest: `node("model")(update)`."""

    def changed(**update):
        def change(manifest):
            next(one for one in manifest["objects"] if one["kind"] == kind).update(update)

        return lambda: with_manifest(change)

    return changed


def parameter(name, value, kind="network"):
    """The file with a parameter of its member, or of the ensemble, replaced by typed JSON."""

    def change(manifest):
        pairs = next(one for one in manifest["objects"] if one["kind"] == kind)["params"]["v"]
        pairs[:] = [pair for pair in pairs if pair[0] != name] + [[name, value]]

    return lambda: with_manifest(change)


def tagged(tag, content):
    return {"t": tag, "v": content}


DEEP = "[" * 100_000 + "]" * 100_000
NUMPY_BOMB = {"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}}

ATTACKS = {
    "T1 pickle": lambda: pickled(Payload()),
    "T1 joblib": joblib_file,
    "T1 pickle of protocol 0": lambda: pickle.dumps(Payload(), 0),
    "T1 pickle for the manifest": manifest_text(lambda _: pickled(Payload())),
    "T1 pickle for an architecture": architecture_text(lambda: pickled(Payload())),
    "T1 pickle for variables": entry("0.safetensors", lambda: pickled(Payload())),
    "T1 pickle for an array": entry("arrays.safetensors", numpy_objects),
    "T1 pickle after the zip": zipped(tail=pickle.dumps(Payload())),
    "T1 directory of checkpoints": parameter("checkpoint_dir", "checkpoints", "estimator"),
    "T2 lambda as activation": activation(python_lambda()),
    "T2 lambda with a module": activation({**python_lambda(), "module": "builtins", "registered_name": None}),
    "T2 lambda in a Lambda": replaced_layer("Lambda", config={"name": "x", "function": python_lambda()}),
    "T2 lambda in an initializer": dense(kernel_initializer=python_lambda()),
    "T2 lambda in a list": dense(activity_regularizer=[[python_lambda()]]),
    "T4 os.system": activation(function("system", "os")),
    "T4 subprocess.Popen": activation(function("Popen", "subprocess")),
    "T4 eval": activation(function("eval")),
    "T4 class of another module": replaced_layer("Popen", "subprocess", {"args": ["touch", str(MARKER)]}),
    "T4 private class of Keras": replaced_layer("Dense", "keras.src.layers.core.dense"),
    "T4 private function of Keras": activation(function("func_load", "keras.src.utils.python_utils")),
    "T4 class of this test": replaced_layer("Payload", "test_io_attacks", registered_name="Payload"),
    "T4 type of TensorFlow": activation({"class_name": "__typespec__", "config": [], "spec_name": "x", "module": "os"}),
    **{
        f"T5 {module}.{name}": activation(function(name, module))
        for module, name in (
            ("keras.config", "set_epsilon"),
            ("keras.config", "enable_unsafe_deserialization"),
            ("keras.utils", "set_random_seed"),
            ("keras.utils", "plot_model"),
            ("keras.utils", "get_file"),
            ("keras.datasets.mnist", "load_data"),
            ("keras.visualization", "plot_image_gallery"),
            ("keras.legacy.saving", "deserialize_keras_object"),
            ("keras.saving", "load_model"),
            ("keras.backend", "clear_session"),
            ("keras.activations", "deserialize"),
        )
    },
    "T5 Lambda with a function of Keras": replaced_layer(
        "Lambda", config={"name": "x", "function": function("clear_session", "keras.utils")}
    ),
    "T6 registered function": activation(function("tests>touch")),
    "T6 registered function as text": activation("tests>touch"),
    "T6 registered function as an initializer": dense(kernel_initializer="tests>touch"),
    "T6 registered function in any place": dense(use_bias="tests>touch"),
    "T6 registered class": replaced_layer("Dense", None, registered_name="tests>Touch"),
    "T6 registered class for one of Keras": replaced_layer("Dense", registered_name="tests>Touch"),
    **{
        f"T7 {name}": replaced_layer(name, config={"name": "x", "filepath": "x"})
        for name in ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
    },
    **{
        f"T8 {name}": replaced_layer(name, config={"name": "x", "vocabulary": "/etc/passwd"})
        for name in ("StringLookup", "IntegerLookup", "TextVectorization")
    },
    "T9 HDF5": hdf5,
    "T9 HDF5 for variables": entry("0.safetensors", hdf5),
    "T10 HDF5 entry": more_entries(**{"members/00000.weights.h5": b"\x89HDF\r\n\x1a\n"}),
    "T11 variables that are declared large": entry(
        "0.safetensors", lambda: tensors(x={"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]})
    ),
    "T11 variables without bytes": entry(
        "0.safetensors", lambda: tensors(x={"dtype": "F32", "shape": [2**31, 0], "data_offsets": [0, 0]})
    ),
    "T11 header of 2 ** 63 bytes": entry("0.safetensors", struct.pack("<Q", 2**63) + b"{}"),
    "T12 units": last_layer(units=100_000_000),
    "T12 units of 64 bits": dense(units=2**40),
    "T12 many layers of many units": lambda: with_architecture(
        lambda config: config["config"]["layers"].extend(wide(config, units) for units in (30_000, 30_001))
    ),
    "T12 repeated rows": lambda: with_architecture(lambda config: config["config"]["layers"].append(repeated_rows())),
    "T12 array of objects": dense(kernel_initializer=NUMPY_BOMB),
    "T13 compressed": zipped(compress=zipfile.ZIP_DEFLATED),
    "T13 compressed bomb": zipped(
        lambda entries: [(name, content + b" " * 10**7) for name, content in entries], compress=zipfile.ZIP_DEFLATED
    ),
    "T13 bzip2": zipped(compress=zipfile.ZIP_BZIP2),
    "T13 lzma": zipped(compress=zipfile.ZIP_LZMA),
    "T15 overlapping entries": overlapping,
    "T16 entry twice": zipped(lambda entries: [*entries, entries[-1]]),
    "T16 manifest twice": zipped(lambda entries: [*entries, entries[0]]),
    "T16 entry that is not listed": zipped(lambda entries: [*entries, ("members/99999.safetensors", b"")]),
    "T17 name with ..": more_entries(**{"../marker-of-attacks": b""}),
    "T17 absolute name": more_entries(**{"/tmp/marker-of-attacks": b""}),
    "T17 name with a zero byte": zipped(name="manifest.json\0.txt"),
    "T17 other file": more_entries(**{"setup.py": b""}),
    "T18 symbolic links": zipped(mode=0o120777),
    "T18 directories": zipped(mode=0o040755),
    "T18 encrypted": encrypted,
    "T18 many entries": zipped(lambda entries: entries + [(f"members/{i:05}.safetensors", b"") for i in range(20_001)]),
    "T19 deep architecture": architecture_text(DEEP.encode()),
    "T19 deep manifest": manifest_text(lambda _: DEEP.encode()),
    "T20 NaN": architecture_text(b'{"a": NaN}'),
    "T20 infinite": architecture_text(b'{"a": 1e999}'),
    "T20 digits": architecture_text(b'{"a": ' + b"9" * 5000 + b"}"),
    "T20 key twice in the manifest": manifest_text(lambda text: b'{"format":"x",' + text[1:]),
    "T20 key twice": architecture_text(b'{"class_name": "A", "class_name": "B"}'),
    "T20 no JSON": architecture_text(b"{'a': 1}"),
    "T20 no UTF-8": architecture_text(b'{"a": "\xff"}'),
    "T26 class of another package": node("estimator")(**{"class": "subprocess.Popen"}),
    "T26 function for a class": node("estimator")(**{"class": "sklearn.datasets.fetch_openml"}),
    "T26 private name": node("network")(**{"class": "skensemble.wrappers.os"}),
    "T27 path that is none": parameter("model", tagged("callable", "os.system('x')")),
    "T27 callbacks that send": parameter(
        "callbacks",
        [tagged("keras_object", ["callbacks", "RemoteMonitor", tagged("dict", [["root", "http://127.0.0.1"]])])],
    ),
    "T27 callbacks that write": parameter(
        "callbacks", [tagged("keras_object", ["callbacks", "CSVLogger", tagged("dict", [["filename", "x"]])])]
    ),
    "T27 callback class that writes": parameter("callbacks", tagged("keras", ["callbacks", "CSVLogger"])),
    "T27 metric of a registered function": parameter(
        "metrics",
        [
            tagged(
                "keras_object",
                [
                    "metrics",
                    "MeanMetricWrapper",
                    tagged("dict", [["fn", "tests>touch"], ["name", "x"], ["dtype", None]]),
                ],
            )
        ],
    ),
    "T27 loader of Keras": parameter("loss", tagged("keras", ["losses", "deserialize"])),
    "T27 object of another module of Keras": parameter("loss", tagged("keras", ["utils", "get_file"])),
    "T27 number type that is none": parameter("loss", tagged("numpy", "load")),
    "T27 builtin that is none": parameter("loss", tagged("builtin", "eval")),
    "T27 tag that is none": parameter("loss", tagged("decode", 1)),
    "T27 tag of a private method": parameter("loss", tagged("_objects", 0)),
    "T28 torn": lambda: saved()[:1000] + bytes(100) + saved()[1100:],
}


# Parts that scikit-learn's estimators are in


@functools.cache
def voting_parts():
    """The manifest and the entries of an ensemble of a network and a logistic regression."""
    members = [("network", KerasClassifier(hidden_layer_sizes=(2,), epochs=1)), ("other", LogisticRegression())]
    data = dumps(KerasVotingClassifier(members, random_state=0).fit(X, LABELS))
    with Container(data) as container:
        return container.manifest, {one["name"]: container.read(one["name"]) for one in container.manifest["entries"]}


def part(content):
    """The file of that ensemble with another scikit-learn part."""

    def build():
        manifest, entries = voting_parts()
        name = next(name for name in entries if name.endswith(".skops"))
        return file_of(manifest, {**entries, name: content()})

    return build


def skops_files(estimator):
    """Name to content of the files in the skops part of an estimator."""
    with zipfile.ZipFile(io.BytesIO(write_skops(estimator, "it"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def skops_zip(files, compress=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compress) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def regression():
    return LogisticRegression().fit(X, LABELS)


def array(content):
    """A part with the bytes of its first array replaced."""

    def build():
        files = skops_files(regression())
        name = next(name for name in files if name.endswith(".npy"))
        return skops_zip({**files, name: content() if callable(content) else content})

    return part(build)


def npy(header):
    text = header.encode() + b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def schema(change):
    """A part with the text of its schema changed."""

    def build():
        files = skops_files(regression())
        return skops_zip({**files, "schema.json": change(files["schema.json"].decode()).encode()})

    return part(build)


def hiding(estimator, inner):
    """A fitted estimator, an attribute of a part of which hides a method."""

    def build():
        fitted = estimator.fit(X, LABELS)
        vars(inner(fitted))["predict"] = "hidden"
        return write_skops(fitted, "it")

    return part(build)


def transformer(function):
    return part(lambda: write_skops(FunctionTransformer(function), "it"))


PARTS = {
    "T1 pickle for a scikit-learn part": part(lambda: pickle.dumps(Payload())),
    "T1 joblib for a scikit-learn part": part(joblib_file),
    "T13 compressed part": part(lambda: skops_zip(skops_files(regression()), zipfile.ZIP_DEFLATED)),
    "T13 bomb in a part": part(
        lambda: skops_zip({"schema.json": b'"' + b" " * 10**8 + b'"'}, compress=zipfile.ZIP_DEFLATED)
    ),
    "T19 deep schema": schema(lambda _: DEEP),
    "T20 NaN in a schema": schema(lambda text: text.replace('"protocol": ', '"protocol": NaN, "x": ')),
    "T21 array of objects": array(numpy_objects),
    "T21 objects of another type": array(lambda: npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }")),
    "T22 array of petabytes": array(
        lambda: npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9007199254740992,), }")
    ),
    "T22 array of negative shape": array(lambda: npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }")),
    "T22 header that is no dict": array(lambda: npy("__import__('os').system('touch marker-of-attacks')")),
    "T22 header that does not end": array(lambda: npy("{'descr': (((")),
    "T22 no array": array(b"\x93NUMPY"),
    "T23 file beside": part(lambda: skops_zip({**skops_files(regression()), "x.pkl": b""})),
    "T23 os.system": transformer(os.system),
    "T23 eval": transformer(eval),
    "T23 numpy.load": transformer(np.load),
    "T23 function of this test": transformer(touch),
    "T23 download of scikit-learn": transformer(fetch_openml),
    "T23 class by name": schema(lambda text: text.replace('"LogisticRegression"', '"Popen"')),
    "T23 module by name": schema(lambda text: text.replace('"sklearn.linear_model._logistic"', '"subprocess"')),
    "T23 loader by name": schema(lambda text: text.replace('"ObjectNode"', '"ReduceNode"')),
    "T23 loader of nothing": schema(lambda text: text.replace('"ObjectNode"', '"Nothing"')),
    "T23 type by number": schema(lambda text: text.replace('"LogisticRegression"', "1")),
    "T24 tree": part(lambda: write_skops(DecisionTreeClassifier().fit(X, LABELS), "it")),
    "T25 method that is hidden": hiding(LogisticRegression(), lambda fitted: fitted),
    "T25 method of a step": hiding(make_pipeline(StandardScaler(), LogisticRegression()), lambda fitted: fitted[-1]),
    "T25 method of a calibrated estimator": hiding(
        CalibratedClassifierCV(LogisticRegression(), cv=2), lambda fitted: fitted.calibrated_classifiers_[0].estimator
    ),
}
# What loads only where it is trusted: trees crash the process where their arrays were changed, the others run code.
UNTRUSTED = {
    "tree": DecisionTreeClassifier(max_depth=2),
    "forest": RandomForestClassifier(2, max_depth=2),
    "extra trees": ExtraTreesClassifier(2, max_depth=2),
    "gradient boosting": GradientBoostingClassifier(n_estimators=2),
    "histograms": HistGradientBoostingClassifier(max_iter=2),
    "neighbours": KNeighborsClassifier(2),
    "support vectors": SVC(),
    "calibrated forest": CalibratedClassifierCV(RandomForestClassifier(2, max_depth=2), cv=2),
    "forest in a pipeline": make_pipeline(StandardScaler(), RandomForestClassifier(2, max_depth=2)),
    "function of this test": make_pipeline(FunctionTransformer(same), LogisticRegression()),
}


def test_corpus_is_large():
    """Every row of the threat table that is about reading has files."""
    assert len(ATTACKS) + len(UNTRUSTED) + len(PARTS) >= 70
    rows = {name.split()[0] for name in [*ATTACKS, *PARTS]}
    assert {f"T{row}" for row in (*range(1, 3), *range(4, 14), *range(15, 24), 25, 26, 27, 28)} <= rows


# What no attack may reach


@functools.cache
def warm_up():
    """Import all modules that loading needs, and fill its caches: imports read and unmarshal code."""
    for data in (saved(), file_of(*voting_parts())):
        loads(data, lazy=True).predict(X)
        loads(data).predict(X)


@contextmanager
def watched():
    """Yield a list, to which every call that no file may make the loader do is added; the call fails."""
    warm_up()
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield from _watch(monkeypatch)


def _watch(monkeypatch):
    calls = []

    def recorded(owner, name, allowed=lambda *arguments, **options: False):
        original = getattr(owner, name)

        @functools.wraps(original)
        def call(*arguments, **options):
            if not allowed(*arguments, **options):
                calls.append(f"{getattr(owner, '__name__', owner)}.{name}{arguments!r}"[:200])
                raise PermissionError(f"{name} in an attack")
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    def reads(file, mode="r", *arguments, **options):
        return not set(mode) & set("wax+")

    recorded(builtins, "open", reads)
    recorded(io, "open", reads)
    for owner, names in (
        (os, ("system", "popen", "unlink", "remove", "rename", "mkdir", "symlink")),
        (subprocess, ("Popen",)),
        (socket, ("create_connection", "getaddrinfo")),
        (pickle, ("load", "loads")),
        (marshal, ("load", "loads")),
        (joblib, ("load",)),
        (keras.config, ("enable_unsafe_deserialization",)),
    ):
        for name in names:
            recorded(owner, name)
    h5py = sys.modules.get("h5py")
    if h5py is not None:
        recorded(h5py, "File")
    yield calls


@pytest.fixture(autouse=True)
def marker(tmp_path, monkeypatch):
    """Run in a temporary directory; afterwards no payload may have left its marker there or anywhere."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / MARKER
    assert [path.name for path in tmp_path.iterdir()] == []
    assert not MARKER.exists()
    assert not Path("/tmp/marker-of-attacks").exists()


def peak():
    resource = pytest.importorskip("resource")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


#: Of the processor, which other work on the machine hardly changes; what a file may name without bounds takes minutes.
MOST_CPU_SECONDS = 20


def assert_refused(data, **options):
    """The file is refused by everything that reads one, quickly, in little memory, and without a trace."""
    assert isinstance(data, bytes)
    warm_up()
    memory, modules, epsilon = peak(), set(sys.modules), keras.config.epsilon()
    start = time.process_time()
    with watched() as calls, pytest.raises(PersistenceError):
        loads(data, **options)
    assert time.process_time() - start < MOST_CPU_SECONDS
    assert peak() - memory < 64
    assert calls == []
    assert {name for name in set(sys.modules) - modules if name.partition(".")[0] not in OWN_PACKAGES} == set()
    assert keras.config.epsilon() == epsilon


OWN_PACKAGES = {"skensemble", "keras", "tensorflow", "numpy", "scipy", "sklearn", "skops", "safetensors", "encodings"}


@pytest.mark.parametrize("name", [*ATTACKS, *PARTS])
def test_attack(name):
    """The loader refuses the file."""
    assert_refused(build(name))


@functools.cache
def build(name):
    """The bytes of an attack."""
    return {**ATTACKS, **PARTS}[name]()


@pytest.mark.parametrize("name", [name for name in ATTACKS if not name.startswith(("T4", "T5", "T6", "T26"))])
def test_attack_that_is_trusted(name):
    """What is not a question of names is refused whatever the user trusts."""
    names = ["function", "keras.layers.Lambda", "keras.layers.TFSMLayer", "os.system", "subprocess.Popen", "eval"]
    assert_refused(build(name), trusted=[*names, "io_files.network"])


@pytest.mark.parametrize("name", [*ATTACKS, *PARTS])
def test_attack_that_is_loaded_lazily(name):
    """What is read when it is first used is refused then, the same way."""
    data, all_calls = build(name), []

    def load_and_predict():
        with watched() as calls:
            all_calls.append(calls)
            loaded = loads(data, lazy=True)
        loaded.predict(X)

    with pytest.raises(PersistenceError):
        load_and_predict()
    assert all_calls == [[]]


@pytest.fixture
def unsafe():
    """Keras' own protection switched off, and a marker registered, as an application may have done."""
    from keras.src.saving import serialization_lib  # to switch it on again

    keras.config.enable_unsafe_deserialization()

    class Touch(keras.layers.Layer):
        def __init__(self, **options):
            touch()
            super().__init__()

    objects = {"tests>touch": touch, "touch": touch, "tests>Touch": Touch}
    keras.saving.get_custom_objects().update(objects)
    yield
    for name in objects:
        keras.saving.get_custom_objects().pop(name)
    scope = serialization_lib.SafeModeScope(True)
    scope.original_value = None
    scope.__exit__()


@pytest.mark.parametrize("name", [*ATTACKS, *PARTS])
def test_attack_on_an_application_that_trusts_keras_files(name, unsafe):
    """The same files are refused where Keras would load them, and finds what they name."""
    assert_refused(build(name))


@pytest.mark.parametrize("name", [*ATTACKS, *PARTS])
def test_looking_at_an_attack(name, tmp_path_factory):
    """What only looks at a file raises errors of its own or answers; it calls nothing either."""
    path = tmp_path_factory.mktemp("attack") / "x.skens"
    path.write_bytes(build(name))
    with watched() as calls:
        for look in (skensemble.io.inspect, skensemble.io.verify, lambda file: get_untrusted_types(file=file)):
            with suppress(PersistenceError):
                look(path)
    assert calls == []


@pytest.mark.parametrize("name", UNTRUSTED)
def test_scikit_learn_part_that_needs_trust(name):
    """It loads only where every name of it is trusted, and then gives the same predictions."""
    data = untrusted_file(name)
    with watched() as calls, pytest.raises(UntrustedTypesFoundError) as error:
        loads(data)
    assert calls == []
    names = error.value.names
    assert set(names) <= set(get_untrusted_types(data=data))
    for missing in names:
        with pytest.raises(UntrustedTypesFoundError):
            loads(data, trusted=[one for one in names if one != missing])
    loads(data, trusted=names)


@functools.cache
def untrusted_file(name):
    members = [("network", KerasClassifier(hidden_layer_sizes=(2,), epochs=1)), ("other", UNTRUSTED[name])]
    return dumps(KerasVotingClassifier(members, voting="hard", random_state=0).fit(X, LABELS))


# What the code itself does not use

FORBIDDEN_MODULES = {"cloudpickle", "dill", "h5py", "joblib", "marshal", "pickle", "shelve", "subprocess"}
FORBIDDEN_NAMES = {"eval", "exec", "compile", "__import__"}


SOURCES = sorted(Path(skensemble.io.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_pickle_in_the_source(path):
    """No file of `skensemble.io` imports what runs code from files, not even for writing."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} & FORBIDDEN_MODULES == set()
    called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert called & FORBIDDEN_NAMES == set()
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert attributes & {"load_model", "load_weights", "allow_pickle", "enable_unsafe_deserialization"} == set()


def test_no_pickle_at_work():
    """Loading a file calls nothing that runs code, writes or sends."""
    for data in (saved(), file_of(*voting_parts())):
        with watched() as calls:
            loaded = loads(data)
        assert calls == []
        assert loaded.predict(X).shape == (12,)
    np.testing.assert_array_equal(loads(saved()).predict_proba(X), ensemble().predict_proba(X))


def test_threats_have_the_numbers_of_the_document():
    """Each number in the code and in the names of the tests is that of a row of the table in `docs/FORMAT.md`."""
    root = Path(skensemble.io.__file__).parents[2]
    rows = re.findall(r"^\| (T\d.*?) \|", (root / "docs" / "FORMAT.md").read_text(encoding="utf-8"), re.MULTILINE)
    known = set()
    for part in ", ".join(rows).split(", "):
        first, last = re.fullmatch(r"T(\d+)(?: to T(\d+))?", part).groups()
        known |= {f"T{number}" for number in range(int(first), int(last or first) + 1)}
    used = {
        code
        for path in [*SOURCES, Path(__file__)]
        for code in re.findall(r"\bT\d+\b", path.read_text(encoding="utf-8"))
    }
    assert used
    assert used <= known
