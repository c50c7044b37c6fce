"""
Vote, weigh or stack?
=====================

Two networks and a random forest, one of the networks stopped much too early. A vote counts all equally; greedy weights
are learned on held-out rows; a stacking ensemble learns how to combine from what the members predict in
cross-validation. Which of them copes with a bad member?
"""

# %%
# The digits, half of them held out.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)

# %%
# The same members under each way to combine.
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from skensemble import KerasClassifier, KerasVotingClassifier, StackedKerasClassifier

members = [
    ("network", KerasClassifier(hidden_layer_sizes=(64,), epochs=30)),
    ("untrained", KerasClassifier(hidden_layer_sizes=(64,), epochs=1)),
    ("forest", RandomForestClassifier(n_estimators=50)),
]
ensembles = {
    "vote": KerasVotingClassifier(members, random_state=0),
    "greedy\nweights": KerasVotingClassifier(members, weights="greedy", random_state=0),
    "stacking": StackedKerasClassifier(members, LogisticRegression(max_iter=1000), cv=3, random_state=0),
}
for ensemble in ensembles.values():
    ensemble.fit(X_train, y_train)

# %%
# Scores of the members alone, and of each way to combine them.
from sklearn.metrics import log_loss


def score(proba):
    proba = proba.astype("float64")
    return log_loss(y_test, proba / proba.sum(axis=1, keepdims=True))  # networks predict float32: sums are not quite 1


alone = ensembles["vote"].predict_members(X_test)
scores = {name: score(proba) for (name, _), proba in zip(members, alone, strict=True)}
scores |= {name: score(ensemble.predict_proba(X_test)) for name, ensemble in ensembles.items()}
weights = ensembles["greedy\nweights"].weights_
for name, value in scores.items():
    print(f"{name.replace(chr(10), ' '):16s} log-loss {value:.3f}")

# %%
# The figure.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import MemberWeightsDisplay

names = [name for name, _ in members]
figure, (bars, counts) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=[1.7, 1])
drawn = bars.bar(list(scores), scores.values(), color=["tab:gray"] * len(members) + ["tab:blue"] * len(ensembles))
bars.bar_label(drawn, fmt="%.2f", padding=2)
bars.margins(y=0.12)
bars.set(title="Members alone, and combined", ylabel="log-loss (less is better)")
MemberWeightsDisplay.from_estimator(ensembles["greedy\nweights"], ax=counts)
counts.set_title("Greedy weights of the members")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "voting_and_stacking.png", dpi=150)

# %%
# The answer.
print("Greedy weights: " + ", ".join(f"{name} {weight:.2f}" for name, weight in zip(names, weights, strict=True)))
assert weights[1] < 1 / 3, "A member that is hardly trained must count less than the others."
assert scores["greedy\nweights"] < scores["vote"], "Weights must help against a bad member."
