"""Fits with a checkpoint directory that tests interrupt, in their own process and in others that are killed.

Run as a script, one fit: `python checkpointed_fits.py NAME DIRECTORY N_JOBS N_EPOCHS POINT NUMBER`. The process kills
itself when it passes POINT of a write for the NUMBER-th time (0: never), and prints the digest of what it learned.
"""

import hashlib
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    _checkpoint,
    _fused,
    _state_file,
)

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
    open_file, replace, finish = _state_file.write_atomically, os.replace, _checkpoint.Part.finish

    def write_atomically(path, chunks):
        reach("before the write")
        open_file(path, chunks)

    def replace_file(source, target):
        reach("after the write")
        replace(source, target)
        reach("after the replacement")

    def finish_part(self, *args):
        finish(self, *args)
        reach("after the end")

    patches = [
        (_state_file, "write_atomically", write_atomically),
        (_state_file.os, "replace", replace_file),
        (_checkpoint.Part, "finish", finish_part),
    ]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in patches]
    for owner, name, function in patches:
        setattr(owner, name, function)
    return before


def kill_at(point, number):
    """Kill this process, without any clearing up, when it passes a point for the `number`-th time."""
    passed = []

    def reach(reached):
        passed.extend([reached] if reached == point else [])
        if len(passed) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    pass_points(reach)


def main(name, directory, n_jobs, n_epochs, point, number):
    global N_EPOCHS
    N_EPOCHS = int(n_epochs)
    _checkpoint.MAX_SHARE, _fused._LOOK_SECONDS = 1.0, 0.0  # write at every chance, after each epoch
    if int(number):
        kill_at(point, int(number))
    print("begins", flush=True)
    ensemble = FITS[name](checkpoint_dir=directory, n_jobs=int(n_jobs), random_state=0)
    print(digest(ensemble.fit(*data())), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
