"""The fused program gives Keras' own results, member by member."""

import itertools
import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, metrics, optimizers
from program_cases import (
    BATCH_SIZE,
    LAYERS,
    LOSSES,
    N_FEATURES,
    N_ROWS,
    OPTIMIZERS,
    SCHEDULE,
    Cut,
    adapted,
    assert_equal_logs,
    assert_equal_variables,
    attention,
    check_against_keras,
    convolutional,
    cubic,
    dense,
    fit_fused,
    fit_keras,
    make_data,
    make_members,
    residual,
    row_orders,
)

from skensemble._engine.all_backends import cache as _cache
from skensemble._engine.all_backends import limits
from skensemble._engine.all_backends.batches import order_in_columns, steps_of
from skensemble._engine.backend import get_program
from skensemble._engine.records import Data, RunPlan, ValidationData, Variables
from skensemble._engine.tensorflow import cost_model
from skensemble._engine.tensorflow import runs as _runs
from skensemble._engine.tensorflow.data import chunks, load_data
from skensemble._engine.tensorflow.fusable import why_not_fusable
from skensemble._engine.tensorflow.program import make_program
from skensemble._engine.variables import read_state, write_state
from skensemble._members.architecture import signature
from skensemble.exceptions import NotFusableError


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def no_xla(monkeypatch):
    """Most behaviours do not depend on XLA, whose compilation takes a second."""
    monkeypatch.setattr(cost_model, "FORCE_XLA", None)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    """Every optimizer of Keras, with its options, does what it does in `Model.fit`."""
    check_against_keras(make_members(dense(), 2, OPTIMIZERS[name]), *make_data(), predict=False)


def test_xla_gives_the_same(monkeypatch):
    """With XLA the results are Keras' too: optimizers that update each member by itself are in a test below."""
    monkeypatch.setattr(cost_model, "FORCE_XLA", "all")
    members = make_members(
        dense([lambda: layers.Dense(5, use_bias=False), layers.BatchNormalization]),
        2,
        OPTIMIZERS["Adam"],
        metrics=["accuracy"],
    )
    program, _, _ = check_against_keras(members, *make_data(), tolerance=1e-4)
    assert program.xla_works


def adapted_to_a_vocabulary():
    lookup = layers.IntegerLookup(output_mode="multi_hot")
    lookup.adapt(np.arange(3))
    return keras.Sequential([keras.Input((4,), dtype="int64"), lookup, layers.Dense(3)])


class OwnLoading(layers.Dense):
    """A layer that may keep anything."""

    def load_own_variables(self, store):
        super().load_own_variables(store)


@pytest.mark.filterwarnings("ignore:.*includes a `lambda`:UserWarning")  # Keras, of a model that holds a Lambda
@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    """Layers with statistics, recurrence, convolutions, regularizers and constraints train as in `Model.fit`."""
    build, shape = LAYERS[name]
    members = make_members(build, 2, OPTIMIZERS["nesterov"], metrics=["accuracy"])
    check_against_keras(members, *make_data(shape=shape), tolerance=1e-4)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("optimizer", ["SGD", "nesterov", "Adam", "Adagrad", "Lamb"])
def test_embedding(optimizer):
    """Sparse gradients of embeddings give what Keras makes of them."""
    build = dense([lambda: layers.Embedding(6, 3), layers.Flatten], shape=(4,))
    X = np.random.default_rng(0).integers(0, 6, (N_ROWS, 4)).astype("int32")
    members = make_members(build, 2, OPTIMIZERS[optimizer])
    check_against_keras(members, X, make_data()[1], predict=False)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_metrics(name):
    """Losses and metrics are Keras' own, in training and in validation."""
    target, activation, out, loss, made = LOSSES[name]
    X, y = make_data(target)
    members = make_members(
        dense(out=out, activation=activation),
        2,
        loss=loss() if callable(loss) else loss,
        metrics=lambda: [make() for make in made],
    )
    if name == "the user's":
        members = make_members(dense(out=out, activation=activation), 2, loss=cubic, metrics=lambda: [cubic])
    rows_v = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    check_against_keras(members, X, y, validation=ValidationData(Data(X, y), rows_v, 3), predict=False)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("per_member", [False, True])
