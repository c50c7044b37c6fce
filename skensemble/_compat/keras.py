"""Private names of Keras, and differences between its versions."""

import gc
import math
import weakref
from contextlib import contextmanager

import keras
import numpy as np

from skensemble._compat.global_seeds import SEED_LOCK, seeded
from skensemble._compat.private import is_missing, private

#: Estimators of Keras' own that train a network.
KERAS_WRAPPERS = keras.wrappers.SKLearnClassifier | keras.wrappers.SKLearnRegressor | keras.wrappers.SKLearnTransformer

Functional = private("keras.src.models.functional", "Functional")  # Keras 3: models made of inputs and outputs
if is_missing(Functional):
    _tensor = keras.Input((1,))
    Functional = type(keras.Model(_tensor, _tensor))


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


def compile_successor(successor, model):
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
