"""Seeds and settings of the process and of its threads."""

import threading

import keras

from skensemble._compat.seeds import get_keras_global, keras_settings, set_keras_global


def test_other_threads_get_settings_only():
    """A thread is given what was set for Keras, and nothing of what Keras is doing in this one."""
    policy = keras.config.dtype_policy()
    set_keras_global("uninitialized_variables", ["of this thread"])
    keras.config.set_dtype_policy("mixed_bfloat16")
    found = []
    take = keras_settings()

    def look():
        take()
        found.extend([keras.config.dtype_policy().name, get_keras_global("uninitialized_variables")])

    try:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    finally:
        keras.config.set_dtype_policy(policy)
        set_keras_global("uninitialized_variables", [])
    assert found == ["mixed_bfloat16", None]
