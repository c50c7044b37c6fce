"""What do the twenty networks of the tutorial cost with skensemble, and with what people use instead?

Each peer trains the same networks on the same rows (150 rows, 200 epochs of batches of 32, Adam), in a process of its
own: fit, prediction of 350 rows, accuracy on them, and the peak memory of the process, without its workers. The first
fit comes after the imports and includes what a library starts, traces and compiles. What trains with Keras' own fit is
slow: two members are timed, and fit and prediction are scaled to twenty; memory and accuracy are those of the two.

After 200 epochs these networks still learn. scikit-learn and PyTorch begin with other values than Keras, biases other
than 0 among them, and are a point or two ahead then; the programs that are written by hand begin as Keras does.

- torchensemble trains PyTorch modules, as many at a time as there are cores.
- TabM's packed variant is twenty separate networks in one PyTorch module. It comes without a training loop; the
  shortest one is used. TabM's other variants share variables between members, and pytabkit trains networks and
  schedules of its own (RealMLP, TabM): neither can train the tutorial's networks.
- The programs that are written by hand, with TensorFlow's XLA and with JAX, are the limit: they can train this network
  alone, and know no callbacks, validation data or scikit-learn.

`make bench-peers` installs the peers into an environment of its own. Where one is missing it is skipped, and nothing is
written.
"""

import os
import re
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _harness import run, seconds
from _tutorial import (
    BATCH_SIZE,
    EPOCHS,
    HIDDEN,
    N_CLASSES,
    N_FEATURES,
    N_MEMBERS,
    blobs,
    labels_to_predict,
    row_orders,
    starting_values,
)

N_PROCESSES, N_PREDICTIONS, SLOW_MEMBERS = 3, 10, 2
LEARNING_RATE = 1e-3
FIRST_FIT, LATER_FITS, PREDICTION, MEMORY, ACCURACY = (
    "first fit",
    "later fits",
    "prediction",
    "peak memory in MB",
    "accuracy",
)
#: Four of the 350 rows; from seed to seed it is about one.
ACCURACY_NOISE = 0.012


# Each function imports a library and returns `fit(X, y, seed)`, which returns the function that predicts probabilities.


def skensemble(n_members, epochs, engine="fused"):
    from _tutorial import ensemble

    model = ensemble(n_members, epochs, engine=engine)
    return lambda X, y, seed: model.set_params(random_state=seed).fit(X, y).predict_proba


def skensemble_by_keras(n_members, epochs):
    return skensemble(n_members, epochs, engine="keras")


def keras_loop(n_members, epochs):
    import keras
    from _tutorial import keras_model

    def fit(X, y, seed):
        keras.utils.set_random_seed(seed)
        models = [keras_model() for _ in range(n_members)]
        for model in models:
            model.fit(X, y, epochs=epochs, batch_size=BATCH_SIZE, verbose=0)
        return lambda X: np.mean([model.predict(X, verbose=0) for model in models], axis=0)

    return fit


def voting(n_members, epochs):
    from _tutorial import ensemble
    from sklearn.base import clone
    from sklearn.ensemble import VotingClassifier

    member = ensemble(epochs=epochs).estimator.set_params(engine="keras")

    def fit(X, y, seed):
        seeds = range(seed * n_members, (seed + 1) * n_members)
        members = [(f"member {one}", clone(member).set_params(random_state=one)) for one in seeds]
        return VotingClassifier(members, voting="soft").fit(X, y).predict_proba

    return fit


