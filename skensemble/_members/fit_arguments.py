"""Arguments of `Model.fit` that a member was given, and what follows from them: batches, validation rows and epochs."""

import dataclasses
import math
import numbers
from collections.abc import Collection
from typing import Any

import numpy as np

from skensemble._compat.scikeras import BaseWrapper, fit_arguments

DEFAULT_BATCH_SIZE = 32  # of `Model.fit`


@dataclasses.dataclass(frozen=True)
class FitArguments:
    """Arguments of `Model.fit`, except `callbacks` and `verbose`; see Keras.

    Attributes
    ----------
    batch_size, validation_batch_size : int or None
        -1 means all rows.
    others : dict
        Arguments without their own field, except those that are None.
    """

    epochs: int
    batch_size: int | None = None
    initial_epoch: int | None = None
    shuffle: Any = True
    validation_batch_size: int | None = None
    validation_data: Any = None
    validation_freq: int | Collection[int] = 1
    validation_split: float | None = None
    others: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, estimator: BaseWrapper, **given: Any) -> "FitArguments":
        """Arguments that a scikeras estimator passes to `Model.fit`; those that are `given` replace its own.

        Raises
        ------
        ValueError
            Where Keras would take a number that means nothing for one that does.
        """
        arguments = fit_arguments(estimator) | given
        _check_numbers(arguments)
        fields = {field.name for field in dataclasses.fields(cls)} - {"others"}
        others = {name: value for name, value in arguments.items() if name not in {*fields, "verbose"}}
        return cls(
            **{name: value for name, value in arguments.items() if name in fields},
            others={name: value for name, value in others.items() if value is not None},
        )

    @property
    def key(self) -> str:
        """Equal for arguments with which members can be trained together, apart from the data they are validated on."""
        return repr(dataclasses.replace(self, validation_data=None, others={}))

    def train_batch_size(self, n_rows: int) -> int:
        """Rows in a training batch, when training on `n_rows` rows."""
        return _given_or(self.batch_size, n_rows, DEFAULT_BATCH_SIZE)

    def evaluation_batch_size(self, n_rows: int) -> int:
        """Rows in a validation batch, when training on `n_rows` rows."""
        return _given_or(self.validation_batch_size, n_rows, self.train_batch_size(n_rows))

    def evaluates(self, epoch: int) -> bool:
        """Whether Keras validates at the end of an epoch, counted from 0."""
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def n_evaluated(self, n_epochs: int) -> int:
        """How often Keras validates in the first epochs."""
        return sum(map(self.evaluates, range(n_epochs)))

    def split(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows to train on and to validate on (None without), as Keras splits arrays: the last ones are held out."""
        fraction = self.validation_split or 0
        if not fraction or self.validation_data is not None:
            return indices, None
        split_at = math.floor(len(indices) * (1 - fraction))
        if split_at in (0, len(indices)):
            raise ValueError(
                f"`validation_split` must leave rows to train and to validate on: got {fraction} for {len(indices)} "
                "rows."
            )
        return indices[:split_at], indices[split_at:]


def _check_numbers(arguments: dict[str, Any]) -> None:
    epochs = arguments["epochs"]
    if isinstance(epochs, numbers.Real) and epochs < 0:
        raise ValueError(f"`epochs` must be a whole number from 0: got {epochs}.")
    for name in ("batch_size", "validation_batch_size"):
        size = arguments.get(name)
        if isinstance(size, numbers.Real) and size < 1 and size != -1:
            raise ValueError(f"`{name}` must be a whole number from 1, -1 for all rows, or None: got {size}.")


def _given_or(batch_size: int | None, n_rows: int, default: int) -> int:
    if batch_size is None:
        return default
    return n_rows if batch_size == -1 else batch_size
