"""Members on columns of their own (`max_features`), and the layer that selects them."""

import pickle

import keras
import numpy as np
import pytest
import scikeras.wrappers
import scipy.sparse
from comparison import TRAINED_FLOAT32, assert_same_members, fit_with_keras
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import BaggingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    SelectColumns,
    io,
)
from skensemble._members.random_draws import count_columns, draw_columns, spawn_seeds

# Rounding of one float32 forward pass against another that sums in another order.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
# Rows in their own order, so that a fit of a member alone repeats its training in the ensemble.
SHARED = {"hidden_layer_sizes": (3,), "epochs": 2, "batch_size": 20, "fit__shuffle": False}
EAGER = {**SHARED, "epochs": 1, "run_eagerly": True}

X, Y = make_classification(40, 6, n_informative=4, n_redundant=0, random_state=0)
X = X.astype("float32")
Y_REGRESSION = make_regression(40, 6, random_state=0)[1] / 100


def classifier(member=None, **params):
    """Not fitted; two members of three columns each, by Keras' own fit."""
    member = KerasClassifier(**EAGER) if member is None else member
    return KerasAveragingClassifier(
        member, **{"n_estimators": 2, "max_features": 0.5, "engine": "keras", "random_state": 0, **params}
    )


def alone(ensemble, X, y, **params):
    """Predictions of networks that Keras' own fit trains on the columns of the members, without an ensemble."""
    seeds = spawn_seeds(ensemble.random_state, ensemble.n_estimators)
    by_keras = {"engine": "keras"} if hasattr(ensemble.estimator, "engine") else {}  # scikeras' own have no other
    own = {**by_keras, **params}
    members = [clone(ensemble.estimator).set_params(random_state=seed, **own) for seed in seeds]
    columns = ensemble.estimators_features_
    method = "predict_proba" if hasattr(ensemble, "classes_") else "predict"
    return [getattr(one.fit(X[:, own], y), method)(X[:, own]) for one, own in zip(members, columns, strict=True)]


@pytest.fixture(scope="module")
def fused():
    """Three members of the default network, trained in one program."""
    return classifier(KerasClassifier(**SHARED), n_estimators=3, engine="fused").fit(X, Y)


@pytest.mark.parametrize("max_features", [1, 3, 10, 0.05, 0.39, 0.999])
def test_members_draw_as_many_columns_as_in_bagging(max_features):
    """Numbers and fractions mean what they mean in `BaggingClassifier`."""
    bagging = BaggingClassifier(DummyClassifier(), 1, max_features=max_features).fit(np.ones((4, 10)), [0, 0, 1, 1])
    drawn = count_columns(max_features, (10,))
    assert (10 if drawn is None else drawn) == len(bagging.estimators_features_[0])


def test_columns_are_drawn_without_replacement_and_all_alike():
    """Each member has different columns in order; over many members each column is drawn as often as any other."""
    n_members, n_features, n_columns = 2000, 8, 3
    columns = draw_columns(0, n_members, n_features, n_columns)
    assert all((np.diff(own) > 0).all() and own.min() >= 0 and own.max() < n_features for own in columns)
    counts = np.bincount(np.concatenate(columns), minlength=n_features)
    share = n_columns / n_features
    assert np.abs(counts - n_members * share).max() < 5 * np.sqrt(n_members * share * (1 - share))


def test_columns_of_a_member_depend_on_its_number_and_the_seed():
    """More members leave the columns of the first as they were; another seed gives others."""
    columns = np.stack(draw_columns(3, 10, 20, 5))
    np.testing.assert_array_equal(columns[:4], draw_columns(3, 4, 20, 5))
    assert (columns != draw_columns(4, 10, 20, 5)).any(axis=1).all()


def test_rows_and_seeds_stay_as_without_columns():
    """Drawing columns disturbs no other draw."""
    with_columns, without = (classifier(max_samples=0.5, max_features=n).fit(X, Y) for n in (0.5, 1.0))
    np.testing.assert_array_equal(with_columns.estimators_samples_, without.estimators_samples_)
    seeds = [[one.random_state for one in ensemble] for ensemble in (with_columns, without)]
    assert seeds[0] == seeds[1]


