"""What a fit reports while it runs, to scikit-learn's callbacks (`sklearn.callback`, since version 1.9)."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.sklearn import begin_callbacks, callbacks_torn_down
from skensemble._members.rollback import unchanged_on_error


@contextmanager
def fit_task(estimator: BaseEstimator) -> Iterator["Task"]:
    """The `Task` of a whole fit, which leaves no trace in `estimator` when it raises, and no open callbacks."""
    with callbacks_torn_down(estimator):
        task = _Fit(begin_callbacks(estimator), estimator, estimator.verbose)
        with unchanged_on_error(estimator):
            yield task
        task.end_fit()


def count_members(members: Sized) -> str:
    """How many members there are, in words."""
    return f"{len(members)} member{'s' if len(members) > 1 else ''}"


def print_progress(what: str, history: Mapping[str, Any]) -> None:
    """Print a line with the last value of each entry of a history."""
    print(f"{what}: {', '.join(f'{name} {np.mean(values[-1]):.4f}' for name, values in history.items())}", flush=True)


def fitted_as(estimator: BaseEstimator, learn: Callable[[BaseEstimator, Any], None], trained: Any) -> dict[str, Any]:
    """Attributes that `estimator` would have after `learn(estimator, trained)`, which is called on a copy."""
    fitted = copy.copy(estimator)
    learn(fitted, trained)
    return vars(fitted)


class Task:
    """A fit or a part of it, as scikit-learn's callbacks see it; tasks form a tree.

    Parameters
    ----------
    context : sklearn.callback.CallbackContext, default=None
        None where no callback listens; the methods then do nothing.
    estimator : estimator, default=None
        The ensemble.
    verbose : int, default=0
        Above 0, progress is printed.
    """

    def __init__(self, context: Any = None, estimator: BaseEstimator | None = None, verbose: int = 0) -> None:
        self._context, self.verbose = context, verbose
        self._estimator = None if context is None else estimator
        self._data: dict[str, Any] = {}
        self._to_attributes: Callable[[Any], Any] | None = None

    @property
    def is_watched(self) -> bool:
        """Whether callbacks listen, so that each epoch is reported."""
        return self._context is not None

    def set_data(
        self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, to_attributes: Callable[[Any], Any] | None = None
    ) -> None:
        """Set the training data, and how what `end` is given becomes the attributes of a fitted ensemble.

        Parameters
        ----------
        X, y, sample_weight : ndarray
        to_attributes : callable, default=None
            Returns a dict; or None where the ensemble could not predict.
        """
        if not self.is_watched:
            return
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data, self._to_attributes = {"X": X, "y": y, "metadata": metadata}, to_attributes

    def without_data(self) -> "Task":
        """The same task on its way to a worker, without the data, which are sent once for all tasks."""
        bare = copy.copy(self)
        bare._data, bare._to_attributes = {}, None
        return bare

    def mapped(self, function: Callable[[Any], Any]) -> "Task":
        """The same task, whose `end` applies `function` to what it is given."""
        mapped = copy.copy(self)
        outer = self._to_attributes
        if outer is not None:
            mapped._to_attributes = lambda value: outer(function(value))
        return mapped

    def begin(self, n_subtasks: int) -> None:
        """Report that the task begins and consists of `n_subtasks`."""
        if self.is_watched:
            self._context.max_subtasks = n_subtasks
            self._context.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def parts(self, names: Sequence[str]) -> list["Task"]:
        """Tasks of the parts of this one, which begins. A single part is the task itself, which then has not begun."""
        if len(names) == 1:
            return [self]
        self.begin(len(names))
        return [self.part(name) for name in names]

    def part(self, name: str) -> "Task":
        """A task of this one, for a part of the members, which has not begun yet."""
        return self._subtask(name) if self.is_watched else Task(verbose=self.verbose)

    def step(self, name: str) -> "Task":
        """A task of this one without parts, for all its members; it begins."""
        if not self.is_watched:
            return self
        step = self._subtask(name)
        step._to_attributes = self._to_attributes
        step.begin(0)
        return step

    def _subtask(self, name: str) -> "Task":
        subtask = Task(self._context.subcontext(name), self._estimator, self.verbose)
        subtask._data = self._data
        return subtask

    def end(self, make_fitted: Callable[[], Any] | None = None) -> bool:
        """Report that the task ends; returns whether a callback asks that no other of its kind is begun.

        Parameters
        ----------
        make_fitted : callable, default=None
            Returns what the function of `set_data` takes; called if a callback wants the ensemble as it is now.
        """
        to_attributes = self._to_attributes
        if make_fitted is None or to_attributes is None:
            return self._tell_end(None)
        return self._tell_end(lambda: to_attributes(make_fitted()))

    def _tell_end(self, attributes: Any) -> bool:
        if not self.is_watched:
            return False
        return self._context.call_on_fit_task_end(
            estimator=self._estimator, reconstruction_attributes=attributes, **self._data
        )

    @contextmanager
    def fit_of(self, estimator: BaseEstimator) -> Iterator[None]:
        """Block in which an estimator is fitted that is part of this task and may itself report to the callbacks."""
        if not self.is_watched:
            yield
            return
        fit = self._subtask(f"fit {type(estimator).__name__}")
        tells = hasattr(estimator, "set_callbacks")
        with fit._context.propagate_callback_context(estimator) if tells else nullcontext():
            fit.begin(0)
            yield
            fit.end()
        self.end()


class _Fit(Task):
    """The task of a whole fit, which ends when the ensemble has learned all from its members."""

    def end(self, make_fitted: Callable[[], Any] | None = None) -> bool:
        return False

    def end_fit(self) -> None:
        self._tell_end({})  # the estimator is fitted: nothing is to be added


class KerasTask(keras.callbacks.Callback):
    """Reports the epochs of Keras' own `fit`.

    Parameters
    ----------
    task : Task
        Which has not begun.
    n_epochs : int
    """

    def __init__(self, task: Task, n_epochs: int) -> None:
        super().__init__()
        self._task, self._n_epochs, self._step = task, n_epochs, task

    def on_train_begin(self, logs: Any = None) -> None:
        """Begin the task."""
        self._task.begin(self._n_epochs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch."""
        self._step = self._task.step("epoch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """End an epoch, and the training where a callback asks for it."""
        if self._step.end():
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """End the task."""
        self._task.end()
