"""The steps of an epoch, also where members have different numbers of rows."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from skensemble._engine.records import Array, Data


def steps_of(n_rows: int | tuple[int, ...], batch_size: int) -> tuple[list[int], np.ndarray]:
    """The steps of an epoch: (sizes, members that have each).

    Whole batches come first, then the last, partial ones, one step for each size. A member with fewer whole batches
    than others waits for them before its last one.

    Parameters
    ----------
    n_rows : int or tuple of int
        Of all members together, or of each.
    batch_size : int

    Returns
    -------
    sizes : list of int
        Rows of each step.
    has_step : ndarray of bool of shape (n_steps, n_members), or (n_steps, 1) where all are alike
    """
    whole, last = np.divmod(np.atleast_1d(n_rows), batch_size)
    partial = np.unique(last[last > 0])
    has_step = np.concatenate([np.arange(whole.max())[:, None] < whole, partial[:, None] == last])
    return [batch_size] * int(whole.max()) + partial.tolist(), has_step


def order_in_columns(orders: np.ndarray, n_rows: tuple[int, ...], batch_size: int) -> np.ndarray:
    """Row orders (n_epochs, n_members, most rows) of members with `n_rows` each in the columns of `steps_of`."""
    sizes, has_step = steps_of(n_rows, batch_size)
    columns = np.zeros((*orders.shape[:2], sum(sizes)), orders.dtype)
    for k, n in enumerate(n_rows):
        columns[:, k, np.repeat(has_step[:, k], sizes)] = orders[:, k, :n]
    return columns


@dataclasses.dataclass(frozen=True)
class Batches:
    """The rows of the steps of an epoch; of several epochs where an axis for them comes first.

    Attributes
    ----------
    data : Data
        Loaded.
    order : int32 array of shape ([n_epochs,] n_members, n_columns)
        The rows of whole batches, padded to some number of them, then those of the last, partial batches.
    n_whole : int
        Whole batches that are read.
    has_step : None or bool array of shape (n_steps, n_members)
        Which members have which step; None where all have all.
    rates : None or float array of shape ([n_epochs,] n_steps, n_members)
        Learning rates.
    batch_size : int
    partial_sizes : tuple of int
        Rows of the partial batches.
    """

    data: Data
    order: Array
    n_whole: Array
    has_step: Array | None
    rates: Array | None
    batch_size: int
    partial_sizes: tuple[int, ...]

    @property
    def most_whole(self) -> int:
        """Whole batches that there is room for."""
        return (self.order.shape[-1] - sum(self.partial_sizes)) // self.batch_size

    def at(self, epochs: Any) -> "Batches":
        """Those of an epoch, or of some."""
        rates = None if self.rates is None else self.rates[epochs]
        return dataclasses.replace(self, order=self.order[epochs], rates=rates)

    def padded(self, n_epochs: int) -> "Batches":
        """Padded with epochs that are not run."""
        n_more = n_epochs - len(self.order)
        rates = None if self.rates is None else _with_zeros(self.rates, 0, len(self.rates), n_more)
        return dataclasses.replace(self, order=_with_zeros(self.order, 0, len(self.order), n_more), rates=rates)

    def partial_steps(self) -> Iterator[tuple[int, int, int]]:
        """(index, first column, rows) of each step with a partial batch."""
        first = self.most_whole * self.batch_size
        for i, size in enumerate(self.partial_sizes, self.most_whole):
            yield i, first, size
            first += size


def make_batches(
    data: Data, orders: np.ndarray, batch_size: int, n_rows: tuple[int, ...] | None, rates: np.ndarray | None
) -> Batches:
    """The steps of epochs in which members visit rows in these orders, (n_epochs, n_members, n_rows)."""
    sizes, has_step = steps_of(orders.shape[2] if n_rows is None else n_rows, batch_size)
    columns = np.asarray(orders if n_rows is None else order_in_columns(orders, n_rows, batch_size), "int32")
    n_whole = sizes.count(batch_size)
    n_more = bucket(n_whole) - n_whole
    return Batches(
        data,
        _with_zeros(columns, 2, n_whole * batch_size, n_more * batch_size),
        np.int32(n_whole),
        _with_zeros(np.broadcast_to(has_step, (len(has_step), orders.shape[1])), 0, n_whole, n_more),
        None if rates is None else _with_zeros(rates, 1, n_whole, n_more),
        batch_size,
        tuple(sizes[n_whole:]),
    )


def _with_zeros(array: np.ndarray, axis: int, position: int, n: int) -> np.ndarray:
    """With `n` zeros before `position` along an axis."""
    before, after = np.split(array, [position], axis)
    shape = [n if i == axis else length for i, length in enumerate(array.shape)]
    return np.concatenate([before, np.zeros(shape, array.dtype), after], axis)


def bucket(n: int) -> int:
    """A number from `n` to about an eighth more: what is padded to it is compiled for only a few numbers."""
    size = 1 << max(0, n.bit_length() - 4)
    return -(-n // size) * size
