"""What depends on the machine: devices, and which shape of the program pays."""

from collections.abc import Sequence
from typing import Any

import jax
import keras

from skensemble._engine.all_backends.prototype import has_convolutions


def local_devices() -> list[jax.Device]:
    """Devices that members are trained on: JAX's default device if the user has set one, otherwise all local ones."""
    config: Any = jax.config  # its attributes are made at run time
    chosen = config.jax_default_device
    return [chosen] if isinstance(chosen, jax.Device) else jax.local_devices(backend=chosen)


def is_slow_in_loops(model: keras.Model) -> bool:
    """Whether each network is trained by itself, in steps called from Python.

    XLA runs convolutions on the CPU about 20 times slower inside a loop, and 4 times slower where they are mapped over
    members (jax 0.10). This depends only on the platform, so that a fit gives the same result wherever it runs.
    """
    return local_devices()[0].platform == "cpu" and has_convolutions(model)


def may_differ_in_rows(model: keras.Model, n_rows: Sequence[int], batch_size: int) -> bool:
    """Whether members with different numbers of rows may train together; see `_engine/backend.py`."""
    return not is_slow_in_loops(model)
