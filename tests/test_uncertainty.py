"""Networks that predict a normal distribution, alone and in every ensemble."""

import pickle

import keras
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingRegressor,
    NormalNLL,
    PolyakWeightRegressor,
    SnapshotEnsembleRegressor,
    StackedKerasRegressor,
    io,
)

FLOAT32 = {"rtol": 1e-4, "atol": 1e-5}
# They run eagerly: tracing a graph takes longer than so few steps.
QUICK = {"hidden_layer_sizes": (4,), "epochs": 4, "batch_size": -1, "run_eagerly": True}
NORMAL = KerasRegressor(**QUICK, distribution="normal")


def _make_data():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (80, 2)).astype("float32")
    return X, X[:, 0] + rng.normal(0, np.exp(X[:, 1] - 1))


X, Y = _make_data()
ENSEMBLES = {
    "averaging": KerasAveragingRegressor(NORMAL, 3, weights=[1, 2, 1], random_state=0),
    "voting": KerasVotingRegressor([("a", NORMAL), ("b", clone(NORMAL).set_params(epochs=6))], random_state=0),
    "snapshot": SnapshotEnsembleRegressor(NORMAL, 2, random_state=0),
    "polyak": PolyakWeightRegressor(NORMAL, n_checkpoints=3, weights="linear", random_state=0),
}
every_ensemble = pytest.mark.parametrize("name", ENSEMBLES)


@pytest.fixture(scope="module")
def fitted():
    """Every ensemble, fitted; tests do not change them."""
    return {name: clone(ensemble).fit(X, Y) for name, ensemble in ENSEMBLES.items()}


def by_keras(ensemble, X):
    """Means and deviations of the members, from the raw outputs of their networks."""
    members = getattr(ensemble, "estimators_", None) or ensemble.checkpoints_
    outputs = np.stack([member.model_.predict(X, verbose=0) for member in members]).astype(float)
    return outputs[..., 0], np.sqrt(np.exp(2 * outputs[..., 1]) + 1e-6)


# One network


def test_network_predicts_mean_and_deviation():
    """Half of the outputs are means, the other half logarithms of deviations; several targets stay in order."""
    targets = np.stack([Y, 2 * Y], axis=1)
    network = clone(NORMAL).set_params(random_state=0).fit(X, targets)
    outputs = network.model_.predict(X, verbose=0)
    mean, std = network.predict(X, return_std=True)
    assert (network.n_outputs_, network.n_output_units_) == (2, 4)
    np.testing.assert_allclose(mean, outputs[:, :2], **FLOAT32)
    np.testing.assert_allclose(std, np.sqrt(np.exp(2 * outputs[:, 2:].astype(float)) + 1e-6), **FLOAT32)
    np.testing.assert_array_equal(network.predict(X), mean)


