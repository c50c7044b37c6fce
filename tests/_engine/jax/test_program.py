"""The fused program on JAX gives Keras' own results, member by member. Run by `make test-jax`."""

import functools
import itertools
import random

import keras
import numpy as np
import pandas as pd
import pytest

if keras.backend.backend() != "jax":
    pytest.skip("Keras does not run on JAX here: see `make test-jax`", allow_module_level=True)

import jax.numpy as jnp
from keras import layers, losses, metrics, optimizers
from program_cases import (
    BATCH_SIZE,
    LAYERS,
    LOSSES,
    N_ROWS,
    OPTIMIZERS,
    assert_equal_logs,
    assert_equal_variables,
    check_against_keras,
    convolutional,
    cubic,
    dense,
    fit_fused,
    fit_keras,
    make_data,
    make_members,
    row_orders,
)

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine.all_backends import cache as program_cache
from skensemble._engine.all_backends import limits
from skensemble._engine.backend import get_program
from skensemble._engine.jax import load_data, program, why_not_fusable
from skensemble._engine.records import Data, RunPlan, ValidationData, Variables
from skensemble._engine.variables import read_state
from skensemble._members.architecture import signature
from skensemble.exceptions import NotFusableError

check = functools.partial(check_against_keras, tolerance=1e-5)


def quick(names, *chosen):
    """Parameters of which some are tried always, and the others in `make test-jax ARGS="-m slow"`."""
    return [name if name in chosen else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize(
    "name",
    quick(
        [*OPTIMIZERS, "loss scaling", "schedule free"],
        *("SGD", "Nadam", "AdamW", "ema of some", "accumulation ema", "schedule", "loss scaling", "schedule free"),
    ),
)
def test_optimizers(name):
    """Every optimizer of Keras, with its options, does what it does in `Model.fit`."""
    more = {
        "loss scaling": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01), dynamic_growth_steps=2),
        "schedule free": lambda: optimizers.ScheduleFreeAdamW(0.01),
    }
    if name == "schedule free" and not hasattr(optimizers, "ScheduleFreeAdamW"):
        pytest.skip("newer than this Keras")
    check(make_members(dense(), 2, {**OPTIMIZERS, **more}[name]), *make_data(), predict=False)


MORE_LAYERS = {
    "embedding": (dense([lambda: layers.Embedding(6, 3), layers.Flatten]), None),
    "dropout": (dense([lambda: layers.Dropout(0.5), lambda: layers.Dense(5)]), (4,)),
    "spectral normalization": (
        dense([lambda: layers.SpectralNormalization(layers.Dense(5, kernel_regularizer="l2"))]),
        (4,),
    ),
    "depthwise": (
        dense([lambda: layers.DepthwiseConv2D(2), layers.BatchNormalization, layers.Flatten], shape=(4, 4, 2)),
        (4, 4, 2),
    ),
}


@pytest.mark.filterwarnings("ignore:.*includes a `lambda`:UserWarning")  # Keras, of a model that holds a Lambda
@pytest.mark.parametrize(
    "name",
    quick(
        [*LAYERS, *MORE_LAYERS],
        *("batch normalization", "conv2d", "lstm", "adapted", "dropout", "spectral normalization"),
    ),
)
def test_layers(name):
    """Layers with statistics, seeds, recurrence, convolutions and constraints train as in `Model.fit`."""
    build, shape = {**LAYERS, **MORE_LAYERS}[name]
    X, y = make_data(shape=shape or (4,))
    if shape is None:
        X = np.random.default_rng(0).integers(0, 6, (N_ROWS, 4)).astype("int32")
    check(make_members(build, 2, OPTIMIZERS["nesterov"], metrics=["accuracy"]), X, y)


@pytest.mark.parametrize("name", quick(LOSSES, "categorical", "mse"))
def test_losses_and_metrics(name):
    """Losses and metrics are Keras' own, in training and in validation."""
    target, activation, out, loss, made = LOSSES[name]
    X, y = make_data(target)
    loss, given = loss() if callable(loss) else loss, lambda: [make() for make in made]
    if name == "the user's":
        loss, given = cubic, lambda: [cubic]
    members = make_members(dense(out=out, activation=activation), 2, loss=loss, metrics=given)
    rows_v = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    check(members, X, y, validation=ValidationData(Data(X, y), rows_v, 3), predict=False)


