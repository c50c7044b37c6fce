"""How a network outside an ensemble trains and predicts: by the fused program if possible, otherwise by Keras."""

from functools import partial

import numpy as np

from skensemble._compat.global_seeds import seeded
from skensemble._compat.keras_optimizer import build_before_fit
from skensemble._compat.scikeras import fit_arguments, fit_callbacks, history_of, without_own_seed
from skensemble._compat.sklearn import plain_transforms
from skensemble._engine.callbacks import acts_in_prediction
from skensemble._engine.records import Data
from skensemble._engine.single_network import fit_single, predict_single
from skensemble._members.encoders import encode_class_weight, encode_validation_data
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.inside_ensemble import is_inside_ensemble
from skensemble._numeric.host_rows import chunks_of, without_rows
from skensemble._numeric.lazy_rows import LazyRows, is_lazily_indexed


class ValidationOfUser(tuple):
    """Validation data whose labels are those of y, not yet encoded."""


def refuse_callbacks(estimator, arguments):
    """Raise where a method was given callbacks, which scikeras 0.13 silently ignores."""
    if any(name.startswith("callbacks") for name in arguments):
        raise TypeError(
            "`callbacks` are a parameter of the estimator, not of its methods: got some in a call. Give them as "
            f"{type(estimator).__name__}(callbacks=[...]), or by set_params(callbacks=[...])."
        )


class TrainingMixin:
    """Passes training and prediction to the engine; comes left of scikeras' estimators."""

    def _fit_keras_model(self, X, y, sample_weight, warm_start, epochs, initial_epoch, **kwargs):
        given = kwargs.get("validation_data", getattr(self, "fit__validation_data", None))
        if isinstance(given, ValidationOfUser) or ("validation_data" not in kwargs and given is not None):
            kwargs["validation_data"] = encode_validation_data(self, given)
        class_weight = kwargs.get("class_weight", getattr(self, "fit__class_weight", None))
        if class_weight is not None:
            kwargs["class_weight"] = encode_class_weight(self, class_weight)
        if not is_inside_ensemble():
            before = getattr(self, "history_", {}) if warm_start and initial_epoch > 0 else {}
            counted = {"epochs": initial_epoch + epochs, "initial_epoch": initial_epoch}
            if _fit_by_program(self, Data(X, y, sample_weight), before, {**kwargs, **counted}):
                return
            self._give_back()
        build_before_fit(self.model_, fit_callbacks(self))
        with seeded(self._random_state), without_own_seed(self):
            super()._fit_keras_model(without_rows(X), y, sample_weight, warm_start, epochs, initial_epoch, **kwargs)

    def _predict_raw(self, X, **kwargs):
        refuse_callbacks(self, kwargs)
        if X is None:
            raise ValueError(f"{type(self).__name__} requires X to be passed, but X is None.")
        with plain_transforms():
            if _predicts_by_program(self) and not kwargs:
                checked, _ = self._validate_data(X)
                outputs = predict_single(self, self.feature_encoder_.transform(checked))
                if outputs is not None:
                    return outputs
            predict = partial(super()._predict_raw, **kwargs)
            if not self.initialized_ or not (isinstance(X, LazyRows) or is_lazily_indexed(X)):
                return predict(X)
            checked, _ = self._validate_data(X)
            return np.concatenate([predict(chunk) for chunk in chunks_of(checked)])


def _fit_by_program(estimator, data, before, given):
    """Train by the fused program, and return whether that was done.

    Parameters
    ----------
    estimator : KerasClassifier or KerasRegressor
        Initialized; changed in place.
    data : Data
    before : dict of str to list
        History of the training that is continued.
    given : dict
        Arguments of `Model.fit`, in addition to those from the parameters.
    """
    verbose = {**fit_arguments(estimator), **given}["verbose"]
    lent = vars(estimator).get("_lent")
    fit = fit_single(
        estimator,
        data,
        FitArguments.of(estimator, **given),
        seed=estimator._random_state,
        engine=estimator.engine,
        verbose=verbose,
        lent=lent,
    )
    estimator.engine_, estimator.engine_reason_ = fit.engine, fit.reason
    if fit.logs is None:
        return False
    estimator.history_ = history_of(before)
    for name, values in history_of(fit.logs).items():
        estimator.history_[name] += values
    if lent is not None:
        del estimator.model_  # not its own
    return True


def _predicts_by_program(estimator):
    """Whether the program that trained the network can also make its predictions."""
    return (
        getattr(estimator, "engine_", None) == "fused"
        and estimator.engine != "keras"
        and not estimator.verbose
        and not any(name.startswith("predict__") for name in vars(estimator))
        and not acts_in_prediction(estimator._predict_callbacks)
    )
