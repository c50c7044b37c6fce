import contextlib
import runpy
import shutil
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import joblib
import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).parents[1] / "examples"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    """Function that runs an example in a temporary directory, warnings being errors, and returns what it prints."""

    def run(name, *options):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *options])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    yield run
    plt.close("all")


def written_files(directory):
    """Names of all files below `directory`, in order."""
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def assert_is_figure(path):
    """Fail where there is no picture at `path`."""
    assert path.read_bytes().startswith(PNG_SIGNATURE)


@pytest.mark.slow
def test_digits_ensemble(run_example, tmp_path):
    """The demo scores every member and the ensemble, and leaves a figure and a loadable ensemble in `output` alone."""
    lines = run_example("plot_digits_ensemble.py").splitlines()

    assert written_files(tmp_path) == ["output/digits_ensemble.joblib", "output/digits_ensemble.png"]
    assert_is_figure(tmp_path / "output" / "digits_ensemble.png")

    scores = {line[:13].strip(): tuple(map(float, line[13:].split())) for line in lines if line[-5:-3] == "0."}
    members = [scores[f"member {i:2d}"] for i in range(1, 21)]
    np.testing.assert_allclose(scores["members' mean"], np.mean(members, axis=0), atol=1.1e-3)  # rounded to 3 digits
    accuracy, log_loss = scores["ensemble"]
    mean_accuracy, mean_log_loss = scores["members' mean"]
    assert accuracy > mean_accuracy
    assert log_loss < mean_log_loss

    X, y = load_digits(return_X_y=True)
    assert joblib.load(tmp_path / "output" / "digits_ensemble.joblib").score(X / 16, y) > accuracy  # it knows half of X


@pytest.mark.slow
def test_model_averaging(run_example, tmp_path):
    """The spread of five networks is clearly below that of one, which the example itself asserts."""
    printed = run_example("plot_model_averaging.py", "--members", "10")
    assert "150 single networks: mean" in printed
    assert "first 10 networks, votes" in printed
    assert written_files(tmp_path) == ["output/model_averaging.png"]
    assert_is_figure(tmp_path / "output" / "model_averaging.png")


@pytest.mark.slow
def test_snapshot(run_example, tmp_path):
    """The example prints the tutorial's table, and every variant's mean and spread; it leaves a figure alone."""
    printed = run_example("plot_snapshot.py", "--repeats", "2", "--epochs", "20")
    assert "per epoch (tutorial)" in printed
    assert "the best number to combine is" in printed
    assert written_files(tmp_path) == ["output/snapshot.png"]
    assert_is_figure(tmp_path / "output" / "snapshot.png")


@pytest.mark.slow
def test_polyak(run_example, tmp_path):
    """An average wanders less than single epochs, which the example itself asserts; it leaves a figure alone."""
    printed = run_example("plot_polyak.py", "--repeats", "2", "--epochs", "30", "--checkpoints", "10")
    assert "exponential weights" in printed
    assert "From epoch to epoch one run wanders by" in printed
    assert written_files(tmp_path) == ["output/polyak.png"]
    assert_is_figure(tmp_path / "output" / "polyak.png")


@pytest.mark.slow
def test_uncertainty(run_example, tmp_path):
    """Members disagree more where there were no data, which the example asserts."""
    assert "far away" in run_example("plot_uncertainty.py")
    assert_is_figure(tmp_path / "output" / "uncertainty.png")


@pytest.mark.slow
def test_prediction_sets(run_example, tmp_path):
    """Intervals with a guarantee hold about what they promise, which the example asserts."""
    printed = run_example("plot_prediction_sets.py")
    assert "labels in the set: 2" in printed
    assert "Sets of 90%" in printed
    assert_is_figure(tmp_path / "output" / "prediction_sets.png")


@pytest.mark.slow
def test_calibration(run_example, tmp_path):
    """The calibrated ensemble is better calibrated than one network, which the example asserts."""
    lines = run_example("plot_calibration.py").splitlines()
    assert [line[:26].strip() for line in lines[1:4]] == ["one network", "ten networks", "ten networks, calibrated"]
    assert_is_figure(tmp_path / "output" / "calibration.png")


