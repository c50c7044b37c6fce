"""Stacking: a final estimator learns to combine what different members predict for rows they were not trained on."""

import copy
import dataclasses
import numbers
import os

import keras
import numpy as np
from sklearn.base import RegressorMixin, TransformerMixin, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skensemble._base import LabelsMixin, check_weights_of_rows
from skensemble._checkpoint import open_checkpoint
from skensemble._combine import align_classes
from skensemble._compat import BaseWrapper, HasMethods, StrOptions, VisualBlock, check_feature_names_in, fit_context
from skensemble._export import FINAL_NAME, as_rows_of_numbers, check_network, final_output
from skensemble._heads import MERGES, Head, KerasHeadClassifier, KerasHeadRegressor
from skensemble._members import FittedMembers, Member, check_kind, is_frozen, spawn_seeds, unnamed_columns, unwrapped
from skensemble._named import BaseNamedMembers, describe, own_seed, takes_several_targets
from skensemble._progress import fit_task
from skensemble._training import fit_members

_METHODS = ("predict_proba", "decision_function", "predict")


def _final_has(method):
    """Whether the final estimator has this method, for `available_if`."""

    def check(stacked):
        getattr(getattr(stacked, "final_estimator_", None) or stacked._final(), method)
        return True

    return check


class _BaseStackedKeras(TransformerMixin, BaseNamedMembers):
    _parameter_constraints = {
        "estimators": [list],
        "final_estimator": [StrOptions(set(MERGES)), HasMethods("fit"), None],
        "cv": ["cv_object", StrOptions({"prefit"})],
        "passthrough": ["boolean", StrOptions({"flatten"})],
        "engine": [StrOptions({"auto", "fused", "keras"})],
        "checkpoint_dir": [str, os.PathLike, None],
        "n_jobs": [numbers.Integral, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def transform(self, X):
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
            columns, but of members that were not trained on the row.
        """
        check_is_fitted(self)
        X = self._validate_X(X)
        return self._side_by_side(self._outputs(self.estimators_, self.stack_method_, X), X)

    def get_feature_names_out(self, input_features=None):
        """Names of the columns of `transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of X, which count where X is passed through; None means those of `fit`, or x0, x1, ...

        Returns
        -------
        ndarray of str objects
            Name of the class in small letters, name of the member, number of the column where there are several.
        """
        check_is_fitted(self)
        flattens = len(self._row_shape) > 1
        names = input_features if flattens else check_feature_names_in(self, input_features, generate_names=False)
        columns = []
        for member, n_columns in zip(self._names, self._member_columns, strict=True):
            name = f"{type(self).__name__.lower()}_{member}"
            columns += [name] if n_columns == 1 else [f"{name}{i}" for i in range(n_columns)]
        if self.passthrough:
            columns += [f"x{i}" for i in range(np.prod(self._row_shape))] if names is None else list(names)
        return np.asarray(columns, dtype=object)

    def _fit(self, X, y, sample_weight, task, *, classifier):
        entries = self._check_estimators(X, sample_weight, classifier)
        self.stack_method_ = [self._stack_method(name, one) for name, one in entries]
        final = self._final()
        self._check_final(final, X, y, sample_weight, classifier)
        task.set_data(X, y, sample_weight)
        of_members, of_final = task.parts(["members", "final estimator"])
        with open_checkpoint(self.checkpoint_dir) as checkpoint:
            members = self._seeded_members(entries, checkpoint)
            self._check_frozen(members, X, y)
            splits = self._splits(X, y, members)
            trained = self._fit_members(members, splits, X, y, sample_weight, of_members, checkpoint)
        self.estimators_ = trained.estimators.select(range(len(members)))
        if self._is_prefit():
            self.estimators_ = FittedMembers(unwrapped(member) for member in self.estimators_)
        outputs = self._out_of_fold(trained.estimators, members, splits, X)
        self._member_columns = tuple(one.shape[1] for one in outputs)
        self._fit_final(final, self._side_by_side(outputs, X), y, sample_weight, trained, of_final)
        return self

    def _is_prefit(self):
        return isinstance(self.cv, str)

    def _entries(self):
        entries = super()._entries()
        if not self._is_prefit():
            return entries
        return [(name, one if is_frozen(one) else FrozenEstimator(one)) for name, one in entries]

    def _final(self):
        """The final estimator, not fitted."""
        if self.final_estimator is None:
            return self._default_final()
        return self._head(self.final_estimator) if isinstance(self.final_estimator, str) else self.final_estimator

    def _check_final(self, final, X, y, sample_weight, classifier):
        check_kind(final, classifier=classifier, name="final_estimator")
        if isinstance(final, Head):
            final.check_stack(self.stack_method_, self.passthrough)
        elif not isinstance(unwrapped(final), BaseWrapper):
            self._check_other_final(final, y, sample_weight)
        if self.passthrough is True and X.ndim > 2:
            raise ValueError(
                f"`passthrough=True` needs X of two dimensions: got {X.ndim}. Use passthrough='flatten' to hand each "
                "row to the final estimator as one line of numbers, or passthrough=False."
            )

    def _check_other_final(self, final, y, sample_weight):
        what = f"`final_estimator` is {type(unwrapped(final)).__name__}"
        if sample_weight is not None and not (is_frozen(final) or has_fit_parameter(final, "sample_weight")):
            raise ValueError(f"`sample_weight` needs a final estimator that takes it: {what}, whose fit does not.")
        if y.ndim > 1 and not takes_several_targets(get_tags(final)):
            raise ValueError(
                f"y of several columns needs a final estimator that takes it: {what}, y has {y.shape[1]} columns. Use "
                "another, such as final_estimator='concatenate'."
            )

    def _splits(self, X, y, members):
        """Rows that the members of each fold are trained on and rows they predict; none where nothing is trained."""
        if all(is_frozen(member.estimator) for member in members):
            return []
        # Copied, since a splitter may draw from its own seed.
        cv = copy.deepcopy(self.cv) if hasattr(self.cv, "split") else self.cv
        splitter = check_cv(cv, y, classifier=is_classifier(self))
        if getattr(splitter, "random_state", 0) is None:
            splitter.random_state = self._entropy % 2**32
        splits = list(splitter.split(X, y))
        predicted = np.concatenate([test for _, test in splits])
        if not np.array_equal(np.sort(predicted), np.arange(len(X))):
            raise ValueError(
                "`cv` must be a partition, which predicts each row once: got one that predicts "
                f"{len(np.unique(predicted))} of {len(X)} rows, in {len(predicted)} predictions. Use a splitter such "
                "as KFold or StratifiedKFold."
            )
        return splits

    def _fit_members(self, members, splits, X, y, sample_weight, task, checkpoint):
        """Train the members, and after them those of each fold, all together."""
        in_folds = [
            dataclasses.replace(member, rows=rows)
            for rows, _ in splits
            for member in members
            if not is_frozen(member.estimator)
        ]
        check_weights_of_rows(in_folds, sample_weight)
        return fit_members(
            [*members, *in_folds],
            X,
            y,
            sample_weight,
            engine=self.engine,
            n_jobs=self.n_jobs,
            task=task,
            checkpoint=checkpoint,
        )

    def _out_of_fold(self, trained, members, splits, X):
        """What each member predicts for rows it was not trained on; one that was fitted before predicts as it is."""
        frozen = [i for i, member in enumerate(members) if is_frozen(member.estimator)]
        others = [i for i, member in enumerate(members) if not is_frozen(member.estimator)]
        outputs = dict(zip(frozen, self._outputs(trained.select(frozen), self._methods(frozen), X), strict=True))
        parts = []
        for fold, (_, test) in enumerate(splits):
            first = len(members) + fold * len(others)
            fitted = trained.select(range(first, first + len(others)))
            parts.append(self._outputs(fitted, self._methods(others), X[test]))
        order = np.argsort(np.concatenate([test for _, test in splits])) if others else None
        for i, columns in zip(others, zip(*parts, strict=True), strict=True):
            outputs[i] = np.concatenate(columns)[order]
        return [outputs[i] for i in range(len(members))]

    def _methods(self, indices):
        return [self.stack_method_[i] for i in indices]

    def _outputs(self, fitted, methods, X):
        """Columns (n_samples, n_columns) of each fitted member by its method, a list."""
        together = [k for k, method in enumerate(methods) if method == self._method_of_members]
        predictions = fitted.select(together).predict(X)
        outputs = {k: self._columns(*prediction) for k, prediction in zip(together, predictions, strict=True)}
        return [
            outputs[k] if k in outputs else self._columns_by(method, unwrapped(fitted[k]), X)
            for k, method in enumerate(methods)
        ]

    def _side_by_side(self, outputs, X):
        return np.hstack([*outputs, X.reshape(len(X), -1)] if self.passthrough else outputs)

    def _fit_final(self, final, columns, y, sample_weight, trained, task):
        """Fit the final estimator; sets it, and which engine trained the networks."""
        seed = spawn_seeds(self._entropy, len(self._names) + 1)[-1]
        if isinstance(final, Head) and final.member_columns is None:
            final = clone(final).set_params(member_columns=self._member_columns)
        result = fit_members(
            [Member(final, own_seed(final, seed))],
            _as_input(columns, final),
            y,
            sample_weight,
            engine=self.engine,
            task=task,
        )
        (self.final_estimator_,) = result.estimators
        by_engine = [one for one in (trained, result) if one.engine != "none"] or [trained]
        self.engine_ = " and ".join(sorted({name for one in by_engine for name in one.engine.split(" and ")}))
        self.engine_reason_ = "; ".join(dict.fromkeys(one.reason for one in by_engine))

    def _final_input(self, X):
        check_is_fitted(self)
        X = self._validate_X(X)
        columns = self._side_by_side(self._outputs(self.estimators_, self.stack_method_, X), X)
        return _as_input(columns, self.final_estimator_)

    def _predict_final(self, columns):
        """Decoded prediction of the final estimator, by the fused forward pass where it is a network."""
        ((estimator, prediction),) = FittedMembers([self.final_estimator_]).predict(columns)
        return estimator, prediction

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
            final_takes = isinstance(unwrapped(final), BaseWrapper) or takes_several_targets(get_tags(final))
        except (AttributeError, TypeError, ValueError):
            return False
        return final_takes and super()._takes_several_targets()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _sk_visual_block_(self):
        names, estimators = zip(*self.estimators, strict=True)
        members = VisualBlock("parallel", estimators, names=names, dash_wrapped=False)
        final = VisualBlock("parallel", [self._final()], names=["final_estimator"], dash_wrapped=False)
        return VisualBlock("serial", (members, final), dash_wrapped=False)


def _as_input(columns, estimator):
    """Columns as the estimator takes them: networks in Keras' float type."""
    return columns.astype(keras.config.floatx()) if isinstance(unwrapped(estimator), BaseWrapper) else columns


class StackedKerasClassifier(LabelsMixin, _BaseStackedKeras):
    """Let a final classifier learn how to combine different networks and other classifiers.

    Each member predicts rows it was not trained on, by cross-validation, and the final estimator learns from these
    predictions [1]_. For new rows it combines members that were trained on all rows. The members of all folds and
    those of all rows are trained together.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras classifiers of any architecture, other scikit-learn classifiers, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained and predict as they are. Members
        see the labels as they are in y.
    final_estimator : estimator, "concatenate", "average" or "weighted_average", default=None
        What combines the members: a scikit-learn classifier, a scikeras one, or by its name a small network on the
        members' outputs, which is `KerasHeadClassifier` with default parameters; give one yourself to choose or
        search its parameters. None means `sklearn.linear_model.LogisticRegression()`.
    cv : int, splitter, iterable or "prefit", default=None
        How rows are split into folds. None means 5 folds stratified by class, an int their number, an iterable gives
        (train, test) rows. It must predict each row once. "prefit": the members are fitted already, and predict all
        rows for the final estimator, which should then be other rows than they were trained on.
    stack_method : {"auto", "predict_proba", "decision_function", "predict"}, default="auto"
        Method of the members whose results the final estimator sees; "auto" takes the first of these that a member has.
    passthrough : bool or "flatten", default=False
        Whether the final estimator sees X beside the members' outputs. "flatten" also takes X of more than two
        dimensions, each row as one line of numbers.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one TensorFlow program, with Keras' results in a fraction of the time; an
        error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where possible, else keras;
        `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call goes on from there, to
        the same result bit for bit. Networks that are finished are taken from it; other estimators are trained again.
        So is the final estimator. Each fit needs a directory of its own: other data, parameters or versions are an
        error. To start anew, delete it. None keeps nothing.
    n_jobs : int, default=None
        Number of joblib workers that train members side by side; None means 1 unless in a `joblib.parallel_backend`
        context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members, of the final estimator and of the splitter are spawned where they have
        none of their own. A member starts from the same seed in all folds.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The members, fitted on all rows, in order.
    named_estimators_ : Bunch
        The same by name.
    final_estimator_ : estimator
        The final estimator, fitted on what members predicted for rows they were not trained on.
    stack_method_ : list of str
        The method of each member that gives its columns.
    classes_ : ndarray of shape (n_classes,)
        Labels in the order of the columns of `predict_proba`.
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
    KerasVotingClassifier : Members averaged, not combined by what was learned.
    KerasHeadClassifier : Small networks as final estimators.
    sklearn.ensemble.StackingClassifier : Without networks.

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
        "stack_method": [StrOptions({"auto", *_METHODS})],
    }
    _default_final, _head = LogisticRegression, KerasHeadClassifier
    # What `FittedMembers.predict` gives, by one forward pass for members of one architecture.
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
    def fit(self, X, y, sample_weight=None):
        """Train the members and the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images); converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Labels of any kind that scikit-learn takes, or an indicator matrix of several labels where the final
            estimator takes it.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, for the members and the final estimator.

        Returns
        -------
        StackedKerasClassifier
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=False)
            self._validate_classes(y)
            return self._fit(X, y, sample_weight, task, classifier=True)

    @available_if(_final_has("predict"))
    def predict(self, X, **predict_params):
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
        columns = self._final_input(X)
        if predict_params or not isinstance(unwrapped(self.final_estimator_), BaseWrapper):
            return self.final_estimator_.predict(columns, **predict_params)
        _, proba = self._predict_final(columns)
        return self._decode(self._choose_indices(proba))

    @available_if(_final_has("predict_proba"))
    def predict_proba(self, X):
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
        _, proba = self._predict_final(self._final_input(X))
        return proba

    @available_if(_final_has("decision_function"))
    def decision_function(self, X):
        """Decision function of the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        columns = self._final_input(X)
        return self.final_estimator_.decision_function(columns)

    def _stack_method(self, name, estimator):
        for method in _METHODS if self.stack_method == "auto" else (self.stack_method,):
            if hasattr(unwrapped(estimator), method):
                return method
        raise ValueError(
            f"`stack_method` must be a method of every member: {describe(name, estimator)}, which has no "
            f"{self.stack_method!r}. Use stack_method='auto'."
        )

    def _columns(self, estimator, proba):
        if self._multilabel:
            return proba
        proba = align_classes(proba, estimator.classes_, self.classes_)
        # The other column says the same.
        return proba[:, 1:] if len(self.classes_) == 2 else proba

    def _columns_by(self, method, estimator, X):
        with unnamed_columns():
            values = getattr(estimator, method)(X)
        if method == "predict":
            return self._encode(values).reshape(len(X), -1)
        if not self._multilabel and len(estimator.classes_) < len(self.classes_):
            raise ValueError(
                f"With `stack_method='decision_function'`, each fold must have rows of every class: got one with "
                f"{len(estimator.classes_)} of {len(self.classes_)}. Use fewer folds, or stack_method='predict'."
            )
        return values.reshape(len(X), -1)


class StackedKerasRegressor(RegressorMixin, _BaseStackedKeras):
    """Let a final regressor learn how to combine different networks and other regressors.

    Each member predicts rows it was not trained on, by cross-validation, and the final estimator learns from these
    predictions [1]_. For new rows it combines members that were trained on all rows. The members of all folds and
    those of all rows are trained together.

    Parameters
    ----------
    estimators : list of (str, estimator)
        Names and members: scikeras regressors of any architecture, other scikit-learn regressors, or fitted ones of
        either kind as `sklearn.frozen.FrozenEstimator`, which are not trained and predict as they are.
    final_estimator : estimator, "concatenate", "average" or "weighted_average", default=None
        What combines the members: a scikit-learn regressor, a scikeras one, or by its name a small network on the
        members' outputs, which is `KerasHeadRegressor` with default parameters; give one yourself to choose or
        search its parameters. None means `sklearn.linear_model.RidgeCV()`.
    cv : int, splitter, iterable or "prefit", default=None
        How rows are split into folds. None means 5 folds, an int their number, an iterable gives
        (train, test) rows. It must predict each row once. "prefit": the members are fitted already, and predict all
        rows for the final estimator, which should then be other rows than they were trained on.
    passthrough : bool or "flatten", default=False
        Whether the final estimator sees X beside the members' outputs. "flatten" also takes X of more than two
        dimensions, each row as one line of numbers.
    engine : {"auto", "fused", "keras"}, default="auto"
        How networks are trained. "fused": in one TensorFlow program, with Keras' results in a fraction of the time; an
        error where that is not possible. "keras": by Keras' own `fit`. "auto": fused where possible, else keras;
        `engine_reason_` says why.
    checkpoint_dir : str or path-like, default=None
        Directory in which the fit keeps its state, so that after a crash or a kill the same call goes on from there, to
        the same result bit for bit. Networks that are finished are taken from it; other estimators are trained again.
        So is the final estimator. Each fit needs a directory of its own: other data, parameters or versions are an
        error. To start anew, delete it. None keeps nothing.
    n_jobs : int, default=None
        Number of joblib workers that train members side by side; None means 1 unless in a `joblib.parallel_backend`
        context, -1 all processors.
    random_state : int, RandomState instance or None, default=None
        Seed from which the seeds of members, of the final estimator and of the splitter are spawned where they have
        none of their own. A member starts from the same seed in all folds.
    verbose : int, default=0
        Above 0, progress is printed.

    Attributes
    ----------
    estimators_ : sequence of estimators
        The members, fitted on all rows, in order.
    named_estimators_ : Bunch
        The same by name.
    final_estimator_ : estimator
        The final estimator, fitted on what members predicted for rows they were not trained on.
    stack_method_ : list of str
        The method of each member that gives its columns.
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
    KerasVotingRegressor : Members averaged, not combined by what was learned.
    KerasHeadRegressor : Small networks as final estimators.
    sklearn.ensemble.StackingRegressor : Without networks.

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
    def fit(self, X, y, sample_weight=None):
        """Train the members and the final estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions (tables, sequences, images); converted to Keras' float type.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row, for the members and the final estimator.

        Returns
        -------
        StackedKerasRegressor
            Itself, fitted.
        """
        with fit_task(self) as task:
            X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=True)
            return self._fit(X, y, sample_weight, task, classifier=False)

    @available_if(_final_has("predict"))
    def predict(self, X, **predict_params):
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
        columns = self._final_input(X)
        if predict_params:
            return self.final_estimator_.predict(columns, **predict_params)
        _, values = self._predict_final(columns)
        return values

    def _stack_method(self, name, estimator):
        return "predict"

    def _columns(self, estimator, values):
        return values.reshape(len(values), -1)

    def _member_classes(self):
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._takes_several_targets()
        return tags
