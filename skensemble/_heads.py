"""Heads: small networks that combine what the members of a stacking ensemble predict."""

import copy

import keras
import numpy as np
from sklearn.utils.validation import check_is_fitted

from skensemble._keras_objects.ensemble_layers import WeightedAverage
from skensemble._wrappers.head import MERGES, build_head
from skensemble.wrappers import KerasClassifier, KerasRegressor


class Head:
    """What both heads have in common; comes left of the estimators of `wrappers.py`."""

    _builder_parameters = (
        *KerasClassifier._builder_parameters,
        "merge",
        "weights",
        "train_weights",
        "output_layer",
        "member_columns",
    )

    def _get_param_names(self):
        # scikeras takes all attributes for parameters, also those of the model that heads build themselves.
        hidden = ("model", "build_fn", "reinitialize", "inputs", "distribution")
        return [name for name in super()._get_param_names() if name not in hidden]

    def _check_model_param(self):
        if self.model is not None or self.build_fn is not None:
            raise ValueError(f"{type(self).__name__} builds its own model: leave out `model`.")
        self.check_parameters()
        return build_head

    def _get_compile_kwargs(self):
        if not isinstance(self.optimizer, keras.optimizers.Optimizer):
            return super()._get_compile_kwargs()
        # An instance has a learning rate, and scikeras refuses further arguments for it.
        bare = copy.copy(self)
        del bare.optimizer__learning_rate
        return super(Head, bare)._get_compile_kwargs()

    def check_parameters(self) -> None:
        """Raise where parameters contradict each other."""
        if self.merge not in MERGES:
            raise ValueError(f"`merge` must be one of {', '.join(MERGES)}: got {self.merge!r}.")
        if self.weights is not None and self.merge != "weighted_average":
            raise ValueError(f"`weights` belong to merge='weighted_average': got merge={self.merge!r}. Leave them out.")
        if self.output_layer:
            return
        if self.merge != "weighted_average" or not self.train_weights:
            raise ValueError(
                "Without `output_layer`, only the weights of merge='weighted_average' can be trained: got "
                f"merge={self.merge!r}, train_weights={self.train_weights}. Use KerasVotingClassifier or "
                "KerasVotingRegressor, which take fixed weights."
            )
        if self.hidden_layer_sizes:
            raise ValueError(
                f"Hidden layers need an output layer: got hidden_layer_sizes={self.hidden_layer_sizes}, "
                "output_layer=False. Leave one of them out."
            )

    def check_stack(self, methods: list[str], passthrough: bool) -> None:
        """Raise where the head cannot combine members whose columns come from these methods."""
        self.check_parameters()
        if self.weights is not None and len(self.weights) != len(methods):
            raise ValueError(
                f"`weights` must have one entry per member: got {len(self.weights)} weights for {len(methods)} members."
            )
        if self.merge != "concatenate" and len(set(methods)) > 1:
            raise ValueError(
                f"merge={self.merge!r} needs members whose outputs mean the same: got the methods {methods}. Use "
                "merge='concatenate', or a `stack_method` that all members have."
            )
        if self.output_layer:
            return
        if passthrough:
            raise ValueError(
                f"Without `output_layer`, a head takes nothing but members: got passthrough={passthrough!r}. Use "
                "passthrough=False or output_layer=True."
            )
        if methods[0] != self._output_method:
            raise ValueError(
                f"Without `output_layer`, the outputs of the members must be those of the head, by "
                f"{self._output_method}: got the method {methods[0]!r}. Use another `stack_method` or "
                "output_layer=True."
            )

    @property
    def weights_(self) -> np.ndarray:
        """How much each member counts, as learned; not negative, sums to 1.

        Returns
        -------
        ndarray of shape (n_members,)
        """
        if self.merge != "weighted_average":
            raise AttributeError(f"`weights_` exists only with merge='weighted_average': got merge={self.merge!r}.")
        check_is_fitted(self)
        (layer,) = (layer for layer in self.model_.layers if isinstance(layer, WeightedAverage))
        return layer.normalized_weights


