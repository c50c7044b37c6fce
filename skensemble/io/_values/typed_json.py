"""Values to typed JSON and back.

JSON's own types represent themselves, except objects: each is ``{"t": tag, "v": content}``, and `CODECS` has a `Codec`
for each tag.
"""

import math

import numpy as np

from skensemble._files.strict_json import MAX_DIGITS
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._values.callables import CALLABLES
from skensemble.io._values.codec import Codec
from skensemble.io._values.data import DATA
from skensemble.io._values.keras_objects import KERAS_OBJECTS

_OBJECT = Codec(
    "object",  # an estimator, network or the like, which the manifest lists separately
    lambda value: True,
    lambda value, encoder, where: encoder.object_number(value, where),
    lambda content, decoder: decoder.objects(content),
)
#: A value is written by the first that accepts it.
CODECS = {codec.tag: codec for codec in (*DATA, *KERAS_OBJECTS, *CALLABLES, _OBJECT)}


class Encoder:
    """Writes values as typed JSON.

    Parameters
    ----------
    encode_object : callable
        `encode_object(value)` returns the number of an estimator, network or the like, None for anything else.

    Attributes
    ----------
    arrays : dict of str to ndarray
        Arrays of numbers, which are stored separately.
    """

    def __init__(self, encode_object):
        self._encode_object = encode_object
        self.arrays = {}

    def encode(self, value, where):
        """Typed JSON of a value.

        Parameters
        ----------
        value : object
        where : str
            Name in errors: the attribute or parameter.

        Returns
        -------
        object of JSON's types
        """
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int and len(str(abs(value))) < MAX_DIGITS:
            return value
        if kind is float and math.isfinite(value):
            return value
        if kind is list:
            return [self.encode(item, where) for item in value]
        if _is_index(value):
            return self.encode(value.to_numpy(), where)
        codec = next(codec for codec in CODECS.values() if codec.accepts(value))
        return {"t": codec.tag, "v": codec.encode(value, self, where)}

    def keep(self, array):
        """Name under which an array of numbers is stored, in the machine's order of bytes."""
        name = f"a{len(self.arrays)}"
        self.arrays[name] = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        return name

    def object_number(self, value, where):
        """Number of an estimator, network or the like; raises for anything else."""
        number = self._encode_object(value)
        if number is None:
            kind = type(value)
            raise PersistenceError(
                f"{where} cannot be saved: {kind.__module__}.{kind.__qualname__} is not one of the types that "
                "skensemble.io writes. Remove it, replace it by plain values, or save with joblib."
            )
        return number


def _is_index(value):
    """Whether a value is the index of a table, which is written as the array of its entries."""
    return type(value).__name__.endswith("Index") and type(value).__module__.partition(".")[0] == "pandas"


class Decoder:
    """Reads typed JSON.

    Parameters
    ----------
    arrays : dict of str to ndarray
    objects : callable
        `objects(number)` returns an estimator, network or the like.
    trusted : collection of str
        Import paths.

    Attributes
    ----------
    placeholders : dict of str to NotRestored
        What stands for functions and classes that were not imported, by their paths.
    """

    def __init__(self, arrays, objects, trusted=()):
        self.arrays, self.objects, self.trusted = arrays, objects, set(trusted)
        self.placeholders = {}

    def decode(self, value):
        """The value.

        Parameters
        ----------
        value : object of JSON's types

        Returns
        -------
        object
        """
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.keys() != {"t", "v"} or not isinstance(value["t"], str) or value["t"] not in CODECS:
            raise FormatError(f"A value of the manifest has no known type: got {str(value)[:80]}.")
        try:
            return CODECS[value["t"]].decode(value["v"], self)
        except PersistenceError:
            raise
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError, SyntaxError, MemoryError) as error:
            raise FormatError(f"A value of type {value['t']!r} in the manifest cannot be read: {error}.") from error
