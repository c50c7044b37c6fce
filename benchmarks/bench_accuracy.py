"""What does each way to make an ensemble buy in accuracy?

Six data sets that scikit-learn ships or generates, ten random splits each, half of the rows held out. Every method
trains networks of the same kind for the same number of epochs: ten in averaging ensembles, three different ones in
voting and stacking, one in snapshot ensembles and Polyak averages. "single network" is the mean over the ten networks
of the averaging ensemble. scikit-learn's random forest and gradient boosting, with their defaults, are for orientation;
nothing is tuned for anybody.

Classifiers are scored by accuracy and log-loss, regressors by R² and by the root of the mean squared error, in standard
deviations of y. The splits of one data set share rows, so that standard errors over them are rather too small.

`python benchmarks/bench_accuracy.py --table` writes the results into the guide (docs/guide/which-ensemble.md).
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from _harness import run
from sklearn import datasets, ensemble
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import skensemble

N_SPLITS, EPOCHS, N_MEMBERS, N_SNAPSHOTS, BATCH_SIZE = 10, 100, 10, 5, 16
UNITS = (64,)
DIFFERENT_UNITS = {"narrow": (16,), "wide": (64,), "deep": (32, 32)}
SINGLE, AVERAGE = "single network", "averaging, 10 networks"
#: By how many standard errors of the differences the average may score worse than its members.
STANDARD_ERRORS = 2

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "accuracy.json"
PAGE = HERE.parent / "docs" / "guide" / "which-ensemble.md"
MARK = "<!-- accuracy: written by benchmarks/bench_accuracy.py --table -->\n"
SECTION = re.compile(f"({MARK}).*?(<!-- end -->)", re.DOTALL)


def moons():
    """Two interleaved half circles with much noise, and four columns that say nothing."""
    X, y = datasets.make_moons(500, noise=0.35, random_state=0)
    return np.hstack([X, np.random.default_rng(0).normal(size=(len(X), 4))]), y


def clusters():
    """Four classes of three clusters each in ten of twenty columns; one label in ten is random."""
    return datasets.make_classification(
        1000, 20, n_informative=10, n_classes=4, n_clusters_per_class=3, flip_y=0.1, random_state=0
    )


def bundled(load):
    return lambda: load(return_X_y=True)


CLASSIFICATION = {
    "digits": bundled(datasets.load_digits),
    "wine": bundled(datasets.load_wine),
    "breast cancer": bundled(datasets.load_breast_cancer),
    "noisy moons": moons,
    "clusters": clusters,
}
REGRESSION = {"diabetes": bundled(datasets.load_diabetes)}
DATA_SETS = CLASSIFICATION | REGRESSION


def metrics(data):
    """Names of both scores of a data set; of the first more is better, of the second less."""
    return ("R²", "RMSE") if data in REGRESSION else ("accuracy", "log-loss")


def split(data, seed):
    """Training and test rows, with columns, and y of regressions, scaled by the training rows."""
    X, y = DATA_SETS[data]()
    labels = None if data in REGRESSION else y
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=labels, random_state=seed)
    scaler = StandardScaler().fit(X_train)
    if data in REGRESSION:
        mean, scale = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - mean) / scale, (y_test - mean) / scale
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def scores(y, prediction):
    """Both scores of probabilities, or of predictions of a regressor."""
    if prediction.ndim == 1:
        error = np.mean((prediction - y) ** 2)
        return 1 - error / y.var(), np.sqrt(error)
    proba = prediction / prediction.sum(axis=1, keepdims=True, dtype=float)
    return (proba.argmax(axis=1) == y).mean(), log_loss(y, proba)


def predict(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def methods(kind, epochs, seed):
    """Every way to make an ensemble, by its name in the results."""

    def member(units=UNITS):
        network = getattr(skensemble, f"Keras{kind}")
        return network(hidden_layer_sizes=units, epochs=epochs, batch_size=BATCH_SIZE)

    def make(name, *arguments, **parameters):
        return getattr(skensemble, f"{name}{kind}")(*arguments, engine="fused", random_state=seed, **parameters)

    different = [(name, member(units)) for name, units in DIFFERENT_UNITS.items()]
    return {
        AVERAGE: make("KerasAveraging", member(), N_MEMBERS),
        'averaging, `weights="greedy"`': make("KerasAveraging", member(), N_MEMBERS, weights="greedy"),
        "averaging, `bootstrap=True`": make("KerasAveraging", member(), N_MEMBERS, bootstrap=True),
        "voting, 3 different networks": make("KerasVoting", different),
        "stacking, the same 3": make("StackedKeras", different),
        "5 snapshots of one training": make("SnapshotEnsemble", member(), N_SNAPSHOTS),
        "Polyak average of one training": make("PolyakWeight", member()),
        "scikit-learn's random forest": getattr(ensemble, f"RandomForest{kind}")(random_state=seed),
        "scikit-learn's gradient boosting": getattr(ensemble, f"HistGradientBoosting{kind}")(random_state=seed),
    }


def one_split(data, seed, epochs, only=None):
    """Scores of each method on one split, or of the one that is named."""
    X_train, X_test, y_train, y_test = split(data, seed)
    found = {SINGLE: None}  # the first row of the table
    for name, model in methods("Regressor" if data in REGRESSION else "Classifier", epochs, seed).items():
        if only not in (None, name):
            continue
        with threadpool_limits(1, user_api="openmp"):  # with more, gradient boosting waits for itself on a busy machine
            model.fit(X_train, y_train)
        found[name] = scores(y_test, predict(model, X_test))
        if name == AVERAGE:
            found[SINGLE] = np.mean([scores(y_test, one) for one in model.predict_members(X_test)], axis=0)
    return found


def main(bench):
    epochs, n_splits = (10, 2) if bench.quick else (EPOCHS, N_SPLITS)  # 10: a Polyak average takes that many
    for data in ["wine", "diabetes"] if bench.quick else DATA_SETS:
        # Tracing all programs once more, for regressors, takes longer than the training.
        only = AVERAGE if bench.quick and data in REGRESSION else None
        splits = [one_split(data, seed, epochs, only) for seed in range(n_splits)]
        for name in splits[0]:
            for metric, column in zip(metrics(data), np.transpose([one[name] for one in splits]), strict=True):
                bench.scores(f"{data}: {metric}, {name}", column.tolist())
        state_claim(bench, data, np.array([[one[SINGLE], one[AVERAGE]] for one in splits]))


def state_claim(bench, data, values):
    """The average of networks is not worse than one of them; `values` has shape (n_splits, 2, 2)."""
    for metric, sign, (single, average) in zip(metrics(data), (1, -1), values.T, strict=True):
        worse = sign * (single - average)
        error = max(worse.std(ddof=1) / np.sqrt(len(worse)), np.finfo(float).tiny)
        name = f"{data}: {metric}, standard errors by which the average is worse than its members"
        bench.limit(name, [worse.mean() / error], at_most=STANDARD_ERRORS)


# The table of the guide


def table():
    """Both tables of the guide, in Markdown: means and standard errors over the splits."""
    rows = {row["name"]: row["ours"] for row in json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]}
    names = [SINGLE, *methods("Classifier", EPOCHS, 0)]
    return "\n".join(
        f"{title}\n\n{markdown(rows, names, columns)}"
        for title, columns in (
            ("Accuracy, R² for diabetes (more is better):", {data: metrics(data)[0] for data in DATA_SETS}),
            ("Log-loss, RMSE for diabetes (less is better):", {data: metrics(data)[1] for data in DATA_SETS}),
        )
    )


def markdown(rows, names, columns):
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [cell(rows[f"{data}: {metric}, {name}"]) for data, metric in columns.items()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def cell(spread):
    return f"{spread['mean']:.3f} ± {spread['sd'] / np.sqrt(spread['repeats']):.3f}"


def with_table(page):
    """The text of the guide's page with the tables written anew."""
    return SECTION.sub(lambda found: f"{found[1]}{table()}{found[2]}", page)


if __name__ == "__main__":
    if sys.argv[1:] == ["--table"]:
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        run(main)