def test_sample_weight(per_member):
    """Weights of rows, shared or of each member, weigh the loss and the weighted metrics, also in validation."""
    X, y = make_data()
    weight = np.random.default_rng(1).uniform(0, 2, (2, N_ROWS) if per_member else N_ROWS).astype("float32")
    members = make_members(
        dense(),
        2,
        metrics=lambda: ["accuracy"],
        weighted_metrics=lambda: ["accuracy", metrics.SparseCategoricalCrossentropy(name="entropy")],
    )
    wv = np.linspace(0, 1, N_ROWS).astype("float32")
    validation = ValidationData(Data(X, y, wv), np.array([[0, 1, 2, 3], [7, 8, 9, 10]]), 3)
    check_against_keras(members, X, y, sample_weight=weight, validation=validation, predict=False)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize(
    ("n_members", "batch_size", "n_draw"), [(1, 8, None), (20, 22, None), (2, 100, None), (2, 5, 30), (2, 5, 3)]
)
def test_batches_and_rows(n_members, batch_size, n_draw):
    """Batches that divide the rows, or not, or exceed them; bootstrap rows, more or fewer; one member and twenty."""
    members = make_members(
        dense([lambda: layers.Dense(4, use_bias=False), layers.BatchNormalization]),
        n_members,
        lambda: optimizers.Adam(0.01),
    )
    orders = row_orders(2, n_members, n_draw=n_draw)
    check_against_keras(
        members[:n_members], *make_data(), orders=orders, batch_size=batch_size, predict=False, tolerance=1e-4
    )


# Members with other numbers of rows


def test_steps_of_members_with_other_numbers_of_rows():
    """Whole batches first, then a step for each size of last batches; a member has those of its own rows."""
    sizes, has_step = steps_of((19, 8, 3, 11), 8)
    assert sizes == [8, 8, 3]
    assert has_step.tolist() == [
        [True, True, False, True],
        [True, False, False, False],
        [True, False, True, True],
    ]
    orders = np.arange(4 * 19).reshape(1, 4, 19)
    columns = order_in_columns(orders, (19, 8, 3, 11), 8)[0]
    np.testing.assert_array_equal(columns[0], np.arange(19))
    np.testing.assert_array_equal(columns[1], [*range(19, 27), *[0] * 11])
    np.testing.assert_array_equal(columns[2], [*[0] * 16, 38, 39, 40])
    np.testing.assert_array_equal(columns[3], [*range(57, 65), *[0] * 8, 65, 66, 67])


@pytest.mark.parametrize("optimizer", ["ema overwrite", "schedule", "clipnorm"])
def test_other_numbers_of_rows(optimizer, monkeypatch):
    """Members with more, fewer and no whole batches train in one program as each does in `Model.fit`; so with XLA."""
    members = make_members(
        dense([lambda: layers.Dense(4, use_bias=False), layers.BatchNormalization, lambda: layers.Dropout(0.3)]),
        5,
        OPTIMIZERS[optimizer],
        weighted_metrics=lambda: ["accuracy"],
    )
    X, y = make_data()
    weight = np.random.default_rng(1).uniform(0.5, 2, (5, N_ROWS)).astype("float32")
    validation = ValidationData(Data(X, y), np.arange(5 * 4).reshape(5, 4), 3)
    run = {"sample_weight": weight, "validation": validation, "n_rows": (22, 16, 9, 5, 21)}
    monkeypatch.setattr(cost_model, "XLA_MIN_STEPS", 0)
    compiled = fit_fused(members, X, y, row_orders(2, 5), **run)
    monkeypatch.setattr(cost_model, "XLA_MIN_STEPS", 10**9)
    program, state, logs = check_against_keras(members, X, y, **run, tolerance=1e-4, predict=False)
    assert program.xla_works
    for name, values in logs.items():
        np.testing.assert_allclose(compiled[2][name], values, rtol=1e-4, atol=1e-4)
    for k in range(5):
        assert_equal_variables(compiled[0].unstack(compiled[1], k), program.unstack(state, k), 1e-4)


