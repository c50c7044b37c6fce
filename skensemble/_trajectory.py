"""One run and what is kept of it: the learning rate of each step, and the variables at the ends of epochs."""

import dataclasses
from collections import deque
from collections.abc import Callable

import keras
import numpy as np

from skensemble._compat import fit_arguments
from skensemble._members import PREDICTION_ROWS, FittedMembers, Trained, check_member, is_frozen
from skensemble._program import read_state, why_not_fusable, write_state
from skensemble.wrappers import KerasClassifier, KerasRegressor


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """What to do in a run.

    Attributes
    ----------
    n_kept : int
        States that are kept, the last ones.
    ends : tuple of int, default=None
        Epochs, counted from 0 and ascending, at whose ends the state is kept; None means every epoch, and then a run
        whose best variables are restored (`EarlyStopping`) counts as ended with its best epoch.
    rates : callable, default=None
        `rates(learning_rate, n_steps)` returns the learning rate of each step, (n_epochs, n_steps), from that of the
        optimizer; None leaves the optimizer alone.
    keeps_optimizer : bool, default=False
        Whether the optimizer's variables are kept for every state, not for the newest only.
    """

    n_kept: int
    ends: tuple | None = None
    rates: Callable | None = None
    keeps_optimizer: bool = False


def run_estimator(estimator, *, classifier):
    """The estimator to train once: the default one for None, else the user's, checked."""
    if estimator is None:
        estimator = KerasClassifier() if classifier else KerasRegressor()
    check_member(estimator, classifier=classifier)
    if is_frozen(estimator):
        raise TypeError(
            "`estimator` must be a network to train, from whose run the variables are kept: got a FrozenEstimator. "
            "Pass the estimator itself, or average fitted networks with KerasAveragingClassifier or "
            "KerasAveragingRegressor."
        )
    return estimator


def run_epochs(estimator):
    """Epochs that a scikeras estimator is to be trained for."""
    return fit_arguments(estimator)["epochs"]


