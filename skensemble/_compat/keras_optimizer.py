"""The optimizer of Keras' own fit, built before it: TensorFlow then need not trace the training step twice.

Keras builds the optimizer in the first step. TensorFlow traces a function that makes variables, such as the slots of
Adam, a second time, which takes as long again: about half of a short fit. With metrics, which make theirs in the first
step too, it is still traced twice, but sooner.
"""

from skensemble._compat.keras import all_layers, build_optimizer

# Its result depends on the order in which TensorFlow writes variables (Keras 3.15), and so on when it is built.
_BUILT_IN_THE_STEP = "ScheduleFreeAdamW"
# Hooks that are called before the first step.
_HOOKS = ("set_model", "on_train_begin", "on_epoch_begin", "on_train_batch_begin", "on_batch_begin")


def build_before_fit(model, callbacks):
    """Build the optimizer of a compiled model as the first step of `fit` would, unless a user's code may have a say.

    Models of the user's own may train some of their variables, and callbacks may choose which ones are trained.

    Parameters
    ----------
    model : keras.Model
    callbacks : iterable of keras.callbacks.Callback
        Those that `fit` is going to call.
    """
    optimizer = type(model.optimizer)
    hooks = [getattr(callback, name, None) for callback in callbacks for name in _HOOKS]
    is_built = all(layer.built for layer in all_layers(model))
    # Keras 3.8 to 3.15 builds the optimizer of a model with a strategy before its first step by itself.
    is_distributed = getattr(model, "_distribute_strategy", None) is not None
    if not is_built or is_distributed or optimizer.__name__ == _BUILT_IN_THE_STEP:
        return
    if all(map(_is_known, [type(model), optimizer, *hooks])):
        build_optimizer(model)


def _is_known(part):
    module = getattr(part, "__module__", None) or ""
    return module.partition(".")[0] in ("keras", "skensemble")
