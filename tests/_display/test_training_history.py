import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    TrainingHistoryDisplay,
)


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    yield
    plt.close("all")


def network(**params):
    return KerasClassifier(hidden_layer_sizes=(3,), **{"epochs": 2, **params})


def drawn(line):
    return line.get_xdata(), line.get_ydata()


def labels_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def assert_draws(line, values):
    """Fail where a line is not these values at epochs 1, 2, ..."""
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(values) + 1))
    np.testing.assert_array_equal(line.get_ydata(), values)


def test_members_and_their_mean(blobs):
    """A faint line for each copy, solid for training rows and dashed for validation rows, and NumPy's means on top."""
    member = network(validation_split=0.2, epochs=3)
    ensemble = KerasAveragingClassifier(member, n_estimators=3, random_state=0).fit(*blobs)
    display = TrainingHistoryDisplay.from_estimator(ensemble)
    for key, style in (("loss", "-"), ("val_loss", "--")):
        histories = [fitted.history_[key] for fitted in ensemble.estimators_]
        for line, values in zip(display.member_lines_[key], histories, strict=True):
            assert_draws(line, values)
            assert line.get_linestyle() == style
            assert line.get_alpha() < 1
        mean = display.mean_lines_[key]
        np.testing.assert_allclose(mean.get_ydata(), np.mean(histories, axis=0))
        assert mean.get_linestyle() == style
        assert mean.get_zorder() > line.get_zorder()
        assert mean.get_color() == line.get_color()
    assert labels_of(display) == ["training, mean of 3", "validation, mean of 3"]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")
    assert (display.ax_.get_xticks() % 1 == 0).all()


def test_drawing_builds_no_network(blobs):
    """Members that were never asked for are not built to be drawn."""
    ensemble = KerasAveragingClassifier(network(), n_estimators=3, random_state=0).fit(*blobs)
    TrainingHistoryDisplay.from_estimator(ensemble)
    assert ensemble.estimators_.built == {}


def test_forty_members(regression):
    """Forty members are forty lines and two entries of the legend."""
    member = KerasRegressor(hidden_layer_sizes=(2,), epochs=2, validation_split=0.2)
    ensemble = KerasAveragingRegressor(member, n_estimators=40, random_state=0).fit(*regression)
    display = TrainingHistoryDisplay.from_estimator(ensemble)
    assert [len(lines) for lines in display.member_lines_.values()] == [40, 40]
    assert labels_of(display) == ["training, mean of 40", "validation, mean of 40"]


def test_one_network(blobs):
    """One network is one line, which is no mean; without validation there is no dashed one."""
    fitted = network(metrics=["accuracy"]).fit(*blobs)
    display = TrainingHistoryDisplay.from_estimator(fitted, metric="accuracy")
    assert list(display.member_lines_) == ["accuracy"]
    assert_draws(*display.member_lines_["accuracy"], fitted.history_["accuracy"])
    assert display.mean_lines_ == {}
    assert labels_of(display) == ["training"]
    assert display.ax_.get_ylabel() == "accuracy"
    # One epoch is a point.
    (line,) = TrainingHistoryDisplay.from_estimator(network(epochs=1).fit(*blobs)).member_lines_["loss"]
    assert line.get_marker() == "o"


@pytest.mark.parametrize("ensemble", [SnapshotEnsembleClassifier, PolyakWeightClassifier])
def test_one_training(blobs, ensemble):
    """Snapshots and averaged checkpoints are of one training, whose line goes up to the newest."""
    number = {"n_estimators": 2} if ensemble is SnapshotEnsembleClassifier else {"n_checkpoints": 2}
    fitted = ensemble(network(epochs=4), **number, random_state=0).fit(*blobs)
    newest = fitted.estimators_[0] if hasattr(fitted, "estimators_") else fitted.checkpoints_[0]
    (line,) = TrainingHistoryDisplay.from_estimator(fitted).member_lines_["loss"]
    assert_draws(line, newest.history_["loss"])
    assert len(line.get_xdata()) == 4


@pytest.mark.parametrize("ensemble", [KerasVotingClassifier, StackedKerasClassifier])
def test_named_members(blobs, ensemble):
    """Networks with names have a color and an entry each, also in pipelines; what is no network is left out."""
    members = [
        ("small", network()),
        ("nb", GaussianNB()),
        ("scaled", make_pipeline(StandardScaler(), network(epochs=3, validation_split=0.2))),
    ]
    fitted = ensemble(members, random_state=0).fit(*blobs)
    display = TrainingHistoryDisplay.from_estimator(fitted)
    small, _, scaled = fitted.estimators_
    histories = [small.history_["loss"], scaled[-1].history_["loss"]]
    for line, values in zip(display.member_lines_["loss"], histories, strict=True):
        assert_draws(line, values)
    assert_draws(*display.member_lines_["val_loss"], scaled[-1].history_["val_loss"])
    assert labels_of(display) == ["small, training", "scaled, training", "scaled, validation"]
    first, second = display.member_lines_["loss"]
    assert first.get_color() != second.get_color() == display.member_lines_["val_loss"][0].get_color()
    assert display.mean_lines_ == {}


def test_many_names():
    """More names than there are colors are drawn as copies are, with their mean."""
    histories = [{"loss": [2.0 + i, 1.0]} for i in range(7)]
    display = TrainingHistoryDisplay(histories, member_names=list("abcdefg")).plot()
    np.testing.assert_array_equal(display.mean_lines_["loss"].get_ydata(), [5, 1])
    assert labels_of(display) == ["training, mean of 7"]


