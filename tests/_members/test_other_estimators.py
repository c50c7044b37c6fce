import numpy as np
import pytest
import scikeras.wrappers
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import make_blobs
from sklearn.ensemble import StackingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    PolyakWeightClassifier,
    StackedKerasClassifier,
    StackedKerasRegressor,
)
from skensemble._members.other_estimators import weight_parameter

X, INDICES = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4, random_state=0)
LABELS = np.array(["a", "b", "c"])[INDICES]
TARGET = X @ [1.0, -2.0, 0.5, 0.0]
WEIGHTS = np.random.default_rng(0).uniform(0.1, 3, 60)
LIBRARIES = [
    ("xgboost", "XGBClassifier", {"n_estimators": 3}),
    ("lightgbm", "LGBMClassifier", {"n_estimators": 3, "verbose": -1, "min_child_samples": 5}),
    ("catboost", "CatBoostClassifier", {"iterations": 3, "verbose": 0, "allow_writing_files": False}),
]


class Strict(ClassifierMixin, BaseEstimator):
    """As XGBoost's classifier, refuses labels that are not 0, 1, ..., n_classes - 1."""

    def __init__(self, costs=None):
        self.costs = costs

    def fit(self, X, y, sample_weight=None):
        if not np.array_equal(np.unique(y), np.arange(len(np.unique(y)))):
            raise ValueError(f"Invalid classes inferred from unique values of `y`: got {np.unique(y)}")
        self.tree_ = DecisionTreeClassifier(max_depth=2, random_state=0).fit(X, y, sample_weight)
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        return self.tree_.predict_proba(X)

    def predict(self, X):
        return self.tree_.predict(X)


class Duck:
    """A classifier that is of no class of scikit-learn, as CatBoost's."""

    _estimator_type = "classifier"

    def __init__(self, depth=2):
        self.depth = depth

    def get_params(self, deep=True):
        return {"depth": self.depth}

    def set_params(self, **params):
        vars(self).update(params)
        return self

    def fit(self, X, y):
        self.tree = DecisionTreeClassifier(max_depth=self.depth, random_state=0).fit(X, y)
        self.classes_ = self.tree.classes_
        return self

    def predict(self, X):
        return self.tree.predict(X)[:, np.newaxis]  # as CatBoost's, a column

    def predict_proba(self, X):
        return self.tree.predict_proba(X)


def mlp(**params):
    # Eager: tracing a graph takes longer than so few steps.
    return KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=-1, run_eagerly=True, **params)


# Labels


@pytest.mark.parametrize("y", [LABELS, INDICES + 1, INDICES == 1], ids=["text", "from 1", "bool"])
@pytest.mark.parametrize("member", [Strict(), make_pipeline(StandardScaler(), Strict()), Duck()])
def test_members_of_other_libraries_take_positions_of_labels(member, y):
    """They are given 0, 1, ..., as by scikit-learn's own ensembles, and the results are those of these."""
    members = [("other", member), ("lr", LogisticRegression(max_iter=500))]
    voting = KerasVotingClassifier(members, weights=[2, 1]).fit(X, y)
    np.testing.assert_array_equal(voting.estimators_[0].classes_, np.arange(len(np.unique(y))))
    np.testing.assert_array_equal(voting.estimators_[1].classes_, np.unique(y))
    stacking = StackedKerasClassifier(members, cv=3).fit(X, y)
    assert set(stacking.predict(X)) <= set(y)
    hard = KerasVotingClassifier(members, voting="hard", weights=[2, 1]).fit(X, y)
    if not isinstance(member, Duck):  # which scikit-learn 1.7 and later refuses: it has no tags
        reference = VotingClassifier(members, voting="soft", weights=[2, 1]).fit(X, y)
        np.testing.assert_allclose(voting.predict_proba(X), reference.predict_proba(X))
        np.testing.assert_array_equal(hard.predict(X), reference.set_params(voting="hard").fit(X, y).predict(X))
        reference = StackingClassifier(members, cv=3).fit(X, y)
        np.testing.assert_allclose(stacking.predict_proba(X), reference.predict_proba(X))


def test_positions_of_labels_in_columns_by_predict():
    """Stacking by `predict` gives positions of labels; a final estimator of another library is decoded."""
    members = [("other", Strict()), ("tree", DecisionTreeClassifier(max_depth=2, random_state=0))]
    stacking = StackedKerasClassifier(members, Strict(), stack_method="predict", cv=3).fit(X, LABELS)
    columns = stacking.transform(X)
    np.testing.assert_array_equal(columns[:, 0], columns[:, 1])
    assert set(np.unique(columns)) <= {0, 1, 2}
    expected = np.array(["a", "b", "c"])[stacking.final_estimator_.predict(columns)]
    np.testing.assert_array_equal(stacking.predict(X), expected)


