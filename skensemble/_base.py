"""What every ensemble shares: checks of the data, predictions of the members, and their combination."""

import dataclasses
import numbers
from collections.abc import Iterator
from functools import partial

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_classifier, is_regressor
from sklearn.utils.metadata_routing import MetadataRouter
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from skensemble._adapters import as_member, keep_fit_arguments
from skensemble._compat.scikeras import is_one_hot_target
from skensemble._compat.seeds import seeded
from skensemble._compat.sklearn import CallbackSupportMixin, check_sample_weight, validate_parameter_constraints
from skensemble._engine.equal_members import warn_of_equal_members
from skensemble._engine.fitted import FittedMembers, predict_distributions, predict_members
from skensemble._engine.further import (
    epochs_parameter,
    history_of_member,
    put_epochs_back,
    put_history_before,
    start_of,
)
from skensemble._engine.progress import fit_task, fitted_as
from skensemble._engine.training import fit_members
from skensemble._export import as_model, calibrated, combined, input_tensor, member_outputs, vote_shares
from skensemble._members.checks import check_frozen_members, check_restored
from skensemble._members.distribution import check_distributions
from skensemble._members.inputs import (
    Inputs,
    TrainingData,
    as_given,
    count_categories,
    lazily_or_read,
    refuse_other_types,
    refuse_streams,
    texts_refused,
)
from skensemble._members.pickling import PickledByName
from skensemble._members.spec import is_frozen, unwrapped, with_callbacks
from skensemble._members.start import Start
from skensemble._members.target_warnings import warn_of_one_hot
from skensemble._numeric.calibration import with_temperature
from skensemble._numeric.combination import (
    Combination,
    Uncertainty,
    combine,
    combine_where,
    first_weights,
    log_proba,
    majority_vote,
    normalize_weights,
    split_entropy,
)
from skensemble._numeric.lazy_rows import LazyRows
from skensemble._numeric.mixture import PredictionInterval, check_coverage, deviation, mixture_interval, split_variance
from skensemble._numeric.selection import check_judged_rows, held_out_rows
from skensemble._numeric.sparse_rows import dense_or_rows
from skensemble._reweight import (
    calibrates,
    check_calibration,
    check_combination,
    greedy_weights_of,
    learn_combination,
    learned,
    temperature_of,
    warn_if_changed,
)
from skensemble._routing import fit_metadata, make_router, split_metadata
from skensemble._stopping import ensemble_stopping, learn_stopping, stops_together
from skensemble._typing import MatrixLike