def bagging(n_members, epochs, n_jobs=None):
    from sklearn.ensemble import BaggingClassifier
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    network = MLPClassifier((HIDDEN,), batch_size=BATCH_SIZE, max_iter=epochs, n_iter_no_change=epochs + 1, alpha=0)

    def fit(X, y, seed):
        ensemble = BaggingClassifier(network, n_members, bootstrap=False, n_jobs=n_jobs, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are run, as asked
            return ensemble.fit(X, y).predict_proba

    return fit


def bagging_on_all_cores(n_members, epochs):
    return bagging(n_members, epochs, n_jobs=os.cpu_count())


def torchensemble(n_members, epochs):
    import torch
    from torch.utils.data import DataLoader, TensorDataset
    from torchensemble import VotingClassifier

    class Network(torch.nn.Sequential):  # a class: the members of an instance would all begin with its values
        def __init__(self):
            hidden, output = torch.nn.Linear(N_FEATURES, HIDDEN), torch.nn.Linear(HIDDEN, N_CLASSES)
            super().__init__(hidden, torch.nn.ReLU(), output)

    def fit(X, y, seed):
        torch.manual_seed(seed)
        loader = DataLoader(TensorDataset(torch.tensor(X), torch.tensor(y).long()), BATCH_SIZE, shuffle=True)
        model = VotingClassifier(estimator=Network, n_estimators=n_members, cuda=False, n_jobs=os.cpu_count())
        model.set_criterion(torch.nn.CrossEntropyLoss())
        model.set_optimizer("Adam", lr=LEARNING_RATE)
        model.fit(loader, epochs=epochs, log_interval=len(loader) + 1, save_model=False)
        return lambda X: model.predict(X).numpy()

    return fit


def tabm_packed(n_members, epochs):
    import torch
    from tabm import TabM

    def fit(X, y, seed):
        torch.manual_seed(seed)
        X, y = torch.tensor(X), torch.tensor(y).long()
        sizes = {"n_num_features": N_FEATURES, "n_blocks": 1, "d_block": HIDDEN, "d_out": N_CLASSES, "k": n_members}
        model = TabM.make(**sizes, dropout=0.0, arch_type="tabm-packed")
        optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        for order in torch.tensor(row_orders(n_members, epochs, np.random.default_rng(seed))):
            for rows in order.T.split(BATCH_SIZE):  # of shape (batch, members)
                optimizer.zero_grad()
                # Of all members together: Adam divides the scale out again.
                torch.nn.functional.cross_entropy(model(X[rows]).flatten(0, 1), y[rows].flatten()).backward()
                optimizer.step()
        model.eval()
        return lambda X: model(torch.tensor(X)).softmax(-1).mean(1).detach().numpy()

    return fit


def xla_by_hand(n_members, epochs):
    import _by_hand_xla
    import tensorflow as tf

    return fit_by_hand(_by_hand_xla, tf.convert_to_tensor, n_members, epochs)


def jax_by_hand(n_members, epochs):
    import _by_hand_jax
    import jax.numpy as jnp

    return fit_by_hand(_by_hand_jax, jnp.asarray, n_members, epochs)


def fit_by_hand(program, tensor, n_members, epochs):
    def fit(X, y, seed):
        rng = np.random.default_rng(seed)
        values = [tensor(value) for value in starting_values(n_members, rng)]
        orders = tensor(row_orders(n_members, epochs, rng))
        variables, logs = program.train(tensor(X), tensor(y), orders, values)
        np.asarray(logs[0])  # waits for the end, and takes the history as fits do
        return lambda X: np.asarray(program.predict(variables, tensor(X)))

    return fit


class Peer(NamedTuple):
    """Who trains the networks, and how it is measured."""

    prepare: Callable
    packages: tuple = ()  # that must be installed for it
    n_members: int = N_MEMBERS
    n_fits: int = 1  # in each process; the first one counts alone
    bounds: dict = {}  # by what is measured: how many times faster skensemble must be, at least
    limits: dict = {}  # by what is measured: how many times slower it may be, at most


OURS = "skensemble"
LOOP = "Keras' fit in a loop"
BAGGING = "BaggingClassifier(MLPClassifier)"
TORCH = "torchensemble"
BY_HAND = "XLA by hand"
PEERS = {
    OURS: Peer(skensemble, n_fits=4),
    'skensemble, engine="keras"': Peer(skensemble_by_keras, n_members=SLOW_MEMBERS),
    LOOP: Peer(keras_loop, n_members=SLOW_MEMBERS, bounds={FIRST_FIT: 80, LATER_FITS: 300, PREDICTION: 100}),
    "VotingClassifier of Keras members": Peer(voting, n_members=SLOW_MEMBERS, bounds={FIRST_FIT: 80, LATER_FITS: 300}),
    BAGGING: Peer(bagging, n_fits=2, bounds={LATER_FITS: 8}),
    f"{BAGGING} on all cores": Peer(bagging_on_all_cores, n_fits=2, bounds={LATER_FITS: 4}),
    TORCH: Peer(torchensemble, packages=("torch", "torchensemble"), bounds={FIRST_FIT: 20, LATER_FITS: 100}),
    "TabM, packed": Peer(tabm_packed, packages=("torch", "tabm"), n_fits=2, bounds={LATER_FITS: 2}),
    BY_HAND: Peer(xla_by_hand, n_fits=4, limits={LATER_FITS: 5}),
    "JAX by hand": Peer(jax_by_hand, packages=("jax",), n_fits=4, limits={LATER_FITS: 5}),
}


def measure(name, epochs):
    """What one process tells of one peer: lists by what is measured, seconds scaled to all members."""
    peer = PEERS[name]
    X, y, X_test = blobs()
    fit = peer.prepare(peer.n_members, epochs)
    scale = N_MEMBERS / peer.n_members
    fits, accuracies = [], []
    for seed in range(peer.n_fits):
        start = time.perf_counter()
        predict = fit(X, y, seed)
        fits.append(scale * (time.perf_counter() - start))
        accuracies.append(float((predict(X_test).argmax(axis=1) == labels_to_predict()).mean()))
    predictions = [scale * seconds(predict, X_test) for _ in range(N_PREDICTIONS)]
    return {
        FIRST_FIT: fits[:1],
        LATER_FITS: fits[1:] or fits,
        PREDICTION: [statistics.median(predictions)],
        MEMORY: [peak_memory()],
        ACCURACY: accuracies,
    }


def peak_memory():
    """Largest resident memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # what `getrusage` says includes the process that started this one
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(bench):
    present = {}
    for name, peer in PEERS.items():
        missing = [package for package in peer.packages if find_spec(package) is None]
        if missing:
            bench.skip(name, f"{' and '.join(missing)} not installed; `make bench-peers` installs all peers")
        else:
            present[name] = peer
    bench.packages += sorted({package for peer in present.values() for package in peer.packages})

    epochs = 2 if bench.quick else EPOCHS
    # In turn, so that all of them meet the same load of the machine.
    runs = bench.repeat(
        N_PROCESSES, **{name: lambda name=name: bench.fresh(measure, name=name, epochs=epochs) for name in present}
    )
    results = {
        name: {what: [value for one in runs[name] for value in one[what]] for what in runs[name][0]} for name in present
    }
    state_rows(bench, present, results)


def state_rows(bench, present, results):
    for name, peer in present.items():
        timed = f", {peer.n_members} of {N_MEMBERS} members timed, scaled" if peer.n_members < N_MEMBERS else ""
        for what in (FIRST_FIT, LATER_FITS, PREDICTION, MEMORY) if name != OURS else ():
            bench.compare(
                f"{what}: {name}",
                results[OURS][what],
                results[name][what],
                peer_name=name + timed,
                at_least=peer.bounds.get(what),
                at_most=peer.limits.get(what),
            )
        bench.limit(f"{ACCURACY}: {name}", results[name][ACCURACY], at_most=None)
    ours, by_hand = (statistics.median(results[name][ACCURACY]) for name in (OURS, BY_HAND))
    bench.limit(f"accuracy by which {BY_HAND} is ahead", [by_hand - ours], at_most=ACCURACY_NOISE)


if __name__ == "__main__":
    run(main, measure)
