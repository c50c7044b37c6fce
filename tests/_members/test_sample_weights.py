import keras
import numpy as np
import pytest
import scikeras.wrappers
from comparison import TRAINED_FLOAT32
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasHeadClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightRegressor,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
)
from skensemble._compat.scikeras import fit_override
from skensemble._members.fit_arguments import FitArguments
from skensemble._members.sample_weights import row_weights, sample_indices_of, with_mean_one
from skensemble._members.spec import MemberSpec

# SGD follows the size of the gradient, unlike Adam.
SGD = {"optimizer": "sgd", "optimizer__learning_rate": 0.1, "hidden_layer_sizes": (3,), "epochs": 2, "batch_size": 20}
EAGER = {**SGD, "run_eagerly": True}
WEIGHTS = np.linspace(0.5, 1.5, 60)  # of mean 1


def is_same(first, second):
    """Tell whether two fitted networks hold the same variables, but for rounding of the weights."""
    pairs = zip(first.model_.get_weights(), second.model_.get_weights(), strict=True)
    return all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


def fit_by_hand(member, X, y, weights):
    """Keras' own fit of the network that `member` starts from, with these weights as they are."""
    start = clone(member).set_params(epochs=0, validation_split=0.0).fit(X, y)
    batches = {"batch_size": 20, "epochs": member.epochs, "verbose": 0, "validation_split": member.validation_split}
    start.model_.fit(X, y, sample_weight=weights, shuffle=False, **batches)
    return start


@pytest.mark.parametrize(
    ("scale", "class_weight", "validation_split"),
    [(100, None, 0.0), (0.01, "balanced", 0.25), (100, {0: 2.0, 1: 1.0, 2: 0.0}, 0.25)],
    ids=["larger", "smaller", "a class of weight 0"],
)
def test_scale_of_weights_does_not_matter(blobs, scale, class_weight, validation_split):
    """A classifier trains the same whatever all its weights are multiplied by."""
    member = KerasClassifier(
        **EAGER, class_weight=class_weight, validation_split=validation_split, random_state=0, shuffle=False
    )
    first = clone(member).fit(*blobs, sample_weight=WEIGHTS)
    second = clone(member).fit(*blobs, sample_weight=WEIGHTS * scale)
    assert is_same(first, second)
    assert_allclose(first.history_["loss"], second.history_["loss"], rtol=1e-5)
    assert not is_same(first, clone(member).fit(*blobs))


@pytest.mark.parametrize("validation_split", [0.0, 0.25])
def test_weights_have_mean_one_over_the_rows_trained_on(regression, validation_split):
    """Keras sees weights divided by their mean over the rows of positive weight that are not held out."""
    X, y = regression
    member = KerasRegressor(**EAGER, shuffle=False, validation_split=validation_split, random_state=0)
    weights = np.where(np.arange(60) % 3 == 0, 0.0, np.linspace(1, 7, 60))
    n_trained = int(40 * (1 - validation_split))
    scaled = weights[weights > 0] / weights[weights > 0][:n_trained].mean()
    by_hand = fit_by_hand(member, X[weights > 0], y[weights > 0], scaled)
    assert is_same(member.fit(X, y, sample_weight=weights), by_hand)


def test_weights_of_mean_one_and_class_weights_are_as_they_were(blobs):
    """Weights that need no scaling are given to Keras as they are, class weights always."""
    X, y = blobs
    member = KerasClassifier(**EAGER, shuffle=False, random_state=0)
    assert is_same(clone(member).fit(X, y, sample_weight=WEIGHTS), fit_by_hand(member, X, y, WEIGHTS))
    classes = np.array([3.0, 1.0, 0.5])
    weighted = clone(member).set_params(class_weight=dict(enumerate(classes)))
    assert is_same(clone(weighted).fit(X, y), fit_by_hand(member, X, y, classes[y]))
    by_hand = fit_by_hand(member, X, y, classes[y] * WEIGHTS)
    assert is_same(clone(weighted).fit(X, y, sample_weight=5 * WEIGHTS), by_hand)


def test_with_mean_one():
    """Weights are divided by the mean of the given rows; what has mean 1 or no positive mean comes back as it is."""
    weights = np.array([1.0, 3.0, 8.0])
    assert_array_equal(with_mean_one(weights, np.array([0, 1])), [0.5, 1.5, 4.0])
    for same, rows in [(np.array([0.5, 1.5, 9.0]), [0, 1]), (np.zeros(3), [0, 1]), (weights, [])]:
        assert with_mean_one(same, np.array(rows, dtype=int)) is same


