"""What is pickled can be loaded, also by another process; what could not is refused at once."""

import copy
import pickle

import joblib
import keras
import numpy as np
import pytest
from scikeras.wrappers import KerasClassifier as ScikerasClassifier
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skensemble import KerasAveragingClassifier, KerasClassifier, KerasVotingClassifier, PolyakWeightClassifier

layers = keras.layers
LABELS = np.repeat([0, 1], 10)
X = np.arange(80, dtype="float32").reshape(20, 4) / 80


class Unregistered(layers.Layer):
    def call(self, inputs):
        return inputs * 1.0


@keras.saving.register_keras_serializable("tests")
class Registered(layers.Layer):
    def call(self, inputs):
        return inputs * 1.0


class UnregisteredModel(keras.Model):
    pass


class UnregisteredLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.losses.binary_crossentropy(y_true, y_pred)


class UnregisteredOptimizer(keras.optimizers.SGD):
    pass


def unregistered_loss(y_true, y_pred):
    return keras.losses.binary_crossentropy(y_true, y_pred)


@keras.saving.register_keras_serializable("tests")
def registered_loss(y_true, y_pred):
    return keras.losses.binary_crossentropy(y_true, y_pred)


def unregistered_function(x):
    return x * 1.0


def network(*hidden):
    return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(1, activation="sigmoid")])


def with_unregistered_layer():
    return network(Unregistered())


def with_registered_layer():
    return network(Registered())


def with_inner_model():
    return network(keras.Sequential([Unregistered(), layers.Dense(2)]))


def with_lambda():
    return network(layers.Lambda(lambda x: x * 1.0))


def with_named_function():
    return network(layers.Lambda(unregistered_function))


def with_unregistered_activation():
    return network(layers.Dense(2, activation=unregistered_function))


def with_unregistered_model():
    inputs = keras.Input((4,))
    return UnregisteredModel(inputs, layers.Dense(1, activation="sigmoid")(inputs))


REFUSED = {
    "layer": ({"model": with_unregistered_layer}, "'Unregistered' by its name"),
    "layer in a model": ({"model": with_inner_model}, "'Unregistered' by its name"),
    "lambda": ({"model": with_lambda}, "a lambda in it has no name"),
    "function": ({"model": with_named_function}, "'unregistered_function' by its name"),
    "activation": ({"model": with_unregistered_activation}, "'unregistered_function' by its name"),
    "model": ({"model": with_unregistered_model}, "'UnregisteredModel' by its name"),
    "loss function": ({"loss": unregistered_loss}, "'unregistered_loss' by its name"),
    "loss class": ({"loss": UnregisteredLoss}, "'UnregisteredLoss' by its name"),
    "loss": ({"loss": UnregisteredLoss()}, "'UnregisteredLoss' by its name"),
    "metric": ({"metrics": [unregistered_loss]}, "'unregistered_loss' by its name"),
    "optimizer": ({"optimizer": UnregisteredOptimizer()}, "'UnregisteredOptimizer' by its name"),
}


def small(cls=KerasClassifier, **parameters):
    """A member that trains in no time."""
    return cls(**{"model": network, "loss": "binary_crossentropy", "epochs": 1, "random_state": 0, **parameters})


@pytest.mark.parametrize("name", REFUSED)
def test_member_that_could_not_be_loaded_is_not_pickled(name, tmp_path):
    """A fitted network with a part that Keras would not find by name is refused, and the way out is named."""
    parameters, message = REFUSED[name]
    fitted = small(**parameters).fit(X, LABELS)
    for dump in (pickle.dumps, lambda value: joblib.dump(value, tmp_path / "x.joblib")):
        with pytest.raises(pickle.PicklingError, match=f"{message}.*register"):
            dump(fitted)
    with pytest.raises(pickle.PicklingError, match=message):  # pickling once must not register what is missing
        pickle.dumps(fitted)


