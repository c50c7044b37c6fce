"""Snapshot ensembles: one run with a cyclic learning rate, and the network at the end of each cycle as a member."""

import numbers
from typing import Any, Self

from numpy.typing import ArrayLike

from skensemble._base.combining import (
    CLASSIFIER_CONSTRAINTS,
    COMBINATION_CONSTRAINTS,
    calibrates,
    check_combining_parameters,
    learn_combination,
    learn_from_rows,
)
from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.predictions import KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._base.reweight import Reweighted
from skensemble._base.single_run import fit_run, run_member
from skensemble._compat.sklearn import HasMethods, Interval, StrOptions, fit_context
from skensemble._engine.trajectory import Trajectory
from skensemble._members.inputs import TrainingData
from skensemble._numeric.combination import first_weights, normalize_weights
from skensemble._numeric.schedules import SCHEDULES, cycle_ends, cyclic_rates
from skensemble._typing import MatrixLike


class _BaseSnapshotEnsemble(Reweighted, BaseKerasEnsemble):
    _fitted_state = ("estimators_", "n_last_", "learning_rates_", "_steps_per_epoch")
    _parameter_constraints = {
        **BaseKerasEnsemble._parameter_constraints,
        **COMBINATION_CONSTRAINTS,
        "estimator": [HasMethods(["fit", "predict"]), callable, None],
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "schedule": [StrOptions(set(SCHEDULES)), callable],
        "update": [StrOptions({"batch", "epoch"})],
        "initial_learning_rate": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "n_last": [Interval(numbers.Integral, 1, None, closed="left"), None],
    }

    def _train(self, X, y, sample_weight, params, task):
        member, n_epochs = run_member(self, sample_weight, params)
        n_last = self._check_cycles(n_epochs)
        greedy, data = isinstance(self.weights, str), TrainingData(X, y, sample_weight)
        # Before training, so that an error costs nothing.
        check_combining_parameters(self, None if greedy else normalize_weights(self.weights, n_last), n_last)

        def learn(ensemble, run, held_out):
            ensemble._keep_run(run, n_epochs, n_last)
            learn_from_rows(ensemble, data, held_out)

        trajectory = self._trajectory(n_epochs, n_last)
        fit_run(self, member, trajectory, data, learn, task, holds_out=greedy or calibrates(self))
        return self

    def _keep_run(self, run, n_epochs, n_last):
        """Learn the snapshots of a run, newest first, and their weights where these are given."""
        if run.checkpoints is None:
            raise ValueError(
                "The run must reach the end of its first cycle to give a snapshot: it was stopped after "
                f"{run.n_epochs} of {n_epochs} epochs. Remove the callback that stops it, or raise its patience "
                "above the epochs of a cycle."
            )
        self.estimators_ = run.checkpoints.take(range(len(run.checkpoints))[::-1]).members()
        self.n_last_ = len(self.estimators_)
        learn_combination(self)
        self.engine_, self.engine_reason_ = run.engine, run.reason
        self.learning_rates_, self._steps_per_epoch = run.rates.ravel(), run.rates.shape[1]
        if not isinstance(self.weights, str):
            self.weights_ = first_weights(normalize_weights(self.weights, n_last), self.n_last_)

    def _check_cycles(self, n_epochs):
        if n_epochs < self.n_estimators:
            raise ValueError(
                f"The epochs of `estimator` must be at least `n_estimators`, an epoch a cycle: got epochs={n_epochs} "
                f"for n_estimators={self.n_estimators}. Train longer or take fewer snapshots."
            )
        if self.n_last is not None and self.n_last > self.n_estimators:
            raise ValueError(
                f"`n_last` must not be above `n_estimators`: got n_last={self.n_last} for "
                f"n_estimators={self.n_estimators}. Pass None to combine all snapshots."
            )
        return self.n_estimators if self.n_last is None else self.n_last

    def _trajectory(self, n_epochs, n_last):
        def rates(learning_rate, n_steps):
            initial = learning_rate if self.initial_learning_rate is None else self.initial_learning_rate
            return cyclic_rates(self.schedule, initial, n_epochs, self.n_estimators, n_steps, self.update)

        return Trajectory(n_last, tuple(cycle_ends(n_epochs, self.n_estimators)), rates, keeps_optimizer=True)

    def _indices(self, members):
        return sorted(super()._indices(members))  # newest first, in whatever order they were given

    def _learn_subset(self, indices):
        self.n_last_ = len(indices)


