import keras
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasVotingClassifier,
    StackedKerasClassifier,
)

X, Y = make_blobs(n_samples=24, n_features=4, centers=2, cluster_std=4.0, random_state=0)
X = X.astype("float32") / 5
X.flags.writeable = Y.flags.writeable = False


def network():
    """Small network, which Keras runs eagerly: tracing takes longer than so few steps."""
    return KerasClassifier(hidden_layer_sizes=(2,), epochs=1, batch_size=24, random_state=0, run_eagerly=True)


def build(X, y):
    """Network for Keras' own wrapper."""
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.Dense(y.shape[1], activation="softmax")])
    model.compile(loss="categorical_crossentropy", run_eagerly=True)
    return model


def keras_wrapped():
    """A network in Keras' own wrapper, which an estimator of scikit-learn trains."""
    return OneVsRestClassifier(keras.wrappers.SKLearnClassifier(build, fit_kwargs={"verbose": 0}))


def averaged(**params):
    """An ensemble as a member."""
    return KerasAveragingClassifier(network(), n_estimators=1, random_state=0, **params)


NESTED = {
    "pipeline": make_pipeline(StandardScaler(), network()),
    "calibrated": CalibratedClassifierCV(network(), cv=2),
    "search": GridSearchCV(LogisticRegression(), {"C": [1.0]}).set_params(estimator=network(), param_grid={}, cv=2),
    "Keras' wrapper": keras_wrapped(),
    "ensemble": averaged(),
    "pipeline of an ensemble": make_pipeline(averaged(engine="keras")),
}


@pytest.mark.parametrize("name", NESTED)
def test_engine_of_networks_in_other_estimators(name):
    """A network that another estimator trains by its own fit was trained by Keras, which the reason tells."""
    estimators = [("inner", NESTED[name]), ("line", LogisticRegression())]
    fitted = KerasVotingClassifier(estimators, voting="hard").fit(X, Y)
    assert fitted.engine_ == "keras"
    assert fitted.engine_reason_ == f"{type(NESTED[name]).__name__} trains its networks by a fit of its own"


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize("stacked", [False, True])
def test_fused_is_refused(name, stacked, monkeypatch):
    """`engine="fused"` raises before anything is trained, also for the final estimator."""
    monkeypatch.setattr("skensemble._engine.training.fit_parts", None)
    inner = NESTED[name]
    if stacked:
        estimators = [("line", LogisticRegression())]
        ensemble = StackedKerasClassifier(estimators, final_estimator=inner, cv=2, engine="fused")
    else:
        ensemble = KerasVotingClassifier([("inner", inner)], voting="hard", engine="fused")
    with pytest.raises(ValueError, match=f"engine='fused' is not possible: {type(inner).__name__}.* fit of its own"):
        ensemble.fit(X, Y)


def test_ensemble_that_is_fused_itself():
    """An ensemble as a member says by itself which engine it used, and may be asked for the fused one."""
    inner = averaged(engine="fused").set_params(estimator__run_eagerly=False)
    fitted = KerasVotingClassifier([("inner", inner)], engine="fused").fit(X, Y)
    assert fitted.engine_ == "fused"


@pytest.mark.parametrize(
    "member",
    [LogisticRegression(), make_pipeline(FrozenEstimator(network().fit(X, Y)))],
    ids=["no network", "frozen network"],
)
def test_no_network_was_trained(member):
    """Where no network is trained, the engine is none, and the fused one may be asked for."""
    fitted = KerasVotingClassifier([("inner", member)], engine="fused").fit(X, Y)
    assert (fitted.engine_, fitted.engine_reason_) == ("none", "no network was trained")


def test_progress_of_every_member(capfd):
    """With `verbose=1` there is a line for each kind of member, by its name, the folds' and the final estimator's."""
    estimators = [("net", network()), ("line", LogisticRegression()), ("pipe", NESTED["pipeline"])]
    final = LogisticRegression()
    StackedKerasClassifier(estimators, final_estimator=final, cv=2, verbose=1).fit(X, Y)
    told = [line.partition(":")[0] for line in capfd.readouterr().out.splitlines()]
    members = [
        f"member {name!r}{fold}" for fold in ("", " in fold 0", " in fold 1") for name in ("net", "line", "pipe")
    ]
    assert sorted(told) == sorted([*members, "final estimator"])


def test_lines_of_progress(capfd):
    """A network by Keras tells its loss, another estimator how long it took."""
    estimators = [("net", network()), ("line", LogisticRegression())]
    fitted = KerasVotingClassifier(estimators, verbose=1).fit(X, Y)
    net, line = sorted(capfd.readouterr().out.splitlines(), reverse=True)
    assert net == f"member 'net': loss {fitted.estimators_[0].history_['loss'][-1]:.4f}"
    assert line.startswith("member 'line': LogisticRegression trained in ")
    assert np.isfinite(float(line.split()[-2]))


class Registry(list):
    """A list that clones share."""

    def __sklearn_clone__(self):
        """Give itself."""
        return self


class Registered(GaussianNB):
    """Has a parameter in which it stands itself."""

    def __init__(self, registry=None):
        super().__init__()
        self.registry = registry

    def fit(self, X, y):
        """Fit, and enter the registry."""
        self.registry.append(self)
        return super().fit(X, y)


def test_parameters_that_lead_back_to_the_estimator():
    """A parameter in which the estimator is found again is not searched forever."""
    ensemble = KerasVotingClassifier([("registered", Registered(Registry()))]).fit(X, Y)
    assert ensemble.engine_ == "none"
    assert ensemble.estimators_[0].registry == [ensemble.estimators_[0]]
