"""Why a model cannot be fused, whatever Keras runs on: its settings, its inputs, and what its layers keep."""

from collections.abc import Sequence

import keras

from skensemble._compat.keras import all_layers
from skensemble._members.architecture import describe_architecture


def why_not_setup(model: keras.Model) -> str | None:
    """The reason why a model is not ready to be trained by a program, or None."""
    if not getattr(model, "compiled", False):
        return "the model is not compiled"
    if not model.built:
        return "the model is not built: its input shape is not known"
    if model.run_eagerly:
        return "the model is compiled with run_eagerly=True"
    if keras.distribution.distribution() is not None:
        return "the model is distributed with keras.distribution"
    return None


def why_not_methods(model: keras.Model, names: Sequence[str]) -> str | None:
    """The reason where a model overrides one of these methods, or None."""
    for name in names:
        if name in vars(model) or getattr(type(model), name) is not getattr(keras.Model, name):
            return f"the model has its own {name}"
    return None


def why_not_inputs(model: keras.Model) -> str | None:
    """The reason why the inputs or outputs of a model are not known to a program, or None."""
    for word in ("input", "output"):
        tensors = getattr(model, word + "s", None)
        if tensors is not None and len(tensors) != 1:
            return f"the model has {len(tensors)} {word}s"
        if isinstance(getattr(model, f"_{word}s_struct", None), dict):
            return f"the model's {word} is a dict"
    for tensor in getattr(model, "inputs", None) or ():
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            return "the model's input is sparse or ragged"
        if tensor.dtype == "string":
            return "the model's input is text"
    return None


def why_not_layers(model: keras.Model) -> str | None:
    """The reason why a program cannot carry what the layers of a model keep, or None."""
    if not model.trainable_variables:
        return "the model has nothing to train"
    if any(getattr(v, "overwrite_with_gradient", False) for v in model.trainable_variables):
        return "the model trains in float8"
    for layer in all_layers(model):
        if getattr(layer, "stateful", False):
            return f"layer {layer.name!r} is stateful"
        if _has_table(layer):
            return f"layer {layer.name!r} was adapted to data, and keeps them in a table, not in variables"
        if not type(layer).load_own_variables.__module__.startswith("keras."):
            return f"layer {layer.name!r} loads its variables in a way of its own, and may keep more than variables"
    try:
        describe_architecture(model)
    except Exception as error:  # whatever a user's get_config raises
        first_line = str(error).strip().split("\n")[0]
        return f"the model cannot be described by its configuration ({type(error).__name__}: {first_line})"
    return None


def _has_table(layer: keras.layers.Layer) -> bool:
    """Whether a layer has learned a vocabulary; one that it was given is in its configuration."""
    return hasattr(layer, "save_assets") and layer.get_config().get("vocabulary") is None
