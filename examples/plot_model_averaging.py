"""
How much steadier is an average of five networks than one?
==========================================================

A network that is trained twice gets two different scores. This is the tutorial on model averaging that many people have
copied by hand (fit in a loop, save each model, load them all, average, plot), with its data, its network and its
questions, as a few lines of skensemble:

1. What does one network score?
2. How does accuracy grow with the number of averaged networks?
3. What is the spread over repeats, of one network and of five together?

The tutorial's numbers are printed next to ours. They are single runs on another machine, so compare means and spreads,
not single digits; and its repeats of one network used another draw of the data (`random_state=1`, default spread),
where here both sides use the same. Everything has the tutorial's size: 30 repeats, 20 members, 200 epochs. The figure
goes to the folder `output`.
"""

# %%
# Options, the tutorial's settings by default.
import argparse

parser = argparse.ArgumentParser(description="Model averaging: the spread of one network and of five together.")
parser.add_argument("--repeats", type=int, default=30, help="five-member ensembles that are compared (default: 30)")
parser.add_argument("--members", type=int, default=20, help="members of the growing ensemble (default: 20)")
parser.add_argument("--epochs", type=int, default=200, help="epochs of each network (default: 200)")
options = parser.parse_args()
if options.repeats < 2:
    parser.error("--repeats must be at least 2: one repeat has no spread")

# %%
# The tutorial's data: three overlapping blobs, the first 150 rows for training, and its network with one hidden layer.
from sklearn.datasets import make_blobs

from skensemble import KerasAveragingClassifier, KerasClassifier

X, y = make_blobs(n_samples=500, centers=3, n_features=2, cluster_std=2, random_state=2)
X_train, X_test, y_train, y_test = X[:150], X[150:], y[:150], y[150:]

member = KerasClassifier(hidden_layer_sizes=(15,), epochs=options.epochs, batch_size=32)

# %%
# One network, with its score on both halves of the data after each epoch.
from sklearn.base import clone

watched = clone(member).set_params(metrics=["accuracy"], fit__validation_data=(X_test, y_test))
one = KerasAveragingClassifier(watched, n_estimators=1, random_state=0).fit(X_train, y_train).estimators_[0]

# %%
# All the networks that are needed, in one fit. Members do not depend on each other, each has its own seed. So one
# ensemble of 5 * R members holds R ensembles of five members, 5 * R single networks, and (its first 20 members being
# the same whatever follows) the growing ensemble: everything below is a subset of it, which takes no training.
MEMBERS_PER_ENSEMBLE = 5

n_repeated = options.repeats * MEMBERS_PER_ENSEMBLE
n_runs = max(n_repeated, options.members)
print(f"Training {n_runs} networks for {options.epochs} epochs", flush=True)
runs = KerasAveragingClassifier(member, n_estimators=n_runs, random_state=0).fit(X_train, y_train)
first, repeated = runs.subset(range(options.members)), runs.subset(range(n_repeated))

# %%
# The figure. In the middle the first 1, 2, ... networks together; on the right the repeats: consecutive fives are
# ensembles that share no network.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import MembersDisplay, ScoreSpreadDisplay, TrainingHistoryDisplay

figure, (curves, growth, spread) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
TrainingHistoryDisplay.from_estimator(one, metric="accuracy", ax=curves)
curves.set_title("One network learns")
growing = MembersDisplay.from_estimator(first, X_test, y_test, ax=growth)
growth.set_title("More networks, held-out rows")
repeats = ScoreSpreadDisplay.from_estimator(repeated, X_test, y_test, group_sizes=(1, MEMBERS_PER_ENSEMBLE), ax=spread)
spread.set_title("Spread over repeats, held-out rows")
growth.sharey(spread)

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "model_averaging.png", dpi=150)
print(f"Figure: {output / 'model_averaging.png'}")

# %%
# The numbers. For comparison, the networks vote too.
single_scores, ensemble_scores = repeats.scores.values()
single_sd, ensemble_sd = single_scores.std(ddof=1), ensemble_scores.std(ddof=1)
growing_score, votes = growing.ensemble_scores[-1], first.reweight(voting="hard").score(X_test, y_test)

print("\naccuracy                                    here    tutorial")
print(f"one network, training rows                  {one.score(X_train, y_train):.3f}   0.847")
print(f"one network, held-out rows                  {one.score(X_test, y_test):.3f}   0.766")
print(f"{f'first {options.members} networks, mean probability':42s}  {growing_score:.3f}   0.760 to 0.766")
print(f"{f'first {options.members} networks, votes':42s}  {votes:.3f}   -")
print(f"{f'{len(single_scores)} single networks: mean':42s}  {single_scores.mean():.3f}   0.770")
print(f"{'    standard deviation':42s}  {single_sd:.3f}   0.014")
print(f"{f'{options.repeats} ensembles of five: mean':42s}  {ensemble_scores.mean():.3f}   0.768")
print(f"{'    standard deviation':42s}  {ensemble_sd:.3f}   0.006")

# %%
# The answer. Independent errors would give 1 / sqrt(5) = 0.45 of the spread.
CLEARLY_BELOW = 0.75

ratio = ensemble_sd / single_sd
print(f"An ensemble of five has {ratio:.2f} times the spread of one network (in the tutorial {0.006 / 0.014:.2f}).")
assert ratio < CLEARLY_BELOW, f"The spread of five networks must be below {CLEARLY_BELOW} of one's: got {ratio:.2f}."
