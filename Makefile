# Every target sets up its virtual environment by itself: when it is missing, and again when pyproject.toml changed.
# Change a variable on the command line: `make test WORKERS=8`, `make test ARGS="-k display"`, `make demo PYTHON=python3.12`.

PYTHON ?= python3
# Test processes. Each loads TensorFlow, so memory runs out long before the cores do.
WORKERS ?= 2
# Each process begins with neighbours, which share fixtures and traced programs.
PARALLEL := -n $(WORKERS) --dist worksteal
# Tests that know a backend: `make test-jax`.
ON_JAX := tests/_checkpoint tests/_display tests/_engine/jax tests/_engine/program tests/_engine/test_*.py \
	tests/_engine/workers tests/_keras_objects tests/_members tests/_numeric/test_lazy_rows.py tests/_numeric/test_sparse_rows.py \
	tests/_search tests/io tests/sweep \
	tests/test_adapters.py tests/test_averaging.py tests/test_calibration.py tests/test_common.py \
	tests/test_conformal.py tests/test_distribution.py tests/test_drawn_params.py tests/test_early_stopping.py \
	tests/test_export.py tests/test_from_models.py tests/test_heads.py tests/test_max_features.py \
	tests/test_metrics.py tests/test_model_selection.py tests/test_named.py tests/test_partial_fit.py \
	tests/test_polyak.py tests/test_preprocessing.py tests/test_reweight.py tests/test_routing.py \
	tests/test_several_inputs.py tests/test_snapshot.py tests/test_stacking.py \
	tests/test_uncertainty.py tests/test_voting.py tests/test_wrappers.py
# More arguments for pytest.
ARGS ?=

VENV := .venv
OLDEST := .venv-oldest
CLIENTS := .venv-clients
DOCS := .venv-docs
PEERS := .venv-peers
# Bytecode is written whatever the environment says: without, each process would compile TensorFlow and Keras anew.
QUIET := TF_CPP_MIN_LOG_LEVEL=3 MPLBACKEND=Agg PYTHONDONTWRITEBYTECODE=
# Python compiles what it imports, a small share of what is installed.
INSTALL := -m pip install --quiet --no-compile --editable
# Without the one that needs an environment of its own.
BENCHMARKS := $(filter-out benchmarks/bench_peers.py,$(sort $(wildcard benchmarks/bench_*.py)))

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-fuzz test-jax test-oldest test-clients environments docs lint format bench bench-peers

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## Train, save and plot a 20-member ensemble on the digits (into output/)
	$(QUIET) $(VENV)/bin/python examples/plot_digits_ensemble.py

test: $(VENV)/.installed  ## Run the tests, but for the slow ones
	$(QUIET) $(VENV)/bin/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

test-slow: $(VENV)/.installed  ## Run the slow tests: scikit-learn's checks, every Keras layer, examples, killed processes
	$(QUIET) $(VENV)/bin/python -m pytest $(PARALLEL) -m slow $(ARGS)

test-fuzz: $(VENV)/.installed  ## Run all tests, the random ones (damaged and hostile files, kills) in full
	SKENSEMBLE_FUZZ=full $(QUIET) $(VENV)/bin/python -m pytest $(PARALLEL) $(ARGS)

test-jax: $(VENV)/.installed  ## Run the tests that know a backend with Keras on JAX
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(QUIET) $(VENV)/bin/python -m pytest $(PARALLEL) -m "not slow" $(ON_JAX) $(ARGS)

test-oldest: $(OLDEST)/.installed  ## Run the tests with the oldest supported versions (Python 3.11 or 3.12)
	$(QUIET) $(OLDEST)/bin/python -m pytest $(PARALLEL) -m "not slow" $(ARGS)

test-clients: $(CLIENTS)/.installed  ## Run the tests with packages that build on scikit-learn (mlflow, Optuna, Dask, Ray, ...)
	$(QUIET) $(CLIENTS)/bin/python -m pytest -n $(WORKERS) --dist loadscope tests/test_clients.py tests/test_clusters.py $(ARGS)

environments: $(VENV)/.installed $(DOCS)/.installed $(CLIENTS)/.installed  ## Set up what `.ci/run` uses

docs: $(DOCS)/.installed  ## Build the documentation site, running the examples (into docs/_build/html)
	$(QUIET) $(DOCS)/bin/python -m sphinx -b html -W --keep-going -q docs docs/_build/html $(ARGS)

lint: $(VENV)/.installed  ## Check style, formatting and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.installed  ## Format, and repair what can be repaired automatically
	$(VENV)/bin/ruff check --fix-only .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.installed  ## Run every benchmark
	@set -e; for script in $(BENCHMARKS); do \
		echo "== $$script"; $(QUIET) $(VENV)/bin/python $$script; \
	done

bench-peers: $(PEERS)/.installed  ## Run the benchmark beside other packages (torchensemble, TabM, ...)
	$(QUIET) $(PEERS)/bin/python benchmarks/bench_peers.py $(ARGS)

$(VENV)/.installed: pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python $(INSTALL) ".[dev,plot]"
	@touch $@

$(OLDEST)/.installed: pyproject.toml
	test -x $(OLDEST)/bin/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python $(INSTALL) ".[test,oldest]"
	@touch $@

$(CLIENTS)/.installed: pyproject.toml
	test -x $(CLIENTS)/bin/python || $(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/python $(INSTALL) ".[clients]"
	@touch $@

$(DOCS)/.installed: pyproject.toml
	test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(INSTALL) ".[docs]"
	@touch $@

$(PEERS)/.installed: pyproject.toml
	test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python $(INSTALL) ".[peers]"
	@touch $@
