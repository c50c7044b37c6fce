"""Keras' optimizers as pure functions of tensors, for one member or for all members at once.

Keras' TensorFlow optimizers write to ``tf.Variable`` through ``tf.distribute`` and refuse ``stateless_apply``.
Subclasses made on the fly restore the backend-neutral methods of Keras' own base class, so that every update rule is
Keras' code:

- `MemberOptimizer`: the update of one member. Works for every optimizer; the caller maps it over the members.
- `FlatOptimizer`: the update of all members at once, for optimizers whose rule is elementwise. All variables of all
  members are seen as one variable of shape (n_members, n_values). The same arithmetic in far fewer operations, which
  is faster to trace, to compile and to run.

Private Keras names (checked with Keras 3.8 and 3.15): the underscored methods of ``BaseOptimizer`` that `_Pure`
restores, ``_iterations``, ``_learning_rate``, ``_trainable_variables``, ``_model_variables_moving_average``,
``_accumulated_gradients`` and, of ``Variable``, ``_shape``. Keras has no public functional update for TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer

from skensemble._compat.keras import excluded_from_weight_decay
from skensemble._engine.all_backends.hyperparameters import Hyperparameter, bound
from skensemble._engine.tensorflow.mapping import map_members
from skensemble._engine.variables import CONSTANT_START, optimizer_variables
from skensemble.exceptions import NotFusableError

#: Optimizers whose update of an element depends only on that element's gradient, slots and the step: exact types, since
#: a subclass may differ.
ELEMENTWISE = tuple(kind for kind in CONSTANT_START if kind.__name__ not in ("Adafactor", "Lamb", "Muon"))


class _Pure(TFOptimizer):
    """Keras' backend-neutral, functional update in place of TensorFlow's.

    Comes after the optimizer's own class and before TensorFlow's, so what an optimizer overrides (Nadam, Muon) is kept.
    """

    assign, assign_add, assign_sub = BaseOptimizer.assign, BaseOptimizer.assign_add, BaseOptimizer.assign_sub
    _backend_update_step = BaseOptimizer._backend_update_step
    _apply_weight_decay = BaseOptimizer._apply_weight_decay
    _var_key = BaseOptimizer._var_key
    add_variable_from_reference = BaseOptimizer.add_variable_from_reference

    def _backend_apply_gradients(
        self, grads: list[tf.Tensor | tf.IndexedSlices], trainable_variables: list[keras.Variable]
    ) -> None:
        """Update without `cond`: values assigned inside a branch would not leave it (so Keras' JAX backend)."""
        if self.gradient_accumulation_steps:
            self._accumulate(grads, trainable_variables)
        else:
            self._update(grads, trainable_variables)
        if self.use_ema:
            self._update_model_variables_moving_average(self._trainable_variables)
            if self.ema_overwrite_frequency:
                overwrite = (self.iterations + 1) % self.ema_overwrite_frequency == 0
                for variable, average in zip(
                    self._trainable_variables, self._model_variables_moving_average, strict=True
                ):
                    if average is not None:
                        variable.assign(tf.where(overwrite, average.value, variable.value))

    def _update(self, grads: list[tf.Tensor | tf.IndexedSlices], trainable_variables: list[keras.Variable]) -> None:
        grads = self._clip_gradients(grads)
        self._apply_weight_decay(trainable_variables)
        self._backend_update_step(grads, trainable_variables, self.learning_rate)

    def _accumulate(self, grads: list[tf.Tensor | tf.IndexedSlices], trainable_variables: list[keras.Variable]) -> None:
        """Do the update in every step, and keep it only where the accumulated step is complete."""
        steps = self.gradient_accumulation_steps
        complete = tf.equal((self._iterations.value + 1) % steps, 0)
        accumulators = [self._accumulated_gradients[self._get_variable_index(v)] for v in trainable_variables]
        sums = [g + a.value for g, a in zip(grads, accumulators, strict=True)]
        watched = [*trainable_variables, *(v for v in optimizer_variables(self) if v is not self._iterations)]
        before = [v.value for v in watched]
        self._update([s / steps for s in sums], trainable_variables)
        for variable, old in zip(watched, before, strict=True):
            variable.assign(tf.where(complete, variable.value, old))
        for accumulator, total in zip(accumulators, sums, strict=True):
            accumulator.assign(tf.where(complete, tf.zeros_like(total), total))


class _Recorded(BaseOptimizer):
    """Remember which slot (by name) belongs to which variable."""

    @property
    def slots(self) -> list[tuple[str, keras.Variable, keras.Variable]]:
        """(name, variable, its slot) of each."""
        return self.__dict__.get("recorded", [])

    def add_variable_from_reference(
        self, reference_variable: keras.Variable, name: str | None = None, initializer: Any = "zeros"
    ) -> keras.Variable:
        slot = super().add_variable_from_reference(reference_variable, name, initializer)
        self.__dict__.setdefault("recorded", []).append((name, reference_variable, slot))
        return slot


class _Flat(_Recorded):
    """Learning rates of all members are computed by the caller: a schedule sees one member's step at a time.

    Attributes
    ----------
    rates : keras.Variable
        Represents the learning rates of all members.
    """

    rates: keras.Variable

    def _get_current_learning_rate(self) -> keras.Variable:
        return self.rates


def _subclass(base: type[_Recorded], kind: type[keras.optimizers.Optimizer], config: dict[str, Any]) -> _Recorded:
    """An optimizer with `config` whose methods come from `base`, then `kind`, then `_Pure`."""
    pure: Any = type(base.__name__.strip("_") + kind.__name__, (base, kind, _Pure), {})
    return pure.from_config(config)


class MemberOptimizer:
    """Update one member: Keras' `apply` as a pure function of tensors.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        Copied, never written to.
    variables : list of keras.Variable
        The trainable variables of one member, never written to.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]) -> None:
        self.kind = type(optimizer)
        self.config = optimizer.get_config()
        self.optimizer = _subclass(_Recorded, self.kind, self.config)
        pattern = excluded_from_weight_decay(optimizer)
        if pattern:
            self.optimizer.exclude_from_weight_decay(var_names=[pattern])
        self.optimizer.build(variables)
        self.trainable = variables
        self.variables = optimizer_variables(self.optimizer)
        self.initial = [v.numpy() for v in self.variables]
        where = {id(v): i for i, v in enumerate(self.variables)}
        self.rate_index = where.get(id(self.optimizer._learning_rate))
        self.average_index: list[int | None] | None = None
        if self.optimizer.use_ema:
            self.average_index = [where.get(id(v)) for v in self.optimizer._model_variables_moving_average]

    def pack(self, own: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The variables of all members as the loops carry them: as Keras orders them."""
        return own

    def unpack(self, packed: Sequence[tf.Tensor]) -> Sequence[tf.Tensor]:
        """The inverse of `pack`."""
        return packed

    def apply(
        self,
        trainable: Sequence[tf.Tensor],
        own: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """New values of `trainable` and of the optimizer's `own` variables, tensors of one member."""
        mapping = [*zip(self.trainable, trainable, strict=True), *zip(self.variables, own, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            _apply(self.optimizer, gradients, self.trainable)
        if set(scope.state_mapping) - {id(variable) for variable, _ in mapping}:
            raise NotFusableError(f"the optimizer {self.kind.__name__} changes a variable that it does not track")
        new = scope.get_current_value
        return [new(v) for v in self.trainable], [new(v) for v in self.variables]


def _apply(
    optimizer: _Recorded,
    gradients: Sequence[tf.Tensor | tf.IndexedSlices | None],
    variables: Sequence[keras.Variable],
) -> None:
    """Keras' `apply`, inside a StatelessScope.

    Keras 3.8 counts the step in the method that `_Pure` replaces, Keras 3.15 in `apply`.
    """
    before = optimizer._iterations.value
    optimizer.apply(gradients, variables)
    if optimizer._iterations.value is before:
        optimizer._iterations.assign_add(1)


def is_elementwise(member: MemberOptimizer) -> bool:
    """Whether `FlatOptimizer` gives the result of a `MemberOptimizer`."""
    optimizer, variables = member.optimizer, member.trainable
    if not variables:
        return False
    recorded = {id(slot) for _, _, slot in optimizer.slots}
    return (
        member.kind in ELEMENTWISE
        # Keras 3.8 does not say which accumulators of Adagrad and Ftrl belong to which variable.
        and all(len(v.shape) == 0 or id(v) in recorded for v in member.variables)
        and not optimizer.clipnorm
        and not optimizer.global_clipnorm
        and not optimizer.gradient_accumulation_steps
        and not excluded_from_weight_decay(optimizer)
        and all(v.constraint is None and not v.overwrite_with_gradient for v in variables)
        and len({v.dtype for v in variables}) == 1
    )


def is_linear(member: MemberOptimizer) -> bool:
    """Whether a `MemberOptimizer` uses gradients only in sums: sparse and dense gradients then give the same."""
    optimizer = member.optimizer
    if optimizer.gradient_accumulation_steps:
        return True
    linear = member.kind in (keras.optimizers.SGD, keras.optimizers.Lion)
    return linear and not (optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue)


class FlatOptimizer:
    """Update all members at once, all their variables seen as one of shape (n_members, n_values).

    Parameters
    ----------
    member : MemberOptimizer
        `is_elementwise` must hold for its optimizer and variables.
    n_members : int
    hyperparameters : list of Hyperparameter
        Those of the member's model that are inputs.
    """

    def __init__(self, member: MemberOptimizer, n_members: int, hyperparameters: Sequence[Hyperparameter] = ()) -> None:
        self.hyperparameters = hyperparameters
        self.schedule = member.optimizer._learning_rate
        self.shapes = [tuple(v.shape) for v in member.trainable]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.optimizer = flat = _subclass(_Flat, member.kind, member.config)
        for name, value in vars(member.optimizer).items():
            if isinstance(value, Hyperparameter):
                object.__setattr__(flat, name, value)
        outline = keras.Variable(tf.zeros(()), dtype=member.trainable[0].dtype, name="all")
        flat.build([outline])
        scalars = _scalars(flat)
        shape = (n_members, sum(self.sizes))
        self.outline = _reshaped(outline, shape)
        self.scalars = [_reshaped(v, (n_members, 1)) for v in scalars]
        self.slots = [_reshaped(slot, shape) for _, _, slot in flat.slots]
        self.rate_index = next((i for i, v in enumerate(scalars) if v is flat._learning_rate), None)
        self.iterations_index = next(i for i, v in enumerate(scalars) if v is flat._iterations)
        rates = keras.Variable(tf.zeros(()), dtype=keras.config.floatx(), name="rates")
        object.__setattr__(flat, "rates", _reshaped(rates, (n_members, 1)))  # not to be tracked
        self._index(member, [name for name, _, _ in flat.slots])

    def _index(self, member: MemberOptimizer, slot_names: list[str]) -> None:
        """Where Keras keeps each scalar and each variable's slot among the optimizer's variables."""
        where = {id(v): i for i, v in enumerate(member.variables)}
        slots = {(name, id(v)): where[id(slot)] for name, v, slot in member.optimizer.slots}
        self.scalar_index = [where[id(v)] for v in _scalars(member.optimizer)]
        self.slot_index = [[slots[name, id(v)] for v in member.trainable] for name in slot_names]

    def flatten(self, values: list[tf.Tensor]) -> tf.Tensor:
        """List of (n_members, *shape), one per variable -> (n_members, n_values)."""
        flat = [tf.reshape(v, (v.shape[0], size)) for v, size in zip(values, self.sizes, strict=True)]
        return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)

    def unflatten(self, flat: tf.Tensor) -> list[tf.Tensor]:
        """(n_members, n_values) -> list of (n_members, *shape), one per variable."""
        parts = tf.split(flat, self.sizes, axis=1) if len(self.sizes) > 1 else [flat]
        return [tf.reshape(p, (flat.shape[0], *shape)) for p, shape in zip(parts, self.shapes, strict=True)]

    @property
    def packed_specs(self) -> list[tf.TensorSpec]:
        """Specs of what `pack` returns."""
        return [tf.TensorSpec(v.shape, v.dtype) for v in (*self.scalars, *self.slots)]

    def pack(self, own: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The optimizer's variables as Keras orders them -> [scalars (n_members, 1)], [slots (n_members, n_values)]."""
        scalars = [tf.reshape(own[i], (-1, 1)) for i in self.scalar_index]
        return scalars + [self.flatten([own[i] for i in index]) for index in self.slot_index]

    def unpack(self, packed: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The inverse of `pack`."""
        values: list[tf.Tensor] = [None] * (len(self.scalar_index) + sum(map(len, self.slot_index)))
        for i, value in zip(self.scalar_index, packed, strict=False):
            values[i] = value[:, 0]
        for index, slot in zip(self.slot_index, packed[len(self.scalar_index) :], strict=True):
            for i, value in zip(index, self.unflatten(slot), strict=True):
                values[i] = value
        return values

    def apply(
        self,
        trainable: list[tf.Tensor],
        packed: list[tf.Tensor],
        gradients: list[tf.Tensor],
        hyperparameters: Sequence[tf.Tensor] = (),
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Keras' `apply`: new `trainable` (list of (n_members, *shape)) and `packed`."""
        trainable, gradients = self.flatten(trainable), self.flatten(gradients)
        cells = self.scalars + self.slots
        rates = self.optimizer.rates, self._rates(packed)
        mapping = [(self.outline, trainable), rates, *zip(cells, packed, strict=True)]
        of_members = [values[:, None] for values in hyperparameters]
        with keras.StatelessScope(state_mapping=mapping) as scope, bound(self.hyperparameters, of_members):
            _apply(self.optimizer, [gradients], [self.outline])
        return self.unflatten(scope.get_current_value(self.outline)), [scope.get_current_value(cell) for cell in cells]

    def _rates(self, packed: Sequence[tf.Tensor]) -> tf.Tensor:
        """The learning rate of each member, (n_members, 1); a schedule is mapped: it may branch on the step."""
        if self.rate_index is not None:
            return packed[self.rate_index]
        steps = packed[self.iterations_index]
        return map_members(lambda i: tf.convert_to_tensor(self.schedule(i[0])), steps)[:, None]


def _scalars(optimizer: _Recorded) -> list[keras.Variable]:
    slots = {id(slot) for _, _, slot in optimizer.slots}
    return [v for v in optimizer_variables(optimizer) if id(v) not in slots]


def _reshaped(variable: keras.Variable, shape: tuple[int, ...]) -> keras.Variable:
    """Let `variable` represent values of `shape` in a StatelessScope without holding memory for them."""
    variable._shape = shape
    variable._ndim = len(shape)
    return variable
