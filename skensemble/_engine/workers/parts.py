"""The choice of how many parts the members of a fit are split into for workers, and of which member goes where.

Pure functions of numbers that follow from the networks, the parameters and the data, as in `engine_choice.py`, never
from the number of cores, from measured time or from which members are already finished. `benchmarks/bench_workers.py`
measures the result.

A worker is a process that starts, imports, traces and compiles before it trains; whether it has its own machine or
shares the cores of this one is not known. A part of members is worth a worker if that start is short compared with its
training. A fused program uses all cores, so two workers on one machine share the same work: there a part must be so
long that the start does not matter. Keras' fit leaves cores idle, so two of them at the same time are a gain.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

#: Seconds that a worker takes before it trains: its start, its imports, a program traced and compiled.
WORKER_SECONDS = 8.0
#: A part is worth a worker if its training takes this many times as long: for members that use all cores, and for
#: others.
TIMES_FILLING, TIMES_IDLE = 10, 2

# Approximate seconds on one machine with two cores; only their order of magnitude matters.
#: For a multiplication in a forward pass, including those of the backward pass that it leads to.
PRODUCT_SECONDS = 1e-10
#: For the update of one value of a variable in a step.
UPDATE_SECONDS = 2e-8
#: For Keras' own fit, in addition to its arithmetic: tracing, an epoch, a step.
OWN_FIT_SECONDS, OWN_EPOCH_SECONDS, OWN_STEP_SECONDS = 1.0, 0.05, 1e-3
#: For a step of a network that is compiled with `run_eagerly=True`.
EAGER_STEP_SECONDS = 2e-2
#: A step with this many multiplications uses all cores by itself.
FILLING_PRODUCTS = 10**7
#: An estimator that is not a network counts as this many multiplications for each number in its rows.
OTHER_PRODUCTS = 1000


@dataclasses.dataclass(frozen=True)
class Work:
    """What training the members of one estimator takes.

    Attributes
    ----------
    numbers : tuple of int
        Of the members in the ensemble.
    seconds : float
        Of each, about.
    is_fused : bool
        Whether one program trains them, which parts would split.
    fills_cores : bool
        Whether their training uses all cores of a machine.
    """

    numbers: tuple[int, ...]
    seconds: float
    is_fused: bool
    fills_cores: bool

    @property
    def workers_worth(self) -> float:
        """How many workers their training is worth."""
        times = TIMES_FILLING if self.fills_cores else TIMES_IDLE
        return len(self.numbers) * self.seconds / (times * WORKER_SECONDS)


def network_work(
    numbers: Sequence[int],
    *,
    n_values: int,
    row_products: int,
    n_rows: int,
    epochs: int,
    batch_size: int,
    trained_by: Literal["program", "keras", "keras eagerly"],
) -> Work:
    """The training of networks of one estimator.

    Parameters
    ----------
    numbers : list of int
        Of the members.
    n_values : int
        Trainable values of a member.
    row_products : int
        Multiplications of its forward pass for one row.
    n_rows, epochs, batch_size : int
        Of the training of a member.
    trained_by : {"program", "keras", "keras eagerly"}
        One program trains all of them, or Keras fits each separately, eagerly where it runs each operation of a step
        from Python.
    """
    n_steps = epochs * -(-n_rows // max(1, batch_size))
    seconds = PRODUCT_SECONDS * row_products * n_rows * epochs + UPDATE_SECONDS * n_values * n_steps
    is_fused = trained_by == "program"
    if not is_fused:
        seconds += OWN_FIT_SECONDS + OWN_EPOCH_SECONDS * epochs
        seconds += (EAGER_STEP_SECONDS if trained_by == "keras eagerly" else OWN_STEP_SECONDS) * n_steps
    fills_cores = is_fused or row_products * min(batch_size, n_rows) >= FILLING_PRODUCTS
    return Work(tuple(numbers), seconds, is_fused, fills_cores)


def other_work(number: int, *, n_numbers: int, has_network: bool) -> Work:
    """The fit of a member that is no network.

    Parameters
    ----------
    number : int
        Of the member.
    n_numbers : int
        Numbers in the rows that it is trained on.
    has_network : bool
        Whether it trains networks by its own fit, as a pipeline that ends in one does.
    """
    seconds = PRODUCT_SECONDS * OTHER_PRODUCTS * n_numbers + (OWN_FIT_SECONDS if has_network else 0.0)
    return Work((number,), seconds, is_fused=False, fills_cores=False)


def split(works: Sequence[Work], n_workers: int) -> list[list[int]]:
    """Numbers of the members in each part, in order; one part for each worker that pays, at most `n_workers`.

    Members of one program stay together where splitting them does not pay.

    Parameters
    ----------
    works : list of Work
    n_workers : int
    """
    n_parts = max(1, min(n_workers, int(sum(work.workers_worth for work in works))))
    pieces = sorted(_pieces(works, n_parts), key=lambda piece: -piece.seconds * len(piece.numbers))
    n_parts = min(n_parts, len(pieces))
    parts: list[list[int]] = [[] for _ in range(n_parts)]
    seconds = [0.0] * n_parts
    for piece in pieces:  # the longest first, each to the part that has least to do
        least = min(range(n_parts), key=seconds.__getitem__)
        parts[least] += piece.numbers
        seconds[least] += piece.seconds * len(piece.numbers)
    return sorted(sorted(part) for part in parts)


def _pieces(works: Sequence[Work], n_parts: int) -> list[Work]:
    """The members that go into the same part."""
    pieces = []
    for work in works:
        n_members = len(work.numbers)
        n_pieces = n_members
        if work.is_fused:
            n_pieces = max(1, min(n_members, n_parts, int(work.workers_worth)))
        ends = [n_members * k // n_pieces for k in range(n_pieces + 1)]
        pieces += [
            dataclasses.replace(work, numbers=work.numbers[first:last]) for first, last in itertools.pairwise(ends)
        ]
    return pieces
