"""Prediction intervals and sets from members that left rows out."""

import numpy as np
import pytest

from skensemble._numeric.combination import Combination, combine
from skensemble._numeric.conformal import adaptive_scores, jackknife_interval, jackknife_sets

MEAN, MEDIAN = Combination(), Combination("median")


def drawn(n_members, n_samples, seed=0):
    """Which rows members leave out, each row left out by one at least."""
    left_out = np.random.default_rng(seed).random((n_members, n_samples)) < 0.4
    left_out[0, ~left_out.any(axis=0)] = True
    return left_out


@pytest.mark.parametrize("how", [MEAN, MEDIAN])
def test_interval_is_that_of_the_paper(how):
    """Equation 5 of Kim, Xu and Barber (2020) row by row: the 18-th of 20 values + residual, the same from below."""
    rng = np.random.default_rng(1)
    left_out, weights = drawn(4, 20), np.array([0.1, 0.2, 0.3, 0.4])
    predictions, residuals = rng.normal(size=(4, 3)), rng.random(20)
    low, high = [], []
    for i in range(20):
        shares = weights * left_out[:, i]
        without = combine(predictions, shares / shares.sum(), how)
        low.append(without - residuals[i])
        high.append(without + residuals[i])
    lower, upper = jackknife_interval(predictions, left_out, weights, how, residuals, 0.85)  # 0.85 * 21 = 17.85
    np.testing.assert_allclose(lower, np.sort(low, axis=0)[2])  # the third: floor(0.15 * 21)
    np.testing.assert_allclose(upper, np.sort(high, axis=0)[17])


def test_targets_have_intervals_of_their_own():
    """Several columns are several problems."""
    rng = np.random.default_rng(1)
    left_out, weights = drawn(3, 20), np.full(3, 1 / 3)
    predictions, residuals = rng.normal(size=(3, 5, 2)), rng.random((20, 2))
    both = jackknife_interval(predictions, left_out, weights, MEAN, residuals, 0.8)
    for k in range(2):
        one = jackknife_interval(predictions[..., k], left_out, weights, MEAN, residuals[:, k], 0.8)
        np.testing.assert_allclose(np.stack(both)[..., k], np.stack(one))


def test_too_few_rows_give_infinite_intervals():
    """9 rows guarantee 0.9 and no more."""
    arguments = np.zeros((2, 1)), np.ones((2, 9), bool), np.full(2, 0.5), MEAN, np.ones(9)
    assert jackknife_interval(*arguments, 0.9) == (-1, 1)
    assert jackknife_interval(*arguments, 0.91) == (-np.inf, np.inf)


def test_chunks_of_rows_give_the_same(monkeypatch):
    """How many rows are compared at once changes nothing."""
    rng = np.random.default_rng(1)
    arguments = rng.normal(size=(3, 7)), drawn(3, 20), np.full(3, 1 / 3), MEAN, rng.random(20), 0.8
    at_once = jackknife_interval(*arguments)
    monkeypatch.setattr("skensemble._numeric.conformal._AT_ONCE", 40)
    np.testing.assert_array_equal(jackknife_interval(*arguments), at_once)


def test_member_of_weight_0_counts_where_there_is_no_other():
    """As in out-of-bag predictions: row 0 was left out by the second member alone."""
    left_out = np.array([[False] + [True] * 8, [True] + [False] * 8])
    arguments = left_out, np.array([1.0, 0.0]), MEAN, np.zeros(9), 0.9
    lower, upper = jackknife_interval(np.array([[1.0], [5.0]]), *arguments)
    assert (lower, upper) == (1, 5)


def test_scores_sum_the_larger_probabilities():
    """The class of 0.2 comes second, after that of 0.7."""
    np.testing.assert_allclose(adaptive_scores(np.array([[0.2, 0.1, 0.7]])), [[0.7, 0.9, 0.0]])


def test_sets_are_those_of_the_paper():
    """A class is in where the rows whose score is smaller are fewer than coverage (n + 1), row by row."""
    rng = np.random.default_rng(1)
    left_out, weights = drawn(4, 20), np.array([0.1, 0.2, 0.3, 0.4])
    predictions, scores = rng.dirichlet(np.ones(3), (4, 6)), rng.random(20)
    n_smaller = np.zeros((6, 3))
    for i in range(20):
        shares = weights * left_out[:, i]
        without = np.tensordot(shares / shares.sum(), predictions, axes=1)
        for row, proba in enumerate(without):
            n_smaller[row] += scores[i] < [proba[proba > p].sum() for p in proba]
    sets = jackknife_sets(predictions, left_out, weights, MEAN, scores, 0.8)
    np.testing.assert_array_equal(sets, n_smaller < 0.8 * 21)
