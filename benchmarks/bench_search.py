"""How much faster are cross-validation and searches, than with Keras' own fit, and our searches than scikit-learn's?

Ten members of the tutorial's network, five folds; the grid has four learning rates and three widths. Each search runs
in a fresh process, tracing and compiling included. With `engine="keras"` a part is run (one member, one fold; in the
grid one candidate of each width) and scaled.

The searches of `skensemble.model_selection` train the fits of scikit-learn's own together. Both run around the same
estimators, with our engine: the grid, a grid over one network, a search over drawn learning rates of one network, and
one by successive halving over epochs. The second search of a process shows what is left without tracing.
"""

from functools import partial

from _harness import run, seconds
from _tutorial import EPOCHS, blobs, ensemble
from scipy.stats import loguniform
from sklearn import model_selection as of_sklearn
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import StratifiedKFold, cross_val_score

from skensemble import model_selection as ours

N_MEMBERS, N_FOLDS = 10, 5
RATES, WIDTHS = (0.0003, 0.001, 0.003, 0.01), (8, 15, 30)
N_DRAWN = 20
MODULES = {"ours": ours, "scikit-learn": of_sklearn}
#: Of our searches against scikit-learn's, both with our engine: the grid, and drawn learning rates of one network.
GRID_FASTER, DRAWN_FASTER = 1.5, 3


def folds_of(X, y, n_folds):
    return list(StratifiedKFold(N_FOLDS).split(X, y))[:n_folds]


def cross_validation(epochs, engine, n_members, n_folds):
    """Seconds of `cross_val_score`, of its first `n_folds` folds only."""
    X, y, _ = blobs()
    folds = folds_of(X, y, n_folds)
    return seconds(lambda: cross_val_score(ensemble(n_members, epochs, engine=engine), X, y, cv=folds))


def grid_search(epochs, engine, n_members, n_folds, rates, widths, searches="scikit-learn", n_searches=1):
    """Seconds of each `GridSearchCV` over `rates` and `widths`, without the last fit on all rows."""
    X, y, _ = blobs()
    grid = {
        "estimator__optimizer__learning_rate": list(rates),
        "estimator__hidden_layer_sizes": [(width,) for width in widths],
    }
    given = {"cv": folds_of(X, y, n_folds), "refit": False, "error_score": "raise"}
    search = MODULES[searches].GridSearchCV(ensemble(n_members, epochs, engine=engine), grid, **given)
    return [seconds(search.fit, X, y) for _ in range(n_searches)]


def network_search(kind, epochs, n_folds, n_candidates, searches, n_searches=2):
    """Seconds of each search over one network."""
    X, y, _ = blobs()
    network = clone(ensemble(1, epochs).estimator).set_params(random_state=0)
    given = {"cv": folds_of(X, y, n_folds), "refit": False, "error_score": "raise"}
    name, drawn = "optimizer__learning_rate", {"optimizer__learning_rate": loguniform(1e-4, 1e-1)}
    if kind == "GridSearchCV":
        search = MODULES[searches].GridSearchCV(network, {name: list(RATES[:n_candidates])}, **given)
    elif kind == "RandomizedSearchCV":
        given |= {"n_iter": n_candidates, "random_state": 0}
        search = MODULES[searches].RandomizedSearchCV(network, drawn, **given)
    else:
        given |= {"resource": "epochs", "max_resources": epochs, "min_resources": max(1, epochs // 9)}
        given |= {"n_candidates": n_candidates, "random_state": 0}
        search = MODULES[searches].HalvingRandomSearchCV(network, drawn, **given)
    return [seconds(search.fit, X, y) for _ in range(n_searches)]


def compare_with_sklearn(bench, title, part, *, bounds=(None, None)):
    """The first and the second search of a process, of our classes and of scikit-learn's."""
    times = bench.repeat(3, **{name: partial(bench.fresh, searches=name, **part) for name in MODULES})
    by_search = {name: list(zip(*of_module, strict=True)) for name, of_module in times.items()}
    for k, (which, bound) in enumerate(zip(("first search", "second search"), bounds, strict=True)):
        mine, theirs = (list(by_search[name][k]) for name in MODULES)
        bench.compare(f"{title}, {which}", mine, theirs, peer_name="scikit-learn's, our engine", at_least=bound)


def main(bench):
    epochs, rates, widths = (2, RATES[:1], WIDTHS[:1]) if bench.quick else (EPOCHS, RATES, WIDTHS)
    n_folds = 2 if bench.quick else N_FOLDS
    fused = {"epochs": epochs, "engine": "fused", "n_members": N_MEMBERS, "n_folds": n_folds}
    part = {"epochs": epochs, "engine": "keras", "n_members": 1, "n_folds": 1}
    times = bench.repeat(
        3,
        scores=lambda: bench.fresh(cross_validation, **fused),
        keras_scores=lambda: bench.fresh(cross_validation, **part) * N_MEMBERS * N_FOLDS,
        grid=lambda: bench.fresh(grid_search, rates=rates, widths=widths, searches="ours", **fused)[0],
        keras_grid=lambda: (
            bench.fresh(grid_search, rates=RATES[:1], widths=widths, **part)[0] * N_MEMBERS * N_FOLDS * len(RATES)
        ),
    )
    bench.compare(
        f"cross_val_score, {N_FOLDS} folds, {N_MEMBERS} members",
        times["scores"],
        times["keras_scores"],
        peer_name=f'engine="keras", 1 of {N_MEMBERS * N_FOLDS} fits timed, scaled',
    )
    n_candidates = len(RATES) * len(WIDTHS)
    title = f"GridSearchCV, {n_candidates} candidates, {N_FOLDS} folds, {N_MEMBERS} members"
    bench.compare(
        title,
        times["grid"],
        times["keras_grid"],
        peer_name=f'engine="keras", {len(WIDTHS)} of {N_MEMBERS * N_FOLDS * n_candidates} fits timed, scaled',
    )
    grid = {"part": grid_search, "rates": rates, "widths": widths, "n_searches": 2, **fused}
    compare_with_sklearn(bench, title, grid, bounds=(None, GRID_FASTER))
    for kind, n_candidates, bound in (
        ("GridSearchCV", len(RATES), None),
        ("RandomizedSearchCV", N_DRAWN, DRAWN_FASTER),
        ("HalvingRandomSearchCV", N_DRAWN, None),
    ):
        n_candidates = min(n_candidates, 2) if bench.quick else n_candidates
        of_network = {"part": network_search, "kind": kind, "epochs": max(epochs, 3), "n_folds": n_folds}
        title = f"{kind}, {n_candidates} learning rates, {N_FOLDS} folds, one network"
        compare_with_sklearn(bench, title, of_network | {"n_candidates": n_candidates}, bounds=(None, bound))


if __name__ == "__main__":
    run(main, cross_validation, grid_search, network_search)
