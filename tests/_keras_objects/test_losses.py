"""The loss of networks that predict a normal distribution."""

import keras
import numpy as np
import pytest
from scipy.stats import norm

from skensemble import NormalNLL

Y = np.array([[0.0, 2.0], [1.0, -1.0], [3.0, 0.5]])
OUTPUTS = np.array([[0.5, 1.0, 0.0, -1.0], [1.0, 1.0, 0.3, 1.0], [0.0, 0.5, 2.0, 0.0]])


def log_densities():
    """Log-density of each target by SciPy."""
    return norm.logpdf(Y, OUTPUTS[:, :2], np.sqrt(np.exp(2 * OUTPUTS[:, 2:]) + 1e-6))


def test_is_the_negative_log_likelihood():
    """Averaged over targets and rows, it is what SciPy's normal distribution gives."""
    assert float(NormalNLL()(Y, OUTPUTS)) == pytest.approx(-log_densities().mean(), rel=1e-6)


def test_takes_targets_in_one_dimension():
    """Targets of shape (n_samples,) are those of one column."""
    outputs = OUTPUTS[:, [0, 2]]
    assert float(NormalNLL()(Y[:, 0], outputs)) == pytest.approx(float(NormalNLL()(Y[:, :1], outputs)))


def test_weights_of_rows_count():
    """A row of weight 0 does not count."""
    weights = np.array([1.0, 0.0, 2.0])
    expected = -(log_densities().mean(axis=1) * weights).sum() / 3
    assert float(NormalNLL()(Y, OUTPUTS, sample_weight=weights)) == pytest.approx(expected, rel=1e-6)


def test_beta_weighs_by_the_variance():
    """The loss of each target is multiplied by its variance to the power of `beta`."""
    variances = np.exp(2 * OUTPUTS[:, 2:]) + 1e-6
    expected = -(log_densities() * variances**0.5).mean()
    assert float(NormalNLL(beta=0.5)(Y, OUTPUTS)) == pytest.approx(expected, rel=1e-6)


def test_with_beta_one_means_are_trained_as_by_the_squared_error():
    """The step of the means does not depend on the variances, which take no gradient from the factor."""
    steps = []
    for loss in (NormalNLL(beta=1.0), "mse"):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2 if loss != "mse" else 1, use_bias=False)])
        model.set_weights([np.full((1, 2), 0.3) if loss != "mse" else np.full((1, 1), 0.3)])
        model.compile(keras.optimizers.SGD(1.0), loss)
        model.fit(np.ones((1, 1)), np.full((1, 1), 0.7), verbose=0)
        steps.append(float(np.asarray(model.get_weights()[0])[0, 0]) - 0.3)
    assert 2 * steps[0] == pytest.approx(steps[1], rel=1e-4)  # the likelihood has half of the squared error


def test_is_saved_with_a_model(tmp_path):
    """Keras finds the loss by its registered name, with its `beta`."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    model.compile("sgd", NormalNLL(beta=0.25))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss, NormalNLL)
    assert loaded.loss.beta == 0.25


@pytest.mark.parametrize("beta", [-0.1, 1.5, "half", None])
def test_bad_beta_is_refused(beta):
    """`beta` is a number from 0 to 1."""
    with pytest.raises(ValueError, match="`beta` must be a number from 0 to 1"):
        NormalNLL(beta=beta)


def test_outputs_must_be_two_a_target():
    """The message says how many there must be."""
    with pytest.raises(ValueError, match="needs two outputs for each target.*3 outputs for 1 targets"):
        NormalNLL()(Y[:, :1], OUTPUTS[:, :3])
