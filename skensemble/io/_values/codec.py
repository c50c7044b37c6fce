"""Both directions of one type of value, side by side: how it is written, and how it is read."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Codec(NamedTuple):
    """What typed JSON does with the values of one tag.

    Attributes
    ----------
    tag : str
    accepts : callable
        `accepts(value)`: whether this codec writes a value.
    encode : callable
        `encode(value, encoder, where)` returns the content, as JSON; `where` is the name of the value in errors.
    decode : callable
        `decode(content, decoder)` returns the value. It may raise whatever false content leads to.
    """

    tag: str
    accepts: Callable[[Any], bool]
    encode: Callable[[Any, Any, str], Any]
    decode: Callable[[Any, Any], Any]


def is_a(kind):
    """An `accepts` for values of a type and its subclasses."""
    return lambda value: isinstance(value, kind)


def is_exactly(kind):
    """An `accepts` for values of a type; those of a subclass would come back as the type itself."""
    return lambda value: type(value) is kind