class KerasHeadClassifier(Head, KerasClassifier):
    """Small network that combines what the members of `StackedKerasClassifier` predict.

    A final estimator whose layers, epochs and learning rate can be searched, as `final_estimator__dropout` or
    `final_estimator__optimizer__learning_rate`. The strings that `StackedKerasClassifier` takes mean heads with default
    parameters.

    Parameters
    ----------
    merge : {"concatenate", "average", "weighted_average"}, default="concatenate"
        What the network begins with: the outputs of the members side by side, their mean, or their weighted mean, with
        weights that a softmax keeps positive and with a sum of 1.
    weights : array-like of shape (n_members,), default=None
        Weights that "weighted_average" begins with, not negative, scaled to sum to 1; None means equal weights.
    train_weights : bool, default=True
        Whether training changes the weights.
    output_layer : bool, default=True
        Whether the output comes from a dense layer, softmax or sigmoid. Without it, the weighted average itself is the
        output, and only its weights are learned.
    hidden_layer_sizes : tuple of int, default=None
        Units of dense layers between the merged outputs and the output layer; None means (16,) after "average" and
        none after the others.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction dropped in training after each hidden layer, or of the merged outputs where there is none; None means
        0.5 for "concatenate", 0.3 for "average", and 0 for "weighted_average".
    member_columns : tuple of int, default=None
        Number of columns of X that belong to each member, in order; further columns belong to no member. With None,
        stacking fills it in; a head that is used on its own needs it, except with "concatenate".
    optimizer : str, keras.optimizers.Optimizer or type, default="adam"
        Further arguments are given as `optimizer__<argument>`.
    optimizer__learning_rate : float, default=0.01
        Learning rate, unless `optimizer` is an instance, which has its own. A head has few variables and takes larger
        steps than Keras' default.
    loss : str, keras.losses.Loss, type or callable, default=None
        With None, cross-entropy of the form that fits the target and the number of outputs.
    metrics : list, default=None
        Keras metrics recorded in `history_`.
    epochs : int, default=100
        Passes over the training rows.
    batch_size : int, default=None
        Rows per gradient step; None means 32, -1 all rows.
    validation_batch_size : int, default=None
        Rows per evaluation step on the validation rows; None means `batch_size`.
    validation_split : float, default=0.0
        Fraction of the rows, taken from the end, that are not trained on but evaluated after each epoch.
    shuffle : bool, default=True
        Whether rows are visited in a new order in each epoch.
    class_weight : dict or "balanced", default=None
        Weight of each class, keyed by the labels as they are in y.
    callbacks : list, default=None
        Keras callbacks, instances or classes.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing.
    engine : {"auto", "fused", "keras"}, default="auto"
        How a head is trained on its own, as in `KerasClassifier`; a final estimator is trained by the engine of the
        ensemble.
    **kwargs : dict
        Routed parameters, as in `KerasClassifier`.

    Attributes
    ----------
    model_ : keras.Model
        The trained network.
    engine_ : str
        The engine that trained the network: "fused" or "keras". Missing where an ensemble trained it.
    engine_reason_ : str
        Why this engine was used.
    history_ : dict of str to list of float
        Loss, metrics and their validation values after each epoch.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_members,)
        How much each member counts, as learned; only with merge="weighted_average".

    See Also
    --------
    StackedKerasClassifier : Where heads are used.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier, KerasHeadClassifier, StackedKerasClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [
    ...     ("narrow", KerasClassifier(hidden_layer_sizes=(5,), epochs=3)),
    ...     ("wide", KerasClassifier(hidden_layer_sizes=(50,), epochs=3)),
    ... ]
    >>> head = KerasHeadClassifier("weighted_average", output_layer=False, epochs=3)
    >>> stacked = StackedKerasClassifier(members, head, cv=2, random_state=0).fit(X, y)
    >>> stacked.final_estimator_.weights_.shape
    (2,)
    """

    _output_method = "predict_proba"

    def __init__(
        self,
        merge="concatenate",
        *,
        weights=None,
        train_weights=True,
        output_layer=True,
        hidden_layer_sizes=None,
        activation=None,
        dropout=None,
        member_columns=None,
        optimizer="adam",
        optimizer__learning_rate=0.01,
        loss=None,
        metrics=None,
        epochs=100,
        batch_size=None,
        validation_batch_size=None,
        validation_split=0.0,
        shuffle=True,
        class_weight=None,
        callbacks=None,
        warm_start=False,
        run_eagerly=False,
        random_state=None,
        verbose=0,
        engine="auto",
        **kwargs,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            dropout=dropout,
            optimizer=optimizer,
            optimizer__learning_rate=optimizer__learning_rate,
            loss=loss,
            metrics=metrics,
            epochs=epochs,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            validation_split=validation_split,
            shuffle=shuffle,
            class_weight=class_weight,
            callbacks=callbacks,
            warm_start=warm_start,
            run_eagerly=run_eagerly,
            random_state=random_state,
            verbose=verbose,
            engine=engine,
            **kwargs,
        )
        self.merge = merge
        self.weights = weights
        self.train_weights = train_weights
        self.output_layer = output_layer
        self.member_columns = member_columns


