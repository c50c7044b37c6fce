"""How much faster are our searches than scikit-learn's over what is a constant of a network in Keras?

Twenty candidates of one network, five folds: momentum and weight decay are drawn, then penalties and numbers of epochs,
then dropout rates. With scikit-learn's search each candidate is an architecture of its own, which is traced; in ours
they are inputs of one program. Each search runs in a fresh process, with our engine.
"""

from functools import partial

import keras
from _harness import run, seconds
from _tutorial import EPOCHS, blobs
from scipy.stats import loguniform, randint, uniform
from sklearn import model_selection as of_sklearn

from skensemble import KerasClassifier
from skensemble import model_selection as ours

N_DRAWN, N_FOLDS = 20, 5
MODULES = {"ours": ours, "scikit-learn": of_sklearn}
#: Of our searches against scikit-learn's.
FASTER = 3

DRAWN = {
    "momentum and weight decay": {
        "optimizer__momentum": uniform(0.1, 0.8),
        "optimizer__weight_decay": loguniform(1e-4, 0.1),
    },
    "penalties and epochs": {"l2": loguniform(1e-4, 1e-1), "epochs": randint(EPOCHS // 10, EPOCHS)},
    "dropout rates": {"rate": uniform(0.1, 0.8)},
}


def build(meta, l2=0.001, rate=0.0):
    """The tutorial's network with a penalty, and with dropout where there is a rate."""
    layers = keras.layers
    hidden = layers.Dense(25, activation="relu", kernel_regularizer=keras.regularizers.L2(l2))
    dropout = [layers.Dropout(rate)] if rate else []
    return keras.Sequential([keras.Input((2,)), hidden, *dropout, layers.Dense(3, activation="softmax")])


def search(what, n_candidates, n_folds, epochs, searches):
    """Seconds of a `RandomizedSearchCV`, without the last fit on all rows."""
    X, y, _ = blobs()
    network = KerasClassifier(
        build,
        loss="sparse_categorical_crossentropy",
        optimizer="sgd",
        optimizer__learning_rate=0.1,
        epochs=epochs,
        l2=0.001,
        rate=0.0,
        random_state=0,
    )
    given = {"n_iter": n_candidates, "cv": n_folds, "random_state": 0, "refit": False, "error_score": "raise"}
    return seconds(MODULES[searches].RandomizedSearchCV(network, DRAWN[what], **given).fit, X, y)


def main(bench):
    part = {"n_candidates": N_DRAWN, "n_folds": N_FOLDS, "epochs": EPOCHS}
    if bench.quick:
        part = {"n_candidates": 2, "n_folds": 2, "epochs": 2}
    for what in list(DRAWN)[:1] if bench.quick else DRAWN:
        times = bench.repeat(
            3, **{name: partial(bench.fresh, search, what=what, searches=name, **part) for name in MODULES}
        )
        bench.compare(
            f"RandomizedSearchCV, {N_DRAWN} candidates, {N_FOLDS} folds, {what}",
            times["ours"],
            times["scikit-learn"],
            peer_name="scikit-learn's, our engine",
            at_least=FASTER,
        )


if __name__ == "__main__":
    run(main, search)
