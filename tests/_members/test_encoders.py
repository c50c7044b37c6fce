import numpy as np
import pytest
import sklearn
from scikeras.utils.transformers import ClassifierLabelEncoder
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from skensemble import KerasAveragingClassifier, KerasAveragingRegressor, KerasClassifier, KerasRegressor
from skensemble._members.encoders import LabelEncoder

rng = np.random.default_rng(0)

TARGETS = {
    "two numbers": np.array([3, 1, 3, 1]),
    "booleans": np.array([True, False, True, True]),
    "floats": np.array([0.0, 2.0, 1.0, 2.0]),
    "strings": np.array(["b", "c", "a", "b"]),
    "objects": np.array(["b", "a", "a", "b"], dtype=object),
    "column": np.array([[2], [0], [1], [1]]),
    "labels": np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]]),
    "one-hot": np.eye(3, dtype=int)[[2, 0, 1, 1]],
    "several columns": np.array([[2, 0], [1, 1], [0, 2], [0, 1]]),
}


@pytest.mark.parametrize("loss", [None, "categorical_crossentropy"])
@pytest.mark.parametrize("name", TARGETS)
def test_results_are_those_of_scikeras(name, loss):
    """Encoded labels, decoded outputs and what is known of the target are scikeras' own."""
    if name in ("two numbers", "booleans", "objects") and loss == "categorical_crossentropy":
        return  # the next test
    y = TARGETS[name]
    ours, theirs = LabelEncoder(loss=loss).fit(y), ClassifierLabelEncoder(loss=loss).fit(y)
    encoded = theirs.transform(y)
    np.testing.assert_array_equal(ours.transform(y), encoded)
    assert ours.transform(y).dtype == encoded.dtype
    ours_known, theirs_known = ours.get_metadata(), theirs.get_metadata()
    np.testing.assert_array_equal(ours_known.pop("classes_"), theirs_known.pop("classes_"))
    assert ours_known == theirs_known
    assert (ours._target_type, ours._y_shape, ours._y_dtype) == (theirs._target_type, theirs._y_shape, theirs._y_dtype)
    if name == "several columns":
        return
    n_outputs = 1 if name in ("two numbers", "booleans", "objects") else 3
    outputs = rng.random((4, n_outputs)).astype("float32")
    decoded, expected = ours.inverse_transform(outputs), theirs.inverse_transform(outputs)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == expected.dtype


@pytest.mark.parametrize("name", ["two numbers", "booleans", "objects"])
def test_two_classes_are_one_hot(name):
    """For categorical cross-entropy two classes are one-hot, as several are; scikeras gives them as numbers."""
    y = TARGETS[name]
    encoder = LabelEncoder(loss="categorical_crossentropy").fit(y)
    np.testing.assert_array_equal(encoder.transform(y), (y[:, np.newaxis] == np.unique(y)).astype("float32"))
    outputs = np.array([[0.9, 0.1], [0.2, 0.8]], dtype="float32")
    assert encoder.inverse_transform(outputs).ravel().tolist() == np.unique(y).tolist()
    np.testing.assert_array_equal(encoder.inverse_transform(outputs, return_proba=True), outputs)


@pytest.mark.parametrize("classes", [np.array([0, 1, 2]), np.array(["b", "c", "a"])])
def test_known_classes(classes):
    """With known classes, as for `partial_fit`, labels get their places among these, in the order given."""
    y = classes[[2, 0, 0]]
    ours, theirs = (kind(categories=[classes]).fit(y) for kind in (LabelEncoder, ClassifierLabelEncoder))
    np.testing.assert_array_equal(ours.transform(y), theirs.transform(y))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


def test_numbers_in_any_order():
    """Labels that are numbers need not be in order, other than for scikeras."""
    encoder = LabelEncoder(categories=[np.array([2, 0, 1])]).fit(np.array([0, 1]))
    assert encoder.transform(np.array([2, 1])).ravel().tolist() == [0, 2]


def test_labels_that_are_not_known():
    """Labels that are not among the classes are refused."""
    with pytest.raises(ValueError, match=r"known classes: got \[5\]"):
        LabelEncoder(categories=[np.array([0, 1])]).fit(np.array([0, 5]))


def test_unknown_targets():
    """What are no labels is refused in scikeras' words."""
    with pytest.raises(ValueError, match="Unknown label type"):
        LabelEncoder().fit(np.array([0.5, 1.5]))


@pytest.fixture
def watched(monkeypatch):
    """Names of scikit-learn's own estimators that are fitted, as mlflow's autologging watches them."""
    seen = []

    def watching(cls, name, original):
        def fit(self, *args, **kwargs):
            seen.append(cls.__name__)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(cls, name, fit)

    for _, cls in all_estimators():
        for name in ("fit", "fit_transform", "fit_predict"):
            if name in vars(cls):
                watching(cls, name, vars(cls)[name])
    return seen


X = rng.random((12, 3)).astype("float32")


@pytest.mark.parametrize("engine", ["fused", "keras"])
@pytest.mark.parametrize("name", ["strings", "labels", "numbers"])
def test_nothing_inside_is_watched(watched, engine, name):
    """A bare ensemble fits no estimator of scikit-learn's own; one that the user gives is seen."""
    params = {"hidden_layer_sizes": (2,), "epochs": 1, "run_eagerly": engine == "keras"}
    if name == "numbers":
        ensemble, y = KerasAveragingRegressor(KerasRegressor(**params), n_estimators=1, engine=engine), X[:, 0]
    else:
        ensemble = KerasAveragingClassifier(KerasClassifier(**params), n_estimators=1, engine=engine)
        y = np.tile(TARGETS[name].T, 3).T
    ensemble.fit(X, y).predict(X)
    assert watched == []
    make_pipeline(StandardScaler(), clone(ensemble)).fit(X, y)
    assert set(watched) == {"Pipeline", "StandardScaler"}


def test_tables_are_no_concern():
    """With `transform_output="pandas"` the networks see arrays."""
    pytest.importorskip("pandas")
    with sklearn.config_context(transform_output="pandas"):
        encoder = KerasClassifier().feature_encoder.fit(X)
        assert encoder.transform(X) is X
