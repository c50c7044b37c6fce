"""Builders typed into a script or notebook: what workers return and cells define again is saved like any other."""

import copy
import functools
import pickle
import subprocess
import sys
import types

import cloudpickle
import keras
import numpy as np
import pytest
import skops.io
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._members.user_functions import Registered, put_functions_back

X = np.linspace(-1, 1, 48, dtype="float32").reshape(12, 4)
LABELS = np.repeat([0, 1, 2], 4)
BUILDER = """
def build(meta, units=2):
    def hidden():
        return keras.layers.Dense(units)
    return keras.Sequential([keras.Input((4,)), hidden(), keras.layers.Dense(3, activation="softmax")])
"""


@pytest.fixture
def notebook(monkeypatch):
    """A module whose cells are texts that are run in it."""
    module = types.ModuleType("notebook")
    module.keras = keras
    module.run = lambda cell: exec(cell, vars(module))
    monkeypatch.setitem(sys.modules, "notebook", module)
    return module


def member(builder, **params):
    """A member that trains in no time."""
    return KerasClassifier(builder, loss="sparse_categorical_crossentropy", epochs=1, **params)


def test_running_a_cell_again(notebook):
    """A builder that is defined anew, the same, does not stand in the way of pickle."""
    notebook.run(BUILDER)
    first = notebook.build
    ensemble = KerasAveragingClassifier(member(first), 2, random_state=0).fit(X, LABELS)
    notebook.run(f"# moved down\n{BUILDER}")
    assert notebook.build is not first
    loaded = pickle.loads(pickle.dumps(ensemble))
    np.testing.assert_array_equal(loaded.predict_proba(X), ensemble.predict_proba(X))
    assert loaded.estimator.model is loaded.estimators_[0].model is notebook.build
    assert ensemble.estimator.model is ensemble.estimators_[0].model is copy.copy(ensemble).estimator.model is first


@pytest.mark.parametrize(
    "cell", [BUILDER.replace("=2", "=3"), BUILDER.replace("hidden(),", ""), BUILDER.replace("softmax", "sigmoid")]
)
def test_other_builder_of_the_same_name(notebook, cell):
    """A builder that does something else is not taken for the one that the estimator has: pickle refuses."""
    notebook.run(BUILDER)
    estimator = member(notebook.build)
    notebook.run(cell)
    with pytest.raises(pickle.PicklingError, match="not the same object as notebook.build"):
        pickle.dumps(estimator)


def test_functions_in_containers(notebook):
    """Partials, lists, dicts and callbacks are looked into; what pickle writes is a copy."""
    notebook.run(BUILDER)
    notebook.run("def tell(epoch, logs): pass")
    callback = keras.callbacks.LambdaCallback(on_epoch_end=notebook.tell)
    build = functools.partial(notebook.build, units=3)
    estimator = member(build, callbacks=[callback], metrics={"own": (notebook.tell,)})
    notebook.run(BUILDER)
    notebook.run("def tell(epoch, logs): pass")
    loaded = pickle.loads(pickle.dumps(estimator))
    assert (loaded.model.func, loaded.model.keywords) == (notebook.build, {"units": 3})
    assert loaded.callbacks[0].on_epoch_end is loaded.metrics["own"][0] is notebook.tell
    assert estimator.callbacks[0] is callback
    assert callback.on_epoch_end is not notebook.tell
    assert estimator.model is build


def test_defaults_without_a_single_truth(notebook):
    """A default that is an array is compared by its values."""
    cell = "import numpy\ndef build(meta, scale=numpy.ones(2)): pass"
    notebook.run(cell)
    estimator = member(notebook.build)
    notebook.run(cell)
    assert pickle.loads(pickle.dumps(estimator)).model is notebook.build
    notebook.run(cell.replace("ones", "zeros"))
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        pickle.dumps(estimator)


def by_value(estimator):
    """As a worker process returns what is not in any module."""
    return cloudpickle.loads(cloudpickle.dumps(estimator))


