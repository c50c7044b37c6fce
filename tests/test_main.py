import subprocess
import sys
from importlib import metadata

import keras
import pytest

import skensemble
from skensemble.__main__ import main


def test_versions_are_printed(capsys):
    """Without a command, the versions that a report of a problem needs are printed, and the commands."""
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"skensemble {skensemble.__version__}\n")
    for name in ("keras", "tensorflow", "scikit-learn"):
        assert f"\n{name} {metadata.version(name)}\n" in printed
    assert "inspect" in printed
    assert "verify" in printed


def test_versions_need_no_tensorflow():
    """The versions are printed without importing TensorFlow, which takes seconds or does not work at all."""
    code = "import sys; sys.modules['tensorflow'] = None; from skensemble.__main__ import main; main([])"
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr


def test_backends_are_printed(capsys):
    """The report names Keras' backend, and the installed ones with their versions."""
    main([])
    installed = f"tensorflow {metadata.version('tensorflow')}"
    assert f"Keras' backend: {keras.config.backend()}; installed: {installed}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "settings", "expected"),
    [
        ("jax", '{"backend": "torch"}', "jax"),
        (None, '{"backend": "torch"}', "torch"),
        (None, '{"floatx": "float32"}', "tensorflow"),
        (None, "not JSON", "tensorflow"),
        (None, None, "tensorflow"),
    ],
)
def test_backend_is_found_as_keras_finds_it(variable, settings, expected, tmp_path, monkeypatch, capsys):
    """`KERAS_BACKEND` comes before keras.json, which comes before TensorFlow."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    if variable:
        monkeypatch.setenv("KERAS_BACKEND", variable)
    if settings:
        (tmp_path / "keras.json").write_text(settings, encoding="utf-8")
    main([])
    assert f"Keras' backend: {expected};" in capsys.readouterr().out
