"""Score of each member, and of the ensemble as it grows."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from skensemble._display.axes import given_or_new, make_headroom, members_label, name_positions
from skensemble._display.fitted import check_ensemble, member_names, order_of
from skensemble._display.scoring import known_each, make_score
from skensemble._typing import MatrixLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclasses.dataclass(eq=False, repr=False)
class MembersDisplay:
    """Score of each member, and of the ensemble as members are added to it.

    Build it with `from_estimator`.

    Parameters
    ----------
    member_scores : ndarray of shape (n_members,)
        Score of each member alone.
    ensemble_scores : ndarray of shape (n_members,) or float
        Score of the first 1, 2, ... members together; where the ensemble has no such stages, a single number, the score
        of all members together.
    score_name : str, default="score"
        Label of the vertical axis.
    member_names : list of str, default=None
        Names of the members; None means numbers from 1.
    order : {"first", "newest"}, default="first"
        Which members the growing ensemble begins with; the newest where the members come from one training.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes it was drawn on.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    members_ : matplotlib.collections.PathCollection
        One point per member.
    ensemble_ : matplotlib.lines.Line2D
        The curve of the growing ensemble, or the level of the whole one.

    See Also
    --------
    ScoreSpreadDisplay : Scores of single members and of ensembles of several, many times over.
    TrainingHistoryDisplay : How the members were trained.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, MembersDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=3), n_estimators=2, random_state=0).fit(X, y)
    >>> MembersDisplay.from_estimator(ensemble, X, y).ensemble_scores.shape
    (2,)
    """

    member_scores: ArrayLike
    ensemble_scores: ArrayLike | float
    score_name: str = "score"
    member_names: Sequence[str] | None = None
    order: str = "first"

    def plot(self, ax: "Axes | None" = None) -> Self:
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        MembersDisplay
            Itself, drawn.
        """
        ax = given_or_new(ax)
        positions = np.arange(1, len(self.member_scores) + 1)
        # Points are drawn on top of the curve, whose markers are rings, since the first of both are in the same place.
        self.members_ = ax.scatter(positions, self.member_scores, color="tab:gray", s=20, label="each member", zorder=3)
        if np.ndim(self.ensemble_scores):
            ring = {"marker": "o", "markersize": 9, "markerfacecolor": "none", "zorder": 2}
            label = f"ensemble of the {self.order} n"
            (self.ensemble_,) = ax.plot(positions, self.ensemble_scores, color="tab:blue", label=label, **ring)
        else:
            self.ensemble_ = ax.axhline(self.ensemble_scores, color="tab:blue", label="ensemble")
        name_positions(ax, self.member_names, len(positions))
        ax.set(xlabel=members_label(self.order), ylabel=self.score_name)
        make_headroom(ax, np.append(self.member_scores, self.ensemble_scores))
        ax.legend(loc="upper center", ncols=2, columnspacing=1, handletextpad=0.4)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(
        cls,
        ensemble: BaseEstimator,
        X: MatrixLike,
        y: ArrayLike,
        *,
        scoring: str | Callable | None = None,
        score_func: Callable | None = None,
        score_name: str | None = None,
        ax: "Axes | None" = None,
    ) -> Self:
        """Score a fitted ensemble on X and y and draw it.

        Averaging, voting and snapshot ensembles and Polyak averages grow member by member, in the order of
        `staged_predict`. A stacking ensemble does not: its final estimator needs all members, and its score is a
        horizontal line.

        Parameters
        ----------
        ensemble : fitted ensemble
            An ensemble of this package.
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels or targets.
        scoring : str or callable, default=None
            As in scikit-learn: the name of a scorer, such as "neg_log_loss", or `scoring(estimator, X, y)`; None means
            accuracy for classifiers and R^2 for regressors. The estimators that it is given know only their predictions
            for X.
        score_func : callable, default=None
            Instead of `scoring`: `score_func(y_true, y_pred)` returns a float.
        score_name : str, default=None
            Label of the vertical axis; None means the name of the scorer or function.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        MembersDisplay

        Raises
        ------
        NotFittedError
            Where the ensemble is not fitted.
        TypeError
            Where it is not an ensemble of this package.
        ValueError
            Where both `scoring` and `score_func` are given.
        """
        check_ensemble(ensemble)
        score, name = make_score(ensemble, X, y, scoring, score_func)
        proba = ensemble.predict_members(X) if hasattr(ensemble, "predict_proba") else None
        members = [score(one) for one in known_each(ensemble, ensemble._predict_each(X), proba)]
        stages = None
        if hasattr(ensemble, "staged_predict"):
            proba = ensemble.staged_predict_proba(X) if hasattr(ensemble, "staged_predict_proba") else None
            stages = [score(one) for one in known_each(ensemble, ensemble.staged_predict(X), proba)]
        display = cls(
            member_scores=np.array(members),
            ensemble_scores=score(ensemble) if stages is None else np.array(stages),
            score_name=name if score_name is None else score_name,
            member_names=member_names(ensemble),
            order=order_of(ensemble),
        )
        return display.plot(ax=ax)
