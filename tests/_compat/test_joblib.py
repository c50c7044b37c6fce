"""What joblib's backends say of their workers."""

import multiprocessing
import sys
import types

import joblib
import pytest
from joblib.parallel import MultiprocessingBackend, ParallelBackendBase

from skensemble._compat import joblib as _joblib
from skensemble._compat.joblib import count_workers, died, forks, is_worker, spread, worker_cores

FORKS_HERE = multiprocessing.get_all_start_methods()[0] == "fork"


class DaskBackend(ParallelBackendBase):
    """As joblib's for Dask: all cores of the cluster, whatever `n_jobs` is."""

    default_n_jobs = -1

    def __init__(self, *args, ncores=None, **options):
        super().__init__()
        self.client = types.SimpleNamespace(ncores=lambda: {"a": 4, "b": 4, "c": 8} if ncores is None else ncores)

    def effective_n_jobs(self, n_jobs):
        return sum(self.client.ncores().values())

    def apply_async(self, func, callback=None):  # abstract before joblib 1.5
        raise AssertionError("runs work")


class ActorBackend(MultiprocessingBackend):
    """As that of Ray: a subclass of the backend that forks, which starts something else."""

    def configure(self, *args, **options):
        raise AssertionError("starts actors")


joblib.register_parallel_backend("like dask", DaskBackend)
joblib.register_parallel_backend("like ray", ActorBackend)


@pytest.mark.parametrize(("n_jobs", "n_workers"), [(None, 3), (-1, 3), (1, 1), (2, 2), (3, 3), (16, 3)])
def test_dask_workers_are_processes(n_jobs, n_workers):
    """The workers of a Dask cluster count, not their cores, and `n_jobs` is the most."""
    with joblib.parallel_config("like dask"):
        assert count_workers(n_jobs) == n_workers


def test_n_jobs_of_the_context():
    """None means what `parallel_config` says, else 1."""
    assert count_workers(None) == 1
    with joblib.parallel_config("loky", n_jobs=3):
        assert count_workers(None) == 3
        assert count_workers(2) == 2
    with joblib.parallel_config("like dask", n_jobs=2):
        assert count_workers(None) == 2


@pytest.mark.parametrize("backend", ["loky", "like dask"])
def test_no_jobs_at_all(backend):
    """0 is an error with every backend."""
    with joblib.parallel_config(backend), pytest.raises(ValueError, match="n_jobs == 0"):
        count_workers(0)


def test_threads_are_no_workers():
    """Threads train in this process, where a program has its own."""
    with joblib.parallel_config("threading", n_jobs=4):
        assert count_workers(None) == count_workers(4) == 1


def test_none_in_a_worker_is_one(monkeypatch):
    """A fit inside of a worker does not fan out over the cluster; a number that is given is obeyed."""
    monkeypatch.setattr(_joblib, "is_worker", lambda: True)
    with joblib.parallel_config("like dask"):
        assert count_workers(None) == 1
        assert count_workers(2) == 2


@pytest.mark.skipif(not FORKS_HERE, reason="processes are not forked by default here")
def test_what_forks():
    """The backend 'multiprocessing' forks with several jobs; one derived from it need not; loky does not."""
    for backend, n_jobs, is_fork in [
        ("multiprocessing", 2, True),
        ("multiprocessing", 1, False),
        ("like ray", 2, False),
        ("loky", 2, False),
        ("threading", 2, False),
    ]:
        with joblib.parallel_config(backend):
            assert forks(n_jobs) == is_fork, backend


def test_multiprocessing_that_does_not_fork(monkeypatch):
    """With another start method the same backend starts fresh processes."""
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda allow_none: "spawn")
    with joblib.parallel_config("multiprocessing"):
        assert not forks(2)


def test_this_process_is_no_worker(monkeypatch):
    """Nobody limits the cores of the user's own process, whatever OpenMP is told."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert not is_worker()
    assert worker_cores() is None


@pytest.mark.parametrize(("told", "n_cores"), [("3", 3), ("0", None), ("2,1", None), (None, None)])
def test_cores_of_a_worker(told, n_cores, monkeypatch):
    """Workers of joblib and Ray are told their share as OpenMP is."""
    monkeypatch.setattr(_joblib, "is_worker", lambda: True)
    if told is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert worker_cores() == n_cores


@pytest.mark.parametrize(("nanny", "n_cores"), [("tcp://127.0.0.1:1", 5), (None, None)])
def test_cores_of_a_dask_worker(nanny, n_cores, monkeypatch):
    """A Dask worker has its number of threads; one that may be a thread of the user's process is left alone."""
    worker = types.SimpleNamespace(nanny=nanny, state=types.SimpleNamespace(nthreads=5))
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(get_worker=lambda: worker))
    assert is_worker()
    assert worker_cores() == n_cores


def test_values_are_spread_for_a_while():
    """The Dask backend of joblib finds the values that were spread, and forgets them after the block."""
    sent = []

    def scatter(values, **options):
        sent.append((values, options))
        return [f"future of {value}" for value in values]

    backend = DaskBackend()
    backend.client.scatter, backend.data_futures = scatter, {1: "of the user"}
    joblib.register_parallel_backend("spreading", lambda **_: backend)
    X, y = "X", "y"
    with joblib.parallel_config("spreading"), spread([X, None, y], 5):
        assert backend.data_futures == {1: "of the user", id(X): "future of X", id(y): "future of y"}
    assert backend.data_futures == {1: "of the user"}
    assert sent == [(["X", "y"], {"broadcast": 5, "hash": False})]


def test_other_backends_spread_by_themselves():
    """Nothing is done for loky."""
    with joblib.parallel_config("loky"), spread([1, 2], 2):
        pass


def test_who_died(monkeypatch):
    """Errors of dead workers are known; others are not taken for such."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    class KilledWorker(Exception):
        pass

    assert died(TerminatedWorkerError("killed"))
    assert not died(ValueError("killed"))
    assert not died(OSError("killed"))
    assert not died(KilledWorker())
    monkeypatch.setitem(sys.modules, "distributed", types.SimpleNamespace(KilledWorker=KilledWorker))
    assert died(KilledWorker())
