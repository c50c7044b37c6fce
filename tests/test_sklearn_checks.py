"""scikit-learn's own checks of estimators; what each class is known to fail is listed with its reason."""

import inspect

import keras
import pytest
from sklearn.base import BaseEstimator
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
    KerasHeadClassifier(**CLASSIFIER, random_state=0),
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

WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": (
        "Keras divides the weighted loss of a batch by its number of rows, not by the sum of their weights, and "
        "repeated rows fall into other batches"
    )
}
SPARSE_WEIGHTS = {
    "check_sample_weight_equivalence_on_sparse_data": WEIGHTS["check_sample_weight_equivalence_on_dense_data"]
}
MIXINS = {
    "check_mixin_order": (
        "scikeras 0.13 lists BaseWrapper, a BaseEstimator, left of scikit-learn's mixin, and Python lets no subclass "
        "turn that round"
    )
}
FLOAT_TYPE = {"check_regressor_multioutput": "members predict in the float type of Keras, the check asks for float64"}

FAILED_CHECKS = {
    KerasClassifier: WEIGHTS | SPARSE_WEIGHTS | MIXINS,
    KerasRegressor: WEIGHTS | SPARSE_WEIGHTS | MIXINS | FLOAT_TYPE,
    KerasAveragingClassifier: WEIGHTS,
    KerasAveragingRegressor: WEIGHTS,
    KerasVotingClassifier: WEIGHTS,
    KerasVotingRegressor: WEIGHTS,
    SnapshotEnsembleClassifier: WEIGHTS,
    SnapshotEnsembleRegressor: WEIGHTS,
    PolyakWeightClassifier: WEIGHTS,
    PolyakWeightRegressor: WEIGHTS,
    KerasHeadClassifier: WEIGHTS | SPARSE_WEIGHTS | MIXINS,
    KerasHeadRegressor: WEIGHTS | SPARSE_WEIGHTS | MIXINS | FLOAT_TYPE,
    StackedKerasClassifier: WEIGHTS,
    StackedKerasRegressor: WEIGHTS,
}


def name(value):
    """Name an estimator by its class and a check by its function: the same in all processes, unlike addresses."""
    return type(value).__name__ if isinstance(value, BaseEstimator) else getattr(value, "func", value).__name__


def each_check(estimators):
    """Parametrize a test with scikit-learn's checks of each estimator, of which the known failures must fail."""
    # Where scikit-learn does not take it yet, `xfail_strict` in pyproject.toml says the same.
    has_strict = "xfail_strict" in inspect.signature(parametrize_with_checks).parameters
    mark = parametrize_with_checks(
        estimators,
        expected_failed_checks=lambda estimator: FAILED_CHECKS[type(estimator)],
        **({"xfail_strict": True} if has_strict else {}),
    )
    # A list, since pytest 9 warns of the generator that scikit-learn 1.6 gives it.
    return pytest.mark.parametrize(mark.args[0], list(mark.args[1]), ids=name)


@pytest.mark.slow
@each_check(ESTIMATORS)
def test_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    """Every estimator does what scikit-learn asks of estimators, except for what is listed."""
    check(estimator)
