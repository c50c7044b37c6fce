"""Private names of TensorFlow. Imported only where TensorFlow is the backend of Keras."""

import random
from collections import OrderedDict
from contextlib import contextmanager

import tensorflow as tf
from tensorflow.python.eager import context  # TensorFlow 2.18 to 2.21: the global seed can be set in public, not read

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
