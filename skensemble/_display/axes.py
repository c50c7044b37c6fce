"""What plots share: new axes, names of members along an axis, colors, checks."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colors that color-blind readers can tell apart, on white and on black: Okabe and Ito, "Color Universal Design", 2008.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")

# Names that are longer than this in total are drawn at an angle; more names than this are drawn vertically.
_MOST_LETTERS, _MOST_SLANTED = 50, 12
# As a share of the height of what is drawn.
_HEADROOM = 0.18


def given_or_new(ax: "Axes | None") -> "Axes":
    """The given axes, or those of a new figure."""
    import matplotlib.pyplot as plt

    return plt.subplots()[1] if ax is None else ax


def count_from_one(ax: "Axes") -> None:
    """Whole numbers on the horizontal axis, as many as there is room for."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def name_positions(ax: "Axes", names: Sequence[str] | None, n_positions: int) -> None:
    """Put names at 1, 2, ... on the horizontal axis, or numbers where there are no names."""
    if names is None:
        count_from_one(ax)
        return
    ax.set_xticks(range(1, n_positions + 1), names)
    if len(names) > _MOST_SLANTED:
        ax.tick_params(axis="x", labelrotation=90, labelsize="small")
    elif sum(map(len, names)) > _MOST_LETTERS:
        for label in ax.get_xticklabels():
            label.set(rotation=30, ha="right", rotation_mode="anchor")


def members_label(order: str) -> str:
    """Label of an axis of members, which begins with the "first" or the "newest"."""
    return "members, newest first" if order == "newest" else "members"


def check_member_names(names: Sequence[str] | None, n_members: int, drawn: str) -> None:
    """Raise where there are names, but not one for each member; `drawn` says in the message what has to have them."""
    if names is not None and len(names) != n_members:
        raise ValueError(
            f"`member_names` must have a name for each member: got {len(names)} names for {n_members} {drawn}."
        )


def make_headroom(ax: "Axes", values: ArrayLike) -> None:
    """Make room for a legend above the finite values; the limits of the axes still follow the data."""
    finite = np.asarray(values)[np.isfinite(values)]
    if len(finite):
        ax.update_datalim([(ax.dataLim.x0, finite.max() + _HEADROOM * np.ptp(finite))])
        ax.autoscale_view()


def as_numbers(values: ArrayLike, name: str, *, finite: bool = True) -> np.ndarray:
    """The values as an array of one dimension; raises, with the `name` of the parameter, where they are not one."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"{name} must be one or more numbers in a row: got an array of shape {array.shape}.")
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite: got {array[~np.isfinite(array)][0]}. Leave it out.")
    return array
