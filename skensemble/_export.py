"""A whole ensemble as one Keras model: copies of the networks of its members, and their combination as Keras layers.

No layer added here is our own, so a saved model can be loaded where skensemble is not installed. All combining layers
compute in `keras.config.floatx()`, even where a mixed precision policy is set.
"""

import re

import keras
import numpy as np
from keras import layers, ops

from skensemble._compat.keras_copies import copy_architecture, copy_values
from skensemble._compat.scikeras import BaseWrapper, ScikerasClassifier, has_own_encoders
from skensemble._members.architecture import why_not_from_configuration
from skensemble._members.distribution import has_scales
from skensemble._numeric.combination import HALF_TOLERANCE, SMALLEST_PROBABILITY

FINAL_NAME = "final_estimator"
# Shares of votes that differ by the rounding of float32 are a tie.
_VOTE_DECIMALS = 6
# Keras' names of the operations between the members and the output, which no member may have.
_NAMES_OF_OPERATIONS = re.compile(
    "(cast|round|greater|top_k|stack|get_item|take|take_along_axis|cumsum|less_equal|sum|add|subtract|divide|true_divide"
    r"|maximum|where|log|sigmoid|softmax)(_\d+)?"
)


def input_tensor(row_shape):
    """The one input of the model, for rows of X."""
    return keras.Input(row_shape, name="X", dtype=keras.config.floatx())


def as_model(X, output):
    """The model from the input to the output."""
    model = keras.Model(X, output, name="ensemble")
    model(X)  # Keras exports a model to ONNX only after it was called
    return model


def member_outputs(estimators, names, X, classes, *, trainable):
    """Predictions of members as the ensemble combines them: one column per class, label or target.

    Parameters
    ----------
    estimators : list of fitted estimator
    names : list of str
        Names of the members in errors; made valid and unique, they are the names of the networks in the model.
    X : KerasTensor
        As returned by `input_tensor`.
    classes : ndarray of shape (n_classes,) or None
        Order of the columns for classifiers; None for regressors and for several labels per row.
    trainable : bool
        Whether layers that are trainable in the members are trainable in the copies.

    Returns
    -------
    list of KerasTensor of shape (n_samples, n_classes or n_outputs)
    """
    for estimator, name in zip(estimators, names, strict=True):
        check_network(estimator, name)
    return [
        _predictions(estimator, name, X, classes, trainable=trainable)
        for estimator, name in zip(estimators, _layer_names(names), strict=True)
    ]


def final_output(estimator, columns):
    """Predictions of a network that learned to combine those of members, which are given side by side."""
    columns = columns[0] if len(columns) == 1 else layers.Concatenate(name="columns")(columns)
    return _predictions(estimator, FINAL_NAME, columns, None, trainable=True)


def as_rows_of_numbers(X):
    """X with each row flattened."""
    return X if len(X.shape) == 2 else layers.Flatten(name="X__columns")(X)


def _is_ensemble(estimator):
    return hasattr(estimator, "to_keras")


def check_network(estimator, name):
    """Raise where a fitted estimator is neither a plain network nor an ensemble of networks."""
    if _is_ensemble(estimator):
        return
    if not isinstance(estimator, BaseWrapper):
        raise ValueError(
            f"`to_keras` needs Keras networks only: {name!r} is {type(estimator).__name__}. Fit the ensemble with a "
            "network in its place."
        )
    if has_own_encoders(estimator):
        raise ValueError(
            f"`to_keras` needs networks that take X and give predictions as they are: {name!r} is "
            f"{type(estimator).__name__}, which has a feature_encoder or target_encoder of its own. Do what it does in "
            "layers of the network, or in a pipeline around the ensemble."
        )


def mean(outputs, weights):
    """Weighted mean of the outputs of members; `weights` must sum to 1."""
    if len(outputs) == 1:
        return outputs[0]
    dtype = keras.config.floatx()
    if (weights == weights[0]).all():
        return layers.Average(name="mean", dtype=dtype)(outputs)
    weighted = [
        layers.Rescaling(float(weight), name=f"weight__{i}", dtype=dtype)(output)
        for i, (output, weight) in enumerate(zip(outputs, weights, strict=True))
    ]
    return layers.Add(name="mean", dtype=dtype)(weighted)


def combined(outputs, weights, how):
    """Outputs of members as one, by the rule of `combine`; `weights` must sum to 1 and be positive."""
    if how.rule == "mean" or len(outputs) == 1:
        return mean(outputs, weights)
    outputs = [ops.cast(output, keras.config.floatx()) for output in outputs]
    if how.rule == "geometric_mean":
        return _geometric_mean(outputs, weights, how.target)
    together = ops.stack(outputs, axis=-1)
    # ONNX knows `top_k`, which sorts, and not what TensorFlow does for `sort` and `argsort`.
    values, order = ops.top_k(together, len(outputs))
    if how.rule == "median":
        result = _median(values, order, weights)
    else:
        n_cut = int(how.trim_fraction * len(outputs))
        result = ops.sum(values[..., n_cut : len(outputs) - n_cut], axis=-1) / (len(outputs) - 2 * n_cut)
    if how.target != "classes":
        return result
    total = ops.sum(result, axis=-1, keepdims=True)
    return ops.where(total > 0, result / ops.maximum(total, SMALLEST_PROBABILITY), mean(outputs, weights))


def calibrated(proba, temperature, target):
    """Probabilities with a temperature, as in `with_temperature`."""
    parts = _log_pool_parts(proba, target) / np.asarray(temperature, keras.config.floatx())
    return _from_log_pool_parts(parts, target)


