"""What do learned weights of members buy, where all members are well trained, and where a third of them is not?

Nine networks on three of scikit-learn's data sets, ten repeats with other splits and seeds, scored on the half of the
rows that is held out: accuracy, log-loss, and expected calibration error in 15 bins. `weights="greedy"` takes a fifth
of the training rows away from the members to choose the weights on; the best single member is chosen on them too, and
"equal, fewer rows" are the same members with equal weights. "equal weights" are trained on all rows. A member is
under-trained by stopping it after one epoch.
"""

import numpy as np
from _harness import run
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skensemble import KerasClassifier, KerasVotingClassifier
from skensemble._numeric.selection import held_out_rows

N_REPEATS, N_MEMBERS, N_UNDER_TRAINED = 10, 9, 3
EPOCHS, BATCH_SIZE, HIDDEN = 30, 32, 32
N_BINS = 15
DATA_SETS = {"digits": load_digits, "breast cancer": load_breast_cancer, "wine": load_wine}
# Of the log-loss of equal weights.
CLEARLY_BETTER, NOT_WORSE = 0.8, 1.1
METRICS = ("accuracy", "log-loss", "calibration error")


def split(load, seed):
    X, y = load(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def members(n_under_trained, epochs):
    """Named networks that differ in the seed alone, but for the first, which stop after one epoch."""
    network = {"hidden_layer_sizes": (HIDDEN,), "batch_size": BATCH_SIZE}
    return [
        (f"network {i}", KerasClassifier(**network, epochs=1 if i < n_under_trained else epochs))
        for i in range(N_MEMBERS)
    ]


def calibration_error(y, proba):
    """Expected calibration error: |accuracy - confidence| in bins of the confidence, weighted by the rows in each [1]_.

    .. [1] Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3.
    """
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=N_BINS)
    return np.abs(gaps).sum() / len(y)


def normalized(proba):
    """Rows that sum to 1 in float64, as scikit-learn's metric asks for."""
    return proba / proba.sum(axis=1, keepdims=True, dtype=float)


def scores(y, proba):
    proba = normalized(proba)
    return (proba.argmax(axis=1) == y).mean(), log_loss(y, proba), calibration_error(y, proba)


def one_repeat(load, n_under_trained, seed, epochs):
    """Scores (accuracy, log-loss, calibration error) of each way to use the members, a dict."""
    X_train, X_test, y_train, y_test = split(load, seed)
    named = members(n_under_trained, epochs)
    equal = KerasVotingClassifier(named, engine="fused", random_state=seed).fit(X_train, y_train)
    greedy = KerasVotingClassifier(named, weights="greedy", engine="fused", random_state=seed).fit(X_train, y_train)
    _, held_out = held_out_rows(y_train, greedy.validation_fraction, seed, stratify=True)
    best = np.argmin([log_loss(y_train[held_out], normalized(p)) for p in greedy.predict_members(X_train[held_out])])
    fewer_rows = greedy.predict_members(X_test)
    return {
        "mean member": np.mean([scores(y_test, proba) for proba in equal.predict_members(X_test)], axis=0),
        "best member": scores(y_test, fewer_rows[best]),
        "equal weights": scores(y_test, equal.predict_proba(X_test)),
        "equal, fewer rows": scores(y_test, fewer_rows.mean(axis=0)),
        "greedy": scores(y_test, greedy.predict_proba(X_test)),
    }


def main(bench):
    epochs, n_repeats = (2, 2) if bench.quick else (EPOCHS, N_REPEATS)
    for data in ["wine"] if bench.quick else DATA_SETS:
        for n_under_trained in (0, N_UNDER_TRAINED):
            title = f"{data}, {n_under_trained} of {N_MEMBERS} under-trained"
            repeats = [one_repeat(DATA_SETS[data], n_under_trained, seed, epochs) for seed in range(n_repeats)]
            results = {way: np.array([one[way] for one in repeats]).T.tolist() for way in repeats[0]}
            for way, by_metric in results.items():
                for metric, values in zip(METRICS, by_metric, strict=True):
                    bench.scores(f"{title}: {metric}, {way}", values)
            state_claims(bench, title, results, n_under_trained)


def state_claims(bench, title, results, n_under_trained):
    accuracy, loss = ({way: np.array(values[i]) for way, values in results.items()} for i in (0, 1))
    bench.limit(
        f"{title}: errors, equal weights - mean member",
        (accuracy["mean member"] - accuracy["equal weights"]).tolist(),
        at_most=0,
    )
    bench.limit(
        f"{title}: log-loss, equal weights - mean member",
        (loss["equal weights"] - loss["mean member"]).tolist(),
        at_most=0,
    )
    bench.limit(
        f"{title}: log-loss, greedy / equal weights",
        (loss["greedy"] / loss["equal weights"]).tolist(),
        at_most=CLEARLY_BETTER if n_under_trained else None,
    )
    bench.limit(
        f"{title}: log-loss, greedy / equal, fewer rows",
        (loss["greedy"] / loss["equal, fewer rows"]).tolist(),
        at_most=CLEARLY_BETTER if n_under_trained else NOT_WORSE,
    )


if __name__ == "__main__":
    run(main)
