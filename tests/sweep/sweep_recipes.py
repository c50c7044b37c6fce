"""Recipes of the sweep for what is no layer, and all cases."""

import functools
import os
import tempfile

import keras
import numpy as np
import program_cases
import sweep_layers
from keras import activations, callbacks, constraints, initializers, layers, losses, metrics, optimizers, regularizers
from keras.optimizers import schedules
from sweep import Case

N_ROWS = 10
LABELS = np.array([0, 1, 2, 2, 1, 0, 1, 2, 0, 1])


def features(seed=0):
    return np.random.default_rng(seed).normal(size=(N_ROWS, 4)).astype("float32")


def targets(kind):
    """Targets: "number", "numbers", "one hot", "binary" (floats) or "class" (int)."""
    rng = np.random.default_rng(1)
    return {
        "number": rng.normal(size=N_ROWS).astype("float32"),
        "numbers": rng.uniform(0.5, 2, size=(N_ROWS, 3)).astype("float32"),
        "one hot": np.eye(3, dtype="float32")[LABELS],
        "binary": np.stack([LABELS > 0, LABELS < 2], axis=1).astype("float32"),
        "class": LABELS,
    }[kind]


OUTPUTS = {
    "number": (1, None),
    "numbers": (3, "softplus"),
    "one hot": (3, "softmax"),
    "binary": (2, "sigmoid"),
    "class": (3, "softmax"),
}


def compiled(model, eager, **arguments):
    model.compile(**{"optimizer": optimizers.SGD(0.05, momentum=0.5), "loss": "mse", "run_eagerly": eager, **arguments})
    return model


def dense_member(kind="number", **make):
    """Members with one hidden layer; `make` are functions of the recipes that give what to compile with."""

    def member(recipes, names, eager):
        def build():
            units, activation = OUTPUTS[kind]
            model = keras.Sequential(
                [keras.Input((4,)), layers.Dense(4, "tanh"), layers.Dense(units, activation, dtype="float32")]
            )
            return compiled(model, eager, **{name: function(recipes) for name, function in make.items()})

        return build, features(), targets(kind), {}

    return member


def parallel_member(layer):
    """Members with a layer for each recipe, side by side."""

    def member(recipes, names, eager):
        def build():
            inputs = keras.Input((4,))
            x = layers.Dense(4)(inputs)
            branches = [layers.Flatten()(layer(recipe, name)(x)) for recipe, name in zip(recipes, names, strict=True)]
            return compiled(keras.Model(inputs, layers.Dense(1)(keras.ops.concatenate(branches, axis=-1))), eager)

        return build, features(), targets("number"), {}

    return member


def layer_member(group):
    def member(recipes, names, eager):
        build = sweep_layers.network(group, names)
        optimizer = {"learning_rate": 0.002, "momentum": 0.5}

        def compiled_build():
            return compiled(build(), eager, optimizer=optimizers.SGD(**optimizer))

        return compiled_build, sweep_layers.data_of(group), targets("number"), {}

    return member


# Losses: the loss of a network is the sum of all.


def total_loss(recipes):
    if len(recipes) == 1:
        return recipes[0]()
    made = [recipe() for recipe in recipes]

    def total(y_true, y_pred):
        return sum(keras.ops.mean(loss(y_true, y_pred)) for loss in made)

    return total


def by_name(module, names, **arguments):
    return {name: getattr(module, name, None) and (lambda n=name: getattr(module, n)(**arguments)) for name in names}


def functions(module, names):
    return {name: getattr(module, name, None) and (lambda n=name: getattr(module, n)) for name in names}


LOSSES = {
    "one hot": by_name(
        losses,
        """BinaryCrossentropy BinaryFocalCrossentropy CategoricalCrossentropy CategoricalFocalCrossentropy
        CategoricalHinge CosineSimilarity Dice Hinge KLDivergence Poisson
        SquaredHinge Tversky""".split(),
    )
    | functions(
        losses,
        """binary_crossentropy binary_focal_crossentropy categorical_crossentropy categorical_focal_crossentropy
        categorical_hinge cosine_similarity dice hinge kl_divergence poisson
        squared_hinge tversky""".split(),
    ),
    "numbers": by_name(
        losses,
        """Huber LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError
        MeanSquaredLogarithmicError""".split(),
    )
    | functions(
        losses,
        """huber log_cosh mean_absolute_error mean_absolute_percentage_error mean_squared_error
        mean_squared_logarithmic_error""".split(),
    ),
    "class": by_name(losses, ["CategoricalGeneralizedCrossEntropy", "Circle", "SparseCategoricalCrossentropy"])
    | functions(losses, ["circle", "sparse_categorical_crossentropy"])
    | {
        "categorical_generalized_cross_entropy": lambda: (
            lambda y, p: losses.categorical_generalized_cross_entropy(y, p, 0.5)
        ),
    },
}

