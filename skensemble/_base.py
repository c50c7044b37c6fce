"""What every ensemble shares: checks of the data, predictions of the members, and their combination."""

import keras
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from skensemble._combine import first_weights, majority_vote, split_entropy, weighted_mean, weighted_std
from skensemble._compat import check_sample_weight, is_one_hot_target
from skensemble._members import predict_members


class BaseKerasEnsemble(BaseEstimator):
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

    def _validate_fit_data(self, X, y, sample_weight, *, y_numeric):
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

    def _stage_weights(self):
        for n_members in range(1, len(self.weights_) + 1):
            yield n_members, first_weights(self.weights_, n_members)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = self.random_state is None
        return tags


def _is_soft(ensemble):
    """Whether probabilities are averaged; with votes there are no probabilities to give."""
    if ensemble.voting != "soft":
        raise AttributeError(f"probabilities exist with voting='soft' only: got voting={ensemble.voting!r}.")
    return True


def _mean_proba(proba, weights):
    """Mean in the float type of the networks: metrics expect rows to sum to 1 as exactly as the type can say."""
    return weighted_mean(proba, weights).astype(proba.dtype)


class KerasEnsembleClassifierMixin(ClassifierMixin):
    """Labels, votes and probabilities; stands left of `BaseKerasEnsemble`."""

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
        return self._choose(self.predict_members(X), self.weights_)

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
        return _mean_proba(self.predict_members(X), self.weights_)

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
        proba = self.predict_members(X)
        for n_members, weights in self._stage_weights():
            yield self._choose(proba[:n_members], weights)

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
        proba = self.predict_members(X)
        for n_members, weights in self._stage_weights():
            yield _mean_proba(proba[:n_members], weights)

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
        return split_entropy(self.predict_members(X), self.weights_, multilabel=self._multilabel)

    def _predict_each(self, X):
        """Labels that each member alone would give, one array a member."""
        return [self._choose(proba[np.newaxis], np.ones(1)) for proba in self.predict_members(X)]

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

    def _choose_indices(self, proba):
        """Index of the class, or 0 and 1 for each label, from probabilities of any leading shape."""
        if not self._multilabel:
            return proba.argmax(axis=-1)
        if self._one_hot:
            return np.eye(proba.shape[-1], dtype=int)[proba.argmax(axis=-1)]
        return (proba > 0.5).astype(int)

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
        tags.classifier_tags.multi_label = True
        return tags


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
        predictions = self.predict_members(X)
        mean = weighted_mean(predictions, self.weights_)
        return (mean, weighted_std(predictions, self.weights_)) if return_std else mean

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
        predictions = self.predict_members(X)
        for n_members, weights in self._stage_weights():
            yield weighted_mean(predictions[:n_members], weights)

    def _predict_each(self, X):
        """Values that each member alone would give, one array a member."""
        return list(self.predict_members(X))

    def _member_classes(self):
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
