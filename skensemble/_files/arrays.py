"""Named arrays as bytes, in the format of safetensors."""

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save


def write_arrays(arrays):
    """Bytes of named arrays of numbers.

    Parameters
    ----------
    arrays : dict of str to ndarray

    Returns
    -------
    bytes
    """
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def read_arrays(data, name, error=ValueError):
    """Named arrays from bytes of `write_arrays`, writable; an error for anything else.

    Parameters
    ----------
    data : bytes
    name : str
        Its name in messages.
    error : type, default=ValueError
        Of the error.

    Returns
    -------
    dict of str to ndarray
    """
    try:
        return {name: array if array.flags.writeable else array.copy() for name, array in load(data).items()}
    except (SafetensorError, KeyError, TypeError, ValueError, AttributeError) as reason:
        raise error(f"{name} must be in the safetensors format: {reason}.") from reason
