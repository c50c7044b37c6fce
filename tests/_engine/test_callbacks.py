import csv
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from backends import ON_JAX, tensorflow_only
from comparison import TRAINED_FLOAT32, assert_same_members, ensemble_of, fit_with_keras
from keras import callbacks as kc
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.callbacks import why_not_per_epoch
from skensemble._engine.fused import callback_run as _callback_run
from skensemble.exceptions import NotFusableError

X, Y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4.0, random_state=0)
X = X.astype("float32") / 5
X.flags.writeable = Y.flags.writeable = False

# Two steps an epoch.
MEMBER = {"hidden_layer_sizes": (4,), "batch_size": 24, "shuffle": False, "validation_split": 0.25, "epochs": 6}


def member_with(*callbacks, **params):
    """Unfitted classifier with callbacks."""
    params = {**MEMBER, "optimizer": "sgd", "optimizer__learning_rate": 0.5, **params}
    return KerasClassifier(callbacks=list(callbacks), **params)


def fit_both(*callbacks, n_estimators=2, **params):
    """Ensembles trained by the fused engine and by Keras, which are compared."""
    ensemble = ensemble_of(member_with(*callbacks, **params), n_estimators=n_estimators)
    fused = ensemble.fit(X, Y)
    reference = fit_with_keras(fused, X, Y)
    assert_same_members(fused, reference, X)
    return fused, reference


def n_epochs(ensemble):
    """Epochs that each member was trained for."""
    return [len(member.history_["loss"]) for member in ensemble.estimators_]


def learning_rates(ensemble):
    """Learning rate that each member's optimizer was left with."""
    return [float(member.model_.optimizer.learning_rate) for member in ensemble.estimators_]


class Recorder(kc.Callback):
    """Record every call at the level of epochs; the record is reached through the model."""

    def record(self, name, logs, epoch=None):
        self.model.record = getattr(self.model, "record", [])
        self.model.record.append((name, epoch, dict(logs or {}), self.model.stop_training, dict(self.params)))

    def on_train_begin(self, logs=None):
        self.record("train begin", logs)

    def on_train_end(self, logs=None):
        self.record("train end", logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.record("epoch begin", logs, epoch)

    def on_epoch_end(self, epoch, logs=None):
        self.record("epoch end", logs, epoch)

    def on_test_begin(self, logs=None):
        self.record("test begin", logs)

    def on_test_end(self, logs=None):
        self.record("test end", logs)


class Shrink(kc.Callback):
    """Halve all variables of the model after each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.set_weights([value / 2 for value in self.model.get_weights()])


class Drop(kc.Callback):
    """Change the learning rate at the begin of an epoch, and stop the second member after two epochs."""

    def on_epoch_begin(self, epoch, logs=None):
        self.model.optimizer.learning_rate = 0.5 / (epoch + 1)

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and float(self.model.get_weights()[0][0, 0]) > 0:
            self.model.stop_training = True


class Freeze(kc.Callback):
    """Write the epoch into the logs, which `history_` takes over."""

    def on_epoch_end(self, epoch, logs=None):
        logs["epoch"] = epoch


# What Keras does


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {"monitor": "loss", "min_delta": 0.1},
        {"monitor": "loss", "min_delta": 0.1, "restore_best_weights": True},
        {"monitor": "val_accuracy", "patience": 0, "start_from_epoch": 2, "restore_best_weights": True},
    ],
)
def test_early_stopping(params):
    """Each member stops at its own epoch, with its last or with its best variables."""
    fused, reference = fit_both(kc.EarlyStopping(**params), metrics=["accuracy"], epochs=8, n_estimators=3)
    assert n_epochs(fused) == n_epochs(reference)
    assert len(set(n_epochs(fused))) > 1 or "start_from_epoch" in params
    assert params.get("start_from_epoch", 0) < min(n_epochs(fused)) < 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "callback",
    [
        kc.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=0.05, factor=0.5),
        kc.LearningRateScheduler(lambda epoch, rate: rate * 0.7 if epoch else rate),
        Drop(),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_learning_rates(callback):
    """A learning rate that a callback changes is that of the member's next epoch, and stays in its optimizer."""
    fused, reference = fit_both(callback)
    np.testing.assert_allclose(learning_rates(fused), learning_rates(reference), rtol=1e-6)
    assert min(learning_rates(fused)) < 0.5
    assert n_epochs(fused) == n_epochs(reference)


def test_schedule_that_is_looked_at():
    """A callback that logs the learning rate sees where the schedule of the optimizer is."""
    rate = keras.optimizers.schedules.ExponentialDecay(0.5, decay_steps=1, decay_rate=0.9)
    watch = kc.ReduceLROnPlateau(monitor="loss", patience=100)
    fused, _ = fit_both(watch, optimizer__learning_rate=rate, epochs=2)
    for member in fused.estimators_:
        np.testing.assert_allclose(member.history_["learning_rate"], [0.5 * 0.9**2, 0.5 * 0.9**4], rtol=1e-5)


@pytest.mark.parametrize("callback", [Shrink(), Freeze()], ids=lambda callback: type(callback).__name__)
def test_callbacks_of_the_user(callback):
    """What a callback writes into the model or into the logs is there in the next epoch and in `history_`."""
    fused, _ = fit_both(callback, kc.EarlyStopping(patience=20), epochs=3, optimizer="adam")
    if isinstance(callback, Freeze):
        assert all(member.history_["epoch"] == [0, 1, 2] for member in fused.estimators_)


def test_lambda_callback():
    """A function at the end of an epoch is called for each member's epoch, with the logs of that member."""
    seen = []
    callback = kc.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append((epoch, logs["loss"])))
    fused = ensemble_of(member_with(callback, epochs=2)).fit(X, Y)
    expected = [(epoch, m.history_["loss"][epoch]) for epoch in range(2) for m in fused.estimators_]
    assert seen == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "callback", [kc.EarlyStopping(patience=20), kc.EarlyStopping(patience=20, restore_best_weights=True)]
)
def test_averaged_variables(callback):
    """The averages of an optimizer with `use_ema` are put into the model at the end, before callbacks hear of it."""
    averages = {"optimizer__use_ema": True, "optimizer__ema_momentum": 0.6}
    fit_both(callback, epochs=2, **averages)


