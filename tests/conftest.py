"""Settings of every test process, and the tiny data sets that tests share."""

import gc
import os

# Both are read at import, so they are set before TensorFlow and matplotlib are imported by any test module.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["MPLBACKEND"] = "Agg"
# Processes that tests start would compile TensorFlow and Keras anew, each of them, for ten seconds and more.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from sklearn.datasets import make_blobs, make_regression
from threadpoolctl import threadpool_limits


def pytest_collection_modifyitems(items):
    """Tests that start workers come first, one after the other: the same two, which load TensorFlow, serve them all."""
    items.sort(key=lambda item: item.get_closest_marker("workers") is None)


def pytest_collection_finish():
    """What was imported stays: `gc.collect`, as when networks are read from files, need not go through it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def single_threads():
    """NumPy and SciPy use one thread in test processes, which share the cores: others would wait for each other.

    They spin as they wait: a LogisticRegression of 60 rows took a second of a core. TensorFlow has threads of its own.
    """
    with threadpool_limits(1):
        yield


@pytest.fixture
def blobs():
    """Three classes: X of shape (60, 4), float32, and y of 0, 1 and 2."""
    X, y = make_blobs(n_samples=60, n_features=4, centers=3, random_state=0)
    return X.astype("float32"), y


@pytest.fixture
def regression():
    """One target of about unit variance: X of shape (60, 4) and y, both float32."""
    X, y = make_regression(n_samples=60, n_features=4, noise=1.0, random_state=0)
    return X.astype("float32"), (y / y.std()).astype("float32")


@pytest.fixture
def workers_pay(monkeypatch):
    """However little they train, members are split over as many workers as `n_jobs` allows."""
    from skensemble._engine.workers import parts

    monkeypatch.setattr(parts, "WORKER_SECONDS", 1e-9)


@pytest.fixture(scope="module")
def once():
    """Fits that several tests of a module compare with, trained for the first of them: `once(name, fit)`."""
    fitted = {}

    def get(name, fit):
        if name not in fitted:
            fitted[name] = fit()
        return fitted[name]

    return get


@pytest.fixture(scope="session")
def counts():
    """Tells how often to try what random tests try: `counts(some, all)`, all of it where `make test-fuzz` asks."""
    return lambda some, everything: everything if os.environ.get("SKENSEMBLE_FUZZ") == "full" else some
