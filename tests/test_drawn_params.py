"""Members that draw their parameters from distributions: hyper-deep ensembles."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.datasets import make_classification, make_regression
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skensemble.io
from skensemble import KerasAveragingClassifier, KerasAveragingRegressor, KerasClassifier, KerasRegressor

X, Y = make_classification(60, 4, n_informative=3, n_redundant=0, n_classes=3, n_clusters_per_class=1, random_state=0)
T = make_regression(60, 4, random_state=0)[1] / 100
NETWORK = KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=20)
DRAWN = {"optimizer__learning_rate": loguniform(1e-3, 1e-1), "hidden_layer_sizes": [(3,), (5,)]}


def ensemble(n_estimators=4, **params):
    return KerasAveragingClassifier(
        NETWORK, n_estimators, **{"param_distributions": DRAWN, "random_state": 0, **params}
    )


@pytest.fixture(scope="module")
def fitted():
    return ensemble(weights="greedy").fit(X, Y)


def test_members_have_what_they_drew(fitted):
    """Each member is the network with its parameters and its seed."""
    rates = [params["optimizer__learning_rate"] for params in fitted.estimators_params_]
    assert len(set(rates)) == 4
    assert all(1e-3 <= rate <= 1e-1 for rate in rates)
    assert {params["hidden_layer_sizes"] for params in fitted.estimators_params_} == {(3,), (5,)}
    for member, params in zip(fitted.estimators_, fitted.estimators_params_, strict=True):
        assert member.get_params() | params == member.get_params()
        assert member.model_.layers[0].units == params["hidden_layer_sizes"][0]
        assert float(member.model_.optimizer.learning_rate) == np.float32(params["optimizer__learning_rate"])
    assert fitted.engine_ == "fused"


def test_members_are_those_of_separate_fits():
    """A member is what an ensemble of one gives with its parameters: drawing them changes nothing else."""
    drawing = ensemble(n_estimators=1).fit(X, Y)
    (params,) = drawing.estimators_params_
    alone = KerasAveragingClassifier(clone(NETWORK).set_params(**params), 1, random_state=0).fit(X, Y)
    np.testing.assert_allclose(drawing.predict_proba(X), alone.predict_proba(X), rtol=1e-6)


def test_what_members_draw_does_not_depend_on_their_number(fitted):
    """Member i draws the same in a larger ensemble, which `warm_start` makes of a smaller one."""
    grown = ensemble(n_estimators=2, warm_start=True).fit(X, Y)
    first = grown.estimators_params_
    assert first == fitted.estimators_params_[:2]
    grown.set_params(n_estimators=3).fit(X, Y)
    assert grown.estimators_params_ == fitted.estimators_params_[:3]
    assert grown.estimators_[2].get_params() | grown.estimators_params_[2] == grown.estimators_[2].get_params()
    grown.set_params(n_estimators=4, param_distributions={"epochs": [1]}).fit(X, Y)
    assert grown.estimators_params_ == [*fitted.estimators_params_[:3], {"epochs": 1}]


def test_greedy_weights_choose_among_them(fitted):
    """On the held-out rows, the selection has no larger loss than the best member."""
    reweighted = fitted.reweight(weights="greedy", X=X, y=Y)
    members = [log_loss(Y, proba) for proba in reweighted.predict_members(X)]
    assert log_loss(Y, reweighted.predict_proba(X)) <= min(members) + 1e-6


def test_subset_and_files(fitted, tmp_path):
    """`subset` and files keep what the members drew."""
    part = fitted.subset([2, 0])
    assert part.estimators_params_ == [fitted.estimators_params_[2], fitted.estimators_params_[0]]
    path = tmp_path / "hyper.skens"
    skensemble.io.dump(ensemble(2, param_distributions={"epochs": [1, 2]}).fit(X, Y), path)
    loaded = skensemble.io.load(path)
    assert [set(params) for params in loaded.estimators_params_] == [{"epochs"}] * 2


def test_regressors_and_pipelines():
    """Regressors draw, and so do pipelines, whose steps' parameters have the names that searches use."""
    network = KerasRegressor(hidden_layer_sizes=(3,), epochs=1, batch_size=20)
    distributions = {"standardscaler__with_mean": [False], "kerasregressor__epochs": [1, 2]}
    pipelines = KerasAveragingRegressor(
        make_pipeline(StandardScaler(), network), 2, param_distributions=distributions, random_state=0
    ).fit(X, T)
    assert [member.get_params()["standardscaler__with_mean"] for member in pipelines.estimators_] == [False, False]


def test_grid_of_several_dicts():
    """A list of dicts is drawn from as scikit-learn does: one of them first."""
    drawn = ensemble(6, param_distributions=[{"epochs": [1]}, {"batch_size": [30]}]).fit(X, Y).estimators_params_
    assert {tuple(params.items()) for params in drawn} == {(("epochs", 1),), (("batch_size", 30),)}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"param_distributions": {}}, "must name at least one parameter"),
        ({"param_distributions": {"random_state": [1, 2]}}, "must not draw `random_state`"),
        ({"param_distributions": {"no_such": [1, 2]}}, "Invalid parameter"),
        ({"param_distributions": "epochs"}, "must be an instance of 'dict'"),
    ],
)
def test_wrong_distributions(params, message):
    """Distributions that cannot be drawn from are refused in words before the training."""
    with pytest.raises(ValueError, match=message):
        ensemble(**params).fit(X, Y)


def test_fitted_members_draw_nothing(fitted):
    """Members that are fitted already, and `partial_fit`, refuse distributions."""
    frozen = [FrozenEstimator(member) for member in fitted.estimators_[:2]]
    with pytest.raises(ValueError, match="members that are trained"):
        KerasAveragingClassifier(frozen, 2, param_distributions=DRAWN).fit(X, Y)
    with pytest.raises(ValueError, match="got `param_distributions`"):
        ensemble().partial_fit(X, Y)