@pytest.mark.parametrize("build", [dense(), convolutional])
@pytest.mark.parametrize("per_member", [False, True])
def test_sample_weight(per_member, build):
    """Weights of rows, shared or of each member, weigh the loss and the weighted metrics, also in validation."""
    X, y = make_data(shape=(4,) if build is not convolutional else (6, 6, 1))
    weight = np.random.default_rng(1).uniform(0, 2, (2, N_ROWS) if per_member else N_ROWS).astype("float32")
    weighted = lambda: ["accuracy", metrics.SparseCategoricalCrossentropy(name="entropy")]  # noqa: E731
    members = make_members(build, 2, metrics=lambda: ["accuracy"], weighted_metrics=weighted)
    wv = np.linspace(0, 1, N_ROWS).astype("float32")
    validation = ValidationData(Data(X, y, wv), np.array([[0, 1, 2, 3], [7, 8, 9, 10]]), 3)
    check(members, X, y, sample_weight=weight, validation=validation, predict=False)


@pytest.mark.parametrize(
    ("n_members", "batch_size", "n_draw"), [(1, 8, None), (20, 22, None), (2, 100, None), (2, 5, 30), (2, 5, 3)]
)
def test_batches_and_rows(n_members, batch_size, n_draw):
    """Batches that divide the rows, or not, or exceed them; bootstrap rows, more or fewer; one member and twenty."""
    members = make_members(dense([lambda: layers.Dense(4), layers.BatchNormalization]), n_members, OPTIMIZERS["Adam"])
    check(members, *make_data(), orders=row_orders(2, n_members, n_draw=n_draw), batch_size=batch_size, predict=False)


@pytest.mark.parametrize("build", [dense([lambda: layers.LSTM(2, dropout=0.3)], shape=(6, 6)), convolutional])
def test_evaluation_that_changes_variables(build):
    """Layers that draw masks in validation too draw the masks that follow in the next epoch."""
    X, y = make_data(shape=(6, 6) if build is not convolutional else (6, 6, 1))
    members = make_members(build, 2)
    rows_v = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    check(members, X, y, n_epochs=3, validation=ValidationData(Data(X, y), rows_v, 3), predict=False)


class Scaled(keras.Sequential):
    """A training step of the user's own, with an attribute that no configuration tells, and logs of its own."""

    factor = 0.5

    def train_step(self, state, batch):
        x, y = batch
        logs, state = super().train_step(state, (x * self.factor, y))
        return {"loss": logs["loss"], "mine": 2 * logs["loss"]}, state

    def compute_loss(self, *arguments, **more):
        return 3 * super().compute_loss(*arguments, **more)


def scaled(factor):
    def build():
        model = Scaled([keras.Input((4,)), layers.Dense(3, activation="softmax")])
        model.factor = factor
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    return build


def test_the_users_own_train_step():
    """A `train_step` of the user's own is mapped as it is, with its attributes and its logs."""
    X, y = make_data()
    assert signature(scaled(0.5)()) == signature(scaled(0.5)())
    assert signature(scaled(0.5)()) != signature(scaled(0.1)())
    with pytest.raises(NotFusableError, match="cannot be copied"):
        get_program(scaled(0.1)(), 2)
    start, orders = [read_state(scaled(0.1)()) for _ in range(2)], row_orders(2, 2)
    fused = get_program(scaled(0.1)(), 2, scaled(0.1))
    state, logs = fused.run(fused.stack(start), Data(X, y), RunPlan(orders, BATCH_SIZE))
    for k in range(2):
        model = scaled(0.1)()
        first = fused.unstack(fused.stack(start), k)
        expected, history = fit_keras(model, first, X, y, orders[0, k], 2)
        assert set(history) == {"loss", "mine"}
        assert_equal_logs(logs, history, k, 1e-5)
        assert_equal_variables(fused.unstack(state, k), expected, 1e-5)


