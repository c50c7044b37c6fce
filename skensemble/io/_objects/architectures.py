"""The architecture of a model as a Keras config, and how much memory it needs, found out without using any."""

import json
import math
import re

from keras import KerasTensor

from skensemble._compat.keras import layer_output_shapes
from skensemble._compat.keras_copies import built_without_memory, model_config
from skensemble._members.architecture import why_not_from_configuration
from skensemble.io._audit.architectures import is_of_keras
from skensemble.io._errors import FormatError

#: The most numbers in a row of X, of targets, or of a layer's output: 256 MiB of float32.
MAX_ROW = 2**26
#: The bytes that a network may need, as a multiple of those that the file has for it.
_BYTES_PER_STORED, _FREE_BYTES = 4, 2**20
#: Objects without a state: it makes no difference whether two layers share one or have equal ones.
_STATELESS = ("keras.constraints", "keras.dtype_policies", "keras.initializers", "keras.regularizers")


def canonical_config(model):
    """The config of a model as JSON would return it, the same for the same model in every process.

    Without what it was compiled with, at any depth (Keras' `compile=False` keeps that of models inside models). Layers
    that are used twice are numbered from 0, where Keras writes their addresses.

    Parameters
    ----------
    model : keras.Model

    Returns
    -------
    dict
    """
    reason = why_not_from_configuration(model)
    if reason is not None:
        raise FormatError(f"The architecture of {model.name!r} must follow from its configuration: {reason}.")
    try:
        config = json.loads(json.dumps(model_config(model), allow_nan=False))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise FormatError(
            f"The architecture of {model.name!r} must be JSON with finite numbers: {error}. Give its layers a "
            "`get_config` of plain values."
        ) from error
    _unlist_single_tensors(model, config)
    return _canonical(config, {})


def _unlist_single_tensors(model, config):
    """Write a single input or output as such: Keras 3.8 writes a list of one, which later versions take for a list."""
    inner = config["config"]
    for key, name in (("input_layers", "input"), ("output_layers", "output")):
        if key in inner and len(inner[key]) == 1 and isinstance(getattr(model, name), KerasTensor):
            (inner[key],) = inner[key]
    if isinstance(inner.get("layers"), list):
        layers = {layer.name: layer for layer in getattr(model, "layers", ())}
        for one in inner["layers"]:
            if isinstance(one.get("config"), dict) and one["config"].get("name") in layers:
                _unlist_single_tensors(layers[one["config"]["name"]], one)


def _canonical(value, numbers):
    if isinstance(value, list):
        return [_canonical(item, numbers) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: _canonical(item, numbers) for key, item in value.items() if key != "compile_config"}
    if value.get("module") in _STATELESS or value.get("class_name") == "DTypePolicy":
        value.pop("shared_object_id", None)
    registered = value.get("registered_name")
    if isinstance(registered, str) and (registered.startswith(">") or is_of_keras(value.get("module"))):
        # Copying a model with scikeras registers its class in this process, as ">Functional".
        value["registered_name"] = value["class_name"]
    if "shared_object_id" in value:
        value["shared_object_id"] = numbers.setdefault(value["shared_object_id"], len(numbers))
    return value


def dry_build(config, custom_objects, stored_bytes):
    """Build a network without memory for its variables; raise where it needs much more memory than is stored for it.

    Parameters
    ----------
    config : dict
        A config that `untrusted_names` has passed.
    custom_objects : dict of str to object or None
    stored_bytes : int
        Bytes of the variables in the file.

    Raises
    ------
    FormatError
        Where Keras cannot build it, or where its variables or one row of a layer's output are too large.
    """
    try:
        model = built_without_memory(config, custom_objects)
    except Exception as error:  # whatever layers of Keras or of the user raise
        raise FormatError(f"The architecture {_name_of(config)} cannot be built: {error}") from error
    if not hasattr(model, "variables"):
        raise FormatError(f"An architecture must be the config of a Keras model: got {type(model).__name__}.")
    needed = sum(math.prod(variable.shape) * _item_size(variable.dtype) for variable in model.variables)
    if needed > _BYTES_PER_STORED * stored_bytes + _FREE_BYTES:
        raise FormatError(
            f"The architecture {_name_of(config)} must not need much more memory than is stored for it: it needs "
            f"{needed} bytes, the file has {stored_bytes}."
        )
    for shape in layer_output_shapes(model):
        if math.prod(size or 1 for size in shape[1:]) > MAX_ROW:
            raise FormatError(f"A layer must not put out more than {MAX_ROW} numbers a row: got the shape {shape}.")


def _name_of(config):
    content = config.get("config")
    return repr(content.get("name")) if isinstance(content, dict) else config.get("class_name")


def _item_size(dtype):
    bits = re.search(r"\d+$", dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1
