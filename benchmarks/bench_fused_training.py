"""How much faster do the twenty networks of the tutorial train together than in the loop that is written by hand?

The peers: the loop of Keras fits (two turns are timed and scaled to twenty), Keras' fit of one member, one XLA program
that is written by hand for this network alone, and scikit-learn's BaggingClassifier(MLPClassifier). The first fit runs
in a fresh process, after the imports: it holds the start of TensorFlow, tracing and compiling.
"""

import warnings

import numpy as np
import tensorflow as tf
from _harness import keras_loop, run, scaled, seconds
from _tutorial import BATCH_SIZE, EPOCHS, HIDDEN, N_MEMBERS, blobs, ensemble, keras_model
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from skensemble._initial_values import initialize_members
from skensemble._program import get_program

TIMED_MEMBERS = 2
ADAM = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


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
    template = ensemble().estimator.set_params(random_state=0)
    states = initialize_members(template, list(range(N_MEMBERS)), X, y)
    program = get_program(template.model_, N_MEMBERS)
    state = program.stack(states)
    rng = np.random.default_rng(0)
    orders = rng.permuted(np.tile(np.arange(len(X), dtype="int32"), (epochs, N_MEMBERS, 1)), axis=2)
    data = tf.constant(X), tf.constant(y)

    def fused():
        logs = program.run(state, (*data, None), orders, batch_size=BATCH_SIZE)[1]
        return np.stack([logs["loss"], logs["accuracy"]])

    def by_hand():
        return np.stack([log.numpy() for log in handwritten(*data, tf.constant(orders), state.trainable)])

    # Both compile here, and must have trained the same networks; rounding grows with the steps, so few are compared.
    np.testing.assert_allclose(fused()[:, :10], by_hand()[:, :10], rtol=1e-3, atol=1e-4)
    return [[seconds(fused), seconds(by_hand)] for _ in range(n_repeats)]


@tf.function(jit_compile=True, autograph=False)
def handwritten(X, y, orders, variables):
    """All members, steps and epochs in one XLA program; loss and accuracy of shape (n_epochs, n_members)."""
    n_epochs, n_members, n_rows = orders.shape
    n_full, tail = divmod(n_rows, BATCH_SIZE)

    def step(rows, t, variables, means, squares, sums):
        x, target = tf.gather(X, rows), tf.gather(y, rows)
        with tf.GradientTape() as tape:
            tape.watch(variables)
            kernel_1, bias_1, kernel_2, bias_2 = variables
            hidden = tf.nn.relu(tf.matmul(x, kernel_1) + bias_1[:, None])
            logits = tf.matmul(hidden, kernel_2) + bias_2[:, None]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(target, logits)
            loss = tf.reduce_sum(tf.reduce_mean(losses, axis=1))
        gradients = tape.gradient(loss, variables)
        b1, b2 = ADAM["beta_1"], ADAM["beta_2"]
        rate = ADAM["learning_rate"] * tf.sqrt(1 - b2**t) / (1 - b1**t)
        means = [m + (1 - b1) * (g - m) for m, g in zip(means, gradients, strict=True)]
        squares = [s + (1 - b2) * (g * g - s) for s, g in zip(squares, gradients, strict=True)]
        variables = [
            v - rate * m / (tf.sqrt(s) + ADAM["epsilon"]) for v, m, s in zip(variables, means, squares, strict=True)
        ]
        hits = tf.cast(tf.argmax(logits, axis=2, output_type="int32") == target, "float32")
        sums = [sums[0] + tf.reduce_sum(losses, axis=1), sums[1] + tf.reduce_sum(hits, axis=1)]
        return [t + 1, variables, means, squares, sums]

    def epoch(e, t, variables, means, squares, logs):
        def full_batch(i, *state):
            return [i + 1, *step(tf.slice(orders[e], [0, i * BATCH_SIZE], [n_members, BATCH_SIZE]), *state)]

        sums = [tf.zeros(n_members), tf.zeros(n_members)]
        start = [tf.constant(0), t, variables, means, squares, sums]
        _, *state = tf.while_loop(lambda i, *_: i < n_full, full_batch, start)
        if tail:
            state = step(orders[e][:, n_full * BATCH_SIZE :], *state)
        *state, sums = state
        logs = [log.write(e, value / n_rows) for log, value in zip(logs, sums, strict=True)]
        return [e + 1, *state, logs]

    zeros = [tf.zeros_like(v) for v in variables]
    logs = [tf.TensorArray("float32", n_epochs, element_shape=(n_members,)) for _ in range(2)]
    start = [tf.constant(0), tf.constant(1.0), list(variables), zeros, zeros, logs]
    logs = tf.while_loop(lambda e, *_: e < n_epochs, epoch, start)[-1]
    return [log.stack() for log in logs]


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
