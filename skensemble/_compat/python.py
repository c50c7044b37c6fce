"""What depends on the version of Python or joblib."""

import sys

try:
    from cloudpickle import dumps as dumps_for_workers
except ImportError:
    try:
        from joblib.externals.cloudpickle import dumps as dumps_for_workers
    except ImportError:  # joblib 1.6 and later, which then uses pickle
        from pickle import dumps as dumps_for_workers

__all__ = ["dumps_for_workers", "find_stacklevel"]

# Packages whose frames lie between a warning and the user's line that causes it.
_BETWEEN = {"contextlib", "joblib", "scikeras", "skensemble", "sklearn"}


def find_stacklevel():
    """Stack level of the user's line, for `warnings.warn` in the function that calls this one."""
    # TODO(python>=3.12): `skip_file_prefixes` of `warnings.warn`
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    return level
