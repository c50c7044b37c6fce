"""Voting: different networks, and other scikit-learn estimators beside them, whose predictions are averaged or vote."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skensemble._base.combining import CLASSIFIER_CONSTRAINTS, COMBINATION_CONSTRAINTS, learned
from skensemble._base.independent_runs import fit_independent
from skensemble._base.named_members import BaseNamedMembers, column_names, describe
from skensemble._base.partial_fit import train_further
from skensemble._base.predictions import KerasEnsembleClassifierMixin, KerasEnsembleRegressorMixin
from skensemble._base.reweight import Reweighted, check_soft
from skensemble._checkpoint.store import keep_entropy, open_checkpoint
from skensemble._compat.sklearn import VisualBlock, check_feature_names_in, fit_context
from skensemble._engine.progress import fit_task
from skensemble._from_models.models import labelled, read_models
from skensemble._from_models.reading import Reading
from skensemble._members.inputs import TrainingData
from skensemble._members.member_checks import check_kind
from skensemble._members.random_draws import draw_entropy
from skensemble._members.spec import is_frozen, is_network
from skensemble._search.kept_networks import networks_of
from skensemble._typing import MatrixLike


def _has_networks_only(ensemble):
    """Whether `partial_fit` can train all members further."""
    try:
        entries = ensemble._entries()
    except (TypeError, ValueError):  # `estimators` is not valid, as `partial_fit` will say
        return True
    for name, estimator in entries:
        if is_frozen(estimator) or not is_network(estimator):
            raise AttributeError(
                f"`partial_fit` trains networks further: {describe(name, estimator)}, which is not one or is "
                f"fitted already. Leave it out by set_params({name}='drop'), or use `fit`."
            )
    return True


class _BaseKerasVoting(Reweighted, BaseNamedMembers):
    _fitted_state = ("_n_outputs", "_sklearn_output_config")
    _parameter_constraints = {
        **BaseNamedMembers._parameter_constraints,
        **COMBINATION_CONSTRAINTS,
    }

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, which must be those of `fit`; otherwise not used.

        Returns
        -------
        ndarray of str objects
            Name of the class in lower case, name of the member, and number of the column where there are several.
        """
        check_is_fitted(self)
        if len(self._row_shape) == 1:
            check_feature_names_in(self, input_features, generate_names=False)
        return np.asarray(column_names(self, [self._count_columns()] * len(self._names)), dtype=object)

    @classmethod
    def _from_models(cls, models, reading, weights, **combining):
        entries = _named_models(models)
        trained = read_models([(repr(name), model) for name, model in entries], reading, apart=False)
        names = [name for name, _ in entries]
        named = list(zip(names, trained.estimators, strict=True))
        ensemble = cls(named, weights=weights, **combining)
        ensemble._entries()  # checks the names
        ensemble._names, ensemble._entry_names = names, names
        ensemble._n_outputs = _count_outputs(trained.y)
        trained.become_members_of(ensemble)
        if combining.get("voting") == "soft":
            check_soft(ensemble)
        return ensemble

    @classmethod
    def _from_search(cls, search, X, y, sample_weight, **combining):
        named, left_out = networks_of(search, len(y))
        ensemble = cls([(name, FrozenEstimator(network)) for name, network in named], weights="greedy", **combining)
        with fit_task(ensemble) as task:
            ensemble._train(*ensemble._validate_fit_data(X, y, sample_weight), {}, task, left_out)
        return ensemble.subset([name for (name, _), weight in zip(named, ensemble.weights_, strict=True) if weight > 0])

    def _train(self, X, y, sample_weight, params, task, left_out=None):
        entries, arguments = self._check_estimators(X, sample_weight, params)
        self._n_outputs = _count_outputs(y)
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            self._entropy = keep_entropy(checkpoint, self.random_state)
            members = self._seeded_members(entries, arguments)
            data = TrainingData(X, y, sample_weight)
            fit_independent(self, members, data, task, left_out=left_out, checkpoint=checkpoint)
        return self

    def _members_to_train_on(self, y, n_before):
        """Members for `partial_fit`, which trains all of them on all rows."""
        if self.checkpoint_dir is not None:
            raise ValueError("`partial_fit` does not use a directory. Set checkpoint_dir=None.")
        entries = self._entries()
        for name, estimator in entries:
            check_kind(estimator, classifier=is_classifier(self), name=name)
        names = [name for name, _ in entries]
        if n_before is not None and names != self._names:
            raise ValueError(
                f"`partial_fit` trains the members there are further, {self._names}: got {names}. `fit` begins again."
            )
        if n_before is None:
            self._entropy = draw_entropy(self.random_state)
        self._n_outputs = _count_outputs(y)
        return self._seeded_members(entries)

    def _learn_subset(self, indices):
        self._names = [self._names[i] for i in indices]
        self._entry_names = self._names

    def _given_weights(self):
        kept = [name in self._names for name in self._entry_names]
        if self.weights is None or all(kept):
            return self.weights
        if np.shape(self.weights) != (len(kept),):
            raise ValueError(
                "`weights` must have one entry per entry of `estimators`, including dropped ones: got weights "
                f"of shape {np.shape(self.weights)} for {len(kept)} entries. Pass as many weights as entries, or None "
                "for equal ones."
            )
        return np.asarray(self.weights)[kept]

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


