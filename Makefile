# Every target sets up its virtual environment by itself: when it is missing, and again when pyproject.toml changed.
# Change a variable on the command line: `make test WORKERS=8`, `make test ARGS="-k display"`, `make demo PYTHON=python3.12`.

PYTHON ?= python3
# Test processes. Each loads TensorFlow, so memory runs out long before the cores do.
WORKERS ?= 2
# More arguments for pytest.
ARGS ?=

VENV := .venv
OLDEST := .venv-oldest
QUIET := TF_CPP_MIN_LOG_LEVEL=3 MPLBACKEND=Agg
BENCHMARKS := $(sort $(wildcard benchmarks/bench_*.py))

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-slow test-oldest lint format bench

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Train, save and plot a 20-member ensemble on the digits (into output/)
	$(QUIET) $(VENV)/bin/python examples/plot_digits_ensemble.py

test: $(VENV)/.installed  ## Run all tests
	$(QUIET) $(VENV)/bin/python -m pytest -n $(WORKERS) $(ARGS)

test-fast: $(VENV)/.installed  ## Run the tests that take about a second each
	$(QUIET) $(VENV)/bin/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

test-slow: $(VENV)/.installed  ## Run all tests, the random ones (damaged and hostile files, kills) in full
	SKENSEMBLE_FUZZ=full $(QUIET) $(VENV)/bin/python -m pytest -n $(WORKERS) $(ARGS)

test-oldest: $(OLDEST)/.installed  ## Run the tests with the oldest supported versions (Python 3.11 or 3.12)
	$(QUIET) $(OLDEST)/bin/python -m pytest -n $(WORKERS) -m "not slow" $(ARGS)

lint: $(VENV)/.installed  ## Check style and formatting
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.installed  ## Format, and repair what can be repaired automatically
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.installed  ## Run every benchmark
	@set -e; for script in $(BENCHMARKS); do \
		echo "== $$script"; $(QUIET) $(VENV)/bin/python $$script; \
	done

$(VENV)/.installed: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --editable ".[dev,plot]"
	@touch $@

$(OLDEST)/.installed: pyproject.toml
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --editable ".[test,oldest]"
	@touch $@
