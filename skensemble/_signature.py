"""Which compiled Keras models can be trained by the fused program, and which of them may share one.

`why_not_fusable` looks for everything in a model that the program would not repeat as Keras does it. `signature`
describes all that a program depends on, and nothing that is state: values of variables, seeds, a float learning rate
and the names that Keras counts up (``dense_3``) are left out.

Private Keras names (Keras 3.8 to 3.15): ``_flatten_layers`` (sublayers at any depth), ``_user_loss``,
``_user_loss_weights``, ``_user_metrics`` and ``_user_weighted_metrics`` (what was given to ``compile``),
``_learning_rate``, ``_distribute_strategy``, ``_exclude_from_weight_decay`` and
``_exclude_from_weight_decay_pattern``. None has a public counterpart.
"""

import functools
import re
import types
import warnings
import weakref

import keras
import numpy as np
import tensorflow as tf


class NotFusable(ValueError):
    """These models cannot be trained by the fused program; the message says why."""


#: Methods of `keras.Model` that the program repeats: a model with its own cannot be fused.
_REPEATED = (
    "train_step",
    "test_step",
    "predict_step",
    "compute_loss",
    "compute_metrics",
    "get_metrics_result",
    "reset_metrics",
    "make_train_function",
    "make_test_function",
    "fit",
    "evaluate",
)
#: Methods of `keras.optimizers.Optimizer` that the program replaces.
_REPLACED = ("apply", "apply_gradients", "_backend_apply_gradients", "assign", "assign_add", "assign_sub", "scale_loss")

#: Keys of a configuration under which a string is the name of a layer.
_NAME_KEYS = {"name", "keras_history", "input_layers", "output_layers"}

_REMEMBERED = weakref.WeakKeyDictionary()


def _remembered(describe):
    """Describe a model once, and again when it is compiled anew or other variables become trainable.

    A description takes a millisecond or two, as long as the prediction of twenty small models.
    """

    @functools.wraps(describe)
    def wrapper(model):
        compiled = [getattr(model, name, None) for name in ("optimizer", "_compile_loss", "_compile_metrics")]
        flags = len(model.trainable_variables), getattr(model, "run_eagerly", None), tf.config.functions_run_eagerly()
        known = _REMEMBERED.setdefault(model, {}).get(describe.__name__)
        if known is None or known[1] != flags or any(a is not b for a, b in zip(known[0], compiled, strict=True)):
            known = _REMEMBERED[model][describe.__name__] = compiled, flags, describe(model)
        return known[2]

    return wrapper


@_remembered
def why_not_fusable(model):
    """The reason, in words, why a model cannot be trained by the fused program; None where it can.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.
    """
    checks = (_why_not_setup, _why_not_methods, _why_not_inputs, _why_not_layers, _why_not_optimizer)
    return next((reason for reason in (check(model) for check in checks) if reason), None)


def _why_not_setup(model):
    if keras.backend.backend() != "tensorflow":
        return f"Keras runs on {keras.backend.backend()}, not on TensorFlow"
    if not getattr(model, "compiled", False):
        return "the model is not compiled"
    if not model.built:
        return "the model is not built: its input shape is not known"
    if model.run_eagerly or tf.config.functions_run_eagerly():
        return "the model is compiled with run_eagerly=True"
    if tf.distribute.has_strategy() or getattr(model, "_distribute_strategy", None) is not None:
        return "the model is distributed with a tf.distribute strategy"
    if keras.distribution.distribution() is not None:
        return "the model is distributed with keras.distribution"
    return None


def _why_not_methods(model):
    for name in _REPEATED:
        if name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name):
            return f"the model has its own {name}"
    return None


def _why_not_inputs(model):
    for word in ("input", "output"):
        tensors = getattr(model, word + "s", None)
        if tensors is not None and len(tensors) != 1:
            return f"the model has {len(tensors)} {word}s"
        if isinstance(getattr(model, f"_{word}s_struct", None), dict):
            return f"the model's {word} is a dict"
    for tensor in getattr(model, "inputs", None) or ():
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            return "the model's input is sparse or ragged"
        if tensor.dtype == "string":
            return "the model's input is text"
    return None


