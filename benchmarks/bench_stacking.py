"""What does stacking buy over one network and over an average, and how much faster is it than scikit-learn's?

Three networks of different sizes on the digits and on breast cancer, five repeats with other splits and seeds, scored
on the half of the rows that is held out: accuracy and log-loss of single members, of their average, of stacking with
logistic regression and with each head. scikit-learn's `StackingClassifier` stacks the same members, each trained by
Keras' own fit, on the same five folds; its scores must differ from ours by no more than two standard errors. "First
fit" is in a fresh process, tracing and compiling included.
"""

import numpy as np
from _harness import run, seconds
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skensemble import KerasClassifier, KerasHeadClassifier, KerasVotingClassifier, StackedKerasClassifier

N_REPEATS, EPOCHS, HEAD_EPOCHS, BATCH_SIZE, N_FOLDS = 5, 30, 100, 32, 5
SIZES = {"narrow": (16,), "wide": (64,), "deep": (32, 32)}
DATA_SETS = {"digits": load_digits, "breast cancer": load_breast_cancer}
METRICS = ("accuracy", "log-loss")
#: Final estimators whose time is stated.
TIMED = ("logistic regression", "concatenate")
STANDARD_ERRORS, TIMES_FASTER = 2, 10


def split(data, seed):
    X, y = DATA_SETS[data](return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def members(seed, epochs):
    """Named networks with seeds of their own, so that everybody trains the same ones."""
    return [
        (name, KerasClassifier(hidden_layer_sizes=sizes, batch_size=BATCH_SIZE, epochs=epochs, random_state=seed))
        for name, sizes in SIZES.items()
    ]


def logistic():
    return LogisticRegression(max_iter=1000)


def final_estimators(epochs):
    return {
        "logistic regression": logistic(),
        "concatenate": KerasHeadClassifier("concatenate", epochs=epochs),
        "average": KerasHeadClassifier("average", epochs=epochs),
        "weighted average": KerasHeadClassifier("weighted_average", epochs=epochs),
        "learned weights alone": KerasHeadClassifier("weighted_average", output_layer=False, epochs=epochs),
    }


def scores(y, proba):
    proba = proba / proba.sum(axis=1, keepdims=True, dtype=float)
    return (proba.argmax(axis=1) == y).mean(), log_loss(y, proba)


def first_fit(data, seed, epochs, n_folds):
    """Seconds of the first fit of a stacking ensemble in this process."""
    X_train, _, y_train, _ = split(data, seed)
    stacked = StackedKerasClassifier(members(seed, epochs), logistic(), cv=n_folds, engine="fused", random_state=seed)
    return seconds(stacked.fit, X_train, y_train)


def one_repeat(data, seed, epochs, head_epochs, n_folds, *, quick):
    """Scores of each way to use the members, a dict, and the seconds of scikit-learn's fit and of ours.

    `quick`: of one member, and of the heads that are timed; tracing all programs takes longer than the training.
    """
    X_train, X_test, y_train, y_test = split(data, seed)
    named = members(seed, epochs)[: 1 if quick else None]
    finals = {name: final for name, final in final_estimators(head_epochs).items() if not quick or name in TIMED}
    voting = KerasVotingClassifier(named, engine="fused", random_state=seed).fit(X_train, y_train)
    by_way = {
        "mean member": np.mean([scores(y_test, proba) for proba in voting.predict_members(X_test)], axis=0),
        "average of members": scores(y_test, voting.predict_proba(X_test)),
    }

    by_keras = [(name, clone(network).set_params(engine="keras")) for name, network in named]
    peer = StackingClassifier(by_keras, logistic(), cv=n_folds)
    times = {"scikit-learn": seconds(peer.fit, X_train, y_train)}
    by_way["scikit-learn's stacking"] = scores(y_test, peer.predict_proba(X_test))
    for final, estimator in finals.items():
        stacked = StackedKerasClassifier(named, estimator, cv=n_folds, engine="fused", random_state=seed)
        times[final] = seconds(stacked.fit, X_train, y_train)
        by_way[f"stacking, {final}"] = scores(y_test, stacked.predict_proba(X_test))
    return by_way, times


def main(bench):
    epochs, head_epochs, n_folds, n_repeats = (2, 2, 2, 2) if bench.quick else (EPOCHS, HEAD_EPOCHS, N_FOLDS, N_REPEATS)
    for data in list(DATA_SETS)[: 1 if bench.quick else None]:
        repeats = [one_repeat(data, seed, epochs, head_epochs, n_folds, quick=bench.quick) for seed in range(n_repeats)]
        first = [
            bench.fresh(first_fit, data=data, seed=seed, epochs=epochs, n_folds=n_folds) for seed in range(n_repeats)
        ]
        results = {way: np.array([by_way[way] for by_way, _ in repeats]) for way in repeats[0][0]}
        for way, values in results.items():
            for metric, column in zip(METRICS, values.T, strict=True):
                bench.scores(f"{data}: {metric}, {way}", column.tolist())
        state_noise(bench, data, results)
        state_times(bench, data, first, [times for _, times in repeats])


def state_noise(bench, data, results):
    ours, theirs = results["stacking, logistic regression"], results["scikit-learn's stacking"]
    # Both have the same splits, so the spread over them is a generous measure of noise.
    error = np.sqrt((ours.var(axis=0, ddof=1) + theirs.var(axis=0, ddof=1)) / len(ours))
    for metric, value in zip(METRICS, np.abs((ours - theirs).mean(axis=0)) / error, strict=True):
        bench.limit(
            f"{data}: {metric}, difference from scikit-learn's stacking, standard errors",
            [float(value)],
            at_most=STANDARD_ERRORS,
        )


def state_times(bench, data, first, times):
    peer = {"peer": [one["scikit-learn"] for one in times], "peer_name": "StackingClassifier, Keras' own fit"}
    bench.compare(f"{data}: stacking, 3 networks, 5 folds, first fit", first, **peer)
    for final in TIMED:
        # The first repeat traces the programs that the others use.
        later = [one[final] for one in times][1:]
        bench.compare(
            f"{data}: stacking, 3 networks, 5 folds, later fits, {final}", later, **peer, at_least=TIMES_FASTER
        )


if __name__ == "__main__":
    run(main, first_fit)
