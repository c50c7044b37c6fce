"""Private names of scikeras 0.13, and what it gets wrong.

scikeras is no longer maintained. If a later scikit-learn or Keras breaks it, we have to repair `KerasClassifier` and
`KerasRegressor` ourselves. This is what we use of it, and what would replace it; `tests/test_wrappers.py` and the
checks of scikit-learn say what has to stay as it is, and test only the estimators, not scikeras.

- `BaseWrapper`, the sign of a network: a base class of our own, and this one beside it while it exists.
- `get_params`, `set_params`, `**kwargs` of `__init__`: the same rule, routed parameters (`model__`, `optimizer__`, ...)
  are attributes of their own.
- `route_params`, `_get_compile_kwargs`, `_initialize_callbacks`: a dict by prefix; classes are called with their share.
- `_build_keras_model`: the builder, called with `meta` (the fitted state below), `compile_kwargs` and `params` where it
  names them.
- `_validate_data`, `_initialize`: ours up to the checks; then `target_type_`, `X_shape_` and the others from
  scikit-learn's `type_of_target` and the shapes.
- `ClassifierLabelEncoder`, target encoders: `_members/encoders.py`, told by `_members/output_check.py` which loss wants
  which form.
- `_check_model_compatibility`: `_members/output_check.py`, which checks more.
- `_fit_keras_model`, `_predict_raw`: `Model.fit` and `Model.predict`, in whose place `_engine/single.py` stands already
  where it can.
"""

import copy
import functools
from collections import defaultdict
from contextlib import contextmanager

import keras
import numpy as np
import sklearn
from scikeras.utils import metric_name
from scikeras.wrappers import BaseWrapper
from scikeras.wrappers import KerasClassifier as ScikerasClassifier
from scikeras.wrappers import KerasRegressor as ScikerasRegressor

from skensemble._compat.keras import (
    Functional,
    build_optimizer,
    compile_arguments,
    copy_from_config,
    copy_with_new_values,
    find_trained_layer,
)
from skensemble._compat.private import private
from skensemble._compat.seeds import count_model, seeded
from skensemble._compat.sklearn import plain_transforms
from skensemble._keras_objects.ensemble_layers import select_before
from skensemble._keras_objects.losses import MIN_VARIANCE
from skensemble._numeric.host_rows import without_rows
from skensemble._numeric.lazy_rows import LazyRows, placeholder
from skensemble._numeric.sparse_rows import with_rows

#: What scikeras 0.13 sets on an estimator when it is fitted, except its model, encoders and callbacks; and what
#: scikit-learn sets, for names of columns and metadata requests.
FITTED_STATE = (
    "X_dtype_",
    "X_shape_",
    "classes_",
    "feature_names_in_",
    "history_",
    "n_classes_",
    "n_features_in_",
    "n_outputs_",
    "n_outputs_expected_",
    "target_type_",
    "y_dtype_",
    "y_ndim_",
    "_metadata_request",
    "_random_state",
)

__all__ = [
    "OLD_TAGS_HIDDEN",
    "BaseWrapper",
    "ScikerasClassifier",
    "ScikerasRegressor",
    "as_fitted",
    "build_from_rows",
    "built_before_checks",
    "built_on_columns",
    "check_builds_anew",
    "column_choice",
    "compiled",
    "decode_outputs",
    "decode_scales",
    "draws_new_values",
    "encode_class_weight",
    "encode_features",
    "encode_target",
    "encode_validation_data",
    "encodes_features",
    "extra_fit_callbacks",
    "fit_arguments",
    "fit_callbacks",
    "fit_initialized",
    "fit_override",
    "full_metric_name",
    "give_tags",
    "given_callbacks",
    "given_model",
    "has_own_encoders",
    "has_own_model_check",
    "has_own_target_encoder",
    "has_scales",
    "history_of",
    "initialize",
    "initialize_callbacks",
    "is_categorical_crossentropy",
    "is_one_hot_target",
    "made_callbacks",
    "new_values",
    "own_build_function",
    "rebuild_model",
    "replace_model",
    "set_n_columns",
    "without_own_seed",
]

# Parameters of scikeras 0.13 that hold Keras callbacks; those of the first are for `fit` and `predict`.
_CALLBACK_PARAMETERS = ("callbacks", "fit__callbacks", "predict__callbacks")

