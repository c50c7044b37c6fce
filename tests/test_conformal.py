"""Intervals and sets with a guarantee, of ensembles whose members left rows out."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs, make_multilabel_classification, make_regression

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    SnapshotEnsembleRegressor,
    io,
)

QUICK = {"hidden_layer_sizes": (8,), "epochs": 10, "batch_size": -1}
MEMBER, CLASSIFIER = (kind(**QUICK, optimizer__learning_rate=0.1) for kind in (KerasRegressor, KerasClassifier))
BAGGING = KerasAveragingRegressor(MEMBER, 5, bootstrap=True, random_state=0)
SMALL = clone(BAGGING).set_params(n_estimators=3, estimator__epochs=1)
BAGGING_CLASSIFIER = KerasAveragingClassifier(CLASSIFIER, 5, max_samples=0.5, random_state=0)


def _make_data():
    X, y = make_regression(500, 3, noise=30, random_state=0)
    X_blobs, labels = make_blobs(500, 3, centers=4, cluster_std=5, random_state=0)
    return X.astype("float32"), y / y.std(), X_blobs.astype("float32"), np.array(["a", "b", "c", "d"])[labels]


X, Y, X_BLOBS, LABELS = _make_data()
TRAIN, TEST = slice(100), slice(100, None)
#: Two standard errors of a share of 0.8, over draws of 100 training and 400 test rows.
TWO_ERRORS = 2 * np.sqrt(0.8 * 0.2 * (1 / 100 + 1 / 400))


@pytest.fixture(scope="module")
def bagging():
    """Bagging of regressors; tests do not change it."""
    return clone(BAGGING).fit(X[TRAIN], Y[TRAIN])


@pytest.fixture(scope="module")
def bagging_classifier():
    """Members on half of the rows each; tests do not change it."""
    return clone(BAGGING_CLASSIFIER).fit(X_BLOBS[TRAIN], LABELS[TRAIN])


def test_intervals_cover_as_asked(bagging):
    """New rows are within as often as `coverage` says, and wider intervals hold narrower ones."""
    lower, upper = bagging.predict_interval(X[TEST], coverage=0.8, method="jackknife+ab")
    assert np.mean((lower <= Y[TEST]) & (Y[TEST] <= upper)) == pytest.approx(0.8, abs=TWO_ERRORS)
    wider = bagging.predict_interval(X[TEST], coverage=0.95, method="jackknife+ab")
    assert (wider.lower < lower).all()
    assert (wider.upper > upper).all()


def test_intervals_are_worked_out_from_the_members(bagging):
    """Row by row, from the predictions of members and the rows that they drew."""
    left_out = np.array([~np.isin(np.arange(100), rows) for rows in bagging.estimators_samples_])
    own, new = bagging.predict_members(X[TRAIN]), bagging.predict_members(X[TEST])
    rows = np.flatnonzero(left_out.any(axis=0))
    low, high = [], []
    for i in rows:
        residual = abs(Y[i] - own[left_out[:, i], i].mean())
        low.append(new[left_out[:, i]].mean(axis=0) - residual)
        high.append(new[left_out[:, i]].mean(axis=0) + residual)
    rank = int(np.ceil(0.9 * (len(rows) + 1)))
    lower, upper = bagging.predict_interval(X[TEST], method="jackknife+ab")
    np.testing.assert_allclose(lower, np.sort(low, axis=0)[-rank], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(upper, np.sort(high, axis=0)[rank - 1], rtol=1e-4, atol=1e-5)


def test_sets_cover_as_asked(bagging_classifier):
    """At least: a set without a random part has one label or more, and few where that is enough."""
    sets = bagging_classifier.predict_set(X_BLOBS[TEST], coverage=0.8)
    covered = sets[np.arange(400), np.searchsorted(bagging_classifier.classes_, LABELS[TEST])].mean()
    assert sets.shape == (400, 4)
    assert covered > 0.8 - TWO_ERRORS
    assert sets.sum(axis=1).mean() < 3.5
    assert (bagging_classifier.predict_set(X_BLOBS[TEST], coverage=0.95) >= sets).all()


def test_several_targets_have_intervals_each():
    """Shapes are those of `predict`."""
    both = np.stack([Y, -Y], axis=1)[TRAIN]
    lower, upper = clone(SMALL).fit(X[TRAIN], both).predict_interval(X[:5], method="jackknife+ab")
    assert lower.shape == upper.shape == (5, 2)


def test_rows_of_weight_0_do_not_count():
    """They are no rows of the data: wild targets there change nothing."""
    weights = np.ones(100)
    weights[:10] = 0
    wild = Y[TRAIN].copy()
    wild[:10] = 1e3
    fits = [clone(SMALL).fit(X[TRAIN], y, sample_weight=weights) for y in (Y[TRAIN], wild)]
    first, second = (one.predict_interval(X[:5], method="jackknife+ab") for one in fits)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_files_and_pickles_keep_the_residuals(bagging, bagging_classifier):
    """What comes back gives the same intervals and sets."""
    for load in (lambda one: io.loads(io.dumps(one)), lambda one: pickle.loads(pickle.dumps(one))):
        expected = bagging.predict_interval(X[:5], method="jackknife+ab")
        np.testing.assert_array_equal(load(bagging).predict_interval(X[:5], method="jackknife+ab"), expected)
        sets = bagging_classifier.predict_set(X_BLOBS[:5])
        np.testing.assert_array_equal(load(bagging_classifier).predict_set(X_BLOBS[:5]), sets)


def test_changed_combinations_have_no_intervals(bagging):
    """The residuals were those of the combination of `fit`."""
    for changed in (clone(SMALL).fit(X[:40], Y[:40]).reweight(combination="median"), bagging.subset([0, 1])):
        with pytest.raises(ValueError, match="or was changed by reweight or subset"):
            changed.predict_interval(X[:5], method="jackknife+ab")


def test_wrong_uses_are_refused(bagging_classifier):
    """Without left-out rows, without probabilities, with a coverage of 1.2: the message says what to do."""
    whole = clone(SMALL).set_params(bootstrap=False).fit(X[:40], Y[:40])
    with pytest.raises(ValueError, match="Fit with bootstrap=True or max_samples below"):
        whole.predict_interval(X[:5], method="jackknife+ab")
    snapshots = SnapshotEnsembleRegressor(clone(MEMBER).set_params(epochs=2), 2, random_state=0).fit(X[:40], Y[:40])
    with pytest.raises(ValueError, match="or in KerasAveragingRegressor 'jackknife.ab'"):
        snapshots.predict_interval(X[:5], method="jackknife+ab")
    with pytest.raises(ValueError, match="`coverage` must be between 0 and 1"):
        bagging_classifier.predict_set(X_BLOBS[:5], coverage=1.2)
    small = clone(BAGGING_CLASSIFIER).set_params(n_estimators=2, estimator__epochs=1)
    votes = clone(small).set_params(voting="hard").fit(X_BLOBS[:40], LABELS[:40])
    with pytest.raises(ValueError, match="classes that exclude each other: got votes"):
        votes.predict_set(X_BLOBS[:5])
    rows, labels = make_multilabel_classification(40, 3, n_classes=2, random_state=0)
    several = clone(small).fit(rows, labels)
    with pytest.raises(ValueError, match="got several labels a row"):
        several.predict_set(rows[:5])
