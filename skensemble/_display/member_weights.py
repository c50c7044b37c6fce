"""How much each member counts."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skensemble._display.axes import (
    as_numbers,
    check_member_names,
    given_or_new,
    make_headroom,
    members_label,
    name_positions,
)
from skensemble._display.fitted import check_ensemble, member_names, order_of
from skensemble._heads import Head
from skensemble._members.spec import unwrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Up to this many bars have their value written on them, and their number below.
_MOST_VALUES = 12
# Bars are at most as wide as if there were this many.
_FEWEST = 3


@dataclasses.dataclass(eq=False, repr=False)
class MemberWeightsDisplay:
    """A bar for each member, as high as its weight, and the level of equal weights.

    Build it with `from_estimator`, or from weights.

    Parameters
    ----------
    weights : array-like of shape (n_members,)
        How much each member counts.
    member_names : list of str, default=None
        Names of the members; None means numbers from 1.
    order : {"first", "newest"}, default="first"
        Which members come first; the newest where the members come from one training.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes it was drawn on.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    bars_ : matplotlib.container.BarContainer
        One bar per member.
    equal_ : matplotlib.lines.Line2D
        The level of equal weights.

    See Also
    --------
    MembersDisplay : Score of each member.
    KerasHeadClassifier : Learns weights in a stacking ensemble.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, MemberWeightsDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> member = KerasClassifier(epochs=3)
    >>> ensemble = KerasAveragingClassifier(member, n_estimators=2, weights=[3, 1], random_state=0).fit(X, y)
    >>> display = MemberWeightsDisplay.from_estimator(ensemble)
    >>> [float(bar.get_height()) for bar in display.bars_]
    [0.75, 0.25]
    """

    weights: ArrayLike
    member_names: Sequence[str] | None = None
    order: str = "first"

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        MemberWeightsDisplay
            Itself, drawn.

        Raises
        ------
        ValueError
            Where `weights` is not a one-dimensional array of numbers, or does not have a name for each.
        """
        from matplotlib.patheffects import withStroke

        weights = as_numbers(self.weights, "`weights`")
        check_member_names(self.member_names, len(weights), "weights")
        ax = given_or_new(ax)
        self.bars_ = ax.bar(np.arange(1, len(weights) + 1), weights, color="tab:blue")
        self.equal_ = ax.axhline(weights.mean(), color="tab:orange", linestyle="--", label="equal weights")
        if len(weights) <= _MOST_VALUES:
            halo = [withStroke(linewidth=3, foreground=ax.get_facecolor())]  # where the line of equal weights crosses
            ax.bar_label(self.bars_, fmt="%.2f", padding=2, path_effects=halo)
        room = 0.6 + max(0, _FEWEST - len(weights)) / 2
        ax.set_xlim(1 - room, len(weights) + room)
        make_headroom(ax, [0, *weights])
        numbers = [str(number) for number in range(1, len(weights) + 1)] if len(weights) <= _MOST_VALUES else None
        name_positions(ax, numbers if self.member_names is None else self.member_names, len(weights))
        ax.set(xlabel=members_label(self.order), ylabel="weight")
        ax.legend(loc="upper right")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, ensemble: BaseEstimator, *, ax: "Axes | None" = None) -> Self:
        """Draw the weights of a fitted ensemble.

        For averaging, voting and snapshot ensembles and Polyak averages: their `weights_`, as given or learned. For a
        stacking ensemble: the weights that its "weighted_average" learned.

        Parameters
        ----------
        ensemble : fitted ensemble
            An ensemble of this package.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        MemberWeightsDisplay

        Raises
        ------
        NotFittedError
            Where the ensemble is not fitted.
        TypeError
            Where it is not an ensemble of this package.
        ValueError
            Where it is a stacking ensemble whose final estimator has no weight for each member.
        """
        check_ensemble(ensemble)
        return cls(_weights_of(ensemble), member_names(ensemble), order_of(ensemble)).plot(ax=ax)


def _weights_of(ensemble):
    """Weights that sum to 1."""
    if not hasattr(ensemble, "final_estimator_"):
        return ensemble.weights_
    final = unwrapped(ensemble.final_estimator_)
    if isinstance(final, Head) and final.merge == "weighted_average":
        return final.weights_
    raise ValueError(
        "A stacking ensemble has a weight for each member only with final_estimator='weighted_average': got the final "
        f"estimator {type(final).__name__}"
        + (f" with merge={final.merge!r}" if isinstance(final, Head) else "")
        + ". Fit with that one, or use a voting ensemble with weights='greedy'."
    )
