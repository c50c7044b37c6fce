"""Model averaging: copies of one network, trained from different seeds, whose predictions are averaged or vote."""

import numbers
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import check_is_fitted

from skensemble._base.combining import CLASSIFIER_CONSTRAINTS, COMBINATION_CONSTRAINTS
from skensemble._base.early_stopping import LEARNED_OF_STOPPING, STOPPING_CONSTRAINTS, check_stopping
from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.independent_runs import fit_independent
from skensemble._base.metadata_routing import member_metadata
from skensemble._base.network_copies import check_given, draws_rows, is_fitted_already, make_members
from skensemble._base.out_of_bag import conformal_rows, learn_left_out, score_left_out
from skensemble._base.partial_fit import train_further
from skensemble._base.predictions import KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._base.reweight import Reweighted
from skensemble._base.warm_start import kept_members, remember_data
from skensemble._checkpoint.store import keep_entropy, open_checkpoint
from skensemble._compat.sklearn import HasMethods, Interval, RealNotInt, fit_context
from skensemble._from_models.models import labelled, read_models
from skensemble._from_models.reading import Reading
from skensemble._members.inputs import TrainingData
from skensemble._members.member_checks import check_takes_columns
from skensemble._members.random_draws import check_param_distributions, count_columns, draw_entropy, spawn_seeds
from skensemble._members.spec import MemberSpec, is_network
from skensemble._numeric.conformal import adaptive_scores, jackknife_interval, jackknife_sets
from skensemble._numeric.mixture import PredictionInterval, check_coverage
from skensemble._typing import MatrixLike
from skensemble._wrappers.adapters import as_member
from skensemble.wrappers import KerasClassifier, KerasRegressor

#: What parameters must be for `partial_fit`, which trains all members on all rows and columns.
_ALL_ROWS_AND_COLUMNS = {
    "bootstrap": False,
    "max_samples": 1.0,
    "max_features": 1.0,
    "oob_score": False,
    "oob_validation": False,
    "early_stopping": None,
    "warm_start": False,
    "checkpoint_dir": None,
}
#: What a fit leaves behind only where members drew rows or columns, or were stopped together.
_LEARNED_OF_FIT = (
    "estimators_samples_",
    "estimators_features_",
    "estimators_params_",
    "oob_score_",
    "oob_decision_function_",
    "oob_prediction_",
    "_conformity",
    *LEARNED_OF_STOPPING,
)
_COUNT = Interval(numbers.Integral, 1, None, closed="left")


