"""Keras callbacks of members that are trained together: which can run at the ends of epochs, and running them there."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from skensemble._compat.keras import follows_schedule, is_default_hook, traces_steps
from skensemble._members.architecture import signature
from skensemble.exceptions import NotFusableError

_BATCH_HOOKS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_test_batch_begin",
    "on_test_batch_end",
)
_PREDICT_HOOKS = ("on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end")
# Callbacks that read only logs and the learning rate: the other variables need not be in the model for them.
_LOGS_ONLY = (
    keras.callbacks.ReduceLROnPlateau,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.CSVLogger,
    keras.callbacks.TerminateOnNaN,
    keras.callbacks.History,
)

# Everything that these callbacks know besides their parameters: with it, new ones continue where others were.
_STATES = {
    keras.callbacks.EarlyStopping: ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("best", "cooldown_counter", "wait"),
    keras.callbacks.LearningRateScheduler: (),
    keras.callbacks.TerminateOnNaN: (),
}


def why_not_per_epoch(callbacks: Sequence[keras.callbacks.Callback]) -> str | None:
    """Reason, in words, why these callbacks cannot be run at the ends of epochs only; None where they can."""
    for callback in callbacks:
        name = type(callback).__name__
        if isinstance(callback, keras.callbacks.SwapEMAWeights | keras.callbacks.BackupAndRestore):
            return f"the callback {name} works inside of Keras' own fit only"
        if not _acts_per_epoch(callback) and _batch_hooks(callback):
            return f"the callback {name} acts on every batch ({', '.join(_batch_hooks(callback))})"
    return None


def _acts_per_epoch(callback: keras.callbacks.Callback) -> bool:
    """Whether Keras' own callback leaves its batch hooks idle with these arguments."""
    if type(callback) is keras.callbacks.TerminateOnNaN:
        return not getattr(callback, "raise_error", False)  # the program stops the member at the step
    if type(callback) is keras.callbacks.ModelCheckpoint:
        return callback.save_freq == "epoch"
    if type(callback) is keras.callbacks.TensorBoard:
        return callback.update_freq == "epoch" and not traces_steps(callback) and not callback.write_steps_per_second
    return False


def _batch_hooks(callback: keras.callbacks.Callback) -> list[str]:
    return [hook for hook in _BATCH_HOOKS if not is_default_hook(getattr(callback, hook))]


def acts_in_prediction(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Whether some of these callbacks do something in `Model.predict`."""
    return any(not is_default_hook(getattr(one, hook)) for one in callbacks for hook in _PREDICT_HOOKS)


def stops_on_nan(callbacks: Sequence[keras.callbacks.Callback]) -> bool:
    """Whether `TerminateOnNaN` is among the callbacks."""
    return any(isinstance(callback, keras.callbacks.TerminateOnNaN) for callback in callbacks)


def _reads_logs_only(callback: keras.callbacks.Callback) -> bool:
    if type(callback) is keras.callbacks.EarlyStopping:
        return not callback.restore_best_weights
    return type(callback) in _LOGS_ONLY


def _leaves_network(callback: keras.callbacks.Callback) -> bool:
    """Whether a callback is Keras' own, which changes nothing of the model but its variables and learning rate."""
    kind = type(callback)
    return kind is not keras.callbacks.LambdaCallback and kind.__module__.partition(".")[0] == "keras"


class MemberCallbacks:
    """Calls the callbacks of one member around its epochs, as `Model.fit` does.

    Parameters
    ----------
    callbacks : list of keras.callbacks.Callback
    model : keras.Model
        The member's own.
    epochs, steps : int
        Number of epochs of the training, number of steps of an epoch.
    verbose : int, default=0
        As in `Model.fit`; lines of progress are printed only at the ends of epochs.

    Attributes
    ----------
    callbacks : list of keras.callbacks.Callback
    reads_variables : bool
        Whether the member's variables must be in the model when the callbacks are called, and be read back afterwards.
    stopped : bool
        Whether a callback has ended the training of this member.
    has_state : bool
        Whether `state` is all that the callbacks know.
    """

    def __init__(
        self,
        callbacks: Sequence[keras.callbacks.Callback],
        model: keras.Model,
        epochs: int,
        steps: int,
        verbose: int = 0,
    ) -> None:
        self.model, self.callbacks = model, callbacks
        self.reads_variables = follows_schedule(model.optimizer) or not all(
            _reads_logs_only(callback) for callback in callbacks
        )
        self.stopped = False
        self.has_state = all(type(callback) in _STATES for callback in callbacks)
        self._list = keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=steps,
            model=model,
        )
        self._logs: Mapping[str, Any] | None = None
        self._leave_network = all(map(_leaves_network, callbacks))
        self._description: Any = None  # of the network before the first step
        self._traced: list[Any] = []  # the objects that the program has traced

    def begin(self) -> None:
        """Call `on_train_begin`."""
        self.model.stop_training = False
        if not self._leave_network:
            self._description = signature.__wrapped__(self.model)  # as it is now: `signature` remembers
        self._list.on_train_begin()

    def begin_epoch(self, epoch: int) -> None:
        """Call `on_epoch_begin`.

        Keras traces its step after the first one: what callbacks have changed by then counts, what they change later
        does not.

        Raises
        ------
        NotFusableError
            Where they have changed what the program is made for.
        ValueError
            Where they change later what Keras would not look at.
        """
        self._list.on_epoch_begin(epoch)
        if self._leave_network:
            return
        if self._description is not None and self._description != signature.__wrapped__(self.model):
            raise NotFusableError(
                "a callback changes the network or its optimizer, and more of them than variables and learning rate"
            )
        traced = [self.model.optimizer, *self.model.trainable_variables]
        if self._description is None and list(map(id, traced)) != list(map(id, self._traced)):
            raise ValueError(
                "Callbacks may not exchange the optimizer, or choose which layers are trained, after the first step, "
                f"for which Keras has decided: it was done by epoch {epoch + 1}. Do so in `on_train_begin`, or train "
                "in parts, by `partial_fit`."
            )
        self._description, self._traced = None, traced

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Call the hooks of the validation, if `logs` has validation values, and of the end of the epoch."""
        validation = {name.removeprefix("val_"): value for name, value in logs.items() if name.startswith("val_")}
        if validation:
            self._list.on_test_begin()
            self._list.on_test_end(validation)
        self._list.on_epoch_end(epoch, logs)
        self._logs = logs
        self.stopped = self.model.stop_training

    def end(self) -> None:
        """Call `on_train_end`."""
        self._list.on_train_end(self._logs)

    def state(self) -> dict[str, Any]:
        """What the callbacks know, as plain data and arrays, and the history of the model."""
        history = self.model.history
        known = [{name: getattr(one, name) for name in _STATES[type(one)]} for one in self.callbacks]
        return {"callbacks": known, "history": history.history, "epochs": history.epoch}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`; called after `begin`, in place of the epochs that led to it."""
        for callback, known in zip(self.callbacks, state["callbacks"], strict=True):
            vars(callback).update(known)
        self.model.history.history, self.model.history.epoch = state["history"], state["epochs"]
