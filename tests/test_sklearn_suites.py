"""scikit-learn's own tests of its ensembles, with ours in their place; those that cannot hold stand here with a reason.

The modules are read from the installed scikit-learn. Our classes are imported under the names of scikit-learn's after
the modules' own imports, and expected messages are put into our words.
"""

import ast
import importlib.util
from pathlib import Path

import pytest
import sklearn
from joblib import parallel_config
from threadpoolctl import threadpool_limits

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9),
        reason="the tables below are those of the tests of scikit-learn 1.9",
    ),
]

VOTING = ("VotingClassifier", "VotingRegressor")
STACKING = ("StackingClassifier", "StackingRegressor")
BAGGING = ("BaggingClassifier", "BaggingRegressor")

# Their words to ours, longer ones first.
WORDS = {
    "Invalid 'estimators' attribute, 'estimators' should be a non-empty list": "`estimators` must ",
    "Invalid 'estimators' attribute,": "`estimators` must ",
    "Number of `estimators` and weights must be equal": "`weights` must have one entry per member",
    "predict_proba is not available when voting='hard'": "probabilities exist only with voting='soft'",
    "All estimators are dropped. At least one is required": "must have a member that is not 'drop'",
    "All estimators are dropped.": "must have a member that is not 'drop'",
    "does not implement the method predict_proba": "`stack_method` must be a method of every member",
    "Underlying estimator KNeighborsClassifier does not support sample weights.": "'knn' is KNeighborsClassifier",
    "does not support sample weight": "`sample_weight` needs ",
    "should be a {}": "must be a {}",
    "Warm-start fitting without increasing n_estimators does not": "fit trains no new member",
    # A fitted ensemble keeps how it combines its members: `set_params` is for the next fit, and warns until then.
    '.set_params(voting="hard")': '.reweight(voting="hard")',
    "Some inputs do not have OOB scores. This probably means too few ": "",
    "estimators were used to compute any reliable oob estimates.": "have no out-of-bag prediction",
}


def suite(path, *names, code="", after=None):
    """Parametrize with a module of scikit-learn, our classes that stand in it, and code after an assignment."""
    return pytest.param(path, names, code, after, id=Path(path).stem)


def transformed(path, names, code="", after=None):
    """Source of a module of the installed scikit-learn, with names of `sklearn_names` instead of its own."""
    source = (Path(importlib.util.find_spec("sklearn").origin).parent / path).read_text(encoding="utf-8")
    for theirs, ours in WORDS.items():
        source = source.replace(theirs, ours)
    tree = ast.parse(source)
    last = max(i for i, node in enumerate(tree.body) if isinstance(node, ast.Import | ast.ImportFrom))
    imports = [ast.alias(*name.split(" as ")) for name in names]
    tree.body.insert(last + 1, ast.ImportFrom("sklearn_names", imports, 0))
    if code:
        position = last + 1
        if after is not None:
            assigned = [node.target.id if isinstance(node, ast.AnnAssign) else None for node in tree.body]
            position = assigned.index(after)
        tree.body[position + 1 : position + 1] = ast.parse(code).body
    return ast.unparse(ast.fix_missing_locations(tree))


class Recorder:
    """Fixture of scikit-learn's conftest, and what became of each test, by its name."""

    def __init__(self):
        self.failed, self.passed = {}, set()

    @pytest.fixture
    def global_random_seed(self):
        """The seed that scikit-learn's tests take by default."""
        return 42

    def pytest_collectreport(self, report):
        """Note a module that cannot be imported."""
        if report.failed:
            self.failed[report.nodeid] = report.longreprtext

    def pytest_runtest_logreport(self, report):
        """Note the outcome."""
        name = report.nodeid.split("::", 1)[1]
        if report.failed:
            self.failed[name] = report.longreprtext
        elif report.when == "call" and report.passed:
            self.passed.add(name)