class _BaseKerasAveraging(Reweighted, BaseKerasEnsemble):
    _fitted_state = ("estimators_", "estimator_", *_LEARNED_OF_FIT, "_data", "_entropy", "_n_drawn")
    _parameter_constraints = {
        **BaseKerasEnsemble._parameter_constraints,
        **COMBINATION_CONSTRAINTS,
        "estimator": [HasMethods(["fit", "predict"]), callable, list, None],
        "n_estimators": [_COUNT],
        "param_distributions": [dict, list, None],
        "bootstrap": ["boolean"],
        "max_samples": [_COUNT, Interval(RealNotInt, 0, 1, closed="right")],
        "max_features": [_COUNT, Interval(RealNotInt, 0, 1, closed="right")],
        "oob_score": ["boolean", callable],
        "oob_validation": ["boolean"],
        **STOPPING_CONSTRAINTS,
        "warm_start": ["boolean"],
        "n_jobs": [numbers.Integral, None],
    }

    def __len__(self):
        """Number of fitted members."""
        check_is_fitted(self)
        return len(self.estimators_)

    def __getitem__(self, index):
        """The fitted member at `index`, or a list of members for a slice."""
        check_is_fitted(self)
        return self.estimators_[index]

    def __iter__(self):
        """Iterate over the fitted members."""
        check_is_fitted(self)
        return iter(self.estimators_)

    def __bool__(self):
        """True, even before `fit`, when there is no length."""
        return True

    @classmethod
    def _from_models(cls, models, reading, weights, **combining):
        trained = read_models(labelled(models), reading, apart=True)
        estimators = trained.estimators
        ensemble = cls(estimators, len(estimators), weights=trained.weights(weights), **combining)
        trained.become_members_of(ensemble)
        ensemble.estimator_ = None
        return ensemble

    def _train(self, X, y, sample_weight, params, task):
        given = self._given
        check_given(self, given)
        metadata = member_metadata(self, sample_weight, params)
        check_param_distributions(given, self.param_distributions)
        draws = draws_rows(self, len(X))
        check_stopping(self, draws=draws, is_fitted_already=is_fitted_already(given))
        n_columns = count_columns(self.max_features, X.row_shape)
        if n_columns is not None:
            check_takes_columns(given)
        fitted = kept_members(self)
        remember_data(self, X, y, draws, n_columns, must_agree=bool(fitted))
        data, n_kept = TrainingData(X, y, sample_weight), len(fitted)
        params_of_kept = getattr(self, "estimators_params_", [{}] * n_kept)[:n_kept]
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            if not fitted:
                self._entropy = keep_entropy(checkpoint, self.random_state)
            for name in (*_LEARNED_OF_FIT, "_is_subset"):
                vars(self).pop(name, None)
            members, left_out = make_members(self, X, metadata, params_of_kept, draws=draws, n_columns=n_columns)
            new = members[n_kept:]
            fit_independent(self, new, data, task, fitted=fitted, left_out=left_out, checkpoint=checkpoint)
        if left_out is not None and left_out.any():
            learn_left_out(self, data, left_out)
        self.estimator_ = self._template(is_classifier(self))
        return self

    @property
    def _given(self):
        """The parameter `estimator`, with the wrappers of other packages converted."""
        return as_member(self.estimator)

    def _members_to_train_on(self, y, n_before):
        """Members for `partial_fit`, which trains all of them on all rows."""
        check_given(self, self._given)
        template = self._template(is_classifier(self))
        _check_partial_fit(self, template, n_before)
        for name in (*_LEARNED_OF_FIT, "_data"):
            vars(self).pop(name, None)
        if n_before is None:
            self._entropy = draw_entropy(self.random_state)
        self.estimator_ = template
        return [MemberSpec(template, seed) for seed in spawn_seeds(self._entropy, self.n_estimators)]

    def _template(self, classifier):
        """The estimator whose copies are trained; None where fitted members are given in a list."""
        if isinstance(self._given, list):
            return None
        if self._given is None:
            return KerasClassifier() if classifier else KerasRegressor()
        return self._given

    def _learn_subset(self, indices):
        drawn = ("estimators_samples_", "estimators_features_", "estimators_params_")
        for name in drawn:
            if hasattr(self, name):
                setattr(self, name, [getattr(self, name)[i] for i in indices])
        for name in set(_LEARNED_OF_FIT).difference(drawn):
            vars(self).pop(name, None)

    def _find_network(self, *, fitted):
        if fitted:
            return None if self.estimators_.first_network() is None else "", self.estimators_.has_networks_only()
        given = self._given if isinstance(self._given, list) else [self._given]
        are_networks = [one is None or is_network(one) for one in given]
        return "" if any(are_networks) else None, all(are_networks)


def _check_partial_fit(ensemble, template, n_before):
    """Raise where parameters ask for what `partial_fit` cannot do; `n_before` members are there, None for none."""
    if is_fitted_already(ensemble._given) or not is_network(template):
        raise ValueError(
            f"`partial_fit` trains copies of one network: got {type(template).__name__} as `estimator`. Members "
            "that are fitted already, and pipelines, are not trained further."
        )
    if ensemble.param_distributions is not None:
        raise ValueError(
            "`partial_fit` trains copies of one network with the same parameters: got `param_distributions`. Set "
            "param_distributions=None, or use `fit`."
        )
    for name, value in _ALL_ROWS_AND_COLUMNS.items():
        given = getattr(ensemble, name)
        if isinstance(given, str) or given != value:
            raise ValueError(
                "`partial_fit` trains every member on all rows and columns that it is given: got "
                f"{name}={given!r}. Set {name}={value!r}."
            )
    if n_before not in (None, ensemble.n_estimators):
        raise ValueError(
            f"`partial_fit` trains the {n_before} members there are further: got "
            f"n_estimators={ensemble.n_estimators}. Add members with `warm_start` and `fit`, or begin again with `fit`."
        )


