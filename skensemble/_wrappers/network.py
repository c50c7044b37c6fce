"""What `KerasClassifier` and `KerasRegressor` have in common: the other mixins of this folder, `fit` and `score`."""

from typing import Any, Self

import keras
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skensemble._compat.scikeras import fit_callbacks
from skensemble._compat.scikeras_building import build_from_rows
from skensemble._compat.sklearn import check_sample_weight, plain_transforms
from skensemble._engine.backend import use_share_of_cores
from skensemble._members.callback_factories import own_callbacks
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inputs import refuse_streams
from skensemble._members.member_checks import check_restored
from skensemble._members.network_inputs import check_whole_numbers, warn_of_codes
from skensemble._members.rollback import unchanged_on_error
from skensemble._members.sample_weights import sample_indices_of, with_mean_one
from skensemble._members.spec import MemberSpec
from skensemble._typing import MatrixLike
from skensemble._wrappers.building import BuildingMixin
from skensemble._wrappers.copies import CopiesMixin
from skensemble._wrappers.inputs import InputsMixin
from skensemble._wrappers.lent import LentModelMixin
from skensemble._wrappers.training import TrainingMixin, ValidationOfUser, refuse_callbacks


class NetworkMixin(CopiesMixin, LentModelMixin, BuildingMixin, InputsMixin, TrainingMixin):
    """What scikeras 0.13 gets wrong for classifiers and regressors alike; comes left of its classes."""

    # What is saved in addition to the parameters and what scikeras learns.
    _fitted_state = ("_n_columns", "n_categories_", "engine_", "engine_reason_")

    def __sklearn_tags__(self):
        tags = BaseEstimator.__sklearn_tags__(self)
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.three_d_array = True
        tags.input_tags.sparse = True
        tags.non_deterministic = self.random_state is None
        return tags

    __repr__ = BaseEstimator.__repr__

    def _initialize(self, X, y=None):
        with plain_transforms():
            X, y = super()._initialize(X, y)
            build_from_rows(self, self.model_)
            check_whole_numbers(self.model_, X)
            warn_of_codes(self.model_, getattr(self, "n_categories_", ()))
        return X, y

    @property
    def callbacks_(self) -> list[keras.callbacks.Callback]:
        """The Keras callbacks that the network was trained with, as training left them."""
        if not hasattr(self, "_fit_callbacks"):
            raise AttributeError(f"`callbacks_` exists only after fit: this {type(self).__name__} is not fitted.")
        return fit_callbacks(self)

    def _initialize_callbacks(self):
        self._fit_callbacks, self._predict_callbacks = own_callbacks(self, 0, copies=False)

    def _fit(self, X, y, *args, **kwargs):
        refuse_callbacks(self, kwargs)
        if X is None:
            raise ValueError(f"{type(self).__name__} requires X to be passed, but X is None.")
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None.")
        if self.engine not in ("auto", "fused", "keras"):
            raise ValueError(f"`engine` must be 'auto', 'fused' or 'keras': got {self.engine!r}.")
        if self.engine != "keras":
            use_share_of_cores()  # before anything is computed
        goes_on = (self.warm_start or kwargs.get("warm_start")) and self.initialized_
        needed = [value for name, value in self.get_params(deep=False).items() if name != "model" or not goes_on]
        check_restored(needed)
        with unchanged_on_error(self), plain_transforms():
            if not hasattr(self, "_fit_callbacks"):  # left out of a file
                self._initialize_callbacks()
            super()._fit(X, y, *args, **kwargs)

    def fit(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, **kwargs: Any) -> Self:
        """Build a new model and train it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            Two or more dimensions.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Labels, an indicator matrix of several labels, or targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row; rows of weight 0 are left out. Scaled to a mean of 1 over the rows that are trained on;
            class weights are applied afterwards and are not scaled.
        **kwargs : dict
            Further arguments of `keras.Model.fit`.

        Returns
        -------
        estimator
            Itself, fitted.

        Raises
        ------
        TypeError
            Where `model` does not build a Keras model from the arguments that are known, and where `callbacks`
            are given here.
        ValueError
            Where the data, the model's output and its loss do not match.

        Warns
        -----
        DataConversionWarning
            Where y is a column, or looks like classes in one-hot form.
        UserWarning
            Where X has columns of categories, and the network takes their codes as numbers; where y varies by less than
            the smallest standard deviation of a `distribution`.
        """
        with unchanged_on_error(self):
            if sample_weight is not None and y is not None:
                refuse_streams(X)
                sample_weight = check_sample_weight(sample_weight, X, dtype=np.float64, copy=True)
                arguments = FitArguments.of(self, **kwargs)
                indices = sample_indices_of(MemberSpec(self, seed=0), self, arguments, np.asarray(y), sample_weight)
                sample_weight = with_mean_one(sample_weight, indices.training)
            if isinstance(kwargs.get("validation_data"), tuple | list):
                kwargs["validation_data"] = ValidationOfUser(kwargs["validation_data"])
            return super().fit(X, y, sample_weight=sample_weight, **kwargs)

    def score(self, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Accuracy of a classifier, R^2 of a regressor.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features, ...)
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True labels or values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row in the score.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        return super().score(X, y, sample_weight=sample_weight)
