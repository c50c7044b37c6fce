"""scikit-learn estimators that are ensembles of Keras networks."""

from skensemble._averaging import KerasAveragingClassifier, KerasAveragingRegressor
from skensemble._display import MembersDisplay
from skensemble._heads import KerasHeadClassifier, KerasHeadRegressor
from skensemble._merge import WeightedAverage
from skensemble._polyak import PolyakWeightClassifier, PolyakWeightRegressor
from skensemble._snapshot import SnapshotEnsembleClassifier, SnapshotEnsembleRegressor
from skensemble._stacking import StackedKerasClassifier, StackedKerasRegressor
from skensemble._voting import KerasVotingClassifier, KerasVotingRegressor
from skensemble.wrappers import KerasClassifier, KerasRegressor

__all__ = [
    "KerasAveragingClassifier",
    "KerasAveragingRegressor",
    "KerasClassifier",
    "KerasHeadClassifier",
    "KerasHeadRegressor",
    "KerasRegressor",
    "KerasVotingClassifier",
    "KerasVotingRegressor",
    "MembersDisplay",
    "PolyakWeightClassifier",
    "PolyakWeightRegressor",
    "SnapshotEnsembleClassifier",
    "SnapshotEnsembleRegressor",
    "StackedKerasClassifier",
    "StackedKerasRegressor",
    "WeightedAverage",
]
