"""Snapshot ensembles: one run with a cyclic learning rate, and the network at the end of each cycle as a member."""

import numbers
import os

import numpy as np

from skensemble._base import BaseKerasEnsemble, KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._checkpoint import keep_entropy, open_checkpoint
from skensemble._combine import first_weights, normalize_weights
from skensemble._compat import HasMethods, Interval, StrOptions, fit_context
from skensemble._members import Member, predict_members, spawn_seeds
from skensemble._progress import fit_task, fitted_as
from skensemble._schedules import SCHEDULES, cycle_ends, cyclic_rates
from skensemble._selection import greedy_weights, held_out_rows
from skensemble._training import fit_trajectory
from skensemble._trajectory import Trajectory, run_epochs, run_estimator


class _BaseSnapshotEnsemble(BaseKerasEnsemble):
    _parameter_constraints = {
        "estimator": [HasMethods(["fit", "predict"]), None],
        "n_estimators": [Interval(numbers.Integral, 1, None, closed="left")],
        "schedule": [StrOptions(set(SCHEDULES)), callable],
        "update": [StrOptions({"batch", "epoch"})],
        "initial_learning_rate": [Interval(numbers.Real, 0, None, closed="neither"), None],
        "n_last": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "weights": ["array-like", StrOptions({"greedy"}), None],
        "validation_fraction": [Interval(numbers.Real, 0, 1, closed="neither")],
        "engine": [StrOptions({"auto", "fused", "keras"})],
        "checkpoint_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def _fit(self, X, y, sample_weight, task, *, classifier):
        estimator = run_estimator(self.estimator, classifier=classifier)
        n_epochs = run_epochs(estimator)
        n_last = self._check_cycles(n_epochs)
        greedy = isinstance(self.weights, str)
        if not greedy:
            normalize_weights(self.weights, n_last)  # before the training, so that an error costs nothing
        rows, held_out = None, None
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            (seed,) = spawn_seeds(keep_entropy(checkpoint, self.random_state), 1)
            if greedy:
                rows, held_out = held_out_rows(y, self.validation_fraction, seed, stratify=classifier)

            def learn(ensemble, run):
                ensemble._keep_run(run, n_last)
                if greedy:
                    ensemble.weights_ = ensemble._select(X, y, sample_weight, held_out)

            task.set_data(X, y, sample_weight, lambda run: run.checkpoints and fitted_as(self, learn, run))
            run = fit_trajectory(
                Member(estimator, seed, rows),
                self._trajectory(n_epochs, n_last),
                X,
                y,
                sample_weight,
                engine=self.engine,
                task=task,
                checkpoint=checkpoint,
            )
        if run.checkpoints is None:
            raise ValueError(
                "The run must reach the end of its first cycle to give a snapshot: it was stopped after "
                f"{run.n_epochs} of {n_epochs} epochs. Remove the callback that stops it, or raise its patience "
                "above the epochs of a cycle."
            )
        learn(self, run)
        return self

    def _keep_run(self, run, n_last):
        """Learn the snapshots of a run, and their weights where these are given."""
        self.estimators_ = run.checkpoints.members()
        self.engine_, self.engine_reason_ = run.engine, run.reason
        self.learning_rates_ = run.rates.ravel()
        if not isinstance(self.weights, str):
            self.weights_ = self._reached_weights(n_last, len(self.estimators_))

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

    def _select(self, X, y, sample_weight, held_out):
        """Weights of the snapshots, chosen on rows that were not trained on."""
        classes = self._member_classes()
        multilabel = getattr(self, "_multilabel", False)
        target = y[held_out] if classes is None else np.searchsorted(classes, y[held_out])
        weights = None if sample_weight is None or not sample_weight[held_out].any() else sample_weight[held_out]
        return greedy_weights(
            predict_members(self.estimators_, X[held_out], classes),
            target,
            sample_weight=weights,
            multilabel=multilabel,
            regression=classes is None and not multilabel,
        )

    def _reached_weights(self, n_last, n_reached):
        """Weights of the snapshots that there are; the last weight is the newest's in a run that was stopped too."""
        return first_weights(normalize_weights(self.weights, n_last)[::-1], n_reached)[::-1]

    def _stage_order(self, values):
        return values[::-1]


class SnapshotEnsembleClassifier(KerasEnsembleClassifierMixin, _BaseSnapshotEnsemble):
    """Combine the networks at the ends of the cycles of one run with a cyclic learning rate.

    The learning rate falls again and again, each time from the initial one; at the end of each cycle the network has
    settled in another minimum. These snapshots [1]_ make different errors, as separately trained networks do, at the
    price of one training.

    Parameters
    ----------
    estimator : scikeras classifier, default=None
        The network; its `epochs` are split into the cycles. None means `KerasClassifier()`, a multilayer perceptron.
    n_estimators : int, default=5
        Number of cycles, each of which ends with a snapshot. Where the epochs do not divide evenly, the last cycle is
        longer.
    schedule : {"cosine", "triangular"} or callable, default="cosine"
        How the learning rate goes in a cycle. "cosine" falls from the initial rate to 0 [1]_, "triangular" rises
        straight from a quarter of it to all of it and falls back [2]_. A function takes the fraction of the cycle done,
        a float from 0 to below 1, and returns the share of the initial rate.
    update : {"batch", "epoch"}, default="batch"
        Whether the learning rate changes with every step or with every epoch.
    initial_learning_rate : float, default=None
        The largest rate of the built-in schedules; None means that of the optimizer of `estimator`.
    n_last : int, default=None
        How many snapshots, the last ones, are combined; the earlier ones are not kept. None means all. Early snapshots
        are weak: the last few are often better than all.
    voting : {"soft", "hard"}, default="soft"
        "soft" predicts the largest mean probability. "hard" predicts the label that most snapshots choose, ties going
        to the smallest label, and has no `predict_proba`.
    weights : array-like of shape (n_last,) or "greedy", default=None
        How much each snapshot counts, oldest first; not negative, scaled to sum to 1. "greedy" selects snapshots on
        held-out rows (the best single one is a candidate, so that the selection is never worse there). None means
        equal weights.
    validation_fraction : float, default=0.2
        Fraction of the rows that are held out for `weights="greedy"`, and are not trained on.
    engine : {"auto", "fused", "keras"}, default="auto"
        How the network is trained. "fused": the whole run as one TensorFlow program, with Keras' result in a fraction
        of the time; an error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where possible,
        else keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, snapshots included, so that after a crash or a kill the same call
        goes on from there, to the same result bit for bit; a fit that is finished is taken from it. Each fit needs a
        directory of its own: other data, parameters or versions are an error. To start anew, delete it. None keeps
        nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting values, of dropout, of the order of rows, and of the rows that are held out.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : list of scikeras classifiers
        The snapshots that are combined, newest last; `history_` of each ends with its epoch. Fewer than asked for where
        a callback stopped the run.
    learning_rates_ : ndarray of shape (n_steps,)
        The learning rate of every step of the run.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_last,)
        How much each of `estimators_` counts; sums to 1.
    engine_ : str
        The engine that trained the network: "fused" or "keras".
    engine_reason_ : str
        Why this engine.
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
    `staged_predict` and `staged_predict_proba` begin with the newest snapshot and go back in time.

    The state of the optimizer (momentum) goes on from cycle to cycle, as in the paper. Its learning rate must be a
    number, since the schedule takes it over.

    References
    ----------
    .. [1] Huang, Li, Pleiss, Liu, Hopcroft and Weinberger, "Snapshot Ensembles: Train 1, Get M for Free", ICLR 2017.
    .. [2] Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017.

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

    _parameter_constraints = {**_BaseSnapshotEnsemble._parameter_constraints, "voting": [StrOptions({"soft", "hard"})]}

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
        self.voting = voting
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Train the network once and keep its snapshots.

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
        SnapshotEnsembleClassifier
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=False)
            self._validate_classes(y)
            return self._fit(X, y, sample_weight, task, classifier=True)


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
        How the learning rate goes in a cycle. "cosine" falls from the initial rate to 0, "triangular" rises straight
        from a quarter of it to all of it and falls back. A function takes the fraction of the cycle done, a float from
        0 to below 1, and returns the share of the initial rate.
    update : {"batch", "epoch"}, default="batch"
        Whether the learning rate changes with every step or with every epoch.
    initial_learning_rate : float, default=None
        The largest rate of the built-in schedules; None means that of the optimizer of `estimator`.
    n_last : int, default=None
        How many snapshots, the last ones, are combined; the earlier ones are not kept. None means all. Early snapshots
        are weak: the last few are often better than all.
    weights : array-like of shape (n_last,) or "greedy", default=None
        How much each snapshot counts, oldest first; not negative, scaled to sum to 1. "greedy" selects snapshots on
        held-out rows (the best single one is a candidate, so that the selection is never worse there). None means
        equal weights.
    validation_fraction : float, default=0.2
        Fraction of the rows that are held out for `weights="greedy"`, and are not trained on.
    engine : {"auto", "fused", "keras"}, default="auto"
        How the network is trained. "fused": the whole run as one TensorFlow program, with Keras' result in a fraction
        of the time; an error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where possible,
        else keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, snapshots included, so that after a crash or a kill the same call
        goes on from there, to the same result bit for bit; a fit that is finished is taken from it. Each fit needs a
        directory of its own: other data, parameters or versions are an error. To start anew, delete it. None keeps
        nothing.
    random_state : int, RandomState instance or None, default=None
        Seed of the starting values, of dropout, of the order of rows, and of the rows that are held out.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : list of scikeras regressors
        The snapshots that are combined, newest last; `history_` of each ends with its epoch. Fewer than asked for where
        a callback stopped the run.
    learning_rates_ : ndarray of shape (n_steps,)
        The learning rate of every step of the run.
    weights_ : ndarray of shape (n_last,)
        How much each of `estimators_` counts; sums to 1.
    engine_ : str
        The engine that trained the network: "fused" or "keras".
    engine_reason_ : str
        Why this engine.
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
    `staged_predict` begins with the newest snapshot and goes back in time.

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
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, sample_weight=None):
        """Train the network once and keep its snapshots.

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
        SnapshotEnsembleRegressor
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=True)
            return self._fit(X, y, sample_weight, task, classifier=False)