@pytest.mark.usefixtures("no_xla")
def test_shards_of_members_with_other_numbers_of_rows(monkeypatch):
    """Each part has the numbers of rows of its own members."""
    monkeypatch.setattr(limits, "MIN_SHARED_VALUES", 0)
    monkeypatch.setattr(limits, "CORES", 2)
    members = make_members(dense(), 4, OPTIMIZERS["AdamW"])
    program, *_ = check_against_keras(members, *make_data(), n_rows=(22, 13, 16, 16), tolerance=1e-4)
    assert program.shard.n_members == 2


@pytest.mark.usefixtures("no_xla")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_diverging_member_among_others_without_whole_batches():
    """A member is not taken for diverged in steps that it does not have."""
    members = make_members(dense(out=1, activation=None), 2, loss="mse")
    X, y = make_data("number")
    X[9] = np.nan
    orders = np.tile(np.array([np.arange(22), np.arange(22)]), (2, 1, 1))
    program = get_program(members[0], 2)
    start = program.stack([read_state(m) for m in members])
    plan = RunPlan(orders, BATCH_SIZE, n_rows=(22, 3), stop_on_nan=True)
    state, logs = program.run(start, Data(X, y), plan)
    assert state.active.tolist() == [False, True]
    expected, history = fit_keras(members[0], program.unstack(start, 1), X, y, np.arange(3), 2)
    assert_equal_logs(logs, history, 1)
    assert_equal_variables(program.unstack(state, 1), expected)


@pytest.mark.usefixtures("no_xla")
def test_dropout():
    """Dropout draws from each member's own seed generator, as in `Model.fit`."""
    X, y = np.ones((N_ROWS, 4), "float32"), make_data()[1]
    check_against_keras(make_members(dense([lambda: layers.Dropout(0.5), lambda: layers.Dense(5)]), 2), X, y)


@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables:UserWarning")  # Keras, and it is right
@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("hidden", [layers.Dense, layers.Dropout])
def test_variables_without_a_gradient(hidden):
    """A layer that no gradient reaches stays as it is, whether or not the members can be computed as one."""
    cut = [lambda: layers.Dense(4), lambda: hidden(3 if hidden is layers.Dense else 0.3), Cut]
    check_against_keras(make_members(dense(cut), 2, OPTIMIZERS["Adam"]), *make_data(), predict=False)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("in_chunks", [False, True])
def test_evaluation_that_changes_variables(in_chunks, monkeypatch):
    """Recurrent layers draw masks of dropout in validation too: the next epoch draws the masks that follow."""
    if in_chunks:
        monkeypatch.setattr(limits, "SEGMENT_BYTES", 8)
    members = make_members(dense([lambda: layers.SimpleRNN(2, dropout=0.3)], shape=(3, 2)), 2)
    X, y = make_data(shape=(3, 2))
    rows_v = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    check_against_keras(members, X, y, validation=ValidationData(Data(X, y), rows_v, 3), predict=False)


def trained(members=None, n_epochs=3, xla=None, X=None, y=None, split=(), **run):
    """Variables of all members, logs and the program after `n_epochs`, the calls split after the epochs in `split`."""
    members = members or make_members(
        dense([lambda: layers.Dropout(0.3), lambda: layers.Dense(5, "relu")]),
        2,
        lambda: optimizers.Adam(0.01),
        metrics=["accuracy"],
    )
    data = make_data()
    X, y = (data[0] if X is None else X), (data[1] if y is None else y)
    program = get_program(members[0], len(members))
    state = program.stack([read_state(m) for m in members])
    rng = np.random.default_rng(0)
    orders = np.array([[rng.permutation(len(X)) for _ in members] for _ in range(n_epochs)])
    logs = []
    for part in np.split(orders, split):
        plan = RunPlan(part, **{"batch_size": BATCH_SIZE, "expected_steps": 10**6, **run})
        state, log = program.run(state, Data(X, y), plan)
        logs.append(log)
    logs = {name: np.concatenate([log[name] for log in logs]) for name in logs[0]}
    return [program.unstack(state, k) for k in range(len(members))], logs, program, state


