"""What does `checkpoint_dir` cost a fit?

The same ensemble is fitted with and without a directory, in turn, each time in a new one, after one fit that traces the
program. Of the fits with a directory, the share of the time that goes into writing states between epochs is measured
too, which the package promises to bound; the result at the end and the hashes of the data come on top. The networks are
a small one, whose whole training takes no longer than a few writes, and a wide one, whose state is large.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from _harness import run, seconds
from sklearn.datasets import make_classification

from skensemble import KerasAveragingClassifier, KerasClassifier, _checkpoint

N_REPEATS = 3
# Of the time of a fit; the wide network's state takes about 0.2 s to write.
MOST_BETWEEN_EPOCHS, MOST_OF_ALL = 0.05, 1.15
# Name: rows, columns, units, epochs, members.
SHAPES = {
    "150 x 4, MLP(10), 20 members, 2,000 epochs": (150, 4, (10,), 2000, 20),
    "20,000 x 64, MLP(256, 256), 5 members, 8 epochs": (20_000, 64, (256, 256), 8, 5),
}


class Writes:
    """Seconds that writes between epochs take while the block lasts."""

    def __enter__(self):
        self.seconds, self._save = 0.0, _checkpoint.Part.save

        def timed(*args, **kwargs):
            start = time.perf_counter()
            self._save(*args, **kwargs)
            self.seconds += time.perf_counter() - start

        _checkpoint.Part.save = timed
        return self

    def __exit__(self, *error):
        _checkpoint.Part.save = self._save


def ensemble(units, epochs, n_members, quick):
    network = KerasClassifier(hidden_layer_sizes=units, epochs=3 if quick else epochs, batch_size=32)
    return KerasAveragingClassifier(network, n_members, random_state=0)


def with_directory(model, X, y):
    """(seconds of a fit, share of them that went into writes between epochs)."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory, Writes() as writes:
        took = seconds(model.set_params(checkpoint_dir=directory).fit, X, y)
    return took, writes.seconds / took


def without_directory(model, X, y):
    return seconds(model.set_params(checkpoint_dir=None).fit, X, y)


def main(bench):
    for name, (n_rows, n_columns, units, epochs, n_members) in SHAPES.items():
        n_rows = min(n_rows, 300) if bench.quick else n_rows
        X, y = make_classification(n_rows, n_columns, n_informative=4, n_redundant=0, random_state=0)
        X = X.astype(np.float32)
        model = ensemble(units, epochs, n_members, bench.quick)
        model.fit(X, y)
        times = bench.repeat(
            N_REPEATS,
            kept=lambda model=model, X=X, y=y: with_directory(model, X, y),
            plain=lambda model=model, X=X, y=y: without_directory(model, X, y),
        )
        kept, shares = zip(*times["kept"], strict=True)
        bench.compare(f"{name}: whole fit", kept, times["plain"], peer_name="without", at_most=MOST_OF_ALL)
        bench.limit(f"{name}: share between epochs", shares, at_most=MOST_BETWEEN_EPOCHS)


run(main)
