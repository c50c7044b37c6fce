"""scikit-learn's own checks of estimators; what each class is known to fail is listed with its reason."""

import inspect
from contextlib import contextmanager, nullcontext

import keras
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasHeadClassifier,
    KerasHeadRegressor,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    PolyakWeightRegressor,
    SnapshotEnsembleClassifier,
    SnapshotEnsembleRegressor,
    StackedKerasClassifier,
    StackedKerasRegressor,
)

# Checks fit many times: one step an epoch keeps them short.
NETWORK = {"hidden_layer_sizes": (20,), "epochs": 15, "batch_size": -1}
# The learning rate is inside an instance: scikeras stores routed parameters as attributes that `__init__` does not
# name, which check_no_attributes_set_in_init refuses.
CLASSIFIER = {**NETWORK, "optimizer": keras.optimizers.SGD(0.3)}
REGRESSOR = {**NETWORK, "optimizer": keras.optimizers.Adam(0.05)}  # SGD diverges on the targets, which are not scaled

ESTIMATORS = [
    KerasClassifier(**CLASSIFIER, random_state=0),
    KerasRegressor(**REGRESSOR, random_state=0),
    KerasAveragingClassifier(KerasClassifier(**CLASSIFIER), n_estimators=2, random_state=0),
    KerasAveragingRegressor(KerasRegressor(**REGRESSOR), n_estimators=2, random_state=0),
    KerasVotingClassifier(
        [("network", KerasClassifier(**CLASSIFIER)), ("logistic", LogisticRegression())], random_state=0
    ),
    KerasVotingRegressor(
        [("network", KerasRegressor(**REGRESSOR)), ("tree", DecisionTreeRegressor(random_state=0))], random_state=0
    ),
    SnapshotEnsembleClassifier(KerasClassifier(**CLASSIFIER), n_estimators=2, random_state=0),
    SnapshotEnsembleRegressor(KerasRegressor(**REGRESSOR), n_estimators=2, random_state=0),
    PolyakWeightClassifier(KerasClassifier(**CLASSIFIER), n_checkpoints=2, random_state=0),
    PolyakWeightRegressor(KerasRegressor(**REGRESSOR), n_checkpoints=2, random_state=0),
    KerasHeadClassifier(**CLASSIFIER, dropout=0, random_state=0),
    KerasHeadRegressor(**REGRESSOR, dropout=0, random_state=0),
    StackedKerasClassifier(
        [("network", KerasClassifier(**CLASSIFIER)), ("logistic", LogisticRegression())], cv=2, random_state=0
    ),
    StackedKerasRegressor(
        [("network", KerasRegressor(**REGRESSOR)), ("tree", DecisionTreeRegressor(random_state=0))],
        cv=2,
        random_state=0,
    ),
]

# With weights of mean 1, integer weights are repeated rows where each step sees all rows: the loss of a batch is the
# weighted sum over its number of rows. (In smaller batches, repeated rows fall into other batches.) The checks compare
# more exactly than float32 can tell after sums in another order.
IN_FLOAT64 = (
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
)
# These checks compare scores with bounds. For all others a network alone, which Keras' own `fit` trains,
# takes two epochs.
OF_SCORES = ("check_classifiers_train", "check_regressors_train")
OF_SCIKERAS = {
    "check_mixin_order": (
        "scikeras 0.13 lists BaseWrapper, a BaseEstimator, left of scikit-learn's mixin, and Python lets no subclass "
        "turn that round"
    ),
    "check_estimator_tags_renamed": "scikeras 0.13 has a remnant of scikit-learn's old tags, which we leave alone",
}
FAILED_CHECKS = {cls: OF_SCIKERAS for cls in (KerasClassifier, KerasRegressor, KerasHeadClassifier, KerasHeadRegressor)}


def name(value):
    """Name an estimator by its class and a check by its function: the same in all processes, unlike addresses."""
    return type(value).__name__ if isinstance(value, BaseEstimator) else getattr(value, "func", value).__name__


@contextmanager
def float64():
    """Let networks compute in float64."""
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(before[0])
        keras.config.set_dtype_policy(before[1])


def each_check(estimators):
    """Parametrize a test with scikit-learn's checks of each estimator, of which the known failures must fail."""
    # Where scikit-learn does not take it yet, `xfail_strict` in pyproject.toml says the same.
    has_strict = "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    mark = parametrize_with_checks(
        estimators,
        expected_failed_checks=lambda estimator: FAILED_CHECKS.get(type(estimator), {}),
        **({"xfail_strict": True} if has_strict else {}),
    )
    # A list, since pytest 9 warns of the generator that scikit-learn 1.6 gives it.
    return pytest.mark.parametrize(mark.args[0], list(mark.args[1]), ids=name)


@pytest.mark.slow
@each_check(ESTIMATORS)
def test_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    """Every estimator does what scikit-learn asks of estimators, except for what is listed."""
    if name(check) not in OF_SCORES and "epochs" in estimator.get_params():
        estimator = clone(estimator).set_params(epochs=2)
    with float64() if name(check) in IN_FLOAT64 else nullcontext():
        check(estimator)
