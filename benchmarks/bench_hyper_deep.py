"""Is an ensemble better whose members differ in their hyperparameters, too, and not in their seeds alone?

Ten random splits of two data sets, half of the rows held out; each method trains twenty networks. The average of all,
their average with greedy weights, and greedy weights of networks that draw learning rate, dropout, width and
activation (hyper-deep ensembles). Greedy weights are chosen on a fifth of the training rows, on which no network is
trained. Log-loss and accuracy on the held-out rows. Nothing is asserted: which is better depends on the data.
"""

from functools import partial

from _harness import run
from scipy.stats import loguniform
from sklearn import datasets
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skensemble import KerasAveragingClassifier, KerasClassifier

N_SPLITS, N_NETWORKS, EPOCHS = 10, 20, 50
DATA = {
    "digits": partial(datasets.load_digits, return_X_y=True),
    "breast cancer": partial(datasets.load_breast_cancer, return_X_y=True),
}
DRAWN = {
    "optimizer__learning_rate": loguniform(3e-4, 1e-2),
    "dropout": [0.0, 0.2, 0.5],
    "hidden_layer_sizes": [(50,), (100,)],
    "activation": ["relu", "tanh"],
}
METHODS = {
    "averaging": {},
    "averaging, greedy weights": {"weights": "greedy"},
    "hyper-deep": {"weights": "greedy", "param_distributions": DRAWN},
}


def scores(data, method, n_splits, n_networks, epochs):
    """Log-loss and accuracy on the held-out rows of each split."""
    X, y = DATA[data]()
    found = []
    for split in range(n_splits):
        train, test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=split)
        scaler = StandardScaler().fit(train)
        ensemble = KerasAveragingClassifier(
            KerasClassifier(epochs=epochs), n_networks, random_state=split, **METHODS[method]
        ).fit(scaler.transform(train), y_train)
        proba = ensemble.predict_proba(scaler.transform(test))
        found.append([log_loss(y_test, proba), accuracy_score(y_test, proba.argmax(axis=1))])
    return found


def main(bench):
    size = {"n_splits": N_SPLITS, "n_networks": N_NETWORKS, "epochs": EPOCHS}
    if bench.quick:
        size = {"n_splits": 2, "n_networks": 2, "epochs": 1}
    for data in DATA:
        for method in METHODS:
            of_splits = bench.fresh(scores, data=data, method=method, **size)
            for name, values in zip(("log-loss", "accuracy"), zip(*of_splits, strict=True), strict=True):
                bench.scores(f"{data}, {method}, {name}", list(values))


if __name__ == "__main__":
    run(main, scores)
