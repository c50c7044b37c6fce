"""
How good is an ensemble on a pretrained network?
================================================

A network that was trained for one task has learned to see. Here a small ConvNet learns to read the ten digits. Its
convolutions, frozen, are then the backbone of five networks for which there are few labels: is a number even or odd?
Are they better than five networks that start from nothing?

With ``keras.applications`` it works the same way: the builder puts a ``Dense`` layer on a frozen
``MobileNetV2(weights="imagenet", include_top=False)``.
"""

# %%
# Images with their digits to learn the backbone from; 40 others with the new labels; and the rest to test on.
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

X, digits = load_digits(return_X_y=True)
images = X.reshape(-1, 8, 8, 1) / 16
X_first, X_new, digits_first, digits_new = train_test_split(images, digits, train_size=1000, random_state=0)
parity = np.where(digits_new % 2, "odd", "even")
X_train, X_test, y_train, y_test = train_test_split(X_new, parity, train_size=40, stratify=parity, random_state=0)

# %%
# The backbone: convolutions, and a layer that sums up what they see.
import keras

from skensemble import KerasAveragingClassifier, KerasClassifier


def backbone():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
        ]
    )


def with_head(body, n_outputs, activation):
    return keras.Sequential([keras.Input((8, 8, 1)), body, keras.layers.Dense(n_outputs, activation=activation)])


def reader(meta):
    return with_head(backbone(), meta["n_classes_"], "softmax")


def from_nothing():
    return with_head(backbone(), 1, "sigmoid")


settings = {"epochs": 100, "optimizer__learning_rate": 0.02}
pretrained = KerasClassifier(reader, epochs=15, optimizer__learning_rate=0.003, random_state=0).fit(
    X_first, digits_first
)
variables = pretrained.model_.layers[0].get_weights()

# %%
# The builder of the new networks puts a new head on a frozen copy of it.


def on_backbone(fine_tunes=False):
    body = backbone()
    body.set_weights(variables)
    body.trainable = fine_tunes
    return with_head(body, 1, "sigmoid")


ensembles = {
    name: KerasAveragingClassifier(KerasClassifier(build, **settings), n_estimators=5, random_state=0)
    for name, build in {"from nothing": from_nothing, "pretrained": on_backbone}.items()
}
for ensemble in ensembles.values():
    ensemble.fit(X_train, y_train)

# %%
# The figure.
from pathlib import Path

import matplotlib.pyplot as plt

from skensemble import TrainingHistoryDisplay

figure, (*curves, scores) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", width_ratios=[1, 1, 1.2])
curves[0].sharey(curves[1])
accuracies = {}
for (name, ensemble), ax, color, x in zip(ensembles.items(), curves, ("tab:gray", "tab:blue"), (0, 1), strict=True):
    TrainingHistoryDisplay.from_estimator(ensemble, ax=ax)
    ax.set(title=f"Training, {name}", yscale="log")
    members = [fitted.score(X_test, y_test) for fitted in ensemble.estimators_]
    accuracies[name] = ensemble.score(X_test, y_test)
    scores.scatter([x] * len(members), members, color=color, s=20, label="one network" if not x else None)
    scores.plot([x - 0.2, x + 0.2], [accuracies[name]] * 2, color=color, linewidth=2.5)
    scores.annotate(f" {accuracies[name]:.1%}", (x + 0.2, accuracies[name]), va="center")
scores.set_xticks([0, 1], accuracies)
scores.set(title="Held-out images: members, ensemble", ylabel="accuracy", xlim=(-0.6, 1.6))

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "backbone.png", dpi=150)

# %%
# The answer.
print(f"Accuracy after {settings['epochs']} epochs on {len(X_train)} images:")
for name, accuracy in accuracies.items():
    print(f"  five networks, {name:13s} {accuracy:.3f}")
frozen = ensembles["pretrained"].estimators_[0].model_.layers[0].get_weights()
assert all(np.array_equal(*pair) for pair in zip(frozen, variables, strict=True)), "A frozen backbone must not change."
assert accuracies["pretrained"] > accuracies["from nothing"], "A backbone that can read must help here."

# %%
# A second phase: the backbone is trained as well, with a small learning rate, from where the first phase ended. Whether
# that helps depends on how many labels there are; here it makes little difference.
tuned = ensembles["pretrained"]
tuned.set_params(estimator__model__fine_tunes=True, estimator__optimizer__learning_rate=1e-4)
tuned.partial_fit(X_train, y_train, epochs=20)
print(f"  five networks, fine-tuned    {tuned.score(X_test, y_test):.3f}")
moved = tuned.estimators_[0].model_.layers[0].get_weights()
assert not np.array_equal(moved[0], variables[0]), "The backbone must change in the second phase."
