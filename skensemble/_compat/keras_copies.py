"""How a Keras model is built from its configuration, and copied; private names of Keras."""

import copy
import tempfile
import types
import warnings

import keras

from skensemble._compat.global_seeds import get_keras_global, set_keras_global
from skensemble._compat.keras import Functional, all_layers, batch_norm_layers, compile_arguments, own_variables
from skensemble._compat.private import private

# Keras 3.8 to 3.15: what `Model.save` and `keras.saving.load_model` do.
ObjectSharingScope = private("keras.src.saving.serialization_lib", "ObjectSharingScope")
SafeModeScope = private("keras.src.saving.serialization_lib", "SafeModeScope")

_WITHOUT_VALUES = "uninitialized_variables"  # keras.src.backend.common.variables, Keras 3.8 to 3.15


def model_config(model):
    """The config of a model, in which an object that is used twice is one, as in the file of `Model.save`."""
    with ObjectSharingScope():
        return keras.saving.serialize_keras_object(model)


def built_without_memory(config, custom_objects):
    """Build a shape-only model, without allocating memory for its variables."""
    before = get_keras_global(_WITHOUT_VALUES)
    set_keras_global(_WITHOUT_VALUES, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            return _deserialized(config, custom_objects)
    finally:
        # Otherwise the next scope that ends, perhaps in a fit, would allocate their memory.
        set_keras_global(_WITHOUT_VALUES, before)


def model_from_config(config, custom_objects=None):
    """The model that a config from `model_config` describes; not compiled."""
    model = _deserialized(config, custom_objects)
    _freeze_as(model, config["config"])
    return model


def _deserialized(config, custom_objects):
    config = copy.deepcopy(config)  # Keras takes it apart
    with ObjectSharingScope(), SafeModeScope(True):
        return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects, safe_mode=True)


def copy_architecture(model):
    """A new Keras model with the layers of `model`, not compiled, with other values than `model`.

    The user's own layers and activations need not be registered. A lambda is not unsafe here: it has already run in
    this process.
    """
    own = _own_objects(all_layers(model))
    with keras.saving.custom_object_scope(own), SafeModeScope(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`", UserWarning)
        copied = type(model).from_config(model.get_config())
        _freeze_as(copied, model.get_config())
    return copied


def _own_objects(layers):
    """Classes of layers, and functions that they hold, that are not Keras' own, by name."""
    own = {}
    for layer in layers:
        for one in (type(layer), *vars(layer).values()):
            if not isinstance(one, type | types.FunctionType) or one.__module__.partition(".")[0] == "keras":
                continue
            if own.setdefault(one.__name__, one) is not one:
                raise ValueError(f"two classes or functions have the name {one.__name__!r}")
    return own


def _freeze_as(layer, config):
    """Freeze a network, and those inside of it, as its config says: `Sequential.from_config` forgets it (Keras 3)."""
    if config.get("trainable", layer.trainable) != layer.trainable:
        layer.trainable = config["trainable"]  # of its layers, too, whose own configs come next
    if type(layer).get_config in (keras.Sequential.get_config, Functional.get_config):  # not one of the user's own
        inner = {one.name: one for one in layer.layers}
        for one in (entry["config"] for entry in config.get("layers", ())):  # none where `__init__` is the user's own
            # A Sequential lists its InputLayer, which is none of its layers; operations have no name in Keras 3.8.
            if one.get("name") in inner:
                _freeze_as(inner[one["name"]], one)
    elif isinstance(layer, keras.layers.Wrapper) and isinstance(config.get("layer"), dict):
        _freeze_as(layer.layer, config["layer"]["config"])


def copy_values(model, copied):
    """Give a built copy of a Keras model its values, including what preprocessing layers were adapted to.

    On JAX, variables hold the array that they are assigned, and Keras' `fit`, `evaluate` and `predict` donate the
    arrays of a model: a model that shares them would be lost.
    """
    for layer, twin in zip(all_layers(model), all_layers(copied), strict=True):
        values = {}
        layer.save_own_variables(values)
        twin.load_own_variables({name: keras.ops.copy(value) for name, value in values.items()})
        _copy_assets(layer, twin)


def _copy_assets(layer, twin):
    if hasattr(layer, "save_assets"):  # vocabularies, for one
        with tempfile.TemporaryDirectory() as directory:
            layer.save_assets(directory)
            twin.load_assets(directory)


def copy_from_config(model):
    """A copy of a model whose builder is not available, compiled in the same way."""
    copied = copy_architecture(model)
    arguments = compile_arguments(model)
    if arguments is not None:
        copied.compile(**{name: _unshared(value) for name, value in arguments.items()})
    return copied


def _unshared(value):
    """A copy of optimizers and metrics, whose variables belong to one model; lists and dicts are looked into."""
    if isinstance(value, keras.optimizers.Optimizer | keras.metrics.Metric):
        return value.from_config(value.get_config())
    if isinstance(value, dict):
        return {key: _unshared(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_unshared(one) for one in value]
    return value


def copy_with_new_values(model):
    """A Keras model like `model`, compiled in the same way, with values drawn under the current seeds.

    What training would not change is kept: frozen layers, adapted preprocessing, tables.
    """
    if any(
        isinstance(one, keras.Model) and not isinstance(one, keras.Sequential | Functional) for one in all_layers(model)
    ):
        raise ValueError(
            f"The Keras model {model.name!r} cannot be built anew from its configuration, which lacks the "
            "arguments of a subclassed model. Pass a function that builds it as `model`."
        )
    try:
        copied = copy_from_config(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        raise ValueError(
            f"The Keras model {model.name!r} cannot be built anew from its configuration ({type(error).__name__}). "
            "Pass a function that builds it as `model`."
        ) from error
    layers = list(zip(all_layers(model), all_layers(copied), strict=True))
    for layer, twin in layers:
        if layer.trainable != twin.trainable:
            twin.trainable = layer.trainable
    drawn = _drawn_variables(model)
    for (layer, twin), is_drawn in zip(layers, drawn, strict=True):
        for variable, twin_variable, draws in zip(own_variables(layer), own_variables(twin), is_drawn, strict=True):
            if not draws:
                twin_variable.assign(keras.ops.copy(variable))
        _copy_assets(layer, twin)
    return copied


def kept_values(model):
    """Values that `copy_with_new_values` keeps, a list of arrays."""
    layers = zip(all_layers(model), _drawn_variables(model), strict=True)
    pairs = (pair for layer, drawn in layers for pair in zip(own_variables(layer), drawn, strict=True))
    return [variable.numpy() for variable, draws in pairs if not draws]


def _drawn_variables(model):
    """For each layer, at any depth, which of its own variables training changes: these are drawn anew."""
    trainable = {id(variable) for variable in model.trainable_variables}
    estimated = {id(v) for layer in batch_norm_layers(model) for v in own_variables(layer)}
    return [[id(v) in trainable | estimated for v in own_variables(layer)] for layer in all_layers(model)]