def test_networks_see_the_labels():
    """Networks, and estimators that name labels of y in a parameter, are given the labels as they are."""
    seen = {}

    class Records(Duck):
        def fit(self, X, y):
            seen[str(self.depth)] = np.unique(y)
            return super().fit(X, y)

        def set_params(self, **params):
            vars(self).update(params)
            return self

    class Costs(Strict):
        def fit(self, X, y):
            seen["costs"] = np.unique(y)
            self.tree_ = DecisionTreeClassifier(max_depth=2, class_weight=self.costs).fit(X, y)
            self.classes_ = self.tree_.classes_
            return self

    voting = KerasVotingClassifier([("net", mlp()), ("duck", Records()), ("costs", Costs({"a": 2.0}))]).fit(X, LABELS)
    np.testing.assert_array_equal(voting.estimators_[0].classes_, ["a", "b", "c"])
    np.testing.assert_array_equal(seen["2"], [0, 1, 2])
    np.testing.assert_array_equal(seen["costs"], ["a", "b", "c"])


def test_fitted_members_of_other_libraries():
    """One that was fitted on positions of labels is one of the ensemble; where these could be labels, it is refused."""
    fitted = FrozenEstimator(Strict().fit(X, INDICES))
    voting = KerasVotingClassifier([("frozen", fitted)]).fit(X, LABELS)
    np.testing.assert_array_equal(voting.predict(X), np.array(["a", "b", "c"])[fitted.predict(X)])
    some = Strict().fit(X[INDICES < 2], INDICES[INDICES < 2])
    some.classes_ = np.array([1, 2])
    with pytest.raises(ValueError, match="those of member 0, \\[1, 2\\], could be either"):
        KerasVotingClassifier([("frozen", FrozenEstimator(some))]).fit(X, INDICES + 1)


def test_labels_that_are_no_classes_of_the_member():
    """A classifier without probabilities whose labels are not in its `classes_` is an error, not class 0."""

    class Stubborn(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def predict(self, X):
            return np.full(len(X), "a")

    voting = KerasVotingClassifier([("stubborn", Stubborn())], voting="hard").fit(X, LABELS)
    with pytest.raises(ValueError, match="predict labels that are in its `classes_`: Stubborn predicts"):
        voting.predict(X)


def test_kinds_are_told_by_tags_not_classes():
    """A regressor among classifiers is refused, and so is what is no estimator."""
    for wrong in (Ridge(), scikeras.wrappers.KerasRegressor(), object(), LogisticRegression):
        with pytest.raises(TypeError, match="must be a classifier, as the ensemble is"):
            KerasVotingClassifier([("wrong", wrong)]).fit(X, LABELS)


@pytest.mark.slow
@pytest.mark.parametrize(("library", "name", "params"), LIBRARIES, ids=[one[0] for one in LIBRARIES])
def test_libraries(library, name, params):
    """Classifiers of other libraries beside networks, with labels that are texts and weights of rows."""
    member = getattr(pytest.importorskip(library), name)(**params)
    members = [("other", member), ("lr", LogisticRegression(max_iter=500))]
    voting = KerasVotingClassifier(members).fit(X, LABELS, sample_weight=WEIGHTS)
    reference = VotingClassifier(members, voting="soft").fit(X, LABELS, sample_weight=WEIGHTS)
    np.testing.assert_allclose(voting.predict_proba(X), reference.predict_proba(X), rtol=1e-5)
    beside = KerasVotingClassifier([*members, ("net", mlp())], voting="hard").fit(X, LABELS)
    assert set(beside.predict(X)) <= {"a", "b", "c"}
    stacking = StackedKerasClassifier(members, cv=3).fit(X, LABELS)
    np.testing.assert_allclose(
        stacking.predict_proba(X), StackingClassifier(members, cv=3).fit(X, LABELS).predict_proba(X), rtol=1e-3
    )
    frozen = FrozenEstimator(voting.estimators_[0])
    np.testing.assert_allclose(
        KerasVotingClassifier([("frozen", frozen)]).fit(X, LABELS).predict_proba(X), voting.predict_members(X)[0]
    )


# Weights


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (LogisticRegression(), "sample_weight"),
        (KNeighborsClassifier(), None),
        (make_pipeline(StandardScaler(), Ridge()), "ridge__sample_weight"),
        (make_pipeline(StandardScaler(), KNeighborsClassifier()), None),
        (make_pipeline(StandardScaler(), make_pipeline(Ridge())), "pipeline__ridge__sample_weight"),
        (make_pipeline(StandardScaler(), "passthrough"), None),
        (make_pipeline(StandardScaler(), mlp()), "kerasclassifier__sample_weight"),
        (GridSearchCV(Ridge(), {}), "sample_weight"),
        (GridSearchCV(make_pipeline(Ridge()), {}), "ridge__sample_weight"),
        (GridSearchCV(KNeighborsClassifier(), {}), None),
        (TransformedTargetRegressor(Ridge()), "sample_weight"),
        (CalibratedClassifierCV(LogisticRegression()), "sample_weight"),
        (VotingClassifier([]), "sample_weight"),
    ],
)
def test_weight_parameter(estimator, expected):
    """Pipelines hand weights to their last step, searches and alike to the estimator in them."""
    assert weight_parameter(estimator) == expected


