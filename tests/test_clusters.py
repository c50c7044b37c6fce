"""Members in the worker processes of loky, Dask and Ray: the same networks, few transfers, and workers that die.

`make test-clients` installs Dask and Ray; elsewhere these tests are skipped.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import joblib
import keras
import numpy as np
import pytest
from comparison import TRAINED_FLOAT32
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.model_selection import GridSearchCV

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._compat import joblib as _joblib
from skensemble._engine.workers import fit as _workers

distributed, psutil, ray = (pytest.importorskip(name) for name in ("distributed", "psutil", "ray"))

# The packages warn of each other's and of their own coming changes; what is ours is tested elsewhere.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("workers_pay")]

ROOT = Path(__file__).parents[1]
X, Y = make_blobs(n_samples=2500, n_features=120, centers=3, cluster_std=20.0, random_state=0)
X = X.astype("float32") / 20  # 1.2 MB: joblib memory-maps it
FEW = X[:60], Y[:60]
NETWORK = KerasClassifier(hidden_layer_sizes=(4,), epochs=2, batch_size=500)


@contextmanager
def loky_workers():
    yield "loky"
    get_reusable_executor().shutdown(wait=True, kill_workers=True)


@contextmanager
def dask_cluster():
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster):
        yield "dask"


@contextmanager
def ray_cluster():
    from ray.util.joblib import register_ray

    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    register_ray()
    yield "ray"
    ray.shutdown()


CLUSTERS = {"loky": loky_workers, "dask": dask_cluster, "ray": ray_cluster}


@pytest.fixture(scope="module", params=CLUSTERS)
def backend(request):
    """A backend of joblib with two worker processes, once for all tests of it."""
    with CLUSTERS[request.param]() as name:
        yield name


class Sent:
    """What was sent to workers in a test: for each fit the numbers of members of its parts."""

    def __init__(self, monkeypatch):
        self.parts, fit_in_workers = [], _workers._fit_in_workers

        def spied(parts, *args):
            self.parts.append([len(part) for part in parts.unfinished])
            return fit_in_workers(parts, *args)

        monkeypatch.setattr(_workers, "_fit_in_workers", spied)


@pytest.fixture
def sent(monkeypatch):
    return Sent(monkeypatch)


@pytest.fixture
def transfers(backend, monkeypatch):
    """Arrays as large as X that leave this process, a list of their bytes."""
    found = []

    def note(value):
        if isinstance(value, np.ndarray) and value.nbytes >= X.nbytes:
            found.append(value.nbytes)

    if backend == "loky":
        from joblib import _memmapping_reducer as owner

        name, first = "dump", 0
    elif backend == "dask":
        owner, name, first = distributed.Client, "scatter", 1
    else:
        owner, name, first = ray, "put", 0
    original = getattr(owner, name)

    def spied(*args, **options):
        for value in args[first] if isinstance(args[first], list) else [args[first]]:
            note(value)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, spied)
    return found


def assert_same(ensemble, backend, X=X):
    """Two workers of the backend give what this process gives, but for rounding."""
    alone = clone(ensemble).fit(X, Y)
    with joblib.parallel_config(backend=backend):
        apart = clone(ensemble).set_params(n_jobs=2).fit(X, Y)
    np.testing.assert_allclose(apart.predict_proba(X), alone.predict_proba(X), **TRAINED_FLOAT32)
    assert apart.engine_ == alone.engine_ == "fused"
    return apart


def test_averaging(backend, sent, transfers):
    """Twenty members are two programs, and X goes out once."""
    apart = assert_same(KerasAveragingClassifier(NETWORK, 20, random_state=0), backend)
    assert sent.parts == [[10, 10]]
    assert transfers == [X.nbytes]
    assert apart.estimators_[13].history_["loss"]
    assert apart.estimators_[13].model_.optimizer.built


def test_bagging(backend, sent):
    """Each member has its own rows there too, and leaves the same ones out."""
    ensemble = KerasAveragingClassifier(NETWORK, 6, bootstrap=True, max_samples=0.5, oob_score=True, random_state=0)
    apart = assert_same(ensemble, backend)
    assert sent.parts == [[3, 3]]
    assert apart.oob_score_ == pytest.approx(clone(ensemble).fit(X, Y).oob_score_, abs=0.01)


def test_stacked(backend, sent):
    """The members of all folds are shared out."""
    members = [("narrow", NETWORK), ("wide", clone(NETWORK).set_params(hidden_layer_sizes=(6,)))]
    apart = assert_same(StackedKerasClassifier(members, cv=2, random_state=0), backend)
    assert sent.parts == [[3, 3]]
    assert all(member.model_.optimizer.built for member in apart.estimators_)


def test_search(backend, sent):
    """The fits of a search are the tasks."""
    snapshot = SnapshotEnsembleClassifier(NETWORK, 2, random_state=0)
    search = GridSearchCV(snapshot, {"n_estimators": [1, 2]}, cv=2, refit=False)
    alone = clone(search).fit(X[:300], Y[:300])
    with joblib.parallel_config(backend=backend):
        apart = clone(search).set_params(n_jobs=2).fit(X[:300], Y[:300])
    np.testing.assert_allclose(apart.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], atol=0.02)
    assert sent.parts == []


def test_memory_map(backend, sent, transfers, tmp_path):
    """Rows of a memory map do not travel: the workers open its file."""
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_same(KerasAveragingClassifier(NETWORK, 4, random_state=0), backend, mapped)
    assert sent.parts == [[2, 2]]
    assert transfers == []


def describe_worker():
    """What a worker says of itself, when it has used its share of the cores."""
    import tensorflow as tf

    from skensemble._compat.joblib import count_workers, is_worker
    from skensemble._engine.all_backends import limits
    from skensemble._engine.backend import use_share_of_cores

    use_share_of_cores()
    threads = tf.config.threading
    return (
        is_worker(),
        count_workers(None),
        limits.CORES,
        threads.get_intra_op_parallelism_threads(),
        threads.get_inter_op_parallelism_threads(),
    )


def test_workers_use_their_share(backend, monkeypatch):
    """A worker uses the cores it was given, in shards and threads; this process goes on as it was."""
    import tensorflow as tf

    from skensemble._engine.all_backends import limits
    from skensemble._engine.backend import use_share_of_cores

    def task(source):
        names = {}
        exec(source, names)
        return names["describe_worker"]()

    import inspect

    cores, source = limits.CORES, inspect.getsource(describe_worker)
    share = max(1, joblib.cpu_count() // 2) if backend == "loky" else 1
    with joblib.parallel_config(backend=backend):
        told = joblib.Parallel(n_jobs=2)(joblib.delayed(task)(source) for _ in range(2))
    assert set(told) == {(True, 1, share, share, share)}
    use_share_of_cores()
    assert cores == limits.CORES
    assert tf.config.threading.get_intra_op_parallelism_threads() == 0


# Workers that die


def deadly(marker, number):
    """A network that kills the worker it is trained in, once, in the second epoch of this member."""
    main = os.getpid()

    class Deadly(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and os.getpid() != main and not os.path.exists(marker):
                open(marker, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)

    def callbacks(i):
        return [Deadly()] if i == number else []

    return clone(NETWORK).set_params(epochs=3, callbacks=callbacks, run_eagerly=True)  # without tracing


def children():
    """Processes that were started by this one, but for those that only clear up."""
    found = [one for one in psutil.Process().children(recursive=True) if one.status() != psutil.STATUS_ZOMBIE]
    return {one.pid for one in found if "resource_tracker" not in " ".join(one.cmdline())}


# What is waited for comes at once on a machine that has nothing else to do.
MOST_SECONDS = 300


def wait_until(is_true):
    """Wait for something, not for ever; returns whether it came."""
    end = time.monotonic() + MOST_SECONDS
    while not is_true() and time.monotonic() < end:
        time.sleep(0.1)
    return is_true()


def test_worker_that_is_killed(backend, tmp_path):
    """Dask trains its members again elsewhere; else the error names them, and the next fit trains what is missing."""
    network, kept = deadly(str(tmp_path / "marker"), 3), tmp_path / "kept"
    ensemble = KerasAveragingClassifier(network, 4, engine="keras", random_state=0)
    alone = clone(ensemble).fit(*FEW)
    apart = clone(ensemble).set_params(n_jobs=2, checkpoint_dir=kept)
    with joblib.parallel_config(backend=backend):
        if backend == "dask":
            apart.fit(*FEW)
        else:
            with pytest.raises(RuntimeError, match="A worker died while these members were trained: .*member 3"):
                apart.fit(*FEW)
            assert not hasattr(apart, "estimators_")
            if backend == "loky":
                assert wait_until(lambda: not children())
            finished = {path: path.stat().st_mtime_ns for path in kept.glob("*.result")}
            assert finished  # member 1 at least
            apart.fit(*FEW)
            assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    assert (tmp_path / "marker").exists()
    np.testing.assert_allclose(apart.predict_proba(FEW[0]), alone.predict_proba(FEW[0]), **TRAINED_FLOAT32)


def test_errors_of_members_come_through(backend):
    """What a member raises in a worker is raised here as it is."""

    def build(meta):
        raise ValueError("no network today")

    ensemble = KerasAveragingClassifier(KerasClassifier(build), 4, engine="keras", random_state=0, n_jobs=2)
    with joblib.parallel_config(backend=backend), pytest.raises(ValueError, match="no network today"):
        ensemble.fit(X, Y)
    assert not hasattr(ensemble, "estimators_")


INTERRUPTED = """
import os, signal, sys, keras, numpy as np
from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.workers import parts

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background of a shell
parts.WORKER_SECONDS = 1e-9
marker, n_jobs, engine = sys.argv[1], int(sys.argv[2]), sys.argv[3]

