"""How much faster are cross-validation and a grid search over an ensemble than with Keras' own fit?

Ten members of the tutorial's network, five folds; the grid has four learning rates and three widths. Each search runs
in a fresh process, tracing and compiling included. With `engine="keras"` a part is run (one member, one fold; in the
grid one candidate of each width) and scaled.
"""

from _harness import run, seconds
from _tutorial import EPOCHS, blobs, ensemble
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score

N_MEMBERS, N_FOLDS = 10, 5
RATES, WIDTHS = (0.0003, 0.001, 0.003, 0.01), (8, 15, 30)


def cross_validation(epochs, engine, n_members, n_folds):
    """Seconds of `cross_val_score`, of its first `n_folds` folds only."""
    X, y, _ = blobs()
    folds = list(StratifiedKFold(N_FOLDS).split(X, y))[:n_folds]
    return seconds(lambda: cross_val_score(ensemble(n_members, epochs, engine=engine), X, y, cv=folds))


def grid_search(epochs, engine, n_members, n_folds, rates, widths):
    """Seconds of `GridSearchCV` over `rates` and `widths`, without the last fit on all rows."""
    X, y, _ = blobs()
    folds = list(StratifiedKFold(N_FOLDS).split(X, y))[:n_folds]
    grid = {
        "estimator__optimizer__learning_rate": list(rates),
        "estimator__hidden_layer_sizes": [(width,) for width in widths],
    }
    search = GridSearchCV(ensemble(n_members, epochs, engine=engine), grid, cv=folds, refit=False, error_score="raise")
    return seconds(lambda: search.fit(X, y))


def main(bench):
    epochs, rates, widths = (2, RATES[:1], WIDTHS[:1]) if bench.quick else (EPOCHS, RATES, WIDTHS)
    fused = {"epochs": epochs, "engine": "fused", "n_members": N_MEMBERS, "n_folds": 2 if bench.quick else N_FOLDS}
    part = {"epochs": epochs, "engine": "keras", "n_members": 1, "n_folds": 1}
    times = bench.repeat(
        3,
        scores=lambda: bench.fresh(cross_validation, **fused),
        keras_scores=lambda: bench.fresh(cross_validation, **part) * N_MEMBERS * N_FOLDS,
        grid=lambda: bench.fresh(grid_search, rates=rates, widths=widths, **fused),
        keras_grid=lambda: (
            bench.fresh(grid_search, rates=RATES[:1], widths=widths, **part) * N_MEMBERS * N_FOLDS * len(RATES)
        ),
    )
    bench.compare(
        f"cross_val_score, {N_FOLDS} folds, {N_MEMBERS} members",
        times["scores"],
        times["keras_scores"],
        peer_name=f'engine="keras", 1 of {N_MEMBERS * N_FOLDS} fits timed, scaled',
    )
    n_candidates = len(RATES) * len(WIDTHS)
    bench.compare(
        f"GridSearchCV, {n_candidates} candidates, {N_FOLDS} folds, {N_MEMBERS} members",
        times["grid"],
        times["keras_grid"],
        peer_name=f'engine="keras", {len(WIDTHS)} of {N_MEMBERS * N_FOLDS * n_candidates} fits timed, scaled',
    )


if __name__ == "__main__":
    run(main, cross_validation, grid_search)
