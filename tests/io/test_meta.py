"""Estimators of other packages that hold networks: saved and loaded by the parts of the networks in them."""

import functools
import sys

import numpy as np
import pandas as pd
import pytest
import sklearn
from io_files import file_of
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils.fixes import parse_version

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
)
from skensemble._engine.fitted import FittedMembers
from skensemble.io import (
    FormatError,
    PersistenceError,
    UntrustedTypesFoundError,
    dump,
    dumps,
    get_untrusted_types,
    loads,
)
from skensemble.io._zip_container import Container

SMALL = {"hidden_layer_sizes": (2,), "epochs": 1, "batch_size": -1}
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
BINARY = np.arange(24) % 2
LABELS = np.array(["a", "b", "c"])[np.arange(24) % 3]
TARGET = X[:, 0].astype(float)
FRAME = pd.DataFrame(X, columns=list("abcd"))
# scikit-learn 1.6 does not know the type of texts of pandas 3.
INDEX = (
    FRAME.columns[:2]
    if parse_version(sklearn.__version__) >= parse_version("1.7")
    else FRAME.columns[:2].astype(object)
)


def network():
    return KerasClassifier(**SMALL, random_state=0)


def ensemble(**params):
    return KerasAveragingClassifier(KerasClassifier(**SMALL | params), 2, random_state=0)


def regressors():
    return KerasAveragingRegressor(KerasRegressor(**SMALL), 2, random_state=0)


@functools.cache
def frozen():
    return FrozenEstimator(ensemble().fit(X, LABELS))


@functools.cache
def frozen_binary():
    return FrozenEstimator(network().fit(X, BINARY))


def importance(estimator):
    """Of each column, told without looking."""
    return np.arange(estimator.n_features_in_)