class BaseKerasEnsemble(PickledByName, CallbackSupportMixin, BaseEstimator):
    """Data checks and predictions of members; the fitted members are in `estimators_`, their weights in `weights_`."""

    # What is saved beside the parameters: all that `fit` and configuring methods may set. Subclasses add theirs.
    _fitted_state = (
        "engine_",
        "engine_reason_",
        "feature_names_in_",
        "n_features_in_",
        "_metadata_request",
        "_row_shape",
    )

    def predict_members(self, X: MatrixLike) -> np.ndarray:
        """What each member predicts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_estimators, n_samples, n_classes) or (n_estimators, n_samples[, n_outputs])
            Probabilities for classifiers, values for regressors.
        """
        check_is_fitted(self)
        return predict_members(self.estimators_, self._validate_X(X), self._member_classes())

    def __sklearn_clone__(self):
        return keep_fit_arguments(self, super().__sklearn_clone__())

    def get_metadata_routing(self) -> MetadataRouter:
        """Which metadata the ensemble and its member request.

        Returns
        -------
        MetadataRouter
            A request for `sample_weight`, by `set_fit_request`, may be set on the ensemble or on the member, whose own
            counts.
        """
        return make_router(self, self._routed_members(), consumes=True)

    def _routed_members(self):
        """What takes part in metadata routing, (name, estimator): the one estimator that is not fitted yet, if any."""
        given = not isinstance(self.estimator, list | None)
        return [("estimator", as_member(self.estimator))] if given else []

    def _member_metadata(self, sample_weight, params):
        """Arguments of `Member` for what each member is given beside X and y."""
        given = fit_metadata(self, self._routed_members(), sample_weight, params, consumes=True)
        return split_metadata(given["estimator"], sample_weight) if given else {}

    def to_keras(self, *, trainable: bool = False) -> keras.Model:
        """The whole ensemble as one Keras model: its networks on one input, and their combination.

        Members that are ensembles themselves are in it as models. The model holds copies: training it changes nothing
        here. It is made of Keras' own layers, so that once saved (`model.save`) or exported (`model.export`) it can be
        used where skensemble is not installed. Some layers are not Keras' own, and a saved model needs them when it is
        loaded (an exported one does not): layers that you wrote, the `WeightedAverage` of a stacking ensemble, the
        `SelectColumns` of members that draw columns, and the `InputColumns` and `EmbedCategories` of members on tables.

        Parameters
        ----------
        trainable : bool, default=False
            Whether further training of the model changes the networks of the members, as far as their layers were
            trainable. With False they are frozen, BatchNormalization included; Dropout still acts in `Model.fit`. A
            network that combines the members is frozen only in members that are ensembles.

        Returns
        -------
        keras.Model
            Functional, not compiled, for rows of X as in `fit` (what a pipeline does before is not in it). Outputs of
            shape (n_samples, n_classes or n_labels) are those of `predict_proba`; with `voting="hard"` they are the
            shares of the votes, of which the largest is the prediction (with several labels per row, those above 0.5);
            of regressors, those of `predict`, of shape (n_samples, n_outputs) also for one target. Members of weight 0
            are left out.

        Raises
        ------
        ValueError
            Where a member that counts, or what combines them, is no Keras network, has encoders of its own or cannot be
            copied.
        """
        check_is_fitted(self)
        members, names, weights = self._exported_members()
        counted = np.flatnonzero(weights)
        with seeded(0):  # initial values that are replaced are drawn, and the seeds of Dropout
            X = input_tensor(self._row_shape)
            outputs = member_outputs(
                [unwrapped(member) for member in members.select(counted)],
                [names[i] for i in counted],
                X,
                self._member_classes(),
                trainable=trainable,
            )
            return as_model(X, self._combine_outputs(X, outputs, weights[counted]))

    def _exported_members(self):
        """Members of the exported model, their names and their weights."""
        members = self.estimators_
        return members, [f"member_{i}" for i in range(len(members))], self.weights_

    def _combine_outputs(self, X, outputs, weights):
        """Output of the exported model from its input and the outputs of the members that count."""
        return combined(outputs, weights, self._combination())

    def _combination(self, rule=None, trim_fraction=None):
        """How members are combined: as `fit` or `reweight` learned it, or as it is given."""
        return Combination(
            learned(self, "combination", "mean") if rule is None else rule,
            learned(self, "trim_fraction", 0.0) if trim_fraction is None else trim_fraction,
            self._combined_target(),
        )

    def _fit_independent(self, members, X, y, sample_weight, task, *, fitted=(), left_out=None, checkpoint=None):
        """Train members in runs of their own and weigh them; sets `estimators_`, `weights_` and what trained them.

        Parameters
        ----------
        members : list of MemberSpec
        X : Inputs
        y, sample_weight : ndarray
            Validated.
        task : Task
            The fit.
        fitted : sequence of members that are there already, before the new ones
        left_out : ndarray of bool of shape (n_estimators, n_samples), default=None
            Rows that each member, the earlier ones included, was not trained on, where members draw rows of their own.
        checkpoint : Checkpoint, default=None
            As in `fit_members`.
        """
        selects = isinstance(self.weights, str)
        n_members = len(fitted) + len(members)
        weights = None if selects else normalize_weights(self._given_weights(), n_members)
        self._check_combination(weights, n_members)
        self._check_targets([member.estimator for member in members])
        judged = stopping = None
        if selects or calibrates(self) or stops_together(self):
            members, judged = self._hold_out(members, y, sample_weight, left_out)
        if stops_together(self):
            rows = TrainingData(X, y, sample_weight).take(judged)
            stopping = ensemble_stopping(self, normalize_weights(None, n_members) if selects else weights, rows)
        check_weights_of_rows(members, sample_weight)
        members = with_callbacks(members, first=len(fitted), fitted=fitted)

        def learn(ensemble, trained):
            ensemble.estimators_ = trained.estimators if not len(fitted) else fitted + trained.estimators
            if members:
                ensemble.engine_, ensemble.engine_reason_ = trained.engine, trained.reason
            ensemble.weights_ = weights
            learn_combination(ensemble)
            if selects:
                ensemble.weights_ = greedy_weights_of(ensemble, X, y, sample_weight, judged, left_out)
            vars(ensemble).pop("temperature_", None)
            if calibrates(ensemble):
                ensemble.temperature_ = temperature_of(ensemble, X, y, sample_weight, judged, left_out)

        task.set_data(X.given, y, sample_weight, partial(fitted_as, self, learn))
        trained = fit_members(
            members,
            TrainingData(X, y, sample_weight),
            engine=self.engine,
            n_jobs=self.n_jobs,
            task=task,
            checkpoint=checkpoint,
            first=len(fitted),
            stopping=stopping,
        )
        learn(self, trained)
        learn_stopping(self, stopping)
        self._warn_of_equal_members()

    def _check_parameters(self):
        """Raise where parameters are not of the types and values that they must be, as `fit` does."""
        validate_parameter_constraints(self._parameter_constraints, self.get_params(deep=False), type(self).__name__)

    def _take_fitted(self, estimators, row_shape, feature_names):
        """Learn what `fit` learns of members that are fitted already, without data.

        Parameters
        ----------
        estimators : list of FrozenEstimator
        row_shape : tuple of int
        feature_names : ndarray of str of shape (n_features,) or None
        """
        self._check_parameters()
        if isinstance(self.weights, str):
            raise ValueError(
                f"`weights={self.weights!r}` needs rows to select members on. Leave it out, and call "
                f"reweight({self.weights!r}, X=X, y=y) afterwards."
            )
        weights = normalize_weights(self.weights, len(estimators))
        self._check_combination(weights, len(estimators))
        self._row_shape, self.n_features_in_ = row_shape, row_shape[0]
        if feature_names is not None:
            self.feature_names_in_ = feature_names
        self.estimators_ = FittedMembers(estimators)
        self.engine_, self.engine_reason_ = "none", "no network was trained"
        self.weights_ = weights
        learn_combination(self)
        self._warn_of_equal_members()

    def _partial_fit(self, X, y, classes, sample_weight, epochs):
        """Train members for some more epochs, or for the first ones; see `partial_fit`."""
        self._check_parameters()
        check_restored(self)
        if isinstance(self.weights, str):
            raise ValueError(
                f"`weights={self.weights!r}` selects members on rows of one fit. Leave it out, and call "
                f"reweight({self.weights!r}, X=X, y=y) between calls of `partial_fit`."
            )
        if not isinstance(epochs, numbers.Integral) or epochs < 1:
            raise ValueError(f"`epochs` must be a whole number from 1: got {epochs!r}.")
        with fit_task(self) as task:
            goes_on = hasattr(self, "estimators_")
            if goes_on:
                X, y, sample_weight = self._validate_more_data(X, y, classes, sample_weight)
            else:
                X, y, sample_weight = self._validate_fit_data(X, y, sample_weight, y_numeric=is_regressor(self))
                if is_classifier(self):
                    self._validate_classes(y if classes is None or y.ndim > 1 else np.unique(classes))
                    self._check_labels(y)
            before = self.estimators_.entries() if goes_on else None
            members = self._members_to_train_on(y, len(before) if goes_on else None)
            if not goes_on:
                self.weights_ = normalize_weights(self._given_weights(), len(members))
                self._check_combination(self.weights_, len(members))
                learn_combination(self)
            check_weights_of_rows(members, sample_weight)
            self._train_on(members, before, TrainingData(X, y, sample_weight), epochs, task)
            return self

    def _train_on(self, members, before, data, epochs, task):
        """Train members, those `before` where they are to go on, for so many epochs; sets `estimators_`."""
        classes = self._member_classes()
        starts = [Start(classes)] * len(members) if before is None else [start_of(one, classes) for one in before]
        shortened = {id(one.estimator): _for_epochs(one.estimator, epochs) for one in members}  # copies stay copies
        to_train = [
            dataclasses.replace(member, estimator=shortened[id(member.estimator)], start=start)
            for member, start in zip(members, starts, strict=True)
        ]
        trained = fit_members(to_train, data, engine=self.engine, n_jobs=self.n_jobs, task=task)
        for i, (member, entry) in enumerate(zip(members, trained.estimators.entries(), strict=True)):
            put_epochs_back(entry, member.estimator)
            if before is not None:
                put_history_before(entry, history_of_member(before[i]))
        self.estimators_, self.engine_, self.engine_reason_ = trained.estimators, trained.engine, trained.reason

    def _validate_more_data(self, X, y, classes, sample_weight):
        """`Inputs`, target and weights of rows after the first ones, checked."""
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"`classes` must be those of the first call, or None: got {np.unique(classes).tolist()}, they were "
                f"{self.classes_.tolist()}. `fit` begins again."
            )
        X, y = self._validate_X(X), self._validate_target(y)
        check_consistent_length(X, y)
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
        return X, y, sample_weight

    def _hold_out(self, members, y, sample_weight, left_out):
        """The members, trained without the rows that they are judged on, and these rows."""
        if left_out is not None:
            check_judged_rows(np.flatnonzero(left_out.any(axis=0)), sample_weight)
        if left_out is not None or all(is_frozen(member.estimator) for member in members):
            return members, np.arange(len(y))
        kept, held_out = held_out_rows(
            y,
            self.validation_fraction,
            self._entropy % 2**32,
            stratify=self._stratifies(),
            sample_weight=sample_weight,
        )
        return [dataclasses.replace(member, sample_indices=kept) for member in members], held_out

    def _check_targets(self, estimators):
        """Raise where members, before `fit`, predict things that cannot be combined."""

    def _warn_of_equal_members(self):
        warn_of_equal_members(self.estimators_, getattr(self, "_names", None))

    def _check_combination(self, weights, n_members):
        """Raise where the parameters do not say how members are combined; `weights` is None where they are selected."""
        weights = self.weights if weights is None else weights
        voting = getattr(self, "voting", "soft")
        check_calibration(self, voting)
        check_combination(voting, self.combination, self.trim_fraction, weights, n_members)

    def _given_weights(self):
        """The parameter `weights` without entries of members that are left out."""
        return self.weights

    def _check_frozen(self, members, X, y):
        check_frozen_members(members, X, y, self._member_classes(), getattr(self, "feature_names_in_", None))

    def _counted(self, X):
        """The members that count, their weights, and `Inputs`; members of weight 0 are not evaluated."""
        check_is_fitted(self)
        warn_if_changed(self)
        X = self._validate_X(X)
        counted = np.flatnonzero(self.weights_)
        members = self.estimators_
        if len(counted) < len(members):
            members = members.select(counted)
        return members, self.weights_[counted], X

    def _counted_members(self, X):
        """Predictions and weights of the members that count."""
        members, weights, X = self._counted(X)
        return predict_members(members, X, self._member_classes()), weights

    def _predict_left_out(self, X, left_out):
        """Prediction of each row by the members that did not see it, NaN where all did."""
        predictions = self._ballots(predict_members(self.estimators_, X, self._member_classes()))
        return combine_where(predictions, left_out, self.weights_, self._combination())

    def _validate_fit_data(self, X, y, sample_weight, *, y_numeric):
        """`Inputs`, target and weights, checked."""
        check_restored(self)
        refuse_streams(X)
        y = validate_data(self, y=y, multi_output=True, y_numeric=y_numeric)
        X = self._validate_inputs(X, self._network_name(), reset=True)
        check_consistent_length(X, y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._row_shape = X.row_shape
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise ValueError("`sample_weight` must not be 0 for every row: there would be nothing to train on.")
        return X, y, sample_weight

    def _validate_X(self, X):
        """`Inputs` of a prediction, checked."""
        refuse_streams(X)
        X = self._validate_inputs(X, self._network_name(fitted=True), reset=False)
        if X.row_shape != self._row_shape:
            raise ValueError(
                f"X must have rows shaped as in fit: got rows of shape {X.row_shape}, {type(self).__name__} was fitted "
                f"on rows of shape {self._row_shape}."
            )
        return X

    def _validate_inputs(self, X, network, *, reset):
        """`Inputs`; X as numbers is made and checked only where there is a network, of this name in messages."""
        X = lazily_or_read(X, network or type(self).__name__, networks_only=self._has_networks_only(fitted=not reset))
        given = as_given(X)
        if network is None or isinstance(given, LazyRows):
            validate_data(self, given, skip_check_array=True, reset=reset)
            floats = given if isinstance(given, LazyRows) else None
            return Inputs(given, floats, getattr(self, "feature_names_in_", None))
        refuse_other_types(given)
        own = {} if network == "" else {"estimator": network}
        with texts_refused(network or type(self).__name__):
            floats = validate_data(
                self, given, dtype=keras.config.floatx(), allow_nd=True, accept_sparse="csr", reset=reset, **own
            )
        names = getattr(self, "feature_names_in_", None)
        return Inputs(given, dense_or_rows(floats), names, count_categories(given))

    def _network_name(self, *, fitted=False):
        """What messages call the first network that takes X as numbers: "" for the ensemble; None where none does.

        Parameters
        ----------
        fitted : bool, default=False
            Whether to look at the fitted members, not at the parameters.
        """
        return ""

    def _has_networks_only(self, *, fitted=False):
        """Whether all who take X are networks, which can read its rows when they need them; as `_network_name`."""
        return True

    def _takes_several_targets(self):
        return True

    def _stages(self, X):
        """Predictions and weights of the members of the growing ensemble."""
        warn_if_changed(self)
        predictions = self.predict_members(X)
        for n_members in range(1, len(predictions) + 1):
            yield predictions[:n_members], first_weights(self.weights_, n_members)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.non_deterministic = self.random_state is None
        return tags


def check_weights_of_rows(members, sample_weight):
    """Raise where a member would be trained on rows of weight 0 alone."""
    for i, member in enumerate(members):
        weights = member.weights(sample_weight)
        if weights is not None and member.sample_indices is not None and not weights[member.sample_indices].any():
            raise ValueError(
                f"`sample_weight` must not be 0 for every row that a member is trained on: it is for member {i} of "
                f"{len(members)}. Leave out the rows of weight 0, or draw more rows for each member."
            )


def _for_epochs(estimator, epochs):
    """A network that is trained for so many epochs."""
    return clone(estimator).set_params(**{epochs_parameter(estimator): epochs})


def _is_soft(ensemble):
    """Whether probabilities are averaged; with votes there are no probabilities to give."""
    voting = learned(ensemble, "voting", "soft")
    if voting != "soft":
        raise AttributeError(f"probabilities exist with voting='soft' only: got voting={voting!r}.")
    return True


class LabelsMixin(ClassifierMixin):
    """The labels of y and their order; stands left of `BaseKerasEnsemble`."""

    _fitted_state = ("classes_", "_multilabel", "_one_hot")

    def _choose_indices(self, proba):
        """Index of the class, or 0 and 1 for each label, from probabilities of any leading shape."""
        if not self._multilabel:
            return proba.argmax(axis=-1)
        if self._one_hot:
            return np.eye(proba.shape[-1], dtype=int)[proba.argmax(axis=-1)]
        return (proba > 0.5).astype(int)

    def _check_labels(self, y):
        """Raise where y has labels that are not among the classes."""
        unknown = [] if self._multilabel else np.setdiff1d(y, self.classes_).tolist()
        if unknown:
            raise ValueError(f"`classes` must have every label of y: got {unknown} beside {self.classes_.tolist()}.")

    def _encode(self, y):
        return y if self._multilabel else np.searchsorted(self.classes_, y)

    def _decode(self, indices):
        return indices if self._multilabel else self.classes_[indices]

    def _member_classes(self):
        return None if self._multilabel else self.classes_

    def _validate_classes(self, y):
        """Learn the labels of y; called by `fit`."""
        check_classification_targets(y)
        target_type = type_of_target(y, input_name="y")
        if target_type == "multiclass-multioutput":
            raise ValueError(
                "`y` must have one label per row or be an indicator matrix of 0 and 1: got several columns of classes. "
                "Fit one ensemble for each column, for example with sklearn.multioutput.MultiOutputClassifier."
            )
        self._multilabel = target_type == "multilabel-indicator"
        self._one_hot = self._multilabel and is_one_hot_target(y)
        warn_of_one_hot(y)
        self.classes_ = np.arange(y.shape[1]) if self._multilabel else np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"`y` must have at least two classes: got one class, {self.classes_.tolist()[0]!r}.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._takes_several_targets()
        return tags


class KerasEnsembleClassifierMixin(LabelsMixin):
    """Labels, votes and probabilities of an average; stands left of `BaseKerasEnsemble`."""

    _fitted_state = ("temperature_",)

    def predict(self, X: MatrixLike) -> np.ndarray:
        """Label of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The class with the largest mean probability (`voting="soft"`) or the largest sum of weights of the members
            that choose it (`voting="hard"`); ties go to the smallest label.
        """
        return self._choose(*self._counted_members(X))

    @available_if(_is_soft)
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Probability of each class: the mean of the members or what `combination` says, calibrated with `calibration`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; with several labels per row, the probability of each label.
        """
        return self._combine_proba(*self._counted_members(X))

    @available_if(_is_soft)
    def predict_log_proba(self, X: MatrixLike) -> np.ndarray:
        """Logarithm of the probability of each class.

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

    def staged_predict(self, X: MatrixLike) -> Iterator[np.ndarray]:
        """Labels from the first member, the first two, and so on; of one training, from the newest ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Yields
        ------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            A stage whose members all have weight 0 counts them equally.
        """
        for proba, weights in self._stages(X):
            yield self._choose(proba, weights)

    @available_if(_is_soft)
    def staged_predict_proba(self, X: MatrixLike) -> Iterator[np.ndarray]:
        """Probabilities from the first member, the first two, and so on; of one training, from the newest ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Yields
        ------
        ndarray of shape (n_samples, n_classes)
            A stage whose members all have weight 0 counts them equally.
        """
        for proba, weights in self._stages(X):
            yield self._combine_proba(proba, weights)

    def predict_uncertainty(self, X: MatrixLike) -> Uncertainty:
        """Entropy of the prediction, split into noise of the data and disagreement of the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        Uncertainty
            Named tuple of `total`, `aleatoric` and `epistemic`, each an ndarray of shape (n_samples,) in nats and never
            negative. `total` (entropy of the mean probabilities, whatever `combination` is) = `aleatoric` (mean entropy
            of the members) + `epistemic` (mutual information). With several labels per row, summed over the labels.

        References
        ----------
        Depeweg et al., "Decomposition of Uncertainty in Bayesian Deep Learning for Efficient and Risk-sensitive
        Learning", ICML 2018.
        """
        return split_entropy(*self._counted_members(X), multilabel=self._multilabel)

    def _predict_each(self, X):
        """Labels that each member alone would give, one array a member, as the growing ensemble takes them."""
        return [self._choose(proba[np.newaxis], np.ones(1)) for proba in self.predict_members(X)]

    def _combine_proba(self, proba, weights):
        """Probabilities in the float type of the networks: metrics expect rows to sum to 1 as exactly as it can say."""
        return self._calibrate(combine(proba, weights, self._combination())).astype(proba.dtype)

    def _calibrate(self, proba):
        """Combined probabilities with the temperature, where one was learned."""
        if not hasattr(self, "temperature_"):
            return proba
        return with_temperature(proba, self.temperature_, self._combined_target())

    def _choose(self, proba, weights):
        """Labels from the probabilities of members of shape (n_members, n_samples, n_classes)."""
        if learned(self, "voting", "soft") == "soft":
            # Not calibrated: rounding could make a tie of what was none.
            pooled = combine(proba, weights, self._combination()).astype(proba.dtype)
            return self._decode(self._choose_indices(pooled))
        votes = self._choose_indices(proba)
        if self._multilabel and self._one_hot:
            votes = majority_vote(votes.argmax(axis=-1), weights, proba.shape[-1])
            return np.eye(proba.shape[-1], dtype=int)[votes]
        n_choices = 2 if self._multilabel else proba.shape[-1]
        return self._decode(majority_vote(votes, weights, n_choices))

    def _combine_outputs(self, X, outputs, weights):
        if learned(self, "voting", "soft") == "soft":
            output = super()._combine_outputs(X, outputs, weights)
            learned_any = hasattr(self, "temperature_")
            return calibrated(output, self.temperature_, self._combined_target()) if learned_any else output
        return vote_shares(outputs, weights, each_label=self._multilabel and not self._one_hot)

    def _ballots(self, proba):
        """What is averaged: probabilities, or with votes 1 for the choice of a member."""
        if learned(self, "voting", "soft") == "soft":
            return proba
        choices = self._choose_indices(proba)
        return choices if self._multilabel else np.eye(proba.shape[-1])[choices]

    def _target_kind(self):
        return {"multilabel": self._multilabel}

    def _combined_target(self):
        return "labels" if self._multilabel and not self._one_hot else "classes"

    def _stratifies(self):
        return not self._multilabel


class KerasEnsembleRegressorMixin(RegressorMixin):
    """Means and deviations; stands left of `BaseKerasEnsemble`."""

    def predict(self, X: MatrixLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Mean of the members, or what `combination` says.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        return_std : bool, default=False
            Whether to return the spread of the members too.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the same shape
            Only with `return_std=True`, in the units of y. Members with a `distribution`: standard deviation of their
            mixture, which is that of y. Other members: their weighted standard deviation around their mean. That is
            the disagreement of the networks alone, not the noise of y, and intervals made of it are too narrow.
        """
        means, scales, weights = self._counted_distributions(X)
        combination = combine(means, weights, self._combination())
        return (combination, deviation(means, scales, weights)) if return_std else combination

    def predict_uncertainty(self, X: MatrixLike) -> Uncertainty:
        """Variance of y, split into the noise that the members tell and their disagreement.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        Uncertainty
            Named tuple of `total`, `aleatoric` and `epistemic`, each an ndarray of shape (n_samples,) or
            (n_samples, n_outputs) in the units of y squared. `total` (variance of the mixture) = `aleatoric` (mean
            variance of the members) + `epistemic` (variance of their means), whatever `combination` is. Without a
            `distribution` the noise of y is not known: `aleatoric` and `total` are NaN.
        """
        return split_variance(*self._counted_distributions(X))

    def predict_interval(self, X: MatrixLike, coverage: float = 0.9, *, method: str = "mixture") -> PredictionInterval:
        """PredictionInterval in which y of each row lies with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        coverage : float, default=0.9
            The probability.
        method : {"mixture"}, default="mixture"
            "mixture": between two quantiles of the mixture of the distributions that members predict, with equal
            shares below and above. As good as the distributions are: no guarantee.

        Returns
        -------
        PredictionInterval
            Named tuple of `lower` and `upper`, each an ndarray of shape (n_samples,) or (n_samples, n_outputs), of
            each target by itself.

        Raises
        ------
        ValueError
            Where `coverage` is not between 0 and 1, or the members predict no distribution.
        """
        check_is_fitted(self)
        check_coverage(coverage)
        if method != "mixture":
            raise ValueError(
                f"`method` must be 'mixture', or in KerasAveragingRegressor 'jackknife+ab': got {method!r} for "
                f"{type(self).__name__}."
            )
        means, scales, weights = self._counted_distributions(X)
        if scales is None:
            raise ValueError(
                "`method='mixture'` needs members that predict a distribution, such as "
                f"KerasRegressor(distribution='normal'): those of this {type(self).__name__} predict values, whose "
                "spread does not have the noise of y in it."
            )
        return mixture_interval(means, scales, weights, coverage)

    def _counted_distributions(self, X):
        """Means, standard deviations (None where members have none) and weights of the members that count."""
        members, weights, X = self._counted(X)
        return *predict_distributions(members, X), weights

    def _check_targets(self, estimators):
        check_distributions(estimators)

    def staged_predict(self, X: MatrixLike) -> Iterator[np.ndarray]:
        """Predictions from the first member, the first two, and so on; of one training, from the newest ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Yields
        ------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            A stage whose members all have weight 0 counts them equally.
        """
        for predictions, weights in self._stages(X):
            yield combine(predictions, weights, self._combination())

    def _predict_each(self, X):
        """Values that each member alone would give, one array a member, as the growing ensemble takes them."""
        return list(self.predict_members(X))

    def _ballots(self, predictions):
        return predictions

    def _encode(self, y):
        return y

    def _target_kind(self):
        return {"regression": True}

    def _combined_target(self):
        return "values"

    def _stratifies(self):
        return False

    def _member_classes(self):
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._takes_several_targets()
        return tags
