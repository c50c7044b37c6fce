"""Write the golden files of the current format; run once, with the oldest versions, and keep the files for ever.

Each holds in its metadata rows and what Keras' own `predict`, combined by NumPy, gave for them.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    PolyakWeightRegressor,
    io,
)
from skensemble.io._manifest import FORMAT_VERSION

SMALL = {"hidden_layer_sizes": (5,), "epochs": 3, "random_state": 0}


def write(name, ensemble, X, expected):
    version = ".".join(map(str, FORMAT_VERSION))
    metadata = {"X": X.tolist(), "expected": np.asarray(expected, float).tolist()}
    io.dump(ensemble, Path(__file__).with_name(f"{name}-{version}.skens"), metadata=metadata)


def main():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    rows = X[::30].astype("float32")

    averaging = KerasAveragingClassifier(KerasClassifier(dropout=0.1, **SMALL), 3, random_state=0).fit(X, names)
    each = [member.model_.predict(rows, verbose=0) for member in averaging.estimators_]
    write("averaging", averaging, rows, np.mean(each, axis=0))

    members = [("network", KerasClassifier(**SMALL)), ("logistic", LogisticRegression(max_iter=1000))]
    voting = KerasVotingClassifier(members, weights=[3, 1], random_state=0).fit(X, names)
    network, logistic = voting.estimators_
    proba = 0.75 * network.model_.predict(rows, verbose=0) + 0.25 * logistic.predict_proba(rows)
    write("voting", voting, rows, proba)

    X, y = load_diabetes(return_X_y=True)
    rows = X[::100].astype("float32")
    polyak = PolyakWeightRegressor(KerasRegressor(**SMALL), n_checkpoints=2, random_state=0).fit(X, y / y.std())
    write("polyak", polyak, rows, polyak.estimator_.model_.predict(rows, verbose=0)[:, 0])


if __name__ == "__main__":
    main()
