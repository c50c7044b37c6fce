"""The tutorial's networks as one TensorFlow program for XLA, written by hand for this network alone."""

import tensorflow as tf
from _tutorial import BATCH_SIZE

ADAM = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


@tf.function(jit_compile=True, autograph=False)
def train(X, y, orders, variables):
    """All members, steps and epochs: variables, and loss and accuracy of shape (n_epochs, n_members)."""
    n_epochs, n_members, n_rows = orders.shape
    n_full, tail = divmod(n_rows, BATCH_SIZE)

    def step(rows, t, variables, means, squares, sums):
        x, target = tf.gather(X, rows), tf.gather(y, rows)
        with tf.GradientTape() as tape:
            tape.watch(variables)
            logits = _logits(variables, x)
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
    _, _, variables, *_, logs = tf.while_loop(lambda e, *_: e < n_epochs, epoch, start)
    return variables, [log.stack() for log in logs]


@tf.function(jit_compile=True, autograph=False)
def predict(variables, X):
    """Mean probabilities of the members."""
    x = tf.tile(X[None], [variables[0].shape[0], 1, 1])
    return tf.reduce_mean(tf.nn.softmax(_logits(variables, x)), axis=0)


def _logits(variables, x):
    kernel_1, bias_1, kernel_2, bias_2 = variables
    hidden = tf.nn.relu(tf.matmul(x, kernel_1) + bias_1[:, None])
    return tf.matmul(hidden, kernel_2) + bias_2[:, None]
