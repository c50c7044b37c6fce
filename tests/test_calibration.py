"""Calibrated ensembles of classifiers: the temperature, where it goes and what it leaves alone."""

import pickle

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_blobs, make_multilabel_classification
from sklearn.frozen import FrozenEstimator

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    io,
)
from skensemble._numeric.calibration import fit_temperature, with_temperature
from skensemble._numeric.selection import held_out_rows

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
NETWORK = KerasClassifier(hidden_layer_sizes=(4,), epochs=4, batch_size=-1)
NETWORK.set_params(optimizer__learning_rate=0.1)
X, Y = make_blobs(n_samples=90, n_features=3, centers=3, cluster_std=4, random_state=0)
X, NAMES = X.astype("float32"), np.array(["a", "b", "c"])[Y]

ENSEMBLES = {
    "averaging": KerasAveragingClassifier(NETWORK, 3, random_state=0),
    "bagging": KerasAveragingClassifier(NETWORK, 3, bootstrap=True, combination="geometric_mean", random_state=0),
    "greedy": KerasAveragingClassifier(NETWORK, 3, weights="greedy", random_state=0),
    "voting": KerasVotingClassifier(
        [("a", NETWORK), ("b", clone(NETWORK).set_params(optimizer__learning_rate=0.2))], random_state=0
    ),
    "snapshot": SnapshotEnsembleClassifier(NETWORK, 2, random_state=0),
    "polyak": PolyakWeightClassifier(NETWORK, n_checkpoints=2, random_state=0),
}
every_ensemble = pytest.mark.parametrize("name", ENSEMBLES)


@pytest.fixture(scope="module")
def fitted():
    """Every ensemble, calibrated; tests do not change them."""
    return {name: clone(one).set_params(calibration="temperature").fit(X, NAMES) for name, one in ENSEMBLES.items()}


def combined(name, ensemble, rows):
    """Probabilities without a temperature, from what the members predict."""
    if name == "polyak":
        return ensemble.estimator_.predict_proba(X[rows])
    each = ensemble.predict_members(X[rows])
    if name == "bagging":
        return softmax(np.log(each).mean(axis=0), axis=1)
    return np.tensordot(ensemble.weights_, each, axes=1)


@every_ensemble
def test_probabilities_have_the_temperature(fitted, name):
    """The logarithms of the combined probabilities are divided by it."""
    ensemble = fitted[name]
    expected = softmax(np.log(combined(name, ensemble, slice(None))) / ensemble.temperature_, axis=1)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, **FLOAT32)
    *_, last = ensemble.staged_predict_proba(X)
    np.testing.assert_allclose(last, expected, **FLOAT32)


@every_ensemble
def test_predictions_stay_the_same(fitted, name):
    """`predict` takes the largest of the combined probabilities, whatever the temperature is."""
    largest = combined(name, fitted[name], slice(None)).argmax(axis=1)
    np.testing.assert_array_equal(fitted[name].predict(X), np.array(["a", "b", "c"])[largest])
    *_, last = fitted[name].staged_predict(X)
    np.testing.assert_array_equal(last, fitted[name].predict(X))


@pytest.mark.parametrize("name", ["averaging", "greedy"])
def test_temperature_is_fitted_on_rows_that_no_member_saw(fitted, name):
    """They are those that greedy weights are learned on."""
    ensemble = fitted[name]
    _, held_out = held_out_rows(NAMES, 0.2, 0, stratify=True)  # by the seed of the ensemble
    expected = fit_temperature(combined(name, ensemble, held_out), Y[held_out], "classes")
    assert ensemble.temperature_ == pytest.approx(expected, rel=1e-3)


def test_temperature_of_bagging_is_fitted_on_out_of_bag_rows(fitted):
    """Each row is predicted by the members that left it out; rows that all drew are left out."""
    ensemble = fitted["bagging"]
    left_out = np.array([~np.isin(np.arange(90), rows) for rows in ensemble.estimators_samples_])
    logs = np.log(ensemble.predict_members(X))
    known = left_out.any(axis=0)
    pooled = np.stack([logs[left_out[:, i], i].mean(axis=0) for i in np.flatnonzero(known)])
    expected = fit_temperature(softmax(pooled, axis=1), Y[known], "classes")
    assert ensemble.temperature_ == pytest.approx(expected, rel=1e-3)


@every_ensemble
def test_exported_model_is_calibrated(fitted, name):
    """The Keras model gives what `predict_proba` gives."""
    exported = fitted[name].to_keras().predict(X, verbose=0)
    np.testing.assert_allclose(exported, fitted[name].predict_proba(X), **FLOAT32)


@every_ensemble
def test_files_and_pickles_keep_the_temperature(fitted, name):
    """What comes back is calibrated alike."""
    expected = fitted[name].predict_proba(X)
    for copied in (io.loads(io.dumps(fitted[name])), pickle.loads(pickle.dumps(fitted[name]))):
        assert copied.temperature_ == fitted[name].temperature_
        np.testing.assert_array_equal(copied.predict_proba(X), expected)