# Metrics: all in one `compile`.


def named(kind, *args, **kwargs):
    """A metric with a name that no function has."""
    return lambda: getattr(metrics, kind)(*args, name=f"metric_{kind}", **kwargs)


def half_off(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred) > 0.5, axis=-1)


METRICS = {
    "one hot": {
        name: named(name)
        for name in """AUC CategoricalAccuracy CategoricalCrossentropy CategoricalHinge CosineSimilarity F1Score
        FBetaScore FalseNegatives FalsePositives Hinge KLDivergence Poisson Precision Recall SquaredHinge
        TrueNegatives TruePositives""".split()
    }
    | {
        "OneHotIoU": named("OneHotIoU", 3, [0, 2]),
        "OneHotMeanIoU": named("OneHotMeanIoU", 3),
        "TopKCategoricalAccuracy": named("TopKCategoricalAccuracy", 2),
        "top_k_categorical_accuracy": lambda: lambda y, p: metrics.top_k_categorical_accuracy(y, p, k=2),
    }
    | functions(
        metrics,
        """categorical_accuracy categorical_crossentropy categorical_focal_crossentropy categorical_hinge hinge
        kl_divergence poisson squared_hinge""".split(),
    ),
    "binary": {name: named(name) for name in ["Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "BinaryIoU"]}
    | {
        "PrecisionAtRecall": named("PrecisionAtRecall", 0.5),
        "RecallAtPrecision": named("RecallAtPrecision", 0.5),
        "SensitivityAtSpecificity": named("SensitivityAtSpecificity", 0.5),
        "SpecificityAtSensitivity": named("SpecificityAtSensitivity", 0.5),
        "MeanIoU": named("MeanIoU", 2, sparse_y_pred=True),
        "IoU": named("IoU", 2, [0], sparse_y_pred=True),
        "MeanMetricWrapper": named("MeanMetricWrapper", half_off),
    }
    | functions(metrics, ["binary_accuracy", "binary_crossentropy", "binary_focal_crossentropy"]),
    "class": {
        "SparseCategoricalAccuracy": named("SparseCategoricalAccuracy"),
        "SparseCategoricalCrossentropy": named("SparseCategoricalCrossentropy"),
        "SparseTopKCategoricalAccuracy": named("SparseTopKCategoricalAccuracy", 2),
        "sparse_top_k_categorical_accuracy": lambda: lambda y, p: metrics.sparse_top_k_categorical_accuracy(y, p, k=2),
    }
    | functions(metrics, ["sparse_categorical_accuracy", "sparse_categorical_crossentropy"]),
    "numbers": {
        name: named(name)
        for name in """ConcordanceCorrelation LogCoshError MeanAbsoluteError MeanAbsolutePercentageError
        MeanSquaredError MeanSquaredLogarithmicError PearsonCorrelation R2Score RootMeanSquaredError""".split()
    }
    | functions(
        metrics,
        """concordance_correlation huber log_cosh mean_absolute_error mean_absolute_percentage_error
        mean_squared_error mean_squared_logarithmic_error pearson_correlation""".split(),
    ),
}
LOSS_OF = {
    "one hot": "categorical_crossentropy",
    "binary": "binary_crossentropy",
    "class": "sparse_categorical_crossentropy",
    "numbers": "mse",
}


# Optimizers: each alone. Schedules: the learning rate is the sum of all.


@keras.saving.register_keras_serializable()
class TotalSchedule(schedules.LearningRateSchedule):
    """The sum of schedules, by their names in `SCHEDULES`."""

    def __init__(self, names):
        self.names = names

    def __call__(self, step):
        return sum(SCHEDULES[name]()(step) for name in self.names)

    def get_config(self):
        return {"names": self.names}


def scheduled(recipes, names, eager):
    rate = recipes[0]() if len(recipes) == 1 else TotalSchedule(names)

    def build():
        return small_network(eager, optimizer=optimizers.SGD(rate, momentum=0.5))

    return build, features(), targets("number"), {}


def several_optimizers():
    return optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.SGD(0.1), {".*bias": optimizers.Adam(0.01)}))


