"""One step of all members as a TensorFlow function, traced with a batch dimension that is not known.

A partial batch is thus a step of its own size, never padded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from skensemble._engine.all_backends.prototype import LOCK
from skensemble._engine.records import Data, ValidationData, Variables
from skensemble._engine.tensorflow.cost_model import Compiled
from skensemble._engine.tensorflow.data import first_rows, present, specs_of
from skensemble._engine.tensorflow.functional_model import FunctionalModel
from skensemble._engine.tensorflow.member_step import (
    Batch,
    FunctionalStep,
    Gradients,
    MissingGradientError,
    SparseGradientError,
    replaced,
)
from skensemble._engine.tensorflow.optimizer import FlatOptimizer, MemberOptimizer, is_elementwise
from skensemble._engine.tensorflow.traced_functions import MemberFunctions, Traced
from skensemble.exceptions import NotFusableError


class Steps:
    """The training and the evaluation step of `n_members` members of one architecture.

    Parameters
    ----------
    member : FunctionalModel
    n_members : int

    Attributes
    ----------
    functions : MemberFunctions
        The steps, and whatever is made of them.
    flat : FlatOptimizer or None
        Updates all members at once, where the rule of the optimizer allows.
    keep_sparse : bool
        Sparse gradients (of embeddings) are passed to the optimizer as they are: Keras squares and clips the entries of
        a row that occurs twice separately.
    """

    def __init__(self, member: FunctionalModel, n_members: int) -> None:
        self.member, self.n_members = member, n_members
        self.functions = MemberFunctions(member, n_members)
        self._of_member: FunctionalStep | None = None
        self.flat: FlatOptimizer | None = None
        if is_elementwise(member.optimizer):
            self.flat = FlatOptimizer(member.optimizer, n_members, member.hyperparameters)
        self.keep_sparse = False

    @property
    def of_member(self) -> FunctionalStep:
        """The step of one member, for targets of the shape that was traced last."""
        if self._of_member is None:
            raise RuntimeError("There is no step before `trace`.")
        return self._of_member

    @property
    def optimizer(self) -> FlatOptimizer | MemberOptimizer:
        """What updates the members; the loops carry its variables as it packs them."""
        return self.member.optimizer if self.flat is None else self.flat

    def zero_metrics(self) -> list[tf.Tensor]:
        """Values of the metrics at the start of an epoch, stacked."""
        return self.of_member.metrics.zero(self.n_members)

    def trace(self, data: Data, validation: ValidationData | None) -> None:
        """Trace the steps for targets of this shape, side by side where they cannot be mapped."""
        with LOCK:
            if self._of_member is None or self._of_member.target_shape != tuple(data.y.shape[1:]):
                self._of_member = FunctionalStep(self.member, first_rows(data), recompile=self._of_member is not None)
                self.functions.forget()
            while not self._traces(data, validation):
                pass

    def _traces(self, data: Data, validation: ValidationData | None) -> bool:
        """Whether the steps can be traced; if not, the obstacle has been removed for the next attempt."""
        try:
            self.train(specs_of(present(data)))
            if validation is not None:
                self.test(specs_of(present(validation.data)))
        except MissingGradientError:  # Keras leaves such variables alone
            self.flat = None
        except SparseGradientError:
            self.keep_sparse, self.flat = True, None
            self.functions.work_side_by_side()
        except NotFusableError:
            raise
        except Exception as error:  # whatever a user's layer, loss or metric raises
            if self.functions.mode == "side by side":
                first_line = str(error).strip().split("\n")[0]
                reason = f"the training step cannot be traced ({type(error).__name__}: {first_line})"
                raise NotFusableError(reason) from error
            self.functions.work_side_by_side()
        else:
            return True
        return False

    def train(self, specs: Sequence[tf.TensorSpec], xla: Compiled = None) -> Traced:
        """(variables, metrics, batch) -> (variables, metrics) of all members, the optimizer's packed."""

        def gradients(variables: Variables, metrics: list[tf.Tensor], batch: Batch) -> Gradients:
            found = self.of_member.gradients(variables, metrics, batch)
            if any(g is None for g in found.values):
                raise MissingGradientError
            return found

        def update_each(variables: Variables, metrics: list[tf.Tensor], batch: Batch) -> tuple:
            return self.of_member.train(variables, metrics, batch, keep_sparse=self.keep_sparse)

        def step(carry: Variables, metrics: list[tf.Tensor], batch: Batch) -> tuple[Variables, list[tf.Tensor]]:
            if self.flat is None:
                return self.functions.each(update_each, carry, metrics, batch)
            found = self.functions.each(gradients, carry._replace(optimizer=[]), metrics, batch)
            update = tf.function(self.flat.apply, autograph=False, jit_compile=xla == "update")
            trainable, optimizer = update(
                replaced(carry.trainable, found.assigned), carry.optimizer, found.values, carry.hyperparameters
            )
            new = carry._replace(trainable=trainable, non_trainable=found.non_trainable, optimizer=optimizer)
            return new, found.metrics

        def variables() -> Variables:
            own = self.member.specs(self.n_members)
            return own if self.flat is None else own._replace(optimizer=self.flat.packed_specs)

        return self._traced("train with compiled update" if xla == "update" else "train", step, variables, specs)

    def test(self, specs: Sequence[tf.TensorSpec]) -> Traced:
        """(variables, metrics, batch) -> (changed variables by index, metrics) of all members."""

        def step(variables: Variables, metrics: list[tf.Tensor], batch: Batch) -> tuple:
            return self.functions.each(self.of_member.evaluate, variables, metrics, batch)

        def variables() -> Variables:
            return self.member.specs(self.n_members)._replace(optimizer=[])

        return self._traced("test", step, variables, specs)

    def _traced(
        self, name: str, step: Callable, variables: Callable[[], Variables], specs: Sequence[tf.TensorSpec]
    ) -> Traced:
        """The step traced for data of these specs, once; `variables` returns the specs of its variables."""
        shapes = [spec.shape[1:] if i < 2 else () for i, spec in enumerate(specs)]
        batch = tuple(
            tf.TensorSpec((self.n_members, None, *shape), s.dtype) for shape, s in zip(shapes, specs, strict=True)
        )

        def arguments() -> tuple:
            return variables(), self.of_member.metrics.specs(self.n_members), batch

        return self.functions.traced((name, batch), step, arguments, calls_model=True)

    def has_loops(self, data: Data) -> bool:
        """Whether the training step holds a loop, such as that of a recurrent layer."""
        operations = self.train(specs_of(present(data))).graph.get_operations()
        return any(operation.type in ("While", "StatelessWhile") for operation in operations)
