"""One member's training step, evaluation step and forward pass as pure functions of tensors.

The functions repeat Keras' ``train_step``, ``test_step`` and ``predict_step`` for TensorFlow (Keras 3.8 to 3.15) line
by line, inside a ``StatelessScope``, so that variables come in and go out as tensors and no ``tf.Variable`` is
written. Layers, losses, metrics and regularisers are Keras' own.

Private Keras names: ``_compute_loss``, ``_loss_tracker``, ``_compile_loss``, ``_compile_metrics`` and
``_call_has_training_arg`` are what ``train_step`` itself uses; ``_user_loss``, ``_user_loss_weights``,
``_user_metrics`` and ``_user_weighted_metrics`` hold what the user gave to ``compile``; ``_flatten_layers`` walks the
layers.
"""

import math
import random
import types
import warnings

import keras
import tensorflow as tf
from keras.src.models.functional import Functional

from skensemble._pure_optimizer import MemberOptimizer, all_variables


def make_template(model):
    """A private copy of a compiled `model` whose variables nobody else reads or writes.

    Metrics and losses that the user gave as objects are shared with `model`: they are only ever used inside a
    ``StatelessScope``.
    """
    state = random.getstate()  # Keras draws the seeds of initializers and dropout from Python's global generator.
    classes = {type(layer).__name__: type(layer) for layer in model._flatten_layers()}
    try:
        with keras.saving.custom_object_scope(classes):
            copy = _copy_model(model)
    finally:
        random.setstate(state)
    for ours, theirs in zip(copy._flatten_layers(), model._flatten_layers(), strict=True):
        if ours.trainable != theirs.trainable:
            ours.trainable = theirs.trainable
    if [(v.shape, v.trainable) for v in copy.variables] != [(v.shape, v.trainable) for v in model.variables]:
        raise ValueError("its copy made from its configuration has other variables")
    if getattr(model, "compiled", False):
        _compile_alike(copy, model)
    return copy


def _copy_model(model):
    """Keras' `clone_model` without compiling: it would look the user's losses and metrics up by name."""
    if type(model) is keras.Sequential:
        inputs = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        return keras.Sequential([inputs, *map(_copy_layer, model.layers)])
    if isinstance(model, Functional) and type(model).get_config is Functional.get_config:
        bare = keras.Model(model.input, model.output)
        return keras.models.clone_model(bare, clone_function=_copy_layer, recursive=True)
    return keras.models.clone_model(model)


