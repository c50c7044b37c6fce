"""The steps of all members: mapped, and looped over the batches and epochs in the program.

The numbers of epochs and of whole batches are arguments of the program, which is compiled once for all.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from skensemble._engine.all_backends.batches import Batches
from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.jax.data import gather
from skensemble._engine.jax.member_step import FunctionalModel, Logs
from skensemble._engine.records import Array, Data, Variables
from skensemble._engine.variables import reset_metrics

Kind = Literal["train", "test"]


def each_member(function: Callable, n_members: int) -> Callable:
    """`function` for every member: stacked arguments in, stacked results out."""

    def traced(*arguments: Any) -> Any:
        with LOCK:
            return function(*arguments)

    if n_members > 1:
        return jax.vmap(traced, axis_size=n_members)

    def of_one(*arguments: Any) -> Any:
        result = traced(*jax.tree.map(lambda v: v[0], arguments))
        return jax.tree.map(lambda v: jnp.asarray(v)[None], result)

    return of_one


class Carry(NamedTuple):
    """What goes from step to step, of all members.

    Attributes
    ----------
    variables : Variables
    metrics : list of array
        Variables of the metrics.
    logs : dict of str to array
        Logs of the last step, where they are not the values of the metrics, as with the user's own `train_step`.
    active : bool array of shape (n_members,)
    """

    variables: Variables
    metrics: list[Array]
    logs: Logs
    active: Array


class Steps:
    """The training and the evaluation of all members for targets of one shape.

    Parameters
    ----------
    member : FunctionalModel
        Built for these targets.
    n_members : int

    Attributes
    ----------
    epochs : callable
        `_epochs`, compiled.
    n_traces : int
        How many functions were traced so far; for tests.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        self.member, self.n_members, self.n_traces = member, n_members, 0
        self._of_members = {
            "train": each_member(member.train, n_members),
            "test": each_member(member.test, n_members),
        }
        self._results = jax.jit(each_member(member.results, n_members))
        self._own_logs: dict[Kind, Logs] = {}
        self._checked: set = set()
        self._compiled: set = set()
        self.epochs = jax.jit(self._epochs, static_argnums=0)
        self._jitted_step = jax.jit(self._step, static_argnums=(0, 1), donate_argnums=2)

    def check(self, kind: Kind, variables: Variables, data: Data, n_rows: int) -> None:
        """Trace a step without running it: raise where it cannot be, find out what it logs."""
        key = kind, *(None if part is None else (part.shape[1:], part.ndim) for part in data)
        if key in self._checked:
            return
        shapes = [part.shape[1:] for part in data[:2]] + [()] * (data.sample_weight is not None)
        batch = tuple(
            jax.ShapeDtypeStruct((self.n_members, n_rows, *shape), jax.dtypes.canonicalize_dtype(part.dtype))
            for shape, part in zip(shapes, data, strict=False)
        )
        self._own_logs[kind] = {}

        def logged(variables: Variables, batch: Any) -> tuple[Logs, Logs]:
            metrics = self.begin(kind, variables, None).metrics
            return self._of_members[kind](variables, metrics, batch)[0], self._results(metrics)

        with self.member.refusing(kind):
            logs, results = jax.eval_shape(logged, variables, batch)
        if logs.keys() != results.keys():  # as Keras chooses
            self._own_logs[kind] = {name: jnp.zeros(v.shape, v.dtype) for name, v in logs.items()}
        self._checked.add(key)

    def begin(self, kind: Kind, variables: Variables, active: Array) -> Carry:
        """The carry at the start of an epoch, or of its evaluation."""
        zeros = map(jnp.asarray, reset_metrics(self.member.model))
        metrics = [jnp.broadcast_to(v, (self.n_members, *v.shape)) for v in zeros]
        return Carry(variables, metrics, self._own_logs[kind], active)

    def logs(self, kind: Kind, carry: Carry) -> Logs:
        """The logs at the end of an epoch, or of its evaluation."""
        prefix = "val_" if kind == "test" else ""
        return {prefix + name: value for name, value in (carry.logs or self._results(carry.metrics)).items()}

    def _advance(
        self, kind: Kind, stop_on_nan: bool, carry: Carry, batch: Any, has_step: Array | None, rate: Array | None
    ) -> Carry:
        """The carry after a batch."""
        variables, i = carry.variables, self.member.optimizer.rate_index
        if rate is not None and i is not None:
            optimizer = list(variables.optimizer)
            optimizer[i] = jnp.broadcast_to(rate, optimizer[i].shape).astype(optimizer[i].dtype)
            variables = variables._replace(optimizer=optimizer)
        logs, variables, metrics = self._of_members[kind](variables, carry.metrics, batch)
        new = Carry(variables, metrics, logs if self._own_logs[kind] else {}, carry.active)
        runs = None if has_step is None else carry.active & has_step

        def chosen(before: Array, after: Array) -> Array:
            after = jnp.asarray(after, before.dtype)
            return after if runs is None else jnp.where(runs.reshape(-1, *[1] * (after.ndim - 1)), after, before)

        new = jax.tree.map(chosen, carry, new)
        if stop_on_nan and runs is not None and "loss" in logs:
            new = new._replace(active=carry.active & ~(runs & ~jnp.isfinite(logs["loss"])))
        return new

    def step(self, kind: Kind, stop_on_nan: bool, carry: Carry, *arguments: Any) -> Carry:
        """One step, called from Python. Donates the buffers of `carry`."""
        key = kind, stop_on_nan, *map(np.shape, jax.tree.leaves(arguments))
        # JAX would compile again in each thread that arrives before the first is done.
        with nullcontext() if key in self._compiled else LOCK:
            carry = self._jitted_step(kind, stop_on_nan, carry, *arguments)
            self._compiled.add(key)
        return carry

    def _step(self, kind: Kind, stop_on_nan: bool, carry: Carry, data: Any, rows: Any, *more: Any) -> Carry:
        """One step; `data` are the batch itself where no `rows` are given."""
        self.n_traces += 1
        return self._advance(kind, stop_on_nan, carry, data if rows is None else gather(data, rows), *more)

    def _looped(self, kind: Kind, stop_on_nan: bool, carry: Carry, batches: Batches) -> Carry:
        """Whole batches in a loop, then the partial ones as steps of their own sizes."""

        def advance(carry: Carry, i: Array, first: Array, size: int) -> Carry:
            rows = jax.lax.dynamic_slice_in_dim(batches.order, first, size, axis=1)
            of_step = (None if part is None else part[i] for part in (batches.has_step, batches.rates))
            return self._advance(kind, stop_on_nan, carry, gather(batches.data, rows), *of_step)

        if batches.most_whole:
            size = batches.batch_size
            carry = jax.lax.fori_loop(0, batches.n_whole, lambda i, carry: advance(carry, i, i * size, size), carry)
        for step in batches.partial_steps():
            carry = advance(carry, *step)
        return carry

    def _epochs(
        self,
        stop_on_nan: bool,
        n_epochs: Array,
        training: Batches,
        held_out: Batches | None,
        variables: Variables,
        active: Array,
    ) -> tuple[Variables, Array, Array, Logs]:
        """`n_epochs` epochs: (variables, active members, epochs of each member, logs of each epoch)."""
        self.n_traces += 1

        def epoch(i: Array, state: Any) -> Any:
            variables, active, ran, history = state
            carry = self._looped("train", stop_on_nan, self.begin("train", variables, active), training.at(i))
            logs, left = self.logs("train", carry), carry.active
            if held_out is not None:
                carry = self._looped("test", False, self.begin("test", carry.variables, active), held_out)
                logs |= self.logs("test", carry)
            history = {name: history[name].at[i].set(value) for name, value in logs.items()}
            return carry.variables, left, ran + active, history

        def logs() -> Logs:
            ends = self.logs("train", self.begin("train", variables, active))
            return ends if held_out is None else ends | self.logs("test", self.begin("test", variables, active))

        history = {
            name: jnp.zeros((len(training.order), *value.shape), value.dtype)
            for name, value in jax.eval_shape(logs).items()
        }
        start = variables, active, jnp.zeros(self.n_members, "int32"), history
        return jax.lax.fori_loop(0, n_epochs, epoch, start)
