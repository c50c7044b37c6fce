"""Model averaging: copies of one network, trained from different seeds, whose predictions are averaged or vote."""

import dataclasses
import numbers
import os
import warnings

import numpy as np
from sklearn.metrics import accuracy_score, r2_score

from skensemble._base import BaseKerasEnsemble, KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._checkpoint import keep_entropy, open_checkpoint
from skensemble._compat import HasMethods, Interval, StrOptions, fit_context
from skensemble._members import (
    FittedMembers,
    Member,
    check_member,
    is_frozen,
    spawn_seeds,
)
from skensemble._progress import fit_task
from skensemble.wrappers import KerasClassifier, KerasRegressor

#: What only a fit leaves behind whose members drew rows.
_LEARNED_OF_ROWS = ("estimators_samples_", "oob_score_", "oob_decision_function_", "oob_prediction_")


class _BaseKerasAveraging(BaseKerasEnsemble):
    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), list, None],
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "weights": [StrOptions({"greedy"}), "array-like", None],
        "bootstrap": ["boolean"],
        "max_samples": [
            Interval(numbers.Integral, 1, None, closed="left"),
            Interval(numbers.Real, 0, 1, closed="right"),
        ],
        "oob_score": ["boolean", callable],
        "oob_validation": ["boolean"],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "engine": [StrOptions({"auto", "fused", "keras"})],
        "checkpoint_dir": [str, os.PathLike, None],
        "n_jobs": [numbers.Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _fit(self, X, y, sample_weight, task, *, classifier):
        self._check_members(classifier)
        draws = self._check_row_parameters(len(X))
        fitted = self._kept_members()
        self._remember_data(X, y, draws, must_agree=bool(fitted))
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            if not fitted:
                self._entropy = keep_entropy(checkpoint, self.random_state)
            for name in _LEARNED_OF_ROWS:
                vars(self).pop(name, None)
            members, left_out = self._make_members(len(X), draws, classifier)
            self._check_frozen(members, X, y)
            new = members[len(fitted) :]
            self._fit_independent(
                new, X, y, sample_weight, task, fitted=fitted, left_out=left_out, checkpoint=checkpoint
            )
        if self.oob_score:
            self._score_left_out(X, y, left_out, self.oob_score)
        return self

    def _kept_members(self):
        """Members that `warm_start` keeps."""
        if not self.warm_start or self._is_fitted_already() or not hasattr(self, "estimators_"):
            return FittedMembers([])
        n_fitted = len(self.estimators_)
        if self.n_estimators < n_fitted:
            raise ValueError(
                f"With `warm_start=True`, `n_estimators` must not be smaller than the {n_fitted} members there are: "
                f"got n_estimators={self.n_estimators}. Set warm_start=False to begin again."
            )
        if self.n_estimators == n_fitted:
            warnings.warn(
                "With `warm_start=True` and `n_estimators` as before, fit trains no new member.", stacklevel=5
            )
        return self.estimators_

    def _remember_data(self, X, y, draws, *, must_agree):
        """Keep what members of a later `warm_start` must share with those of now, and compare it with the earlier."""
        holds_out = isinstance(self.weights, str) and not draws
        known = {
            "shape of X": X.shape,
            "shape of y": y.shape,
            "classes": None if self._member_classes() is None else self._member_classes().tolist(),
            "rows that members draw": (self.bootstrap, self._n_drawn) if draws else None,
            "validation_fraction for weights='greedy'": self.validation_fraction if holds_out else None,
        }
        for name, value in known.items() if must_agree else ():
            if value != self._data[name]:
                raise ValueError(
                    f"With `warm_start=True`, fit adds members to those there are, on the same data: the {name} must "
                    f"be {self._data[name]}, got {value}. Set warm_start=False to begin again."
                )
        self._data = known

    def _is_fitted_already(self):
        """Whether `estimator` is fitted, so that nothing is trained."""
        return isinstance(self.estimator, list) or is_frozen(self.estimator)

    def _check_members(self, classifier):
        if isinstance(self.estimator, list):
            self._check_fitted_members(classifier)
        elif self.estimator is not None:
            check_member(self.estimator, classifier=classifier)
        if is_frozen(self.estimator) and self.n_estimators > 1:
            warnings.warn(
                f"`estimator` is one fitted member: its {self.n_estimators} copies predict the same. Give a list of "
                "FrozenEstimator, or an estimator to train.",
                stacklevel=5,
            )

    def _check_row_parameters(self, n_samples):
        """Whether members draw rows of their own; learns how many."""
        self._n_drawn = self.max_samples
        if not isinstance(self.max_samples, numbers.Integral):
            self._n_drawn = max(1, int(self.max_samples * n_samples))
        if self._n_drawn > n_samples and not self.bootstrap:
            raise ValueError(
                f"`max_samples` must not exceed the rows of X without `bootstrap`: got {self._n_drawn} for {n_samples} "
                "rows."
            )
        draws = (self.bootstrap or self._n_drawn < n_samples) and not self._is_fitted_already()
        for name in ("oob_score", "oob_validation"):
            if getattr(self, name) and not draws:
                raise ValueError(
                    f"`{name}` needs rows that members leave out: set bootstrap=True or max_samples below the "
                    f"{n_samples} rows of X, and an estimator to train."
                )
        return draws

    def _make_members(self, n_samples, draws, classifier):
        """All members, and which rows each leaves out (None where all see all)."""
        estimators = self.estimator
        if not isinstance(estimators, list):
            default = KerasClassifier() if classifier else KerasRegressor()
            estimators = [default if estimators is None else estimators] * self.n_estimators
        seeds = spawn_seeds(self._entropy, self.n_estimators)
        members = [Member(estimator, seed) for estimator, seed in zip(estimators, seeds, strict=True)]
        if not draws:
            return members, None
        rows = [_draw_rows(seed, n_samples, self._n_drawn, self.bootstrap) for seed in seeds]
        left_out = np.ones((len(members), n_samples), bool)
        for i, drawn in enumerate(rows):
            left_out[i, drawn] = False
        if not left_out.any() and (self.oob_score or isinstance(self.weights, str)):
            raise ValueError(
                "`oob_score` and `weights='greedy'` need rows that members leave out, but every member drew all rows: "
                f"lower max_samples={self.max_samples}."
            )
        self.estimators_samples_ = rows
        validation = _validation_rows(left_out) if self.oob_validation else [None] * len(rows)
        members = [
            dataclasses.replace(member, rows=drawn, validation_rows=held_out)
            for member, drawn, held_out in zip(members, rows, validation, strict=True)
        ]
        return members, left_out

    def _check_fitted_members(self, classifier):
        if len(self.estimator) != self.n_estimators:
            raise ValueError(
                f"A list as `estimator` holds every member: got {len(self.estimator)} members for "
                f"n_estimators={self.n_estimators}. Set n_estimators={len(self.estimator)}."
            )
        for i, member in enumerate(self.estimator):
            check_member(member, classifier=classifier, name=f"estimator[{i}]")
            if not is_frozen(member):
                raise TypeError(
                    f"A list as `estimator` holds fitted members: `estimator[{i}]` is {member!r}. Wrap a fitted one as "
                    "sklearn.frozen.FrozenEstimator(member), or give one unfitted estimator to train copies of it."
                )


def _draw_rows(seed, n_samples, n_drawn, replace):
    """Rows of one member, in ascending order."""
    # A generator of its own: the seed itself gives the order in which the rows are visited.
    generator = np.random.default_rng([seed, n_samples])
    return np.sort(generator.choice(n_samples, n_drawn, replace=replace))


def _validation_rows(left_out):
    """Rows on which each member is validated: as many for each, so that they train together, spread over all it has."""
    n_rows = left_out.sum(axis=1).min()
    if n_rows == 0:
        raise ValueError("`oob_validation` needs rows that every member leaves out: one of them drew all rows.")
    rows = [np.flatnonzero(row) for row in left_out]
    return [row[np.arange(n_rows) * len(row) // n_rows] for row in rows]


def _score(score_func, default, y, predictions, judged):
    """Score on the rows that some member left out."""
    if not judged.all():
        warnings.warn(
            f"{np.count_nonzero(~judged)} rows were drawn by every member and have no out-of-bag prediction: with more "
            "members or a smaller `max_samples` there would be one.",
            stacklevel=6,
        )
    return (score_func if callable(score_func) else default)(y[judged], predictions)


class KerasAveragingClassifier(KerasEnsembleClassifierMixin, _BaseKerasAveraging):
    """Average the probabilities, or count the votes, of networks trained from different seeds.

    Copies of one network start from other values and see the rows in another order, so that they make different
    errors; averaging them lowers the variance of the prediction [1]_ and gives better calibrated probabilities [2]_.

    Parameters
    ----------
    estimator : scikeras classifier, FrozenEstimator or list of FrozenEstimator, default=None
        The network, cloned for each member. None means `KerasClassifier()`, a multilayer perceptron. Fitted networks,
        each wrapped as `sklearn.frozen.FrozenEstimator` in a list of length `n_estimators`, are averaged without
        training.
    n_estimators : int, default=5
        Number of members.
    voting : {"soft", "hard"}, default="soft"
        "soft" predicts the largest mean probability. "hard" predicts the label that most members choose, ties going to
        the smallest label, and has no `predict_proba`.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights. "greedy" selects
        members with replacement by their loss on rows that they were not trained on [3]_, so that a weak member counts
        little or nothing: on out-of-bag rows where members draw their rows, else on `validation_fraction` of the rows.
        On those rows the ensemble is never worse than its best member.
    bootstrap : bool, default=False
        Whether each member is trained on rows drawn with replacement (bagging).
    max_samples : int or float, default=1.0
        How many rows each member draws: a number, or a fraction of the rows. Without `bootstrap`, drawn without
        replacement.
    oob_score : bool or callable, default=False
        Whether to score the ensemble on the rows that its members left out, by accuracy
        or by `oob_score(y_true, y_pred)`; see `oob_score_` and `oob_decision_function_`. With `weights="greedy"` or
        `oob_validation` the same rows choose the weights or end the training, and the score is a little too good.
    oob_validation : bool, default=False
        Whether the rows that a member left out are its validation rows, for its `val_loss`, early stopping and the
        like. Every member has as many as the one with the fewest, spread over those that it left out.
    validation_fraction : float, default=0.2
        Fraction of the rows, stratified by class, that no member is trained on where `weights="greedy"` needs them.
    warm_start : bool, default=False
        Whether `fit` keeps the members there are and trains only those that a larger `n_estimators` adds. The result is
        that of training all at once, provided that the data are the same.
    engine : {"auto", "fused", "keras"}, default="auto"
        How members are trained. "fused": all together in one TensorFlow program, with Keras' results in a fraction of
        the time; an error where that is not possible. "keras": one after the other by Keras' own `fit`. "auto": fused
        where possible, else keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call goes on from there, to
        the same result bit for bit. Members that are finished are taken from it, also with a larger `n_estimators`.
        Each fit needs a directory of its own: other data, parameters or versions are an error. To start anew, delete
        it. None keeps nothing.
    n_jobs : int, default=None
        Number of joblib workers that train members side by side; None means 1 unless in a `joblib.parallel_backend`
        context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed from which every member's own seed is spawned; that of member i does not depend on `n_estimators`.
    verbose : int, default=0
        Above 0, a line is printed for each member that is trained.

    Attributes
    ----------
    estimators_ : list of scikeras classifiers
        The fitted members.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    oob_score_ : float
        Score on the rows that members left out; only with `oob_score`.
    oob_decision_function_ : ndarray of shape (n_samples, n_classes)
        Probabilities (with `voting="hard"`, shares of the votes) of each row by the members that left it out, NaN where
        there is none; only with `oob_score`.
    estimators_samples_ : list of ndarray of int
        Rows of each member; only where members draw rows.
    engine_ : str
        The engine that trained the members: "fused", "keras", or "none" where all were fitted already.
    engine_reason_ : str
        Why this engine.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    KerasAveragingRegressor : The same for regression.
    KerasClassifier : The member.

    Notes
    -----
    `sample_weight` reaches every member. A member's `class_weight` is keyed by the labels as they are in y.

    References
    ----------
    .. [1] Hansen and Salamon, "Neural network ensembles", IEEE TPAMI 12 (1990).
    .. [2] Lakshminarayanan, Pritzel and Blundell, "Simple and Scalable Predictive Uncertainty Estimation using Deep
       Ensembles", NeurIPS 2017.
    .. [3] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> member = KerasClassifier(hidden_layer_sizes=(10,), epochs=3)
    >>> ensemble = KerasAveragingClassifier(member, n_estimators=2, random_state=0).fit(X, y)
    >>> ensemble.predict_proba(X[:4]).shape
    (4, 3)
    >>> ensemble.predict_members(X[:4]).shape
    (2, 4, 3)
    """

    _parameter_constraints = {**_BaseKerasAveraging._parameter_constraints, "voting": [StrOptions({"soft", "hard"})]}

    def __init__(
        self,
        estimator=None,
        n_estimators=5,
        *,
        voting="soft",
        weights=None,
        bootstrap=False,
        max_samples=1.0,
        oob_score=False,
        oob_validation=False,
        validation_fraction=0.2,
        warm_start=False,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.voting = voting
        self.weights = weights
        self.bootstrap = bootstrap
        self.max_samples = max_samples
        self.oob_score = oob_score
        self.oob_validation = oob_validation
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images); converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind that scikit-learn takes, or an indicator matrix of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss; rows of weight 0 are left out.

        Returns
        -------
        KerasAveragingClassifier
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=False)
            self._validate_classes(y)
            return self._fit(X, y, sample_weight, task, classifier=True)

    def _score_left_out(self, X, y, left_out, score_func):
        self.oob_decision_function_ = self._predict_left_out(X, left_out)
        judged = left_out.any(axis=0)
        # Shares of votes in another order differ by rounding: without it a tie would go to either class.
        proba = np.round(self.oob_decision_function_[judged], decimals=12)
        labels = self._decode(self._choose_indices(proba))
        self.oob_score_ = _score(score_func, accuracy_score, y, labels, judged)


class KerasAveragingRegressor(KerasEnsembleRegressorMixin, _BaseKerasAveraging):
    """Average the predictions of networks trained from different seeds.

    Parameters
    ----------
    estimator : scikeras regressor, FrozenEstimator or list of FrozenEstimator, default=None
        The network, cloned for each member. None means `KerasRegressor()`, a multilayer perceptron. Fitted networks,
        each wrapped as `sklearn.frozen.FrozenEstimator` in a list of length `n_estimators`, are averaged without
        training.
    n_estimators : int, default=5
        Number of members.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights. "greedy" selects
        members with replacement by their loss on rows that they were not trained on [3]_, so that a weak member counts
        little or nothing: on out-of-bag rows where members draw their rows, else on `validation_fraction` of the rows.
        On those rows the ensemble is never worse than its best member.
    bootstrap : bool, default=False
        Whether each member is trained on rows drawn with replacement (bagging).
    max_samples : int or float, default=1.0
        How many rows each member draws: a number, or a fraction of the rows. Without `bootstrap`, drawn without
        replacement.
    oob_score : bool or callable, default=False
        Whether to score the ensemble on the rows that its members left out, by R^2
        or by `oob_score(y_true, y_pred)`; see `oob_score_` and `oob_prediction_`. With `weights="greedy"` or
        `oob_validation` the same rows choose the weights or end the training, and the score is a little too good.
    oob_validation : bool, default=False
        Whether the rows that a member left out are its validation rows, for its `val_loss`, early stopping and the
        like. Every member has as many as the one with the fewest, spread over those that it left out.
    validation_fraction : float, default=0.2
        Fraction of the rows, stratified by class, that no member is trained on where `weights="greedy"` needs them.
    warm_start : bool, default=False
        Whether `fit` keeps the members there are and trains only those that a larger `n_estimators` adds. The result is
        that of training all at once, provided that the data are the same.
    engine : {"auto", "fused", "keras"}, default="auto"
        How members are trained. "fused": all together in one TensorFlow program, with Keras' results in a fraction of
        the time; an error where that is not possible. "keras": one after the other by Keras' own `fit`. "auto": fused
        where possible, else keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call goes on from there, to
        the same result bit for bit. Members that are finished are taken from it, also with a larger `n_estimators`.
        Each fit needs a directory of its own: other data, parameters or versions are an error. To start anew, delete
        it. None keeps nothing.
    n_jobs : int, default=None
        Number of joblib workers that train members side by side; None means 1 unless in a `joblib.parallel_backend`
        context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed from which every member's own seed is spawned; that of member i does not depend on `n_estimators`.
    verbose : int, default=0
        Above 0, a line is printed for each member that is trained.

    Attributes
    ----------
    estimators_ : list of scikeras regressors
        The fitted members.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    oob_score_ : float
        Score on the rows that members left out; only with `oob_score`.
    oob_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Prediction of each row by the members that left it out, NaN where there is none; only with `oob_score`.
    estimators_samples_ : list of ndarray of int
        Rows of each member; only where members draw rows.
    engine_ : str
        The engine that trained the members: "fused", "keras", or "none" where all were fitted already.
    engine_reason_ : str
        Why this engine.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    KerasAveragingClassifier : The same for classification.
    KerasRegressor : The member.

    References
    ----------
    .. [1] Perrone and Cooper, "When networks disagree: Ensemble methods for hybrid neural networks", 1993.
    .. [2] Breiman, "Bagging predictors", Machine Learning 24 (1996).
    .. [3] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skensemble import KerasAveragingRegressor, KerasRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> member = KerasRegressor(hidden_layer_sizes=(10,), epochs=3)
    >>> ensemble = KerasAveragingRegressor(member, n_estimators=2, random_state=0).fit(X, y)
    >>> mean, std = ensemble.predict(X[:4], return_std=True)
    >>> mean.shape, std.shape
    ((4,), (4,))
    """

    def __init__(
        self,
        estimator=None,
        n_estimators=5,
        *,
        weights=None,
        bootstrap=False,
        max_samples=1.0,
        oob_score=False,
        oob_validation=False,
        validation_fraction=0.2,
        warm_start=False,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.weights = weights
        self.bootstrap = bootstrap
        self.max_samples = max_samples
        self.oob_score = oob_score
        self.oob_validation = oob_validation
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images); converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss; rows of weight 0 are left out.

        Returns
        -------
        KerasAveragingRegressor
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=True)
            return self._fit(X, y, sample_weight, task, classifier=False)

    def _score_left_out(self, X, y, left_out, score_func):
        self.oob_prediction_ = self._predict_left_out(X, left_out)
        judged = left_out.any(axis=0)
        self.oob_score_ = _score(score_func, r2_score, y, self.oob_prediction_[judged], judged)
