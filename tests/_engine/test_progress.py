"""scikit-learn's callbacks on ensembles: which tasks they see, ensembles as of an epoch, stops, bars."""

import joblib
import numpy as np
import pytest
from keras.callbacks import EarlyStopping
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    io,
)

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has callbacks since version 1.9")

X, Y = load_iris(return_X_y=True)
EPOCHS = 4
MEMBER = KerasClassifier(hidden_layer_sizes=(8,), epochs=EPOCHS)


class Recorder:
    """Writes down what happens; asks to stop at the end of an epoch."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at
        self.tasks, self.ended, self.probabilities, self.is_open = [], [], {}, False

    def setup(self, estimator, context):
        self.is_open = True

    def teardown(self, estimator, context):
        self.is_open = False

    def on_fit_task_begin(self, estimator, context):
        self.tasks.append((path(context), context.max_subtasks))

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.ended.append(path(context))
        self.data = X, y, metadata
        if hasattr(fitted_estimator, "predict_members"):  # an ensemble
            self.probabilities[path(context)] = fitted_estimator.predict_proba(X)
        return context.task_name == "epoch" and context.task_id == self.stop_at


class Propagated(Recorder):
    """Set on a search, told by the estimators inside."""

    max_propagation_depth = None


def path(context):
    """Names of the tasks from the fit down to this one, with their numbers."""
    own = f"{context.task_name} {context.task_id}"
    return own if context.parent is None else f"{path(context.parent)}, {own}"


def averaging(**params):
    return KerasAveragingClassifier(**{"estimator": clone(MEMBER), "n_estimators": 2, "random_state": 0} | params)


def recorded(ensemble, **params):
    """A `Recorder` of a fit."""
    recorder = Recorder(**params)
    ensemble.set_callbacks(recorder).fit(X, Y)
    return recorder


def test_epochs_are_the_tasks_of_a_fit():
    """Members that are trained together have their epochs in common; each task that begins ends."""
    recorder = recorded(averaging())
    assert recorder.tasks == [("fit 0", EPOCHS), *((f"fit 0, epoch {i}", 0) for i in range(EPOCHS))]
    assert recorder.ended == [*(f"fit 0, epoch {i}" for i in range(EPOCHS)), "fit 0"]
    assert not recorder.is_open


def test_callbacks_change_nothing_in_the_result():
    """A fit that is told gives the same members, bit for bit."""
    told, silent = averaging(), averaging().fit(X, Y)
    recorded(told)
    np.testing.assert_array_equal(told.predict_members(X), silent.predict_members(X))
    assert told.estimators_[0].history_ == silent.estimators_[0].history_


@pytest.mark.parametrize(
    "ensemble",
    [
        averaging(),
        averaging(estimator=clone(MEMBER).set_params(callbacks=EarlyStopping, callbacks__monitor="loss")),
        averaging(n_estimators=4, weights="greedy"),
        PolyakWeightClassifier(MEMBER, n_checkpoints=2, random_state=0),
    ],
    ids=["averaging", "Keras callbacks", "greedy", "Polyak"],
)
def test_ensemble_as_of_an_epoch(ensemble):
    """What callbacks get at the end of an epoch is the ensemble that fewer epochs give."""
    recorder = recorded(ensemble)
    at_end = recorder.probabilities.pop("fit 0")
    np.testing.assert_array_equal(at_end, ensemble.predict_proba(X))
    assert list(recorder.probabilities) == [f"fit 0, epoch {i}" for i in range(EPOCHS)]
    for n_epochs in range(2, EPOCHS + 1):
        shorter = clone(ensemble).set_params(estimator__epochs=n_epochs).set_callbacks().fit(X, Y)
        proba = recorder.probabilities[f"fit 0, epoch {n_epochs - 1}"]
        np.testing.assert_allclose(proba, shorter.predict_proba(X), rtol=1e-6)


def test_snapshots_can_predict_after_the_first_cycle():
    """Before its first snapshot there is no ensemble; then those that there are predict, each scored as it comes."""
    ensemble = SnapshotEnsembleClassifier(MEMBER, n_estimators=2, random_state=0)
    recorder = recorded(ensemble)
    assert list(recorder.probabilities) == ["fit 0, epoch 1", "fit 0, epoch 2", "fit 0, epoch 3", "fit 0"]
    first = ensemble.predict_members(X)[-1]  # the newest one comes first
    for epoch in (1, 2):
        np.testing.assert_allclose(recorder.probabilities[f"fit 0, epoch {epoch}"], first, rtol=1e-6)
    np.testing.assert_array_equal(recorder.probabilities["fit 0"], ensemble.predict_proba(X))


def test_scoring_monitor():
    """scikit-learn's monitor scores the ensemble at the end of every epoch, with the weights of the rows."""
    monitor = callback.ScoringMonitor(scoring="accuracy")
    weights = np.linspace(0.5, 1, len(X))
    ensemble = averaging(random_state=1).set_callbacks(monitor).fit(X, Y, sample_weight=weights)
    scores = [entry["accuracy"] for entry in monitor.get_logs().data]
    assert len(scores) == EPOCHS + 1
    assert scores[0] == scores[-1] == ensemble.score(X, Y, weights)  # the fit itself, and its last epoch


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_stop(engine):
    """A callback ends the training with an epoch; the ensemble is that of so many epochs."""
    ensemble = averaging(engine=engine)
    recorded(ensemble, stop_at=1)
    assert [len(member.history_["loss"]) for member in ensemble.estimators_] == [2, 2]
    shorter = averaging(engine=engine).set_params(estimator__epochs=2).fit(X, Y)
    np.testing.assert_allclose(ensemble.predict_proba(X), shorter.predict_proba(X), rtol=1e-6)


