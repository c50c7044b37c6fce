"""
Which average of the last epochs is the best?
=============================================

The last epoch of a training is where the network happens to be when it ends. Averaging its variables over the last
epochs removes that chance. This is the tutorial on Polyak averaging (`fit(epochs=1)` five hundred times, ten files,
ten models loaded again), with its data and its network, as one estimator:

1. What does the training look like towards its end?
2. How do averages of the last 1, 2, ..., 10 epochs score, with equal, linear and exponential weights?
3. And over repeats: does the average depend less on chance than the last epoch?

Weights are chosen after the training, here all of them on the same runs. The tutorial's numbers are printed next
to ours. They are from a single run on another machine, so compare means and spreads, not single digits. The figure goes
to the folder `output`.
"""

# %%
# Options.
import argparse

parser = argparse.ArgumentParser(description="Polyak averaging: the variables of the last epochs, averaged.")
parser.add_argument("--repeats", type=int, default=10, help="runs under other seeds (default: 10)")
parser.add_argument("--epochs", type=int, default=500, help="epochs of a run (default: 500)")
parser.add_argument("--checkpoints", type=int, default=50, help="last epochs that are kept (default: 50)")
options = parser.parse_args()
if options.repeats < 2:
    parser.error("--repeats must be at least 2: one repeat has no spread")
if not 10 <= options.checkpoints <= options.epochs:
    parser.error("--checkpoints must be from 10 to the number of epochs")

# %%
# The tutorial's data: three overlapping blobs, 100 rows to train on and 1,000 held out; and its network.
from sklearn.datasets import make_blobs

from skensemble import KerasClassifier, PolyakWeightClassifier

X, y = make_blobs(n_samples=1100, centers=3, n_features=2, cluster_std=2, random_state=2)
X_train, X_test, y_train, y_test = X[:100], X[100:], y[:100], y[100:]

member = KerasClassifier(
    hidden_layer_sizes=(25,),
    epochs=options.epochs,
    batch_size=32,
)

# %%
# One fit for each seed. The first takes a second or two, most of it to compile; the others use the compiled program.
from time import perf_counter

from sklearn.base import clone

watched = clone(member).set_params(metrics=["accuracy"], fit__validation_data=(X_test, y_test))
one = PolyakWeightClassifier(watched, random_state=0).fit(X_train, y_train)  # for its learning curves

start = perf_counter()
runs = [
    PolyakWeightClassifier(member, n_checkpoints=options.checkpoints, random_state=seed).fit(X_train, y_train)
    for seed in range(options.repeats)
]
print(f"Trained {options.repeats} runs of {options.epochs} epochs in {perf_counter() - start:.1f} s")

# %%
# Averages of the newest 1, 2, ... checkpoints, weighted in three ways, without training again.
import numpy as np

WEIGHTINGS = {"uniform": "equal", "linear": "linear", "exponential": "exponential"}
PUBLISHED = {
    "uniform": "0.814 falling to 0.807",
    "linear": "best 0.815 (n=2), 0.809 at 10",
    "exponential": "best 0.815 (n=2), 0.813 at 10",
}


def score_stages(run, weights):
    """Held-out accuracy of the average of the newest 1, 2, ... checkpoints."""
    run.reweight(weights=weights)
    return [(labels == y_test).mean() for labels in run.staged_predict(X_test)]


def score_checkpoints(run):
    """Held-out accuracy of each checkpoint, newest first."""
    labels = run.classes_[run.predict_members(X_test).argmax(axis=-1)]
    return (labels == y_test).mean(axis=1)


singles = np.array([score_checkpoints(run) for run in runs])  # (n_runs, n_checkpoints)
stages = {weights: np.array([score_stages(run, weights) for run in runs]) for weights in WEIGHTINGS}

print(f"\nheld-out accuracy, mean of {options.repeats} runs      n=1     n=2     n=5     n=10    tutorial")
for weights, values in stages.items():
    means = "   ".join(f"{values[:, n - 1].mean():.3f}" for n in (1, 2, 5, 10))
    print(f"{WEIGHTINGS[weights] + ' weights':38s}  {means}   {PUBLISHED[weights]}")
lowest, highest = singles[:, :10].mean(axis=0).min(), singles[:, :10].mean(axis=0).max()
print(f"{'single checkpoints':38s}  {lowest:.3f} to {highest:.3f}                   0.802 to 0.814")

# %%
# The figure.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import ScoreSpreadDisplay, TrainingHistoryDisplay

figure, (curves, averages, spread) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")

TrainingHistoryDisplay.from_estimator(one, metric="accuracy", ax=curves)
curves.axvspan(options.epochs - 10, options.epochs, color="tab:gray", alpha=0.3, label="the last ten epochs")
curves.set_title("One run")
curves.legend(loc="lower center", fontsize="small")

N_SHOWN = 10
n_newest = np.arange(1, N_SHOWN + 1)
gain = (singles - singles[:, :1])[:, :N_SHOWN]
mean, deviation = gain.mean(axis=0), gain.std(axis=0, ddof=1)
averages.plot(n_newest, mean, color="tab:gray", linestyle="--", label="the n-th newest alone")
averages.fill_between(n_newest, mean - deviation, mean + deviation, color="tab:gray", alpha=0.15, linewidth=0)
gain = (stages["uniform"] - singles[:, :1])[:, :N_SHOWN]
mean, deviation = gain.mean(axis=0), gain.std(axis=0, ddof=1)
averages.fill_between(n_newest, mean - deviation, mean + deviation, color="tab:blue", alpha=0.15, linewidth=0)
for (weights, label), marker in zip(WEIGHTINGS.items(), "osv", strict=True):
    gain = (stages[weights] - singles[:, :1])[:, :N_SHOWN].mean(axis=0)
    averages.plot(n_newest, gain, marker=marker, label=f"{label} weights")
averages.axhline(0, color="black", linewidth=0.6)
averages.set_xticks(n_newest)
averages.set(
    title=f"Average of the newest n, {options.repeats} runs", xlabel="n", ylabel="accuracy above that of the last epoch"
)
averages.margins(y=0.2)
averages.legend(loc="upper center", ncols=2, fontsize="small")

final = {"last\nepoch": singles[:, 0]}
for weights, label in WEIGHTINGS.items():
    final[f"{label}\n10"] = stages[weights][:, 9]
final[f"equal\n{options.checkpoints}"] = stages["uniform"][:, -1]
ScoreSpreadDisplay(final, "accuracy").plot(ax=spread)
spread.set_title(f"Spread over {options.repeats} runs")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "polyak.png", dpi=150)
print(f"\nFigure: {output / 'polyak.png'}")

# %%
# The answer: the spread over seeds, of the last epoch and of averages.
for name, values in final.items():
    print(f"{name.replace(chr(10), ' '):18s} mean {values.mean():.4f}   sd {values.std(ddof=1):.4f}")
wandering = singles[:, :N_SHOWN].std(axis=1, ddof=1).mean()
settled = stages["uniform"][:, N_SHOWN // 2 : N_SHOWN].std(axis=1, ddof=1).mean()
print(f"From epoch to epoch one run wanders by {wandering:.4f} (sd), its average over 6 to 10 epochs by {settled:.4f}.")
assert settled < wandering, "An average must wander less than single epochs."
