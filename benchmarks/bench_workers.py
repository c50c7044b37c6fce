"""Does `n_jobs` pay where it can, cost nothing where it cannot, and how much goes to a worker?

Fits with `n_jobs=2` beside fits in one process, in processes of their own and in turn: the first, which starts the
workers and traces, and a second one. Small networks, and programs that use all cores, must take no longer (within
10 %), whatever `n_jobs` says: they are not torn apart. Networks whose steps are Python's (`run_eagerly`) use one core,
and those that Keras' own fit trains in many small compiled steps a part of the other one: two workers must be at least
1.5 times faster, in the first and the second fit together, since either varies by 10 %. What goes to a worker is
counted as joblib pickles it for loky, which shares arrays as large as X in memory without sending them.
"""

import pickle
from unittest.mock import patch

import joblib
import keras
import numpy as np
from _harness import run, seconds
from joblib.parallel import LokyBackend

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.workers import parts

MOST_SLOWER, LEAST_FASTER = 1.1, 1.5
#: Of what is sent to a worker, as a share of X and y.
MOST_SENT = 1.1

#: name -> hidden units, shape of X, members, epochs, rows of a batch, engine
SMALL = {
    "20 networks of 25 units, 200 epochs": ((25,), (150, 2), 20, 200, 32, "auto"),
    "10 networks of 256 and 256 units, 20,000 rows": ((256, 256), (20_000, 64), 10, 2, 128, "auto"),
    "8 networks of 6.2 million variables, 1 epoch": ((2048, 2048), (256, 1000), 8, 1, 64, "auto"),
}
N_TURNS = 7  # a 10 % difference is little; fits that take minutes have one turn
EAGER = "8 networks of 64 units, 500 eager steps"
LARGE = {
    EAGER: ((64,), (8000, 20), 8, 1, 16, "keras"),
    "8 networks of 64 units, 10,000 steps of Keras' own fit": ((64,), (4000, 20), 8, 20, 8, "keras"),
}
QUICK = ((4,), (60, 2), 2, 1, 60, "keras")


def eager(meta, compile_kwargs, hidden_layer_sizes):
    """A network that Keras trains operation by operation."""
    layers = keras.layers
    hidden = [layers.Dense(n, activation="relu") for n in hidden_layer_sizes]
    model = keras.Sequential([keras.Input((meta["n_features_in_"],)), *hidden, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    return model


def make(name, n_jobs, quick):
    """An ensemble and its data."""
    hidden, shape, n_members, epochs, batch_size, engine = QUICK if quick else {**SMALL, **LARGE}[name]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=shape).astype("float32"), rng.integers(0, 3, shape[0])
    network = KerasClassifier(hidden_layer_sizes=hidden, epochs=epochs, batch_size=batch_size)
    if name == EAGER:
        network.set_params(model=eager)
    ensemble = KerasAveragingClassifier(
        network, n_members, bootstrap=True, engine=engine, n_jobs=n_jobs, random_state=0
    )
    return ensemble, X, y


def fits(name, n_jobs, quick):
    """Seconds of the first and of the second fit."""
    ensemble, X, y = make(name, n_jobs, quick)
    return [seconds(ensemble.fit, X, y) for _ in range(1 if quick else 2)]


def bytes_sent(name, quick):
    """Bytes that each of two workers is sent as a share of X and y, and in all."""
    sent = []

    class Counting(LokyBackend):
        def submit(self, func, callback=None):
            sent.append(len(pickle.dumps(joblib.wrap_non_picklable_objects(func))))
            return super().submit(func, callback)

    joblib.register_parallel_backend("counting", Counting)
    ensemble, X, y = make(name, 2, quick)
    ensemble.set_params(estimator__epochs=1, estimator__batch_size=len(X))
    with patch.object(parts, "WORKER_SECONDS", 1e-9), joblib.parallel_config("counting"):
        ensemble.fit(X, y)
    return max(sent), max(sent) / (X.nbytes + y.nbytes)


def main(bench):
    """Compare fits with two workers and with none."""
    for name in list(SMALL)[:1] if bench.quick else {**SMALL, **LARGE}:
        measured = bench.repeat(
            1 if name in LARGE else N_TURNS,
            **{
                str(n_jobs): lambda name=name, n_jobs=n_jobs: bench.fresh(
                    fits, name=name, n_jobs=n_jobs, quick=bench.quick
                )
                for n_jobs in (2, None)
            },
        )
        ours, peer = measured["2"], measured["None"]
        title = f"{name}, n_jobs=2"
        if name in LARGE:
            both = [[sum(times) for times in one] for one in (ours, peer)]
            bench.compare(f"{title}, both fits", *both, peer_name="one process", at_least=LEAST_FASTER)
            continue
        for i, what in enumerate(("first fit", "second fit")[: len(ours[0])]):
            bench.compare(
                f"{title}, {what}",
                [times[i] for times in ours],
                [times[i] for times in peer],
                peer_name="one process",
                at_most=MOST_SLOWER,
            )
    for name in LARGE:
        n_bytes, share = bench.fresh(bytes_sent, name=name, quick=bench.quick)
        bench.limit(f"{name}, bytes sent to a worker", [n_bytes], at_most=None)
        bound = None if bench.quick else MOST_SENT
        bench.limit(f"{name}, bytes sent to a worker, of X and y", [share], at_most=bound)


if __name__ == "__main__":
    run(main, fits, bytes_sent)
