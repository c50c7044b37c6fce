"""Members of an ensemble: scikeras' estimators, right on scikit-learn 1.6 and later; an MLP where no model is given."""

from contextlib import contextmanager

import keras
import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags, check_array
from sklearn.utils.validation import validate_data

from skensemble._compat import (
    BaseWrapper,
    ScikerasClassifier,
    ScikerasRegressor,
    check_restored,
    decode_outputs,
    seeded,
    without_own_seed,
)
from skensemble._pickling import CheckedPickling


@contextmanager
def unchanged_on_error(estimator):
    """Put the attributes of `estimator` back as they were when the block raises: a failed fit leaves no trace."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def build_mlp(meta, hidden_layer_sizes=(100,), activation="relu", dropout=0.0):
    """Multilayer perceptron whose output layer follows the target; inputs of more than two dimensions are flattened.

    Parameters
    ----------
    meta : dict
        What scikeras knows of the data: `X_shape_`, `target_type_`, `n_outputs_`, `n_classes_`.
    hidden_layer_sizes : tuple of int, default=(100,)
        Units of each hidden layer.
    activation : str or callable, default="relu"
        Activation of the hidden layers.
    dropout : float, default=0.0
        Fraction of the units of each hidden layer that are dropped in training.

    Returns
    -------
    keras.Sequential
        Not compiled.
    """
    n_outputs, output_activation = output_layer_of(meta)
    model = keras.Sequential([keras.Input(meta["X_shape_"][1:])])
    if len(meta["X_shape_"]) > 2:
        model.add(keras.layers.Flatten())
    for units in hidden_layer_sizes:
        model.add(keras.layers.Dense(units, activation=activation))
        if dropout:
            model.add(keras.layers.Dropout(dropout))
    model.add(keras.layers.Dense(n_outputs, activation=output_activation))
    return model


def output_layer_of(meta):
    """Number of outputs and activation of an output layer that follows the target.

    Parameters
    ----------
    meta : dict
        As of `build_mlp`.

    Returns
    -------
    n_outputs : int
    activation : str or None
    """
    if "n_classes_" not in meta:
        return meta["n_outputs_"], None
    if meta["target_type_"] == "binary":
        return 1, "sigmoid"
    return meta["n_classes_"], "sigmoid" if meta["target_type_"] == "multilabel-indicator" else "softmax"


class _Member(CheckedPickling):
    """What scikeras 0.13 gets wrong for classifiers and regressors alike; stands left of its classes."""

    _builder_parameters = ("hidden_layer_sizes", "activation", "dropout")
    # scikeras 0.13 takes parameters of callbacks as arguments only, not from `set_params` and searches.
    _routing_prefixes = BaseWrapper._routing_prefixes | {"callbacks"}

    @property
    def _user_params(self):
        """Arguments for the builder: those scikeras does not know, and those of the estimator's own that were set."""
        own = {name for name in self._builder_parameters if getattr(self, name, None) is not None}
        return vars(self).get("_user_params", set()) | own

    @_user_params.setter
    def _user_params(self, names):
        vars(self)["_user_params"] = names

    def __sklearn_tags__(self):
        tags = BaseEstimator.__sklearn_tags__(self)
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.non_deterministic = self.random_state is None
        return tags

    __repr__ = BaseEstimator.__repr__

    def _check_model_param(self):
        if self.model is None and self.build_fn is None:
            return build_mlp
        return super()._check_model_param()

    def _get_compile_kwargs(self):
        # An optimizer instance belongs to the variables of one model: the next fit needs its own.
        arguments = super()._get_compile_kwargs()
        if isinstance(arguments["optimizer"], keras.optimizers.Optimizer) and arguments["optimizer"] is self.optimizer:
            arguments["optimizer"] = self.optimizer.from_config(self.optimizer.get_config())
        return arguments

    def _ensure_compiled_model(self):
        if not self.model_.compiled and self.loss is None:
            self.model_.compile(**{**self._get_compile_kwargs(), "loss": self._default_loss()})
        super()._ensure_compiled_model()

    def _validate_data(self, X=None, y=None, reset=False, y_numeric=False):
        if X is not None:
            if issparse(X):
                checked = csr_matrix(X)  # scikeras 0.13 knows sparse matrices, not sparse arrays
            else:
                checked = check_array(X, dtype=keras.config.floatx(), allow_nd=True, input_name="X", estimator=self)
            validate_data(self, X, reset=reset, skip_check_array=True)
            X = checked
        return super()._validate_data(X, y, reset=reset, y_numeric=y_numeric)

    def _build_keras_model(self):
        if isinstance(self.random_state, np.random.RandomState):
            # scikeras 0.13 draws 0 from every RandomState, and does not advance it.
            self._random_state = int(self.random_state.randint(np.iinfo(np.int32).max))
        seed = self._random_state
        with seeded(seed), without_own_seed(self):
            return super()._build_keras_model()

    def _fit_keras_model(self, *args, **kwargs):
        seed = self._random_state
        with seeded(seed), without_own_seed(self):
            super()._fit_keras_model(*args, **kwargs)

    def _fit(self, X, y, *args, **kwargs):
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        check_restored(self)
        with unchanged_on_error(self):
            super()._fit(X, y, *args, **kwargs)


