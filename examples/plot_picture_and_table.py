"""
Does a network learn more from a picture and a table than from one of them?
===========================================================================

Handwritten digits come with a form: how much ink was used, and which of twelve offices wrote the digit. Each office
writes some digits more often than others, so the form says something that a blurred picture does not.

One network has an input for each part. ``inputs`` says which columns of X go to which, and ensembles of such networks
train in one program, like others.
"""

# %%
# Pictures of 8 x 8 pixels, so noisy that they are hard to read, beside two columns of a form.
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

rng = np.random.default_rng(0)
pictures, digits = load_digits(return_X_y=True)
pixels = pd.DataFrame(pictures / 16 + rng.normal(scale=0.45, size=pictures.shape)).add_prefix("pixel")
N_OFFICES = 12
office = np.where(rng.random(len(digits)) < 0.6, digits, rng.integers(0, N_OFFICES, len(digits)))
form = pd.DataFrame({"ink": pictures.mean(axis=1) / 5, "office": office})
X_train, X_test, y_train, y_test = train_test_split(pixels.join(form), digits, train_size=600, random_state=0)

# %%
# A convolution for the picture, an embedding for the office, and the ink as it is. Each part can be left out.
import keras

PARTS = {"picture": list(pixels.columns), "ink": ["ink"], "office": ["office"]}


def build(parts):
    picture, ink = keras.Input((8, 8, 1), name="picture"), keras.Input((1,), name="ink")
    office = keras.Input((1,), name="office", dtype="int32")
    seen = keras.layers.Conv2D(8, 3, activation="relu")(picture)
    features = {
        "picture": (picture, keras.layers.Flatten()(keras.layers.MaxPooling2D()(seen))),
        "ink": (ink, ink),
        "office": (office, keras.layers.Flatten()(keras.layers.Embedding(N_OFFICES, 4)(office))),
    }
    inputs, found = zip(*(features[part] for part in parts), strict=True)
    joined = found[0] if len(found) == 1 else keras.layers.Concatenate()(found)
    hidden = keras.layers.Dense(32, activation="relu")(joined)
    return keras.Model(list(inputs), keras.layers.Dense(10, activation="softmax")(hidden))


# %%
# An ensemble of three networks for each choice of parts.
from skensemble import KerasAveragingClassifier, KerasClassifier

scores = {}
for name, parts in {"the form": ("ink", "office"), "the picture": ("picture",), "both": tuple(PARTS)}.items():
    inputs = {part: PARTS[part] for part in parts}
    member = KerasClassifier(build, parts=parts, inputs=inputs, epochs=15, optimizer__learning_rate=0.005)
    ensemble = KerasAveragingClassifier(member, n_estimators=3, random_state=0).fit(X_train, y_train)
    scores[name] = ensemble.score(X_test, y_test)
    print(f"{name:<12}  {scores[name]:.3f}  ({ensemble.engine_})")

# %%
# Both together are right more often than either.
from pathlib import Path

import matplotlib.pyplot as plt

figure, axes = plt.subplots(layout="constrained")
bars = axes.barh(list(scores), list(scores.values()))
axes.bar_label(bars, fmt="%.2f", padding=3)
axes.set(xlim=(0, 1), xlabel="accuracy on test rows", title="What the networks saw")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "picture_and_table.png", dpi=150)
assert scores["both"] > max(scores["the form"], scores["the picture"]), "Each part must tell something here."
