"""Learning rates of trainings, and when snapshots or averaged checkpoints were taken."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skensemble._display.axes import as_numbers, count_from_one, given_or_new, make_headroom
from skensemble._display.fitted import Training, is_run, kept_epochs, trainings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(eq=False, repr=False)
class LearningRateDisplay:
    """Learning rate over the epochs of a training, with marks at snapshots or averaged checkpoints.

    Build it with `from_estimator`, or from learning rates.

    Parameters
    ----------
    learning_rates : list of array-like of shape (n_steps,)
        Learning rate of each step, or of each epoch; one array for each training.
    steps_per_epoch : int, default=1
        How many of the values make up an epoch.
    marked_epochs : array-like of int, default=None
        Epochs, counted from 1, whose ends are marked on the line of the first training; None means no marks.
    name : str, default=None
        Name of the training in the legend; None means "learning rate", or "each member" for several trainings.
    mark_name : str, default="snapshot"
        Name of the marks in the legend.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes it was drawn on.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    lines_ : list of matplotlib.lines.Line2D
        One line per training: the rate is that of the step or epoch until the next one begins. The last value appears
        twice, at the beginning and at the end of the last step.
    marks_ : matplotlib.collections.PathCollection or None
        The points at the ends of the marked epochs, at the height of the last step before.

    See Also
    --------
    TrainingHistoryDisplay : Loss and metrics, epoch by epoch.
    SnapshotEnsembleClassifier : Trains with a cyclic learning rate.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier, LearningRateDisplay, SnapshotEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = SnapshotEnsembleClassifier(KerasClassifier(epochs=6), n_estimators=3, random_state=0).fit(X, y)
    >>> display = LearningRateDisplay.from_estimator(ensemble)
    >>> display.marked_epochs
    [2, 4, 6]
    """

    learning_rates: Sequence[ArrayLike]
    steps_per_epoch: int = 1
    marked_epochs: Sequence[int] | None = None
    name: str | None = None
    mark_name: str = "snapshot"

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the learning rates.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure. Several displays on the same axes have different colors.

        Returns
        -------
        LearningRateDisplay
            Itself, drawn.

        Raises
        ------
        ValueError
            Where `learning_rates` is not a list of arrays, or a marked epoch is outside them.
        """
        rates = self._checked_rates()
        ends = self._checked_ends(len(rates[0]))
        ax = given_or_new(ax)
        several = len(rates) > 1
        label = self.name or ("each member" if several else "learning rate")
        style = {"linewidth": 0.8, "alpha": 0.5} if several else {"linewidth": 1.3}
        self.lines_, color = [], None
        for values in rates:
            epochs = np.arange(len(values) + 1) / self.steps_per_epoch
            held = np.append(values, values[-1])
            (line,) = ax.plot(epochs, held, drawstyle="steps-post", color=color, label=label, **style)
            # One entry in the legend for all, and one color.
            label, color = None, line.get_color()
            self.lines_.append(line)
        self.marks_ = None
        if ends is not None:
            heights = rates[0][ends * self.steps_per_epoch - 1]
            # Displays on the same axes share an entry in the legend.
            known = ax.get_legend_handles_labels()[1]
            label = None if self.mark_name in known else self.mark_name
            self.marks_ = ax.scatter(ends, heights, color=color, s=22, zorder=3, label=label)
        ax.set(xlabel="epoch", ylabel="learning rate")
        count_from_one(ax)
        make_headroom(ax, np.concatenate(rates))
        ax.legend(loc="upper center", ncols=3)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator, *, name: str | None = None, ax: "Axes | None" = None) -> Self:
        """Draw the learning rates that a fitted ensemble, or one fitted network, was trained with.

        For a snapshot ensemble: the rate of each step up to the newest snapshot, and a mark at each snapshot. For all
        others: the rate of each epoch, as Keras' `LearningRateScheduler` and `ReduceLROnPlateau` record it in
        `history_`; for a Polyak average, with marks at the checkpoints that are averaged.

        Parameters
        ----------
        estimator : fitted ensemble or network
            An estimator of this package, or a network of scikeras.
        name : str, default=None
            Name of the training in the legend; None means "learning rate", or "each member" for several trainings.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        LearningRateDisplay

        Raises
        ------
        NotFittedError
            Where the estimator is not fitted.
        ValueError
            Where no learning rate was recorded.
        """
        check_is_fitted(estimator)
        marks = sorted(kept_epochs(estimator)) if is_run(estimator) else None
        if hasattr(estimator, "learning_rates_"):
            n_steps = estimator._steps_per_epoch
            display = cls([estimator.learning_rates_[: marks[-1] * n_steps]], n_steps, marks, name)
        else:
            display = cls(_recorded(trainings_of(estimator)), 1, marks, name, "averaged checkpoint")
        return display.plot(ax=ax)

    def _checked_rates(self) -> list[np.ndarray]:
        if not len(self.learning_rates) or any(np.ndim(values) != 1 for values in self.learning_rates):
            raise ValueError(
                "`learning_rates` must be a list with an array of numbers for each training: got "
                f"{self.learning_rates!r}. Put the rates of one training into a list."
            )
        return [as_numbers(values, "`learning_rates`", finite=False) for values in self.learning_rates]

    def _checked_ends(self, n_steps: int) -> np.ndarray | None:
        if self.marked_epochs is None:
            return None
        ends = np.asarray(self.marked_epochs)
        n_epochs = n_steps // self.steps_per_epoch
        if ends.dtype.kind not in "iu" or not all(1 <= end <= n_epochs for end in ends):
            raise ValueError(
                f"`marked_epochs` must be whole numbers from 1 to {n_epochs}, the epochs of `learning_rates`: got "
                f"{list(self.marked_epochs)}."
            )
        return ends


def _recorded(trainings: list[Training]) -> list[np.ndarray]:
    """Learning rates of epochs of the networks that recorded them."""
    rates = [training.history["learning_rate"] for training in trainings if "learning_rate" in training.history]
    if not rates:
        raise ValueError(
            "A learning rate was not recorded: `history_` of the networks has it where a callback changes it, such as "
            "keras.callbacks.LearningRateScheduler or ReduceLROnPlateau. A snapshot ensemble always has it. Train with "
            "one of them, or give LearningRateDisplay the rates."
        )
    return rates
