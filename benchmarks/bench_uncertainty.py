"""Can the probabilities and intervals of each kind of ensemble be believed?

Ten random splits of each data set, half of the rows held out. Classifiers are scored by accuracy, log-loss, Brier
score, expected calibration error (15 bins of the largest probability) and the area under the rejection curve: the
mean error of the rows that are left when the least sure ones are given to a person, over all shares; of bagging, also
by the coverage and size of prediction sets. Digits that are rotated and noisy show what a shift of the data does.
Regressors are scored by the root of the mean squared error, the negative log-likelihood (NLL) and the continuous
ranked probability score (CRPS) of normal distributions, and by coverage and width of intervals of 90 %. "single
network" is the mean over the networks of the averaging ensemble. "values only" are networks without a distribution,
whose deviation is their disagreement; scikit-learn's random forest is read alike. MAPIE gives the same intervals as
our bagging (tests/test_clients.py), and is not repeated here. Nothing is tuned for anybody.

Classifiers are trained for long, and briefly as in `bench_weights.py`, where averages are less sure than they may be.

Asserted: where they are trained briefly, calibrated averages have a smaller calibration error than others and than a
single network, whether they hold rows out or draw them; where they are trained for long, they have so on rows that are
shifted, and a smaller log-loss; the average of networks with a distribution has a smaller NLL than one of them and than
networks without, where the noise depends on X; conformal intervals and prediction sets cover at least as much as they
should. Shown without a bound, where calibration does not help: on rows like those of a long training, when an average
is hardly too sure or unsure, and on shifted rows after a brief one, when calibration makes probabilities surer.
"""

from functools import partial

import numpy as np
from _harness import run
from scipy.ndimage import rotate
from scipy.special import ndtr
from scipy.stats import norm
from sklearn import datasets
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    NormalNLL,
    PolyakWeightClassifier,
    PolyakWeightRegressor,
    SnapshotEnsembleClassifier,
    SnapshotEnsembleRegressor,
)

N_SPLITS, EPOCHS, N_MEMBERS, N_SNAPSHOTS = 10, 100, 10, 5
BRIEFLY = "trained briefly"
#: How classifiers are trained: hidden units, epochs, rows of a batch.
TRAININGS = {"": (64, EPOCHS, 16), f", {BRIEFLY}": (32, 30, 32)}
COVERAGE, N_BINS, STANDARD_ERRORS = 0.9, 15, 2
# In place of deviations and probabilities of 0, whose logarithm is infinite.
SMALLEST = 1e-6
SINGLE, AVERAGE, CALIBRATED = "single network", "averaging", 'averaging, `calibration="temperature"`'
BAGGING, CONFORMAL = "bagging", "bagging, jackknife+-after-bootstrap"
BAGGING_CALIBRATED = f"{BAGGING}, calibrated"
VALUES, FOREST = "averaging, values only", "scikit-learn's random forest"
SHIFT = "digits, rotated and noisy"


