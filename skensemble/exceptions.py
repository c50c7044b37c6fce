"""Errors that skensemble raises."""


class NotFusableError(ValueError):
    """Models cannot be trained by the fused program; the message says why.

    `fit` raises it with ``engine="fused"``. With ``engine="auto"`` the models are trained by Keras' own `fit` instead,
    and `engine_reason_` says the same.
    """
