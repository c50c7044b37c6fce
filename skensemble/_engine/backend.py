"""The contract between the engine and what Keras runs on: which models can be fused, and the programs that train them.

A backend is a package that has `why_not_fusable`, `load_data`, `may_differ_in_rows`, `stack`, `training_forward` and
`limit_cores`, as documented here, ``make_program``, by which `get_program` makes a `BaseProgram`, and
``local_devices``, for which a program is made. It is imported when first used, and only by this module: without a fused
program for a backend, Keras' own fit trains and predicts.
"""

import functools
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import keras

from skensemble._compat.joblib import worker_cores
from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.cache import cached_program
from skensemble._engine.all_backends.data import is_small
from skensemble._engine.all_backends.hyperparameters import free_signature
from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.records import Array, Data
from skensemble._members.architecture import signature
from skensemble.exceptions import NotFusableError


@functools.cache
def _find_backend() -> tuple[ModuleType | None, str | None]:
    """(the package of the fused program, None), or (None, why there is none)."""
    name = keras.backend.backend()
    if name not in ("tensorflow", "jax"):
        return None, f"Keras runs on {name}, for which there is no fused program"
    try:
        if name == "jax":
            from skensemble._engine import jax

            return jax, None
        from skensemble._engine import tensorflow

        return tensorflow, None
    except (ImportError, AttributeError) as error:  # private names that a newer Keras or backend no longer has
        return None, f"the fused program does not know Keras {keras.__version__} with its backend {name} ({error})"


def _backend() -> ModuleType:
    backend, reason = _find_backend()
    if backend is None:
        raise NotFusableError(reason)
    return backend


def why_not_fusable(model: keras.Model) -> str | None:
    """The reason, in words, why a model cannot be trained by the fused program; None where it can.

    Parameters
    ----------
    model : keras.Model
        Built and compiled.
    """
    backend, reason = _find_backend()
    return reason if backend is None else backend.why_not_fusable(model)


def get_program(
    model: keras.Model,
    n_members: int,
    rebuild: Callable[[], keras.Model] | None = None,
    takes_hyperparameters: bool = False,
) -> Any:
    """The program for `n_members` models like `model`; kept for later models of the same `signature`.

    Parameters
    ----------
    model : keras.Model
        Built and compiled. Neither kept nor changed.
    n_members : int
    rebuild : callable, optional
        Returns another model like it, which becomes the program's own. Needed for subclassed models, which Keras cannot
        make from their configuration.
    takes_hyperparameters : bool, default=False
        Whether it is for models that also differ in what `hyperparameters_of` returns, which its states then hold.
        Results are the same only up to rounding, so this is not the default.

    Raises
    ------
    NotFusableError
        With the reason in words.
    """
    with LOCK:
        reason = why_not_fusable(model)
        if reason is not None:
            raise NotFusableError(reason)
        backend = _backend()
        key = (free_signature if takes_hyperparameters else signature)(model), n_members, *backend.local_devices()
        return cached_program(key, lambda: backend.make_program(model, n_members, rebuild, takes_hyperparameters))


def load_data(X: Array, y: Array, sample_weight: Array | None = None) -> Data:
    """Data for `Program.run`: floats in Keras' ``floatx``; on the device if X is small enough, otherwise on the host.

    Calling it once and passing the result to every `Program.run` saves a copy per call.

    Parameters
    ----------
    X : ndarray, memmap or HostRows of shape (n_rows, ...)
    y : ndarray of shape (n_rows, ...)
    sample_weight : None or ndarray of shape (n_rows,) or (n_members, n_rows)
    """
    return _backend().load_data(X, y, sample_weight)


def stack(values: Sequence[Array]) -> Array:
    """Values of one variable of several models, stacked on the device."""
    backend, _ = _find_backend()
    if backend is None:
        return keras.ops.stack(values)
    # In one operation: Keras would convert each value separately, which takes longer than the prediction of small
    # networks.
    return backend.stack(values)


def may_differ_in_rows(model: keras.Model, n_rows: Sequence[int], batch_size: int, X: Array) -> bool:
    """Whether members with different numbers of rows train faster together than by one program for each number.

    Parameters
    ----------
    model : keras.Model
        Built.
    n_rows : list of int
        One number for each member.
    batch_size : int
    X : ndarray or HostRows
        The rows of all.
    """
    waits_little = sum(n_rows) >= limits.MIN_SHARE_OF_ROWS * len(n_rows) * max(n_rows)
    return waits_little and is_small(X) and _backend().may_differ_in_rows(model, n_rows, batch_size)


def training_forward(model: keras.Model) -> Callable[[Array], Any]:
    """Function that runs a model in training mode on a batch; compiled where there is a fused program.

    Parameters
    ----------
    model : keras.Model
    """
    backend, _ = _find_backend()
    if backend is None:
        return lambda batch: model(batch, training=True)
    return backend.training_forward(model)


def use_share_of_cores() -> None:
    """In a worker, let the backend use the cores that the worker was given (`limit_cores`), not all of the machine.

    Nothing changes in the user's own process.
    """
    n_cores = worker_cores()
    backend, _ = (None, None) if n_cores is None else _find_backend()
    if backend is not None:
        limits.CORES = min(limits.CORES, n_cores)
        backend.limit_cores(limits.CORES)