def assert_same(ours, theirs):
    for a, b in zip(ours[0], theirs[0], strict=True):
        for left, right in zip([*itertools.chain(*a)], [*itertools.chain(*b)], strict=True):
            np.testing.assert_array_equal(left, right)
    for name in theirs[1]:
        np.testing.assert_array_equal(ours[1][name], theirs[1][name])


@pytest.mark.parametrize("compiled", ["all", "update", None])
def test_the_split_of_epochs_changes_nothing(compiled, monkeypatch):
    """Epochs in one call or in several: equal bit for bit, with one trace of the program."""
    monkeypatch.setattr(cost_model, "FORCE_XLA", compiled)
    members = make_members(
        dense([lambda: layers.Dropout(0.3), lambda: layers.Dense(5, "relu")]),
        2,
        lambda: optimizers.Adam(0.01),
        metrics=["accuracy"],
    )
    whole = trained(members, 5)
    n_traces = whole[2].n_traces
    assert_same(trained(members, 5, split=(1, 2, 4)), whole)
    monkeypatch.setattr(limits, "SEGMENT_EPOCHS", 2)
    assert_same(trained(members, 5), whole)
    assert whole[2].n_traces == n_traces + 1  # another segment length is another program


@pytest.mark.usefixtures("no_xla")
def test_members_do_not_depend_on_each_other():
    """A member trained with others, or with fewer of them, comes out the same to float tolerance."""
    members = make_members(dense(), 3, metrics=["accuracy"])
    X, y = make_data()
    orders = row_orders(2, 3)
    together = fit_fused(members, X, y, orders)
    alone = fit_fused(members[1:2], X, y, orders[:, 1:2])
    assert_equal_variables(alone[0].unstack(alone[1], 0), together[0].unstack(together[1], 1), 1e-6)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("optimizer", ["Adam", "clipnorm"])
def test_shards(optimizer, monkeypatch):
    """Members that run in parts, one a core, come out as they do together, whatever each of them has of its own."""
    members = make_members(dense(), 4, OPTIMIZERS[optimizer], metrics=["accuracy"])
    X, y = make_data()
    rng = np.random.default_rng(0)
    run = {
        "learning_rates": rng.uniform(0.01, 0.1, size=(2, 3, 4)),
        "validation": ValidationData(Data(X, y, rng.uniform(size=(4, len(X)))), row_orders(1, 4)[0][:, :7], 4),
        "sample_weight": rng.uniform(size=(4, len(X))),
        "stop_on_nan": True,
    }
    weights = run.pop("sample_weight")
    orders = row_orders(2, 4)
    monkeypatch.setattr(limits, "CORES", 2)
    results = []
    for bound in (10**9, 0):
        monkeypatch.setattr(limits, "MIN_SHARED_VALUES", bound)
        program = make_program(members[0], 4)
        state = program.stack([read_state(member) for member in members])
        state.active[3] = False
        results.append((program, *program.run(state, Data(X, y, weights), RunPlan(orders, BATCH_SIZE, **run))))
    (together, expected, logs), (sharded, state, shard_logs) = results
    assert together.shard is None
    assert sharded.shard.n_members == 2
    np.testing.assert_array_equal(state.active, expected.active)
    np.testing.assert_array_equal(state.epochs_run, expected.epochs_run)
    assert list(shard_logs) == list(logs)
    for name, values in logs.items():
        np.testing.assert_allclose(shard_logs[name][:, :3], values[:, :3], rtol=1e-5)
    for k in range(4):
        assert_equal_variables(sharded.unstack(state, k), together.unstack(expected, k), 1e-6)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize(("on_disk", "weighted"), [(False, True), (True, True), (True, False)])