@pytest.mark.slow
def test_grid_search(run_example, tmp_path):
    """A search through the ensemble finds the width and the learning rate of its members."""
    printed = run_example("plot_grid_search.py")
    assert "estimator__hidden_layer_sizes" in printed
    assert "with three members" in printed
    assert_is_figure(tmp_path / "output" / "grid_search.png")


@pytest.mark.slow
def test_early_stopping(run_example, tmp_path):
    """Every member stops by itself, in one program, and is better for it, which the example asserts."""
    printed = run_example("plot_early_stopping.py")
    assert printed.startswith("fused")
    assert "the members stopped after" in printed
    assert "Their average was best after" in printed
    assert_is_figure(tmp_path / "output" / "early_stopping.png")


@pytest.mark.slow
def test_export(run_example, tmp_path):
    """A process without skensemble predicts from the exported file what the ensemble predicts."""
    assert "largest difference" in run_example("plot_export.py")
    assert written_files(tmp_path) == [
        f"output/{n}" for n in ("digits.keras", "export.png", "predicted.npy", "rows.npy")
    ]
    assert_is_figure(tmp_path / "output" / "export.png")


@pytest.mark.slow
def test_backbone(run_example, tmp_path):
    """Both kinds of networks are scored, and the frozen backbone stays as it is, which the example asserts."""
    printed = run_example("plot_backbone.py")
    assert "five networks, from nothing" in printed
    assert "five networks, pretrained" in printed
    assert_is_figure(tmp_path / "output" / "backbone.png")


@pytest.mark.slow
def test_picture_and_table(run_example, tmp_path):
    """A network with an input for each part is better than one on a part alone, which the example asserts."""
    assert "both          " in run_example("plot_picture_and_table.py")
    assert_is_figure(tmp_path / "output" / "picture_and_table.png")


@pytest.mark.slow
def test_voting_and_stacking(run_example, tmp_path):
    """Greedy weights are better than a vote where a member is bad, which the example asserts."""
    printed = run_example("plot_voting_and_stacking.py")
    for name in ("network", "untrained", "forest", "vote", "greedy weights", "stacking"):
        assert f"{name} " in printed
    assert_is_figure(tmp_path / "output" / "voting_and_stacking.png")


def test_model_averaging_needs_two_repeats(run_example, capsys):
    """One repeat has no spread: the example says so before it trains anything."""
    with pytest.raises(SystemExit) as stopped:
        run_example("plot_model_averaging.py", "--repeats", "1")
    assert stopped.value.code == 2
    assert "--repeats must be at least 2" in capsys.readouterr().err


@pytest.mark.slow
def test_convnets(run_example, tmp_path):
    """Three ConvNets, alone, in pairs and together: seven error rates, the figure, weights and logs of each network."""
    logs = ["--tensorboard"] if find_spec("tensorboard") else []  # TensorFlow no longer brings it
    lines = run_example("plot_convnets.py", "--epochs", "5", *logs).splitlines()
    rates = {
        line[:35].strip(): float(line[35:-1]) for line in lines if line.endswith("%") and "one network" not in line
    }
    singles = ["ConvPool-CNN-C", "All-CNN-C", "NiN"]
    assert list(rates)[:3] == singles
    assert [name.count(" + ") for name in rates] == [0, 0, 0, 1, 1, 1, 2]
    assert rates[" + ".join(singles)] < np.mean([rates[name] for name in singles])

    files = written_files(tmp_path)
    assert [name for name in files if "logs" not in name] == [
        *sorted(f"output/{name}.weights.h5" for name in singles),
        "output/convnets.png",
    ]
    for name in singles:
        assert any(file.startswith(f"output/logs/{name}/train/events") for file in files) == bool(logs)
    assert_is_figure(tmp_path / "output" / "convnets.png")


