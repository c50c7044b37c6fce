"""Each check of the loader refuses in words of its own, also where another one would refuse the same file later.

`test_edits.py` and `test_attacks.py` ask that bad files are refused; here no check can be taken out unnoticed.
"""

import errno
import io
import struct
import types
import zipfile

import keras
import numpy as np
import pytest
import skops.io
from io_files import X, saved, with_architecture
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression
from test_edits import EDITS, attribute, items, node, pair, tensors

from skensemble import KerasClassifier, PolyakWeightClassifier
from skensemble.io import (
    FormatError,
    IntegrityError,
    PersistenceError,
    UntrustedTypesFoundError,
    get_untrusted_types,
    load,
    loads,
)
from skensemble.io import _manifest as manifest
from skensemble.io import _reader as reader
from skensemble.io import _zip_container as container
from skensemble.io._audit import architectures
from skensemble.io._audit.allowed import TRUSTED_LAYERS
from skensemble.io._audit.skops_parts import untrusted_skops
from skensemble.io._objects import classes, estimators, models, networks, skops_parts
from skensemble.io._objects.kinds import KINDS
from skensemble.io._values import keras_objects

# What an ensemble may learn, and nothing looks at: it is decoded only.
LEARNED = "oob_score_"


def learned(tag, content):
    """The file with a value of typed JSON in it."""
    return attribute("estimator", LEARNED, {"t": tag, "v": content})


def registered(name):
    """Typed JSON of the configuration of an object of Keras that is said to be registered."""
    pairs = {"class_name": "Zeros", "module": "keras.initializers", "registered_name": name, "config": None}
    return {"t": "dict", "v": [[key, value] for key, value in pairs.items()]}


EDITED = {
    # test_edits' own, by name
    "prototype that is not fitted": "must have a prototype with a model",
    "probe of other names": "has no prediction in the probe",
    "variables that are no names": "must name entries by text",
    "variables of nowhere": "lacks the entries",
    "class that is no path": "must name classes by import paths",
    "attribute that hides a property": "must be those that it saves",
    "member with a target of any size": "target of a network must have a shape",
    "prototype that comes later": "must refer to objects before it",
    "no members": "must have fitted members",
    "objects as a dict": "must have a list of objects",
    # more
    attribute("estimator", "classes_", items("a")): "must have an array of two or more classes",
    attribute(
        "estimator", "classes_", {"t": "items", "v": ["<U1", [3, 1], ["a", "b", "c"]]}
    ): "of two or more classes: ",
    node("network", 1, target=[]): "have dicts of attributes and of the target",
    tensors(
        "probe.safetensors", lambda probe: probe.update({k: v[None] for k, v in probe.items()})
    ): "does not predict",
    node("network", 1, **{"class": "skensemble.KerasAveragingClassifier"}, params={"t": "dict", "v": []}): (
        "must be a scikeras estimator"
    ),
    node("network", 1, attributes=[]): "must have dicts of attributes and of the target",
    node("stacked_members", kind="epoch_states", epochs=["a", "b"]): "must have epochs that are integers",
    node("stacked_members", seeds=[], histories=[], variables=[]): "must have seeds that are integers",
    node("stacked_members", seeds={"a": 1, "b": 2}): "must have `seeds` of another type",
    attribute("network", "loss", {"t": "callable", "v": "no path"}, part="params"): "An import path of the manifest is",
    attribute("network", "X_shape_", [12, 4]): "`X_shape_` of a network must be a shape",
    attribute("network", "X_shape_", pair(12, "4")): "`X_shape_` of a network must be a shape: got",
    attribute("network", "shape", [12], part="target"): "target of a network must have a shape: got",
    attribute("network", "X_shape_", pair()): "must be a shape: got \\(\\)",
    attribute("network", "dtype", "none", part="target"): "encoder of a network's target cannot be restored",
    attribute("network", "shape", None, part="target"): "must have shape, dtype, type and classes",
    attribute("estimator", LEARNED, {"other": 1}): "no known type",
    learned("other", 1): "no known type: got {'t': 'other'",
    learned(["int"], 1): "no known type: got {'t': \\['int'\\]",
    learned("dtype", 1): "names the dtype 1",
    learned("dtype", "f4,i4"): "names the dtype 'f4,i4'",
    learned("items", ["<U2000000", [1], ["a"]]): "must have 1 items",
    learned("keras", ["activations", "swish"]): "not one of the names of Keras",  # another name of `silu`
    learned("keras", ["other", "silu"]): "keras.other.silu is not one of the names of Keras",
    learned(
        "keras_object", ["optimizers", "Adam", {"t": "dict", "v": [["x", registered("Other")]]}]
    ): "own objects: got",
    learned("distribution", ["tmean", {"t": "tuple", "v": [[1]]}, {"t": "dict", "v": []}]): "is not a distribution",
    learned("tuple", "ab"): "must be a list",
    learned("set", "ab"): "must be a list",
    learned("items", ["<f4", [1], [1]]): "names the dtype",
    learned("items", ["<U1", [3], ["a"]]): "must have 3 items",
    learned("int", "1_0"): "An integer of the manifest is not one",
    learned("dict", [["a", 1], ["a", 2]]): "has a key twice",
    learned("keras_object", ["losses", "mse", {"t": "dict", "v": []}]): "must be made of Keras' own parts",
    learned("keras_object", ["losses", "Huber", {"t": "dict", "v": [["class_name", "Other"]]}]): "Keras' own objects",
    learned("keras_object", ["metrics", "AUC", {"t": "dict", "v": [["num_thresholds", 10**9]]}]): "must not exceed",
}


