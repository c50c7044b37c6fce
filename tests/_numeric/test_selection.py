import itertools

import numpy as np
import pytest
from sklearn.metrics import log_loss

from skensemble._numeric.combination import Combination
from skensemble._numeric.selection import greedy_weights, held_out_rows

# Three rows of two classes; what a member gives the true class of each row decides.
Y = np.array([0, 1, 1])


def members_giving(*true_class):
    """Probabilities of members from what each gives the true class of each row."""
    p = np.asarray(true_class, dtype=float)
    return np.where(Y[:, np.newaxis] == [0, 1], p[..., np.newaxis], 1 - p[..., np.newaxis])


def random_proba(n_members, n_samples, n_classes, seed):
    """Probabilities of members of which some are good, and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    logits = rng.normal(size=(n_members, n_samples, n_classes))
    logits += rng.uniform(0, 3, size=(n_members, 1, 1)) * np.eye(n_classes)[y]
    proba = np.exp(logits)
    return proba / proba.sum(axis=-1, keepdims=True), y


def mean_log_loss(weights, proba, y, sample_weight=None):
    """Log-loss of the weighted mean of the members, by scikit-learn."""
    mean = np.tensordot(weights, proba, axes=1)
    return log_loss(y, mean, labels=np.arange(proba.shape[-1]), sample_weight=sample_weight)


# Weights


def test_best_member_alone():
    """A member that is sure and right where the others are not gets all the weight."""
    proba = members_giving([0.5, 0.5, 0.5], [1, 1, 1], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(greedy_weights(proba, Y), [0, 1, 0])


def test_two_members_that_complete_each_other():
    """Of two that are right on different rows, both count; by symmetry equally."""
    # -log(.9) - log(.9) - log(.5) for one of them against -log(.9) - 2 log(.7) for both.
    proba = members_giving([0.9, 0.9, 0.5], [0.9, 0.5, 0.9], [0.2, 0.2, 0.2])
    np.testing.assert_array_equal(greedy_weights(proba, Y), [0.5, 0.5, 0])


def test_a_member_is_added_several_times():
    """The weight of a member is its share of the additions: with two targets of 0 and 3, values 1 and -3 mix 3 to 1."""
    values = np.array([[1.0, 1.0], [-3.0, -3.0]])
    np.testing.assert_array_equal(greedy_weights(values, np.zeros(2), target="values"), [0.75, 0.25])


def test_equal_weights_are_a_candidate():
    """Where selection ends above the mean of all members, they count equally."""
    # The mean is exactly right, and one round stops at the best single member.
    values = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, -2.0]])
    weights = greedy_weights(values, np.zeros(2), target="values", max_rounds=1)
    np.testing.assert_array_equal(weights, [1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize("rule", ["mean", "median", "geometric_mean"])
def test_members_without_finite_predictions(rule):
    """A member whose training diverged does not count, whatever it was judged on; the others as if it was not there."""
    proba, y = random_proba(3, 12, 3, seed=0)
    how = Combination(rule, target="classes")
    diverged = np.concatenate([proba[:1], np.full((1, 12, 3), np.nan), proba[1:]])
    valid = np.ones((4, 12), bool)
    valid[1, :6] = False
    expected = np.insert(greedy_weights(proba, y, how=how), 1, 0)
    np.testing.assert_array_equal(greedy_weights(diverged, y, valid=valid, how=how), expected)
    np.testing.assert_array_equal(greedy_weights(diverged[[1, 1]], y, how=how), [0.5, 0.5])


@pytest.mark.parametrize("seed", range(10))
def test_never_worse_than_single_members_and_equal_weights(seed):
    """On the rows it is chosen on, the combination beats or equals every single member and equal weights."""
    proba, y = random_proba(4, 12, 3, seed)
    weights = greedy_weights(proba, y)
    loss = mean_log_loss(weights, proba, y)
    candidates = [*np.eye(4), np.full(4, 0.25)]
    assert loss <= min(mean_log_loss(candidate, proba, y) for candidate in candidates) + 1e-9
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_close_to_the_best_of_all_selections(seed):
    """With few members, the loss is nearly that of the best of all multisets of ten additions."""
    proba, y = random_proba(3, 15, 3, seed)
    multisets = itertools.combinations_with_replacement(range(3), 10)
    best = min(mean_log_loss(np.bincount(chosen, minlength=3) / 10, proba, y) for chosen in multisets)
    assert mean_log_loss(greedy_weights(proba, y), proba, y) <= best + 0.01


@pytest.mark.parametrize("seed", range(3))
def test_each_addition_is_the_best_one(seed):
    """The result is that of the algorithm written out with scikit-learn's loss."""
    proba, y = random_proba(4, 12, 3, seed)
    sample_weight = np.random.default_rng(seed).uniform(0.1, 2, size=12)
    counts, tried = np.zeros(4), []
    for _ in range(6):
        additions = [counts + one for one in np.eye(4)]
        losses = [mean_log_loss(c / c.sum(), proba, y, sample_weight) for c in additions]
        counts = additions[np.argmin(losses)]
        tried.append((min(losses), counts / counts.sum()))
    tried.append((mean_log_loss(np.full(4, 0.25), proba, y, sample_weight), np.full(4, 0.25)))
    expected = min(tried, key=lambda pair: pair[0])[1]
    np.testing.assert_allclose(greedy_weights(proba, y, sample_weight=sample_weight, max_rounds=6), expected)


def test_several_labels():
    """The loss is the log-loss of each label, summed."""
    y = np.array([[1, 0], [0, 1], [1, 1]])
    right = np.where(y == 1, 0.9, 0.1)
    proba = np.stack([1 - right, right, np.full((3, 2), 0.5)])
    np.testing.assert_array_equal(greedy_weights(proba, y, target="labels"), [0, 1, 0])
    # One member knows the first label, one the second: both count.
    halves = np.stack([np.where([True, False], right, 0.5), np.where([False, True], right, 0.5)])
    np.testing.assert_array_equal(greedy_weights(halves, y, target="labels"), [0.5, 0.5])


