import subprocess
import sys

import keras
import numpy as np
import pytest

from skensemble import WeightedAverage

TENSORS = [np.full((1, 2), value, dtype="float32") for value in (0.0, 1.0, 5.0)]

LOAD = """
import sys
import keras
from skensemble import WeightedAverage
model = keras.models.load_model(sys.argv[1])
print([round(float(w), 4) for w in model.layers[-1].normalized_weights])
"""


def model_of(layer, n_members=3):
    """Keras model that has nothing but the layer."""
    inputs = [keras.Input((2,)) for _ in range(n_members)]
    return keras.Model(inputs, layer(inputs))


def test_weights_scale_to_one_and_multiply_the_tensors():
    """The sum of softmax(log w)_i x_i is the weighted mean: (0 * 1 + 1 * 2 + 5 * 1) / 4."""
    np.testing.assert_allclose(WeightedAverage(weights=[1, 2, 1])(TENSORS), [[1.75, 1.75]], rtol=1e-6)


def test_equal_weights_where_none_are_given():
    """Without weights, the mean."""
    layer = WeightedAverage()
    np.testing.assert_allclose(layer(TENSORS), [[2, 2]], rtol=1e-6)
    np.testing.assert_allclose(layer.normalized_weights, [1 / 3] * 3, rtol=1e-6)
    assert layer.n_members == 3


def test_a_weight_of_zero_leaves_a_member_out():
    """A member of weight 0 does not count, and its gradient is finite."""
    layer = WeightedAverage(weights=[0, 1, 0])
    np.testing.assert_allclose(layer(TENSORS), [[1, 1]], atol=1e-6)
    assert np.isfinite(layer.logits.numpy()).all()


def test_training_learns_the_weights():
    """The member that is right gains weight, and the weights still sum to 1."""
    layer = WeightedAverage()
    model = model_of(layer)
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", run_eagerly=True)
    model.fit(TENSORS, np.array([[5.0, 5.0]]), epochs=3, verbose=0)
    assert layer.normalized_weights[2] > 0.4
    assert layer.normalized_weights[0] < layer.normalized_weights[1] < 1 / 3
    np.testing.assert_allclose(layer.normalized_weights.sum(), 1, rtol=1e-6)


def test_fixed_weights_are_not_trained():
    """With `trainable=False` there is nothing to train."""
    layer = WeightedAverage(weights=[1, 2, 3], trainable=False)
    assert model_of(layer).trainable_variables == []
    assert len(layer.variables) == 1


@pytest.mark.slow
def test_a_saved_model_loads_in_another_process(tmp_path):
    """A model with the layer comes back from its file where skensemble is imported, weights and all."""
    model_of(WeightedAverage(weights=[1, 2, 1])).save(tmp_path / "model.keras")
    completed = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "model.keras")], capture_output=True, text=True
    )
    assert completed.stdout.strip() == "[0.25, 0.5, 0.25]", completed.stderr


def test_a_layer_is_made_again_from_its_configuration():
    """`get_config` has the weights in numbers that JSON knows."""
    layer = WeightedAverage(weights=np.array([1, 3]), trainable=False, name="merge")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.name, copy.n_members, copy.trainable) == ("merge", 2, False)
    np.testing.assert_allclose(copy(TENSORS[:2]), [[0.75, 0.75]], rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"weights": [1, -1]}, "`weights` must be finite and not negative, with a positive one: got"),
        ({"weights": [0, 0]}, "`weights` must be finite and not negative, with a positive one: got"),
        ({"weights": [[1, 2]]}, "`weights` must be finite and not negative, with a positive one: got"),
        ({"weights": [1, 2], "n_members": 3}, "got 2 weights for n_members=3"),
        ({"weights": [1, 2]}, "got 3 tensors for n_members=2"),
    ],
)
def test_bad_input_is_refused(params, message):
    """Weights must be those of the tensors."""
    with pytest.raises(ValueError, match=message):
        WeightedAverage(**params)(TENSORS)
