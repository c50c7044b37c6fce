"""
Can the ensemble be used without skensemble?
============================================

`to_keras` returns a fitted ensemble as one Keras model. Here it is saved, loaded by another Python process that cannot
import skensemble or scikit-learn, and compared with the ensemble itself.
"""

# %%
# Five networks on the digits.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skensemble import KerasAveragingClassifier, KerasClassifier

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
member = KerasClassifier(hidden_layer_sizes=(32,), epochs=10)
ensemble = KerasAveragingClassifier(member, n_estimators=5, random_state=0).fit(X_train, y_train)

# %%
# One model in one file, and the rows to predict.
from pathlib import Path

import numpy as np

output = Path("output")
output.mkdir(exist_ok=True)
model = ensemble.to_keras()
model.save(output / "digits.keras")
np.save(output / "rows.npy", X_test)

# %%
# Another process, which can import only Keras.
import subprocess
import sys

SERVER = """
import sys
sys.modules["skensemble"] = sys.modules["sklearn"] = None  # importing them raises ImportError
import keras, numpy
model = keras.saving.load_model("digits.keras")
numpy.save("predicted.npy", model.predict(numpy.load("rows.npy"), verbose=0))
"""
subprocess.run([sys.executable, "-W", "ignore", "-c", SERVER], cwd=output, check=True)
served = np.load(output / "predicted.npy")
own = ensemble.predict_proba(X_test)

# %%
# The figure: what each side predicts, and how far they are apart.
import matplotlib.pyplot as plt

difference = np.abs(served - own)
figure, (both, apart) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
both.plot([0, 1], [0, 1], color="tab:gray", linewidth=1)
both.scatter(own.ravel(), served.ravel(), s=10, color="tab:blue", alpha=0.5)
both.set(title="Probabilities", xlabel="predict_proba of the ensemble", ylabel="the model, loaded without skensemble")
apart.hist(difference.ravel(), bins=40, color="tab:blue")
apart.set(title="Difference", xlabel="absolute difference", ylabel="probabilities", yscale="log")
figure.savefig(output / "export.png", dpi=150)

# %%
# The answer.
print(f"{len(model.layers)} layers, {model.count_params():,} variables, largest difference {difference.max():.1e}")
labels = ensemble.classes_[served.argmax(axis=1)]
print(f"Accuracy of the model {(labels == y_test).mean():.3f}, of the ensemble {ensemble.score(X_test, y_test):.3f}")
assert difference.max() < 1e-5, "The exported model must predict what the ensemble predicts."
