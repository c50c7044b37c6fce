"""What holds for the repository as a whole: README, import order, private names, docstrings, versions."""

import ast
import builtins
import doctest
import inspect
import json
import re
import subprocess
import sys
import textwrap
import tomllib
from graphlib import TopologicalSorter
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import keras
import pytest
import scikeras.wrappers
import sklearn.exceptions
from numpydoc.docscrape import NumpyDocString
from packaging.requirements import Requirement
from packaging.version import Version
from private_names import AT_HOME, ELSEWHERE, PRIVATE_ATTRIBUTES, foreign_attributes, own_names
from sklearn.pipeline import Pipeline

import skensemble

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "skensemble"

# A file imports only from its own layer and from layers above it, and files of a layer do not import each other in a
# circle. A folder is one layer.
LAYERS = [
    {"exceptions", "_files", "_keras_objects", "_numeric", "_typing"},
    {"_compat"},
    {"_members"},
    {"_engine"},
    {"_checkpoint"},
    {"wrappers", "_wrappers", "_heads"},
    {"_export"},
    {"_base", "_search"},
    {"io", "metrics", "model_selection", "preprocessing"},
    {"_from_models"},
    {"_averaging", "_voting", "_snapshot", "_polyak", "_stacking"},
    {"_display"},
    {"__init__", "__main__"},
]
LAYER_OF = {name: layer for layer, names in enumerate(LAYERS) for name in names}

LISTED = {name for names in PRIVATE_ATTRIBUTES.values() for name in names}
WATCHED_PACKAGES = {"joblib", "keras", "numpy", "scikeras", "scipy", "sklearn", "tensorflow"}
# Not underscored, but no less private.
PRIVATE_MODULES = ("keras.src", "tensorflow.python")

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__") for path in SOURCES
}
source_file = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
CLASSES = [
    *skensemble.__all__,
    *(f"{name}.{one}" for name in ("model_selection", "preprocessing") for one in getattr(skensemble, name).__all__),
]
public_class = pytest.mark.parametrize("cls", [attrgetter(name)(skensemble) for name in CLASSES], ids=CLASSES)
IO_FUNCTIONS = [f"io.{name}" for name in skensemble.io.__all__ if inspect.isfunction(getattr(skensemble.io, name))]
FUNCTIONS = [*IO_FUNCTIONS, *(f"metrics.{name}" for name in skensemble.metrics.__all__)]


@pytest.fixture
def no_open_figures():
    """Close the figures that an example opened, where it opened any."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


# README


def measured_numbers(path):
    """(number, results file, row) of each line of a page's tables of measurements."""
    page = path.read_text(encoding="utf-8")
    return re.findall(r"^\| .+ \| ([\d.]+) \| `(\w+)`: (.+) \|$", page, flags=re.MULTILINE)


def test_pages_have_measurements():
    """The README and the pages that compare have tables of measurements, whose numbers the next test checks."""
    assert len(measured_numbers(ROOT / "README.md")) >= 5
    assert len(measured_numbers(ROOT / "docs" / "guide" / "speed.md")) >= 15
    assert len(measured_numbers(ROOT / "docs" / "guide" / "which-ensemble.md")) >= 10


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_numbers_of_pages_come_from_results(path):
    """Each measured number in the README and the guide is that of a row of a benchmark's results file, rounded."""
    for number, script, name in measured_numbers(path):
        rows = json.loads((ROOT / "benchmarks" / "results" / f"{script}.json").read_text(encoding="utf-8"))["rows"]
        value = next(row["value"] for row in rows if row["name"] == name)
        assert number == (f"{value:.0f}" if value >= 10 else f"{value:.2f}"), name


@pytest.mark.parametrize(
    "path", [PAGES[0], *(pytest.param(page, marks=pytest.mark.slow) for page in PAGES[1:])], ids=lambda path: path.name
)
def test_readme_blocks_run(path, tmp_path, monkeypatch, no_open_figures):
    """Every Python block of the README and of each page of the guide runs, in order, in one namespace a page."""
    monkeypatch.chdir(tmp_path)
    page = path.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^( *)```python\n(.*?)^\1```$", page, re.DOTALL | re.MULTILINE))
    assert len(blocks) == page.count("```python")

    # As in a script: what a block defines is in `__main__`, and is pickled like it.
    namespace = {"__name__": "__main__"}
    for block in blocks:
        if "sklearn.callback" in block.group(2) and find_spec("sklearn.callback") is None:  # scikit-learn >= 1.9
            continue
        if "mlflow" in block.group(2) and find_spec("mlflow") is None:  # in the tests of clients
            continue
        if "LocalCluster(" in block.group(2) or "ray.init(" in block.group(2):  # in tests/test_clusters.py
            continue
        n_lines_before = page.count("\n", 0, block.start(2))  # so that a traceback shows the line of the page
        source = "\n" * n_lines_before + textwrap.dedent(block.group(2))
        exec(compile(source, str(path), "exec"), namespace)


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