class Recorder:
    """Follows one run of a member.

    Attributes
    ----------
    rates : ndarray of shape (n_epochs, n_steps) or None
        The learning rate of each step.
    rows : ndarray of int
        Rows that are trained on.
    batch_size : int
    """

    def __init__(self, trajectory):
        self.trajectory = trajectory
        self.rates = self.rows = self.batch_size = None
        self._kept = deque(maxlen=trajectory.n_kept)
        self._best = None

    def start(self, model, callbacks, rows, batch_size):
        """Work out the learning rates; called before the first step.

        Parameters
        ----------
        model : keras.Model
            Compiled.
        callbacks : list of keras.callbacks.Callback
        rows : ndarray of int
        batch_size : int
        """
        self.rows, self.batch_size = rows, batch_size
        self._kept.clear()
        self._best = None
        if self.trajectory.rates is not None:
            _check_free_rate(model, callbacks)
            self.rates = self.trajectory.rates(float(model.optimizer.learning_rate), -(-len(rows) // batch_size))

    def epoch_rates(self, first_epoch, n_epochs):
        """Learning rates of some epochs; None where the optimizer is left alone."""
        return None if self.rates is None else self.rates[first_epoch : first_epoch + n_epochs]

    def last_ends(self, n_epochs):
        """Epochs at whose ends the state is kept where the run is not stopped."""
        ends = range(n_epochs) if self.trajectory.ends is None else self.trajectory.ends
        return ends[-self.trajectory.n_kept :]

    def wants(self, epoch):
        """Whether the state at the end of this epoch is kept."""
        return self.trajectory.ends is None or epoch in self.trajectory.ends

    def record(self, epoch, values, callbacks=()):
        """Keep `values`, as of `read_state`, at the end of an epoch after the callbacks were called."""
        if self._kept and not self.trajectory.keeps_optimizer:
            newest, (trainable, fixed, _) = self._kept[-1]
            self._kept[-1] = newest, (trainable, fixed, [])
        self._kept.append((epoch, values))
        if self.trajectory.ends is None and any(_has_best(callback, epoch) for callback in callbacks):
            self._best = list(self._kept)

    def state(self):
        """All that was learned since the start, as plain data and arrays."""
        return {
            "rates": self.rates,
            "rows": self.rows,
            "batch_size": self.batch_size,
            "kept": list(self._kept),
            "best": self._best,
        }

    def resume(self, state):
        """Go on from a `state`, in place of `start` and what came after it."""
        self.rates, self.rows, self.batch_size = state["rates"], state["rows"], state["batch_size"]
        self._kept.clear()
        self._kept.extend(state["kept"])
        self._best = state["best"]

    def checkpoints(self, template, seed, history):
        """What was kept, oldest first, as `Checkpoints`; None where nothing was.

        Parameters
        ----------
        template : scikeras estimator
            Initialized.
        seed : int
        history : dict of str to list of float
            Of the whole run.
        """
        kept = list(self._kept) if self._best is None else self._best
        if not kept:
            return None
        trainable, fixed, optimizer = zip(*[values for _, values in kept], strict=True)
        if not self.trajectory.keeps_optimizer:
            optimizer = optimizer[-1:]
        state = tuple(
            [np.stack(values) for values in zip(*part, strict=True)] for part in (trainable, fixed, optimizer)
        )
        frequency = fit_arguments(template).get("validation_freq", 1)
        histories = [_history_until(history, epoch + 1, frequency) for epoch, _ in kept]
        return Checkpoints(template, [seed] * len(kept), state, histories, [epoch for epoch, _ in kept])


def _history_until(history, n_epochs, frequency):
    """The history of the first epochs; `frequency` is Keras' `validation_freq`."""
    n_validated = n_epochs // frequency if isinstance(frequency, int) else sum(e <= n_epochs for e in frequency)
    return {name: values[: n_validated if name.startswith("val_") else n_epochs] for name, values in history.items()}


def _check_free_rate(model, callbacks):
    if isinstance(model.optimizer.get_config()["learning_rate"], dict):
        raise ValueError(
            "The optimizer of `estimator` must have a number as its learning rate, which `schedule` takes over: got "
            "a LearningRateSchedule. Give its optimizer a number, and the form of the cycles as `schedule`."
        )
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.LearningRateScheduler | keras.callbacks.ReduceLROnPlateau):
            raise ValueError(
                f"`estimator` must not change the learning rate itself, `schedule` does: got the callback "
                f"{type(callback).__name__}. Remove it."
            )


def _has_best(callback, epoch):
    """Whether Keras would restore the variables of this epoch if the run ended here."""
    return (
        isinstance(callback, keras.callbacks.EarlyStopping)
        and callback.restore_best_weights
        and callback.best_weights is not None
        and callback.best_epoch == epoch
    )


@dataclasses.dataclass
class Checkpoints(Trained):
    """States of one run, as copies of one estimator; see `Trained`.

    `state[2]`, of the optimizer, may hold the values of the newest state only.

    Attributes
    ----------
    epochs : list of int
        At whose ends they were taken, counted from 0.
    """

    epochs: list

    def __len__(self):
        return len(self.epochs)

    def values(self, k):
        """Variables of copy `k`, as of `read_state`, without the optimizer's where they were not kept."""
        trainable, fixed, optimizer = ([v[k] for v in part if len(v) == len(self)] for part in self.state)
        return trainable, fixed, optimizer

    def take(self, order):
        """Some of the states in another order; `order` holds indices."""
        return Checkpoints(
            self.template,
            [self.seeds[k] for k in order],
            tuple([v[np.asarray(order)] if len(v) == len(self) else v for v in part] for part in self.state),
            [self.histories[k] for k in order],
            [self.epochs[k] for k in order],
        )

    def members(self):
        """The states as fitted members."""
        return FittedMembers([(self, k) for k in range(len(self))])

    def predict(self, copies, built, X):
        """Outputs of some copies, (len(copies), n_samples, ...); `copies` holds indices."""
        model = self.template.model_
        if why_not_fusable(model) is None:
            return super().predict(copies, built, X)
        outputs = []
        for k in copies:
            write_state(model, (*self.values(k)[:2], []))
            chunks = [X[start : start + PREDICTION_ROWS] for start in range(0, len(X), PREDICTION_ROWS)]
            outputs.append(np.concatenate([np.asarray(model(chunk, training=False)) for chunk in chunks]))
        return np.stack(outputs)


class KerasRecorder(keras.callbacks.Callback):
    """Lets a `Recorder` follow Keras' own `fit`; the last of the callbacks, so that it sees what they decided.

    Parameters
    ----------
    recorder : Recorder
        Started.
    callbacks : list of keras.callbacks.Callback
        The others.
    """

    def __init__(self, recorder, callbacks):
        super().__init__()
        self._recorder, self._callbacks = recorder, callbacks
        self._rates = None

    def on_train_begin(self, logs=None):
        """Refuse what leaves some steps without a rate."""
        rates = self._recorder.rates
        if rates is None:
            return
        if rates.shape[1] != self.params["steps"] or getattr(self.model, "steps_per_execution", 1) != 1:
            raise ValueError(
                f"`schedule` needs every epoch to visit every row once, in {rates.shape[1]} steps that Python sees: "
                f"got {self.params['steps']} steps. Leave out `steps_per_epoch` and `steps_per_execution`."
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Take the rates of this epoch."""
        rates = self._recorder.epoch_rates(epoch, 1)
        self._rates = None if rates is None else rates[0]

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate of this step."""
        if self._rates is not None:
            self.model.optimizer.learning_rate = self._rates[batch]

    def on_epoch_end(self, epoch, logs=None):
        """Keep the state."""
        if self._recorder.wants(epoch):
            self._recorder.record(epoch, _finalized_state(self.model), self._callbacks)


def _finalized_state(model):
    """The variables as if the training ended here: with `use_ema`, Keras puts the averages in place then."""
    if not model.optimizer.use_ema:
        return read_state(model)
    variables = model.trainable_variables
    before = [variable.numpy() for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    state = read_state(model)
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return state
