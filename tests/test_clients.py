"""Packages that build on scikit-learn, with our ensembles put in as their users would.

`make test-clients` installs them; a test is skipped where its package is not there. What each of them computes is
compared with scikit-learn's, or with the package's own result for the same predictions.
"""

import textwrap
import warnings
from datetime import date, timedelta

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import VotingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    io,
)
from skensemble.preprocessing import TableEncoder

# The packages warn of each other's and of their own coming changes; what is ours is tested elsewhere.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

NETWORK = KerasClassifier(hidden_layer_sizes=(8,), epochs=5, batch_size=16, optimizer__learning_rate=0.02)
REGRESSION_NETWORK = KerasRegressor(hidden_layer_sizes=(8,), epochs=5, batch_size=16, optimizer__learning_rate=0.02)
CLASSIFIER = KerasAveragingClassifier(NETWORK, n_estimators=3, random_state=0)
REGRESSOR = KerasAveragingRegressor(REGRESSION_NETWORK, n_estimators=3, random_state=0)


@pytest.fixture(scope="module")
def iris():
    """Three classes of flowers, shuffled and scaled."""
    X, y = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    return StandardScaler().fit_transform(X)[order].astype("float32"), y[order]


@pytest.fixture(scope="module")
def diabetes():
    """One target of about unit variance."""
    X, y = load_diabetes(return_X_y=True)
    return (20 * X).astype("float32"), ((y - y.mean()) / y.std()).astype("float32")


@pytest.fixture(scope="module")
def fitted(iris):
    """An averaging classifier, fitted."""
    return clone(CLASSIFIER).fit(*iris)


def test_mapie_regression(diabetes):
    """The interval of a fitted ensemble is its prediction plus and minus the quantile of the residuals."""
    mapie = pytest.importorskip("mapie.regression")
    X, y = diabetes
    ensemble = clone(REGRESSOR).fit(X[:200], y[:200])

    conformal = mapie.SplitConformalRegressor(ensemble, confidence_level=0.9, prefit=True).conformalize(
        X[200:300], y[200:300]
    )
    prediction, interval = conformal.predict_interval(X[300:])

    residuals = np.sort(np.abs(y[200:300] - ensemble.predict(X[200:300])))
    half_width = residuals[int(np.ceil(0.9 * 101)) - 1]  # split conformal prediction, Lei et al. 2018
    np.testing.assert_allclose(prediction, ensemble.predict(X[300:]), rtol=1e-5)
    np.testing.assert_allclose(interval[:, 1, 0] - prediction, half_width, rtol=1e-4)


class Drawn(RegressorMixin, BaseEstimator):
    """Takes the place of the member of a fitted ensemble that was trained on the rows that its `fit` is given."""

    def __init__(self, ensemble, y):
        self.ensemble, self.y = ensemble, y

    def fit(self, X, y):
        members, rows = self.ensemble.estimator.estimators_, self.ensemble.estimator.estimators_samples_
        own = [members[i] for i, drawn in enumerate(rows) if np.array_equal(self.y[drawn], y)]
        (self.fitted_,) = own or [self.ensemble]
        return self

    def predict(self, X):
        return self.fitted_.predict(X)


