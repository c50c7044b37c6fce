import runpy
import sys
from pathlib import Path

import joblib
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


@pytest.mark.slow
def test_digits_ensemble(run_example, tmp_path):
    """The demo scores every member and the ensemble, and leaves a figure and a loadable ensemble in `output` alone."""
    lines = run_example("plot_digits_ensemble.py").splitlines()

    assert written_files(tmp_path) == ["output/digits_ensemble.joblib", "output/digits_ensemble.png"]
    assert (tmp_path / "output" / "digits_ensemble.png").read_bytes().startswith(PNG_SIGNATURE)

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
    assert "25 single networks: mean" in printed
    assert "first 10 networks, votes" in printed
    assert written_files(tmp_path) == ["output/model_averaging.png"]
    assert (tmp_path / "output" / "model_averaging.png").read_bytes().startswith(PNG_SIGNATURE)


def test_model_averaging_needs_two_repeats(run_example, capsys):
    """One repeat has no spread: the example says so before it trains anything."""
    with pytest.raises(SystemExit) as stopped:
        run_example("plot_model_averaging.py", "--repeats", "1")
    assert stopped.value.code == 2
    assert "--repeats must be at least 2" in capsys.readouterr().err


def test_every_example_has_a_test():
    """Each script in `examples` is run by a test of this file."""
    source = Path(__file__).read_text(encoding="utf-8")
    scripts = sorted(path.name for path in EXAMPLES.glob("*.py"))
    assert scripts
    assert [name for name in scripts if f'run_example("{name}"' not in source] == []
