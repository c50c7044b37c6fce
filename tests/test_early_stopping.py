"""Early stopping of all members together: by the combined loss, back to the best epoch, and what it cannot do."""

import keras
import numpy as np
import pytest
from comparison import TRAINED_FLOAT32
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import KerasAveragingClassifier, KerasAveragingRegressor, KerasClassifier, KerasRegressor
from skensemble._numeric.selection import held_out_rows

X, Y = make_blobs(150, 3, centers=3, cluster_std=6.0, random_state=0)
NETWORK = KerasClassifier(hidden_layer_sizes=(16,), optimizer__learning_rate=0.05, batch_size=16, epochs=40)
STOPPED = KerasAveragingClassifier(
    NETWORK, 3, early_stopping="ensemble", n_iter_no_change=2, tol=0.01, validation_fraction=0.4, random_state=0
)
#: The same rows are held out for the temperature, which leaves the members as they are.
WHOLE = clone(STOPPED).set_params(early_stopping=None, calibration="temperature", estimator__validation_split=0.0)


@pytest.fixture(scope="module")
def stopped():
    return clone(STOPPED).fit(X, Y)


def held_out(ensemble, X, y):
    """The rows that no member of a fitted ensemble is trained on."""
    stratify = isinstance(ensemble, KerasAveragingClassifier)
    return held_out_rows(y, ensemble.validation_fraction, ensemble._entropy % 2**32, stratify=stratify)[1]


def test_losses_are_those_of_the_combined_prediction(stopped):
    """After each epoch: the log-loss, as scikit-learn has it, of an ensemble that is trained for so many epochs."""
    rows = held_out(stopped, X, Y)
    for epochs in (1, stopped.best_epoch_, len(stopped.validation_losses_)):
        whole = clone(WHOLE).set_params(estimator__epochs=epochs).fit(X, Y)
        proba = whole.predict_members(X[rows]).mean(axis=0)
        assert stopped.validation_losses_[epochs - 1] == pytest.approx(log_loss(Y[rows], proba), rel=1e-4)


def test_members_have_the_variables_of_the_best_epoch(stopped):
    """All of them, as if they had been trained for so many epochs; histories tell of all epochs, as Keras' do."""
    whole = clone(WHOLE).set_params(estimator__epochs=stopped.best_epoch_).fit(X, Y)
    np.testing.assert_allclose(stopped.predict_members(X), whole.predict_members(X), **TRAINED_FLOAT32)
    assert len(stopped.estimators_[0].history_["loss"]) == len(stopped.validation_losses_)
    assert stopped.engine_ == "fused"


def test_rule_of_scikit_learn(stopped):
    """Training ends after more than `n_iter_no_change` epochs, none of which improves on the best by `tol`."""
    losses, best, without = stopped.validation_losses_, np.inf, 0
    for epoch, loss in enumerate(losses, 1):
        assert without <= 2, f"the training should have ended before epoch {epoch}"
        without = 0 if loss < best - 0.01 else without + 1
        best = min(best, loss)
    assert without == 3
    assert len(losses) < NETWORK.epochs
    assert stopped.best_epoch_ == np.argmin(losses) + 1


def test_training_to_the_end():
    """Where the loss goes on improving, all epochs are trained."""
    ensemble = clone(STOPPED).set_params(n_iter_no_change=50, estimator__epochs=4).fit(X, Y)
    assert len(ensemble.validation_losses_) == 4


@pytest.mark.parametrize("distribution", [None, "normal"])
def test_regression(distribution):
    """The squared error of the mean; with a distribution, the negative log-likelihood of the mixture's normal."""
    X, y = make_regression(90, 4, noise=20.0, random_state=0)
    y = y / y.std()
    weights = np.linspace(1, 2, len(y))
    member = KerasRegressor(hidden_layer_sizes=(8,), distribution=distribution, epochs=3)
    options = {"n_iter_no_change": 20, "weights": [0.2, 0.8], "random_state": 0}
    ensemble = KerasAveragingRegressor(member, 2, early_stopping="ensemble", **options).fit(X, y, sample_weight=weights)
    rows, last = held_out(ensemble, X, y), ensemble.best_epoch_ - 1
    mean, std = ensemble.predict(X[rows], return_std=True)
    expected = mean_squared_error(y[rows], mean, sample_weight=weights[rows])
    if distribution is not None:
        nll = 0.5 * np.log(2 * np.pi * std**2) + (y[rows] - mean) ** 2 / (2 * std**2)
        expected = np.average(nll, weights=weights[rows])
    assert ensemble.validation_losses_[last] == pytest.approx(expected, rel=1e-4)


