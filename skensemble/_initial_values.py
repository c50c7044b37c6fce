"""Starting values of many copies of a network, drawn from its initializers without building each copy.

Building a small Keras model takes 15 to 20 ms, drawing its values one. Keras draws the seed of each initializer and of
each `SeedGenerator` from Python's global generator, in the order of construction. So it can be worked out what the
builder would give under another seed. That is checked against a second model which really is built; where anything
differs (values set by the builder, random architectures, initializers that Keras does not know), every copy is built.
"""

import random

import keras
import numpy as np

from skensemble._compat import initialize, rebuild_model, recorded_initializers, recorded_seeds, seeded
from skensemble._program import NotFusable, read_state, signature

_LARGEST_SEED = 10**9  # keras.src.random.seed_generator.make_default_seed draws randint(1, 1e9)


def initialize_members(estimator, seeds, X, y):
    """Initialize `estimator` under the first seed and give the starting values of a member for each seed.

    Parameters
    ----------
    estimator : scikeras estimator
        A clone; changed in place: built and compiled, not trained.
    seeds : list of int
    X, y : ndarray
        What the estimator is initialized with.

    Returns
    -------
    list of (trainable, non_trainable, optimizer)
        As of `read_state`, equal bit for bit to those of models built under each seed; `optimizer` lacks slots that
        Keras has not built yet.

    Raises
    ------
    NotFusable
        Where the builder gives other architectures for other seeds.
    """
    with recorded_initializers() as initializers, recorded_seeds() as drawn, seeded(seeds[0]):
        numpy_state = np.random.get_state()[1:3]
        initialize(estimator, X, y)
        python_only_by_keras = _default_seeds(seeds[0], len(drawn)) == (drawn, random.getstate())
        numpy_untouched = all(map(np.array_equal, numpy_state, np.random.get_state()[1:3]))
    states = [read_state(estimator.model_)]
    if len(seeds) > 1:
        states.append(_built(estimator, seeds[1]))
    if len(seeds) <= 2:
        return states
    if python_only_by_keras and numpy_untouched:
        recipe = _Recipe(estimator.model_, initializers, drawn)
        if recipe.gives(seeds[1], states[1]):
            return states + [recipe.draw(seed) for seed in seeds[2:]]
    return states + [_built(estimator, seed) for seed in seeds[2:]]


def _built(estimator, seed):
    model = rebuild_model(estimator, seed)
    # The first part is the architecture. The rest may hold names that Keras counts up, for optimizers that read names.
    if signature(model)[0] != signature(estimator.model_)[0]:
        raise NotFusable("the builder gives another architecture for another seed")
    return read_state(model)


def _default_seeds(seed, n_draws):
    """The first seeds that Keras draws after Python was seeded, and the state of the generator then."""
    generator = random.Random(seed)
    return [generator.randint(1, _LARGEST_SEED) for _ in range(n_draws)], generator.getstate()


class _Recipe:
    """How the value of each variable of a model follows from the seed it was built under."""

    def __init__(self, model, initializers, drawn):
        self.n_draws = len(drawn)
        position = {seed: i for i, seed in enumerate(drawn)}
        self.rules = [
            [self._rule(v, initializers.get(id(v)), position) for v in part]
            for part in (model.trainable_variables, model.non_trainable_variables)
        ]
        self.optimizer = read_state(model)[2]

    def draw(self, seed):
        """Values of the variables, as of `read_state`."""
        drawn, _ = _default_seeds(seed, self.n_draws)
        return *([rule(drawn) for rule in part] for part in self.rules), self.optimizer

    def gives(self, seed, state):
        """Whether the values drawn are those of a model that was built under this seed, bit for bit."""
        return all(
            a.dtype == b.dtype and np.array_equal(a, b)
            for drawn, built in zip(self.draw(seed), state, strict=True)
            for a, b in zip(drawn, built, strict=True)
        )

    @staticmethod
    def _rule(variable, initializer, position):
        value = variable.numpy()
        index = position.get(getattr(initializer, "seed", None))
        if isinstance(initializer, keras.initializers.Initializer) and index is not None:
            config, kind, dtype = initializer.get_config(), type(initializer), variable.dtype

            def draw(drawn):
                return np.asarray(kind.from_config({**config, "seed": drawn[index]})(value.shape, dtype=dtype))

            return draw
        if value.dtype.kind in "iu" and value.shape == (2,) and int(value[0]) in position:
            index = position[int(value[0])]  # the state of a SeedGenerator: its seed and a counter
            return lambda drawn: np.array([drawn[index], value[1]], dtype=value.dtype)
        return lambda drawn: value