def trained(n_epochs=5, split=(), build=None, **run):
    build = build or dense([lambda: layers.Dropout(0.3), lambda: layers.Dense(5, "relu")])
    members = make_members(build, 2, OPTIMIZERS["Adam"], metrics=["accuracy"])
    fused = get_program(members[0], 2)
    for member, seed in zip(members, (1, 2), strict=True):
        generator = np.random.default_rng(seed)
        member.set_weights([generator.normal(size=w.shape) for w in member.get_weights()])
    X, y = make_data(shape=members[0].input_shape[1:])
    state, rng = fused.stack([read_state(m) for m in members]), np.random.default_rng(0)
    orders = np.array([[rng.permutation(N_ROWS) for _ in members] for _ in range(n_epochs)])
    logs = []
    for part in np.split(orders, split):
        state, log = fused.run(state, Data(X, y), RunPlan(part, **{"batch_size": BATCH_SIZE, **run}))
        logs.append(log)
    return fused, state, {name: np.concatenate([log[name] for log in logs]) for name in logs[0]}


@pytest.mark.parametrize("build", [None, convolutional])
def test_the_split_of_epochs_changes_nothing(build, monkeypatch):
    """Epochs in one call or in several: equal bit for bit, and nothing is compiled anew for their number."""
    keras.utils.set_random_seed(0)
    fused, whole, logs = trained(build=build)
    n_traces = fused.n_traces
    keras.utils.set_random_seed(0)
    again, split, logs_split = trained(split=(1, 2, 4), build=build)
    assert again is fused
    assert fused.n_traces == n_traces
    for a, b in zip(itertools.chain(*whole.variables), itertools.chain(*split.variables), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, values in logs.items():
        np.testing.assert_array_equal(logs_split[name], values)


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_on_the_host(weighted, monkeypatch, tmp_path):
    """A memory map that is too large for the device gives the same result, gathered batch by batch."""
    members = make_members(dense(), 2, OPTIMIZERS["Adam"], metrics=["accuracy"])
    X, y = make_data(n_rows=50)
    weight = np.random.default_rng(0).uniform(size=(2, 50)) if weighted else None
    validation = ValidationData(Data(X, y), np.tile(np.arange(11), (2, 1)), 4)
    run = {"learning_rates": np.linspace(0.01, 0.02, 21).reshape(3, 7), "validation": validation}
    orders = row_orders(3, 2, 50)
    whole = fit_fused(members, X, y, orders, weight, **run)
    np.save(tmp_path / "X.npy", X.astype("float64"))
    monkeypatch.setattr(limits, "RESIDENT_BYTES", 10)
    streamed = fit_fused(members, np.load(tmp_path / "X.npy", mmap_mode="r"), y, orders, weight, **run)
    for name, values in whole[2].items():
        np.testing.assert_allclose(streamed[2][name], values, rtol=1e-5)
    for k in range(2):
        assert_equal_variables(streamed[0].unstack(streamed[1], k), whole[0].unstack(whole[1], k), 1e-6)


def test_learning_rate_of_each_member():
    """Members of one program may have different learning rates."""
    members = make_members(dense(), 2)
    members[1].optimizer.learning_rate = 0.5
    check(members, *make_data(), predict=False)
    fused = get_program(members[0], 2)
    state = fused.set_learning_rates(fused.stack([read_state(m) for m in members]), [0.25, 0.125])
    assert [float(fused.unstack(state, k).optimizer[1]) for k in range(2)] == [0.25, 0.125]


@pytest.mark.parametrize("build", [dense(), convolutional])
def test_learning_rate_of_each_step(build):
    """Learning rates per step are what a callback sets before each batch."""
    members = make_members(build, 1, OPTIMIZERS["Adam"])
    X, y = make_data(shape=members[0].input_shape[1:])
    orders, rates = row_orders(2, 1), np.linspace(0.1, 0.001, 6).reshape(2, 3)
    start = read_state(members[0])
    fused, state, _ = fit_fused(members, X, y, orders, learning_rates=rates)
    # Keras' fit on JAX reads the learning rate of a callback in the next epoch: one batch an epoch, then.
    model, rows = members[0], orders[0, 0]
    model.optimizer.build(model.trainable_variables)
    expected = fused.unstack(fused.stack([start]), 0)
    for rate, first in zip(rates.ravel(), [0, 8, 16] * 2, strict=True):
        i = fused.member.optimizer.rate_index
        expected.optimizer[i] = np.float32(rate)
        expected, _ = fit_keras(model, expected, X, y, rows[first : first + 8], 1)
    assert_equal_variables(fused.unstack(state, 0), expected, 1e-5)


def test_learning_rates_need_a_variable():
    """A schedule leaves no learning rate to set."""
    members = make_members(dense(), 1, OPTIMIZERS["schedule"])
    with pytest.raises(ValueError, match="LearningRateSchedule"):
        fit_fused(members, *make_data(), row_orders(1, 1), learning_rates=np.ones((1, 3)))


@pytest.mark.parametrize("build", [None, convolutional])
@pytest.mark.parametrize("optimizer", ["ema overwrite", "schedule"])
def test_other_numbers_of_rows(optimizer, build):
    """Members with more, fewer and no whole batches train in one program as each does in `Model.fit`."""
    build = build or dense([layers.BatchNormalization, lambda: layers.Dropout(0.3)])
    members = make_members(build, 5, OPTIMIZERS[optimizer], weighted_metrics=lambda: ["accuracy"])
    X, y = make_data(shape=members[0].input_shape[1:])
    weight = np.random.default_rng(1).uniform(0.5, 2, (5, N_ROWS)).astype("float32")
    validation = ValidationData(Data(X, y), np.arange(5 * 4).reshape(5, 4), 3)
    check(members, X, y, sample_weight=weight, validation=validation, n_rows=(22, 16, 9, 5, 21))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_diverging_member_among_others_without_whole_batches():
    """A member is not taken for diverged in steps that it does not have."""
    members = make_members(dense(out=1, activation=None), 2, loss="mse")
    X, y = make_data("number")
    X[9] = np.nan
    orders = np.tile(np.array([np.arange(22), np.arange(22)]), (2, 1, 1))
    fused = get_program(members[0], 2)
    start = fused.stack([read_state(m) for m in members])
    plan = RunPlan(orders, BATCH_SIZE, n_rows=(22, 3), stop_on_nan=True)
    state, logs = fused.run(start, Data(X, y), plan)
    assert state.active.tolist() == [False, True]
    expected, history = fit_keras(members[0], fused.unstack(start, 1), X, y, np.arange(3), 2)
    assert_equal_logs(logs, history, 1)
    assert_equal_variables(fused.unstack(state, 1), expected)


def test_steps_called_from_python_share_a_compilation(monkeypatch):
    """A step is compiled once for all batches of one size, the first one of an epoch, too."""
    monkeypatch.setattr(program_cache, "_PROGRAMS", type(program_cache._PROGRAMS)())
    members = make_members(convolutional, 2)
    X, y = make_data(n_rows=3 * BATCH_SIZE, shape=members[0].input_shape[1:])
    fused = fit_fused(members, X, y, row_orders(2, 2, 3 * BATCH_SIZE))[0]
    assert not fused.in_loops
    assert fused.n_traces == 1


def test_numbers_of_epochs_and_rows_share_a_compilation():
    """Other numbers of epochs and of whole batches, and a few rows more or less of X, compile nothing anew."""
    members = make_members(dense(), 2)
    X, y = make_data(n_rows=250)
    validation = ValidationData(Data(X, y), np.array([[0, 1], [2, 3]]), 1)
    fused = fit_fused(members, X, y, row_orders(2, 2, 246), validation=validation)[0]
    n_traces = fused.n_traces
    for n_epochs, n_rows in ((5, 246), (1, 246), (2, 246 - BATCH_SIZE)):
        orders = row_orders(n_epochs, 2, n_rows)
        fit_fused(members, X[: max(n_rows, 242)], y[: max(n_rows, 242)], orders, validation=validation)
    assert fused.n_traces == n_traces


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("on_host", [False, True])
def test_a_diverging_member(on_host, monkeypatch):
    """A member whose loss becomes NaN stops where Keras' TerminateOnNaN stops it, and disturbs nobody."""
    if on_host:
        monkeypatch.setattr(limits, "RESIDENT_BYTES", 10)
    members = make_members(dense(out=1, activation=None), 2, loss="mse", metrics=["mae"])
    X, y = make_data("number")
    X[9] = np.nan
    orders = np.tile(np.array([np.r_[0:9, 9:20], np.r_[0:9, 10:21]]), (3, 1, 1))
    fused = get_program(members[0], 2)
    start = fused.stack([read_state(m) for m in members])
    validation = ValidationData(Data(X, y), np.array([[0, 1, 2], [3, 4, 5]]), 3)
    state, logs = fused.run(start, Data(X, y), RunPlan(orders, BATCH_SIZE, stop_on_nan=True, validation=validation))
    assert state.active.tolist() == [False, True]
    assert state.epochs_run.tolist() == [1, 3]
    for k in range(2):
        held_out = X[validation.sample_indices[k]], y[validation.sample_indices[k]], 3
        terminate = keras.callbacks.TerminateOnNaN()
        expected, history = fit_keras(
            members[0], fused.unstack(start, k), X, y, orders[0, k], 3, validation=held_out, callbacks=[terminate]
        )
        ran = {name: values[: state.epochs_run[k]] for name, values in logs.items()}
        assert_equal_logs(ran, history, k, 1e-5)
        assert_equal_variables(fused.unstack(state, k), expected, 1e-5)
    again, _ = fused.run(state, Data(X, y), RunPlan(orders, BATCH_SIZE))
    assert_equal_variables(fused.unstack(again, 0), fused.unstack(state, 0), 0)


@pytest.mark.parametrize(("build", "shape"), [(dense(), (4,)), (convolutional, (6, 6, 1))])
def test_predict(build, shape):
    """The forward pass gives what `Model.predict` gives, whatever the number of rows, in chunks or whole."""
    members = make_members(build, 3)
    fused = get_program(members[0], 3)
    assert fused.in_loops == (build is not convolutional)
    state = fused.stack([Variables(*read_state(m)[:2]) for m in members])
    X = make_data(shape=shape)[0]
    for n_rows, chunk_rows in ((1, None), (5, None), (22, 4), (0, None)):
        got = fused.predict(state.variables, X[:n_rows], chunk_rows=chunk_rows)
        assert got.shape == (3, n_rows, 3)
        for k, model in enumerate(members[: 3 * bool(n_rows)]):
            np.testing.assert_allclose(got[k], model.predict(X[:n_rows], verbose=0), rtol=1e-5, atol=1e-6)
    n_traces = fused.n_traces
    fused.predict(state.variables, X[:7])
    fused.predict(state.variables, X[:6])
    assert fused.n_traces <= n_traces + 1  # eight rows


def test_targets_of_another_shape():
    """What "accuracy" means is chosen anew for targets of another shape."""
    X, y = make_data("binary")
    for target in (y, y[:, 0], y):
        members = make_members(dense(out=1, activation="sigmoid"), 1, loss="binary_crossentropy", metrics=["accuracy"])
        check(members, X, target, predict=False)


def test_the_cache_is_bounded(monkeypatch):
    """The least recently used program is forgotten."""
    monkeypatch.setattr(program_cache, "CACHE_SIZE", 2)
    models = [make_members(dense([lambda n=n: layers.Dense(n)]), 1)[0] for n in (2, 3, 4)]
    first, second, _ = (get_program(model, 1) for model in models)
    assert get_program(models[1], 1) is second
    assert get_program(models[0], 1) is not first
    assert len(program_cache._PROGRAMS) == 2


def test_the_users_model_is_not_changed():
    """Tracing and running leave the model and Python's random numbers alone."""
    given = lambda: [metrics.AUC()]  # noqa: E731
    members = make_members(
        dense([layers.BatchNormalization]), 1, OPTIMIZERS["Adam"], "categorical_crossentropy", metrics=given
    )
    before, state = [*itertools.chain(*read_state(members[0]))], random.getstate()
    fused = fit_fused(members, *make_data("one hot"), row_orders(1, 1))[0]
    assert random.getstate() == state
    assert not members[0].optimizer.built
    for a, b in zip(before, [*itertools.chain(*read_state(members[0]))], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not {id(v) for v in fused.member.model.variables} & {id(v) for v in members[0].variables}


def compiled(build=None, **changes):
    model = (build or dense())()
    model.compile(**{"optimizer": "adam", "loss": "sparse_categorical_crossentropy", **changes})
    return model


class OwnFit(keras.Sequential):
    def fit(self, *args, **kwargs):
        return super().fit(*args, **kwargs)


def two_inputs():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))


