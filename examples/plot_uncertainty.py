"""
Does the ensemble know what it has never seen?
==============================================

One network is sure of itself even where there were no data. Ten networks agree where they have seen data. Far away,
each draws the boundary between the classes in a different place. ``predict_uncertainty`` measures both: what the
members agree cannot be known (aleatoric), and what they disagree about (epistemic).
"""

# %%
# Two half moons that overlap a little.
from sklearn.datasets import make_moons

X, y = make_moons(n_samples=300, noise=0.25, random_state=0)

# %%
# Ten small networks.
from skensemble import KerasAveragingClassifier, KerasClassifier

member = KerasClassifier(hidden_layer_sizes=(32, 32), epochs=100, optimizer__learning_rate=0.01)
ensemble = KerasAveragingClassifier(member, n_estimators=10, random_state=0).fit(X, y)

# %%
# Both parts of the uncertainty, for the data and for points far away from them.
import numpy as np

axis = np.linspace(-5, 6, 120)
grid = np.stack(np.meshgrid(axis, axis - 0.25), axis=-1)
on_grid = ensemble.predict_uncertainty(grid.reshape(-1, 2))
near = ensemble.predict_uncertainty(X)
far_away = np.linalg.norm(grid.reshape(-1, 1, 2) - X, axis=-1).min(axis=1) > 2

# %%
# The figure. Near the data the boundary is uncertain because the classes overlap; far away, because members disagree.
# Where no member has its boundary, they are all sure, rightly or not: an ensemble is no detector of everything new.
from pathlib import Path

import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
titles = {"aleatoric": "aleatoric: the classes overlap", "epistemic": "epistemic: the members disagree"}
for ax, (part, title) in zip(axes, titles.items(), strict=True):
    values = getattr(on_grid, part).reshape(grid.shape[:2])
    drawn = ax.contourf(*grid.transpose(2, 0, 1), values, levels=12, cmap="viridis")
    for label, marker in enumerate("os"):
        ax.scatter(*X[y == label].T, s=14, marker=marker, color="white", edgecolor="black", linewidth=0.5)
    ax.set(title=title, xlabel="first feature")
    figure.colorbar(drawn, ax=ax, label="nats", format="%.2f")
axes[0].set_ylabel("second feature")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "uncertainty.png", dpi=150)

# %%
# The answer.
known, unknown = near.epistemic.mean(), on_grid.epistemic[far_away].mean()
print(f"Epistemic uncertainty at the data {known:.3f} nats, far away {unknown:.3f} nats.")
assert unknown > known, "Members must disagree more where there were no data."
