"""Records that are passed between the engine and a backend: variables, data and the plan of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

#: An ndarray, a tensor of the backend, or rows on the host (a memory map, `HostRows`).
Array = Any


class Variables(NamedTuple):
    """Values of the variables of a model, ordered as in Keras; or of several models, stacked.

    Attributes
    ----------
    trainable, non_trainable : list of array of shape (...) or (n_members, ...)
        Seed-generator states are among `non_trainable`.
    optimizer : list of array of shape (...) or (n_members, ...)
        Empty where the values serve prediction only. Those that Keras has not built yet are missing at the end.
    hyperparameters : list of array of shape (n_hyperparameters, 2) or (n_members, n_hyperparameters, 2)
        One, as returned by `hyperparameters_of`, while a program trains that takes them as inputs; otherwise empty.
    """

    trainable: list[Array]
    non_trainable: list[Array]
    optimizer: Sequence[Array] = ()
    hyperparameters: Sequence[Array] = ()

    def map(self, function: Callable[[Array], Array]) -> Variables:
        """The values of a function of each array."""
        return Variables(*([function(v) for v in part] for part in self))

    @staticmethod
    def joined(function: Callable[[Sequence[Array]], Array], several: Iterable[Sequence[Sequence[Array]]]) -> Variables:
        """The values of a function of corresponding arrays in several `Variables`, such as `numpy.stack`."""
        return Variables(*([function(v) for v in zip(*part, strict=True)] for part in zip(*several, strict=True)))


@dataclasses.dataclass
class State:
    """All members of a program, in arrays of the backend.

    Attributes
    ----------
    variables : Variables
        Stacked: arrays of shape (n_members, ...).
    active : bool ndarray of shape (n_members,)
        Members that `Program.run` trains; the others stay as they are. ``stop_on_nan`` switches members off, and a
        caller may do so, too.
    epochs_run : int ndarray of shape (n_members,)
        Epochs that each member trained in the last `Program.run`, including the one in which it stopped.
    """

    variables: Variables
    active: np.ndarray
    epochs_run: np.ndarray


class Data(NamedTuple):
    """What members are trained or evaluated on. `load_data` of a backend puts it where the program reads it.

    Attributes
    ----------
    X : array of shape (n_rows, ...)
    y : array of shape (n_rows, ...)
    sample_weight : None or array of shape (n_rows,) or (n_members, n_rows)
    """

    X: Array
    y: Array
    sample_weight: Array | None = None


class ValidationData(NamedTuple):
    """What members are evaluated on after an epoch.

    Attributes
    ----------
    data : Data
    sample_indices : int ndarray of shape (n_members, n_val)
        The rows of `data` that each member is evaluated on.
    batch_size : int
    """

    data: Data
    sample_indices: np.ndarray
    batch_size: int


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """What `Program.run` is told.

    Attributes
    ----------
    orders : int ndarray of shape (n_epochs, n_members, n_rows)
        The rows of X that each member visits in each epoch, in order. All are used; the last batch may be smaller.
    batch_size : int
    n_rows : None or tuple of int
        How many of its rows each member uses, where they differ (and `may_differ_in_rows`). Orders are padded to the
        longest member; padding is never read.
    learning_rates : None or float ndarray of shape (n_epochs, n_steps) or (n_epochs, n_steps, n_members)
        Written into the optimizer's learning rate before each step.
    validation : None or ValidationData
        Evaluated after each epoch, as in `Model.fit`.
    stop_on_nan : bool
        Keras' ``TerminateOnNaN`` for each member: after a step that leaves the epoch's running loss NaN or infinite,
        the member stays as it is.
    expected_steps : None or int
        Steps of the whole training, if it is split over several runs: this decides what to compile. Pass the same
        number to all of them.
    """

    orders: np.ndarray
    batch_size: int
    n_rows: tuple[int, ...] | None = None
    learning_rates: np.ndarray | None = None
    validation: ValidationData | None = None
    stop_on_nan: bool = False
    expected_steps: int | None = None