def with_attribute():
    model = compiled()
    model.train_step = model.train_step
    return model


NOT_FUSABLE = {
    "its own fit": lambda: compiled(lambda: OwnFit([keras.Input((4,)), layers.Dense(3)])),
    "given train_step as an attribute": with_attribute,
    "2 inputs": lambda: compiled(two_inputs),
    "run_eagerly": lambda: compiled(run_eagerly=True),
    "jit_compile=False": lambda: compiled(jit_compile=False),
    "rate is a function": lambda: compiled(optimizer=optimizers.SGD(lambda: 0.1)),
    "not compiled": lambda: dense()(),
    "not built": lambda: compiled(lambda: keras.Sequential([layers.Dense(3)])),
}


@pytest.mark.parametrize("reason", NOT_FUSABLE)
def test_why_not_fusable(reason):
    """What cannot be fused says why, and is refused with the same words."""
    model = NOT_FUSABLE[reason]()
    assert reason in why_not_fusable(model)
    with pytest.raises(NotFusableError, match=reason):
        get_program(model, 2)


def test_fusable():
    """An ordinary model has no reason not to be fused."""
    assert why_not_fusable(compiled()) is None


class Branching(losses.Loss):
    def call(self, y_true, y_pred):
        return y_pred if keras.ops.sum(y_pred) > 0 else -y_pred


