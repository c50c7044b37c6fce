"""
Do three different ConvNets make fewer errors together than each alone?
=======================================================================

The tutorial on ensembling ConvNets trains three architectures on CIFAR-10, keeps the weights of each one's best epoch,
and averages their outputs in one graph; then it compares the ensemble, and every pair, with the networks alone. Here
they are members of a `KerasVotingClassifier`:

- ConvPool-CNN-C and All-CNN-C of Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2014:
  the same except for the pooling, which the second does by strides;
- Network in Network of Lin et al., 2013: small networks slid over the image, with dropout.

By default everything is small: the 8x8 digits and narrow networks. `--cifar10` is the tutorial's size, with Keras'
loader of CIFAR-10, which downloads it; there the tutorial has 21 %, 25 % and 35 % errors. The figure goes to the folder
`output`, as do the weights and, with `--tensorboard`, the logs.
"""

# %%
# Options.
import argparse
from importlib.util import find_spec

parser = argparse.ArgumentParser(description="Three ConvNets, alone, in pairs and together.")
parser.add_argument("--cifar10", action="store_true", help="CIFAR-10 at the size of the tutorial; downloads it")
parser.add_argument("--filters", type=int, help="filters of the first layers (default: 24, with --cifar10: 96)")
parser.add_argument("--epochs", type=int, help="epochs of each network (default: 12, with --cifar10: 20)")
parser.add_argument("--tensorboard", action="store_true", help="write logs for TensorBoard, which must be installed")
options = parser.parse_args()
filters = options.filters or (96 if options.cifar10 else 24)
epochs = options.epochs or (20 if options.cifar10 else 12)
learning_rate = 0.001 if options.cifar10 else 0.003
if filters < 6 or epochs < 1:
    parser.error("--filters must be at least 6 and --epochs at least 1")
if options.tensorboard and find_spec("tensorboard") is None:
    parser.error("--tensorboard needs the package tensorboard: python -m pip install tensorboard")

# %%
# The images, of values from 0 to 1.
import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

if options.cifar10:
    (X_train, y_train), (X_test, y_test) = keras.datasets.cifar10.load_data()
    X_train, X_test = (X.astype("float32") / 255 for X in (X_train, X_test))
    y_train, y_test = y_train.ravel(), y_test.ravel()
else:
    X, y = load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8, 1) / 16
    X_train, X_test, y_train, y_test = train_test_split(images, y, test_size=0.5, stratify=y, random_state=0)

# %%
# The three architectures. Each is a function that returns a Keras model; `meta` tells it the shape of an image.
from keras.layers import Conv2D, Dropout, GlobalAveragePooling2D, MaxPooling2D, Softmax


def convolution(n_filters, size=3, strides=1):
    return Conv2D(n_filters, size, strides, padding="same", activation="relu")


def network(meta, layers):
    head = [Conv2D(meta["n_classes_"], 1), GlobalAveragePooling2D(), Softmax()]
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *layers, *head])


def all_cnn(meta, filters):
    """Strides in place of pooling."""
    layers = [convolution(filters), convolution(filters), convolution(filters, strides=2)]
    layers += [convolution(2 * filters), convolution(2 * filters), convolution(2 * filters, strides=2)]
    return network(meta, [*layers, convolution(2 * filters), convolution(2 * filters, 1)])


def conv_pool_cnn(meta, filters):
    layers = []
    for n_filters in (filters, 2 * filters):
        layers += [convolution(n_filters) for _ in range(3)]
        layers += [MaxPooling2D(3, 2, padding="same")]
    return network(meta, [*layers, convolution(2 * filters), convolution(2 * filters, 1)])


def network_in_network(meta, filters):
    first = filters // 3
    layers = []
    for n_filters, size in ((first, 5), (2 * first, 3)):
        layers += [convolution(n_filters, size), convolution(n_filters, 1), convolution(n_filters, 1)]
        layers += [MaxPooling2D(), Dropout(0.5)]
    return network(meta, [*layers, convolution(4 * first), convolution(first, 1)])


