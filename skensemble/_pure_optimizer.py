"""Keras' optimizers as pure functions of tensors, for one member or for all members at once.

Keras' TensorFlow optimizers write to ``tf.Variable`` through ``tf.distribute`` and refuse ``stateless_apply``.
Subclasses made on the fly take the backend-neutral methods of Keras' own base class back, so that every update rule
stays Keras' code:

- `MemberOptimizer`: the update of one member. Works for every optimizer; the caller maps it over the members.
- `FlatOptimizer`: the update of all members at once, for optimizers whose rule is elementwise. All variables of all
  members are seen as one variable of shape (n_members, n_values). The same arithmetic in far fewer operations, which
  is faster to trace, to compile and to run.

Private Keras names (checked with Keras 3.8 and 3.15): the underscored methods of ``BaseOptimizer`` taken back by
`_Pure`, ``_iterations``, ``_learning_rate``, ``_trainable_variables``, ``_model_variables_moving_average``,
``_accumulated_gradients`` and, of ``Variable``, ``_shape``. Keras has no public functional update for TensorFlow.
"""

import math

import keras
import tensorflow as tf
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.optimizers.base_optimizer import BaseOptimizer

#: Optimizers whose update of an element depends on nothing but that element's gradient, slots and the step: exact
#: types, a subclass may differ.
ELEMENTWISE = tuple(
    getattr(keras.optimizers, name)
    for name in ("SGD", "RMSprop", "Adam", "AdamW", "Adamax", "Nadam", "Adagrad", "Adadelta", "Ftrl", "Lion")
)
#: Optimizers whose slots start from constants; others may start from the variables (ScheduleFreeAdamW).
CONSTANT_START = (
    *ELEMENTWISE,
    *(getattr(keras.optimizers, n) for n in ("Adafactor", "Lamb", "Muon") if hasattr(keras.optimizers, n)),
)


class _Pure(TFOptimizer):
    """Keras' backend-neutral, functional update in place of TensorFlow's.

    Comes after the optimizer's own class and before TensorFlow's: what an optimizer overrides (Nadam, Muon) stays its
    own.
    """

    assign, assign_add, assign_sub = BaseOptimizer.assign, BaseOptimizer.assign_add, BaseOptimizer.assign_sub
    _backend_update_step = BaseOptimizer._backend_update_step
    _apply_weight_decay = BaseOptimizer._apply_weight_decay
    _overwrite_model_variables_with_average_value = BaseOptimizer._overwrite_model_variables_with_average_value
    _var_key = BaseOptimizer._var_key
    add_variable_from_reference = BaseOptimizer.add_variable_from_reference

    def _backend_apply_gradients(self, grads, trainable_variables):
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

    def _update(self, grads, trainable_variables):
        grads = self._clip_gradients(grads)
        self._apply_weight_decay(trainable_variables)
        self._backend_update_step(grads, trainable_variables, self.learning_rate)

    def _accumulate(self, grads, trainable_variables):
        """Do the update in every step and keep it only where the accumulated step is complete."""
        steps = self.gradient_accumulation_steps
        complete = tf.equal((self._iterations.value + 1) % steps, 0)
        accumulators = [self._accumulated_gradients[self._get_variable_index(v)] for v in trainable_variables]
        sums = [g + a.value for g, a in zip(grads, accumulators, strict=True)]
        watched = [*trainable_variables, *(v for v in all_variables(self) if v is not self._iterations)]
        before = [v.value for v in watched]
        self._update([s / steps for s in sums], trainable_variables)
        for variable, old in zip(watched, before, strict=True):
            variable.assign(tf.where(complete, variable.value, old))
        for accumulator, total in zip(accumulators, sums, strict=True):
            accumulator.assign(tf.where(complete, tf.zeros_like(total), total))


class _Recorded:
    """Remember which slot (by name) belongs to which variable."""

    @property
    def slots(self):
        return self.__dict__.get("recorded", [])

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        slot = super().add_variable_from_reference(reference_variable, name, initializer)
        self.__dict__.setdefault("recorded", []).append((name, reference_variable, slot))
        return slot


class _Flat(_Recorded):
    """Learning rates of all members are computed by the caller: a schedule sees one member's step at a time."""

    current_rates = None

    def _get_current_learning_rate(self):
        return self.current_rates


def _subclass(base, kind, config):
    return type(base.__name__.strip("_") + kind.__name__, (base, kind, _Pure), {}).from_config(config)


def all_variables(optimizer):
    """``optimizer.variables`` and those that Keras forgets to track: Nadam's ``_u_product`` (Keras 3.8 to 3.15)."""
    tracked = list(optimizer.variables)
    known = {id(v) for v in tracked}
    return tracked + [v for v in vars(optimizer).values() if isinstance(v, keras.Variable) and id(v) not in known]


