"""Losses and metrics of members, epoch by epoch."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from sklearn.base import BaseEstimator

from skensemble._compat.scikeras import full_metric_name
from skensemble._display.axes import COLORS, as_numbers, check_member_names, count_from_one, given_or_new
from skensemble._display.fitted import trainings_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Up to this many members with names each have a color and an entry in the legend.
_MOST_COLORS = len(COLORS)


@dataclasses.dataclass(eq=False, repr=False)
class TrainingHistoryDisplay:
    """Loss or metric of each member, epoch by epoch: solid for training rows, dashed for validation rows.

    Copies of one network are faint lines under their mean. Up to six members with names each have a color; more are
    drawn as copies are. Build it with `from_estimator`, or from the `history_` of networks.

    Parameters
    ----------
    histories : list of dict of str to array-like of shape (n_epochs,)
        The `history_` of each member. Series whose key begins with ``val_`` are NaN for epochs without validation.
        Members may have different numbers of epochs.
    metric : str, default="loss"
        What is drawn. A name that begins with ``val_`` is drawn alone, any other together with its values on validation
        rows, if there are any. Members without it are left out.
    member_names : list of str, default=None
        Names of the members; None means that they are copies of one network.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes it was drawn on.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    member_lines_ : dict of str to list of matplotlib.lines.Line2D
        One line per member, by key of the histories ("loss", "val_loss"). Each ends in a dot where members ended at
        different epochs.
    mean_lines_ : dict of str to matplotlib.lines.Line2D
        Means of the members, up to the epoch that all of them reached; empty for one member and for members with their
        own colors.

    See Also
    --------
    LearningRateDisplay : The learning rate of a training.
    MembersDisplay : Score of each member after training.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, TrainingHistoryDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> member = KerasClassifier(epochs=3, validation_split=0.2)
    >>> ensemble = KerasAveragingClassifier(member, n_estimators=2, random_state=0).fit(X, y)
    >>> display = TrainingHistoryDisplay.from_estimator(ensemble)
    >>> sorted(display.mean_lines_)
    ['loss', 'val_loss']
    """

    histories: Sequence[Mapping[str, Sequence[float] | np.ndarray]]
    metric: str = "loss"
    member_names: Sequence[str] | None = None

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the histories.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        TrainingHistoryDisplay
            Itself, drawn.

        Raises
        ------
        ValueError
            Where no member has the metric, a series does not have a value for each epoch, or names are missing.
        """
        series = self._series()
        ax = given_or_new(ax)
        self.member_lines_: dict[str, list[Line2D]] = {}
        self.mean_lines_: dict[str, Line2D] = {}
        for number, (key, values) in enumerate(series.items()):
            style = {"linestyle": "--"} if key.startswith("val_") else {}
            label = "validation" if key.startswith("val_") else "training"
            if self.member_names is not None and len(self.histories) <= _MOST_COLORS:
                self._draw_named(ax, key, values, {**style, "linewidth": 1.5}, label if len(series) > 1 else None)
            else:
                self._draw_copies(ax, key, values, {**style, "color": ("tab:blue", "tab:orange")[number]}, label)
        ax.set(xlabel="epoch", ylabel=self.metric.removeprefix("val_").replace("_", " "))
        count_from_one(ax)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, estimator: BaseEstimator, *, metric: str = "loss", ax: "Axes | None" = None) -> Self:
        """Draw what `fit` recorded for the networks of a fitted ensemble, or for one fitted network.

        For members that are ensembles, or pipelines that end in a network, the networks in them are drawn; other
        members are left out. A snapshot ensemble and a Polyak average have one training, drawn up to their newest
        member.

        Parameters
        ----------
        estimator : fitted ensemble or network
            An estimator of this package, or a network of scikeras.
        metric : str, default="loss"
            What is drawn, by its name in the `history_` of the members: "loss", "accuracy", "val_loss".
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        TrainingHistoryDisplay

        Raises
        ------
        NotFittedError
            Where the estimator is not fitted.
        ValueError
            Where no network in it was trained, or none has this metric.
        """
        trainings = trainings_of(estimator)
        names = [training.name for training in trainings]
        display = cls(
            [training.history for training in trainings],
            metric,
            None if None in names else names,  # type: ignore[arg-type]  # the test is for None
        )
        return display.plot(ax=ax)

    def _series(self) -> dict[str, np.ndarray]:
        """What is drawn by key, (n_members, n_epochs), NaN where a member has no value."""
        check_member_names(self.member_names, len(self.histories), "histories")
        recorded = {key for history in self.histories for key in history if len(history[key])}
        if self.metric not in recorded:
            raise ValueError(
                f"`metric` must be one of those that were recorded, {sorted(recorded)}: got {self.metric!r}. For "
                "others, give the network `metrics` before `fit`."
            )
        keys = [self.metric, *self._validation_key(recorded)]
        series = {key: values for key, values in self._padded(keys).items() if not np.isnan(values).all()}
        if self.metric not in series:
            raise ValueError(f"{self.metric!r} must be a number in at least one epoch: got NaN in all.")
        return series

    def _validation_key(self, recorded: set[str]) -> list[str]:
        """The key of the metric on validation rows, if there is one; scikeras gives only the others full names."""
        keys = [f"val_{self.metric}", *sorted(key for key in recorded if key.startswith("val_"))]
        full_name = full_metric_name(self.metric)
        return [k for k in keys if k in recorded and full_metric_name(k.removeprefix("val_")) == full_name][:1]

    def _padded(self, keys: list[str]) -> dict[str, np.ndarray]:
        """Values by key, NaN for epochs that a member did not reach and for members that have none."""
        n_epochs = max(len(history.get(key, ())) for history in self.histories for key in keys)
        padded = {key: np.full((len(self.histories), n_epochs), np.nan) for key in keys}
        for i, history in enumerate(self.histories):
            own = {key: history[key] for key in keys if len(history.get(key, ()))}
            lengths = [len(values) for values in own.values()]
            if len(set(lengths)) > 1:
                raise ValueError(
                    "Values on validation rows must be as many as epochs, NaN for epochs without validation: got "
                    f"{lengths[1]} for {lengths[0]} epochs in histories[{i}]."
                )
            for key, values in own.items():
                padded[key][i, : len(values)] = as_numbers(values, f"histories[{i}][{key!r}]", finite=False)
        return padded

    def _draw_named(self, ax, key, values, style, kind):
        """A color for each member."""
        suffix = "" if kind is None else f", {kind}"
        self.member_lines_[key] = [
            _draw(ax, one, marks_end=_differ_in_length(values), color=color, label=f"{name}{suffix}", **style)
            for one, name, color in zip(values, self.member_names, COLORS, strict=False)
            if not np.isnan(one).all()
        ]

    def _draw_copies(self, ax, key, values, style, label):
        """Faint lines, and the mean on top; a single line where there is one member."""
        values = values[~np.isnan(values).all(axis=1)]
        if len(values) == 1:
            self.member_lines_[key] = [_draw(ax, values[0], marks_end=False, linewidth=1.8, label=label, **style)]
            return
        faint = {"linewidth": 0.8, "alpha": 0.4, "marks_end": _differ_in_length(values), **style}
        self.member_lines_[key] = [_draw(ax, one, **faint) for one in values]
        # NaN as soon as one member is no longer trained: a mean over fewer members than before would jump.
        mean = values.mean(axis=0)
        label = f"{label}, mean of {len(values)}"
        self.mean_lines_[key] = _draw(ax, mean, marks_end=False, linewidth=2.2, zorder=3, label=label, **style)


def _differ_in_length(values):
    """Whether series, padded with NaN, end at different epochs."""
    return len({np.flatnonzero(~np.isnan(one))[-1] for one in values if not np.isnan(one).all()}) > 1


def _draw(ax, values, *, marks_end, **style):
    """A line through the existing values; a single value is drawn as a point."""
    epochs = np.flatnonzero(~np.isnan(values))
    if len(epochs) == 1 or marks_end:
        style |= {"marker": "o", "markersize": 4, "markevery": [-1]}
    (line,) = ax.plot(epochs + 1, values[epochs], **style)
    return line