def test_all_columns_need_no_selection():
    """With all columns, networks are what they are without `max_features`, and nothing is learned of columns."""
    all_columns = classifier(max_features=6).fit(X, Y)
    reference = KerasAveragingClassifier(KerasClassifier(**EAGER), 2, engine="keras", random_state=0).fit(X, Y)
    np.testing.assert_array_equal(all_columns.predict_proba(X), reference.predict_proba(X))
    assert not hasattr(all_columns, "estimators_features_")
    assert [type(layer).__name__ for layer in all_columns[0].model_.layers] == ["Dense", "Dense"]
    assert not hasattr(classifier().fit(X, Y).set_params(max_features=1.0).fit(X, Y), "estimators_features_")


def test_members_are_networks_on_their_columns(fused):
    """One program gives what Keras gives, in the ensemble and for networks fitted on the columns alone."""
    assert fused.engine_reason_ == "members of one architecture share one program"
    assert len({tuple(own) for own in fused.estimators_features_}) == 3
    assert_same_members(fused, fit_with_keras(fused, X, Y), X)
    np.testing.assert_allclose(fused.predict_members(X), alone(fused, X, Y, run_eagerly=True), **TRAINED_FLOAT32)


def test_members_see_no_other_column(fused):
    """The prediction of a member follows from its columns."""
    for own, member in zip(fused.estimators_features_, fused, strict=True):
        changed = X.copy()
        changed[:, np.setdiff1d(np.arange(6), own)] = 7
        np.testing.assert_array_equal(member.predict_proba(changed), member.predict_proba(X))
        changed[:, own] += 1
        assert (member.predict_proba(changed) != member.predict_proba(X)).any()


def build_functional(meta):
    """A regressor with Dropout and BatchNormalization, compiled, its learning rate set afterwards."""
    assert meta["n_features_in_"] == meta["X_shape_"][1]
    inputs = keras.Input(meta["X_shape_"][1:])
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(3, activation="relu")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mse", metrics=["mae"])
    model.optimizer.learning_rate = 0.2
    return model


def test_functional_networks_are_taken_as_they_are_compiled():
    """Regressors of a function that compiles, early stopping and validation rows included."""
    stopping = keras.callbacks.EarlyStopping(monitor="loss", min_delta=10, patience=0)
    member = KerasRegressor(build_functional, callbacks=stopping, epochs=4, batch_size=20, fit__shuffle=False)
    ensemble = KerasAveragingRegressor(member, 2, max_features=2, random_state=1, engine="fused").fit(X, Y_REGRESSION)
    assert_same_members(ensemble, fit_with_keras(ensemble, X, Y_REGRESSION), X)
    expected = alone(ensemble, X, Y_REGRESSION)
    np.testing.assert_allclose(ensemble.predict_members(X), expected, **TRAINED_FLOAT32)
    assert [len(one.history_["loss"]) for one in ensemble] == [2, 2]
    assert float(ensemble[0].model_.optimizer.learning_rate) == pytest.approx(0.2)


def build_with_input(meta):
    """The same for everyone."""
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(1, activation="sigmoid")])


def build_without_input(meta):
    """Learns the shape of its input when it is built."""
    return keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1, activation="sigmoid")])


@pytest.mark.parametrize(
    "member",
    [
        pytest.param(KerasClassifier(build_without_input, epochs=1, run_eagerly=True), id="without Input"),
        pytest.param(
            scikeras.wrappers.KerasClassifier(
                build_with_input, loss="binary_crossentropy", optimizer="sgd", epochs=1, verbose=0, run_eagerly=True
            ),
            id="of scikeras",
        ),
    ],
)
def test_all_kinds_of_networks_draw_columns(member):
    """A Sequential model that is not built yet, and plain estimators of scikeras."""
    ensemble = classifier(clone(member).set_params(fit__shuffle=False, batch_size=40)).fit(X, Y)
    np.testing.assert_allclose(ensemble.predict_members(X), alone(ensemble, X, Y), **FLOAT32)


