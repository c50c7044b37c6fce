"""Private names of TensorFlow. Imported only where TensorFlow is the backend of Keras."""

import random
from contextlib import contextmanager

from tensorflow.python.eager import context  # TensorFlow 2.18 to 2.21: the global seed can be set in public, not read


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
            # Stateful random operations ran. Their cached kernels would go on, not begin again, under the same
            # seed; dropping all kernels costs 0.1 s, so it is done only then.
            eager._set_global_seed(seed)
        eager._seed, eager._rng = before


def drop_kernels():
    """Drop the kernels that TensorFlow keeps for each variable."""
    context.context().clear_kernel_cache()