def test_several_labels_votes_and_greedy_weights():
    """Probabilities are judged where members vote; greedy weights are chosen on the same rows."""
    labels = np.stack([Y == 0, Y > 0, Y == 2], axis=1).astype(int)
    ensemble = clone(STOPPED).set_params(estimator__epochs=2, weights="greedy")
    assert len(clone(ensemble).fit(X, labels).validation_losses_) == 2
    fitted = ensemble.set_params(voting="hard").fit(X, Y)
    assert len(fitted.validation_losses_) == 2
    assert fitted.weights_.sum() == pytest.approx(1)


class _Stop(Exception):
    pass


def test_resumed(stopped, tmp_path, monkeypatch):
    """A fit that was interrupted ends as if it had not been, and a finished one is read with its losses."""
    from skensemble._checkpoint import store
    from skensemble._engine.ensemble_stopping import EnsembleStopping

    monkeypatch.setattr(store.Pace, "is_due", lambda self: True)
    end_epoch = EnsembleStopping.end_epoch

    def interrupted(self, *args):
        if len(self.losses) == stopped.best_epoch_ + 1:
            raise _Stop
        return end_epoch(self, *args)

    ensemble = clone(STOPPED).set_params(checkpoint_dir=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(EnsembleStopping, "end_epoch", interrupted)
        with pytest.raises(_Stop):
            ensemble.fit(X, Y)
    for _ in range(2):
        ensemble = clone(ensemble).fit(X, Y)
        np.testing.assert_array_equal(ensemble.validation_losses_, stopped.validation_losses_)
        assert ensemble.best_epoch_ == stopped.best_epoch_
        np.testing.assert_array_equal(ensemble.predict_proba(X), stopped.predict_proba(X))
    with pytest.raises(ValueError, match="what is kept of the run"):
        clone(ensemble).set_params(tol=0.5).fit(X, Y)
    with pytest.raises(ValueError, match="what is kept of the run"):  # members were stopped with the others there were
        clone(ensemble).set_params(n_estimators=4).fit(X, Y)


def test_attributes_are_those_of_the_last_fit(stopped):
    """A fit without early stopping, and a subset, have none of its attributes."""
    ensemble = clone(STOPPED).set_params(estimator__epochs=2).fit(X, Y)
    assert not hasattr(ensemble.subset([0, 1]), "best_epoch_")
    ensemble.set_params(early_stopping=None).fit(X, Y)
    assert not hasattr(ensemble, "validation_losses_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bootstrap": True}, "got bootstrap=True or max_samples"),
        ({"warm_start": True}, "got warm_start=True"),
        ({"engine": "keras"}, "got engine='keras'"),
        ({"estimator": make_pipeline(StandardScaler(), NETWORK)}, "members are trained by fits of their own"),
        ({"estimator__callbacks": [keras.callbacks.TerminateOnNaN]}, "the members have Keras callbacks"),
        ({"estimator__fit__steps_per_epoch": 2}, "'steps_per_epoch' of Model.fit is not known"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:30],
)
def test_what_cannot_be_stopped_together(parameters, message):
    """The error says so before anything is trained, and names what stops each member alone."""
    ensemble = clone(STOPPED).set_params(**parameters)
    with pytest.raises(ValueError, match=message) as raised:
        ensemble.fit(X, Y)
    assert "Keras' EarlyStopping" in str(raised.value)


def test_members_that_are_fitted_already(stopped):
    """Nothing is trained that could be stopped."""
    ensemble = clone(STOPPED).set_params(estimator=[FrozenEstimator(one) for one in stopped.estimators_])
    with pytest.raises(ValueError, match=r"got estimator \(fitted\)"):
        ensemble.fit(X, Y)


def test_partial_fit_is_refused():
    """It trains for epochs that the caller counts."""
    with pytest.raises(ValueError, match="got early_stopping='ensemble'"):
        clone(STOPPED).partial_fit(X, Y)