# %%
# Each member has Keras callbacks of its own: the checkpoint keeps the weights of the epoch with the lowest training
# loss, as in the tutorial.
from pathlib import Path

from skensemble import KerasClassifier, KerasVotingClassifier

output = Path("output")


def checkpoint_path(name):
    return output / f"{name}.weights.h5"


def member(name, build):
    callbacks = [
        keras.callbacks.ModelCheckpoint(
            checkpoint_path(name), monitor="loss", save_best_only=True, save_weights_only=True
        )
    ]
    if options.tensorboard:
        callbacks.append(keras.callbacks.TensorBoard(output / "logs" / name))
    return KerasClassifier(
        build,
        model__filters=filters,
        optimizer__learning_rate=learning_rate,
        metrics=["accuracy"],
        epochs=epochs,
        batch_size=32,
        validation_split=0.2,
        callbacks=callbacks,
    )


builders = {"ConvPool-CNN-C": conv_pool_cnn, "All-CNN-C": all_cnn, "NiN": network_in_network}
ensemble = KerasVotingClassifier([(name, member(name, build)) for name, build in builders.items()], random_state=0)

# %%
# One fit trains all three on the same images. Then each network gets the weights of its best epoch.
from time import perf_counter

output.mkdir(exist_ok=True)
print(f"Training {len(builders)} networks for {epochs} epochs on {len(X_train)} images", flush=True)
start = perf_counter()
ensemble.fit(X_train, y_train)
print(f"Trained in {perf_counter() - start:.0f} s ({ensemble.engine_reason_})\n")

for name, fitted in ensemble.named_estimators_.items():
    best = min(fitted.history_["loss"])
    fitted.model_.load_weights(checkpoint_path(name))
    print(
        f"{name:15s} {fitted.model_.count_params():9,} variables, best of {epochs} epochs: number "
        f"{fitted.history_['loss'].index(best) + 1}, validation accuracy there "
        f"{fitted.history_['val_accuracy'][fitted.history_['loss'].index(best)]:.3f}"
    )

# %%
# All three together, and every pair, which takes no training.
from itertools import combinations

errors = {}
for size in (1, 2, 3):
    for names in combinations(builders, size):
        errors[" + ".join(names)] = 1 - ensemble.subset(names).score(X_test, y_test)

print(f"\n{'errors on held-out images':35s}    rate")
for names, error in errors.items():
    print(f"{names:35s} {error:7.2%}")

# %%
# The figure.
import matplotlib.pyplot as plt
import numpy as np

from skensemble import TrainingHistoryDisplay

figure, (curves, bars) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained", width_ratios=[1, 1.3])

TrainingHistoryDisplay.from_estimator(ensemble, metric="val_accuracy", ax=curves)
curves.set(title="Validation images, while training", ylabel="accuracy")
curves.legend(loc="lower right", fontsize="small")

colors = {0: "tab:gray", 1: "tab:cyan", 2: "tab:blue"}
container = bars.barh(list(errors), errors.values(), color=[colors[names.count(" + ")] for names in errors])
bars.bar_label(container, [f"{error:.1%}" for error in errors.values()], padding=3)
bars.invert_yaxis()
bars.margins(x=0.12)
bars.set(title="Held-out images: alone, in pairs, all three", xlabel="error rate")

figure.savefig(output / "convnets.png", dpi=150)
print(f"\nFigure: {output / 'convnets.png'}")

# %%
# The answer. An average costs at prediction what its members cost together.
singles, pairs, (all_three,) = np.split(list(errors.values()), [3, 6])
print(f"Mean error of one network {singles.mean():.2%}, of a pair {pairs.mean():.2%}, of all three {all_three:.2%}.")
assert all_three < singles.mean(), "Three networks together must make fewer errors than one does on average."
