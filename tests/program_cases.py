"""Networks, data and comparisons with `Model.fit` for the tests of fused programs, whatever Keras runs on."""

import importlib

import keras
import numpy as np
from keras import layers, losses, metrics, optimizers

from skensemble._engine.backend import get_program
from skensemble._engine.records import Data, RunPlan
from skensemble._engine.variables import read_state, write_state

#: What depends on the machine, of the program for this backend.
cost_model = importlib.import_module(f"skensemble._engine.{keras.backend.backend()}.cost_model")

N_ROWS, N_FEATURES, BATCH_SIZE = 22, 4, 8


def make_data(target="class", shape=(N_FEATURES,), n_rows=N_ROWS, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, *shape)).astype("float32")
    return X, {
        "class": rng.integers(0, 3, n_rows).astype("int32"),
        "one hot": np.eye(3, dtype="float32")[rng.integers(0, 3, n_rows)],
        "binary": rng.integers(0, 2, (n_rows, 1)).astype("int32"),
        "number": rng.normal(size=n_rows).astype("float32"),
        "numbers": rng.normal(size=(n_rows, 3)).astype("float32"),
    }[target]


def dense(hidden=(), out=3, activation="softmax", shape=(N_FEATURES,)):
    """A function that builds a small network; `hidden` are functions that make layers."""

    def build():
        made = [make() for make in hidden] or [layers.Dense(5, activation="tanh")]
        return keras.Sequential([keras.Input(shape), *made, layers.Dense(out, activation=activation)])

    return build


def make_members(
    build, n_members, optimizer=lambda: optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", **compile_args
):
    members = []
    for _ in range(n_members):
        model = build()
        args = {name: value() if callable(value) else value for name, value in compile_args.items()}
        model.compile(optimizer=optimizer(), loss=loss, **args)
        members.append(model)
    return members


def row_orders(n_epochs, n_members, n_rows=N_ROWS, n_draw=None, seed=0):
    """Rows that each member visits, the same in every epoch: Keras, unshuffled, can follow."""
    rng = np.random.default_rng(seed)
    rows = [rng.permutation(n_rows) if n_draw is None else rng.integers(0, n_rows, n_draw) for _ in range(n_members)]
    return np.tile(np.array(rows), (n_epochs, 1, 1))


def fit_fused(members, X, y, orders, sample_weight=None, **run):
    program = get_program(members[0], len(members))
    state, logs = program.run(
        program.stack([read_state(m) for m in members]),
        Data(X, y, sample_weight),
        RunPlan(orders, **{"batch_size": BATCH_SIZE, **run}),
    )
    return program, program.finalize(state), logs


def fit_keras(
    model, start, X, y, rows, n_epochs, sample_weight=None, batch_size=BATCH_SIZE, validation=None, callbacks=()
):
    """What `Model.fit` makes of one member: its variables and its history."""
    # With TensorFlow, tracing a graph takes longer than so few steps. With JAX, one model serves all: it traces once.
    # In Keras 3.8 Discretization rounds its inputs, but not where it runs eagerly.
    traced = any(isinstance(layer, layers.Discretization) for layer in model.layers)
    model.run_eagerly = keras.backend.backend() == "tensorflow" and not traced
    write_state(model, start)
    args = {}
    if validation is not None:
        args = {"validation_data": validation[:-1], "validation_batch_size": validation[-1]}
    weight = None if sample_weight is None else sample_weight[rows]
    history = model.fit(
        X[rows],
        y[rows],
        sample_weight=weight,
        batch_size=batch_size,
        epochs=n_epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **args,
    )
    return read_state(model), history.history


def assert_equal_variables(ours, theirs, tolerance=2e-5):
    for part, a, b in zip(("trainable", "non_trainable", "optimizer"), ours[:3], theirs[:3], strict=True):
        assert len(a) == len(b), part
        for i, (left, right) in enumerate(zip(a, b, strict=True)):
            np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance, err_msg=f"{part} {i}")


def assert_equal_logs(logs, history, k, tolerance=2e-5):
    assert list(logs) == list(history)
    for name, values in history.items():
        np.testing.assert_allclose(logs[name][:, k], values, rtol=tolerance, atol=tolerance, err_msg=name)


def check_against_keras(
    members,
    X,
    y,
    n_epochs=2,
    tolerance=2e-5,
    orders=None,
    sample_weight=None,
    validation=None,
    batch_size=BATCH_SIZE,
    n_rows=None,
    predict=True,
):
    """Train `members` fused and with `Model.fit`, and compare variables, history and predictions."""
    orders = row_orders(n_epochs, len(members), len(X)) if orders is None else orders
    program = get_program(members[0], len(members))
    start = program.stack([read_state(m) for m in members])
    plan = RunPlan(orders, batch_size, n_rows=n_rows, validation=validation)
    state, logs = program.run(start, Data(X, y, sample_weight), plan)
    state = program.finalize(state)
    predictions = program.predict(state.variables, X) if predict else None
    for k in range(len(members)):
        weight = sample_weight[k] if sample_weight is not None and sample_weight.ndim == 2 else sample_weight
        given = None
        if validation is not None:
            held_out = validation.sample_indices[k]
            given = (*(part[held_out] for part in validation.data if part is not None), validation.batch_size)
        rows = orders[0, k] if n_rows is None else orders[0, k, : n_rows[k]]
        expected, history = fit_keras(
            members[0], program.unstack(start, k), X, y, rows, len(orders), weight, batch_size, given
        )
        assert_equal_logs(logs, history, k, tolerance)
        assert_equal_variables(program.unstack(state, k), expected, tolerance)
        if predict:
            np.testing.assert_allclose(predictions[k], members[0].predict(X, verbose=0), rtol=tolerance, atol=tolerance)
    return program, state, logs


