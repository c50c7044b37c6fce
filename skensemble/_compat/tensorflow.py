"""Private names of TensorFlow. Imported only where TensorFlow is the backend of Keras."""

import random
from collections import OrderedDict
from contextlib import contextmanager

import tensorflow as tf
from tensorflow.python.eager import context  # TensorFlow 2.18 to 2.21: the global seed can be set in public, not read

from skensemble._compat.private import is_missing, private

# Keras 3.8 to 3.15: it makes the pipeline that gives `fit` the batches of arrays.
ArrayDataAdapter = private("keras.src.trainers.data_adapters.array_data_adapter", "ArrayDataAdapter")

# Row orders that were drawn last, by seed and number of rows: drawing one takes 20 ms. Longer ones are not kept.
_ORDERS: OrderedDict = OrderedDict()
_MOST_ORDERS, _MOST_ROWS = 32, 2**18


@contextmanager
def seeded_tensorflow(seed):
    """Seed TensorFlow, and restore its seed and generator afterwards."""
    eager = context.context()
    before = eager._seed, getattr(eager, "_rng", None)
    eager._seed, eager._rng = seed, random.Random(seed)
    try:
        yield
    finally:
        if eager._rng.getstate() != random.Random(seed).getstate():
            # Stateful random operations ran. Under the same seed, their cached kernels would continue instead of
            # starting again. Dropping all kernels costs 0.1 s, so it is done only then.
            eager._set_global_seed(seed)
        eager._seed, eager._rng = before


@contextmanager
def untuned_pipelines():
    """Let TensorFlow not tune the pipelines of arrays that Keras makes in the block. To be entered under `SEED_LOCK`.

    A pipeline is tuned by a thread of its own, at intervals that double. Where all cores are busy, as in one of several
    workers or on a machine with one core, the thread may miss that training has ended, and `fit` waits for its last
    interval: for up to as long again as it trained (TensorFlow 2.21). Arrays in memory leave nothing to tune, and their
    batches are the same.
    """
    if is_missing(ArrayDataAdapter):
        yield
        return
    get_tf_dataset = ArrayDataAdapter.get_tf_dataset

    def get_untuned(self):
        options = tf.data.Options()
        options.autotune.enabled = False
        return get_tf_dataset(self).with_options(options)

    ArrayDataAdapter.get_tf_dataset = get_untuned
    try:
        yield
    finally:
        ArrayDataAdapter.get_tf_dataset = get_tf_dataset


def drop_kernels():
    """Drop the kernels that TensorFlow keeps for each variable."""
    context.context().clear_kernel_cache()


def seeded_order(n_rows):
    """The order of rows in every epoch of Keras' `fit` under the current global seed; None without a seed.

    Keras 3.8 to 3.15 shuffles in a dataset that starts again with each epoch, and so does its random operation: under a
    seed all epochs have the same order.

    Parameters
    ----------
    n_rows : int

    Returns
    -------
    ndarray of int32 of shape (n_rows,) or None
    """
    seed = context.context()._seed
    if seed is None:
        return None
    if (seed, n_rows) not in _ORDERS:
        # The operations of Keras' `ArrayDataAdapter`: the seed of each follows from their number.
        indices = tf.data.Dataset.range(1).map(lambda _: tf.random.shuffle(tf.range(n_rows, dtype=tf.int64)))
        if n_rows > _MOST_ROWS:
            return next(iter(indices)).numpy().astype("int32")
        _ORDERS[seed, n_rows] = next(iter(indices)).numpy().astype("int32")
        while len(_ORDERS) > _MOST_ORDERS:
            _ORDERS.popitem(last=False)
    return _ORDERS[seed, n_rows]
