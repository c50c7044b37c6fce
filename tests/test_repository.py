"""What holds for the repository as a whole: README, import order, private names, docstrings, versions."""

import ast
import doctest
import inspect
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from numpydoc.docscrape import NumpyDocString
from packaging.requirements import Requirement
from packaging.version import Version

import skensemble

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skensemble"

# A file imports only from rows above its own; names of files that are still to come are here already.
IMPORT_ROWS = [
    {"_compat"},
    {"_combine", "_merge"},
    {"_schedules"},
    {"_selection"},
    {"_pickling"},
    {"wrappers"},
    {"_heads"},
    {"_signature", "_pure_optimizer"},
    {"_step"},
    {"_program_state"},
    {"_graph"},
    {"_program"},
    {"_members"},
    {"_initial_values", "_callbacks", "_rows", "_state_file", "_fingerprint"},
    {"_progress"},
    {"_fused"},
    {"_checkpoint"},
    {"_trajectory"},
    {"_training"},
    {"_batch_norm", "_export"},
    {"_base"},
    {"_named"},
    {"_averaging", "_voting", "_snapshot", "_polyak", "_stacking"},
    {"io"},
    {"_display"},
    {"__init__"},
    {"__main__"},
]
ROW_OF = {name: row for row, names in enumerate(IMPORT_ROWS) for name in names}

# The last three are the fused program.
MAY_USE_PRIVATE_NAMES = {"_compat.py", "_pure_optimizer.py", "_step.py", "_graph.py"}
WATCHED_PACKAGES = {"joblib", "keras", "numpy", "scikeras", "scipy", "sklearn", "tensorflow"}
# Not underscored, but no less private.
PRIVATE_MODULES = ("keras.src", "tensorflow.python")

SOURCES = sorted(PACKAGE.rglob("*.py"))
source_file = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
public_class = pytest.mark.parametrize(
    "cls", [getattr(skensemble, name) for name in skensemble.__all__], ids=skensemble.__all__
)


@pytest.fixture
def no_open_figures():
    """Close the figures that an example opened, where it opened any."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# README


def readme_numbers():
    """(number, results file, row) of each line of the README's table of measurements."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^\| .+ \| ([\d.]+) \| `(\w+)`: (.+) \|$", readme, flags=re.MULTILINE)


def test_numbers_of_the_readme_come_from_results():
    """Each measured number in the README is that of a row of a benchmark's results file, rounded."""
    numbers = readme_numbers()
    assert len(numbers) >= 5
    for number, script, name in numbers:
        rows = json.loads((ROOT / "benchmarks" / "results" / f"{script}.json").read_text(encoding="utf-8"))["rows"]
        value = next(row["value"] for row in rows if row["name"] == name)
        assert number == (f"{value:.0f}" if value >= 10 else f"{value:.2f}"), name


def test_readme_blocks_run(tmp_path, monkeypatch, no_open_figures):
    """Every Python block of the README runs, in order, in one namespace."""
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^( *)```python\n(.*?)^\1```$", readme, re.DOTALL | re.MULTILINE))
    assert len(blocks) == readme.count("```python")

    # As in a script: what a block defines is in `__main__`, and is pickled like it.
    namespace = {"__name__": "__main__"}
    for block in blocks:
        if "sklearn.callback" in block.group(2) and find_spec("sklearn.callback") is None:  # scikit-learn >= 1.9
            continue
        n_lines_before = readme.count("\n", 0, block.start(2))  # so that a traceback shows the README's line
        source = "\n" * n_lines_before + textwrap.dedent(block.group(2))
        exec(compile(source, str(ROOT / "README.md"), "exec"), namespace)


# Imports and private names


def imported_modules(tree):
    """Yield `(line number, dotted name)` for each absolute import in `tree`, `from a import b` as "a.b"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def used_attributes(tree):
    """Yield `(line number, dotted name)` for each attribute taken from an imported module or name.

    The name is written out, not as bound: "tensorflow.python.x" for `tf.python.x` after `import tensorflow as tf`.
    """
    origins = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                origins[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            origins |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    for node in ast.walk(tree):
        parts, value = [], node
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if parts and isinstance(value, ast.Name) and value.id in origins:
            yield node.lineno, ".".join([origins[value.id], *reversed(parts)])


def is_private(dotted_name):
    """Tell whether a dotted name of another package is private: `sklearn.utils._tags`, `keras.src.ops`."""
    package, *parts = dotted_name.split(".")
    if package not in WATCHED_PACKAGES:
        return False
    underscored = any(part.startswith("_") and not is_dunder(part) for part in parts)
    return underscored or any(f"{dotted_name}.".startswith(f"{module}.") for module in PRIVATE_MODULES)


def is_dunder(name):
    """Tell whether Python gives the name its meaning: `__version__`, but not TensorFlow's `__internal__`."""
    return name.startswith("__") and name.endswith("__") and name != "__internal__"


