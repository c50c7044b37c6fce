"""
When does each member stop?
===========================

Every member is trained on its own, with its own Keras callbacks. With `EarlyStopping` one member stops early while the
others continue; each keeps the variables of its best epoch. With ``early_stopping="ensemble"`` all stop together, when
their average no longer improves. They still all train in one program.
"""

# %%
# Few rows with noise, so that a network learns them by heart sooner or later.
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

X, y = make_classification(n_samples=1200, n_features=20, n_informative=6, flip_y=0.1, random_state=1)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=300, random_state=0)

# %%
# Eight members that train for all 120 epochs, eight that stop each by itself, and eight that stop together.
import keras

from skensemble import KerasAveragingClassifier, KerasClassifier

EPOCHS = 120
stop = keras.callbacks.EarlyStopping("val_loss", patience=10, restore_best_weights=True)
member = KerasClassifier(hidden_layer_sizes=(64,), epochs=EPOCHS, validation_split=0.25)
full = KerasAveragingClassifier(member, n_estimators=8, random_state=0).fit(X_train, y_train)
together = KerasAveragingClassifier(
    KerasClassifier(hidden_layer_sizes=(64,), epochs=EPOCHS),
    n_estimators=8,
    early_stopping="ensemble",
    validation_fraction=0.25,
    random_state=0,
).fit(X_train, y_train)
member.set_params(callbacks=[stop])
early = KerasAveragingClassifier(member, n_estimators=8, random_state=0).fit(X_train, y_train)
print(f"{early.engine_}: {early.engine_reason_}")

# %%
# The figure: a faint line for each member, which ends with a dot where the member stopped. The means end with the first
# of them. To the right the loss of the average alone, on rows that no member was trained on.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import TrainingHistoryDisplay

figure, axes = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained", sharey=True)
for ax, ensemble, title in zip(axes, (full, early), ("All epochs", "Each member stops"), strict=False):
    TrainingHistoryDisplay.from_estimator(ensemble, ax=ax)
    ax.set(title=title, xlim=(0, EPOCHS + 2))
losses, best = together.validation_losses_, together.best_epoch_
axes[2].plot(
    range(1, len(losses) + 1),
    losses,
    color="tab:orange",
    linestyle="--",
    linewidth=2.5,
    label="validation, average of 8",
)
axes[2].plot(best, losses[best - 1], "o", color="black", label=f"kept: epoch {best}")
axes[2].set(title="The ensemble stops", xlabel="epoch", xlim=(0, EPOCHS + 2))
axes[2].legend()

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "early_stopping.png", dpi=150)

# %%
# The answer. An average of members that know their rows by heart is not as bad as they are.
from sklearn.metrics import log_loss

stopped = [len(fitted.history_["loss"]) for fitted in early.estimators_]
print(f"Each by itself, the members stopped after {', '.join(map(str, stopped))} epochs.")
print(f"Their average was best after {together.best_epoch_}.\n")
print("held-out log-loss   mean member   ensemble")
of_members = {}
for name, ensemble in (("all epochs", full), ("each stops", early), ("ensemble stops", together)):
    of_members[name] = sum(log_loss(y_test, proba) for proba in ensemble.predict_members(X_test)) / len(ensemble)
    print(f"{name:17s} {of_members[name]:13.3f} {log_loss(y_test, ensemble.predict_proba(X_test)):10.3f}")
assert max(stopped) < EPOCHS
assert of_members["each stops"] < of_members["all epochs"], "Members must be better for stopping."
