"""What classifiers and regressors predict from their members: labels, probabilities, values and how sure they are."""

from collections.abc import Iterator

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted

from skensemble._base.combining import learned
from skensemble._compat.scikeras import is_one_hot_target
from skensemble._engine.prediction import predict_distributions
from skensemble._export import calibrated, vote_shares
from skensemble._members.targets import check_indicators, warn_of_one_hot
from skensemble._numeric.calibration import with_temperature
from skensemble._numeric.combination import combine, log_proba, majority_vote
from skensemble._numeric.mixture import PredictionInterval, check_coverage, mixture_interval
from skensemble._numeric.uncertainty import Uncertainty, deviation, split_entropy, split_variance
from skensemble._typing import MatrixLike


def _is_soft(ensemble):
    """Whether probabilities are averaged; with votes there are no probabilities."""
    voting = learned(ensemble, "voting", "soft")
    if voting != "soft":
        raise AttributeError(f"probabilities exist only with voting='soft': got voting={voting!r}.")
    return True


class LabelsMixin(ClassifierMixin):
    """The labels of y and their order; comes left of `BaseKerasEnsemble`."""

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
            raise ValueError(f"`classes` must have every label of y: got {unknown} besides {self.classes_.tolist()}.")

    def _encode(self, y):
        return y if self._multilabel else np.searchsorted(self.classes_, y)

    def _decode(self, indices):
        return indices if self._multilabel else self.classes_[indices]

    def _member_classes(self):
        return None if self._multilabel else self.classes_

    def _predict_each(self, X):
        """Labels that each member alone would predict, one array per member."""
        return [self._decode(self._choose_indices(proba)) for proba in self.predict_members(X)]

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
        if self._multilabel:
            check_indicators(y)
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
    """Labels, votes and probabilities of an average; comes left of `BaseKerasEnsemble`."""

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
        """Labels from the first member, the first two, and so on; in ensembles of one training, from the newest.

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
        """Probabilities from the first member, the first two, and so on; in ensembles of one training, from the newest.

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

    def _combine_proba(self, proba, weights):
        """Probabilities in the float type of the networks, to whose precision metrics expect rows to sum to 1."""
        return self._calibrate(combine(proba, weights, self._combination())).astype(proba.dtype)

    def _calibrate(self, proba):
        """Combined probabilities with the temperature, where one was learned."""
        if not hasattr(self, "temperature_"):
            return proba
        return with_temperature(proba, self.temperature_, self._combined_target())

    def _choose(self, proba, weights):
        """Labels from the probabilities of members of shape (n_members, n_samples, n_classes)."""
        if learned(self, "voting", "soft") == "soft":
            # Not calibrated: rounding could create a tie.
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

    def _kind_of_target(self):
        return "labels" if self._multilabel else "classes"

    def _combined_target(self):
        return "labels" if self._multilabel and not self._one_hot else "classes"


class TargetsMixin(RegressorMixin):
    """Targets that are numbers; comes left of `BaseKerasEnsemble`."""

    def _member_classes(self):
        return None

    def _predict_each(self, X):
        """Values that each member alone would predict, one array per member."""
        return list(self.predict_members(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = self._takes_several_targets()
        return tags


class KerasEnsembleRegressorMixin(TargetsMixin):
    """Means and standard deviations; comes left of `BaseKerasEnsemble`."""

    def predict(self, X: MatrixLike, return_std: bool = False) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Mean of the members, or what `combination` says.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        return_std : bool, default=False
            Whether to return the spread of the members as well.

        Returns
        -------
        mean : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        std : ndarray of the same shape
            Only with `return_std=True`, in the units of y. Members with a `distribution`: standard deviation of their
            mixture, which is that of y. Other members: their weighted standard deviation around their mean. That is
            only the disagreement of the networks, without the noise of y, and intervals made from it are too narrow.
        """
        means, scales, weights = self._counted_distributions(X)
        combination = combine(means, weights, self._combination())
        return (combination, deviation(means, scales, weights)) if return_std else combination

    def predict_uncertainty(self, X: MatrixLike) -> Uncertainty:
        """Variance of y, split into the noise that the members predict and their disagreement.

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
        """Interval in which y of each row lies with a given probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        coverage : float, default=0.9
            The probability.
        method : {"mixture"}, default="mixture"
            "mixture": between two quantiles of the mixture of the distributions that members predict, with equal shares
            below and above. Only as good as the distributions, without a guarantee.

        Returns
        -------
        PredictionInterval
            Named tuple of `lower` and `upper`, each an ndarray of shape (n_samples,) or (n_samples, n_outputs), for
            each target separately.

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

    def staged_predict(self, X: MatrixLike) -> Iterator[np.ndarray]:
        """Predictions from the first member, the first two, and so on; in ensembles of one training, from the newest.

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

    def _encode(self, y):
        return y

    def _kind_of_target(self):
        return "values"

    def _combined_target(self):
        return "values"