def _median(values, order, weights):
    """Weighted median along the last axis of sorted values; `order` says which member each comes from."""
    if (weights == weights[0]).all():
        middle = len(weights) // 2
        return (values[..., middle] + values[..., len(weights) - 1 - middle]) / 2
    below = ops.cumsum(ops.take(weights.astype(keras.config.floatx()), order), axis=-1)
    halves = []
    for half in (0.5 - HALF_TOLERANCE, 0.5 + HALF_TOLERANCE):
        # The sum of weights up to a value increases: the first one above half is at the index that counts those below.
        n_below = ops.sum(ops.cast(below <= half, "int32"), axis=-1, keepdims=True)
        halves.append(ops.take_along_axis(values, n_below, axis=-1)[..., 0])
    return (halves[0] + halves[1]) / 2


def _geometric_mean(outputs, weights, target):
    """Weighted geometric mean of probabilities, scaled to probabilities."""
    return _from_log_pool_parts(mean([_log_pool_parts(output, target) for output in outputs], weights), target)


def _log_pool_parts(proba, target):
    """As `skensemble._numeric.combination.log_pool_parts`."""
    logs = ops.log(ops.maximum(proba, SMALLEST_PROBABILITY))
    return logs - ops.log(ops.maximum(1 - proba, SMALLEST_PROBABILITY)) if target == "labels" else logs


def _from_log_pool_parts(parts, target):
    return ops.sigmoid(parts) if target == "labels" else ops.softmax(parts, axis=-1)


def vote_shares(outputs, weights, *, each_label):
    """Share of the votes, by weight, that each class gets, or with `each_label` each of several labels separately."""
    dtype = keras.config.floatx()
    if each_label:
        votes = [ops.cast(ops.greater(output, 0.5), dtype) for output in outputs]
    else:
        votes = [_first_largest(output) for output in outputs]
    return ops.round(mean(votes, weights), _VOTE_DECIMALS)


def _first_largest(output):
    """1 in the column of the largest value of a row (the first of several), 0 in the others."""
    _, indices = ops.top_k(output, 1)  # ONNX knows what TensorFlow does for it, and not what it does for `argmax`
    return layers.CategoryEncoding(output.shape[-1], output_mode="one_hot", dtype=keras.config.floatx())(indices)


def _predictions(estimator, name, X, classes, *, trainable):
    """Output of a copy of an estimator's network, decoded as scikeras does, or of the model of an ensemble."""
    if _is_ensemble(estimator):
        output = _copy_ensemble(estimator, name, X, trainable)
    else:
        output = _as_columns(_copy_network(estimator, name, X, trainable), name)
        if has_scales(estimator):
            output = output[:, : estimator.n_outputs_]
        is_binary = isinstance(estimator, ScikerasClassifier) and estimator.target_type_ == "binary"
        if is_binary and estimator.n_classes_ == 2 and output.shape[-1] == 1:
            output = _both_classes(output, name)
    if classes is None or np.array_equal(estimator.classes_, classes):
        return output
    return _align_classes(output, name, estimator.classes_, classes)


def _copy_ensemble(ensemble, name, X, trainable):
    """Output of the model of an ensemble that is itself a member, called on `X`."""
    model = ensemble.to_keras(trainable=trainable)
    model.name = name
    if not trainable:
        model.trainable = False  # including what combines its members
    return model(X)


def _copy_network(estimator, name, X, trainable):
    """Output of a copy of the network of a member, called on `X`."""
    reason = why_not_from_configuration(estimator.model_)
    if reason is not None:
        raise ValueError(
            f"`to_keras` needs networks that Keras can build from their configuration: {name!r} is not one, because "
            f"{reason}."
        )
    try:
        network = copy_architecture(estimator.model_)
    except Exception as error:  # whatever the get_config of a user's layer raises
        raise ValueError(
            f"`to_keras` needs networks that Keras can build from their configuration: {name!r} is not one. Give its "
            "own layers and models a get_config, and register its own functions with "
            "keras.saving.register_keras_serializable."
        ) from error
    network.name = name
    output = network(X)
    copy_values(estimator.model_, network)
    if not trainable:
        network.trainable = False
    return output


def _layer_names(names):
    """Names that TensorFlow accepts for scopes, different from each other and from those of other layers."""
    taken = {"X", "mean", "columns", FINAL_NAME}
    for name in names:
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", name)  # no "__" is left, which separates parts of the names of layers
        if not name[0].isalnum():
            name = f"member{name}"
        while name in taken or _NAMES_OF_OPERATIONS.fullmatch(name):
            name += "_"
        taken.add(name)
        yield name


def _as_columns(output, name):
    """Output in two dimensions: predictions may have one column, or extra dimensions of size 1."""
    if len(output.shape) == 1:
        return layers.Reshape((1,), name=f"{name}__column")(output)
    if len(output.shape) > 2:
        return layers.Flatten(name=f"{name}__columns")(output)
    return output


def _both_classes(proba, name):
    """Probabilities of both classes from that of the second."""
    dtype = keras.config.floatx()
    other = layers.Rescaling(-1.0, offset=1.0, name=f"{name}__other", dtype=dtype)(proba)
    return layers.Concatenate(name=f"{name}__both", dtype=dtype)([other, proba])


def _align_classes(proba, name, member_classes, classes):
    """Probabilities of one member in the columns of `classes`; a class that the member does not know gets 0."""
    dtype = keras.config.floatx()
    selection = np.asarray(member_classes)[:, np.newaxis] == classes
    columns = layers.Dense(len(classes), use_bias=False, trainable=False, name=f"{name}__classes", dtype=dtype)
    aligned = columns(proba)
    columns.set_weights([selection.astype(dtype)])
    return aligned
