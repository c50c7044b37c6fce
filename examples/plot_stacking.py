"""
Which small network combines three image classifiers best?
==========================================================

The tutorial on ensembling with TensorFlow layers trains three networks on a folder of images, and puts a small network
on their outputs, in three ways: side by side (Dropout, Dense), averaged (Dense, Dropout, Dense), and averaged with a
learned weight for each (Dense). It reports precision and recall of each class, the confusion matrix, and a picture of
the merged graph.

Here each way is a `StackedKerasClassifier`. Unlike in the tutorial, the small network learns from what the three
predict for images that they were not trained on: on images they know, all three look better than they are.

By default everything is small: 400 generated images of 32x32 pixels in a folder, and three small networks, the second
in the manner of VGG16, the third in that of MobileNet. `--images` takes a folder of your own, with a folder of images
for each class; `--imagenet` takes VGG16 and MobileNet themselves with their ImageNet weights, which it downloads. The
tutorial has 8 classes, images of 224x224 pixels and 80 epochs. Figures go to the folder `output`.
"""

# %%
# Options.
import argparse
from pathlib import Path

parser = argparse.ArgumentParser(description="Three image classifiers, and three small networks that combine them.")
parser.add_argument("--images", type=Path, help="folder with a folder of images for each class (default: generated)")
parser.add_argument("--size", type=int, default=32, help="pixels to which images are scaled (default: 32)")
parser.add_argument("--imagenet", action="store_true", help="VGG16 and MobileNet with ImageNet weights; downloads them")
parser.add_argument("--epochs", type=int, default=8, help="epochs of each network at most (default: 8)")
parser.add_argument("--folds", type=int, default=2, help="folds for the images not trained on (default: 2)")
options = parser.parse_args()
if options.size < 32 or options.epochs < 1 or options.folds < 2:
    parser.error("--size must be at least 32, --epochs at least 1 and --folds at least 2")
if options.images and not options.images.is_dir():
    parser.error(f"--images must be a folder: got {options.images}")

# %%
# The images. Each generated one shows a bright shape somewhere on a dark ground, under noise.
import keras
import numpy as np

output = Path("output")
output.mkdir(exist_ok=True)
N_PER_CLASS = 100


def shape_of(kind, rng, size=32):
    """Mask of one shape."""
    rows, columns = np.mgrid[:size, :size]
    (row, column), radius = rng.uniform(12, size - 12, size=2), rng.uniform(7, 10)
    down, right = abs(rows - row), abs(columns - column)
    return {
        "circle": down**2 + right**2 < radius**2,
        "cross": (np.minimum(down, right) < 2) & (np.maximum(down, right) < radius),
        "diamond": down + right < 1.3 * radius,
        "square": np.maximum(down, right) < 0.9 * radius,
    }[kind]


def generate_images(folder, rng):
    for kind in ("circle", "cross", "diamond", "square"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(N_PER_CLASS):
            background, color = rng.integers(0, 80, size=3), rng.integers(130, 256, size=3)
            image = np.where(shape_of(kind, rng)[:, :, np.newaxis], color, background)
            noisy = (image + rng.normal(scale=50, size=image.shape)).clip(0, 255)
            keras.utils.save_img(folder / kind / f"{number:03d}.png", noisy, scale=False)


folder = options.images or output / "images"
if options.images is None:
    generate_images(folder, np.random.default_rng(0))

# %%
# A folder becomes two arrays: images of values from 0 to 255, and the names of their classes.
from sklearn.model_selection import train_test_split

dataset = keras.utils.image_dataset_from_directory(
    folder, image_size=(options.size, options.size), batch_size=None, shuffle=False, verbose=False
)
images, indices = (np.stack(values) for values in zip(*dataset.as_numpy_iterator(), strict=True))
labels = np.array(dataset.class_names)[indices]
X_train, X_test, y_train, y_test = train_test_split(images, labels, test_size=0.25, stratify=labels, random_state=0)
print(f"{len(X_train)} images to train on, {len(X_test)} to test on, {len(dataset.class_names)} classes", flush=True)

# %%
# The members. Each scales the images in its own way, and the first also learns from shifted and flipped ones.
from keras import layers


def classifier(meta, *body):
    outputs = layers.Dense(meta["n_classes_"], activation="softmax")
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *body, outputs])


def convolution(filters, kind=layers.Conv2D):
    return kind(filters, 3, padding="same", activation="relu")


def custom_cnn(meta, filters=8):
    """Four convolutions with pooling, twice as many filters each time; in the tutorial from 32."""
    body = [layers.Rescaling(1 / 255), layers.RandomFlip("horizontal"), layers.RandomTranslation(0.1, 0.1)]
    for factor in (1, 2, 4, 8):
        body += [convolution(factor * filters), layers.MaxPooling2D()]
    body += [layers.Dropout(0.25), layers.Flatten()]
    return classifier(meta, *body, layers.Dense(128, activation="relu"), layers.Dense(64, activation="relu"))


def small_vgg(meta):
    body = [layers.Rescaling(1 / 127.5, offset=-1)]
    for filters in (12, 24):
        body += [convolution(filters), convolution(filters), layers.MaxPooling2D()]
    return classifier(meta, *body, layers.Dropout(0.5), layers.Flatten())


