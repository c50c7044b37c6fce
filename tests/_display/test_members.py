import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    make_scorer,
    mean_absolute_error,
    r2_score,
)
from sklearn.naive_bayes import GaussianNB

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    MembersDisplay,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    StackedKerasRegressor,
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
    assert (display.ax_.get_xticks() % 1 == 0).all()
    assert display.members_.get_zorder() > display.ensemble_.get_zorder()  # no point is hidden


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
    plt.close("all")  # figures of other tests
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


def test_runs_begin_with_the_newest(blobs):
    """Of one training, the growing ensemble takes the newest first, and the plot says so."""
    X, y = blobs
    member = KerasClassifier(hidden_layer_sizes=(3,), epochs=3, run_eagerly=True)
    for ensemble in (
        SnapshotEnsembleClassifier(member, n_estimators=3, random_state=0),
        PolyakWeightClassifier(member, n_checkpoints=3, random_state=0),
    ):
        display = MembersDisplay.from_estimator(ensemble.fit(X, y), X, y)
        newest_first = ensemble.checkpoints_ if hasattr(ensemble, "checkpoints_") else ensemble.estimators_
        np.testing.assert_allclose(display.member_scores, [one.score(X, y) for one in newest_first])
        assert display.ensemble_.get_label() == "ensemble of the newest n"
        assert display.ax_.get_xlabel() == "members, newest first"
        assert display.ensemble_scores[-1] == ensemble.score(X, y)


def test_stacking_has_one_level(blobs):
    """A stacking ensemble does not grow: its score is a line beside those of its members, which have names."""
    X, y = blobs
    members = [("mlp", KerasClassifier(hidden_layer_sizes=(3,), epochs=1, run_eagerly=True)), ("nb", GaussianNB())]
    stacked = StackedKerasClassifier(members, cv=2, random_state=0).fit(X, y)
    display = MembersDisplay.from_estimator(stacked, X, y)
    np.testing.assert_allclose(display.member_scores, [one.score(X, y) for one in stacked.estimators_])
    assert display.ensemble_scores == stacked.score(X, y)
    assert list(display.ensemble_.get_ydata()) == [stacked.score(X, y)] * 2
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["mlp", "nb"]

    regressors = [("linear", LinearRegression()), ("ridge", Ridge())]
    stacked = StackedKerasRegressor(regressors, cv=2, random_state=0).fit(X, X[:, 0] ** 2)
    display = MembersDisplay.from_estimator(stacked, X, X[:, 0] ** 2)
    assert display.ensemble_scores == pytest.approx(stacked.score(X, X[:, 0] ** 2))


def test_scoring(blobs):
    """Scorers of scikit-learn work by name, with probabilities too, and as functions."""
    X, y = blobs
    ensemble = trained_classifier(X, y)
    display = MembersDisplay.from_estimator(ensemble, X, y, scoring="neg_log_loss")
    each = [-log_loss(y, member.predict_proba(X)) for member in ensemble.estimators_]
    np.testing.assert_allclose(display.member_scores, each, rtol=1e-5)
    np.testing.assert_allclose(display.ensemble_scores[-1], -log_loss(y, ensemble.predict_proba(X)), rtol=1e-5)
    assert display.ax_.get_ylabel() == "neg log loss"
    display = MembersDisplay.from_estimator(ensemble, X, y, scoring=make_scorer(accuracy_score), score_name="hits")
    assert display.ensemble_scores[-1] == ensemble.score(X, y)
    assert display.ax_.get_ylabel() == "hits"
    with pytest.raises(ValueError, match="Leave one of them out"):
        MembersDisplay.from_estimator(ensemble, X, y, scoring="accuracy", score_func=accuracy_score)
    with pytest.raises(AttributeError, match="predict_proba"):
        MembersDisplay.from_estimator(trained_classifier(X, y, voting="hard"), X, y, scoring="neg_log_loss")
    assert len(plt.get_fignums()) == 2
