"""Searches whose fits are trained together, beside those of scikit-learn around the same estimators."""

import pickle
import threading
import time
import warnings

import keras
import numpy as np
import pytest
import sklearn
from scipy.stats import loguniform
from sklearn import model_selection as of_sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification, make_regression
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skensemble.io
from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    SnapshotEnsembleClassifier,
)
from skensemble._search import common_programs, fits
from skensemble._search.joined_runs import JoinedRuns
from skensemble._search.kept_networks import networks_of
from skensemble.model_selection import GridSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV

X, Y = make_classification(45, 4, n_informative=3, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0)
T = make_regression(45, 4, random_state=0)[1] / 100
RATES = [0.003, 0.03]
NETWORK = KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=10, random_state=0)
ENSEMBLE = KerasAveragingClassifier(NETWORK, 3, random_state=0)


@pytest.fixture
def n_trained(monkeypatch):
    """A list of how many requests each common training answered."""
    answered = []
    train = common_programs._Common.train

    def counted(common, requests):
        trained = train(common, requests)
        if trained is not None:
            answered.append(len(requests))
        return trained

    monkeypatch.setattr(common_programs._Common, "train", counted)
    return answered


def penalised(meta, l2, rate):
    """A network whose weights and activations have penalties; with dropout where there is a rate."""
    layers, penalty = keras.layers, keras.regularizers.L2(l2)
    dropout = [layers.Dropout(rate, seed=0)] if rate else []
    hidden = layers.Dense(3, "relu", kernel_regularizer=penalty, activity_regularizer=keras.regularizers.L1(l2))
    return keras.Sequential([keras.Input((4,)), hidden, *dropout, layers.Dense(3, "softmax")])


PENALISED = KerasClassifier(
    penalised, l2=0.01, rate=0, loss="sparse_categorical_crossentropy", optimizer="sgd", epochs=3, random_state=0
)


def stop_early():
    return keras.callbacks.EarlyStopping("loss", patience=0, min_delta=0.05, restore_best_weights=True)


CASES = {
    "network": (NETWORK, {"optimizer__learning_rate": RATES}),
    "network, class weights": (NETWORK, {"class_weight": [None, "balanced"], "epochs": [1, 2]}),
    "network, validation": (
        clone(NETWORK).set_params(validation_split=0.2, callbacks=[stop_early]),
        {"optimizer__learning_rate": RATES},
    ),
    "network without a seed": (clone(NETWORK).set_params(random_state=None), {"epochs": [1]}),
    "penalties and momentum": (
        clone(PENALISED).set_params(validation_split=0.2),
        {"l2": [0.01, 0.1], "optimizer__momentum": [0.5, 0.9], "optimizer__weight_decay": [0.01]},
    ),
    "dropout": (PENALISED, {"rate": [0.2, 0.6]}),
    "ensemble": (ENSEMBLE, {"estimator__optimizer__learning_rate": RATES, "bootstrap": [True, False]}),
    "early stopping of all members": (
        clone(ENSEMBLE).set_params(early_stopping="ensemble"),
        {"estimator__optimizer__learning_rate": RATES},
    ),
    "snapshots": (SnapshotEnsembleClassifier(NETWORK, 2, random_state=0), {"initial_learning_rate": [0.1, 0.2]}),
    "voting": (
        KerasVotingClassifier([("a", NETWORK), ("b", LogisticRegression())], random_state=0),
        {"a__optimizer__learning_rate": RATES},
    ),
    "pipeline": (make_pipeline(StandardScaler(), ENSEMBLE), {"standardscaler__with_std": [True, False]}),
}


def assert_same_results(ours, theirs, *, except_scores=False):
    """The same keys, parameters, and scores up to rounding."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    assert ours.cv_results_["params"] == theirs.cv_results_["params"]
    for name, values in theirs.cv_results_.items():
        if "_test_" in name and "rank" not in name and not except_scores:
            np.testing.assert_allclose(ours.cv_results_[name], values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_results_are_those_of_scikit_learn(case):
    """Keys, parameters and scores are scikit-learn's."""
    estimator, grid = CASES[case]
    given = {"cv": 3, "scoring": "neg_log_loss", "refit": False, "error_score": "raise"}
    ours = GridSearchCV(estimator, grid, **given).fit(X, Y)
    theirs = of_sklearn.GridSearchCV(estimator, grid, **given).fit(X, Y)
    assert_same_results(ours, theirs, except_scores="without a seed" in case)
    assert type(ours).__name__ == "GridSearchCV"


