"""Files whose meaning was changed on purpose, digests worked out again: what does not fit together is refused."""

import numpy as np
import pytest
from io_files import X, ensemble, file_of, name_of, parts, with_architecture, with_manifest
from safetensors.numpy import load, save

from skensemble.io import PersistenceError, UnsupportedVersionError, loads


def of_kind(manifest, kind, which=0):
    """An object of the manifest."""
    return [one for one in manifest["objects"] if one["kind"] == kind][which]


def edit(change):
    """The file after `change(manifest)`, whatever that returns."""

    def changed(manifest):
        change(manifest)

    return lambda: with_manifest(changed)


def top(**changed):
    """The file with values of the manifest replaced."""
    return edit(lambda manifest: manifest.update(changed))


def without(key):
    """The file with a value of the manifest taken out."""
    return edit(lambda manifest: manifest.pop(key))


def node(which_kind, which=0, **changed):
    """The file with values of an object replaced, by what functions of the old values give."""

    def change(manifest):
        one = of_kind(manifest, which_kind, which)
        one.update({key: value(one[key]) if callable(value) else value for key, value in changed.items()})

    return edit(change)


def node_without(kind, key):
    return edit(lambda manifest: of_kind(manifest, kind).pop(key))


def attribute(kind, name, value, which=-1, part="attributes"):
    """The file with something that an estimator learned replaced, typed JSON; None takes it out."""

    def change(manifest):
        content = of_kind(manifest, kind, which)[part]["v"]
        content[:] = [pair for pair in content if pair[0] != name]
        if value is not None:
            content.append([name, value])

    return edit(change)


def tensors(ending, change, which=0):
    """The file with arrays of an entry changed: `change(arrays)` alters the dict in place."""

    def build():
        manifest, entries = parts()
        name = [name for name in entries if name.endswith(ending)][which]
        arrays = load(entries[name])
        change(arrays)
        return file_of(manifest, {**entries, name: save({key: np.ascontiguousarray(v) for key, v in arrays.items()})})

    return build


def first(arrays, change):
    """Change the first array of a dict."""
    name = sorted(arrays)[0]
    arrays[name] = change(arrays[name])


def variables(change):
    """The file with the first variable of its first member changed."""
    return tensors("members/00000.safetensors", lambda arrays: first(arrays, change))


def layer(**changed):
    """The file with the last layer of its network changed."""
    return lambda: with_architecture(lambda config: config["config"]["layers"][-1]["config"].update(changed))


def layers(change):
    """The file with the list of its network's layers changed."""

    def build():
        def changed(config):
            config["config"]["layers"] = change(config["config"]["layers"])

        return with_architecture(changed)

    return build


def renamed_entry():
    manifest, entries = parts()
    name = name_of("00001.safetensors")
    return file_of(manifest, {("members/00009.safetensors" if key == name else key): v for key, v in entries.items()})


def without_entry(ending):
    def build():
        manifest, entries = parts()
        entries.pop(name_of(ending))
        return file_of(manifest, entries)

    return build


def pruned(value):
    return value[:-1]


def items(*labels):
    return {"t": "items", "v": ["<U1", [len(labels)], list(labels)]}


def pair(*values):
    return {"t": "tuple", "v": list(values)}


