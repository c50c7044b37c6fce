"""How long does a member take on a GPU, in an ensemble of few and of many, against Keras' loop on the same GPU?

Runs on the backend that Keras has in this process (`KERAS_BACKEND=jax python benchmarks/bench_gpu.py`), and is skipped
where that sees no GPU. Memory is that of the device at its highest, on JAX. `--quick` runs small on any device.
"""

from functools import partial

import keras
from _harness import keras_loop, run, scaled, seconds
from _tutorial import BATCH_SIZE, EPOCHS, blobs, keras_model
from bench_backends import COMPILED, digits, many_rows, noise, small_convnet, wide_mlp

from skensemble import KerasAveragingClassifier, KerasClassifier

layers = keras.layers

TIMED_MEMBERS = 2


def residual_network():
    """ResNet-20 on 32x32x3, as in He et al. (2016), section 4.2, with projections where the shape changes."""

    def convolved(x, n_filters, strides=1):
        x = layers.Conv2D(n_filters, 3, strides, padding="same", use_bias=False)(x)
        return layers.BatchNormalization()(x)

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(convolved(inputs, 16))
    for n_filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if n_filters > 16 and block == 0 else 1
            inner = layers.ReLU()(convolved(x, n_filters, strides))
            shortcut = x if strides == 1 else layers.Conv2D(n_filters, 1, strides, use_bias=False)(x)
            x = layers.ReLU()(convolved(inner, n_filters) + shortcut)
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    model.compile(**COMPILED)
    return model


#: name -> network, data, numbers of members, epochs, batch size
SHAPES = {
    "tutorial": (keras_model, lambda: blobs()[:2], (1, 20, 200), EPOCHS, BATCH_SIZE),
    "MLP(256, 256)": (wide_mlp, many_rows, (1, 10, 50), 5, 128),
    "ConvNet on 8x8": (small_convnet, digits, (1, 10, 50), 5, 32),
    "ResNet-20 on 32x32x3": (residual_network, partial(noise, 5000, (32, 32, 3)), (1, 5, 10), 2, 128),
}


def n_gpus():
    """GPUs that Keras' backend sees."""
    if keras.backend.backend() == "jax":
        import jax

        return sum(device.platform == "gpu" for device in jax.local_devices())
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def megabytes():
    """The most memory that the devices of this process have held, of JAX; 0 where it is not known."""
    if keras.backend.backend() != "jax":
        return 0.0
    import jax

    return sum((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices()) / 2**20


def measured(name, n_rows, epochs, n_members):
    """Seconds of three fits in this process, the first one first, and MB of the device."""
    build, data, _, _, batch_size = SHAPES[name]
    X, y = (part[:n_rows] for part in data())
    member = KerasClassifier(build, epochs=epochs, batch_size=batch_size)
    ensembles = [KerasAveragingClassifier(member, n_members, engine="fused", random_state=seed) for seed in range(3)]
    return {"fits": [seconds(ensemble.fit, X, y) for ensemble in ensembles], "megabytes": megabytes()}


def loop(name, n_rows, epochs):
    """Seconds of each of the timed turns of Keras' loop."""
    build, data, _, _, batch_size = SHAPES[name]
    X, y = (part[:n_rows] for part in data())
    return keras_loop(build, X, y, TIMED_MEMBERS, epochs=epochs, batch_size=batch_size)


def main(bench):
    if not bench.quick and not n_gpus():
        print(f"skipped: Keras sees no GPU on its backend {keras.backend.backend()}")
        raise SystemExit
    for name in list(SHAPES)[: -1 if bench.quick else None]:  # tracing the last one takes a minute on a CPU
        _, _, numbers, epochs, _ = SHAPES[name]
        size = {"n_rows": 64, "epochs": 1} if bench.quick else {"n_rows": None, "epochs": epochs}
        for n_members in (2,) if bench.quick else numbers:
            times = bench.repeat(
                3,
                ours=partial(bench.fresh, measured, name=name, n_members=n_members, **size),
                keras=partial(bench.fresh, loop, name=name, **size),
            )
            peer = f"Keras' loop, {TIMED_MEMBERS} members timed, scaled to {n_members}"
            by_keras = [scaled(one, n_members) for one in times["keras"]]
            later = [time for one in times["ours"] for time in one["fits"][1:]]
            first = [one["fits"][0] for one in times["ours"]]
            bench.compare(f"{name}, {n_members} members, first fit", first, by_keras, peer_name=peer)
            bench.compare(f"{name}, {n_members} members, later fit", later, by_keras, peer_name=peer)
            bench.limit(f"{name}, {n_members} members, per member", [t / n_members for t in later], at_most=None)
            bench.limit(f"{name}, {n_members} members, MB", [one["megabytes"] for one in times["ours"]], at_most=None)


if __name__ == "__main__":
    run(main, measured, loop)