class KerasAveragingClassifier(KerasEnsembleClassifierMixin, _BaseKerasAveraging):
    """Average the probabilities, or count the votes, of networks trained from different seeds.

    Copies of one network start from different values and see the rows in a different order, so they make different
    errors. Averaging them lowers the variance of the prediction [1]_ and gives better calibrated probabilities [2]_.

    Parameters
    ----------
    estimator : scikeras classifier, Pipeline, FrozenEstimator or list of FrozenEstimator, default=None
        The network, cloned for each member. None means `KerasClassifier()`, a multilayer perceptron. A pipeline that
        ends in a network is cloned as a whole: each member fits its steps on its own rows, with X as you gave it, one
        member after the other. Fitted networks, each wrapped as `sklearn.frozen.FrozenEstimator` in a list of length
        `n_estimators`, are averaged without training.
    n_estimators : int, default=5
        Number of members.
    voting : {"soft", "hard"}, default="soft"
        "soft" predicts the largest mean probability. "hard" predicts the label that most members choose, ties going to
        the smallest label, and has no `predict_proba`.
    combination : {"mean", "median", "geometric_mean", "trimmed_mean"}, default="mean"
        How the probabilities of the members become one with `voting="soft"`. The median is taken for each class
        separately, weighted by `weights`. The geometric mean (logarithmic opinion pool) is the mean of the logarithms:
        a class to which one member gives 0, or which it does not know, is all but ruled out. A trimmed mean leaves out
        the smallest and the largest probabilities of each class; it takes equal weights only. All but the mean are
        scaled to sum to 1 again; with several labels per row, each label is combined separately.
    trim_fraction : float, default=0.2
        For a trimmed mean: the share of the members that is left out at each end, rounded down to whole members.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights. "greedy" selects
        members with replacement by their loss on rows that they were not trained on [3]_, so that a weak member counts
        little or nothing: on out-of-bag rows where members draw their rows, otherwise on `validation_fraction` of the
        rows. On those rows the ensemble is never worse than its best member.
    bootstrap : bool, default=False
        Whether each member is trained on rows drawn with replacement (bagging).
    max_samples : int or float, default=1.0
        How many rows each member draws: a number, or a fraction of the rows. Without `bootstrap`, drawn without
        replacement.
    max_features : int or float, default=1.0
        How many columns each member draws, without replacement (random subspaces): a number, or a fraction of the
        columns, rounded down. `estimator` must then be a network on X of two dimensions, whose function builds it for
        the columns drawn, `meta["X_shape_"]`. With 1.0 members take all columns.
    oob_score : bool or callable, default=False
        Whether to score the ensemble on the rows that its members left out, by accuracy, or by
        `oob_score(y_true, y_pred)`; see `oob_score_` and `oob_decision_function_`. With `weights="greedy"` or
        `oob_validation` the same rows choose the weights or end the training, and the score is slightly too good.
    oob_validation : bool, default=False
        Whether the rows that a member left out are its validation rows, for its `val_loss`, early stopping and the
        like. Every member gets as many as the member with the fewest, spread over the rows that it left out.
    validation_fraction : float, default=0.2
        Fraction of the rows, stratified by class, that no member is trained on where `weights="greedy"`, `calibration`
        or `early_stopping` needs them.
    warm_start : bool, default=False
        Whether `fit` keeps the existing members and trains only those that a larger `n_estimators` adds. With the same
        data, the result is as if all members had been trained at once.
    engine : {"auto", "fused", "keras"}, default="auto"
        How members are trained. "fused": all together in one program of TensorFlow or JAX, with the results that Keras
        gives, in a fraction of the time; an error where that is not possible. "keras": one after the other by Keras'
        own `fit`. "auto": fused where possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call continues from there,
        to the same result bit for bit. Finished members are taken from it, even with a larger `n_estimators`. Each fit
        needs its own directory: other data, parameters or versions are an error. To start again, delete it. None keeps
        nothing.
    n_jobs : int, default=None
        The largest number of joblib workers that train members in parallel; fewer, or none, are used where more do not
        pay. None means 1 unless in a `joblib.parallel_config` context, and always 1 inside a worker; -1 means all.
    random_state : int, RandomState instance or None, default=None
        Seed from which every member's own seed is spawned; that of member i does not depend on `n_estimators`.
    verbose : int, default=0
        Above 0, a line is printed for each member that is trained.
    calibration : {"temperature"}, default=None
        Whether the combined probabilities are calibrated [4]_. "temperature": their logarithms (log-odds for several
        labels, each with its own temperature) are divided by a number that is fitted by the log-loss on rows that no
        member was trained on: out-of-bag rows where members draw their rows, otherwise `validation_fraction` of the
        rows. `predict` stays the same. None: not calibrated.
    early_stopping : {"ensemble"}, default=None
        "ensemble" ends the training of all members together, when the log-loss of their combined prediction on
        `validation_fraction` of the rows no longer improves, and all members keep the variables of the best epoch. It
        needs the fused engine, and members without Keras callbacks; all members are trained in this process. None: each
        member is trained to its end, or stopped by itself by Keras' EarlyStopping in its `callbacks`.
    n_iter_no_change : int, default=10
        With `early_stopping`: training ends after more epochs than this without an improvement.
    tol : float, default=1e-4
        With `early_stopping`: how much the loss must fall to count as an improvement.
    param_distributions : dict of str to list or distribution, or list of such dicts, default=None
        Lists or SciPy distributions from which each member draws parameters of `estimator`, by their names, as
        scikit-learn's `RandomizedSearchCV` draws candidates. With `weights="greedy"` this is a hyper-deep ensemble
        [5]_: of the `n_estimators` networks that were trained, those that lower the loss on held-out rows count.
        Members of one architecture are trained together. None: all members have the parameters of `estimator`.

    Attributes
    ----------
    estimators_ : sequence of scikeras classifiers
        The fitted members; a network is built when it is first asked for. `len(ensemble)`, `ensemble[i]` and iteration
        work, too.
    estimator_ : scikeras classifier or None
        The unfitted estimator that the members are copies of; None where `estimator` is a list.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    voting_, combination_, trim_fraction_ : str, str, float
        How the members are combined, as the last `fit` or `reweight` set it.
    oob_score_ : float
        Score on the rows that members left out; only with `oob_score`.
    oob_decision_function_ : ndarray of shape (n_samples, n_classes)
        Probabilities (with `voting="hard"`, shares of the votes) of each row by the members that left it out, NaN where
        there is none; only with `oob_score`.
    estimators_samples_ : list of ndarray of int
        Rows of each member; only where members draw rows.
    estimators_features_ : list of ndarray of int
        Columns of each member; only where members draw columns. Unlike those of scikit-learn's bagging, members take
        all columns of X: the first layer of each network selects its own.
    estimators_params_ : list of dict
        Parameters that each member drew; only with `param_distributions`.
    temperature_ : float or ndarray of shape (n_labels,)
        Temperature of the combined probabilities; only with `calibration`. Above 1 means that they were overconfident.
    validation_losses_ : ndarray of shape (n_epochs,)
        Loss of the combined prediction on the held-out rows after each epoch; only with `early_stopping`.
    best_epoch_ : int
        Epoch, counted from 1, whose variables the members have; only with `early_stopping`.
    engine_ : str
        The engine that trained the members: "fused", "keras", or "none" where all were fitted already.
    engine_reason_ : str
        Why this engine was used.
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
    .. [4] Rahaman and Thiery, "Uncertainty Quantification and Deep Ensembles", NeurIPS 2021.
    .. [5] Wenzel, Snoek, Tran and Jenatton, "Hyperparameter Ensembles for Robustness and Uncertainty
       Quantification", NeurIPS 2020.

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

    _parameter_constraints = {
        **_BaseKerasAveraging._parameter_constraints,
        **CLASSIFIER_CONSTRAINTS,
    }

    def __init__(
        self,
        estimator=None,
        n_estimators=5,
        *,
        voting="soft",
        combination="mean",
        trim_fraction=0.2,
        weights=None,
        bootstrap=False,
        max_samples=1.0,
        max_features=1.0,
        oob_score=False,
        oob_validation=False,
        validation_fraction=0.2,
        warm_start=False,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
        calibration=None,
        early_stopping=None,
        n_iter_no_change=10,
        tol=1e-4,
        param_distributions=None,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.voting = voting
        self.combination = combination
        self.trim_fraction = trim_fraction
        self.weights = weights
        self.bootstrap = bootstrap
        self.max_samples = max_samples
        self.max_features = max_features
        self.oob_score = oob_score
        self.oob_validation = oob_validation
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.calibration = calibration
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.param_distributions = param_distributions

    @classmethod
    def from_models(
        cls,
        models: Iterable[keras.Model | str | os.PathLike | Any],
        *,
        classes: ArrayLike | None = None,
        voting: str = "soft",
        combination: str = "mean",
        trim_fraction: float = 0.2,
        weights: ArrayLike | None = None,
        build: Callable[[], keras.Model] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        trusted: Sequence[str] | None = None,
        row_shape: Sequence[int] | None = None,
        lazy: bool = False,
    ) -> Self:
        """An ensemble of networks that were trained before, without further training.

        Networks are not changed. Those from files are loaded without what they were compiled with: they predict, and
        `partial_fit` of a member trains it further with the parameters of the member. Keras files are loaded in Keras'
        safe mode, which runs no code from the file.

        Parameters
        ----------
        models : iterable of Keras model, path or fitted estimator
            In any mixture: Keras models; files that end in ".keras"; files of `Model.save_weights`, ending in
            ".weights.h5", with `build`; files of `skensemble.io`; fitted members. An averaging, voting or snapshot
            ensemble is replaced by its members, each with its weight times the number of members, and a Polyak ensemble
            by its averaged network.
        classes : array-like of shape (n_classes,), default=None
            Labels in the order of the outputs of Keras models and files. None takes the labels of fitted members; where
            there are none, networks are taken to predict several labels per row, one for each output.
        voting, combination, trim_fraction
            As the parameters of the ensemble.
        weights : array-like of shape (n_members,), default=None
            How much each member counts.
        build : callable, default=None
            Function without arguments that returns the Keras model for the variables in files of `Model.save_weights`.
        custom_objects : dict of str to object, default=None
            Layers and functions of your own in the files, by their names.
        trusted : list of str, default=None
            Names that files of `skensemble.io` may import, see `skensemble.io.load`.
        row_shape : tuple of int, default=None
            Shape of a row of X, needed where a network does not fix it, such as one that takes sequences of any length.
        lazy : bool, default=False
            Whether networks stay in their files, which each prediction reads one at a time, so that only one network is
            in memory. Each file must hold one network, and stay where it is.

        Returns
        -------
        KerasAveragingClassifier
            Fitted. `reweight` changes how the members are combined, also to greedy weights on rows that you give. `fit`
            learns from rows, too, but trains nothing.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            Where a model cannot be read, or does not match `classes` or the others; the message names the model.

        Warns
        -----
        UserWarning
            Where members are equal.
        """
        reading = Reading(True, classes, build, custom_objects, trusted, row_shape, lazy)
        combining = {"voting": voting, "combination": combination, "trim_fraction": trim_fraction}
        return cls._from_models(models, reading, weights, **combining)

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the members.

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
        KerasAveragingClassifier
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where networks cannot be trained in the fused program.
        TypeError
            Where `estimator` is not a network, or a Pipeline that ends in one.
        ValueError
            Where parameters contradict each other or the data, before anything is trained.

        Warns
        -----
        ConvergenceWarning
            Where the loss of a member is not finite.
        DataConversionWarning
            Where y is a column, or looks like classes in one-hot form.
        RuntimeWarning
            Where a file in `checkpoint_dir` cannot be used; what it held is trained again.
        UserWarning
            Where members are equal, `warm_start` adds none, a trimmed mean leaves none out, or rows have no out-of-bag
            prediction.
        """
        return self._fit_checked(X, y, sample_weight, params)

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        epochs: int = 1,
    ) -> Self:
        """Train all members further, on these rows; the first call builds them.

        Members continue from where they are, also after `fit`, with the variables of their optimizers. If parameters of
        the member have changed since, the networks are built anew with these and are given the values they had, so that
        other layers, or another learning rate, can be used; an optimizer with other arguments or variables starts anew.
        With `shuffle=False`, many calls give what one fit of as many epochs gives.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels.
        classes : array-like of shape (n_classes,), default=None
            All labels, needed where the first call does not see all of them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row. Not scaled, unlike in `fit`, since the rows of other calls count, too.
        epochs : int, default=1
            Passes over these rows; `epochs` of the member is for `fit`.

        Returns
        -------
        KerasAveragingClassifier
            Itself.

        Raises
        ------
        ValueError
            Where parameters ask for what only `fit` can do: rows or columns of each member's own, greedy weights,
            `warm_start`, `checkpoint_dir`.
        """
        return train_further(self, X, y, classes, sample_weight, epochs)

    def predict_set(self, X: MatrixLike, coverage: float = 0.9) -> np.ndarray:
        """Set of labels for each row that contains the true label with a given probability, by conformal prediction.

        Adaptive prediction sets [1]_: labels are added from the most probable one downwards, until the sum of those
        before is as large as it had to be for the training rows, each predicted by the members that left it out. Sets
        are larger where the members are unsure. For exchangeable rows the true label is in its set with a probability
        of at least 2 `coverage` - 1, and of about `coverage` in practice, however good or bad the networks are. Sets
        are not randomized and have at least one label: where members are right more often than `coverage`, so are sets
        of one label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        coverage : float, default=0.9
            The probability.

        Returns
        -------
        ndarray of bool of shape (n_samples, n_classes)
            Which of `classes_` are in the set of each row. `calibration` makes no difference.

        Raises
        ------
        ValueError
            Where no rows were left out (`bootstrap`, `max_samples`), `voting` is "hard", rows have several labels, or
            `coverage` is not between 0 and 1.

        References
        ----------
        .. [1] Romano, Sesia and Candes, "Classification with Valid and Adaptive Coverage", NeurIPS 2020.
        """
        check_is_fitted(self)
        check_coverage(coverage)
        if self._multilabel or self.voting_ == "hard":
            raise ValueError(
                "`predict_set` needs probabilities of classes that exclude each other: got "
                f"{'several labels a row' if self._multilabel else 'votes'}. Use voting='soft', and y with one label a "
                "row."
            )
        left_out, scores = conformal_rows(self)
        predictions = self.predict_members(X)
        return jackknife_sets(predictions, left_out, self.weights_, self._combination(), scores, coverage)

    def _conformity_scores(self, y, proba):
        if self._multilabel or self.voting_ == "hard":
            return None
        return adaptive_scores(proba)[np.arange(len(y)), self._encode(y)]

    def _score_left_out(self, y, proba, judged):
        self.oob_decision_function_ = proba
        # Shares of votes added up in another order differ by rounding: without this, a tie could go to either class.
        labels = self._decode(self._choose_indices(np.round(proba[judged], decimals=12)))
        self.oob_score_ = score_left_out(self.oob_score, accuracy_score, y, labels, judged)


