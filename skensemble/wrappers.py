"""Members of an ensemble: scikeras' estimators, right on scikit-learn 1.6 and later; an MLP where no model is given."""

import inspect
from contextlib import nullcontext
from functools import partial
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix, issparse
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags, RegressorTags, check_array
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skensemble._compat.keras import build_optimizer, output_shape
from skensemble._compat.scikeras import (
    OLD_TAGS_HIDDEN,
    BaseWrapper,
    ScikerasClassifier,
    ScikerasRegressor,
    build_from_rows,
    column_choice,
    decode_outputs,
    decode_scales,
    encode_class_weight,
    encode_validation_data,
    encodes_features,
    fit_arguments,
    fit_callbacks,
    given_model,
    has_scales,
    history_of,
    new_values,
    own_build_function,
    without_own_seed,
)
from skensemble._compat.seeds import seeded
from skensemble._compat.sklearn import check_feature_names, check_sample_weight, plain_transforms
from skensemble._engine.backend import use_share_of_cores
from skensemble._engine.callbacks import acts_in_prediction
from skensemble._engine.lent import lent_network
from skensemble._engine.records import Data
from skensemble._engine.single import fit_single, predict_single
from skensemble._losses import NormalNLL
from skensemble._members.callback_factories import own_callbacks, picklable
from skensemble._members.checks import check_restored
from skensemble._members.distribution import N_UNITS, check_distribution
from skensemble._members.encoders import LabelEncoder, Unchanged
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inputs import (
    Columns,
    count_categories,
    lazily_or_read,
    refuse_other_types,
    refuse_streams,
    texts_refused,
)
from skensemble._members.inside import is_inside_ensemble
from skensemble._members.model_instance import initializer_seeds, set_initializer_seeds
from skensemble._members.named_inputs import check_whole_numbers, on_one_input, warn_of_codes
from skensemble._members.output_check import check_output
from skensemble._members.pickling import CheckedPickling
from skensemble._members.rollback import unchanged_on_error
from skensemble._members.rows import sample_indices_of, with_mean_one
from skensemble._members.spec import MemberSpec
from skensemble._members.target_warnings import warn_of_one_hot
from skensemble._numeric.combination import log_proba
from skensemble._numeric.host_rows import chunks_of, without_rows
from skensemble._numeric.lazy_rows import LazyRows, is_lazily_indexed, placeholder
from skensemble._table_layers import EmbedCategories
from skensemble._typing import MatrixLike

# What scikeras itself gives to a builder that names it.
_GIVEN_TO_BUILDERS = {"meta", "compile_kwargs", "params"}


