"""Write the golden files of the current format, one for each public class; run once, and keep the files for ever.

Run with the oldest supported versions. Each file holds in its metadata rows and what Keras' own `predict`, combined by
NumPy and scikit-learn, gave for them.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge

import skensemble
from skensemble import io
from skensemble.io._manifest import FORMAT_VERSION

SMALL = {"hidden_layer_sizes": (3,), "epochs": 2, "random_state": 0}
VERSION = ".".join(map(str, FORMAT_VERSION))


def public_estimators():
    """Names of all public classes that are estimators."""
    return [name for name in skensemble.__all__ if name.endswith(("Classifier", "Regressor"))]


def data_for(name):
    """X and y that an estimator is trained on."""
    X, y = (load_iris if name.endswith("Classifier") else load_diabetes)(return_X_y=True)
    if name.endswith("Classifier"):
        return X.astype("float32"), np.array(["setosa", "versicolor", "virginica"])[y]
    return X.astype("float32"), y / y.std()


def unfitted(name):
    """A small estimator of a public class."""
    classifier = name.endswith("Classifier")
    make = getattr(skensemble, name)
    member = skensemble.KerasClassifier(**SMALL) if classifier else skensemble.KerasRegressor(**SMALL)
    other = LogisticRegression(max_iter=1000) if classifier else Ridge()
    if name.startswith("KerasAveraging"):
        return make(member, 3, bootstrap=True, random_state=0)
    if name.startswith("KerasVoting"):
        members = [("network", member), ("other", other), ("dropped", "drop")]
        return make(members, weights=[3, 1, 5], random_state=0)
    if name.startswith("StackedKeras"):
        more = type(member)(**SMALL | {"random_state": 1})
        return make([("network", member), ("more", more)], other, cv=2, random_state=0)
    if name.startswith("SnapshotEnsemble"):
        return make(member, 2, random_state=0)
    if name.startswith("PolyakWeight"):
        return make(member, n_checkpoints=2, random_state=0)
    return make(**SMALL)


def expected_outputs(name, estimator, rows):
    """What the networks of a fitted estimator predict by Keras, combined by NumPy and scikit-learn."""
    classifier = name.endswith("Classifier")
    if hasattr(estimator, "model_"):
        return _by_keras(estimator, rows)
    if name.startswith("PolyakWeight"):
        return _by_keras(estimator.estimator_, rows)
    if name.startswith("KerasVoting"):
        network, other = estimator.estimators_
        own = other.predict_proba(rows) if classifier else other.predict(rows)[:, np.newaxis]
        return 0.75 * _by_keras(network, rows) + 0.25 * own
    each = [_by_keras(member, rows) for member in estimator.estimators_]
    if name.startswith("StackedKeras"):
        final = estimator.final_estimator_
        return final.predict_proba(np.hstack(each)) if classifier else final.predict(np.hstack(each))
    return np.mean(each, axis=0)


def _by_keras(network, rows):
    return network.model_.predict(rows, verbose=0)


def main():
    for name in public_estimators():
        X, y = data_for(name)
        rows = X[:: len(X) // 5]
        estimator = unfitted(name).fit(X, y)
        expected = np.asarray(expected_outputs(name, estimator, rows), float)
        metadata = {"X": rows.tolist(), "expected": expected.tolist()}
        io.dump(estimator, Path(__file__).with_name(f"{name}-{VERSION}.skens"), metadata=metadata)


if __name__ == "__main__":
    main()
