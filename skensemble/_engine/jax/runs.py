"""Training for some epochs: whole epochs in one call, or step after step, called from Python."""

import jax
import jax.numpy as jnp
import numpy as np

from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.batches import Batches
from skensemble._engine.all_backends.data import is_on_host
from skensemble._engine.jax.data import gather
from skensemble._engine.jax.mapped_steps import Carry, Kind, Steps
from skensemble._engine.jax.member_step import Logs
from skensemble._engine.jax.placement import Placement
from skensemble._engine.records import Array, Variables

#: Variables and active members after a run, epochs of each, and logs of its parts.
Trained = tuple[Variables, Array, np.ndarray, list[Logs]]


def run_epochs(
    steps: Steps,
    placement: Placement,
    stop_on_nan: bool,
    variables: Variables,
    active: Array,
    training: Batches,
    validation: Batches | None = None,
) -> Trained:
    """All epochs of a segment in one call."""
    n_epochs = len(training.order)
    length = limits.epochs_at_once(training.order[0].nbytes)
    validation = None if validation is None else placement.batches(validation)
    epochs_run, history = np.zeros(len(active), int), []
    for start in range(0, n_epochs, length):
        segment = training.at(slice(start, start + length))
        now = len(segment.order)
        segment = placement.batches(segment.padded(length))
        variables, active, ran, logs = steps.epochs(stop_on_nan, np.int32(now), segment, validation, variables, active)
        epochs_run += np.asarray(ran)
        history.append({name: values[:now] for name, values in logs.items()})
    return variables, active, epochs_run, history


def run_steps(
    steps: Steps,
    placement: Placement,
    stop_on_nan: bool,
    variables: Variables,
    active: Array,
    training: Batches,
    validation: Batches | None = None,
) -> Trained:
    """Step after step, called from Python."""
    epochs_run, history = np.zeros(len(active), int), []
    for epoch in range(len(training.order)):
        began = active
        epochs_run += np.asarray(began)
        carry = _walk(steps, placement, "train", stop_on_nan, variables, began, training.at(epoch))
        logs, active, variables = steps.logs("train", carry), carry.active, carry.variables
        if validation is not None:
            carry = _walk(steps, placement, "test", False, variables, began, validation)
            logs, variables = logs | steps.logs("test", carry), carry.variables
        history.append({name: np.asarray(value)[None] for name, value in logs.items()})
    return variables, active, epochs_run, history


def _walk(
    steps: Steps,
    placement: Placement,
    kind: Kind,
    stop_on_nan: bool,
    variables: Variables,
    active: Array,
    batches: Batches,
) -> Carry:
    """The carry after the steps of an epoch, or of its evaluation."""
    carry = steps.begin(kind, variables, active)
    # Copies, since each step donates the buffers of the last one; placed as a step places them, so that it is compiled
    # once.
    carry = jax.tree.map(lambda v: jax.device_put(jnp.copy(v), placement.sharding("members")), carry)
    size = batches.batch_size
    whole = ((i, i * size, size) for i in range(int(batches.n_whole)))
    on_host = is_on_host(batches.data)
    data = batches.data if on_host else placement.data(batches.data)
    for i, first, n_rows in (*whole, *batches.partial_steps()):
        rows = batches.order[:, first : first + n_rows]
        parts = batches.has_step, batches.rates
        of_step = [None if part is None else placement.of_members(part[i]) for part in parts]
        taken = jax.tree.map(placement.of_members, gather(data, rows)) if on_host else data
        carry = steps.step(kind, stop_on_nan, carry, taken, None if on_host else placement.of_members(rows), *of_step)
    return carry