def _copy_layer(layer):
    """A layer like this one. Functions and objects of the user's are taken over: Keras would look them up by name."""
    if isinstance(layer, keras.Model):
        return _copy_model(layer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras warns that a lambda is unsafe to load; it is not loaded.
        config = layer.get_config()
    own = {
        name: value
        for name, value in vars(layer).items()
        if name in config and callable(value) and not _is_keras(value) and not isinstance(value, keras.Layer)
    }
    return type(layer)(**{**config, **own}) if own else type(layer).from_config(config)


def _is_keras(value):
    module = value.__module__ if isinstance(value, types.FunctionType) else type(value).__module__
    return (module or "").split(".")[0] == "keras"


def _compile_alike(copy, model):
    loss, metrics = model._compile_loss, model._compile_metrics
    copy.compile(
        optimizer=model.optimizer,
        loss=None if loss is None else loss._user_loss,
        loss_weights=None if loss is None else loss._user_loss_weights,
        metrics=None if metrics is None else metrics._user_metrics,
        weighted_metrics=None if metrics is None else metrics._user_weighted_metrics,
        jit_compile=False,
    )


class Member:
    """The pure functions of one member.

    Parameters
    ----------
    model : keras.Model
        Compiled; copied, never written to.
    """

    def __init__(self, model):
        self.model = make_template(model)
        self.trainable = list(self.model.trainable_variables)
        self.fixed = list(self.model.non_trainable_variables)
        self.adapted = adapted_layers(self.model)
        self.optimizer = None
        if getattr(model, "compiled", False):
            self.optimizer = MemberOptimizer(model.optimizer, self.trainable)
            self.model.optimizer = None  # it is the user's own
        self.metrics = self.target_shape = None
        #: Sparse gradients (of embeddings) go to the optimizer as they are: Keras squares and clips the
        #: entries of a row that occurs twice each by itself.
        self.keep_sparse = self.has_sparse_gradients = False

    def build_metrics(self, x, y, weights):
        """Let Keras choose the metrics and make their variables for tensors of one row. Returns whether it had to.

        Keras chooses what "accuracy" means by the shape of the targets: for another shape it has to choose again.
        """
        shape = tuple(y.shape[1:])
        if self.target_shape is not None and self.target_shape != shape:
            _compile_alike(self.model, self.model)
            self.model.optimizer = None
            self.metrics = None
        self.target_shape = shape
        if self.metrics is None:
            y_pred = self._call(x, training=False)
            self.model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=False)
            if self.model._compile_metrics is not None:
                with keras.StatelessScope():  # some metrics create their variables in their first update
                    self.model._compile_metrics.update_state(y, y_pred, weights)
            self.metrics = list(self.model.metrics_variables)
            return True
        return False

    def state_specs(self, n_members):
        """Specs of (trainable, non_trainable, optimizer), stacked."""
        slots = [] if self.optimizer is None else self.optimizer.variables
        return [_stacked_specs(part, n_members) for part in (self.trainable, self.fixed, slots)]

    def metric_specs(self, n_members):
        """Specs of the metrics' variables, stacked."""
        return _stacked_specs(self.metrics, n_members)

    def loss_is_finite(self, metrics):
        """Whether the running loss of the epoch is finite, per member; `metrics` stacked."""
        total = self.model._loss_tracker.variables[0]
        return tf.math.is_finite(metrics[next(i for i, v in enumerate(self.metrics) if v is total)])

    @property
    def widest(self):
        """Values of the largest layer output for one row."""
        shapes = [getattr(layer, "output", None) for layer in self.model._flatten_layers()]
        return max([1, *(math.prod(d or 1 for d in s.shape[1:]) for s in shapes if hasattr(s, "shape"))])

    def zero_metrics(self):
        """The metrics' variables at the start of an epoch, tensors."""
        with keras.StatelessScope() as scope:
            self.model.reset_metrics()
        values = [scope.get_current_value(v) for v in self.metrics]
        return [tf.convert_to_tensor(v if new is None else new) for v, new in zip(self.metrics, values, strict=True)]

    def gradients(self, trainable, fixed, metrics, x, y, weights):
        """Gradients (dense, None where there is none), new `fixed` and new `metrics` after one batch."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(trainable)
            loss, fixed, metrics = self._forward_loss(trainable, fixed, metrics, x, y, weights, training=True)
            if self.optimizer is not None:
                loss = self.optimizer.optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, trainable)
        self.has_sparse_gradients = any(isinstance(g, tf.IndexedSlices) for g in gradients)
        if not self.keep_sparse:
            gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        return gradients, fixed, metrics

    def evaluate(self, trainable, fixed, metrics, x, y, weights):
        """New `metrics` after one batch of evaluation."""
        return self._forward_loss(trainable, fixed, metrics, x, y, weights, training=False)[2]

    def predict(self, trainable, fixed, x):
        """The model's output."""
        with self._scope(trainable, fixed, []):
            return tf.convert_to_tensor(self._call(x, training=False))

    def results(self, metrics):
        """Name -> value of every metric, in the order of Keras' logs."""
        with self._scope([], [], metrics):
            return dict(sorted(self.model.get_metrics_result().items()))

    def _forward_loss(self, trainable, fixed, metrics, x, y, weights, training):
        model = self.model
        with self._scope(trainable, fixed, metrics) as scope:
            y_pred = self._call(x, training)
            loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=weights, training=training)
            model._loss_tracker.update_state(loss, sample_weight=tf.shape(x)[0])
            if model._compile_metrics is not None:
                model._compile_metrics.update_state(y, y_pred, weights)
            model._clear_losses()
        self._refuse_hidden_state(scope)
        get = scope.get_current_value
        return loss, [get(v) for v in self.fixed], [get(v) for v in self.metrics]

    def _call(self, x, training):
        for layer in self.adapted:
            layer.finalize_state()
        return self.model(x, training=training) if self.model._call_has_training_arg else self.model(x)

    def _scope(self, trainable, fixed, metrics):
        pairs = [(self.trainable, trainable), (self.fixed, fixed), (self.metrics or [], metrics)]
        mapping = [pair for variables, values in pairs if values for pair in zip(variables, values, strict=True)]
        return keras.StatelessScope(state_mapping=mapping, collect_losses=True)

    def _refuse_hidden_state(self, scope):
        known = {id(v) for v in [*self.trainable, *self.fixed, *self.metrics]}
        if set(scope.state_mapping) - known:
            raise ValueError(
                "a layer, loss or metric changes a variable that is not the model's "
                "(random numbers without a SeedGenerator?)"
            )


def _stacked_specs(variables, n_members):
    return [tf.TensorSpec((n_members, *v.shape), v.dtype) for v in variables]


def adapted_layers(model):
    """Layers that compute with constants made of their variables, anew at each `finalize_state`."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Normalization)]
    return [layer for layer in layers if layer.input_mean is None]


def read_variables(model):
    """(trainable, non_trainable, optimizer) lists of the variables of a model."""
    optimizer = getattr(model, "optimizer", None)
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        [] if optimizer is None else all_variables(optimizer),
    )
