import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasHeadRegressor,
    KerasRegressor,
    KerasVotingClassifier,
    MemberWeightsDisplay,
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


def network(**params):
    return KerasClassifier(hidden_layer_sizes=(3,), **{"epochs": 3, **params})


def heights(display):
    return [bar.get_height() for bar in display.bars_]


def names_of(display):
    return [label.get_text() for label in display.ax_.get_xticklabels()]


def test_given_weights(blobs):
    """Bars are as high as the weights, scaled to sum to 1, with their values on them, over the level of equal ones."""
    ensemble = KerasAveragingClassifier(network(), n_estimators=3, weights=[3, 1, 0], random_state=0).fit(*blobs)
    display = MemberWeightsDisplay.from_estimator(ensemble)
    np.testing.assert_allclose(heights(display), [0.75, 0.25, 0])
    np.testing.assert_allclose(display.equal_.get_ydata(), [1 / 3, 1 / 3])
    assert [text.get_text() for text in display.ax_.texts] == ["0.75", "0.25", "0.00"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("members", "weight")


@pytest.mark.parametrize("n_estimators", [1, 40])
def test_number_of_members(regression, n_estimators):
    """One bar is no wall, and forty have no values on them that would overlap."""
    member = KerasRegressor(hidden_layer_sizes=(2,), epochs=1)
    ensemble = KerasAveragingRegressor(member, n_estimators=n_estimators, random_state=0).fit(*regression)
    display = MemberWeightsDisplay.from_estimator(ensemble)
    np.testing.assert_allclose(heights(display), np.full(n_estimators, 1 / n_estimators))
    assert len(display.ax_.texts) == (1 if n_estimators == 1 else 0)
    left, right = display.ax_.get_xlim()
    assert display.bars_[0].get_width() / (right - left) < 0.5
    assert left < 0.6
    assert right > n_estimators + 0.4


def test_members_with_names(blobs):
    """Members of voting and stacking ensembles have their names, in the order of the weights; dropped ones none."""
    members = [("net", network()), ("gone", "drop"), ("nb", GaussianNB())]
    voting = KerasVotingClassifier(members, weights=[1, 5, 4], random_state=0).fit(*blobs)
    display = MemberWeightsDisplay.from_estimator(voting)
    np.testing.assert_allclose(heights(display), [0.2, 0.8])
    assert names_of(display) == ["net", "nb"]


def test_weights_of_one_training(blobs):
    """The weights of snapshots and averaged checkpoints stand newest first, as everywhere."""
    polyak = PolyakWeightClassifier(network(), n_checkpoints=3, weights="linear", random_state=0).fit(*blobs)
    snapshots = SnapshotEnsembleClassifier(network(), n_estimators=3, weights=[3, 2, 1], random_state=0).fit(*blobs)
    for fitted in (polyak, snapshots):
        display = MemberWeightsDisplay.from_estimator(fitted)
        np.testing.assert_allclose(heights(display), [3 / 6, 2 / 6, 1 / 6])
        assert display.ax_.get_xlabel() == "members, newest first"


def test_learned_weights_of_stacking(regression):
    """Of a stacking ensemble, the weights that its weighted average learned: here the softmax of its logits."""
    head = KerasHeadRegressor("weighted_average", epochs=2)
    members = [("linear", LinearRegression()), ("ridge", Ridge(10))]
    stacked = StackedKerasRegressor(members, head, cv=2, random_state=0).fit(*regression)
    display = MemberWeightsDisplay.from_estimator(stacked)
    (logits,) = (w for w in stacked.final_estimator_.model_.get_weights() if w.shape == (2,))
    np.testing.assert_allclose(heights(display), np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)
    assert names_of(display) == ["linear", "ridge"]


def test_given_axes():
    """The given axes are drawn on, no others."""
    figure, ax = plt.subplots()
    display = MemberWeightsDisplay([0.5, 0.5], ["a", "b"])
    assert display.plot(ax=ax) is display
    assert (display.ax_, display.figure_) == (ax, figure)
    assert plt.get_fignums() == [figure.number]


def test_without_weights(blobs):
    """What is not fitted, no ensemble, or has no weight for each member, is refused in words."""
    X, y = blobs
    with pytest.raises(NotFittedError):
        MemberWeightsDisplay.from_estimator(KerasAveragingClassifier())
    with pytest.raises(TypeError, match="must be an ensemble of skensemble: got LogisticRegression. Pass the fitted"):
        MemberWeightsDisplay.from_estimator(LogisticRegression().fit(X, y))
    members = [("nb", GaussianNB()), ("other", GaussianNB(var_smoothing=0.1))]
    for final, name in ((None, "LogisticRegression"), ("average", "KerasHeadClassifier with merge='average'")):
        stacked = StackedKerasClassifier(members, final, cv=2, random_state=0).fit(X, y)
        with pytest.raises(ValueError, match=f"got the final estimator {name}. Fit with that one, or"):
            MemberWeightsDisplay.from_estimator(stacked)
    with pytest.raises(ValueError, match="got 1 names for 2 weights"):
        MemberWeightsDisplay([0.5, 0.5], ["a"]).plot()
    assert plt.get_fignums() == []


def test_an_ensemble_as_final_estimator(blobs):
    """The weights of an ensemble that combines the members are not those of the members."""
    members = [("nb", GaussianNB()), ("other", GaussianNB(var_smoothing=0.1))]
    final = KerasAveragingClassifier(network(epochs=1), n_estimators=2)
    stacked = StackedKerasClassifier(members, final, cv=2, random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match="got the final estimator KerasAveragingClassifier"):
        MemberWeightsDisplay.from_estimator(stacked)
