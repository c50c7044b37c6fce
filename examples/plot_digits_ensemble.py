"""
What do twenty networks know that one does not?
===============================================

Twenty copies of one network learn to read handwritten digits, each from its own random start. Is their average more
accurate than they are, are its probabilities better, and does it know when it is wrong? The fitted ensemble is then
saved, and loaded again. The figure and the ensemble go to the folder `output`.
"""

# %%
# The digits that come with scikit-learn: 1,797 images of 8 x 8 pixels with values from 0 to 16. Half are held out.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)

# %%
# The ensemble prints a line for each member that is trained.
from time import perf_counter

from skensemble import KerasAveragingClassifier, KerasClassifier

member = KerasClassifier(hidden_layer_sizes=(64, 64), optimizer__learning_rate=0.01, epochs=10, batch_size=64)
ensemble = KerasAveragingClassifier(member, n_estimators=20, random_state=0, verbose=1)

print(f"Training {ensemble.n_estimators} networks on {len(X_train)} images")
start = perf_counter()
ensemble.fit(X_train, y_train)
print(f"Trained in {perf_counter() - start:.0f} s ({ensemble.engine_reason_})")

# %%
# Each member is an ordinary classifier: here they are scored as one would score any other.
import numpy as np
from sklearn.metrics import accuracy_score, log_loss

member_proba = ensemble.predict_members(X_test)
member_accuracy = np.array([accuracy_score(y_test, proba.argmax(axis=1)) for proba in member_proba])
member_log_loss = np.array([log_loss(y_test, proba) for proba in member_proba])
accuracy = ensemble.score(X_test, y_test)
loss = log_loss(y_test, ensemble.predict_proba(X_test))

print(f"\nOn {len(X_test)} images that no network has seen:\n")
print("             accuracy  log-loss")
for i, scores in enumerate(zip(member_accuracy, member_log_loss, strict=True), start=1):
    print("member {:2d}       {:.3f}     {:.3f}".format(i, *scores))
print(f"members' mean   {member_accuracy.mean():.3f}     {member_log_loss.mean():.3f}")
print(f"ensemble        {accuracy:.3f}     {loss:.3f}")

# %%
# The epistemic part of the uncertainty is how much the members disagree.
predicted = ensemble.predict(X_test)
epistemic = ensemble.predict_uncertainty(X_test).epistemic
right = predicted == y_test
disagreement_right, disagreement_wrong = epistemic[right].mean(), epistemic[~right].mean()

print(f"\nEpistemic uncertainty of the {right.sum()} right predictions: {disagreement_right:.3f} nats on average")
print(f"Epistemic uncertainty of the {(~right).sum()} wrong predictions: {disagreement_wrong:.3f} nats on average")

# %%
# The figure: how the score grows with the number of members, and the images that the members disagree about most.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import MembersDisplay

output = Path("output")
output.mkdir(exist_ok=True)

figure = plt.figure(figsize=(11, 3.8), layout="constrained")
left, right_half = figure.subfigures(1, 2, width_ratios=[1.15, 1])
ax = left.subplots()
MembersDisplay.from_estimator(ensemble, X_test, y_test, ax=ax)
ax.set(title="Held-out accuracy", xticks=[1, 5, 10, 15, 20])

right_half.suptitle("The images the networks disagree about most")
most_uncertain = np.argsort(epistemic)[::-1][:10]
for ax, i in zip(right_half.subplots(2, 5).flat, most_uncertain, strict=True):
    ax.imshow(X_test[i].reshape(8, 8), cmap="gray_r")
    ax.set_axis_off()
    color = "#0072B2" if right[i] else "#D55E00"
    ax.set_title(f"read as {predicted[i]}\nis {y_test[i]}", color=color, fontsize=9)

figure.savefig(output / "digits_ensemble.png", dpi=150)
print(f"\nFigure:   {output / 'digits_ensemble.png'}")

# %%
# The ensemble is saved and loaded like any other scikit-learn estimator, and predicts the very same numbers.
import joblib

joblib.dump(ensemble, output / "digits_ensemble.joblib")
loaded = joblib.load(output / "digits_ensemble.joblib")
assert np.array_equal(loaded.predict_proba(X_test), ensemble.predict_proba(X_test))
assert np.array_equal(loaded.predict(X_test), predicted)
print(f"Ensemble: {output / 'digits_ensemble.joblib'} (loaded again: equal predictions)")

# %%
# The answer.
n_members = ensemble.n_estimators
n_less_accurate = (member_accuracy < accuracy).sum()
n_higher_loss = (member_log_loss > loss).sum()
ratio = disagreement_wrong / disagreement_right
print(f"\nThe ensemble is more accurate than {n_less_accurate} of its {n_members} members.")
print(f"Its log-loss is lower than that of {n_higher_loss} of its {n_members} members.")
print(f"Where it is wrong, its members disagree {ratio:.1f} times as much as where it is right.")
