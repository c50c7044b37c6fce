"""Programs by architecture, kept for later members of the same architecture."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from skensemble._engine.all_backends.prototype import LOCK
from skensemble.exceptions import NotFusableError

#: Programs that are kept.
CACHE_SIZE = 16

_PROGRAMS: OrderedDict[Hashable, Any] = OrderedDict()


def cached_program(key: Hashable, make: Callable[[], Any]) -> Any:
    """The program that `make` returned for this key, made now if it was not kept.

    Raises
    ------
    NotFusableError
        Where the model of the program cannot be copied.
    """
    with LOCK:
        if key not in _PROGRAMS:
            try:
                _PROGRAMS[key] = make()
            except NotFusableError:
                raise
            except Exception as error:  # whatever a user's from_config raises
                # The last line is the cause, and its first sentence the fact; the rest is advice on loading files.
                cause = str(error).strip().split("\n")[-1].partition(". ")[0].removesuffix(".")
                raise NotFusableError(f"the model cannot be copied from its configuration ({cause})") from error
            while len(_PROGRAMS) > CACHE_SIZE:
                _PROGRAMS.popitem(last=False)
        _PROGRAMS.move_to_end(key)
        return _PROGRAMS[key]