def test_stop_beside_keras_callbacks():
    """Keras' own callbacks see the end of a training that is stopped."""
    patient = clone(MEMBER).set_params(
        callbacks=EarlyStopping,
        callbacks__monitor="loss",
        callbacks__patience=9,
        callbacks__restore_best_weights=True,
    )
    ensemble = averaging(estimator=patient)
    recorded(ensemble, stop_at=1)
    assert [len(member.history_["loss"]) for member in ensemble.estimators_] == [2, 2]


def test_members_of_different_kinds_are_parts():
    """Networks of one architecture, and each other estimator, are parts; before the end there is no ensemble."""
    members = [
        ("network", MEMBER),
        ("again", clone(MEMBER)),
        ("forest", RandomForestClassifier(n_estimators=3)),
        ("linear", LogisticRegression(max_iter=1000)),
    ]
    recorder = recorded(KerasVotingClassifier(members, random_state=0))
    assert recorder.tasks[:6] == [
        ("fit 0", 3),
        ("fit 0, RandomForestClassifier 1", 1),
        ("fit 0, RandomForestClassifier 1, fit RandomForestClassifier 0", 0),
        ("fit 0, LogisticRegression 2", 1),
        ("fit 0, LogisticRegression 2, fit LogisticRegression 0", 0),
        ("fit 0, 2 members 0", EPOCHS),
    ]
    assert list(recorder.probabilities) == ["fit 0"]
    assert sorted(recorder.ended) == sorted(task for task, _ in recorder.tasks)


def test_members_trained_by_keras_are_parts():
    """Each member that Keras' own fit trains has its epochs."""
    recorder = recorded(averaging(engine="keras"))
    epochs = [f"epoch {i}" for i in range(EPOCHS)]
    parts = [f"fit 0, KerasClassifier {k}" for k in range(2)]
    assert [task for task, _ in recorder.tasks] == ["fit 0"] + [
        task for part in parts for task in (part, *(f"{part}, {epoch}" for epoch in epochs))
    ]
    assert sorted(recorder.ended) == sorted(task for task, _ in recorder.tasks)


def test_stack_has_members_and_a_final_estimator():
    """A stack trains its members and its final estimator, here scikit-learn's, which tells its iterations itself."""
    ensemble = StackedKerasClassifier([("network", MEMBER)], cv=3, random_state=0)
    recorder = Propagated()
    ensemble.set_callbacks(recorder).fit(X, Y)
    tasks = [task for task, _ in recorder.tasks]
    assert tasks[0] == "fit 0"
    assert "fit 0, members 0" in tasks
    iterations = [task for task in tasks if task.startswith("fit 0, final estimator 1, fit 0, lbfgs-iter")]
    assert len(iterations) >= ensemble.final_estimator_.n_iter_[0]
    np.testing.assert_array_equal(recorder.probabilities["fit 0"], ensemble.predict_proba(X))


