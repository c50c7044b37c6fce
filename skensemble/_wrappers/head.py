"""The network of a head, which combines what the members of a stacking ensemble predict."""

import keras

from skensemble._keras_objects.ensemble_layers import WeightedAverage
from skensemble._wrappers.mlp import output_layer_of

MERGES = ("concatenate", "average", "weighted_average")
# Defaults of the layers after the merged outputs.
_HIDDEN_LAYER_SIZES = {"concatenate": (), "average": (16,), "weighted_average": ()}
_DROPOUT = {"concatenate": 0.5, "average": 0.3, "weighted_average": 0.0}


def build_head(
    meta,
    merge="concatenate",
    weights=None,
    train_weights=True,
    output_layer=True,
    hidden_layer_sizes=None,
    activation="relu",
    dropout=None,
    member_columns=None,
):
    """Network on the outputs of members, which are given side by side.

    Parameters
    ----------
    meta : dict
        What scikeras knows about the data.
    merge, weights, train_weights, output_layer, hidden_layer_sizes, activation, dropout, member_columns
        As in `KerasHeadClassifier`.

    Returns
    -------
    keras.Model
        Not compiled.
    """
    inputs = keras.Input(meta["X_shape_"][1:])
    merged = _merge(inputs, merge, member_columns, weights, train_weights)
    if not output_layer:
        return keras.Model(inputs, merged)
    sizes = _HIDDEN_LAYER_SIZES[merge] if hidden_layer_sizes is None else hidden_layer_sizes
    rate = _DROPOUT[merge] if dropout is None else dropout
    for units in sizes:
        merged = _dropped(keras.layers.Dense(units, activation=activation)(merged), rate)
    n_outputs, output_activation = output_layer_of(meta)
    merged = merged if sizes else _dropped(merged, rate)
    return keras.Model(inputs, keras.layers.Dense(n_outputs, activation=output_activation)(merged))


def _dropped(tensor, rate):
    return keras.layers.Dropout(rate)(tensor) if rate else tensor


def _merge(inputs, merge, member_columns, weights, train_weights):
    """Outputs of the members, merged, followed by the columns that belong to no member."""
    if merge == "concatenate":
        return inputs
    if not member_columns or len(set(member_columns)) > 1:
        raise ValueError(
            f"merge={merge!r} needs members that predict equally many columns, and `member_columns`, the number of "
            f"columns of each: got {member_columns}. Use merge='concatenate', or set it where the head is used by "
            "itself."
        )
    width, n_members = member_columns[0], len(member_columns)
    outputs = [inputs[:, i * width : (i + 1) * width] for i in range(n_members)]
    if merge == "weighted_average":
        merged = WeightedAverage(n_members, weights, trainable=train_weights)(outputs)
    else:
        merged = keras.layers.Average()(outputs) if n_members > 1 else outputs[0]
    if n_members * width == inputs.shape[1]:
        return merged
    return keras.layers.Concatenate()([merged, inputs[:, n_members * width :]])