def test_labels_have_temperatures_of_their_own():
    """With several labels a row, the log-odds of each are divided by its temperature."""
    rows, labels = make_multilabel_classification(60, 4, n_classes=2, random_state=0)
    network = clone(NETWORK).set_params(epochs=20)
    ensemble = KerasAveragingClassifier(network, 2, calibration="temperature", random_state=0).fit(rows, labels)
    mean = ensemble.predict_members(rows).mean(axis=0)
    assert ensemble.temperature_.shape == (2,)
    expected = with_temperature(mean, ensemble.temperature_, "labels")
    np.testing.assert_allclose(ensemble.predict_proba(rows), expected, **FLOAT32)
    np.testing.assert_array_equal(ensemble.predict(rows), mean > 0.5)
    np.testing.assert_allclose(ensemble.to_keras().predict(rows, verbose=0), expected, **FLOAT32)
    assert (io.loads(io.dumps(ensemble)).temperature_ == ensemble.temperature_).all()


def test_fit_without_calibration_forgets_the_temperature():
    """Another fit learns what its parameters say."""
    ensemble = clone(ENSEMBLES["averaging"]).set_params(calibration="temperature").fit(X, NAMES)
    ensemble.set_params(calibration=None).fit(X, NAMES)
    assert not hasattr(ensemble, "temperature_")
    np.testing.assert_allclose(ensemble.predict_proba(X), ensemble.predict_members(X).mean(axis=0), **FLOAT32)


def test_calibration_that_is_set_after_fit():
    """Predictions stay as they are and say so, until `reweight` calibrates, or no longer does."""
    ensemble = clone(ENSEMBLES["averaging"]).fit(X, NAMES)
    before = ensemble.predict_proba(X)
    ensemble.set_params(calibration="temperature")
    with pytest.warns(UserWarning, match=r"`calibration` was set after fit.*reweight\(X=..., y=...\)"):
        np.testing.assert_array_equal(ensemble.predict_proba(X), before)
    assert ensemble.reweight(X=X, y=NAMES).temperature_ != 1
    calibrated = ensemble.predict_proba(X)
    assert np.abs(calibrated - before).max() > 1e-3
    ensemble.set_params(calibration=None)
    with pytest.warns(UserWarning, match=r"`calibration` was set after fit.*reweight\(\)"):
        np.testing.assert_array_equal(ensemble.predict_proba(X), calibrated)
    np.testing.assert_array_equal(ensemble.reweight().predict_proba(X), before)


def test_reweight_fits_the_temperature_again():
    """On rows that are given; without them there would be none that fits."""
    ensemble = clone(ENSEMBLES["averaging"]).set_params(calibration="temperature").fit(X, NAMES)
    with pytest.raises(ValueError, match="reweight needs rows to fit the temperature"):
        ensemble.reweight([1, 0, 0])
    ensemble.reweight([1, 0, 0], X=X, y=NAMES)
    expected = fit_temperature(ensemble.predict_members(X)[0], Y, "classes")
    assert ensemble.temperature_ == pytest.approx(expected, rel=1e-3)
    with pytest.raises(ValueError, match="`y` must have the labels of fit"):
        ensemble.reweight("uniform", X=X, y=Y)
    assert ensemble.weights_.tolist() == [1, 0, 0]


def test_subset_is_not_calibrated(fitted):
    """A warning says so; rows calibrate it."""
    with pytest.warns(UserWarning, match="A subset of a calibrated ensemble is not calibrated"):
        part = fitted["averaging"].subset([0, 1])
    np.testing.assert_allclose(part.predict_proba(X), part.predict_members(X).mean(axis=0), **FLOAT32)
    assert part.reweight(X=X, y=NAMES).temperature_ > 0


def test_fitted_members_are_calibrated_on_all_rows(fitted):
    """None of the rows that are given then was one that a member is trained on here."""
    members = [FrozenEstimator(member) for member in fitted["averaging"].estimators_]
    ensemble = KerasAveragingClassifier(members, 3, calibration="temperature").fit(X, NAMES)
    expected = fit_temperature(ensemble.predict_members(X).mean(axis=0), Y, "classes")
    assert ensemble.temperature_ == pytest.approx(expected, rel=1e-3)


def test_scikit_learn_calibrates_ensembles_too(fitted):
    """Its temperature of a fitted ensemble, on the same rows, is ours but for the smoothing of labels."""
    members = [FrozenEstimator(member) for member in fitted["averaging"].estimators_]
    ensemble = KerasAveragingClassifier(members, 3).fit(X, NAMES)
    try:
        calibrated = CalibratedClassifierCV(FrozenEstimator(ensemble), method="temperature").fit(X, NAMES)
    except ValueError:
        pytest.skip("scikit-learn has no temperature before 1.8")
    ours = clone(ensemble).set_params(calibration="temperature").fit(X, NAMES)
    np.testing.assert_allclose(calibrated.predict_proba(X), ours.predict_proba(X), atol=0.02)


@pytest.mark.parametrize(
    ("ensemble", "message"),
    [
        (
            KerasAveragingClassifier(NETWORK, 2, voting="hard", calibration="temperature"),
            "`calibration` needs probabilities",
        ),
        (KerasAveragingClassifier(NETWORK, 2, calibration="isotonic"), "The 'calibration' parameter"),
        (PolyakWeightClassifier(NETWORK, n_checkpoints=2, calibration=True), "The 'calibration' parameter"),
    ],
)
def test_wrong_calibrations_are_refused(ensemble, message):
    """Before any training."""
    with pytest.raises(ValueError, match=message):
        ensemble.fit(X, NAMES)


def test_calibrated_average_cannot_be_changed(fitted):
    """The temperature belongs to the average it was fitted for."""
    with pytest.raises(ValueError, match="A calibrated average cannot be changed"):
        fitted["polyak"].reweight("linear")
