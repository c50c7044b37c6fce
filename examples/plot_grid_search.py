"""
Which network is the best one to average?
=========================================

The score of one network depends on chance, and a grid search over single networks picks a lucky one. Here the
candidates of the search are ensembles of three: width and learning rate of the network are searched through them.
"""

# %%
# The digits that come with scikit-learn.
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=500, stratify=y, random_state=0)

# %%
# Nine candidates in three folds with three members each: 81 networks.
from time import perf_counter

from sklearn.model_selection import GridSearchCV

from skensemble import KerasAveragingClassifier, KerasClassifier

ensemble = KerasAveragingClassifier(KerasClassifier(epochs=10), n_estimators=3, random_state=0)
rates = [0.0003, 0.003, 0.03]
widths = [(8,), (32,), (128,)]
grid = {"estimator__hidden_layer_sizes": widths, "estimator__optimizer__learning_rate": rates}

start = perf_counter()
search = GridSearchCV(ensemble, grid, cv=3).fit(X_train, y_train)
print(f"Searched in {perf_counter() - start:.0f} s")

# %%
# The figure: the mean score of each candidate.
from pathlib import Path

import matplotlib.pyplot as plt

scores = search.cv_results_["mean_test_score"].reshape(len(widths), len(rates))
figure, ax = plt.subplots(figsize=(6, 4.4), layout="constrained")
image = ax.imshow(scores, cmap="viridis", aspect="auto")
for (row, column), score in zip([(i, j) for i in range(3) for j in range(3)], scores.ravel(), strict=True):
    light = image.norm(score) > 0.6
    ax.text(column, row, f"{score:.3f}", ha="center", va="center", color="black" if light else "white")
ax.set_xticks(range(len(rates)), rates)
ax.set_yticks(range(len(widths)), [width for (width,) in widths])
ax.set(title="Accuracy in cross-validation, three members", xlabel="learning rate", ylabel="units")
figure.colorbar(image, label="accuracy")

output = Path("output")
output.mkdir(exist_ok=True)
figure.savefig(output / "grid_search.png", dpi=150)

# %%
# The best candidate, with ten members instead of three.
best = search.best_estimator_
three = best.score(X_test, y_test)
ten = best.set_params(n_estimators=10).fit(X_train, y_train).score(X_test, y_test)
print(f"Best: {search.best_params_}")
print(f"On held-out images: {three:.3f} with three members, {ten:.3f} with ten.")
assert search.best_score_ == scores.max()
