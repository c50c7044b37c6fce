"""What depends on the machine: chunks of steps, and when sharding and compiling pay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import keras
import tensorflow as tf

from skensemble._compat.keras import all_layers
from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.prototype import has_convolutions
from skensemble._engine.engine_choice import calls_step_for_each
from skensemble._engine.tensorflow.mapping import Mode

#: Rows of an X that stays on the host are gathered there in chunks of steps of at most this many bytes.
CHUNK_BYTES = 32 * 2**20
#: Bytes of one row in the order in which a member visits them (int32).
ROW_ORDER_BYTES = 4
#: XLA compiles the whole program (about a second) where there are many steps of little work: at most this many values
#: times rows of a batch, and at least this many steps. Its matrix products are slower than TensorFlow's, but its fused
#: arithmetic is faster: for larger work it compiles only the optimizer's update (a tenth of a second), if that changes
#: at least this many values. It never compiles loops (recurrent layers) and convolutions.
XLA_MIN_STEPS, XLA_MAX_WORK, XLA_MIN_UPDATE = 300, 10**7, 2 * 10**5
#: For tests: "all", "update" or None instead of the choice.
FORCE_XLA = NotImplemented

#: What XLA compiles: the whole program, the update of the variables, or nothing.
Compiled = Literal["all", "update"] | None


def is_on_gpu() -> bool:
    """Whether TensorFlow computes on a GPU. What was measured here, on CPUs, does not hold there."""
    return bool(tf.config.get_visible_devices("GPU"))


def first_mode(model: keras.Model, n_members: int) -> Mode:
    """How members are computed, unless it turns out that they cannot be mapped."""
    loops = any(isinstance(layer, keras.layers.RNN) for layer in all_layers(model))
    each = calls_step_for_each(n_members, convolves=has_convolutions(model), loops=loops)
    return "side by side" if each and not is_on_gpu() else "mapped"


def count_shards(n_members: int, n_values: int) -> int:
    """Number of shards of equal size in which mapped members are trained.

    Parameters
    ----------
    n_members : int
    n_values : int
        Trainable values of all members.
    """
    if n_values < limits.MIN_SHARED_VALUES or is_on_gpu():
        return 1
    return max(n for n in range(1, limits.CORES + 1) if n_members % n == 0)


def what_to_compile(n_steps: int, n_sizes: int, n_values: int, batch_size: int, *, whole: bool, flat: bool) -> Compiled:
    """What XLA compiles. See `XLA_MIN_STEPS`.

    Parameters
    ----------
    n_steps : int
        Of the whole training.
    n_sizes : int
        Number of sizes of last batches, each of which takes as long to compile again.
    n_values : int
        Trainable values of all members.
    batch_size : int
    whole, flat : bool
        Whether the whole program could be compiled; whether the update of all members is one.
    """
    if FORCE_XLA is not NotImplemented:
        return FORCE_XLA
    if n_steps < XLA_MIN_STEPS * max(1, n_sizes) or is_on_gpu():
        return None
    if whole and n_values * batch_size <= XLA_MAX_WORK:
        return "all"
    return "update" if flat and n_values >= XLA_MIN_UPDATE else None


def may_differ_in_rows(model: keras.Model, n_rows: Sequence[int], batch_size: int) -> bool:
    """Whether members with different numbers of rows may train together; see `_engine/backend.py`.

    They may if tracing and compiling take most of the time, as for small networks.
    """
    n_values = len(n_rows) * sum(math.prod(v.shape) for v in model.trainable_variables)
    long = are_long(len(n_rows), max(n_rows))
    return n_values * batch_size <= XLA_MAX_WORK and not long and not has_convolutions(model)


def are_long(n_members: int, n_rows: int) -> bool:
    """Whether the row orders of an epoch are too long for one call: the program holds them several times over."""
    return ROW_ORDER_BYTES * n_members * n_rows > limits.SEGMENT_BYTES