SCHEDULE = optimizers.schedules.CosineDecay(0.05, 6, warmup_target=0.1, warmup_steps=3)
OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "RMSprop": lambda: optimizers.RMSprop(0.01),
    "centered": lambda: optimizers.RMSprop(0.01, centered=True, momentum=0.5),
    "Adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, clipvalue=0.05),
    "AdamW": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "Adamax": lambda: optimizers.Adamax(0.01),
    "Nadam": lambda: optimizers.Nadam(0.01),
    "Adagrad": lambda: optimizers.Adagrad(0.05),
    "Adadelta": lambda: optimizers.Adadelta(1.0),
    "Adafactor": lambda: optimizers.Adafactor(0.01),
    "Ftrl": lambda: optimizers.Ftrl(0.05, l1_regularization_strength=0.01, l2_shrinkage_regularization_strength=0.01),
    "Lion": lambda: optimizers.Lion(0.003),
    "Lamb": lambda: optimizers.Lamb(0.01),
    "clipnorm": lambda: optimizers.Adam(0.01, clipnorm=0.1),
    "global_clipnorm": lambda: optimizers.SGD(0.1, global_clipnorm=0.1),
    "ema": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "ema overwrite": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "ema of some": lambda: optimizers.Lamb(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2),
    "accumulation": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "accumulation ema": lambda: optimizers.SGD(
        0.1, momentum=0.5, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.9
    ),
    "schedule": lambda: optimizers.SGD(SCHEDULE, momentum=0.9),
    "schedule mapped": lambda: optimizers.Lamb(SCHEDULE),
    "loss_scale_factor": lambda: optimizers.SGD(0.1, loss_scale_factor=4.0),
}
if hasattr(optimizers, "Muon"):  # newer than Keras 3.8
    OPTIMIZERS["Muon"] = lambda: optimizers.Muon(0.01)


class Halve(layers.Layer):
    """A layer of the user's."""

    def call(self, x):
        return x / 2


class Cut(layers.Layer):
    """Nothing before this layer is trained."""

    def call(self, x):
        return keras.ops.stop_gradient(x)


def convolutional():
    return keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(3, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def attention():
    inputs = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.LayerNormalization()(x + inputs)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


def residual():
    """Operations on tensors, whose names Keras counts up."""
    inputs = keras.Input((4,))
    x = keras.ops.relu(layers.Dense(4)(inputs) + inputs)
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(keras.ops.concatenate([x, 2 * inputs], axis=-1)))


def adapted():
    """Layers that were adapted to data, which Keras keeps beside the variables, or in the configuration."""
    data = np.random.default_rng(0).normal(5, 3, size=(50, 4)).astype("float32")
    normalization, discretization = layers.Normalization(), layers.Discretization(num_bins=4)
    normalization.adapt(data)
    discretization.adapt(data / 3)
    inputs = keras.Input((4,))
    bins = layers.CategoryEncoding(4, output_mode="multi_hot")(discretization(inputs))
    x = layers.Concatenate()([normalization(inputs), bins])
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(x))


def frozen():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, trainable=False),
            layers.BatchNormalization(),
            layers.Dense(3, activation="softmax"),
        ]
    )


def user_functions():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Lambda(lambda x: 2 * x),
            layers.Dense(4, activation=lambda x: x + 1),
            Halve(),
            layers.Dense(3, activation="softmax"),
        ]
    )


LAYERS = {
    "batch normalization": (dense([lambda: layers.Dense(5), layers.BatchNormalization, layers.ReLU]), (4,)),
    "constraints": (dense([lambda: layers.Dense(5, kernel_constraint="max_norm", bias_constraint="non_neg")]), (4,)),
    "regularizers": (
        dense(
            [
                lambda: layers.Dense(5, kernel_regularizer="l2", activity_regularizer="l1"),
                lambda: layers.ActivityRegularization(0.1),
            ]
        ),
        (4,),
    ),
    "frozen": (frozen, (4,)),
    "the user's functions": (user_functions, (4,)),
    "conv1d": (
        dense(
            [lambda: layers.Conv1D(3, 2, activation="relu"), lambda: layers.AveragePooling1D(2), layers.Flatten],
            shape=(6, 2),
        ),
        (6, 2),
    ),
    "conv2d": (convolutional, (6, 6, 1)),
    "lstm": (dense([lambda: layers.LSTM(3)], shape=(5, 2)), (5, 2)),
    "gru": (dense([lambda: layers.GRU(3)], shape=(5, 2)), (5, 2)),
    "attention": (attention, (5, 4)),
    "operations": (residual, (4,)),
    "adapted": (adapted, (4,)),
}


LOSSES = {
    "sparse": (
        "class",
        "softmax",
        3,
        "sparse_categorical_crossentropy",
        [lambda: "accuracy", metrics.SparseCategoricalCrossentropy],
    ),
    "categorical": (
        "one hot",
        "softmax",
        3,
        "categorical_crossentropy",
        [lambda: "accuracy", metrics.Precision, metrics.AUC, metrics.F1Score],
    ),
    "binary": ("binary", "sigmoid", 1, "binary_crossentropy", [lambda: "accuracy", metrics.AUC, metrics.Recall]),
    "logits": ("class", None, 3, lambda: losses.SparseCategoricalCrossentropy(from_logits=True), [lambda: "acc"]),
    "mse": ("number", None, 1, "mse", [lambda: "mae", metrics.RootMeanSquaredError, metrics.R2Score]),
    "huber": ("numbers", None, 3, lambda: losses.Huber(0.5), [lambda: "mse"]),
    "the user's": ("numbers", None, 3, lambda: cubic, [lambda: cubic]),
}


def cubic(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** 3, axis=-1)
