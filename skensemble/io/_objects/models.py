"""Keras models: architecture, values of the variables, and what they were compiled with."""

import keras
import numpy as np

from skensemble._compat.keras import all_layers, build_optimizer, compile_arguments
from skensemble._compat.keras_copies import model_from_config
from skensemble._engine.variables import read_state, write_state
from skensemble.io._audit.architectures import untrusted_names
from skensemble.io._errors import FormatError
from skensemble.io._objects.architectures import canonical_config
from skensemble.io._objects.probe import check_probe, write_probe


def write_model(model, writer):
    """Node of a model with its values."""
    where = f"The network {model.name!r}"
    node = write_architecture(model, writer)
    node["variables"] = writer.add_variables(named_values(*read_state(model)[:2]), where)
    if writer.include_optimizer and model.optimizer is not None:
        build_optimizer(model)
        node["optimizer"] = writer.add_optimizer(read_state(model).optimizer, where)
    write_probe(model, where, f"object{writer.next_number}", writer)
    return node


def write_architecture(model, writer):
    """Node of a model without its values: that of a prototype, which only represents an architecture."""
    config = canonical_config(model)
    untrusted_names(config)  # what can never be loaded is refused here
    writer.own_classes |= _own_classes(model)
    node = {"architecture": writer.add_architecture(config), "variables": None, "optimizer": None, "compile": None}
    arguments = compile_arguments(model)
    if arguments is not None:
        node["compile"] = writer.encode(arguments, f"What the network {model.name!r} was compiled with")
    return node


def _own_classes(model):
    """Classes of layers that are not Keras', by the names under which configurations have them."""
    kinds = {type(layer) for layer in all_layers(model)}
    own = [kind for kind in kinds if kind.__module__.partition(".")[0] != "keras"]
    return {name: kind for kind in own for name in (kind.__name__, keras.saving.get_registered_name(kind))}


def read_model(node, number, reader):
    """A model, with its values where the node has them."""
    where = f"The network of object {number}"
    model = build_model(reader.configs[node["architecture"]], reader.custom_objects)
    compile_as(model, reader.decode(node["compile"]))
    if node["variables"] is not None:
        write_state(model, values_for(model, reader.arrays(node["variables"]), node["variables"]))
        check_probe(model, where, f"object{number}", reader)
    if node["optimizer"] is not None:
        values = optimizer_values_for(model, reader.arrays(node["optimizer"]), where)
        write_state(model, (*read_state(model)[:2], values))
    return model


def build_model(config, custom_objects):
    """A model from its audited configuration, not compiled."""
    try:
        return model_from_config(config, custom_objects)
    except Exception as error:  # whatever a layer raises
        raise FormatError(f"An architecture of the file cannot be built: {error}") from error


def compile_as(model, arguments):
    """Compile a model with the arguments of `keras.Model.compile`; None where it was not compiled."""
    if arguments is None:
        return
    try:
        model.compile(**arguments)
        build_optimizer(model)
    except (TypeError, ValueError) as error:
        raise FormatError(f"A network of the file cannot be compiled: {error}") from error


def named_values(trainable, non_trainable):
    """Variables or their values by names, in order."""
    parts = (("trainable", trainable), ("non_trainable", non_trainable))
    return {f"{part}/{i:05}": value for part, values in parts for i, value in enumerate(values)}


def values_for(model, arrays, where):
    """(trainable, non_trainable) values for a model from named arrays, which must have its names, shapes and types."""
    variables = named_values(model.trainable_variables, model.non_trainable_variables)
    if arrays.keys() == variables.keys():
        arrays = {name: _as_kept(arrays[name], variable.dtype) for name, variable in variables.items()}
    found = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
    if found != {name: (tuple(v.shape), keras.backend.standardize_dtype(v.dtype)) for name, v in variables.items()}:
        raise FormatError(f"{where} must hold the variables of its architecture, in their shapes and types.")
    values, n_trainable = list(arrays.values()), len(model.trainable_variables)
    return values[:n_trainable], values[n_trainable:]


def optimizer_values_for(model, arrays, where, stacked=((),)):
    """Values for the optimizer of a compiled model, which must have the shapes and types of its variables.

    Parameters
    ----------
    model : keras.Model
    arrays : dict of str to ndarray
    where : str
    stacked : sequence of tuple of int, default=((),)
        Shapes that may precede those of the variables: of one model none, of several models their number.

    Returns
    -------
    list of ndarray
    """
    build_optimizer(model)
    variables = read_state(model).optimizer
    values = [arrays[name] for name in sorted(arrays)]
    fits = len(values) == len(variables)
    if fits:
        values = [_as_kept(value, variable.dtype) for value, variable in zip(values, variables, strict=True)]
        fits = all(
            value.dtype == variable.dtype and value.shape in [(*n, *variable.shape) for n in stacked]
            for value, variable in zip(values, variables, strict=True)
        )
    if not fits:
        raise FormatError(f"{where} must hold the variables of the optimizer, in their shapes and types.")
    return values


def _as_kept(array, dtype):
    """Whole numbers in the type of a variable, if it can hold them; anything else as it is.

    Backends keep them in different types: the state of a `SeedGenerator` is int64 on TensorFlow and uint32 on JAX.
    """
    kept = keras.backend.standardize_dtype(dtype)
    if array.dtype.kind in "iu" and kept.startswith(("int", "uint")):
        converted = array.astype(kept)
        if np.array_equal(converted, array):
            return converted
    return array
