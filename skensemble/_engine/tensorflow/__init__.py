"""The fused program on TensorFlow. See `_engine/backend.py` for what it has to offer."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from skensemble._engine.records import Array
from skensemble._engine.tensorflow.cost_model import may_differ_in_rows
from skensemble._engine.tensorflow.data import load_data
from skensemble._engine.tensorflow.fusable import why_not_fusable
from skensemble._engine.tensorflow.program import make_program

__all__ = [
    "limit_cores",
    "load_data",
    "local_devices",
    "make_program",
    "may_differ_in_rows",
    "stack",
    "training_forward",
    "why_not_fusable",
]


def local_devices() -> list[tf.config.PhysicalDevice]:
    """Devices that TensorFlow computes on."""
    return tf.config.get_visible_devices()


def stack(values: Sequence[Array]) -> tf.Tensor:
    """Values of one variable of several models, stacked."""
    if all(isinstance(value, np.ndarray) for value in values):
        return tf.convert_to_tensor(np.stack(values))  # TensorFlow's `stack` makes int32 of arrays of int64
    return tf.stack(values)


def training_forward(model: keras.Model) -> Callable[[Any], Any]:
    """The forward pass in training mode, as a TensorFlow function."""
    forward = tf.function(lambda batch: model(batch, training=True), reduce_retracing=True)
    return lambda batch: forward(tf.convert_to_tensor(batch))


def limit_cores(n_cores: int) -> None:
    """Let TensorFlow, and with it XLA, compute in `n_cores` threads.

    Nothing changes if TensorFlow has already started its threads, or if their number was set.
    """
    threads = tf.config.threading
    for now, limit in (
        (threads.get_intra_op_parallelism_threads, threads.set_intra_op_parallelism_threads),
        (threads.get_inter_op_parallelism_threads, threads.set_inter_op_parallelism_threads),
    ):
        if now() == 0:
            with suppress(RuntimeError):
                limit(n_cores)
