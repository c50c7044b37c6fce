"""Private names of Keras, and differences between its versions."""

import copy
import gc
import math
import tempfile
import types
import warnings
import weakref
from contextlib import contextmanager

import keras
import numpy as np

from skensemble._compat.private import is_missing, private
from skensemble._compat.seeds import SEED_LOCK, get_keras_global, seeded, set_keras_global

#: Estimators of Keras' own that train a network.
KERAS_WRAPPERS = keras.wrappers.SKLearnClassifier | keras.wrappers.SKLearnRegressor | keras.wrappers.SKLearnTransformer

# Keras 3.8 to 3.15: what `Model.save` and `keras.saving.load_model` do.
ObjectSharingScope = private("keras.src.saving.serialization_lib", "ObjectSharingScope")
SafeModeScope = private("keras.src.saving.serialization_lib", "SafeModeScope")
Functional = private("keras.src.models.functional", "Functional")  # Keras 3: models made of inputs and outputs
if is_missing(Functional):
    _tensor = keras.Input((1,))
    Functional = type(keras.Model(_tensor, _tensor))

_WITHOUT_VALUES = "uninitialized_variables"  # keras.src.backend.common.variables, Keras 3.8 to 3.15


def follows_schedule(optimizer):
    """Whether the learning rate follows from the number of steps, instead of being a number that can be set."""
    config = optimizer.get_config()
    while "inner_optimizer" in config:  # of LossScaleOptimizer
        config = config["inner_optimizer"]["config"]
    return isinstance(config["learning_rate"], dict)


def build_optimizer(model):
    """Give the optimizer its slots: Keras warns when it loads a model that was saved before."""
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def output_layer(model):
    """The layer that gives the output of a model, also inside models that are layers; None where there is none."""
    if isinstance(model, keras.Sequential):
        layer = model.layers[-1] if model.layers else None
    else:
        outputs = getattr(model, "outputs", None) or []
        history = getattr(outputs[0], "_keras_history", None) if len(outputs) == 1 else None  # Keras 3: no public way
        layer = None if history is None else history.operation  # outputs of subclassed models have no history
    return output_layer(layer) if isinstance(layer, keras.Model) else layer


def output_shape(model):
    """Shape of the single output of a model, rows first; None where it is not known before training."""
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) == 1:
        return tuple(outputs[0].shape)
    layer = None if outputs else output_layer(model)
    return (None, layer.units) if type(layer) is keras.layers.Dense and not model.built else None


def output_keys(model):
    """Names of the outputs of a model that gives them in a dict; None of any other."""
    outputs = getattr(model, "_outputs_struct", None)
    return list(outputs) if isinstance(outputs, dict) else None


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


def _freeze_as(layer, config):
    """Freeze a network, and those inside of it, as its config says: `Sequential.from_config` forgets it (Keras 3)."""
    if config.get("trainable", layer.trainable) != layer.trainable:
        layer.trainable = config["trainable"]  # of its layers, too, whose own configs come next
    if type(layer).get_config in (keras.Sequential.get_config, Functional.get_config):  # not one of the user's own
        inner = {one.name: one for one in layer.layers}
        for one in (entry["config"] for entry in config.get("layers", ())):  # none where `__init__` is the user's own
            if one["name"] in inner:  # a Sequential model lists its InputLayer, which is none of its layers
                _freeze_as(inner[one["name"]], one)
    elif isinstance(layer, keras.layers.Wrapper) and isinstance(config.get("layer"), dict):
        _freeze_as(layer.layer, config["layer"]["config"])


def layer_output_shapes(model):
    """Shapes of the outputs of all layers, at any depth; Keras has no public way for those of layers called twice."""
    for layer in getattr(model, "layers", ()):
        yield from layer_output_shapes(layer)
        yield from (tuple(output.shape) for node in layer._inbound_nodes for output in node.output_tensors)


def row_products(layer, n_places=1):
    """About how many multiplications a layer or model needs for one row: its values, in each place they are applied to.

    Parameters
    ----------
    layer : keras.Layer
        Built.
    n_places : int, default=1
        Places of the layer that contains it: pixels of a convolution, steps of a recurrent layer.
    """
    if isinstance(layer, keras.layers.Embedding):  # looks values up
        return 0
    n_places = max(n_places, _count_places(layer))
    own = sum(math.prod(variable.shape) for variable in layer._trainable_variables)
    within = 1 if isinstance(layer, keras.Model) else n_places  # layers of a model know their own shapes
    parts = layer._flatten_layers(recursive=False, include_self=False)
    return own * n_places + sum(row_products(part, within) for part in parts)


def _count_places(layer):
    """To how many places of a row a layer applies its values; 1 where its calls are not known."""
    places = [1]
    for node in layer._inbound_nodes:
        if isinstance(layer, keras.layers.RNN):
            places.append(node.input_tensors[0].shape[1] or 1)
        first = 2 if getattr(layer, "data_format", None) == "channels_first" else 1
        for output in node.output_tensors:
            shape = output.shape[first : len(output.shape) - (first == 1)]
            places.append(math.prod(d or 1 for d in shape))
    return max(places)


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