@pytest.mark.slow
def test_sparse_tables():
    """Sparse X gives what dense X gives."""
    ensemble = classifier(KerasClassifier(**SHARED), engine="fused").fit(scipy.sparse.csr_array(X), Y)
    predictions = ensemble.predict_members(scipy.sparse.csr_array(X))
    np.testing.assert_allclose(predictions, alone(ensemble, X, Y, run_eagerly=True), **TRAINED_FLOAT32)


def test_rows_and_columns_drawn_together():
    """Out-of-bag scores with columns: each row is judged by the members that left it out, on their columns."""
    ensemble = classifier(n_estimators=4, bootstrap=True, max_samples=0.3, oob_score=True).fit(X, Y)
    predictions = ensemble.predict_members(X)
    left_out = np.stack([~np.isin(np.arange(40), rows) for rows in ensemble.estimators_samples_])
    judged = left_out.any(axis=0)
    proba = [predictions[left_out[:, i], i].mean(axis=0) for i in np.flatnonzero(judged)]
    np.testing.assert_allclose(ensemble.oob_decision_function_[judged], proba, **FLOAT32)
    assert ensemble.oob_score_ == accuracy_score(Y[judged], np.argmax(proba, axis=1))


def test_columns_survive_pickle_files_and_export(fused, tmp_path):
    """Predictions are the same after pickle and a file, whole or lazy, and of the ensemble as one Keras model."""
    expected = fused.predict_proba(X)
    io.dump(fused, tmp_path / "ensemble.skens")
    loaded = [
        pickle.loads(pickle.dumps(fused)),
        io.load(tmp_path / "ensemble.skens"),
        io.load(tmp_path / "ensemble.skens", lazy=True),
    ]
    for one in loaded:
        np.testing.assert_array_equal(one.predict_proba(X), expected)
        np.testing.assert_array_equal(one.estimators_features_, fused.estimators_features_)
        np.testing.assert_allclose(one[1].predict_proba(X), fused[1].predict_proba(X), **FLOAT32)
    np.testing.assert_allclose(fused.to_keras()(X), expected, **FLOAT32)
    io.dump(fused[0], tmp_path / "member.skens")
    loaded_member = io.load(tmp_path / "member.skens")
    np.testing.assert_array_equal(loaded_member.predict_proba(X), fused[0].predict_proba(X))


def test_saved_models_keep_the_columns(fused, tmp_path):
    """A file of Keras knows the layer and its columns."""
    fused.to_keras().save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(X), fused.predict_proba(X), **FLOAT32)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_growing_gives_what_training_at_once_gives(engine, tmp_path):
    """With `warm_start`, after a file too, and with a directory of finished members."""
    member = KerasClassifier(**(SHARED if engine == "fused" else EAGER))
    at_once = classifier(member, n_estimators=3, engine=engine).fit(X, Y)
    first = classifier(member, engine=engine, warm_start=True, checkpoint_dir=tmp_path / "fit").fit(X, Y)
    io.dump(first, tmp_path / "ensemble.skens")
    grown = io.load(tmp_path / "ensemble.skens").set_params(n_estimators=3).fit(X, Y)
    resumed = clone(first).set_params(n_estimators=3, warm_start=False).fit(X, Y)
    for ensemble in (grown, resumed):
        np.testing.assert_array_equal(ensemble.estimators_features_, at_once.estimators_features_)
        np.testing.assert_allclose(ensemble.predict_members(X), at_once.predict_members(X), **FLOAT32)
    with pytest.raises(ValueError, match=r"the columns of member 0 \(`random_state`, `max_features`\)"):
        clone(first).set_params(max_features=2).fit(X, Y)
    with pytest.raises(ValueError, match="the number of columns that members draw must be 3, got 2"):
        grown.set_params(n_estimators=4, max_features=2).fit(X, Y)


def test_a_clone_of_a_member_takes_all_columns(fused):
    """Columns belong to the ensemble: a clone is the user's network, fitted on what it is given."""
    refitted = clone(fused[0]).fit(X, Y)
    reference = KerasClassifier(**SHARED, random_state=fused[0].random_state).fit(X, Y)
    np.testing.assert_array_equal(refitted.predict_proba(X), reference.predict_proba(X))
    assert fused.estimator_.get_params() == KerasClassifier(**SHARED).get_params()


