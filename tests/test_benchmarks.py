"""The benchmarks run, small, as a user would start them; what they measure is asserted by `make bench`."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))

LATE = """
import os

from _harness import run


def arrivals(first):
    return [os.getpid(), first, 3.0, 4.0]


def main(bench):
    process, *arrived = bench.fresh(arrivals, first=2.0)
    assert process != os.getpid()
    bench.limit("arrival", arrived, at_most=1)


if __name__ == "__main__":
    run(main, arrivals)
"""

INCOMPLETE = """
from _harness import run


def main(bench):
    bench.skip("another library", "not installed")
    bench.limit("ours", [1.0], at_most=2)


if __name__ == "__main__":
    run(main)
"""


def results_files():
    """Map each results file to its bytes."""
    return {path.name: path.read_bytes() for path in (ROOT / "benchmarks" / "results").glob("*")}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_benchmark_runs(script, monkeypatch, capsys):
    """With `--quick` a benchmark runs to its end, prints its table, and leaves the results files alone."""
    before = results_files()
    monkeypatch.syspath_prepend(script.parent)
    monkeypatch.setattr(sys, "argv", [str(script), "--quick"])
    runpy.run_path(str(script), run_name="__main__")
    assert "nothing asserted, nothing written" in capsys.readouterr().out
    assert results_files() == before


@pytest.mark.slow
def test_a_broken_bound_fails(tmp_path):
    """Parts run in processes of their own; a broken bound ends in an error that names it, and writes no results."""
    completed = run_script(LATE, tmp_path)
    assert completed.returncode != 0
    assert "arrival: 3, not <= 1" in completed.stderr
    assert not (tmp_path / "results").exists()


def test_what_is_skipped_is_said(tmp_path):
    """A benchmark that lacks a peer says which and why, and writes no results without it."""
    completed = run_script(INCOMPLETE, tmp_path)
    assert completed.returncode == 0, completed.stderr
    assert "skipped: another library: not installed" in completed.stdout
    assert "nothing written, since these were skipped: another library" in completed.stdout
    assert not (tmp_path / "results").exists()


def run_script(source, folder):
    """Run a benchmark in a process of its own, as `make bench` does."""
    script = folder / "bench_script.py"
    script.write_text(source, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_programs_by_hand_train_the_same_networks(monkeypatch):
    """The programs for XLA and JAX, each by itself close to what can be reached, agree on three epochs."""
    pytest.importorskip("jax")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import _by_hand_jax
    import _by_hand_xla
    import _tutorial

    X, y, X_test = _tutorial.blobs()
    rng = np.random.default_rng(0)
    values, orders = _tutorial.starting_values(4, rng), _tutorial.row_orders(4, 3, rng)
    programs = (_by_hand_xla, _by_hand_jax)
    (of_xla, logs_of_xla), (of_jax, logs_of_jax) = (one.train(X, y, orders, values) for one in programs)
    for first, second in zip((*of_xla, *logs_of_xla), (*of_jax, *logs_of_jax), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(_by_hand_xla.predict(of_xla, X_test), _by_hand_jax.predict(of_jax, X_test), rtol=1e-4)


def test_there_are_benchmarks():
    """The parametrized test above is not empty."""
    assert SCRIPTS
