import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score
from sklearn.naive_bayes import GaussianNB

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    ScoreSpreadDisplay,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    yield
    plt.close("all")


def averaging(n_estimators=5, **params):
    member = KerasClassifier(hidden_layer_sizes=(3,), epochs=2)
    return KerasAveragingClassifier(member, n_estimators=n_estimators, random_state=0, **params)


def test_groups_of_a_classifier(blobs):
    """Consecutive members that share none, each group scored as an ensemble of its own; what is left over is left."""
    X, y = blobs
    labels = np.array(["a", "b", "c"])[y]
    ensemble = averaging().fit(X, labels)
    display = ScoreSpreadDisplay.from_estimator(ensemble, X, labels, group_sizes=(1, 2))
    proba = np.array([member.predict_proba(X) for member in ensemble.estimators_])
    classes = np.array(["a", "b", "c"])
    singles = [accuracy_score(labels, classes[one.argmax(axis=1)]) for one in proba]
    pairs = [accuracy_score(labels, classes[(proba[i] + proba[i + 1]).argmax(axis=1)]) for i in (0, 2)]
    assert list(display.scores) == ["5 single members", "2 ensembles of 2"]
    np.testing.assert_allclose(display.scores["5 single members"], singles)
    np.testing.assert_allclose(display.scores["2 ensembles of 2"], pairs)
    np.testing.assert_allclose(pairs, [ensemble.subset([i, i + 1]).score(X, labels) for i in (0, 2)])
    for points, values, position in zip(display.points_, (singles, pairs), (1, 2), strict=True):
        np.testing.assert_allclose(points.get_offsets()[:, 1], values)
        assert (abs(points.get_offsets()[:, 0] - position) < 0.25).all()
    medians = [line.get_ydata()[0] for line in display.boxes_["medians"]]
    np.testing.assert_allclose(medians, [np.median(singles), np.median(pairs)])
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == list(display.scores)
    assert display.ax_.get_ylabel() == "accuracy"


def test_groups_of_a_regressor(regression):
    """Groups are combined as the ensemble is, here by the median, with the weights of their members."""
    X, y = regression
    member = KerasRegressor(hidden_layer_sizes=(3,), epochs=2)
    ensemble = KerasAveragingRegressor(member, n_estimators=6, random_state=0).fit(X, y)
    values = np.array([one.predict(X) for one in ensemble.estimators_])
    for combination, weights, combined in (
        ("median", "uniform", lambda group: np.median(group, axis=0)),
        ("mean", [3, 1, 0] * 2, lambda group: (3 * group[0] + group[1]) / 4),
    ):
        ensemble.reweight(weights, combination=combination)
        display = ScoreSpreadDisplay.from_estimator(ensemble, X, y, group_sizes=(3,))
        expected = [r2_score(y, combined(values[i : i + 3])) for i in (0, 3)]
        np.testing.assert_allclose(display.scores["2 ensembles of 3"], expected, rtol=1e-5)
    assert display.ax_.get_ylabel() == "r2"
    errors = ScoreSpreadDisplay.from_estimator(
        ensemble, X, y, group_sizes=(1,), score_func=mean_absolute_error, score_name="error"
    )
    expected = [mean_absolute_error(y, value) for value in values]
    np.testing.assert_allclose(errors.scores["6 single members"], expected, rtol=1e-5)
    assert errors.ax_.get_ylabel() == "error"


def test_votes_and_scorers(blobs):
    """Groups vote where the ensemble does, and scorers by name see probabilities where it does not."""
    X, y = blobs
    ensemble = averaging(6).fit(X, y)
    proba = np.array([member.predict_proba(X) for member in ensemble.estimators_])
    display = ScoreSpreadDisplay.from_estimator(ensemble, X, y, group_sizes=(3,), scoring="neg_log_loss")
    expected = [-log_loss(y, proba[i : i + 3].mean(axis=0)) for i in (0, 3)]
    np.testing.assert_allclose(display.scores["2 ensembles of 3"], expected, rtol=1e-5)

    ensemble.reweight(voting="hard")
    votes = np.eye(3)[proba.argmax(axis=-1)]
    display = ScoreSpreadDisplay.from_estimator(ensemble, X, y, group_sizes=(3,))
    expected = [accuracy_score(y, votes[i : i + 3].sum(axis=0).argmax(axis=1)) for i in (0, 3)]
    np.testing.assert_allclose(display.scores["2 ensembles of 3"], expected)


