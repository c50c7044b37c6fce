"""Codecs of plain data: numbers, containers, arrays, generators of random numbers and distributions."""

import math
import re
from collections import defaultdict

import numpy as np
from scipy import stats
from sklearn.utils import Bunch

from skensemble._files.strict_json import write_json
from skensemble.io._errors import FormatError, PersistenceError
from skensemble.io._values.codec import Codec, is_a, is_exactly

_MAX_INT_DIGITS = 100
_MAX_ITEM_BYTES = 4 * 2**20


def _decode_int(content, decoder):
    if not re.fullmatch(rf"-?[0-9]{{1,{_MAX_INT_DIGITS}}}", content):
        raise FormatError("An integer of the manifest is not one.")
    return int(content)


def _decode_float(content, decoder):
    return {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}[content]


# Containers


def _encode_tuple(value, encoder, where):
    if len(value) > 1 and isinstance(value[0], str):  # the name of a member or of a step
        where = f"{value[0]!r} of {where}"
    return [encoder.encode(item, where) for item in value]


def _decode_tuple(content, decoder):
    return tuple(decoder.decode(_a_list(content)))


def _encode_set(value, encoder, where):
    return sorted((encoder.encode(item, where) for item in value), key=write_json)


def _decode_set(content, decoder):
    return set(decoder.decode(_a_list(content)))


def _a_list(content):
    if not isinstance(content, list):
        raise FormatError("A tuple or set of the manifest must be a list.")
    return content


def _encode_dict(value, encoder, where):
    return [[encoder.encode(k, where), encoder.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]


def _decode_dict(content, decoder):
    value = {decoder.decode(k): decoder.decode(v) for k, v in content}
    if len(value) < len(content):
        raise FormatError("A dict of the manifest has a key twice.")
    return value


def _is_dict_of_lists(value):
    return type(value) is defaultdict and value.default_factory is list


def _decode_dict_of_lists(content, decoder):
    return defaultdict(list, _decode_dict(content, decoder))


def _decode_bunch(content, decoder):
    return Bunch(**_decode_dict(content, decoder))


def _encode_slice(value, encoder, where):
    return [encoder.encode(end, where) for end in (value.start, value.stop, value.step)]


def _decode_slice(content, decoder):
    start, stop, step = decoder.decode(content)
    return slice(start, stop, step)


# Arrays


def _is_array(value):
    return type(value) in (np.ndarray, np.memmap)


def _is_array_of_items(value):
    return _is_array(value) and value.dtype.kind in "OUS" and value.dtype.names is None


def _encode_items(value, encoder, where):
    items = [encoder.encode(item, where) for item in value.ravel().tolist()]
    return [value.dtype.str, list(value.shape), items]


def _decode_items(content, decoder):
    dtype, shape, items = content
    dtype = _dtype(dtype, "OUS")
    if math.prod(shape) != len(items) or dtype.itemsize > _MAX_ITEM_BYTES:
        raise FormatError(f"An array of the manifest must have {math.prod(shape)} items: got {len(items)}.")
    array = np.empty(len(items), dtype)
    array[:] = [decoder.decode(item) for item in items]
    return array.reshape(shape)


def _encode_array(value, encoder, where):
    if value.dtype.kind in "mM":
        return [encoder.keep(value.view(np.int64)), value.dtype.str]
    if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8:
        raise PersistenceError(f"{where} cannot be saved: arrays of {value.dtype} are not supported.")
    return [encoder.keep(value)]


def _decode_array(content, decoder):
    name, *dtype = content
    array = decoder.arrays[name]
    return array.view(_dtype(dtype[0], "mM")) if dtype else array


def _encode_masked(value, encoder, where):
    parts = np.ma.getdata(value), np.ma.getmaskarray(value), np.asarray(value.fill_value)
    return [encoder.encode(part, where) for part in parts]


def _decode_masked(content, decoder):
    data, mask, fill = decoder.decode(content)
    return np.ma.MaskedArray(data, mask, fill_value=fill[()])


def _encode_scalar(value, encoder, where):
    return encoder.encode(np.asarray(value), where)


def _decode_scalar(content, decoder):
    return decoder.decode(content)[()]


def _decode_dtype(content, decoder):
    return _dtype(content, "biufcOUSmM")


def _dtype(text, kinds):
    dtype = np.dtype(text) if isinstance(text, str) else None
    if dtype is None or dtype.kind not in kinds:
        raise FormatError(f"The manifest names the dtype {text!r}, which it must not.")
    return dtype


# Random numbers


def _encode_random_state(value, encoder, where):
    _, keys, position, has_gauss, cached = value.get_state()
    return [encoder.encode(keys, where), int(position), int(has_gauss), float(cached)]


def _decode_random_state(content, decoder):
    keys, *rest = content
    state = np.random.RandomState()
    state.set_state(("MT19937", decoder.decode(keys), *rest))
    return state


def _is_distribution(value):
    """Whether a value is a distribution of `scipy.stats` with its parameters."""
    frozen = isinstance(value, stats.distributions.rv_frozen)
    return frozen and type(getattr(stats, value.dist.name, None)) is type(value.dist)


def _encode_distribution(value, encoder, where):
    return [value.dist.name, encoder.encode(value.args, where), encoder.encode(value.kwds, where)]


def _decode_distribution(content, decoder):
    name, args, keywords = content
    distribution = getattr(stats, name)
    if not isinstance(distribution, stats.rv_continuous | stats.rv_discrete):
        raise FormatError(f"scipy.stats.{name} is not a distribution.")
    return distribution(*decoder.decode(args), **decoder.decode(keywords))


DATA = (
    Codec("int", is_exactly(int), lambda value, *_: str(value), _decode_int),  # with more digits than JSON's
    Codec("float", is_exactly(float), lambda value, *_: repr(value), _decode_float),  # that are not finite
    Codec("bytes", is_exactly(bytes), lambda value, *_: value.hex(), lambda content, _: bytes.fromhex(content)),
    Codec("tuple", is_exactly(tuple), _encode_tuple, _decode_tuple),
    Codec("set", is_exactly(set), _encode_set, _decode_set),
    Codec("dict", is_exactly(dict), _encode_dict, _decode_dict),
    Codec("lists", _is_dict_of_lists, _encode_dict, _decode_dict_of_lists),
    Codec("bunch", is_exactly(Bunch), _encode_dict, _decode_bunch),
    Codec("slice", is_exactly(slice), _encode_slice, _decode_slice),
    Codec("items", _is_array_of_items, _encode_items, _decode_items),
    Codec("array", _is_array, _encode_array, _decode_array),
    Codec("masked", is_a(np.ma.MaskedArray), _encode_masked, _decode_masked),
    Codec("scalar", is_a(np.generic), _encode_scalar, _decode_scalar),
    Codec("dtype", is_a(np.dtype), lambda value, *_: value.str, _decode_dtype),
    Codec("random_state", is_a(np.random.RandomState), _encode_random_state, _decode_random_state),
    Codec("distribution", _is_distribution, _encode_distribution, _decode_distribution),
)