def _named_models(models):
    """Models as a list of (name, model); raises where they are not given so."""
    models = list(models.items()) if isinstance(models, Mapping) else [entry for _, entry in labelled(models)]
    for entry in models:
        if not isinstance(entry, tuple | list) or len(entry) != 2 or not isinstance(entry[0], str):
            raise TypeError(
                f"`models` must be a list of (name, model): got the entry {entry!r}. Models without names are averaged "
                "by KerasAveragingClassifier and KerasAveragingRegressor."
            )
    return models


def _count_outputs(y):
    return 1 if y.ndim == 1 else y.shape[1]


def _side_by_side(predictions):
    """Columns of the first member, those of the second, and so on, from (n_members, n_samples[, n_columns])."""
    return np.hstack([one.reshape(len(one), -1) for one in predictions])


class KerasVotingClassifier(KerasEnsembleClassifierMixin, _BaseKerasVoting):
    """Average the probabilities, or count the votes, of different networks.

    The errors of networks with different architectures differ more than those of copies of one network. Members may
    also be any other scikit-learn classifiers, and networks that are already fitted.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras classifiers of any architecture, other scikit-learn classifiers, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained. "drop" in place of an estimator leaves
        the member out, also by `set_params(name="drop")`. Networks and scikit-learn's estimators see the labels as they
        are in y, classifiers of other libraries 0, 1, ..., n_classes - 1.
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
        How much each member counts; not negative, scaled to sum to 1. One for each entry of `estimators`, including
        dropped ones. None means equal weights. "greedy" selects members with replacement by their log-loss on
        `validation_fraction` of the rows, which no member is trained on (all rows where every member is fitted already)
        [1]_: a weak member counts little or nothing, and on those rows the ensemble is never worse than its best
        member.
    validation_fraction : float, default=0.2
        Fraction of the rows, stratified by class, that is held out for `weights="greedy"`.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one program of TensorFlow or JAX, with the results that Keras gives, in a
        fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where
        possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call continues from there,
        to the same result bit for bit. Finished networks are taken from it; other estimators are trained again. Each
        fit needs its own directory: other data, parameters or versions are an error. To start again, delete it. None
        keeps nothing.
    n_jobs : int, default=None
        The largest number of joblib workers that train members in parallel; fewer, or none, are used where more do not
        pay. None means 1 unless in a `joblib.parallel_config` context, and always 1 inside a worker; -1 means all.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members without their own are spawned.
    flatten_transform : bool, default=True
        Whether `transform` with `voting="soft"` returns one array of two dimensions, as scikit-learn's does.
    verbose : int, default=0
        Above 0, progress is printed.
    calibration : {"temperature"}, default=None
        Whether the combined probabilities are calibrated [2]_. "temperature": their logarithms (log-odds for several
        labels, each with its own temperature) are divided by a number that is fitted by the log-loss on rows that no
        member was trained on: `validation_fraction` of them (all rows where every member is fitted already). `predict`
        stays the same. None: not calibrated.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The fitted members, in order.
    named_estimators : Bunch
        The entries of `estimators` by name, as given.
    named_estimators_ : Bunch
        The fitted members by name; "drop" for those that are left out.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    voting_, combination_, trim_fraction_ : str, str, float
        How the members are combined, as the last `fit` or `reweight` set it.
    temperature_ : float or ndarray of shape (n_labels,)
        Temperature of the combined probabilities; only with `calibration`. Above 1 means that they were overconfident.
    engine_ : str
        The engine that trained the networks: "fused", "keras", both, or "none" where no network was trained.
    engine_reason_ : str
        Why this engine was used.
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
    .. [2] Rahaman and Thiery, "Uncertainty Quantification and Deep Ensembles", NeurIPS 2021.

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

    _parameter_constraints = {
        **_BaseKerasVoting._parameter_constraints,
        **CLASSIFIER_CONSTRAINTS,
        "flatten_transform": ["boolean"],
    }

    def __init__(
        self,
        estimators,
        *,
        voting="soft",
        combination="mean",
        trim_fraction=0.2,
        weights=None,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        flatten_transform=True,
        verbose=0,
        calibration=None,
    ):
        self.estimators = estimators
        self.voting = voting
        self.combination = combination
        self.trim_fraction = trim_fraction
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.flatten_transform = flatten_transform
        self.verbose = verbose
        self.calibration = calibration

    @classmethod
    def from_models(
        cls,
        models: Iterable[tuple[str, Any]] | Mapping[str, Any],
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
        models : list of (str, object)
            Name and model of each member, or a dict of them, in any mixture: Keras models; files that end in ".keras";
            files of `Model.save_weights`, ending in ".weights.h5", with `build`; files of `skensemble.io`; fitted
            estimators, also those of scikit-learn. An ensemble is one member.
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
        KerasVotingClassifier
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

    @classmethod
    def from_search(
        cls,
        search: Any,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        voting: str = "soft",
        combination: str = "mean",
        trim_fraction: float = 0.2,
    ) -> Self:
        """An ensemble of the networks that a search has trained, without further training.

        Greedy weights select those that together have the smallest loss on rows that they were not trained on [1]_:
        each network is judged on the rows that were held out of its fold. Networks of weight 0 are left out.

        Parameters
        ----------
        search : search of `skensemble.model_selection`
            Fitted with `return_estimator=True`.
        X, y, sample_weight
            As in the fit of the search.
        voting, combination, trim_fraction
            As the parameters of the ensemble.

        Returns
        -------
        KerasVotingClassifier
            Fitted. Its members are named after the candidate, as counted in `cv_results_`, and the fold:
            "candidate_2_fold_0".

        Raises
        ------
        ValueError
            Where the search has kept no networks, or was fitted on other rows.

        References
        ----------
        .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.
        """
        return cls._from_search(
            search, X, y, sample_weight, voting=voting, combination=combination, trim_fraction=trim_fraction
        )

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; networks get it in Keras' float type, every
            other member as given.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind that scikit-learn takes, or an indicator matrix of several labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        **params : dict
            Further metadata for the members that request it, with `sklearn.set_config(enable_metadata_routing=True)`.
            Networks take only `sample_weight`.

        Returns
        -------
        KerasVotingClassifier
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where networks cannot be trained in the fused program.
        TypeError
            Where a member is not of a kind that can be trained here.
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
            Where members are equal, or a trimmed mean leaves none out.
        """
        return self._fit_checked(X, y, sample_weight, params)

    @available_if(_has_networks_only)
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
        KerasVotingClassifier
            Itself.

        Raises
        ------
        ValueError
            Where parameters ask for what only `fit` can do: rows or columns of each member's own, greedy weights,
            `warm_start`, `checkpoint_dir`.
        """
        return train_further(self, X, y, classes, sample_weight, epochs)

    def transform(self, X: MatrixLike) -> np.ndarray:
        """What each member predicts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray
            With `voting="soft"` probabilities, side by side in the order of the members, of shape
            (n_samples, n_members * n_classes), or with `flatten_transform=False` of shape
            (n_members, n_samples, n_classes). With `voting="hard"` the choice of each member, as a position in
            `classes_`, of shape (n_samples, n_members); with several labels per row 0 and 1 for each of them, side by
            side.
        """
        proba = self.predict_members(X)
        if learned(self, "voting") == "hard":
            return _side_by_side(self._choose_indices(proba))
        return _side_by_side(proba) if self.flatten_transform else proba

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, which must be those of `fit`; otherwise not used.

        Returns
        -------
        ndarray of str objects
            Name of the class in lower case, name of the member, and number of the column where there are several.
        """
        check_is_fitted(self)
        if learned(self, "voting") == "soft" and not self.flatten_transform:
            raise ValueError(
                "get_feature_names_out is not supported when `voting='soft'` and `flatten_transform=False`: the result "
                "of `transform` has three dimensions. Use flatten_transform=True."
            )
        return super().get_feature_names_out(input_features)

    def _count_columns(self):
        return len(self.classes_) if learned(self, "voting") == "soft" or self._multilabel else 1


