"""Tests for Keras' own wrappers as members."""

import keras
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasVotingClassifier,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    io,
)
from skensemble._wrappers.adapters import as_member

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 3)).astype("float32")
Y = np.where(X[:, 0] > 0.5, "c", np.where(X[:, 1] > 0, "a", "b"))
TWO = np.where(X[:, 0] > 0, "yes", "no")
TARGETS = X @ np.ones((3, 2))


def build(X, y, activation="softmax", loss="categorical_crossentropy"):
    """A compiled network that follows the shapes of X and y, as Keras' wrappers ask for."""
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(y.shape[1], activation=activation)])
    model.compile(keras.optimizers.SGD(0.1), loss)
    return model


def classifier(**fit_kwargs):
    """Keras' classifier, as users have it."""
    return keras.wrappers.SKLearnClassifier(build, fit_kwargs={"epochs": 2, **fit_kwargs})


ENSEMBLES = {
    "averaging": lambda member: KerasAveragingClassifier(member, n_estimators=2, random_state=0),
    "voting": lambda member: KerasVotingClassifier([("net", member)], random_state=0),
    "stacked": lambda member: StackedKerasClassifier([("net", member)], cv=2, random_state=0),
    "snapshot": lambda member: SnapshotEnsembleClassifier(member, n_estimators=2, random_state=0),
    "polyak": lambda member: PolyakWeightClassifier(member, n_checkpoints=2, random_state=0),
}


@pytest.mark.parametrize("name", ENSEMBLES)
def test_wrappers_are_members_everywhere(name):
    """Every ensemble trains the network of a wrapper in the fused program, and has its probabilities."""
    fitted = ENSEMBLES[name](classifier()).fit(X, Y)
    assert fitted.engine_ == "fused"
    proba = fitted.predict_proba(X)
    assert proba.shape == (24, 3)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)


def test_results_are_those_of_keras():
    """From the same starting values, in the same order of rows, a member ends where Keras' wrapper ends."""
    start = build(X, np.zeros((24, 3))).get_weights()

    def started(X, y):
        model = build(X, y)
        model.set_weights(start)
        return model

    wrapper = keras.wrappers.SKLearnClassifier(started, fit_kwargs={"epochs": 3, "shuffle": False, "verbose": 0})
    ensemble = KerasAveragingClassifier(wrapper, n_estimators=1, engine="fused", random_state=0).fit(X, Y)
    wrapper.fit(X, Y)
    np.testing.assert_allclose(ensemble.predict_proba(X), wrapper.decision_function(X), rtol=1e-4)
    assert ensemble.predict(X).tolist() == wrapper.classes_[wrapper.decision_function(X).argmax(axis=1)].tolist()


def test_two_classes():
    """Two classes are one-hot too, as Keras' wrapper gives them to the network."""
    ensemble = KerasAveragingClassifier(classifier(epochs=100), n_estimators=1, random_state=0).fit(X, TWO)
    assert ensemble.predict_proba(X).shape == (24, 2)
    assert ensemble.score(X, TWO) > 0.9
    assert ensemble[0].predict(X).tolist() == ensemble.predict(X).tolist()


def test_regressors():
    """Keras' regressor is a member, also for several targets."""
    arguments = {"activation": None, "loss": "mse"}
    wrapper = keras.wrappers.SKLearnRegressor(build, model_kwargs=arguments, fit_kwargs={"epochs": 200})
    ensemble = KerasAveragingRegressor(wrapper, n_estimators=2, random_state=0).fit(X, TARGETS)
    assert ensemble.engine_ == "fused"
    np.testing.assert_allclose(ensemble.predict(X), TARGETS, atol=0.1)
    assert ensemble.fit(X, TARGETS[:, 0]).predict(X).shape == (24,)


