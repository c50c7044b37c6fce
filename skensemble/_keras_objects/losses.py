"""Keras loss of networks that predict a normal distribution: its mean, and the logarithm of its standard deviation."""

import math
import numbers
from typing import Any

import keras
from keras import ops

#: Added to every variance (Lakshminarayanan et al. 2017, section 2.2.1): no row can be fitted to a variance of 0.
MIN_VARIANCE = 1e-6


@keras.saving.register_keras_serializable(package="skensemble")
class NormalNLL(keras.losses.Loss):
    """Negative log-likelihood of a normal distribution, in nats, averaged over the targets.

    The loss of `KerasRegressor(distribution="normal")`. A network has two outputs for each target: first the means of
    all targets, then the logarithms of their standard deviations. The variance is exp(2 log_scale) + 1e-6 [1]_.

    Parameters
    ----------
    beta : float, default=0.0
        Each target's loss is multiplied by its variance to this power, through which no gradient goes [2]_. Rows that
        are predicted badly get a large variance and then hardly count for the mean; with a `beta` of 0.5 they count
        more, and with 1 the means are trained as by the squared error. With 0 the loss is the likelihood itself.
    name : str, default="normal_nll"
        Name of a Keras loss.
    reduction : str, default="sum_over_batch_size"
        How a Keras loss reduces the values of the rows.
    dtype : str, default=None
        Type in which a Keras loss is computed.

    See Also
    --------
    KerasRegressor : Its `distribution`.

    References
    ----------
    .. [1] Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
       Ensembles", NeurIPS 2017, equation 1.
    .. [2] Seitzer, Tavakoli, Antic and Martius, "On the Pitfalls of Heteroscedastic Uncertainty Estimation with
       Probabilistic Neural Networks", ICLR 2022, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> from skensemble import NormalNLL
    >>> loss = NormalNLL()
    >>> round(float(loss(np.array([[1.0]]), np.array([[1.0, 0.0]]))), 4)  # the standard normal density at its mean
    0.9189
    """

    def __init__(self, beta=0.0, name="normal_nll", reduction="sum_over_batch_size", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not isinstance(beta, numbers.Real) or not 0 <= beta <= 1:
            raise ValueError(f"`beta` must be a number from 0 to 1: got {beta!r}.")
        self.beta = float(beta)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each row.

        Parameters
        ----------
        y_true : tensor of shape (n_samples,) or (n_samples, n_targets)
        y_pred : tensor of shape (n_samples, 2 * n_targets)

        Returns
        -------
        tensor of shape (n_samples,)
        """
        n_outputs = y_pred.shape[-1]
        if len(y_true.shape) < len(y_pred.shape):
            y_true = ops.expand_dims(y_true, axis=-1)
        if n_outputs % 2 or y_true.shape[-1] not in (None, n_outputs // 2):
            raise ValueError(
                "NormalNLL needs two outputs for each target, the mean and the logarithm of the standard deviation: "
                f"got {n_outputs} outputs for {y_true.shape[-1]} targets."
            )
        mean, log_scale = y_pred[..., : n_outputs // 2], y_pred[..., n_outputs // 2 :]
        variance = ops.exp(2 * log_scale) + MIN_VARIANCE
        losses = (ops.log(variance) + ops.square(y_true - mean) / variance + math.log(2 * math.pi)) / 2
        if self.beta:
            losses = losses * ops.power(ops.stop_gradient(variance), self.beta)
        return ops.mean(losses, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Arguments from which `from_config` makes the same loss.

        Returns
        -------
        dict
        """
        return {**super().get_config(), "beta": self.beta}