def test_chunks(on_disk, weighted, monkeypatch, tmp_path):
    """Chunks of an epoch, of a memory map that is too large to hold or of long row orders, give the same result."""
    members = make_members(dense(), 2, lambda: optimizers.Adam(0.01), metrics=["accuracy"])
    X, y = make_data(n_rows=50)
    weight = np.random.default_rng(0).uniform(size=(2, 50)) if weighted else None
    rates = np.linspace(0.01, 0.02, 3 * 7).reshape(3, 7)
    validation = ValidationData(Data(X, y), np.tile(np.arange(11), (2, 1)), 4)
    run = {"learning_rates": rates, "validation": validation, "sample_weight": weight}
    orders = row_orders(3, 2, 50)
    whole = fit_fused(members, X, y, orders, **run)
    steps_of_both = 2 * 2 * 8  # rows of two steps
    if on_disk:
        np.save(tmp_path / "X.npy", X.astype("float64"))
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
        monkeypatch.setattr(limits, "RESIDENT_BYTES", 10)
        monkeypatch.setattr(cost_model, "CHUNK_BYTES", steps_of_both * N_FEATURES * 8)
    else:
        monkeypatch.setattr(limits, "SEGMENT_BYTES", steps_of_both * 4)
    sizes = []
    monkeypatch.setattr(_runs, "chunks", lambda *a: [sizes.append(c[1].rows.shape) or c for c in chunks(*a)])
    in_chunks = fit_fused(members, X, y, orders, **run)
    assert sizes[:5] == [(2, 16), (2, 16), (2, 16), (2, 2), (2, 11)]  # the last one is of the validation rows
    for name, values in whole[2].items():
        np.testing.assert_allclose(in_chunks[2][name], values, rtol=1e-5)
    for k in range(2):
        assert_equal_variables(in_chunks[0].unstack(in_chunks[1], k), whole[0].unstack(whole[1], k), 1e-6)


@pytest.mark.usefixtures("no_xla")
def test_learning_rate_of_each_member():
    """Members of one program may have different learning rates."""
    members = make_members(dense(), 2)
    members[1].optimizer.learning_rate = 0.5
    assert signature(members[0]) == signature(members[1])
    check_against_keras(members, *make_data(), predict=False)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize("optimizer", ["Adam", "clipnorm"])
def test_learning_rate_of_each_step(optimizer):
    """Learning rates per step are what a callback sets before each batch."""
    members = make_members(dense(), 1, OPTIMIZERS[optimizer])
    X, y = make_data()
    orders, rates = row_orders(2, 1), np.linspace(0.1, 0.001, 6).reshape(2, 3)
    start = read_state(members[0])
    program, state, logs = fit_fused(members, X, y, orders, learning_rates=rates)
    steps = iter(rates.ravel())
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: setattr(members[0].optimizer, "learning_rate", next(steps))
    )
    members[0].optimizer.build(members[0].trainable_variables)
    expected, history = fit_keras(
        members[0], program.unstack(program.stack([start]), 0), X, y, orders[0, 0], 2, callbacks=[callback]
    )
    assert_equal_logs(logs, history, 0)
    assert_equal_variables(program.unstack(state, 0), expected)


def test_learning_rates_need_a_variable():
    """A schedule leaves no learning rate to set."""
    with pytest.raises(ValueError, match="LearningRateSchedule"):
        fit_fused(
            make_members(dense(), 1, OPTIMIZERS["schedule"]),
            *make_data(),
            row_orders(1, 1),
            learning_rates=np.ones((1, 3)),
        )