def test_models_are_architectures():
    """A model in place of the function starts from new values in each member, as Keras clones it."""
    model = build(X, np.zeros((24, 3)))
    ensemble = KerasAveragingClassifier(keras.wrappers.SKLearnClassifier(model), n_estimators=2, random_state=0)
    ensemble.fit(X, Y)
    first, second = (member.model_.get_weights()[0] for member in ensemble)
    assert not np.allclose(first, second)
    assert not np.allclose(first, model.get_weights()[0])


def test_arguments_of_fit():
    """`fit_kwargs` are those of `Model.fit`: without epochs there is one, and others reach Keras as they are."""
    member = as_member(keras.wrappers.SKLearnClassifier(build, fit_kwargs={"batch_size": 5, "class_weight": {0: 2.0}}))
    assert (member.epochs, member.batch_size, member.get_params()["fit__class_weight"]) == (1, 5, {0: 2.0})
    ensemble = KerasAveragingClassifier(classifier(validation_split=0.25), n_estimators=1, random_state=0).fit(X, Y)
    assert sorted(ensemble[0].history_) == ["loss", "val_loss"]
    assert len(ensemble[0].history_["loss"]) == 2


def test_the_users_wrapper_stays_as_it_is():
    """The parameter is the user's own wrapper, which is not changed; it is cloned with its arguments of fit."""
    wrapper = classifier()
    before = dict(wrapper.fit_kwargs)
    ensemble = KerasAveragingClassifier(wrapper, n_estimators=1, random_state=0).fit(X, Y)
    assert ensemble.estimator is wrapper
    assert wrapper.fit_kwargs == before
    assert not hasattr(wrapper, "model_")
    for copied in (clone(ensemble), clone(make_pipeline(ensemble))[0]):
        assert copied.estimator is not wrapper
        assert copied.estimator.fit_kwargs == before
    voting = clone(KerasVotingClassifier([("net", wrapper)]))
    assert dict(voting.estimators)["net"].fit_kwargs == before


def test_searches_and_scores():
    """A grid over `fit_kwargs` trains so many epochs in each fold; cross-validation scores them."""
    ensemble = KerasAveragingClassifier(classifier(), n_estimators=1, random_state=0)
    assert cross_val_score(ensemble, X, Y, cv=2).shape == (2,)
    grid = GridSearchCV(ensemble, {"estimator__fit_kwargs": [{"epochs": 1}, {"epochs": 3}]}, cv=2).fit(X, Y)
    n_epochs = grid.best_params_["estimator__fit_kwargs"]["epochs"]
    assert len(grid.best_estimator_[0].history_["loss"]) == n_epochs


def test_files_and_exports(tmp_path):
    """An ensemble of wrappers is saved, and is one Keras model."""
    ensemble = KerasAveragingClassifier(classifier(), n_estimators=2, random_state=0).fit(X, Y)
    io.dump(ensemble, tmp_path / "ensemble.skens")
    loaded = io.load(tmp_path / "ensemble.skens")
    np.testing.assert_array_equal(loaded.predict_proba(X), ensemble.predict_proba(X))
    assert isinstance(loaded.estimator, KerasClassifier)
    exported = ensemble.to_keras().predict(X, verbose=0)
    np.testing.assert_allclose(exported, ensemble.predict_proba(X), rtol=1e-5)


def test_fitted_wrappers_are_taken_over():
    """A fitted wrapper is a frozen member, and one of the models of `from_models`."""
    wrapper = classifier(verbose=0).fit(X, Y)
    expected = wrapper.decision_function(X)
    frozen = KerasAveragingClassifier([FrozenEstimator(wrapper)], n_estimators=1).fit(X, Y)
    np.testing.assert_allclose(frozen.predict_proba(X), expected, rtol=1e-5)
    ensemble = KerasVotingClassifier.from_models([("net", wrapper)])
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "mse"])
def test_fitted_wrappers_of_two_classes(loss):
    """A fitted wrapper of two classes is a member, whatever loss it was trained with."""
    wrapper = keras.wrappers.SKLearnClassifier(build, model_kwargs={"loss": loss}).fit(X, TWO, verbose=0)
    ensemble = KerasAveragingClassifier.from_models([wrapper])
    expected = keras.ops.convert_to_numpy(wrapper.model_(X))
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)
    assert ensemble.predict(X).tolist() == np.array(["no", "yes"])[expected.argmax(axis=1)].tolist()


