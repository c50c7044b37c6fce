"""How much faster are a snapshot ensemble and a Polyak average than the tutorials' way, and how steady are they?

Both ways are started in a process of their own, then do the same: train, and score the ensembles of the last 1 to 10
snapshots (averages of the last 1 to 10 epochs) on held-out rows. The tutorials' way writes models to files and loads
them again: for snapshots from a callback that also sets the learning rate, for the average after calls of
`fit(epochs=1)`. A part of it is timed (two of ten cycles, 20 of 500 calls) and scaled. Ours is timed for the first run
in the process, tracing and compiling included, and for the runs after it, as in repeats and cross-validation.

Accuracies are those of 30 repeats, beside what the tutorials published of their single runs.
"""

import math
import statistics
import tempfile
from functools import partial
from pathlib import Path

import keras
import numpy as np
from _harness import run, seconds
from sklearn.datasets import make_blobs

from skensemble import KerasClassifier, PolyakWeightClassifier, SnapshotEnsembleClassifier

EPOCHS, N_SNAPSHOTS, N_CHECKPOINTS, N_REPEATS = 500, 10, 10, 30
TIMED_CALLS = 20


def blobs():
    """100 rows to train on and 1,000 to score on, three overlapping classes."""
    X, y = make_blobs(n_samples=1100, centers=3, n_features=2, cluster_std=2, random_state=2)
    X, y = X.astype("float32"), y.astype("int32")
    return X[:100], y[:100], X[100:], y[100:]


def keras_model(hidden, optimizer):
    """The network as the tutorials build it."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(hidden, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class CosineSnapshots(keras.callbacks.Callback):
    """The tutorial's callback: a rate for each epoch, a file at the end of each cycle."""

    def __init__(self, folder, cycle, rate):
        super().__init__()
        self.folder, self.cycle, self.rate = folder, cycle, rate

    def on_epoch_begin(self, epoch, logs=None):
        """Set the rate."""
        self.model.optimizer.learning_rate = self.rate / 2 * (math.cos(math.pi * (epoch % self.cycle) / self.cycle) + 1)

    def on_epoch_end(self, epoch, logs=None):
        """Save the model."""
        if (epoch + 1) % self.cycle == 0:
            self.model.save(self.folder / f"snapshot_{epoch // self.cycle}.keras")


def snapshots_by_hand(epochs):
    """Seconds of the tutorial's way: two cycles, the second one scaled, and one loaded snapshot, scaled."""
    X, y, X_test, y_test = blobs()
    cycle = epochs // N_SNAPSHOTS
    model = keras_model(50, keras.optimizers.SGD(0.01, momentum=0.9))

    def one_cycle(folder):
        model.fit(X, y, epochs=cycle, batch_size=32, verbose=0, callbacks=[CosineSnapshots(folder, cycle, 0.01)])

    def score(snapshot):
        (snapshot.predict(X_test, verbose=0).argmax(axis=1) == y_test).mean()

    def load(folder):
        loaded.append(keras.models.load_model(folder / "snapshot_0.keras"))
        score(loaded[0])

    loaded = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, later = seconds(lambda: one_cycle(folder)), seconds(lambda: one_cycle(folder))  # the first one traces
        loading = seconds(lambda: load(folder))
    n_predictions = N_SNAPSHOTS * (N_SNAPSHOTS + 1) // 2  # the tutorial predicts with all members of each stage
    predicting = seconds(lambda: score(loaded[0])) * (n_predictions - N_SNAPSHOTS)
    return first + later * (N_SNAPSHOTS - 1) + loading * N_SNAPSHOTS + predicting


def average_by_hand(epochs):
    """Seconds of the tutorial's way: some of the calls of `fit`, scaled, and all of the averaging."""
    X, y, X_test, y_test = blobs()
    model = keras_model(25, "adam")
    calls = min(TIMED_CALLS, epochs)

    def train():
        model.fit(X, y, epochs=1, batch_size=32, verbose=0)

    def average(folder):
        paths = [folder / f"model_{i}.keras" for i in range(N_CHECKPOINTS)]
        for path in paths:
            model.save(path)
        models = [keras.models.load_model(path) for path in reversed(paths)]
        for n in range(1, N_CHECKPOINTS + 1):
            variables = [
                np.average(values, axis=0) for values in zip(*(m.get_weights() for m in models[:n]), strict=True)
            ]
            averaged = keras.models.clone_model(models[0])
            averaged.set_weights(variables)
            averaged.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
            averaged.evaluate(X_test, y_test, verbose=0)

    with tempfile.TemporaryDirectory() as folder:
        first, *later = [seconds(train) for _ in range(calls)]  # the first one traces
        return first + statistics.mean(later) * (epochs - 1) + seconds(lambda: average(Path(folder)))


