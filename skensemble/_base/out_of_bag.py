"""What is learned from rows that members left out: a score of the ensemble, and how far its predictions are from y."""

import warnings

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skensemble._base.combining import learned
from skensemble._compat.python import find_stacklevel
from skensemble._engine.prediction import predict_members
from skensemble._members.random_draws import rows_left_out
from skensemble._numeric.combination import combine_where


def learn_left_out(ensemble, data, left_out):
    """Learn from the predictions of rows by the members that left them out; NaN where there is none.

    Parameters
    ----------
    ensemble : estimator
    data : TrainingData
    left_out : ndarray of bool of shape (n_estimators, n_samples)
    """
    predictions = predict_members(ensemble.estimators_, data.X, ensemble._member_classes())
    predicted = combine_where(_ballots(ensemble, predictions), left_out, ensemble.weights_, ensemble._combination())
    if ensemble.oob_score:
        ensemble._score_left_out(data.y, predicted, left_out.any(axis=0))
    scores = ensemble._conformity_scores(data.y, predicted)
    if scores is not None:
        if data.sample_weight is not None:
            scores[data.sample_weight == 0] = np.nan
        ensemble._conformity = scores


def _ballots(ensemble, predictions):
    """What is averaged: predictions, or with votes 1 for the choice of a member."""
    if learned(ensemble, "voting", "soft") == "soft":
        return predictions
    choices = ensemble._choose_indices(predictions)
    return choices if ensemble._multilabel else np.eye(predictions.shape[-1])[choices]


def score_left_out(score_func, default, y, predictions, judged):
    """Score on the rows that some member left out, `judged`: by the user's function, otherwise by `default`."""
    if not judged.all():
        warnings.warn(
            f"{np.count_nonzero(~judged)} rows were drawn by every member and have no out-of-bag prediction: with more "
            "members or a smaller `max_samples` there would be one.",
            stacklevel=find_stacklevel(),
        )
    return (score_func if callable(score_func) else default)(y[judged], predictions)


def conformal_rows(ensemble):
    """Which member left out which row, and how far the rows' targets are from what these members predict."""
    check_is_fitted(ensemble)
    if not hasattr(ensemble, "_conformity"):
        raise ValueError(
            "Intervals and sets with a guarantee need rows that members left out, and members that are combined as "
            f"in fit: this {type(ensemble).__name__} was fitted without such rows, or was changed by reweight or "
            "subset. Fit with bootstrap=True or max_samples below the rows of X."
        )
    scores = ensemble._conformity
    left_out = rows_left_out(ensemble.estimators_samples_, len(scores))
    known = ~np.isnan(scores.reshape(len(scores), -1)).any(axis=1)
    return left_out[:, known], scores[known]