def import_order_breaches(tree, importer):
    """List what is wrong with the imports of one file of the package, `importer` being its name in `ROW_OF`."""
    breaches = [
        f"line {node.lineno}: relative import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    for line, dotted_name in imported_modules(tree):
        package, *parts = dotted_name.split(".")
        if package != "skensemble":
            continue
        # `import skensemble` and `from skensemble import KerasClassifier` import `__init__`, the last row.
        imported = parts[0] if parts and parts[0] in ROW_OF else "__init__"
        inside_subpackage = imported == importer == "io"
        if not inside_subpackage and ROW_OF[imported] >= ROW_OF[importer]:
            breaches.append(f"line {line}: {importer} imports {dotted_name}, which is not above it")
    return breaches


@source_file
def test_imports_go_upward(path):
    """A file imports only from files above it, and by absolute names."""
    importer = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert importer in ROW_OF, f"Give {path.name} its place in IMPORT_ROWS."
    assert import_order_breaches(ast.parse(path.read_text(encoding="utf-8")), importer) == []


@source_file
def test_private_names_stay_in_few_files(path):
    """Private names of other packages are used in `_compat.py` and in the fused program only."""
    if path.name in MAY_USE_PRIVATE_NAMES:
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {*imported_modules(tree), *used_attributes(tree)}
    assert sorted(f"line {line}: {name}" for line, name in names if is_private(name)) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from sklearn.utils._tags import get_tags", True),
        ("from sklearn.utils import _safe_indexing", True),
        ("from keras.src import backend", True),
        ("from keras import src", True),
        ("import keras\nkeras.src.ops", True),
        ("import tensorflow as tf\ntf.__internal__.x", True),
        ("from tensorflow.python.eager import context", True),
        ("from sklearn.utils.validation import check_is_fitted", False),
        ("import keras\nkeras.__version__", False),
        ("from skensemble._combine import mean", False),
    ],
)
def test_private_names_are_found(source, expected):
    """The test above sees private names however they are imported."""
    tree = ast.parse(source)
    assert any(is_private(name) for _, name in [*imported_modules(tree), *used_attributes(tree)]) is expected


@pytest.mark.parametrize(
    ("source", "n_breaches"),
    [
        ("from skensemble._combine import mean", 0),
        ("from skensemble import _combine", 0),
        ("from skensemble._voting import x", 1),
        ("from skensemble._display import MembersDisplay", 1),
        ("from skensemble import KerasClassifier", 1),
        ("import skensemble", 1),
        ("from ._combine import mean", 1),
    ],
)
def test_import_order_breaches_are_found(source, n_breaches):
    """The import-order test sees each form of import, here in `_averaging.py`."""
    assert len(import_order_breaches(ast.parse(source), "_averaging")) == n_breaches


def test_public_names():
    """`__all__` is sorted, and every name in it can be imported."""
    assert skensemble.__all__ == sorted(skensemble.__all__)
    for name in skensemble.__all__:
        assert hasattr(skensemble, name)


IMPORT_CHECK = """
import sys
sys.modules["matplotlib"] = None  # importing it raises ImportError

import random, warnings
import keras, numpy, scikeras.wrappers, sklearn, tensorflow

def state():
    return repr((
        keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy().name,
        keras.config.is_traceback_filtering_enabled(), keras.config.is_interactive_logging_enabled(),
        sklearn.get_config(), tensorflow.config.optimizer.get_jit(), tensorflow.config.functions_run_eagerly(),
        random.getstate(), numpy.random.get_state(), warnings.filters,
    ))

before = state()
import skensemble
assert state() == before
"""


def test_import_changes_nothing():
    """Importing the package leaves all global settings and seeds alone, and does not need matplotlib."""
    completed = subprocess.run([sys.executable, "-c", IMPORT_CHECK], capture_output=True, text=True, cwd=ROOT)
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == ""


# Docstrings


def documented_parameters(cls):
    """Map each name in the Parameters section to the text after its colon, in order."""
    section = NumpyDocString(inspect.getdoc(cls))["Parameters"]
    return {
        name.strip(): parameter.type
        for parameter in section
        for name in parameter.name.split(",")
        if not name.strip().startswith("*")  # **kwargs: each class says in words which it takes
    }


def init_parameters(cls):
    """Map each argument of `__init__` to its `inspect.Parameter`, in order, without self and **kwargs."""
    _, *parameters = inspect.signature(cls.__init__).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}


@public_class
def test_documented_parameters_are_the_real_ones(cls):
    """The Parameters section names the arguments of `__init__`, all of them, in order."""
    assert list(documented_parameters(cls)) == list(init_parameters(cls))


@public_class
def test_documented_defaults_are_the_real_ones(cls):
    """Where the docstring says "default=...", it says what the signature says."""
    parameters = init_parameters(cls)
    wrong = []
    for name, text in documented_parameters(cls).items():
        stated = re.search(r"default=(.+)$", text)
        if stated and name in parameters and not is_default(stated.group(1), parameters[name].default):
            wrong.append(f"{name}: documented {stated.group(1)}, is {parameters[name].default!r}")
    assert wrong == []


def is_default(text, default):
    """Tell whether the documented `text` is the Python value `default`; strings may go without quotes."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = text
    return value == default and type(value) is type(default)


@public_class
def test_docstring_examples_run(cls, tmp_path, monkeypatch, no_open_figures):
    """Every public class has an example, and all its examples print what they say."""
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    examples = doctest.DocTestFinder(exclude_empty=True).find(cls, cls.__name__)
    assert any(test.name == cls.__name__ for test in examples), f"{cls.__name__} has no example."
    report = []
    for test in examples:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


# Versions


def project():
    """Read the `[project]` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_changelog_has_unreleased_section():
    """The changelog begins with what is not released yet."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_citation_has_the_version():
    """CITATION.cff names the version of pyproject.toml."""
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [project()["version"]]


def test_oldest_pins_are_the_floors():
    """The `oldest` extra pins every dependency to the lowest version that is allowed."""
    pins = {}
    for pin in map(Requirement, project()["optional-dependencies"]["oldest"]):
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        pins[pin.name] = Version(specifier.version)
    floors = {}
    for dependency in map(Requirement, project()["dependencies"]):
        (specifier,) = dependency.specifier
        assert specifier.operator == ">="
        floors[dependency.name] = Version(specifier.version)
    assert pins == floors
