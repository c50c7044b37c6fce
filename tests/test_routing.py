"""Metadata routing: what members and final estimators are given is what they requested."""

import re

import keras
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import BayesianRidge, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metadata_routing import MetadataRouter

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    StackedKerasRegressor,
)

X, Y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4, random_state=0)
X = X.astype("float32")
WEIGHTS = np.linspace(0.1, 3, 60)
# Members run eagerly: tracing a graph takes longer than so few steps.
NETWORK = {"hidden_layer_sizes": (3,), "epochs": 2, "batch_size": -1, "run_eagerly": True}


@pytest.fixture(autouse=True)
def _routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


class Watching(LogisticRegression):
    """Keeps what it is fitted with."""

    def fit(self, X, y, sample_weight=None, notes=None):
        """Fit, and remember the arguments."""
        self.sample_weight_, self.notes_ = sample_weight, notes
        return super().fit(X, y, sample_weight)


def watching(**requests):
    """A classifier that requests so."""
    return Watching().set_fit_request(**requests)


def mlp(**params):
    """A small classifier."""
    return KerasClassifier(**{**NETWORK, **params})


def test_members_are_given_what_they_requested():
    """Weights and other metadata reach the members that request them, by rows, and no others."""
    members = [
        ("both", watching(sample_weight=True, notes=True)),
        ("weighted", watching(sample_weight=True, notes=False)),
        ("neither", watching(sample_weight=False, notes=False)),
        ("renamed", watching(sample_weight="importance", notes=False)),
        ("bayes", GaussianNB().set_fit_request(sample_weight=False)),
    ]
    notes = [f"row {i}" for i in range(60)]
    given = {"sample_weight": WEIGHTS, "notes": notes, "importance": 2 * WEIGHTS}
    both, weighted, neither, renamed, bayes = KerasVotingClassifier(members).fit(X, Y, **given).estimators_
    np.testing.assert_array_equal(both.sample_weight_, WEIGHTS)
    assert both.notes_ == notes
    np.testing.assert_array_equal(weighted.sample_weight_, WEIGHTS)
    assert weighted.notes_ is neither.notes_ is neither.sample_weight_ is None
    np.testing.assert_array_equal(renamed.sample_weight_, 2 * WEIGHTS)
    np.testing.assert_array_equal(bayes.theta_, GaussianNB().fit(X, Y).theta_)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_networks_without_a_request_are_trained_without_weights(engine):
    """Beside others of the same architecture with weights: each as scikeras' own fit trains it."""
    network = mlp(random_state=3, shuffle=False, epochs=5, optimizer=keras.optimizers.SGD(0.1))
    members = [
        ("weighted", clone(network).set_fit_request(sample_weight=True)),
        ("not", clone(network).set_fit_request(sample_weight=False)),
    ]
    if engine == "fused":
        members = [(name, member.set_params(run_eagerly=False)) for name, member in members]
    ensemble = KerasVotingClassifier(members, engine=engine).fit(X, Y, sample_weight=WEIGHTS)
    expected = [network.fit(X, Y, sample_weight=WEIGHTS).predict_proba(X), network.fit(X, Y).predict_proba(X)]
    np.testing.assert_allclose(ensemble.predict_members(X), expected, rtol=1e-3, atol=1e-4)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_a_pipeline_as_a_member():
    """Its steps are given what they requested."""
    pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), watching(sample_weight=True))
    (fitted,) = KerasVotingClassifier([("pipeline", pipeline)]).fit(X, Y, sample_weight=WEIGHTS).estimators_
    np.testing.assert_array_equal(fitted[0].mean_, StandardScaler().fit(X).mean_)
    np.testing.assert_array_equal(fitted[1].sample_weight_, WEIGHTS)


def test_requests_that_are_not_set_are_an_error():
    """In scikit-learn's words, with the name of the metadata and of the member's class."""
    for ensemble in (KerasVotingClassifier([("mlp", mlp())]), StackedKerasClassifier([("mlp", mlp())])):
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight.*KerasClassifier.fit"):
            ensemble.fit(X, Y, sample_weight=WEIGHTS)
    members = [("bayes", GaussianNB().set_fit_request(sample_weight=False))]
    with pytest.raises(TypeError, match="unexpected argument.*sample_weight"):
        KerasVotingClassifier(members).fit(X, Y, sample_weight=WEIGHTS)


