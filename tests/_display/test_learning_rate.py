import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    LearningRateDisplay,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
)


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    yield
    plt.close("all")


def network(**params):
    return KerasClassifier(hidden_layer_sizes=(3,), **{"epochs": 4, **params})


def halved(epoch, learning_rate):
    return 0.01 / 2**epoch


def test_steps_of_snapshots(blobs):
    """The rate of each step over the epochs, from the formula of the paper, and a point at each snapshot."""
    fitted = SnapshotEnsembleClassifier(network(), n_estimators=2, initial_learning_rate=0.1, random_state=0)
    display = LearningRateDisplay.from_estimator(fitted.fit(*blobs))
    # 60 rows are two batches; a cycle has two epochs, four steps.
    cycle = 0.05 * (np.cos(np.pi * np.arange(4) / 4) + 1)
    (line,) = display.lines_
    np.testing.assert_array_equal(line.get_xdata(), np.arange(9) / 2)
    np.testing.assert_allclose(line.get_ydata(), [*cycle, *cycle, cycle[-1]])
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(display.marks_.get_offsets(), [[2, cycle[-1]], [4, cycle[-1]]])
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["learning rate", "snapshot"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "learning rate")


def test_stopped_run(blobs):
    """Of a run that a callback ends, the rates go up to the newest snapshot."""
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 4)
    )
    member = network(epochs=8, callbacks=lambda number: stop)
    fitted = SnapshotEnsembleClassifier(member, n_estimators=4, random_state=0).fit(*blobs)
    display = LearningRateDisplay.from_estimator(fitted)
    assert display.marked_epochs == [2, 4]
    assert display.lines_[0].get_xdata()[-1] == 4
    np.testing.assert_array_equal(display.lines_[0].get_ydata()[:-1], fitted.learning_rates_[:8])


def test_averaged_checkpoints(blobs):
    """Of a Polyak average, the rates that Keras recorded, and points at the checkpoints that are averaged."""
    member = network(callbacks=[keras.callbacks.LearningRateScheduler(halved)])
    fitted = PolyakWeightClassifier(member, n_checkpoints=3, random_state=0).fit(*blobs).reweight(n_checkpoints=2)
    display = LearningRateDisplay.from_estimator(fitted, name="halved")
    rates = 0.01 / 2 ** np.arange(4)
    np.testing.assert_allclose(display.lines_[0].get_ydata(), [*rates, rates[-1]], rtol=1e-6)
    np.testing.assert_allclose(display.marks_.get_offsets(), [[3, rates[2]], [4, rates[3]]], rtol=1e-6)
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["halved", "averaged checkpoint"]


@pytest.mark.parametrize("n_estimators", [1, 40])
def test_members_with_rates_of_their_own(regression, n_estimators):
    """Of several trainings, a line each in one color, with one entry in the legend, and no marks."""
    member = KerasRegressor(
        hidden_layer_sizes=(2,), epochs=2, callbacks=[keras.callbacks.LearningRateScheduler(halved)]
    )
    ensemble = KerasAveragingRegressor(member, n_estimators=n_estimators, random_state=0).fit(*regression)
    display = LearningRateDisplay.from_estimator(ensemble)
    recorded = [fitted.history_["learning_rate"] for fitted in ensemble.estimators_]
    np.testing.assert_array_equal([line.get_ydata()[:-1] for line in display.lines_], recorded)
    assert len({line.get_color() for line in display.lines_}) == 1
    assert display.marks_ is None
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["learning rate" if n_estimators == 1 else "each member"]


def test_displays_on_one_plot():
    """Displays on the same axes have different colors, and the points that of their line."""
    _, ax = plt.subplots()
    first = LearningRateDisplay([[1, 2]], marked_epochs=[2], name="first").plot(ax=ax)
    second = LearningRateDisplay([[2, 1]], marked_epochs=[1], name="second").plot(ax=ax)
    assert first.ax_ is second.ax_ is ax
    assert first.lines_[0].get_color() != second.lines_[0].get_color()
    for display in (first, second):
        color = plt.matplotlib.colors.to_rgba(display.lines_[0].get_color())
        np.testing.assert_array_equal(display.marks_.get_facecolors(), [color])
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rates": [0.1, 0.2]}, "Put the rates of one training into a list"),
        ({"learning_rates": []}, "must be a list with an array of numbers for each training: got []"),
        ({"learning_rates": [[1, 2, 3, 4]], "steps_per_epoch": 2, "marked_epochs": [3]}, "from 1 to 2, the epochs"),
        ({"learning_rates": [[1, 2]], "marked_epochs": [0]}, "from 1 to 2, the epochs"),
        ({"learning_rates": [[1, 2]], "marked_epochs": [0.5]}, "must be whole numbers"),
    ],
)
def test_what_cannot_be_drawn(params, message):
    """Rates that are no list of arrays, and marks outside of them, are refused before there is a figure."""
    with pytest.raises(ValueError) as raised:
        LearningRateDisplay(**params).plot()
    assert message in str(raised.value)
    assert plt.get_fignums() == []


def test_without_learning_rates(blobs):
    """An ensemble must be fitted, with something that records the learning rate."""
    with pytest.raises(NotFittedError):
        LearningRateDisplay.from_estimator(SnapshotEnsembleClassifier())
    ensemble = KerasAveragingClassifier(network(epochs=1), n_estimators=2, random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match="A learning rate was not recorded: .* Train with one of them"):
        LearningRateDisplay.from_estimator(ensemble)
    assert plt.get_fignums() == []
