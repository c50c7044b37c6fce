"""The audit of architectures: what passes, what needs trust, and what no trust makes loadable."""

import copy
import functools
import inspect
import json
import subprocess
import sys

import keras
import pytest

from skensemble.io import FormatError
from skensemble.io._audit.allowed import (
    ALLOWED_CLASSES,
    ALLOWED_FUNCTIONS,
    FORBIDDEN_LAYERS,
    FORBIDDEN_MODULES,
    LAYERS_WITH_FILES,
)
from skensemble.io._audit.architectures import untrusted_names
from skensemble.io._objects.architectures import canonical_config, dry_build

layers = keras.layers


@functools.cache
def small_network():
    """JSON of a network of one Dense layer."""
    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3, name="dense")], name="net")
    return json.dumps(canonical_config(model))


def dense_config(**changed):
    """The config of a network of one Dense layer, with some values of that layer's config replaced."""
    config = json.loads(small_network())
    config["config"]["layers"][1]["config"].update(changed)
    return config


def layer_config(module="keras.layers", class_name="Dense", config=None, registered_name=None, **others):
    """A network of one layer, given by the parts of its config."""
    layer = {"module": module, "class_name": class_name, "config": config or {}, "registered_name": registered_name}
    outer = dense_config()
    outer["config"]["layers"][1] = {**layer, **others}
    return outer


def function_config(name, module="builtins"):
    """A network whose activation is a function by name."""
    return dense_config(
        activation={"module": module, "class_name": "function", "config": name, "registered_name": name}
    )


def functional_config():
    """A network with operations, a layer that is called twice, and a model in a model that was compiled."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4)])
    inner.compile("adam", "mse")
    inputs = keras.Input((4,))
    hidden = keras.ops.add(inner(inner(inputs)), 1.0) * inputs[:, :1]
    model = keras.Model(inputs, layers.Concatenate()([keras.ops.relu(hidden), layers.Dense(1)(hidden)]))
    model.compile("adam", "mse")
    return canonical_config(model)


NETWORKS = {
    "dense": [layers.Dense(3, activation="gelu", kernel_regularizer="l2", bias_constraint="non_neg")],
    "activation functions": [layers.Dense(3, activation=keras.ops.relu), layers.Activation(keras.activations.mish)],
    "regularized": [layers.Dropout(0.1), layers.GaussianNoise(0.1, seed=1), layers.BatchNormalization()],
    "convolutions": [layers.Reshape((2, 2, 1)), layers.Conv2D(3, 2), layers.MaxPooling2D(1), layers.Flatten()],
    "recurrent": [layers.Reshape((4, 1)), layers.Bidirectional(layers.LSTM(2, dropout=0.1)), layers.Dense(1)],
    "cells": [layers.Reshape((4, 1)), layers.RNN(layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(2)]))],
    "wrappers": [layers.Reshape((4, 1)), layers.TimeDistributed(layers.SpectralNormalization(layers.Dense(2)))],
    "einsum": [layers.EinsumDense("ab,bc->ac", output_shape=3)],
    "preprocessing": [layers.Normalization(), layers.Discretization(bin_boundaries=[0.0, 1.0])],
    "mixed precision": [layers.Dense(2, dtype="mixed_float16")],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_built_in_networks_need_no_trust(name):
    """Networks of Keras' own layers pass as they are, also without memory, and are left as they were."""
    model = keras.Sequential([keras.Input((4,)), *NETWORKS[name]])
    config = canonical_config(model)
    before = copy.deepcopy(config)
    assert untrusted_names(config) == []
    dry_build(config, None, sum(value.nbytes for value in model.get_weights()))
    assert config == before == json.loads(json.dumps(config))


def test_functional_networks_need_no_trust():
    """Operations, shared layers and models in models pass."""
    config = functional_config()
    assert untrusted_names(config) == []
    dry_build(config, None, 0)


def test_what_a_model_was_compiled_with_is_left_out():
    """Neither the outer model nor one inside of it keeps what it was compiled with."""
    assert "compile_config" not in json.dumps(functional_config())


def test_same_model_gives_same_config():
    """A layer that is in two wrappers is numbered from 0, where Keras writes its address."""
    shared = layers.Dense(2)
    model = keras.Sequential(
        [keras.Input((4, 2)), layers.TimeDistributed(shared), layers.TimeDistributed(shared), layers.Dropout(0.5)]
    )
    config = canonical_config(model)
    assert config == canonical_config(model)
    numbers = [layer["config"].get("layer", {}).get("shared_object_id") for layer in config["config"]["layers"]]
    assert set(numbers) == {None, 0}