@pytest.mark.parametrize("estimator", [KerasRegressor(hidden_layer_sizes=(3,), epochs=2, random_state=0), "ensemble"])
def test_regressors(estimator):
    """Regressors are scored as scikit-learn does, and the best one is fitted on all rows."""
    network = KerasRegressor(hidden_layer_sizes=(3,), epochs=2, random_state=0)
    grid = {"optimizer__learning_rate": RATES}
    if estimator == "ensemble":
        estimator = KerasAveragingRegressor(network, 2, random_state=0)
        grid = {"estimator__optimizer__learning_rate": RATES}
    ours = GridSearchCV(estimator, grid, cv=2).fit(X, T)
    theirs = of_sklearn.GridSearchCV(estimator, grid, cv=2).fit(X, T)
    assert_same_results(ours, theirs)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5)


def test_randomized_search():
    """The same candidates are drawn as by scikit-learn."""
    given = {"n_iter": 3, "cv": 2, "random_state": 0, "refit": False}
    drawn = {"optimizer__learning_rate": loguniform(1e-3, 1e-1)}
    ours = RandomizedSearchCV(NETWORK, drawn, **given).fit(X, Y)
    assert_same_results(ours, of_sklearn.RandomizedSearchCV(NETWORK, drawn, **given).fit(X, Y))


@pytest.mark.parametrize("name", ["HalvingGridSearchCV", "HalvingRandomSearchCV"])
@pytest.mark.parametrize("resource", ["n_samples", "epochs"])
def test_halving(name, resource):
    """Rounds, candidates and scores are scikit-learn's."""
    given = {"cv": 2, "resource": resource, "factor": 2, "random_state": 0, "refit": False}
    given |= {"max_resources": 4, "min_resources": 2} if resource == "epochs" else {"min_resources": 20}
    if name == "HalvingRandomSearchCV":
        given["n_candidates"] = 2
        tried = {"optimizer__learning_rate": loguniform(1e-3, 1e-1)}
    else:
        tried = {"optimizer__learning_rate": RATES}
    ours = {"HalvingGridSearchCV": HalvingGridSearchCV, "HalvingRandomSearchCV": HalvingRandomSearchCV}[name]
    ours = ours(NETWORK, tried, **given).fit(X, Y)
    theirs = getattr(of_sklearn, name)(NETWORK, tried, **given).fit(X, Y)
    assert_same_results(ours, theirs)
    assert ours.n_resources_ == theirs.n_resources_


@pytest.mark.parametrize("network", [NETWORK, ENSEMBLE])
def test_all_fits_are_one_program(network, n_trained):
    """Candidates with other learning rates are trained together, on all folds, with other numbers of rows, too."""
    prefix = "" if network is NETWORK else "estimator__"
    GridSearchCV(network, {f"{prefix}optimizer__learning_rate": RATES}, cv=4, refit=False).fit(X, Y)
    assert n_trained == [8]  # folds of 11 and 12 rows


@pytest.mark.parametrize(
    "grid", [{"epochs": [1, 2, 4]}, {"l2": [0.01, 0.1, 0.2]}, {"optimizer__momentum": [0.1, 0.5], "epochs": [1, 2]}]
)
def test_programs_are_shared_by_what_differs_in_numbers(grid, n_trained):
    """Numbers of epochs, penalties and constants of the optimizer are inputs of one program, not programs."""
    search = GridSearchCV(PENALISED, grid, cv=3, refit=False, error_score="raise").fit(X, Y)
    assert n_trained == [3 * len(search.cv_results_["params"])]


def test_near_ties_are_told():
    """A warning names candidates that differ from the best one by rounding alone; equal ones are ranked in order."""

    def nearly_equal(network, X, y):
        return 1 - 1e-7 * network.l2

    search = GridSearchCV(PENALISED, {"l2": [0.01, 0.5]}, cv=2, scoring=nearly_equal, refit=False)
    with pytest.warns(UserWarning, match=r"The candidates \[1\] have the score of the best one, 0"):
        search.fit(X, Y)
    GridSearchCV(PENALISED, {"verbose": [0, False]}, cv=2, refit=False).fit(X, Y)