# Keras 3.8 to 3.15: calls a model on the shape of its input, as `fit` does.
compute_output_spec = private("keras.src.backend", "compute_output_spec")
route_params = private("scikeras._utils", "route_params")  # scikeras 0.13: which parameters go to `Model.fit`
# scikeras 0.13: whether a loss takes one-hot labels.
is_categorical_crossentropy = private("scikeras.utils.transformers", "_is_categorical_crossentropy")

# scikit-learn 1.6 cannot read the tags of scikeras' estimators: it prefers `_more_tags`, a remnant of its old tags, to
# `__sklearn_tags__`, and this remnant calls that of scikit-learn, which is gone.
# TODO(scikit-learn>=1.7): drop `OLD_TAGS_HIDDEN` and `give_tags`.
_HAS_OLD_TAGS = sklearn.__version__.startswith("1.6.")
#: Last bases of our own subclasses of scikeras' estimators. scikit-learn 1.6 looks for `_more_tags` in a dict of the
#: classes by name, where this empty class replaces scikeras' `BaseWrapper`.
OLD_TAGS_HIDDEN = (type("BaseWrapper", (), {}),) if _HAS_OLD_TAGS else ()


def give_tags():
    """Give plain scikeras estimators tags that scikit-learn 1.6 can read.

    This changes a class of scikeras, for the whole process. There is no other way, and without it these estimators
    cannot be members. So it is done at the first fit of an ensemble, and never with scikit-learn 1.7 and later.
    """
    if _HAS_OLD_TAGS and "_more_tags" in vars(BaseWrapper):
        del BaseWrapper._more_tags


@contextmanager
def without_own_seed(estimator):
    """Keep scikeras from seeding by itself while `estimator` is built or trained (see `seeded`)."""
    parameter, drawn = estimator.random_state, getattr(estimator, "_random_state", None)
    estimator.random_state = estimator._random_state = None
    try:
        yield
    finally:
        estimator.random_state, estimator._random_state = parameter, drawn


def initialize(estimator, X, y):
    """Build and compile the model of a scikeras estimator without training it, under the current seeds.

    `initialize` of scikeras 0.13 only builds; compiling waits for `fit`.
    """
    count_model()
    with without_own_seed(estimator), plain_transforms(), built_on_columns(estimator):
        known = getattr(estimator, "classes_", None)  # forgotten by `initialize` of scikeras' classifier
        (estimator.initialize if known is None else estimator._initialize)(_to_initialize(estimator, X), y)
    build_from_rows(estimator, estimator.model_)
    estimator._ensure_compiled_model()
    estimator._check_model_compatibility(encode_target(estimator, y))
    return estimator


def initialize_like(estimator, initialized):
    """Give a scikeras estimator what one of the same kind learned when it was initialized, including its model."""
    vars(estimator).update({name: value for name, value in vars(initialized).items() if name not in vars(estimator)})
    estimator._initialize_callbacks()


def _to_initialize(estimator, X):
    """What a scikeras estimator is initialized with: it asks for the shape of X, and its encoder for the values."""
    return placeholder(X) if isinstance(X, LazyRows) and not encodes_features(estimator) else without_rows(X)


def as_fitted(estimator, model, row_shape, y, *, encoded=None):
    """Turn an unfitted scikeras estimator into one whose model was trained elsewhere, compiling the model where needed.

    Learns what `initialize` of scikeras 0.13 learns, without rows of X: those of 1000 classes may not fit the memory.

    Parameters
    ----------
    estimator : scikeras estimator
        Changed in place; without its own encoders. A classifier may know `classes_`, in the order of the outputs.
    model : keras.Model
    row_shape : tuple of int
        Shape of a row of X.
    y : ndarray
        Labels or targets such as the model was trained on: for classifiers one row for each class.
    encoded : ndarray, default=None
        The same in the form that the loss of the model took in its training, where that is not the estimator's.
    """
    count_model()
    with plain_transforms():
        estimator._validate_data(y=y, reset=True)
        estimator.X_shape_, estimator.X_dtype_ = (len(y), *row_shape), np.dtype(keras.config.floatx())
        estimator.n_features_in_ = row_shape[0]
        estimator.target_encoder_ = estimator.target_encoder.fit(y)
        vars(estimator).update(estimator.target_encoder_.get_metadata())
        estimator.feature_encoder_ = estimator.feature_encoder.fit(None)
    estimator._random_state, estimator._fit_callbacks, estimator._predict_callbacks = None, [], []
    estimator.history_ = history_of({})
    estimator.model_ = model
    build_from_rows(estimator, model)
    estimator._ensure_compiled_model()
    estimator._check_model_compatibility(encode_target(estimator, y) if encoded is None else encoded)
    return estimator


