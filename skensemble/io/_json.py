"""JSON, strictly: one way to write a value, and no value that another reader could read differently."""

import json
import re

from skensemble.io._errors import FormatError

#: Deepest nesting that is read; Python's own parser gives up with a RecursionError somewhere above it (T19).
MAX_DEPTH = 64
#: Integers of more digits are written as text (`_values`), so none is read (T20).
MAX_DIGITS = 20
#: Text may lack its end here, which makes no match twice, however long; the parser refuses it.
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


def read_json(data, name):
    """The value in `data`; FormatError for anything but strict JSON.

    Parameters
    ----------
    data : bytes
    name : str
        What the message calls it.

    Returns
    -------
    object
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{name} must be JSON in UTF-8: {error}.") from error
    _check_depth(text, name)
    try:
        return json.loads(
            text,
            object_pairs_hook=lambda pairs: _unique(pairs, name),
            parse_constant=lambda word: _refuse(f"{name} must hold finite numbers: got {word}."),
            parse_int=lambda digits: _integer(digits, name),
            parse_float=lambda digits: _finite(digits, name),
        )
    except (json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"{name} must be JSON: {error}.") from error


def _check_depth(text, name):
    depth = 0
    for match in _BRACKET_OR_TEXT.finditer(text):
        bracket = match[0]
        if bracket in ("[", "{"):
            depth += 1
            if depth > MAX_DEPTH:
                raise FormatError(f"{name} must not be nested deeper than {MAX_DEPTH} levels.")
        elif bracket in ("]", "}"):
            depth -= 1


def _refuse(message):
    raise FormatError(message)


def _unique(pairs, name):
    value = dict(pairs)
    if len(value) < len(pairs):
        raise FormatError(f"{name} must not have a key twice in one object: got {[key for key, _ in pairs]}.")
    return value


def _integer(digits, name):
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise FormatError(f"{name} must not have integers of more than {MAX_DIGITS} digits: got {len(digits)}.")
    return int(digits)


def _finite(digits, name):
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise FormatError(f"{name} must hold finite numbers: got {digits[:MAX_DIGITS]}.")
    return value
