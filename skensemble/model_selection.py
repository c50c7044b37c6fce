"""Searches of scikit-learn whose fits are trained together."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import model_selection

from skensemble._compat.sklearn import SklearnHalvingGridSearchCV, SklearnHalvingRandomSearchCV
from skensemble._search.backend import together
from skensemble._search.near_ties import warn_of_near_ties
from skensemble._typing import MatrixLike

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]


class _TrainedTogether:
    """Trains the fits of a search of scikit-learn together; comes left of its class, which does everything else."""

    def fit(self, X: MatrixLike, y: ArrayLike | None = None, **params: Any) -> Self:
        """Fit all candidates on all folds, and the best one on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As the estimator takes it.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Labels or targets.
        **params : dict
            Arguments of the estimator's `fit`, of the scorer and of the splitter (`groups`), as scikit-learn routes
            them. Arrays of the length of X are split like X.

        Returns
        -------
        estimator
            Itself, fitted.

        Raises
        ------
        ValueError
            Where parameters are unknown or of wrong values, and where all fits fail.

        Warns
        -----
        FitFailedWarning
            Where fits fail, and `error_score` is a number.
        UserWarning
            Where other candidates have the score of the best one, up to rounding.
        """
        for name in ("estimators_", "_rows_of_networks"):
            vars(self).pop(name, None)
        with together(self.n_jobs, keeps=self.return_estimator) as fits:
            super().fit(X, y, **params)
        warn_of_near_ties(self)
        if self.return_estimator:
            kept = [(None, None) if one is None else one for one in fits.kept]
            by_candidate = [kept[first : first + self.n_splits_] for first in range(0, len(kept), self.n_splits_)]
            self.estimators_ = [[estimator for estimator, _ in folds] for folds in by_candidate]
            self._rows_of_networks = [[rows for _, rows in folds] for folds in by_candidate]
        return self


class GridSearchCV(_TrainedTogether, model_selection.GridSearchCV):
    """Search over a grid, as scikit-learn's GridSearchCV, whose fits are trained together.

    Candidates, folds and members are trained together: networks of one architecture by one program, whatever their
    learning rates, seeds, class weights and rows, while scikit-learn's own code clones, fits, scores and ranks them.
    Networks that are built alike are built once. Scores are scikit-learn's up to rounding; `mean_fit_time` is a share
    of the joint time. What no program can train is fitted one after the other.

    Parameters
    ----------
    estimator : estimator
        A network, an ensemble, or a pipeline that ends in one; any other estimator is fitted as scikit-learn does.
    param_grid : dict of str to list, or list of such dicts
        Values to try of each parameter, in all combinations.
    scoring : str, callable, list, tuple or dict, default=None
        How predictions on held-out rows are scored; None means by the estimator's `score`.
    n_jobs : int, default=None
        Number of joblib workers, each of which trains a part of the fits together. None means this process, which
        already uses all cores for training; workers pay where fits take minutes.
    refit : bool, str or callable, default=True
        Whether the best parameters are fitted on all rows; with several scores, the name of the one that decides, or a
        function that chooses.
    cv : int, splitter or iterable, default=None
        Folds; None means 5.
    verbose : int, default=0
        How much scikit-learn prints.
    pre_dispatch : int or str, default="2*n_jobs"
        How many fits are prepared at once, at most; a number limits the memory that their data take.
    error_score : "raise" or float, default=np.nan
        Score of candidates whose fit fails.
    return_train_score : bool, default=False
        Whether training rows are scored, too.
    return_estimator : bool, default=False
        Whether the fitted estimators of all candidates and folds are kept, see `estimators_`.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        Scores, times and parameters of the candidates, with the keys of scikit-learn.
    best_estimator_ : estimator
        Fitted on all rows; only with `refit`.
    best_score_ : float
        Mean score on held-out rows of the best candidate.
    best_params_ : dict
        Parameters of the best candidate.
    best_index_ : int
        Index of the best candidate in `cv_results_`.
    scorer_ : callable or dict of str to callable
        The scorer, or scorers by their names.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the fit on all rows; only with `refit`.
    multimetric_ : bool
        Whether there are several scores.
    estimators_ : list of list of estimator
        The fitted estimator of each candidate on each fold, None where its fit failed; only with `return_estimator`.

    See Also
    --------
    RandomizedSearchCV : Draws candidates.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier
    >>> from skensemble.model_selection import GridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = GridSearchCV(
    ...     KerasClassifier(epochs=3, random_state=0), {"optimizer__learning_rate": [0.001, 0.01]}, cv=2
    ... )
    >>> search = search.fit(X, y)
    >>> sorted(search.best_params_)
    ['optimizer__learning_rate']
    """

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        error_score=np.nan,
        return_train_score=False,
        return_estimator=False,
    ):
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.return_estimator = return_estimator


class RandomizedSearchCV(_TrainedTogether, model_selection.RandomizedSearchCV):
    """Search over drawn candidates, as scikit-learn's RandomizedSearchCV, whose fits are trained together.

    Candidates, folds and members are trained together: networks of one architecture by one program, whatever their
    learning rates, seeds, class weights and rows, while scikit-learn's own code clones, fits, scores and ranks them.
    Networks that are built alike are built once. Scores are scikit-learn's up to rounding; `mean_fit_time` is a share
    of the joint time. What no program can train is fitted one after the other.

    Parameters
    ----------
    estimator : estimator
        A network, an ensemble, or a pipeline that ends in one; any other estimator is fitted as scikit-learn does.
    param_distributions : dict of str to list or distribution, or list of such dicts
        Values to draw from, or distributions of SciPy with `rvs`, for each parameter.
    n_iter : int, default=10
        Number of candidates that are drawn.
    scoring : str, callable, list, tuple or dict, default=None
        How predictions on held-out rows are scored; None means by the estimator's `score`.
    n_jobs : int, default=None
        Number of joblib workers, each of which trains a part of the fits together. None means this process, which
        already uses all cores for training; workers pay where fits take minutes.
    refit : bool, str or callable, default=True
        Whether the best parameters are fitted on all rows; with several scores, the name of the one that decides, or a
        function that chooses.
    cv : int, splitter or iterable, default=None
        Folds; None means 5.
    verbose : int, default=0
        How much scikit-learn prints.
    pre_dispatch : int or str, default="2*n_jobs"
        How many fits are prepared at once, at most; a number limits the memory that their data take.
    random_state : int, RandomState instance or None, default=None
        Seed of what is drawn.
    error_score : "raise" or float, default=np.nan
        Score of candidates whose fit fails.
    return_train_score : bool, default=False
        Whether training rows are scored, too.
    return_estimator : bool, default=False
        Whether the fitted estimators of all candidates and folds are kept, see `estimators_`.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        Scores, times and parameters of the candidates, with the keys of scikit-learn.
    best_estimator_ : estimator
        Fitted on all rows; only with `refit`.
    best_score_ : float
        Mean score on held-out rows of the best candidate.
    best_params_ : dict
        Parameters of the best candidate.
    best_index_ : int
        Index of the best candidate in `cv_results_`.
    scorer_ : callable or dict of str to callable
        The scorer, or scorers by their names.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the fit on all rows; only with `refit`.
    multimetric_ : bool
        Whether there are several scores.
    estimators_ : list of list of estimator
        The fitted estimator of each candidate on each fold, None where its fit failed; only with `return_estimator`.

    See Also
    --------
    GridSearchCV : Tries all combinations.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier
    >>> from skensemble.model_selection import RandomizedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = RandomizedSearchCV(
    ...     KerasClassifier(epochs=3, random_state=0),
    ...     {"optimizer__learning_rate": loguniform(1e-4, 1e-1)},
    ...     n_iter=2,
    ...     cv=2,
    ...     random_state=0,
    ... )
    >>> search = search.fit(X, y)
    >>> sorted(search.best_params_)
    ['optimizer__learning_rate']
    """

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_iter=10,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        random_state=None,
        error_score=np.nan,
        return_train_score=False,
        return_estimator=False,
    ):
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.return_estimator = return_estimator


class HalvingGridSearchCV(_TrainedTogether, SklearnHalvingGridSearchCV):
    """Search by successive halving of a grid, as scikit-learn's, whose fits are trained together.

    Candidates, folds and members are trained together: networks of one architecture by one program, whatever their
    learning rates, seeds, class weights and rows, while scikit-learn's own code clones, fits, scores and ranks them.
    Networks that are built alike are built once. Scores are scikit-learn's up to rounding; `mean_fit_time` is a share
    of the joint time. What no program can train is fitted one after the other. The best of each round continue with
    more of the resource [1]_.

    Parameters
    ----------
    estimator : estimator
        A network, an ensemble, or a pipeline that ends in one; any other estimator is fitted as scikit-learn does.
    param_grid : dict of str to list, or list of such dicts
        Values to try of each parameter, in all combinations.
    factor : int or float, default=3
        In each round, the best 1 in `factor` candidates continue to the next, with `factor` times the resource.
    resource : "n_samples" or str, default="n_samples"
        What grows from round to round: rows, or an integer parameter of the estimator such as `epochs` or
        `n_estimators`.
    max_resources : "auto" or int, default="auto"
        The most of the resource that a candidate may use; "auto" is the number of rows.
    min_resources : "exhaust", "smallest" or int, default="exhaust"
        How much of the resource each candidate uses in the first round.
    aggressive_elimination : bool, default=False
        Whether the first round is repeated until the last one has no more than `factor` candidates.
    cv : int, splitter or iterable, default=5
        Folds.
    scoring : str or callable, default=None
        How predictions on held-out rows are scored; None means by the estimator's `score`.
    refit : bool, default=True
        Whether the best parameters are fitted on all rows.
    error_score : "raise" or float, default=np.nan
        Score of candidates whose fit fails.
    return_train_score : bool, default=True
        Whether training rows are scored, too.
    random_state : int, RandomState instance or None, default=None
        Seed of what is drawn.
    n_jobs : int, default=None
        Number of joblib workers, each of which trains a part of the fits together. None means this process, which
        already uses all cores for training; workers pay where fits take minutes.
    verbose : int, default=0
        How much scikit-learn prints.
    return_estimator : bool, default=False
        Whether the fitted estimators of all candidates and folds are kept, see `estimators_`.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        Scores, times and parameters of the candidates, with the keys of scikit-learn.
    best_estimator_ : estimator
        Fitted on all rows; only with `refit`.
    best_score_ : float
        Mean score on held-out rows of the best candidate.
    best_params_ : dict
        Parameters of the best candidate.
    best_index_ : int
        Index of the best candidate in `cv_results_`.
    scorer_ : callable or dict of str to callable
        The scorer, or scorers by their names.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the fit on all rows; only with `refit`.
    multimetric_ : bool
        Whether there are several scores.
    n_resources_ : list of int
        How much of the resource each candidate used, for each round.
    n_candidates_ : list of int
        Number of candidates in each round.
    n_iterations_ : int
        Number of rounds.
    estimators_ : list of list of estimator
        The fitted estimator of each candidate on each fold, None where its fit failed; only with `return_estimator`.

    See Also
    --------
    HalvingRandomSearchCV : Draws candidates.

    References
    ----------
    .. [1] Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
       AISTATS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier
    >>> from skensemble.model_selection import HalvingGridSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = HalvingGridSearchCV(
    ...     KerasClassifier(random_state=0),
    ...     {"optimizer__learning_rate": [0.001, 0.01, 0.1]},
    ...     resource="epochs",
    ...     max_resources=6,
    ...     min_resources=2,
    ...     cv=2,
    ... )
    >>> search = search.fit(X, y)
    >>> sorted(search.best_params_)
    ['epochs', 'optimizer__learning_rate']
    """

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        factor=3,
        resource="n_samples",
        max_resources="auto",
        min_resources="exhaust",
        aggressive_elimination=False,
        cv=5,
        scoring=None,
        refit=True,
        error_score=np.nan,
        return_train_score=True,
        random_state=None,
        n_jobs=None,
        verbose=0,
        return_estimator=False,
    ):
        super().__init__(
            estimator,
            param_grid,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.return_estimator = return_estimator


class HalvingRandomSearchCV(_TrainedTogether, SklearnHalvingRandomSearchCV):
    """Search by successive halving of drawn candidates, as scikit-learn's, whose fits are trained together.

    Candidates, folds and members are trained together: networks of one architecture by one program, whatever their
    learning rates, seeds, class weights and rows, while scikit-learn's own code clones, fits, scores and ranks them.
    Networks that are built alike are built once. Scores are scikit-learn's up to rounding; `mean_fit_time` is a share
    of the joint time. What no program can train is fitted one after the other. The best of each round continue with
    more of the resource [1]_.

    Parameters
    ----------
    estimator : estimator
        A network, an ensemble, or a pipeline that ends in one; any other estimator is fitted as scikit-learn does.
    param_distributions : dict of str to list or distribution, or list of such dicts
        Values to draw from, or distributions of SciPy with `rvs`, for each parameter.
    n_candidates : "exhaust" or int, default="exhaust"
        Number of candidates in the first round; "exhaust" draws as many as let the last round use all of the resource.
    factor : int or float, default=3
        In each round, the best 1 in `factor` candidates continue to the next, with `factor` times the resource.
    resource : "n_samples" or str, default="n_samples"
        What grows from round to round: rows, or an integer parameter of the estimator such as `epochs` or
        `n_estimators`.
    max_resources : "auto" or int, default="auto"
        The most of the resource that a candidate may use; "auto" is the number of rows.
    min_resources : "exhaust", "smallest" or int, default="smallest"
        How much of the resource each candidate uses in the first round.
    aggressive_elimination : bool, default=False
        Whether the first round is repeated until the last one has no more than `factor` candidates.
    cv : int, splitter or iterable, default=5
        Folds.
    scoring : str or callable, default=None
        How predictions on held-out rows are scored; None means by the estimator's `score`.
    refit : bool, default=True
        Whether the best parameters are fitted on all rows.
    error_score : "raise" or float, default=np.nan
        Score of candidates whose fit fails.
    return_train_score : bool, default=True
        Whether training rows are scored, too.
    random_state : int, RandomState instance or None, default=None
        Seed of what is drawn.
    n_jobs : int, default=None
        Number of joblib workers, each of which trains a part of the fits together. None means this process, which
        already uses all cores for training; workers pay where fits take minutes.
    verbose : int, default=0
        How much scikit-learn prints.
    return_estimator : bool, default=False
        Whether the fitted estimators of all candidates and folds are kept, see `estimators_`.

    Attributes
    ----------
    cv_results_ : dict of str to ndarray
        Scores, times and parameters of the candidates, with the keys of scikit-learn.
    best_estimator_ : estimator
        Fitted on all rows; only with `refit`.
    best_score_ : float
        Mean score on held-out rows of the best candidate.
    best_params_ : dict
        Parameters of the best candidate.
    best_index_ : int
        Index of the best candidate in `cv_results_`.
    scorer_ : callable or dict of str to callable
        The scorer, or scorers by their names.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the fit on all rows; only with `refit`.
    multimetric_ : bool
        Whether there are several scores.
    n_resources_ : list of int
        How much of the resource each candidate used, for each round.
    n_candidates_ : list of int
        Number of candidates in each round.
    n_iterations_ : int
        Number of rounds.
    estimators_ : list of list of estimator
        The fitted estimator of each candidate on each fold, None where its fit failed; only with `return_estimator`.

    See Also
    --------
    HalvingGridSearchCV : Tries all combinations.

    References
    ----------
    .. [1] Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
       AISTATS 2016.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier
    >>> from skensemble.model_selection import HalvingRandomSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> search = HalvingRandomSearchCV(
    ...     KerasClassifier(random_state=0),
    ...     {"optimizer__learning_rate": loguniform(1e-4, 1e-1)},
    ...     n_candidates=3,
    ...     resource="epochs",
    ...     max_resources=6,
    ...     min_resources=2,
    ...     cv=2,
    ...     random_state=0,
    ... )
    >>> search = search.fit(X, y)
    >>> sorted(search.best_params_)
    ['epochs', 'optimizer__learning_rate']
    """

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_candidates="exhaust",
        factor=3,
        resource="n_samples",
        max_resources="auto",
        min_resources="smallest",
        aggressive_elimination=False,
        cv=5,
        scoring=None,
        refit=True,
        error_score=np.nan,
        return_train_score=True,
        random_state=None,
        n_jobs=None,
        verbose=0,
        return_estimator=False,
    ):
        super().__init__(
            estimator,
            param_distributions,
            n_candidates=n_candidates,
            factor=factor,
            resource=resource,
            max_resources=max_resources,
            min_resources=min_resources,
            aggressive_elimination=aggressive_elimination,
            cv=cv,
            scoring=scoring,
            refit=refit,
            error_score=error_score,
            return_train_score=return_train_score,
            random_state=random_state,
            n_jobs=n_jobs,
            verbose=verbose,
        )
        self.return_estimator = return_estimator