def _why_not_layers(model):
    if not model.trainable_variables:
        return "the model has nothing to train"
    if any(getattr(v, "overwrite_with_gradient", False) for v in model.trainable_variables):
        return "the model trains in float8"
    for layer in model._flatten_layers():
        if getattr(layer, "stateful", False):
            return f"layer {layer.name!r} is stateful"
        if _has_table(layer):
            return f"layer {layer.name!r} was adapted to data, and keeps them in a table, not in variables"
        if not type(layer).load_own_variables.__module__.startswith("keras."):
            return f"layer {layer.name!r} loads its variables in a way of its own, and may keep more than variables"
    try:
        _architecture(model)
    except Exception as error:  # whatever a user's get_config raises
        first_line = str(error).strip().split("\n")[0]
        return f"the model cannot be described by its configuration ({type(error).__name__}: {first_line})"
    return None


def _has_table(layer):
    """Whether a layer has learned a vocabulary; one that it was given is in its configuration."""
    return hasattr(layer, "save_assets") and layer.get_config().get("vocabulary") is None


def _why_not_optimizer(model):
    optimizer = model.optimizer
    kind = type(optimizer)
    name = kind.__name__
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return "mixed precision with loss scaling (LossScaleOptimizer)"
    if name == "MultiOptimizer" or not isinstance(optimizer, keras.optimizers.Optimizer):
        return f"the optimizer {name} is not a single Keras optimizer"
    if name == "ScheduleFreeAdamW":
        # Its update keeps a reference to a variable, writes the variable, and reads the reference: on
        # TensorFlow that is the new value (Keras 3.15).
        return "the optimizer ScheduleFreeAdamW depends on the order in which TensorFlow writes variables"
    for method in _REPLACED:
        if method in vars(optimizer) or getattr(kind, method) is not getattr(keras.optimizers.Optimizer, method):
            return f"the optimizer {name} has its own {method}"
    rate = optimizer._learning_rate
    if not isinstance(rate, keras.Variable | keras.optimizers.schedules.LearningRateSchedule):
        return "the learning rate is a function"
    if getattr(optimizer, "_exclude_from_weight_decay", None):
        return "variables are excluded from weight decay by object; by name works"
    return None


@_remembered
def signature(model):
    """A hashable that is equal for two compiled models which may share one program.

    Functions and classes of the user enter as themselves (not by name) and are kept alive by it. A function defined
    anew by the same code with the
    same defaults and closure counts as the same.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.

    Raises
    ------
    NotFusable
        If the model cannot be described by its configuration.
    """
    try:
        compiled = _compilation(model) if getattr(model, "compiled", False) else None
        return _architecture(model), compiled, keras.config.floatx()
    except NotFusable:
        raise
    except Exception as error:
        raise NotFusable(f"the model cannot be described by its configuration ({error})") from error