def test_copied_model_gives_same_config():
    """Scikeras registers the class of a model that is copied in the process; the config does not show it."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    before = canonical_config(model)
    copy.deepcopy(model)
    assert canonical_config(model) == before
    assert untrusted_names(before) == []


def test_one_input_is_no_list():
    """Every version of Keras reads one input as one: Keras 3.8 alone writes it as a list, at every depth."""
    x = keras.Input((4,), name="x")
    inner = keras.Model(x, layers.Dense(2, name="dense")(x), name="inner")
    y = keras.Input((4,), name="y")
    config = canonical_config(keras.Model(y, inner(y), name="outer"))["config"]
    assert (config["input_layers"][0], config["output_layers"][0]) == ("y", "inner")
    nested = config["layers"][1]["config"]
    assert (nested["input_layers"][0], nested["output_layers"][0]) == ("x", "dense")


def test_config_must_be_json():
    """A layer whose config is no JSON is an error of its own kind."""

    class Odd(layers.Layer):
        def get_config(self):
            return {**super().get_config(), "limit": float("inf")}

    with pytest.raises(FormatError, match="must be JSON with finite numbers"):
        canonical_config(keras.Sequential([keras.Input((4,)), Odd()]))


# Names that need trust


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (layer_config(None, "Scale", registered_name="mine>Scale"), ["mine>Scale"]),
        (layer_config("mine.layers", "Scale", registered_name="Scale"), ["Scale"]),
        (layer_config("mine.layers", "Scale"), ["Scale"]),
        (layer_config("keras_hub.layers", "RotaryEmbedding", registered_name="keras_hub>R"), ["keras_hub>R"]),
        (layer_config("keras.src.layers.core.dense", "Dense"), ["keras.src.layers.core.dense.Dense"]),
        (layer_config("keras.layers", "LayerOfKeras9"), ["keras.layers.LayerOfKeras9"]),
        (layer_config("keras.src.ops.core", "Map"), ["keras.src.ops.core.Map"]),
        (layer_config("keras.src.ops.numpy", "Zeros"), ["keras.src.ops.numpy.Zeros"]),
        (function_config("mine>activation"), ["mine>activation"]),
        (function_config("system"), ["system"]),
        (function_config("eval"), ["eval"]),
        (function_config("system", "os"), ["os.system"]),
        (function_config("Popen", "subprocess"), ["subprocess.Popen"]),
        (function_config("softmax", "keras.ops"), ["keras.ops.softmax"]),
        (function_config("get", "keras.activations"), ["keras.activations.get"]),
        (function_config("deserialize", "keras.losses"), ["keras.losses.deserialize"]),
        (function_config("mine>activation", "os"), ["mine>activation", "os.mine>activation"]),
        (dense_config(activation="mine>activation"), ["mine>activation"]),
        (dense_config(activation="my_activation"), ["my_activation"]),
        (dense_config(kernel_initializer="my_initializer"), ["my_initializer"]),
        (dense_config(kernel_initializer={"a": ["deep>inside"]}), ["deep>inside"]),
        (layer_config(class_name="Lambda", config={"function": "my>f"}), ["keras.layers.Lambda", "my>f"]),
    ],
)
def test_names_that_need_trust(config, names):
    """What is not Keras' own, or can do more than compute, is listed by the name that `trusted` takes."""
    assert untrusted_names(config) == names
    assert untrusted_names(config, trusted=names) == []
    assert untrusted_names(config, trusted=[name.upper() for name in names]) == names


def test_registered_name_needs_trust_wherever_it_stands():
    """Text that Keras would look up among the objects of this process is listed, whatever the key."""
    with keras.saving.custom_object_scope({"quiet": print}):
        assert untrusted_names(dense_config(use_bias="quiet")) == ["quiet"]
        assert untrusted_names(dense_config(name="quiet"), trusted=["quiet"]) == []
    assert untrusted_names(dense_config(use_bias="quiet")) == []


def test_replaced_class_of_keras_needs_trust():
    """An object that the process has registered under the name of a layer of Keras needs trust as any other."""
    with keras.saving.custom_object_scope({"Dense": print}):
        assert untrusted_names(dense_config()) == ["Dense"]
    with keras.saving.custom_object_scope({"Dense": layers.Dense}):
        assert untrusted_names(dense_config()) == []


# What cannot be trusted


def lambda_object(code="4wEAAAA="):
    return {"class_name": "__lambda__", "config": {"value": [code, None, None]}}


def node(*args, **kwargs):
    return [{"args": list(args), "kwargs": kwargs}]


