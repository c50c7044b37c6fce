"""scikit-learn estimators that are ensembles of Keras networks."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` gives, for editors and type checkers
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

# Keras and TensorFlow take seconds to import. `skensemble.io` reads the manifests of files without them.
_MODULES = {
    "KerasAveragingClassifier": "_averaging",
    "KerasAveragingRegressor": "_averaging",
    "KerasClassifier": "wrappers",
    "KerasHeadClassifier": "_heads",
    "KerasHeadRegressor": "_heads",
    "KerasRegressor": "wrappers",
    "KerasVotingClassifier": "_voting",
    "KerasVotingRegressor": "_voting",
    "MembersDisplay": "_display",
    "PolyakWeightClassifier": "_polyak",
    "PolyakWeightRegressor": "_polyak",
    "SnapshotEnsembleClassifier": "_snapshot",
    "SnapshotEnsembleRegressor": "_snapshot",
    "StackedKerasClassifier": "_stacking",
    "StackedKerasRegressor": "_stacking",
    "WeightedAverage": "_merge",
}


def __getattr__(name):
    if name == "io":
        return import_module("skensemble.io")
    if name not in _MODULES:
        raise AttributeError(f"module 'skensemble' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"skensemble.{_MODULES[name]}"), name)
    return globals()[name]


def __dir__():
    return sorted({*globals(), *__all__, "io"})
