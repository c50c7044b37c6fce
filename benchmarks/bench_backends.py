"""Which backend of Keras trains an ensemble faster, TensorFlow or JAX, and how much faster than Keras' loop on it?

The tutorial's twenty networks, a wide MLP, a small and a larger ConvNet, and an LSTM on both backends in turn, and a
MobileNetV2 on JAX: the first fit of a process, and later ones. Keras' loop is timed on the same backend in a process of
its own, which it also enters with nothing compiled: its first turn and two more, which stand for all later ones. With
JAX's compilation cache the first fit of a later process compiles nothing. `--quick` runs on the backend
that Keras has in this process.
"""

import os
import tempfile
from functools import partial

import keras
import numpy as np
from _harness import keras_loop, run, scaled, seconds
from _tutorial import BATCH_SIZE, EPOCHS, blobs, keras_model
from sklearn.datasets import load_digits, make_classification

from skensemble import KerasAveragingClassifier, KerasClassifier

layers = keras.layers

TIMED_LATER = 2
COMPILED = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


def network(shape, *hidden):
    """A compiled network of these layers, with ten classes."""
    model = keras.Sequential([keras.Input(shape), *hidden, layers.Dense(10, activation="softmax")])
    model.compile(**COMPILED)
    return model


def wide_mlp():
    return network((64,), *(layers.Dense(256, activation="relu") for _ in range(2)))


def small_convnet():
    convolutions = (layers.Conv2D(n, 3, padding="same", activation="relu") for n in (16, 32))
    pooled = [layer for convolution in convolutions for layer in (convolution, layers.MaxPooling2D())]
    return network((8, 8, 1), *pooled, layers.Flatten())


def larger_convnet():
    convolutions = [layers.Conv2D(16, 3, padding="same", activation="relu") for _ in range(3)]
    return network((32, 32, 3), *convolutions, layers.MaxPooling2D(), layers.Flatten())


def mobile_net():
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    model.compile(**COMPILED)
    return model


def lstm():
    return network((30, 8), layers.LSTM(32))


def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32").reshape(-1, 8, 8, 1), y.astype("int32")


def many_rows():
    X, y = make_classification(20_000, 64, n_informative=32, n_classes=10, random_state=0)
    return X.astype("float32"), y.astype("int32")


def noise(n_rows, shape):
    """Rows whose values do not matter: only the time does."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, *shape)).astype("float32"), rng.integers(0, 10, n_rows).astype("int32")


#: name -> network, data, members, epochs, batch size
SHAPES = {
    "tutorial": (keras_model, lambda: blobs()[:2], 20, EPOCHS, BATCH_SIZE),
    "MLP(256, 256)": (wide_mlp, many_rows, 10, 5, 128),
    "ConvNet on 8x8": (small_convnet, digits, 10, 5, 32),
    "LSTM(32)": (lstm, partial(noise, 1000, (30, 8)), 10, 5, 32),
    "ConvNet on 32x32x3": (larger_convnet, partial(noise, 256, (32, 32, 3)), 4, 2, 32),
    "MobileNetV2": (mobile_net, partial(noise, 256, (32, 32, 3)), 3, 1, 32),
}
#: Fits in each process, where not four.
FITS = {"ConvNet on 32x32x3": 2, "MobileNetV2": 2}
#: Its many layers, beside each other, are traced for minutes on TensorFlow.
ON_JAX_ALONE = ("MobileNetV2",)
#: On JAX: how many times faster than Keras' loop on JAX at least, first fit and later ones. Keras' loop there takes a
#: fifth of the time of that on TensorFlow; larger networks are compiled for about as long as few of them are trained.
AGAINST_KERAS = {"tutorial": (8, 100), "ConvNet on 32x32x3": (None, 1.1), "MobileNetV2": (None, 1)}
#: How many times faster on JAX than on TensorFlow at least, later fits.
AGAINST_TENSORFLOW = {"MLP(256, 256)": 1.2, "LSTM(32)": 1.2}


def fits(name, n_rows, epochs, n_members, n_fits):
    """Seconds of the fits in this process, the first one first."""
    build, data, _, _, batch_size = SHAPES[name]
    X, y = (part[:n_rows] for part in data())
    member = KerasClassifier(build, epochs=epochs, batch_size=batch_size)
    ensembles = [
        KerasAveragingClassifier(member, n_members, engine="fused", random_state=seed, verbose=0)
        for seed in range(n_fits)
    ]
    return [seconds(ensemble.fit, X, y) for ensemble in ensembles]


def loop(name, n_rows, epochs, n_turns):
    """Seconds of each timed turn of Keras' loop in this process, the first one first."""
    build, data, _, _, batch_size = SHAPES[name]
    X, y = (part[:n_rows] for part in data())
    return keras_loop(build, X, y, n_turns, epochs=epochs, batch_size=batch_size)