def toy():
    """A sine whose noise grows from left to right."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-3, 3, (600, 1))
    return X, np.sin(2 * X[:, 0]) + rng.normal(0, 0.05 + 0.2 * (X[:, 0] + 3))


CLASSIFICATION = {
    "digits": partial(datasets.load_digits, return_X_y=True),
    "breast cancer": partial(datasets.load_breast_cancer, return_X_y=True),
    "wine": partial(datasets.load_wine, return_X_y=True),
}
REGRESSION = {
    "heteroscedastic toy": toy,
    "diabetes": partial(datasets.load_diabetes, return_X_y=True),
    "Friedman 1": partial(datasets.make_friedman1, 600, noise=1, random_state=0),
    "Friedman 2": partial(datasets.make_friedman2, 600, noise=100, random_state=0),
    "Friedman 3": partial(datasets.make_friedman3, 600, noise=0.1, random_state=0),
}
#: With `--quick`: what the claims are of; tracing all programs takes longer than the training.
QUICK_METHODS = (AVERAGE, CALIBRATED, BAGGING, BAGGING_CALIBRATED, VALUES, FOREST)
HETEROSCEDASTIC = ("heteroscedastic toy",)


def shifted(X):
    """Digits, turned by 30 degrees, with noise of a quarter of the largest value."""
    turned = rotate(X.reshape(-1, 8, 8), 30, axes=(1, 2), reshape=False, order=1)
    return turned.reshape(X.shape) + np.random.default_rng(0).normal(0, 4, X.shape)


# Scores


def calibration_error(y, proba):
    """Mean distance of the largest probability from the share that is right, over bins of it."""
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y
    bins = np.minimum((confidence * N_BINS).astype(int), N_BINS - 1)
    return sum(abs((right - confidence)[bins == b].sum()) for b in range(N_BINS)) / len(y)


def rejection_area(errors, unsureness):
    """Mean over all shares that are kept, the surest first, of the mean error of what is kept."""
    kept = errors[np.argsort(unsureness, kind="stable")]
    return np.mean(np.cumsum(kept) / np.arange(1, len(kept) + 1))


def class_scores(y, proba):
    proba = np.clip(np.asarray(proba, float), SMALLEST, None)
    proba /= proba.sum(axis=1, keepdims=True)
    wrong = (proba.argmax(axis=1) != y).astype(float)
    return {
        "accuracy": 1 - wrong.mean(),
        "log-loss": log_loss(y, proba, labels=np.arange(proba.shape[1])),
        "Brier score": np.mean(((proba - np.eye(proba.shape[1])[y]) ** 2).sum(axis=1)),
        "calibration error": calibration_error(y, proba),
        "rejection area": rejection_area(wrong, -proba.max(axis=1)),
    }


def value_scores(y, mean, std):
    """Scores of normal distributions, whose CRPS is known in closed form (Gneiting and Raftery 2007)."""
    std = np.maximum(std, SMALLEST)
    z = (y - mean) / std
    crps = std * (z * (2 * ndtr(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    half_width = norm.ppf((1 + COVERAGE) / 2) * std
    return {
        "RMSE": np.sqrt(np.mean((y - mean) ** 2)),
        "NLL": -np.mean(norm.logpdf(y, mean, std)),
        "CRPS": crps.mean(),
        "rejection area": rejection_area((y - mean) ** 2, std),
        **interval_scores(y, mean - half_width, mean + half_width),
    }


def interval_scores(y, lower, upper):
    return {"coverage": np.mean((lower <= y) & (y <= upper)), "width": np.mean(upper - lower)}


def mean_scores(found):
    """The mean of each score over several networks."""
    return {name: np.mean([one[name] for one in found]) for name in found[0]}


# One split


def split(load, seed, *, stratify):
    """Training and test rows as they are, and a scaler of the training rows."""
    X, y = load()
    parts = train_test_split(X, y, test_size=0.5, stratify=y if stratify else None, random_state=seed)
    return *parts, StandardScaler().fit(parts[0])


def chosen(models, *, quick):
    """The models that are measured."""
    return {name: model for name, model in models.items() if not quick or name in QUICK_METHODS}


def classify(data, seed, hidden, epochs, batch_size, *, quick):
    """Scores of each classifier on one split, and on shifted digits."""
    X, X_test, y, y_test, scaler = split(CLASSIFICATION[data], seed, stratify=True)
    tests = {data: scaler.transform(X_test)}
    if data == "digits":
        tests[SHIFT] = scaler.transform(shifted(X_test))
    member = KerasClassifier(hidden_layer_sizes=(hidden,), epochs=epochs, batch_size=batch_size)
    common = {"engine": "fused", "random_state": seed}
    models = {
        AVERAGE: KerasAveragingClassifier(member, N_MEMBERS, **common),
        CALIBRATED: KerasAveragingClassifier(member, N_MEMBERS, calibration="temperature", **common),
        BAGGING: KerasAveragingClassifier(member, N_MEMBERS, bootstrap=True, **common),
        BAGGING_CALIBRATED: KerasAveragingClassifier(
            member, N_MEMBERS, bootstrap=True, calibration="temperature", **common
        ),
        "snapshots": SnapshotEnsembleClassifier(member, N_SNAPSHOTS, **common),
        "Polyak average": PolyakWeightClassifier(member, **common),
        FOREST: RandomForestClassifier(random_state=seed),
    }
    found = {name: {} for name in tests}
    for method, model in chosen(models, quick=quick).items():
        model.fit(scaler.transform(X), y)
        for name, rows in tests.items():
            found[name][method] = class_scores(y_test, model.predict_proba(rows))
            if method == AVERAGE:
                found[name][SINGLE] = mean_scores([class_scores(y_test, one) for one in model.predict_members(rows)])
            if method == BAGGING:
                sets = model.predict_set(rows, coverage=COVERAGE)
                covered = sets[np.arange(len(sets)), y_test]
                found[name][method] |= {"coverage of sets": covered.mean(), "size of sets": sets.sum(axis=1).mean()}
    return found


def regress(data, seed, epochs, *, quick):
    """Scores of each regressor on one split; y is scaled by the training rows."""
    X, X_test, y, y_test, scaler = split(REGRESSION[data], seed, stratify=False)
    center, scale = y.mean(), y.std()
    y, y_test = (y - center) / scale, (y_test - center) / scale
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    values = KerasRegressor(hidden_layer_sizes=(64,), epochs=epochs, batch_size=16)
    normal = KerasRegressor(hidden_layer_sizes=(64,), epochs=epochs, batch_size=16, distribution="normal")
    beta = clone(normal).set_params(loss=NormalNLL(beta=0.5))
    common = {"engine": "fused", "random_state": seed}
    models = {
        AVERAGE: KerasAveragingRegressor(normal, N_MEMBERS, **common),
        f"{AVERAGE}, beta-NLL": KerasAveragingRegressor(beta, N_MEMBERS, **common),
        VALUES: KerasAveragingRegressor(values, N_MEMBERS, **common),
        BAGGING: KerasAveragingRegressor(normal, N_MEMBERS, bootstrap=True, **common),
        "snapshots": SnapshotEnsembleRegressor(normal, N_SNAPSHOTS, **common),
        "Polyak average": PolyakWeightRegressor(normal, **common),
    }
    found = {}
    for method, model in chosen(models, quick=quick).items():
        found[method] = value_scores(y_test, *model.fit(X, y).predict(X_test, return_std=True))
        if method == AVERAGE:
            each = [value_scores(y_test, *one.predict(X_test, return_std=True)) for one in model.estimators_]
            found[SINGLE] = mean_scores(each)
        if method == BAGGING:
            interval = model.predict_interval(X_test, COVERAGE, method="jackknife+ab")
            found[CONFORMAL] = interval_scores(y_test, *interval)
    trees = RandomForestRegressor(random_state=seed).fit(X, y).estimators_
    each = np.stack([tree.predict(X_test) for tree in trees])
    found[FOREST] = value_scores(y_test, each.mean(axis=0), each.std(axis=0))
    return {data: found}


# Rows


def show(bench, data, splits):
    """A row for each score of each method."""
    for method in splits[0]:
        for score in splits[0][method]:
            bench.scores(f"{data}: {score}, {method}", [float(one[method][score]) for one in splits])


def state_less(bench, data, splits, score, ours, *others, at_most=0):
    """The mean score of one method is below that of the others."""
    for other in others:
        differences = [one[ours][score] - one[other][score] for one in splits]
        bench.limit(f"{data}: {score}, {ours} less {other}", [float(np.mean(differences))], at_most=at_most)


def state_coverage(bench, data, splits, method, score, n_rows):
    """The mean coverage is at least the nominal one, within standard errors of splits or of rows, the larger ones."""
    shares = np.array([one[method][score] for one in splits])
    by_rows = np.sqrt(COVERAGE * (1 - COVERAGE) / n_rows)
    error = max(shares.std(ddof=1) / np.sqrt(len(shares)), by_rows)
    name = f"{data}: standard errors by which {score} of {method} is below {COVERAGE}"
    bench.limit(name, [float((COVERAGE - shares.mean()) / error)], at_most=STANDARD_ERRORS)


def state_classification(bench, data, training, splits):
    """The rows of one data set; `training` is added to its name."""
    for name in splits[0]:
        show(bench, name + training, [one[name] for one in splits])
    own = [one[data] for one in splits]
    bound, bound_on_shift = (0, None) if BRIEFLY in training else (None, 0)
    state_less(bench, data + training, own, "calibration error", CALIBRATED, AVERAGE, SINGLE, at_most=bound)
    state_less(bench, data + training, own, "calibration error", BAGGING_CALIBRATED, BAGGING, SINGLE, at_most=bound)
    if SHIFT in splits[0]:
        shifted_rows = [one[SHIFT] for one in splits]
        for score in ("calibration error", "log-loss"):
            state_less(
                bench, SHIFT + training, shifted_rows, score, CALIBRATED, AVERAGE, SINGLE, at_most=bound_on_shift
            )
    n_rows = len(CLASSIFICATION[data]()[1])
    state_coverage(bench, data + training, own, BAGGING, "coverage of sets", n_rows)


def main(bench):
    epochs, n_splits = (10, 2) if bench.quick else (EPOCHS, N_SPLITS)  # 10: a Polyak average takes that many
    for data in ["wine"] if bench.quick else CLASSIFICATION:
        for training, (hidden, own_epochs, batch_size) in list(TRAININGS.items())[: 1 if bench.quick else None]:
            splits = [
                classify(data, seed, hidden, epochs if bench.quick else own_epochs, batch_size, quick=bench.quick)
                for seed in range(n_splits)
            ]
            state_classification(bench, data, training, splits)
    for data in ["heteroscedastic toy"] if bench.quick else REGRESSION:
        splits = [regress(data, seed, epochs, quick=bench.quick)[data] for seed in range(n_splits)]
        show(bench, data, splits)
        if data in HETEROSCEDASTIC:
            state_less(bench, data, splits, "NLL", AVERAGE, SINGLE, VALUES)
        n_rows = len(REGRESSION[data]()[1])
        state_coverage(bench, data, splits, CONFORMAL, "coverage", n_rows)


if __name__ == "__main__":
    run(main)