#: The others are those of `program_cases.py`, which the tests of each program try with their options.
OPTIMIZERS = {
    "LossScaleOptimizer": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1), initial_scale=4.0),
    "MultiOptimizer OptimizerMap": several_optimizers,
    "ScheduleFreeAdamW": lambda: optimizers.ScheduleFreeAdamW(0.01),
}
SCHEDULES = {
    "CosineDecay": lambda: schedules.CosineDecay(0.01, 3, warmup_target=0.02, warmup_steps=2),
    "CosineDecayRestarts": lambda: schedules.CosineDecayRestarts(0.01, 2, t_mul=1.5),
    "ExponentialDecay": lambda: schedules.ExponentialDecay(0.01, 2, 0.9, staircase=True),
    "InverseTimeDecay": lambda: schedules.InverseTimeDecay(0.01, 2, 0.5),
    "PiecewiseConstantDecay": lambda: schedules.PiecewiseConstantDecay([1, 2], [0.01, 0.02, 0.005]),
    "PolynomialDecay": lambda: schedules.PolynomialDecay(0.01, 3, power=2.0, cycle=True),
}

# What a layer takes: a layer each.

REGULARIZERS = {
    "L1": lambda: regularizers.L1(0.1),
    "L1L2": lambda: regularizers.L1L2(0.1, 0.1),
    "L2": lambda: regularizers.L2(0.1),
    "OrthogonalRegularizer": lambda: regularizers.OrthogonalRegularizer(0.1),
}
CONSTRAINTS = {
    "MaxNorm": lambda: constraints.MaxNorm(0.5),
    "MinMaxNorm": lambda: constraints.MinMaxNorm(0.2, 0.5, rate=0.5),
    "NonNeg": lambda: constraints.NonNeg(),
    "UnitNorm": lambda: constraints.UnitNorm(),
}
ACTIVATIONS = functions(
    activations,
    """celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus
    sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink""".split(),
) | {"threshold": lambda: lambda x: activations.threshold(x, 0.1, 0.0)}


def activated(recipe, name):
    """A layer of an activation; glu halves the last axis, which no layer knows."""
    return activations.glu if name == "glu" else layers.Activation(recipe())


INITIALIZERS = {
    **by_name(
        initializers,
        """Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros""".split(),
    ),
    "STFT": lambda: initializers.STFT(),
}


def initialized(recipe, name):
    """A layer of shape (4, 4); that of a Fourier transform must be one of a convolution."""
    if name == "STFT":
        return lambda x: layers.Conv1D(4, 4, kernel_initializer=recipe())(layers.Reshape((4, 1))(x))
    return layers.Dense(4, kernel_initializer=recipe())


# Callbacks, arguments of `compile` and of `fit`: all at once.


@functools.cache
def folder():
    return tempfile.TemporaryDirectory()


def path_of(name):
    """A path for each member."""
    return os.path.join(folder().name, name + "{member}")


CALLBACKS = {
    "BackupAndRestore": lambda: callbacks.BackupAndRestore(path_of("backup")),
    "CSVLogger": lambda: callbacks.CSVLogger(path_of("log")),
    "Callback": lambda: callbacks.Callback(),
    "EarlyStopping": lambda: callbacks.EarlyStopping(patience=1, restore_best_weights=True),
    "History": lambda: callbacks.History(),
    "LambdaCallback": lambda: callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    "LearningRateScheduler": lambda: callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate),
    "ProgbarLogger": lambda: callbacks.ProgbarLogger(),
    "ReduceLROnPlateau": lambda: callbacks.ReduceLROnPlateau(monitor="loss", patience=0, min_delta=10.0),
    "SwapEMAWeights": lambda: callbacks.SwapEMAWeights(),
    "TerminateOnNaN": lambda: callbacks.TerminateOnNaN(),
}
COMPILE = {
    "auto_scale_loss": True,
    "jit_compile": False,
    "loss": "mae",
    "loss_weights": [0.5],
    "metrics": ["mae"],
    "optimizer": "sgd",
    "run_eagerly": True,
    "steps_per_execution": 2,
    "weighted_metrics": ["mse"],
}
FIT = {
    "batch_size": 3,
    "class_weight": {0: 1.0, 1: 2.0, 2: 0.5},
    "epochs": 3,
    "initial_epoch": 1,
    "shuffle": False,
    "steps_per_epoch": 2,
    "validation_batch_size": 2,
    "validation_data": (features(1), LABELS),
    "validation_freq": 2,
    "validation_split": 0.4,
    "validation_steps": 1,
    "verbose": 0,
}


