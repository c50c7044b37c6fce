"""The inputs of a network: which columns of X go to each, and which values each takes."""

import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from skensemble._compat.keras import Functional, all_layers, compile_successor
from skensemble._compat.python import find_stacklevel
from skensemble._keras_objects.table_layers import InputColumns, filled_shape, with_one_input
from skensemble._members.inputs import shortened
from skensemble._numeric.host_rows import HostRows, chunks_of

# Keras' own layers for which numbers are identifiers.
_TAKE_CODES = (
    keras.layers.Embedding,
    keras.layers.CategoryEncoding,
    keras.layers.IntegerLookup,
    keras.layers.Hashing,
    keras.layers.HashedCrossing,
)


def on_one_input(
    model: keras.Model, inputs: Any, row_shape: tuple[int, ...], names: np.ndarray | None, *, encodes: bool
) -> keras.Model:
    """A network on all columns of X, from one whose inputs each take some of them; one with one input as it is.

    Parameters
    ----------
    model : keras.Model
        As the user built it; its layers, and its optimizer where it is compiled, become those of the new one.
    inputs : dict or None
        As in `KerasClassifier`.
    row_shape : tuple of int
        Shape of a row of X.
    names : ndarray of str or None
        Names of the columns of X.
    encodes : bool
        Whether the user's own encoder makes the inputs from X.

    Raises
    ------
    TypeError, ValueError
        Where model, `inputs` and X do not match.
    """
    if inputs is None:
        if not encodes:
            _refuse_several(model)
        return model
    single = with_one_input(model, row_shape[0], _columns_by_input(model, inputs, row_shape, names))
    compile_successor(single, model)
    return single


def _columns_by_input(
    model: keras.Model, inputs: Any, row_shape: tuple[int, ...], names: np.ndarray | None
) -> dict[str, list[int]]:
    """Numbers of the columns of X that each input of a network takes."""
    if not isinstance(inputs, Mapping):
        raise TypeError(
            "`inputs` must be a dict from the name of each Keras input to its columns of X: got "
            f"{type(inputs).__name__}."
        )
    _check_is_functional(model)
    if len(row_shape) != 1:
        raise ValueError(
            f"With `inputs` X must be a table, of two dimensions: got rows of shape {row_shape}. Put all columns side "
            "by side, such as numpy.hstack([images.reshape(len(images), -1), table]): an input for images gives them "
            "their shape again."
        )
    tensors = {tensor.name: tensor for tensor in model.inputs}
    if tensors.keys() != inputs.keys():
        raise ValueError(
            f"`inputs` must have the names of the inputs of `model`, {_listed(tensors)}: got {_listed(inputs)}. Name "
            "them by keras.Input(shape, name=...)."
        )
    columns = {name: _numbers_of(chosen, name, row_shape[0], names) for name, chosen in inputs.items()}
    for name, tensor in tensors.items():
        _check_fills(tensor, len(columns[name]))
    return columns


def check_whole_numbers(model: keras.Model, X: Any) -> None:
    """Raise where an input that takes whole numbers would get other numbers, which would be truncated or rounded."""
    if not isinstance(X, np.ndarray | HostRows):
        return
    taken = _whole_number_columns(model, X.ndim)
    for rows in chunks_of(X) if taken else ():
        for dtype, columns in taken:
            of_input = rows if columns is None else rows[:, columns]
            where = "X" if columns is None else f"its columns {shortened(columns)} of X"
            _check_exact(of_input, dtype, where)
            broken = of_input[of_input != np.round(of_input)]
            if broken.size and columns is not None:
                raise ValueError(
                    f"An input of type {dtype} takes whole numbers: got {broken[0]} in {where}. Encode categories as "
                    "numbers from 0, or build the input with the type 'float32'."
                )


def _whole_number_columns(model: keras.Model, n_dimensions: int) -> list[tuple[str, list[int] | None]]:
    """Types of the inputs that take whole numbers, each with its columns of X; None for all of X."""
    layers = [one for one in model.layers if isinstance(one, InputColumns)] if n_dimensions == 2 else []
    found: list[Any] = [(one.cast_to, list(one.columns)) for one in layers]
    if not layers and len(getattr(model, "inputs", None) or ()) == 1:
        found = [(keras.backend.standardize_dtype(model.inputs[0].dtype), None)]
    return [(dtype, columns) for dtype, columns in found if keras.backend.is_int_dtype(dtype)]


def _check_exact(values: np.ndarray, dtype: str, where: str) -> None:
    """Raise where whole numbers are too large to be told apart in the float type that X has become."""
    if values.dtype.kind != "f":
        return
    largest = 2 ** (np.finfo(values.dtype).nmant + 1)  # and the number after it are one
    if (np.abs(values) >= largest).any():
        raise ValueError(
            f"Networks get X in Keras' float type, {values.dtype}, which is exact for whole numbers below {largest}: "
            f"got larger ones in {where} for an input of type {dtype}. Encode them as numbers from 0, by "
            "scikit-learn's OrdinalEncoder, or call keras.config.set_floatx('float64')."
        )


