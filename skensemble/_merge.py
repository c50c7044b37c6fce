"""`WeightedAverage`: the Keras layer that merges the outputs of members with a weight for each."""

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

    def build(self, input_shape):
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

    def call(self, inputs):
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

    def compute_output_shape(self, input_shape):
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
    def normalized_weights(self):
        """How much each tensor counts; sums to 1.

        Returns
        -------
        ndarray of shape (n_members,)
        """
        return ops.convert_to_numpy(_softmax(self.logits))

    def get_config(self):
        """Arguments from which `from_config` makes the same layer.

        Returns
        -------
        dict
        """
        weights = None if self.initial_weights is None else self.initial_weights.tolist()
        return {**super().get_config(), "n_members": self.n_members, "weights": weights}


def _softmax(logits):
    # Keras' own warns of a single member.
    exponentials = ops.exp(logits - ops.max(logits))
    return exponentials / ops.sum(exponentials)


def _checked_weights(weights):
    weights = np.asarray(weights, dtype=float)
    if weights.ndim != 1 or not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() == 0:
        raise ValueError(f"`weights` must be finite and not negative, with a positive one: got {weights}.")
    return weights / weights.sum()
