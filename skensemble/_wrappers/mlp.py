"""The network of estimators that are given none: a multilayer perceptron, whose output layer follows the target."""

import keras

from skensemble._keras_objects.table_layers import EmbedCategories


def build_mlp(meta, hidden_layer_sizes=(100,), activation="relu", dropout=0.0):
    """Multilayer perceptron whose output layer follows the target; inputs of more than two dimensions are flattened.

    Columns of categories are embedded first, see `EmbedCategories`.

    Parameters
    ----------
    meta : dict
        What scikeras knows about the data: `X_shape_`, `target_type_`, `n_outputs_`, `n_classes_`; of this package
        `n_categories_`, and for regressors `n_output_units_`.
    hidden_layer_sizes : tuple of int, default=(100,)
        Units of each hidden layer.
    activation : str or callable, default="relu"
        Activation of the hidden layers.
    dropout : float, default=0.0
        Fraction of the units of each hidden layer that are dropped in training.

    Returns
    -------
    keras.Sequential
        Not compiled.
    """
    n_outputs, output_activation = output_layer_of(meta)
    layers = [keras.Input(meta["X_shape_"][1:])]
    if len(meta["X_shape_"]) > 2:
        layers.append(keras.layers.Flatten())
    if any(meta.get("n_categories_", ())):
        layers.append(EmbedCategories(meta["n_categories_"]))
    for units in hidden_layer_sizes:
        layers.append(keras.layers.Dense(units, activation=activation))
        if dropout:
            layers.append(keras.layers.Dropout(dropout))
    layers.append(keras.layers.Dense(n_outputs, activation=output_activation))
    return keras.Sequential(layers)  # built once; `add` would build the network anew with each layer


def output_layer_of(meta):
    """Number of outputs and activation of an output layer that follows the target.

    Parameters
    ----------
    meta : dict
        As in `build_mlp`.

    Returns
    -------
    n_outputs : int
    activation : str or None
    """
    if "n_classes_" not in meta:
        return meta.get("n_output_units_", meta["n_outputs_"]), None
    if meta["n_classes_"] is None:
        raise ValueError(
            "`y` must have one label per row or be an indicator matrix of 0 and 1: got several columns of classes. Fit "
            "one network for each column, for example with sklearn.multioutput.MultiOutputClassifier."
        )
    if meta["target_type_"] == "binary":
        return 1, "sigmoid"
    return meta["n_classes_"], "sigmoid" if meta["target_type_"] == "multilabel-indicator" else "softmax"
