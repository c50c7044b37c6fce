"""Recipes of the sweep for `keras.layers`: how each layer stands in a member that is trained.

A recipe takes a tensor of its group's data and returns one tensor. The recipes of a group are branches of one network,
which saves time. What cannot stand in a member at all is in `NOT_IN_A_MEMBER`, with the reason.
"""

import functools
import tempfile

import keras
import numpy as np
import tensorflow as tf
from keras import layers

N_ROWS = 10
UNIT = {"value_range": (0, 1)}


def adapted(layer, shape=(N_ROWS, 4)):
    """A layer that has seen numbers about 0.5."""
    layer.adapt(np.random.default_rng(1).normal(0.5, 2.0, shape).astype("float32"))
    return layer


def masked_mean(x):
    """Some steps are masked: those whose first value is negative become 0. Not all are, whose mean would be NaN."""
    x = keras.ops.concatenate([x * keras.ops.cast(x[..., :1] > 0, x.dtype), keras.ops.ones_like(x[:, :1])], axis=1)
    return layers.GlobalAveragePooling1D()(layers.Masking()(x))


@functools.cache
def exported():
    """A folder with a network that `Model.export` wrote."""
    inputs = keras.Input((4,))
    folder = tempfile.TemporaryDirectory()
    keras.Model(inputs, layers.Dense(3)(inputs)).export(folder.name, verbose=False)
    return folder


def saved_model(x):
    """Not trained: Keras' optimizers refuse the names of the variables in a file."""
    return layers.TFSMLayer(exported().name, call_endpoint="serve", trainable=False)(x)