@pytest.mark.parametrize("edit", EDITED, ids=list(EDITED.values()))
def test_edit_is_refused_for_what_it_is(edit):
    """The error names what was changed."""
    build = EDITS[edit] if isinstance(edit, str) else edit
    with pytest.raises(PersistenceError, match=EDITED[edit]):
        loads(build())


def test_paths_are_looked_at_before_they_are_shown():
    """What a user is asked to trust is an import path."""
    data = attribute("network", "loss", {"t": "callable", "v": "no path"}, part="params")()
    with pytest.raises(FormatError, match="must name functions and classes by import paths"):
        get_untrusted_types(data=data)


def test_function_in_the_place_of_one_of_keras(monkeypatch):
    """What an application puts into Keras' modules is not Keras'."""

    def huber(y_true, y_pred):
        return 0.0

    monkeypatch.setattr(keras.losses, "huber", huber)
    with pytest.raises(FormatError, match="not one of the names of Keras"):
        loads(learned("keras", ["losses", "huber"])())


def test_object_of_keras_that_is_no_class(monkeypatch):
    """Functions are not called with the configuration of the file, whatever looked at them before."""
    monkeypatch.setattr(keras_objects, "_check_effects", lambda config: None)
    with pytest.raises(FormatError, match="is not a class that a file may name"):
        loads(learned("keras_object", ["losses", "mean_squared_error", {"t": "dict", "v": []}])())


def test_errors_of_what_is_trusted_keep_their_words(tmp_path, monkeypatch):
    """A module that is trusted and not there, or cannot be imported, is named as such, and no damage of the file."""
    (tmp_path / "lacks_something.py").write_text("import what_it_lacks\n")
    monkeypatch.syspath_prepend(tmp_path)
    for path, words in (
        ("nowhere.f", "no function or class can be imported"),
        ("lacks_something.f", "importing it raised"),
    ):
        data = attribute("network", "loss", {"t": "callable", "v": path}, part="params")()
        with pytest.raises(PersistenceError, match=f"^'{path}' is trusted, but {words}") as raised:
            loads(data, trusted=[path, *get_untrusted_types(data=data)])
        assert not isinstance(raised.value, FormatError)


# The reader


def test_tables_agree():
    """A kind that can be written and read has its keys in the manifest's table; layers that are trusted are found."""
    assert KINDS.keys() == manifest._KINDS.keys()
    assert {f"skensemble>{layer.__name__}" for layer in reader._OWN_LAYERS} == TRUSTED_LAYERS


