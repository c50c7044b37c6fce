"""The backend of joblib by which a search of scikit-learn hands over its fits, to be trained together."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib
from joblib.parallel import ParallelBackendBase, get_active_backend

from skensemble._compat.joblib import count_workers
from skensemble._search.fits import KEPT_NETWORK, Fit, run_fits

#: A search hands over twice as many fits at once, by its default for `pre_dispatch`.
N_AT_ONCE = 500


class _Job:
    """A fit that was handed over, and what becomes of it."""

    def __init__(self, backend: "TogetherBackend", fit: Fit, callback: Callable[[Any], Any] | None) -> None:
        self.backend, self.fit, self.callback = backend, fit, callback
        self.result: Any = None
        self.is_done = False

    def get(self, timeout: float | None = None) -> Any:
        """What the fit returned."""
        if not self.is_done:
            self.backend.run()
        return self.result


class TogetherBackend(ParallelBackendBase):
    """Runs everything that was handed over when the first result is asked for.

    Parameters
    ----------
    outer : tuple
        The backend and the number of jobs that would be active otherwise.
    n_jobs : int or None
        Of the search.
    keeps : bool
        Whether fitted estimators are kept.

    Attributes
    ----------
    kept : list of (estimator, ndarray of int) or None
        For each fit, in order: the estimator, and the rows that it was trained on; None where the fit failed.
    """

    uses_threads = True
    supports_sharedmem = True
    supports_timeout = False

    def __init__(self, outer: tuple, n_jobs: int | None, *, keeps: bool = False, **options: Any) -> None:
        super().__init__(nesting_level=0, **options)
        self._outer, self._keeps = outer, keeps
        self.kept: list = []
        self._n_workers = count_workers(n_jobs)
        self._jobs: list[_Job] = []

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many fits are handed over at once."""
        return N_AT_ONCE

    def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
        """Begin."""
        self.parallel = parallel
        return N_AT_ONCE

    def submit(self, func: Fit, callback: Callable[[Any], Any] | None = None) -> _Job:
        """Take over a fit."""
        self._jobs.append(_Job(self, func, callback))
        return self._jobs[-1]

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result(self, out: _Job, timeout: float | None = None) -> Any:
        """What a fit returned."""
        return out.get()

    def get_nested_backend(self) -> tuple:
        """What the fits themselves use."""
        backend, _ = self._outer
        return self._outer if self._n_workers == 1 else backend.get_nested_backend()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Forget what was handed over."""
        self._jobs = []

    def run(self) -> None:
        """Run what was handed over; the callbacks of joblib then hand over more."""
        jobs, self._jobs = self._jobs, []
        for job, result in zip(jobs, self._results([job.fit for job in jobs]), strict=True):
            if self._keeps:
                self.kept += [one.pop(KEPT_NETWORK) for one in result if isinstance(one, dict) and KEPT_NETWORK in one]
            job.result, job.is_done = result, True
        for job in jobs:
            if job.callback is not None:
                job.callback(job.result)

    def _results(self, fits: list[Fit]) -> list:
        backend, n_jobs = self._outer
        with joblib.parallel_config(backend, n_jobs=n_jobs):
            if self._n_workers == 1:
                return run_fits(fits, self._keeps)
            n_parts = min(self._n_workers, len(fits))
            ends = [len(fits) * k // n_parts for k in range(n_parts + 1)]
            parts = [fits[first:last] for first, last in itertools.pairwise(ends)]
            results = joblib.Parallel(n_jobs=self._n_workers)(
                joblib.delayed(run_fits)(part, self._keeps) for part in parts
            )
            return [one for part in results for one in part]


@contextmanager
def together(n_jobs: int | None, *, keeps: bool = False) -> Iterator[TogetherBackend]:
    """Block in which a search of scikit-learn hands its fits to a `TogetherBackend`."""
    backend = TogetherBackend(get_active_backend(), n_jobs, keeps=keeps)
    with joblib.parallel_config(backend):
        yield backend
