"""Disagreement, correlation of errors and the ambiguity decomposition."""

import numpy as np
import pytest

from skensemble._numeric.diversity import diversity_of_classes, diversity_of_values


def test_members_of_a_regression_by_hand():
    """Predictions 1 and 3 for a y of 0: losses 1 and 9, mean 5; the mean 2 has 4; the variance is 1."""
    found = diversity_of_values(np.array([[1.0], [3.0]]), np.zeros(1), np.full(2, 0.5))
    assert (found.member_loss, found.ensemble_loss, found.ambiguity) == (5, 4, 1)
    assert found.disagreement.tolist() == [[0, 2], [2, 0]]


def test_ambiguity_is_the_variance_of_the_members():
    """Krogh and Vedelsby: for any weights and any y, also of several targets."""
    rng = np.random.default_rng(0)
    predictions, weights = rng.normal(size=(4, 30, 2)), np.array([0.1, 0.2, 0.3, 0.4])
    variance = np.tensordot(weights, (predictions - np.tensordot(weights, predictions, axes=1)) ** 2, axes=1).mean()
    for y in (np.zeros((30, 2)), rng.normal(size=(30, 2))):
        assert diversity_of_values(predictions, y, weights).ambiguity == pytest.approx(variance)


def test_correlation_of_errors_is_that_of_numpy():
    """Over the rows, of predictions less y."""
    rng = np.random.default_rng(0)
    predictions, y = rng.normal(size=(3, 30)), rng.normal(size=30)
    found = diversity_of_values(predictions, y, np.full(3, 1 / 3)).error_correlation
    np.testing.assert_allclose(found, np.corrcoef(predictions - y))


def test_members_of_a_classification_by_hand():
    """Probabilities 0.5 and 0.125 of the class that is right: the mean is 0.3125."""
    proba = np.array([[[0.5, 0.5]], [[0.125, 0.875]]])
    found = diversity_of_classes(proba, np.array([[0], [1]]), np.array([0]), np.full(2, 0.5), multilabel=False)
    assert found.member_loss == pytest.approx(np.log(2) * (1 + 3) / 2)
    assert found.ensemble_loss == pytest.approx(-np.log(0.3125))
    assert found.ambiguity == pytest.approx(found.member_loss - found.ensemble_loss)
    assert found.disagreement.tolist() == [[0, 1], [1, 0]]


def test_labels_are_summed_in_the_loss():
    """Two labels of a row count as two binary problems."""
    proba = np.array([[[0.5, 0.25]], [[0.25, 0.25]]])
    choices = (proba > 0.3).astype(int)
    found = diversity_of_classes(proba, choices, np.array([[1, 0]]), np.full(2, 0.5), multilabel=True)
    assert found.member_loss == pytest.approx(np.log(2) * 1.5 - np.log(0.75))
    assert found.ensemble_loss == pytest.approx(-np.log(0.375) - np.log(0.75))
    assert found.disagreement.tolist() == [[0, 0.5], [0.5, 0]]


def test_ambiguity_of_classes_is_not_negative():
    """By Jensen's inequality."""
    rng = np.random.default_rng(0)
    proba, y = rng.dirichlet(np.ones(3), (5, 40)), rng.integers(3, size=40)
    found = diversity_of_classes(proba, proba.argmax(axis=-1), y, np.full(5, 0.2), multilabel=False)
    assert found.ambiguity > 0
    assert np.isfinite(found.error_correlation).all()


def test_member_without_errors_has_no_correlation():
    """NaN, and no warning."""
    proba = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    found = diversity_of_classes(proba, proba.argmax(axis=-1), np.array([0, 1]), np.full(2, 0.5), multilabel=False)
    assert np.isnan(found.error_correlation[0]).all()