def all_layers(model):
    """Layers of a model at any depth, including the model itself."""
    return list(model._flatten_layers())  # Keras 3.8 to 3.15: no public way to reach the layers inside of layers


def own_variables(layer):
    """A layer's own variables, without those of the layers in it and of random generators."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]  # Keras 3.8 to 3.15: no public way


def find_trained_layer(model, is_one):
    """The first layer, at any depth, that has a variable to train for which `is_one` is true; None without."""
    trained = {id(variable) for variable in model.trainable_variables}
    for layer in all_layers(model):
        if any(id(variable) in trained and is_one(variable) for variable in own_variables(layer)):
            return layer
    return None


def compile_arguments(model):
    """What was given to `compile`, as a dict of its arguments; None where the model is not compiled.

    The public way of Keras 3.8 to 3.15 returns it only in the form of JSON, in which functions are mere names. Keras
    notes what became of ``jit_compile="auto"``, which another backend or device would choose otherwise.
    """
    if not model.compiled:
        return None
    arguments = dict(model._compile_config.config)
    chosen = not arguments.get("run_eagerly") and model._resolve_auto_jit_compile()
    return arguments | {"jit_compile": "auto"} if arguments.get("jit_compile") == chosen else arguments


def compile_like(successor, model):
    """Compile a model that takes the place of another one, with its layers, as that is compiled, if it is."""
    if model.compiled:
        # The optimizer as it is now: its learning rate may have been set after compiling.
        successor.compile(**{**compile_arguments(model), "optimizer": model.optimizer})


def compiled_objects(model):
    """What `compile` made, and makes anew when it is called again: optimizer, losses and metrics."""
    return [getattr(model, name, None) for name in ("optimizer", "_compile_loss", "_compile_metrics")]


def given_losses_and_metrics(model):
    """What a compiled model was given: (loss, loss weights) or None, (metrics, weighted metrics) or None."""
    loss, metrics = model._compile_loss, model._compile_metrics
    return (
        None if loss is None else (loss._user_loss, loss._user_loss_weights),
        None if metrics is None else (metrics._user_metrics, metrics._user_weighted_metrics),
    )


def excluded_from_weight_decay(optimizer):
    """Pattern of the names of the variables that an optimizer excludes from weight decay; None where there is none."""
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    return None if pattern is None else pattern.pattern


def traces_steps(callback):
    """Whether a TensorBoard callback profiles steps."""
    return callback._should_trace


def is_default_hook(hook):
    """Whether a hook of a callback is the empty one of Keras' base class, which Keras marks."""
    return getattr(hook, "_is_default", False)


def row_orders(model, n_rows, seed):
    """Function that draws the orders of rows in the next epochs of Keras' `fit` as Keras 3.8 to 3.15 draws them.

    Parameters
    ----------
    model : keras.Model
        Before training.
    n_rows : int
    seed : int or None
        As in `seeded`, under which Keras would train. Where Keras has no seed, orders are as random as its own.

    Returns
    -------
    callable
        Takes the number of epochs, returns an ndarray of int of shape (n_epochs, n_rows).
    """
    if keras.backend.backend() == "tensorflow":
        from skensemble._compat.tensorflow import seeded_order

        with seeded(seed):
            order = seeded_order(n_rows)
        if order is not None:
            return lambda n_epochs: np.broadcast_to(order, (n_epochs, n_rows))
        rows, generator = np.arange(n_rows, dtype="int32"), np.random.default_rng()
        return lambda n_epochs: generator.permuted(np.broadcast_to(rows, (n_epochs, n_rows)), axis=1)
    draw = (np.random if seed is None else np.random.RandomState(seed)).permutation
    if getattr(model, "history", None) is None:
        draw(n_rows)  # Keras looks at a batch of what an untrained model is to be trained on
    return lambda n_epochs: np.reshape([draw(n_rows) for _ in range(n_epochs)], (n_epochs, n_rows)).astype("int32")


def batch_norm_layers(model):
    """Layers of a model, at any depth, that estimate the statistics of their inputs in training."""
    return [
        layer for layer in all_layers(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]


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


@contextmanager
def created_variables():
    """Yield a function that returns those variables created in the block that still exist."""
    created = []

    def alive():
        gc.collect()
        return [variable for reference in created if (variable := reference()) is not None]

    with _noted_variables(lambda variable, _: created.append(weakref.ref(variable))):
        yield alive


@contextmanager
def recorded_initializers():
    """Record which initializer gave each variable built in the block its value, as a dict id(variable) -> initializer.

    Keras 3 keeps the initializer of a variable only while its value is deferred.
    """
    record = {}
    with _noted_variables(lambda variable, initializer: record.update({id(variable): initializer})):
        yield record


@contextmanager
def _noted_variables(note):
    """Call `note` with each variable created in the block, and with what it was created from."""
    original = keras.Variable.__init__

    def noting(variable, initializer, *args, **kwargs):
        original(variable, initializer, *args, **kwargs)
        note(variable, initializer)

    with SEED_LOCK:
        keras.Variable.__init__ = noting
        try:
            yield
        finally:
            keras.Variable.__init__ = original