@pytest.mark.parametrize("limit", ["bytes that wait", "row orders", "pre_dispatch", "data"])
def test_limits_change_nothing(limit, monkeypatch, n_trained):
    """Whatever is bounded, the scores are the same; the training is in more parts."""
    grid = {"estimator__optimizer__learning_rate": RATES}
    given = {"cv": 3, "refit": False, "scoring": "neg_log_loss"}
    expected = GridSearchCV(ENSEMBLE, grid, **given).fit(X, Y)
    n_trained.clear()
    if limit == "pre_dispatch":
        given["pre_dispatch"] = 2
    elif limit == "bytes that wait":
        monkeypatch.setattr(fits, "WAITING_BYTES", 1)
    elif limit == "row orders":
        monkeypatch.setattr(common_programs, "_ORDER_BYTES", 1)
    else:
        monkeypatch.setattr(common_programs.limits, "RESIDENT_BYTES", 2 * 30 * 4 * 4)
    search = GridSearchCV(ENSEMBLE, grid, **given).fit(X, Y)
    assert_same_results(search, expected)
    assert (
        n_trained
        == {"bytes that wait": [], "row orders": [6], "pre_dispatch": [2, 2, 2], "data": [2, 3, 2, 3, 6]}[limit]
    )


def test_training_together_that_fails(monkeypatch):
    """Each fit is then trained by itself, to the same scores, and a warning tells why."""
    grid, given = {"optimizer__learning_rate": RATES}, {"cv": 2, "scoring": "neg_log_loss", "refit": False}
    expected = of_sklearn.GridSearchCV(NETWORK, grid, **given).fit(X, Y)

    def fail(*_):
        raise MemoryError("too small")

    monkeypatch.setattr(JoinedRuns, "state", fail)
    with pytest.warns(RuntimeWarning, match="4 fits could not be trained together.*MemoryError: too small"):
        search = GridSearchCV(NETWORK, grid, **given).fit(X, Y)
    assert_same_results(search, expected)


def test_other_estimators():
    """Estimators that are no networks are fitted as by scikit-learn."""
    ours = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}).fit(X, Y)
    assert_same_results(ours, of_sklearn.GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}).fit(X, Y))


def test_networks_of_keras_own_fit():
    """Networks that no program can train are trained by Keras, one after the other."""
    network = clone(NETWORK).set_params(run_eagerly=True)
    ours = GridSearchCV(network, {"epochs": [1]}, cv=2).fit(X, Y)
    assert ours.best_estimator_.engine_ == "keras"
    assert_same_results(ours, of_sklearn.GridSearchCV(network, {"epochs": [1]}, cv=2).fit(X, Y))


def test_errors_of_a_candidate():
    """A candidate whose fit fails has `error_score`, and the others their scores; with "raise" its error is raised."""
    grid = {"activation": ["relu", "no such thing"]}
    search = GridSearchCV(NETWORK, grid, cv=2, refit=False)
    with pytest.warns(FitFailedWarning, match="2 fits failed"), pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, False]
    with pytest.raises(ValueError, match="no such thing"):
        search.set_params(error_score="raise").fit(X, Y)
    assert not alive_turns()


class Fails(ClassifierMixin, BaseEstimator):
    """Raises in `fit`, after a network was trained."""

    def __init__(self, error=None):
        self.error = error

    def fit(self, X, y):
        self.network_ = clone(NETWORK).fit(X, y)
        self.classes_ = self.network_.classes_
        if self.error is not None:
            raise self.error
        return self

    def predict(self, X):
        return self.network_.predict(X)


def alive_turns():
    """Threads of fits that have not ended."""
    return [thread for thread in threading.enumerate() if "Turn" in repr(getattr(thread, "_target", ""))]


@pytest.mark.parametrize("place", ["training", "fit"])
def test_interrupted(place, monkeypatch):
    """Ctrl-C ends all fits and leaves the search unfitted; warnings are filtered as before."""
    if place == "training":
        monkeypatch.setattr(common_programs._Common, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    errors = [None, KeyboardInterrupt() if place == "fit" else None]
    search, filters, n_threads = GridSearchCV(Fails(), {"error": errors}, cv=2), warnings.filters, len(alive_turns())
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert not hasattr(search, "cv_results_")
    assert len(alive_turns()) == n_threads
    assert warnings.filters is filters


class Telling(ClassifierMixin, BaseEstimator):
    """Tells what is set where it is fitted."""

    def fit(self, X, y):
        warnings.warn("told", UserWarning, stacklevel=2)
        self.classes_ = np.unique(y)
        told.append((keras.config.dtype_policy().name, sklearn.get_config()["assume_finite"]))
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


told = []


def test_settings_hold_in_fits():
    """What is set for Keras, for scikit-learn and for warnings holds in the fits, which have threads of their own."""
    told.clear()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with sklearn.config_context(assume_finite=True), pytest.warns(UserWarning, match="told"):
            GridSearchCV(Telling(), {}, cv=2, refit=False).fit(X, Y)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match="told"):
                GridSearchCV(Telling(), {}, cv=2, refit=False, error_score="raise").fit(X, Y)
    finally:
        keras.config.set_dtype_policy(before)
    assert told[:2] == [("mixed_bfloat16", True)] * 2


