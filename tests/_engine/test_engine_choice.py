"""Which engine, for how many members at once, and computed in which way: decided by numbers known before training."""

import keras
import numpy as np
import pytest
from backends import tensorflow_only

from skensemble import KerasAveragingClassifier, KerasClassifier
from skensemble._engine import engine_choice as _engine_choice
from skensemble._engine import execution as _execution
from skensemble._engine import plan as _plan
from skensemble._engine.backend import get_program
from skensemble._engine.engine_choice import MANY_LOOPS, calls_step_for_each, members_at_once, why_keras, working_bytes


@pytest.mark.parametrize(("n_values", "is_large"), [(1, False), (2**21 - 1, False), (2**21, True), (6_500_000, True)])
def test_large_networks_are_keras_own(n_values, is_large):
    """Networks of two million values and more are trained by Keras' fit, with a reason that names the number."""
    reason = why_keras(n_values)
    assert (reason is not None) == is_large
    assert reason is None or f"({n_values:,} trainable values)" in reason


def test_working_bytes():
    """Five times what Adam keeps of the variables in float32, twice the activations of a batch."""
    assert working_bytes(10, 7, 32) == 4 * (5 * 3 * 10 + 2 * 7 * 32)


@pytest.mark.parametrize(
    ("n_members", "member_bytes", "sizes"),
    [
        (10, 0, [10]),
        (10, 2**20, [10]),
        (8, 40 * 2**20, [2, 2, 2, 2]),  # three would do, parts of one size need one program
        (7, 40 * 2**20, [3, 2, 2]),
        (7, 2**30, [1] * 7),
        (1, 2**30, [1]),
        (100, 4 * 2**20, [25] * 4),
    ],
)
def test_members_at_once(n_members, member_bytes, sizes):
    """As many members as 128 MiB hold are trained together, in parts of one size where that wastes little."""
    assert members_at_once(n_members, member_bytes) == sizes


@pytest.mark.parametrize(
    ("n_members", "convolves", "loops", "each"),
    [(3, False, False, False), (50, True, False, True), (3, False, True, True), (MANY_LOOPS, False, True, False)],
)
def test_how_members_are_computed(n_members, convolves, loops, each):
    """Convolutions are computed member by member, so are the loops of few members; all else is mapped."""
    assert calls_step_for_each(n_members, convolves=convolves, loops=loops) == each


@tensorflow_only("on JAX recurrent layers are always mapped")
@pytest.mark.parametrize(("n_members", "mode"), [(2, "side by side"), (MANY_LOOPS, "mapped")])
def test_programs_of_recurrent_networks(n_members, mode):
    """Recurrent layers inside of other layers count."""
    cell = keras.layers.Bidirectional(keras.layers.GRU(2))
    model = keras.Sequential([keras.Input((3, 2)), cell, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert get_program(model, n_members).mode == mode


@pytest.mark.slow
def test_auto_trains_large_networks_by_keras(blobs, monkeypatch):
    """`engine="auto"` follows the choice and says why; `engine="fused"` fuses all the same."""
    X, y = blobs
    monkeypatch.setattr(_engine_choice, "LARGE_MEMBER", 10)
    member = KerasClassifier(hidden_layer_sizes=(4,), epochs=1, batch_size=-1)
    auto = KerasAveragingClassifier(member, n_estimators=2, random_state=0).fit(X, y)
    assert auto.engine_ == "keras"
    assert auto.engine_reason_.startswith("Keras' own fit, because the network is large (35 trainable values)")
    assert KerasAveragingClassifier(member, n_estimators=2, engine="fused", random_state=0).fit(X, y).engine_ == "fused"


@pytest.mark.slow
def test_parts_give_the_same(blobs, monkeypatch):
    """Members trained in parts are those that are trained all at once, in their order."""
    X, y = blobs
    member = KerasClassifier(hidden_layer_sizes=(4,), epochs=2, batch_size=24)
    whole = KerasAveragingClassifier(member, n_estimators=5, random_state=0).fit(X, y)
    sizes = []
    run_fused = _execution.run_fused

    def counting(group, *args):
        sizes.append(len(group.members))
        return run_fused(group, *args)

    monkeypatch.setattr("skensemble._engine.execution.run_fused", counting)
    monkeypatch.setattr(_plan, "bytes_in_training", lambda member, n_rows: 40 * 2**20)
    parts = KerasAveragingClassifier(member, n_estimators=5, random_state=0).fit(X, y)
    assert sizes == [3, 2]
    assert parts.engine_ == "fused"
    np.testing.assert_allclose(parts.predict_members(X), whole.predict_members(X), rtol=1e-5, atol=1e-6)