EDITS = {
    # the manifest as a whole
    "format of another program": top(format="other"),
    "format that is a number": top(format=1),
    "version as text": top(format_version="1.0"),
    "version of one number": top(format_version=[1]),
    "version of three numbers": top(format_version=[1, 0, 0]),
    "version of truth values": top(format_version=[True, False]),
    "version 0": top(format_version=[0, 9]),
    **{
        f"no {key}": without(key)
        for key in ("format", "format_version", "versions", "metadata", "root", "objects", "n_architectures", "probe")
    },
    "unknown key": top(more=1),
    "versions as a list": top(versions=[]),
    "root that is not there": top(root=99),
    "negative root": top(root=-1),
    "root as text": top(root="5"),
    "root as a truth value": top(root=True),
    "root that is a network's model": top(root=1),
    "root that is a list of members": edit(
        lambda manifest: manifest.update(root=manifest["objects"].index(of_kind(manifest, "members")))
    ),
    "no objects": top(objects=[]),
    "objects as a dict": top(objects={}),
    "object that is none": edit(lambda manifest: manifest["objects"].insert(0, None)),
    "object that is a list": edit(lambda manifest: manifest["objects"].insert(0, [])),
    "no architectures": top(n_architectures=0),
    "more architectures than there are": top(n_architectures=2),
    "negative number of architectures": top(n_architectures=-1),
    "number of architectures as text": top(n_architectures="1"),
    "far too many architectures": top(n_architectures=10**9),
    # objects
    "unknown kind": node("members", kind="other"),
    "kind that is a list": node("members", kind=["members"]),
    "kind of another object": node("members", kind="estimator"),
    "object with more": node("members", more=1),
    **{
        f"{kind} without {key}": node_without(kind, key)
        for kind, key in (
            ("model", "architecture"),
            ("model", "compile"),
            ("network", "class"),
            ("network", "params"),
            ("stacked_members", "seeds"),
            ("stacked_members", "variables"),
            ("members", "entries"),
            ("estimator", "attributes"),
        )
    },
    "architecture that is not there": node("model", architecture=1),
    "negative architecture": node("model", architecture=-1),
    "prototype that comes later": node("stacked_members", prototype=4),
    "prototype that is itself": node("stacked_members", prototype=3),
    "negative prototype": node("stacked_members", prototype=-4),
    "prototype that is not fitted": node("stacked_members", prototype=0),
    "prototype that is a model": node("stacked_members", prototype=1),
    "kind that is none": node("stacked_members", kind="other"),
    "members that are states without epochs": node("stacked_members", kind="epoch_states"),
    "too few seeds": node("stacked_members", seeds=pruned),
    "seeds of text": node("stacked_members", seeds=["a", "b"]),
    "too few histories": node("stacked_members", histories=pruned),
    "history that is none": node("stacked_members", histories=[1, 2]),
    "too few variables": node("stacked_members", variables=pruned),
    "variables of nowhere": node(
        "stacked_members", variables=["members/00000.safetensors", "members/00077.safetensors"]
    ),
    "variables that are the arrays": node("stacked_members", variables=["arrays.safetensors", "arrays.safetensors"]),
    "variables that are an architecture": node(
        "stacked_members", variables=["members/00000.safetensors", "architectures/0000.json"]
    ),
    "variables that are no names": node("stacked_members", variables=[0, 1]),
    "optimizer that is left out": node("stacked_members", optimizer=None),
    "optimizer of nowhere": node("stacked_members", optimizer="members/00077.optimizer.safetensors"),
    "member of a copy that is not there": node("members", entries=[[3, 0], [3, 2]]),
    "member of a negative copy": node("members", entries=[[3, 0], [3, -1]]),
    "member of another object": node("members", entries=[[2, 0], [3, 1]]),
    "member that is its own list": node("members", entries=[4, 4]),
    "member of three numbers": node("members", entries=[[3, 0, 0]]),
    "member of text": node("members", entries=["3"]),
    "no members": node("members", entries=[]),
    "fewer members than weights": node("members", entries=pruned),
    # estimators
    "regressor for a classifier": node("estimator", **{"class": "skensemble.KerasAveragingRegressor"}),
    "ensemble of another method": node("estimator", **{"class": "skensemble.SnapshotEnsembleClassifier"}),
    "member for an ensemble": node("estimator", **{"class": "skensemble.KerasClassifier"}),
    "ensemble for a member": node("network", 1, **{"class": "skensemble.KerasAveragingClassifier"}),
    "class that is no path": node("estimator", **{"class": "KerasAveragingClassifier"}),
    "parameter that is not there": attribute("estimator", "other", 1, part="params"),
    "parameters that are a list": node("estimator", params=[]),
    "attributes that are a list": node("estimator", attributes=[]),
    "ensemble that learned nothing": node("estimator", attributes={"t": "dict", "v": []}),
    "attribute that hides a method": attribute("estimator", "predict", 1),
    "attribute of a member that hides a method": attribute("network", "predict_proba", 1),
    "attribute that hides a property": attribute("network", "_user_params", 1),
    "attribute that is a parameter": attribute("estimator", "voting", "other"),
    "attribute whose name is a number": attribute("estimator", 1, 1),
    "no estimators_": attribute("estimator", "estimators_", None),
    "estimators_ that are a number": attribute("estimator", "estimators_", 2),
    "estimators_ that are one network": attribute("estimator", "estimators_", {"t": "object", "v": 2}),
    "too few classes": attribute("estimator", "classes_", items("a", "b")),
    "other classes": attribute("estimator", "classes_", items("a", "b", "d")),
    "classes that are a list": attribute("estimator", "classes_", ["a", "b", "c"]),
    "no classes": attribute("estimator", "classes_", None),
    "member with too few classes": attribute("network", "classes", items("a", "b"), part="target"),
    "member with another target": attribute("network", "type", "multilabel-indicator", part="target"),
    "member with a binary target": attribute("network", "type", "binary", part="target"),
    "member with a target of any size": attribute("network", "shape", pair(12, 10**10), part="target"),
    "member of rows of another shape": attribute("network", "X_shape_", pair(12, 5)),
    "member of rows of any size": attribute("network", "X_shape_", pair(12, 10**12)),
    "no weights": attribute("estimator", "weights_", None),
    "array that is not there": attribute("estimator", "weights_", {"t": "array", "v": ["a9"]}),
    "array that is an object": attribute("estimator", "weights_", {"t": "object", "v": 0}),
    "too many weights": tensors("arrays.safetensors", lambda arrays: first(arrays, lambda v: np.ones(3) / 3)),
    "negative weights": tensors("arrays.safetensors", lambda arrays: first(arrays, lambda v: -v)),
    "weights that are no numbers": tensors("arrays.safetensors", lambda arrays: first(arrays, lambda v: v * np.nan)),
    "weights of two dimensions": tensors("arrays.safetensors", lambda arrays: first(arrays, lambda v: v[None])),
    # variables
    "variable of another shape": variables(lambda v: v.reshape(-1)),
    "variable turned around": variables(lambda v: v.T),
    "variable of more numbers": variables(lambda v: np.concatenate([v, v])),
    "variable of another type": variables(lambda v: v.astype("float64")),
    "variable of half precision": variables(lambda v: v.astype("float16")),
    "variable of integers": variables(lambda v: v.astype("int32")),
    "variable that is not a number": variables(lambda v: v * np.nan),
    "variable that is infinite": variables(lambda v: v + np.inf),
    "variable of other numbers": variables(lambda v: v + 1),
    "variable of zeros": variables(lambda v: v * 0),
    "variable left out": tensors("members/00000.safetensors", lambda arrays: arrays.popitem()),
    "variable added": tensors("members/00000.safetensors", lambda arrays: arrays.update(other=np.zeros(1))),
    "variable of another name": tensors(
        "members/00000.safetensors", lambda arrays: arrays.update(other=arrays.popitem()[1])
    ),
    "variables of nothing": tensors("members/00000.safetensors", lambda arrays: arrays.clear()),
    "optimizer without a variable": tensors("optimizer.safetensors", lambda arrays: arrays.popitem()),
    "optimizer of another shape": tensors("optimizer.safetensors", lambda arrays: first(arrays, lambda v: v[:1])),
    "no variables of a member": without_entry("00001.safetensors"),
    "no probe": without_entry("probe.safetensors"),
    "no arrays": without_entry("arrays.safetensors"),
    "no architecture": without_entry("0000.json"),
    "entry of another name": renamed_entry,
    "probe of other outputs": tensors("probe.safetensors", lambda a: a.update({k: v + 1 for k, v in a.items()})),
    "probe of other names": tensors("probe.safetensors", lambda a: a.update({f"x{k}": a.pop(k) for k in list(a)})),
    "probe of another shape": tensors("probe.safetensors", lambda a: a.update({k: v[:1] for k, v in a.items()})),
    # the network
    "layer of more units": layer(units=4),
    "layer of fewer units": layer(units=1),
    "layer of no units": layer(units=0),
    "layer of other numbers": layer(activation="tanh"),
    "layer without bias": layer(use_bias=False),
    "layer of another precision": layer(dtype="float64"),
    "layer that is not known": layer(activation="other"),
    "layer left out": layers(lambda all_layers: all_layers[:-1]),
    "layer twice": layers(lambda all_layers: [*all_layers, all_layers[-1]]),
    "layers the other way round": layers(lambda all_layers: all_layers[::-1]),
    "no layers": layers(lambda all_layers: []),
    "architecture that is a list": lambda: with_architecture(lambda config: [config]),
    "architecture of a layer": lambda: with_architecture(lambda config: config["config"]["layers"][-1]),
    "architecture of an initializer": lambda: with_architecture(
        lambda config: {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
    ),
}


def test_there_are_many_edits():
    """The table is as long as was set out to be."""
    assert len(EDITS) >= 60


def test_file_that_is_put_together_again_is_the_same():
    """The edits below are refused for what they change, and not for how they are written."""
    for data in (file_of(*parts()), with_manifest(lambda manifest: None), with_architecture(lambda config: None)):
        np.testing.assert_array_equal(loads(data).predict_proba(X), ensemble().predict_proba(X))


@pytest.mark.parametrize("name", EDITS)
def test_edit_is_refused(name):
    """What does not fit together is an error of our own when the file is loaded."""
    with pytest.raises(PersistenceError):
        loads(EDITS[name]())


@pytest.mark.filterwarnings("error")
def test_later_version_is_refused():
    """A file of a later major version is named as such, with what wrote it."""
    with pytest.raises(UnsupportedVersionError, match="2.0.*keras"):
        loads(with_manifest(lambda manifest: manifest.update(format_version=[2, 0])))


def test_edit_that_fits_is_not_noticed():
    """Digests are no signatures: who changes a file on purpose is noticed by `expected_fingerprint` alone."""

    def swap(manifest):
        of_kind(manifest, "members")["entries"].reverse()

    changed, expected = loads(with_manifest(swap)), ensemble().predict_members(X)
    np.testing.assert_array_equal(changed.predict_members(X), expected[::-1])
