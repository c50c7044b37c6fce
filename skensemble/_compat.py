"""Every private name of scikit-learn, scikeras, Keras and TensorFlow, and every difference between their versions."""

import copy
import itertools
import random
import tempfile
import threading
import types
import warnings
from collections import defaultdict
from contextlib import contextmanager

import keras
import numpy as np
from keras.src.backend.common import global_state  # Keras 3: no public way to reset the generator of `keras.random`
from keras.src.random import seed_generator  # Keras 3.8 to 3.15: where default seeds are drawn
from keras.src.saving.serialization_lib import ObjectSharingScope, SafeModeScope  # Keras 3.8 to 3.15: `Model.save`
from scikeras._utils import route_params  # scikeras 0.13: which parameters go to `Model.fit`
from scikeras.utils import metric_name
from scikeras.wrappers import BaseWrapper
from scikeras.wrappers import KerasClassifier as ScikerasClassifier
from scikeras.wrappers import KerasRegressor as ScikerasRegressor
from sklearn.base import BaseEstimator
from sklearn.base import _fit_context as fit_context  # scikit-learn 1.2 to 1.9: parameter validation around `fit`
from sklearn.frozen import FrozenEstimator
from sklearn.utils._param_validation import (  # scikit-learn 1.2 to 1.9: the words of `_parameter_constraints`
    HasMethods,
    Interval,
    StrOptions,
)
from sklearn.utils.metaestimators import _BaseComposition as BaseComposition  # scikit-learn 0.19 to 1.9
from sklearn.utils.validation import _check_feature_names_in as check_feature_names_in  # scikit-learn 1.0 to 1.9
from sklearn.utils.validation import _check_sample_weight as check_sample_weight  # scikit-learn 0.22 to 1.9
from tensorflow.python.eager import context  # TensorFlow 2: the global seed can be set in public, not read

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # TODO(scikit-learn>=1.9): drop this branch

    class CallbackSupportMixin:
        """Stands for that of scikit-learn, which has no callbacks before version 1.9."""


try:
    from sklearn.utils._repr_html.estimator import _VisualBlock as VisualBlock
except ImportError:  # TODO(scikit-learn>=1.7): drop this branch
    from sklearn.utils._estimator_html_repr import _VisualBlock as VisualBlock

__all__ = [
    "BaseComposition",
    "BaseWrapper",
    "CallbackSupportMixin",
    "HasMethods",
    "Interval",
    "ScikerasClassifier",
    "ScikerasRegressor",
    "StrOptions",
    "VisualBlock",
    "batch_norm_layers",
    "begin_callbacks",
    "build_optimizer",
    "built_without_memory",
    "check_feature_names_in",
    "check_restored",
    "check_sample_weight",
    "compile_arguments",
    "copy_architecture",
    "copy_values",
    "decode_outputs",
    "encode_features",
    "encode_target",
    "encodes_features",
    "extra_fit_callbacks",
    "fit_arguments",
    "fit_callbacks",
    "fit_context",
    "fit_initialized",
    "fit_override",
    "has_own_encoders",
    "history_of",
    "initialize",
    "is_one_hot_target",
    "layer_output_shapes",
    "model_config",
    "model_from_config",
    "rebuild_model",
    "recorded_initializers",
    "recorded_seeds",
    "replace_model",
    "seeded",
    "without_own_seed",
]

# scikit-learn 1.6 reads this remnant of its old tags instead of `__sklearn_tags__`, although it can only raise: it
# calls its super's, which is gone. Without it, scikeras' estimators have the tags of scikit-learn 1.7 and later.
# TODO(scikit-learn>=1.7): drop it.
if "_more_tags" in vars(BaseWrapper):  # not a second time, where this module is imported again
    del BaseWrapper._more_tags

# Seeds are global to the process: builds and fits of two threads must not interleave.
_SEED_LOCK = threading.RLock()
_KERAS_GENERATOR = "global_seed_generator"  # keras.src.random.seed_generator.GLOBAL_SEED_GENERATOR
_WITHOUT_VALUES = "uninitialized_variables"  # keras.src.backend.common.variables, Keras 3.8 to 3.15


