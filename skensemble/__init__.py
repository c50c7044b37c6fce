"""scikit-learn estimators that are ensembles of Keras networks."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` returns, for editors and type checkers
    from skensemble._averaging import KerasAveragingClassifier, KerasAveragingRegressor
    from skensemble._display.diversity import DiversityDisplay
    from skensemble._display.learning_rate import LearningRateDisplay
    from skensemble._display.member_weights import MemberWeightsDisplay
    from skensemble._display.members import MembersDisplay
    from skensemble._display.score_spread import ScoreSpreadDisplay
    from skensemble._display.training_history import TrainingHistoryDisplay
    from skensemble._display.uncertainty import UncertaintyDisplay
    from skensemble._heads import KerasHeadClassifier, KerasHeadRegressor
    from skensemble._keras_objects.ensemble_layers import SelectColumns, WeightedAverage
    from skensemble._keras_objects.losses import NormalNLL
    from skensemble._keras_objects.table_layers import EmbedCategories, InputColumns
    from skensemble._polyak import PolyakWeightClassifier, PolyakWeightRegressor
    from skensemble._snapshot import SnapshotEnsembleClassifier, SnapshotEnsembleRegressor
    from skensemble._stacking import StackedKerasClassifier, StackedKerasRegressor
    from skensemble._voting import KerasVotingClassifier, KerasVotingRegressor
    from skensemble.wrappers import KerasClassifier, KerasRegressor

__version__ = "0.1.0.dev0"

__all__ = [
    "DiversityDisplay",
    "EmbedCategories",
    "InputColumns",
    "KerasAveragingClassifier",
    "KerasAveragingRegressor",
    "KerasClassifier",
    "KerasHeadClassifier",
    "KerasHeadRegressor",
    "KerasRegressor",
    "KerasVotingClassifier",
    "KerasVotingRegressor",
    "LearningRateDisplay",
    "MemberWeightsDisplay",
    "MembersDisplay",
    "NormalNLL",
    "PolyakWeightClassifier",
    "PolyakWeightRegressor",
    "ScoreSpreadDisplay",
    "SelectColumns",
    "SnapshotEnsembleClassifier",
    "SnapshotEnsembleRegressor",
    "StackedKerasClassifier",
    "StackedKerasRegressor",
    "TrainingHistoryDisplay",
    "UncertaintyDisplay",
    "WeightedAverage",
]

# Keras and TensorFlow take seconds to import. `skensemble.io` reads the manifests of files without them.
_MODULES = {
    "DiversityDisplay": "_display.diversity",
    "EmbedCategories": "_keras_objects.table_layers",
    "InputColumns": "_keras_objects.table_layers",
    "KerasAveragingClassifier": "_averaging",
    "KerasAveragingRegressor": "_averaging",
    "KerasClassifier": "wrappers",
    "KerasHeadClassifier": "_heads",
    "KerasHeadRegressor": "_heads",
    "KerasRegressor": "wrappers",
    "KerasVotingClassifier": "_voting",
    "KerasVotingRegressor": "_voting",
    "LearningRateDisplay": "_display.learning_rate",
    "MemberWeightsDisplay": "_display.member_weights",
    "MembersDisplay": "_display.members",
    "NormalNLL": "_keras_objects.losses",
    "PolyakWeightClassifier": "_polyak",
    "PolyakWeightRegressor": "_polyak",
    "ScoreSpreadDisplay": "_display.score_spread",
    "SelectColumns": "_keras_objects.ensemble_layers",
    "SnapshotEnsembleClassifier": "_snapshot",
    "SnapshotEnsembleRegressor": "_snapshot",
    "StackedKerasClassifier": "_stacking",
    "StackedKerasRegressor": "_stacking",
    "TrainingHistoryDisplay": "_display.training_history",
    "UncertaintyDisplay": "_display.uncertainty",
    "WeightedAverage": "_keras_objects.ensemble_layers",
}

_SUBMODULES = ("exceptions", "io", "metrics", "model_selection", "preprocessing")


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"skensemble.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'skensemble' has no attribute {name!r}")
    globals()[name] = getattr(import_module(f"skensemble.{_MODULES[name]}"), name)
    return globals()[name]


def __dir__():
    return sorted({*globals(), *__all__, *_SUBMODULES})
