"""Temperatures of combined probabilities."""

import numpy as np
import pytest
from scipy.special import logit
from sklearn.metrics import log_loss

from skensemble._numeric.calibration import fit_temperature, with_temperature


def test_temperature_makes_the_mean_probability_the_share_that_is_right():
    """Of 10 rows 8 are right, and half of the row of unknown label: 0.9 becomes that share."""
    proba = np.tile([0.9, 0.1], (10, 1))
    y = np.array([0] * 8 + [1] * 2)
    share = (10 * 0.8 + 0.5) / 11
    assert fit_temperature(proba, y, "classes") == pytest.approx(logit(0.9) / logit(share), rel=1e-4)


def test_rows_that_are_all_right_do_not_make_a_temperature_of_zero():
    """N rows without an error are worth n + 1 of which a half is wrong."""
    temperature = fit_temperature(np.tile([0.9, 0.1], (10, 1)), np.zeros(10, int), "classes")
    assert with_temperature([[0.9, 0.1]], temperature, "classes")[0, 0] == pytest.approx(10.5 / 11, rel=1e-4)


def test_temperature_of_many_rows_has_the_smallest_log_loss():
    """No other temperature has a smaller one, but for the smoothing."""
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([0.3] * 3, 2000)
    y = np.array([rng.choice(3, p=with_temperature([row], 1.7, "classes")[0]) for row in proba])
    temperature = fit_temperature(proba, y, "classes")
    losses = [log_loss(y, with_temperature(proba, temperature * factor, "classes")) for factor in (0.9, 1, 1.1)]
    assert temperature == pytest.approx(1.7, rel=0.1)
    assert np.argmin(losses) == 1


def test_each_label_has_a_temperature_of_its_own():
    """Columns are fitted like two classes each."""
    rng = np.random.default_rng(0)
    proba = rng.uniform(0.01, 0.99, (50, 2))
    y = (rng.uniform(size=(50, 2)) < proba).astype(int)
    pairs = [np.stack([1 - p, p], axis=1) for p in proba.T]
    each = [fit_temperature(pair, label, "classes") for pair, label in zip(pairs, y.T, strict=True)]
    temperatures = fit_temperature(proba, y, "labels")
    assert temperatures == pytest.approx(each, rel=1e-4)
    expected = 1 / (1 + ((1 - proba) / proba) ** (1 / temperatures))
    assert with_temperature(proba, temperatures, "labels") == pytest.approx(expected)


def test_weights_of_rows_count_like_repeated_rows():
    """A row of weight 2 moves the optimum as two rows do, but for the smoothing."""
    proba = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]] * 200)
    y = np.array([0, 1, 0] * 200)
    weighted = fit_temperature(proba, y, "classes", np.tile([2.0, 1.0, 0.0], 200))
    repeated = fit_temperature(proba[np.tile([0, 0, 1], 200)], y[np.tile([0, 0, 1], 200)], "classes")
    assert weighted == pytest.approx(repeated, rel=0.01)


def test_order_of_classes_stays():
    """Probabilities of 0 stay the smallest, and rows sum to 1."""
    proba = np.array([[0.0, 0.3, 0.7], [1.0, 0.0, 0.0]])
    for temperature in (0.1, 1.0, 10.0):
        changed = with_temperature(proba, temperature, "classes")
        assert changed.sum(axis=1) == pytest.approx(1)
        assert (changed.argmax(axis=1) == proba.argmax(axis=1)).all()