@pytest.mark.usefixtures("no_xla")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_diverging_member(monkeypatch):
    """A member whose loss becomes NaN stops where Keras' TerminateOnNaN stops it, and disturbs nobody."""
    members = make_members(dense(out=1, activation=None), 2, loss="mse", metrics=["mae"])
    X, y = make_data("number")
    X[9] = np.nan
    orders = np.tile(np.array([np.r_[0:9, 9:20], np.r_[0:9, 10:21]]), (3, 1, 1))
    program = get_program(members[0], 2)
    start = program.stack([read_state(m) for m in members])
    state, logs = program.run(start, Data(X, y), RunPlan(orders, BATCH_SIZE, stop_on_nan=True))
    assert state.active.tolist() == [False, True]
    assert state.epochs_run.tolist() == [1, 3]
    for k in range(2):
        terminate = keras.callbacks.TerminateOnNaN()
        expected, history = fit_keras(
            members[0], program.unstack(start, k), X, y, orders[0, k], 3, callbacks=[terminate]
        )
        ran = {name: values[: state.epochs_run[k]] for name, values in logs.items()}
        assert_equal_logs(ran, history, k)
        assert_equal_variables(program.unstack(state, k), expected)
    again, _ = program.run(state, Data(X, y), RunPlan(orders, BATCH_SIZE))
    assert_equal_variables(program.unstack(again, 0), program.unstack(state, 0), 0)


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize(("build", "shape"), [(dense(), (4,)), (convolutional, (6, 6, 1))])
def test_predict(build, shape):
    """One traced forward pass gives what `Model.predict` gives, whatever the number of rows, in chunks or whole."""
    members = make_members(build, 3)
    program = get_program(members[0], 3)
    state = program.stack([Variables(*read_state(m)[:2]) for m in members])
    X = make_data(shape=shape)[0]
    program.predict(state.variables, X[:1])
    n_traces = program.n_traces
    for n_rows, chunk_rows in ((1, None), (5, None), (22, 4)):
        got = program.predict(state.variables, X[:n_rows], chunk_rows=chunk_rows)
        for k, model in enumerate(members):
            np.testing.assert_allclose(got[k], model.predict(X[:n_rows], verbose=0), rtol=1e-5, atol=1e-6)
    assert program.n_traces == n_traces


def test_one_program_for_all_lengths():
    """Other rows, other numbers of epochs and the same architecture built again are not traced again."""
    members = make_members(dense(), 2, metrics=["accuracy"])
    program = fit_fused(members, *make_data(), row_orders(2, 2))[0]
    n_traces = program.n_traces
    again = fit_fused(make_members(dense(), 2, metrics=["accuracy"]), *make_data(n_rows=30, seed=1), row_orders(7, 2))[
        0
    ]
    assert again is program
    assert program.n_traces == n_traces


def test_means_are_not_traced():
    """Metrics that are means are divided as they are; with any other, a function for the results is traced."""
    n_traces = []
    for metric in (metrics.MeanAbsoluteError, metrics.RootMeanSquaredError):
        members = make_members(dense(out=1, activation=None), 2, loss="mse", metrics=lambda made=metric: [made()])
        n_traces.append(fit_fused(members, *make_data("number"), row_orders(2, 2))[0].n_traces)
    assert n_traces[1] == n_traces[0] + 1


def test_targets_of_another_shape():
    """What "accuracy" means is chosen anew for targets of another shape."""
    X, y = make_data("binary")
    for target in (y, y[:, 0], y):
        members = make_members(dense(out=1, activation="sigmoid"), 1, loss="binary_crossentropy", metrics=["accuracy"])
        _, _, logs = fit_fused(members, X, target, row_orders(1, 1))
        assert 0 <= logs["accuracy"].item() <= 1


def test_the_cache_is_bounded(monkeypatch):
    """The least recently used program is forgotten."""
    monkeypatch.setattr(_cache, "CACHE_SIZE", 2)
    models = [make_members(dense([lambda n=n: layers.Dense(n)]), 1)[0] for n in (2, 3, 4)]
    first, second, _ = (get_program(model, 1) for model in models)
    assert get_program(models[1], 1) is second
    assert get_program(models[0], 1) is not first
    assert len(_cache._PROGRAMS) == 2


def test_the_users_model_is_not_changed():
    """Tracing and running leave the model, Python's random numbers and TensorFlow's alone."""
    members = make_members(
        dense([layers.BatchNormalization]),
        1,
        lambda: optimizers.Adam(0.1),
        metrics=lambda: [metrics.AUC()],
        loss="categorical_crossentropy",
    )
    before, state = [*itertools.chain(*read_state(members[0]))], random.getstate()
    program = fit_fused(members, *make_data("one hot"), row_orders(1, 1))[0]
    assert random.getstate() == state
    assert not members[0].optimizer.built
    for a, b in zip(before, [*itertools.chain(*read_state(members[0]))], strict=True):
        np.testing.assert_array_equal(a, b)
    assert not {id(v) for v in program.member.model.variables} & {id(v) for v in members[0].variables}


