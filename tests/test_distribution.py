"""The wheel and the source distribution: what is in them, what they say, and that the wheel works by itself."""

import ast
import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import skensemble

ROOT = Path(__file__).parents[1]

pytest.importorskip("hatchling", reason="hatchling, of the test extra, builds the distributions")
pytestmark = pytest.mark.slow

#: Imports every module of the installed package, trains, saves, loads, and prints where it came from.
USE = """
import importlib, pkgutil, sys
from importlib import metadata
from sklearn.datasets import load_iris
import skensemble

for module in pkgutil.walk_packages(skensemble.__path__, "skensemble."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
X, y = load_iris(return_X_y=True)
member = skensemble.KerasClassifier(hidden_layer_sizes=(4,), epochs=2)
ensemble = skensemble.KerasAveragingClassifier(member, 2, engine="fused", random_state=0).fit(X, y)
loaded = skensemble.io.loads(skensemble.io.dumps(ensemble))
assert (loaded.predict_proba(X) == ensemble.predict_proba(X)).all()
print(metadata.version("skensemble"), skensemble.__version__, skensemble.__file__, sep="\\n")
"""

#: Distributions that are not named as what they install.
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
#: Packages that skensemble imports and does not require, and why it can.
WITH_OTHERS = {
    "ml_dtypes": "Keras and TensorFlow require it",
    "cloudpickle": "joblib's copy is used without it",
    "pandas": "the types of its columns mark categories; without it TableEncoder returns numbers alone",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with the wheel and the sdist of this working tree."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="module")
def wheel(folder):
    """Path of the wheel, whose name says that it is for every Python and platform."""
    return folder / f"skensemble-{skensemble.__version__}-py3-none-any.whl"


@pytest.fixture(scope="module")
def wheel_metadata(wheel):
    """The METADATA of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"skensemble-{skensemble.__version__}.dist-info/METADATA"))


def files_below(*folders):
    """Files of the working tree, without what Python leaves there."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in paths if "__pycache__" not in path.parts}


def imported_packages(path):
    """Yield the top-level name of everything that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.partition(".")[0]


def test_wheel_has_the_package(wheel):
    """The wheel has every file of the package, `py.typed` and the licence, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = files_below("skensemble")
    assert "skensemble/py.typed" in package
    information = f"skensemble-{skensemble.__version__}.dist-info"
    assert names == package | {f"{information}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}


def test_sdist_has_what_the_tests_need(folder):
    """The sdist has the package, the tests with their golden files, all that they read, and nothing that is ignored."""
    base = f"skensemble-{skensemble.__version__}"
    with tarfile.open(folder / f"{base}.tar.gz") as archive:
        names = {name.removeprefix(f"{base}/") for name in archive.getnames()}
    golden = files_below("tests/io/golden")
    assert any(name.endswith(".skens") for name in golden)
    assert golden <= names
    code = {name for name in files_below("skensemble", "tests", "benchmarks", "examples") if name.endswith(".py")}
    assert code <= names
    assert files_below("benchmarks/results", "docs/guide", "docs/project", "docs/_static") <= names
    top = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml")
    assert {*top, "PKG-INFO", ".gitignore"} <= names
    unwanted = (".ci", ".venv", ".git/", "output/", "docs/_build/", "docs/api/", "docs/gallery/")
    assert [name for name in names if name.startswith(unwanted) or "__pycache__" in name] == []


def test_metadata(wheel_metadata):
    """Name, version, licence and description are there."""
    assert wheel_metadata["Name"] == "skensemble"
    assert wheel_metadata["Version"] == skensemble.__version__
    assert wheel_metadata["License-Expression"] == "BSD-3-Clause"
    assert wheel_metadata["Description-Content-Type"] == "text/markdown"
    description = wheel_metadata.get_payload(decode=True).decode("utf-8")
    assert description.strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()


def test_what_is_imported_is_required(wheel_metadata):
    """Packages that skensemble imports are dependencies or in an extra for users; those of others bring their own."""
    required = [Requirement(text) for text in wheel_metadata.get_all("Requires-Dist")]
    extras = [{"extra": name} for name in ("io", "jax", "plot")]
    for_users = {one.name for one in required if one.marker is None or any(map(one.marker.evaluate, extras))}
    imported = {name for path in (ROOT / "skensemble").rglob("*.py") for name in imported_packages(path)}
    others = {DISTRIBUTIONS.get(name, name) for name in imported - sys.stdlib_module_names - {"skensemble"}}
    assert others - for_users == WITH_OTHERS.keys()


def test_installed_wheel_works(wheel, tmp_path):
    """A fresh process that finds the wheel's package, and not the working tree, trains, saves and loads with it."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(command, check=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}
    completed = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr
    installed, stated, file = completed.stdout.split()
    assert installed == stated == skensemble.__version__
    assert Path(file) == site / "skensemble" / "__init__.py"
