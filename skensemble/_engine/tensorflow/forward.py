"""The forward pass of all members as a TensorFlow function."""

from __future__ import annotations

import tensorflow as tf

from skensemble._engine.engine_choice import calls_step_for_each
from skensemble._engine.program.prototype import LOCK, has_convolutions
from skensemble._engine.tensorflow.estimates import is_on_gpu
from skensemble._engine.tensorflow.hidden_state import refuse_hidden_operations
from skensemble._engine.tensorflow.mapping import Mode, each_member
from skensemble._engine.tensorflow.step import FunctionalModel
from skensemble.exceptions import NotFusableError


def first_mode(member: FunctionalModel, n_members: int) -> Mode:
    """How members are computed, unless it turns out that they cannot be mapped."""
    each = calls_step_for_each(n_members, convolves=has_convolutions(member.model), loops=member.has_loops)
    return "side by side" if each and not is_on_gpu() else "mapped"


class Forward:
    """The forward pass of `n_members` members, traced for each dtype and shape of rows.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int

    Attributes
    ----------
    mode : {"mapped", "side by side"}
        It depends only on the architecture: a process that has trained the members and one that has loaded them must
        predict the same, bit for bit.
    n_traces : int
        How many TensorFlow functions were traced so far.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        self.member, self.n_members = member, n_members
        self.mode = first_mode(member, n_members)
        self.n_traces = 0
        self._functions: dict[tuple, tf.types.experimental.ConcreteFunction] = {}

    def function(self, dtype: tf.DType, shape: tuple[int, ...]) -> tf.types.experimental.ConcreteFunction:
        """Function of (trainable, non_trainable, rows) that returns the outputs of all members."""
        key = dtype, shape
        with LOCK:
            if key not in self._functions:
                try:
                    function = self._trace(*key)
                except NotFusableError:
                    raise
                except Exception:  # whatever cannot be mapped; another error comes again
                    if self.mode == "side by side":
                        raise
                    self.mode = "side by side"
                    function = self._trace(*key)
                refuse_hidden_operations(function, self.member.model, self.member.created)
                self._functions[key] = function
                self.n_traces += 1
            return self._functions[key]

    def _trace(self, dtype: tf.DType, shape: tuple[int, ...]) -> tf.types.experimental.ConcreteFunction:
        specs = self.member.specs(self.n_members)
        rows = tf.TensorSpec((None, *shape), dtype)
        function = tf.function(self._predict, autograph=False)
        return function.get_concrete_function(specs.trainable, specs.non_trainable, rows)

    def _predict(self, trainable: list[tf.Tensor], non_trainable: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
        def predict(trainable: list[tf.Tensor], non_trainable: list[tf.Tensor]) -> tf.Tensor:
            return self.member.predict(trainable, non_trainable, x)

        return each_member(self.mode, self.n_members, predict, trainable, non_trainable)
