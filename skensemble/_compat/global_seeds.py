"""Seeds of the whole process, under which networks are built and trained: private names of Keras."""

import itertools
import random
import threading
import types
from contextlib import contextmanager, nullcontext

import keras
import numpy as np

from skensemble._compat.private import is_missing, private

# Keras 3.8 to 3.15: no public way to read or restore the generator of `keras.random`, nor to build without values.
# Keras draws default seeds by the module `random` of this module.
_seed_generator = private("keras.src.random", "seed_generator")
get_keras_global = private("keras.src.backend.common.global_state", "get_global_attribute")
set_keras_global = private("keras.src.backend.common.global_state", "set_global_attribute")
# Keras 3.8 to 3.15: what is set for one thread; only the policy for dtypes can be read in public.
_global_state = private("keras.src.backend.common", "global_state")

#: Seeds are global to the process: builds and fits of two threads must not interleave.
SEED_LOCK = threading.RLock()
# What a user sets for a thread, and names that Keras counts up. The other attributes are the current state of Keras.
_SETTINGS = {
    "custom_objects_scope_dict",
    "distribution",
    "dtype_policy",
    "flash_attention",
    "global_random_seed",
    "global_seed_generator",
    "interactive_logging",
    "nnx_enabled",
    "object_name_uids",
    "safe_mode_saving",
    "torch_device",
    "traceback_filtering",
}
_KERAS_GENERATOR = "global_seed_generator"  # keras.src.random.seed_generator.GLOBAL_SEED_GENERATOR

# TensorFlow 2.18 to 2.21 keeps 35 kB for every named variable that ever existed: the kernel that made it. After this
# many models the kernels are dropped; making those in use again takes 0.2 s.
_MODELS_PER_KERNELS = 100
_model_numbers = itertools.count(1)


@contextmanager
def seeded(seed):
    """Seed Python, NumPy, Keras and its backend, and restore all of them afterwards.

    scikeras' own context leaves TensorFlow's op determinism switched on for the process, so that later fits without a
    seed raise, and lets threads overwrite each other's seeds.

    Parameters
    ----------
    seed : int or None
        With None, nothing is seeded.

    Yields
    ------
    list of int
        Seeds that Keras has drawn in the block so far, for initializers and seed generators without one. Stays empty
        with a later Keras that draws them elsewhere.
    """
    if seed is None:
        yield []
        return
    with SEED_LOCK:
        before = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            with _seeded_backend(seed), _own_draws(seed) as drawn, _seeded_keras(seed):
                yield drawn
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


def _seeded_backend(seed):
    if keras.backend.backend() == "tensorflow":
        from skensemble._compat.tensorflow import seeded_tensorflow

        return seeded_tensorflow(seed)
    return nullcontext()  # JAX has no global seed


@contextmanager
def seeded_fit(seed):
    """`seeded`, for a training by Keras, which on TensorFlow then does not wait at its end.

    Parameters
    ----------
    seed : int
    """
    with seeded(seed), _untuned_backend():
        yield


def _untuned_backend():
    if keras.backend.backend() == "tensorflow":
        from skensemble._compat.tensorflow import untuned_pipelines

        return untuned_pipelines()
    return nullcontext()


@contextmanager
def _own_draws(seed):
    """Let Keras draw default seeds in this thread from a separate generator, which gives what Python's would.

    Other threads may draw from Python's at any time, such as those of a server, or of Dask in its workers.
    """
    drawn = []
    if is_missing(_seed_generator):
        yield drawn
        return
    generator, thread, before = random.Random(seed), threading.get_ident(), _seed_generator.python_random

    def randint(*bounds):
        if threading.get_ident() != thread:
            return before.randint(*bounds)
        drawn.append(generator.randint(*bounds))
        return drawn[-1]

    _seed_generator.python_random = types.SimpleNamespace(randint=randint)
    try:
        yield drawn
    finally:
        _seed_generator.python_random = before


@contextmanager
def _seeded_keras(seed):
    """Restart Keras' own generator with a default seed."""
    if is_missing(get_keras_global):  # a later Keras, whose generator cannot be restored
        keras.utils.set_random_seed(seed)
        yield
        return
    before = get_keras_global(_KERAS_GENERATOR)
    set_keras_global(_KERAS_GENERATOR, None)
    try:
        yield
    finally:
        set_keras_global(_KERAS_GENERATOR, before)


def count_model():
    """Count a model that is built, and now and then drop the kernels that TensorFlow keeps for each."""
    if next(_model_numbers) % _MODELS_PER_KERNELS == 0 and keras.backend.backend() == "tensorflow":
        from skensemble._compat.tensorflow import drop_kernels

        drop_kernels()


def keras_settings():
    """Function that sets in the thread in which it is called what is set for Keras in this one.

    That is the policy for dtypes, scopes of the user's own objects, and numbers that Keras counts up.
    """
    tracker = getattr(_global_state, "GLOBAL_STATE_TRACKER", None)  # another after `keras.utils.clear_session`
    if tracker is None:  # a later Keras: what there is a public name for
        policy = keras.config.dtype_policy()
        return lambda: keras.config.set_dtype_policy(policy)
    known = {name: value for name, value in vars(tracker).items() if name in _SETTINGS}
    return lambda: vars(tracker).update(known)
