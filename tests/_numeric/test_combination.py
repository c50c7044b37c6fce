import numpy as np
import pytest
import scipy.stats

from skensemble._numeric.combination import (
    Combination,
    align_classes,
    combine,
    combine_where,
    first_weights,
    majority_vote,
    normalize_weights,
    weighted_mean,
    weighted_std,
)

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


# Medians, geometric and trimmed means

EQUAL = np.full(5, 0.2)


def probabilities(n_members=5, n_classes=3):
    """Probabilities of members, none of them 0."""
    return np.random.default_rng(0).dirichlet(np.ones(n_classes), size=(n_members, 40))


def normalized(proba):
    """Rows scaled to sum to 1."""
    return proba / proba.sum(axis=-1, keepdims=True)


def test_rules_for_values():
    """Of values: NumPy's median and SciPy's trimmed mean."""
    values = np.random.default_rng(0).normal(size=(5, 40, 2))
    np.testing.assert_allclose(combine(values, EQUAL, Combination("median")), np.median(values, axis=0), rtol=1e-12)
    even, equal = values[:4], np.full(4, 0.25)
    np.testing.assert_allclose(combine(even, equal, Combination("median")), np.median(even, axis=0), rtol=1e-12)
    for fraction in (0.1, 0.2, 0.45):
        trimmed = combine(values, EQUAL, Combination("trimmed_mean", fraction))
        np.testing.assert_allclose(trimmed, scipy.stats.trim_mean(values, fraction, axis=0), rtol=1e-12)


def test_rules_for_classes():
    """Of probabilities of classes: those of NumPy and SciPy, class by class, scaled to sum to 1."""
    proba = probabilities()
    weights = np.array([0.1, 0.4, 0.2, 0.3, 0])
    expected = {
        "median": np.median(proba, axis=0),
        "geometric_mean": scipy.stats.gmean(proba, axis=0),
        "trimmed_mean": scipy.stats.trim_mean(proba, 0.2, axis=0),
    }
    for rule, values in expected.items():
        combined = combine(proba, EQUAL, Combination(rule, 0.2, "classes"))
        np.testing.assert_allclose(combined, normalized(values), rtol=1e-9)
    weighted = combine(proba, weights, Combination("geometric_mean", target="classes"))
    np.testing.assert_allclose(
        weighted,
        normalized(scipy.stats.gmean(proba, axis=0, weights=np.broadcast_to(weights[:, None, None], proba.shape))),
        rtol=1e-9,
    )


def test_rules_for_labels():
    """With several labels per row each is combined by itself: presence and absence are its two classes."""
    proba = np.random.default_rng(0).uniform(0.01, 0.99, size=(5, 40, 3))
    present, absent = scipy.stats.gmean(proba, axis=0), scipy.stats.gmean(1 - proba, axis=0)
    geometric = combine(proba, EQUAL, Combination("geometric_mean", target="labels"))
    np.testing.assert_allclose(geometric, present / (present + absent), rtol=1e-9)
    median = combine(proba, EQUAL, Combination("median", target="labels"))
    np.testing.assert_allclose(median, np.median(proba, axis=0), rtol=1e-12)


def test_weighted_median():
    """Half the weight is on each side; a weight of 2 is that of two members, and half exactly lies in between."""
    values = np.array([[3.0], [1.0], [2.0], [10.0]])
    repeated = np.array([3.0, 1.0, 1.0, 2.0, 10.0, 10.0, 10.0])
    weights = np.array([1, 2, 1, 3]) / 7
    np.testing.assert_array_equal(combine(values, weights, Combination("median")), [np.median(repeated)])
    # 1/6 + 1/3 is half: between 2 and 3.
    weights = np.array([1 / 3, 1 / 6, 1 / 3, 1 / 6])
    np.testing.assert_array_equal(combine(values, weights, Combination("median")), [2.5])
    # A member of weight 0 is no member.
    weights = np.array([0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(combine(values, weights, Combination("median")), [1.5])


def test_members_that_exclude_every_class():
    """Where each member is certain of another class, the medians are all 0, and so are trimmed means: the mean counts.

    A geometric mean lets the class win that the fewest members exclude.
    """
    proba = np.eye(3)[:, np.newaxis]
    third = np.full(3, 1 / 3)
    for rule in ("median", "trimmed_mean"):
        np.testing.assert_allclose(combine(proba, third, Combination(rule, 0.4, "classes")), [third], rtol=1e-12)
    proba = np.array([[[1.0, 0, 0]], [[0.5, 0.5, 0]]])
    geometric = combine(proba, np.array([0.5, 0.5]), Combination("geometric_mean", target="classes"))
    np.testing.assert_allclose(geometric, [[1, 0, 0]], atol=1e-15)


@pytest.mark.parametrize("rule", ["mean", "median", "geometric_mean", "trimmed_mean"])
def test_rows_that_only_some_members_may_be_judged_on(rule):
    """Each row is combined from its own members, with weights; where there is none, it is NaN."""
    proba = probabilities()
    weights = EQUAL if rule == "trimmed_mean" else np.array([0.1, 0.4, 0.2, 0.3, 0])
    how = Combination(rule, 0.34, "classes")
    valid = np.random.default_rng(1).random((5, 40)) < 0.6
    valid[:, 0], valid[:, 1] = False, [False, False, False, False, True]
    combined = combine_where(proba, valid, weights, how)
    assert np.isnan(combined[0]).all()
    np.testing.assert_allclose(combined[1], proba[4, 1], rtol=1e-9)  # the only one counts, though its weight is 0
    for row in range(2, 40):
        members = valid[:, row] & ((weights > 0) if (weights * valid[:, row]).any() else True)
        shares = weights[members] / weights[members].sum() if weights[members].any() else None
        shares = np.full(members.sum(), 1 / members.sum()) if shares is None else shares
        np.testing.assert_allclose(combined[row], combine(proba[members, row : row + 1], shares, how)[0], rtol=1e-9)


@pytest.mark.parametrize("rule", ["mean", "median", "trimmed_mean", "geometric_mean"])
def test_members_that_do_not_count_may_be_anything(rule):
    """NaN of a member of weight 0, and of one that may not be judged on a row, does not show."""
    proba = np.array([[[0.9, 0.1], [0.6, 0.4]], [[np.nan, np.nan]] * 2, [[0.2, 0.8], [np.nan, np.nan]]])
    combined = combine_where(
        proba, np.array([[1, 1], [1, 1], [0, 0]], bool), np.array([1.0, 0, 1]), Combination(rule, 0.2, "classes")
    )
    np.testing.assert_allclose(combined, proba[0], rtol=1e-9)


def test_not_a_number_is_not_hidden():
    """As NumPy's median, every rule gives NaN where a member does."""
    values = np.array([[1.0, 1.0], [2.0, np.nan], [3.0, 1.0]])
    for rule in ("mean", "median", "trimmed_mean"):
        combined = combine(values, np.full(3, 1 / 3), Combination(rule, 0.4))
        np.testing.assert_allclose(combined, [2, np.nan], rtol=1e-12)
