"""Whether the output layer and the loss of a network fit its target: checked after building, before any training."""

import inspect
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.keras import given_losses_and_metrics, output_layer, output_shape, recorded_initializers
from skensemble._compat.scikeras import ScikerasClassifier, encode_target, has_own_encoders, has_own_model_check
from skensemble._compat.scikeras_building import check_builds_anew, given_model, initialize, new_values
from skensemble._keras_objects.losses import NormalNLL
from skensemble._members.distribution import has_scales
from skensemble._members.network_inputs import check_whole_numbers
from skensemble._numeric.host_rows import HostRows

# Keras' activations by what their outputs are. Nothing is known about others, and they are not checked.
_SUM_TO_ONE = {"softmax", "sparsemax"}
_FROM_ZERO_TO_ONE = {"sigmoid", "hard_sigmoid", "sparse_sigmoid"}
_NO_PROBABILITIES = {
    *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_silu", "hard_tanh", "leaky_relu", "linear"),
    *("log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "silu", "soft_shrink", "softplus", "softsign"),
    *("sparse_plus", "squareplus", "tanh", "tanh_shrink", "threshold"),
}
_LAYERS_AS_ACTIVATIONS = {
    keras.layers.Softmax: "softmax",
    keras.layers.ReLU: "relu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "relu",
    keras.layers.ELU: "elu",
}
_WITH_ACTIVATION = (
    keras.layers.Activation,
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
)
# Losses that compare each output with a number of y.
_POINTWISE = {
    *("binarycrossentropy", "binaryfocalcrossentropy", "categoricalcrossentropy", "categoricalfocalcrossentropy"),
    *("categoricalhinge", "hinge", "huber", "kldivergence", "logcosh", "meanabsoluteerror", "meansquarederror"),
    *("poisson", "squaredhinge"),
}
_BY_INDEX = "sparsecategoricalcrossentropy"
_ONE_OUTPUT_A_CLASS = {_BY_INDEX, "categoricalcrossentropy", "categoricalfocalcrossentropy", "categoricalhinge"}


def initialize_checked(estimator: BaseEstimator, X: Any, y: np.ndarray) -> BaseEstimator:
    """Build and compile the model of a member, with its own values, and raise where its output does not fit y."""
    with new_values(estimator), recorded_initializers() as built:
        initialize(estimator, X, y)
    if given_model(estimator) is None:
        check_builds_anew(estimator.model_, lambda variable: id(variable) not in built)
    if isinstance(X, HostRows):
        check_whole_numbers(estimator.model_, X)  # an array was checked with the rest
    if not has_own_model_check(estimator):  # which ours call `check_output` in
        check_output(estimator, encode_target(estimator, y))
    return estimator


def takes_indicators(loss: Any) -> bool:
    """Whether a loss of Keras compares each output with a number of y, so that labels were in one-hot form for it."""
    return _loss_name(loss) in _POINTWISE


def check_output(estimator: BaseEstimator, y: np.ndarray) -> None:
    """Raise where the output layer or the loss of a network cannot be right for its target.

    Parameters
    ----------
    estimator : scikeras estimator
        Its model is built and compiled.
    y : ndarray
        Encoded for the model.

    Raises
    ------
    ValueError
        With what to change in the model.
    """
    _check_distribution_loss(estimator)
    shape = output_shape(estimator.model_)
    if shape is None or (shape[-1] is None and len(shape) > 1) or has_own_encoders(estimator):
        return
    layer = output_layer(estimator.model_)
    one_line = set(shape[1:-1]) <= {1}
    if not one_line or (len(shape) > 2 and shape[-1] > 1 and not isinstance(estimator, ScikerasClassifier)):
        raise ValueError(
            f"The output of `model` must be one vector of numbers for each row: got the shape {shape}. Put "
            "keras.layers.Flatten() or a pooling layer before the output layer, or let the last recurrent layer "
            "return no sequences."
        )
    units = shape[-1] if len(shape) > 1 else 1
    if has_scales(estimator):
        _check_mean_and_scale(units, estimator.n_outputs_, _activation(layer))
    elif not isinstance(estimator, ScikerasClassifier):
        _check_values(units, estimator.n_outputs_, _activation(layer))
    elif estimator.target_type_ == "multilabel-indicator":
        _check_labels(units, _activation(layer), _loss_of(estimator.model_), y)
    elif estimator.n_classes_ is not None:
        _check_classes(units, _activation(layer), _loss_of(estimator.model_), y, estimator.n_classes_)


def _check_distribution_loss(estimator: BaseEstimator) -> None:
    """Raise where the loss or a metric reads means and standard deviations as values, or the reverse."""
    loss = _loss_of(estimator.model_)
    is_normal = isinstance(loss, NormalNLL) or loss is NormalNLL
    if not has_scales(estimator):
        if is_normal:
            raise ValueError(
                "The loss NormalNLL is for networks that predict means and standard deviations: got "
                f"{type(estimator).__name__} without a distribution. Use KerasRegressor(distribution='normal')."
            )
        return
    if not is_normal and _loss_name(loss) is not None:
        raise ValueError(
            f"With `distribution='normal'` the loss is the negative log-likelihood: got the loss {_shown(loss)}, which "
            "would compare y with standard deviations too. Pass loss=None or skensemble.NormalNLL(beta=...)."
        )
    _, metrics = given_losses_and_metrics(estimator.model_)
    known = [metric for metric in keras.tree.flatten(metrics) if metric is not None and _is_of_keras(metric)]
    if known:
        raise ValueError(
            "With `distribution='normal'` metrics of Keras would compare y with standard deviations too: got "
            f"{_shown(known[0])}. Leave it out, `history_['loss']` is the negative log-likelihood; or write a metric "
            "that takes the first half of the outputs, the means."
        )


def _check_mean_and_scale(units: int, n_targets: int, activation: str | None) -> None:
    if units != 2 * n_targets:
        raise ValueError(
            "With `distribution='normal'` the output layer must have two units for each target, for the means and then "
            f"the logarithms of the standard deviations: got {_count(units, 'unit')} for "
            f"{_count(n_targets, 'target')}. Use keras.layers.Dense(meta['n_output_units_'])."
        )
    if activation not in (None, "linear"):
        raise ValueError(
            "Means and logarithms of standard deviations may be any numbers: got an output layer with the activation "
            f"{activation!r}. Use keras.layers.Dense(meta['n_output_units_']) without an activation."
        )


def _check_values(units: int, n_targets: int, activation: str | None) -> None:
    if units != n_targets:
        raise ValueError(
            f"The output layer of a regressor must have one unit for each target: got {_count(units, 'unit')} for "
            f"{_count(n_targets, 'target')}. Use keras.layers.Dense({n_targets}); a network that predicts more than y "
            "has needs a `target_encoder` of its own."
        )
    if units == 1 and activation in _SUM_TO_ONE:
        raise ValueError(
            f"One unit with the activation {activation!r} is 1 for every row: it cannot predict values. Use "
            "keras.layers.Dense(1)."
        )


def _check_labels(units: int, activation: str | None, loss: Any, y: np.ndarray) -> None:
    n_labels = y.shape[1]
    layer = f"keras.layers.Dense({n_labels}, activation='sigmoid')"
    if units != n_labels:
        raise ValueError(
            f"The output layer must have one unit for each column of y: got {_count(units, 'unit')} for "
            f"{_count(n_labels, 'column')}. Use {layer}."
        )
    _check_probabilities(activation, loss, layer)
    if activation in _SUM_TO_ONE and (y.sum(axis=1) > 1).any():
        raise ValueError(
            f"Outputs of the activation {activation!r} sum to 1, but rows of y have several labels: no more than one "
            f"of them could be predicted. Use {layer} and the loss 'binary_crossentropy'."
        )
    if _loss_name(loss) == _BY_INDEX:
        raise ValueError(
            "The loss 'sparse_categorical_crossentropy' takes y as one number for each row: y has "
            f"{_count(n_labels, 'column')}. Use 'categorical_crossentropy' where each row has one label, else "
            "'binary_crossentropy'."
        )


def _check_classes(units: int, activation: str | None, loss: Any, y: np.ndarray, n_classes: int) -> None:
    layer = f"keras.layers.Dense({n_classes}, activation='softmax')"
    fix = f"Use {layer}" + (" or keras.layers.Dense(1, activation='sigmoid')." if n_classes == 2 else ".")
    if units == 1 and activation in _SUM_TO_ONE:
        raise ValueError(f"One unit with the activation {activation!r} is 1 for every row. {fix}")
    if units != n_classes and not (units == 1 and n_classes == 2):
        raise ValueError(
            f"The output layer must have one unit for each class: got {_count(units, 'unit')} for {n_classes} classes."
            f" {fix}"
        )
    _check_probabilities(activation, loss, layer if units > 1 else "keras.layers.Dense(1, activation='sigmoid')")
    if units > 1 and activation in _FROM_ZERO_TO_ONE:
        raise ValueError(
            f"The probabilities of classes must sum to 1 in each row: those of {units} units with the activation "
            f"{activation!r} do not. {fix} Where a row may have several labels, y must be an indicator matrix."
        )
    _check_loss(units, loss, one_number=y.ndim == 1 or y.shape[1] == 1)


def _check_loss(units: int, loss: Any, one_number: bool) -> None:
    name = _loss_name(loss)
    if units == 1 and name in _ONE_OUTPUT_A_CLASS:
        raise ValueError(
            f"The loss {_shown(loss)} needs an output for each class: got 1 unit. Use 'binary_crossentropy'."
        )
    if units > 1 and one_number and name in _POINTWISE:
        raise ValueError(
            f"The loss {_shown(loss)} compares each of the {units} outputs with a number of y, which has one for each "
            "row: the number of its class. Use the loss 'sparse_categorical_crossentropy'."
        )
    if units > 1 and not one_number and name == _BY_INDEX:
        raise ValueError(
            f"The loss {_shown(loss)} takes the number of a class for each row, but y is encoded as one column for "
            "each class, as the estimator's `loss` asks. Use one loss in both places."
        )


def _check_probabilities(activation: str | None, loss: Any, layer: str) -> None:
    takes_logits = getattr(loss, "from_logits", False)
    if activation is None and takes_logits:
        what = f"whose loss, {_shown(loss)}, takes logits"
    elif activation in _NO_PROBABILITIES:
        what = "without an activation" if activation == "linear" else f"with the activation {activation!r}"
    else:
        return
    logits = " and leave out `from_logits=True`" if takes_logits else ""
    raise ValueError(
        f"The outputs of a classifier must be probabilities: those of an output layer {what} are not. Use "
        f"{layer}{logits}."
    )


def _activation(layer: keras.Layer) -> str | None:
    """Name of the activation that Keras' own output layer ends with; None where that is not known."""
    if type(layer) in _LAYERS_AS_ACTIVATIONS:
        return _LAYERS_AS_ACTIVATIONS[type(layer)]
    if type(layer) not in _WITH_ACTIVATION or not inspect.isfunction(layer.activation):
        return None
    return layer.activation.__name__ if _is_of_keras(layer.activation) else None


def _loss_of(model: keras.Model) -> Any:
    """The loss of the one output, which may be alone in a list or a dict; as it was given where there are several."""
    losses = keras.tree.flatten(model.loss)
    return losses[0] if len(losses) == 1 else model.loss


def _loss_name(loss: Any) -> str | None:
    """Name of a Keras loss without underscores, the same for function and class; None for the user's own losses."""
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    return _kind(loss).__name__.replace("_", "").lower() if _is_of_keras(loss) else None


def _is_of_keras(part: Any) -> bool:
    """Whether a loss, a metric or an activation is one of Keras, by name or as an object or function."""
    if isinstance(part, str):
        return keras.saving.get_registered_object(part) is None
    return (_kind(part).__module__ or "").partition(".")[0] == "keras"


def _kind(part: Any) -> Any:
    """A function or a class; the class of any other object."""
    return part if inspect.isroutine(part) or isinstance(part, type) else type(part)


def _shown(loss: Any) -> str:
    return repr(loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