@pytest.mark.parametrize("combination", ["mean", "median"])
def test_mapie_jackknife_after_bootstrap(diabetes, combination):
    """Our intervals are those of MAPIE where its estimators are the members, and its draws theirs."""
    mapie, subsample = pytest.importorskip("mapie.regression"), pytest.importorskip("mapie.subsample")
    X, y = diabetes
    ensemble = clone(REGRESSOR).set_params(n_estimators=12, max_samples=0.5, combination=combination)
    ensemble.fit(X[:100], y[:100])
    lower, upper = ensemble.predict_interval(X[100:], coverage=0.8, method="jackknife+ab")

    class OurDraws(subsample.Subsample):
        """The rows that our members drew."""

        def split(self, X, *args, **kwargs):
            for rows in ensemble.estimators_samples_:
                yield rows, np.setdiff1d(np.arange(100), rows)

    theirs = mapie.JackknifeAfterBootstrapRegressor(
        Drawn(FrozenEstimator(ensemble), y[:100]),
        confidence_level=0.8,
        resampling=OurDraws(n_resamplings=12),
        aggregation_method=combination,
    )
    _, interval = theirs.fit_conformalize(X[:100], y[:100]).predict_interval(X[100:])
    np.testing.assert_allclose(interval[:, 0, 0], lower, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(interval[:, 1, 0], upper, rtol=1e-4, atol=1e-4)


def test_mapie_classification(iris):
    """Cross-conformal sets of an ensemble that MAPIE clones and trains itself cover most rows."""
    mapie = pytest.importorskip("mapie.classification")
    X, y = iris
    conformal = mapie.CrossConformalClassifier(clone(CLASSIFIER), confidence_level=0.9, cv=3)
    conformal.fit_conformalize(X[:100], y[:100])

    _, sets = conformal.predict_set(X[100:])

    covered = sets[np.arange(50), y[100:], 0].mean()
    assert covered > 0.9 - 3 * np.sqrt(0.9 * 0.1 / 50)  # three standard errors below the nominal value


@pytest.mark.parametrize(
    "ensemble",
    [
        CLASSIFIER,
        KerasVotingClassifier([("network", NETWORK), ("linear", LogisticRegression())], random_state=0),
        SnapshotEnsembleClassifier(NETWORK.set_params(epochs=6), n_estimators=2, random_state=0),
        StackedKerasClassifier([("network", NETWORK), ("linear", LogisticRegression())], cv=2, random_state=0),
    ],
    ids=lambda ensemble: type(ensemble).__name__,
)
def test_imbalanced_learn(iris, ensemble):
    """A resampling step of a pipeline acts in fit only, and gives what fitting on the resampled rows gives."""
    imblearn = pytest.importorskip("imblearn")
    X, y = iris
    rare = np.flatnonzero((y != 2) | (np.arange(len(y)) % 4 == 0))
    X, y = X[rare], y[rare]

    pipeline = imblearn.pipeline.make_pipeline(imblearn.over_sampling.SMOTE(random_state=0), clone(ensemble))
    pipeline.fit(X, y)

    expected = clone(ensemble).fit(*imblearn.over_sampling.SMOTE(random_state=0).fit_resample(X, y))
    np.testing.assert_allclose(pipeline.predict_proba(X), expected.predict_proba(X), rtol=1e-5, atol=1e-6)
    assert cross_val_score(pipeline, X, y, cv=2).shape == (2,)


def test_imbalanced_learn_bagging(iris):
    """An ensemble is the member of a balanced bagging."""
    ensemble = pytest.importorskip("imblearn.ensemble")
    bagging = ensemble.BalancedBaggingClassifier(clone(CLASSIFIER), n_estimators=2, random_state=0).fit(*iris)
    mean = np.mean([one.predict_proba(iris[0]) for one in bagging.estimators_], axis=0)
    np.testing.assert_allclose(bagging.predict_proba(iris[0]), mean, rtol=1e-5)


def test_optuna(iris):
    """A study sets parameters all the way down, and its best value is what scikit-learn scores for them."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def candidate(units, learning_rate):
        return clone(CLASSIFIER).set_params(
            estimator__hidden_layer_sizes=(units,), estimator__optimizer__learning_rate=learning_rate
        )

    def objective(trial):
        units = trial.suggest_int("units", 4, 6)
        learning_rate = trial.suggest_float("learning_rate", 1e-3, 1e-1, log=True)
        return cross_val_score(candidate(units, learning_rate), *iris, cv=2).mean()

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=3)

    assert study.best_value == pytest.approx(cross_val_score(candidate(**study.best_params), *iris, cv=2).mean())


def test_optuna_prunes(iris):
    """A Keras callback of the user's that raises Optuna's exception at the end of an epoch ends the trial as pruned."""
    optuna = pytest.importorskip("optuna")
    keras = pytest.importorskip("keras")
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    class Prune(keras.callbacks.Callback):
        """Tell the trial of the loss, and end it where the pruner says so."""

        def __init__(self, trial):
            super().__init__()
            self.trial = trial

        def __deepcopy__(self, memo):  # each member has its own callback, all of them the one trial
            return type(self)(self.trial)

        def on_epoch_end(self, epoch, logs=None):
            self.trial.report(logs["loss"], epoch)
            if self.trial.should_prune():
                raise optuna.TrialPruned

    def objective(trial):
        ensemble = clone(CLASSIFIER).set_params(n_estimators=1, estimator__callbacks=[Prune(trial)])
        return ensemble.fit(*iris).score(*iris)

    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))  # every loss is above 0
    study.optimize(objective, n_trials=1)

    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.PRUNED]


def test_shap(iris, fitted):
    """Shapley values of a row add up to its prediction less the mean prediction of the background rows."""
    shap = pytest.importorskip("shap")
    X, _ = iris
    explainer = shap.KernelExplainer(fitted.predict_proba, X[:10])

    values = explainer.shap_values(X[:2], silent=True)

    expected = fitted.predict_proba(X[:2]) - fitted.predict_proba(X[:10]).mean(axis=0)
    np.testing.assert_allclose(values.sum(axis=1), expected, atol=1e-4)


def test_mlxtend(iris):
    """The ensembles and the feature selection of mlxtend take our ensembles as scikit-learn's do."""
    classifier = pytest.importorskip("mlxtend.classifier")
    selection = pytest.importorskip("mlxtend.feature_selection")
    X, y = iris
    members = [clone(CLASSIFIER), LogisticRegression()]

    voting = classifier.EnsembleVoteClassifier(members, voting="soft").fit(X, y)
    stacking = classifier.StackingCVClassifier(
        members, meta_classifier=LogisticRegression(), cv=2, use_probas=True, random_state=0
    ).fit(X, y)
    selector = selection.SequentialFeatureSelector(clone(CLASSIFIER), k_features=1, cv=2).fit(X, y)

    expected = np.mean([one.predict_proba(X) for one in voting.clfs_], axis=0)
    np.testing.assert_allclose(voting.predict_proba(X), expected, rtol=1e-5)
    assert stacking.score(X, y) > 0.8
    scores = [cross_val_score(CLASSIFIER, X[:, [i]], y, cv=2).mean() for i in range(X.shape[1])]
    assert selector.k_score_ == pytest.approx(max(scores))


def boosters(package, kind):
    """A small booster of each of the three packages; `kind` is "Classifier" or "Regressor"."""
    module = pytest.importorskip(package)
    name = {"xgboost": "XGB", "lightgbm": "LGBM", "catboost": "CatBoost"}[package] + kind
    params = {
        "xgboost": {"n_estimators": 5, "n_jobs": 1},
        "lightgbm": {"n_estimators": 5, "n_jobs": 1, "verbose": -1},
        "catboost": {"iterations": 5, "verbose": False, "allow_writing_files": False, "thread_count": 1},
    }
    return getattr(module, name)(random_state=0, **params[package])


boosting = pytest.mark.parametrize("package", ["xgboost", "lightgbm", "catboost"])


@boosting
def test_boosters_vote(iris, package):
    """A booster beside a network votes with the probabilities that it gives by itself, for labels of any kind."""
    X, y = iris
    names = np.array(["rose", "iris", "lily"])[y]
    booster = boosters(package, "Classifier")

    voting = KerasVotingClassifier([("network", NETWORK), ("booster", booster)], random_state=0).fit(X, names)

    classes, encoded = np.unique(names, return_inverse=True)
    alone = clone(booster).fit(X, encoded)
    assert voting.classes_.tolist() == classes.tolist()
    np.testing.assert_allclose(voting.predict_members(X)[1], alone.predict_proba(X), rtol=1e-5)
    assert set(voting.predict(X)) <= set(classes)


@boosting
def test_boosters_stack(iris, package):
    """A booster beside a network, labels as strings, and the booster as the final estimator."""
    X, y = iris
    names = np.array(["rose", "iris", "lily"])[y]
    booster = boosters(package, "Classifier")
    members = [("network", NETWORK), ("booster", booster)]

    stacked = StackedKerasClassifier(members, cv=3, random_state=0).fit(X, names)
    on_top = StackedKerasClassifier(members, booster, cv=3, random_state=0).fit(X, names)

    assert stacked.score(X, names) > 0.9
    assert on_top.score(X, names) > 0.9


@boosting
def test_boosters_regress(diabetes, package):
    """A boosted regressor beside a network averages with what it predicts by itself."""
    X, y = diabetes
    booster = boosters(package, "Regressor")
    voting = KerasVotingRegressor([("network", REGRESSION_NETWORK), ("booster", booster)], random_state=0).fit(X, y)
    np.testing.assert_allclose(voting.predict_members(X)[1], clone(booster).fit(X, y).predict(X), rtol=1e-5)


@boosting
def test_files_of_boosters(iris, package, tmp_path):
    """A file with a booster predicts the same after loading, or the booster is named before anything is written."""
    X, y = iris
    voting = KerasVotingClassifier([("network", NETWORK), ("booster", boosters(package, "Classifier"))], random_state=0)
    voting.fit(X, y)
    path = tmp_path / "voting.skens"
    refused = None
    try:
        io.dump(voting, path)
    except io.PersistenceError as error:
        refused = str(error)
    if refused is None:
        loaded = io.load(path, trusted=io.get_untrusted_types(file=path))
        np.testing.assert_array_equal(loaded.predict_proba(X), voting.predict_proba(X))
    else:
        assert "booster" in refused
        assert not path.exists()


def test_onnx_runtime(iris, fitted, tmp_path):
    """ONNX Runtime gives the probabilities of the ensemble from the exported model, without Keras."""
    onnxruntime = pytest.importorskip("onnxruntime")
    for package in ("onnx", "tf2onnx"):
        pytest.importorskip(package)
    path = tmp_path / "ensemble.onnx"
    fitted.to_keras().export(path, format="onnx", verbose=False)

    session = onnxruntime.InferenceSession(path)

    (proba,) = session.run(None, {session.get_inputs()[0].name: iris[0]})
    np.testing.assert_allclose(proba, fitted.predict_proba(iris[0]), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    """The package mlflow, tracking into a database in a temporary directory."""
    mlflow = pytest.importorskip("mlflow")
    directory = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(directory)
        # mlflow finds out what a model needs by loading it in a process of its own.
        patch.setenv("MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT", "1")
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(f"sqlite:///{directory}/mlflow.db")
        mlflow.set_experiment(experiment_id=mlflow.create_experiment("ours", artifact_location=str(directory / "runs")))
        yield mlflow
        mlflow.sklearn.autolog(disable=True)


def test_mlflow_autolog(mlflow, iris):
    """Autologging logs a pipeline around an ensemble, and nothing internal where the ensemble is bare."""
    mlflow.sklearn.autolog(silent=True)
    with mlflow.start_run() as bare:
        clone(CLASSIFIER).fit(*iris)
    mlflow.sklearn.autolog(silent=True, log_models=False)
    with mlflow.start_run() as piped:
        make_pipeline(StandardScaler(), clone(CLASSIFIER)).fit(*iris)
    mlflow.sklearn.autolog(disable=True)

    assert mlflow.get_run(bare.info.run_id).data.params == {}
    assert mlflow.get_run(piped.info.run_id).data.params["kerasaveragingclassifier__n_estimators"] == "3"


def test_mlflow_models(mlflow, iris, fitted):
    """A logged ensemble predicts as before: as a cloudpickle model of mlflow's, and as a file of `skensemble.io`."""
    with mlflow.start_run() as run:
        info = mlflow.sklearn.log_model(
            fitted, name="model", serialization_format="cloudpickle", pip_requirements=["skensemble"]
        )
        io.dump(fitted, "ensemble.skens")
        mlflow.log_artifact("ensemble.skens")

    by_pickle = mlflow.sklearn.load_model(info.model_uri)
    by_file = io.load(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="ensemble.skens"))
    for loaded in (by_pickle, by_file):
        np.testing.assert_allclose(loaded.predict_proba(iris[0]), fitted.predict_proba(iris[0]), rtol=1e-5)


def test_mlflow_default_format(mlflow, fitted):
    """The default format of mlflow is that of skops, whose error names `skensemble.io`."""
    with mlflow.start_run(), pytest.raises(mlflow.exceptions.MlflowException) as caught:
        mlflow.sklearn.log_model(fitted, name="model", serialization_format="skops", pip_requirements=["skensemble"])
    messages, error = [], caught.value
    while error is not None:
        messages.append(str(error))
        error = error.__cause__ or error.__context__
    assert "skensemble.io" in " ".join(messages)


def test_notebook(tmp_path):
    """A notebook whose builder is defined in a cell: workers, saving, and running the cell again."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    builder = textwrap.dedent(
        """
        import keras
        from skensemble import KerasAveragingClassifier, KerasClassifier, io

        def build(meta, units=8):
            return keras.Sequential(
                [
                    keras.Input(meta["X_shape_"][1:]),
                    keras.layers.Dense(units, activation="relu"),
                    keras.layers.Dense(meta["n_classes_"], activation="softmax"),
                ]
            )
        """
    )
    fit = textwrap.dedent(
        """
        from sklearn.datasets import load_iris

        from skensemble._engine.workers import parts

        parts.WORKER_SECONDS = 1e-9  # two workers for all that
        X, y = load_iris(return_X_y=True)
        ensemble = KerasAveragingClassifier(KerasClassifier(build, epochs=2), n_estimators=2, n_jobs=2, random_state=0)
        ensemble.fit(X, y)
        proba = ensemble.predict_proba(X)
        """
    )
    save = textwrap.dedent(
        """
        import joblib

        joblib.dump(ensemble, "ensemble.joblib")
        io.dump(ensemble, "ensemble.skens")
        assert abs(joblib.load("ensemble.joblib").predict_proba(X) - proba).max() < 1e-6
        assert abs(io.load("ensemble.skens").predict_proba(X) - proba).max() < 1e-6
        ensemble  # its picture in the notebook
        """
    )
    cells = [builder, fit, save, builder, save]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])

    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert "sk-top-container" in notebook.cells[2].outputs[-1]["data"]["text/html"]


def test_scikit_learn_voting(iris):
    """An ensemble of ours and a booster vote side by side in scikit-learn's own ensemble."""
    lightgbm = pytest.importorskip("lightgbm")
    X, y = iris
    voting = VotingRegressor(
        [("ours", clone(REGRESSOR)), ("theirs", lightgbm.LGBMRegressor(n_estimators=5, verbose=-1)), ("ridge", Ridge())]
    )
    predictions = cross_val_predict(voting, X, y.astype("float32"), cv=2)
    assert np.mean((predictions - y) ** 2) < np.var(y)


@pytest.fixture(scope="module")
def polars_table():
    """A table of polars with numbers, missing values, booleans, texts, categories and dates, and the same of pandas."""
    pl, pd = pytest.importorskip("polars"), pytest.importorskip("pandas")
    values = {
        "size": [None if i % 9 == 0 else i / 10 for i in range(60)],
        "flag": [None if i % 7 == 0 else i % 3 == 0 for i in range(60)],
        "town": [f"town {i % 15}" for i in range(60)],
        "colour": [None if i % 11 == 0 else ("red", "blue")[i % 2] for i in range(60)],
        "day": [date(2020, 1, 1) + timedelta(days=i) for i in range(60)],
    }
    ours = pl.DataFrame(values).with_columns(pl.col("colour").cast(pl.Enum(["blue", "red"])))
    theirs = pd.DataFrame(values).astype({"colour": "category", "flag": "boolean", "day": "datetime64[us]"})
    return ours, theirs


def test_polars_tables(polars_table):
    """A table of polars trains and predicts as the same table of pandas does, by the names of its columns."""
    X, of_pandas = polars_table
    y = np.arange(60) % 2
    pipeline = make_pipeline(TableEncoder(), clone(CLASSIFIER).set_params(bootstrap=True))
    expected = pipeline.fit(of_pandas, y).predict_proba(of_pandas)
    np.testing.assert_allclose(pipeline.fit(X, y).predict_proba(X), expected, rtol=1e-5)
    assert pipeline.feature_names_in_.tolist() == X.columns
    with pytest.raises(ValueError, match="must be in the same order"):
        pipeline.predict(X.select(X.columns[::-1]))
    numbers = X.select("size").fill_null(0)
    network = clone(CLASSIFIER).fit(numbers, X["flag"].fill_null(value=False))
    assert network.feature_names_in_.tolist() == ["size"]


def test_polars_types_that_are_no_numbers(polars_table):
    """Networks refuse what NumPy would make numbers of; the encoder takes all types of numbers."""
    X, _ = polars_table
    y = np.arange(60) % 2
    import polars as pl

    digits = pl.Series("code", [str(i % 3) for i in range(60)], dtype=pl.Enum(["0", "1", "2"])).to_frame()
    for table, kind in ((X.select("day"), "Date"), (digits, "Enum")):
        for estimator in (NETWORK, CLASSIFIER):
            with pytest.raises(TypeError, match=f"the column '[a-z]+' holds the type {kind}.*TableEncoder"):
                clone(estimator).fit(table, y)
    for estimator in (NETWORK, CLASSIFIER, TableEncoder()):
        with pytest.raises(TypeError, match=r"got LazyFrame\. Give X\.collect\(\)"):
            clone(estimator).fit(X.lazy(), y)
    expected = TableEncoder().fit_transform(X.select("size"))
    for dtype in (pl.Decimal(10, 1), pl.Float32):
        np.testing.assert_allclose(TableEncoder().fit_transform(X.select(pl.col("size").cast(dtype))), expected, 1e-5)
    with pytest.raises(TypeError, match="must hold numbers, categories, booleans or dates: got the type Struct"):
        TableEncoder().fit(X.select(pl.struct("size", "flag").alias("both")))