class KerasAveragingRegressor(KerasEnsembleRegressorMixin, _BaseKerasAveraging):
    """Average the predictions of networks trained from different seeds.

    Copies of one network start from different values and see the rows in a different order, so they make different
    errors. Averaging them lowers the variance of the prediction [1]_, as does training each on its own rows, drawn with
    replacement [2]_.

    Parameters
    ----------
    estimator : scikeras regressor, Pipeline, FrozenEstimator or list of FrozenEstimator, default=None
        The network, cloned for each member. None means `KerasRegressor()`, a multilayer perceptron. A pipeline that
        ends in a network is cloned as a whole: each member fits its steps on its own rows, with X as you gave it, one
        member after the other. Fitted networks, each wrapped as `sklearn.frozen.FrozenEstimator` in a list of length
        `n_estimators`, are averaged without training.
    n_estimators : int, default=5
        Number of members.
    combination : {"mean", "median", "trimmed_mean"}, default="mean"
        How the predictions of the members become one. The median is weighted by `weights`. A trimmed mean leaves out
        the smallest and the largest predictions of each target; it takes equal weights only.
    trim_fraction : float, default=0.2
        For a trimmed mean: the share of the members that is left out at each end, rounded down to whole members.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. None means equal weights. "greedy" selects
        members with replacement by their loss on rows that they were not trained on [3]_, so that a weak member counts
        little or nothing: on out-of-bag rows where members draw their rows, otherwise on `validation_fraction` of the
        rows. On those rows the ensemble is never worse than its best member.
    bootstrap : bool, default=False
        Whether each member is trained on rows drawn with replacement (bagging).
    max_samples : int or float, default=1.0
        How many rows each member draws: a number, or a fraction of the rows. Without `bootstrap`, drawn without
        replacement.
    max_features : int or float, default=1.0
        How many columns each member draws, without replacement (random subspaces): a number, or a fraction of the
        columns, rounded down. `estimator` must then be a network on X of two dimensions, whose function builds it for
        the columns drawn, `meta["X_shape_"]`. With 1.0 members take all columns.
    oob_score : bool or callable, default=False
        Whether to score the ensemble on the rows that its members left out, by R^2, or by `oob_score(y_true, y_pred)`;
        see `oob_score_` and `oob_prediction_`. With `weights="greedy"` or `oob_validation` the same rows choose the
        weights or end the training, and the score is slightly too good.
    oob_validation : bool, default=False
        Whether the rows that a member left out are its validation rows, for its `val_loss`, early stopping and the
        like. Every member gets as many as the member with the fewest, spread over the rows that it left out.
    validation_fraction : float, default=0.2
        Fraction of the rows that no member is trained on where `weights="greedy"` or `early_stopping` needs them.
    warm_start : bool, default=False
        Whether `fit` keeps the existing members and trains only those that a larger `n_estimators` adds. With the same
        data, the result is as if all members had been trained at once.
    engine : {"auto", "fused", "keras"}, default="auto"
        How members are trained. "fused": all together in one program of TensorFlow or JAX, with the results that Keras
        gives, in a fraction of the time; an error where that is not possible. "keras": one after the other by Keras'
        own `fit`. "auto": fused where possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call continues from there,
        to the same result bit for bit. Finished members are taken from it, even with a larger `n_estimators`. Each fit
        needs its own directory: other data, parameters or versions are an error. To start again, delete it. None keeps
        nothing.
    n_jobs : int, default=None
        The largest number of joblib workers that train members in parallel; fewer, or none, are used where more do not
        pay. None means 1 unless in a `joblib.parallel_config` context, and always 1 inside a worker; -1 means all.
    random_state : int, RandomState instance or None, default=None
        Seed from which every member's own seed is spawned; that of member i does not depend on `n_estimators`.
    verbose : int, default=0
        Above 0, a line is printed for each member that is trained.
    early_stopping : {"ensemble"}, default=None
        "ensemble" ends the training of all members together, when the squared error of their combined prediction (with
        a `distribution`, its negative log-likelihood) on `validation_fraction` of the rows no longer improves, and all
        members keep the variables of the best epoch. It needs the fused engine, and members without Keras callbacks;
        all members are trained in this process. None: each member is trained to its end, or stopped by itself by Keras'
        EarlyStopping in its `callbacks`.
    n_iter_no_change : int, default=10
        With `early_stopping`: training ends after more epochs than this without an improvement.
    tol : float, default=1e-4
        With `early_stopping`: how much the loss must fall to count as an improvement.
    param_distributions : dict of str to list or distribution, or list of such dicts, default=None
        Lists or SciPy distributions from which each member draws parameters of `estimator`, by their names, as
        scikit-learn's `RandomizedSearchCV` draws candidates. With `weights="greedy"` this is a hyper-deep ensemble
        [4]_: of the `n_estimators` networks that were trained, those that lower the loss on held-out rows count.
        Members of one architecture are trained together. None: all members have the parameters of `estimator`.

    Attributes
    ----------
    estimators_ : sequence of scikeras regressors
        The fitted members; a network is built when it is first asked for. `len(ensemble)`, `ensemble[i]` and iteration
        work, too.
    estimator_ : scikeras regressor or None
        The unfitted estimator that the members are copies of; None where `estimator` is a list.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    combination_, trim_fraction_ : str, float
        How the members are combined, as the last `fit` or `reweight` set it.
    oob_score_ : float
        Score on the rows that members left out; only with `oob_score`.
    oob_prediction_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        Prediction of each row by the members that left it out, NaN where there is none; only with `oob_score`.
    estimators_samples_ : list of ndarray of int
        Rows of each member; only where members draw rows.
    estimators_features_ : list of ndarray of int
        Columns of each member; only where members draw columns. Unlike those of scikit-learn's bagging, members take
        all columns of X: the first layer of each network selects its own.
    estimators_params_ : list of dict
        Parameters that each member drew; only with `param_distributions`.
    validation_losses_ : ndarray of shape (n_epochs,)
        Loss of the combined prediction on the held-out rows after each epoch; only with `early_stopping`.
    best_epoch_ : int
        Epoch, counted from 1, whose variables the members have; only with `early_stopping`.
    engine_ : str
        The engine that trained the members: "fused", "keras", or "none" where all were fitted already.
    engine_reason_ : str
        Why this engine was used.
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
    .. [4] Wenzel, Snoek, Tran and Jenatton, "Hyperparameter Ensembles for Robustness and Uncertainty
       Quantification", NeurIPS 2020.

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
        combination="mean",
        trim_fraction=0.2,
        weights=None,
        bootstrap=False,
        max_samples=1.0,
        max_features=1.0,
        oob_score=False,
        oob_validation=False,
        validation_fraction=0.2,
        warm_start=False,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
        early_stopping=None,
        n_iter_no_change=10,
        tol=1e-4,
        param_distributions=None,
    ):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.combination = combination
        self.trim_fraction = trim_fraction
        self.weights = weights
        self.bootstrap = bootstrap
        self.max_samples = max_samples
        self.max_features = max_features
        self.oob_score = oob_score
        self.oob_validation = oob_validation
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.param_distributions = param_distributions

    @classmethod
    def from_models(
        cls,
        models: Iterable[keras.Model | str | os.PathLike | Any],
        *,
        combination: str = "mean",
        trim_fraction: float = 0.2,
        weights: ArrayLike | None = None,
        build: Callable[[], keras.Model] | None = None,
        custom_objects: Mapping[str, Any] | None = None,
        trusted: Sequence[str] | None = None,
        row_shape: Sequence[int] | None = None,
        lazy: bool = False,
    ) -> Self:
        """An ensemble of networks that were trained before, without further training.

        Networks are not changed. Those from files are loaded without what they were compiled with: they predict, and
        `partial_fit` of a member trains it further with the parameters of the member. Keras files are loaded in Keras'
        safe mode, which runs no code from the file.

        Parameters
        ----------
        models : iterable of Keras model, path or fitted estimator
            In any mixture: Keras models; files that end in ".keras"; files of `Model.save_weights`, ending in
            ".weights.h5", with `build`; files of `skensemble.io`; fitted members. An averaging, voting or snapshot
            ensemble is replaced by its members, each with its weight times the number of members, and a Polyak ensemble
            by its averaged network.
        combination, trim_fraction
            As the parameters of the ensemble.
        weights : array-like of shape (n_members,), default=None
            How much each member counts.
        build : callable, default=None
            Function without arguments that returns the Keras model for the variables in files of `Model.save_weights`.
        custom_objects : dict of str to object, default=None
            Layers and functions of your own in the files, by their names.
        trusted : list of str, default=None
            Names that files of `skensemble.io` may import, see `skensemble.io.load`.
        row_shape : tuple of int, default=None
            Shape of a row of X, needed where a network does not fix it, such as one that takes sequences of any length.
        lazy : bool, default=False
            Whether networks stay in their files, which each prediction reads one at a time, so that only one network is
            in memory. Each file must hold one network, and stay where it is.

        Returns
        -------
        KerasAveragingRegressor
            Fitted. `reweight` changes how the members are combined, also to greedy weights on rows that you give. `fit`
            learns from rows, too, but trains nothing.

        Raises
        ------
        FileNotFoundError, TypeError, ValueError
            Where a model cannot be read, or does not match the others; the message names the model.

        Warns
        -----
        UserWarning
            Where members are equal.
        """
        reading = Reading(False, None, build, custom_objects, trusted, row_shape, lazy)
        return cls._from_models(models, reading, weights, combination=combination, trim_fraction=trim_fraction)

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the members.

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
        KerasAveragingRegressor
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where networks cannot be trained in the fused program.
        TypeError
            Where `estimator` is not a network, or a Pipeline that ends in one.
        ValueError
            Where parameters contradict each other or the data, before anything is trained.

        Warns
        -----
        ConvergenceWarning
            Where the loss of a member is not finite.
        DataConversionWarning
            Where y is a column.
        RuntimeWarning
            Where a file in `checkpoint_dir` cannot be used; what it held is trained again.
        UserWarning
            Where members are equal, `warm_start` adds none, a trimmed mean leaves none out, or rows have no out-of-bag
            prediction.
        """
        return self._fit_checked(X, y, sample_weight, params)

    def partial_fit(
        self,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        epochs: int = 1,
    ) -> Self:
        """Train all members further, on these rows; the first call builds them.

        Members continue from where they are, also after `fit`, with the variables of their optimizers. If parameters of
        the member have changed since, the networks are built anew with these and are given the values they had, so that
        other layers, or another learning rate, can be used; an optimizer with other arguments or variables starts anew.
        With `shuffle=False`, many calls give what one fit of as many epochs gives.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row. Not scaled, unlike in `fit`, since the rows of other calls count, too.
        epochs : int, default=1
            Passes over these rows; `epochs` of the member is for `fit`.

        Returns
        -------
        KerasAveragingRegressor
            Itself.

        Raises
        ------
        ValueError
            Where parameters ask for what only `fit` can do: rows or columns of each member's own, greedy weights,
            `warm_start`, `checkpoint_dir`.
        """
        return train_further(self, X, y, None, sample_weight, epochs)

    def predict_interval(self, X: MatrixLike, coverage: float = 0.9, *, method: str = "mixture") -> PredictionInterval:
        """Interval in which y of each row lies with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        coverage : float, default=0.9
            The probability.
        method : {"mixture", "jackknife+ab"}, default="mixture"
            "mixture": between two quantiles of the mixture of the distributions that members predict, with equal shares
            below and above. Only as good as the distributions, without a guarantee. "jackknife+ab":
            jackknife+-after-bootstrap [1]_, which needs no distribution, but rows that members left out (`bootstrap`,
            `max_samples`). Each training row is predicted by the members that left it out, and how far y is from these
            predictions gives the interval. For exchangeable rows y is in it with a probability of at least 2 `coverage`
            - 1, and of about `coverage` in practice, however good or bad the networks are. `weights="greedy"` and
            `oob_validation`, which choose on the same rows, make intervals a little too narrow.

        Returns
        -------
        PredictionInterval
            Named tuple of `lower` and `upper`, each an ndarray of shape (n_samples,) or (n_samples, n_outputs), for
            each target separately. Infinite where `coverage` is too large for the number of training rows.

        Raises
        ------
        ValueError
            Where `coverage` is not between 0 and 1, the members predict no distribution, or no rows were left out.

        References
        ----------
        .. [1] Kim, Xu and Barber, "Predictive Inference Is Free with the Jackknife+-after-Bootstrap", NeurIPS 2020.
        """
        if method != "jackknife+ab":
            return super().predict_interval(X, coverage, method=method)
        check_is_fitted(self)
        check_coverage(coverage)
        left_out, residuals = conformal_rows(self)
        predictions = self.predict_members(X)
        return jackknife_interval(predictions, left_out, self.weights_, self._combination(), residuals, coverage)

    def _conformity_scores(self, y, predicted):
        return np.abs(y - predicted)

    def _score_left_out(self, y, predicted, judged):
        self.oob_prediction_ = predicted
        self.oob_score_ = score_left_out(self.oob_score, r2_score, y, predicted[judged], judged)