REFUSED = {
    "pickled function": dense_config(activation=lambda_object()),
    "pickled function as Keras writes it": dense_config(
        activation={**lambda_object(), "module": "builtins", "registered_name": None}
    ),
    "pickled function in a Lambda": layer_config(class_name="Lambda", config={"function": lambda_object()}),
    "pickled function in a node": layer_config(inbound_nodes=node(lambda_object())),
    "type of TensorFlow": dense_config(
        activation={
            "class_name": "__typespec__",
            "config": [],
            "spec_name": "x",
            "module": "os",
            "registered_name": "x",
        }
    ),
    "unknown kind of value": dense_config(activation={"class_name": "__code__", "config": {}}),
    **{f"layer {name}": layer_config(class_name=name) for name in sorted(FORBIDDEN_LAYERS)},
    "layer TFSMLayer by its own module": layer_config("keras.src.export.tfsm_layer", "TFSMLayer"),
    "registered TFSMLayer": layer_config(None, "Mine", registered_name="keras>TFSMLayer"),
    **{f"layer {name}": layer_config(class_name=name) for name in sorted(LAYERS_WITH_FILES)},
    "vocabulary by path": layer_config(None, "Mine", {"vocabulary": "/etc/passwd"}, "mine>Mine"),
    "keras.config": function_config("set_epsilon", "keras.config"),
    "keras.utils": function_config("get_file", "keras.utils"),
    "keras.saving": function_config("load_model", "keras.saving"),
    "keras.datasets": function_config("load_data", "keras.datasets.mnist"),
    "keras.visualization": function_config("plot_image_gallery", "keras.visualization"),
    "keras.legacy": function_config("deserialize_keras_object", "keras.legacy.saving"),
    "class of keras.export": layer_config("keras.export", "ExportArchive"),
    "class of keras.callbacks": dense_config(
        activation={"module": "keras.callbacks", "class_name": "CSVLogger", "config": {}, "registered_name": None}
    ),
    "registered name on a class of Keras": layer_config(registered_name="mine>Marker"),
    "no module (format of Keras 2)": {"class_name": "Sequential", "config": []},
    "no config": dense_config(activation={"class_name": "Dense"}),
    "class name is a number": dense_config(activation={"class_name": 1}),
    "module is a list": layer_config(module=["os"]),
    "registered name is a dict": layer_config(registered_name={}),
    "config is text": layer_config(config="x"),
    "function named by a dict": dense_config(
        activation={"module": "builtins", "class_name": "function", "config": {"a": 1}, "registered_name": "f"}
    ),
    "unknown key": layer_config(extra=1),
    "array of objects": dense_config(
        activation={"class_name": "__numpy__", "config": {"value": [1], "dtype": "object"}},
    ),
    "array with more keys": dense_config(activation={"class_name": "__numpy__", "config": {}, "module": "os"}),
    "compiled": {**dense_config(), "compile_config": {"loss": "mse"}},
    "compiled, plain": layer_config(config={"compile_config": {"loss": "mse"}}),
    "integer of 32 bits": dense_config(units=2**31),
    "negative integer": dense_config(units=-(2**31)),
    "not a number": dense_config(units=float("nan")),
    "infinite": dense_config(units=float("-inf")),
    "nodes of Keras 2": layer_config(inbound_nodes=[["x", 0, 0, {}]]),
    "operation on numbers": layer_config("keras.src.ops.numpy", "Tile", inbound_nodes=node(1.0, [100_000, 100_000])),
    "layer on a tensor": layer_config(
        inbound_nodes=node({"class_name": "__tensor__", "config": {"value": [1.0], "dtype": "float32"}})
    ),
    "no config at all": [],
    "text": "Sequential",
    "plain dict": {"layers": []},
}


@pytest.mark.parametrize("name", REFUSED)
def test_configs_that_no_trust_makes_loadable(name):
    """What Keras would run, read or misread is refused, whatever is trusted."""
    everything = ["function", "keras.layers.Lambda", "mine>Mine", "mine>Marker", "keras>TFSMLayer", "Mine", "Dense"]
    with pytest.raises(FormatError):
        untrusted_names(REFUSED[name], trusted=everything)


@pytest.mark.slow
def test_same_after_unsafe_deserialization_was_enabled():
    """The audit does not depend on Keras' own switch, which overrides Keras' `safe_mode`."""
    script = f"""if True:
        import json, keras
        from skensemble.io import FormatError
        from skensemble.io._audit.architectures import untrusted_names
        from skensemble.io._objects.architectures import dry_build
        keras.config.enable_unsafe_deserialization()
        refused = 0
        for config in json.loads({json.dumps(json.dumps(list(REFUSED.values())))}):
            try:
                untrusted_names(config)
            except FormatError:
                refused += 1
        assert refused == {len(REFUSED)}, refused
        config = json.loads({json.dumps(json.dumps(REFUSED["pickled function in a Lambda"]))})
        try:
            dry_build(config, None, 0)
        except FormatError as error:
            assert "lambda" in str(error)
        else:
            raise AssertionError("built")
    """
    subprocess.run([sys.executable, "-c", script], check=True)