@pytest.mark.parametrize("params", [{}, {"fit__validation_freq": 2}, {"validation_split": 0.0}])
def test_calls_are_those_of_keras(params):
    """Callbacks are called in Keras' order, with the same epochs, keys of the logs and parameters."""
    fused, reference = fit_both(Recorder(), metrics=["accuracy"], epochs=3, **params)
    for member, expected in zip(fused.estimators_, reference.estimators_, strict=True):
        assert len(member.model_.record) == len(expected.model_.record)
        for call, expected_call in zip(member.model_.record, expected.model_.record, strict=True):
            assert call[:2] == expected_call[:2]
            assert list(call[2]) == list(expected_call[2])
            np.testing.assert_allclose([*call[2].values()], [*expected_call[2].values()], **TRAINED_FLOAT32)
            assert call[3:] == expected_call[3:]


# Files


def test_csv_logger(tmp_path):
    """The file holds the epochs of the member."""
    rows = {}
    for engine in ("fused", "keras"):
        ensemble = ensemble_of(member_with(kc.CSVLogger(tmp_path / engine), epochs=2), n_estimators=1, engine=engine)
        ensemble.fit(X, Y)
        with open(tmp_path / engine) as file:
            rows[engine] = list(csv.DictReader(file))
    assert [list(row) for row in rows["fused"]] == [["epoch", "loss", "val_loss"]] * 2
    for row, expected in zip(rows["fused"], rows["keras"], strict=True):
        np.testing.assert_allclose(
            [float(v) for v in row.values()], [float(v) for v in expected.values()], **TRAINED_FLOAT32
        )


def test_model_checkpoint(tmp_path):
    """The best epoch is saved as Keras saves it, optimizer included, and can be loaded."""
    models = {}
    for engine in ("fused", "keras"):
        path = tmp_path / f"{engine}.keras"
        checkpoint = kc.ModelCheckpoint(path, monitor="val_accuracy", save_best_only=True)
        member = member_with(checkpoint, metrics=["accuracy"], optimizer="adam", optimizer__learning_rate=0.3)
        ensemble_of(member, n_estimators=1, engine=engine).fit(X, Y)
        models[engine] = keras.models.load_model(path)
    ours, theirs = models.values()
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) < 12
    for variable, expected in zip(
        [*ours.variables, *ours.optimizer.variables], [*theirs.variables, *theirs.optimizer.variables], strict=True
    ):
        np.testing.assert_allclose(variable, expected, **TRAINED_FLOAT32)