def on(bench, backend, part, name, environment=(), **options):
    """What a part of this script returns on a backend, in a process of its own."""
    size = {"n_rows": 64, "epochs": 1} if bench.quick else {"n_rows": None, "epochs": SHAPES[name][3]}
    before = dict(os.environ)
    os.environ.update(environment, KERAS_BACKEND=backend)
    try:
        return bench.fresh(part, name=name, **size, **options)
    finally:
        os.environ.clear()
        os.environ.update(before)


def compare_processes(bench):
    """The first fits of two processes that share what JAX compiled."""
    n_members = 2 if bench.quick else SHAPES["tutorial"][2]
    first, second = [], []
    for _ in range(1 if bench.quick else 3):
        with tempfile.TemporaryDirectory() as folder:
            cache = {"JAX_COMPILATION_CACHE_DIR": folder, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
            for times in (first, second):
                times += on(bench, "jax", fits, "tutorial", cache, n_members=n_members, n_fits=1)
    title = "tutorial, jax, first fit of a later process with JAX's compilation cache"
    bench.compare(title, second, first, peer_name="of the process that filled the cache", at_least=1.1)


def main(bench):
    backends = [keras.backend.backend()] if bench.quick else ["tensorflow", "jax"]
    if "jax" in backends:
        compare_processes(bench)
    for name in SHAPES:
        chosen = [one for one in backends if one == "jax" or name not in ON_JAX_ALONE]
        if chosen:
            compare_backends(bench, name, chosen)


def compare_backends(bench, name, backends):
    """Ensembles of one shape on each backend, beside Keras' loop there."""
    n_members, n_fits = (2, 2) if bench.quick else (SHAPES[name][2], FITS.get(name, 4))
    ours = {b: partial(on, bench, b, fits, name, n_members=n_members, n_fits=n_fits) for b in backends}
    peers = {f"loop on {b}": partial(on, bench, b, loop, name, n_turns=1 + TIMED_LATER) for b in backends}
    times = bench.repeat(3, **ours, **peers)
    later = {backend: [time for _, *others in times[backend] for time in others] for backend in backends}
    for backend in backends:
        turns = times[f"loop on {backend}"]
        loops = {
            "first": [first + scaled(others, n_members - 1) for first, *others in turns],
            "later": [scaled(others, n_members) for _, *others in turns],
        }
        seconds_of = {"first": [one for one, *_ in times[backend]], "later": later[backend]}
        bounds = AGAINST_KERAS.get(name, (None, None)) if backend == "jax" else (None, None)
        peer = f"Keras' loop on {backend}, {1 + TIMED_LATER} members timed, scaled to {n_members}"
        for fit, bound in zip(loops, bounds, strict=True):
            title = f"{name}, {backend}, {fit} fit"
            bench.compare(title, seconds_of[fit], loops[fit], peer_name=peer, at_least=bound)
    if len(backends) > 1:
        bound = AGAINST_TENSORFLOW.get(name)
        title, peer = f"{name}, later fit on JAX", "on TensorFlow"
        bench.compare(title, later["jax"], later["tensorflow"], peer_name=peer, at_least=bound)


if __name__ == "__main__":
    run(main, fits, loop)