def test_deep_and_long_configs_are_refused(monkeypatch):
    """The size of what is audited has a limit, and its depth."""
    deep = {"a": 1}
    for _ in range(100):
        deep = {"a": deep}
    with pytest.raises(FormatError, match="nested deeper than 64"):
        untrusted_names(dense_config(units=deep))
    monkeypatch.setattr("skensemble.io._audit.architectures._MAX_VALUES", 100)
    with pytest.raises(FormatError, match="more than 100 values"):
        untrusted_names(dense_config(units=[1] * 100))


# Building without memory


def test_large_layer_is_refused_without_its_memory():
    """A layer of 2 GB that the file does not hold is an error, and neither now nor later takes memory."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FormatError, match="it needs 2000000000 bytes, the file has 60"):
        dry_build(dense_config(units=100_000_000), None, 60)
    with keras.StatelessScope():  # Keras gives memory to waiting variables where such a scope ends
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # kilobytes


def test_memory_follows_what_is_stored():
    """Four times the bytes in the file and 1 MiB are allowed: 1,048,576 / 4 / (4 + 1) = 52428.8 units for no bytes."""
    dry_build(dense_config(units=52_428), None, 0)
    with pytest.raises(FormatError, match="more memory"):
        dry_build(dense_config(units=52_429), None, 0)
    dry_build(dense_config(units=52_429), None, 5)


def test_wide_output_is_refused():
    """A layer without variables that puts out 2 ** 30 numbers a row is an error: the first prediction would fail."""
    model = keras.Sequential([keras.Input((4,)), layers.RepeatVector(2)])
    config = canonical_config(model)
    config["config"]["layers"][1]["config"]["n"] = 2**28
    with pytest.raises(FormatError, match="67108864 numbers a row"):
        dry_build(config, None, 0)


@pytest.mark.parametrize("units", [-1, "three", None])
def test_what_keras_cannot_build_is_a_format_error(units):
    """Errors of Keras become one kind, and its message is kept."""
    with pytest.raises(FormatError, match="'net' cannot be built"):
        dry_build(dense_config(units=units), None, 0)


def test_config_must_be_of_a_model():
    """The config of an initializer is none of a network."""
    config = {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
    with pytest.raises(FormatError, match="the config of a Keras model: got Zeros"):
        dry_build(config, None, 0)


def test_custom_objects_are_found():
    """A trusted class is built from what was passed for it."""

    class Scale(layers.Layer):
        def build(self, input_shape):
            self.factor = self.add_weight(shape=(100_000, 10), initializer="ones")

        def call(self, inputs):
            return inputs

    config = canonical_config(keras.Sequential([keras.Input((4,)), Scale()]))
    assert untrusted_names(config) == ["Scale"]
    dry_build(config, {"Scale": Scale}, 1_000_000)
    with pytest.raises(FormatError, match="4000000 bytes"):
        dry_build(config, {"Scale": Scale}, 0)


# Every symbol of Keras

# What needs trust, although it is Keras' own.
NEEDS_TRUST = {
    "keras.ops": "as activations they are written by name: the functions that are activations are allowed as those",
    "keras.random": "they draw numbers from the global generator",
    "keras.quantizers": "they hold data sets and tokenizers",
    "keras.distillation": "models with a training of their own",
    "keras.layers.Lambda": "calls any function",
    "keras.Function": "written by no config",
}
ABSTRACT = {"Constraint", "Initializer", "InputSpec", "Layer", "Loss", "Metric", "Operation", "Optimizer", "Quantizer"}
ABSTRACT |= {"LearningRateSchedule", "OptimizerMap", "MultiOptimizer", "Regularizer", "Wrapper", "Model", "KerasTensor"}
LOOKUPS = {"get", "serialize", "deserialize"}
OLD_OPTIMIZERS = "keras.optimizers.legacy"
# Functions that build layers, which their configs do not name.
OLD_STYLE = {"Input", "add", "average", "concatenate", "dot", "maximum", "minimum", "multiply", "subtract"}
NOT_FOR_CONFIGS = {"DTypePolicyMap", "RematScope", "StatelessScope", "SymbolicScope", "Variable", "name_scope", "remat"}
NOT_FOR_CONFIGS |= {"set_dtype_policy", "dtype_policy", "set_global_policy", "global_policy", "version", "Policy"}
NOT_FOR_CONFIGS |= {
    "device",
    "AWQDTypePolicy",
    "GPTQDTypePolicy",
    "Int4DTypePolicy",
    "LossScaleOptimizer",
    "DTypePolicy",
}


def public_symbols():
    """Every public class and function of the installed Keras, as (module, name, object)."""
    waiting, seen = [keras], set()
    while waiting:
        module = waiting.pop()
        seen.add(module.__name__)
        public_name = module.__name__.replace("keras.api", "keras").replace("keras._tf_keras.keras", "keras")
        for name, value in vars(module).items():
            if name.startswith("_") or name in ("src", "api"):
                continue
            if inspect.ismodule(value):
                if value.__name__.startswith("keras.") and value.__name__ not in seen:
                    waiting.append(value)
            elif callable(value):
                yield public_name, name, value


def kind_of(module, name):
    """How a public symbol of Keras is classified; None where it is not."""
    forbidden = any(f"{module}.".startswith(f"{start}.") for start in FORBIDDEN_MODULES)
    if name in ALLOWED_CLASSES.get(module, ()) or name in ALLOWED_FUNCTIONS.get(module, ()):
        return "allowed"
    if forbidden or name in FORBIDDEN_LAYERS | LAYERS_WITH_FILES:
        return "refused"
    trust = any(f"{module}.{name}.".startswith(f"{start}.") for start in NEEDS_TRUST)
    others = name in ABSTRACT | LOOKUPS | OLD_STYLE | NOT_FOR_CONFIGS or module == OLD_OPTIMIZERS
    return "needs trust" if trust or others else None


def test_every_symbol_of_keras_is_classified():
    """A new class or function of Keras fails this test until somebody has decided whether a file may name it."""
    symbols = list(public_symbols())
    assert len(symbols) > 1000
    assert sorted({f"{module}.{name}" for module, name, _ in symbols if kind_of(module, name) is None}) == []


def test_every_symbol_of_keras_is_treated_as_classified():
    """The audit allows, lists or refuses each public class and function of Keras as it is classified."""
    wrong = []
    for module, name, value in public_symbols():
        is_class = inspect.isclass(value)
        config = layer_config(module, name) if is_class else function_config(name, module)
        try:
            found = "needs trust" if untrusted_names(config) else "allowed"
        except FormatError:
            found = "refused"
        if found != kind_of(module, name):
            wrong.append(f"{module}.{name}: {found}")
    assert wrong == []


def operations(cls=keras.Operation):
    """All operations of Keras that are no layers and not written by the user."""
    for subclass in cls.__subclasses__():
        if subclass.__module__.startswith("keras.src.ops."):
            yield subclass
            yield from operations(subclass)


# Operations that call functions, that have no input and so would compute when they are read, or that are abstract.
LEFT_OUT = {"AssociativeScan", "Cond", "ForiLoop", "Function", "JVP", "Map", "Scan", "Switch", "VectorizedMap"}
LEFT_OUT |= {"WhileLoop", "Arange", "Empty", "Eye", "Full", "Geomspace", "Identity", "Linspace", "Logspace", "Ones"}
LEFT_OUT |= {"Tri", "UnravelIndex", "Zeros", "SegmentReduction"}


def test_every_operation_of_keras_is_classified():
    """A new operation of Keras fails this test until somebody has decided whether a file may name it."""
    names = {(cls.__module__, cls.__name__) for cls in operations()}
    assert len(names) > 200
    allowed = {(module, name) for module in ALLOWED_CLASSES for name in ALLOWED_CLASSES[module]}
    assert sorted(f"{module}.{name}" for module, name in names - allowed if name not in LEFT_OUT) == []
    assert not LEFT_OUT & {name for module, name in allowed if module.startswith("keras.src.ops")}


def test_allowed_classes_are_parts_of_models():
    """Nothing but layers, operations, and what they and the compiled model are made of is allowed."""
    parts = (
        *(
            keras.Operation,
            keras.Initializer,
            keras.Regularizer,
            keras.constraints.Constraint,
            keras.Loss,
            keras.Metric,
        ),
        *(keras.Optimizer, keras.optimizers.schedules.LearningRateSchedule, keras.DTypePolicy, keras.Quantizer),
        *(keras.random.SeedGenerator, keras.dtype_policies.DTypePolicyMap),
    )
    found = [value for module, name, value in public_symbols() if name in ALLOWED_CLASSES.get(module, ())]
    assert len(found) > 200
    assert [value for value in found if not issubclass(value, parts)] == []