def small_network(eager, kind="number", **arguments):
    units, activation = OUTPUTS[kind]
    return compiled(keras.Sequential([keras.Input((4,)), layers.Dense(units, activation)]), eager, **arguments)


def with_callbacks(recipes, names, eager):
    def build():
        return small_network(eager, optimizer=optimizers.SGD(0.05, use_ema=True, ema_momentum=0.9))

    return build, features(), targets("number"), {"callbacks": [recipe() for recipe in recipes]}


def compiled_with(recipes, names, eager):
    arguments = dict(zip(names, recipes, strict=True))
    return lambda: small_network(eager, **arguments), features(), targets("number"), {}


def fitted_with(recipes, names, eager):
    arguments = {f"fit__{name}": value for name, value in zip(names, recipes, strict=True)}
    loss = "sparse_categorical_crossentropy"
    return lambda: small_network(eager, "class", loss=loss), features(), targets("class"), arguments


TRIED_ELSEWHERE = {"keras.optimizers": {type(make()).__name__ for make in program_cases.OPTIMIZERS.values()}}
NOT_IN_A_MEMBER = {
    "keras.layers": sweep_layers.NOT_IN_A_MEMBER,
    "keras.losses": {
        "CTC": "takes outputs of shape (steps, classes), which no classifier or regressor predicts",
        "Loss": "is the base class",
        "ctc": "takes outputs of shape (steps, classes), which no classifier or regressor predicts",
    },
    "keras.metrics": {
        "Mean": "takes values, not targets and predictions",
        "Metric": "is the base class",
        "Sum": "takes values, not targets and predictions",
    },
    "keras.optimizers": {"Optimizer": "is the base class"},
    "keras.optimizers.schedules": {"LearningRateSchedule": "is the base class"},
    "keras.regularizers": {"Regularizer": "is the base class"},
    "keras.constraints": {"Constraint": "is the base class"},
    "keras.activations": {},
    "keras.initializers": {"Initializer": "is the base class"},
    "keras.callbacks": {
        "CallbackList": "is no callback: Keras calls callbacks through it",
        "ModelCheckpoint": "writes files: `tests/_engine/test_callbacks.py` tries it",
        "OrbaxCheckpoint": "needs orbax-checkpoint, and writes files",
        "RemoteMonitor": "sends logs to a server",
        "TensorBoard": "writes files: `tests/_engine/test_callbacks.py` tries it",
    },
    "keras.Model.compile": {},
    "keras.Model.fit": {
        "callbacks": "is tried above",
        "sample_weight": "is an argument of the ensemble's `fit`",
        "x": "is an argument of the ensemble's `fit`",
        "y": "is an argument of the ensemble's `fit`",
    },
}
CASES = {
    **{
        f"layers: {group}": Case("keras.layers", recipes, layer_member(group), eager="traced" not in group)
        for group, (recipes, _) in sweep_layers.GROUPS.items()
    },
    **{
        f"losses: {kind}": Case("keras.losses", recipes, dense_member(kind, loss=total_loss))
        for kind, recipes in LOSSES.items()
    },
    **{
        f"metrics: {kind}": Case(
            "keras.metrics",
            recipes,
            dense_member(kind, loss=lambda _, k=kind: LOSS_OF[k], metrics=lambda recipes: [make() for make in recipes]),
        )
        for kind, recipes in METRICS.items()
    },
    **{
        f"optimizers: {name}": Case(
            "keras.optimizers", {name: make}, dense_member(optimizer=lambda recipes: recipes[0]())
        )
        for name, make in OPTIMIZERS.items()
    },
    "schedules": Case("keras.optimizers.schedules", SCHEDULES, scheduled),
    "regularizers": Case(
        "keras.regularizers",
        REGULARIZERS,
        parallel_member(lambda recipe, name: layers.Dense(3, kernel_regularizer=recipe())),
    ),
    "constraints": Case(
        "keras.constraints",
        CONSTRAINTS,
        parallel_member(lambda recipe, name: layers.Dense(3, kernel_constraint=recipe())),
    ),
    "activations": Case("keras.activations", ACTIVATIONS, parallel_member(activated)),
    "callbacks": Case("keras.callbacks", CALLBACKS, with_callbacks),
    "compile": Case("keras.Model.compile", COMPILE, compiled_with),
    "fit": Case("keras.Model.fit", FIT, fitted_with),
    "initializers": Case("keras.initializers", INITIALIZERS, parallel_member(initialized), n_members=3),
}