@pytest.mark.slow
def test_convnets_on_cifar10(run_example, monkeypatch):
    """With `--cifar10` the networks are trained on what Keras' loader gives, here generated images of its shape."""
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 200, size=(10, 1, 1, 3))

    def load_data():
        y = rng.integers(0, 10, size=(400, 1))
        X = (colors[y[:, 0]] + rng.integers(0, 56, size=(400, 32, 32, 3))).astype("uint8")
        return (X[:300], y[:300]), (X[300:], y[300:])

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", load_data)
    printed = run_example("plot_convnets.py", "--cifar10", "--filters", "12", "--epochs", "3")
    assert "Training 3 networks for 3 epochs on 300 images" in printed
    assert "ConvPool-CNN-C + All-CNN-C + NiN" in printed


@pytest.mark.slow
def test_stacking(run_example, tmp_path):
    """Three members and three heads are scored, and the best head beats the members, which the example asserts."""
    printed = run_example("plot_stacking.py", "--epochs", "5")
    for name in ("custom CNN", "small VGG", "small MobileNet", "concatenate", "average", "weighted_average"):
        assert f"\n{name} " in printed
    assert "precision    recall" in printed
    graph = "stacking_graph.png" if shutil.which("dot") and find_spec("pydot") else "stacking_graph.txt"
    files = [name for name in written_files(tmp_path) if not name.startswith("output/images/")]
    assert files == ["output/stacking.png", f"output/{graph}"]
    assert_is_figure(tmp_path / "output" / "stacking.png")


def first_layers(application, **narrow):
    """A function that builds a network of Keras up to its second block.

    No weights can be downloaded in a test. Without them, the first layers of a narrow network do as well.
    """

    @cache
    def cut(**params):
        whole = application(**{**params, "weights": None, **narrow})
        return keras.Model(whole.inputs, whole.layers[8].output)

    return lambda **params: keras.models.clone_model(cut(**params))


@pytest.mark.slow
def test_stacking_of_pretrained_networks(run_example, tmp_path, monkeypatch, capsys):
    """With `--images` and `--imagenet`, VGG16 and MobileNet learn a folder of images, here without their weights."""
    rng = np.random.default_rng(0)
    for kind, level in (("dark", 40), ("light", 200)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for number in range(16):
            image = rng.normal(level, 20, size=(40, 40, 3)).clip(0, 255)
            keras.utils.save_img(tmp_path / "photos" / kind / f"{number}.jpg", image, scale=False)
    for name, narrow in (("VGG16", {}), ("MobileNet", {"alpha": 0.25})):
        original = getattr(keras.applications, name)
        monkeypatch.setattr(keras.applications, name, first_layers(original, **narrow))
    # Without the weights, the heads need not be better than the members: the names show that all were trained.
    printed = ""
    with contextlib.suppress(AssertionError):
        printed = run_example("plot_stacking.py", "--images", "photos", "--imagenet", "--epochs", "1")
    printed += capsys.readouterr().out
    assert "24 images to train on, 8 to test on, 2 classes" in printed
    assert "\nVGG16 " in printed
    assert "\nMobileNet " in printed
    assert "The mean member has" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "8"], "--size must be at least 32"),
        (["--images", "nowhere"], "--images must be a folder: got nowhere"),
    ],
)
def test_stacking_refuses(run_example, capsys, options, message):
    """Images too small for the networks, and a folder that is not there, are refused before anything is trained."""
    with pytest.raises(SystemExit) as stopped:
        run_example("plot_stacking.py", *options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--filters", "2"], "--filters must be at least 6"),
        (["--tensorboard"], "--tensorboard needs the package tensorboard"),
    ],
)
def test_convnets_refuse(run_example, capsys, monkeypatch, options, message):
    """Networks without filters, and logs that nothing can write, are refused before anything is trained."""
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SystemExit) as stopped:
        run_example("plot_convnets.py", *options)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_every_example_has_a_test():
    """Each script in `examples` is run by a test of this file."""
    source = Path(__file__).read_text(encoding="utf-8")
    scripts = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert scripts
    assert [name for name in scripts if f'run_example("{name}"' not in source] == []
