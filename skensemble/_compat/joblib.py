"""Workers of joblib's backends, loky's, Dask's and Ray's, which are recognized in different ways; private names."""

import multiprocessing
import os
import sys
from contextlib import contextmanager
from multiprocessing.pool import Pool

import numpy as np
from joblib.parallel import MultiprocessingBackend, get_active_backend
from joblib.pool import PicklingPool

from skensemble._compat.private import is_missing, private

# joblib 1.4 to 1.6: what it does itself, for loky's workers, with an array that is a part of a memory map.
backing_memmap = private("joblib._memmapping_reducer", "_get_backing_memmap")
reduce_memmap = private("joblib._memmapping_reducer", "_reduce_memmap_backed")
# joblib 1.4 to 1.6, its loky.
_loky = private("joblib.externals.loky", "process_executor", object())

# joblib 1.4 to 1.6, distributed 2024 to 2026, ray 2: what they raise when workers died, or took data with them.
_DIED = {
    "joblib.externals.loky.process_executor": ("TerminatedWorkerError",),
    "distributed": ("KilledWorker",),
    "distributed.client": ("FutureCancelledError",),
    "ray.exceptions": (
        *("ActorDiedError", "ActorUnavailableError", "NodeDiedError", "RayActorError"),
        *("ObjectLostError", "OutOfMemoryError", "WorkerCrashedError"),
    ),
}
_LOST_DATA = {"distributed.client": ("FutureCancelledError",)}


def forks(n_jobs):
    """Whether workers would be forks of this process.

    Decided by what the backend does: Ray's is a subclass of the one that forks, but starts actors.
    """
    backend, _ = get_active_backend()
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    starts_pool = getattr(type(backend), "configure", None) is MultiprocessingBackend.configure
    # Ray, once used, has joblib's pool start actors in this process, whichever of the two backends is active.
    return starts_pool and issubclass(PicklingPool, Pool) and method == "fork" and count_workers(n_jobs) > 1


def count_workers(n_jobs):
    """How many processes other than this one may train members at once; 1 where this process does it.

    Parameters
    ----------
    n_jobs : int or None
        As in joblib. Inside a worker, None means 1: a fit in a search, say, does not fan out again.
    """
    backend, of_context = get_active_backend()
    if n_jobs is None:
        n_jobs = 1 if is_worker() else of_context
    if n_jobs == 1:
        return 1
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 has no meaning: use None or 1 for this process alone, -1 for all workers.")
    n_workers = backend.effective_n_jobs(n_jobs)
    if getattr(backend, "uses_threads", False):
        return 1  # a program has its own
    client = getattr(backend, "client", None)
    if hasattr(client, "ncores"):  # Dask counts the cores of all workers, whatever `n_jobs` is
        n_workers = len(client.ncores())
    elif _is_rays(backend):
        n_workers = min(n_workers, _ray_workers(backend))
    return max(1, n_workers if n_jobs is None or n_jobs < 0 else min(n_workers, n_jobs))


def _ray_workers(backend):
    """How many of its actors a Ray cluster has room for."""
    needed = (getattr(backend, "ray_remote_args", None) or {}).get("num_cpus") or 1
    return max(1, int(sys.modules["ray"].cluster_resources().get("CPU", 1) // needed))


def is_worker():
    """Whether this is a task in a worker of loky, Dask or Ray."""
    return getattr(_loky, "_CURRENT_DEPTH", 0) > 0 or _dask_worker() is not None or _is_ray_worker()


def worker_cores():
    """How many cores a worker was given; None in the user's own process, and where that is not known."""
    dask_worker = _dask_worker()
    if dask_worker is not None:
        # A worker without a nanny may be a thread of the user's own process.
        return dask_worker.state.nthreads if dask_worker.nanny is not None else None
    if is_worker():  # joblib and Ray say it to OpenMP
        given = os.environ.get("OMP_NUM_THREADS", "")
        return int(given) if given.isdecimal() and int(given) > 0 else None
    return None


def _dask_worker():
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        return distributed.get_worker()
    except (AttributeError, ValueError):  # not in a task
        return None


def _is_ray_worker():
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    return ray.get_runtime_context().worker.mode == ray.WORKER_MODE  # ray 2


@contextmanager
def spread(values, n_workers):
    """Put values where `n_workers` find them, once each, for the calls of joblib in the block.

    joblib sends a large argument to only one Dask worker: if that one dies, the tasks of all others are lost. Ray's
    backend sends arguments with each task, since joblib 1.4.

    Yields
    ------
    dict
        Maps the id of a value to what replaces it as an argument, if anything; `received` returns the value.
    """
    backend, _ = get_active_backend()
    client, known = getattr(backend, "client", None), getattr(backend, "data_futures", None)
    values = [value for value in values if value is not None]
    if _is_rays(backend):
        yield {id(value): sys.modules["ray"].put(value) for value in values}
        return
    if not hasattr(client, "scatter") or not isinstance(known, dict) or not values:
        yield {}
        return
    futures = client.scatter(values, broadcast=max(2, n_workers), hash=False)
    ours = {id(value): future for value, future in zip(values, futures, strict=True)}
    known.update(ours)
    try:
        yield {}
    finally:
        for key in ours:
            known.pop(key, None)


def received(value):
    """An argument in a worker, as it was before `spread`."""
    ray = sys.modules.get("ray")
    return ray.get(value) if ray is not None and isinstance(value, ray.ObjectRef) else value


def _is_rays(backend):
    ray = sys.modules.get("ray")
    return "ray" in type(backend).__module__.split(".") and ray is not None and ray.is_initialized()


def open_memmap(array):
    """(function, arguments) that open the file of which an array is a part again; None where it is in memory."""
    memmap = None if is_missing(reduce_memmap) else _memmap_of(array)
    return None if memmap is None or memmap.filename is None else reduce_memmap(array, memmap)


def in_memory(array):
    """An array as it is; a copy-on-write memory map is read, since joblib would open its file without the changes."""
    memmap = _memmap_of(array)
    return np.array(array) if memmap is not None and memmap.mode == "c" else array


def _memmap_of(array):
    return None if is_missing(backing_memmap) else backing_memmap(array)


def how_to_return():
    """How `joblib.Parallel` is to return results: one by one as they come, where the backend can do that."""
    backend, _ = get_active_backend()
    return "generator_unordered" if getattr(backend, "supports_return_generator", False) else "list"


def lost_data(error):
    """Whether an error says that what was sent to Dask workers is gone with one that died.

    Dask itself trains again what was trained there, but cannot restore what was scattered.
    """
    return _is_one_of(error, _LOST_DATA)


def died(error):
    """Whether an error says that a worker died."""
    return _is_one_of(error, _DIED)


def _is_one_of(error, names):
    """Whether an error is of a class that `names` has, by module; modules that were not imported did not raise it."""
    classes = [getattr(sys.modules.get(module), name, None) for module in names for name in names[module]]
    return isinstance(error, tuple(kind for kind in classes if kind is not None))
