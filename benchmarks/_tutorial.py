"""The tutorial that most readers start from: blobs of three classes, one hidden layer, 200 epochs, copies averaged."""

import keras
from sklearn.datasets import make_blobs

from skensemble import KerasAveragingClassifier, KerasClassifier

N_MEMBERS, EPOCHS, BATCH_SIZE, HIDDEN = 20, 200, 32, 15


def blobs():
    """X and y of the 150 rows to train on, and X of the 350 to predict."""
    X, y = make_blobs(n_samples=500, centers=3, n_features=2, cluster_std=2, random_state=2)
    X, y = X.astype("float32"), y.astype("int32")
    return X[:150], y[:150], X[150:]


def keras_model():
    """The network as the tutorial builds it."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(HIDDEN, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def ensemble(n_members=N_MEMBERS, epochs=EPOCHS, **parameters):
    """The same network as members of an ensemble; `parameters` are the ensemble's."""
    member = KerasClassifier(hidden_layer_sizes=(HIDDEN,), epochs=epochs, batch_size=BATCH_SIZE, metrics=["accuracy"])
    return KerasAveragingClassifier(member, n_members, **{"engine": "fused", "random_state": 0, **parameters})