def test_the_request_of_the_ensemble_stands_for_members_without_one():
    """A pipeline hands weights to an ensemble that asks for them, whose members may still refuse."""
    members = [("asks", watching(notes=False)), ("refuses", watching(sample_weight=False, notes=False))]
    for ensemble in (KerasVotingClassifier(members), StackedKerasClassifier(members, cv=2)):
        ensemble.set_fit_request(sample_weight=True)
        fitted = Pipeline([("ensemble", ensemble)]).fit(X, Y, sample_weight=WEIGHTS)[0].estimators_
        np.testing.assert_array_equal(fitted[0].sample_weight_, WEIGHTS)
        assert fitted[1].sample_weight_ is None


@pytest.mark.parametrize("final", ["unset", True, False])
def test_final_estimators(final):
    """Requests of the final estimator are obeyed; one without is given what scikit-learn gives: what it takes."""
    member = watching(sample_weight=True, notes=True)
    final_estimator = Watching() if final == "unset" else watching(sample_weight=final, notes=False)
    stacked = StackedKerasClassifier([("member", member)], final_estimator, cv=KFold(2))
    stacked.fit(X, Y, sample_weight=WEIGHTS, notes="all rows")
    given = stacked.final_estimator_.sample_weight_
    assert given is None if final is False else np.array_equal(given, WEIGHTS)
    assert stacked.final_estimator_.notes_ == ("all rows" if final == "unset" else None)
    assert stacked.estimators_[0].notes_ == "all rows"
    again = stacked.set_params(final_estimator=watching(sample_weight=False, notes=False))
    assert again.fit(X, Y, sample_weight=WEIGHTS, notes="").final_estimator_.sample_weight_ is None


def test_folds_are_given_their_rows():
    """Members of a fold have the metadata of its rows."""
    seen = []

    class Recording(Watching):
        def fit(self, X, y, sample_weight=None, notes=None):
            seen.append((sample_weight, notes))
            return super().fit(X, y, sample_weight)

    member = Recording().set_fit_request(sample_weight=True, notes=True)
    StackedKerasClassifier([("member", member)], cv=KFold(2)).fit(X, Y, sample_weight=WEIGHTS, notes=np.arange(60))
    for (weights, notes), rows in zip(seen, [np.arange(60), np.arange(30, 60), np.arange(30)], strict=True):
        np.testing.assert_array_equal(weights, WEIGHTS[rows])
        np.testing.assert_array_equal(notes, rows)


@pytest.mark.parametrize("ensemble", [KerasAveragingClassifier, SnapshotEnsembleClassifier, PolyakWeightClassifier])
def test_ensembles_of_one_network(ensemble):
    """The network or the ensemble may ask for weights; where the network does not want any, they go nowhere."""
    size = {"n_checkpoints": 2} if ensemble is PolyakWeightClassifier else {"n_estimators": 2}
    params = {**size, "random_state": 0}
    network = mlp(run_eagerly=False)
    with sklearn.config_context(enable_metadata_routing=False):
        expected = ensemble(network, **params).fit(X, Y, sample_weight=WEIGHTS).predict_proba(X)
    for asking in (
        ensemble(clone(network).set_fit_request(sample_weight=True), **params),
        ensemble(network, **params).set_fit_request(sample_weight=True),
    ):
        fitted = clone(Pipeline([("ensemble", asking)])).fit(X, Y, sample_weight=WEIGHTS)
        np.testing.assert_array_equal(fitted.predict_proba(X), expected)
    with pytest.raises(UnsetMetadataPassedError):
        Pipeline([("ensemble", ensemble(network))]).fit(X, Y, sample_weight=WEIGHTS)
    refusing = ensemble(mlp().set_fit_request(sample_weight=False), **params)
    with pytest.raises(TypeError, match="unexpected argument.*sample_weight"):
        refusing.fit(X, Y, sample_weight=WEIGHTS)
    with pytest.raises(TypeError, match="unexpected argument.*notes"):
        ensemble(network).fit(X, Y, notes=WEIGHTS)