def test_object_that_the_manifest_does_not_have():
    """Numbers of objects are looked at again where they are used."""
    with container.Container(saved()) as opened:
        for number in (99, -1, True, "0"):
            with pytest.raises(FormatError, match="has no object"):
                reader.Reader(opened, (), {}).object(number)


def test_class_that_this_version_does_not_have(monkeypatch):
    """A class that is trusted, but not there, is an error that says so."""
    monkeypatch.setattr(classes, "TRUSTED_CLASSES", {"sklearn.pipeline.Missing"})
    with pytest.raises(PersistenceError, match="has no Missing"):
        classes.class_at("sklearn.pipeline.Missing")


def test_average_of_more_checkpoints_than_there_are():
    """Weights that agree with the number of checkpoints do not make up for checkpoints."""
    member = KerasClassifier(hidden_layer_sizes=(2,), epochs=2)
    polyak = PolyakWeightClassifier(member, n_checkpoints=2, random_state=0).fit(X, np.repeat([0, 1, 2], 4))
    polyak.n_checkpoints_, polyak.weights_ = 3, np.ones(3) / 3
    with pytest.raises(FormatError, match="must have them: got 2"):
        estimators.check_ensemble(polyak)


# Networks


def test_optimizer_of_other_variables():
    """Slots must be those of the optimizer."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    with pytest.raises(FormatError, match="must hold the variables of the optimizer"):
        models.optimizer_values_for(model, {"0": np.zeros(3)}, "An entry")


def test_what_keras_refuses():
    """What Keras raises for a configuration of a file is an error of the file."""
    with pytest.raises(FormatError, match="cannot be built"):
        models.build_model({"module": "keras", "class_name": "Sequential", "config": {"layers": 1}}, {})
    with pytest.raises(FormatError, match="cannot be compiled"):
        models.compile_as(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), {"other": 1})


def test_rows_of_any_size():
    """A network that takes rows of any size does not make a file name any size."""
    any_size = types.SimpleNamespace(input_shape=(None, None))
    with pytest.raises(FormatError, match="must not have more than"):
        networks._check_row_shape((1, networks.MAX_ROW + 1), any_size)
    networks._check_row_shape((1, 2, 2), any_size)  # an encoder may bring rows into another shape


# The container


def entry_info(name, **changed):
    info = container._zip_info(name)
    for key, value in {"header_offset": 0, "CRC": 0, **changed}.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("infos", "words"),
    [
        ([], "the manifest first: got 0"),
        ([entry_info("arrays.safetensors")], "the manifest first: got 1"),
        ([entry_info("manifest.json"), entry_info("other")], "each of its entries once.*'other'"),
        ([entry_info("manifest.json"), entry_info("manifest.json")], "each of its entries once"),
        ([entry_info("manifest.json", orig_filename="manifest.json\0x")], "each of its entries once"),
        ([entry_info("manifest.json", compress_size=1)], "stored as it is, after the one before"),
        ([entry_info("manifest.json", header_offset=1)], "stored as it is, after the one before"),
        ([entry_info("manifest.json", compress_type=zipfile.ZIP_DEFLATED)], "compress_type.* differ"),
        ([entry_info("manifest.json", extra=b"more")], "extra.* differ"),
    ],
)
def test_entries_of_another_form(infos, words):
    """Of a file there is one form: names that are known, once, stored, one after the other."""
    with pytest.raises(FormatError, match=words):
        container._check_infos(infos)


def test_many_entries(monkeypatch):
    """There is a largest number of entries."""
    monkeypatch.setattr(container, "MAX_ENTRIES", 2)
    with pytest.raises(FormatError, match="must hold 1 to 2 entries"):
        loads(saved())


def test_bytes_before_the_directory(monkeypatch):
    """Nothing stands between the entries and their directory, in files of more than 2 GiB neither."""
    data, more = saved(), b"more"
    at = data.rindex(b"PK\x05\x06") + 16
    (start,) = struct.unpack("<L", data[at : at + 4])
    changed = data[:start] + more + data[start:at] + struct.pack("<L", start + len(more)) + data[at + 4 :]
    monkeypatch.setattr(container, "_ZIP64_BYTES", len(data))  # from there on the directory is not compared
    with pytest.raises(FormatError, match="and nothing else"):
        loads(changed)


@pytest.mark.parametrize("value", [[], None, 1, {"format": "other"}])
def test_manifest_of_another_program(value):
    """The manifest says whose it is."""
    with pytest.raises(FormatError, match="was not written by skensemble.io"):
        manifest.check_manifest(value, ())


@pytest.mark.parametrize(
    "listed", [None, {}, [1], [{"name": "a", "size": 1}], [{"name": "a", "size": True, "sha256": ""}]]
)
def test_entries_must_be_listed(listed):
    """The manifest lists name, size and digest of each entry."""
    with pytest.raises(FormatError, match="must list the entries"):
        container._check_entries({"entries": listed}, {})


def test_large_entry(monkeypatch):
    """JSON is read whole, so it is bounded."""
    monkeypatch.setattr(container, "MAX_JSON_BYTES", 10)
    with pytest.raises(FormatError, match="must not exceed 10 bytes"):
        loads(saved())


def test_directory_of_more_bytes_than_the_file_has(tmp_path):
    """A place before the start of the file is an error of the file, not of the disk."""
    data = bytearray(saved())
    at = data.rindex(b"PK\x05\x06") + 12
    data[at : at + 4] = struct.pack("<L", len(data) + 1)
    (tmp_path / "a.skens").write_bytes(data)
    with pytest.raises(FormatError, match="must be a zip"):
        load(tmp_path / "a.skens")


def test_disk_that_fails(monkeypatch):
    """An error of the disk is no error of the file."""

    def fail(stream):
        raise OSError(errno.EIO, "the disk fails")

    monkeypatch.setattr(container.zipfile, "ZipFile", fail)
    with pytest.raises(OSError, match="the disk fails"):
        container.Container(saved())


def test_file_that_ends_inside_of_an_entry():
    """What was there when the file was opened must be there when it is read."""
    with container.Container(saved()) as opened:
        opened._stream.truncate(len(saved()) // 2)
        with pytest.raises(IntegrityError, match="ends inside the entry"):
            opened.check_all()


def test_file_that_is_replaced_while_it_is_read(tmp_path):
    """A file is read as it was opened, or not at all."""
    path = tmp_path / "a.skens"
    path.write_bytes(saved())
    with container.Container(path) as opened:
        path.write_bytes(saved() + b" ")
        with pytest.raises(IntegrityError, match="was changed while it was read"):
            opened.read("arrays.safetensors")


# Parts of scikit-learn


def part(**files):
    """A zip of these files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, (content, compression) in files.items():
            archive.writestr(zipfile.ZipInfo(name.replace("_", ".")), content, compression)
    return stream.getvalue()