def build_mlp(meta, hidden_layer_sizes=(100,), activation="relu", dropout=0.0):
    """Multilayer perceptron whose output layer follows the target; inputs of more than two dimensions are flattened.

    Columns of categories are embedded first, see `EmbedCategories`.

    Parameters
    ----------
    meta : dict
        What scikeras knows of the data: `X_shape_`, `target_type_`, `n_outputs_`, `n_classes_`; of this package
        `n_categories_`, and for regressors `n_output_units_`.
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
    if any(meta.get("n_categories_", ())):
        model.add(EmbedCategories(meta["n_categories_"]))
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
        return meta.get("n_output_units_", meta["n_outputs_"]), None
    if meta["target_type_"] == "binary":
        return 1, "sigmoid"
    return meta["n_classes_"], "sigmoid" if meta["target_type_"] == "multilabel-indicator" else "softmax"


class _Member(CheckedPickling):
    """What scikeras 0.13 gets wrong for classifiers and regressors alike; stands left of its classes."""

    # What is saved beside the parameters and what scikeras learns.
    _fitted_state = ("_n_columns", "n_categories_", "engine_", "engine_reason_")
    _builder_parameters = ("hidden_layer_sizes", "activation", "dropout")
    # scikeras 0.13 takes parameters of callbacks as arguments only, not from `set_params` and searches.
    _routing_prefixes = BaseWrapper._routing_prefixes | {"callbacks"}

    @property
    def _user_params(self):
        """Arguments for the builder: those scikeras does not know, and those of the estimator's own that were set."""
        names = () if own_build_function(self) else self._builder_parameters  # it reads them itself
        own = {name for name in names if getattr(self, name, None) is not None}
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

    # Copies of a Keras model have initializers with other seeds. With their own, copies are known to be untrained.

    def __sklearn_clone__(self):
        cloned = super().__sklearn_clone__()
        if given_model(self) is not None:
            set_initializer_seeds(given_model(cloned), initializer_seeds(given_model(self)))
        return cloned

    def __getstate__(self):
        state = super().__getstate__()
        model = given_model(self)
        return state if model is None else {**state, "_initializer_seeds": initializer_seeds(model)}

    def __setstate__(self, state):
        seeds = state.get("_initializer_seeds")
        super().__setstate__({name: value for name, value in state.items() if name != "_initializer_seeds"})
        if seeds is not None:
            set_initializer_seeds(given_model(self), seeds)

    def _check_model_param(self):
        if self.model is None and self.build_fn is None:
            return own_build_function(self) or build_mlp
        if callable(self.model) and not isinstance(self.model, keras.Layer):
            self._check_builder(self.model)
            if not inspect.isfunction(self.model):  # scikeras 0.13 knows functions, no methods or callable objects
                return self.model
        return super()._check_model_param()

    def _check_builder(self, build):
        """Raise where the function that builds the model needs arguments that nobody gives."""
        given = _GIVEN_TO_BUILDERS | self._user_params
        given |= {name.removeprefix("model__") for name in vars(self) if name.startswith("model__")}
        for parameter in inspect.signature(build).parameters.values():
            variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if not variadic and parameter.default is parameter.empty and parameter.name not in given:
                raise TypeError(
                    f"`model` must be a function whose arguments are known: {_name_of(build)} needs "
                    f"{parameter.name!r}. Give it as `model__{parameter.name}=...`, or give the argument a default. "
                    "`meta`, a dict of what is known of the data, is filled in."
                )

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
        if y is not None and _is_column(y):
            y = column_or_1d(y, warn=X is not None)  # in `score` the shape of y does not matter
        if X is not None:
            refuse_streams(X)
            check_feature_names(self, X, reset=reset)  # before NaN, as in scikit-learn
            X = lazily_or_read(X, self, networks_only=not encodes_features(self))
            if isinstance(X, LazyRows):
                checked = X
            elif issparse(X):
                # scikeras 0.13 knows sparse matrices, not sparse arrays, and does not look for NaN in them.
                checked = check_array(csr_matrix(X), accept_sparse=True, dtype=None, input_name="X", estimator=self)
            else:
                refuse_other_types(X)
                with texts_refused(type(self).__name__):
                    checked = check_array(X, dtype=keras.config.floatx(), allow_nd=True, input_name="X", estimator=self)
            validate_data(self, X, reset=reset, skip_check_array=True)
            n_categories = count_categories(X)
            if reset:
                self._learn_categories(n_categories)
            X = checked
        shaped = placeholder(X) if isinstance(X, LazyRows) else X
        checked, y = super()._validate_data(shaped, y, reset=reset, y_numeric=y_numeric)
        return (checked if shaped is X else X), y

    def _validate_sample_weight(self, X, y, sample_weight):
        if not isinstance(X, LazyRows):
            return super()._validate_sample_weight(X, y, sample_weight)
        rows, y, sample_weight = super()._validate_sample_weight(np.arange(len(X)), y, sample_weight)
        return X.take(rows), y, sample_weight

    def _learn_categories(self, n_categories):
        """Remember which columns hold categories: by their types, or as the ensemble was told by those of its X."""
        n_categories = self._columns().n_categories if n_categories is None else n_categories
        vars(self).pop("n_categories_", None)
        if n_categories is not None:
            self.n_categories_ = n_categories

    def _columns(self):
        """What the columns of X are: as an ensemble tells a member, which sees an array, else by their names."""
        told = vars(self).get("_told_columns", Columns())
        if any(part is not None and len(part) != self.n_features_in_ for part in told):
            told = Columns()  # fitted again, on something else
        return told._replace(names=getattr(self, "feature_names_in_", told.names))

    def _get_metadata(self):
        # Of members that draw columns, the function that builds the network sees no others.
        meta, names = super()._get_metadata(), self._columns().names
        meta.setdefault("n_categories_", (0,) * self.n_features_in_)
        if names is not None and column_choice(self) is None:
            meta["feature_names_in_"] = names
        return meta

    def _initialize(self, X, y=None):
        vars(self).pop("_lent", None)
        with plain_transforms():
            self._borrow(X, y)
            X, y = super()._initialize(X, y)
            build_from_rows(self, self.model_)
            check_whole_numbers(self.model_, X)
            warn_of_codes(self.model_, getattr(self, "n_categories_", ()))
        return X, y

    # In a search, a network is trained on a model that it has in common with others; its own is built when it is asked
    # for.

    def _borrow(self, X, y):
        """Take a model that is lent, in a search, in place of building one."""
        lent = lent_network(self, X, y)
        if lent is not None:
            self._lent = lent

    def _give_back(self):
        """Build a model of its own in place of one that is lent, before or after the training."""
        lent = vars(self).pop("_lent")
        vars(self).pop("model_", None)
        if lent.values is not None:
            self.model_ = lent.build(self)
            return
        self.model_ = self._build_keras_model()
        build_from_rows(self, self.model_)
        self._ensure_compiled_model()

    def __getattr__(self, name):
        if name == "model_" and "_lent" in vars(self):
            self._give_back()
            return self.model_
        return object.__getattribute__(self, name)  # raises, in the words of a property too

    @property
    def initialized_(self) -> bool:
        """Whether the network is built; it may have been trained elsewhere."""
        return "model_" in vars(self) or "_lent" in vars(self)

    @property
    def feature_encoder(self) -> Any:
        """What encodes X; as scikeras', it changes nothing."""
        return Unchanged()

    @property
    def callbacks_(self) -> list[keras.callbacks.Callback]:
        """The Keras callbacks that the network was trained with, as the training left them."""
        if not hasattr(self, "_fit_callbacks"):
            raise AttributeError(f"`callbacks_` are there after fit: this {type(self).__name__} is not fitted.")
        return fit_callbacks(self)

    def _initialize_callbacks(self):
        self._fit_callbacks, self._predict_callbacks = own_callbacks(self, 0, copies=False)

    def __deepcopy__(self, memo):
        self._complete()
        return super().__deepcopy__(memo)

    def __reduce_ex__(self, protocol):
        self._complete()
        make, arguments, state, *rest = super().__reduce_ex__(protocol)
        names = [name for name in ("_fit_callbacks", "_predict_callbacks") if state.get(name)]
        return make, arguments, state | {name: picklable(state[name]) for name in names}, *rest

    def _complete(self):
        """Build the network, and give its optimizer its variables: Keras cannot copy or load a model without."""
        if "_lent" in vars(self):
            self._give_back()
        if getattr(vars(self).get("model_"), "optimizer", None) is not None and self.model_.built:
            build_optimizer(self.model_)

    def _build_keras_model(self):
        if "_lent" in vars(self):
            return self._lent.model
        if isinstance(self.random_state, np.random.RandomState):
            # scikeras 0.13 draws 0 from every RandomState, and does not advance it.
            self._random_state = int(self.random_state.randint(np.iinfo(np.int32).max))
        self._check_column_choice()
        seed = self._random_state
        reinitializes = getattr(self, "reinitialize", None)
        with seeded(seed), without_own_seed(self), new_values(self) if reinitializes else nullcontext():
            model = super()._build_keras_model()
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"`model` must be a function that returns a Keras model: {_name_of(self.model)} returned "
                f"{'None' if model is None else f'an object of type {type(model).__name__}'}. Does it end with "
                "`return model`?"
            )
        self._check_one_output(model)
        encodes, names = encodes_features(self), self._columns().names
        return on_one_input(model, getattr(self, "inputs", None), self.X_shape_[1:], names, encodes=encodes)

    def _check_one_output(self, model):
        """Raise where a network has several outputs, and no encoder of the user's makes several targets of y."""
        n_outputs = len(getattr(model, "outputs", None) or ())
        if n_outputs > 1 and getattr(self, "n_outputs_expected_", None) == 1:
            raise ValueError(
                f"`model` must have one output, of a column or more for each target: got {n_outputs} outputs. Put them "
                "side by side by keras.layers.Concatenate(), or override `target_encoder` so that it makes a list of "
                "targets, as scikeras has it."
            )

    def _check_column_choice(self):
        """Raise where members draw columns, and what the network does depends on which they are."""
        if column_choice(self) is None:
            return
        if getattr(self, "inputs", None) is not None:
            raise ValueError(
                "With `max_features` each member draws columns of its own, and `inputs` says where each column goes: "
                "leave one of them out."
            )
        if any(getattr(self, "n_categories_", ())):
            raise ValueError(
                "With `max_features` the columns of X must hold numbers, since each member draws columns of its own: "
                f"{sum(map(bool, self.n_categories_))} columns hold categories. Set max_features=1.0, or "
                "TableEncoder(max_one_hot=None), which makes numbers of all categories."
            )

    def _check_model_compatibility(self, y):
        if hasattr(self.model_, "outputs"):  # else scikeras 0.13 cannot count them
            super()._check_model_compatibility(y)
        check_output(self, y)

    def _fit_keras_model(self, X, y, sample_weight, warm_start, epochs, initial_epoch, **kwargs):
        given = kwargs.get("validation_data", getattr(self, "fit__validation_data", None))
        if isinstance(given, _FromUser) or ("validation_data" not in kwargs and given is not None):
            kwargs["validation_data"] = encode_validation_data(self, given)
        class_weight = kwargs.get("class_weight", getattr(self, "fit__class_weight", None))
        if class_weight is not None:
            kwargs["class_weight"] = encode_class_weight(self, class_weight)
        if not is_inside_ensemble():
            before = getattr(self, "history_", {}) if warm_start and initial_epoch > 0 else {}
            counted = {"epochs": initial_epoch + epochs, "initial_epoch": initial_epoch}
            if self._fit_by_program(Data(X, y, sample_weight), before, {**kwargs, **counted}):
                return
            if "_lent" in vars(self):
                self._give_back()
        seed = self._random_state
        with seeded(seed), without_own_seed(self):
            super()._fit_keras_model(without_rows(X), y, sample_weight, warm_start, epochs, initial_epoch, **kwargs)

    def _fit_by_program(self, data, before, given):
        """Train by the fused program, and tell whether that was done.

        Parameters
        ----------
        data : Data
        before : dict of str to list
            History of the training that goes on.
        given : dict
            Arguments of `Model.fit`, beside those of the parameters.
        """
        verbose = {**fit_arguments(self), **given}["verbose"]
        fit = fit_single(
            self,
            data,
            FitArguments.of(self, **given),
            seed=self._random_state,
            engine=self.engine,
            verbose=verbose,
            lent=vars(self).get("_lent"),
        )
        self.engine_, self.engine_reason_ = fit.engine, fit.reason
        if fit.logs is None:
            return False
        self.history_ = history_of(before)
        for name, values in history_of(fit.logs).items():
            self.history_[name] += values
        if "_lent" in vars(self):
            del self.model_  # not its own
        return True

    def _predict_raw(self, X, **kwargs):
        _refuse_callbacks(self, kwargs)
        with plain_transforms():
            if self._predicts_by_program() and not kwargs:
                checked, _ = self._validate_data(X)
                outputs = predict_single(self, self.feature_encoder_.transform(checked))
                if outputs is not None:
                    return outputs
            predict = partial(super()._predict_raw, **kwargs)
            if not self.initialized_ or not (isinstance(X, LazyRows) or is_lazily_indexed(X)):
                return predict(X)
            checked, _ = self._validate_data(X)
            return np.concatenate([predict(chunk) for chunk in chunks_of(checked)])

    def _predicts_by_program(self):
        """Whether the program that trained the network predicts, too, and there is nothing that it cannot do there."""
        return (
            getattr(self, "engine_", None) == "fused"
            and self.engine != "keras"
            and not self.verbose
            and not any(name.startswith("predict__") for name in vars(self))
            and not acts_in_prediction(self._predict_callbacks)
        )

    def _fit(self, X, y, *args, **kwargs):
        _refuse_callbacks(self, kwargs)
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        if self.engine not in ("auto", "fused", "keras"):
            raise ValueError(f"`engine` must be 'auto', 'fused' or 'keras': got {self.engine!r}.")
        if self.engine != "keras":
            use_share_of_cores()  # before anything is computed
        goes_on = (self.warm_start or kwargs.get("warm_start")) and self.initialized_
        needed = [value for name, value in self.get_params(deep=False).items() if name != "model" or not goes_on]
        check_restored(needed)
        with unchanged_on_error(self), plain_transforms():
            if not hasattr(self, "_fit_callbacks"):  # left out of a file
                self._initialize_callbacks()
            super()._fit(X, y, *args, **kwargs)

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **kwargs: Any) -> Self:
        """Build a new model and train it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels or an indicator matrix of several labels; targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; rows of weight 0 are left out. Scaled so that the mean over the rows that are trained on
            is 1; weights of classes are applied afterwards, as they are.
        **kwargs : dict
            Further arguments of `keras.Model.fit`.

        Returns
        -------
        estimator
            Itself, fitted.

        Raises
        ------
        TypeError
            Where `model` does not build a Keras model from the arguments that are known, and where `callbacks`
            are given here.
        ValueError
            Where the data, the model's output and its loss do not go together.

        Warns
        -----
        DataConversionWarning
            Where y is a column, or looks like classes in one-hot form.
        UserWarning
            Where X has columns of categories, and the network takes their codes as numbers.
        """
        with unchanged_on_error(self):
            if sample_weight is not None and y is not None:
                refuse_streams(X)
                sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64, copy=True)
                arguments = FitArguments.of(self, **kwargs)
                indices = sample_indices_of(MemberSpec(self, seed=0), self, arguments, np.asarray(y), sample_weight)
                sample_weight = _copied(with_mean_one(sample_weight, indices.training))
            if isinstance(kwargs.get("validation_data"), tuple | list):
                kwargs["validation_data"] = _FromUser(kwargs["validation_data"])
            return super().fit(X, y, sample_weight=sample_weight, **kwargs)

    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy of a classifier, R^2 of a regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels or values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the score.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return super().score(X, y, sample_weight=sample_weight)


