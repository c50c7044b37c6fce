import numpy as np
import pytest

from skensemble._combine import (
    align_classes,
    first_weights,
    majority_vote,
    normalize_weights,
    split_entropy,
    weighted_mean,
    weighted_std,
)

LN_2 = np.log(2)


# Weights


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (None, [0.25, 0.25, 0.25, 0.25]),
        ([1, 1, 2, 4], [0.125, 0.125, 0.25, 0.5]),
        ((0, 0, 0, 3), [0, 0, 0, 1]),
        (np.array([2, 2, 0, 0], dtype="float32"), [0.5, 0.5, 0, 0]),
    ],
)
def test_weights_sum_to_one(weights, expected):
    """Weights are scaled to sum to 1, and are equal where none are given."""
    normalized = normalize_weights(weights, 4)
    np.testing.assert_array_equal(normalized, expected)
    assert normalized.dtype == np.float64


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "one entry per member: got 2 weights for 3 members"),
        ([], "got 0 weights for 3 members"),
        (1.0, "got an array of shape () for 3 members"),
        ([[1, 2, 3]], "got an array of shape (1, 3) for 3 members"),
        ([1, -1, 1], "finite and not negative: got [1.0, -1.0, 1.0]"),
        ([1, np.nan, 1], "finite and not negative: got [1.0, nan, 1.0]"),
        ([1, np.inf, 1], "finite and not negative: got [1.0, inf, 1.0]"),
        ([0, 0, 0], "must not all be 0"),
    ],
)
def test_bad_weights(weights, message):
    """Weights that no mean can be made of are refused, and the message carries them."""
    with pytest.raises(ValueError) as caught:
        normalize_weights(weights, 3)
    assert message in str(caught.value)


def test_given_weights_are_not_changed():
    """The caller's array stays as it was."""
    weights = np.array([1.0, 3.0])
    normalize_weights(weights, 2)
    np.testing.assert_array_equal(weights, [1, 3])


@pytest.mark.parametrize(
    ("n_members", "expected"), [(1, [1]), (2, [0.5, 0.5]), (3, [0, 0, 1]), (4, [0, 0, 0.25, 0.75])]
)
def test_first_weights(n_members, expected):
    """The first weights sum to 1 again, and are equal where all of them are 0."""
    np.testing.assert_array_equal(first_weights(np.array([0, 0, 0.25, 0.75]), n_members), expected)


# Means and deviations


def test_mean_with_equal_weights():
    """Equal weights give the plain mean."""
    predictions = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 30.0]])
    np.testing.assert_allclose(weighted_mean(predictions, np.full(3, 1 / 3)), [3, 20], rtol=1e-15)


def test_weighted_mean():
    """Each member counts as much as its weight: 0.25 * 1 + 0.75 * 5 = 4."""
    predictions = np.array([[[1, 0], [2, 4]], [[5, 0], [2, 8]]], dtype="float32")
    mean = weighted_mean(predictions, np.array([0.25, 0.75]))
    np.testing.assert_array_equal(mean, [[4, 0], [2, 7]])
    assert mean.dtype == np.float64


def test_weighted_std():
    """The deviation is that of the population, not of a sample: values 1 and 5 around 3 give 2."""
    predictions = np.array([[1.0, 7.0], [5.0, 7.0]])
    np.testing.assert_array_equal(weighted_std(predictions, np.array([0.5, 0.5])), [2, 0])
    # Around 4: 0.25 * 9 + 0.75 * 1 = 3.
    np.testing.assert_allclose(weighted_std(predictions, np.array([0.25, 0.75])), [np.sqrt(3), 0], rtol=1e-15)


# Votes


def test_most_votes_win():
    """The class that most members choose is the prediction."""
    votes = np.array([[0, 2], [1, 2], [1, 0]])
    np.testing.assert_array_equal(majority_vote(votes, np.full(3, 1 / 3), 3), [1, 2])


def test_ties_go_to_the_smallest_class():
    """Ties go to the smallest class, whoever votes first."""
    votes = np.array([[2, 1, 1], [0, 2, 0], [1, 0, 2]])
    np.testing.assert_array_equal(majority_vote(votes, np.full(3, 1 / 3), 3), [0, 0, 0])


def test_tied_sums_of_unequal_weights():
    """0.1 + 0.2 against 0.3 is a tie, although the floats differ."""
    assert 0.1 + 0.2 != 0.3
    weights = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(majority_vote(np.array([[1], [1], [0], [2]]), weights, 3), [2])
    weights = weights[:3] / 0.6
    np.testing.assert_array_equal(majority_vote(np.array([[1], [1], [0]]), weights, 2), [0])
    np.testing.assert_array_equal(majority_vote(np.array([[0], [0], [1]]), weights, 2), [0])


def test_weights_of_votes():
    """One heavy member outvotes two light ones."""
    votes = np.array([[2, 1], [0, 0], [0, 1]])
    np.testing.assert_array_equal(majority_vote(votes, np.array([0.6, 0.2, 0.2]), 3), [2, 1])


def test_votes_for_each_label():
    """With several labels per row, each label is voted on by itself; a tie means that it is absent."""
    votes = np.array([[[1, 0, 1]], [[1, 1, 0]]])
    np.testing.assert_array_equal(majority_vote(votes, np.array([0.5, 0.5]), 2), [[1, 0, 0]])
    np.testing.assert_array_equal(majority_vote(votes, np.array([0.25, 0.75]), 2), [[1, 1, 0]])


# Classes


def test_unknown_classes_get_zero():
    """A class that the member never saw has probability 0, the others stay in their columns."""
    proba = np.array([[0.25, 0.75], [0.5, 0.5]], dtype="float32")
    aligned = align_classes(proba, np.array(["b", "d"]), np.array(["a", "b", "c", "d"]))
    np.testing.assert_array_equal(aligned, [[0, 0.25, 0, 0.75], [0, 0.5, 0, 0.5]])
    assert aligned.dtype == np.float32


def test_same_classes_change_nothing():
    """A member that knows every class keeps its columns."""
    proba = np.array([[0.25, 0.75]])
    np.testing.assert_array_equal(align_classes(proba, np.array([3, 8]), np.array([3, 8])), proba)


# Entropy


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
