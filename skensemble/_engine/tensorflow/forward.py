"""The forward pass of all members as a TensorFlow function."""

from __future__ import annotations

from functools import partial

import tensorflow as tf

from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.tensorflow.functional_model import FunctionalModel
from skensemble._engine.tensorflow.traced_functions import MemberFunctions, Traced
from skensemble.exceptions import NotFusableError


class Forward:
    """The forward pass of `n_members` members, traced for each dtype and shape of rows.

    How the members are computed depends only on the architecture: a process that has trained them and one that has
    loaded them must predict the same, bit for bit.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        self.member, self.functions = member, MemberFunctions(member, n_members)

    def function(self, dtype: tf.DType, shape: tuple[int, ...]) -> Traced:
        """Function of (trainable, non_trainable, rows) that returns the outputs of all members."""
        with LOCK:
            try:
                return self._traced(dtype, shape)
            except NotFusableError:
                raise
            except Exception:  # whatever cannot be mapped; another error comes again
                if self.functions.mode == "side by side":
                    raise
                self.functions.work_side_by_side()
                return self._traced(dtype, shape)

    def _traced(self, dtype: tf.DType, shape: tuple[int, ...]) -> Traced:
        def predict(trainable: list[tf.Tensor], non_trainable: list[tf.Tensor], x: tf.Tensor) -> tf.Tensor:
            return self.functions.each(partial(self.member.predict, x), trainable, non_trainable)

        def specs() -> tuple:
            variables = self.member.specs(self.functions.n_members)
            return variables.trainable, variables.non_trainable, tf.TensorSpec((None, *shape), dtype)

        return self.functions.traced((dtype, shape), predict, specs, calls_model=True)
