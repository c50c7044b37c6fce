"""Plots of fitted ensembles, as scikit-learn's Displays."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted


class MembersDisplay:
    """Score of each member and of the ensemble of the first 1, 2, ... members.

    Build it with `from_estimator`.

    Parameters
    ----------
    member_scores : ndarray of shape (n_estimators,)
        Score of each member alone.
    ensemble_scores : ndarray of shape (n_estimators,)
        Score of the first 1, 2, ..., n_estimators members together.
    score_name : str, default="score"
        Label of the vertical axis.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it was drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    members_ : matplotlib.collections.PathCollection
        One point a member.
    ensemble_ : matplotlib.lines.Line2D
        The curve of the growing ensemble.

    See Also
    --------
    KerasAveragingClassifier : An ensemble to plot.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, MembersDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=3), n_estimators=2, random_state=0).fit(X, y)
    >>> MembersDisplay.from_estimator(ensemble, X, y).ensemble_scores.shape
    (2,)
    """

    def __init__(self, member_scores, ensemble_scores, score_name="score"):
        self.member_scores = member_scores
        self.ensemble_scores = ensemble_scores
        self.score_name = score_name

    def plot(self, ax=None):
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
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots()
        n_members = np.arange(1, len(self.member_scores) + 1)
        self.members_ = ax.scatter(n_members, self.member_scores, color="tab:gray", label="each member")
        (self.ensemble_,) = ax.plot(n_members, self.ensemble_scores, marker="o", label="ensemble of the first n")
        ax.set(xlabel="members", ylabel=self.score_name)
        ax.legend()
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @classmethod
    def from_estimator(cls, ensemble, X, y, *, score_func=None, ax=None):
        """Score a fitted ensemble on X and y and draw it.

        Parameters
        ----------
        ensemble : fitted ensemble
            Of this package.
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels or targets.
        score_func : callable, default=None
            `score_func(y_true, y_pred)` returns a float; None means accuracy for classifiers and R^2 for regressors.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None means a new figure.

        Returns
        -------
        MembersDisplay
        """
        check_is_fitted(ensemble)
        if score_func is None:
            score_func = accuracy_score if is_classifier(ensemble) else r2_score
        members = ensemble._predict_each(X)
        display = cls(
            member_scores=np.array([score_func(y, prediction) for prediction in members]),
            ensemble_scores=np.array([score_func(y, prediction) for prediction in ensemble.staged_predict(X)]),
            score_name=score_func.__name__.replace("_score", "").replace("_", " "),
        )
        return display.plot(ax=ax)