def test_ensembles_as_members(blobs):
    """Networks in members that are ensembles, frozen or not, have the name of the member and their number."""
    X, y = blobs
    pair = KerasAveragingClassifier(network(), n_estimators=2, random_state=0).fit(X, y)
    voting = KerasVotingClassifier([("pair", FrozenEstimator(pair)), ("one", network())], random_state=0).fit(X, y)
    assert labels_of(TrainingHistoryDisplay.from_estimator(voting)) == ["pair 1", "pair 2", "one"]


def test_members_that_stop(blobs):
    """Where members stop, their lines end with a dot, and the mean ends with the first of them."""

    def stop_after(number):
        stop = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: setattr(stop.model, "stop_training", epoch == 1 + number)
        )
        return stop

    ensemble = KerasAveragingClassifier(network(epochs=5, callbacks=stop_after), n_estimators=2, random_state=0)
    display = TrainingHistoryDisplay.from_estimator(ensemble.fit(*blobs))
    losses = [fitted.history_["loss"] for fitted in ensemble.estimators_]
    assert [len(values) for values in losses] == [2, 3]
    for line, values in zip(display.member_lines_["loss"], losses, strict=True):
        assert_draws(line, values)
        assert (line.get_marker(), line.get_markevery()) == ("o", [-1])
    np.testing.assert_allclose(
        display.mean_lines_["loss"].get_ydata(), (np.array(losses[0]) + losses[1][:2]) / 2, rtol=1e-12
    )


@pytest.mark.parametrize(("frequency", "epochs"), [(2, [2, 4]), ([1, 3], [1, 3])])
def test_validation_that_skips_epochs(blobs, frequency, epochs):
    """With Keras' `validation_freq`, values stand at the epochs that were validated."""
    member = network(epochs=5, validation_split=0.2, fit__validation_freq=frequency)
    ensemble = KerasAveragingClassifier(member, n_estimators=2, random_state=0).fit(*blobs)
    display = TrainingHistoryDisplay.from_estimator(ensemble)
    values = [fitted.history_["val_loss"] for fitted in ensemble.estimators_]
    x, y = drawn(display.member_lines_["val_loss"][1])
    np.testing.assert_array_equal(x, epochs)
    np.testing.assert_array_equal(y, values[1])
    x, y = drawn(display.mean_lines_["val_loss"])
    np.testing.assert_array_equal(x, epochs)
    np.testing.assert_allclose(y, np.mean(values, axis=0))


def test_short_names_of_metrics(regression):
    """Keras' "val_mae" is drawn beside what scikeras calls "mean_absolute_error"."""

    def build():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    fitted = KerasRegressor(build, epochs=2, validation_split=0.2).fit(*regression)
    display = TrainingHistoryDisplay.from_estimator(fitted, metric="mean_absolute_error")
    for key in ("mean_absolute_error", "val_mae"):
        assert_draws(display.member_lines_[key][0], fitted.history_[key])


def test_validation_alone():
    """What begins with "val_" is drawn alone, and members without it are left out."""
    histories = [{"loss": [3, 2], "val_loss": [4, 3]}, {"loss": [3, 2], "val_loss": [2, 1]}, {"loss": [1, 1]}]
    display = TrainingHistoryDisplay(histories, metric="val_loss").plot()
    assert list(display.member_lines_) == ["val_loss"]
    np.testing.assert_array_equal(display.mean_lines_["val_loss"].get_ydata(), [3, 2])
    assert labels_of(display) == ["validation, mean of 2"]


def test_given_axes():
    """The given axes are drawn on, no others."""
    figure, ax = plt.subplots()
    display = TrainingHistoryDisplay([{"loss": [2, 1]}])
    assert display.plot(ax=ax) is display
    assert (display.ax_, display.figure_) == (ax, figure)
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"histories": [{"loss": [1]}], "metric": "auc"}, "recorded, ['loss']: got 'auc'. For others, give"),
        ({"histories": [{"loss": [np.nan] * 2}]}, "'loss' must be a number in at least one epoch"),
        ({"histories": [{"loss": [1, 2], "val_loss": [1]}]}, "got 1 for 2 epochs in histories[0]"),
        ({"histories": [{"loss": [1]}], "member_names": ["a", "b"]}, "got 2 names for 1 histories"),
        ({"histories": []}, "recorded, []: got 'loss'"),
    ],
)
def test_what_cannot_be_drawn(params, message):
    """Histories without the metric, or with values at unknown epochs, are refused before there is a figure."""
    with pytest.raises(ValueError) as raised:
        TrainingHistoryDisplay(**params).plot()
    assert message in str(raised.value)
    assert plt.get_fignums() == []


def test_estimators_without_history(blobs):
    """What is not fitted, or has no network that was trained, is refused in words."""
    with pytest.raises(NotFittedError):
        TrainingHistoryDisplay.from_estimator(KerasAveragingClassifier())
    voting = KerasVotingClassifier([("nb", GaussianNB())], random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match="got KerasVotingClassifier of GaussianNB. Pass a fitted network"):
        TrainingHistoryDisplay.from_estimator(voting)
    with pytest.raises(ValueError, match="got GaussianNB. Pass a fitted network"):
        TrainingHistoryDisplay.from_estimator(GaussianNB().fit(*blobs))
    again = network(epochs=4, validation_split=0.2, fit__validation_freq=3).fit(*blobs)
    again.history_["val_loss"] += [1.0]
    with pytest.raises(ValueError, match="got 2 of them for 4 epochs, with validation_freq=3"):
        TrainingHistoryDisplay.from_estimator(again)
    assert plt.get_fignums() == []