class KerasVotingRegressor(KerasEnsembleRegressorMixin, _BaseKerasVoting):
    """Average the predictions of different networks.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras regressors of any architecture, other scikit-learn regressors, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained. "drop" in place of an estimator leaves
        the member out, also by `set_params(name="drop")`.
    combination : {"mean", "median", "trimmed_mean"}, default="mean"
        How the predictions of the members become one. The median is weighted by `weights`. A trimmed mean leaves out
        the smallest and the largest predictions of each target; it takes equal weights only.
    trim_fraction : float, default=0.2
        For a trimmed mean: the share of the members that is left out at each end, rounded down to whole members.
    weights : "greedy" or array-like of shape (n_estimators,), default=None
        How much each member counts; not negative, scaled to sum to 1. One for each entry of `estimators`, including
        dropped ones. None means equal weights. "greedy" selects members with replacement by their squared error on
        `validation_fraction` of the rows, which no member is trained on (all rows where every member is fitted already)
        [1]_: a weak member counts little or nothing, and on those rows the ensemble is never worse than its best
        member.
    validation_fraction : float, default=0.2
        Fraction of the rows that is held out for `weights="greedy"`.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one program of TensorFlow or JAX, with the results that Keras gives, in a
        fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where
        possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call continues from there,
        to the same result bit for bit. Finished networks are taken from it; other estimators are trained again. Each
        fit needs its own directory: other data, parameters or versions are an error. To start again, delete it. None
        keeps nothing.
    n_jobs : int, default=None
        The largest number of joblib workers that train members in parallel; fewer, or none, are used where more do not
        pay. None means 1 unless in a `joblib.parallel_config` context, and always 1 inside a worker; -1 means all.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members without their own are spawned.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The fitted members, in order.
    named_estimators : Bunch
        The entries of `estimators` by name, as given.
    named_estimators_ : Bunch
        The fitted members by name; "drop" for those that are left out.
    weights_ : ndarray of shape (n_estimators,)
        How much each member counts; sums to 1.
    combination_, trim_fraction_ : str, float
        How the members are combined, as the last `fit` or `reweight` set it.
    engine_ : str
        The engine that trained the networks: "fused", "keras", both, or "none" where no network was trained.
    engine_reason_ : str
        Why this engine was used.
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
        combination="mean",
        trim_fraction=0.2,
        weights=None,
        validation_fraction=0.2,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimators = estimators
        self.combination = combination
        self.trim_fraction = trim_fraction
        self.weights = weights
        self.validation_fraction = validation_fraction
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @classmethod
    def from_models(
        cls,
        models: Iterable[tuple[str, Any]] | Mapping[str, Any],
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
        models : list of (str, object)
            Name and model of each member, or a dict of them, in any mixture: Keras models; files that end in ".keras";
            files of `Model.save_weights`, ending in ".weights.h5", with `build`; files of `skensemble.io`; fitted
            estimators, also those of scikit-learn. An ensemble is one member.
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
        KerasVotingRegressor
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

    @classmethod
    def from_search(
        cls,
        search: Any,
        X: MatrixLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        combination: str = "mean",
        trim_fraction: float = 0.2,
    ) -> Self:
        """An ensemble of the networks that a search has trained, without further training.

        Greedy weights select those that together have the smallest loss on rows that they were not trained on [1]_:
        each network is judged on the rows that were held out of its fold. Networks of weight 0 are left out.

        Parameters
        ----------
        search : search of `skensemble.model_selection`
            Fitted with `return_estimator=True`.
        X, y, sample_weight
            As in the fit of the search.
        combination, trim_fraction
            As the parameters of the ensemble.

        Returns
        -------
        KerasVotingRegressor
            Fitted. Its members are named after the candidate, as counted in `cv_results_`, and the fold:
            "candidate_2_fold_0".

        Raises
        ------
        ValueError
            Where the search has kept no networks, or was fitted on other rows.

        References
        ----------
        .. [1] Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models", ICML 2004.
        """
        return cls._from_search(search, X, y, sample_weight, combination=combination, trim_fraction=trim_fraction)

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; networks get it in Keras' float type, every
            other member as given.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.
        **params : dict
            Further metadata for the members that request it, with `sklearn.set_config(enable_metadata_routing=True)`.
            Networks take only `sample_weight`.

        Returns
        -------
        KerasVotingRegressor
            Itself, fitted.

        Raises
        ------
        NotFusableError
            With ``engine="fused"``, where networks cannot be trained in the fused program.
        TypeError
            Where a member is not of a kind that can be trained here.
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
            Where members are equal, or a trimmed mean leaves none out.
        """
        return self._fit_checked(X, y, sample_weight, params)

    @available_if(_has_networks_only)
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
        KerasVotingRegressor
            Itself.

        Raises
        ------
        ValueError
            Where parameters ask for what only `fit` can do: rows or columns of each member's own, greedy weights,
            `warm_start`, `checkpoint_dir`.
        """
        return train_further(self, X, y, None, sample_weight, epochs)

    def transform(self, X: MatrixLike) -> np.ndarray:
        """What each member predicts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_members) or (n_samples, n_members * n_outputs)
            In the order of the members; in Keras' float type if one of them is a network.
        """
        columns = _side_by_side(self.predict_members(X))
        has_network = self.estimators_.first_network() is not None
        return columns.astype(keras.config.floatx()) if has_network else columns

    def _count_columns(self):
        return self._n_outputs
