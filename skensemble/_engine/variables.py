"""The variables of a Keras model as arrays: read and written, whatever Keras runs on."""

from collections.abc import Sequence
from operator import methodcaller

import keras

from skensemble._compat.keras import all_layers
from skensemble._engine.records import Array, Variables

#: Optimizers whose variables start from constants; others may start from those of the model (ScheduleFreeAdamW).
CONSTANT_START = tuple(
    getattr(keras.optimizers, name)
    for name in (
        *("SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta", "Ftrl", "Lion"),
        *("Adafactor", "Lamb", "Muon"),
    )
    if hasattr(keras.optimizers, name)
)


def optimizer_variables(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """``optimizer.variables`` and those that Keras forgets to track: Nadam's ``_u_product`` (Keras 3.8 to 3.15)."""
    tracked = list(optimizer.variables)
    known = {id(v) for v in tracked}
    return tracked + [v for v in vars(optimizer).values() if isinstance(v, keras.Variable) and id(v) not in known]


def variables_of(model: keras.Model) -> Variables:
    """The variables themselves, `keras.Variable` objects."""
    optimizer = getattr(model, "optimizer", None)
    return Variables(
        model.trainable_variables,
        model.non_trainable_variables,
        [] if optimizer is None else optimizer_variables(optimizer),
    )


def read_state(model: keras.Model) -> Variables:
    """Values of the variables of a model, NumPy arrays.

    The variables of an optimizer that was not built yet are missing where they start from constants: `Program.stack`
    adds them.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built and type(optimizer) not in CONSTANT_START:
        optimizer.build(model.trainable_variables)
    return variables_of(model).map(methodcaller("numpy"))


def write_state(model: keras.Model, values: Sequence[Sequence[Array]]) -> None:
    """Put values, as returned by `read_state` or `Program.unstack`, into a model, building its optimizer if need be.

    Parameters
    ----------
    model : keras.Model
    values : Variables
        Values without optimizer variables leave the optimizer as it is.
    """
    values = Variables(*map(list, values))
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and not optimizer.built and values.optimizer:
        optimizer.build(model.trainable_variables)
    for variables, new in zip(variables_of(model), values, strict=True):
        if new:
            for variable, value in zip(variables, new, strict=True):
                variable.assign(value)
    for layer in adapted_layers(model):
        layer.finalize_state()


def adapted_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers that compute with constants made from their variables, again at each `finalize_state`."""
    layers = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Normalization)]
    return [layer for layer in layers if layer.input_mean is None]


def reset_metrics(model: keras.Model) -> list[Array]:
    """Values of the metrics' variables at the start of an epoch; the variables are not written."""
    with keras.StatelessScope() as scope:
        model.reset_metrics()
    values = [(scope.get_current_value(v), v) for v in model.metrics_variables]
    return [v.value if new is None else new for new, v in values]
