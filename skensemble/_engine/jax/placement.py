"""Which devices members are trained on, and how their values are spread over them."""

import dataclasses
import math
from collections.abc import Sequence

import jax
import keras
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.batches import Batches
from skensemble._engine.jax.cost_model import is_slow_in_loops, local_devices
from skensemble._engine.records import Array, Data


def devices_for(model: keras.Model, n_members: int) -> list[jax.Device]:
    """Devices for `n_members`: one, or all where that pays."""
    devices, n_values = local_devices(), sum(math.prod(v.shape) for v in model.trainable_variables)
    pays = n_members > 1 and n_members * n_values >= limits.MIN_SHARED_VALUES and not is_slow_in_loops(model)
    return devices if pays else devices[:1]


class Placement:
    """Members in equal shares on all devices; uneven numbers are padded with the last member.

    Parameters
    ----------
    devices : list of jax.Device
    n_members : int

    Attributes
    ----------
    n_places : int
        Members including the padding.
    """

    def __init__(self, devices: Sequence[jax.Device], n_members: int) -> None:
        self._mesh, self._n_padding = Mesh(np.array(devices), ("members",)), -n_members % len(devices)
        self.n_places = n_members + self._n_padding

    def sharding(self, *axes: str | None) -> NamedSharding:
        """How a value is placed: spread along the axis called "members", or everywhere if there is none."""
        return NamedSharding(self._mesh, PartitionSpec(*axes))

    def everywhere(self, value: Array) -> jax.Array:
        """A value on each device."""
        return jax.device_put(value, self.sharding())

    def of_members(self, value: Array, axis: int = 0) -> jax.Array:
        """A value of all members, spread over the devices."""
        if self._n_padding:
            last = np.asarray(value).take([-1], axis)
            value = np.concatenate([value, last.repeat(self._n_padding, axis)], axis)
        return jax.device_put(value, self.sharding(*[None] * axis, "members"))

    def data(self, data: Data) -> Data:
        """Data on each device, weights of each member with their members."""
        X, y, weights = data
        if weights is not None:
            weights = self.of_members(weights) if weights.ndim > 1 else self.everywhere(weights)
        return Data(self.everywhere(X), self.everywhere(y), weights)

    def batches(self, batches: Batches) -> Batches:
        """Batches whose arrays are on the devices."""
        parts = batches.order, batches.has_step, batches.rates
        axes = batches.order.ndim - 2, 1, batches.order.ndim - 1
        order, has_step, rates = (
            None if part is None else self.of_members(part, axis) for part, axis in zip(parts, axes, strict=True)
        )
        return dataclasses.replace(batches, data=self.data(batches.data), order=order, has_step=has_step, rates=rates)