class KerasClassifier(_Member, ScikerasClassifier):
    """Keras network as a scikit-learn classifier.

    scikeras' classifier with what it lacks on scikit-learn 1.6 and later: it is a classifier to scikit-learn (scoring,
    stratification, meta-estimators), checks feature names, takes any float type at prediction, keeps two dimensions in
    `predict_proba` for a single row, seeds without side effects, and is unfitted after a failed fit. Without `model` it
    is a multilayer perceptron whose output layer and loss follow the target.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        Function that returns a Keras model, compiled or not. Arguments it names are filled in: `meta` (dict of what is
        known of the data, such as `X_shape_`, `n_classes_`), `compile_kwargs`, `params`, and whatever is given as
        `model__<argument>` or as an extra keyword. With None, a multilayer perceptron. Functions that pickle cannot
        find by name (lambdas, functions defined in functions) train and reach the workers of `n_jobs`, because joblib
        uses cloudpickle for these, but `joblib.dump` and `pickle.dump` refuse them: define the function in a module, or
        save with `cloudpickle.dump`.
    hidden_layer_sizes : tuple of int, default=None
        Units of each hidden layer; None means (100,). This and the next two go to `model` where one is given and they
        are not None.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction of hidden units dropped in training; None means 0.
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
        Keras callbacks, instances or classes.
    warm_start : bool, default=False
        Whether `fit` goes on with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing.
    build_fn : callable, default=None
        Old name of `model` in scikeras.
    **kwargs : dict
        Routed parameters (`model__`, `optimizer__`, `loss__`, `metrics__`, `compile__`, `fit__`, `predict__`,
        `callbacks__`) and further arguments of `model`.

    Attributes
    ----------
    model_ : keras.Model
        The trained network.
    history_ : dict of str to list of float
        Loss, metrics and their validation values after each epoch.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    n_classes_ : int
        Number of classes.
    n_features_in_ : int
        Size of the second dimension of X.
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "classifier"
        tags.classifier_tags = ClassifierTags(multi_label=True)
        return tags

    def fit(self, X, y, sample_weight=None, **kwargs):
        """Build a new model and train it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels, or an indicator matrix of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; rows of weight 0 are left out.
        **kwargs : dict
            Further arguments of `keras.Model.fit`.

        Returns
        -------
        KerasClassifier
            Itself, fitted.
        """
        with unchanged_on_error(self):
            return super().fit(X, y, sample_weight=_copied(sample_weight), **kwargs)

    def partial_fit(self, X, y, classes=None, sample_weight=None, **kwargs):
        """Train for one more epoch, building the model where there is none.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels there will be, where the first call does not see them all.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        **kwargs : dict
            Further arguments of `keras.Model.fit`.

        Returns
        -------
        KerasClassifier
            Itself.
        """
        with unchanged_on_error(self):
            return super().partial_fit(X, y, classes=classes, sample_weight=_copied(sample_weight), **kwargs)

    def predict_proba(self, X, **kwargs):
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

    def _initialize(self, X, y=None):
        X, y = super()._initialize(X, y)
        if self.n_classes_ == 1:
            raise ValueError(f"`y` must have at least two classes: got one class, {self.classes_.tolist()[0]!r}.")
        return X, y

    def _default_loss(self):
        if self.target_type_ == "multilabel-indicator" or self.model_.output_shape[-1] == 1:
            return "binary_crossentropy"
        return "sparse_categorical_crossentropy"


class KerasRegressor(_Member, ScikerasRegressor):
    """Keras network as a scikit-learn regressor.

    scikeras' regressor with what it lacks on scikit-learn 1.6 and later; see `KerasClassifier`. Without `model` it is a
    multilayer perceptron with one linear output per target.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        Function that returns a Keras model, compiled or not; see `KerasClassifier`. With None, a multilayer perceptron.
    hidden_layer_sizes : tuple of int, default=None
        Units of each hidden layer; None means (100,). This and the next two go to `model` where one is given and they
        are not None.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction of hidden units dropped in training; None means 0.
    optimizer : str, keras.optimizers.Optimizer or type, default="adam"
        Arguments are given as `optimizer__<argument>`, for example `optimizer__learning_rate`.
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
        Whether `fit` goes on with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing.
    build_fn : callable, default=None
        Old name of `model` in scikeras.
    **kwargs : dict
        Routed parameters (`model__`, `optimizer__`, `loss__`, `metrics__`, `compile__`, `fit__`, `predict__`,
        `callbacks__`) and further arguments of `model`.

    Attributes
    ----------
    model_ : keras.Model
        The trained network.
    history_ : dict of str to list of float
        Loss, metrics and their validation values after each epoch.
    n_outputs_ : int
        Number of targets.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame.

    See Also
    --------
    KerasClassifier : The same for classification.
    KerasAveragingRegressor : Ensemble of copies of a member.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skensemble import KerasRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = KerasRegressor(hidden_layer_sizes=(10,), epochs=5, random_state=0).fit(X, y)
    >>> regressor.predict(X[:2]).shape
    (2,)
    """

    def __init__(
        self,
        model=None,
        *,
        hidden_layer_sizes=None,
        activation=None,
        dropout=None,
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
            **kwargs,
        )
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor"
        tags.regressor_tags = RegressorTags()
        return tags

    def _default_loss(self):
        return "mean_squared_error"


def _copied(sample_weight):
    """A copy: scikeras 0.13 multiplies class weights into the user's own array."""
    return None if sample_weight is None else np.array(sample_weight, dtype=np.float64)