def compiled(estimator):
    """A fitted scikeras estimator, its model compiled by its parameters where it was not."""
    estimator._ensure_compiled_model()
    return estimator


def build_from_rows(estimator, model):
    """Build a model that learns the shape of its input from the data: subclassed, or Sequential without an Input.

    It gets `outputs`, which scikeras 0.13 counts. Done as in `Model.fit` (`_symbolic_build` of Keras 3.8 to 3.15).

    Parameters
    ----------
    estimator : scikeras estimator
        Its `X_shape_`, `X_dtype_` and `feature_encoder_` are known.
    model : keras.Model
    """
    if hasattr(model, "outputs"):
        return
    row = np.zeros((1, *estimator.X_shape_[1:]), estimator.X_dtype_)
    inputs = keras.tree.map_structure(_any_rows_like, encode_features(estimator, row))
    outputs = compute_output_spec(model, inputs, training=False)
    if not hasattr(model, "outputs"):
        object.__setattr__(model, "outputs", keras.tree.flatten(outputs))


def _any_rows_like(array):
    dtype = keras.config.floatx() if array.dtype.kind == "f" else array.dtype.name
    return keras.KerasTensor((None, *array.shape[1:]), dtype)


#: Attribute of a member that is trained on some of the columns: how many. Not a parameter, since a clone is trained on
#: all.
_N_COLUMNS = "_n_columns"


def set_n_columns(estimator, n_columns):
    """Let the members built from `estimator` take `n_columns` of X, chosen by `SelectColumns`."""
    setattr(estimator, _N_COLUMNS, n_columns)


def column_choice(estimator):
    """How many columns a member draws, None where it takes all; see `set_n_columns`."""
    return getattr(estimator, _N_COLUMNS, None)


@contextmanager
def built_on_columns(estimator):
    """Let the user's function build models for the columns that a member draws, and put their selection first.

    Does nothing for members that take all columns.
    """
    n_columns = column_choice(estimator)
    if n_columns is None:
        yield
        return
    build = estimator._build_keras_model

    def build_and_select():
        shape, n_features = estimator.X_shape_, estimator.n_features_in_
        estimator.X_shape_, estimator.n_features_in_ = (shape[0], n_columns), n_columns
        try:
            model = build()
        finally:
            estimator.X_shape_, estimator.n_features_in_ = shape, n_features
        return _selecting(model, shape[1], n_columns)

    estimator._build_keras_model = build_and_select
    try:
        yield
    finally:
        del estimator._build_keras_model


def _selecting(model, n_features, n_columns):
    """`select_before` of a model, compiled as it is."""
    if type(model) not in (keras.Sequential, Functional):
        raise ValueError(
            "With `max_features` networks must be keras.Sequential or made of inputs and outputs, keras.Model(inputs, "
            f"outputs): got {type(model).__name__}. Write the network in one of these ways, or set max_features=1.0."
        )
    selecting = select_before(model, n_features, n_columns)
    if model.compiled:
        # The optimizer as it is now: its learning rate may have been set after compiling.
        selecting.compile(**{**compile_arguments(model), "optimizer": model.optimizer})
    return selecting


@contextmanager
def built_before_checks(estimator):
    """Let scikeras' `fit` in the block build models as `build_from_rows` does, before it counts their outputs."""
    check = estimator._check_model_compatibility

    def build_and_check(y):
        build_from_rows(estimator, estimator.model_)
        check(y)

    estimator._check_model_compatibility = build_and_check
    try:
        yield
    finally:
        del estimator._check_model_compatibility


def rebuild_model(estimator, seed):
    """A new compiled model, built as `estimator` built its own but under another seed."""
    count_model()
    if given_model(estimator) is not None and not draws_new_values(estimator):
        return _copy_of_given(estimator, seed)
    if hasattr(estimator.model, "raise_not_restored"):
        with seeded(seed):
            return copy_from_config(estimator.model_)
    built = copy.copy(estimator)
    with seeded(seed), without_own_seed(built), new_values(built), built_on_columns(built):
        built.model_ = built._build_keras_model()
        build_from_rows(built, built.model_)
        built._ensure_compiled_model()
    own = vars(estimator).get("model_")  # None where it was lent
    trained = set() if own is None else {id(variable) for variable in own.trainable_variables}
    check_builds_anew(built.model_, lambda variable: id(variable) in trained)
    return built.model_