@pytest.mark.parametrize("make", [KerasVotingRegressor, StackedKerasRegressor, KerasAveragingRegressor])
def test_deviations_through_a_pipeline(make):
    """`predict(return_std=True)` reaches the ensemble, or the final estimator of a stack."""
    if make is KerasAveragingRegressor:
        model = make(KerasRegressor(**NETWORK), 2, random_state=0).set_predict_request(return_std=True)
    elif make is KerasVotingRegressor:
        model = make([("ridge", Ridge()), ("other", Ridge(1e3))]).set_predict_request(return_std=True)
    else:
        model = make([("ridge", Ridge())], BayesianRidge().set_predict_request(return_std=True))
    pipeline = make_pipeline(StandardScaler(), model).fit(X, Y)
    mean, std = pipeline.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, pipeline.predict(X))
    assert std.shape == (60,)
    assert (std > 0).all()


class Particular(KerasClassifier):
    """A network whose `fit` takes more."""

    def fit(self, X, y, sample_weight=None, notes=None):
        """Fit."""
        return super().fit(X, y, sample_weight)


def test_networks_take_weights_alone():
    """Any other metadata is an error that names the network."""
    network = Particular(**NETWORK).set_fit_request(notes=True, sample_weight=False)
    with pytest.raises(ValueError, match="'net' is Particular, which requests \\['notes'\\]"):
        KerasVotingClassifier([("net", network)]).fit(X, Y, notes=WEIGHTS)
    renamed = mlp().set_fit_request(sample_weight="importance")
    with pytest.raises(ValueError, match="'net' is KerasClassifier, which requests it as 'importance'"):
        KerasVotingClassifier([("net", renamed)]).fit(X, Y, importance=WEIGHTS)


def test_without_routing():
    """Metadata other than weights is refused, also where `estimators` is not as it must be."""
    refuses = watching(sample_weight=False)
    with sklearn.config_context(enable_metadata_routing=False):
        for ensemble in (KerasVotingClassifier(["x"]), StackedKerasClassifier(["x"]), KerasAveragingClassifier()):
            with pytest.raises(ValueError, match="only supported if enable_metadata_routing=True"):
                ensemble.fit(X, Y, sample_weight=WEIGHTS, notes=WEIGHTS)
        (fitted,) = KerasVotingClassifier([("refuses", refuses)]).fit(X, Y, sample_weight=WEIGHTS).estimators_
        np.testing.assert_array_equal(fitted.sample_weight_, WEIGHTS)


def test_routers_are_seen_from_outside():
    """A search passes on what members ask for; routers may be asked before `fit`, also with a dropped member."""
    ensemble = KerasVotingClassifier([("watching", watching(sample_weight=True)), ("gone", "drop")])
    search = GridSearchCV(ensemble, {"watching__C": [1.0]}, cv=2).fit(X, Y, sample_weight=WEIGHTS)
    np.testing.assert_array_equal(search.best_estimator_.estimators_[0].sample_weight_, WEIGHTS)
    for one in (
        ensemble,
        StackedKerasClassifier([("a", "drop")], "average"),
        KerasAveragingClassifier(),
        KerasVotingClassifier([7]),
    ):
        assert isinstance(one.get_metadata_routing(), MetadataRouter)
    assert clone(ensemble).get_metadata_routing().consumes("fit", ["sample_weight", "notes"]) == {"sample_weight"}


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("epochs", "KerasRegressor(epochs=...)"),
        ("validation_data", "KerasRegressor(fit__validation_data=...)"),
        ("verbose", "KerasAveragingRegressor(verbose=...)"),
    ],
)
def test_arguments_of_keras_are_parameters(name, place):
    """`fit` of an ensemble is not `Model.fit`; the error says where its arguments go."""
    with sklearn.config_context(enable_metadata_routing=False):
        with pytest.raises(TypeError, match=re.escape(f"got {name}. Use {place}.")):
            KerasAveragingRegressor().fit(X, Y, **{name: 1})