def test_each_member_scales_by_its_own_rows(blobs):
    """Repeated rows count as often as they are drawn, and class weights are multiplied afterwards."""
    _, y = blobs
    member = KerasClassifier(class_weight={0: 2.0, 1: 1.0, 2: 1.0})
    spec = MemberSpec(member, 0, sample_indices=np.array([0, 0, 1]))
    weights = np.arange(1.0, 61.0)
    expected = weights / ((1 + 1 + 2) / 3) * np.where(y == 0, 2.0, 1.0)
    indices = sample_indices_of(spec, member, FitArguments.of(member), y, weights)
    assert_allclose(row_weights(spec, member, indices, y, weights), expected)


def build(meta):
    """Small network."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(meta["n_classes_"], activation="softmax")])


PLAIN = {"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "epochs": 2, "batch_size": 20, "verbose": 0}
PLAIN["run_eagerly"] = True
ENSEMBLES = {
    "averaging": lambda: KerasAveragingClassifier(KerasClassifier(**EAGER), 2),
    "bagging": lambda: KerasAveragingClassifier(KerasClassifier(**EAGER), 2, bootstrap=True),
    "plain member": lambda: KerasAveragingClassifier(scikeras.wrappers.KerasClassifier(build, **PLAIN), 2),
    "voting": lambda: KerasVotingClassifier([("a", KerasClassifier(**EAGER))]),
    "stacked": lambda: StackedKerasClassifier(
        [("a", KerasClassifier(**EAGER))], KerasHeadClassifier(epochs=1, run_eagerly=True), cv=2
    ),
    "snapshot": lambda: SnapshotEnsembleClassifier(KerasClassifier(**EAGER), 2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ENSEMBLES)
def test_scale_of_weights_does_not_matter_in_ensembles(blobs, name):
    """Networks of every ensemble, those that combine others too, train the same whatever weights are multiplied by."""
    ensemble = ENSEMBLES[name]()
    first, second = (
        clone(ensemble).set_params(random_state=0, engine="keras").fit(*blobs, sample_weight=WEIGHTS * scale)
        for scale in (1, 100)
    )
    assert_allclose(first.predict_proba(blobs[0]), second.predict_proba(blobs[0]), rtol=1e-4, atol=1e-5)


def test_scale_of_weights_does_not_matter_for_averaged_variables(regression):
    """The same for the network whose variables are averaged."""
    ensemble = PolyakWeightRegressor(KerasRegressor(**EAGER), n_checkpoints=2, random_state=0, engine="keras")
    first, second = (clone(ensemble).fit(*regression, sample_weight=WEIGHTS * scale) for scale in (1, 100))
    assert_allclose(first.predict(regression[0]), second.predict(regression[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"bootstrap": True}, {"weights": "greedy"}], ids=str)
def test_both_engines_scale_alike(blobs, params):
    """The fused program gives the result of Keras' own fit, with rows of one's own and class weights too."""
    member = KerasClassifier(**SGD, class_weight="balanced", shuffle=False)
    ensemble = KerasAveragingClassifier(member, 2, random_state=0, **params)
    weights = 30 * np.where(np.arange(60) % 5 == 0, 0.0, WEIGHTS)
    fused = clone(ensemble).set_params(engine="fused").fit(*blobs, sample_weight=weights)
    reference = clone(ensemble).set_params(engine="keras").fit(*blobs, sample_weight=weights)
    assert_allclose(fused.predict_members(blobs[0]), reference.predict_members(blobs[0]), **TRAINED_FLOAT32)


def test_other_estimators_get_the_weights_as_they_are(regression):
    """A member that is no network sees the user's weights, to which it may give a meaning of its own."""
    X, y = regression
    seen = []

    class Recorder(Ridge):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    KerasVotingRegressor([("ridge", Recorder())]).fit(X, y, sample_weight=3 * WEIGHTS)
    assert_array_equal(seen[0], 3 * WEIGHTS)


def test_own_fit_sees_scaled_weights(regression):
    """A network whose class has a `fit` of its own is given scaled weights too."""
    seen = []

    class Own(KerasRegressor):
        def fit(self, X, y, sample_weight=None):
            seen.append(sample_weight)
            return super().fit(X, y, sample_weight)

    member = Own(**EAGER)
    assert fit_override(member) is not None
    KerasAveragingRegressor(member, 1, random_state=0).fit(*regression, sample_weight=7 * WEIGHTS)
    assert_allclose(seen[0], WEIGHTS)


def test_partial_fit_takes_weights_as_they_are(regression):
    """Rows of one call count beside those of another, so that their weights are not scaled."""
    X, y = regression
    member = KerasRegressor(**EAGER, random_state=0)
    first = clone(member).partial_fit(X, y, sample_weight=np.full(60, 1.0))
    second = clone(member).partial_fit(X, y, sample_weight=np.full(60, 0.25))
    assert not is_same(first, second)
