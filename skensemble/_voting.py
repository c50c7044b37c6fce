"""Voting: different networks, and other scikit-learn estimators beside them, whose predictions are averaged or vote."""

import numbers
import os

from skensemble._base import KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._checkpoint import open_checkpoint
from skensemble._compat import Interval, StrOptions, VisualBlock, fit_context
from skensemble._named import BaseNamedMembers, describe
from skensemble._progress import fit_task


class _BaseKerasVoting(BaseNamedMembers):
    _parameter_constraints = {
        "estimators": [list],
        "weights": [StrOptions({"greedy"}), "array-like", None],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "engine": [StrOptions({"auto", "fused", "keras"})],
        "checkpoint_dir": [str, os.PathLike, None],
        "n_jobs": [numbers.Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _fit(self, X, y, sample_weight, task, *, classifier):
        entries = self._check_estimators(X, sample_weight, classifier)
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            members = self._seeded_members(entries, checkpoint)
            self._check_frozen(members, X, y)
            self._fit_independent(members, X, y, sample_weight, task, checkpoint=checkpoint)
        return self

    def _exported_members(self):
        return self.estimators_, self._names, self.weights_

    def _check_other(self, name, estimator, X, sample_weight):
        super()._check_other(name, estimator, X, sample_weight)
        if getattr(self, "voting", None) == "soft" and not hasattr(estimator, "predict_proba"):
            raise ValueError(
                f"With `voting='soft'`, members need predict_proba: {describe(name, estimator)}, which has none. Use "
                "voting='hard', or wrap it in sklearn.calibration.CalibratedClassifierCV."
            )

    def _sk_visual_block_(self):
        names, estimators = zip(*self.estimators, strict=True)
        return VisualBlock("parallel", estimators, names=names)


class KerasVotingClassifier(KerasEnsembleClassifierMixin, _BaseKerasVoting):
    """Average the probabilities, or count the votes, of different networks.

    Networks of different architectures make more different errors than copies of one. They may stand beside any other
    scikit-learn classifier, and beside networks that are already fitted.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras classifiers of any architecture, other scikit-learn classifiers, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained. Members see the labels as they are in y.
    voting : {"soft", "hard"}, default="soft"
        "soft" predicts the largest mean probability. "hard" predicts the label that most members choose, ties going to
        the smallest label, and has no `predict_proba`.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights. "greedy" selects
        members with replacement by their log-loss on `validation_fraction` of the rows, which no member is trained on
        (all rows where every member is fitted already) [1]_: a weak member counts little or nothing, and on those rows
        the ensemble is never worse than its best member.
    validation_fraction : float, default=0.2
        Fraction of the rows, stratified by class, that is held out for `weights="greedy"`.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one TensorFlow program, with Keras' results in a fraction of the time; an
        error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where possible, else keras;
        `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call goes on from there, to
        the same result bit for bit. Networks that are finished are taken from it; other estimators are trained again.
        Each fit needs a directory of its own: other data, parameters or versions are an error. To start anew, delete
        it. None keeps nothing.
    n_jobs : int, default=None
        Number of joblib workers that train members side by side; None means 1 unless in a `joblib.parallel_backend`
        context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members that have none of their own are spawned.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The fitted members, in order.
    named_estimators_ : Bunch
        The fitted members by name.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    engine_ : str
        The engine that trained the networks: "fused", "keras", both, or "none" where no network was trained.
    engine_reason_ : str
        Why this engine.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    KerasAveragingClassifier : Copies of one network.
    sklearn.ensemble.VotingClassifier : Without networks.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skensemble import KerasClassifier, KerasVotingClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("mlp", KerasClassifier(epochs=3)), ("logistic", LogisticRegression(max_iter=500))]
    >>> ensemble = KerasVotingClassifier(members, weights="greedy", random_state=0).fit(X, y)
    >>> ensemble.predict_proba(X[:4]).shape
    (4, 3)
    """

    _parameter_constraints = {**_BaseKerasVoting._parameter_constraints, "voting": [StrOptions({"soft", "hard"})]}

    def __init__(
        self,
        estimators,
        *,
        voting="soft",
        weights=None,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimators = estimators
        self.voting = voting
        self.weights = weights
        self.validation_fraction = validation_fraction
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
            Weight of each row.

        Returns
        -------
        KerasVotingClassifier
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=False)
            self._validate_classes(y)
            return self._fit(X, y, sample_weight, task, classifier=True)


class KerasVotingRegressor(KerasEnsembleRegressorMixin, _BaseKerasVoting):
    """Average the predictions of different networks.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras regressors of any architecture, other scikit-learn regressors, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights. "greedy" selects
        members with replacement by their squared error on `validation_fraction` of the rows, which no member is trained
        on (all rows where every member is fitted already) [1]_: a weak member counts little or nothing, and on those
        rows the ensemble is never worse than its best member.
    validation_fraction : float, default=0.2
        Fraction of the rows that is held out for `weights="greedy"`.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one TensorFlow program, with Keras' results in a fraction of the time; an
        error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where possible, else keras;
        `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call goes on from there, to
        the same result bit for bit. Networks that are finished are taken from it; other estimators are trained again.
        Each fit needs a directory of its own: other data, parameters or versions are an error. To start anew, delete
        it. None keeps nothing.
    n_jobs : int, default=None
        Number of joblib workers that train members side by side; None means 1 unless in a `joblib.parallel_backend`
        context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members that have none of their own are spawned.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The fitted members, in order.
    named_estimators_ : Bunch
        The fitted members by name.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    engine_ : str
        The engine that trained the networks: "fused", "keras", both, or "none" where no network was trained.
    engine_reason_ : str
        Why this engine.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    KerasAveragingRegressor : Copies of one network.
    sklearn.ensemble.VotingRegressor : Without networks.

    References
    ----------
    .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from skensemble import KerasRegressor, KerasVotingRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> ensemble = KerasVotingRegressor([("mlp", KerasRegressor(epochs=3)), ("ridge", Ridge())], random_state=0)
    >>> ensemble.fit(X, y).predict(X[:4]).shape
    (4,)
    """

    def __init__(
        self,
        estimators,
        *,
        weights=None,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimators = estimators
        self.weights = weights
        self.validation_fraction = validation_fraction
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
            Weight of each row.

        Returns
        -------
        KerasVotingRegressor
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=True)
            return self._fit(X, y, sample_weight, task, classifier=False)
