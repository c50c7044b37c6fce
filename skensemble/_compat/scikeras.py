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
- `_fit_keras_model`, `_predict_raw`: `Model.fit` and `Model.predict`, in whose place `_engine/single_network.py` stands
  already where it can.
"""

import copy
import functools
from collections import defaultdict
from contextlib import contextmanager

import keras
import sklearn
from scikeras.utils import metric_name
from scikeras.wrappers import BaseWrapper, KerasClassifier, KerasRegressor

from skensemble._compat.private import private
from skensemble._compat.sklearn import plain_transforms
from skensemble._numeric.host_rows import without_rows
from skensemble._numeric.lazy_rows import LazyRows
from skensemble._numeric.sparse_rows import with_rows

#: scikeras' estimators, under names that tell them from ours.
ScikerasClassifier, ScikerasRegressor = KerasClassifier, KerasRegressor

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

# Parameters of scikeras 0.13 that hold Keras callbacks; those of the first are for `fit` and `predict`.
_CALLBACK_PARAMETERS = ("callbacks", "fit__callbacks", "predict__callbacks")

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
def changed(estimator, **attributes):
    """Give one estimator other attributes in the block, such as a function in place of a method."""
    before = {name: vars(estimator)[name] for name in attributes if name in vars(estimator)}
    vars(estimator).update(attributes)
    try:
        yield
    finally:
        for name in attributes.keys() - before.keys():
            vars(estimator).pop(name, None)
        vars(estimator).update(before)


def without_own_seed(estimator):
    """Keep scikeras from seeding by itself while `estimator` is built or trained in the block (see `seeded`)."""
    estimator._random_state = getattr(estimator, "_random_state", None)
    return changed(estimator, random_state=None, _random_state=None)


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

    `prepare` is applied to the value of each of these parameters first.
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


def given_callbacks(estimator, made):
    """Give `estimator` these Keras callbacks, made by `made_callbacks`, whenever it is initialized in the block."""

    def take():
        estimator._fit_callbacks, estimator._predict_callbacks = made

    return changed(estimator, _initialize_callbacks=take)


def extra_fit_callbacks(estimator, callbacks):
    """Call `callbacks` after all other Keras callbacks of an initialized scikeras estimator, in fits in the block."""
    return changed(estimator, _fit_callbacks=[*estimator._fit_callbacks, *callbacks])


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


def is_one_hot_target(y):
    """Whether scikeras 0.13 reads an indicator matrix as one class per row (then decoded by the largest output)."""
    return y.ndim == 2 and y.min() == 0 and bool((y.sum(axis=1) == 1).all())