class OwnFit(KerasClassifier):
    """Trains in a way of its own."""

    def fit(self, X, y, **kwargs):
        """As before."""
        return super().fit(X, y, **kwargs)


def build_for_six(meta):
    """Takes six columns whatever is given."""
    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, activation="sigmoid")])


class Subclassed(keras.Model):
    """One layer."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, activation="sigmoid")

    def call(self, inputs):
        """Apply it."""
        return self.dense(inputs)


def build_subclassed(meta):
    """A model that is neither Sequential nor functional."""
    return Subclassed()


FROZEN = FrozenEstimator(KerasClassifier(**{**EAGER, "epochs": 1}).fit(X, Y))


@pytest.mark.parametrize(
    ("params", "data", "message"),
    [
        ({"max_features": 0}, X, "'max_features' parameter"),
        ({"max_features": 0.0}, X, "'max_features' parameter"),
        ({"max_features": 1.5}, X, "'max_features' parameter"),
        ({"max_features": "sqrt"}, X, "'max_features' parameter"),
        ({"max_features": 7}, X, "must not exceed the columns of X: got max_features=7 for 6 columns"),
        ({}, X.reshape(40, 3, 2), r"needs X of two dimensions.*rows of shape \(3, 2\)"),
        ({"max_features": 3}, X.reshape(40, 3, 2), "needs X of two dimensions"),
        ({"estimator": [FROZEN, FROZEN]}, X, "needs an estimator to train: got list"),
        ({"estimator": make_pipeline(StandardScaler(), KerasClassifier())}, X, "needs a network.*got Pipeline"),
        ({"estimator": KerasClassifier(build_for_six({}))}, X, "needs a function that builds networks"),
        ({"estimator": OwnFit()}, X, "OwnFit has its own OwnFit.fit"),
        ({"estimator": KerasClassifier(build_for_six)}, X, r"3 of 6: the model .* takes rows of shape \(6,\)"),
        ({"estimator": KerasClassifier(build_for_six), "engine": "auto"}, X, r"takes rows of shape \(6,\)"),
        ({"estimator": KerasClassifier(build_subclassed), "engine": "auto"}, X, "must be keras.Sequential or made of"),
    ],
)
def test_what_cannot_be_right_is_refused(params, data, message):
    """Before any training, in words."""
    with pytest.raises((ValueError, TypeError), match=message):
        classifier().set_params(**params).fit(data, Y)


def test_layer_selects_columns():
    """Values are those of NumPy's indexing; types stay. Columns have the type of the whole numbers of the backend."""
    layer = SelectColumns(np.int64(3))
    layer.build((None, 6))
    assert layer.columns.dtype == ("int64" if keras.backend.backend() == "tensorflow" else "int32")
    layer.columns.assign([5, 0, 5])
    np.testing.assert_array_equal(layer(X), X[:, [5, 0, 5]])
    assert layer(X.astype(int)).dtype.name.startswith("int")
    assert SelectColumns.from_config(layer.get_config()).n_columns == 3
    assert not layer.trainable_variables


@pytest.mark.parametrize("n_columns", [0, 1.5, "2"])
def test_layer_needs_a_number_of_columns(n_columns):
    """Anything but a positive integer is an error, as is X of more than two dimensions."""
    with pytest.raises(ValueError, match="`n_columns` must be a positive integer"):
        SelectColumns(n_columns)
    with pytest.raises(ValueError, match="tables of two dimensions"):
        SelectColumns(1)(np.ones((2, 3, 4)))


def test_some_members_keep_their_columns(fused):
    """`subset` takes the columns of the members that it takes."""
    some = fused.subset([2, 0])
    np.testing.assert_array_equal(some.estimators_features_, [fused.estimators_features_[i] for i in (2, 0)])
    np.testing.assert_allclose(some.predict_members(X), fused.predict_members(X)[[2, 0]], **FLOAT32)