def test_fitted_wrappers_know_their_columns():
    """Columns in another order than the wrapper was fitted on are refused, in `fit` and in predictions."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=list("pqr"))
    wrapper = classifier(verbose=0).fit(table, Y)
    with pytest.raises(ValueError, match="must have seen the columns of X"):
        KerasVotingClassifier([("net", FrozenEstimator(wrapper))]).fit(table[list("rqp")], Y)
    with pytest.raises(ValueError, match="feature names should match"):
        KerasAveragingClassifier.from_models([wrapper]).predict(table[list("rqp")])


def test_class_weights_are_keyed_in_two_ways():
    """Keras' keys are numbers of classes, those of a member labels: what could be either is refused."""
    wrapper = classifier(class_weight={1: 100.0})
    with pytest.raises(ValueError, match=r"these differ for the classes \[1, 2\]"):
        KerasAveragingClassifier(wrapper, n_estimators=1).fit(X, 1 + (TWO == "yes"))
    fitted = KerasAveragingClassifier(wrapper, n_estimators=1, random_state=0).fit(X, (TWO == "yes").astype(int))
    assert fitted[0].history_["loss"][0] > 10  # about log(2) times 100 in about half of the rows


def test_pipelines_end_in_wrappers():
    """The last step of a pipeline is taken over as well."""
    pipeline = make_pipeline(StandardScaler(), classifier())
    assert KerasAveragingClassifier(pipeline, n_estimators=1, random_state=0).fit(X, Y).predict_proba(X).shape == (
        24,
        3,
    )
    assert isinstance(pipeline[-1], keras.wrappers.SKLearnClassifier)
    others = [("pipeline", pipeline), ("line", LogisticRegression())]
    assert KerasVotingClassifier(others, random_state=0).fit(X, Y).predict_proba(X).shape == (24, 3)


def adapted(X, y):
    """A network that learns from the values of X while it is built."""
    layer = keras.layers.Normalization()
    layer.adapt(np.asarray(X))
    return keras.Sequential([layer, keras.layers.Dense(3)])


WRONG = {
    "values": (adapted, {}, TypeError, "sees the shape of X, not its values"),
    "slice": (lambda X, y: X[:5], {}, TypeError, "sees the shape of X, not its values"),
    "method": (lambda X, y: y.mean(), {}, TypeError, "sees the shape of y, not its values"),
    "not compiled": (lambda X, y: keras.Sequential([keras.Input((3,))]), {}, ValueError, "a compiled Keras model"),
    "loss": (build, {"loss": "mse"}, ValueError, "'categorical_crossentropy': got the loss 'mse'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_members_cannot_do_is_refused(name):
    """What a wrapper of Keras can do and a member cannot is said before anything is trained."""
    function, arguments, error, message = WRONG[name]
    wrapper = keras.wrappers.SKLearnClassifier(function, model_kwargs=arguments)
    with pytest.raises(error, match=message):
        KerasAveragingClassifier(wrapper, n_estimators=1).fit(X, Y)


def test_other_wrappers_of_keras_are_refused():
    """A transformer is no member, and a regressor none of classifiers."""
    with pytest.raises(TypeError, match="SKLearnTransformer"):
        KerasAveragingClassifier(keras.wrappers.SKLearnTransformer(build)).fit(X, Y)
    with pytest.raises(ValueError, match="must be a classifier"):
        KerasAveragingClassifier(keras.wrappers.SKLearnRegressor(build)).fit(X, Y)