SCHEMA = {"schema_json": (b"{}", zipfile.ZIP_STORED)}


def array(values, cut=0):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()[: -cut or None]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "must hold each of its files once"),
        ({"schema_json": (b"{}" * 99, zipfile.ZIP_DEFLATED)}, "must be stored as it is"),
        ({**SCHEMA, "other_npy": (b"", zipfile.ZIP_STORED)}, "must not hold 'other.npy'"),
        ({**SCHEMA, "000000_npz": (b"", zipfile.ZIP_STORED)}, "must not hold compressed arrays"),
        ({**SCHEMA, "000000_npy": (array(np.ones(9), cut=8), zipfile.ZIP_STORED)}, "as many bytes as its shape says"),
        ({**SCHEMA, "000000_npy": (array(np.array([None])), zipfile.ZIP_STORED)}, "and no objects"),
        ({"schema_json": (b'{"__class__": "A", "__module__": 1}', zipfile.ZIP_STORED)}, "must name each type"),
    ],
)
def test_part_that_is_refused(files, words):
    """What skops would be given is looked at before."""
    with pytest.raises(FormatError, match=words):
        untrusted_skops(part(**files))


@pytest.mark.parametrize(
    ("offset", "value"),
    [(8, 0x800), (10, zipfile.ZIP_DEFLATED), (20, 1), (24, 1)],
    ids=["flags", "compression", "compressed size", "size"],
)
def test_part_of_another_form(offset, value):
    """Each file of a part is stored as it is."""
    data = bytearray(part(**SCHEMA))
    at = data.index(b"PK\x01\x02") + offset
    data[at : at + 2] = struct.pack("<H", value)
    with pytest.raises(FormatError, match="must be stored as it is"):
        untrusted_skops(bytes(data))


