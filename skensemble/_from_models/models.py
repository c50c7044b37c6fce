"""Trained models as the members of an ensemble, which learns from them what `fit` learns from data."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.frozen import FrozenEstimator

from skensemble._base.combining import check_combining_parameters, learn_combination
from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.independent_runs import warn_of_equal
from skensemble._base.reweight import Reweighted
from skensemble._engine.fitted import FittedMembers
from skensemble._from_models.agreement import common_rows, common_target
from skensemble._from_models.networks import TrainedNetwork, read_members
from skensemble._from_models.reading import Reading
from skensemble._numeric.combination import normalize_weights


class TrainedModels(NamedTuple):
    """What `from_models` makes an ensemble of.

    Attributes
    ----------
    members : list of TrainedNetwork
    row_shape : tuple of int
        Of the rows of X that all take.
    feature_names : ndarray of str of shape (n_features,) or None
        None where no member knows them.
    y : ndarray
        A minimal y, from which an ensemble can learn what `fit` learns from y.
    """

    members: list[TrainedNetwork]
    row_shape: tuple[int, ...]
    feature_names: np.ndarray | None
    y: np.ndarray

    @property
    def estimators(self) -> list[FrozenEstimator]:
        """The members, frozen."""
        return [member.estimator for member in self.members]

    def describe_data_to(self, ensemble: BaseKerasEnsemble) -> None:
        """Let an ensemble learn what `fit` learns about the data."""
        if is_classifier(ensemble):
            ensemble._validate_classes(self.y)
        ensemble._row_shape, ensemble.n_features_in_ = self.row_shape, self.row_shape[0]
        if self.feature_names is not None:
            ensemble.feature_names_in_ = self.feature_names
        ensemble.engine_, ensemble.engine_reason_ = "none", "no network was trained"

    def become_members_of(self, ensemble: Reweighted) -> None:
        """Let an ensemble of independent runs learn what `fit` learns from its members, without data."""
        self.describe_data_to(ensemble)
        ensemble._check_parameters()
        if isinstance(ensemble.weights, str):
            raise ValueError(
                f"`weights={ensemble.weights!r}` needs rows to select members on. Leave it out, and call "
                f"reweight({ensemble.weights!r}, X=X, y=y) afterwards."
            )
        weights = normalize_weights(ensemble.weights, len(self.members))
        check_combining_parameters(ensemble, weights, len(self.members))
        ensemble.estimators_, ensemble.weights_ = FittedMembers(self.estimators), weights
        learn_combination(ensemble)
        warn_of_equal(ensemble)

    def weights(self, given: Any) -> Any:
        """The parameter `weights`: as given, otherwise the weights that members had in the ensembles they come from."""
        shares = [float(member.share) for member in self.members]
        return shares if given is None and len(set(shares)) > 1 else given


def read_models(models: Sequence[tuple[str, Any]], reading: Reading, *, apart: bool) -> TrainedModels:
    """Turn the models of a user into fitted members, checked one by one and against each other.

    Parameters
    ----------
    models : list of (str, object)
        The name of each in messages, and the model.
    reading : Reading
    apart : bool
        Whether an ensemble is replaced by its members.
    """
    members = [member for label, model in models for member in read_members(model, label, reading, apart=apart)]
    return TrainedModels(members, *common_rows(members), common_target(members, reading))


def labelled(models: Any) -> list[tuple[str, Any]]:
    """Pair each model with the name that messages give it.

    Raises
    ------
    TypeError, ValueError
        Where `models` is not a list, or is empty.
    """
    if isinstance(models, str | os.PathLike | keras.Model | BaseEstimator | Mapping):
        raise TypeError(f"`models` must be a list: got {models!r}. For one model, pass [{models!r}].")
    models = list(models)
    if not models:
        raise ValueError("`models` must not be empty: give Keras models, paths of files, or fitted estimators.")
    return [(f"models[{i}]", model) for i, model in enumerate(models)]
