"""Keras layers around the networks of an ensemble: `SelectColumns` before one, `WeightedAverage` after several."""

import numbers
from typing import Any

import keras
import numpy as np
from keras import ops

SMALLEST_WEIGHT = 1e-12  # in place of 0, which has no logarithm


@keras.saving.register_keras_serializable(package="skensemble")
class WeightedAverage(keras.layers.Layer):
    """Mean of several tensors of one shape, with one weight for each: sum of softmax(w)_i x_i.

    The variable w is the logarithm of the weights, so that a gradient step keeps them positive and their sum 1.

    Parameters
    ----------
    n_members : int, default=None
        Number of tensors. None takes the number of `weights`, or that of the tensors of the first call.
    weights : array-like of shape (n_members,), default=None
        Weights to begin with, not negative; scaled to sum to 1. None means equal weights.
    trainable : bool, default=True
        Whether training changes the weights.
    **kwargs : dict
        `name` and `dtype` of a Keras layer.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble import WeightedAverage
    >>> layer = WeightedAverage(weights=[1, 3], trainable=False)
    >>> np.asarray(layer([np.zeros((1, 2)), np.ones((1, 2))])).round(2)
    array([[0.75, 0.75]], dtype=float32)
    """

    def __init__(self, n_members=None, weights=None, trainable=True, **kwargs):
        super().__init__(trainable=trainable, **kwargs)
        self.initial_weights = None if weights is None else _checked_weights(weights)
        if n_members is not None and weights is not None and len(self.initial_weights) != n_members:
            raise ValueError(
                f"`weights` must have one entry per member: got {len(self.initial_weights)} weights for "
                f"n_members={n_members}."
            )
        self.n_members = n_members if weights is None else len(self.initial_weights)

    def build(self, input_shape: tuple | list) -> None:
        """Make the variable.

        Parameters
        ----------
        input_shape : list of tuple
            Shapes of the tensors, which are the same.
        """
        if self.n_members is not None and self.n_members != len(input_shape):
            raise ValueError(
                f"WeightedAverage takes a list of one tensor per member: got {len(input_shape)} tensors for "
                f"n_members={self.n_members}."
            )
        self.n_members = len(input_shape)
        initializer = "zeros"
        if self.initial_weights is not None:
            initializer = keras.initializers.Constant(np.log(np.maximum(self.initial_weights, SMALLEST_WEIGHT)))
        self.logits = self.add_weight(
            shape=(self.n_members,), initializer=initializer, trainable=self.trainable, name="logits"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Merge.

        Parameters
        ----------
        inputs : list of tensor
            One per member, all of one shape.

        Returns
        -------
        tensor
            Of that shape.
        """
        weights = _softmax(self.logits)
        return sum(weights[i] * one for i, one in enumerate(inputs))

    def compute_output_shape(self, input_shape: tuple | list) -> tuple:
        """Shape of one of the tensors.

        Parameters
        ----------
        input_shape : list of tuple

        Returns
        -------
        tuple
        """
        return tuple(input_shape[0])

    @property
    def normalized_weights(self) -> np.ndarray:
        """How much each tensor counts; sums to 1.

        Returns
        -------
        ndarray of shape (n_members,)
        """
        return ops.convert_to_numpy(_softmax(self.logits))

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `from_config` makes the same layer.

        Returns
        -------
        dict
        """
        weights = None if self.initial_weights is None else self.initial_weights.tolist()
        return {**super().get_config(), "n_members": self.n_members, "weights": weights}


def _softmax(logits):
    # Keras' own merge layers warn about a single member.
    exponentials = ops.exp(logits - ops.max(logits))
    return exponentials / ops.sum(exponentials)


def _checked_weights(weights):
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise ValueError(f"`weights` must be finite and not negative, with a positive one: got {weights}.")
    return weights / weights.sum()


@keras.saving.register_keras_serializable(package="skensemble")
class SelectColumns(keras.layers.Layer):
    """Some columns of a table, in the order of `columns`.

    The columns are the value of a variable that training does not change, so that networks on different columns have
    the same architecture. The layer comes before the networks of averaging ensembles with `max_features`.

    Parameters
    ----------
    n_columns : int
        How many columns are selected.
    **kwargs : dict
        `name` and `dtype` of a Keras layer.

    Attributes
    ----------
    columns : keras.Variable of int of shape (n_columns,)
        Indices of the columns; at first all of them are 0. Set them with `layer.set_weights`.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble import SelectColumns
    >>> layer = SelectColumns(2)
    >>> layer.build((None, 3))
    >>> layer.set_weights([np.array([0, 2])])
    >>> np.asarray(layer(np.array([[1.0, 2.0, 3.0]])))
    array([[1., 3.]])
    """

    def __init__(self, n_columns, **kwargs):
        super().__init__(autocast=False, **kwargs)  # the layers after it take the columns as they would take X
        if not isinstance(n_columns, numbers.Integral) or n_columns < 1:
            raise ValueError(f"`n_columns` must be a positive integer: got {n_columns!r}.")
        self.n_columns = int(n_columns)

    def build(self, input_shape: tuple | list) -> None:
        """Make the variable.

        Parameters
        ----------
        input_shape : tuple
            (n_samples, n_features)
        """
        if len(input_shape) != 2:
            raise ValueError(f"SelectColumns takes tables of two dimensions: got the shape {tuple(input_shape)}.")
        self.columns = self.add_weight(
            shape=(self.n_columns,), initializer="zeros", dtype="int", trainable=False, name="columns"
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Select.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_features)

        Returns
        -------
        tensor of shape (n_samples, n_columns)
        """
        return ops.take(inputs, self.columns, axis=1)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Shape and type of the output.

        Parameters
        ----------
        inputs : KerasTensor

        Returns
        -------
        KerasTensor
        """
        return keras.KerasTensor((inputs.shape[0], self.n_columns), dtype=inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `from_config` makes the same layer.

        Returns
        -------
        dict
        """
        return {**super().get_config(), "n_columns": self.n_columns}


def select_before(model, n_features, n_columns):
    """A model that takes all columns and passes some of them to the layers of another; not compiled.

    Parameters
    ----------
    model : keras.Sequential or functional keras.Model
        Built for `n_columns` columns, or not built yet. Its layers become those of the new model.
    n_features, n_columns : int

    Returns
    -------
    keras.Model
    """
    inputs = getattr(model, "inputs", None) or []  # none where a Sequential model does not begin with an Input
    shapes = [tuple(one.shape[1:]) for one in inputs]
    if inputs and shapes not in ([(n_columns,)], [(None,)]):
        raise ValueError(
            f"With `max_features` a network takes the columns that a member draws, {n_columns} of {n_features}: the "
            f"model {model.name!r} takes rows of shape {', '.join(map(str, shapes))}. Build it for "
            "`meta['X_shape_'][1:]`, which is the shape of the drawn columns."
        )
    X = keras.Input((n_features,), dtype=inputs[0].dtype if inputs else None)
    if isinstance(model, keras.Sequential):
        return keras.Sequential([X, SelectColumns(n_columns), *model.layers], name=model.name)
    # Not compiled, since what it was compiled with would be part of the new architecture.
    inner = keras.Model(inputs[0], model.outputs[0] if len(model.outputs) == 1 else model.outputs, name=model.name)
    return keras.Model(X, inner(SelectColumns(n_columns)(X)))


def put_columns(model, columns):
    """Let a model from `select_before` take these columns; None where the model takes all."""
    if columns is not None:
        _layer(model).columns.assign(columns)


def with_columns(state, model, columns):
    """The values (trainable, non_trainable, optimizer) of `model` after `put_columns`."""
    if columns is None:
        return state
    trainable, non_trainable, optimizer = state[:3]
    variable = _layer(model).columns
    values = [
        np.asarray(columns, value.dtype) if one is variable else value
        for one, value in zip(model.non_trainable_variables, non_trainable, strict=True)
    ]
    return trainable, values, optimizer


def _layer(model):
    return next(layer for layer in model.layers if isinstance(layer, SelectColumns))
