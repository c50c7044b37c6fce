"""Is `engine="auto"` ever slower than Keras' own fit, or does it ever need much more memory?

About twenty ensembles of all kinds (dense, convolutional, recurrent, embeddings; few and many rows, epochs, members and
variables) are fitted in processes of their own by both engines in turn. Bounded are the seconds of the first fit, in
which everything is traced, of the second, and the peak memory of the process after the first. What disturbs a
measurement makes it longer, so the best of the repeats counts, and a shape is measured again, a few times, while one of
its bounds is broken. Keras traces in every fit, so its first fit stands beside both of ours.
"""

import resource
import sys
from functools import partial

import keras
import numpy as np
from _harness import run, seconds
from keras import layers

from skensemble import KerasAveragingClassifier, KerasClassifier, PolyakWeightClassifier

#: At most so much of what Keras' own fit needs.
BOUNDS = {"first fit": 1.1, "second fit": 1.1, "peak MB": 1.3}
MOST_REPEATS = 4
N_CLASSES = 4


def dense(*hidden):
    return [layers.Dense(units, activation="relu") for units in hidden]


def convolutions(filters=16):
    made = [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(), layers.Conv2D(2 * filters, 3)]
    return [*made, layers.BatchNormalization(), layers.ReLU(), layers.GlobalAveragePooling2D()]


def lstm():
    return [layers.LSTM(16)]


def bidirectional():
    return [layers.Bidirectional(layers.GRU(16))]


def embedding():
    return [layers.Embedding(500, 16), layers.GlobalAveragePooling1D(), layers.Dense(16, activation="relu")]


def deep():
    return [one for _ in range(10) for one in (layers.Dense(32), layers.BatchNormalization(), layers.ReLU())]


def build(hidden, row):
    inputs = keras.Input(row, dtype="int32" if hidden is embedding else "float32")
    return keras.Sequential([inputs, *hidden(), layers.Dense(N_CLASSES, activation="softmax")])


#: name -> layers, shape of a row, rows, members, epochs, rows of a batch
SHAPES = {
    "dense(10), 2 members, 2 epochs": (partial(dense, 10), (8,), 100, 2, 2, 32),
    "dense(10), 5 members, 50 epochs": (partial(dense, 10), (8,), 500, 5, 50, 32),
    "dense(10), one run of 10 epochs": (partial(dense, 10), (8,), 500, 1, 10, 32),
    "dense(64, 64), 5 members, 1 epoch": (partial(dense, 64, 64), (20,), 1000, 5, 1, 32),
    "dense(64, 64), 3 members, 20,000 rows": (partial(dense, 64, 64), (20,), 20_000, 3, 3, 64),
    "dense(256, 256), 6 members": (partial(dense, 256, 256), (64,), 5000, 6, 5, 128),
    "dense(512, 512), 4 members, large batches": (partial(dense, 512, 512), (64,), 8192, 4, 5, 1024),
    "20 layers, 2 members, 2 epochs": (deep, (16,), 300, 2, 2, 32),
    "20 layers, 4 members, 20 epochs": (deep, (16,), 300, 4, 20, 32),
    "convolutions, 2 members, 1 epoch": (convolutions, (12, 12, 1), 300, 2, 1, 32),
    "convolutions, 5 members, 5 epochs": (convolutions, (12, 12, 1), 1000, 5, 5, 32),
    "images of 48 x 48, 3 members": (partial(convolutions, 32), (48, 48, 3), 256, 3, 2, 32),
    "LSTM, one run of 3 epochs": (lstm, (20, 4), 300, 1, 3, 32),
    "LSTM, 3 members, 3 epochs": (lstm, (20, 4), 300, 3, 3, 32),
    "LSTM, 3 members, 30 epochs": (lstm, (20, 4), 300, 3, 30, 32),
    "LSTM, 6 members, 1 epoch": (lstm, (20, 4), 300, 6, 1, 32),
    "bidirectional GRU, 3 members, 3 epochs": (bidirectional, (20, 4), 300, 3, 3, 32),
    "bidirectional GRU, 6 members, 1 epoch": (bidirectional, (20, 4), 300, 6, 1, 32),
    "embedding, 3 members, 2 epochs": (embedding, (20,), 500, 3, 2, 32),
    "660,000 variables, 8 members": (partial(dense, 600, 600), (500,), 512, 8, 1, 32),
    "1.6 million variables, 8 members": (partial(dense, 1000, 1000), (600,), 512, 8, 1, 32),
    "6.2 million variables, 8 members": (partial(dense, 2048, 2048), (1000,), 512, 8, 1, 64),
}


def data(row, n_rows, integers):
    rng = np.random.default_rng(0)
    y = rng.integers(0, N_CLASSES, n_rows).astype("int32")
    X = rng.integers(0, 500, (n_rows, *row)).astype("int32") if integers else rng.normal(size=(n_rows, *row))
    return X if integers else X.astype("float32"), y


def fits(name, engine, n_fits):
    """Seconds of the first and of the last of some fits, peak memory (MB) after the first, and the engine used."""
    hidden, row, n_rows, n_members, epochs, batch_size = SHAPES[name]
    X, y = data(row, n_rows, hidden is embedding)
    member = KerasClassifier(partial(build, hidden, row), epochs=epochs, batch_size=batch_size)
    if n_members == 1:
        ensemble = PolyakWeightClassifier(member, n_checkpoints=3, engine=engine, random_state=0)
    else:
        ensemble = KerasAveragingClassifier(member, n_members, engine=engine, random_state=0)
    first = seconds(ensemble.fit, X, y)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return [first, *(seconds(ensemble.fit, X, y) for _ in range(n_fits - 1))][-1], first, peak, ensemble.engine_


def measure(bench, name):
    """Rows of (first fit, second fit, memory) of both engines, best of the repeats, and the engine that was chosen."""
    ours, peer = [], []
    for _ in range(1 if bench.quick else MOST_REPEATS):
        second, first, peak, chosen = bench.fresh(fits, name=name, engine="auto", n_fits=2)
        ours.append((first, second, peak))
        _, first, peak, _ = bench.fresh(fits, name=name, engine="keras", n_fits=1)
        peer.append((first, first, peak))
        best, beside = ([min(column) for column in zip(*rows, strict=True)] for rows in (ours, peer))
        if all(a <= bound * b for a, b, bound in zip(best, beside, BOUNDS.values(), strict=True)):
            break
    return list(zip(*ours, strict=True)), list(zip(*peer, strict=True)), chosen


def main(bench):
    """Compare the engines in each shape."""
    for name in list(SHAPES)[:1] if bench.quick else SHAPES:
        ours, peer, chosen = measure(bench, name)
        for (what, bound), own, other in zip(BOUNDS.items(), ours, peer, strict=True):
            bench.compare(
                f"{name} ({chosen}), {what}", [min(own)], [min(other)], peer_name="engine='keras'", at_most=bound
            )
        print(f"{name}: {chosen}", flush=True)


if __name__ == "__main__":
    run(main, fits)