def test_times_are_shares():
    """The times of the fits add up to no more than the search took, though they wait for each other."""
    began = time.perf_counter()
    search = GridSearchCV(NETWORK, {"optimizer__learning_rate": RATES}, cv=3, refit=False).fit(X, Y)
    assert 0 < 3 * search.cv_results_["mean_fit_time"].sum() <= time.perf_counter() - began


# A network of a search is built when it is asked for.


@pytest.fixture(scope="module")
def networks():
    """Fitted networks of a search, by their learning rates, and the rows that each was trained on."""
    found = []

    def keep(network, X_held_out, y):
        found.append(network)
        return network.score(X_held_out, y)

    grid = {"optimizer__learning_rate": RATES, "epochs": [2]}
    folds = [(np.arange(30), np.arange(30, 45))]
    GridSearchCV(NETWORK, grid, cv=folds, scoring=keep, refit=False).fit(X, Y)
    return found


@pytest.mark.parametrize("k", [0, 1])
def test_network_of_a_search(networks, k):
    """It is the network that `fit` gives without a search: predictions, variables, history, parameters."""
    network = networks[k]
    alone = clone(NETWORK).set_params(optimizer__learning_rate=RATES[k]).fit(X[:30], Y[:30])
    proba = network.predict_proba(X)
    assert "model_" not in vars(network)
    assert network.get_params() == alone.get_params()
    assert (network.engine_, network.initialized_) == ("fused", True)
    np.testing.assert_allclose(proba, alone.predict_proba(X), rtol=1e-5)
    np.testing.assert_allclose(network.history_["loss"], alone.history_["loss"], rtol=1e-5)
    copy = pickle.loads(pickle.dumps(network))
    assert network.model_.history.history["loss"] == network.history_["loss"]
    for one in (network, copy):
        for ours, theirs in zip(one.model_.variables, alone.model_.variables, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)
        assert float(one.model_.optimizer.learning_rate) == np.float32(RATES[k])
        np.testing.assert_allclose(one.predict_proba(X), proba, rtol=1e-6)


def test_networks_have_models_of_their_own(networks):
    """Training one of them further changes no other."""
    before = networks[1].predict_proba(X)
    networks[0].partial_fit(X, Y)
    np.testing.assert_array_equal(networks[1].predict_proba(X), before)
    assert networks[0].model_ is not networks[1].model_


def test_search_in_a_search():
    """A search is cross-validated by another one, as in scikit-learn."""
    inner = GridSearchCV(NETWORK, {"optimizer__learning_rate": RATES}, cv=2)
    ours = GridSearchCV(inner, {"estimator__epochs": [1]}, cv=2).fit(X, Y)
    inner = of_sklearn.GridSearchCV(NETWORK, {"optimizer__learning_rate": RATES}, cv=2)
    theirs = of_sklearn.GridSearchCV(inner, {"estimator__epochs": [1]}, cv=2).fit(X, Y)
    assert_same_results(ours, theirs)


@pytest.mark.slow
def test_workers_give_the_same():
    """With `n_jobs`, each worker trains its part of the fits together."""
    grid = {"estimator__optimizer__learning_rate": RATES}
    given = {"cv": 2, "refit": False, "scoring": "neg_log_loss"}
    ours = GridSearchCV(ENSEMBLE, grid, n_jobs=2, **given).fit(X, Y)
    assert_same_results(ours, of_sklearn.GridSearchCV(ENSEMBLE, grid, **given).fit(X, Y))


@pytest.mark.parametrize("cls", [GridSearchCV, HalvingGridSearchCV])
def test_files(cls, tmp_path):
    """A search is saved and loaded without pickle."""
    search = cls(make_pipeline(StandardScaler(), NETWORK), {"kerasclassifier__epochs": [1, 2]}, cv=2).fit(X, Y)
    skensemble.io.dump(search, tmp_path / "search.skens")
    loaded = skensemble.io.load(tmp_path / "search.skens")
    assert type(loaded) is cls
    assert loaded.best_params_ == search.best_params_
    np.testing.assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))


# The networks of a search as an ensemble


@pytest.fixture(scope="module")
def kept():
    """A search that kept its networks."""
    grid = {"optimizer__learning_rate": RATES, "hidden_layer_sizes": [(3,), (4,)]}
    return GridSearchCV(NETWORK, grid, cv=3, return_estimator=True, refit=False).fit(X, Y)


