"""Which compiled Keras models the program trains with Keras' result, and why it refuses the others.

Private Keras names (Keras 3.8 to 3.15): ``_learning_rate``, ``_distribute_strategy`` and
``_exclude_from_weight_decay``. None has a public counterpart.
"""

import keras
import tensorflow as tf

from skensemble._engine.all_backends.fusable import why_not_inputs, why_not_layers, why_not_methods, why_not_setup
from skensemble._members.architecture import remembered

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


@remembered
def why_not_fusable(model: keras.Model) -> str | None:
    """The reason, in words, why a model cannot be trained by the fused program, or None; see `_engine/backend.py`."""
    checks = (why_not_setup, _why_not_strategy, why_not_inputs, why_not_layers, _why_not_optimizer)
    return next((reason for reason in (check(model) for check in checks) if reason), None)


def _why_not_strategy(model: keras.Model) -> str | None:
    if tf.distribute.has_strategy() or getattr(model, "_distribute_strategy", None) is not None:
        return "the model is distributed with a tf.distribute strategy"
    return why_not_methods(model, _REPEATED)


def _why_not_optimizer(model: keras.Model) -> str | None:
    optimizer = model.optimizer
    kind = type(optimizer)
    name = kind.__name__
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return "mixed precision with loss scaling (LossScaleOptimizer)"
    if name == "MultiOptimizer" or not isinstance(optimizer, keras.optimizers.Optimizer):
        return f"the optimizer {name} is not a single Keras optimizer"
    if name == "ScheduleFreeAdamW":
        # Its update keeps a reference to a variable, writes the variable, and reads the reference, which on TensorFlow
        # is the new value (Keras 3.15).
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
