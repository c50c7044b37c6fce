"""
How many snapshots of one run are worth combining?
==================================================

A learning rate that falls to zero again and again leaves one network in several minima, one after the other. This is
the tutorial on snapshot ensembles (a learning-rate callback, ten files, ten models loaded again), with its data, its
network and its schedule, as one estimator:

1. What does the learning rate look like?
2. How does each snapshot score, and how do the last 1, 2, ... of them together?
3. And over repeats: with the rate changed per step, with the triangular schedule, with longer cycles, with
   snapshots selected on held-out rows?

The tutorial's numbers are printed next to ours. They are from a single run on another machine, so compare means and
spreads, not single digits. The figure goes to the folder `output`.
"""

# %%
# Options.
import argparse

parser = argparse.ArgumentParser(description="Snapshot ensembles: one run, one member per cycle of the learning rate.")
parser.add_argument("--repeats", type=int, default=10, help="runs under other seeds (default: 10)")
parser.add_argument("--epochs", type=int, default=500, help="epochs of a run, of 10 cycles (default: 500)")
options = parser.parse_args()
if options.repeats < 2:
    parser.error("--repeats must be at least 2: one repeat has no spread")
if options.epochs < 10:
    parser.error("--epochs must be at least 10: a cycle has at least one epoch")

# %%
# The tutorial's data: three overlapping blobs, 100 rows to train on and 1,000 held out; and its network.
from sklearn.datasets import make_blobs

from skensemble import KerasClassifier, SnapshotEnsembleClassifier

X, y = make_blobs(n_samples=1100, centers=3, n_features=2, cluster_std=2, random_state=2)
X_train, X_test, y_train, y_test = X[:100], X[100:], y[:100], y[100:]

member = KerasClassifier(
    hidden_layer_sizes=(50,),
    optimizer="sgd",
    optimizer__learning_rate=0.01,
    optimizer__momentum=0.9,
    epochs=options.epochs,
    batch_size=32,
)

# %%
# The tutorial's ensemble: ten cycles of 50 epochs, the rate changed with each epoch. Stages begin with the newest
# snapshot, as its curve does.
ensemble = SnapshotEnsembleClassifier(member, n_estimators=10, update="epoch", random_state=0)


def score_stages(ensemble):
    """Held-out accuracy of the last 1, 2, ... snapshots together."""
    return [(labels == y_test).mean() for labels in ensemble.staged_predict(X_test)]


def score_members(ensemble):
    """Held-out accuracy of each snapshot, newest first."""
    labels = ensemble.classes_[ensemble.predict_members(X_test).argmax(axis=-1)]
    return (labels == y_test).mean(axis=1)


# %%
# The same under other seeds, and the variants that the tutorial leaves to its readers. A variant is a parameter. The
# first run takes a second or two, most of it to compile; the others use the compiled program again.
from time import perf_counter

import numpy as np
from sklearn.base import clone

VARIANTS = {
    "per epoch (tutorial)": {},
    "per step": {"update": "batch"},
    "triangular": {"update": "batch", "schedule": "triangular"},
    "5 cycles": {"update": "batch", "n_estimators": 5},
    "last 3 of 10": {"update": "batch", "n_last": 3},
    "selected": {"update": "batch", "weights": "greedy"},
}

print(f"Training {len(VARIANTS) * options.repeats} runs of {options.epochs} epochs", flush=True)
start = perf_counter()
runs = {
    name: [
        clone(ensemble).set_params(random_state=seed, **parameters).fit(X_train, y_train)
        for seed in range(options.repeats)
    ]
    for name, parameters in VARIANTS.items()
}
print(f"Trained in {perf_counter() - start:.1f} s ({runs['per step'][0].engine_reason_})")
scores = {name: np.array([run.score(X_test, y_test) for run in fitted]) for name, fitted in runs.items()}

# %%
# What the tutorial prints for its single run, and the mean of our repeats.
tutorial_runs = runs["per epoch (tutorial)"]
stages = np.array([score_stages(run) for run in tutorial_runs])
singles = np.array([score_members(run) for run in tutorial_runs])
PUBLISHED_STAGES = [0.813, 0.813, 0.822, 0.820, 0.818, 0.815, 0.813, 0.813, 0.813, 0.813]
PUBLISHED_SINGLES = [0.813, 0.814, 0.822, 0.810, 0.813, 0.811, 0.807, 0.805, 0.805, 0.790]

print(f"\nheld-out accuracy, mean of {options.repeats} runs (beside it the tutorial's run)")
print("snapshot   alone           with all newer ones")
for i in range(10):
    alone = f"{singles[:, i].mean():.3f} ({PUBLISHED_SINGLES[i]:.3f})"
    print(f"{10 - i:8d}   {alone}   {stages[:, i].mean():.3f} ({PUBLISHED_STAGES[i]:.3f})")
print("\nvariant          mean    sd")
for name, values in scores.items():
    print(f"{name:21s}{values.mean():.3f}   {values.std(ddof=1):.3f}")

# %%
# The figure.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import LearningRateDisplay, ScoreSpreadDisplay

figure, (rate, growth, spread) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")

LearningRateDisplay.from_estimator(tutorial_runs[0], name="cosine", ax=rate)
LearningRateDisplay.from_estimator(runs["triangular"][0], name="triangular", ax=rate)
rate.set_title("The learning rate, per epoch and per step")

n_last = np.arange(1, 11)
for values, label, color in ((singles, "that snapshot alone", "tab:gray"), (stages, "the last n together", "tab:blue")):
    mean, deviation = values.mean(axis=0), values.std(axis=0, ddof=1)
    growth.plot(n_last, mean, marker="o", color=color, label=label)
    growth.fill_between(n_last, mean - deviation, mean + deviation, color=color, alpha=0.15, linewidth=0)
growth.plot(n_last, PUBLISHED_STAGES, color="tab:orange", linestyle="--", linewidth=1, label="the tutorial's one run")
growth.set_xticks(n_last)
growth.set(title=f"Mean and spread of {options.repeats} runs", xlabel="n, from the newest snapshot", ylabel="accuracy")
growth.legend(loc="lower left", fontsize="small")

ScoreSpreadDisplay(scores, "accuracy").plot(ax=spread)
spread.set_title("The whole ensemble, variants")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "snapshot.png", dpi=150)
print(f"\nFigure: {output / 'snapshot.png'}")

# %%
# The answer. The earliest snapshots are weak; the newest few together are as good as all.
NOISE = 0.01

first, last = singles[:, -1].mean(), singles[:, 0].mean()
best = int(stages.mean(axis=0).argmax()) + 1
print(f"The first snapshot alone scores {first:.3f}, the last one {last:.3f}; the best number to combine is {best}.")
if options.epochs >= 500:
    assert first < last, f"The first snapshot must be weaker than the last: got {first:.3f} and {last:.3f}."
    assert stages[:, 2].mean() > stages[:, -1].mean() - NOISE, "The last three must be about as good as all ten."
