"""Attributes of other packages' objects that are private, used in skensemble: with which versions, and what for."""

import ast

#: Where private names of other packages are used.
AT_HOME = ("_compat/", "_engine/tensorflow/", "_engine/jax/")

#: Reason, with the versions that have them -> names. None has a public counterpart.
PRIVATE_ATTRIBUTES = {
    "Keras 3.8 to 3.15, layers: all layers at any depth, and a layer's own variables": (
        "_flatten_layers",
        "_trainable_variables",
        "_non_trainable_variables",
    ),
    "Keras 3.8 to 3.15, layers: shapes of outputs, the layer of an output, whether `call` takes `training`, losses": (
        "_inbound_nodes",
        "_keras_history",
        "_call_has_training_arg",
        "_clear_losses",
    ),
    "Keras 3.8 to 3.15, models: what `compile` was given, and what it made of it": (
        "_compile_config",
        "_compile_loss",
        "_compile_metrics",
        "_resolve_auto_jit_compile",
        "_user_loss",
        "_user_loss_weights",
        "_user_metrics",
        "_user_weighted_metrics",
    ),
    "Keras 3.8 to 3.15, models: how outputs are arranged": ("_outputs_struct",),
    "Keras 3.8 to 3.15, models: the parts of `train_step`, and the strategy of a distributed one": (
        "_compute_loss",
        "_loss_tracker",
        "_symbolic_build",
        "_distribute_strategy",
    ),
    "Keras 3.8 to 3.15, optimizers: the parts of `apply_gradients`, with variables of many members": (
        "_accumulated_gradients",
        "_apply_weight_decay",
        "_backend_update_step",
        "_clip_gradients",
        "_exclude_from_weight_decay",
        "_exclude_from_weight_decay_pattern",
        "_get_variable_index",
        "_iterations",
        "_learning_rate",
        "_model_variables_moving_average",
        "_update_model_variables_moving_average",
        "_var_key",
    ),
    "Keras 3.8 to 3.15, variables: their shape, for variables of many members": ("_shape", "_ndim"),
    "Keras 3.8 to 3.15, callbacks: hooks that the base class leaves empty, and whether TensorBoard profiles": (
        "_is_default",
        "_should_trace",
    ),
    "scikeras 0.13: the method by which a subclass builds its network": ("_keras_build_fn",),
    "joblib 1.4 to 1.6, its loky: how deep in workers a process is": ("_CURRENT_DEPTH",),
    "TensorFlow 2.18 to 2.21: the global seed, which can be set in public, not read": (
        "_seed",
        "_rng",
        "_set_global_seed",
    ),
    "TensorFlow 2.18 to 2.21: the converters of `tf.vectorized_map`, one of which it lacks": (
        "_pfor_converter_registry",
    ),
    "scikeras 0.13: the steps of `fit`, which its documentation names for subclasses": (
        "_build_keras_model",
        "_check_model_compatibility",
        "_ensure_compiled_model",
        "_fit",
        "_fit_kwargs",
        "_initialize",
        "_initialize_callbacks",
        "_routing_prefixes",
        "_type_of_target",
        "_validate_data",
    ),
    "scikeras 0.13: a remnant of the tags of scikit-learn before 1.6": ("_more_tags",),
    "scikit-learn 1.6 to 1.9: metadata that an estimator requests itself": ("_get_metadata_request",),
    "scikit-learn 1.9: callbacks, for the authors of estimators": ("_init_callback_context", "_skl_callbacks"),
    "scikit-learn 1.6 to 1.9: what kind of estimator one without tags is": ("_estimator_type",),
    "scikit-learn 1.6 to 1.9: what TunedThresholdClassifierCV needs to predict": (
        "_curve_scorer",
        "_get_curve_scorer",
    ),
    "CPython: the frame of a caller": ("_getframe",),
}

#: Uses elsewhere: in subclasses, which may name what they inherit, or documented for the authors of estimators.
ELSEWHERE = {
    ("_averaging.py", "_parameter_constraints"),  # scikit-learn's convention, documented for estimators
    ("_base/named_members.py", "_parameter_constraints"),
    ("_members/encoders.py", "_type_of_target"),  # a subclass of scikeras' encoder
    ("_polyak.py", "_parameter_constraints"),
    ("_snapshot.py", "_parameter_constraints"),
    ("_stacking.py", "_parameter_constraints"),
    ("_voting.py", "_parameter_constraints"),
    ("_wrappers/building.py", "_routing_prefixes"),  # a subclass of scikeras' estimators
}

_DOCUMENTED = {"_replace"}  # of `typing.NamedTuple`
_BY_NAME = {"getattr", "hasattr", "setattr", "delattr"}


def own_names(tree):
    """Names that a file of the package defines: functions, classes, variables and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def private_attributes(tree):
    """Yield `(line number, object, name)` for each underscored attribute, also by `getattr` and the like."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            found = node.value, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in _BY_NAME and len(node.args) > 1:
            found = node.args[0], getattr(node.args[1], "value", "")
        else:
            continue
        value, name = found
        if isinstance(name, str) and name.startswith("_") and not name.startswith("__") and name not in _DOCUMENTED:
            yield node.lineno, ast.unparse(value), name


def foreign_attributes(tree, own, foreign):
    """Yield `(line number, name)` for each attribute that is not the package's own, or could be of another's object.

    Parameters
    ----------
    tree : ast.AST
    own : set of str
        Names that the package defines.
    foreign : set of str
        Private attributes of objects of other packages.
    """
    for line, value, name in private_attributes(tree):
        is_own_object = value in ("self", "cls") or value.startswith("super(")
        if name not in own or (name in foreign and not is_own_object):
            yield line, name
