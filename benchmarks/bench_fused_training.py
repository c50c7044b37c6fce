"""How much faster do the twenty networks of the tutorial train together than in the loop that is written by hand?

The peers: the loop of Keras fits (two turns are timed and scaled to twenty), Keras' fit of one member, one XLA program
that is written by hand for this network alone, and scikit-learn's BaggingClassifier(MLPClassifier). The first fit runs
in a fresh process, after the imports: it holds the start of TensorFlow, tracing and compiling.
"""

import warnings

import numpy as np
import tensorflow as tf
from _by_hand_xla import train
from _harness import keras_loop, run, scaled, seconds
from _tutorial import BATCH_SIZE, EPOCHS, HIDDEN, N_MEMBERS, blobs, ensemble, keras_model, row_orders
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skensemble._engine.backend import get_program
from skensemble._engine.initial_values import initialize_members
from skensemble._engine.records import Data, RunPlan

TIMED_MEMBERS = 2


def fits(epochs, n_fits):
    """Seconds of the first fit in the process, and of each of the next `n_fits`, with other seeds."""
    X, y, _ = blobs()
    return [seconds(ensemble(epochs=epochs, random_state=seed).fit, X, y) for seed in range(1 + n_fits)]


def loop(epochs):
    """Seconds of each of the timed turns of Keras' loop."""
    X, y, _ = blobs()
    return keras_loop(keras_model, X, y, TIMED_MEMBERS, epochs=epochs, batch_size=BATCH_SIZE)


def building(n_repeats):
    """Seconds for the starting values of all members; the process has built one before."""
    X, y, _ = blobs()
    seeds = range(1, N_MEMBERS + 1)
    initialize_members(ensemble().estimator.set_params(random_state=0), [0], X, y)
    members = [ensemble().estimator.set_params(random_state=1) for _ in range(n_repeats)]
    return [seconds(initialize_members, member, list(seeds), X, y) for member in members]


def training_alone(epochs, n_repeats):
    """Seconds of the fused program and of the one written by hand, from the same values, over the same rows."""
    X, y, _ = blobs()
    prototype = ensemble().estimator.set_params(random_state=0)
    states = initialize_members(prototype, list(range(N_MEMBERS)), X, y)
    program = get_program(prototype.model_, N_MEMBERS)
    state = program.stack(states)
    orders = row_orders(N_MEMBERS, epochs, np.random.default_rng(0))
    data = tf.constant(X), tf.constant(y)

    def fused():
        logs = program.run(state, Data(*data), RunPlan(orders, BATCH_SIZE))[1]
        return np.stack([logs["loss"], logs["accuracy"]])

    def by_hand():
        return np.stack([log.numpy() for log in train(*data, tf.constant(orders), state.variables.trainable)[1]])

    # Both compile here, and must have trained the same networks; rounding grows with the steps, so few are compared.
    np.testing.assert_allclose(fused()[:, :10], by_hand()[:, :10], rtol=1e-3, atol=1e-4)
    return [[seconds(fused), seconds(by_hand)] for _ in range(n_repeats)]


def bagging(epochs):
    """Seconds of scikit-learn's own ensemble of the same networks on the same rows."""
    X, y, _ = blobs()
    network = MLPClassifier((HIDDEN,), batch_size=BATCH_SIZE, max_iter=epochs, n_iter_no_change=epochs + 1, alpha=0)
    model = BaggingClassifier(network, N_MEMBERS, bootstrap=False, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are run, as asked
        return seconds(model.fit, X, y)


def main(bench):
    epochs = 2 if bench.quick else EPOCHS
    times = bench.repeat(
        3,
        fits=lambda: bench.fresh(fits, epochs=epochs, n_fits=3),
        loop=lambda: bench.fresh(loop, epochs=epochs),
        bagging=lambda: bagging(epochs),
        building=lambda: bench.fresh(building, n_repeats=3),
        alone=lambda: bench.fresh(training_alone, epochs=epochs, n_repeats=5),
    )
    first = [one[0] for one in times["fits"]]
    second = [one for process in times["fits"] for one in process[1:]]
    keras = [scaled(one, N_MEMBERS) for one in times["loop"]]
    loop_name = f"Keras' loop, {TIMED_MEMBERS} members timed, scaled to {N_MEMBERS}"
    bench.compare("20 members, first fit", first, keras, peer_name=loop_name, at_least=80)
    bench.compare("20 members, second fit", second, keras, peer_name=loop_name, at_least=300)
    alone, by_hand = zip(*(pair for process in times["alone"] for pair in process), strict=True)
    bench.compare("training alone", alone, by_hand, peer_name="one XLA program written by hand", at_most=1.5)
    one = [time for process in times["loop"] for time in process]
    bench.compare("20 members, first fit, against 1", first, one, peer_name="Keras' fit of one member", at_most=0.25)
    bench.compare(
        "20 members, second fit, scikit-learn",
        second,
        times["bagging"],
        peer_name="BaggingClassifier(MLPClassifier)",
        at_least=8,
    )
    bench.limit("building 20 members", [one for process in times["building"] for one in process], at_most=0.15)


if __name__ == "__main__":
    run(main, fits, loop, building, training_alone)
