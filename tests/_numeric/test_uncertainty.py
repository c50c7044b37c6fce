"""Uncertainty of predictions, split into its parts."""

import numpy as np
import pytest

from skensemble._numeric.uncertainty import deviation, split_entropy, split_variance

LN_2 = np.log(2)


# Classes


def test_members_that_agree():
    """Members that say the same have no disagreement: all entropy is in the data."""
    proba = np.array([[[0.5, 0.5], [1, 0], [0.25, 0.75]]] * 2)
    total, aleatoric, epistemic = split_entropy(proba, np.array([0.5, 0.5]))
    expected = [LN_2, 0, 0.25 * np.log(4) + 0.75 * np.log(4 / 3)]
    np.testing.assert_allclose(total, expected, rtol=1e-14)
    np.testing.assert_allclose(aleatoric, expected, rtol=1e-14)
    np.testing.assert_array_equal(epistemic, 0)


def test_certain_members_that_disagree():
    """Two members, each certain of another class, disagree by ln 2, and see no noise in the data."""
    proba = np.array([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0]]])
    total, aleatoric, epistemic = split_entropy(proba, np.array([0.5, 0.5]))
    np.testing.assert_allclose(total, [LN_2], rtol=1e-15)
    np.testing.assert_array_equal(aleatoric, [0])
    np.testing.assert_allclose(epistemic, [LN_2], rtol=1e-15)


def test_weights_of_entropies():
    """Weights enter both the combined prediction and the mean entropy of the members."""
    proba = np.array([[[1.0, 0.0]], [[0.5, 0.5]]])
    total, aleatoric, epistemic = split_entropy(proba, np.array([0.5, 0.5]))
    np.testing.assert_allclose(total, [0.75 * np.log(4 / 3) + 0.25 * np.log(4)], rtol=1e-14)
    np.testing.assert_allclose(aleatoric, [LN_2 / 2], rtol=1e-14)
    np.testing.assert_allclose(epistemic, total - aleatoric, rtol=1e-14)
    total, aleatoric, epistemic = split_entropy(proba, np.array([0.0, 1.0]))
    np.testing.assert_allclose([total[0], aleatoric[0], epistemic[0]], [LN_2, LN_2, 0], rtol=1e-14)


def test_entropies_of_labels_are_summed():
    """With several labels per row, each label is a coin of its own: one they disagree on, one fair, one certain."""
    proba = np.array([[[1.0, 0.5, 1.0]], [[0.0, 0.5, 1.0]]])
    total, aleatoric, epistemic = split_entropy(proba, np.array([0.5, 0.5]), multilabel=True)
    np.testing.assert_allclose(total, [2 * LN_2], rtol=1e-14)
    np.testing.assert_allclose(aleatoric, [LN_2], rtol=1e-14)
    np.testing.assert_allclose(epistemic, [LN_2], rtol=1e-14)


@pytest.mark.parametrize("multilabel", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_parts_are_not_negative(multilabel, same):
    """Rounding of float32 outputs makes no part negative, and the parts sum to the total."""
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.full(5, 0.1), size=(4, 500)).astype("float32")
    proba *= 1 + rng.uniform(-1e-6, 1e-6, size=(4, 500, 1)).astype("float32")  # rows no longer sum to 1 exactly
    if same:
        proba[:] = proba[0]
    total, aleatoric, epistemic = split_entropy(proba, np.full(4, 0.25), multilabel=multilabel)
    assert total.shape == aleatoric.shape == epistemic.shape == (500,)
    for part in (total, aleatoric, epistemic):
        assert (part >= 0).all()
        assert not np.signbit(part).any()
    np.testing.assert_allclose(total, aleatoric + epistemic, rtol=1e-12, atol=1e-15)
    if same:
        np.testing.assert_allclose(epistemic, 0, atol=1e-12)


# Values


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
