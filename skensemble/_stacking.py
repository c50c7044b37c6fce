"""Stacking: a final estimator learns to combine what different members predict for rows they were not trained on."""

import dataclasses
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skensemble._base.final_estimator import (
    check_final,
    final_input,
    final_member,
    final_metadata,
    fit_final,
    predict_alone,
    predict_final,
)
from skensemble._base.independent_runs import warn_of_equal
from skensemble._base.meta_features import (
    METHODS,
    find_stack_method,
    in_folds,
    meta_features,
    out_of_fold,
    predicted_rows,
    side_by_side,
    split_rows,
)
from skensemble._base.metadata_routing import asks_in_fit
from skensemble._base.named_members import BaseNamedMembers, column_names, takes_several_targets
from skensemble._base.predictions import LabelsMixin, TargetsMixin
from skensemble._checkpoint.store import keep_entropy, open_checkpoint
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import (
    HasMethods,
    StrOptions,
    VisualBlock,
    check_feature_names_in,
    check_method_params,
    fit_context,
    is_of_kind,
    tags_of,
)
from skensemble._engine.execution import FitControls
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.other_members import check_own_fits
from skensemble._engine.training import fit_members
from skensemble._export import FINAL_NAME, as_rows_of_numbers, check_network, final_output
from skensemble._heads import MERGES, KerasHeadClassifier, KerasHeadRegressor
from skensemble._members.inputs import TrainingData
from skensemble._members.member_checks import check_frozen_members
from skensemble._members.spec import is_frozen, is_network, unwrapped, with_callbacks
from skensemble._numeric.combination import log_proba
from skensemble._typing import MatrixLike
from skensemble.wrappers import as_target_type


def _final_has(method):
    """Whether the final estimator has this method, for `available_if`."""

    def check(stacked):
        getattr(getattr(stacked, "final_estimator_", None) or stacked._final(), method)
        return True

    return check