def compiled(build=None, **changes):
    model = (build or dense())()
    model.compile(
        **{
            "optimizer": optimizers.Adam(0.01),
            "loss": "sparse_categorical_crossentropy",
            "metrics": ["accuracy"],
            **changes,
        }
    )
    return model


SAME = {
    "learning rate": lambda: compiled(optimizer=optimizers.Adam(0.5)),
    "names": lambda: compiled(dense([lambda: layers.Dense(5, activation="tanh", name="mine")])),
    "initializers": lambda: compiled(
        dense([lambda: layers.Dense(5, activation="tanh", kernel_initializer=keras.initializers.Zeros())])
    ),
}
DIFFERENT = {
    "width": lambda: compiled(dense([lambda: layers.Dense(6, activation="tanh")])),
    "activation": lambda: compiled(dense([lambda: layers.Dense(5, activation="relu")])),
    "frozen": lambda: compiled(dense([lambda: layers.Dense(5, activation="tanh", trainable=False)])),
    "regularizer": lambda: compiled(dense([lambda: layers.Dense(5, activation="tanh", kernel_regularizer="l2")])),
    "loss": lambda: compiled(loss="mse"),
    "loss weights": lambda: compiled(loss_weights=[0.5]),
    "metrics": lambda: compiled(metrics=None),
    "weighted metrics": lambda: compiled(metrics=None, weighted_metrics=["accuracy"]),
    "optimizer": lambda: compiled(optimizer=optimizers.SGD(0.01)),
    "optimizer option": lambda: compiled(optimizer=optimizers.Adam(0.01, amsgrad=True)),
    "schedule": lambda: compiled(optimizer=optimizers.Adam(SCHEDULE)),
    "user's loss": lambda: compiled(loss=cubic),
}


@pytest.mark.parametrize("name", SAME)
def test_same_signature(name):
    """State and names are no part of the program."""
    assert signature(SAME[name]()) == signature(compiled())
    assert hash(signature(SAME[name]())) == hash(signature(compiled()))


@pytest.mark.parametrize("name", DIFFERENT)
def test_different_signature(name):
    """All that changes the program changes the signature."""
    assert signature(DIFFERENT[name]()) != signature(compiled())
    assert signature(DIFFERENT[name]()) == signature(DIFFERENT[name]())


@pytest.mark.parametrize("build", [residual, adapted, attention])
def test_counted_names_are_no_part_of_the_signature(build):
    """Networks built alike share a program, also where Keras counts up the names of operations."""
    first, second = (make_members(build, 1)[0] for _ in range(2))
    assert signature(first) == signature(second)


def test_written_statistics_are_used():
    """A network computes with the statistics of `Normalization` that are written into it."""
    source, target = (make_members(adapted, 1)[0] for _ in range(2))
    x = np.ones((2, 4), "float32")
    values = read_state(source)
    values = values._replace(
        non_trainable=[2 * value if value.dtype.kind == "f" else value for value in values.non_trainable]
    )
    write_state(target, values)
    mean, variance = (value for value in values.non_trainable if value.dtype.kind == "f")
    (normalization,) = (layer for layer in target.layers if isinstance(layer, layers.Normalization))
    np.testing.assert_allclose(normalization(x), (x - mean) / np.sqrt(variance), rtol=1e-6)


def test_functions_enter_the_signature_by_what_they_are():
    """Two functions of one name differ; one function defined again by the same code with the same values does not."""

    def make(power):
        def loss(y_true, y_pred):
            return keras.ops.mean((y_true - y_pred) ** power)

        return loss

    assert signature(compiled(loss=make(2))) == signature(compiled(loss=make(2)))
    assert signature(compiled(loss=make(2))) != signature(compiled(loss=make(4)))


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class OwnApply(optimizers.SGD):
    def apply(self, grads, trainable_variables=None):
        return super().apply(grads, trainable_variables)