@pytest.mark.parametrize(
    ("cls", "engine"), [(KerasClassifier, "auto"), (ScikerasClassifier, "auto"), (ScikerasClassifier, "keras")]
)
@pytest.mark.parametrize("name", ["layer", "lambda", "loss function"])
def test_ensemble_that_could_not_be_loaded_is_not_pickled(name, cls, engine):
    """The same holds for ensembles, of members of ours or plain ones of scikeras, before and after they are built."""
    parameters, message = REFUSED[name]
    fitted = KerasAveragingClassifier(small(cls, **parameters), 2, engine=engine, random_state=0).fit(X, LABELS)
    for _ in range(2):
        with pytest.raises(pickle.PicklingError, match=message):
            pickle.dumps(fitted)
        assert fitted.estimators_[0].model_ is not None


def test_frozen_member_that_could_not_be_loaded_is_not_pickled():
    """Fitted members that are frozen are looked into."""
    frozen = FrozenEstimator(small(ScikerasClassifier, model=with_unregistered_layer).fit(X, LABELS))
    fitted = KerasVotingClassifier([("a", frozen), ("b", small())]).fit(X, LABELS)
    with pytest.raises(pickle.PicklingError, match="'Unregistered' by its name"):
        pickle.dumps(fitted)


def test_checkpoints_that_could_not_be_loaded_are_not_pickled():
    """The variables of a run come with its network, which is looked into."""
    fitted = PolyakWeightClassifier(small(model=with_unregistered_layer), n_checkpoints=1).fit(X, LABELS)
    with pytest.raises(pickle.PicklingError, match="'Unregistered' by its name"):
        pickle.dumps(fitted)


@pytest.mark.parametrize("parameters", [{}, {"model": with_registered_layer}, {"loss": registered_loss}])
@pytest.mark.parametrize("ensemble", [False, True])
def test_what_is_registered_is_pickled(parameters, ensemble):
    """Networks of Keras' own parts, or of registered ones, come back with their predictions."""
    fitted = small(**parameters)
    if ensemble:
        fitted = KerasAveragingClassifier(fitted, 2, random_state=0)
    fitted.fit(X, LABELS)
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))


@pytest.mark.filterwarnings(  # by Keras 3.8, of every subclass of its functional models
    "ignore:The structure of `inputs` doesn't match the expected structure:UserWarning"
)
def test_copies_need_no_names():
    """`copy`, `deepcopy` and `clone` stay in the process, where classes are found without their names."""
    fitted = small(model=with_unregistered_model).fit(X, LABELS)
    ensemble = KerasAveragingClassifier(small(model=with_unregistered_model), 2, random_state=0).fit(X, LABELS)
    for original in (fitted, ensemble):
        for copied in (copy.copy(original), copy.deepcopy(original)):
            np.testing.assert_array_equal(copied.predict_proba(X), original.predict_proba(X))
    assert copy.copy(fitted).model_ is fitted.model_
    assert copy.deepcopy(fitted).model_ is not fitted.model_
    clone(fitted).fit(X, LABELS)


def test_unfitted_members_are_pickled():
    """Before a fit there is no network yet: builders and losses go by reference."""
    for parameters, _ in (REFUSED["layer"], REFUSED["lambda"], REFUSED["loss function"]):
        assert pickle.loads(pickle.dumps(small(**parameters))).get_params() == small(**parameters).get_params()


@pytest.mark.parametrize("model", [lambda: network(), "nested"])
def test_builder_without_a_name_is_not_pickled(model):
    """Functions that pickle does not find are refused by pickle itself."""
    if model == "nested":

        def model():
            return network()

    with pytest.raises((pickle.PicklingError, AttributeError), match="[Cc]an't pickle"):
        pickle.dumps(small(model=model).fit(X, LABELS))


@pytest.mark.slow
@pytest.mark.workers
def test_workers_return_members_whose_builder_is_a_lambda(workers_pay):
    """The check does not stand in the way of the worker processes, which use cloudpickle."""
    ensemble = KerasAveragingClassifier(small(model=lambda: network()), 2, engine="keras", n_jobs=2, random_state=0)
    ensemble.fit(X, LABELS)
    alone = clone(ensemble).set_params(n_jobs=1).fit(X, LABELS)
    np.testing.assert_allclose(ensemble.predict_proba(X), alone.predict_proba(X), rtol=1e-5)
