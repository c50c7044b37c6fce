"""JSON, strictly: one way to write a value, and no value that another reader could read differently."""

import json
import math
import re

#: Deepest nesting that is read; Python's own parser gives up with a RecursionError somewhere beyond it.
MAX_DEPTH = 64
#: Integers of more digits must be written as text.
MAX_DIGITS = 20
#: Matches text without an end, too, so that nothing is scanned twice, however long; the parser refuses such text.
_BRACKET_OR_TEXT = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


def write_json(value):
    """The bytes of a value: keys sorted, no spaces, ASCII.

    Parameters
    ----------
    value : object of JSON's types
        Floats are finite.

    Returns
    -------
    bytes
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def read_json(data, name, error=ValueError):
    """The value in `data`; an error for anything but strict JSON.

    Parameters
    ----------
    data : bytes
    name : str
        Its name in messages.
    error : type, default=ValueError
        Of the error.

    Returns
    -------
    object
    """
    try:
        text = data.decode("utf-8")
        _check_depth(text)
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_constant=_finite,
            parse_int=_integer,
            parse_float=_finite,
        )
    except _Refused as reason:
        raise error(f"{name} must {reason}.") from reason
    except UnicodeDecodeError as reason:
        raise error(f"{name} must be JSON in UTF-8: {reason}.") from reason
    except (json.JSONDecodeError, RecursionError) as reason:
        raise error(f"{name} must be JSON: {reason}.") from reason


def dicts_in(value):
    """Yield every dict in a value of JSON's types, at any depth."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            yield value
            waiting += value.values()


class _Refused(Exception):
    """JSON that is not strict; says what it must be."""


def _check_depth(text):
    depth = 0
    for match in _BRACKET_OR_TEXT.finditer(text):
        bracket = match[0]
        if bracket in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise _Refused(f"not be nested deeper than {MAX_DEPTH} levels")
        elif bracket in ("]", "}"):
            depth -= 1


def _unique(pairs):
    value = dict(pairs)
    if len(value) < len(pairs):
        raise _Refused(f"not have a key twice in one object: got {[key for key, _ in pairs]}")
    return value


def _integer(digits):
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise _Refused(f"not have integers of more than {MAX_DIGITS} digits: got {len(digits)}")
    return int(digits)


def _finite(digits):
    value = float(digits)
    if not math.isfinite(value):
        raise _Refused(f"hold finite numbers: got {digits[:MAX_DIGITS]}")
    return value
