"""Scores of what members and ensembles predict, by any scorer of scikit-learn."""

from collections.abc import Callable, Iterable, Iterator
from itertools import repeat

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.utils.metaestimators import available_if

from skensemble._typing import MatrixLike


def make_score(
    ensemble: BaseEstimator,
    X: MatrixLike,
    y: ArrayLike,
    scoring: str | Callable | None,
    score_func: Callable | None,
) -> tuple[Callable[[BaseEstimator], float], str]:
    """Function that scores an estimator on X and y, and the readable name of the score.

    Raises
    ------
    ValueError
        Where both `scoring` and `score_func` are given.
    """
    if scoring is not None and score_func is not None:
        raise ValueError(
            f"`scoring` and `score_func` are two ways to say the same thing: got scoring={scoring!r} and "
            f"score_func={score_func!r}. Leave one of them out."
        )
    if scoring is not None:
        scorer = get_scorer(scoring)
        return lambda estimator: scorer(estimator, X, y), _name_of(scoring)
    function = score_func or (accuracy_score if is_classifier(ensemble) else r2_score)
    return lambda estimator: function(y, estimator.predict(X)), _name_of(function)


def _name_of(scoring):
    name = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", None)
    return ("score" if name is None else name).removesuffix("_score").replace("_", " ")


class Known(BaseEstimator):
    """A member of an ensemble, or several combined, whose predictions for one X are known; for scorers.

    Parameters
    ----------
    ensemble : fitted ensemble
        Tells scorers what kind of estimator this is, and the classes.
    prediction : ndarray
        What `predict` returns.
    proba : ndarray, default=None
        What `predict_proba` returns; None where there is no such method.
    """

    def __init__(self, ensemble, prediction, proba=None):
        self.ensemble, self.prediction, self.proba = ensemble, prediction, proba

    def __sklearn_tags__(self):
        return self.ensemble.__sklearn_tags__()

    @property
    def classes_(self):
        """Labels in the order of the columns of the probabilities; missing for regressors."""
        return self.ensemble.classes_

    def predict(self, X):
        """The known prediction."""
        return self.prediction

    @available_if(lambda known: known.proba is not None)
    def predict_proba(self, X):
        """The known probabilities."""
        return self.proba


def known_each(
    ensemble: BaseEstimator, predictions: Iterable[np.ndarray], probabilities: Iterable[np.ndarray] | None
) -> Iterator[Known]:
    """Yield an estimator for each prediction, with its probabilities where these are given."""
    return map(Known, repeat(ensemble), predictions, repeat(None) if probabilities is None else probabilities)
