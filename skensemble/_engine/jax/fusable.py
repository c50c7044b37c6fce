"""Which compiled Keras models the program trains with Keras' result, and why it refuses the others.

Keras' own stateless steps are mapped over the members, so that a model's own `train_step`, `compute_loss` or optimizer
is no obstacle. What Keras' `fit` does around the steps is repeated.

Private Keras names (Keras 3.8 to 3.15): ``_learning_rate``, which tells a function from a schedule, and
``_exclude_from_weight_decay``. Neither has a public counterpart.
"""

import keras

from skensemble._compat.keras import excluded_from_weight_decay
from skensemble._engine.all_backends.fusable import why_not_inputs, why_not_layers, why_not_methods, why_not_setup
from skensemble._members.architecture import remembered

#: Methods of `keras.Model` that the program repeats or does without.
_REPEATED = (
    *("fit", "evaluate", "predict_step", "compile", "make_train_function", "make_test_function", "stateless_call"),
    *("reset_metrics", "compute_loss_and_updates", "stateless_compute_loss"),
)
#: Methods that become part of the program, which a copy of the model has only if they belong to its class.
_MAPPED = ("train_step", "test_step", "compute_loss", "compute_metrics", "get_metrics_result")


@remembered
def why_not_fusable(model: keras.Model) -> str | None:
    """The reason, in words, why a model cannot be trained by the fused program, or None; see `_engine/backend.py`."""
    checks = (why_not_setup, _why_not_jax, why_not_inputs, why_not_layers, _why_not_optimizer)
    return next((reason for reason in (check(model) for check in checks) if reason), None)


def _why_not_jax(model: keras.Model) -> str | None:
    if not model.jit_compile:
        return "the model is compiled with jit_compile=False, or a layer of it cannot be compiled by JAX"
    if getattr(keras.config, "is_nnx_enabled", bool)():  # since Keras 3.10
        return "Keras' variables are those of Flax NNX"
    given = [name for name in _MAPPED if name in vars(model)]
    if given:
        return f"the model was given {given[0]} as an attribute, not by its class"
    return why_not_methods(model, _REPEATED)


def _why_not_optimizer(model: keras.Model) -> str | None:
    optimizer = model.optimizer
    name = type(optimizer).__name__
    if name == "MultiOptimizer" or not isinstance(optimizer, keras.optimizers.Optimizer):
        return f"the optimizer {name} is not a single Keras optimizer"
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner is not optimizer and excluded_from_weight_decay(inner):
        return "variables are excluded from weight decay inside of a LossScaleOptimizer"
    if not isinstance(inner._learning_rate, keras.Variable | keras.optimizers.schedules.LearningRateSchedule):
        return "the learning rate is a function"
    if getattr(inner, "_exclude_from_weight_decay", None):
        return "variables are excluded from weight decay by object; by name works"
    return None