@pytest.mark.slow
@pytest.mark.workers
def test_workers(workers_pay):
    """With workers, callbacks see the parts there; scikit-learn's own take the news back to this process."""
    monitor, recorder = callback.ScoringMonitor(scoring="accuracy"), Recorder()
    ensemble = averaging(n_estimators=4, n_jobs=2).set_callbacks(monitor, recorder).fit(X, Y)
    assert recorder.tasks == [("fit 0", 2)]
    assert [entry["accuracy"] for entry in monitor.get_logs().data] == [ensemble.score(X, Y)]


def test_search_and_pipeline():
    """A callback of a search reaches the ensemble inside of a pipeline, in each of its fits."""
    pipeline = make_pipeline(StandardScaler(), averaging())
    recorder = Propagated()
    search = GridSearchCV(pipeline, {"kerasaveragingclassifier__n_estimators": [1, 2]}, cv=2)
    search.set_callbacks(recorder).fit(X, Y)
    epochs = [task for task, _ in recorder.tasks if "epoch" in task]
    n_fits = 2 * 2 + 1
    assert len(epochs) == len(set(epochs)) == n_fits * EPOCHS
    assert not hasattr(search.best_estimator_[-1], "_parent_callback_ctx")


def test_progress_bars(capsys):
    """scikit-learn's bars run over the epochs."""
    pytest.importorskip("rich")
    averaging().set_callbacks(callback.ProgressBar()).fit(X, Y)
    out = capsys.readouterr().out
    assert "KerasAveragingClassifier - fit" in out
    assert "100%" in out


@pytest.mark.parametrize("bad", [np.full_like(X, np.nan), None])
def test_fit_that_fails_ends_its_callbacks(bad):
    """Callbacks are torn down, and the ensemble is as before: fitted where it was."""
    ensemble, recorder = averaging(), Recorder()
    ensemble.set_callbacks(recorder).fit(X, Y)
    before = ensemble.predict_proba(X)
    if bad is None:
        ensemble.set_params(estimator__optimizer="no optimizer")
    with pytest.raises(ValueError):
        ensemble.fit(X if bad is None else bad, Y)
    assert not recorder.is_open
    assert not hasattr(ensemble, "_callback_fit_ctx")
    np.testing.assert_array_equal(ensemble.predict_proba(X), before)


def test_callback_that_fails_at_the_end_loses_nothing():
    """An error of a callback at the end of a fit leaves the ensemble fitted."""

    class Failing(Recorder):
        def on_fit_task_end(self, estimator, context):
            if context.task_name == "fit":
                raise OSError("no room for the log")

    ensemble, failing = averaging(), Failing()
    with pytest.raises(OSError, match="no room"):
        ensemble.set_callbacks(failing).fit(X, Y)
    assert ensemble.predict_proba(X).shape == (len(X), 3)
    assert not failing.is_open


def test_ensembles_with_callbacks_are_saved(tmp_path):
    """With joblib, files keep the callbacks; without pickle they leave them out."""
    ensemble = averaging().set_callbacks(callback.ScoringMonitor(scoring="accuracy")).fit(X, Y)
    joblib.dump(ensemble, tmp_path / "ensemble.joblib")
    io.dump(ensemble, tmp_path / "ensemble.skens")
    loaded = [joblib.load(tmp_path / "ensemble.joblib"), io.load(tmp_path / "ensemble.skens")]
    for one in loaded:
        np.testing.assert_array_equal(one.predict_proba(X), ensemble.predict_proba(X))
    assert not hasattr(loaded[1], "_skl_callbacks")


def test_checkpoint_goes_on_with_callbacks(tmp_path):
    """Members that are taken from a checkpoint are not told; the fit ends as ever."""
    recorded(averaging(checkpoint_dir=tmp_path))
    recorder = recorded(averaging(checkpoint_dir=tmp_path))
    assert recorder.tasks == [("fit 0", 0)]
    assert recorder.ended == ["fit 0"]
