"""A network outside an ensemble: trained and run by a program for one member, not by Keras' `fit` and `predict`."""

import dataclasses
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import keras
import numpy as np

from skensemble._compat.global_seeds import count_model
from skensemble._compat.keras import row_orders
from skensemble._compat.scikeras import BaseWrapper, fit_callbacks
from skensemble._compat.scikeras_building import rebuild_model
from skensemble._engine.backend import load_data, why_not_fusable
from skensemble._engine.callbacks import MemberCallbacks, why_not_per_epoch
from skensemble._engine.engine_choice import why_keras_alone
from skensemble._engine.forward import forward, stack_values
from skensemble._engine.fused.callback_run import CallbackRun
from skensemble._engine.fused.fit import run_to_the_end
from skensemble._engine.fused.group_fit import GroupFit, validation_of
from skensemble._engine.fused.group_run import GroupRun
from skensemble._engine.lent_network import LentNetwork
from skensemble._engine.plan import ReadyMember, check_fusable_arguments, count_values, reason_for_keras
from skensemble._engine.records import Data, Variables
from skensemble._engine.stacked_members import BuiltMember
from skensemble._engine.variables import read_state, write_state
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.sample_weights import SampleIndices
from skensemble._members.spec import MemberSpec
from skensemble._numeric.host_rows import HostRows
from skensemble._numeric.lazy_rows import LazyRows
from skensemble._numeric.sparse_rows import dense_or_rows, with_rows
from skensemble.exceptions import NotFusableError

# Keras' `verbose` of one line for each epoch. With 1, the lines show means of what it logs after each step.
_LINE_PER_EPOCH = 2
# A network that is not subclassed is copied; others are built anew under this seed, and their values are not used.
_ANY_SEED = 0


class SingleFit(NamedTuple):
    """How a network outside an ensemble was trained.

    Attributes
    ----------
    logs : dict of str to list, or None
        Keras' history of the training; None where it is left to Keras' own fit.
    engine, reason : str
        As `engine_` and `engine_reason_`.
    """

    logs: dict[str, list] | None
    engine: str
    reason: str


def fit_single(
    estimator: BaseWrapper,
    data: Data,
    arguments: FitArguments,
    *,
    seed: int | None,
    engine: str,
    verbose: Any,
    lent: LentNetwork | None = None,
) -> SingleFit:
    """Train the model of an initialized estimator from where it is, as its `fit` does with these arguments.

    Rows are visited in the orders that Keras would draw under the same seed, so the result is Keras' up to rounding.

    Parameters
    ----------
    estimator : scikeras estimator
        Its model is compiled, and changed in place.
    data : Data
        Encoded, as for `Model.fit`.
    arguments : FitArguments
        With `epochs` as `Model.fit` counts them, including those before `initial_epoch`.
    seed : int or None
        Of the order of the rows; None follows the generators of the process, as Keras does.
    engine : {"auto", "fused", "keras"}
    verbose : int or str
        Keras'.
    lent : LentNetwork, default=None
        The model of the estimator is lent by this network and is not changed; this gets the values.

    Raises
    ------
    NotFusableError
        With `engine="fused"`, where the program cannot give Keras' result: the reason in words.
    """
    if engine == "keras":
        return SingleFit(None, "keras", "Keras' own fit, as asked")
    count_model()
    try:
        arguments = _with_all_rows(arguments, len(data.y))
        _check_fusable(estimator, data, arguments, engine, verbose)
        if lent is None:
            logs = _train(estimator, data, arguments, seed, verbose)
        else:
            logs = _train_lent(lent, data, arguments, seed)
    except NotFusableError as error:
        return SingleFit(None, "keras", reason_for_keras(engine, error))
    return SingleFit(logs, "fused", "the network is trained by one program")


def predict_single(estimator: BaseWrapper, X: Any) -> np.ndarray | None:
    """Outputs of the model of a fitted estimator, (n_samples, ...); None where no program can compute them.

    Parameters
    ----------
    estimator : scikeras estimator
    X : array of shape (n_samples, ...)
        Encoded, as for `Model.predict`.
    """
    X, lent = with_rows(X), vars(estimator).get("_lent")
    prototype = estimator if lent is None else lent.prototype
    if not isinstance(X, np.ndarray | HostRows) or why_not_fusable(prototype.model_) is not None:
        return None
    try:
        values = stack_values([BuiltMember(estimator).values() if lent is None else lent.values[:2]])
        return forward(prototype.model_, values, X, partial(rebuild_model, prototype, _ANY_SEED))[0]
    except NotFusableError:  # found only when the model is copied or traced
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class _KerasOrders(GroupFit):
    """What a network is trained on, with its rows in the orders that Keras draws.

    Attributes
    ----------
    draw_orders : callable
        As returned by `row_orders`.
    """

    draw_orders: Callable[[int], np.ndarray]

    def orders(self, generators: Any, n_epochs: int) -> np.ndarray:
        """Rows in the order in which they are visited in the next epochs, (n_epochs, 1, n_rows)."""
        if not self.arguments.shuffle:
            return super().orders(generators, n_epochs)
        return self.draw_orders(n_epochs)[:, None]