def small_mobilenet(meta):
    body = [layers.Rescaling(1 / 127.5, offset=-1), convolution(16), layers.MaxPooling2D()]
    body += [convolution(32, layers.SeparableConv2D), layers.MaxPooling2D(), convolution(64, layers.SeparableConv2D)]
    return classifier(meta, *body, layers.GlobalAveragePooling2D(), layers.Dense(32, activation="relu"))


def pretrained(application, n_trained, meta):
    """A network without its last layers, and with all variables fixed but those of its last `n_trained` layers."""
    base = application(include_top=False, weights="imagenet", input_shape=meta["X_shape_"][1:])
    for layer in base.layers[:-n_trained]:
        layer.trainable = False
    return base


def vgg16(meta):
    inputs = keras.Input(meta["X_shape_"][1:])
    scaled = keras.applications.vgg16.preprocess_input(inputs)
    base = pretrained(keras.applications.VGG16, 3, meta)
    return keras.Model(inputs, classifier(meta, base, layers.Dropout(0.5), layers.Flatten())(scaled))


def mobilenet(meta):
    base = pretrained(keras.applications.MobileNet, 5, meta)
    body = [layers.GlobalAveragePooling2D(), layers.Dense(32, activation="relu"), layers.Dense(16, activation="relu")]
    return classifier(meta, layers.Rescaling(1 / 127.5, offset=-1), base, *body)


# %%
# Each member has the tutorial's callbacks: where the validation loss no longer falls, lower the rate, then stop.
from skensemble import KerasClassifier, StackedKerasClassifier


def member(build, **params):
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(patience=3, factor=0.2, min_lr=1e-6),
        keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
    ]
    return KerasClassifier(
        build, epochs=options.epochs, validation_split=0.25, batch_size=32, callbacks=callbacks, **params
    )


if options.imagenet:
    fine_tuning = {"optimizer": "sgd", "optimizer__learning_rate": 1e-3, "optimizer__momentum": 0.9}
    others = [("VGG16", member(vgg16, **fine_tuning)), ("MobileNet", member(mobilenet, **fine_tuning))]
else:
    others = [("small VGG", member(small_vgg)), ("small MobileNet", member(small_mobilenet))]
custom = member(custom_cnn, optimizer="rmsprop", optimizer__learning_rate=0.002)
members = [("custom CNN", custom), *others]

# %%
# The same members under three heads. The first fit trains the members and keeps them in a directory; the other two find
# them there, and only train a head.
from tempfile import TemporaryDirectory
from time import perf_counter

from sklearn.metrics import log_loss

ensembles, scores = {}, {}
with TemporaryDirectory() as directory:
    for merge in ("concatenate", "average", "weighted_average"):
        start = perf_counter()
        stacked = StackedKerasClassifier(members, merge, cv=options.folds, checkpoint_dir=directory, random_state=0)
        stacked.fit(X_train, y_train)
        print(f"{merge}: fitted in {perf_counter() - start:.0f} s", flush=True)
        ensembles[merge], scores[merge] = stacked, stacked.predict_proba(X_test)
alone = dict(zip(stacked.named_estimators_, stacked.predict_members(X_test), strict=True))

print(f"\n{'on images to test on':24s} accuracy  log-loss")
accuracies = {}
for name, proba in {**alone, **scores}.items():
    accuracies[name] = (stacked.classes_[proba.argmax(axis=1)] == y_test).mean()
    print(f"{name:24s} {accuracies[name]:8.3f} {log_loss(y_test, proba):9.3f}")
weights = ensembles["weighted_average"].final_estimator_.weights_
print("learned weights:", ", ".join(f"{name} {weight:.2f}" for name, weight in zip(alone, weights, strict=True)))

# %%
# The report of the best head by accuracy.
from sklearn.metrics import classification_report

best = max(scores, key=accuracies.get)
print(f"\n{best}\n{classification_report(y_test, ensembles[best].predict(X_test), zero_division=0)}")

# %%
# The merged graph: one Keras model, from images to the output of the head.
import shutil
from importlib.util import find_spec

model = ensembles[best].to_keras()
if shutil.which("dot") and find_spec("pydot"):
    keras.utils.plot_model(model, output / "stacking_graph.png", show_shapes=True)
else:
    lines = []
    model.summary(print_fn=lines.append, line_length=110)
    (output / "stacking_graph.txt").write_text("\n".join(lines), encoding="utf-8")

# %%
# The figure.
import matplotlib.pyplot as plt
from sklearn.metrics import ConfusionMatrixDisplay

figure, (bars, matrix) = plt.subplots(1, 2, figsize=(12, 4.5), layout="constrained")
colors = ["tab:gray"] * len(alone) + ["tab:blue"] * len(scores)
container = bars.barh(list(accuracies), accuracies.values(), color=colors)
bars.bar_label(container, [f"{accuracy:.1%}" for accuracy in accuracies.values()], padding=3)
bars.invert_yaxis()
bars.margins(x=0.12)
bars.set(title="Members alone, and under each head", xlabel="accuracy")
ConfusionMatrixDisplay.from_estimator(
    ensembles[best], X_test, y_test, ax=matrix, cmap="Blues", colorbar=False, xticks_rotation=45
)
matrix.set_title(f"Images to test on: {best}")
figure.savefig(output / "stacking.png", dpi=150)
print(f"Figure: {output / 'stacking.png'}")

# %%
# The answer.
mean_member = np.mean([accuracies[name] for name in alone])
print(f"The mean member has {mean_member:.1%} of the images right, {best} {accuracies[best]:.1%}.")
assert accuracies[best] > mean_member, "The best head must be better than its members are on average."
