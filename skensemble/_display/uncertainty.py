"""What members cannot know and where they disagree, for right and for wrong predictions."""

import dataclasses
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier

from skensemble._display.axes import COLORS, given_or_new
from skensemble._display.fitted import check_ensemble
from skensemble._numeric.uncertainty import Uncertainty
from skensemble._typing import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(eq=False, repr=False)
class UncertaintyDisplay:
    """A point for each row: aleatoric uncertainty to the right, epistemic upwards, with colors for right and wrong.

    Build it with `from_estimator`.

    Parameters
    ----------
    uncertainty : Uncertainty
        As returned by `predict_uncertainty`, one number per row.
    is_right : array-like of bool of shape (n_samples,), default=None
        Which predictions were right; None draws all points alike.
    right_name : str, default="right"
        Name in the legend of those that were right.
    wrong_name : str, default="wrong"
        Name in the legend of the others.
    unit : str, default="nats"
        Unit of the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes it was drawn on.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    right_, wrong_ : matplotlib.collections.PathCollection
        The points; without `is_right` all are in the first.

    See Also
    --------
    DiversityDisplay : How different the members are, pair by pair.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, UncertaintyDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=3), n_estimators=2, random_state=0).fit(X, y)
    >>> UncertaintyDisplay.from_estimator(ensemble, X, y).ax_.get_xlabel()
    'aleatoric uncertainty (nats)'
    """

    uncertainty: Uncertainty
    is_right: ArrayLike | None = None
    right_name: str = "right"
    wrong_name: str = "wrong"
    unit: str = "nats"

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the points.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        UncertaintyDisplay
            Itself, drawn.
        """
        ax = given_or_new(ax)
        _, aleatoric, epistemic = self.uncertainty
        is_right = np.ones(len(aleatoric), bool) if self.is_right is None else np.asarray(self.is_right, bool)
        self.right_ = ax.scatter(
            aleatoric[is_right], epistemic[is_right], s=14, color=COLORS[0], alpha=0.6, label=self.right_name
        )
        # Drawn on top, since there are fewer of them.
        self.wrong_ = ax.scatter(
            aleatoric[~is_right], epistemic[~is_right], s=20, color=COLORS[4], marker="x", label=self.wrong_name
        )
        ax.set(xlabel=f"aleatoric uncertainty ({self.unit})", ylabel=f"epistemic uncertainty ({self.unit})")
        if self.is_right is not None:
            ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, ensemble: BaseEstimator, X: MatrixLike, y: ArrayLike, *, ax: "Axes | None" = None) -> Self:
        """Draw the uncertainty of a fitted ensemble for X, and whether its predictions were right.

        Parameters
        ----------
        ensemble : fitted ensemble
            An ensemble whose `predict_uncertainty` knows both parts: a classifier with one label per row, or a
            regressor of one target whose members predict a distribution.
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,)
            True labels or values. A value counts as right if it is in the interval of 90 %.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        UncertaintyDisplay

        Raises
        ------
        NotFittedError
            Where the ensemble is not fitted.
        TypeError
            Where it is not an ensemble of this package, or is a stacking ensemble, which does not know its uncertainty.
        ValueError
            Where the noise of y is not known, or rows have several labels or targets.
        """
        check_ensemble(ensemble)
        if not hasattr(ensemble, "predict_uncertainty"):
            raise TypeError(f"`ensemble` must have `predict_uncertainty`: got {type(ensemble).__name__}.")
        if np.ndim(y) != 1:
            raise ValueError(f"`y` must have one label or value a row: got an array of shape {np.shape(y)}.")
        y, uncertainty = np.asarray(y), ensemble.predict_uncertainty(X)
        if is_classifier(ensemble):
            return cls(uncertainty, ensemble.predict(X) == y).plot(ax=ax)
        lower, upper = ensemble.predict_interval(X, coverage=0.9)
        is_right = (lower <= y) & (y <= upper)
        return cls(uncertainty, is_right, "in the interval of 90 %", "outside", "units of y, squared").plot(ax=ax)