def check_builds_anew(model, is_old):
    """Raise where a network that was just built trains a layer of an earlier one: both would have its values.

    Parameters
    ----------
    model : keras.Model
    is_old : callable
        Says of a variable whether it was there before.
    """
    layer = find_trained_layer(model, is_old)
    if layer is not None:
        raise ValueError(
            "`model` must be a function that builds the layers that are trained each time it is called: the layer "
            f"{layer.name!r} was there before, and all networks with it would share its values. Build, load or copy it "
            "inside the function, or freeze it (`trainable = False`)."
        )


def _copy_of_given(estimator, seed):
    """A model with the values of the given one, built as the estimator does."""
    build_optimizer(given_model(estimator))
    built = copy.copy(estimator)
    with seeded(seed):  # copying draws seeds for initializers that are not used
        built.model, built.build_fn = copy.deepcopy(given_model(estimator)), None
    with without_own_seed(built):
        return built._build_keras_model()


def given_model(estimator):
    """The Keras model that a scikeras estimator was given in place of a function that builds one, or None."""
    given = estimator.build_fn if estimator.model is None else estimator.model
    return given if isinstance(given, keras.Model) else None


def own_build_function(estimator):
    """The method by which a subclass of scikeras 0.13 builds its network; None if it has none."""
    return getattr(estimator, "_keras_build_fn", None)


def draws_new_values(estimator):
    """Whether a member starts from new values of the model that it was given; see `KerasClassifier.reinitialize`."""
    return given_model(estimator) is not None and getattr(estimator, "reinitialize", None) is not False


@contextmanager
def new_values(estimator):
    """Let an estimator that was given a Keras model build it anew in the block, as if a function had built it."""
    if not draws_new_values(estimator):
        yield
        return
    name = "build_fn" if estimator.model is None else "model"
    model = getattr(estimator, name)
    setattr(estimator, name, functools.partial(copy_with_new_values, model))
    try:
        yield
    finally:
        setattr(estimator, name, model)


def replace_model(estimator, unfitted, model, history):
    """Make `unfitted`, a clone of `estimator`, a fitted estimator with another model.

    What scikeras learns of the data in `initialize` is shared, since it is the same.

    Parameters
    ----------
    estimator : scikeras estimator
        Initialized.
    unfitted : scikeras estimator
        Changed in place.
    model : keras.Model
    history : dict of str to list of float

    Returns
    -------
    scikeras estimator
    """
    learned = {name: value for name, value in vars(estimator).items() if name not in estimator.get_params(deep=False)}
    for name in learned.keys() - vars(unfitted).keys():
        setattr(unfitted, name, learned[name])
    unfitted._random_state = None
    unfitted.model_ = model
    unfitted.history_ = history
    return unfitted


def fit_override(estimator):
    """Name of the method by which a subclass of scikeras' estimators trains in its own way, or None."""
    for name in ("fit", "_fit", "_fit_keras_model", "_initialize"):
        if _is_defined_by_user(estimator, name):
            return f"{_defining(estimator, name).__name__}.{name}"
    return None


def _defining(estimator, name):
    return next(cls for cls in type(estimator).__mro__ if name in vars(cls))


def _is_defined_by_user(estimator, name):
    return _defining(estimator, name).__module__.partition(".")[0] not in ("scikeras", "skensemble")


def fit_arguments(estimator):
    """Arguments that scikeras would pass to `Model.fit`, including epochs but not callbacks."""
    arguments = route_params(estimator.get_params(), destination="fit", pass_filter=estimator._fit_kwargs)
    arguments["epochs"] = getattr(estimator, "fit__epochs", estimator.epochs)
    return {name: value for name, value in arguments.items() if not name.startswith("callbacks")}


def fit_callbacks(estimator):
    """Keras callbacks of an initialized scikeras estimator, one list."""
    return keras.tree.flatten(estimator._fit_callbacks)


