"""Keras layers that networks on tables begin with: columns as an input of another model, categories as embeddings."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

# The most numbers that an embedding has for a category.
_LARGEST_EMBEDDING = 50


@keras.saving.register_keras_serializable(package="skensemble")
class InputColumns(keras.layers.Layer):
    """Some columns of a table, in the shape and type of one input of a network.

    It comes before a network with several inputs, one layer for each input; see `inputs` of `KerasClassifier`.

    Parameters
    ----------
    columns : sequence of int
        Numbers of the columns, in the order in which they fill the input.
    shape : tuple of int
        Shape of a row of the input, filled row by row, as `numpy.reshape` does.
    cast_to : str, default=None
        Type of the input, such as "int32" before an `Embedding`; None keeps that of the table.
    **kwargs : dict
        `name` and `dtype` of a Keras layer.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble import InputColumns
    >>> layer = InputColumns([1, 2, 3, 4], (2, 2))
    >>> np.asarray(layer(np.array([[9.0, 1.0, 2.0, 3.0, 4.0]]))).tolist()
    [[[1.0, 2.0], [3.0, 4.0]]]
    """

    def __init__(self, columns, shape, cast_to=None, **kwargs):
        super().__init__(autocast=False, **kwargs)  # the network after it takes the columns as it would take X
        self.columns, self.shape, self.cast_to = [int(i) for i in columns], tuple(map(int, shape)), cast_to
        if math.prod(self.shape) != len(self.columns):
            raise ValueError(
                f"`columns` must fill the `shape`: got {len(self.columns)} columns for the shape {self.shape}."
            )

    def call(self, inputs: Any) -> Any:
        """Cut the columns.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_features)

        Returns
        -------
        tensor of shape (n_samples, ...)
        """
        first, last = self.columns[0], self.columns[-1]
        lie_together = self.columns == list(range(first, last + 1))
        cut = inputs[:, first : last + 1] if lie_together else ops.take(inputs, np.array(self.columns), axis=1)
        if len(self.shape) != 1:
            cut = ops.reshape(cut, (-1, *self.shape))
        return cut if self.cast_to is None else ops.cast(cut, self.cast_to)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Shape and type of the output.

        Parameters
        ----------
        inputs : KerasTensor

        Returns
        -------
        KerasTensor
        """
        n_features = inputs.shape[-1]
        if len(inputs.shape) != 2 or (n_features is not None and max(self.columns) >= n_features):
            raise ValueError(
                f"InputColumns takes tables with the columns up to {max(self.columns)}: got the shape {inputs.shape}."
            )
        return keras.KerasTensor((inputs.shape[0], *self.shape), dtype=self.cast_to or inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `from_config` makes the same layer.

        Returns
        -------
        dict
        """
        own = {"columns": list(self.columns), "shape": list(self.shape), "cast_to": self.cast_to}
        return {**super().get_config(), **own}


def with_one_input(model: keras.Model, n_features: int, columns: dict[str, list[int]]) -> keras.Model:
    """A model on one table whose columns go to the inputs of another; not compiled.

    Parameters
    ----------
    model : keras.Sequential or functional keras.Model
        Its layers become those of the new model.
    n_features : int
    columns : dict of str to list of int
        Numbers of the columns of each input, by its name.

    Returns
    -------
    keras.Model
    """
    X = keras.Input((n_features,))
    cut = [
        InputColumns(columns[one.name], filled_shape(one, len(columns[one.name])), one.dtype)(X) for one in model.inputs
    ]
    outputs = list(model.outputs)
    # Named like the output, since a loss or metric may be given by that name; without what the model was compiled with.
    name = model.layers[-1].name if isinstance(model, keras.Sequential) else model.output_names[0]
    inner = keras.Model(model.inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)
    return keras.Model(X, inner(cut if len(cut) > 1 else cut[0]), name=model.name)


def filled_shape(tensor: Any, n_columns: int) -> tuple[int, ...] | None:
    """Shape of a row of an input that `n_columns` columns fill; None where they do not fill it."""
    shape = tuple(tensor.shape[1:])
    known = math.prod(size for size in shape if size is not None)
    if shape.count(None) == 1 and n_columns % known == 0:
        return tuple(n_columns // known if size is None else size for size in shape)
    return shape if None not in shape and known == n_columns else None


@keras.saving.register_keras_serializable(package="skensemble")
class EmbedCategories(keras.layers.Layer):
    """The columns of a table that hold numbers, unchanged, followed by an embedding of each column of categories.

    Categories are whole numbers from 0; other numbers than those of its column count as 0, which means an unknown
    category. Each category becomes a learned vector [1]_ of min(50, round(1.6 n^0.56)) numbers for n categories, a rule
    of thumb [2]_.

    Parameters
    ----------
    n_categories : sequence of int
        The number of categories of each column, 0 for numbers. Builders find it in `meta["n_categories_"]`.
    **kwargs : dict
        `name` and `dtype` of a Keras layer.

    Attributes
    ----------
    embeddings : list of keras.layers.Embedding
        One for each column of categories, in order.

    References
    ----------
    .. [1] Guo and Berkhahn, "Entity Embeddings of Categorical Variables", 2016.
    .. [2] Howard and Gugger, "fastai: A Layered API for Deep Learning", Information 11(2), 2020.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble import EmbedCategories
    >>> layer = EmbedCategories([0, 30])
    >>> layer(np.array([[0.5, 7.0]])).shape[1]  # one number, and 11 for the category
    12
    """

    def __init__(self, n_categories, **kwargs):
        super().__init__(autocast=False, **kwargs)  # codes must stay exact
        self.n_categories = [int(n) for n in n_categories]
        if not any(self.n_categories) or min(self.n_categories) < 0:
            raise ValueError(
                f"`n_categories` must have a number for each column, 0 for those without categories, and one above 0: "
                f"got {self.n_categories}."
            )
        self.embeddings = [keras.layers.Embedding(n, embedding_size(n)) for n in self.n_categories if n]

    def build(self, input_shape: tuple | list) -> None:
        """Make the variables.

        Parameters
        ----------
        input_shape : tuple
            (n_samples, n_features)
        """
        if len(input_shape) != 2 or input_shape[1] != len(self.n_categories):
            raise ValueError(
                f"EmbedCategories with `n_categories` of {len(self.n_categories)} columns takes tables of as many: got "
                f"the shape {tuple(input_shape)}."
            )
        for embedding in self.embeddings:
            embedding.build((None,))
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Embed.

        Parameters
        ----------
        inputs : tensor of shape (n_samples, n_features)

        Returns
        -------
        tensor of shape (n_samples, n_numbers)
        """
        numbers = np.flatnonzero(np.equal(self.n_categories, 0))
        parts = [ops.cast(ops.take(inputs, numbers, axis=1), self.compute_dtype)] if len(numbers) else []
        for column, embedding in zip(np.flatnonzero(self.n_categories), self.embeddings, strict=True):
            codes = inputs[:, int(column)]
            known = ops.logical_and(codes >= 0, codes < embedding.input_dim)
            parts.append(embedding(ops.cast(ops.where(known, codes, ops.zeros_like(codes)), "int32")))
        return ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """Shape and type of the output.

        Parameters
        ----------
        inputs : KerasTensor

        Returns
        -------
        KerasTensor
        """
        n_numbers = self.n_categories.count(0) + sum(embedding.output_dim for embedding in self.embeddings)
        return keras.KerasTensor((inputs.shape[0], n_numbers), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `from_config` makes the same layer.

        Returns
        -------
        dict
        """
        return {**super().get_config(), "n_categories": list(self.n_categories)}


def embedding_size(n_categories: int) -> int:
    """How many numbers represent one of `n_categories`; see `EmbedCategories`."""
    return min(_LARGEST_EMBEDDING, round(1.6 * n_categories**0.56))
