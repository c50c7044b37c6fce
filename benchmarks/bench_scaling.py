"""What does one more member cost, in time and in memory?

Time per member must not grow from 5 to 40 members, on the tutorial's few rows and on many. Peak memory may grow by the
variables, optimizer slots, batches and row orders of the added members, but not by copies of X: a fit on many rows runs
in a process of its own for each number of members.
"""

import re
import resource
import sys
from pathlib import Path

import numpy as np
from _harness import run, seconds
from _tutorial import blobs, ensemble

from skensemble import KerasAveragingClassifier, KerasClassifier

COUNTS = (5, 10, 20, 40)
N_ROWS, N_FEATURES, BATCH_SIZE = 100_000, 128, 256
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
    """Bytes of peak memory that a fit adds to data and imports, and seconds per member of a second fit."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, N_FEATURES), dtype="float32")
    y = rng.integers(0, 10, n_rows)
    member = KerasClassifier(hidden_layer_sizes=(64,), epochs=1, batch_size=BATCH_SIZE)
    model = KerasAveragingClassifier(member, n_members, engine="fused", random_state=0)
    before = peak_bytes()
    model.fit(X, y)
    return peak_bytes() - before, seconds(model.fit, X, y) / n_members


def peak_bytes():
    """Largest resident memory of this process so far."""
    if sys.platform == "linux":  # where `ru_maxrss` begins at that of the process that started this one
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


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
    n_added = COUNTS[-1] - COUNTS[0]
    added = [(last - first) / n_added / size_of_x for first, last in zip(peaks[0], peaks[-1], strict=True)]
    bench.limit(f"peak memory per added member, as a part of X ({size_of_x:.0f} MiB)", added, at_most=PART_OF_X)


if __name__ == "__main__":
    run(main, tutorial_fits, fit_on_many_rows)