@contextmanager
def seeded(seed):
    """Seed Python, NumPy, Keras and TensorFlow, and leave all of them afterwards as they were.

    scikeras' own context leaves TensorFlow's op determinism switched on for the process, so that later fits without a
    seed raise, and lets threads overwrite each other's seeds.

    Parameters
    ----------
    seed : int or None
        With None, nothing is seeded.
    """
    if seed is None:
        yield
        return
    eager = context.context()
    with _SEED_LOCK:
        before = random.getstate(), np.random.get_state(), eager._seed, getattr(eager, "_rng", None)
        keras_generator = global_state.get_global_attribute(_KERAS_GENERATOR)
        random.seed(seed)
        np.random.seed(seed)
        eager._seed, eager._rng = seed, random.Random(seed)
        global_state.set_global_attribute(_KERAS_GENERATOR, None)
        try:
            yield
        finally:
            if eager._rng.getstate() != random.Random(seed).getstate():
                # Stateful random operations ran. Their cached kernels would go on, not begin again, under the same
                # seed; dropping all kernels costs 0.1 s, so it is done only then.
                eager._set_global_seed(seed)
            random.setstate(before[0])
            np.random.set_state(before[1])
            eager._seed, eager._rng = before[2:]
            global_state.set_global_attribute(_KERAS_GENERATOR, keras_generator)


# TensorFlow 2.18 to 2.21 keeps 35 kB for every variable with a name that there ever was: the kernel that made it. After
# so many models the kernels are dropped; making those again that are in use takes 0.2 s.
_MODELS_PER_KERNELS = 100
_model_numbers = itertools.count(1)


def _count_model():
    if next(_model_numbers) % _MODELS_PER_KERNELS == 0:
        context.context().clear_kernel_cache()


@contextmanager
def without_own_seed(estimator):
    """Keep scikeras from seeding by itself while `estimator` is built or trained (see `seeded`)."""
    parameter, drawn = estimator.random_state, getattr(estimator, "_random_state", None)
    estimator.random_state = estimator._random_state = None
    try:
        yield
    finally:
        estimator.random_state, estimator._random_state = parameter, drawn


def initialize(estimator, X, y):
    """Build and compile the model of a scikeras estimator without training it, under the current seeds.

    `initialize` of scikeras 0.13 builds only; compiling waits for `fit`.
    """
    _count_model()
    with without_own_seed(estimator):
        estimator.initialize(X, y)
    estimator._ensure_compiled_model()
    estimator._check_model_compatibility(encode_target(estimator, y))
    return estimator


def build_optimizer(model):
    """Give the optimizer its slots: Keras warns when it loads a model that was saved before."""
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def model_config(model):
    """The config of a model, in which an object that is used twice is one, as in the file of `Model.save`."""
    with ObjectSharingScope():
        return keras.saving.serialize_keras_object(model)


def built_without_memory(config, custom_objects):
    """A model, of no use but to look at: its variables have shapes, and no values."""
    config = copy.deepcopy(config)  # Keras takes it apart
    before = global_state.get_global_attribute(_WITHOUT_VALUES)
    global_state.set_global_attribute(_WITHOUT_VALUES, [])
    try:
        with keras.StatelessScope(initialize_variables=False), ObjectSharingScope(), SafeModeScope(True):
            return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects, safe_mode=True)
    finally:
        # Else the next scope that ends, in a fit perhaps, would give them memory.
        global_state.set_global_attribute(_WITHOUT_VALUES, before)


def model_from_config(config, custom_objects=None):
    """The model that a config, as of `model_config`, describes; not compiled."""
    with ObjectSharingScope(), SafeModeScope(True):
        return keras.saving.deserialize_keras_object(
            copy.deepcopy(config), custom_objects=custom_objects, safe_mode=True
        )


def layer_output_shapes(model):
    """Shapes of the outputs of all layers, at any depth; Keras has no public way to those of layers called twice."""
    for layer in getattr(model, "layers", ()):
        yield from layer_output_shapes(layer)
        yield from (tuple(output.shape) for node in layer._inbound_nodes for output in node.output_tensors)


