"""Starting values of many copies of a network, drawn from its initializers without building each copy.

Building a small Keras model takes 15 to 20 ms, drawing its values one. Keras draws the seed of each initializer and of
each `SeedGenerator` from Python's global generator, in the order of construction. So what the builder would give under
another seed can be computed. This is checked against a second model that is actually built. If anything differs (values
set by the builder, random architectures, initializers that Keras does not know), every copy is built.
"""

import copy
import dataclasses
import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np

from skensemble._compat.global_seeds import seeded
from skensemble._compat.keras import recorded_initializers
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.scikeras_building import rebuild_model
from skensemble._engine.records import Variables
from skensemble._engine.variables import read_state
from skensemble._members.architecture import signature
from skensemble._members.output_check import initialize_checked
from skensemble._members.same_network import network_keys, take_over
from skensemble.exceptions import NotFusableError

# Starting values that are kept for copies of one network take at most about this many bytes.
_KEPT_BYTES = 64 * 2**20
_LARGEST_SEED = 10**9  # keras.src.random.seed_generator.make_default_seed draws randint(1, 1e9)


@dataclasses.dataclass(frozen=True, eq=False)
class BuiltNetwork:
    """A network that was built under a seed, and where its values come from.

    Attributes
    ----------
    estimator : scikeras estimator
        Initialized, not trained.
    seed : int
    initializers : dict of int to Initializer
        As in `recorded_initializers`.
    drawn : list of int
        Seeds that Keras drew.
    is_keras_alone : bool
        Whether nothing else has drawn random numbers.
    """

    estimator: BaseWrapper
    seed: int
    initializers: Mapping[int, Any]
    drawn: Sequence[int]
    is_keras_alone: bool


def build_network(estimator: BaseWrapper, seed: int, X: Any, y: np.ndarray) -> BuiltNetwork:
    """Initialize `estimator`, a clone, under a seed."""
    with recorded_initializers() as initializers, seeded(seed) as drawn:
        python_state: Any = random.getstate()
        numpy_state: Any = np.random.get_state()
        initialize_checked(estimator, X, y)
        numpy_now: Any = np.random.get_state()
        is_keras_alone = random.getstate() == python_state and all(
            map(np.array_equal, numpy_state[1:3], numpy_now[1:3])
        )
    return BuiltNetwork(estimator, seed, initializers, drawn, is_keras_alone)


