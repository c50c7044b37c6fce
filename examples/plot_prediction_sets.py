"""
Which answers are possible?
===========================

An ensemble gives more than one answer per row. How much do its members disagree, and are the predictions wrong where
they do? Which labels can a row have, and in which interval does a value lie, so that nine in ten of such statements are
true, however good the networks are? Members that draw their rows (``bootstrap=True``) answer this without further
training: each row is predicted by the members that did not see it.
"""

# %%
# Three classes that overlap, and ten networks, each trained on rows that it draws.
import numpy as np
from sklearn.datasets import make_blobs
from sklearn.model_selection import train_test_split

from skensemble import KerasAveragingClassifier, KerasClassifier

X, y = make_blobs(n_samples=800, centers=[(-3, 0), (3, 0), (0, 4)], cluster_std=2.4, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=400, random_state=0)
member = KerasClassifier(hidden_layer_sizes=(32,), epochs=30, optimizer__learning_rate=0.01)
classifier = KerasAveragingClassifier(member, n_estimators=10, bootstrap=True, random_state=0).fit(X_train, y_train)

# %%
# The labels that each row may have: one far from all boundaries, two between two classes. The share of rows that is
# asked for must be above that of right predictions; otherwise nothing needs to be added to these.
COVERAGE = 0.9
sets = classifier.predict_set(X_test, coverage=COVERAGE)
held = sets[np.arange(len(y_test)), y_test]
sizes = sets.sum(axis=1)
for size in np.unique(sizes):
    print(f"labels in the set: {size}   rows: {np.mean(sizes == size):.0%}   right: {held[sizes == size].mean():.0%}")

# %%
# A curve with noise, and ten networks that predict values. Their disagreement is the standard deviation
# that ``return_std=True`` returns: it does not include the noise of the values, and intervals made from it are too
# narrow. Jackknife+-after-bootstrap makes intervals from how far off the members are for rows that they did not see.
from skensemble import KerasAveragingRegressor, KerasRegressor

rng = np.random.default_rng(0)
Z = np.sort(rng.uniform(-3, 3, (900, 1)), axis=0)
value = np.sin(2 * Z[:, 0]) + 0.3 * rng.normal(size=len(Z))
is_training = np.arange(len(Z)) % 4 == 0
member = KerasRegressor(hidden_layer_sizes=(32, 32), epochs=100, optimizer__learning_rate=0.01)
regressor = KerasAveragingRegressor(member, n_estimators=10, bootstrap=True, random_state=0)
regressor.fit(Z[is_training], value[is_training])

Z_test, value_test = Z[~is_training], value[~is_training]
mean, deviation = regressor.predict(Z_test, return_std=True)
NORMAL_QUANTILE = 1.645  # nine in ten numbers of a normal distribution are no more deviations from the mean
intervals = {
    "deviation of the members": (mean - NORMAL_QUANTILE * deviation, mean + NORMAL_QUANTILE * deviation),
    "jackknife+-after-bootstrap": regressor.predict_interval(Z_test, COVERAGE, method="jackknife+ab"),
}
shares = {name: np.mean((lower <= value_test) & (value_test <= upper)) for name, (lower, upper) in intervals.items()}
for name, share in shares.items():
    print(f"{name:27s} {share:.0%} of the values are in their interval of {COVERAGE:.0%}")

# %%
# The figure.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import DiversityDisplay, UncertaintyDisplay

figure, ((uncertain, diverse), (labels, values)) = plt.subplots(2, 2, figsize=(11, 8.4), layout="constrained")

UncertaintyDisplay.from_estimator(classifier, X_test, y_test, ax=uncertain)
uncertain.set_title("Wrong where the members are unsure")
DiversityDisplay.from_estimator(classifier, X_test, y_test, ax=diverse)

axes = [np.linspace(low - 1, high + 1, 100) for low, high in zip(X.min(axis=0), X.max(axis=0), strict=True)]
grid = np.stack(np.meshgrid(*axes), axis=-1)
on_grid = classifier.predict_set(grid.reshape(-1, 2), coverage=COVERAGE).sum(axis=1).reshape(grid.shape[:2])
drawn = labels.contourf(*grid.transpose(2, 0, 1), on_grid, levels=[-0.5, 0.5, 1.5, 2.5, 3.5], cmap="Greys", alpha=0.6)
for label, (marker, color) in enumerate(zip("os^", ("#0072B2", "#E69F00", "#009E73"), strict=True)):
    rows = X_test[y_test == label]
    labels.scatter(*rows.T, s=16, marker=marker, color=color, edgecolor="black", linewidth=0.4, label=f"class {label}")
figure.colorbar(drawn, ax=labels, label="labels in the set", ticks=[0, 1, 2, 3])
labels.set(title=f"Sets that hold the label of {held.mean():.0%}", xlabel="first feature", ylabel="second feature")
labels.legend(loc="upper left", fontsize="small")

values.scatter(Z_test, value_test, s=6, color="gray", label="values")
for (name, (lower, upper)), color, style in zip(intervals.items(), ("#D55E00", "#0072B2"), ("--", "-"), strict=True):
    values.plot(Z_test, lower, style, color=color, linewidth=1.5, label=f"{name}, holds {shares[name]:.0%}")
    values.plot(Z_test, upper, style, color=color, linewidth=1.5)
values.set(title=f"Intervals of {COVERAGE:.0%}", xlabel="feature", ylabel="value", ylim=(-2.2, 3.2))
values.legend(loc="upper right")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "prediction_sets.png", dpi=150)

# %%
# The answer.
of_members, conformal = shares.values()
wrong = classifier.predict(X_test) != y_test
total = classifier.predict_uncertainty(X_test).total
print(f"Wrong predictions have an entropy of {total[wrong].mean():.2f} nats, right ones of {total[~wrong].mean():.2f}.")
print(f"Sets of {COVERAGE:.0%} hold the label of {held.mean():.0%} of the rows.")
assert total[wrong].mean() > total[~wrong].mean(), "Predictions must be wrong where the ensemble is unsure."
assert abs(conformal - COVERAGE) < abs(of_members - COVERAGE), "Intervals with a guarantee must hold what they promise."
