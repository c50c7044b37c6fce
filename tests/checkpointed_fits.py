"""Fits with a checkpoint directory that tests interrupt, in their own process and in others that are killed."""

import hashlib
import multiprocessing
import os
import signal
import time

import keras
import numpy as np
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._checkpoint import state_file as _state_file
from skensemble._checkpoint import store as _checkpoint
from skensemble._engine.fused import fit as _fused
from skensemble._engine.workers import parts as _parts
from skensemble._files import atomic as _atomic

N_EPOCHS = 9


def network(**params):
    """A small network with Dropout, whose random numbers must go on too."""
    return KerasClassifier(**{"hidden_layer_sizes": (6,), "dropout": 0.3, "epochs": N_EPOCHS, **params})


def watched_network():
    """A network with callbacks that count epochs and keep variables; its members stop in different epochs."""
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=1, min_delta=0.1, cooldown=1),
        keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=0.01, restore_best_weights=True),
    ]
    return network(callbacks=callbacks, fit__validation_split=0.3, optimizer__learning_rate=0.03)


def averaging(**params):
    return KerasAveragingClassifier(network(), 3, **params)


def bagging(**params):
    member = network(metrics=["accuracy"], fit__validation_freq=2)
    return KerasAveragingClassifier(member, 3, bootstrap=True, oob_validation=True, weights="greedy", **params)


def watched(**params):
    return KerasAveragingClassifier(watched_network(), 3, **params)


def with_keras(**params):
    return KerasAveragingClassifier(network(epochs=2, run_eagerly=True), 3, engine="keras", **params)


def voting(**params):
    members = [("a", network()), ("b", network(hidden_layer_sizes=(4, 4))), ("logistic", LogisticRegression())]
    return KerasVotingClassifier(members, **params)


def stacked(**params):
    members = [("a", network()), ("b", network(hidden_layer_sizes=(4, 4))), ("logistic", LogisticRegression())]
    return StackedKerasClassifier(members, cv=2, **params)


def snapshot(n_jobs=None, **params):
    return SnapshotEnsembleClassifier(network(), 3, **params)


def polyak(n_jobs=None, **params):
    return PolyakWeightClassifier(network(optimizer="adamw"), n_checkpoints=4, **params)


def polyak_watched(n_jobs=None, **params):
    return PolyakWeightClassifier(watched_network(), n_checkpoints=2, **params)


FITS = {
    fit.__name__: fit
    for fit in (averaging, bagging, watched, with_keras, voting, stacked, snapshot, polyak, polyak_watched)
}


def data():
    X, y = make_blobs(n_samples=40, n_features=4, centers=3, random_state=0)
    return X.astype("float32"), y


def digest(ensemble):
    """Digest of the variables of models and optimizers, the histories, and the predictions."""
    learned = hashlib.sha256(ensemble.predict_members(data()[0]).tobytes())
    learned.update(ensemble.predict_proba(data()[0]).tobytes())
    weights = ensemble.weights_.tolist() if hasattr(ensemble, "weights_") else None
    learned.update(repr((ensemble.engine_, ensemble.engine_reason_, weights)).encode())
    through_pickle = ensemble.engine_ == "keras" and getattr(ensemble, "n_jobs", None) not in (None, 1)
    for member in [*getattr(ensemble, "estimators_", ()), *getattr(ensemble, "checkpoints_", ())]:
        if isinstance(member, KerasClassifier):
            # Keras' own pickling, on the way from a worker, gives Dropout another seed: it is not among the weights.
            variables = member.model_.weights if through_pickle else member.model_.variables
            values = [*variables, *member.model_.optimizer.variables]
            learned.update(b"".join(np.asarray(value).tobytes() for value in values))
            learned.update(repr(sorted(member.history_.items())).encode())
    return learned.hexdigest()


def pass_points(reach):
    """Call `reach(point)` at the points of a write where a process may die."""
    published, replace, finish = _state_file.published, os.replace, _checkpoint.GroupCheckpoint.finish

    def reached(path):
        reach("before the write")
        return published(path)

    def replace_file(source, target):
        reach("after the write")
        replace(source, target)
        reach("after the replacement")

    def finish_part(self, *args):
        finish(self, *args)
        reach("after the end")

    patches = [
        (_state_file, "published", reached),
        (_atomic.os, "replace", replace_file),
        (_checkpoint.GroupCheckpoint, "finish", finish_part),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, function in patches:
        setattr(owner, name, function)
    return before


def act_at(point, number, act):
    """Call `act()` when this process passes a point for the `number`-th time."""
    passed = []

    def reach(reached):
        if reached == point:
            passed.append(point)
            if len(passed) == number:
                act()

    pass_points(reach)


def kill_this_process():
    """Without any clearing up."""
    os.kill(os.getpid(), signal.SIGKILL)


def fit_in_this_process(news, name, directory, n_jobs, n_epochs, point, number, waits):
    global N_EPOCHS
    os.setsid()  # a group of its own, so that workers can be killed with it
    N_EPOCHS = n_epochs
    _parts.WORKER_SECONDS = 1e-9  # `n_jobs` workers, however little they train
    _checkpoint.MAX_SHARE, _fused._LOOK_SECONDS = 1.0, 0.0  # write at every chance, after each epoch

    def wait():
        news.send("waits")
        news.recv()

    if number:
        act_at(point, number, wait if waits else kill_this_process)
    news.send("begins")
    ensemble = FITS[name](checkpoint_dir=directory, n_jobs=n_jobs, random_state=0)
    news.send(digest(ensemble.fit(*data())))
    if n_jobs > 1:  # a process of multiprocessing waits for its children, which loky keeps for minutes
        get_reusable_executor().shutdown(kill_workers=True)


# Processes are forked from one that has imported everything and run nothing, which saves 5 s of each.
PROCESSES = multiprocessing.get_context("forkserver")
PROGRAM = f"skensemble._engine.{keras.backend.backend()}"
PROCESSES.set_forkserver_preload(["skensemble.wrappers", PROGRAM, "sklearn.linear_model"])


class FitProcess:
    """A process with one fit in a checkpoint directory.

    Parameters
    ----------
    name : str
        Of `FITS`.
    directory : path
    n_jobs, n_epochs : int
    point : str
        The process kills itself when it passes this point of a write for the `number`-th time.
    number : int
        0 means never.
    waits : bool
        Whether it waits at that point for `go_on` instead. It is there when the constructor returns.

    Attributes
    ----------
    ended : float
        When its result came, of `time.monotonic`; it may take seconds more to exit.
    """

    def __init__(self, name, directory, n_jobs=1, n_epochs=N_EPOCHS, point="none", number=0, waits=False):
        self._news, its_end = PROCESSES.Pipe()
        arguments = (its_end, name, directory, n_jobs, n_epochs, point, number, waits)
        self._process = PROCESSES.Process(target=fit_in_this_process, args=arguments)
        self._process.start()
        its_end.close()
        assert self._news.recv() == "begins"
        if waits:
            assert self._news.recv() == "waits"

    def go_on(self):
        """End its wait."""
        self._news.send("go on")

    @property
    def pid(self):
        return self._process.pid

    def is_alive(self):
        return self._process.is_alive()

    def kill(self):
        """Kill it with all its workers."""
        os.killpg(self.pid, signal.SIGKILL)

    def result(self):
        """Digest of what it learned, None where it was killed, even if it had learned all by then."""
        try:
            learned = self._news.recv()
        except EOFError:
            learned = None
        self.ended = time.monotonic()
        self._process.join()
        if self._process.exitcode == -signal.SIGKILL:
            return None
        assert self._process.exitcode == 0
        return learned