class SaveByStart(kc.Callback):
    """Save each member's variables in a file named by its starting values."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def on_train_begin(self, logs=None):
        self.start = float(np.sum(self.model.get_weights()[0]))

    def on_epoch_end(self, epoch, logs=None):
        np.save(self.folder / f"{self.start:.4f}-{epoch}.npy", self.model.get_weights()[0])


def test_files_of_several_members(tmp_path):
    """A callback finds its own member in the model, from the start of the training on."""
    files = {}
    for engine in ("fused", "keras"):
        (tmp_path / engine).mkdir()
        ensemble_of(member_with(SaveByStart(tmp_path / engine), epochs=2), engine=engine).fit(X, Y)
        files[engine] = {path.name: np.load(path) for path in (tmp_path / engine).iterdir()}
    assert len(files["fused"]) == 4
    assert sorted(files["fused"]) == sorted(files["keras"])
    for name, values in files["fused"].items():
        np.testing.assert_allclose(values, files["keras"][name], **TRAINED_FLOAT32)


def test_tensorboard(tmp_path):
    """The event files hold what Keras writes at the ends of epochs."""
    pytest.importorskip("tensorboard")
    scalars = {}
    for engine in ("fused", "keras"):
        board = kc.TensorBoard(tmp_path / engine, update_freq="epoch", write_graph=False, histogram_freq=1)
        ensemble_of(member_with(board, epochs=2), n_estimators=1, engine=engine).fit(X, Y)
        scalars[engine] = {}
        for path in sorted((tmp_path / engine).rglob("events*")):
            for event in tf.compat.v1.train.summary_iterator(str(path)):
                for value in event.summary.value:
                    tensor = tf.make_ndarray(value.tensor)
                    if tensor.dtype.kind == "f":
                        tag = re.sub(r"_\d+/", "/", value.tag)  # Keras counts up the names of layers
                        scalars[engine][path.parent.name, tag, event.step] = tensor
    assert scalars["fused"].keys() == scalars["keras"].keys()
    assert ("validation", "epoch_loss", 1) in scalars["fused"]
    for key, value in scalars["fused"].items():
        np.testing.assert_allclose(value, scalars["keras"][key], err_msg=str(key), rtol=2e-3, atol=2e-3)


# Members that diverge


@pytest.mark.slow
# Read by Keras' LearningRateScheduler from its variable; NumPy 2 asks `__array__` for a `copy` argument.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")
def test_terminate_on_nan():
    """A member stops at the step whose loss is not finite, with the variables and the logs of that step."""
    explode = kc.LearningRateScheduler(lambda epoch, rate: 0.1 if epoch == 0 else 1e38)
    ensemble = ensemble_of(member_with(explode, kc.TerminateOnNaN(), batch_size=10, activation="linear"))
    with pytest.warns(ConvergenceWarning, match=r"members \[0, 1\] is not finite"):
        fused = ensemble.fit(X, Y)
    with pytest.warns(ConvergenceWarning, match=r"members \[0, 1\] is not finite"):
        reference = fit_with_keras(fused, X, Y)
    assert n_epochs(fused) == n_epochs(reference) == [2, 2]
    for ours, theirs in zip(fused.estimators_, reference.estimators_, strict=True):
        assert int(ours.model_.optimizer.iterations) == int(theirs.model_.optimizer.iterations) < 9
        assert ours.history_.keys() == theirs.history_.keys()
        np.testing.assert_allclose(ours.history_["loss"], theirs.history_["loss"], **TRAINED_FLOAT32)


# How callbacks are given


@pytest.mark.parametrize(
    "params",
    [
        {"callbacks": kc.EarlyStopping, "callbacks__patience": 0, "callbacks__monitor": "loss"},
        {"callbacks": [kc.EarlyStopping], "callbacks__0__patience": 0, "callbacks__0__monitor": "loss"},
        {"callbacks": {"stop": kc.EarlyStopping}, "callbacks__stop__patience": 0, "callbacks__stop__monitor": "loss"},
        {"callbacks": kc.EarlyStopping("loss", patience=0)},
        {"callbacks": [[kc.EarlyStopping("loss", patience=0)]]},
        {"fit__callbacks": [kc.EarlyStopping("loss", patience=0)]},
    ],
)
def test_ways_to_give_callbacks(params):
    """Classes with routed arguments, dicts, single and nested callbacks are all called."""
    member = KerasClassifier(**{**MEMBER, "optimizer": "sgd", "optimizer__learning_rate": 2.0, "epochs": 20, **params})
    fused = ensemble_of(member).fit(X, Y)
    for stopped in fused.estimators_:
        losses = stopped.history_["loss"]
        assert len(losses) < 20
        # Keras stops after the first epoch whose loss is not below the best one.
        assert losses[-1] >= min(losses[:-1])
        assert losses[:-1] == sorted(losses[:-1], reverse=True)


def test_callbacks_of_the_user_stay_as_they_are():
    """Members train with copies; the user's own object sees no model."""
    recorder = Recorder()
    ensemble = ensemble_of(member_with(recorder, epochs=1)).fit(X, Y)
    assert recorder.model is None
    assert ensemble.estimator.callbacks == [recorder]
    first, second = (member.model_.record for member in ensemble.estimators_)
    assert first is not second