def test_forty_members(blobs):
    """By default, single members are compared with ensembles of five."""
    display = ScoreSpreadDisplay.from_estimator(averaging(40).fit(*blobs), *blobs)
    assert list(display.scores) == ["40 single members", "8 ensembles of 5"]


def test_voting(regression):
    """The members of a voting ensemble may be any regressors."""
    X, y = regression
    members = [("whole", LinearRegression()), ("through 0", LinearRegression(fit_intercept=False))]
    display = ScoreSpreadDisplay.from_estimator(KerasVotingRegressor(members).fit(X, y), X, y, group_sizes=(1,))
    np.testing.assert_allclose(display.scores["2 single members"], [one.fit(X, y).score(X, y) for _, one in members])


def test_histograms():
    """Histograms share their bins, and their heights are shares of the evaluations."""
    display = ScoreSpreadDisplay({"a": [0.1, 0.1, 0.4, 0.4], "b": [0.1, 0.4]}, "error").plot(kind="hist")
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("error", "share of the evaluations")
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["a", "b"]
    for drawn in display.histograms_:
        assert drawn.get_xy()[:, 1].max() == 0.5
        assert {drawn.get_xy()[:, 0].min(), drawn.get_xy()[:, 0].max()} == {0.1, 0.4}
    assert (display.boxes_, display.points_) == ({}, [])


def test_given_axes():
    """The given axes are drawn on, no others; one evaluation is a point."""
    figure, ax = plt.subplots()
    display = ScoreSpreadDisplay({"one": [0.5], "more": [0.1, 0.2, 0.3]})
    assert display.plot(ax=ax) is display
    assert (display.ax_, display.figure_) == (ax, figure)
    assert ax.get_ylabel() == "score"
    assert len(display.points_[0].get_offsets()) == 1
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("scores", "kind", "message"),
    [
        ({"a": [1]}, "violin", "`kind` must be one of 'box', 'hist': got 'violin'"),
        ({}, "box", "got an empty dict"),
        ({"a": [1, np.nan]}, "box", "scores['a'] must be finite: got nan"),
        ({"a": []}, "hist", "scores['a'] must be one or more numbers in a row"),
    ],
)
def test_what_cannot_be_drawn(scores, kind, message):
    """Scores that are missing or not finite, and other kinds, are refused before there is a figure."""
    with pytest.raises(ValueError) as raised:
        ScoreSpreadDisplay(scores).plot(kind=kind)
    assert message in str(raised.value)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("sizes", [(3,), (0,), (), (1.5,), 2])
def test_sizes(blobs, sizes):
    """Groups must be two at least."""
    ensemble = averaging().fit(*blobs)
    with pytest.raises(ValueError, match=r"whole numbers from 1 to 2, so that 5 members .* got "):
        ScoreSpreadDisplay.from_estimator(ensemble, *blobs, group_sizes=sizes)


def test_ensembles_without_groups(blobs):
    """What is not fitted, no ensemble, of one training, or combined by a final estimator, is refused in words."""
    X, y = blobs
    with pytest.raises(NotFittedError):
        ScoreSpreadDisplay.from_estimator(KerasAveragingClassifier(), X, y)
    with pytest.raises(TypeError, match="must be an ensemble of skensemble: got LogisticRegression"):
        ScoreSpreadDisplay.from_estimator(LogisticRegression().fit(X, y), X, y)
    member = KerasClassifier(epochs=2)
    for run in (
        SnapshotEnsembleClassifier(member, n_estimators=2, random_state=0),
        PolyakWeightClassifier(member, n_checkpoints=2, random_state=0),
    ):
        with pytest.raises(ValueError, match="are of one training. Fit it under several seeds, and give"):
            ScoreSpreadDisplay.from_estimator(run.fit(X, y), X, y)
    stacked = StackedKerasClassifier([("nb", GaussianNB())], cv=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="a final estimator needs all members: got StackedKerasClassifier. Fit it"):
        ScoreSpreadDisplay.from_estimator(stacked, X, y)
    ensemble = averaging().fit(X, y)
    with pytest.raises(ValueError, match="Leave one of them out"):
        ScoreSpreadDisplay.from_estimator(ensemble, X, y, scoring="accuracy", score_func=accuracy_score)
    assert plt.get_fignums() == []
