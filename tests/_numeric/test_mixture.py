"""Mixtures of normal distributions: quantiles and intervals."""

import numpy as np
import pytest
from scipy.stats import norm

from skensemble._numeric.mixture import check_coverage, mixture_interval, mixture_quantile


@pytest.mark.parametrize("level", [0.01, 0.3, 0.5, 0.95])
def test_quantiles_of_one_member_are_those_of_its_normal_distribution(level):
    """A mixture of equal members is the member."""
    means, scales = np.array([[0.0, 5.0, -3.0]] * 2), np.array([[1.0, 0.1, 20.0]] * 2)
    expected = norm.ppf(level, means[0], scales[0])
    assert mixture_quantile(means, scales, np.array([0.3, 0.7]), level) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [0.05, 0.5, 0.8])
def test_distribution_function_at_a_quantile_is_its_level(level):
    """The weighted mean of the members' distribution functions is `level` there, also between separate members."""
    means, scales = np.array([[0.0, 0.0], [10.0, 0.5]]), np.array([[0.5, 1.0], [1.0, 3.0]])
    weights = np.array([0.4, 0.6])
    quantile = mixture_quantile(means, scales, weights, level)
    assert weights @ norm.cdf(quantile, means, scales) == pytest.approx(level, abs=1e-9)


def test_intervals_leave_equal_shares_outside():
    """90 % of one normal distribution lie within 1.645 deviations."""
    lower, upper = mixture_interval(np.zeros((1, 1)), np.ones((1, 1)), np.ones(1), 0.9)
    assert (lower.item(), upper.item()) == pytest.approx((-1.6448536, 1.6448536))


@pytest.mark.parametrize("coverage", [0, 1, 1.2, -0.1, "0.9", None])
def test_coverage_is_a_share(coverage):
    """Neither 0 nor 1 nor 90 is one."""
    with pytest.raises(ValueError, match="`coverage` must be between 0 and 1"):
        check_coverage(coverage)
