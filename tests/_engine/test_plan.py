"""Which members share a program, which engine trains each, and why: known before anything is trained."""

import keras
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from skensemble import KerasClassifier
from skensemble._engine.plan import families, plan_training
from skensemble._members.inputs import TrainingData, as_inputs
from skensemble._members.spec import MemberSpec, with_callbacks
from skensemble.exceptions import NotFusableError

X = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
Y = np.arange(40) % 2
MEMBER = KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=10)


def plan(*estimators, engine="auto", sample_weight=None, **spec):
    """The plan of members with these estimators, seeds from 0."""
    members = with_callbacks([MemberSpec(one, seed, **spec) for seed, one in enumerate(estimators)])
    return plan_training(dict(enumerate(members)), TrainingData(as_inputs(X), Y, sample_weight), engine)


def other(**params):
    """A member that differs in some parameters."""
    return clone(MEMBER).set_params(**params)


def build_own_step(meta):
    """A network that was given a training step; one of its class is fused on JAX."""
    inputs = keras.Input(meta["X_shape_"][1:])
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.train_step = model.train_step
    return model


def test_members_of_one_architecture_share_a_group():
    """Other seeds and learning rates share it; other epochs, batches, architectures do not."""
    members = [MEMBER, other(epochs=3), MEMBER, other(optimizer__learning_rate=0.1), other(hidden_layer_sizes=(4,))]
    planned = plan(*members, other(batch_size=5))
    assert [group.numbers for group in planned.groups] == [[0, 2, 3], [1], [4], [5]]
    assert planned.alone == []
    assert planned.reasons == {}


def test_members_that_keras_trains_have_a_reason():
    """Networks that cannot be fused have one in words, other estimators need none, the rest is fused."""
    planned = plan(KerasClassifier(build_own_step), LogisticRegression(), MEMBER, other(fit__steps_per_epoch=2))
    assert [group.numbers for group in planned.groups] == [[2]]
    assert planned.alone == [0, 1, 3]
    assert planned.reasons.keys() == {0, 3}
    assert "train_step" in planned.reasons[0]
    assert "'steps_per_epoch'" in planned.reasons[3]


def test_engine_decides():
    """With "keras" nothing is fused, with "fused" a member that cannot be is an error."""
    asked = plan(MEMBER, LogisticRegression(), engine="keras")
    assert (asked.groups, asked.alone, asked.reasons) == ([], [0, 1], {0: "Keras' own fit, as asked"})
    with pytest.raises(NotFusableError, match="engine='fused' is not possible: .*steps_per_epoch"):
        plan(MEMBER, other(fit__steps_per_epoch=2), engine="fused")


def test_planning_trains_nothing():
    """Members start from the values that the builder gives under their seeds; the prototype took no step."""
    ((first, second),) = [group.members for group in plan(MEMBER, MEMBER).groups]
    assert first.prototype is second.prototype
    assert int(first.prototype.model_.optimizer.iterations) == 0
    for member in (first, second):
        built = clone(MEMBER).set_params(random_state=member.spec.seed, epochs=0, engine="keras").fit(X, Y)
        for value, expected in zip(member.variables.trainable, built.model_.trainable_variables, strict=True):
            assert_array_equal(value, expected)


def test_rows_are_known():
    """Rows of weight 0 are left out, and the last ones of the others are held out."""
    weights = np.where(np.arange(40) < 20, 0.0, 1.0)
    planned = plan(other(validation_split=0.25), sample_weight=weights, sample_indices=np.arange(10, 40))
    (member,) = planned.groups[0].members
    assert_array_equal(member.indices.training, np.arange(20, 35))
    assert_array_equal(member.indices.validation, np.arange(35, 40))


def test_families():
    """Estimators that are equal but for the seed are of one family, wherever they stand."""
    members = [MEMBER, LogisticRegression(), other(random_state=7), other(epochs=3), LogisticRegression()]
    assert families({i: MemberSpec(one, i) for i, one in enumerate(members)}) == [[0, 2], [1], [3], [4]]