HOLDERS = {
    "calibrated": (lambda: CalibratedClassifierCV(ensemble(), cv=2), X, LABELS),
    "calibrated, one network": (
        lambda: CalibratedClassifierCV(network(), method="isotonic", ensemble=False),
        X,
        BINARY,
    ),
    "calibrated, frozen": (lambda: CalibratedClassifierCV(frozen()), X, LABELS),
    "tuned threshold": (lambda: TunedThresholdClassifierCV(frozen_binary(), cv="prefit", refit=False), X, BINARY),
    "fixed threshold": (lambda: FixedThresholdClassifier(ensemble(), threshold=0.4), X, BINARY),
    "bagging": (lambda: BaggingClassifier(ensemble(), 2, max_features=0.5, random_state=0), X, LABELS),
    "bagging, regressor": (lambda: BaggingRegressor(regressors(), 2, random_state=0), X, TARGET),
    "voting": (
        lambda: VotingClassifier([("a", ensemble()), ("b", LogisticRegression())], voting="soft"),
        X,
        LABELS,
    ),
    "voting, regressor": (lambda: VotingRegressor([("a", regressors()), ("b", Ridge())]), X, TARGET),
    "stacking": (lambda: StackingClassifier([("a", network()), ("b", LogisticRegression())], cv=2), X, LABELS),
    "stacking, regressor": (lambda: StackingRegressor([("a", regressors()), ("b", Ridge())], cv=2), X, TARGET),
    "several outputs": (lambda: MultiOutputClassifier(ensemble()), X, np.stack([LABELS, LABELS[::-1]], 1)),
    "several targets": (lambda: MultiOutputRegressor(regressors()), X, np.stack([TARGET, -TARGET], 1)),
    "chain": (lambda: ClassifierChain(network()), X, np.stack([BINARY, 1 - BINARY], 1)),
    "chain, regressor": (lambda: RegressorChain(regressors(), order=[1, 0]), X, np.stack([TARGET, -TARGET], 1)),
    "one versus rest": (lambda: OneVsRestClassifier(ensemble()), X, LABELS),
    "one versus rest, constant": (lambda: OneVsRestClassifier(network()), X, np.stack([BINARY, BINARY * 0 + 1], 1)),
    "one versus one": (lambda: OneVsOneClassifier(network()), X, LABELS),
    "output code": (lambda: OutputCodeClassifier(network(), code_size=0.7, random_state=0), X, LABELS),
    "boosting": (
        lambda: AdaBoostClassifier(ensemble(epochs=40, optimizer__learning_rate=0.1), n_estimators=2, random_state=0),
        X,
        (X[:, 0] > 0).astype(int),
    ),
    "boosting, regressor": (lambda: AdaBoostRegressor(regressors(), n_estimators=2, random_state=0), X, TARGET),
    "self-training": (lambda: SelfTrainingClassifier(ensemble(), max_iter=1), X, np.where(X[:, 0] < -1, -1, BINARY)),
    "selected columns": (
        lambda: make_pipeline(SequentialFeatureSelector(ensemble(), n_features_to_select=1, cv=2), ensemble()),
        X[:, :2],
        BINARY,
    ),
    "eliminated columns": (lambda: make_pipeline(RFE(network(), importance_getter=importance), Ridge()), X, BINARY),
    "columns of a model": (
        lambda: make_pipeline(SelectFromModel(network(), importance_getter=importance), Ridge()),
        X,
        BINARY,
    ),
    "search of calibrated": (
        lambda: GridSearchCV(CalibratedClassifierCV(frozen(), cv=2), {"method": ["sigmoid", "isotonic"]}, cv=2),
        X,
        LABELS,
    ),
    "halving": (lambda: HalvingGridSearchCV(ensemble(), {"voting": ["soft", "hard"]}, cv=2), X, BINARY),
    "union": (lambda: make_pipeline(make_union(StandardScaler(), MinMaxScaler()), ensemble()), X, LABELS),
    "member that is a search": (
        lambda: KerasVotingClassifier(
            [("a", network()), ("b", GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2))], random_state=0
        ),
        X,
        LABELS,
    ),
    "columns of one letter": (
        lambda: make_pipeline(
            ColumnTransformer([("a", StandardScaler(), ["a", "b"]), ("b", "drop", ["c"])], remainder=MinMaxScaler()),
            ensemble(),
        ),
        FRAME,
        LABELS,
    ),
    "columns by an index": (
        lambda: make_pipeline(ColumnTransformer([("a", make_pipeline(StandardScaler()), INDEX)]), network()),
        FRAME,
        LABELS,
    ),
    "columns by a slice": (
        lambda: make_pipeline(ColumnTransformer([("a", "passthrough", slice(1, 3))]), network()),
        X,
        LABELS,
    ),
}
FAST = {"calibrated, one network", "fixed threshold", "voting", "columns of one letter", "columns by an index"}


def assert_predicts_alike(loaded, estimator, X):
    """All predictions are equal, bit for bit."""
    for name in ("predict", "predict_proba", "decision_function", "transform"):
        assert hasattr(loaded, name) == hasattr(estimator, name)
        if hasattr(estimator, name):
            # Several outputs have a list of arrays.
            for first, second in zip(getattr(loaded, name)(X), getattr(estimator, name)(X), strict=True):
                assert_array_equal(first, second)


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.filterwarnings("ignore:Label .* is present in all training examples:UserWarning")
@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in HOLDERS]
)
def test_estimators_that_hold_networks(name):
    """A meta-estimator around networks is the same after loading, and saves to the same bytes again."""
    make, X, y = HOLDERS[name]
    estimator = make().fit(X, y)
    data = dumps(estimator)
    trusted = get_untrusted_types(data=data)
    assert trusted in ([], [f"{__name__}.importance"])
    loaded = loads(data, trusted=trusted)
    assert_predicts_alike(loaded, estimator, X)
    assert dumps(loaded, verify=False) == data
    clone(loaded)


def test_scoring_of_ones_own():
    """A scorer is audited: its function needs trust."""
    tuned = TunedThresholdClassifierCV(frozen_binary(), cv="prefit", refit=False, scoring=make_scorer(f1_score))
    estimator = tuned.fit(X, BINARY)
    data = dumps(estimator)
    with pytest.raises(UntrustedTypesFoundError, match="sklearn.metrics") as caught:
        loads(data)
    assert_array_equal(loads(data, trusted=caught.value.names).predict(X), estimator.predict(X))


