"""What every ensemble shares: checks of the data, predictions of the members, and their combination."""

import dataclasses
from functools import partial

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skensemble._combine import (
    first_weights,
    majority_vote,
    mean_where,
    normalize_weights,
    split_entropy,
    weighted_mean,
    weighted_std,
)
from skensemble._compat import (
    CallbackSupportMixin,
    check_restored,
    check_sample_weight,
    is_one_hot_target,
    seeded,
)
from skensemble._export import as_model, input_tensor, mean, member_outputs, vote_shares
from skensemble._members import check_frozen_members, is_frozen, predict_members, unwrapped
from skensemble._progress import fitted_as
from skensemble._selection import greedy_weights, held_out_rows
from skensemble._training import fit_members


class BaseKerasEnsemble(CallbackSupportMixin, BaseEstimator):
    """Data checks and predictions of members; the fitted members are in `estimators_`, their weights in `weights_`."""

    def predict_members(self, X):
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

    def to_keras(self, *, trainable=False):
        """The whole ensemble as one Keras model: its networks on one input, and their combination.

        The model holds copies: training it changes nothing here. But for layers of your own and the weighted average of
        a stacking ensemble, it is made of Keras' own layers, so that once saved (`model.save`) or exported
        (`model.export`) it can be used where skensemble is not installed.

        Parameters
        ----------
        trainable : bool, default=False
            Whether further training of the model changes the networks of the members, as far as their layers were
            trainable. With False they are frozen, BatchNormalization included; Dropout still acts in `Model.fit`. A
            network that combines the members is never frozen.

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
        return mean(outputs, weights)

    def _fit_independent(self, members, X, y, sample_weight, task, *, fitted=(), left_out=None, checkpoint=None):
        """Train members in runs of their own and weigh them; sets `estimators_`, `weights_` and what trained them.

        Parameters
        ----------
        members : list of Member
        X, y, sample_weight : ndarray
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
        weights = None if selects else normalize_weights(self.weights, len(fitted) + len(members))
        held_out = np.arange(len(X))
        if selects and left_out is None and not all(is_frozen(member.estimator) for member in members):
            rows, held_out = held_out_rows(
                y, self.validation_fraction, self._entropy % 2**32, stratify=self._stratifies()
            )
            members = [dataclasses.replace(member, rows=rows) for member in members]
        check_weights_of_rows(members, sample_weight)

        def learn(ensemble, trained):
            ensemble.estimators_ = trained.estimators if not len(fitted) else fitted + trained.estimators
            if members:
                ensemble.engine_, ensemble.engine_reason_ = trained.engine, trained.reason
            ensemble.weights_ = weights
            if selects:
                ensemble.weights_ = greedy_weights(
                    predict_members(ensemble.estimators_, X[held_out], self._member_classes()),
                    self._encode(y[held_out]),
                    valid=None if left_out is None else left_out[:, held_out],
                    sample_weight=None if sample_weight is None else sample_weight[held_out],
                    **self._target_kind(),
                )

        task.set_data(X, y, sample_weight, partial(fitted_as, self, learn))
        trained = fit_members(
            members,
            X,
            y,
            sample_weight,
            engine=self.engine,
            n_jobs=self.n_jobs,
            task=task,
            checkpoint=checkpoint,
            first=len(fitted),
        )
        learn(self, trained)

    def _check_frozen(self, members, X, y):
        check_frozen_members(members, X, y, self._member_classes(), getattr(self, "feature_names_in_", None))

    def _counted_members(self, X):
        """Predictions and weights of the members that count; those of weight 0 are not evaluated."""
        check_is_fitted(self)
        X = self._validate_X(X)
        counted = np.flatnonzero(self.weights_)
        members = self.estimators_
        if len(counted) < len(members):
            members = members.select(counted)
        return predict_members(members, X, self._member_classes()), self.weights_[counted]

    def _predict_left_out(self, X, left_out):
        """Prediction of each row by the members that did not see it, NaN where all did."""
        predictions = self._ballots(predict_members(self.estimators_, X, self._member_classes()))
        return mean_where(predictions, left_out, self.weights_)

    def _validate_fit_data(self, X, y, sample_weight, *, y_numeric):
        check_restored(self)
        X, y = validate_data(
            self, X, y, dtype=keras.config.floatx(), allow_nd=True, multi_output=True, y_numeric=y_numeric
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._row_shape = X.shape[1:]
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
            if not sample_weight.any():
                raise ValueError("`sample_weight` must not be 0 for every row: there would be nothing to train on.")
        return X, y, sample_weight

    def _validate_X(self, X):
        X = validate_data(self, X, dtype=keras.config.floatx(), allow_nd=True, reset=False)
        if X.shape[1:] != self._row_shape:
            raise ValueError(
                f"X must have rows shaped as in fit: got rows of shape {X.shape[1:]}, {type(self).__name__} was fitted "
                f"on rows of shape {self._row_shape}."
            )
        return X

    def _takes_several_targets(self):
        return True

    def _stages(self, X):
        """Predictions and weights of the members of the growing ensemble."""
        predictions, weights = self._stage_order(self.predict_members(X)), self._stage_order(self.weights_)
        for n_members in range(1, len(weights) + 1):
            yield predictions[:n_members], first_weights(weights, n_members)

    def _stage_order(self, values):
        """What there is one of for each member, in the order in which the growing ensemble takes them."""
        return values

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.random_state is None
        return tags


def check_weights_of_rows(members, sample_weight):
    """Raise where a member would be trained on rows of weight 0 alone."""
    for i, member in enumerate(members):
        if sample_weight is not None and member.rows is not None and not sample_weight[member.rows].any():
            raise ValueError(
                f"`sample_weight` must not be 0 for every row that a member is trained on: it is for member {i} of "
                f"{len(members)}. Leave out the rows of weight 0, or draw more rows for each member."
            )


def _is_soft(ensemble):
    """Whether probabilities are averaged; with votes there are no probabilities to give."""
    if ensemble.voting != "soft":
        raise AttributeError(f"probabilities exist with voting='soft' only: got voting={ensemble.voting!r}.")
    return True


def _mean_proba(proba, weights):
    """Mean in the float type of the networks: metrics expect rows to sum to 1 as exactly as the type can say."""
    return weighted_mean(proba, weights).astype(proba.dtype)


class LabelsMixin(ClassifierMixin):
    """The labels of y and their order; stands left of `BaseKerasEnsemble`."""

    def _choose_indices(self, proba):
        """Index of the class, or 0 and 1 for each label, from probabilities of any leading shape."""
        if not self._multilabel:
            return proba.argmax(axis=-1)
        if self._one_hot:
            return np.eye(proba.shape[-1], dtype=int)[proba.argmax(axis=-1)]
        return (proba > 0.5).astype(int)

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
        self.classes_ = np.arange(y.shape[1]) if self._multilabel else np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError(f"`y` must have at least two classes: got one class, {self.classes_.tolist()[0]!r}.")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = self._takes_several_targets()
        return tags


class KerasEnsembleClassifierMixin(LabelsMixin):
    """Labels, votes and probabilities of an average; stands left of `BaseKerasEnsemble`."""

    def predict(self, X):
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
    def predict_proba(self, X):
        """Probability of each class: the weighted mean of the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of `classes_`; with several labels per row, the probability of each label.
        """
        return _mean_proba(*self._counted_members(X))

    def staged_predict(self, X):
        """Labels from the first member, the first two, and so on.

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
    def staged_predict_proba(self, X):
        """Probabilities from the first member, the first two, and so on.

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
            yield _mean_proba(proba, weights)

    def predict_uncertainty(self, X):
        """Entropy of the prediction, split into noise of the data and disagreement of the members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.

        Returns
        -------
        Uncertainty
            Named tuple of `total`, `aleatoric` and `epistemic`, each an ndarray of shape (n_samples,) in nats and never
            negative. `total` = `aleatoric` (mean entropy of the members) + `epistemic` (mutual information). With
            several labels per row, summed over the labels.

        References
        ----------
        Depeweg et al., "Decomposition of Uncertainty in Bayesian Deep Learning for Efficient and Risk-sensitive
        Learning", ICML 2018.
        """
        return split_entropy(*self._counted_members(X), multilabel=self._multilabel)

    def _predict_each(self, X):
        """Labels that each member alone would give, one array a member, as the growing ensemble takes them."""
        return [self._choose(proba[np.newaxis], np.ones(1)) for proba in self._stage_order(self.predict_members(X))]

    def _choose(self, proba, weights):
        """Labels from the probabilities of members of shape (n_members, n_samples, n_classes)."""
        if self.voting == "soft":
            return self._decode(self._choose_indices(_mean_proba(proba, weights)))
        votes = self._choose_indices(proba)
        if self._multilabel and self._one_hot:
            votes = majority_vote(votes.argmax(axis=-1), weights, proba.shape[-1])
            return np.eye(proba.shape[-1], dtype=int)[votes]
        n_choices = 2 if self._multilabel else proba.shape[-1]
        return self._decode(majority_vote(votes, weights, n_choices))

    def _combine_outputs(self, X, outputs, weights):
        if self.voting == "soft":
            return super()._combine_outputs(X, outputs, weights)
        return vote_shares(outputs, weights, each_label=self._multilabel and not self._one_hot)

    def _ballots(self, proba):
        """What is averaged: probabilities, or with votes 1 for the choice of a member."""
        if self.voting == "soft":
            return proba
        choices = self._choose_indices(proba)
        return choices if self._multilabel else np.eye(proba.shape[-1])[choices]

    def _target_kind(self):
        return {"multilabel": self._multilabel}

    def _stratifies(self):
        return not self._multilabel


class KerasEnsembleRegressorMixin(RegressorMixin):
    """Means and deviations; stands left of `BaseKerasEnsemble`."""

    def predict(self, X, return_std=False):
        """Weighted mean of the members.

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
            Weighted standard deviation over the members, in the units of y; only with `return_std=True`. It is the
            disagreement of the networks, not the noise of y.
        """
        predictions, weights = self._counted_members(X)
        mean = weighted_mean(predictions, weights)
        return (mean, weighted_std(predictions, weights)) if return_std else mean

    def staged_predict(self, X):
        """Means of the first member, the first two, and so on.

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
            yield weighted_mean(predictions, weights)

    def _predict_each(self, X):
        """Values that each member alone would give, one array a member, as the growing ensemble takes them."""
        return list(self._stage_order(self.predict_members(X)))

    def _ballots(self, predictions):
        return predictions

    def _encode(self, y):
        return y

    def _target_kind(self):
        return {"regression": True}

    def _stratifies(self):
        return False

    def _member_classes(self):
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._takes_several_targets()
        return tags