def imports_of(tree):
    """Yield `(line number, module)` of each import of a module of the package: "_members.spec", "" for the package."""
    for line, dotted_name in imported_modules(tree):
        package, *parts = dotted_name.split(".")
        if package == "skensemble":
            module = [".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES]
            yield line, next(iter(module), "")


def import_order_breaches(tree, importer):
    """List what is wrong with the imports of one file of the package, `importer` being its name in `MODULES`."""
    breaches = [
        f"line {node.lineno}: relative import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    layer = LAYER_OF[importer.split(".")[0]]
    for line, imported in imports_of(tree):
        # `import skensemble` and `from skensemble import KerasClassifier` import `__init__`, the last layer.
        if LAYER_OF[imported.split(".")[0] or "__init__"] > layer:
            breaches.append(f"line {line}: {importer} imports {imported or 'skensemble'}, which is not above it")
    return breaches


def module_of(path):
    """Name of a file of the package as imports have it: "_members.spec", "io" for its `__init__.py`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


@source_file
def test_imports_go_upward(path):
    """A file imports only from its own layer and those above it, and by absolute names."""
    assert module_of(path).split(".")[0] in LAYER_OF, f"Give {path.name} its place in LAYERS."
    assert import_order_breaches(ast.parse(path.read_text(encoding="utf-8")), module_of(path)) == []


def test_imports_have_no_circles():
    """Files import each other in one direction, those of one layer too."""
    trees = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    graph = {
        name: {imported for _, imported in imports_of(tree) if imported not in ("", name)}
        for name, tree in trees.items()
    }
    TopologicalSorter(graph).prepare()


def nodes_of_sources(kind):
    """(file, node) for every node of this kind in the package."""
    trees = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    return [(file, node) for file, tree in trees.items() for node in ast.walk(tree) if isinstance(node, kind)]


def test_classes_are_small():
    """No class has more than 15 methods: what only reads a class is a function."""
    counts = {
        f"{file}: {node.name}": sum(isinstance(one, ast.FunctionDef) for one in node.body)
        for file, node in nodes_of_sources(ast.ClassDef)
    }
    assert len(counts) > 100
    assert {name: n for name, n in counts.items() if n > 15} == {}


def test_functions_are_short():
    """Nine of ten functions have fewer than 36 lines, docstrings included."""
    lengths = [node.end_lineno - node.lineno + 1 for _, node in nodes_of_sources(ast.FunctionDef)]
    assert len(lengths) > 1000
    assert sum(length < 36 for length in lengths) >= 0.9 * len(lengths)


def test_functions_take_few_arguments():
    """More than seven are a record, except where users or scikeras pass each by its name."""
    passed_by_name = {"__init__", "build_head", "from_estimator", "from_models", "reweight"}
    many = [
        f"{file}: {node.name}"
        for file, node in nodes_of_sources(ast.FunctionDef)
        if node.name not in passed_by_name
        and len([one for one in (*node.args.args, *node.args.kwonlyargs) if one.arg not in ("self", "cls")]) > 7
    ]
    assert many == []


@source_file
def test_private_names_stay_in_few_files(path):
    """Private names of other packages are imported in `_compat/` and in the fused program only."""
    if not path.relative_to(PACKAGE).as_posix().startswith(AT_HOME):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {*imported_modules(tree), *used_attributes(tree)}
        names |= {(line, "sklearn._private") for line, module in imports_of(tree) if module == "_compat.private"}
        assert sorted(f"line {line}: {name}" for line, name in names if is_private(name)) == []


@pytest.fixture(scope="module")
def private_attributes_of_others():
    """Private attributes of the objects of other packages that skensemble works with."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    objects = [model, model.layers[0], model.optimizer, model.trainable_variables[0], model.outputs[0]]
    objects += [keras.callbacks.TensorBoard(), model._compile_loss, model._compile_metrics]
    objects += [scikeras.wrappers.KerasClassifier(), scikeras.wrappers.KerasRegressor(), Pipeline([])]
    return {name for one in objects for name in dir(one) if name.startswith("_") and not is_dunder(name)}


def test_private_names_of_objects_are_listed(private_attributes_of_others):
    """Private attributes of other packages' objects are all in `PRIVATE_ATTRIBUTES`, and used where that is allowed."""
    trees = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
    own = {name for file, tree in trees.items() if not file.startswith(AT_HOME) for name in own_names(tree)}
    own |= {name for file, tree in trees.items() for name in own_names(tree) if name not in LISTED}
    used, astray = set(), []
    for file, tree in trees.items():
        for line, name in foreign_attributes(tree, own, private_attributes_of_others):
            used.add(name)
            if (file, name) not in ELSEWHERE and not (file.startswith(AT_HOME) and name in LISTED):
                astray.append(f"{file}, line {line}: {name}")
    assert astray == [], "Move it to `_compat/`, or list it with its reason."
    assert LISTED - used == set(), "No longer used."


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("model._flatten_layers()", ["_flatten_layers"]),
        ("getattr(optimizer, '_learning_rate')", ["_learning_rate"]),
        ("self._get_variable_index(x)", ["_get_variable_index"]),
        ("self.model._compile_loss", ["_compile_loss"]),
        ("estimator._fit(X)", ["_fit"]),
        ("self._fit(X); super()._fit(X); record._replace(x=1); ensemble._names", []),
    ],
)
def test_private_names_of_objects_are_found(source, names, private_attributes_of_others):
    """The test above sees attributes, also by name, and lets the package's own pass."""
    found = foreign_attributes(ast.parse(source), {"_fit", "_names"}, private_attributes_of_others)
    assert [name for _, name in found] == names


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
        ("from skensemble._numeric.combination import mean", False),
    ],
)
def test_private_names_are_found(source, expected):
    """The test above sees private names however they are imported."""
    tree = ast.parse(source)
    assert any(is_private(name) for _, name in [*imported_modules(tree), *used_attributes(tree)]) is expected