def rebuild_model(estimator, seed):
    """A new compiled model, built as `estimator` built its own but under another seed."""
    _count_model()
    if isinstance(estimator.model, keras.Model):
        build_optimizer(estimator.model)
        with seeded(seed):  # copying draws seeds for initializers that are not used
            return copy.deepcopy(estimator.model)
    if hasattr(estimator.model, "raise_not_restored"):
        with seeded(seed):
            return _copy_from_config(estimator.model_)
    built = copy.copy(estimator)
    with seeded(seed), without_own_seed(built):
        built.model_ = built._build_keras_model()
        built._ensure_compiled_model()
    return built.model_


def _copy_from_config(model):
    """A model like another one whose builder is not there, compiled alike."""
    copied = copy_architecture(model)
    arguments = compile_arguments(model)
    if arguments is not None:
        optimizer = arguments["optimizer"]
        if isinstance(optimizer, keras.optimizers.Optimizer):  # belongs to the variables of one model
            arguments["optimizer"] = optimizer.from_config(optimizer.get_config())
        copied.compile(**arguments)
    return copied


def compile_arguments(model):
    """What was given to `compile`, as a dict of its arguments; None where the model is not compiled.

    Keras 3.8 to 3.15 give it away in public only after it was written as JSON, in which functions are mere names.
    """
    return dict(model._compile_config.config) if model.compiled else None


def check_restored(value):
    """Raise where something that training needs was left out when an estimator was loaded (`skensemble.io`).

    `value` is an estimator; lists, tuples and the parameters of estimators in it are looked into.
    """
    if hasattr(value, "raise_not_restored"):
        value.raise_not_restored()
    if isinstance(value, BaseEstimator) and not isinstance(value, FrozenEstimator):  # which is not trained
        value = list(value.get_params(deep=False).values())
    if isinstance(value, list | tuple):
        for part in value:
            check_restored(part)


def replace_model(estimator, unfitted, model, history):
    """Make `unfitted`, a clone of `estimator`, a fitted estimator with another model.

    What scikeras learns of the data in `initialize` is shared, since it is the same.

    Parameters
    ----------
    estimator : scikeras estimator
        Initialized.
    unfitted : scikeras estimator
        Changed in place.
    model : keras.Model
    history : dict of str to list of float

    Returns
    -------
    scikeras estimator
    """
    learned = {name: value for name, value in vars(estimator).items() if name not in estimator.get_params(deep=False)}
    for name in learned.keys() - vars(unfitted).keys():
        setattr(unfitted, name, learned[name])
    unfitted._random_state = None
    unfitted.model_ = model
    unfitted.history_ = history
    unfitted._initialize_callbacks()
    return unfitted


def fit_override(estimator):
    """Name of the method by which a subclass of scikeras' estimators trains in its own way, or None."""
    for name in ("fit", "_fit", "_fit_keras_model", "_initialize"):
        defining = next(cls for cls in type(estimator).__mro__ if name in vars(cls))
        if defining.__module__.partition(".")[0] not in ("scikeras", "skensemble"):
            return f"{defining.__name__}.{name}"
    return None


def fit_arguments(estimator):
    """Arguments that scikeras would hand to `Model.fit`, but for callbacks, epochs included."""
    arguments = route_params(estimator.get_params(), destination="fit", pass_filter=estimator._fit_kwargs)
    arguments["epochs"] = getattr(estimator, "fit__epochs", estimator.epochs)
    return {name: value for name, value in arguments.items() if not name.startswith("callbacks")}


def fit_callbacks(estimator):
    """Keras callbacks of an initialized scikeras estimator, one list."""
    return keras.tree.flatten(estimator._fit_callbacks)


@contextmanager
def extra_fit_callbacks(estimator, callbacks):
    """Call `callbacks` after all other Keras callbacks of an initialized scikeras estimator, in fits in the block."""
    before = estimator._fit_callbacks
    estimator._fit_callbacks = [*before, *callbacks]
    try:
        yield
    finally:
        estimator._fit_callbacks = before


def batch_norm_layers(model):
    """Layers of a model, at any depth, that estimate the statistics of their inputs in training."""
    layers = model._flatten_layers()  # Keras 3.8 to 3.15: no public way to reach the layers inside of layers
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]


