"""
Are the probabilities right?
============================

A classifier is calibrated when 80 % of all predictions made with a probability of 80 % are right. How far from that is
one network that was trained for too long, how far is the average of ten, and does calibrating the average help?
"""

# %%
# Two classes with noise in the labels: a part for training, a part for calibration, a part to test on.
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

X, y = make_classification(n_samples=3000, n_features=10, n_informative=5, flip_y=0.2, random_state=0)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=500, random_state=0)
X_calibration, X_test, y_calibration, y_test = train_test_split(X_rest, y_rest, train_size=500, random_state=0)

# %%
# Ten networks, each trained until it knows its rows by heart. The average is calibrated afterwards, on rows that no
# network was trained on.
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from skensemble import KerasAveragingClassifier, KerasClassifier

member = KerasClassifier(hidden_layer_sizes=(64, 64), epochs=60)
ensemble = KerasAveragingClassifier(member, n_estimators=10, random_state=0).fit(X_train, y_train)
calibrated = CalibratedClassifierCV(FrozenEstimator(ensemble)).fit(X_calibration, y_calibration)

# %%
# The expected calibration error: how far the share of right answers is from the probability, in ten bins.
import numpy as np
from sklearn.metrics import log_loss


def calibration_error(proba):
    bins = np.minimum((10 * proba).astype(int), 9)
    gaps = [abs(proba[bins == i].mean() - y_test[bins == i].mean()) * (bins == i).mean() for i in np.unique(bins)]
    return sum(gaps)


predictions = {
    "one network": ensemble.estimators_[0].predict_proba(X_test)[:, 1],
    "ten networks": ensemble.predict_proba(X_test)[:, 1],
    "ten networks, calibrated": calibrated.predict_proba(X_test)[:, 1],
}
errors = {name: calibration_error(proba) for name, proba in predictions.items()}
print("                           calibration error   log-loss")
for name, proba in predictions.items():
    print(f"{name:26s} {errors[name]:17.3f} {log_loss(y_test, proba):10.3f}")

# %%
# The figure: on the dotted line the probabilities are right.
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.calibration import CalibrationDisplay

figure, (curves, counts) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
for (name, proba), marker, color in zip(predictions.items(), "osv", ("gray", "blue", "orange"), strict=True):
    CalibrationDisplay.from_predictions(
        y_test, proba, n_bins=8, name=name, ax=curves, marker=marker, color=f"tab:{color}"
    )
    counts.hist(proba, bins=20, range=(0, 1), histtype="step", linewidth=1.5, color=f"tab:{color}", label=name)
curves.set(title="Reliability", xlabel="probability of class 1", ylabel="share of class 1")
counts.set(title="How often each probability is given", xlabel="probability of class 1", ylabel="rows")
counts.legend(loc="upper center")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "calibration.png", dpi=150)

# %%
# The answer.
one, ten, last = errors.values()
print(f"Averaging takes the calibration error from {one:.3f} to {ten:.3f}, calibrating the average to {last:.3f}.")
assert last < one, "The calibrated ensemble must be better calibrated than one network."
