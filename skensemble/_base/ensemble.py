"""What every ensemble has: predictions of its members and their combination, metadata, and one Keras model of all."""

import os

import keras
import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.metadata_routing import MetadataRouter
from sklearn.utils.validation import check_is_fitted

from skensemble._base.combining import learned, warn_if_changed
from skensemble._base.inputs import InputsMixin
from skensemble._base.metadata_routing import check_metadata, make_router
from skensemble._compat.global_seeds import seeded
from skensemble._compat.sklearn import CallbackSupportMixin, StrOptions, validate_parameter_constraints
from skensemble._engine.prediction import predict_members
from skensemble._engine.progress import fit_task
from skensemble._export import as_model, combined, input_tensor, member_outputs
from skensemble._members.pickling import PickledByName
from skensemble._members.spec import unwrapped
from skensemble._numeric.combination import Combination, first_weights
from skensemble._typing import MatrixLike
from skensemble._wrappers.adapters import as_member, keep_fit_arguments


class BaseKerasEnsemble(InputsMixin, PickledByName, CallbackSupportMixin, BaseEstimator):
    """Predictions of members and their combination; `estimators_` has the fitted members, `weights_` their weights."""

    # What is saved in addition to the parameters: everything that `fit` and configuring methods may set. Subclasses add
    # their own.
    _fitted_state = (
        "engine_",
        "engine_reason_",
        "feature_names_in_",
        "n_features_in_",
        "_metadata_request",
        "_row_shape",
    )
    _parameter_constraints = {
        "engine": [StrOptions({"auto", "fused", "keras"})],
        "checkpoint_dir": [str, os.PathLike, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }
    # Whether the ensemble takes `sample_weight` for members that have no request for it.
    _consumes_weights = True

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
        """Which metadata the ensemble and its members request.

        Returns
        -------
        MetadataRouter
            The ensemble's own request for `sample_weight`, by `set_fit_request`, applies to the members that have none.
        """
        return make_router(self)

    def _routed_members(self):
        """What takes part in metadata routing, (name, estimator): the one estimator that is not fitted yet, if any."""
        given = not isinstance(self.estimator, list | None)
        return [("estimator", as_member(self.estimator))] if given else []

    def to_keras(self, *, trainable: bool = False) -> keras.Model:
        """The whole ensemble as one Keras model: its networks on one input, and their combination.

        Members that are ensembles become models inside it. The model holds copies: training it changes nothing here. It
        is made of Keras' own layers, so once saved (`model.save`) or exported (`model.export`) it can be used where
        skensemble is not installed. A saved model (but not an exported one) needs the layers that are not Keras' own
        when it is loaded: layers that you wrote, the `WeightedAverage` of a stacking ensemble, the `SelectColumns` of
        members that draw columns, and the `InputColumns` and `EmbedCategories` of members on tables.

        Parameters
        ----------
        trainable : bool, default=False
            Whether further training of the model changes the networks of the members, as far as their layers were
            trainable. With False they are frozen, including BatchNormalization; Dropout still acts in `Model.fit`. A
            network that combines the members is frozen only in members that are ensembles.

        Returns
        -------
        keras.Model
            Functional, not compiled, for rows of X as in `fit` (earlier steps of a pipeline are not included). Outputs
            of shape (n_samples, n_classes or n_labels) are those of `predict_proba`; with `voting="hard"` they are the
            shares of the votes, of which the largest is the prediction (with several labels per row, those above 0.5);
            for regressors they are those of `predict`, of shape (n_samples, n_outputs) even for one target. Members of
            weight 0 are left out.

        Raises
        ------
        ValueError
            Where a member that counts, or what combines them, is not a Keras network, has its own encoders or cannot be
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

    def _fit_checked(self, X, y, sample_weight, params):
        """Check the data of `fit`, and train by the `_train` of the method."""
        check_metadata(self, params)
        with fit_task(self) as task:
            return self._train(*self._validate_fit_data(X, y, sample_weight), params, task)

    def _exported_members(self):
        """Members of the exported model, their names and their weights."""
        names = getattr(self, "_names", None) or [f"member_{i}" for i in range(len(self.estimators_))]
        return self.estimators_, names, self.weights_

    def _combine_outputs(self, X, outputs, weights):
        """Output of the exported model from its input and the outputs of the members that count."""
        return combined(outputs, weights, self._combination())

    def _combination(self, rule=None, trim_fraction=None):
        """How members are combined: as `fit` or `reweight` learned it, or as given."""
        return Combination(
            learned(self, "combination", "mean") if rule is None else rule,
            learned(self, "trim_fraction", 0.0) if trim_fraction is None else trim_fraction,
            self._combined_target(),
        )

    def _check_parameters(self, given=None):
        """Raise where parameters, or values that are given for some of them, have wrong types or values."""
        values = self.get_params(deep=False) if given is None else given
        validate_parameter_constraints(self._parameter_constraints, values, type(self).__name__)

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
