"""Does training together pay for larger networks too: a table of images, a wide network on many rows, a ConvNet?

Ten members each, against the loop of Keras fits (two turns are timed and scaled to ten). The bounds are those of a
second fit, whose program is there already, as in every fold and candidate of a search; the first fit in the process
stands beside it.
"""

from functools import partial

import keras
from _harness import keras_loop, run, scaled, seconds
from sklearn.datasets import load_digits, make_classification

from skensemble import KerasAveragingClassifier, KerasClassifier

N_MEMBERS, TIMED_MEMBERS = 10, 2


def mlp(n_features, n_classes, *hidden):
    layers = [keras.layers.Dense(units, activation="relu") for units in hidden]
    return keras.Sequential([keras.Input((n_features,)), *layers, keras.layers.Dense(n_classes, activation="softmax")])


def digits_mlp():
    return mlp(64, 10, 64)


def wide_mlp():
    return mlp(64, 10, 256, 256)


def convnet():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )


def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype("float32"), y.astype("int32")


def images():
    X, y = digits()
    return X.reshape(-1, 8, 8, 1), y


def many_rows():
    X, y = make_classification(20_000, 64, n_informative=32, n_classes=10, random_state=0)
    return X.astype("float32"), y.astype("int32")


#: name -> network, data, epochs, batch size, bound
SHAPES = {
    "digits, MLP(64)": (digits_mlp, digits, 20, 32, 40),
    "20,000 x 64, MLP(256, 256)": (wide_mlp, many_rows, 5, 128, 6),
    "8x8 digits, ConvNet": (convnet, images, 5, 32, 5),
}
OPTIONS = {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"]}


def fits(name, epochs, n_rows, n_fits):
    """Seconds of the first fit in the process, and of each of the next `n_fits`."""
    network, data, _, batch_size, _ = SHAPES[name]
    X, y = (part[:n_rows] for part in data())
    member = KerasClassifier(network, epochs=epochs, batch_size=batch_size, **OPTIONS)
    ensembles = [
        KerasAveragingClassifier(member, N_MEMBERS, engine="fused", random_state=seed) for seed in range(1 + n_fits)
    ]
    return [seconds(ensemble.fit, X, y) for ensemble in ensembles]


def loop(name, epochs, n_rows, n_turns):
    """Seconds of each of `n_turns` of Keras' loop."""
    network, data, _, batch_size, _ = SHAPES[name]
    X, y = (part[:n_rows] for part in data())

    def build():
        model = network()
        model.compile(**OPTIONS)
        return model

    return keras_loop(build, X, y, n_turns, epochs=epochs, batch_size=batch_size)


def main(bench):
    for name, (_, _, epochs, _, bound) in SHAPES.items():
        shape = {"name": name, "epochs": 1 if bench.quick else epochs, "n_rows": 100 if bench.quick else None}
        times = bench.repeat(
            3,
            ours=partial(bench.fresh, fits, **shape, n_fits=1 if bench.quick else 2),
            keras=partial(bench.fresh, loop, **shape, n_turns=1 if bench.quick else TIMED_MEMBERS),
        )
        first = [one[0] for one in times["ours"]]
        second = [one for process in times["ours"] for one in process[1:]]
        peer = [scaled(one, N_MEMBERS) for one in times["keras"]]
        peer_name = f"Keras' loop, {TIMED_MEMBERS} members timed, scaled to {N_MEMBERS}"
        title = f"{name}, {N_MEMBERS} members, {shape['epochs']} epochs"
        bench.compare(f"{title}, first fit", first, peer, peer_name=peer_name)
        bench.compare(f"{title}, second fit", second, peer, peer_name=peer_name, at_least=bound)


if __name__ == "__main__":
    run(main, fits, loop)
