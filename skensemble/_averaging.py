"""Model averaging: copies of one network, trained from different seeds, whose predictions are averaged or vote."""

import numbers

from skensemble._base import BaseKerasEnsemble, KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._combine import normalize_weights
from skensemble._compat import HasMethods, Interval, StrOptions, fit_context
from skensemble._members import check_frozen_members, check_member, is_frozen, make_members, spawn_seeds
from skensemble._training import fit_members
from skensemble.wrappers import KerasClassifier, KerasRegressor, unchanged_on_error


class _BaseKerasAveraging(BaseKerasEnsemble):
    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), list, None],
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "weights": ["array-like", None],
        "engine": [StrOptions({"auto", "keras"})],
        "n_jobs": [numbers.Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _fit(self, X, y, sample_weight, *, classifier):
        self.weights_ = normalize_weights(self.weights, self.n_estimators)
        members = self._make_members(classifier)
        check_frozen_members(members, X, self._member_classes())
        trained = fit_members(members, X, y, sample_weight, n_jobs=self.n_jobs, verbose=self.verbose)
        self.estimators_, self.engine_, self.engine_reason_ = trained
        return self

    def _make_members(self, classifier):
        seeds = spawn_seeds(self.random_state, self.n_estimators)
        if isinstance(self.estimator, list):
            return self._check_fitted_members(classifier)
        estimator = self.estimator
        if estimator is None:
            estimator = KerasClassifier() if classifier else KerasRegressor()
        check_member(estimator, classifier=classifier)
        return make_members(estimator, seeds)

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
        return list(self.estimator)


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
    weights : array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights.
    engine : {"auto", "keras"}, default="auto"
        How members are trained: "keras" calls Keras' own `fit` for each, and so does "auto".
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
    engine_ : str
        The engine that trained the members.
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
        engine="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.voting = voting
        self.weights = weights
        self.engine = engine
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
        with unchanged_on_error(self):
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=False)
            self._validate_classes(y)
            return self._fit(X, y, sample_weight, classifier=True)


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
    weights : array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights.
    engine : {"auto", "keras"}, default="auto"
        How members are trained: "keras" calls Keras' own `fit` for each, and so does "auto".
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
    engine_ : str
        The engine that trained the members.
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
    Perrone and Cooper, "When networks disagree: Ensemble methods for hybrid neural networks", 1993.

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
        engine="auto",
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.weights = weights
        self.engine = engine
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
        with unchanged_on_error(self):
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=True)
            return self._fit(X, y, sample_weight, classifier=False)