class Begun(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        open(marker, "a").close()

if __name__ == "__main__":
    X, y = np.ones((64, 4), "float32"), np.arange(64) % 2
    network = KerasClassifier(epochs=1, callbacks=[Begun])
    ensemble = KerasAveragingClassifier(network, 2, n_jobs=n_jobs, engine=engine, random_state=0)
    before = None
    if n_jobs == 1:
        before = ensemble.fit(X, y).estimators_
        os.remove(marker)
    ensemble.set_params(estimator__epochs=10**6)
    print("begins", flush=True)
    try:
        ensemble.fit(X, y)
    except KeyboardInterrupt:
        assert getattr(ensemble, "estimators_", None) is before
        print("as it was", flush=True)
"""


@pytest.mark.parametrize(("n_jobs", "engine"), [(1, "fused"), (1, "keras"), (2, "keras")])
def test_interrupt(n_jobs, engine, tmp_path):
    """Ctrl-C in the middle of a fit: the ensemble is as it was before, and no process stays."""
    script, marker = tmp_path / "script.py", tmp_path / "marker"
    script.write_text(textwrap.dedent(INTERRUPTED), encoding="utf-8")
    command = [sys.executable, str(script), str(marker), str(n_jobs), engine]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True)
    assert process.stdout.readline() == "begins\n"
    assert wait_until(marker.exists)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=MOST_SECONDS)
    assert told == "as it was\n"
    assert process.returncode == 0
    assert psutil.wait_procs(workers, timeout=MOST_SECONDS)[1] == []


# What joblib's backends say


def test_dask_workers_are_counted():
    """One with two threads is one process; `n_jobs` bounds their number."""
    with dask_cluster() as name, joblib.parallel_config(backend=name):
        assert [_joblib.count_workers(n_jobs) for n_jobs in (None, -1, 1, 2, 100)] == [2, 2, 1, 2, 2]
