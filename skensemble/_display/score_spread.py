"""Spread of scores over repeated evaluations."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier

from skensemble._base.combining import warn_if_changed
from skensemble._display.axes import COLORS, as_numbers, given_or_new, name_positions
from skensemble._display.fitted import check_ensemble, is_run
from skensemble._display.scoring import Known, make_score
from skensemble._numeric.combination import combine, first_weights
from skensemble._typing import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon

_KINDS = ("box", "hist")
# Half the width over which the points of a box are scattered.
_JITTER = 0.12


@dataclasses.dataclass(eq=False, repr=False)
class ScoreSpreadDisplay:
    """Scores of repeated evaluations, side by side, which show how much each kind of estimator depends on chance.

    Build it with `from_estimator`, which compares single members with ensembles of several, or from scores that you
    have, such as those of the same ensemble under other seeds or in the folds of a cross-validation.

    Parameters
    ----------
    scores : dict of str to array-like of shape (n_evaluations,)
        By name, the scores of repeated evaluations.
    score_name : str, default="score"
        Label of the axis of scores.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes it was drawn on.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    boxes_ : dict of str to list of matplotlib.lines.Line2D
        What `Axes.boxplot` returns: quartiles and medians, with whiskers of at most 1.5 times the box; empty for
        histograms.
    points_ : list of matplotlib.collections.PathCollection
        The scores themselves, over the boxes; empty for histograms.
    histograms_ : list of matplotlib.patches.Polygon
        Empty for boxes.

    See Also
    --------
    MembersDisplay : Score of each member, and of the growing ensemble.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, ScoreSpreadDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=3), n_estimators=6, random_state=0).fit(X, y)
    >>> display = ScoreSpreadDisplay.from_estimator(ensemble, X, y, group_sizes=(1, 3))
    >>> {name: len(scores) for name, scores in display.scores.items()}
    {'6 single members': 6, '2 ensembles of 3': 2}
    """

    scores: Mapping[str, ArrayLike]
    score_name: str = "score"

    def plot(self, ax: "Axes | None" = None, *, kind: str = "box") -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.
        kind : {"box", "hist"}, default="box"
            A box with its points for each name, or overlaid histograms, with shares of the evaluations as heights.

        Returns
        -------
        ScoreSpreadDisplay
            Itself, drawn.

        Raises
        ------
        ValueError
            Where there are no scores, or `kind` is unknown.
        """
        if kind not in _KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(map(repr, _KINDS))}: got {kind!r}.")
        if not self.scores:
            raise ValueError("`scores` must have the scores of at least one kind of estimator: got an empty dict.")
        scores = {name: as_numbers(values, f"scores[{name!r}]") for name, values in self.scores.items()}
        ax = given_or_new(ax)
        self.boxes_: dict[str, list[Line2D]] = {}
        self.points_: list[PathCollection] = []
        self.histograms_: list[Polygon] = []
        if kind == "box":
            self._draw_boxes(ax, scores)
        else:
            self._draw_histograms(ax, scores)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        ensemble: BaseEstimator,
        X: MatrixLike,
        y: ArrayLike,
        *,
        group_sizes: Sequence[int] = (1, 5),
        scoring: str | Callable | None = None,
        score_func: Callable | None = None,
        score_name: str | None = None,
        kind: str = "box",
        ax: "Axes | None" = None,
    ) -> Self:
        """Score groups of the members of a fitted ensemble on X and y, and draw the spread for each size of group.

        Groups are consecutive members and do not overlap, so an ensemble of 50 members holds 50 single members and 10
        ensembles of five, which are combined as the whole ensemble is. Nothing is trained.

        Parameters
        ----------
        ensemble : fitted ensemble
            An averaging or voting ensemble, whose members were trained independently.
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels or targets.
        group_sizes : tuple of int, default=(1, 5)
            Number of members in a group. Each size needs at least two groups, and many to say much about the spread.
        scoring : str or callable, default=None
            As in scikit-learn: the name of a scorer, such as "neg_log_loss", or `scoring(estimator, X, y)`; None means
            accuracy for classifiers and R^2 for regressors. The estimators that it is given know only their predictions
            for X.
        score_func : callable, default=None
            Instead of `scoring`: `score_func(y_true, y_pred)` returns a float.
        score_name : str, default=None
            Label of the axis of scores; None means the name of the scorer or function.
        kind : {"box", "hist"}, default="box"
            As in `plot`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        ScoreSpreadDisplay

        Raises
        ------
        NotFittedError
            Where the ensemble is not fitted.
        TypeError
            Where it is not an ensemble of this package.
        ValueError
            Where its members come from one training or are combined by a final estimator, it has too few members for a
            size, or parameters contradict each other.
        """
        check_ensemble(ensemble)
        score, name = make_score(ensemble, X, y, scoring, score_func)
        _check_groups(ensemble, group_sizes)
        warn_if_changed(ensemble)
        predictions = ensemble.predict_members(X)
        scores = {}
        for size in group_sizes:
            values = np.array([score(group) for group in _groups(ensemble, predictions, size)])
            kinds = "single members" if size == 1 else f"ensembles of {size}"
            scores[f"{len(values)} {kinds}"] = values
        return cls(scores, name if score_name is None else score_name).plot(ax=ax, kind=kind)

    def _draw_boxes(self, ax, scores):
        median = {"color": "tab:orange", "linewidth": 2}
        self.boxes_ = ax.boxplot(list(scores.values()), widths=0.5, showfliers=False, medianprops=median)
        rng = np.random.default_rng(0)
        for position, values in enumerate(scores.values(), start=1):
            jittered = position + rng.uniform(-_JITTER, _JITTER, size=len(values))
            self.points_.append(ax.scatter(jittered, values, color="tab:blue", alpha=0.6, s=14, linewidth=0))
        name_positions(ax, list(scores), len(scores))
        ax.set_ylabel(self.score_name)

    def _draw_histograms(self, ax, scores):
        edges = np.histogram_bin_edges(np.concatenate(list(scores.values())), bins="auto")
        for i, (name, values) in enumerate(scores.items()):
            shares = np.full(len(values), 1 / len(values))
            style = {"edgecolor": COLORS[i % len(COLORS)], "linestyle": ("-", "--", ":")[i % 3], "linewidth": 1.8}
            *_, (drawn,) = ax.hist(values, edges, weights=shares, histtype="step", label=name, **style)
            self.histograms_.append(drawn)
        ax.set(xlabel=self.score_name, ylabel="share of the evaluations")
        ax.margins(y=0.15)
        ax.legend()


