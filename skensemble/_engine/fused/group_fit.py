"""What a group of members is trained on, known before the training: data, sample indices, batches and epochs."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from skensemble._compat.scikeras import BaseWrapper, encode_features, encode_target
from skensemble._engine.all_backends.hyperparameters import hyperparameters_of
from skensemble._engine.backend import load_data
from skensemble._engine.plan import ReadyMember
from skensemble._engine.records import Data, ValidationData
from skensemble._members.encoders import encode_validation_data
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inputs import TrainingData
from skensemble._members.sample_weights import SampleIndices, row_weights
from skensemble._numeric.sparse_rows import dense_or_rows


@dataclasses.dataclass(frozen=True, eq=False)
class GroupFit:
    """What the members of a group are trained on.

    Attributes
    ----------
    prototypes : list of scikeras estimator
        One for each member; they differ only in what is not part of the program.
    seeds : list of int
    arguments : FitArguments
        Common to all members.
    data : Data
        Encoded.
    indices : ndarray of int32 of shape (n_members, n_rows)
        Rows of each member, padded to the longest member; padding is never read.
    n_rows : tuple of int or None
        How many rows each member has, where they differ.
    validation : ValidationData or None
    """

    prototypes: list[BaseWrapper]
    seeds: list[int]
    arguments: FitArguments
    data: Data
    indices: np.ndarray
    n_rows: tuple[int, ...] | None
    validation: ValidationData | None

    @property
    def prototype(self) -> BaseWrapper:
        """That of the first member."""
        return self.prototypes[0]

    @property
    def hyperparameters(self) -> np.ndarray:
        """Hyperparameters of each member that can be inputs of a program, (n_members, n_hyperparameters, 2)."""
        of_prototype = {id(one): hyperparameters_of(one.model_) for one in self.prototypes}
        return np.stack([of_prototype[id(one)] for one in self.prototypes])

    @property
    def epochs(self) -> int:
        """Epochs of the whole training."""
        return self.arguments.epochs

    @property
    def batch_size(self) -> int:
        """Rows in a batch."""
        return self.arguments.train_batch_size(self.indices.shape[1])

    @property
    def n_steps(self) -> int:
        """Steps in an epoch."""
        return -(-self.indices.shape[1] // self.batch_size)

    def evaluates(self, epoch: int) -> bool:
        """Whether members are evaluated at the end of an epoch."""
        return self.validation is not None and self.arguments.evaluates(epoch)

    def orders(self, generators: Sequence[np.random.Generator], n_epochs: int) -> np.ndarray:
        """Rows in the order in which each member visits them in the next epochs, (n_epochs, n_members, n_rows).

        `generators` holds one for each member, which draws the order of its rows.
        """
        order = np.broadcast_to(self.indices, (n_epochs, *self.indices.shape))
        if not self.arguments.shuffle:
            return order
        shuffled = np.empty_like(order) if self.n_rows is None else order.copy()
        for k, generator in enumerate(generators):
            own = slice(None if self.n_rows is None else self.n_rows[k])
            generator.permuted(order[:, k, own], axis=1, out=shuffled[:, k, own])
        return shuffled


def group_fit(members: Sequence[ReadyMember], data: TrainingData) -> GroupFit:
    """`GroupFit` of the members of a group."""
    prototype, arguments = members[0].prototype, members[0].arguments
    training, given = [member.indices.training for member in members], arguments.validation_data
    n_rows = tuple(map(len, training))
    weights = _weights(members, data)
    encoded = load_data(encode_features(prototype, data.X.floats), encode_target(prototype, data.y), weights)
    return GroupFit(
        prototypes=[member.prototype for member in members],
        seeds=[member.spec.seed for member in members],
        arguments=arguments,
        data=encoded,
        indices=_side_by_side(training),
        n_rows=None if len(set(n_rows)) == 1 else n_rows,
        validation=validation_of(
            [member.indices for member in members],
            encoded,
            None if given is None else encode_validation_data(prototype, given),
            arguments,
        ),
    )


def _side_by_side(indices: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of all members, (n_members, most rows), padded to the longest member."""
    if all(own is indices[0] for own in indices):
        return np.broadcast_to(indices[0], (len(indices), len(indices[0])))
    together = np.zeros((len(indices), max(map(len, indices))), indices[0].dtype)
    for line, own in zip(together, indices, strict=True):
        line[: len(own)] = own
    return together


def _weights(members: Sequence[ReadyMember], data: TrainingData) -> np.ndarray | None:
    """Weights of the rows, (n_samples,) where all members have the same, otherwise (n_members, n_samples), or None."""
    first = members[0]
    sample_weight = first.spec.weights(data.sample_weight)
    if sample_weight is None and all(getattr(one.prototype, "class_weight", None) is None for one in members):
        return None
    are_alike = all(one.prototype is first.prototype and one.indices is first.indices for one in members)
    if are_alike and first.spec.validation_indices is None:
        return row_weights(first.spec, first.prototype, first.indices, data.y, sample_weight)
    weights = [row_weights(one.spec, one.prototype, one.indices, data.y, sample_weight) for one in members]
    return np.stack([np.ones(len(data.y)) if w is None else w for w in weights])


def validation_of(
    indices: Sequence[SampleIndices], data: Data, given: Sequence[Any] | None, arguments: FitArguments
) -> ValidationData | None:
    """What is evaluated after an epoch: rows of each member, or data that the user gave.

    Parameters
    ----------
    indices : list of SampleIndices
        Of each member.
    data : Data
        Loaded.
    given : tuple of array, or None
        The user's data, encoded.
    arguments : FitArguments
    """
    batch_size = arguments.evaluation_batch_size(max(len(own.training) for own in indices))
    validation = [own.validation for own in indices if own.validation is not None]
    if validation:
        return ValidationData(data, np.stack(validation), batch_size)
    if given is None:
        return None
    X, *others = given
    held_out = load_data(dense_or_rows(X), *others)
    return ValidationData(held_out, np.stack([np.arange(len(held_out.y))] * len(indices)), batch_size)
