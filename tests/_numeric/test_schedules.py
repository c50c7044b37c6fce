import math

import numpy as np
import pytest

from skensemble._numeric.schedules import cycle_ends, cycle_lengths, cycle_progress, cyclic_rates


@pytest.mark.parametrize(
    ("n_epochs", "n_cycles", "lengths", "ends"),
    [(6, 3, [2, 2, 2], [1, 3, 5]), (8, 3, [2, 2, 4], [1, 3, 7]), (3, 3, [1, 1, 1], [0, 1, 2]), (5, 1, [5], [4])],
)
def test_the_last_cycle_gets_the_remainder(n_epochs, n_cycles, lengths, ends):
    """Cycles are of one length but for the last, which is longer by what is left."""
    assert cycle_lengths(n_epochs, n_cycles).tolist() == lengths
    assert cycle_ends(n_epochs, n_cycles) == ends


def test_progress_per_batch():
    """The fraction of the cycle done grows with every step; a longer last cycle goes through it more slowly."""
    progress = cycle_progress(n_epochs=5, n_cycles=2, n_steps=2, update="batch")
    first, second = [[0, 1 / 4], [2 / 4, 3 / 4]], [[0, 1 / 6], [2 / 6, 3 / 6], [4 / 6, 5 / 6]]
    np.testing.assert_allclose(progress, first + second, rtol=1e-15)


def test_progress_per_epoch():
    """All steps of an epoch are at one place of the cycle."""
    progress = cycle_progress(n_epochs=3, n_cycles=1, n_steps=2, update="epoch")
    np.testing.assert_allclose(progress, [[0, 0], [1 / 3, 1 / 3], [2 / 3, 2 / 3]], rtol=1e-15)


def test_cosine_per_epoch_is_the_tutorials_formula():
    """500 epochs in 10 cycles from 0.01: rate(e) = max / 2 * (cos(pi * (e mod c) / c) + 1) with c = 50."""
    rates = cyclic_rates("cosine", 0.01, n_epochs=500, n_cycles=10, n_steps=4, update="epoch")
    expected = [0.01 / 2 * (math.cos(math.pi * (e % 50) / 50) + 1) for e in range(500)]
    np.testing.assert_allclose(rates, np.repeat(expected, 4).reshape(500, 4), rtol=1e-12)


def test_cosine_per_batch_is_equation_2_of_the_paper():
    """alpha(t) = alpha0 / 2 * (cos(pi * mod(t - 1, ceil(T / M)) / ceil(T / M)) + 1) for iterations t = 1, ..., T."""
    n_epochs, n_cycles, n_steps = 6, 3, 5
    rates = cyclic_rates("cosine", 0.2, n_epochs, n_cycles, n_steps)
    cycle = math.ceil(n_epochs * n_steps / n_cycles)
    expected = [0.2 / 2 * (math.cos(math.pi * ((t - 1) % cycle) / cycle) + 1) for t in range(1, n_epochs * n_steps + 1)]
    np.testing.assert_allclose(rates.ravel(), expected, rtol=1e-12)


def test_triangular():
    """From a quarter of the rate straight up to all of it at the half of the cycle, and down again."""
    rates = cyclic_rates("triangular", 0.4, n_epochs=2, n_cycles=2, n_steps=4)
    np.testing.assert_allclose(rates, [[0.1, 0.25, 0.4, 0.25]] * 2, rtol=1e-12)


def test_function_of_the_fraction_of_the_cycle():
    """A function gets the fraction as a float and gives the share of the initial rate."""
    rates = cyclic_rates(lambda fraction: 1 - fraction, 0.1, n_epochs=4, n_cycles=2, n_steps=2)
    np.testing.assert_allclose(rates, [[0.1, 0.075], [0.05, 0.025]] * 2, rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (lambda fraction: 0.4 - fraction, "not negative.*got -0.1 for the fraction 0.5"),
        (lambda fraction: math.nan, "finite number.*got nan for the fraction 0 "),
        (lambda fraction: math.inf, "finite number.*got inf"),
        (lambda fraction: None, "must return one number: got None"),
        (lambda fraction: [1.0, 2.0], r"must return one number: got \[1.0, 2.0\]"),
    ],
)
def test_schedule_must_return_a_rate(schedule, message):
    """What is no learning rate is refused, with the place in the cycle where it came."""
    with pytest.raises(ValueError, match=message):
        cyclic_rates(schedule, 0.1, n_epochs=2, n_cycles=1, n_steps=1)