def test_network_learns_the_noise():
    """Where y scatters more, the deviation is larger; overall it is that of the residuals."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (2000, 1)).astype("float32")
    y = rng.normal(0, np.where(X[:, 0] > 0, 1.0, 0.1))
    network = KerasRegressor(hidden_layer_sizes=(16,), epochs=100, batch_size=500, distribution="normal")
    network.set_params(optimizer__learning_rate=0.02, random_state=0).fit(X, y)
    _, std = network.predict(np.array([[-0.7], [0.7]], "float32"), return_std=True)
    assert std == pytest.approx([0.1, 1.0], rel=0.25)


def build(meta):
    """A builder that follows `meta`."""
    return keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(meta["n_output_units_"])])


@pytest.mark.parametrize(("distribution", "n_units"), [(None, 1), ("normal", 2)])
def test_meta_tells_builders_the_number_of_outputs(distribution, n_units):
    """`meta["n_output_units_"]` follows from the targets and the distribution."""
    network = KerasRegressor(build, epochs=1, run_eagerly=True, distribution=distribution).fit(X, Y)
    assert network.model_.output_shape == (None, n_units)


def test_loss_may_be_given_with_a_beta():
    """The beta-NLL is the loss of the network, and is found in its clone."""
    network = clone(NORMAL).set_params(loss=NormalNLL(beta=0.5), random_state=0).fit(X, Y)
    assert network.model_.loss.beta == 0.5
    plain = clone(NORMAL).set_params(random_state=0).fit(X, Y)
    assert network.history_["loss"][0] != plain.history_["loss"][0]


# Ensembles


@every_ensemble
def test_deviation_is_that_of_the_mixture(fitted, name):
    """Law of total variance over the members, worked out by NumPy from what Keras predicts."""
    ensemble = fitted[name]
    means, scales = by_keras(ensemble, X)
    mean = ensemble.weights_ @ means
    aleatoric, epistemic = ensemble.weights_ @ scales**2, ensemble.weights_ @ (means - mean) ** 2
    uncertainty = ensemble.predict_uncertainty(X)
    np.testing.assert_allclose(uncertainty.aleatoric, aleatoric, **FLOAT32)
    np.testing.assert_allclose(uncertainty.epistemic, epistemic, **FLOAT32)
    np.testing.assert_allclose(uncertainty.total, aleatoric + epistemic, **FLOAT32)
    predicted, std = ensemble.predict(X, return_std=True)
    np.testing.assert_allclose(std, np.sqrt(aleatoric + epistemic), **FLOAT32)
    if name != "polyak":  # whose mean is that of the averaged network
        np.testing.assert_allclose(predicted, mean, **FLOAT32)
    np.testing.assert_array_equal(ensemble.predict(X), predicted)


@every_ensemble
def test_interval_has_its_share_of_the_mixture(fitted, name):
    """The distribution function of the mixture is 0.1 at the lower and 0.9 at the upper end."""
    ensemble = fitted[name]
    means, scales = by_keras(ensemble, X)
    lower, upper = ensemble.predict_interval(X, coverage=0.8)
    np.testing.assert_allclose(ensemble.weights_ @ norm.cdf(lower, means, scales), 0.1, atol=1e-4)
    np.testing.assert_allclose(ensemble.weights_ @ norm.cdf(upper, means, scales), 0.9, atol=1e-4)


@every_ensemble
def test_files_and_pickles_keep_the_distribution(fitted, name):
    """What comes back predicts the same deviations, without trust."""
    expected = fitted[name].predict(X, return_std=True)
    for copied in (io.loads(io.dumps(fitted[name])), pickle.loads(pickle.dumps(fitted[name]))):
        np.testing.assert_array_equal(copied.predict(X, return_std=True), expected)


@every_ensemble
def test_exported_model_gives_the_means(fitted, name):
    """The Keras model has one output for each target, as for networks without a distribution."""
    exported = fitted[name].to_keras()
    np.testing.assert_allclose(exported.predict(X, verbose=0)[:, 0], fitted[name].predict(X), **FLOAT32)


def test_file_keeps_the_loss():
    """A network that is loaded is compiled with the same loss, as parameter and in the model."""
    network = clone(NORMAL).set_params(loss=NormalNLL(beta=0.5)).fit(X, Y)
    loaded = io.loads(io.dumps(network))
    assert (loaded.loss.beta, loaded.model_.loss.beta) == (0.5, 0.5)
    loaded.fit(X, Y)


def test_fused_training_is_that_of_keras():
    """With the same starting values and order of rows, both engines give the same means and deviations."""
    member = clone(NORMAL).set_params(run_eagerly=False, shuffle=False, loss=NormalNLL(beta=0.5), optimizer="sgd")
    fused, keras_own = (
        KerasAveragingRegressor(member, 2, engine=engine, random_state=0).fit(X, Y) for engine in ("fused", "keras")
    )
    assert fused.engine_ == "fused"
    np.testing.assert_allclose(
        fused.predict(X, return_std=True), keras_own.predict(X, return_std=True), rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(fused[0].history_["loss"], keras_own[0].history_["loss"], rtol=1e-3)


def test_pipelines_as_members_give_their_deviations():
    """The network at the end of each pipeline tells its noise, for X that the steps before have changed."""
    ensemble = KerasAveragingRegressor(make_pipeline(StandardScaler(), NORMAL), 2, random_state=0).fit(X, Y)
    aleatoric = [member.predict(X, return_std=True)[1] ** 2 for member in ensemble.estimators_]
    np.testing.assert_allclose(ensemble.predict_uncertainty(X).aleatoric, np.mean(aleatoric, axis=0), **FLOAT32)


def test_stacking_combines_the_means():
    """A final estimator learns from the means; a network with a distribution may be the final one."""
    members = [("normal", NORMAL), ("ridge", Ridge())]
    stacked = StackedKerasRegressor(members, clone(NORMAL), cv=2, random_state=0).fit(X, Y)
    assert stacked.transform(X).shape == (80, 2)
    mean, std = stacked.predict(X, return_std=True)
    np.testing.assert_allclose(mean, stacked.predict(X), **FLOAT32)
    assert (std > 0).all()


def test_without_a_distribution_the_noise_is_not_known():
    """The spread of the members is told, what is not known is NaN."""
    ensemble = KerasAveragingRegressor(KerasRegressor(**QUICK), 2, random_state=0).fit(X, Y)
    total, aleatoric, epistemic = ensemble.predict_uncertainty(X)
    assert np.isnan(total).all()
    assert np.isnan(aleatoric).all()
    np.testing.assert_allclose(epistemic, ensemble.predict(X, return_std=True)[1] ** 2)


# Wrong uses

POSITIVE = {"model": lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="relu")])}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"distribution": "laplace"}, "`distribution` must be 'normal' or None: got 'laplace'"),
        ({"distribution": "normal", "loss": "mse"}, "got the loss 'mean_squared_error'.*Pass loss=None"),
        ({"distribution": "normal", "metrics": ["mae"]}, "metrics of Keras would compare y with standard deviations"),
        ({"loss": NormalNLL()}, r"Use KerasRegressor\(distribution='normal'\)"),
        ({"distribution": "normal", "model": lambda: build({"X_shape_": X.shape, "n_output_units_": 1})}, "two units"),
        ({"distribution": "normal", **POSITIVE}, "may be any numbers: got an output layer with the activation 'relu'"),
    ],
)
def test_wrong_networks_are_refused(params, message):
    """Before any training, alone and in an ensemble."""
    network = KerasRegressor(epochs=1, run_eagerly=True, **params)
    for estimator in (network, KerasAveragingRegressor(network, 2)):
        with pytest.raises(ValueError, match=message):
            estimator.fit(X, Y)


def test_classifiers_have_no_distribution():
    """Their outputs are probabilities already."""
    with pytest.raises(ValueError, match="`distribution` is for KerasRegressor"):
        KerasClassifier(distribution="normal").fit(X, Y > 0)
    with pytest.raises(ValueError, match="NormalNLL is for networks that predict means"):
        KerasClassifier(loss=NormalNLL(), epochs=1).fit(X, Y > 0)


@pytest.mark.parametrize("other", [KerasRegressor(**QUICK), Ridge(), FrozenEstimator(Ridge().fit(X, Y))])
def test_members_without_a_distribution_are_refused_beside_others(other):
    """The noise of such a mixture would not be known."""
    with pytest.raises(ValueError, match=r"All members must predict a distribution, or none.*\[1\]"):
        KerasVotingRegressor([("normal", NORMAL), ("other", other)]).fit(X, Y)


def test_deviations_need_a_distribution():
    """A network that predicts values has none; an interval of its ensemble would have no noise in it."""
    with pytest.raises(ValueError, match="Fit it with distribution='normal'"):
        KerasRegressor(**QUICK).fit(X, Y).predict(X, return_std=True)
    ensemble = KerasAveragingRegressor(KerasRegressor(**QUICK), 2, random_state=0).fit(X, Y)
    with pytest.raises(ValueError, match="`method='mixture'` needs members that predict a distribution"):
        ensemble.predict_interval(X)


@pytest.mark.parametrize(("params", "message"), [({"coverage": 1.2}, "`coverage`"), ({"method": "bayes"}, "`method`")])
def test_wrong_intervals_are_refused(fitted, params, message):
    """Coverage is a share, and the method one there is."""
    with pytest.raises(ValueError, match=message):
        fitted["averaging"].predict_interval(X, **params)


def test_distribution_set_after_fit_changes_no_prediction():
    """What a network gives was decided when it was built."""
    network = KerasRegressor(**QUICK, random_state=0).fit(X, Y)
    expected = network.predict(X)
    np.testing.assert_array_equal(network.set_params(distribution="normal").predict(X), expected)


@pytest.mark.parametrize("regressor", [NORMAL, KerasAveragingRegressor(NORMAL, 1, random_state=0)])
def test_targets_below_the_smallest_deviation(regressor):
    """It is told where y varies by less than the smallest standard deviation that a network predicts."""
    with pytest.warns(UserWarning, match=r"never below 0\.001, and y, or a column of it, varies by less"):
        regressor.fit(X, np.column_stack([Y, Y * 1e-6]))
