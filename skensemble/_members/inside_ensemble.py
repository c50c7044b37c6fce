"""Whether a network is being fitted as a member of an ensemble, which then makes the decisions of the network."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_INSIDE_ENSEMBLE = ContextVar("inside_ensemble", default=False)


@contextmanager
def inside_ensemble() -> Iterator[Any]:
    """Block in which members are fitted: the ensemble has given the warnings about y and has chosen the engine."""
    token = _INSIDE_ENSEMBLE.set(True)
    try:
        yield
    finally:
        _INSIDE_ENSEMBLE.reset(token)


def is_inside_ensemble() -> bool:
    """Whether an ensemble is fitting its members, in such a block."""
    return _INSIDE_ENSEMBLE.get()