class KerasClassifier(_Member, ScikerasClassifier, *OLD_TAGS_HIDDEN):
    """Keras network as a scikit-learn classifier.

    scikeras' classifier with what it lacks on scikit-learn 1.6 and later: it is a classifier to scikit-learn (scoring,
    stratification, meta-estimators), checks feature names, takes any float type at prediction, keeps two dimensions in
    `predict_proba` for a single row, seeds without side effects, and is unfitted after a failed fit. Without `model` it
    is a multilayer perceptron whose output layer and loss follow the target.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        Function that returns a Keras model, compiled or not. Arguments it names are filled in: `meta` (dict of what is
        known of the data: `X_shape_`, `n_classes_`, `n_categories_`, the number of categories of each column and 0 for
        numbers, `feature_names_in_` where X was a DataFrame), `compile_kwargs`, `params`, and whatever is given as
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
    reinitialize : bool, default=None
        Only where `model` is a Keras model: whether training begins with new values, drawn from the initializers of its
        layers under `random_state` (True), or with the values that it has (False), to train it further. Frozen layers
        and adapted preprocessing keep theirs. With None, members of an ensemble begin with new values, one trained
        already is refused there, and a model by itself begins with its own.
    inputs : dict, default=None
        For a network with several inputs: from the name of each Keras input, `keras.Input(shape, name=...)`, to its
        columns of X, a list of names or of numbers or a slice of numbers. They fill the shape of the input line by line
        (64 columns for pictures of shape (8, 8, 1)) and take its type. The network is then the layers of `model` on one
        input with all columns of X.
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
        Keras callbacks: instances, of which each member of an ensemble gets a copy, classes, or functions that make
        some, called with the number of the member (counted from 0) where they have a parameter without a default. In
        texts and paths of callbacks, `{member}` becomes that number; members must not share a path.
    warm_start : bool, default=False
        Whether `fit` goes on with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing, and 1 needs Keras' own fit. The fused program of an ensemble prints by
        `verbose` of the ensemble.
    engine : {"auto", "fused", "keras"}, default="auto"
        How a network is trained and predicts by itself. "fused": by a program that is traced once for all networks of
        one architecture, with Keras' result; an error where that is not possible. "keras": by Keras' `Model.fit` and
        `Model.predict`, which trace each network anew. "auto": fused where possible, else keras; `engine_reason_` says
        why. Members of an ensemble are trained by the engine of the ensemble.
    build_fn : callable, default=None
        Old name of `model` in scikeras.
    **kwargs : dict
        Routed parameters (`model__`, `optimizer__`, `loss__`, `metrics__`, `compile__`, `fit__`, `predict__`,
        `callbacks__`) and further arguments of `model`.

    Attributes
    ----------
    model_ : keras.Model
        The trained network.
    engine_ : str
        The engine that trained the network: "fused" or "keras". Not there where an ensemble trained it.
    engine_reason_ : str
        Why this engine.
    history_ : dict of str to list of float
        Loss, metrics and their validation values after each epoch.
    callbacks_ : list of keras.callbacks.Callback
        The callbacks of the training as it left them. Pickles leave out what cannot be pickled, such as open files;
        files of `skensemble.io` hold parameters only, and the callbacks are made anew from these.
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
            Weight of each row. Taken as it is, unlike in `fit`: rows of other calls count beside these.
        **kwargs : dict
            Further arguments of `keras.Model.fit`.

        Returns
        -------
        KerasClassifier
            Itself.
        """
        with unchanged_on_error(self):
            return super().partial_fit(X, y, classes=classes, sample_weight=_copied(sample_weight), **kwargs)

    @property
    def target_encoder(self) -> Any:
        """What encodes the labels."""
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