def warn_of_codes(model: keras.Model, n_categories: Any) -> None:
    """Warn where columns of X hold codes of categories, and no layer of a network takes them as such."""
    layers = all_layers(model)
    own = any(type(layer).__module__.partition(".")[0] != "keras" for layer in layers)  # ours, or one of the user's
    if any(n_categories) and not own and not any(isinstance(layer, _TAKE_CODES) for layer in layers):
        warnings.warn(
            f"{sum(map(bool, n_categories))} columns of X hold categories, whose codes the network takes as numbers: "
            "let it begin with skensemble.EmbedCategories(meta['n_categories_']), or make columns of 0 and 1 of all "
            "categories, by TableEncoder(max_one_hot=None).",
            stacklevel=find_stacklevel(),
        )


def _refuse_several(model: keras.Model) -> None:
    tensors = getattr(model, "inputs", None) or ()
    if len(tensors) > 1:
        raise ValueError(
            f"X is one table, and the network has {len(tensors)} inputs: {_listed(one.name for one in tensors)}. Say "
            "which columns of X each takes, by `inputs`, a dict from the name of an input to a list of columns."
        )


def _check_is_functional(model: keras.Model) -> None:
    if type(model) not in (keras.Sequential, Functional):
        raise ValueError(
            "With `inputs` a network must be made of inputs and outputs, keras.Model(inputs, outputs): got "
            f"{type(model).__name__}, whose own steps would be lost. Write it in this way, or override "
            "`feature_encoder` so that it makes a dict of the inputs."
        )
    if not getattr(model, "inputs", None):
        raise ValueError("With `inputs` a keras.Sequential must begin with keras.Input(shape, name=...).")


def _check_fills(tensor: Any, n_columns: int) -> None:
    if keras.backend.standardize_dtype(tensor.dtype) == "string":
        raise ValueError(f"The input {tensor.name!r} must take numbers, as X holds them: it takes texts.")
    shape = tuple(tensor.shape[1:])
    if filled_shape(tensor, n_columns) is None:
        raise ValueError(
            f"The columns of an input must fill its shape: the input {tensor.name!r} takes rows of shape {shape}, and "
            f"`inputs` gives it {n_columns} columns."
        )


def _numbers_of(chosen: Any, name: str, n_features: int, names: np.ndarray | None) -> list[int]:
    """Numbers of the columns that an input takes, from names, numbers or a slice."""
    if isinstance(chosen, slice):
        _check_slice(chosen, name, n_features)
        chosen = range(*chosen.indices(n_features))
    chosen = [chosen] if isinstance(chosen, str | int | np.integer) else list(chosen)
    if not chosen:
        raise ValueError(f"`inputs` must give each input at least one column: {name!r} has none.")
    if all(isinstance(one, str) for one in chosen):
        return [_position(one, name, names) for one in chosen]
    for one in chosen:
        if isinstance(one, bool | np.bool_) or not isinstance(one, int | np.integer):
            raise TypeError(
                f"Columns in `inputs` must be names, numbers or a slice of numbers: got {one!r} for the input {name!r}."
            )
        if not 0 <= one < n_features:
            raise ValueError(
                f"`inputs` must name columns of X, which has {n_features}, counted from 0: got {one} for the input "
                f"{name!r}."
            )
    return [int(one) for one in chosen]


def _check_slice(chosen: slice, name: str, n_features: int) -> None:
    ends = (chosen.start, chosen.stop, chosen.step)
    if not all(end is None or isinstance(end, int | np.integer) for end in ends):
        raise TypeError(
            f"A slice in `inputs` must be one of numbers: got {chosen} for the input {name!r}. Give names as a list."
        )
    if chosen.stop is not None and chosen.stop > n_features:
        raise ValueError(
            f"`inputs` must name columns of X, which has {n_features}: got {chosen} for the input {name!r}."
        )


def _position(column: str, name: str, names: np.ndarray | None) -> int:
    if names is None:
        raise ValueError(
            f"`inputs` names the column {column!r} for the input {name!r}, and X has no names of columns. Give X as a "
            "DataFrame, or the columns by their numbers."
        )
    found = np.flatnonzero(np.asarray(names) == column)
    if not len(found):
        raise ValueError(
            f"`inputs` must name columns of X: got {column!r} for the input {name!r}, X has {_listed(names)}."
        )
    if len(found) > 1:  # which scikit-learn refuses since version 1.9
        raise ValueError(
            f"`inputs` must name one column of X each time: got {column!r} for the input {name!r}, and X has "
            f"{len(found)} columns of this name. Give the columns by their numbers."
        )
    return int(found[0])


def _listed(names: Any) -> str:
    return shortened([str(name) for name in names])