def local_builder(units):
    """A function that no name leads to."""

    def build(meta):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(3, "softmax")])

    return build


def test_functions_are_put_back():
    """An estimator that a worker returned has the functions of the one that was sent."""

    def double(values):
        return 2 * values

    original = make_pipeline(FunctionTransformer(double), member(local_builder(2)))
    returned = by_value(original)
    assert returned[1].model is not original[1].model
    put_functions_back(returned, original)
    assert returned[0].func is double
    assert returned[1].model is original[1].model


def test_functions_that_cannot_be_told_apart():
    """Two functions of one code may differ in what they enclose: neither takes the place of the other."""
    original = member(local_builder(2), callbacks=[keras.callbacks.LambdaCallback(on_train_end=local_builder(3))])
    returned = by_value(original)
    builder = returned.model
    put_functions_back(returned, original)
    assert returned.model is builder


def test_what_is_registered_travels():
    """Classes registered in the script are registered where it is unpickled; what cannot be pickled stays behind."""
    name = "tests>OfAScript"

    @keras.saving.register_keras_serializable("tests")
    class OfAScript(keras.layers.Layer):
        pass

    @keras.saving.register_keras_serializable("tests")
    class Stays(keras.layers.Layer):
        generator = (i for i in ())

    sent = cloudpickle.dumps(Registered())
    assert b"OfAScript" in sent
    assert b"Stays" not in sent
    assert b"WeightedAverage" not in sent  # found by importing it
    del keras.saving.get_custom_objects()[name]
    pickle.loads(sent)
    assert keras.saving.get_registered_object(name).__name__ == "OfAScript"


SCRIPT = """
import io, pickle, sys
import joblib, keras, numpy as np
import skensemble.io
from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.workers import parts as _parts

X = np.linspace(-1, 1, 48, dtype="float32").reshape(12, 4)
LABELS = np.repeat([0, 1, 2], 4)

@keras.saving.register_keras_serializable("script")
def own_loss(y_true, y_pred):
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

@keras.saving.register_keras_serializable("script")
class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x

def build(meta):
    return keras.Sequential([keras.Input((4,)), Twice(), keras.layers.Dense(3, activation="softmax")])

if __name__ == "__main__":
    _parts.WORKER_SECONDS = 1e-9  # two workers for all that
    member = KerasClassifier(build, loss=own_loss, epochs=1)
    ensemble = KerasAveragingClassifier(member, 2, n_jobs=2, random_state=0).fit(X, LABELS)
    assert all(member.model is build and member.loss is own_loss for member in ensemble.estimators_)
    proba = ensemble.predict_proba(X)
    joblib.dump(ensemble, sys.argv[1])
    for loaded in (
        joblib.load(sys.argv[1]),
        pickle.loads(pickle.dumps(ensemble)),
        skensemble.io.loads(skensemble.io.dumps(ensemble), trusted=["script>Twice"]),
    ):
        np.testing.assert_allclose(loaded.predict_proba(X), proba, rtol=1e-6)
"""


@pytest.mark.slow
def test_script_with_workers(tmp_path):
    """Members that worker processes trained are saved like others, also with a layer and a loss of the script's."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    subprocess.run([sys.executable, script, tmp_path / "x.joblib"], check=True)


def test_skops_refuses_in_words():
    """Skops cannot write networks, and says what can."""
    network = KerasClassifier(epochs=1, hidden_layer_sizes=(2,))
    ensemble = KerasAveragingClassifier(network, 1, random_state=0).fit(X, LABELS)
    for fitted, name in (
        (ensemble, "KerasAveragingClassifier"),
        (ensemble.estimators_[0], "KerasClassifier"),
        (make_pipeline(ensemble), "KerasAveragingClassifier"),
    ):
        with pytest.raises(TypeError, match=f"skops.io cannot save {name}.*skensemble.io.dump"):
            skops.io.dumps(fitted)
    skops.io.dumps(ensemble.__class__(network))  # nothing in it yet
