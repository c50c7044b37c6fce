import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.linear_model import Ridge

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    StackedKerasRegressor,
    UncertaintyDisplay,
)

QUICK = {"hidden_layer_sizes": (3,), "epochs": 4, "run_eagerly": True, "batch_size": -1}


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    yield
    plt.close("all")


def test_points_are_the_parts_of_the_uncertainty(blobs):
    """Aleatoric to the right, epistemic upwards; wrong predictions apart from right ones."""
    X, y = blobs
    ensemble = KerasAveragingClassifier(KerasClassifier(**QUICK), 3, random_state=0).fit(X, y)
    display = UncertaintyDisplay.from_estimator(ensemble, X, y)
    _, aleatoric, epistemic = ensemble.predict_uncertainty(X)
    is_right = ensemble.predict(X) == y
    points = np.stack([aleatoric, epistemic], axis=1)
    np.testing.assert_allclose(display.right_.get_offsets(), points[is_right])
    np.testing.assert_allclose(display.wrong_.get_offsets(), points[~is_right])
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["right", "wrong"]


def test_values_are_right_inside_of_the_interval(regression):
    """For regressors, whose parts are variances."""
    X, y = regression
    member = KerasRegressor(**QUICK, distribution="normal")
    ensemble = KerasAveragingRegressor(member, 2, random_state=0).fit(X, y)
    display = UncertaintyDisplay.from_estimator(ensemble, X, y)
    lower, upper = ensemble.predict_interval(X)
    assert len(display.right_.get_offsets()) == np.count_nonzero((lower <= y) & (y <= upper))
    assert display.ax_.get_ylabel() == "epistemic uncertainty (units of y, squared)"


def test_without_truth_points_are_alike(blobs):
    """Given parts are drawn without a legend."""
    X, y = blobs
    ensemble = KerasAveragingClassifier(KerasClassifier(**QUICK), 2, random_state=0).fit(X, y)
    display = UncertaintyDisplay(ensemble.predict_uncertainty(X)).plot()
    assert len(display.right_.get_offsets()) == len(X)
    assert display.ax_.get_legend() is None


def test_what_has_no_known_parts_is_refused(regression):
    """Members without a distribution, stacking ensembles, several targets."""
    X, y = regression
    ensemble = KerasAveragingRegressor(KerasRegressor(**QUICK), 2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="needs members that predict a distribution"):
        UncertaintyDisplay.from_estimator(ensemble, X, y)
    with pytest.raises(ValueError, match="`y` must have one label or value a row"):
        UncertaintyDisplay.from_estimator(ensemble, X, np.stack([y, y], axis=1))
    stacked = StackedKerasRegressor([("ridge", Ridge()), ("other", Ridge(5))], Ridge()).fit(X, y)
    with pytest.raises(TypeError, match="must have `predict_uncertainty`"):
        UncertaintyDisplay.from_estimator(stacked, X, y)