class KerasHeadRegressor(Head, KerasRegressor):
    """Small network that combines what the members of `StackedKerasRegressor` predict.

    A final estimator whose layers, epochs and learning rate can be searched, as `final_estimator__dropout` or
    `final_estimator__optimizer__learning_rate`. The strings that `StackedKerasRegressor` takes mean heads with default
    parameters.

    Parameters
    ----------
    merge : {"concatenate", "average", "weighted_average"}, default="concatenate"
        What the network begins with: the outputs of the members side by side, their mean, or their weighted mean, with
        weights that a softmax keeps positive and with a sum of 1.
    weights : array-like of shape (n_members,), default=None
        Weights that "weighted_average" begins with, not negative, scaled to sum to 1; None means equal weights.
    train_weights : bool, default=True
        Whether training changes the weights.
    output_layer : bool, default=True
        Whether the output comes from a linear dense layer. Without it, the weighted average itself is the output, and
        only its weights are learned.
    hidden_layer_sizes : tuple of int, default=None
        Units of dense layers between the merged outputs and the output layer; None means (16,) after "average" and
        none after the others.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction dropped in training after each hidden layer, or of the merged outputs where there is none; None means
        0.5 for "concatenate", 0.3 for "average", and 0 for "weighted_average".
    member_columns : tuple of int, default=None
        Number of columns of X that belong to each member, in order; further columns belong to no member. With None,
        stacking fills it in; a head that is used on its own needs it, except with "concatenate".
    optimizer : str, keras.optimizers.Optimizer or type, default="adam"
        Further arguments are given as `optimizer__<argument>`.
    optimizer__learning_rate : float, default=0.01
        Learning rate, unless `optimizer` is an instance, which has its own. A head has few variables and takes larger
        steps than Keras' default.
    loss : str, keras.losses.Loss, type or callable, default=None
        With None, the mean squared error.
    metrics : list, default=None
        Keras metrics recorded in `history_`.
    epochs : int, default=100
        Passes over the training rows.
    batch_size : int, default=None
        Rows per gradient step; None means 32, -1 all rows.
    validation_batch_size : int, default=None
        Rows per evaluation step on the validation rows; None means `batch_size`.
    validation_split : float, default=0.0
        Fraction of the rows, taken from the end, that are not trained on but evaluated after each epoch.
    shuffle : bool, default=True
        Whether rows are visited in a new order in each epoch.
    callbacks : list, default=None
        Keras callbacks, instances or classes.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing.
    engine : {"auto", "fused", "keras"}, default="auto"
        How a head is trained on its own, as in `KerasClassifier`; a final estimator is trained by the engine of the
        ensemble.
    **kwargs : dict
        Routed parameters, as in `KerasRegressor`.

    Attributes
    ----------
    model_ : keras.Model
        The trained network.
    engine_ : str
        The engine that trained the network: "fused" or "keras". Missing where an ensemble trained it.
    engine_reason_ : str
        Why this engine was used.
    history_ : dict of str to list of float
        Loss, metrics and their validation values after each epoch.
    n_outputs_ : int
        Number of targets.
    weights_ : ndarray of shape (n_members,)
        How much each member counts, as learned; only with merge="weighted_average".

    See Also
    --------
    StackedKerasRegressor : Where heads are used.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skensemble import KerasHeadRegressor, KerasRegressor, StackedKerasRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> members = [("mlp", KerasRegressor(epochs=3)), ("ridge", Ridge())]
    >>> head = KerasHeadRegressor("weighted_average", output_layer=False, epochs=3)
    >>> stacked = StackedKerasRegressor(members, head, cv=2, random_state=0).fit(X, y)
    >>> stacked.final_estimator_.weights_.shape
    (2,)
    """

    _output_method = "predict"

    def __init__(
        self,
        merge="concatenate",
        *,
        weights=None,
        train_weights=True,
        output_layer=True,
        hidden_layer_sizes=None,
        activation=None,
        dropout=None,
        member_columns=None,
        optimizer="adam",
        optimizer__learning_rate=0.01,
        loss=None,
        metrics=None,
        epochs=100,
        batch_size=None,
        validation_batch_size=None,
        validation_split=0.0,
        shuffle=True,
        callbacks=None,
        warm_start=False,
        run_eagerly=False,
        random_state=None,
        verbose=0,
        engine="auto",
        **kwargs,
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            dropout=dropout,
            optimizer=optimizer,
            optimizer__learning_rate=optimizer__learning_rate,
            loss=loss,
            metrics=metrics,
            epochs=epochs,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            validation_split=validation_split,
            shuffle=shuffle,
            callbacks=callbacks,
            warm_start=warm_start,
            run_eagerly=run_eagerly,
            random_state=random_state,
            verbose=verbose,
            engine=engine,
            **kwargs,
        )
        self.merge = merge
        self.weights = weights
        self.train_weights = train_weights
        self.output_layer = output_layer
        self.member_columns = member_columns