@pytest.mark.parametrize(
    ("source", "n_breaches"),
    [
        ("from skensemble._numeric.combination import mean", 0),
        ("from skensemble._numeric import combination", 0),
        ("from skensemble._voting import x", 0),
        ("from skensemble.io import dump", 0),
        ("from skensemble._display.members import MembersDisplay", 1),
        ("from skensemble import KerasClassifier", 1),
        ("import skensemble", 1),
        ("from ._numeric.combination import mean", 1),
    ],
)
def test_import_order_breaches_are_found(source, n_breaches):
    """The import-order test sees each form of import, here in `_averaging.py`."""
    assert len(import_order_breaches(ast.parse(source), "_averaging")) == n_breaches


# Warnings


@source_file
def test_warnings_name_the_line_of_the_user(path):
    """Each `warnings.warn` of the package finds the stack level of the user's line by `find_stacklevel`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "warnings":
            assert "warn" not in [alias.name for alias in node.names], "Write `warnings.warn`, which this test sees."
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert given.get("stacklevel") == "find_stacklevel()", f"line {node.lineno}"


def test_public_names():
    """`__all__` is sorted, and every name in it can be imported."""
    assert skensemble.__all__ == sorted(skensemble.__all__)
    for name in skensemble.__all__:
        assert hasattr(skensemble, name)
    assert {"exceptions", "io"} <= set(dir(skensemble))
    assert issubclass(skensemble.exceptions.NotFusableError, ValueError)


IMPORT_CHECK = """
import sys
sys.modules["matplotlib"] = None  # importing it raises ImportError

import random, warnings
import keras, numpy, scikeras.wrappers, sklearn, tensorflow
from scikeras.utils import transformers
from tensorflow.python.ops.parallel_for import pfor

def members(module):
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    return [{name: id(value) for name, value in vars(one).items()} for one in (module, *classes)]

def state():
    return repr((
        keras.config.floatx(), keras.config.image_data_format(), keras.config.dtype_policy().name,
        keras.config.is_traceback_filtering_enabled(), keras.config.is_interactive_logging_enabled(),
        sklearn.get_config(), tensorflow.config.optimizer.get_jit(), tensorflow.config.functions_run_eagerly(),
        random.getstate(), numpy.random.get_state(), warnings.filters,
        members(scikeras.wrappers), members(transformers), members(keras),
        members(sklearn.base), members(tensorflow), sorted(pfor._pfor_converter_registry),
    ))

before = state()
import skensemble
for name in skensemble.__all__:
    getattr(skensemble, name)
