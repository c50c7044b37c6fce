"""How the Keras model of an estimator is built and compiled: by which function, with which arguments and checks."""

import inspect
import warnings
from contextlib import nullcontext

import keras
import numpy as np

from skensemble._compat.global_seeds import seeded
from skensemble._compat.keras import output_keys, recorded_initializers
from skensemble._compat.python import find_stacklevel
from skensemble._compat.scikeras import BaseWrapper, encodes_features, without_own_seed
from skensemble._compat.scikeras_building import (
    check_builds_anew,
    column_choice,
    given_model,
    new_values,
    own_build_function,
)
from skensemble._members.inside_ensemble import is_inside_ensemble
from skensemble._members.network_inputs import on_one_input
from skensemble._members.output_check import check_output
from skensemble._wrappers.inputs import columns_of
from skensemble._wrappers.mlp import build_mlp

# What scikeras itself gives to a builder that names it.
_GIVEN_TO_BUILDERS = {"meta", "compile_kwargs", "params"}


class BuildingMixin:
    """Builds, checks and compiles the model; comes left of scikeras' estimators."""

    _builder_parameters = ("hidden_layer_sizes", "activation", "dropout")
    # scikeras 0.13 takes parameters of callbacks as arguments only, not from `set_params` and searches.
    _routing_prefixes = BaseWrapper._routing_prefixes | {"callbacks"}

    @property
    def _user_params(self):
        """Arguments for the builder: those that scikeras does not know, and the estimator's own that were set."""
        names = () if own_build_function(self) else self._builder_parameters  # it reads them itself
        own = {name for name in names if getattr(self, name, None) is not None}
        return vars(self).get("_user_params", set()) | own

    @_user_params.setter
    def _user_params(self, names):
        vars(self)["_user_params"] = names

    def _check_model_param(self):
        if self.model is None and self.build_fn is None:
            return own_build_function(self) or build_mlp
        if callable(self.model) and not isinstance(self.model, keras.Layer):
            routed = {name.removeprefix("model__") for name in vars(self) if name.startswith("model__")}
            _check_builder(self.model, _GIVEN_TO_BUILDERS | self._user_params | routed)
            if not inspect.isfunction(self.model):  # scikeras 0.13 knows functions, no methods or callable objects
                return self.model
        return super()._check_model_param()

    def _build_keras_model(self):
        if isinstance(self.random_state, np.random.RandomState):
            # scikeras 0.13 draws 0 from every RandomState, and does not advance it.
            self._random_state = int(self.random_state.randint(np.iinfo(np.int32).max))
        if column_choice(self) is not None:
            _check_columns_alike(getattr(self, "inputs", None), getattr(self, "n_categories_", ()))
        reinitializes = getattr(self, "reinitialize", None)
        own_values = new_values(self) if reinitializes else nullcontext()
        with seeded(self._random_state), without_own_seed(self), own_values, recorded_initializers() as built:
            model = super()._build_keras_model()
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"`model` must be a function that returns a Keras model: {_name_of(self.model)} returned "
                f"{'None' if model is None else f'an object of type {type(model).__name__}'}. Does it end with "
                "`return model`?"
            )
        if given_model(self) is None:
            _warn_of_old_layers(model, built)
        _check_one_output(model, getattr(self, "n_outputs_expected_", None))
        encodes, names = encodes_features(self), columns_of(self).names
        return on_one_input(model, getattr(self, "inputs", None), self.X_shape_[1:], names, encodes=encodes)

    def _get_compile_kwargs(self):
        # An optimizer instance belongs to the variables of one model: the next fit needs its own.
        arguments = super()._get_compile_kwargs()
        if isinstance(arguments["optimizer"], keras.optimizers.Optimizer) and arguments["optimizer"] is self.optimizer:
            arguments["optimizer"] = self.optimizer.from_config(self.optimizer.get_config())
        return arguments

    def _ensure_compiled_model(self):
        if not self.model_.compiled and self.loss is None:
            self.model_.compile(**{**self._get_compile_kwargs(), "loss": self._default_loss()})
        super()._ensure_compiled_model()

    def _check_model_compatibility(self, y):
        if hasattr(self.model_, "outputs"):  # otherwise scikeras 0.13 cannot count them
            super()._check_model_compatibility(y)
        check_output(self, y)


def _check_builder(build, given):
    """Raise where the function that builds the model needs arguments that are not among those `given`."""
    for parameter in inspect.signature(build).parameters.values():
        variadic = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if not variadic and parameter.default is parameter.empty and parameter.name not in given:
            raise TypeError(
                f"`model` must be a function whose arguments are known: {_name_of(build)} needs "
                f"{parameter.name!r}. Give it as `model__{parameter.name}=...`, or give the argument a default. "
                "`meta`, a dict that describes the data, is passed automatically."
            )


def _warn_of_old_layers(model, built):
    """Say, or raise in an ensemble, where a network trains layers that were not `built` with it."""
    try:
        check_builds_anew(model, lambda variable: id(variable) not in built)
    except ValueError as error:
        if is_inside_ensemble():
            raise
        warnings.warn(str(error), stacklevel=find_stacklevel())


def _name_of(build):
    return getattr(build, "__qualname__", type(build).__name__)


def _check_columns_alike(inputs, n_categories):
    """Raise where what a network does depends on which columns a member has drawn."""
    if inputs is not None:
        raise ValueError(
            "With `max_features` each member draws columns of its own, and `inputs` says where each column goes: "
            "leave one of them out."
        )
    if any(n_categories):
        raise ValueError(
            "With `max_features` the columns of X must hold numbers, since each member draws columns of its own: "
            f"{sum(map(bool, n_categories))} columns hold categories. Set max_features=1.0, or "
            "TableEncoder(max_one_hot=None), which turns all categories into numbers."
        )


def _check_one_output(model, n_expected):
    """Raise where a network has several outputs, and no encoder of the user's own makes several targets from y."""
    n_outputs = len(getattr(model, "outputs", None) or ())
    if n_outputs == 1 and n_expected == 1 and output_keys(model) is not None:
        raise TypeError(
            f"`model` must return its output as it is: got a dict of {output_keys(model)}. Give keras.Model(inputs, "
            "outputs) the output itself."
        )
    if n_outputs > 1 and n_expected == 1:
        raise ValueError(
            f"`model` must have one output, of a column or more for each target: got {n_outputs} outputs. Put them "
            "side by side with keras.layers.Concatenate(), or override `target_encoder` so that it makes a list of "
            "targets, as in scikeras."
        )