class MemberOptimizer:
    """Update one member: Keras' `apply` as a pure function of tensors.

    Parameters
    ----------
    optimizer : keras.optimizers.Optimizer
        Copied, never written to.
    variables : list of keras.Variable
        The trainable variables of one member, never written to.
    """

    def __init__(self, optimizer, variables):
        self.kind = type(optimizer)
        self.config = optimizer.get_config()
        self.optimizer = _subclass(_Recorded, self.kind, self.config)
        for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
            if hasattr(optimizer, name):
                object.__setattr__(self.optimizer, name, getattr(optimizer, name))
        self.optimizer.build(variables)
        self.trainable = variables
        self.variables = all_variables(self.optimizer)
        self.initial = [v.numpy() for v in self.variables]
        where = {id(v): i for i, v in enumerate(self.variables)}
        self.rate_index = where.get(id(self.optimizer._learning_rate))
        self.average_index = None
        if self.optimizer.use_ema:
            self.average_index = [where.get(id(v)) for v in self.optimizer._model_variables_moving_average]

    def apply(self, trainable, slots, gradients):
        """New values of `trainable` and `slots` (ordered as `variables`), tensors of one member."""
        mapping = [*zip(self.trainable, trainable, strict=True), *zip(self.variables, slots, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            _apply(self.optimizer, gradients, self.trainable)
        return [[scope.get_current_value(v) for v in group] for group in (self.trainable, self.variables)]


def _apply(optimizer, gradients, variables):
    """Keras' `apply`, inside a StatelessScope.

    Keras 3.8 counts the step in the method that `_Pure` replaces, Keras 3.15 in `apply`.
    """
    before = optimizer._iterations.value
    optimizer.apply(gradients, variables)
    if optimizer._iterations.value is before:
        optimizer._iterations.assign_add(1)


def is_elementwise(member):
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
        and not getattr(optimizer, "_exclude_from_weight_decay_pattern", None)
        and all(v.constraint is None and not v.overwrite_with_gradient for v in variables)
        and len({v.dtype for v in variables}) == 1
    )


def is_linear(member):
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
    """

    def __init__(self, member, n_members):
        self.schedule = member.optimizer._learning_rate
        self.shapes = [tuple(v.shape) for v in member.trainable]
        self.sizes = [math.prod(shape) for shape in self.shapes]
        self.optimizer = flat = _subclass(_Flat, member.kind, member.config)
        outline = keras.Variable(tf.zeros(()), dtype=member.trainable[0].dtype, name="all")
        flat.build([outline])
        scalars = _scalars(flat)
        shape = (n_members, sum(self.sizes))
        self.outline = _reshaped(outline, shape)
        self.scalars = [_reshaped(v, (n_members, 1)) for v in scalars]
        self.slots = [_reshaped(slot, shape) for _, _, slot in flat.slots]
        self._index(member, [name for name, _, _ in flat.slots])

    def _index(self, member, slot_names):
        """Where Keras keeps each scalar and each variable's slot among the optimizer's variables."""
        where = {id(v): i for i, v in enumerate(member.variables)}
        column = {id(v): i for i, v in enumerate(member.trainable)}
        self.scalar_index = [where[id(v)] for v in _scalars(member.optimizer)]
        self.slot_index = [[None] * len(column) for _ in slot_names]
        for name, reference, slot in member.optimizer.slots:
            self.slot_index[slot_names.index(name)][column[id(reference)]] = where[id(slot)]

    def flatten(self, values):
        """List of (n_members, *shape), one per variable -> (n_members, n_values)."""
        flat = [tf.reshape(v, (v.shape[0], size)) for v, size in zip(values, self.sizes, strict=True)]
        return flat[0] if len(flat) == 1 else tf.concat(flat, axis=1)

    def unflatten(self, flat):
        """(n_members, n_values) -> list of (n_members, *shape), one per variable."""
        parts = tf.split(flat, self.sizes, axis=1) if len(self.sizes) > 1 else [flat]
        return [tf.reshape(p, (flat.shape[0], *shape)) for p, shape in zip(parts, self.shapes, strict=True)]

    def pack(self, optimizer_variables):
        """The optimizer's variables as Keras orders them -> [scalars (n_members, 1)], [slots (n_members, n_values)]."""
        scalars = [tf.reshape(optimizer_variables[i], (-1, 1)) for i in self.scalar_index]
        return scalars + [self.flatten([optimizer_variables[i] for i in index]) for index in self.slot_index]

    def unpack(self, packed):
        """The inverse of `pack`."""
        values = [None] * (len(self.scalar_index) + sum(map(len, self.slot_index)))
        for i, value in zip(self.scalar_index, packed, strict=False):
            values[i] = value[:, 0]
        for index, slot in zip(self.slot_index, packed[len(self.scalar_index) :], strict=True):
            for i, value in zip(index, self.unflatten(slot), strict=True):
                values[i] = value
        return values

    def apply(self, trainable, packed, gradients):
        """Keras' `apply`: new `trainable` (list of (n_members, *shape)) and `packed`."""
        trainable, gradients = self.flatten(trainable), self.flatten(gradients)
        cells = self.scalars + self.slots
        self.optimizer.current_rates = self._rates(packed)
        mapping = [(self.outline, trainable), *zip(cells, packed, strict=True)]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            _apply(self.optimizer, [gradients], [self.outline])
        self.optimizer.current_rates = None
        return self.unflatten(scope.get_current_value(self.outline)), [scope.get_current_value(cell) for cell in cells]

    def _rates(self, packed):
        """The learning rate of each member, (n_members, 1); a schedule is mapped: it may branch on the step."""
        where = [i for i, v in enumerate(self.scalars) if v is self.optimizer._learning_rate]
        if where:
            return packed[where[0]]
        iterations = packed[next(i for i, v in enumerate(self.scalars) if v is self.optimizer._iterations)]
        return tf.vectorized_map(
            lambda i: tf.convert_to_tensor(self.schedule(i[0])), iterations, fallback_to_while_loop=False
        )[:, None]


def _scalars(optimizer):
    slots = {id(slot) for _, _, slot in optimizer.slots}
    return [v for v in all_variables(optimizer) if id(v) not in slots]


def _reshaped(variable, shape):
    """Let `variable` stand for values of `shape` in a StatelessScope without holding memory for them."""
    variable._shape = tuple(shape)
    variable._ndim = len(shape)
    return variable
