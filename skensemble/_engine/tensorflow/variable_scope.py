"""Keras' scope in which a step computes with values of variables that come in as tensors."""

import keras
import tensorflow as tf


class StepScope(keras.StatelessScope):
    """Notes which variables are assigned to. A value assigned to a trainable variable gets a gradient of its own.

    On TensorFlow, a gradient does not go past an assignment: what is read afterwards counts as the variable, whatever
    the value was computed from.

    Attributes
    ----------
    updated : dict of int to keras.Variable
        By `id`.
    assigned : list of list of tensor
        Values assigned to each trainable variable, in order.
    """

    def __init__(
        self, state_mapping: list[tuple], trainable: list[keras.Variable], tape: tf.GradientTape | None = None
    ) -> None:
        super().__init__(state_mapping, collect_losses=True)
        self.updated: dict[int, keras.Variable] = {}
        self.assigned: list[list[tf.Tensor]] = [[] for _ in trainable]
        self._position, self._tape = {id(v): i for i, v in enumerate(trainable)}, tape

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        variable, value = update
        self.updated[id(variable)] = variable
        if self._tape is not None and id(variable) in self._position:
            value = tf.stop_gradient(value)
            self._tape.watch(value)
            self.assigned[self._position[id(variable)]].append(value)
        super().add_update((variable, value))
