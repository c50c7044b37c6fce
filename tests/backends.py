"""What tests ask about the backend that Keras runs on."""

import keras
import pytest

ON_JAX = keras.backend.backend() == "jax"


def tensorflow_only(reason):
    """Mark what is not tried on JAX, with the reason."""
    return pytest.mark.skipif(ON_JAX, reason=reason)