def make_snapshots(epochs, seed, **parameters):
    """The tutorial's snapshot ensemble, not fitted."""
    optimizer = {"optimizer": "sgd", "optimizer__learning_rate": 0.01, "optimizer__momentum": 0.9}
    member = KerasClassifier(hidden_layer_sizes=(50,), epochs=epochs, batch_size=32, **optimizer)
    parameters = {"update": "epoch", "engine": "fused", "random_state": seed, **parameters}
    return SnapshotEnsembleClassifier(member, N_SNAPSHOTS, **parameters)


def make_average(epochs, seed):
    """The tutorial's average, not fitted."""
    member = KerasClassifier(hidden_layer_sizes=(25,), epochs=epochs, batch_size=32)
    return PolyakWeightClassifier(member, n_checkpoints=N_CHECKPOINTS, engine="fused", random_state=seed)


def fitted_stages(ensemble):
    """Fit, and the accuracy of each stage on held-out rows."""
    X, y, X_test, y_test = blobs()
    ensemble.fit(X, y)
    return [float((labels == y_test).mean()) for labels in ensemble.staged_predict(X_test)]


def ours(method, epochs, n_repeats):
    """Seconds of the first run in this process, and of each run after it."""
    make = {"snapshots": make_snapshots, "average": make_average}[method]
    times = [seconds(partial(fitted_stages, make(epochs, seed))) for seed in range(n_repeats + 1)]
    return {"first": times[0], "later": statistics.median(times[1:])}


def accuracies(epochs, n_repeats):
    """Held-out accuracies over seeds."""
    _, _, X_test, y_test = blobs()
    found = {name: [] for name in ("last snapshot", "last 3", "all", "selected", "its last", "last epoch", "average")}
    for seed in range(n_repeats):
        stages = fitted_stages(make_snapshots(epochs, seed))
        found["last snapshot"].append(stages[0])
        found["last 3"].append(stages[2])
        found["all"].append(stages[-1])
        selection = make_snapshots(epochs, seed, weights="greedy")
        fitted_stages(selection)
        found["selected"].append(selection.score(X_test, y_test))
        found["its last"].append(float((selection._predict_each(X_test)[0] == y_test).mean()))
        stages = fitted_stages(make_average(epochs, seed))
        found["last epoch"].append(stages[0])
        found["average"].append(stages[-1])
    return found


def main(bench):
    epochs, n_later = (20, 1) if bench.quick else (EPOCHS, 10)
    times = bench.repeat(
        3,
        snapshots=lambda: bench.fresh(ours, method="snapshots", epochs=epochs, n_repeats=n_later),
        snapshots_by_hand=lambda: bench.fresh(snapshots_by_hand, epochs=epochs),
        average=lambda: bench.fresh(ours, method="average", epochs=epochs, n_repeats=n_later),
        average_by_hand=lambda: bench.fresh(average_by_hand, epochs=epochs),
    )
    for name, method, peer in (
        (
            f"snapshot ensemble, {epochs} epochs, {N_SNAPSHOTS} snapshots",
            "snapshots",
            "callback and files, 2 of 10 cycles timed",
        ),
        (
            f"Polyak average, {epochs} epochs, {N_CHECKPOINTS} checkpoints",
            "average",
            f"fit(epochs=1) and files, {TIMED_CALLS} calls timed",
        ),
    ):
        by_hand = times[f"{method}_by_hand"]
        bench.compare(f"{name}, compiling included", [t["first"] for t in times[method]], by_hand, peer_name=peer)
        bench.compare(name, [t["later"] for t in times[method]], by_hand, peer_name=peer, at_least=100)

    found = bench.fresh(accuracies, epochs=epochs, n_repeats=2 if bench.quick else N_REPEATS)
    mean = {name: statistics.mean(values) for name, values in found.items()}
    sd = {name: statistics.stdev(values) for name, values in found.items()}
    published = {"last snapshot": 0.813, "last 3": 0.822, "all": 0.813, "last epoch": 0.814, "average": 0.807}
    print("accuracy on held-out rows: mean and sd of the repeats, the tutorial's single run")
    for name, values in found.items():
        print(f"{name:14s} {mean[name]:.4f} {sd[name]:.4f} {published.get(name, '')}")
        what = f"accuracy: {name}" + (f" (published: {published[name]})" if name in published else "")
        bench.limit(what, values, at_most=None)

    # Paired: both are scores of the same runs.
    worse = [last - chosen for last, chosen in zip(found["its last"], found["selected"], strict=True)]
    error = statistics.stdev(worse) / math.sqrt(len(worse))
    bench.limit(
        "last snapshot above the selected ones, in standard errors",
        [statistics.mean(worse) / max(error, 1e-9)],
        at_most=2,
    )
    ratio = sd["average"] / max(sd["last epoch"], 1e-9)
    bench.limit("sd over repeats, Polyak average / last epoch", [ratio], at_most=1)


if __name__ == "__main__":
    run(main, snapshots_by_hand, average_by_hand, ours, accuracies)
