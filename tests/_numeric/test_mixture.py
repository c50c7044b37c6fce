"""Mixtures of normal distributions: variances and quantiles."""

import numpy as np
import pytest
from scipy.stats import norm

from skensemble._numeric.mixture import check_coverage, deviation, mixture_interval, mixture_quantile, split_variance


def test_variance_is_split_by_the_law_of_total_variance():
    """Means 1 and 3 with deviations 1 and 2 and equal weights: 2.5 inside of members, 1 between them."""
    total, aleatoric, epistemic = split_variance(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]), np.full(2, 0.5))
    assert (aleatoric.item(), epistemic.item(), total.item()) == (2.5, 1.0, 3.5)


def test_split_agrees_with_samples():
    """The total is the variance of numbers drawn from the mixture."""
    rng = np.random.default_rng(0)
    which = rng.choice(2, size=200_000, p=[0.25, 0.75])
    drawn = rng.normal(np.array([0.0, 2.0])[which], np.array([1.0, 0.5])[which])
    total = split_variance(np.array([[0.0], [2.0]]), np.array([[1.0], [0.5]]), np.array([0.25, 0.75])).total
    assert total.item() == pytest.approx(drawn.var(), rel=0.01)


def test_noise_is_not_known_without_scales():
    """What is not known is NaN; the spread of the means is still there."""
    total, aleatoric, epistemic = split_variance(np.array([[1.0], [3.0]]), None, np.full(2, 0.5))
    assert np.isnan(total).all()
    assert np.isnan(aleatoric).all()
    assert epistemic.item() == 1.0


def test_deviation_is_the_root_of_the_total():
    """Without scales it is the spread of the means."""
    means, scales, weights = np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]), np.full(2, 0.5)
    assert deviation(means, scales, weights).item() == pytest.approx(np.sqrt(3.5))
    assert deviation(means, None, weights).item() == 1.0


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