def test_training_goes_on_with_callbacks():
    """`partial_fit` of a member calls its callbacks again."""
    ensemble = ensemble_of(member_with(Recorder(), epochs=1)).fit(X, Y)
    member = ensemble.estimators_[0]
    n_calls = len(member.model_.record)
    member.partial_fit(X, Y)
    assert len(member.model_.record) == 2 * n_calls
    assert len(member.history_["loss"]) == 2


# What cannot be done per epoch


class PerBatch(kc.Callback):
    """Act on batches."""

    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (PerBatch(), "PerBatch acts on every batch (on_train_batch_end)"),
        (kc.LambdaCallback(on_train_batch_begin=print), "LambdaCallback acts on every batch (on_train_batch_begin)"),
        (kc.ModelCheckpoint("x.keras", save_freq=5), "ModelCheckpoint acts on every batch"),
        (kc.TensorBoard("x", update_freq="batch"), "TensorBoard acts on every batch"),
        # On JAX, Keras warns of it with Python 3.11.
        *([] if ON_JAX else [(kc.TensorBoard("x", profile_batch=2), "TensorBoard acts on every batch")]),
        (kc.BackupAndRestore("x"), "BackupAndRestore works inside of Keras' own fit only"),
        (kc.SwapEMAWeights(), "SwapEMAWeights works inside of Keras' own fit only"),
    ],
)
def test_reason(callback, reason):
    """The reason names the callback and what it does."""
    assert reason in why_not_per_epoch([kc.EarlyStopping(), callback])
    with pytest.raises(ValueError) as caught:
        ensemble_of(member_with(callback), n_estimators=1).fit(X, Y)
    assert reason in str(caught.value)


def test_no_reason():
    """Keras' callbacks that act at the ends of epochs can be called there."""
    callbacks = [
        kc.EarlyStopping(),
        kc.ReduceLROnPlateau(),
        kc.LearningRateScheduler(abs),
        kc.ModelCheckpoint("x.keras"),
        kc.TerminateOnNaN(),
        kc.CSVLogger("x"),
        kc.TensorBoard("x"),
        kc.LambdaCallback(on_epoch_end=print),
        kc.History(),
    ]
    assert why_not_per_epoch(callbacks) is None


def test_variables_are_copied_for_those_who_look(monkeypatch):
    """Callbacks that read logs only do not cost a copy of every variable in every epoch."""
    n_writes = []
    write = _callback_run.write_state
    monkeypatch.setattr(_callback_run, "write_state", lambda *args: n_writes.append(write(*args)))
    ensemble_of(member_with(kc.ReduceLROnPlateau(), epochs=5)).fit(X, Y)
    assert len(n_writes) == 2 * 2


# What they change


class Change(kc.Callback):
    """Change something else than variables at the begin of an epoch."""

    def __init__(self, what, epoch=0):
        super().__init__()
        self.what, self.epoch = what, epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch != self.epoch:
            return
        if self.what == "momentum":
            self.model.optimizer.momentum = 0.9
        elif self.what == "trainable":
            self.model.layers[0].trainable = False
        else:
            self.model.optimizer = keras.optimizers.SGD(0.001)


@tensorflow_only("Keras' fit on JAX raises: it builds the optimizer before it calls callbacks")
@pytest.mark.parametrize("what", ["momentum", "trainable"])
def test_what_is_changed_before_the_first_step(what):
    """Keras' step has what callbacks change before it, and so have the members."""
    by_engine = [
        KerasAveragingClassifier(member_with(Change(what), epochs=2), 1, engine=engine, random_state=0).fit(X, Y)
        for engine in ("auto", "keras")
    ]
    assert "a callback changes the network or its optimizer" in by_engine[0].engine_reason_
    proba, expected = (one.predict_proba(X) for one in by_engine)
    np.testing.assert_allclose(proba, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(NotFusableError, match="a callback changes"):
        KerasAveragingClassifier(member_with(Change(what)), 2, engine="fused", random_state=0).fit(X, Y)


@pytest.mark.parametrize("what", ["trainable", "optimizer"])
def test_what_is_changed_later(what):
    """What Keras would not look at any more is refused."""
    with pytest.raises(ValueError, match=r"after the first step.*by epoch 2\. Do so in `on_train_begin`"):
        KerasAveragingClassifier(member_with(Change(what, 1)), 2, random_state=0).fit(X, Y)
