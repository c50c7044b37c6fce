"""What does one more member cost, in time and in memory?

Time per member must not grow from 5 to 40 members, on the tutorial's few rows and on many. Peak memory may grow by the
variables, optimizer slots, batches and row orders of the added members, but not by copies of X: a fit on many rows runs
in a process of its own for each number of members. Tracing and compiling take memory too, once and whatever the number
of members: a fit on few rows comes before the one that is measured.
"""

import ctypes
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from _harness import run, seconds
from _tutorial import blobs, ensemble
from sklearn.base import clone

from skensemble import KerasAveragingClassifier, KerasClassifier

COUNTS = (5, 10, 20, 40)
N_ROWS, N_FEATURES, BATCH_SIZE = 100_000, 128, 256
#: As many steps as on many rows, so that the same is compiled.
WARM_UP_ROWS = 2_000
#: By how much a median may exceed that of half as many members without meaning anything.
NOISE = 1.1
#: The largest part of X's bytes by which one more member may raise the peak of memory.
PART_OF_X = 0.1


def tutorial_fits(n_repeats, epochs):
    """Seconds per member of fits whose program is there already, a list for each number of members."""
    X, y, _ = blobs()
    for n_members in COUNTS:
        ensemble(n_members, epochs).fit(X, y)
    times = [[seconds(ensemble(n, epochs).fit, X, y) / n for n in COUNTS] for _ in range(n_repeats)]
    return np.transpose(times).tolist()


def fit_on_many_rows(n_members, n_rows):
    """Bytes of memory that a fit adds at its peak, and seconds per member of another fit."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, N_FEATURES), dtype="float32")
    y = rng.integers(0, 10, n_rows)
    member = KerasClassifier(hidden_layer_sizes=(64,), epochs=1, batch_size=BATCH_SIZE)
    model = KerasAveragingClassifier(member, n_members, engine="fused", random_state=0)
    clone(model).set_params(estimator__epochs=-(-n_rows // WARM_UP_ROWS)).fit(X[:WARM_UP_ROWS], y[:WARM_UP_ROWS])
    with added_peak() as added:
        model.fit(X, y)
    return added[0], seconds(model.fit, X, y) / n_members


@contextmanager
def added_peak():
    """List of one number, after the block: by how many bytes its peak of resident memory exceeds what was in use."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        raise RuntimeError("the peak of memory can be measured on Linux only: /proc/self/clear_refs is missing.")
    ctypes.CDLL(None).malloc_trim(0)  # what the allocator keeps for later is not in use
    reset.write_text("5")  # the peak begins anew, see proc_pid_clear_refs(5)
    added = []
    before = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())[1]
    yield added
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]
    added.append(1024 * (int(peak) - int(before)))


def main(bench):
    n_rows = 1_000 if bench.quick else N_ROWS
    few = bench.fresh(tutorial_fits, n_repeats=1 if bench.quick else 7, epochs=2 if bench.quick else 200)
    repeats = [
        [bench.fresh(fit_on_many_rows, n_members=n_members, n_rows=n_rows) for n_members in COUNTS]
        for _ in range(1 if bench.quick else 3)
    ]
    many = [[repeat[i][1] for repeat in repeats] for i in range(len(COUNTS))]
    peaks = [[repeat[i][0] / 2**20 for repeat in repeats] for i in range(len(COUNTS))]
    for title, times in (("tutorial, seconds per member", few), (f"{n_rows} rows, seconds per member", many)):
        bench.limit(f"{title}, {COUNTS[0]} members", times[0], at_most=None)
        for i, n_members in enumerate(COUNTS[1:], start=1):
            name = f"{title}, {n_members} members"
            bench.compare(name, times[i], times[i - 1], peer_name=f"{COUNTS[i - 1]} members", at_most=NOISE)
    for n_members, peak in zip(COUNTS, peaks, strict=True):
        bench.limit(f"{n_rows} rows, MiB added to the peak by a fit, {n_members} members", peak, at_most=None)
    size_of_x = n_rows * N_FEATURES * 4 / 2**20
    added = [float(np.max(np.diff(repeat) / np.diff(COUNTS))) / size_of_x for repeat in zip(*peaks, strict=True)]
    name = f"peak memory per added member, at its largest between two numbers, as a part of X ({size_of_x:.0f} MiB)"
    bench.limit(name, added, at_most=PART_OF_X)


if __name__ == "__main__":
    run(main, tutorial_fits, fit_on_many_rows)