def _with_all_rows(arguments: FitArguments, n_rows: int) -> FitArguments:
    """Arguments with -1 replaced by the number of rows, as scikeras counts them, including those for validation."""
    sizes: dict[str, Any] = {
        name: n_rows for name in ("batch_size", "validation_batch_size") if getattr(arguments, name) == -1
    }
    return dataclasses.replace(arguments, **sizes)


def _check_fusable(estimator: BaseWrapper, data: Data, arguments: FitArguments, engine: str, verbose: Any) -> None:
    """Raise `NotFusableError` where the program should not train a network."""
    check_fusable_arguments(arguments)
    model = estimator.model_
    reason = why_not_fusable(model) or why_not_per_epoch(fit_callbacks(estimator))
    if reason is None and not (_is_rows(data.X) and isinstance(data.y, np.ndarray)):
        reason = "the network takes several inputs or outputs"
    if reason is None and not all(part is None or _is_rows(part) for part in arguments.validation_data or ()):
        reason = "`validation_data` is no tuple of arrays"
    if reason is None and verbose not in (0, _LINE_PER_EPOCH):
        reason = f"progress is printed after each step (verbose={verbose!r}; 2 prints a line for each epoch)"
    if reason is None and _is_limited():
        reason = "keras.config limits the epochs or steps"
    if reason is None and engine == "auto" and not isinstance(data.X, LazyRows):  # which Keras reads as a whole
        reason = _why_keras(estimator, len(data.y), arguments)
    if reason is not None:
        raise NotFusableError(reason)


def _why_keras(estimator: BaseWrapper, n_rows: int, arguments: FitArguments) -> str | None:
    """Why Keras' own fit pays, in words; None where the program pays."""
    first_epoch = arguments.initial_epoch or 0
    first_rows = estimator.X_shape_[0] if first_epoch else None
    return why_keras_alone(count_values(estimator.model_), arguments.epochs - first_epoch, n_rows, first_rows)


def _is_rows(X: Any) -> bool:
    return isinstance(with_rows(X), np.ndarray | HostRows)


def _is_limited() -> bool:
    """Whether Keras was told to limit the number of epochs or steps."""
    limits = (getattr(keras.config, name, None) for name in ("max_epochs", "max_steps_per_epoch"))  # Keras >= 3.10
    return any(limit is not None and limit() is not None for limit in limits)


def _train(
    estimator: BaseWrapper, data: Data, arguments: FitArguments, seed: int | None, verbose: int
) -> dict[str, list]:
    """Keras' history of the training of the model, which then has the values at its end."""
    model, callbacks = estimator.model_, fit_callbacks(estimator)
    run = _run_of(estimator, data, arguments, seed, read_state(model))
    if callbacks or verbose:
        callback_run = CallbackRun(run, [estimator], verbose)
        while callback_run.running and not run.is_over:
            callback_run.advance()
            callback_run.end_stopped(stop_all=False)
        callback_run.end_stopped(stop_all=True)
    else:
        _run_without_callbacks(run, model)
    return dict(model.history.history)


def _train_lent(lent: LentNetwork, data: Data, arguments: FitArguments, seed: int | None) -> dict[str, list]:
    """Keras' history of a training, after which the lent network has the values at its end."""
    run = _run_of(lent.prototype, data, arguments, seed, lent.starting_values)
    (logs,) = run_to_the_end(run)
    lent.values = run.variables().map(itemgetter(0))
    return logs


def _run_of(
    estimator: BaseWrapper, data: Data, arguments: FitArguments, seed: int | None, variables: Variables
) -> GroupRun:
    """The training of a network that begins with these values."""
    indices = SampleIndices(*arguments.split(np.arange(len(data.y), dtype="int32")))
    loaded = load_data(dense_or_rows(data.X), data.y, data.sample_weight)
    validation = validation_of([indices], loaded, arguments.validation_data, arguments)
    draw_orders = row_orders(estimator.model_, len(indices.training), seed)
    rows = indices.training[None]
    fit = _KerasOrders([estimator], [_ANY_SEED], arguments, loaded, rows, None, validation, draw_orders)
    ready = ReadyMember(MemberSpec(estimator, _ANY_SEED), estimator, arguments, indices, variables)
    return GroupRun([ready], fit, first_epoch=arguments.initial_epoch or 0)


def _run_without_callbacks(run: GroupRun, model: keras.Model) -> None:
    """Train without stopping between epochs, and leave the model and its history as `Model.fit` does."""
    watcher, first = MemberCallbacks([], model, run.fit.epochs, run.fit.n_steps), run.epoch
    watcher.begin()
    (model.history.history,) = run_to_the_end(run)
    model.history.epoch = list(range(first, run.epoch))
    write_state(model, run.program.unstack(run.state, 0))
    if run.fit.epochs:
        model.optimizer.finalize_variable_values(model.trainable_weights)
    watcher.end()