class KeptNetworks:
    """Networks of the fits of a search: those that would be built alike, on data of one shape, are built once.

    Each fit has its own estimator, with its own parameters and what it has learned. It shares the model with others,
    and none of them changes it.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, StartingValues] = {}
        self._of_builder: dict[Hashable, StartingValues] = {}

    def starting_values(self, estimator: BaseWrapper, seed: int, X: Any, y: np.ndarray) -> "StartingValues | None":
        """Initialize `estimator`, a clone, and return the starting values of its copies; None if none is built alike.

        The estimator is then not initialized.
        """
        key, builder = network_keys(estimator, X, y)
        if key is None:
            return None
        if key in self._kept:
            values = self._kept[key]
            take_over(estimator, values.built.estimator, X, y)
            values.forget(_KEPT_BYTES)
            return values
        values = self._kept[key] = StartingValues(build_network(estimator, seed, X, y))
        if builder in self._of_builder:
            values.share(self._of_builder[builder])
        self._of_builder.setdefault(builder, values)
        return values


#: The networks of the current search; None where there is none.
KEPT: ContextVar[KeptNetworks | None] = ContextVar("kept", default=None)


def initialize_members(
    estimator: BaseWrapper,
    seeds: Sequence[int],
    X: Any,
    y: np.ndarray,
    check: Callable[[], None] | None = None,
    built: BuiltNetwork | None = None,
) -> list[Variables]:
    """Initialize `estimator` under the first seed and return the starting values of a member for each seed.

    Parameters
    ----------
    estimator : scikeras estimator
        A clone; changed in place: built and compiled, not trained.
    seeds : list of int
    X, y : ndarray
        What the estimator is initialized with.
    check : callable, optional
        Called once the estimator is initialized, before anything is drawn for the others; may raise.
    built : BuiltNetwork, optional
        The estimator, if it was already built under the first seed.

    Returns
    -------
    list of Variables
        As returned by `read_state`, equal bit for bit to those of models built under each seed; `optimizer` lacks what
        Keras has not built yet.

    Raises
    ------
    NotFusableError
        Where the builder gives other architectures for other seeds.
    """
    kept = KEPT.get() if built is None else None
    values = None if kept is None else kept.starting_values(estimator, seeds[0], X, y)
    if values is None:
        values = StartingValues(build_network(estimator, seeds[0], X, y) if built is None else built)
    if check is not None:
        check()
    return values.of(seeds)


class StartingValues:
    """Starting values of copies of a network, by their seeds.

    Parameters
    ----------
    built : BuiltNetwork
    """

    def __init__(self, built: BuiltNetwork) -> None:
        self.built = built
        self._known = {built.seed: read_state(built.estimator.model_)}
        self._recipe: _Recipe | None = None

    def of(self, seeds: Sequence[int]) -> list[Variables]:
        """Starting values under each seed."""
        for seed in seeds:
            if seed not in self._known:
                self._known[seed] = self._new(seed)
        return [self._known[seed] for seed in seeds]

    def share(self, other: "StartingValues") -> None:
        """Use the values of a network that differs only in its optimizer, where they are the same."""
        own = self._known[self.built.seed]
        if other._recipe is None or not _are_equal(other.of([self.built.seed])[0]._replace(optimizer=[]), own):
            return
        self._known = {seed: values._replace(optimizer=own.optimizer) for seed, values in other._known.items()}
        self._recipe = other._recipe.with_optimizer(own.optimizer)

    def forget(self, most_bytes: int) -> None:
        """Forget the values of all seeds except that of the network, if they take more bytes."""
        one = self._known[self.built.seed]
        if len(self._known) * sum(value.nbytes for part in one[:2] for value in part) > most_bytes:
            self._known = {self.built.seed: one}

    def _new(self, seed: int) -> Variables:
        if len(self._known) == 2 and self._recipe is None and self.built.is_keras_alone:
            recipe = _Recipe(self.built.estimator.model_, self.built.initializers, self.built.drawn)
            second, state = list(self._known.items())[1]
            if recipe.gives(second, state):
                self._recipe = recipe
        if self._recipe is not None:
            return self._recipe.draw(seed)
        return _built(self.built.estimator, seed)


def _are_equal(values: Variables, others: Variables) -> bool:
    """Bit for bit, the parts that `values` has."""
    return all(
        a.dtype == b.dtype and np.array_equal(a, b)
        for own, other in zip(values, others, strict=True)
        for a, b in zip(own, other, strict=bool(own))
    )


def _built(estimator: BaseWrapper, seed: int) -> Variables:
    model = rebuild_model(estimator, seed)
    # The first part is the architecture. The rest may hold names with Keras' counters, for optimizers that read names.
    if signature(model)[0] != signature(estimator.model_)[0]:
        raise NotFusableError("the builder gives another architecture for another seed")
    return read_state(model)


def _default_seeds(seed: int, n_draws: int) -> list[int]:
    """The first seeds that Keras draws under this seed."""
    generator = random.Random(seed)
    return [generator.randint(1, _LARGEST_SEED) for _ in range(n_draws)]


class _Recipe:
    """How the value of each variable of a model follows from the seed it was built under."""

    def __init__(self, model: keras.Model, initializers: Mapping[int, Any], drawn: Sequence[int]) -> None:
        self.n_draws = len(drawn)
        position = {seed: i for i, seed in enumerate(drawn)}
        self.rules = [
            [self._rule(v, initializers.get(id(v)), position) for v in part]
            for part in (model.trainable_variables, model.non_trainable_variables)
        ]
        self.optimizer = read_state(model).optimizer

    def draw(self, seed: int) -> Variables:
        """Values of the variables, as returned by `read_state`."""
        drawn = _default_seeds(seed, self.n_draws)
        trainable, non_trainable = ([rule(drawn) for rule in part] for part in self.rules)
        return Variables(trainable, non_trainable, self.optimizer)

    def gives(self, seed: int, state: Variables) -> bool:
        """Whether the drawn values are those of a model that was built under this seed, bit for bit."""
        drawn = self.draw(seed)
        return len(drawn.optimizer) == len(state.optimizer) and _are_equal(drawn, state)

    def with_optimizer(self, values: Sequence[Any]) -> "_Recipe":
        """The same for a network with another optimizer."""
        recipe = copy.copy(self)
        recipe.optimizer = values
        return recipe

    @staticmethod
    def _rule(variable: Any, initializer: Any, position: Mapping[Any, int]) -> Callable[[list[int]], np.ndarray]:
        value = variable.numpy()
        place = position.get(getattr(initializer, "seed", None))
        if isinstance(initializer, keras.initializers.Initializer) and place is not None:
            config, kind, dtype = initializer.get_config(), type(initializer), variable.dtype

            def draw(drawn: list[int]) -> np.ndarray:
                return np.asarray(kind.from_config({**config, "seed": drawn[place]})(value.shape, dtype=dtype))

            return draw
        if value.dtype.kind in "iu" and value.shape == (2,) and int(value[0]) in position:
            index = position[int(value[0])]  # the state of a SeedGenerator: its seed and a counter
            return lambda drawn: np.array([drawn[index], value[1]], dtype=value.dtype)
        return lambda drawn: value
