"""scikit-learn estimators that are ensembles of Keras networks."""

from skensemble._averaging import KerasAveragingClassifier, KerasAveragingRegressor
from skensemble._display import MembersDisplay
from skensemble.wrappers import KerasClassifier, KerasRegressor

__all__ = [
    "KerasAveragingClassifier",
    "KerasAveragingRegressor",
    "KerasClassifier",
    "KerasRegressor",
    "MembersDisplay",
]