class KerasRegressor(_Member, ScikerasRegressor, *OLD_TAGS_HIDDEN):
    """Keras network as a scikit-learn regressor.

    scikeras' regressor with what it lacks on scikit-learn 1.6 and later; see `KerasClassifier`. Without `model` it is a
    multilayer perceptron with one linear output per target, or two with a `distribution`.

    Parameters
    ----------
    model : callable or keras.Model, default=None
        Function that returns a Keras model, compiled or not; see `KerasClassifier`. With None, a multilayer perceptron.
        `meta["n_output_units_"]` is the number of units that the output layer must have.
    hidden_layer_sizes : tuple of int, default=None
        Units of each hidden layer; None means (100,). This and the next two go to `model` where one is given and they
        are not None.
    activation : str or callable, default=None
        Activation of the hidden layers; None means "relu".
    dropout : float, default=None
        Fraction of hidden units dropped in training; None means 0.
    reinitialize : bool, default=None
        Only where `model` is a Keras model: whether training begins with new values, drawn from the initializers of its
        layers under `random_state` (True), or with the values that it has (False), to train it further. Frozen layers
        and adapted preprocessing keep theirs. With None, members of an ensemble begin with new values, one trained
        already is refused there, and a model by itself begins with its own.
    inputs : dict, default=None
        For a network with several inputs: from the name of each Keras input, `keras.Input(shape, name=...)`, to its
        columns of X, a list of names or of numbers or a slice of numbers. They fill the shape of the input line by line
        (64 columns for pictures of shape (8, 8, 1)) and take its type. The network is then the layers of `model` on one
        input with all columns of X.
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
        Keras callbacks: instances, of which each member of an ensemble gets a copy, classes, or functions that make
        some, called with the number of the member (counted from 0) where they have a parameter without a default. In
        texts and paths of callbacks, `{member}` becomes that number; members must not share a path.
    warm_start : bool, default=False
        Whether `fit` goes on with the model of the last `fit`.
    run_eagerly : bool, default=False
        Whether Keras runs without compiled graphs, for debugging.
    random_state : int, RandomState instance or None, default=None
        Seed of initial values, dropout and the order of rows.
    verbose : int, default=0
        Keras' verbosity; 0 prints nothing, and 1 needs Keras' own fit. The fused program of an ensemble prints by
        `verbose` of the ensemble.
    engine : {"auto", "fused", "keras"}, default="auto"
        How a network is trained and predicts by itself. "fused": by a program that is traced once for all networks of
        one architecture, with Keras' result; an error where that is not possible. "keras": by Keras' `Model.fit` and
        `Model.predict`, which trace each network anew. "auto": fused where possible, else keras; `engine_reason_` says
        why. Members of an ensemble are trained by the engine of the ensemble.
    build_fn : callable, default=None
        Old name of `model` in scikeras.
    distribution : {"normal"}, default=None
        What the network predicts for each target. "normal": the mean and the standard deviation of a normal
        distribution [1]_, trained by the negative log-likelihood, so that the noise of y is learned as a function of
        X. The network has twice as many outputs: the means of all targets, then the logarithms of their standard
        deviations. `predict` gives the means. Scale y to about unit variance: training starts from a deviation
        near 1. None: values.
    **kwargs : dict
        Routed parameters (`model__`, `optimizer__`, `loss__`, `metrics__`, `compile__`, `fit__`, `predict__`,
        `callbacks__`) and further arguments of `model`.

    Attributes
    ----------
    model_ : keras.Model
        The trained network.
    engine_ : str
        The engine that trained the network: "fused" or "keras". Not there where an ensemble trained it.
    engine_reason_ : str
        Why this engine.
    history_ : dict of str to list of float
        Loss, metrics and their validation values after each epoch.
    callbacks_ : list of keras.callbacks.Callback
        The callbacks of the training as it left them. Pickles leave out what cannot be pickled, such as open files;
        files of `skensemble.io` hold parameters only, and the callbacks are made anew from these.
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

    def predict(
        self, X: MatrixLike, return_std: bool = False, **kwargs: Any
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Value of each row; with a `distribution`, its mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        return_std : bool, default=False
            Whether to return the standard deviation of y too, which only networks with a `distribution` know.
        **kwargs : dict
            Further arguments of `keras.Model.predict`.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of the float type of y in `fit`, float64 for whole numbers.
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
        return super()._initialize(X, y)

    def _build_keras_model(self):
        if hasattr(self, "n_outputs_"):  # encoders of the user's need not tell it
            self.n_output_units_ = N_UNITS[self.distribution] * self.n_outputs_
        return super()._build_keras_model()

    def _default_loss(self):
        return "mean_squared_error" if self.distribution is None else NormalNLL()


class _FromUser(tuple):
    """Validation data whose labels are those of y, not yet encoded."""


def as_target_type(estimator, values):
    """Values that a fitted scikeras regressor predicts, in the float type of its y: networks compute in Keras'."""
    return values.astype(np.result_type(estimator.y_dtype_, np.float32), copy=False)


def _is_column(y):
    shape = np.asarray(y).shape  # some array-likes refuse `np.shape`
    return len(shape) == 2 and shape[1] == 1


def _name_of(build):
    return getattr(build, "__qualname__", type(build).__name__)


def _refuse_callbacks(estimator, arguments):
    """Raise where a method was given callbacks, which scikeras 0.13 leaves out without a word."""
    if any(name.startswith("callbacks") for name in arguments):
        raise TypeError(
            "`callbacks` are a parameter of the estimator, not of its methods: got some in a call. Give them as "
            f"{type(estimator).__name__}(callbacks=[...]), or by set_params(callbacks=[...])."
        )


def _copied(sample_weight):
    """A copy: scikeras 0.13 multiplies class weights into the user's own array."""
    return None if sample_weight is None else np.array(sample_weight, dtype=np.float64)
