"""Which share of a fit's time does `checkpoint_dir` take?

Fits with a new directory each, after one fit that traces the program. Timed are the writes of states between epochs,
whose share the package promises to bound, and everything that the directory takes: hashes of the data, these writes,
and the result at the end. The networks are small ones, whose whole training takes no longer than some writes, and wide
ones, whose state is large.
"""

import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _harness import run, seconds
from sklearn.datasets import make_classification

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._checkpoint.store import Checkpoint, GroupCheckpoint

N_REPEATS = 5
MOST_BETWEEN_EPOCHS, MOST_IN_ALL = 0.05, 0.15
# Name: rows, columns, units, epochs, members.
SHAPES = {
    "150 x 4, MLP(10), 20 members, 2,000 epochs": (150, 4, (10,), 2000, 20),
    "20,000 x 64, MLP(256, 256), 5 members, 5 epochs": (20_000, 64, (256, 256), 5, 5),
}


@contextmanager
def timed(owner, name, times):
    """Add the seconds that calls of a method take in the block to the list."""
    method = getattr(owner, name)

    def timing(*args, **kwargs):
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            times.append(time.perf_counter() - start)

    setattr(owner, name, timing)
    try:
        yield
    finally:
        setattr(owner, name, method)


def shares(model, X, y):
    """Shares of the time of a fit that go into writes between epochs, and into all that the directory takes."""
    between, others = [], []
    with (
        tempfile.TemporaryDirectory(dir=Path.cwd()) as directory,
        timed(GroupCheckpoint, "save", between),
        timed(GroupCheckpoint, "finish", others),
        timed(Checkpoint, "begin", others),
    ):
        took = seconds(model.set_params(checkpoint_dir=directory).fit, X, y)
    return sum(between) / took, sum(between + others) / took


def main(bench):
    for name, (n_rows, n_columns, units, epochs, n_members) in SHAPES.items():
        n_rows = 300 if bench.quick else n_rows
        X, y = make_classification(n_rows, n_columns, n_informative=4, n_redundant=0, random_state=0)
        X = X.astype(np.float32)
        network = KerasClassifier(hidden_layer_sizes=units, epochs=3 if bench.quick else epochs, batch_size=32)
        model = KerasAveragingClassifier(network, n_members, random_state=0).fit(X, y)
        measured = bench.repeat(N_REPEATS, fit=lambda model=model, X=X, y=y: shares(model, X, y))["fit"]
        between, in_all = zip(*measured, strict=True)
        bench.limit(f"{name}: share between epochs", between, at_most=MOST_BETWEEN_EPOCHS)
        bench.limit(f"{name}: share in all", in_all, at_most=MOST_IN_ALL)


run(main)
