"""What is to be trained: a member, its own arguments and data, and where its training starts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator

from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.scikeras_building import set_n_columns
from skensemble._members.callback_factories import OwnCallbacks, check_paths, own_callbacks
from skensemble._members.inputs import Columns


@dataclasses.dataclass(frozen=True, eq=False)
class Start:
    """What a member has reached before it is trained further.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,) or None
        All labels, of which the rows may lack some; None for regressors and several labels per row.
    epoch : int, default=0
        How many epochs it was trained for.
    values : list of ndarray, default=None
        Of all variables of its network, in the order of `model.variables`; None for new ones.
    optimizer : list of ndarray, default=None
        Of the variables of its optimizer.
    phase : object, default=None
        Equal where the optimizer continues: its configuration, and which variables are trained.
    """

    classes: np.ndarray | None
    epoch: int = 0
    values: list[np.ndarray] | None = None
    optimizer: list[np.ndarray] | None = None
    phase: Any = None


@dataclasses.dataclass(frozen=True)
class MemberSpec:
    """One member to train.

    Attributes
    ----------
    estimator : estimator
        The user's estimator, cloned before it is trained; members with the same one are copies of each other. A
        FrozenEstimator is already fitted.
    seed : int
        Seed of its starting values, its dropout and the order of its rows.
    sample_indices : ndarray of int of shape (n_rows,), default=None
        Rows of X to train on, some perhaps more than once; None means all.
    validation_indices : ndarray of int of shape (n_validation_rows,), default=None
        Rows of X that are evaluated after each epoch, instead of those of the estimator's own `validation_split`.
    columns : ndarray of int of shape (n_columns,), default=None
        Columns of X to train on, in ascending order; None means all. Only for networks.
    is_weighted : bool, default=True
        Whether it is given `sample_weight`, where there is one.
    metadata : dict, default=None
        Other arguments of its `fit`; arrays of the length of X have an entry for each of its rows.
    encodes_labels : bool, default=False
        Whether it is given the labels 0, 1, ... in place of those in y, as a regressor among classifiers is.
    callbacks : OwnCallbacks, default=None
        None where they have not been made yet, and for members that are not networks.
    name : str, default=None
        Its name in progress lines; None means its number.
    start : Start, default=None
        Where its training continues; None begins a new training.
    keeps_optimizer : bool, default=True
        Whether the values of its optimizer are wanted, to train it further; they are at least as many as the network's
        own, and without this a worker does not send them back.
    table : Columns, default=None
        What the columns of X are, for the function that builds its network.
    """

    estimator: BaseEstimator
    seed: int
    sample_indices: np.ndarray | None = None
    validation_indices: np.ndarray | None = None
    columns: np.ndarray | None = None
    is_weighted: bool = True
    metadata: dict | None = None
    encodes_labels: bool = False
    callbacks: OwnCallbacks | None = None
    name: str | None = None
    start: Start | None = None
    keeps_optimizer: bool = True
    table: Columns | None = None

    def new_estimator(self) -> BaseEstimator:
        """The estimator to train, not fitted."""
        member = clone(self.estimator).set_params(random_state=self.seed)
        if self.columns is not None:
            set_n_columns(member, len(self.columns))
        if self.table is not None and isinstance(member, BaseWrapper):
            member._told_columns = self.table
        if self.start is not None and self.start.classes is not None:
            member.classes_ = self.start.classes
        return member

    @property
    def order_seed(self) -> int:
        """Seed of the order of its rows; a different one where a training continues."""
        if self.start is None or self.start.epoch == 0:
            return self.seed
        return int(np.random.SeedSequence([self.seed, self.start.epoch]).generate_state(1)[0] >> 1)

    def weights(self, sample_weight: np.ndarray | None) -> np.ndarray | None:
        """`sample_weight` where it is given one, otherwise None."""
        return sample_weight if self.is_weighted else None

    @property
    def takes_all_data(self) -> bool:
        """Whether it is trained on all rows and columns, except those that its own arguments hold out."""
        return self.sample_indices is None and self.validation_indices is None and self.columns is None

    @property
    def fit_callbacks(self) -> list[keras.callbacks.Callback]:
        """Its own Keras callbacks for `fit`; none where they were not made."""
        return [] if self.callbacks is None else self.callbacks.fit


def unwrapped(estimator: BaseEstimator) -> Any:
    """The fitted estimator in a frozen one; any other as it is."""
    return estimator.estimator if is_frozen(estimator) else estimator


def with_callbacks(members: Sequence[MemberSpec], *, first: int = 0, fitted: Any = ()) -> list[MemberSpec]:
    """Members with Keras callbacks of their own.

    Parameters
    ----------
    members : list of MemberSpec
    first : int, default=0
        Number of the first of them.
    fitted : FittedMembers, default=()
        Members that were trained before, with the numbers from 0.

    Returns
    -------
    list of MemberSpec

    Raises
    ------
    ValueError
        Where several members would write to one path.
    """
    made = [
        dataclasses.replace(member, callbacks=own_callbacks(member.estimator, number))
        if isinstance(member.estimator, BaseWrapper) and member.callbacks is None
        else member
        for number, member in enumerate(members, first)
    ]
    own = dict(enumerate(fitted.callbacks())) if fitted else {}
    own |= {number: member.callbacks.fit for number, member in enumerate(made, first) if member.callbacks is not None}
    check_paths(own)
    return made


def knowing_columns(members: Sequence[MemberSpec], columns: Columns) -> list[MemberSpec]:
    """Members whose builders are told what the columns of X are."""
    return [dataclasses.replace(member, table=columns) for member in members]


def is_network(estimator: BaseEstimator) -> bool:
    """Whether a member, which may be frozen, is a network and takes X as numbers."""
    return isinstance(unwrapped(estimator), BaseWrapper)


def is_frozen(estimator: BaseEstimator) -> bool:
    """Whether the estimator is already fitted and must not be trained."""
    return isinstance(estimator, FrozenEstimator)
