"""Members that were trained together: their variables stacked, each built as an estimator when it is first used."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias

import keras
import numpy as np
from sklearn.base import BaseEstimator, clone

from skensemble._compat.keras import build_optimizer
from skensemble._compat.scikeras_building import rebuild_model, replace_model
from skensemble._engine.forward import forward, forward_alone, stack_values
from skensemble._engine.records import Variables
from skensemble._engine.variables import write_state
from skensemble._members.pickling import CheckedPickling
from skensemble._members.spec import unwrapped
from skensemble.exceptions import NotFusableError

History = dict[str, list]


@dataclasses.dataclass(eq=False)
class StackedMembers(CheckedPickling):
    """Copies of one estimator after the fused training: one initialized estimator, and the variables of every copy.

    Attributes
    ----------
    prototype : scikeras estimator
        Initialized; its model represents the architecture, and its values are not those of any member. None on the way
        from a worker to a process that has it.
    seeds : list of int
    variables : Variables
        Stacked: arrays of shape (n_copies, ...).
    histories : list of dict of str to list of float
    """

    prototype: Any
    seeds: list[int]
    variables: Variables
    histories: list[History]

    def __getstate__(self) -> dict[str, Any]:
        if self.prototype is not None:
            build_optimizer(self.prototype.model_)
        return vars(self)

    def values(self, k: int) -> Variables:
        """Variables of copy `k`."""
        return self.variables.map(itemgetter(k))

    def build(self, k: int) -> BaseEstimator:
        """Copy `k` as an ordinary fitted scikeras estimator."""
        member = clone(self.prototype).set_params(random_state=self.seeds[k])
        model = rebuild_model(self.prototype, self.seeds[k])
        write_state(model, self.values(k))
        build_optimizer(model)  # Keras warns when it loads a model whose optimizer was not built
        return replace_model(self.prototype, member, model, self.histories[k])

    def predict(self, copies: list[int], built: Sequence["BuiltMember | None"], X: Any) -> np.ndarray:
        """Outputs of some copies, (len(copies), n_samples, ...).

        Parameters
        ----------
        copies : list of int
        built : list of BuiltMember or None
            Copies that were built have their values in their models, in which they may have been trained further.
        X : ndarray of shape (n_samples, ...)
        """
        values = self.variables._replace(optimizer=[])
        if any(copy is not None for copy in built):
            values = stack_values(
                [self.values(k)[:2] if copy is None else copy.values() for k, copy in zip(copies, built, strict=True)]
            )
        elif copies != list(range(len(self.seeds))):
            values = values.map(itemgetter(copies))
        return self._outputs(values, X, partial(rebuild_model, self.prototype, self.seeds[0]))

    def _outputs(self, values: Variables, X: Any, rebuild: Callable[[], keras.Model] | None = None) -> np.ndarray:
        """Outputs of copies by their stacked values: together where that is possible."""
        try:
            return forward(self.prototype.model_, values, X, rebuild)
        except NotFusableError:  # a layer does in inference what it does not in training, or trained on another backend
            n_copies = len((values.trainable or values.non_trainable)[0])
            alone = ([[np.asarray(v[k]) for v in part] for part in values[:2]] for k in range(n_copies))
            return self._predict_alone(alone, X)

    def _predict_alone(self, values: Iterable[Sequence[list]], X: Any) -> np.ndarray:
        """Outputs of copies one after the other, by the network of the prototype."""
        outputs = []
        for trainable, non_trainable in values:
            write_state(self.prototype.model_, Variables(trainable, non_trainable, []))
            outputs.append(forward_alone(self.prototype.model_, X))
        return np.stack(outputs)


@dataclasses.dataclass(frozen=True, eq=False)
class StackedMember:
    """One of `StackedMembers`, not built yet.

    Attributes
    ----------
    stack : StackedMembers
    index : int
        Its index in the stack.
    """

    stack: StackedMembers
    index: int

    @property
    def history(self) -> History:
        """Keras' history of its training."""
        return self.stack.histories[self.index]

    def values(self) -> Variables:
        """Its variables."""
        return self.stack.values(self.index)

    def build(self) -> BaseEstimator:
        """The member as an ordinary fitted scikeras estimator."""
        return self.stack.build(self.index)


#: A fitted member as it is kept: an estimator, or a copy that was not built yet.
FittedMember: TypeAlias = BaseEstimator | StackedMember


class BuiltMember:
    """A copy that was built, and the variables that the forward pass reads; finding them takes longer than reading."""

    def __init__(self, estimator: BaseEstimator) -> None:
        self.estimator, self.model = estimator, estimator.model_
        self.variables = self.model.trainable_variables, self.model.non_trainable_variables

    def values(self) -> tuple[list, list]:
        """Values of the variables as they are now: trainable, and not trainable."""
        trainable, non_trainable = ([v.value for v in part] for part in self.variables)
        return trainable, non_trainable

    def is_current(self) -> bool:
        """Whether the estimator still has the model it was built with: another `fit` gives it a new one."""
        return self.estimator.model_ is self.model

    def is_unchanged(self, member: StackedMember) -> bool:
        """Whether the estimator is still what `member.build()` returns."""
        if not self.is_current() or self.estimator.history_ != member.history:
            return False
        params = {**member.stack.prototype.get_params(), "random_state": member.stack.seeds[member.index]}
        own = self.estimator.get_params()
        pairs = zip(itertools.chain(*self.values()), itertools.chain(*member.values()[:2]), strict=True)
        return (
            own.keys() == params.keys()
            and all(_is_same(value, params[name]) for name, value in own.items())
            and all(np.array_equal(value, kept, equal_nan=True) for value, kept in pairs)
        )


def _is_same(value: Any, other: Any) -> bool:
    """Whether two parameters are equal; objects that cannot be compared count as equal if they have the same class."""
    if value is other or type(value).__eq__ is object.__eq__:
        return type(value) is type(other)
    return type(value) is type(other) and repr(value) == repr(other)


def estimator_of(member: FittedMember) -> BaseEstimator:
    """The estimator of a fitted member: the prototype for a copy that was not built, what a frozen one holds."""
    return member.stack.prototype if isinstance(member, StackedMember) else unwrapped(member)