def made_callbacks(estimator, prepare):
    """Keras callbacks for `fit` and for `predict`, two lists, as scikeras 0.13 makes them from the parameters.

    `prepare` is applied to the value of each of these parameters before.
    """
    making = copy.copy(estimator)
    for name in _CALLBACK_PARAMETERS:
        if getattr(making, name, None) is not None:
            setattr(making, name, prepare(getattr(making, name)))
    BaseWrapper._initialize_callbacks(making)
    return making._fit_callbacks, making._predict_callbacks


def initialize_callbacks(estimator):
    """Make the Keras callbacks of a scikeras estimator from its parameters."""
    estimator._initialize_callbacks()


@contextmanager
def given_callbacks(estimator, made):
    """Give `estimator` these Keras callbacks, made by `made_callbacks`, whenever it is initialized in the block."""

    def take():
        estimator._fit_callbacks, estimator._predict_callbacks = made

    estimator._initialize_callbacks = take
    try:
        yield
    finally:
        vars(estimator).pop("_initialize_callbacks", None)


@contextmanager
def extra_fit_callbacks(estimator, callbacks):
    """Call `callbacks` after all other Keras callbacks of an initialized scikeras estimator, in fits in the block."""
    before = estimator._fit_callbacks
    estimator._fit_callbacks = [*before, *callbacks]
    try:
        yield
    finally:
        estimator._fit_callbacks = before


def history_of(logs):
    """`history_` as scikeras names its entries, from the logs of Keras' `History`."""
    history = defaultdict(list)
    for name, values in logs.items():
        if not (name == "loss" or name.startswith("val_")):
            name = full_metric_name(name)
        history[name] += values
    return history


@functools.cache
def full_metric_name(name):
    """The name that scikeras gives to the metric of a log; it makes a metric, with variables, to find it."""
    try:
        return metric_name(name)
    except ValueError:
        return name  # a metric of the user's own


def fit_initialized(estimator, X, y, sample_weight, **arguments):
    """Train an initialized scikeras estimator; further arguments go to `Model.fit`.

    scikeras 0.13 initializes again in `fit`, and forgets the classes that X and y lack.
    """
    epochs = fit_arguments(estimator)["epochs"]
    with plain_transforms():
        estimator._fit(X, y, sample_weight, warm_start=True, epochs=epochs, initial_epoch=0, **arguments)
    return estimator


def encode_features(estimator, X):
    """Features as the Keras model of a fitted scikeras estimator takes them; `HostRows` of a large X.

    The user's own encoder gets all rows of `LazyRows`, read into memory.
    """
    if isinstance(X, LazyRows) and not encodes_features(estimator):
        return X
    with plain_transforms():
        return with_rows(estimator.feature_encoder_.transform(without_rows(X)))


def encodes_features(estimator):
    """Whether a scikeras estimator transforms X in its own way before the network sees it."""
    return _is_defined_by_user(estimator, "feature_encoder")


def has_own_target_encoder(estimator):
    """Whether a scikeras estimator transforms y in its own way before the network sees it."""
    return _is_defined_by_user(estimator, "target_encoder")


def has_own_encoders(estimator):
    """Whether a scikeras estimator transforms X or y in its own way."""
    return encodes_features(estimator) or has_own_target_encoder(estimator)


def has_own_model_check(estimator):
    """Whether a subclass of scikeras' estimators checks the model in its own way before it trains it."""
    return type(estimator)._check_model_compatibility is not BaseWrapper._check_model_compatibility


def encode_target(estimator, y):
    """Targets as the Keras model of an initialized scikeras estimator takes them."""
    with plain_transforms():
        return estimator.target_encoder_.transform(y)


def encode_validation_data(estimator, data):
    """The user's `validation_data`, with labels as in y, as the Keras model of an initialized estimator takes it.

    What an encoder of the user's would have to encode is returned as it is.
    """
    if not isinstance(data, tuple | list) or has_own_encoders(estimator):
        return data
    _check_validation_data(estimator, data)
    X, y, *weights = data
    X, y = _as_numbers(X), np.asarray(y)
    if not isinstance(estimator, ScikerasClassifier):
        return X, encode_target(estimator, y), *weights
    is_encoded = y.ndim == 2 and y.shape[1] > 1  # one-hot
    if is_encoded or estimator.target_type_ not in ("binary", "multiclass"):
        return X, y, *weights
    y = y.reshape(len(y))
    unknown = np.setdiff1d(y, estimator.classes_)
    if len(unknown):
        raise ValueError(
            f"The labels of `validation_data` must be among those of y, {estimator.classes_.tolist()}: got "
            f"{unknown.tolist()}."
        )
    return X, encode_target(estimator, y), *weights


