"""Seeds and settings of the process and of its threads."""

import threading

import keras
import numpy as np
from backends import tensorflow_only
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._compat.global_seeds import get_keras_global, keras_settings, seeded, seeded_fit, set_keras_global


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


def pipeline():
    """As Keras makes it of five rows."""
    return ArrayDataAdapter(np.arange(5), batch_size=2, shuffle=True).get_tf_dataset()


@tensorflow_only("other backends have no such pipelines")
def test_pipelines_of_a_seeded_fit_are_not_tuned():
    """They give the same batches, and Keras' method is put back."""
    before = ArrayDataAdapter.get_tf_dataset
    with seeded(0):
        expected = [batch.numpy() for batch in pipeline()]
    with seeded_fit(0):
        made = pipeline()
        batches = [batch.numpy() for batch in made]
    assert made.options().autotune.enabled is False
    for batch, same in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(batch, same)
    assert ArrayDataAdapter.get_tf_dataset is before


@tensorflow_only("other backends have no such pipelines")
def test_keras_trains_members_on_untuned_pipelines(blobs):
    """At the end of `fit` nothing waits for TensorFlow's tuning, with workers above all."""
    seen = []

    class Look(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.append(pipeline().options().autotune.enabled)

    member = KerasClassifier(epochs=1, callbacks=Look)
    KerasAveragingClassifier(member, n_estimators=2, engine="keras", random_state=0).fit(*blobs)
    assert seen == [False, False]
