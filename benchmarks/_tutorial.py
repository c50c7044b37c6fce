"""The tutorial that most readers start from: blobs of three classes, one hidden layer, 200 epochs, copies averaged.

Keras and skensemble are imported by the functions that need them, so that the memory of a process that trains with
another library does not include TensorFlow's.
"""

import numpy as np
from sklearn.datasets import make_blobs

N_MEMBERS, EPOCHS, BATCH_SIZE, HIDDEN = 20, 200, 32, 15
N_TRAIN, N_FEATURES, N_CLASSES = 150, 2, 3


def _all_rows():
    X, y = make_blobs(n_samples=500, centers=N_CLASSES, n_features=N_FEATURES, cluster_std=2, random_state=2)
    return X.astype("float32"), y.astype("int32")


def blobs():
    """X and y of the 150 rows to train on, and X of the 350 to predict."""
    X, y = _all_rows()
    return X[:N_TRAIN], y[:N_TRAIN], X[N_TRAIN:]


def labels_to_predict():
    """The true labels of the 350 rows to predict."""
    return _all_rows()[1][N_TRAIN:]


def keras_model():
    """The network as the tutorial builds it."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((N_FEATURES,)),
            keras.layers.Dense(HIDDEN, activation="relu"),
            keras.layers.Dense(N_CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def ensemble(n_members=N_MEMBERS, epochs=EPOCHS, **parameters):
    """The same network as members of an ensemble; `parameters` are the ensemble's."""
    from skensemble import KerasAveragingClassifier, KerasClassifier

    member = KerasClassifier(hidden_layer_sizes=(HIDDEN,), epochs=epochs, batch_size=BATCH_SIZE, metrics=["accuracy"])
    return KerasAveragingClassifier(member, n_members, **{"engine": "fused", "random_state": 0, **parameters})


# For the programs that are written by hand


def starting_values(n_members, rng):
    """Kernel and bias of both layers of all members, drawn as Keras draws them (Glorot & Bengio, 2010)."""
    values = []
    for n_in, n_out in ((N_FEATURES, HIDDEN), (HIDDEN, N_CLASSES)):
        limit = np.sqrt(6 / (n_in + n_out))
        values.append(rng.uniform(-limit, limit, (n_members, n_in, n_out)).astype("float32"))
        values.append(np.zeros((n_members, n_out), "float32"))
    return values


def row_orders(n_members, epochs, rng):
    """Order of the rows in each epoch of each member, of shape (epochs, n_members, n_rows)."""
    return rng.permuted(np.tile(np.arange(N_TRAIN, dtype="int32"), (epochs, n_members, 1)), axis=2)
