"""How different the members of an ensemble are."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skensemble._display.axes import given_or_new, members_label
from skensemble._display.fitted import member_names, order_of
from skensemble._numeric.diversity import Diversity
from skensemble._typing import MatrixLike
from skensemble.metrics import diversity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = {"disagreement": "disagreement", "error_correlation": "correlation of errors"}
# With up to this many squares in a row, each has its value written on it.
_MOST_VALUES = 8


@dataclasses.dataclass(eq=False, repr=False)
class DiversityDisplay:
    """A square for each pair of members, and what the ensemble gains by their diversity.

    Build it with `from_estimator`.

    Parameters
    ----------
    diversity : Diversity
        As returned by `skensemble.metrics.diversity`.
    kind : {"disagreement", "error_correlation"}, default="disagreement"
        What the squares show.
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
    image_ : matplotlib.image.AxesImage
        The squares. Those of each member with itself are empty.

    See Also
    --------
    UncertaintyDisplay : Where members are unsure, and where they disagree.
    MembersDisplay : Score of each member.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import DiversityDisplay, KerasAveragingClassifier, KerasClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=3), n_estimators=3, random_state=0).fit(X, y)
    >>> DiversityDisplay.from_estimator(ensemble, X, y).diversity.disagreement.shape
    (3, 3)
    """

    diversity: Diversity
    kind: str = "disagreement"
    member_names: Sequence[str] | None = None
    order: str = "first"

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the squares.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        DiversityDisplay
            Itself, drawn.

        Raises
        ------
        ValueError
            Where `kind` is unknown.
        """
        if self.kind not in _LABELS:
            raise ValueError(f"`kind` must be one of {', '.join(map(repr, _LABELS))}: got {self.kind!r}.")
        values = np.array(getattr(self.diversity, self.kind), dtype=np.float64)
        np.fill_diagonal(values, np.nan)
        ax = given_or_new(ax)
        low, high = (-1, 1) if self.kind == "error_correlation" else (0, None)
        self.image_ = ax.imshow(values, cmap="viridis", vmin=low, vmax=high)
        ax.figure.colorbar(self.image_, ax=ax, label=_LABELS[self.kind])
        if len(values) <= _MOST_VALUES:
            _write_values(ax, values, self.image_)
        names = range(1, len(values) + 1) if self.member_names is None else self.member_names
        ax.set_xticks(range(len(values)), names)
        ax.set_yticks(range(len(values)), names)
        _, _, member_loss, ensemble_loss, ambiguity = self.diversity
        title = f"loss of a member {member_loss:.3g} - gain {ambiguity:.3g} = {ensemble_loss:.3g}"
        ax.set(xlabel=members_label(self.order), ylabel=members_label(self.order), title=title)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        ensemble: BaseEstimator,
        X: MatrixLike,
        y: ArrayLike,
        *,
        kind: str = "disagreement",
        ax: "Axes | None" = None,
    ) -> Self:
        """Compare the members of a fitted ensemble on X and y and draw it.

        Parameters
        ----------
        ensemble : fitted averaging, voting or snapshot ensemble or Polyak average
            As `skensemble.metrics.diversity` takes it.
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`; preferably rows that no member was trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels or values.
        kind : {"disagreement", "error_correlation"}, default="disagreement"
            What the squares show.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        DiversityDisplay

        Raises
        ------
        TypeError
            Where the ensemble takes no mean of members.
        ValueError
            Where `kind` is unknown.
        """
        return cls(diversity(ensemble, X, y), kind, member_names(ensemble), order_of(ensemble)).plot(ax=ax)


def _write_values(ax, values, image):
    """Each number on its square, in a color that can be read there."""
    for i, j in np.argwhere(~np.isnan(values)):
        is_bright = image.norm(values[i, j]) > 0.5
        ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color="black" if is_bright else "white")
