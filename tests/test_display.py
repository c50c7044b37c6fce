import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, balanced_accuracy_score, mean_absolute_error, r2_score

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    MembersDisplay,
)


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    yield
    plt.close("all")


def trained_classifier(X, y, **params):
    """Ensemble of two weak members that make different errors."""
    member = KerasClassifier(hidden_layer_sizes=(3,), epochs=2, run_eagerly=True)
    return KerasAveragingClassifier(member, n_estimators=2, random_state=0, **params).fit(X, y)


@pytest.mark.parametrize("voting", ["soft", "hard"])
def test_scores_of_a_classifier(blobs, voting):
    """Points are the accuracies of the members alone, the line those of the growing ensemble."""
    X, y = blobs
    labels = np.array(["a", "b", "c"])[y]
    ensemble = trained_classifier(X, labels, voting=voting)
    display = MembersDisplay.from_estimator(ensemble, X, labels)

    each = [accuracy_score(labels, member.predict(X)) for member in ensemble.estimators_]
    np.testing.assert_allclose(display.member_scores, each, rtol=1e-12)
    # The first member alone, then both.
    np.testing.assert_allclose(display.ensemble_scores, [each[0], ensemble.score(X, labels)], rtol=1e-12)
    np.testing.assert_allclose(display.members_.get_offsets(), np.column_stack([[1, 2], each]), rtol=1e-12)
    np.testing.assert_array_equal(display.ensemble_.get_xdata(), [1, 2])
    np.testing.assert_array_equal(display.ensemble_.get_ydata(), display.ensemble_scores)
    assert display.ax_.get_xlabel() == "members"
    assert display.ax_.get_ylabel() == "accuracy"
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == [
        "each member",
        "ensemble of the first n",
    ]


def test_scores_of_a_regressor(regression):
    """Without a score function, regressors are scored by R^2."""
    X, y = regression
    member = KerasRegressor(hidden_layer_sizes=(3,), epochs=2, run_eagerly=True)
    ensemble = KerasAveragingRegressor(member, n_estimators=2, random_state=0).fit(X, y)
    display = MembersDisplay.from_estimator(ensemble, X, y)
    values = [member.predict(X) for member in ensemble.estimators_]
    np.testing.assert_allclose(display.member_scores, [r2_score(y, value) for value in values], rtol=1e-5)
    growing = [r2_score(y, values[0]), r2_score(y, (values[0] + values[1]) / 2)]
    np.testing.assert_allclose(display.ensemble_scores, growing, rtol=1e-5)
    assert display.ax_.get_ylabel() == "r2"

    errors = MembersDisplay.from_estimator(ensemble, X, y, score_func=mean_absolute_error)
    np.testing.assert_allclose(errors.member_scores, [mean_absolute_error(y, value) for value in values], rtol=1e-5)
    assert errors.ax_.get_ylabel() == "mean absolute error"


def test_own_score_function_and_axes(blobs):
    """The score function names the axis, and the given axes are drawn on, no others."""
    X, y = blobs
    ensemble = trained_classifier(X, y)
    figure, ax = plt.subplots()
    display = MembersDisplay.from_estimator(ensemble, X, y, score_func=balanced_accuracy_score, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert plt.get_fignums() == [figure.number]
    assert ax.get_ylabel() == "balanced accuracy"
    each = [balanced_accuracy_score(y, member.predict(X)) for member in ensemble.estimators_]
    np.testing.assert_allclose(display.member_scores, each, rtol=1e-12)


def test_plot_of_given_scores():
    """A display made of scores draws them on new axes, again and again."""
    display = MembersDisplay(np.array([0.5, 0.25]), np.array([0.5, 0.75]), score_name="hit rate")
    assert display.plot() is display
    first = display.ax_
    assert first.get_ylabel() == "hit rate"
    np.testing.assert_array_equal(display.members_.get_offsets(), [[1, 0.5], [2, 0.25]])
    np.testing.assert_array_equal(display.ensemble_.get_ydata(), [0.5, 0.75])
    display.plot()
    assert display.ax_ is not first


def test_unfitted_ensemble():
    """An ensemble must be fitted before it is plotted."""
    with pytest.raises(NotFittedError):
        MembersDisplay.from_estimator(KerasAveragingClassifier(), np.zeros((3, 2)), [0, 1, 0])
    assert plt.get_fignums() == []