def test_part_of_many_files(monkeypatch):
    """There is a largest number of files."""
    monkeypatch.setattr("skensemble.io._audit.skops_parts._MAX_FILES", 0)
    with pytest.raises(FormatError, match="each of its files once"):
        untrusted_skops(part(**SCHEMA))


def test_part_with_addresses():
    """Objects in an array would be addresses, or pickled: also where the number of bytes is that of numbers."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with pytest.raises(FormatError, match="and no objects"):
        untrusted_skops(part(**SCHEMA, **{"000000_npy": (stream.getvalue() + bytes(8), zipfile.ZIP_STORED)}))


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # of the zip that is made here
def test_part_with_a_file_twice():
    """Of two files of one name, another reader might take the other."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for _ in range(2):
            archive.writestr(zipfile.ZipInfo("schema.json"), b"{}")
    with pytest.raises(FormatError, match="each of its files once"):
        untrusted_skops(stream.getvalue())


def test_part_of_overlapping_files():
    """Many names for the same bytes would be read many times."""
    data = part(**{"000000_npy": (array(np.ones(500)), zipfile.ZIP_STORED)}, **SCHEMA)
    start, end = data.index(b"PK\x01\x02"), data.index(b"PK\x05\x06")
    entry = data[start : start + zipfile.sizeCentralDir + len("000000.npy")]
    directory = data[start:end] + b"".join(entry.replace(b"000000", b"%06d" % i) for i in range(1, 9))
    counts = 0, 0, 10, 10, len(directory), start, 0
    overlapping = data[:start] + directory + struct.pack(zipfile.structEndArchive, zipfile.stringEndArchive, *counts)
    with pytest.raises(FormatError, match="more bytes than it has"):
        untrusted_skops(overlapping)


def test_part_that_needs_trust():
    """Trust is asked for where the part is read, too."""
    forest = RandomForestClassifier(n_estimators=1).fit(X, np.arange(12) % 2)
    data = skops_parts.write_skops(forest, "A forest")
    with pytest.raises(UntrustedTypesFoundError):
        skops_parts.read_skops(data, ())


@pytest.mark.parametrize("name", ["dumps", "loads"])
def test_what_skops_raises(name, monkeypatch):
    """Whatever skops and the methods of estimators raise is an error of the file."""
    model = LinearRegression().fit(X, X[:, 0])
    data = skops_parts.write_skops(model, "A model")

    def fail(*args, **kwargs):
        raise ZeroDivisionError("by a method of the model")

    monkeypatch.setattr(skops.io, name, fail)
    with pytest.raises(PersistenceError, match="by a method of the model"):
        skops_parts.write_skops(model, "A model") if name == "dumps" else skops_parts.read_skops(data, ())


# Architectures


def test_values_of_another_form():
    """Values in an architecture are as Keras writes them; that a model is not compiled, too."""
    with pytest.raises(FormatError, match="must be as Keras writes it"):
        architectures._check_plain_value({"class_name": "__numpy__", "config": [1]})
    architectures._check_number("compile_config", None)
    with pytest.raises(FormatError, match="must not say how it is compiled"):
        architectures._check_number("compile_config", {"optimizer": "adam"})


def test_nodes_of_another_form():
    """Layers are called as Keras 3 writes it."""

    def change(config):
        config["inbound_nodes"] = [{"args": [], "kwargs": {}, "more": 1}]

    with pytest.raises(FormatError, match="must be as Keras 3 writes them"):
        loads(with_architecture(change))