class SnapshotEnsembleClassifier(KerasEnsembleClassifierMixin, _BaseSnapshotEnsemble):
    """Combine the networks at the ends of the cycles of one run with a cyclic learning rate.

    The learning rate falls again and again, each time from its initial value; at the end of each cycle the network has
    settled in another minimum. These snapshots [1]_ make different errors, as separately trained networks do, at the
    cost of one training.

    Parameters
    ----------
    estimator : scikeras classifier, default=None
        The network; its `epochs` are split into the cycles. None means `KerasClassifier()`, a multilayer perceptron.
    n_estimators : int, default=5
        Number of cycles, each of which ends with a snapshot. Where the epochs do not divide evenly, the last cycle is
        longer.
    schedule : {"cosine", "triangular"} or callable, default="cosine"
        How the learning rate changes in a cycle. "cosine" falls from the initial rate to 0 [1]_; "triangular" rises
        linearly from a quarter of it to all of it and falls back [2]_. A function takes the fraction of the cycle that
        is done, a float from 0 to below 1, and returns the share of the initial rate.
    update : {"batch", "epoch"}, default="batch"
        Whether the learning rate changes with every step or with every epoch.
    initial_learning_rate : float, default=None
        The learning rate that the schedule scales, the largest of the built-in schedules; None means that of the
        optimizer of `estimator`.
    n_last : int, default=None
        How many of the newest snapshots are combined; the earlier ones are not kept. None means all. Early snapshots
        are weak: the newest few are often better than all. After a fit with None, `reweight(n_last=...)` compares
        numbers without training.
    voting : {"soft", "hard"}, default="soft"
        "soft" predicts the largest mean probability. "hard" predicts the label that most snapshots choose, ties going
        to the smallest label, and has no `predict_proba`.
    combination : {"mean", "median", "geometric_mean", "trimmed_mean"}, default="mean"
        How the probabilities of the members become one with `voting="soft"`. The median is taken for each class
        separately, weighted by `weights`. The geometric mean (logarithmic opinion pool) is the mean of the logarithms:
        a class to which one member gives 0, or which it does not know, is all but ruled out. A trimmed mean leaves out
        the smallest and the largest probabilities of each class; it takes equal weights only. All but the mean are
        scaled to sum to 1 again; with several labels per row, each label is combined separately.
    trim_fraction : float, default=0.2
        For a trimmed mean: the share of the members that is left out at each end, rounded down to whole members.
    weights : array-like of shape (n_last,) or "greedy", default=None
        How much each snapshot counts, newest first; not negative, scaled to sum to 1. "greedy" selects snapshots on
        held-out rows (the best single one is a candidate, so the selection is never worse there). None means equal
        weights.
    validation_fraction : float, default=0.2
        Fraction of the rows that are held out for `weights="greedy"` and not trained on.
    engine : {"auto", "fused", "keras"}, default="auto"
        How the network is trained. "fused": the whole run as one program of TensorFlow or JAX, with the result that
        Keras gives, in a fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`.
        "auto": fused where possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, snapshots included, so that after a crash or a kill the same call
        continues from there, to the same result bit for bit; a finished fit is taken from it. Each fit needs its own
        directory: other data, parameters or versions are an error. To start again, delete it. None keeps nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting values, of dropout, of the order of rows, and of the rows that are held out.
    verbose : int, default=0
        Above 0, progress is printed.
    calibration : {"temperature"}, default=None
        Whether the combined probabilities are calibrated [3]_. "temperature": their logarithms (log-odds for several
        labels, each with its own temperature) are divided by a number that is fitted by the log-loss on rows that no
        member was trained on: `validation_fraction` of them. `predict` stays the same. None: not calibrated.

    Attributes
    ----------
    estimators_ : sequence of scikeras classifiers
        The snapshots, newest first; the `history_` of each ends with its epoch. There are fewer than asked for where a
        callback stopped the run.
    n_last_ : int
        How many of the newest snapshots are combined.
    learning_rates_ : ndarray of shape (n_steps,)
        The learning rate of every step of the run.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_snapshots,)
        How much each of `estimators_` counts, newest first; sums to 1.
    voting_, combination_, trim_fraction_ : str, str, float
        How the members are combined, as the last `fit` or `reweight` set it.
    temperature_ : float or ndarray of shape (n_labels,)
        Temperature of the combined probabilities; only with `calibration`. Above 1 means that they were overconfident.
    engine_ : str
        The engine that trained the network: "fused" or "keras".
    engine_reason_ : str
        Why this engine was used.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    SnapshotEnsembleRegressor : The same for regression.
    PolyakWeightClassifier : One network, averaged from the last epochs of one run.
    KerasAveragingClassifier : Networks from runs of their own.

    Notes
    -----
    Snapshots are in the same order everywhere, newest first: in `estimators_`, `weights`, `weights_` and
    `predict_members`. `staged_predict` and `staged_predict_proba` begin with the newest and go back in time.

    The state of the optimizer (momentum) continues from cycle to cycle, as in the paper. Its learning rate must be a
    number, since the schedule controls it.

    References
    ----------
    .. [1] Huang, Li, Pleiss, Liu, Hopcroft and Weinberger, "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017.
    .. [2] Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.
    .. [3] Rahaman and Thiery, "Uncertainty Quantification and Deep Ensembles", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasClassifier, SnapshotEnsembleClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> member = KerasClassifier(hidden_layer_sizes=(10,), epochs=6)
    >>> ensemble = SnapshotEnsembleClassifier(member, n_estimators=3, random_state=0).fit(X, y)
    >>> ensemble.predict_members(X[:4]).shape
    (3, 4, 3)
    >>> ensemble.learning_rates_.shape  # 6 epochs of 5 steps
    (30,)
    """

    _parameter_constraints = {
        **_BaseSnapshotEnsemble._parameter_constraints,
        **CLASSIFIER_CONSTRAINTS,
    }

    def __init__(
        self,
        estimator=None,
        n_estimators=5,
        *,
        schedule="cosine",
        update="batch",
        initial_learning_rate=None,
        n_last=None,
        voting="soft",
        combination="mean",
        trim_fraction=0.2,
        weights=None,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        random_state=None,
        verbose=0,
        calibration=None,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.schedule = schedule
        self.update = update
        self.initial_learning_rate = initial_learning_rate
        self.n_last = n_last
        self.voting = voting
        self.combination = combination
        self.trim_fraction = trim_fraction
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose
        self.calibration = calibration

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the network once and keep its snapshots.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind that scikit-learn takes, or an indicator matrix of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss; rows of weight 0 are left out.
        **params : dict
            Further metadata, with `sklearn.set_config(enable_metadata_routing=True)`. Networks take only
            `sample_weight`; anything else is an error.

        Returns
        -------
        SnapshotEnsembleClassifier
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where the network cannot be trained in the fused program.
        TypeError
            Where `estimator` is not a network to train.
        ValueError
            Where parameters contradict each other or the data, before anything is trained.

        Warns
        -----
        ConvergenceWarning
            Where the loss is not finite.
        DataConversionWarning
            Where y is a column, or looks like classes in one-hot form.
        RuntimeWarning
            Where a file in `checkpoint_dir` cannot be used; what it held is trained again.
        UserWarning
            Where a trimmed mean leaves no snapshot out.
        """
        return self._fit_checked(X, y, sample_weight, params)


class SnapshotEnsembleRegressor(KerasEnsembleRegressorMixin, _BaseSnapshotEnsemble):
    """Average the networks at the ends of the cycles of one run with a cyclic learning rate.

    See `SnapshotEnsembleClassifier`.

    Parameters
    ----------
    estimator : scikeras regressor, default=None
        The network; its `epochs` are split into the cycles. None means `KerasRegressor()`, a multilayer perceptron.
    n_estimators : int, default=5
        Number of cycles, each of which ends with a snapshot. Where the epochs do not divide evenly, the last cycle is
        longer.
    schedule : {"cosine", "triangular"} or callable, default="cosine"
        How the learning rate changes in a cycle. "cosine" falls from the initial rate to 0; "triangular" rises linearly
        from a quarter of it to all of it and falls back. A function takes the fraction of the cycle that is done, a
        float from 0 to below 1, and returns the share of the initial rate.
    update : {"batch", "epoch"}, default="batch"
        Whether the learning rate changes with every step or with every epoch.
    initial_learning_rate : float, default=None
        The learning rate that the schedule scales, the largest of the built-in schedules; None means that of the
        optimizer of `estimator`.
    n_last : int, default=None
        How many of the newest snapshots are combined; the earlier ones are not kept. None means all. Early snapshots
        are weak: the newest few are often better than all. After a fit with None, `reweight(n_last=...)` compares
        numbers without training.
    combination : {"mean", "median", "trimmed_mean"}, default="mean"
        How the predictions of the members become one. The median is weighted by `weights`. A trimmed mean leaves out
        the smallest and the largest predictions of each target; it takes equal weights only.
    trim_fraction : float, default=0.2
        For a trimmed mean: the share of the members that is left out at each end, rounded down to whole members.
    weights : array-like of shape (n_last,) or "greedy", default=None
        How much each snapshot counts, newest first; not negative, scaled to sum to 1. "greedy" selects snapshots on
        held-out rows (the best single one is a candidate, so the selection is never worse there). None means equal
        weights.
    validation_fraction : float, default=0.2
        Fraction of the rows that are held out for `weights="greedy"` and not trained on.
    engine : {"auto", "fused", "keras"}, default="auto"
        How the network is trained. "fused": the whole run as one program of TensorFlow or JAX, with the result that
        Keras gives, in a fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`.
        "auto": fused where possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, snapshots included, so that after a crash or a kill the same call
        continues from there, to the same result bit for bit; a finished fit is taken from it. Each fit needs its own
        directory: other data, parameters or versions are an error. To start again, delete it. None keeps nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting values, of dropout, of the order of rows, and of the rows that are held out.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of scikeras regressors
        The snapshots, newest first; the `history_` of each ends with its epoch. There are fewer than asked for where a
        callback stopped the run.
    n_last_ : int
        How many of the newest snapshots are combined.
    learning_rates_ : ndarray of shape (n_steps,)
        The learning rate of every step of the run.
    weights_ : ndarray of shape (n_snapshots,)
        How much each of `estimators_` counts, newest first; sums to 1.
    combination_, trim_fraction_ : str, float
        How the members are combined, as the last `fit` or `reweight` set it.
    engine_ : str
        The engine that trained the network: "fused" or "keras".
    engine_reason_ : str
        Why this engine was used.
    n_features_in_ : int
        Size of the second dimension of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns of X, where X was a DataFrame with string names.

    See Also
    --------
    SnapshotEnsembleClassifier : The same for classification.
    PolyakWeightRegressor : One network, averaged from the last epochs of one run.

    Notes
    -----
    Snapshots are in the same order everywhere, newest first: in `estimators_`, `weights`, `weights_` and
    `predict_members`. `staged_predict` begins with the newest and goes back in time.

    References
    ----------
    Huang, Li, Pleiss, Liu, Hopcroft and Weinberger, "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from skensemble import KerasRegressor, SnapshotEnsembleRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> member = KerasRegressor(hidden_layer_sizes=(10,), epochs=6)
    >>> ensemble = SnapshotEnsembleRegressor(member, n_estimators=3, n_last=2, random_state=0).fit(X, y)
    >>> len(ensemble.estimators_)
    2
    """

    def __init__(
        self,
        estimator=None,
        n_estimators=5,
        *,
        schedule="cosine",
        update="batch",
        initial_learning_rate=None,
        n_last=None,
        combination="mean",
        trim_fraction=0.2,
        weights=None,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        random_state=None,
        verbose=0,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.schedule = schedule
        self.update = update
        self.initial_learning_rate = initial_learning_rate
        self.n_last = n_last
        self.combination = combination
        self.trim_fraction = trim_fraction
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the network once and keep its snapshots.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the loss; rows of weight 0 are left out.
        **params : dict
            Further metadata, with `sklearn.set_config(enable_metadata_routing=True)`. Networks take only
            `sample_weight`; anything else is an error.

        Returns
        -------
        SnapshotEnsembleRegressor
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where the network cannot be trained in the fused program.
        TypeError
            Where `estimator` is not a network to train.
        ValueError
            Where parameters contradict each other or the data, before anything is trained.

        Warns
        -----
        ConvergenceWarning
            Where the loss is not finite.
        DataConversionWarning
            Where y is a column.
        RuntimeWarning
            Where a file in `checkpoint_dir` cannot be used; what it held is trained again.
        UserWarning
            Where a trimmed mean leaves no snapshot out.
        """
        return self._fit_checked(X, y, sample_weight, params)
