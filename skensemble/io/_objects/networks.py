"""scikeras estimators: parameters, what they learned, the encoder of their target, and their model."""

import math

import keras
import numpy as np

from skensemble._compat.scikeras import BaseWrapper, ScikerasClassifier, has_own_encoders, initialize_callbacks
from skensemble._members.callback_factories import has_factory
from skensemble._members.lazy_networks import in_memory
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._objects.architectures import MAX_ROW
from skensemble.io._objects.classes import class_path, new_estimator
from skensemble.io._objects.fitted_state import check_attributes, saved_attributes
from skensemble.io._objects.models import write_architecture


def write_network(estimator, writer):
    """Node of a scikeras estimator; one that is not fitted has no model."""
    estimator = in_memory(estimator)
    if getattr(estimator, "model_", None) is None:
        return _unfitted_node(estimator, writer)
    _check_trained(estimator)
    return _fitted_node(estimator, writer)


def write_prototype(estimator, writer):
    """Node of an estimator that stands for copies of it: its model represents the architecture, without values."""
    estimator = in_memory(estimator)
    return _fitted_node(estimator, writer, write_architecture)


def _unfitted_node(estimator, writer):
    # Sorted, since `set_params` changes the order.
    params = dict(sorted(estimator.get_params(deep=False).items()))
    return {
        "class": class_path(estimator),
        "params": writer.encode(params, f"A parameter of {type(estimator).__name__}"),
        "attributes": {"t": "dict", "v": []},
        "target": None,
        "model": None,
    }


def _fitted_node(estimator, writer, write=None):
    name = type(estimator).__name__
    node = _unfitted_node(estimator, writer)
    attributes = saved_attributes(estimator, without={*estimator.get_params(deep=False), "model_"})
    node["attributes"] = writer.encode(attributes, f"An attribute of {name}")
    node["target"] = writer.encode(_target(estimator), f"The target of {name}")
    node["model"] = writer.add(estimator.model_, write)
    return node


def _check_trained(estimator):
    """A failed fit of a plain scikeras estimator leaves a model behind, of which it says that it is fitted (T37)."""
    ours = type(estimator).__module__.startswith("skensemble")
    if not ours and not hasattr(estimator, "history_"):
        raise PersistenceError(
            f"{type(estimator).__name__} must be fitted before it is saved: it has a model, but no training ended "
            "without an error. Fit it again."
        )


def _target(estimator):
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


def read_network(node, number, reader):
    """A scikeras estimator, fitted where the node has a model."""
    estimator = new_estimator(node, reader)
    if not isinstance(estimator, BaseWrapper):
        raise FormatError(f"Object {number} of the manifest must be a scikeras estimator: got {node['class']}.")
    if node["model"] is None:
        return estimator
    attributes, target = reader.decode(node["attributes"]), reader.decode(node["target"])
    if not isinstance(attributes, dict) or not isinstance(target, dict):
        raise FormatError(f"Object {number} of the manifest must have dicts of attributes and of the target.")
    model = reader.object(node["model"])
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
    _restore_callbacks(estimator)
    return estimator


def _restore_callbacks(estimator):
    """Make the callbacks anew from the parameters, unless some are missing or are made by functions of the user's."""
    if any(hasattr(callback, "raise_not_restored") for callback in keras.tree.flatten(estimator.callbacks)):
        estimator._fit_callbacks, estimator._predict_callbacks = [], []
    elif has_factory(estimator.callbacks):  # the user's functions are called by the next `fit`, not by loading
        estimator._predict_callbacks = []
    else:
        initialize_callbacks(estimator)


def _check_row_shape(shape, model):
    """Raise where rows are not those that the network takes: a file could name a shape that no memory holds (T12)."""
    if not isinstance(shape, tuple) or not shape or not all(type(size) is int and size >= 0 for size in shape):
        raise FormatError(f"The `X_shape_` of a network must be a shape: got {str(shape)[:80]}.")
    taken = model.input_shape if isinstance(model.input_shape, tuple) else ()
    if len(taken) == len(shape) and any(a not in (None, b) for a, b in zip(taken[1:], shape[1:], strict=True)):
        raise FormatError(f"The rows of a network must be of the shape {taken[1:]}: got {shape[1:]}.")
    if math.prod(shape[1:]) > MAX_ROW:
        raise FormatError(f"A row of X must not have more than {MAX_ROW} numbers: got the shape {shape}.")


def _target_encoder(estimator, target):
    """The encoder of scikeras, fitted on the fewest rows that give the same result as the training rows."""
    if set(target) != {"shape", "dtype", "type", "classes"}:
        raise FormatError("The target of a network must have shape, dtype, type and classes.")
    shape = target["shape"]
    if not isinstance(shape, tuple) or math.prod(shape[1:]) > MAX_ROW:
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
