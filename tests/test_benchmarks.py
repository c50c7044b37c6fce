"""The benchmarks run, small, as a user would start them; what they measure is asserted by `make bench`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "benchmarks").glob("bench_*.py"))

LATE = """
from _harness import run


def main(bench):
    bench.limit("arrival", [2.0, 3.0, 4.0], at_most=1)


run(main)
"""


def results_files():
    """Map each results file to its bytes."""
    return {path.name: path.read_bytes() for path in (ROOT / "benchmarks" / "results").glob("*")}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_benchmark_runs(script):
    """With `--quick` a benchmark runs to its end, prints its table, and leaves the results files alone."""
    before = results_files()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)}
    completed = subprocess.run(
        [sys.executable, str(script), "--quick"], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert completed.returncode == 0, completed.stderr
    assert "nothing asserted, nothing written" in completed.stdout
    assert results_files() == before


@pytest.mark.slow
def test_a_broken_bound_fails(tmp_path):
    """A bound that does not hold ends a script with an error that names it and writes no results."""
    script = tmp_path / "bench_late.py"
    script.write_text(LATE, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
    completed = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert completed.returncode != 0
    assert "arrival: 3, not <= 1" in completed.stderr
    assert not (tmp_path / "results").exists()


def test_there_are_benchmarks():
    """The parametrized test above is not empty."""
    assert SCRIPTS