def run(path, names, code, after, folder):
    """Run a module in this process; returns what became of its tests."""
    file = folder / f"{Path(path).stem}_with_our_classes.py"
    file.write_text(transformed(path, names, code, after), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = ignore\n")
    recorder = Recorder()
    plugins = [f"-pno:{name}" for name in ("cacheprovider", "xdist", "faulthandler", "terminal")]
    # Tests run side by side already, and each worker would load TensorFlow anew.
    with threadpool_limits(1), parallel_config(backend="sequential"):
        pytest.main(
            [
                str(file),
                "-c",
                str(folder / "pytest.ini"),
                "--rootdir",
                str(folder),
                "--import-mode=importlib",
                *plugins,
            ],
            plugins=[recorder],
        )
    return recorder


NETWORKS_ONLY = "members of averaging ensembles are networks, or pipelines that end in one"
NO_COLUMNS = "averaging ensembles draw columns without replacement: there is no `bootstrap_features`"
OWN_WEIGHTS = "`sample_weight` weighs rows in the loss; scikit-learn 1.9 draws rows by it"
OWN_LINES = "progress is told in lines of our own, which say more about networks"
FIRST_CHECKED = "members that could not predict are refused before training"
OWN_FEATURES = "`n_features_in_` is learned from X, not from the first member"
LABELS = "with several labels per row `classes_` are the numbers of the labels, not a list of [0, 1] for each"
ONE_EPOCH = "a network that was trained for one step fits nothing perfectly"

# What cannot hold, and why, by module; the name of a function stands for all its parameters.
CANNOT_HOLD = {
    "test_voting": {
        "test_sample_weight_kwargs": FIRST_CHECKED,
        "test_voting_verbose": OWN_LINES,
    },
    "test_stacking": {
        "test_stacking_without_n_features_in": OWN_FEATURES,
        "test_stacking_classifier_multilabel_auto_predict": LABELS,
    },
    "test_common": {},
    "test_bagging": {
        "test_classification": NO_COLUMNS,
        "test_sparse_classification": NO_COLUMNS,
        "test_regression": NO_COLUMNS,
        "test_sparse_regression": NO_COLUMNS,
        "test_bootstrap_samples": ONE_EPOCH,
        "test_bootstrap_features": NO_COLUMNS,
        "test_oob_score_classification": ONE_EPOCH,
        "test_oob_score_regression": ONE_EPOCH,
        "test_single_estimator": NO_COLUMNS,
        "test_parallel_classification": "networks have no `decision_function`",
        "test_gridsearch": "networks have no parameter `C`",
        "test_bagging_with_pipeline": "`max_features` takes networks only, no pipelines",
        "test_warm_start_with_oob_score_fails": "out-of-bag scores are right after a warm start, too",
        "test_warning_bootstrap_sample_weight": OWN_WEIGHTS,
        "test_invalid_sample_weight_max_samples_bootstrap_combinations": OWN_WEIGHTS,
        "test_draw_indices_using_sample_weight": NETWORKS_ONLY,
        "test_estimators_samples": "members take all columns, also where they draw columns",
        "test_estimators_samples_deterministic": "networks have no `coef_`",
        "test_max_samples_consistency": "`_max_samples` is a private name of scikit-learn's",
        "test_bagging_get_estimators_indices": "a network whose `fit` trains nothing is no member",
        "test_bagging_allow_nan_tag[bagging0-True]": NETWORKS_ONLY,
        "test_bagging_allow_nan_tag[bagging1-True]": NETWORKS_ONLY,
        "test_bagging_with_metadata_routing": NETWORKS_ONLY,
        "test_metadata_routing_with_dynamic_method_selection": NETWORKS_ONLY,
        "test_bagging_without_support_metadata_routing": NETWORKS_ONLY,
    },
    "test_metaestimators": {"test_metaestimator_delegation": "networks have no `decision_function`"},
    "test_metaestimators_metadata_routing": {
        "test_error_on_missing_requests_for_sub_estimator": NETWORKS_ONLY,
        "test_setting_request_on_sub_estimator_removes_error": NETWORKS_ONLY,
        "test_non_consuming_estimator_works": NETWORKS_ONLY,
    },
}

# What holds or not by the rows that are drawn at random.
BY_CHANCE = {
    "test_bagging": {
        "test_bagging_classifier_with_missing_inputs": "a network in a pipeline refuses rows of one class",
    },
}


def listed(tests, table):
    """Those of the tests that are in the table, or whose functions are."""
    return {test for test in tests if test in table or test.split("[")[0] in table}


@pytest.mark.parametrize(
    ("path", "names", "code", "after"),
    [
        suite("ensemble/tests/test_voting.py", *VOTING),
        suite(
            "ensemble/tests/test_stacking.py",
            *STACKING,
            code="""
from functools import partial
# Less training: they are many.
RandomForestClassifier = partial(RandomForestClassifier, n_estimators=20)
RandomForestRegressor = partial(RandomForestRegressor, n_estimators=20)
MLPClassifier = partial(MLPClassifier, max_iter=20)
""",
        ),
        suite("ensemble/tests/test_common.py", *VOTING, *STACKING),
        suite(
            "ensemble/tests/test_bagging.py",
            *BAGGING,
            "SmallClassifier as DecisionTreeClassifier",
            "SmallClassifier as KNeighborsClassifier",
            "SmallClassifier as LogisticRegression",
            "SmallClassifier as Perceptron",
            "SmallClassifier as SVC",
            "SmallRegressor as DecisionTreeRegressor",
            "SmallRegressor as KNeighborsRegressor",
            "SmallRegressor as SVR",
        ),
        suite(
            "tests/test_metaestimators.py",
            *BAGGING,
            *VOTING,
            *STACKING,
            code="""
def all_estimators():
    return [(cls.__name__, cls) for cls in (StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor)]
def _construct_instances(Estimator):
    yield Estimator([])
""",
        ),
        suite(
            "tests/test_metaestimators_metadata_routing.py",
            *BAGGING,
            code="METAESTIMATORS = [row for row in METAESTIMATORS if row['metaestimator'] in "
            "(BaggingClassifier, BaggingRegressor)]",
            after="METAESTIMATORS",
        ),
    ],
)
def test_suites_of_scikit_learn(path, names, code, after, tmp_path):
    """Every test passes but those in the table, which fail."""
    recorder = run(path, names, code, after, tmp_path)
    table = CANNOT_HOLD[Path(path).stem]
    allowed = table | BY_CHANCE.get(Path(path).stem, {})
    unexpected = recorder.failed.keys() - listed(recorder.failed, allowed)
    assert recorder.passed
    assert not unexpected, "\n\n".join(f"{test}\n{recorder.failed[test]}" for test in sorted(unexpected))
    assert not listed(recorder.passed, table), "these hold now: take them out of the table"
    ran = recorder.passed | recorder.failed.keys()
    functions = ran | {test.split("[")[0] for test in ran}
    assert not allowed.keys() - functions, "these tests are not there: take them out of the table"