import skensemble.io
import skensemble._engine.tensorflow  # else imported by the first fit
assert state() == before
"""


def test_import_changes_nothing():
    """Importing all of the package changes no global setting, seed or other package, and does not need matplotlib."""
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
    if text == "np.nan":
        return isinstance(default, float) and default != default
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        value = text
    return value == default and type(value) is type(default)


def public_functions(cls):
    """Map the name of each public method and property of a class, written in this package, to its function."""
    functions = {}
    for name in dir(cls):
        found = inspect.getattr_static(cls, name)
        for wrapped in ("fget", "fn", "__func__", "__wrapped__"):  # property, available_if, classmethod, fit_context
            found = getattr(found, wrapped, None) or found
        if not name.startswith("_") and inspect.isfunction(found) and found.__module__.startswith("skensemble."):
            functions[name] = found
    return functions


@public_class
def test_public_methods_are_annotated(cls):
    """The parameters and the results of public methods have types."""
    lacking = []
    for name, function in public_functions(cls).items():
        if not name.startswith("set_") or name == "set_params":  # the others are made by scikit-learn
            signature = inspect.signature(function)
            _, *parameters = signature.parameters.values()
            annotations = [*(one.annotation for one in parameters), signature.return_annotation]
            lacking += [name] if inspect.Signature.empty in annotations else []
    assert lacking == []


@public_class
def test_fit_says_what_it_raises_and_warns_of(cls):
    """The docstring of each `fit` has sections on errors and warnings, which name classes that exist."""
    if not hasattr(cls, "fit"):
        return
    docstring = NumpyDocString(inspect.getdoc(cls.fit))
    for section, parent in (("Raises", Exception), ("Warns", Warning)):
        assert docstring[section] != []
        for entry in docstring[section]:
            modules = (builtins, sklearn.exceptions, skensemble.exceptions)
            kind = next(getattr(module, entry.type) for module in modules if hasattr(module, entry.type))
            assert issubclass(kind, parent)
            assert entry.desc != []


@public_class
def test_references_are_cited(cls):
    """Each entry of the References section is cited in the text, and each citation has an entry."""
    docstring = inspect.getdoc(cls)
    listed = re.findall(r"^\.\. \[(\d+)\]", docstring, re.MULTILINE)
    assert listed == sorted(set(re.findall(r"\[(\d+)\]_", docstring)))


@pytest.mark.parametrize("name", [*CLASSES, *FUNCTIONS])
def test_docstring_examples_run(name, tmp_path, monkeypatch, no_open_figures):
    """Every public class and function has an example, and all its examples print what they say."""
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    examples = doctest.DocTestFinder(exclude_empty=True).find(attrgetter(name)(skensemble), name)
    assert any(test.name == name for test in examples), f"{name} has no example."
    report = []
    for test in examples:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


@source_file
def test_no_example_is_left_unrun(path):
    """Only public classes, their methods and functions have examples, which the test above runs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    run = {name.rpartition(".")[2] for name in [*CLASSES, *FUNCTIONS]}
    unrun = [node for node in tree.body if getattr(node, "name", None) not in run]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    inside = [inner for node in unrun for inner in ast.walk(node) if isinstance(inner, documented)]
    assert [node for node in (tree, *inside) if ">>> " in (ast.get_docstring(node) or "")] == []


# Versions


def project():
    """Read the `[project]` table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_classifiers_name_the_python_versions():
    """The classifiers name each Python version, from the lowest that is allowed."""
    pattern = r"Programming Language :: Python :: 3\.(\d+)"
    minors = [int(found[1]) for one in project()["classifiers"] if (found := re.fullmatch(pattern, one))]
    assert project()["requires-python"] == f">=3.{minors[0]}"
    assert minors == list(range(minors[0], minors[-1] + 1))


def test_sdist_has_the_tests():
    """The source distribution leaves out nothing that the tests need."""
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert targets["sdist"] == {"exclude": [".ci"]}


def test_no_folder_of_tests_stands_in_for_a_package():
    """No folder on pytest's path is named like a package: Python would import it where the package is missing."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    folders = {path.name for one in options["pythonpath"] for path in (ROOT / one).iterdir() if path.is_dir()}
    extras = [one for extra in project()["optional-dependencies"].values() for one in extra]
    assert not folders & {Requirement(one).name for one in [*project()["dependencies"], *extras]}


def test_changelog_has_unreleased_section():
    """The changelog begins with what is not released yet."""
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"


def test_version_stands_in_one_place():
    """The version is `skensemble.__version__`, in PEP 440's form; pyproject.toml reads it from there."""
    assert "version" not in project()
    assert "version" in project()["dynamic"]
    assert skensemble.__version__ == str(Version(skensemble.__version__))


@pytest.mark.parametrize(
    ("file", "pattern"),
    [("CITATION.cff", r"^version: (.+)$"), ("docs/project/conda/recipe.yaml", r'^  version: "(.+)"$')],
)
def test_other_files_have_the_version(file, pattern):
    """The citation and the conda recipe, which cannot read it, repeat the version."""
    text = (ROOT / file).read_text(encoding="utf-8")
    assert re.findall(pattern, text, re.MULTILINE) == [skensemble.__version__]


def test_conda_recipe_has_the_dependencies():
    """What the conda recipe installs is what pyproject.toml asks for."""
    recipe = (ROOT / "docs" / "project" / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    (section,) = re.findall(r"^  run:\n((?:    - .+\n)+)", recipe, re.MULTILINE)
    assert re.findall(r"^  python_min: \"(.+)\"$", recipe, re.MULTILINE) == [project()["requires-python"].lstrip(">=")]
    run = ["python >=${{ python_min }}", *(re.sub("(?=>=)", " ", one) for one in project()["dependencies"])]
    assert re.findall(r"^    - (.+)$", section, re.MULTILINE) == run


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
