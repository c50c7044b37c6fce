"""What do saving and loading cost, beside joblib and beside a folder of `.keras` files?

Ensembles of 1 and 20 members, tiny and of 10 million numbers in all. Sizes are in kilobytes. joblib keeps the state of
the optimizers, `.keras` files too; `skensemble.io.dump` leaves it out unless it is asked for. A lazy load of one member
is counted by the bytes that the process reads (Linux).
"""

import copy
import tempfile
from pathlib import Path

import joblib
import keras
import numpy as np
from _harness import run, seconds

import skensemble.io
from skensemble import KerasAveragingClassifier, KerasClassifier

N_MEMBERS = 20
KILOBYTE = 1000
# Units of each of two hidden layers, so that all members together have about 10 million numbers.
WIDE = {1: 3160, N_MEMBERS: 700}
TINY = 10
QUICK_MEMBERS, QUICK_UNITS = 8, 16
COUNTER = Path("/proc/self/io")


def fitted(n_members, units):
    """An ensemble after one epoch on a few rows, and the rows."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(64, 8)).astype("float32"), np.arange(64) % 3
    member = KerasClassifier(hidden_layer_sizes=(units, units), epochs=1)
    return KerasAveragingClassifier(member, n_members, random_state=0).fit(X, y), X


def save_folder(ensemble, folder):
    """Each member's network in a file of Keras."""
    folder.mkdir(exist_ok=True)
    for i, member in enumerate(ensemble.estimators_):
        member.model_.save(folder / f"{i}.keras")


def load_folder(folder):
    """The networks of a folder."""
    return [keras.models.load_model(path) for path in sorted(folder.iterdir())]


def size(path):
    """Kilobytes of a file, or of the files in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files) / KILOBYTE


def measure(bench, title, n_members, units, folder, *, bounded):
    """The rows of one ensemble."""
    ensemble, X = fitted(n_members, units)
    built = copy.deepcopy(ensemble)  # its members are built as estimators, which joblib would save one by one
    ours, pickled, networks = folder / "x.skens", folder / "x.joblib", folder / "networks"
    dumps = bench.repeat(
        3,
        ours=lambda: seconds(skensemble.io.dump, ensemble, ours),
        joblib=lambda: seconds(joblib.dump, ensemble, pickled),
        networks=lambda: seconds(save_folder, built, networks),
    )
    loads = bench.repeat(
        5,
        ours=lambda: seconds(skensemble.io.load, ours),
        joblib=lambda: seconds(joblib.load, pickled),
        networks=lambda: seconds(load_folder, networks),
    )
    np.testing.assert_array_equal(skensemble.io.load(ours).predict_proba(X), ensemble.predict_proba(X))
    for peer, path, bound in (("joblib", pickled, 1), ("networks", networks, None)):
        name = peer if peer == "joblib" else ".keras files"
        bench.compare(f"{title}, size beside {name}", [size(ours)], [size(path)], peer_name=name, at_most=bound)
        bench.compare(f"{title}, dump beside {name}", dumps["ours"], dumps[peer], peer_name=name)
        bound = 1 if bounded and peer == "joblib" else None
        bench.compare(f"{title}, load beside {name}", loads["ours"], loads[peer], peer_name=name, at_most=bound)
    return ours


def bytes_read(function):
    """Bytes that the process reads in a call."""
    before = int(COUNTER.read_text().split()[1])
    function()
    return int(COUNTER.read_text().split()[1]) - before


def measure_lazy(bench, path):
    """Share of a large file that is read for one of its members."""
    read = bench.repeat(3, lazy=lambda: bytes_read(lambda: skensemble.io.load(path, lazy=True).estimators_[7]))["lazy"]
    share = [one / KILOBYTE / size(path) for one in read]
    bench.limit(f"share of a {N_MEMBERS}-member file that is read for one member", share, at_most=1.5 / N_MEMBERS)


def main(bench):
    with tempfile.TemporaryDirectory() as folder:
        for n_members in (1, QUICK_MEMBERS if bench.quick else N_MEMBERS):
            title = f"{n_members} member{'s' if n_members > 1 else ''}"
            measure(bench, f"{title}, tiny", n_members, TINY, Path(folder), bounded=n_members > 1)
            units = QUICK_UNITS if bench.quick else WIDE[n_members]
            path = measure(bench, f"{title}, 10 million numbers", n_members, units, Path(folder), bounded=False)
        if COUNTER.exists():
            measure_lazy(bench, path)


if __name__ == "__main__":
    run(main)
