"""How much faster are searches over one network, without an ensemble, than with Keras' own fit?

`cross_val_score`, `learning_curve` and `GridSearchCV` over the tutorial's network, which `engine="auto"` trains in a
program that is traced once, and `engine="keras"` by Keras, which traces every fit anew. Each search runs in a process
of its own; of ours the second one counts, the later fits, and the first one is told beside it. Of Keras' searches a
part is run (one fold; in the grid one candidate) and scaled. A small residual network, whose steps are all arithmetic,
must not lose: there the first search counts, tracing included.
"""

from functools import partial

import keras
from _harness import run, seconds
from _tutorial import EPOCHS, blobs, ensemble
from keras import layers
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score, learning_curve

from skensemble import KerasClassifier

N_FOLDS, SHARES = 5, (0.25, 0.5, 1.0)
RATES = (0.0003, 0.001, 0.003, 0.01)
SEARCHES = {
    "cross_val_score": (N_FOLDS, f"1 of {N_FOLDS} folds"),
    "learning_curve": (N_FOLDS, f"1 of {N_FOLDS} folds"),
    "GridSearchCV": (N_FOLDS * len(RATES), f"1 of {N_FOLDS * len(RATES)} fits"),
}
#: Later fits of the tutorial's network; searches of the residual network, tracing included.
TIMES_FASTER, AT_LEAST = 50, 0.9
N_ROWS, N_FILTERS, N_BLOCKS, CONVNET_FOLDS, CONVNET_EPOCHS = 600, 16, 3, 3, 5


def search_once(name, network, X, y, n_folds, rates):
    """Seconds of a search by its first `n_folds` folds, and of the grid by these rates."""
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, y))[:n_folds]
    if name == "cross_val_score":
        return seconds(cross_val_score, network, X, y, cv=folds, error_score="raise")
    if name == "learning_curve":
        return seconds(learning_curve, network, X, y, cv=folds, train_sizes=SHARES, error_score="raise")
    grid = {"optimizer__learning_rate": list(rates)}
    return seconds(GridSearchCV(network, grid, cv=folds, refit=False, error_score="raise").fit, X, y)


def searches(name, engine, epochs, n_folds, rates, n_searches):
    """Seconds of the first and of the last of some searches over the tutorial's network."""
    X, y, _ = blobs()
    network = clone(ensemble(1, epochs).estimator).set_params(engine=engine, random_state=0)
    times = [search_once(name, network, X, y, n_folds, rates) for _ in range(n_searches)]
    return times[0], times[-1]


def residual(meta, n_blocks):
    """A ResNet (He et al., 2016), small: blocks of two convolutions with batch normalization and a sum."""
    inputs = keras.Input(meta["X_shape_"][1:])
    x = layers.Conv2D(N_FILTERS, 3, padding="same")(inputs)
    for _ in range(n_blocks):
        block = x
        for _ in range(2):
            block = layers.ReLU()(layers.BatchNormalization()(block))
            block = layers.Conv2D(N_FILTERS, 3, padding="same")(block)
        x = layers.Add()([x, block])
    pooled = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return keras.Model(inputs, layers.Dense(meta["n_classes_"], activation="softmax")(pooled))


def residual_scores(engine, n_rows, epochs, n_blocks, n_folds):
    """Seconds of `cross_val_score` over the residual network."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:n_rows].reshape(-1, 8, 8, 1).astype("float32") / 16, y[:n_rows]
    network = KerasClassifier(residual, model__n_blocks=n_blocks, epochs=epochs, engine=engine, random_state=0)
    return seconds(cross_val_score, network, X, y, cv=n_folds, error_score="raise")


def compare_search(bench, name, epochs):
    n_fits, part = SEARCHES[name]
    fused = {"name": name, "engine": "auto", "epochs": epochs, "n_folds": 1 if bench.quick else N_FOLDS}
    rates = RATES[: 1 if bench.quick else None]
    by_keras = {"name": name, "engine": "keras", "epochs": epochs, "n_folds": 1}
    times = bench.repeat(
        3,
        ours=lambda: bench.fresh(searches, **fused, rates=rates, n_searches=2),
        keras=lambda: bench.fresh(searches, **by_keras, rates=RATES[:1], n_searches=1)[0] * n_fits,
    )
    peer = {"peer": times["keras"], "peer_name": f'engine="keras", {part} timed, scaled'}
    first, later = zip(*times["ours"], strict=True)
    bench.compare(f"{name}, one network, first search", list(first), **peer)
    bench.compare(f"{name}, one network, later fits", list(later), **peer, at_least=TIMES_FASTER)


def main(bench):
    for name in SEARCHES:
        compare_search(bench, name, 2 if bench.quick else EPOCHS)
    size = {"n_rows": N_ROWS, "epochs": CONVNET_EPOCHS, "n_blocks": N_BLOCKS, "n_folds": CONVNET_FOLDS}
    if bench.quick:
        size = {"n_rows": 60, "epochs": 1, "n_blocks": 1, "n_folds": 2}
    engines = {engine: partial(bench.fresh, residual_scores, engine=engine, **size) for engine in ("auto", "keras")}
    times = bench.repeat(3, **engines)
    bench.compare(
        f"cross_val_score, {CONVNET_FOLDS} folds, a residual network",
        times["auto"],
        times["keras"],
        peer_name='engine="keras"',
        at_least=AT_LEAST,
    )


if __name__ == "__main__":
    run(main, searches, residual_scores)