FLAT = {
    "Activation": lambda x: layers.Activation("tanh")(x),
    "ActivityRegularization": lambda x: layers.ActivityRegularization(0.1, 0.1)(x),
    "Add": lambda x: layers.Add()([x, x * x]),
    "Average": lambda x: layers.Average()([x, x * x]),
    "BatchNormalization": lambda x: layers.BatchNormalization(momentum=0.5)(x),
    "CategoryEncoding": lambda x: layers.CategoryEncoding(3, "multi_hot")(keras.ops.cast(x > 0, "int32")),
    "Concatenate": lambda x: layers.Concatenate()([x, x * x]),
    "Dense": lambda x: layers.Dense(3)(x),
    "Discretization": lambda x: layers.Discretization([-0.5, 0.0, 0.5], output_mode="multi_hot")(x),
    "Dot": lambda x: layers.Dot(axes=1)([x, x * x]),
    "ELU": lambda x: layers.ELU()(x),
    "EinsumDense": lambda x: layers.EinsumDense("ab,bc->ac", 3, bias_axes="c")(x),
    "Flatten": lambda x: layers.Flatten()(x),
    "GroupNormalization": lambda x: layers.GroupNormalization(1)(x),
    "HashedCrossing": lambda x: layers.HashedCrossing(5, output_mode="one_hot")(
        (keras.ops.cast(x[:, :1] > 0, "int32"), keras.ops.cast(x[:, 1:2] > 0, "int32"))
    ),
    "Hashing": lambda x: layers.Hashing(5, output_mode="multi_hot")(keras.ops.cast(3 * x, "int32")),
    "Identity": lambda x: layers.Identity()(x),
    "Input": lambda x: keras.Sequential([layers.Input(x.shape[1:]), layers.Dense(2)])(x),
    "InputLayer": lambda x: keras.Sequential([layers.InputLayer(x.shape[1:]), layers.Dense(2)])(x),
    "IntegerLookup": lambda x: layers.IntegerLookup(vocabulary=[0, 1, 2], output_mode="multi_hot")(
        keras.ops.cast(3 * x, "int64")
    ),
    "Lambda": lambda x: layers.Lambda(lambda v: 2 * v)(x),
    "LayerNormalization": lambda x: layers.LayerNormalization()(x),
    "LeakyReLU": lambda x: layers.LeakyReLU()(x),
    "Maximum": lambda x: layers.Maximum()([x, x * x]),
    "Minimum": lambda x: layers.Minimum()([x, x * x]),
    "Multiply": lambda x: layers.Multiply()([x, x * x]),
    "Normalization": lambda x: adapted(layers.Normalization())(x),
    "PReLU": lambda x: layers.PReLU("ones")(x),
    "RMSNormalization": lambda x: layers.RMSNormalization()(x),
    "ReLU": lambda x: layers.ReLU(negative_slope=0.1)(x),
    "RepeatVector": lambda x: layers.RepeatVector(2)(x),
    "Rescaling": lambda x: layers.Rescaling(2.0, 0.1)(x),
    "Reshape": lambda x: layers.Reshape((2, 2))(x),
    "Softmax": lambda x: layers.Softmax()(x),
    "SpectralNormalization": lambda x: layers.SpectralNormalization(layers.Dense(3))(x),
    "StringLookup": lambda x: layers.StringLookup(vocabulary=["0", "1"], output_mode="multi_hot")(
        layers.Lambda(tf.strings.as_string)(keras.ops.cast(x > 0, "int32"))
    ),
    "Subtract": lambda x: layers.Subtract()([x, x * x]),
    "TFSMLayer": saved_model,
    "UnitNormalization": lambda x: layers.UnitNormalization()(x),
    "add": lambda x: layers.add([x, x * x]),
    "average": lambda x: layers.average([x, x * x]),
    "concatenate": lambda x: layers.concatenate([x, x * x]),
    "dot": lambda x: layers.dot([x, x * x], axes=1),
    "maximum": lambda x: layers.maximum([x, x * x]),
    "minimum": lambda x: layers.minimum([x, x * x]),
    "multiply": lambda x: layers.multiply([x, x * x]),
    "subtract": lambda x: layers.subtract([x, x * x]),
}
SEQUENCE = {
    "AdaptiveAveragePooling1D": lambda x: layers.AdaptiveAveragePooling1D(2)(x),
    "AdaptiveMaxPooling1D": lambda x: layers.AdaptiveMaxPooling1D(2)(x),
    "AdditiveAttention": lambda x: layers.AdditiveAttention()([x, x * x]),
    "Attention": lambda x: layers.Attention(use_scale=True)([x, x * x]),
    "AveragePooling1D": lambda x: layers.AveragePooling1D(2)(x),
    "Cropping1D": lambda x: layers.Cropping1D((1, 2))(x),
    "GlobalAveragePooling1D": lambda x: layers.GlobalAveragePooling1D()(x),
    "GlobalMaxPooling1D": lambda x: layers.GlobalMaxPooling1D()(x),
    "GroupQueryAttention": lambda x: layers.GroupQueryAttention(2, 4, 2)(x, x * x),
    "Masking": masked_mean,
    "MaxPooling1D": lambda x: layers.MaxPooling1D(2)(x),
    "MultiHeadAttention": lambda x: layers.MultiHeadAttention(2, 3)(x, x * x),
    "Permute": lambda x: layers.Permute((2, 1))(x),
    "TimeDistributed": lambda x: layers.TimeDistributed(layers.Dense(2))(x),
    "UpSampling1D": lambda x: layers.UpSampling1D(2)(x),
    "ZeroPadding1D": lambda x: layers.ZeroPadding1D((1, 2))(x),
}
SEQUENCE_CONVOLUTIONS = {
    "Conv1D": lambda x: layers.Conv1D(2, 3)(x),
    "Conv1DTranspose": lambda x: layers.Conv1DTranspose(2, 3)(x),
    "DepthwiseConv1D": lambda x: layers.DepthwiseConv1D(3)(x),
    "SeparableConv1D": lambda x: layers.SeparableConv1D(2, 3)(x),
}
#: TensorFlow does not draw random numbers for many members in one operation: such members are computed side by side.
RANDOM = {
    "AlphaDropout": lambda x: layers.AlphaDropout(0.4)(x),
    "Dropout": lambda x: layers.Dropout(0.4)(x),
    "GaussianDropout": lambda x: layers.GaussianDropout(0.4)(x),
    "GaussianNoise": lambda x: layers.GaussianNoise(0.4)(x),
    "SpatialDropout1D": lambda x: layers.SpatialDropout1D(0.4)(x),
    "SpatialDropout2D": lambda x: layers.SpatialDropout2D(0.4)(layers.Reshape((3, 2, 4))(x)),
    "SpatialDropout3D": lambda x: layers.SpatialDropout3D(0.4)(layers.Reshape((3, 2, 2, 2))(x)),
}
RECURRENT = {
    "Bidirectional SimpleRNN": lambda x: layers.Bidirectional(layers.SimpleRNN(2, dropout=0.3))(x),
    "GRU": lambda x: layers.GRU(2, dropout=0.3, recurrent_dropout=0.3)(x),
    "LSTM": lambda x: layers.LSTM(2)(x),
    "RNN StackedRNNCells GRUCell LSTMCell SimpleRNNCell": lambda x: layers.RNN(
        layers.StackedRNNCells([layers.SimpleRNNCell(2, dropout=0.3), layers.GRUCell(2), layers.LSTMCell(2)])
    )(x),
}
IMAGE = {
    "AdaptiveAveragePooling2D": lambda x: layers.AdaptiveAveragePooling2D(2)(x),
    "AdaptiveMaxPooling2D": lambda x: layers.AdaptiveMaxPooling2D(2)(x),
    "AveragePooling2D": lambda x: layers.AveragePooling2D(2)(x),
    "CenterCrop": lambda x: layers.CenterCrop(4, 4)(x),
    "Cropping2D": lambda x: layers.Cropping2D(2)(x),
    "GlobalAveragePooling2D": lambda x: layers.GlobalAveragePooling2D()(x),
    "GlobalMaxPooling2D": lambda x: layers.GlobalMaxPooling2D()(x),
    "MaxPooling2D": lambda x: layers.MaxPooling2D(2)(x),
    "Resizing": lambda x: layers.Resizing(4, 5)(x),
    "UpSampling2D": lambda x: layers.UpSampling2D(2)(x),
    "ZeroPadding2D": lambda x: layers.ZeroPadding2D(1)(x),
}
AUGMENTATION = {
    "AugMix": lambda x: layers.AugMix(**UNIT, num_chains=1, chain_depth=1, all_ops=False)(x),
    "AutoContrast": lambda x: layers.AutoContrast(**UNIT)(x),
    "ContrastLimitedAdaptiveHistogramEqualization": lambda x: layers.ContrastLimitedAdaptiveHistogramEqualization(
        **UNIT, tile_grid_size=(2, 2)
    )(x),
    "CutMix": lambda x: layers.CutMix()(x),
    "Equalization": lambda x: layers.Pipeline([layers.Equalization(**UNIT)])(x),
    "MixUp": lambda x: layers.MixUp()(x),
    "Pipeline": lambda x: layers.Pipeline([layers.RandomFlip(), layers.RandomContrast(0.4, **UNIT)])(x),
    "RandAugment": lambda x: layers.RandAugment(**UNIT, num_ops=1)(x),
    "RandomBrightness": lambda x: layers.RandomBrightness(0.4, **UNIT)(x),
    "RandomColorDegeneration": lambda x: layers.RandomColorDegeneration(0.8, **UNIT)(x),
    "RandomColorJitter": lambda x: layers.RandomColorJitter(**UNIT, brightness_factor=0.4, contrast_factor=0.4)(x),
    "RandomContrast": lambda x: layers.RandomContrast(0.4, **UNIT)(x),
    "RandomCrop": lambda x: layers.GlobalAveragePooling2D()(layers.RandomCrop(4, 5)(x)),
    "RandomErasing": lambda x: layers.RandomErasing(**UNIT)(x),
    "RandomFlip": lambda x: layers.RandomFlip()(x),
    "RandomGaussianBlur": lambda x: layers.RandomGaussianBlur(**UNIT)(x),
    "RandomGrayscale": lambda x: layers.RandomGrayscale()(x),
    "RandomHue": lambda x: layers.RandomHue(0.4, **UNIT)(x),
    "RandomInvert": lambda x: layers.RandomInvert(0.5, **UNIT)(x),
    "RandomPerspective": lambda x: layers.RandomPerspective()(x),
    "RandomPosterization": lambda x: layers.RandomPosterization(3, **UNIT)(x),
    "RandomRotation": lambda x: layers.RandomRotation(0.3)(x),
    "RandomSaturation": lambda x: layers.RandomSaturation(0.8, **UNIT)(x),
    "RandomSharpness": lambda x: layers.RandomSharpness(0.8, **UNIT)(x),
    "RandomShear": lambda x: layers.RandomShear(0.4, 0.4)(x),
    "RandomTranslation": lambda x: layers.RandomTranslation(0.4, 0.4)(x),
    "RandomZoom": lambda x: layers.RandomZoom(0.4)(x),
    "Solarization": lambda x: layers.Solarization(0.3, 0.3, **UNIT)(x),
}
#: Layers that draw other random numbers where Keras knows the number of rows, as it does when it runs eagerly.
TRACED_AUGMENTATION = {"RandomElasticTransform": lambda x: layers.RandomElasticTransform(**UNIT)(x)}
IMAGE_CONVOLUTIONS = {
    "Conv2D": lambda x: layers.Conv2D(2, 3)(x),
    "Conv2DTranspose": lambda x: layers.Conv2DTranspose(2, 3)(x),
    "DepthwiseConv2D": lambda x: layers.DepthwiseConv2D(3)(x),
    "SeparableConv2D": lambda x: layers.SeparableConv2D(2, 3)(x),
}
VOLUME = {
    "AdaptiveAveragePooling3D": lambda x: layers.AdaptiveAveragePooling3D(2)(x),
    "AdaptiveMaxPooling3D": lambda x: layers.AdaptiveMaxPooling3D(2)(x),
    "AveragePooling3D": lambda x: layers.AveragePooling3D(2)(x),
    "Cropping3D": lambda x: layers.Cropping3D(1)(x),
    "GlobalAveragePooling3D": lambda x: layers.GlobalAveragePooling3D()(x),
    "GlobalMaxPooling3D": lambda x: layers.GlobalMaxPooling3D()(x),
    "MaxPooling3D": lambda x: layers.MaxPooling3D(2)(x),
    "UpSampling3D": lambda x: layers.UpSampling3D(2)(x),
    "ZeroPadding3D": lambda x: layers.ZeroPadding3D(1)(x),
}
VOLUME_CONVOLUTIONS = {
    "Conv3D": lambda x: layers.Conv3D(2, 2)(x),
    "Conv3DTranspose": lambda x: layers.Conv3DTranspose(2, 2)(x),
    "ConvLSTM1D": lambda x: layers.ConvLSTM1D(2, 2)(layers.Reshape((4, 4, 8))(x)),
    "ConvLSTM2D": lambda x: layers.ConvLSTM2D(2, 2)(x),
    "ConvLSTM3D": lambda x: layers.ConvLSTM3D(1, 2)(layers.Reshape((2, 2, 4, 4, 2))(x)),
}
IDS = {
    "Embedding": lambda x: layers.GlobalAveragePooling1D()(layers.Embedding(6, 3, mask_zero=True)(x)),
    "ReversibleEmbedding": lambda x: layers.ReversibleEmbedding(6, 3)(x),
}
#: In decibels, which are large.
SOUND = {
    "MelSpectrogram": lambda x: 0.01 * layers.MelSpectrogram(16, 8, sampling_rate=100, num_mel_bins=4, min_freq=5.0)(x),
    "STFTSpectrogram": lambda x: (
        0.01 * layers.STFTSpectrogram(frame_length=16, fft_length=16)(layers.Reshape((x.shape[1], 1))(x))
    ),
}
#: The recipes that share a network, and the shape of a row of their data.
GROUPS = {
    "flat": (FLAT, (4,)),
    "sequences": (SEQUENCE, (6, 4)),
    "convolutions of sequences": (SEQUENCE_CONVOLUTIONS, (6, 4)),
    "recurrent": (RECURRENT, (4, 3)),
    "images": (IMAGE, (8, 8, 3)),
    "augmentation": (AUGMENTATION, (8, 8, 3)),
    "traced augmentation": (TRACED_AUGMENTATION, (8, 8, 3)),
    "convolutions of images": (IMAGE_CONVOLUTIONS, (6, 6, 3)),
    "volumes": (VOLUME, (4, 4, 4, 2)),
    "convolutions of volumes": (VOLUME_CONVOLUTIONS, (4, 4, 4, 2)),
    "random": (RANDOM, (6, 4)),
    "ids": (IDS, (4,)),
    "sound": (SOUND, (64,)),
}
NOT_IN_A_MEMBER = {
    "FlaxLayer": "needs Flax, and trains by JAX",
    "InputSpec": "is no layer: it describes the input of one",
    "JaxLayer": "needs JAX, and trains by it",
    "Layer": "is the base class",
    "MaxNumBoundingBoxes": "takes a dict of bounding boxes",
    "TextVectorization": "takes text, and the X of a network is numbers: put it before the network, in a pipeline",
    "TorchModuleWrapper": "needs PyTorch, and trains by it",
    "Wrapper": "is a base class",
}


def data_of(group):
    """X of a group, `N_ROWS` rows."""
    rng = np.random.default_rng(0)
    shape = (N_ROWS, *GROUPS[group][1])
    if group == "ids":
        return rng.integers(0, 6, shape).astype("int32")
    return rng.uniform(0, 1, shape).astype("float32") if len(shape) == 4 else rng.normal(size=shape).astype("float32")


def network(group, names):
    """A function that builds the network whose branches are the recipes of these names, on a layer that is trained."""
    recipes, shape = GROUPS[group]

    def build():
        inputs = keras.Input(shape, dtype="int32" if group == "ids" else "float32")
        x = inputs if group == "ids" else layers.Dense(shape[-1], "sigmoid" if len(shape) == 3 else None)(inputs)
        branches = [layers.Flatten()(recipes[name](x)) for name in names]
        x = branches[0] if len(branches) == 1 else layers.Concatenate()(branches)
        # Small steps: hundreds of values go into the output.
        x = layers.Dense(1, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.05))(x)
        return keras.Model(inputs, x)

    return build