@pytest.fixture(scope="module")
def calibrated():
    """Manifest and entries of a saved CalibratedClassifierCV."""
    data = dumps(CalibratedClassifierCV(frozen_binary()).fit(X, BINARY))
    with Container(data) as container:
        names = [entry["name"] for entry in container.manifest["entries"]]
        return container.manifest, {name: container.read(name) for name in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"t": "dict", "v": [["estimator", 1]]}}, "must have attributes only"),
        ({"attributes": {"t": "dict", "v": [["predict_proba", 1]]}}, "and not hide its methods"),
        ({"class": "sklearn.calibration._fit_calibrator"}, "sklearn.calibration._fit_calibrator"),
        ({"attributes": {"t": "bunch", "v": [[1, 2]]}}, "type 'bunch' in the manifest cannot be read"),
        ({"attributes": {"t": "slice", "v": [1]}}, "type 'slice' in the manifest cannot be read"),
    ],
)
def test_changed_parts_of_calibrated_networks(calibrated, change, message):
    """Parts that are no estimators are checked as estimators are."""
    manifest, entries = calibrated
    objects = [
        node | change if node.get("class") == "sklearn.calibration._CalibratedClassifier" else node
        for node in manifest["objects"]
    ]
    data = file_of(manifest | {"objects": objects}, entries)
    with pytest.raises((FormatError, UntrustedTypesFoundError), match=message):
        loads(data)


def test_package_that_is_missing(calibrated, monkeypatch):
    """A file that needs a package says which."""
    manifest, entries = calibrated
    root = manifest["objects"][manifest["root"]] | {"class": "imblearn.pipeline.Pipeline"}
    data = file_of(manifest | {"objects": [*manifest["objects"][:-1], root]}, entries)
    monkeypatch.setitem(sys.modules, "imblearn", None)
    monkeypatch.setitem(sys.modules, "imblearn.pipeline", None)
    with pytest.raises(PersistenceError, match="needs imblearn.pipeline.Pipeline: install what is missing"):
        loads(data)


@pytest.mark.slow
def test_pipeline_of_imbalanced_learn():
    """Samplers need trust, as all that is not scikit-learn's does."""
    pytest.importorskip("imblearn")
    from imblearn.over_sampling import RandomOverSampler
    from imblearn.pipeline import make_pipeline

    pipeline = make_pipeline(RandomOverSampler(random_state=0), StandardScaler(), ensemble()).fit(X, X[:, 0] > 1)
    data = dumps(pipeline)
    with pytest.raises(UntrustedTypesFoundError, match="RandomOverSampler") as caught:
        loads(data)
    assert_predicts_alike(loads(data, trusted=caught.value.names), pipeline, X)


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name"), [("xgboost", "XGBClassifier"), ("lightgbm", "LGBMClassifier")])
def test_boosted_trees_of_other_packages(package, name):
    """They are saved in their own formats, and need trust as trees of scikit-learn do."""
    boosting = getattr(pytest.importorskip(package), name)(n_estimators=2, verbosity=-1 if package == "lightgbm" else 0)
    voting = KerasVotingClassifier([("a", network()), ("b", make_pipeline(StandardScaler(), boosting))], random_state=0)
    voting.fit(X, np.arange(24) % 3)
    data = dumps(voting)
    with pytest.raises(UntrustedTypesFoundError, match=f"{package}.*Booster") as caught:
        loads(data)
    assert_predicts_alike(loads(data, trusted=caught.value.names), voting, X)


class NoEstimator:
    """Fits and predicts, but is none of scikit-learn's."""

    def predict(self, X):
        return X[:, 0]


def test_members_that_cannot_be_saved(tmp_path):
    """A member of a class that is none of scikit-learn's is named before anything is written."""
    voting = KerasVotingClassifier([("a", network())], random_state=0).fit(X, LABELS)
    voting.estimators_ = FittedMembers([*voting.estimators_, NoEstimator()])
    with pytest.raises(PersistenceError, match="member NoEstimator cannot be saved"):
        dump(voting, tmp_path / "x.skens")
    assert list(tmp_path.iterdir()) == []