def _check_groups(ensemble, sizes):
    """Raise where groups of members are not repeated evaluations, or there are too few of them."""
    way_out = "Fit it under several seeds, and give ScoreSpreadDisplay their scores."
    if is_run(ensemble):
        raise ValueError(
            f"Groups of members are repeated evaluations where members were trained independently: those of "
            f"{type(ensemble).__name__} are of one training. {way_out}"
        )
    if not hasattr(ensemble, "staged_predict"):
        raise ValueError(
            f"Groups of members cannot be combined where a final estimator needs all members: got "
            f"{type(ensemble).__name__}. {way_out}"
        )
    n_members = len(ensemble.estimators_)
    most = n_members // 2
    if (
        np.ndim(sizes) != 1
        or not len(sizes)
        or not all(isinstance(size, Integral) and 1 <= size <= most for size in sizes)
    ):
        raise ValueError(
            f"`group_sizes` must be a tuple of whole numbers from 1 to {most}, so that {n_members} members are two "
            f"groups or more: got {sizes}. Choose smaller groups, or train more members."
        )


def _groups(ensemble, predictions, size):
    """Yield groups of consecutive members as estimators with known predictions."""
    for first in range(0, len(predictions) - size + 1, size):
        members = slice(first, first + size)
        weights = first_weights(ensemble.weights_[members], size)
        if not is_classifier(ensemble):
            yield Known(ensemble, combine(predictions[members], weights, ensemble._combination()))
            continue
        has_proba = hasattr(ensemble, "predict_proba")
        proba = ensemble._combine_proba(predictions[members], weights) if has_proba else None
        yield Known(ensemble, ensemble._choose(predictions[members], weights), proba)