def _architecture(model):
    layers = model._flatten_layers()
    functions = [
        one for layer in layers for one in getattr(layer, "operations", ()) if not isinstance(one, keras.Layer)
    ]
    names = {one.name: f"layer {i}" for i, one in enumerate([*layers, *functions])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a Lambda is unsafe to load; it is not loaded.
        config = _freeze(_without_state(model.get_config(), names))
    parts = tuple((type(layer), _attributes(layer)) for layer in layers)
    variables = tuple((tuple(v.shape), v.dtype, v.trainable) for v in model.variables)
    return config, parts, variables, _freeze(getattr(model, "input_shape", None))


def _without_state(config, names, is_name=False):
    """A layer's configuration without what is state: initializers, seeds, names (only where a string is a name)."""
    if isinstance(config, dict):
        module = config.get("module", "keras")
        ours = isinstance(module, str) and module.startswith("keras")
        if module == "keras.initializers":
            return None
        return {
            key: _without_state(value, names, key in _NAME_KEYS)
            for key, value in config.items()
            if not (key == "seed" and ours) and not key.endswith("_initializer")
        }
    if isinstance(config, list | tuple):
        return [_without_state(value, names, is_name) for value in config]
    return names.get(config, config) if is_name and isinstance(config, str) else config


def _uncounted_paths(model):
    """Paths of the trainable variables, the counter left out of names that Keras gave (`dense_3/kernel`)."""
    uncounted = {}
    for layer in model._flatten_layers():
        base = re.sub(r"_\d+$", "", layer.name)
        if base.replace("_", "") == type(layer).__name__.lower():
            uncounted[layer.name] = base
    return tuple("/".join(uncounted.get(p, p) for p in v.path.split("/")) for v in model.trainable_variables)


def _compilation(model):
    loss, metrics = model._compile_loss, model._compile_metrics
    optimizer = model.optimizer
    config = {k: v for k, v in optimizer.get_config().items() if k != "name"}
    if isinstance(config["learning_rate"], float):
        del config["learning_rate"]
    pattern = getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
    # Muon and an exclusion by name choose by the names of variables.
    names = _uncounted_paths(model) if pattern or "exclude_layers" in config else None
    return (
        None if loss is None else (_freeze(loss._user_loss), _freeze(loss._user_loss_weights)),
        None if metrics is None else (_freeze(metrics._user_metrics), _freeze(metrics._user_weighted_metrics)),
        (type(optimizer), _freeze(config), None if pattern is None else pattern.pattern, names),
    )


class _Same:
    """Equal only for the same object, which it keeps alive."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self):
        return id(self.value)


def _freeze(value):
    """A hashable that is equal for equal values; 1, 1.0 and True differ."""
    if value is None or isinstance(value, str | bytes):
        return value
    if isinstance(value, bool | int | float | complex | np.generic):
        return type(value).__name__, repr(value)
    if isinstance(value, dict):
        return "dict", tuple(sorted(((str(k), _freeze(v)) for k, v in value.items()), key=lambda item: item[0]))
    if isinstance(value, list | tuple):
        return "list", tuple(_freeze(v) for v in value)
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, types.FunctionType):
        return _freeze_function(value)
    if isinstance(value, types.MethodType):
        return "method", _freeze_function(value.__func__), _Same(value.__self__)
    if isinstance(value, type):
        return value
    if isinstance(value, tf.DType | tf.TensorShape):
        return str(value)
    if hasattr(value, "get_config"):
        return _freeze_object(value)
    return _Same(value)


def _freeze_object(value):
    """A loss, metric, regularizer, schedule ...: its class, its configuration and the functions it holds."""
    config = dict(value.get_config())
    name = config.pop("name", None)
    if isinstance(value, keras.metrics.Metric):
        # Keras counts up the names it gives; a name of the user's is a key of the logs.
        own = re.sub("([a-z])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", type(value).__name__)).lower()
        config["name"] = own if re.fullmatch(rf"{re.escape(own)}(_\d+)?", name or own) else name
    return type(value), _freeze(config), _attributes(value)


def _freeze_function(function):
    if function.__module__ and function.__module__.split(".")[0] in ("keras", "tensorflow"):
        return _Same(function)
    cells = tuple(_freeze_cell(cell) for cell in function.__closure__ or ())
    defaults = _freeze([function.__defaults__, function.__kwdefaults__])
    return "function", function.__code__, _Same(function.__globals__), defaults, cells


def _freeze_cell(cell):
    try:
        value = cell.cell_contents
    except ValueError:  # not assigned yet
        return None
    return _Same(value) if isinstance(value, keras.Layer) else _freeze(value)


#: Methods that Keras wraps anew in every layer, and those that its `fit` and `predict` make for a model.
_WRAPPED = ("build", "quantize", "call", "quantized_build", "train_function", "test_function", "predict_function")


def _attributes(value):
    """Functions and objects of the user's that an object holds: its configuration knows them by name only."""
    found = []
    for name, attribute in sorted(vars(value).items()):
        if name in _WRAPPED or "initializer" in name:
            continue
        if isinstance(attribute, types.FunctionType):
            found.append((name, _freeze_function(attribute)))
        elif isinstance(attribute, keras.regularizers.Regularizer | keras.constraints.Constraint) and not _is_keras(
            attribute
        ):
            found.append((name, type(attribute)))
    return tuple(found)


def _is_keras(value):
    return type(value).__module__.split(".")[0] == "keras"
