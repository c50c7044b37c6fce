"""What the benchmarks share: timing, fresh processes, the table, the results file and the assertions.

A script defines `main(bench)` and ends with `run(main, ...)`. It measures by `Benchmark.repeat`, states its rows by
`Benchmark.compare` and `Benchmark.limit`, and `run` does the rest: prints versions and the table, asserts the bounds,
writes `results/<script>.json`. With `--quick` everything runs small, nothing is asserted and nothing is written.
"""

import argparse
import inspect
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("scikit-learn", "keras", "tensorflow", "scikeras", "numpy", *(["jax"] if find_spec("jax") else []))
#: Before the JSON of a part's result on its standard output.
_MARK = "result of the part: "


def seconds(function, *arguments, **options):
    """How long one call takes."""
    start = time.perf_counter()
    function(*arguments, **options)
    return time.perf_counter() - start


def keras_loop(build, X, y, n_members, **fit):
    """Seconds of each turn of the loop that is written by hand with Keras: build a compiled model, call its `fit`."""
    return [seconds(lambda: build().fit(X, y, verbose=0, **fit)) for _ in range(n_members)]


def scaled(times, n_members):
    """Seconds of a loop over `n_members`, each as long as the mean of those that were timed."""
    return statistics.mean(times) * n_members


class Benchmark:
    """The rows of one script.

    Attributes
    ----------
    quick : bool
        Whether to run small, only to see that everything runs.
    packages : list of str
        Whose versions are printed and written.
    """

    def __init__(self, script, quick):
        self.script, self.quick = Path(script), quick
        self.packages = list(PACKAGES)
        self.rows, self.skipped = [], []
        self.load = _load_average()

    def repeat(self, n_repeats, **functions):
        """Call the functions in turn, so that all of them meet the same load of the machine; a list of results each."""
        results = {name: [] for name in functions}
        for _ in range(1 if self.quick else n_repeats):
            for name, function in functions.items():
                results[name].append(function())
        return results

    def fresh(self, part, **arguments):
        """What `part(**arguments)` of the script returns in a process of its own, by way of JSON.

        With `--quick` it runs in this process: starting one takes longer than what it would measure.
        """
        if self.quick:
            return json.loads(json.dumps(part(**arguments)))
        command = [sys.executable, str(self.script), "--part", part.__name__, json.dumps(arguments)]
        completed = subprocess.run(command, capture_output=True, text=True)
        if completed.returncode:
            raise RuntimeError(f"{part.__name__}({arguments}) failed:\n{completed.stderr}")
        return json.loads(completed.stdout.rpartition(_MARK)[2])

    def compare(self, name, ours, peer, *, peer_name, at_least=None, at_most=None):
        """A row of two lists of seconds: `at_least` bounds peer / ours from below, `at_most` ours / peer from above."""
        ours_median, peer_median = statistics.median(ours), statistics.median(peer)
        ratio = ours_median / peer_median if at_most is not None else peer_median / ours_median
        self._add(name, ours, ratio, at_least, at_most, peer={"name": peer_name, **_spread(peer)})

    def limit(self, name, ours, *, at_most):
        """A row of one list of numbers, whose median is bounded; with None it is only shown."""
        self._add(name, ours, statistics.median(ours), None, at_most)

    def scores(self, name, ours):
        """A row of scores, shown by their mean and standard deviation, without a bound."""
        spread = {"mean": statistics.mean(ours), "sd": statistics.stdev(ours), "repeats": len(ours)}
        self.rows.append({"name": name, "ours": spread, "value": spread["mean"], "bound": None, "holds": True})

    def skip(self, what, reason):
        """Say what is not measured, and why; the results are not written then, so that none goes missing unnoticed."""
        print(f"skipped: {what}: {reason}")
        self.skipped.append(what)

    def _add(self, name, ours, value, at_least, at_most, **more):
        holds = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
        bound = None
        if at_least is not None or at_most is not None:
            bound = f"<= {at_most:g}" if at_most is not None else f">= {at_least:g}"
        self.rows.append(
            {"name": name, "ours": _spread(ours), **more, "value": value, "bound": bound, "holds": bool(holds)}
        )

    def finish(self):
        """Print everything, assert the bounds, write the results."""
        versions = {name: version(name) for name in self.packages}
        versions |= {"Python": platform.python_version(), "cores": os.cpu_count()}
        print(", ".join(f"{name} {number}" for name, number in versions.items()))
        print(f"load average {self.load} before, {_load_average()} after")
        print("Seconds unless said otherwise: median [min, max], or mean (standard deviation).")
        _print_table(self.rows, judged=not self.quick)
        if self.quick:
            print("quick: nothing asserted, nothing written")
            return
        broken = [f"{row['name']}: {row['value']:.4g}, not {row['bound']}" for row in self.rows if not row["holds"]]
        assert not broken, "bounds that do not hold, results not written:\n" + "\n".join(broken)
        if self.skipped:
            print(f"nothing written, since these were skipped: {', '.join(self.skipped)}")
            return
        results = {"versions": versions, "load_average": self.load, "rows": self.rows}
        path = self.script.parent / "results" / f"{self.script.stem.removeprefix('bench_')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(_rounded(results), indent=1) + "\n", encoding="utf-8")
        print(f"written: {path.name}")


def run(main, *parts):
    """Run the script that defines `main`, or the one of its `parts` that `Benchmark.fresh` asks for."""
    parser = argparse.ArgumentParser(description=main.__globals__["__doc__"])
    parser.add_argument("--quick", action="store_true", help="run everything small; assert and write nothing")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, arguments = options.part
        (part,) = (part for part in parts if part.__name__ == name)
        print(_MARK + json.dumps(part(**json.loads(arguments))))
        return
    bench = Benchmark(inspect.getfile(main), options.quick)
    main(bench)
    bench.finish()


def _spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "repeats": len(values)}


def _print_table(rows, judged):
    lines = [("", "skensemble", "peer", "value", "bound", "")]
    for row in rows:
        peer = f"{_text(row['peer'])} {row['peer']['name']}" if "peer" in row else ""
        verdict = "" if row["bound"] is None or not judged else "holds" if row["holds"] else "BROKEN"
        lines.append((row["name"], _text(row["ours"]), peer, f"{row['value']:.4g}", row["bound"] or "", verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _text(spread):
    if "mean" in spread:
        return f"{spread['mean']:.4f} ({spread['sd']:.4f})"
    return f"{spread['median']:.4g} [{spread['min']:.4g}, {spread['max']:.4g}]"


def _rounded(value):
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _load_average():
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