def _as_numbers(X):
    """Tables and lists as arrays of Keras' float type; others as they are."""
    is_table = isinstance(X, list | tuple) or hasattr(X, "columns")
    return np.asarray(X, dtype=keras.config.floatx()) if is_table else X


def _check_validation_data(estimator, data):
    """Raise where numbers of rows differ, or the shape of rows or the names of columns from those of `fit`."""
    if len(data) not in (2, 3):
        raise ValueError(f"`validation_data` must be (X, y) or (X, y, weights of the rows): got {len(data)} parts.")
    shapes = [np.shape(part) if not hasattr(part, "shape") else part.shape for part in data if part is not None]
    n_rows = [shape[0] for shape in shapes]
    if len(set(n_rows)) > 1:
        raise ValueError(
            "X, y and the weights of `validation_data` must have as many rows as each other: got "
            f"{' and '.join(map(str, n_rows))}."
        )
    if tuple(shapes[0][1:]) != tuple(estimator.X_shape_[1:]):
        raise ValueError(
            f"X of `validation_data` must have rows shaped as in fit, {tuple(estimator.X_shape_[1:])}: got "
            f"{tuple(shapes[0][1:])}."
        )
    told = getattr(getattr(estimator, "_told_columns", None), "names", None)  # by an ensemble
    names, given = getattr(estimator, "feature_names_in_", told), getattr(data[0], "columns", None)
    if names is not None and given is not None and list(given) != list(names):
        raise ValueError(
            f"X of `validation_data` must have the columns of X in their order: got {list(given)}, X has {list(names)}."
        )


def encode_class_weight(estimator, class_weight):
    """A `class_weight` of `Model.fit`, keyed by the user's labels, as Keras takes it: keyed by class numbers.

    What scikeras does not encode is returned as it is.
    """
    encodes = isinstance(estimator, ScikerasClassifier) and estimator.target_type_ in ("binary", "multiclass")
    if not encodes or has_own_encoders(estimator) or not isinstance(class_weight, dict):
        return class_weight
    numbers = {label: number for number, label in enumerate(estimator.classes_.tolist())}
    unknown = [label for label in class_weight if label not in numbers]
    if unknown:
        raise ValueError(f"The labels of `class_weight` must be among those of y, {list(numbers)}: got {unknown}.")
    return {numbers[label]: weight for label, weight in class_weight.items()}


def decode_outputs(estimator, outputs):
    """Raw outputs of the model as predictions: probabilities (n_samples, n_classes) or values shaped like y.

    scikeras 0.13 squeezes the probabilities of a single row to one dimension; here they keep two. They are float32 or
    more exact, also of networks in mixed precision: scikit-learn knows no bfloat16.
    """
    with plain_transforms():
        if isinstance(estimator, ScikerasClassifier):
            proba = np.asarray(estimator.target_encoder_.inverse_transform(outputs, return_proba=True))
            return proba.reshape(len(outputs), -1).astype(np.result_type(proba.dtype, np.float32), copy=False)
        if has_scales(estimator):
            outputs = np.reshape(outputs, (len(outputs), -1))[:, : estimator.n_outputs_]
        return np.asarray(estimator.target_encoder_.inverse_transform(outputs))


def has_scales(estimator):
    """Whether the network of an initialized estimator predicts a mean and a standard deviation for each target."""
    n_units = getattr(estimator, "n_output_units_", None)
    return n_units is not None and n_units != estimator.n_outputs_


def decode_scales(estimator, outputs):
    """Standard deviations, shaped like y, in the raw outputs of a model that has them (see `has_scales`)."""
    log_scales = np.reshape(outputs, (len(outputs), -1))[:, estimator.n_outputs_ :]
    scales = np.sqrt(np.exp(2 * log_scales.astype(np.float64)) + MIN_VARIANCE)
    return np.asarray(estimator.target_encoder_.inverse_transform(scales))


def is_one_hot_target(y):
    """Whether scikeras 0.13 reads an indicator matrix as one class per row (then decoded by the largest output)."""
    return y.ndim == 2 and y.min() == 0 and bool((y.sum(axis=1) == 1).all())
