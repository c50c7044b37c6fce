"""Keras networks as scikit-learn estimators, alone or as members of an ensemble; an MLP where no model is given."""

import inspect
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils.validation import check_is_fitted

from skensemble._compat.keras import output_shape
from skensemble._compat.scikeras import OLD_TAGS_HIDDEN, ScikerasClassifier, ScikerasRegressor
from skensemble._keras_objects.losses import NormalNLL
from skensemble._members.distribution import N_UNITS, check_distribution, decode_scales, has_scales
from skensemble._members.encoders import LabelEncoder, ValueEncoder, decode_outputs
from skensemble._members.rollback import unchanged_on_error
from skensemble._members.targets import check_classes_again, warn_of_one_hot, warn_of_small_targets
from skensemble._numeric.combination import log_proba
from skensemble._typing import MatrixLike
from skensemble._wrappers.mlp import build_mlp as build_mlp  # files whose members were given it find it here
from skensemble._wrappers.network import NetworkMixin


class KerasClassifier(NetworkMixin, ScikerasClassifier, *OLD_TAGS_HIDDEN):
    """Keras network as a scikit-learn classifier.

    scikeras' classifier with what it lacks on scikit-learn 1.6 and later: scikit-learn recognizes it as a classifier
    (scoring, stratification, meta-estimators). It checks feature names, takes any float type at prediction, keeps two
    dimensions in `predict_proba` for a single row, seeds without side effects, and is not fitted after a failed fit.
    Without `model` it is a multilayer perceptron whose output layer and loss follow the target.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        Function that returns a Keras model, compiled or not. It is given those of these arguments that it names:
        `meta`, a dict that describes the data (`X_shape_`; `n_classes_`; `n_categories_`, the number of categories of
        each column, 0 for numbers; `feature_names_in_` where X was a DataFrame), `compile_kwargs`, `params`, and
        whatever is given as `model__<argument>` or as an extra keyword. With None, a multilayer perceptron. Functions
        that pickle cannot find by name (lambdas, functions defined inside functions) can be trained and sent to the
        workers of `n_jobs`, because joblib uses cloudpickle for these, but `joblib.dump` and `pickle.dump` refuse them:
        define the function in a module, or save with `cloudpickle.dump`.
    hidden_layer_sizes : tuple of int, default=None
        Units of each hidden layer; None means (100,). If `model` is given, this and the next two parameters are passed
        to it, unless they are None.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction of hidden units dropped in training; None means 0.
    reinitialize : bool, default=None
        Only where `model` is a Keras model: whether training begins with new values, drawn from the initializers of its
        layers under `random_state` (True), or with the values that it has, to train it further (False). Frozen layers
        and adapted preprocessing layers keep their values. With None, members of an ensemble begin with new values, and
        a model that has been trained is refused there; outside an ensemble, a model begins with its own values.
    inputs : dict, default=None
        For a network with several inputs: maps the name of each Keras input, `keras.Input(shape, name=...)`, to its
        columns of X: a list of names, a list of numbers, or a slice. The columns fill the shape of the input row by row
        (64 columns for pictures of shape (8, 8, 1)) and are converted to its type. The network then consists of the
        layers of `model` on one input with all columns of X.
    optimizer : str, keras.optimizers.Optimizer or type, default="adam"
        Arguments are given as `optimizer__<argument>`, for example `optimizer__learning_rate`.
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
        Keras callbacks: instances, of which each member of an ensemble gets a copy; classes; or functions that return
        callbacks, called with the number of the member (counted from 0) if they have a parameter without a default. In
        texts and paths of callbacks, `{member}` becomes that number; members must not share a path.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing, and 1 needs Keras' own fit. In the fused program of an ensemble, the
        `verbose` of the ensemble counts instead.
    engine : {"auto", "fused", "keras"}, default="auto"
        How a network outside an ensemble is trained and predicts. "fused": by a program that is traced once for all
        networks of one architecture, with the result that Keras gives; an error where that is not possible. "keras": by
        Keras' `Model.fit` and `Model.predict`, which trace each network anew. "auto": fused where possible, otherwise
        keras; `engine_reason_` says why. Members of an ensemble are trained by the engine of the ensemble.
    build_fn : callable, default=None
        scikeras' old name of `model`.
    **kwargs : dict
        Routed parameters (`model__`, `optimizer__`, `loss__`, `metrics__`, `compile__`, `fit__`, `predict__`,
        `callbacks__`) and further arguments of `model`.

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
    callbacks_ : list of keras.callbacks.Callback
        The callbacks, as training left them. Pickles leave out what cannot be pickled, such as open files; files of
        `skensemble.io` hold parameters only, and the callbacks are made anew from these.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    n_classes_ : int
        Number of classes.
    n_features_in_ : int
        Size of the second dimension of X.
    n_categories_ : tuple of int of shape (n_features_in_,)
        Number of categories of each column, 0 for numbers; only where X was a DataFrame with columns of categories.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame.

    See Also
    --------
    KerasRegressor : The same for regression.
    KerasAveragingClassifier : Ensemble of copies of a member.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = KerasClassifier(hidden_layer_sizes=(10,), epochs=5, random_state=0).fit(X, y)
    >>> classifier.predict_proba(X[:2]).shape
    (2, 3)
    """

    def __init__(
        self,
        model=None,
        *,
        hidden_layer_sizes=None,
        activation=None,
        dropout=None,
        reinitialize=None,
        inputs=None,
        optimizer="adam",
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
        build_fn=None,
        **kwargs,
    ):
        super().__init__(
            model=model,
            build_fn=build_fn,
            warm_start=warm_start,
            random_state=random_state,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            shuffle=shuffle,
            run_eagerly=run_eagerly,
            epochs=epochs,
            class_weight=class_weight,
            **kwargs,
        )
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.reinitialize = reinitialize
        self.engine = engine
        self.inputs = inputs

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        **kwargs: Any,
    ) -> Self:
        """Train for one more epoch, building the model if there is none.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels in any order, needed where the first call does not see all of them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row. Not scaled, unlike in `fit`, since the rows of other calls count, too.
        **kwargs : dict
            Further arguments of `keras.Model.fit`.

        Returns
        -------
        KerasClassifier
            Itself.

        Raises
        ------
        ValueError
            Where `classes` are not those of the first call.
        """
        known = getattr(self, "classes_", None) if self.initialized_ else None
        if classes is not None and known is None:
            classes = np.unique(classes)
        elif classes is not None:
            check_classes_again(classes, known)
            classes = None
        if sample_weight is not None:
            sample_weight = np.array(sample_weight, dtype=np.float64)  # scikeras 0.13 multiplies class weights into it
        with unchanged_on_error(self):
            return super().partial_fit(X, y, classes=classes, sample_weight=sample_weight, **kwargs)

    @property
    def target_encoder(self) -> Any:
        """Encodes the labels as the loss takes them."""
        known = getattr(self, "classes_", None)
        return LabelEncoder(loss=self.loss, categories="auto" if known is None else [known])

    def predict_proba(self, X: MatrixLike, **kwargs: Any) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        **kwargs : dict
            Further arguments of `keras.Model.predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`.
        """
        return decode_outputs(self, self._predict_raw(X, **kwargs))

    def predict_log_proba(self, X: MatrixLike, **kwargs: Any) -> np.ndarray:
        """Logarithm of the probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        **kwargs : dict
            Further arguments of `keras.Model.predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithm of `predict_proba`; minus infinity where that is 0.
        """
        return log_proba(self.predict_proba(X, **kwargs))

    def _initialize(self, X, y=None):
        self._check_no_distribution()
        given = y
        X, y = super()._initialize(X, y)
        warn_of_one_hot(given)
        if self.n_classes_ == 1:
            raise ValueError(f"`y` must have at least two classes: got one class, {self.classes_.tolist()[0]!r}.")
        return X, y

    def _fit(self, X, y, *args, **kwargs):
        super()._fit(X, y, *args, **kwargs)
        if self.classes_ is None and hasattr(self.target_encoder_, "get_metadata"):
            # scikeras 0.13 forgets them where the training goes on.
            self.classes_ = self.target_encoder_.get_metadata().get("classes_")

    def _check_no_distribution(self):
        """Raise where a classifier is given the parameter of regressors, and its builder has none of this name."""
        build = self.build_fn if self.model is None else self.model
        takes_it = inspect.isroutine(build) and "distribution" in inspect.signature(build).parameters
        if "distribution" in self._user_params and not takes_it:
            raise ValueError(
                f"`distribution` is for KerasRegressor: got distribution={self.distribution!r} for "
                f"{type(self).__name__}, whose outputs are probabilities already. Leave it out."
            )

    def _default_loss(self):
        shape = output_shape(self.model_)
        if shape is None:
            raise ValueError(
                "`loss` must be given where the shape of the model's output is not known before training: let the "
                "model begin with keras.Input(...), or give a loss."
            )
        if self.target_type_ == "multilabel-indicator" or len(shape) == 1 or shape[-1] == 1:
            return "binary_crossentropy"
        return "sparse_categorical_crossentropy"


class KerasRegressor(NetworkMixin, ScikerasRegressor, *OLD_TAGS_HIDDEN):
    """Keras network as a scikit-learn regressor.

    scikeras' regressor with what it lacks on scikit-learn 1.6 and later; see `KerasClassifier`. Without `model` it is a
    multilayer perceptron with one linear output per target, or two with a `distribution`.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        Function that returns a Keras model, compiled or not; see `KerasClassifier`. With None, a multilayer perceptron.
        `meta["n_output_units_"]` is the number of units that the output layer must have.
    hidden_layer_sizes : tuple of int, default=None
        Units of each hidden layer; None means (100,). If `model` is given, this and the next two parameters are passed
        to it, unless they are None.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction of hidden units dropped in training; None means 0.
    reinitialize : bool, default=None
        Only where `model` is a Keras model: whether training begins with new values, drawn from the initializers of its
        layers under `random_state` (True), or with the values that it has, to train it further (False). Frozen layers
        and adapted preprocessing layers keep their values. With None, members of an ensemble begin with new values, and
        a model that has been trained is refused there; outside an ensemble, a model begins with its own values.
    inputs : dict, default=None
        For a network with several inputs: maps the name of each Keras input, `keras.Input(shape, name=...)`, to its
        columns of X: a list of names, a list of numbers, or a slice. The columns fill the shape of the input row by row
        (64 columns for pictures of shape (8, 8, 1)) and are converted to its type. The network then consists of the
        layers of `model` on one input with all columns of X.
    optimizer : str, keras.optimizers.Optimizer or type, default="adam"
        Arguments are given as `optimizer__<argument>`, for example `optimizer__learning_rate`.
    loss : str, keras.losses.Loss, type or callable, default=None
        With None, the mean squared error; with a `distribution`, `NormalNLL()`.
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
        Keras callbacks: instances, of which each member of an ensemble gets a copy; classes; or functions that return
        callbacks, called with the number of the member (counted from 0) if they have a parameter without a default. In
        texts and paths of callbacks, `{member}` becomes that number; members must not share a path.
    warm_start : bool, default=False
        Whether `fit` continues with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing, and 1 needs Keras' own fit. In the fused program of an ensemble, the
        `verbose` of the ensemble counts instead.
    engine : {"auto", "fused", "keras"}, default="auto"
        How a network outside an ensemble is trained and predicts. "fused": by a program that is traced once for all
        networks of one architecture, with the result that Keras gives; an error where that is not possible. "keras": by
        Keras' `Model.fit` and `Model.predict`, which trace each network anew. "auto": fused where possible, otherwise
        keras; `engine_reason_` says why. Members of an ensemble are trained by the engine of the ensemble.
    build_fn : callable, default=None
        scikeras' old name of `model`.
    distribution : {"normal"}, default=None
        What the network predicts for each target. "normal": the mean and the standard deviation of a normal
        distribution [1]_, trained by the negative log-likelihood, so that the noise of y is learned as a function of X.
        The network has twice as many outputs: the means of all targets, then the logarithms of their standard
        deviations. `predict` returns the means. Scale y to about unit variance, since training starts from a standard
        deviation near 1. None: only values.
    **kwargs : dict
        Routed parameters (`model__`, `optimizer__`, `loss__`, `metrics__`, `compile__`, `fit__`, `predict__`,
        `callbacks__`) and further arguments of `model`.

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
    callbacks_ : list of keras.callbacks.Callback
        The callbacks, as training left them. Pickles leave out what cannot be pickled, such as open files; files of
        `skensemble.io` hold parameters only, and the callbacks are made anew from these.
    n_outputs_ : int
        Number of targets.
    n_output_units_ : int
        Number of outputs of the network.
    n_features_in_ : int
        Size of the second dimension of X.
    n_categories_ : tuple of int of shape (n_features_in_,)
        Number of categories of each column, 0 for numbers; only where X was a DataFrame with columns of categories.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame.

    See Also
    --------
    KerasClassifier : The same for classification.
    KerasAveragingRegressor : Ensemble of copies of a member.
    NormalNLL : The loss of networks with a distribution.

    References
    ----------
    .. [1] Nix and Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skensemble import KerasRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = KerasRegressor(hidden_layer_sizes=(10,), epochs=5, random_state=0).fit(X, y)
    >>> regressor.predict(X[:2]).shape
    (2,)
    >>> noise = KerasRegressor(distribution="normal", epochs=5, random_state=0).fit(X, y / y.std())
    >>> mean, std = noise.predict(X[:2], return_std=True)
    """

    _fitted_state = ("n_output_units_",)

    def __init__(
        self,
        model=None,
        *,
        hidden_layer_sizes=None,
        activation=None,
        dropout=None,
        reinitialize=None,
        inputs=None,
        optimizer="adam",
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
        build_fn=None,
        distribution=None,
        **kwargs,
    ):
        super().__init__(
            model=model,
            build_fn=build_fn,
            warm_start=warm_start,
            random_state=random_state,
            optimizer=optimizer,
            loss=loss,
            metrics=metrics,
            batch_size=batch_size,
            validation_batch_size=validation_batch_size,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            shuffle=shuffle,
            run_eagerly=run_eagerly,
            epochs=epochs,
            **kwargs,
        )
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.reinitialize = reinitialize
        self.engine = engine
        self.inputs = inputs
        self.distribution = distribution

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        tags.regressor_tags = RegressorTags()
        return tags

    @property
    def target_encoder(self) -> Any:
        """Turns y into the columns that networks are given."""
        return ValueEncoder()

    def predict(
        self, X: MatrixLike, return_std: bool = False, **kwargs: Any
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Value of each row; with a `distribution`, its mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation of y as well, which only networks with a `distribution` predict.
        **kwargs : dict
            Further arguments of `keras.Model.predict`.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the float type that y had in `fit`; float64 for whole numbers.
        std : ndarray of the same shape
            Only with `return_std=True`.
        """
        check_is_fitted(self)
        if not has_scales(self):
            if return_std:
                raise ValueError(
                    "`return_std` needs a network that predicts standard deviations: got a KerasRegressor that was "
                    f"fitted with distribution={self.distribution!r}. Fit it with distribution='normal'."
                )
            return as_target_type(self, super().predict(X, **kwargs))
        outputs = self._predict_raw(X, **kwargs)
        mean = as_target_type(self, decode_outputs(self, outputs))
        return (mean, as_target_type(self, decode_scales(self, outputs))) if return_std else mean

    def _initialize(self, X, y=None):
        check_distribution(self)
        X, y = super()._initialize(X, y)
        if self.distribution is not None:
            warn_of_small_targets(y)
        return X, y

    def _build_keras_model(self):
        if hasattr(self, "n_outputs_"):  # encoders of the user's own need not have it
            self.n_output_units_ = N_UNITS[self.distribution] * self.n_outputs_
        return super()._build_keras_model()

    def _default_loss(self):
        return "mean_squared_error" if self.distribution is None else NormalNLL()


def as_target_type(estimator, values):
    """Predictions of a fitted regressor in the float type of its y; networks compute in that of Keras."""
    return values.astype(np.result_type(estimator.y_dtype_, np.float32), copy=False)