def two_inputs():
    inputs = [keras.Input((2,)), keras.Input((2,))]
    return keras.Model(inputs, layers.Dense(3)(layers.Concatenate()(inputs)))


def all_frozen():
    model = dense()()
    model.trainable = False
    return model


NOT_FUSABLE = {
    "was adapted to data": lambda: compiled(adapted_to_a_vocabulary),
    "a way of its own": lambda: compiled(dense([lambda: OwnLoading(4)])),
    "its own train_step": lambda: compiled(lambda: OwnStep([keras.Input((4,)), layers.Dense(3)])),
    "2 inputs": lambda: compiled(two_inputs),
    "run_eagerly": lambda: compiled(run_eagerly=True),
    "loss scaling": lambda: compiled(optimizer=optimizers.LossScaleOptimizer(optimizers.SGD(0.1))),
    "its own apply": lambda: compiled(optimizer=OwnApply(0.1)),
    "rate is a function": lambda: compiled(optimizer=optimizers.SGD(lambda: 0.1)),
    "nothing to train": lambda: compiled(all_frozen),
    "not compiled": lambda: dense()(),
    "is stateful": lambda: compiled(
        lambda: keras.Sequential([keras.Input(batch_shape=(2, 5, 2)), layers.LSTM(2, stateful=True)])
    ),
    "not built": lambda: compiled(lambda: keras.Sequential([layers.Dense(3)])),
}


@pytest.mark.parametrize("reason", NOT_FUSABLE)
def test_why_not_fusable(reason):
    """What cannot be fused says why, and is refused with the same words."""
    model = NOT_FUSABLE[reason]()
    assert reason in why_not_fusable(model)
    if model.built and model.compiled:
        with pytest.raises(NotFusableError, match=reason):
            get_program(model, 2)


def test_fusable():
    """An ordinary model has no reason not to be fused."""
    assert why_not_fusable(compiled()) is None


@pytest.mark.usefixtures("no_xla")
def test_random_numbers_without_a_generator():
    """A layer that draws from Keras' global generator would repeat itself in a traced program: refused."""

    class Noise(layers.Layer):
        def call(self, x):
            return x + keras.random.normal(keras.ops.shape(x))

    with pytest.raises(NotFusableError, match="SeedGenerator"):
        fit_fused(make_members(dense([Noise]), 2), *make_data(), row_orders(1, 2))


@pytest.mark.usefixtures("no_xla")
@pytest.mark.parametrize(("name", "draw"), [("Python", random.random), ("NumPy", np.random.random)])
def test_random_numbers_of_python(name, draw):
    """Numbers drawn while the step is traced would be those of all members: refused, and the generators stay."""

    class Scaled(layers.Layer):
        def call(self, x):
            return x * draw()

    members, orders = make_members(dense([Scaled]), 2), row_orders(1, 2)
    before = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(NotFusableError, match=f"random numbers of {name}"):
        fit_fused(members, *make_data(), orders)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_load_data_once():
    """Data loaded once trains as the arrays do."""
    members = make_members(dense(), 2)
    X, y = make_data()
    program, expected, _ = fit_fused(members, X.astype("float64"), y, row_orders(1, 2))
    state, _ = program.run(
        program.stack([read_state(m) for m in members]), load_data(X, y), RunPlan(row_orders(1, 2), BATCH_SIZE)
    )
    assert_equal_variables(program.unstack(state, 0), program.unstack(expected, 0), 0)
    assert tf.is_tensor(load_data(X, y).X)


def test_gpu(monkeypatch):
    """What was measured on CPUs is not assumed of a GPU: members are mapped, in one shard, and XLA is left out."""
    members = make_members(convolutional, 2)
    on_cpu = make_program(members[0], 2)
    monkeypatch.setattr(cost_model, "is_on_gpu", lambda: True)
    assert (on_cpu.mode, make_program(members[0], 2).mode) == ("side by side", "mapped")
    assert cost_model.count_shards(2, 10**9) == 1
    assert cost_model.what_to_compile(10**6, 1, 10, 1, whole=True, flat=True) is None
