"""The tutorial's networks as one JAX program, written by hand for this network alone."""

import jax
import jax.numpy as jnp
from _tutorial import BATCH_SIZE

ADAM = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}


@jax.jit
def train(X, y, orders, variables):
    """All members, steps and epochs: variables, and loss and accuracy of shape (n_epochs, n_members)."""
    _, n_members, n_rows = orders.shape
    n_full, tail = divmod(n_rows, BATCH_SIZE)

    def step(state, rows):
        return jax.vmap(_member_step)(state, X[rows], y[rows])

    def epoch(state, order):
        full = order[:, : n_full * BATCH_SIZE].reshape(n_members, n_full, BATCH_SIZE)
        state, sums = jax.lax.scan(step, state, full.swapaxes(0, 1))
        sums = sums.sum(axis=0)
        if tail:
            state, tail_sums = step(state, order[:, n_full * BATCH_SIZE :])
            sums = sums + tail_sums
        return state, sums / n_rows

    zeros = [jnp.zeros_like(v) for v in variables]
    state, logs = jax.lax.scan(epoch, (jnp.ones(n_members), list(variables), zeros, zeros), orders)
    return state[1], [logs[..., 0], logs[..., 1]]


@jax.jit
def predict(variables, X):
    """Mean probabilities of the members."""
    return jax.vmap(lambda one: jax.nn.softmax(_logits(one, X)))(variables).mean(axis=0)


def _member_step(state, x, target):
    t, variables, means, squares = state
    gradients, sums = jax.grad(_loss, has_aux=True)(variables, x, target)
    b1, b2 = ADAM["beta_1"], ADAM["beta_2"]
    rate = ADAM["learning_rate"] * jnp.sqrt(1 - b2**t) / (1 - b1**t)
    means = [m + (1 - b1) * (g - m) for m, g in zip(means, gradients, strict=True)]
    squares = [s + (1 - b2) * (g * g - s) for s, g in zip(squares, gradients, strict=True)]
    variables = [
        v - rate * m / (jnp.sqrt(s) + ADAM["epsilon"]) for v, m, s in zip(variables, means, squares, strict=True)
    ]
    return (t + 1, variables, means, squares), sums


def _loss(variables, x, target):
    """Mean loss of a batch of one member, and the sums of its losses and of its hits."""
    logits = _logits(variables, x)
    losses = -jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=1)[:, 0]
    hits = logits.argmax(axis=1) == target
    return losses.mean(), jnp.stack([losses.sum(), hits.sum()])


def _logits(variables, x):
    kernel_1, bias_1, kernel_2, bias_2 = variables
    return jax.nn.relu(x @ kernel_1 + bias_1) @ kernel_2 + bias_2