def _ridges():
    return make_pipeline(StandardScaler(), Ridge(10.0)), GridSearchCV(make_pipeline(Ridge()), {"ridge__alpha": [10.0]})


def test_weights_reach_pipelines_and_searches():
    """Members and the final estimator are trained with the weights, as they are by themselves."""
    pipeline, search = _ridges()
    voting = KerasVotingRegressor([("pipeline", pipeline), ("search", search)])
    voting.fit(X, TARGET, sample_weight=WEIGHTS)
    expected = [
        pipeline.fit(X, TARGET, ridge__sample_weight=WEIGHTS),
        search.fit(X, TARGET, ridge__sample_weight=WEIGHTS),
    ]
    for member, alone in zip(voting.predict_members(X), expected, strict=True):
        np.testing.assert_allclose(member, alone.predict(X))
    assert not np.allclose(voting.predict(X), voting.fit(X, TARGET).predict(X))

    stacking = StackedKerasRegressor([("linear", LinearRegression())], _ridges()[0], cv=3)
    stacking.fit(X, TARGET, sample_weight=WEIGHTS)
    columns = np.zeros((60, 1))
    for rows in np.array_split(np.arange(60), 3):
        others = np.setdiff1d(np.arange(60), rows)
        columns[rows, 0] = LinearRegression().fit(X[others], TARGET[others], WEIGHTS[others]).predict(X[rows])
    final = _ridges()[0].fit(columns, TARGET, ridge__sample_weight=WEIGHTS)
    np.testing.assert_allclose(stacking.predict(X), final.predict(stacking.transform(X)))


def test_weights_that_a_member_does_not_take():
    """Where no step takes weights, that is an error before training."""
    member = make_pipeline(StandardScaler(), KNeighborsClassifier())
    with pytest.raises(ValueError, match="`sample_weight` needs members that take it: 'nearest' is Pipeline"):
        KerasVotingClassifier([("nearest", member)]).fit(X, LABELS, sample_weight=WEIGHTS)


# Pipelines as members of averaging


def test_averaging_copies_of_a_pipeline():
    """Each member is a whole pipeline, fitted on its own rows and weights, its network from a seed of its own."""
    pipeline = make_pipeline(StandardScaler(), mlp(random_state=3))
    ensemble = KerasAveragingClassifier(pipeline, n_estimators=2, bootstrap=True, random_state=0)
    ensemble.fit(X, LABELS, sample_weight=WEIGHTS)
    seeds = [member[-1].random_state for member in ensemble.estimators_]
    assert len({3, *seeds}) == 3
    for rows, member, seed in zip(ensemble.estimators_samples_, ensemble.estimators_, seeds, strict=True):
        alone = make_pipeline(StandardScaler(), mlp(random_state=seed))
        alone.fit(X[rows], LABELS[rows], kerasclassifier__sample_weight=WEIGHTS[rows])
        np.testing.assert_allclose(member[0].mean_, X[rows].mean(axis=0))
        np.testing.assert_allclose(member.predict_proba(X), alone.predict_proba(X), rtol=1e-5)
    np.testing.assert_allclose(
        ensemble.predict_proba(X), np.mean([member.predict_proba(X) for member in ensemble.estimators_], axis=0)
    )
    assert pipeline[-1].random_state == 3


def test_averaging_regressors_in_pipelines():
    """The same for regressors, with rows that are held out for the weights, and parameters of steps in a search."""
    network = KerasRegressor(hidden_layer_sizes=(3,), epochs=1, batch_size=-1, run_eagerly=True)
    ensemble = KerasAveragingRegressor(make_pipeline(StandardScaler(), network), 2, weights="greedy", random_state=0)
    search = GridSearchCV(ensemble, {"estimator__kerasregressor__epochs": [2]}, cv=2).fit(X, TARGET)
    assert [len(member[-1].history_["loss"]) for member in search.best_estimator_.estimators_] == [2, 2]
    frozen = [FrozenEstimator(member) for member in search.best_estimator_.estimators_]
    again = KerasAveragingRegressor(frozen, 2).fit(X, TARGET)
    np.testing.assert_allclose(again.predict_members(X), search.best_estimator_.predict_members(X))


def test_pipelines_that_averaging_cannot_train():
    """A pipeline must end in a network; epochs cannot be validated in one; a run of one network takes none."""
    for wrong in (make_pipeline(StandardScaler(), LogisticRegression()), LogisticRegression()):
        with pytest.raises(TypeError, match="must be a scikeras estimator, or a Pipeline that ends in one: got"):
            KerasAveragingClassifier(wrong).fit(X, LABELS)
    pipeline = make_pipeline(StandardScaler(), mlp())
    with pytest.raises(ValueError, match="`oob_validation` needs networks that are validated while they are trained"):
        KerasAveragingClassifier(pipeline, bootstrap=True, oob_validation=True).fit(X, LABELS)
    with pytest.raises(TypeError, match="got Pipeline. Put the steps before the network into a pipeline around"):
        PolyakWeightClassifier(pipeline).fit(X, LABELS)