class _BaseStackedKeras(BaseNamedMembers):
    _fitted_state = ("final_estimator_", "stack_method_", "_member_columns", "_sklearn_output_config")
    _parameter_constraints = {
        **BaseNamedMembers._parameter_constraints,
        "final_estimator": [StrOptions(set(MERGES)), HasMethods("fit"), None],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "passthrough": ["boolean", StrOptions({"flatten"})],
    }

    def transform(self, X: MatrixLike) -> np.ndarray:
        """What the members predict, side by side: the columns that the final estimator takes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            The columns of the first member, those of the second, and so on, then X where it is passed through.
            Probabilities of two classes are one column, that of the second. In `fit` the final estimator saw the same
            columns, but from members that were not trained on the row.
        """
        check_is_fitted(self)
        return meta_features(self, self._validate_X(X))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> np.ndarray:
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, used where X is passed through; None means those of `fit`, or x0, x1, ...

        Returns
        -------
        ndarray of str objects
            Name of the class in lower case, name of the member, and number of the column where there are several.
        """
        check_is_fitted(self)
        flattens = len(self._row_shape) > 1
        names = input_features if flattens else check_feature_names_in(self, input_features, generate_names=False)
        columns = column_names(self, self._member_columns)
        if self.passthrough:
            columns += [f"x{i}" for i in range(np.prod(self._row_shape))] if names is None else list(names)
        return np.asarray(columns, dtype=object)

    def get_metadata_routing(self) -> MetadataRouter:
        """Which metadata the members, the final estimator and the ensemble itself request.

        Returns
        -------
        MetadataRouter
            The ensemble's own request for `sample_weight`, by `set_fit_request`, applies to the members that have none.
            A final estimator without requests for `fit` is not included: of what the members are given, it is given
            what its `fit` takes.
        """
        router, final = super().get_metadata_routing(), self._final()
        if asks_in_fit(final):
            router.add(**{FINAL_NAME: final}, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        predicting = MethodMapping().add(caller="predict", callee="predict")
        return router.add(final_estimator_=getattr(self, "final_estimator_", final), method_mapping=predicting)

    def _train(self, X, y, sample_weight, params, task):
        entries, arguments = self._check_estimators(X, sample_weight, params)
        self.stack_method_ = [find_stack_method(self, name, one) for name, one in entries]
        final = self._final()
        metadata = final_metadata(self, final, sample_weight, params)
        check_final(self, final, X, y, sample_weight)
        data = TrainingData(X, y, sample_weight)
        task.set_data(X.given, y, sample_weight)
        of_members, of_final = task.parts(["members", "final estimator"])
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            self._entropy = keep_entropy(checkpoint, self.random_state)
            members = self._seeded_members(entries, arguments)
            check_frozen_members(members, X, y, self._member_classes(), X.names)
            splits = split_rows(self, data, members)
            last = final_member(self, final, metadata, sample_weight)
            to_train = [*members, *in_folds(members, splits, sample_weight), last]
            check_own_fits(to_train, self.engine)
            *to_train, last = with_callbacks(to_train)
            trained = fit_members(
                to_train,
                data,
                engine=self.engine,
                n_jobs=self.n_jobs,
                task=of_members,
                controls=FitControls(checkpoint=checkpoint),
            )
        self.estimators_ = trained.estimators.select(range(len(members)))
        warn_of_equal(self)
        if isinstance(self.cv, str):  # "prefit"
            self.estimators_ = FittedMembers(unwrapped(member) for member in self.estimators_)
        rows = predicted_rows(splits, len(X))
        outputs = out_of_fold(self, trained.estimators, members, splits, X)
        self._member_columns = tuple(one.shape[1] for one in outputs)
        data = data.take(rows)
        last = dataclasses.replace(last, metadata=check_method_params(X, last.metadata or {}, indices=rows))
        fit_final(self, last, data._replace(X=side_by_side(self, outputs, data.X)), trained, of_final)
        return self

    def _entries(self):
        entries = super()._entries()
        if not isinstance(self.cv, str):
            return entries
        # "prefit"
        return [(name, one if is_frozen(one) else FrozenEstimator(one)) for name, one in entries]

    def _final(self):
        """The final estimator, not fitted."""
        if self.final_estimator is None:
            return self._default_final()
        return self._head(self.final_estimator) if isinstance(self.final_estimator, str) else self.final_estimator

    def _find_network(self, *, fitted):
        name, networks_only = super()._find_network(fitted=fitted)
        if not self.passthrough:
            return name, networks_only
        final = self.final_estimator_ if fitted else self._final()
        if name is None and is_network(final):
            name = f"final_estimator ({type(unwrapped(final)).__name__})"
        return name, False

    def _exported_members(self):
        check_network(unwrapped(self.final_estimator_), FINAL_NAME)
        others = {n: m for n, m in zip(self._names, self.stack_method_, strict=True) if m != self._method_of_members}
        if others:
            raise ValueError(
                "`to_keras` needs members whose networks give the columns of the final estimator, by "
                f"{self._method_of_members}: got the methods {others}. Fit with stack_method='auto' and networks only."
            )
        return self.estimators_, self._names, np.ones(len(self._names))

    def _combine_outputs(self, X, outputs, weights):
        classes = self._member_classes()
        if classes is not None and len(classes) == 2:
            outputs = [output[:, 1:] for output in outputs]
        columns = [*outputs, as_rows_of_numbers(X)] if self.passthrough else outputs
        return final_output(unwrapped(self.final_estimator_), columns)

    def _takes_several_targets(self):
        try:
            final = self._final()
            final_takes = isinstance(unwrapped(final), BaseWrapper) or takes_several_targets(tags_of(final))
        except (AttributeError, TypeError, ValueError):
            return False
        return final_takes and super()._takes_several_targets()

    def _sk_visual_block_(self):
        names, estimators = zip(*self.estimators, strict=True)
        members = VisualBlock("parallel", estimators, names=names, dash_wrapped=False)
        final = VisualBlock("parallel", [self._final()], names=["final_estimator"], dash_wrapped=False)
        return VisualBlock("serial", (members, final), dash_wrapped=False)


class StackedKerasClassifier(LabelsMixin, _BaseStackedKeras):
    """Let a final classifier learn how to combine different networks and other classifiers.

    Each member predicts rows it was not trained on, by cross-validation, and the final estimator learns from these
    predictions [1]_. For new rows it combines members that were trained on all rows. The members of all folds and
    those of all rows are trained together.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras classifiers of any architecture, other scikit-learn classifiers, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained and predict as they are. "drop" in place
        of an estimator leaves the member out, also by `set_params(name="drop")`. Networks and scikit-learn's estimators
        see the labels as they are in y, classifiers of other libraries 0, 1, ..., n_classes - 1. So do regressors,
        which may be members where they are no networks; what they predict is a column.
    final_estimator : estimator, "concatenate", "average" or "weighted_average", default=None
        What combines the members: a scikit-learn classifier, a scikeras one, or by its name a small network on the
        members' outputs, which is `KerasHeadClassifier` with default parameters; give such a head yourself to set or
        search its parameters. None means `sklearn.linear_model.LogisticRegression()`.
    cv : int, splitter, iterable or "prefit", default=None
        How rows are split into folds. None means 5 folds stratified by class, an int is their number, an iterable gives
        (train, test) rows. No row may be predicted twice; the final estimator does not learn from rows that are never
        predicted, as with `TimeSeriesSplit`. "prefit": the members are fitted already and predict all rows for the
        final estimator, which should then be rows that they were not trained on.
    stack_method : {"auto", "predict_proba", "decision_function", "predict"}, default="auto"
        The method of the members whose results the final estimator sees; "auto" takes the first of these that a member
        has.
    passthrough : bool or "flatten", default=False
        Whether the final estimator sees X in addition to the members' outputs. "flatten" also takes X of more than two
        dimensions, and flattens each row.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one program of TensorFlow or JAX, with the results that Keras gives, in a
        fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where
        possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call continues from there,
        to the same result bit for bit. Finished networks are taken from it; other estimators are trained again. So is
        the final estimator. Each fit needs its own directory: other data, parameters or versions are an error. To start
        again, delete it. None keeps nothing.
    n_jobs : int, default=None
        The largest number of joblib workers that train members in parallel; fewer, or none, are used where more do not
        pay. None means 1 unless in a `joblib.parallel_config` context, and always 1 inside a worker; -1 means all.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members, of the final estimator and of the splitter are spawned where they have
        none. A member starts from the same seed in all folds.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The members, fitted on all rows, in order.
    named_estimators_ : Bunch
        The same by name; "drop" for those that are left out.
    final_estimator_ : estimator
        The final estimator, fitted on what members predicted for rows they were not trained on.
    stack_method_ : list of str
        The method of each member that gives its columns.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
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
    KerasVotingClassifier : Members averaged, not combined by what was learned.
    KerasHeadClassifier : Small networks as final estimators.
    sklearn.ensemble.StackingClassifier : Without networks.

    Notes
    -----
    Members cannot be reweighted or left out after `fit` by `reweight` and `subset`, as in other ensembles: the final
    estimator has learned to combine just these, and would have to be trained again.

    References
    ----------
    .. [1] Wolpert, "Stacked generalization", Neural Networks 5 (1992).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from skensemble import KerasClassifier, StackedKerasClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> members = [("mlp", KerasClassifier(epochs=3)), ("forest", RandomForestClassifier(n_estimators=5))]
    >>> stacked = StackedKerasClassifier(members, cv=2, random_state=0).fit(X, y)
    >>> stacked.transform(X[:4]).shape
    (4, 6)
    """

    _parameter_constraints = {
        **_BaseStackedKeras._parameter_constraints,
        "stack_method": [StrOptions({"auto", *METHODS})],
    }
    _default_final, _head = LogisticRegression, KerasHeadClassifier
    # What `predict_each` gives, by one forward pass for members of one architecture.
    _method_of_members = "predict_proba"

    def __init__(
        self,
        estimators,
        final_estimator=None,
        *,
        cv=None,
        stack_method="auto",
        passthrough=False,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimators = estimators
        self.final_estimator = final_estimator
        self.cv = cv
        self.stack_method = stack_method
        self.passthrough = passthrough
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the members and the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; networks get it in Keras' float type, every
            other member as given.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind that scikit-learn takes, or an indicator matrix of several labels where the final
            estimator takes it.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, for the members and the final estimator.
        **params : dict
            Further metadata for the members that request it, with `sklearn.set_config(enable_metadata_routing=True)`.
            Networks take only `sample_weight`.

        Returns
        -------
        StackedKerasClassifier
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
            Where members are equal.
        """
        return self._fit_checked(X, y, sample_weight, params)

    @available_if(_final_has("predict"))
    def predict(self, X: MatrixLike, **predict_params: Any) -> np.ndarray:
        """Label of each row, by the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        **predict_params : dict
            Further arguments for `predict` of the final estimator.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
        """
        columns = final_input(self, X)
        if predict_params or not is_network(self.final_estimator_):
            return predict_alone(self, columns, **predict_params)
        return self._decode(self._choose_indices(predict_final(self, columns)))

    @available_if(_final_has("predict_proba"))
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Probability of each class, by the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; with several labels per row, the probability of each label.
        """
        return predict_final(self, final_input(self, X))

    @available_if(_final_has("predict_proba"))
    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Logarithm of the probability of each class, by the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithm of `predict_proba`; minus infinity where that is 0.
        """
        return log_proba(self.predict_proba(X))

    @available_if(_final_has("decision_function"))
    def decision_function(self, X: MatrixLike) -> np.ndarray:
        """Decision function of the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        columns = final_input(self, X)
        return self.final_estimator_.decision_function(columns.given)

    def _is_regressor_among(self, estimator):
        inner = unwrapped(estimator)
        return not isinstance(inner, BaseWrapper) and is_of_kind(inner, classifier=False)


class StackedKerasRegressor(TargetsMixin, _BaseStackedKeras):
    """Let a final regressor learn how to combine different networks and other regressors.

    Each member predicts rows it was not trained on, by cross-validation, and the final estimator learns from these
    predictions [1]_. For new rows it combines members that were trained on all rows. The members of all folds and
    those of all rows are trained together.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras regressors of any architecture, other scikit-learn regressors, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained and predict as they are. "drop" in place
        of an estimator leaves the member out, also by `set_params(name="drop")`.
    final_estimator : estimator, "concatenate", "average" or "weighted_average", default=None
        What combines the members: a scikit-learn regressor, a scikeras one, or by its name a small network on the
        members' outputs, which is `KerasHeadRegressor` with default parameters; give such a head yourself to set or
        search its parameters. None means `sklearn.linear_model.RidgeCV()`.
    cv : int, splitter, iterable or "prefit", default=None
        How rows are split into folds. None means 5 folds, an int is their number, an iterable gives (train, test) rows.
        No row may be predicted twice; the final estimator does not learn from rows that are never predicted, as with
        `TimeSeriesSplit`. "prefit": the members are fitted already and predict all rows for the final estimator, which
        should then be rows that they were not trained on.
    passthrough : bool or "flatten", default=False
        Whether the final estimator sees X in addition to the members' outputs. "flatten" also takes X of more than two
        dimensions, and flattens each row.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one program of TensorFlow or JAX, with the results that Keras gives, in a
        fraction of the time; an error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where
        possible, otherwise keras; `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call continues from there,
        to the same result bit for bit. Finished networks are taken from it; other estimators are trained again. So is
        the final estimator. Each fit needs its own directory: other data, parameters or versions are an error. To start
        again, delete it. None keeps nothing.
    n_jobs : int, default=None
        The largest number of joblib workers that train members in parallel; fewer, or none, are used where more do not
        pay. None means 1 unless in a `joblib.parallel_config` context, and always 1 inside a worker; -1 means all.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members, of the final estimator and of the splitter are spawned where they have
        none. A member starts from the same seed in all folds.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The members, fitted on all rows, in order.
    named_estimators_ : Bunch
        The same by name; "drop" for those that are left out.
    final_estimator_ : estimator
        The final estimator, fitted on what members predicted for rows they were not trained on.
    stack_method_ : list of str
        The method of each member that gives its columns.
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
    KerasVotingRegressor : Members averaged, not combined by what was learned.
    KerasHeadRegressor : Small networks as final estimators.
    sklearn.ensemble.StackingRegressor : Without networks.

    Notes
    -----
    Members cannot be reweighted or left out after `fit` by `reweight` and `subset`, as in other ensembles: the final
    estimator has learned to combine just these, and would have to be trained again.

    References
    ----------
    .. [1] Wolpert, "Stacked generalization", Neural Networks 5 (1992).

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> from skensemble import KerasRegressor, StackedKerasRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> members = [("mlp", KerasRegressor(epochs=3)), ("forest", RandomForestRegressor(n_estimators=5))]
    >>> stacked = StackedKerasRegressor(members, cv=2, random_state=0).fit(X, y)
    >>> stacked.transform(X[:4]).shape
    (4, 2)
    """

    _default_final, _head = RidgeCV, KerasHeadRegressor
    _method_of_members = "predict"

    def __init__(
        self,
        estimators,
        final_estimator=None,
        *,
        cv=None,
        passthrough=False,
        engine="auto",
        checkpoint_dir=None,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        self.estimators = estimators
        self.final_estimator = final_estimator
        self.cv = cv
        self.passthrough = passthrough
        self.engine = engine
        self.checkpoint_dir = checkpoint_dir
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Train the members and the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images), or sparse; networks get it in Keras' float type, every
            other member as given.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, for the members and the final estimator.
        **params : dict
            Further metadata for the members that request it, with `sklearn.set_config(enable_metadata_routing=True)`.
            Networks take only `sample_weight`.

        Returns
        -------
        StackedKerasRegressor
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
            Where members are equal.
        """
        return self._fit_checked(X, y, sample_weight, params)

    @available_if(_final_has("predict"))
    def predict(self, X: MatrixLike, **predict_params: Any) -> np.ndarray:
        """Value of each row, by the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        **predict_params : dict
            Further arguments for `predict` of the final estimator, such as `return_std`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        columns, final = final_input(self, X), unwrapped(self.final_estimator_)
        if predict_params:
            return predict_alone(self, columns, **predict_params)
        values = predict_final(self, columns)
        return as_target_type(final, values) if isinstance(final, BaseWrapper) else values
