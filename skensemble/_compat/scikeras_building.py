"""How scikeras' estimators get their networks: from a function or a given model, on some columns, without training.

The steps that scikeras names for subclasses are called, and replaced, from outside: members may be plain scikeras
estimators.
"""

import copy
import functools
from contextlib import nullcontext

import keras
import numpy as np

from skensemble._compat.global_seeds import count_model, seeded
from skensemble._compat.keras import Functional, build_optimizer, compile_successor, find_trained_layer
from skensemble._compat.keras_copies import copy_from_config, copy_with_new_values
from skensemble._compat.private import private
from skensemble._compat.scikeras import (
    changed,
    encode_features,
    encode_target,
    encodes_features,
    history_of,
    initialize_callbacks,
    without_own_seed,
)
from skensemble._compat.sklearn import plain_transforms
from skensemble._keras_objects.ensemble_layers import select_before
from skensemble._numeric.host_rows import without_rows
from skensemble._numeric.lazy_rows import LazyRows, placeholder

# Keras 3.8 to 3.15: calls a model on the shape of its input, as `fit` does.
compute_output_spec = private("keras.src.backend", "compute_output_spec")
#: Attribute of a member that is trained on some of the columns: how many. Not a parameter, since a clone is trained on
#: all.
_N_COLUMNS = "_n_columns"


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


def new_values(estimator):
    """Let an estimator that was given a Keras model build it anew in the block, as if a function had built it."""
    if not draws_new_values(estimator):
        return nullcontext()
    name = "build_fn" if estimator.model is None else "model"
    return changed(estimator, **{name: functools.partial(copy_with_new_values, getattr(estimator, name))})


def set_n_columns(estimator, n_columns):
    """Let the members built from `estimator` take `n_columns` of X, chosen by `SelectColumns`."""
    setattr(estimator, _N_COLUMNS, n_columns)


def column_choice(estimator):
    """How many columns a member draws, None where it takes all; see `set_n_columns`."""
    return getattr(estimator, _N_COLUMNS, None)


def built_on_columns(estimator):
    """Let the user's function build models for the columns that a member draws, and put their selection first.

    Does nothing for members that take all columns.
    """
    n_columns = column_choice(estimator)
    if n_columns is None:
        return nullcontext()
    build = estimator._build_keras_model

    def build_and_select():
        n_rows, n_features = estimator.X_shape_
        with changed(estimator, X_shape_=(n_rows, n_columns), n_features_in_=n_columns):
            model = build()
        return _selecting(model, n_features, n_columns)

    return changed(estimator, _build_keras_model=build_and_select)


def _selecting(model, n_features, n_columns):
    """`select_before` of a model, compiled as it is."""
    if type(model) not in (keras.Sequential, Functional):
        raise ValueError(
            "With `max_features` networks must be keras.Sequential or made of inputs and outputs, keras.Model(inputs, "
            f"outputs): got {type(model).__name__}. Write the network in one of these ways, or set max_features=1.0."
        )
    selecting = select_before(model, n_features, n_columns)
    compile_successor(selecting, model)
    return selecting


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
    _learn_from(initialized, estimator)
    initialize_callbacks(estimator)


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


def built_before_checks(estimator):
    """Let scikeras' `fit` in the block build models as `build_from_rows` does, before it counts their outputs."""
    check = estimator._check_model_compatibility

    def build_and_check(y):
        build_from_rows(estimator, estimator.model_)
        check(y)

    return changed(estimator, _check_model_compatibility=build_and_check)


def compiled(estimator):
    """A fitted scikeras estimator, its model compiled by its parameters where it was not."""
    estimator._ensure_compiled_model()
    return estimator


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


def _copy_of_given(estimator, seed):
    """A model with the values of the given one, built as the estimator does."""
    build_optimizer(given_model(estimator))
    built = copy.copy(estimator)
    with seeded(seed):  # copying draws seeds for initializers that are not used
        built.model, built.build_fn = copy.deepcopy(given_model(estimator)), None
    with without_own_seed(built):
        return built._build_keras_model()


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
    _learn_from(estimator, unfitted)
    unfitted._random_state = None
    unfitted.model_ = model
    unfitted.history_ = history
    return unfitted


def _learn_from(estimator, unfitted):
    """Give an estimator what another one with the same parameters has learned."""
    vars(unfitted).update({name: value for name, value in vars(estimator).items() if name not in vars(unfitted)})
