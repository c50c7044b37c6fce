"""Scores of what members and ensembles predict, by any scorer of scikit-learn."""

from collections.abc import Callable

from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_classifier
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
    """Fitted estimator whose predictions for one X are known, for scorers.

    Parameters
    ----------
    prediction : ndarray
        What `predict` returns.
    proba : ndarray or None
        What `predict_proba` returns; None where there is no such method.
    classes : ndarray or None
    """

    def __init__(self, prediction, proba=None, classes=None):
        self.prediction, self.proba, self.classes = prediction, proba, classes

    @staticmethod
    def like(ensemble, prediction, proba):
        """An estimator of the same kind as an ensemble."""
        if is_classifier(ensemble):
            return _KnownClassifier(prediction, proba, ensemble.classes_)
        return _KnownRegressor(prediction)

    @staticmethod
    def of(ensemble, X):
        """A whole ensemble."""
        proba = ensemble.predict_proba(X) if hasattr(ensemble, "predict_proba") else None
        return Known.like(ensemble, ensemble.predict(X), proba)

    def __sklearn_is_fitted__(self):
        return True

    def predict(self, X):
        """The known prediction."""
        return self.prediction

    @available_if(lambda known: known.proba is not None)
    def predict_proba(self, X):
        """The known probabilities."""
        return self.proba


class _KnownClassifier(ClassifierMixin, Known):
    @property
    def classes_(self):
        """Labels in the order of the columns of the probabilities."""
        return self.classes


class _KnownRegressor(RegressorMixin, Known):
    pass