class Drawing(layers.Layer):
    def call(self, x):
        return x * random.random()


class Holder:
    pass


class Hiding(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.holder = Holder()
        self.holder.hidden = keras.Variable(np.random.normal(size=()), name="hidden")

    def call(self, x):
        return x * self.holder.hidden


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(Branching, "cannot be traced"), (Drawing, "random numbers of Python"), (Hiding, "'hidden', which is not among")],
)
def test_refused_when_traced(layer, reason):
    """Branches on values, Python's random numbers and variables that the model does not know are refused in words."""
    if layer is Branching:
        members = make_members(dense(), 2, loss=Branching())
    else:
        members = make_members(dense([layer]), 2)
    state = random.getstate()
    with pytest.raises(NotFusableError, match=reason):
        fit_fused(members, *make_data(), row_orders(1, 2))
    assert random.getstate() == state


class Counting(keras.Sequential):
    """A training step that counts in Python: once when it is compiled, however often it runs."""

    n_steps = 0

    def train_step(self, state, batch):
        self.n_steps += 1
        return super().train_step(state, batch)


def test_a_step_that_changes_attributes():
    """What a step does to Python objects would happen once for all members: refused, and "auto" falls back."""
    X, y = make_data()

    def build():
        model = Counting([keras.Input((4,)), layers.Dense(3, activation="softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    members = [build(), build()]
    fused = get_program(members[0], 2, build)
    with pytest.raises(NotFusableError, match="its train step changes attributes of the model"):
        fused.run(fused.stack([read_state(m) for m in members]), Data(X, y), RunPlan(row_orders(1, 2), BATCH_SIZE))
    ensemble = KerasAveragingClassifier(KerasClassifier(build, epochs=1), 2, random_state=0).fit(X, y)
    assert ensemble.engine_ == "keras"
    assert "changes attributes" in ensemble.engine_reason_


def test_load_data_once():
    """Data loaded once train as the arrays do."""
    members = make_members(dense(), 2)
    X, y = make_data()
    fused, expected, _ = fit_fused(members, X.astype("float64"), y, row_orders(1, 2))
    loaded = load_data(X, y)
    assert isinstance(loaded.X, jnp.ndarray)
    start = fused.stack([read_state(m) for m in members])
    state, _ = fused.run(start, loaded, RunPlan(row_orders(1, 2), BATCH_SIZE))
    assert_equal_variables(fused.unstack(state, 0), fused.unstack(expected, 0), 0)


def test_an_ensemble_is_fused():
    """An ensemble trains by the program, and gives what Keras' own fit gives."""
    X, y = make_data(n_rows=60)
    member = KerasClassifier(hidden_layer_sizes=(5,), epochs=3, shuffle=False)
    fused, by_keras = (
        KerasAveragingClassifier(member, 3, engine=engine, random_state=0).fit(X, y) for engine in ("fused", "keras")
    )
    assert fused.engine_ == "fused"
    np.testing.assert_allclose(fused.predict_proba(X), by_keras.predict_proba(X), rtol=1e-5)
    assert program.Program is type(get_program(fused.estimators_[0].model_, 3))


def two_named_inputs():
    numbers, codes = keras.Input((3,), name="numbers"), keras.Input((1,), name="codes", dtype="int32")
    embedded = layers.Flatten()(layers.Embedding(4, 2)(codes))
    return keras.Model([numbers, codes], layers.Dense(3, "softmax")(layers.Concatenate()([numbers, embedded])))


@pytest.mark.parametrize(
    "member",
    [
        KerasClassifier(two_named_inputs, inputs={"numbers": ["a", "b", "c"], "codes": ["code"]}),
        KerasClassifier(hidden_layer_sizes=(5,)),
    ],
    ids=["several inputs", "embedded categories"],
)
def test_tables_are_fused(member):
    """Networks with several inputs, and the default network on a table with categories, give what Keras' fit gives."""
    X, y = make_data(n_rows=60)
    table = pd.DataFrame(X[:, :3], columns=["a", "b", "c"]).assign(code=pd.Categorical(np.arange(60) % 4))
    member.set_params(epochs=2, shuffle=False)
    fused, by_keras = (
        KerasAveragingClassifier(member, 3, engine=engine, random_state=0).fit(table, y)
        for engine in ("fused", "keras")
    )
    assert fused.engine_ == "fused"
    np.testing.assert_allclose(fused.predict_proba(table), by_keras.predict_proba(table), rtol=1e-5)


def test_an_ensemble_shares_no_arrays_with_what_it_exports():
    """Keras gives the arrays of a model away when that predicts: those of the ensemble stay where they are."""
    X, y = make_data()
    member = KerasClassifier(hidden_layer_sizes=(4,), epochs=1)
    ensemble = KerasAveragingClassifier(member, 2, random_state=0).fit(X, y)
    expected = ensemble.predict_proba(X)
    exported = ensemble.to_keras()
    for _ in range(2):
        np.testing.assert_allclose(exported.predict(X, verbose=0), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=0, atol=1e-6)


def test_a_network_given_as_model_shares_no_arrays():
    """A model of the user's and the members that are copies of it are used side by side."""
    X, y = make_data()
    model = keras.Sequential([keras.Input(X.shape[1:]), layers.BatchNormalization(), layers.Dense(3, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.optimizer.build(model.trainable_variables)  # Keras warns when it loads a model whose optimizer was not built
    ensemble = KerasAveragingClassifier(KerasClassifier(model, epochs=1), 2, random_state=0).fit(X, y)
    expected = ensemble.predict_proba(X)
    model.fit(X, y, verbose=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=0, atol=1e-6)
    ensemble.estimators_[0].partial_fit(X, y)
    assert np.isfinite(model.predict(X, verbose=0)).all()
