"""What ensembles of one run share: the network that is trained once."""

from skensemble._members.checks import check_member
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.spec import is_frozen
from skensemble._wrappers.adapters import as_member
from skensemble.wrappers import KerasClassifier, KerasRegressor


def run_estimator(estimator, *, classifier):
    """The estimator to train once: the default for None, otherwise the user's, checked."""
    if estimator is None:
        estimator = KerasClassifier() if classifier else KerasRegressor()
    estimator = as_member(estimator)
    check_member(estimator, classifier=classifier)
    if is_frozen(estimator):
        raise TypeError(
            "`estimator` must be a network to train, from whose run the variables are kept: got a FrozenEstimator. "
            "Pass the estimator itself, or average fitted networks with KerasAveragingClassifier or "
            "KerasAveragingRegressor."
        )
    return estimator


def run_epochs(estimator):
    """Epochs that a scikeras estimator is to be trained for."""
    return FitArguments.of(estimator).epochs