def test_several_targets():
    """The squared errors of all targets are summed."""
    y = np.zeros((2, 2))
    values = np.array([[[3.0, 0.0]] * 2, [[0.0, 4.0]] * 2])
    # w**2 * 9 + (1 - w)**2 * 16 is least at w = 0.64, which is 32 of 50 additions.
    np.testing.assert_allclose(greedy_weights(values, y, target="values"), [0.64, 0.36], atol=1e-12)


def test_weights_of_rows():
    """Rows count by their weight, those of weight 0 not at all."""
    values = np.array([[0.0, 5.0, 0.0], [5.0, 0.0, 5.0]])
    for sample_weight, best in (([1, 0, 0], [1, 0]), ([0, 1, 0], [0, 1])):
        weights = greedy_weights(values, np.zeros(3), target="values", sample_weight=np.array(sample_weight))
        np.testing.assert_array_equal(weights, best)
    # 25 * (1 - w)**2 + 3 * 25 * w**2 is least at w = 0.25 for the member that is wrong on the heavy row.
    weights = greedy_weights(values[:, :2], np.zeros(2), target="values", sample_weight=np.array([1, 3]), max_rounds=4)
    np.testing.assert_array_equal(weights, [0.25, 0.75])


def test_rows_that_a_member_must_not_be_judged_on():
    """A member is judged on its own rows only: being right on the others does not help it."""
    values = np.array([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(greedy_weights(values, np.zeros(4), target="values"), [0, 1])
    valid = np.array([[False, False, True, True], [True, True, True, True]])
    np.testing.assert_array_equal(greedy_weights(values, np.zeros(4), valid=valid, target="values"), [0, 1])
    # On rows 0 and 1 it may be judged on, it is the better one: the other stands in for it elsewhere.
    np.testing.assert_array_equal(
        greedy_weights(values, np.zeros(4), valid=~valid | [[False], [True]], target="values"), [1, 0]
    )


def test_rows_that_nobody_may_be_judged_on():
    """Rows without a judge change nothing."""
    proba, y = random_proba(3, 8, 3, seed=0)
    valid = np.ones((3, 8), bool)
    valid[:, 5:] = False
    proba[:, 5:] = np.nan
    np.testing.assert_array_equal(greedy_weights(proba, y, valid=valid), greedy_weights(proba[:, :5], y[:5]))


def test_member_without_rows():
    """A member that may be judged nowhere is not selected."""
    values = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 1.0]])
    valid = np.array([[False, False], [True, True], [True, True]])
    weights = greedy_weights(values, np.zeros(2), valid=valid, target="values")
    assert weights[0] == 0


@pytest.mark.parametrize(
    "without", [{"valid": np.zeros((2, 3), bool)}, {"sample_weight": np.zeros(3)}], ids=["judges", "weights"]
)
def test_no_row_to_judge_on(without):
    """Without rows there is nothing to select by."""
    with pytest.raises(ValueError, match="needs rows of positive weight that a member was not trained on"):
        greedy_weights(members_giving([0.5] * 3, [0.6] * 3), Y, **without)


def test_probability_zero():
    """A member that gives the true class no chance has a finite loss, and loses."""
    proba = members_giving([1, 1, 0], [0.6, 0.6, 0.6])
    weights = greedy_weights(proba, Y)
    assert np.isfinite(weights).all()
    assert weights[1] > 0.5


# Held-out rows


def test_held_out_rows_are_stratified():
    """Both parts have every class in its share, no row is in both, and none is lost."""
    y = np.repeat([0, 1, 2], [50, 30, 20])
    kept, held_out = held_out_rows(y, 0.2, seed=0, stratify=True)
    np.testing.assert_array_equal(np.bincount(y[held_out]), [10, 6, 4])
    np.testing.assert_array_equal(np.bincount(y[kept]), [40, 24, 16])
    np.testing.assert_array_equal(np.sort([*kept, *held_out]), np.arange(100))
    assert (np.diff(kept) > 0).all()
    assert (np.diff(held_out) > 0).all()


def test_held_out_rows_follow_the_seed():
    """The same seed holds out the same rows, another one others."""
    y = np.repeat([0, 1], 50)
    first, again, other = (held_out_rows(y, 0.2, seed, stratify=True)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)


@pytest.mark.parametrize(
    ("y", "fraction", "n_held_out"),
    [
        (np.repeat(["a", "b", "c"], [9, 9, 1]), 0.2, 4),  # a class of one row
        (np.arange(10), 0.3, 3),  # every class
        (np.repeat(np.arange(5), 2), 0.2, 2),  # fewer rows than classes
        (np.repeat(np.arange(5), 2), 0.8, 8),  # fewer rows than classes to train on
    ],
)
def test_tiny_classes_are_not_stratified(y, fraction, n_held_out):
    """Where classes are too small for shares, rows are drawn without regard to them."""
    kept, held_out = held_out_rows(y, fraction, seed=0, stratify=True)
    assert len(held_out) == n_held_out
    np.testing.assert_array_equal(np.sort([*kept, *held_out]), np.arange(len(y)))


@pytest.mark.parametrize("y", [np.linspace(0, 1, 11), np.eye(11)[:, :3]], ids=["targets", "indicators"])
def test_held_out_rows_without_classes(y):
    """Targets and indicators are split as well; a part of a row counts as one."""
    kept, held_out = held_out_rows(y, 0.2, seed=0, stratify=False)
    assert (len(kept), len(held_out)) == (8, 3)