def copy_architecture(model):
    """A new Keras model with the layers of `model`, not compiled, its values not those of `model`.

    Layers and activations of the user's own need not be registered. A lambda is not unsafe here: it has run in this
    process already.
    """
    own = _own_objects(model._flatten_layers())  # Keras 3.8 to 3.15: as in `batch_norm_layers`
    with keras.saving.custom_object_scope(own), SafeModeScope(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`", UserWarning)
        return type(model).from_config(model.get_config())


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
    """Give a built copy of a Keras model its values, what preprocessing layers were adapted to included."""
    for layer, twin in zip(model._flatten_layers(), copied._flatten_layers(), strict=True):
        values = {}
        layer.save_own_variables(values)
        twin.load_own_variables(values)
        if hasattr(layer, "save_assets"):  # vocabularies, for one
            with tempfile.TemporaryDirectory() as directory:
                layer.save_assets(directory)
                twin.load_assets(directory)


def history_of(logs):
    """`history_` as scikeras names its entries, from the logs of Keras' `History`."""
    history = defaultdict(list)
    for name, values in logs.items():
        if not (name == "loss" or name.startswith("val_")):
            try:
                name = metric_name(name)
            except ValueError:
                pass  # a metric of the user's own keeps its name
        history[name] += values
    return history


@contextmanager
def recorded_initializers():
    """Record which initializer gave each variable built in the block its value, as a dict id(variable) -> initializer.

    Keras 3 keeps the initializer of a variable only while its value is deferred.
    """
    record, original = {}, keras.Variable.__init__

    def recording(variable, initializer, *args, **kwargs):
        original(variable, initializer, *args, **kwargs)
        record[id(variable)] = initializer

    with _SEED_LOCK:
        keras.Variable.__init__ = recording
        try:
            yield record
        finally:
            keras.Variable.__init__ = original


@contextmanager
def recorded_seeds():
    """Record the seeds that Keras draws in the block for initializers and seed generators without one, as a list."""
    drawn = []

    def randint(*bounds):
        drawn.append(random.randint(*bounds))
        return drawn[-1]

    with _SEED_LOCK:
        seed_generator.python_random = types.SimpleNamespace(randint=randint)
        try:
            yield drawn
        finally:
            seed_generator.python_random = random


def fit_initialized(estimator, X, y, sample_weight, **arguments):
    """Train an initialized scikeras estimator; further arguments go to `Model.fit`.

    scikeras 0.13 initializes again in `fit`, and forgets the classes that X and y lack.
    """
    epochs = fit_arguments(estimator)["epochs"]
    estimator._fit(X, y, sample_weight, warm_start=True, epochs=epochs, initial_epoch=0, **arguments)
    return estimator


def encode_features(estimator, X):
    """Features as the Keras model of a fitted scikeras estimator takes them."""
    return estimator.feature_encoder_.transform(X)


def encodes_features(estimator):
    """Whether a scikeras estimator transforms X in a way of its own before the network sees it."""
    return type(estimator).feature_encoder is not BaseWrapper.feature_encoder


def has_own_encoders(estimator):
    """Whether a scikeras estimator transforms X or y in a way of its own."""
    defaults = {ScikerasClassifier.target_encoder, ScikerasRegressor.target_encoder}
    return encodes_features(estimator) or type(estimator).target_encoder not in defaults


def encode_target(estimator, y):
    """Targets as the Keras model of an initialized scikeras estimator takes them."""
    return estimator.target_encoder_.transform(y)


def decode_outputs(estimator, outputs):
    """Raw outputs of the model as predictions: probabilities (n_samples, n_classes) or values shaped like y.

    scikeras 0.13 squeezes the probabilities of a single row to one dimension; here they keep two.
    """
    if isinstance(estimator, ScikerasClassifier):
        proba = np.asarray(estimator.target_encoder_.inverse_transform(outputs, return_proba=True))
        return proba.reshape(len(outputs), -1)
    return np.asarray(estimator.target_encoder_.inverse_transform(outputs))


def begin_callbacks(estimator):
    """Set up scikit-learn's callbacks for a fit; returns their context, or None where no callback listens."""
    if not hasattr(estimator, "_init_callback_context"):  # scikit-learn 1.9: for the authors of estimators
        return None
    context = estimator._init_callback_context()
    return context if getattr(estimator, "_skl_callbacks", None) else None


def is_one_hot_target(y):
    """Whether scikeras 0.13 reads an indicator matrix as one class per row (then decoded by the largest output)."""
    return y.ndim == 2 and y.min() == 0 and bool((y.sum(axis=1) == 1).all())
