"""Keras models and scikeras estimators: to configurations, numbers and typed JSON, and back."""

import math

import keras
import numpy as np

from skensemble._compat.keras import build_optimizer, compile_arguments
from skensemble._compat.keras_copies import model_from_config
from skensemble._compat.scikeras import ScikerasClassifier, has_own_encoders, initialize_callbacks
from skensemble._engine.variables import read_state, write_state
from skensemble._files.arrays import write_arrays
from skensemble._members.callback_factories import has_factory
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._fitted_state import check_attributes, saved_attributes

#: The most numbers in a row of X, or of targets: 256 MiB of float32.
_MAX_ROW = 2**26
PARTS = ("trainable", "non_trainable")
PROBE_ROWS = 4


def tensors_of(arrays, where, *, check_finite=True):
    """Bytes of named arrays.

    Parameters
    ----------
    arrays : dict of str to ndarray
    where : str
        Name of what is saved, for errors.
    check_finite : bool, default=True
        Whether NaN and infinite numbers are an error.

    Returns
    -------
    bytes
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise PersistenceError(f"{where} cannot be saved: it has variables of {array.dtype}.")
        if check_finite and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise PersistenceError(
                f"{where} must have finite variables: {name} has NaN or infinite numbers. Train again with a smaller "
                "learning rate, or pass check_finite=False to save it as it is."
            )
    return write_arrays(arrays)


def named_values(trainable, non_trainable):
    """Values of variables as named arrays."""
    parts = zip(PARTS, (trainable, non_trainable), strict=True)
    return {f"{part}/{i:05}": np.asarray(value) for part, values in parts for i, value in enumerate(values)}


def values_for(model, arrays, where):
    """(trainable, non_trainable) values for a model from named arrays, which must have its names, shapes and types."""
    expected = named_variables(model)
    arrays = {
        name: _as_kept(array, expected[name].dtype) if name in expected else array for name, array in arrays.items()
    }
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if found != {name: (tuple(v.shape), keras.backend.standardize_dtype(v.dtype)) for name, v in expected.items()}:
        raise FormatError(f"{where} must hold the variables of its architecture, in their shapes and types.")
    return tuple(
        [arrays[f"{part}/{i:05}"] for i in range(len(variables))]
        for part, variables in zip(PARTS, (model.trainable_variables, model.non_trainable_variables), strict=True)
    )


def _as_kept(array, dtype):
    """Whole numbers in the type of a variable, if it can hold them; anything else as it is.

    Backends keep them in different types: the state of a `SeedGenerator` is int64 on TensorFlow and uint32 on JAX.
    """
    kept = keras.backend.standardize_dtype(dtype)
    if array.dtype.kind in "iu" and kept.startswith(("int", "uint")):
        converted = array.astype(kept)
        if np.array_equal(converted, array):
            return converted
    return array


def _optimizer_arrays(model, arrays):
    """(Values of the variables of the optimizer from named arrays, the variables' own values)."""
    build_optimizer(model)
    variables = read_state(model).optimizer
    values = [arrays[name] for name in sorted(arrays)]
    if len(values) == len(variables):
        values = [_as_kept(value, variable.dtype) for value, variable in zip(values, variables, strict=True)]
    return values, variables


def named_variables(model):
    """Variables of a model under the names of `named_values`."""
    parts = zip(PARTS, (model.trainable_variables, model.non_trainable_variables), strict=True)
    return {f"{part}/{i:05}": variable for part, variables in parts for i, variable in enumerate(variables)}


def put_values(model, values):
    """Give a model its (trainable, non_trainable) values."""
    write_state(model, values)


def _all_layers(model):
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _all_layers(layer)


def own_classes(model):
    """Classes and functions in a model that are not Keras', by the names under which its configuration has them."""
    found = {}
    for layer in [model, *_all_layers(model)]:
        kind = type(layer)
        if kind.__module__.partition(".")[0] != "keras":
            found[kind.__name__] = found[keras.saving.get_registered_name(kind)] = kind
    return found


def model_values(model):
    """(trainable, non_trainable) values of a model."""
    return read_state(model)[:2]


def optimizer_values(model):
    """Values of the variables of the optimizer, by number."""
    build_optimizer(model)
    return {f"optimizer/{i:05}": value for i, value in enumerate(read_state(model).optimizer)}


def build_model(config, custom_objects):
    """A model from its audited configuration, not compiled."""
    try:
        return model_from_config(config, custom_objects)
    except Exception as error:  # whatever a layer raises
        raise FormatError(f"An architecture of the file cannot be built: {error}") from error


def compile_record(model, encoder, where):
    """Typed JSON of what a model was compiled with."""
    arguments = compile_arguments(model)
    return None if arguments is None else encoder.encode(arguments, f"What {where} was compiled with")


def compile_as(model, arguments):
    """Compile a model with what `compile_record` wrote, decoded."""
    if arguments is None:
        return
    try:
        model.compile(**arguments)
        build_optimizer(model)
    except (TypeError, ValueError) as error:
        raise FormatError(f"A network of the file cannot be compiled: {error}") from error


def put_optimizer(model, arrays, where):
    """Give the optimizer of a compiled model its values."""
    values, optimizer = _optimizer_arrays(model, arrays)
    if [(v.shape, v.dtype) for v in values] != [(v.shape, v.dtype) for v in optimizer]:
        raise FormatError(f"{where} must hold the variables of the optimizer, in their shapes and types.")
    write_state(model, (*model_values(model), values))


def probe_rows(model):
    """Random rows for a model, the same each time; None unless it has one input of known shape."""
    inputs = model.inputs if hasattr(model, "inputs") else None
    if not isinstance(inputs, list) or len(inputs) != 1:
        return None
    shape = [4 if size is None else size for size in inputs[0].shape[1:]]
    rows = np.random.default_rng(0).random((PROBE_ROWS, *shape))
    return rows.astype(keras.backend.standardize_dtype(inputs[0].dtype))


def predict_probe(model, rows):
    """Outputs of a model as one array."""
    outputs = [np.asarray(output, dtype=np.float64) for output in keras.tree.flatten(model(rows, training=False))]
    return np.concatenate([output.reshape(len(rows), -1) for output in outputs], axis=1)


def stacked_optimizer_values(model, arrays, n_members, where, *, newest=False):
    """Variables of the optimizers, stacked over the members; with `newest`, perhaps only those of the newest."""
    values, optimizer = _optimizer_arrays(model, arrays)
    expected = [(v.shape, v.dtype) for v in optimizer]
    if [(v.shape[1:], v.dtype) for v in values] != expected or not {len(v) for v in values} <= {
        n_members,
        1 if newest else n_members,
    }:
        raise FormatError(f"{where} must hold the variables of the optimizer, in their shapes and types.")
    return values


def network_params(estimator):
    """Parameters of a scikeras estimator and for its builder; sorted, since `set_params` changes the order."""
    return dict(sorted(estimator.get_params(deep=False).items()))


def network_attributes(estimator):
    """What a scikeras estimator learned, except its model and what is made anew."""
    return saved_attributes(estimator, without={*estimator.get_params(deep=False), "model_"})


def network_target(estimator):
    """What the encoder of the target is made of, when the estimator is loaded."""
    if has_own_encoders(estimator):
        raise PersistenceError(
            f"{type(estimator).__name__} cannot be saved: it has a target_encoder or feature_encoder of its own. Put "
            "the transformation into a scikit-learn Pipeline, or save with joblib."
        )
    encoder = estimator.target_encoder_
    return {
        "shape": tuple(encoder._y_shape),
        "dtype": encoder._y_dtype,
        "type": getattr(encoder, "_target_type", None),
        "classes": getattr(encoder, "classes_", None),
    }


def restore_network(estimator, attributes, target, model):
    """Turn an unfitted scikeras estimator into a fitted one.

    Parameters
    ----------
    estimator : scikeras estimator
    attributes : dict
        As returned by `network_attributes`.
    target : dict
        As returned by `network_target`.
    model : keras.Model

    Returns
    -------
    scikeras estimator
    """
    check_attributes(estimator, attributes)
    vars(estimator).update(attributes)
    _check_row_shape(attributes.get("X_shape_"), model)
    try:
        estimator.target_encoder_ = _target_encoder(estimator, target)
        row = np.broadcast_to(np.zeros((), estimator.X_dtype_), (1, *estimator.X_shape_[1:]))
        estimator.feature_encoder_ = estimator.feature_encoder.fit(row)
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        raise FormatError(f"The encoder of a network's target cannot be restored: {error}.") from error
    estimator.model_ = model
    if any(hasattr(callback, "raise_not_restored") for callback in keras.tree.flatten(estimator.callbacks)):
        estimator._fit_callbacks, estimator._predict_callbacks = [], []
    elif has_factory(estimator.callbacks):  # the user's functions are called by the next `fit`, not by loading
        estimator._predict_callbacks = []
    else:
        initialize_callbacks(estimator)
    return estimator


def _check_row_shape(shape, model):
    """Rows must be those that the network takes: a file could name a shape that no memory holds (T12)."""
    if not isinstance(shape, tuple) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise FormatError(f"The `X_shape_` of a network must be a shape: got {str(shape)[:80]}.")
    taken = model.input_shape if isinstance(model.input_shape, tuple) else ()
    if len(taken) == len(shape) and any(a not in (None, b) for a, b in zip(taken[1:], shape[1:], strict=True)):
        raise FormatError(f"The rows of a network must be of the shape {taken[1:]}: got {shape[1:]}.")
    if math.prod(shape[1:]) > _MAX_ROW:
        raise FormatError(f"A row of X must not have more than {_MAX_ROW} numbers: got the shape {shape}.")


def _target_encoder(estimator, target):
    """The encoder of scikeras, fitted on the fewest rows that give the same result as the training rows."""
    if set(target) != {"shape", "dtype", "type", "classes"}:
        raise FormatError("The target of a network must have shape, dtype, type and classes.")
    shape = target["shape"]
    if not isinstance(shape, tuple) or math.prod(shape[1:]) > _MAX_ROW:
        raise FormatError(f"The target of a network must have a shape: got {str(shape)[:80]}.")
    y = _smallest_target(isinstance(estimator, ScikerasClassifier), target)
    known, encoder = vars(estimator).get("classes_"), None
    for categories in (None, known):  # those given to `partial_fit` need not be sorted
        estimator.classes_ = categories
        encoder = estimator.target_encoder.fit(y)
        if _same(getattr(encoder, "classes_", None), target["classes"]):
            break
    else:
        raise FormatError(f"The target of a network must have the classes of the network: got {target['classes']}.")
    estimator.classes_ = known
    if known is None:
        del estimator.classes_
    encoder._y_shape = shape
    if getattr(encoder, "_target_type", None) != target["type"]:
        raise FormatError(f"The target of a network must be {target['type']}: it is {encoder._target_type}.")
    return encoder


def _smallest_target(is_classifier, target):
    shape, classes = target["shape"], target["classes"]
    if not is_classifier:
        return np.zeros((1, *shape[1:]), target["dtype"])
    if target["type"] in ("binary", "multiclass"):
        return np.asarray(classes, dtype=target["dtype"]).reshape(-1, *shape[1:])
    if target["type"] == "multiclass-onehot":
        return np.eye(len(classes), dtype=target["dtype"])
    return np.stack([np.zeros(len(classes)), np.ones(len(classes))]).astype(target["dtype"])


def _same(first, second):
    if first is None or second is None:
        return first is second
    return first.dtype == second.dtype and np.array_equal(first, second)