def test_kept_estimators(kept):
    """The estimators of a candidate have its parameters, and score on each fold what the search says."""
    assert [len(networks) for networks in kept.estimators_] == [3] * 4
    for i, networks in enumerate(kept.estimators_):
        params = kept.cv_results_["params"][i]
        for fold, (network, trained) in enumerate(zip(networks, kept._rows_of_networks[i], strict=True)):
            assert network.get_params() | params == network.get_params()
            held_out = np.setdiff1d(np.arange(len(X)), trained)
            assert network.score(X[held_out], Y[held_out]) == kept.cv_results_[f"split{fold}_test_score"][i]
    assert not hasattr(clone(kept).set_params(return_estimator=False).fit(X, Y), "estimators_")


def test_ensemble_of_a_search(kept):
    """The networks of a search vote with greedy weights, which are no worse than any network on the held-out rows."""
    ensemble = KerasVotingClassifier.from_search(kept, X, Y)
    assert ensemble.engine_ == "none"
    assert ensemble.weights_.min() > 0
    np.testing.assert_allclose(ensemble.weights_.sum(), 1)
    places = [tuple(map(int, name.split("_")[1::2])) for name in ensemble.named_estimators_]
    members = [kept.estimators_[candidate][fold].predict_proba(X) for candidate, fold in places]
    expected = np.average(members, axis=0, weights=ensemble.weights_)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)


def test_ensemble_of_a_search_over_regressors():
    """Regressors, and a candidate whose fit failed."""
    network = KerasRegressor(hidden_layer_sizes=(3,), epochs=1, random_state=0)
    search = GridSearchCV(network, {"activation": ["relu", "no such thing"]}, cv=2, return_estimator=True, refit=False)
    with pytest.warns(FitFailedWarning), pytest.warns(UserWarning, match="non-finite"):
        search.fit(X, T)
    assert search.estimators_[1] == [None, None]
    ensemble = KerasVotingRegressor.from_search(search, X, T)
    assert set(ensemble.named_estimators_) <= {"candidate_0_fold_0", "candidate_0_fold_1"}
    assert ensemble.predict(X).shape == T.shape


@pytest.mark.parametrize("give", [np.ndarray.tolist, lambda rows: np.isin(np.arange(len(X)), rows)])
def test_rows_of_networks(give):
    """Splitters may give rows as lists and as masks."""
    folds = [(np.arange(20), np.arange(20, len(X))), (np.arange(10, len(X)), np.arange(10))]
    cv = [tuple(map(give, fold)) for fold in folds]
    search = GridSearchCV(LogisticRegression(), {"C": [1]}, cv=cv, return_estimator=True, refit=False).fit(X, Y)
    _, left_out = networks_of(search, len(X))
    np.testing.assert_array_equal(left_out, [np.isin(np.arange(len(X)), held_out) for _, held_out in folds])


def test_kept_estimators_beside_a_fit_on_all_rows():
    """The fit on all rows may call joblib, as that of a ColumnTransformer does."""
    pipeline = make_pipeline(make_column_transformer((StandardScaler(), [0, 1])), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [1, 2]}, cv=2, return_estimator=True).fit(X, Y)
    assert [[one[-1].C for one in networks] for networks in search.estimators_] == [[1, 1], [2, 2]]
    assert search.score(X, Y) == clone(pipeline).set_params(**search.best_params_).fit(X, Y).score(X, Y)


def test_search_without_networks(kept):
    """A search that kept none, or was fitted on more rows, is refused in words."""
    search = of_sklearn.GridSearchCV(LogisticRegression(), {"C": [1]}).fit(X, Y)
    with pytest.raises(ValueError, match="return_estimator=True. Got GridSearchCV without"):
        KerasVotingClassifier.from_search(search, X, Y)
    with pytest.raises(ValueError, match="must be those of the search: got 20 rows"):
        KerasVotingClassifier.from_search(kept, X[:20], Y[:20])


class Restore(keras.callbacks.Callback):
    """Load at the end of the training what was written on the way."""

    def __init__(self, source):
        super().__init__()
        self.source = source

    def on_train_end(self, logs=None):
        self.model.load_weights(self.source)


def test_files_of_callbacks(tmp_path):
    """Fits whose callbacks write the same file do so one after the other, and read back their own."""
    path = str(tmp_path / "best.weights.h5")
    best = keras.callbacks.ModelCheckpoint(path, "loss", save_best_only=True, save_weights_only=True)
    network = clone(NETWORK).set_params(callbacks=[best, Restore(path)])
    grid = {"optimizer__learning_rate": [0.003, 3.0]}
    given = {"cv": 2, "scoring": "neg_log_loss", "refit": False, "error_score": "raise"}
    searches = [kind(network, grid, **given).fit(X, Y) for kind in (GridSearchCV, of_sklearn.GridSearchCV)]
    assert_same_results(*searches)
