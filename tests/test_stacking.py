import copy

import keras
import numpy as np
import pandas as pd
import pytest
import scikeras.wrappers
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import make_blobs, make_regression
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, StackingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
    cross_val_predict,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from skensemble import (
    KerasClassifier,
    KerasHeadClassifier,
    KerasHeadRegressor,
    KerasRegressor,
    KerasVotingClassifier,
    StackedKerasClassifier,
    StackedKerasRegressor,
)
from skensemble._engine.fused import group_run as _group_run

# Rounding of one float32 forward pass against another that sums in another order; and after training.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
TRAINED_FLOAT32 = {"rtol": 1e-3, "atol": 1e-4}

# Most members share an architecture and one batch of all rows, and so a program, which is traced once for many tests.
QUICK = {"epochs": 2, "batch_size": -1}
# Members that Keras trains, eagerly: tracing a graph takes longer than so few steps.
EAGER = {**QUICK, "run_eagerly": True}


def _make_data():
    X, y = make_blobs(n_samples=60, n_features=4, centers=3, cluster_std=4, random_state=0)
    X_regression, y_regression = make_regression(n_samples=60, n_features=4, noise=1.0, random_state=0)
    return X.astype("float32"), y, X_regression.astype("float32"), y_regression / y_regression.std()


X, Y, X_REGRESSION, Y_REGRESSION = _make_data()
LABELS = np.array(["a", "b", "c"])[Y]
TWO = np.where(Y > 0, "yes", "no")
IMAGES = X.reshape(60, 2, 2, 1)
WEIGHTS = np.linspace(0.5, 2, 60)
MULTILABEL = np.stack([Y == 0, Y != 1, X[:, 0] > 0], axis=1).astype(int)


class Watching(LogisticRegression):
    """Keeps what it is fitted on."""

    def fit(self, X, y, sample_weight=None):
        """Fit, and remember the arguments."""
        self.columns_, self.y_, self.sample_weight_ = X, y, sample_weight
        return super().fit(X, y, sample_weight)


class WatchingRidge(Ridge):
    """Keeps what it is fitted on."""

    def fit(self, X, y, sample_weight=None):
        """Fit, and remember the columns."""
        self.columns_ = X
        return super().fit(X, y, sample_weight)


class Memory(ClassifierMixin, BaseEstimator):
    """Says 1 for each row it was trained on, and 0 for others."""

    def fit(self, X, y):
        """Remember the rows."""
        self.classes_, self.rows_ = np.unique(y), {row.tobytes() for row in X}
        return self

    def predict_proba(self, X):
        """Whether each row was there in training, as a probability of the second class."""
        known = np.array([row.tobytes() in self.rows_ for row in X], dtype=float)
        return np.stack([1 - known, known], axis=1)


def mlp(units=3, **params):
    """A small classifier."""
    return KerasClassifier(hidden_layer_sizes=(units,), **{**QUICK, **params})


def mlp_regressor(units=3, **params):
    """A small regressor."""
    return KerasRegressor(hidden_layer_sizes=(units,), **{**EAGER, **params})


def head(merge="concatenate", **params):
    """A head that trains eagerly."""
    return KerasHeadClassifier(merge, **{**EAGER, **params})


def stacked(*members, final=None, **params):
    """Unfitted stacking classifier with a seed."""
    return StackedKerasClassifier(list(members), final, **{"cv": 2, "random_state": 0, **params})


def must_not_build():
    """Builder of a member that must not come to be trained."""
    pytest.fail("The network was built before the input was checked.")


@pytest.fixture(scope="module")
def fitted():
    """A network, a linear model and a forest on string labels, and a final estimator that kept its columns."""
    members = [
        ("mlp", mlp(**EAGER, random_state=1, shuffle=False)),
        ("logistic", LogisticRegression()),
        ("forest", RandomForestClassifier(3, random_state=0)),
    ]
    return stacked(*members, final=Watching(), engine="keras").fit(X, LABELS)


# Out of fold


def test_the_final_estimator_sees_what_cross_val_predict_gives(fitted):
    """Columns lie member by member, and are those of scikit-learn's own out-of-fold predictions, of networks too."""
    columns = fitted.final_estimator_.columns_
    assert columns.shape == (60, 9)
    for i, (_, member) in enumerate(fitted.estimators):
        expected = cross_val_predict(clone(member), X, LABELS, cv=StratifiedKFold(2), method="predict_proba")
        tolerance = TRAINED_FLOAT32 if i == 0 else {"rtol": 1e-6}
        np.testing.assert_allclose(columns[:, 3 * i : 3 * i + 3], expected, **tolerance)


def test_regression_sees_what_cross_val_predict_gives():
    """A column a member, folds in order."""
    members = [("mlp", mlp_regressor(random_state=1, shuffle=False)), ("near", KNeighborsRegressor(2))]
    ensemble = StackedKerasRegressor(members, WatchingRidge(), cv=2, engine="keras")
    columns = ensemble.fit(X_REGRESSION, Y_REGRESSION).final_estimator_.columns_
    for i, (_, member) in enumerate(members):
        expected = cross_val_predict(clone(member), X_REGRESSION, Y_REGRESSION, cv=2)
        np.testing.assert_allclose(columns[:, i], expected, **TRAINED_FLOAT32)


def test_no_row_is_predicted_by_a_member_that_saw_it():
    """A member that tells rows it was trained on from others has seen none of them out of fold, and all afterwards."""
    ensemble = stacked(("memory", Memory()), ("mlp", mlp()), final=Watching()).fit(X, TWO)
    assert not ensemble.final_estimator_.columns_[:, 0].any()
    assert ensemble.transform(X)[:, 0].all()


def test_a_network_that_memorises_scores_chance_out_of_fold():
    """On random labels, the columns of a network that knows its own rows by heart are worth nothing."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 20)).astype("float32"), rng.permutation(np.arange(80) % 2)
    member = KerasClassifier(hidden_layer_sizes=(64,), epochs=60, optimizer__learning_rate=0.01, batch_size=-1)
    ensemble = stacked(("mlp", member), final=Watching(), cv=4, engine="fused").fit(X, y)
    assert ensemble.estimators_[0].score(X, y) == 1
    accuracy = ((ensemble.final_estimator_.columns_[:, 0] > 0.5) == y).mean()
    assert abs(accuracy - 0.5) < 3 * 0.5 / np.sqrt(80)  # three standard errors of a coin


def test_members_of_all_rows_are_those_of_voting():
    """With the same seed, the networks that predict new rows are the ones that voting trains."""
    members = [("narrow", mlp(3)), ("wide", mlp(8))]
    ensemble = stacked(*members).fit(X, LABELS)
    voting = KerasVotingClassifier(members, random_state=0).fit(X, LABELS)
    np.testing.assert_allclose(ensemble.predict_members(X), voting.predict_members(X), **FLOAT32)


def test_members_of_all_folds_train_together(monkeypatch):
    """One program trains the networks of all folds and of all rows, and gives what Keras' own fit gives."""
    programs = []
    get = _group_run.get_program
    monkeypatch.setattr(_group_run, "get_program", lambda *args: programs.append(args[1]) or get(*args))
    network = mlp(shuffle=False, batch_size=16)
    final = head(run_eagerly=False, shuffle=False, dropout=0)
    fused = stacked(("mlp", network), ("nb", GaussianNB()), final=final, engine="fused").fit(X, LABELS)
    by_keras = clone(fused).set_params(engine="keras", mlp__run_eagerly=True, final_estimator__run_eagerly=True)
    by_keras.fit(X, LABELS)
    assert (fused.engine_, by_keras.engine_) == ("fused", "keras")
    assert fused.engine_reason_ == "members of one architecture share one program"
    assert programs == [1 + 2, 1]  # members for all rows and in two folds, then the head
    np.testing.assert_allclose(fused.transform(X), by_keras.transform(X), **TRAINED_FLOAT32)
    np.testing.assert_allclose(fused.predict_proba(X), by_keras.predict_proba(X), **TRAINED_FLOAT32)


def test_a_class_that_a_fold_lacks_has_probability_zero():
    """Members of a fold without rows of a class say 0 for it; the columns stay where they are."""
    order = np.argsort(Y, kind="stable")
    ensemble = stacked(("nb", GaussianNB()), ("mlp", mlp()), final=Watching(), cv=KFold(3)).fit(X[order], Y[order])
    columns = ensemble.final_estimator_.columns_
    assert columns.shape == (60, 6)
    np.testing.assert_array_equal(columns[np.arange(60), Y[order]], np.zeros(60))


# scikit-learn's stacking


@pytest.mark.parametrize("passthrough", [False, True])
@pytest.mark.parametrize("y", [LABELS, TWO], ids=["three classes", "two classes"])
def test_equal_to_scikit_learn_with_the_same_fitted_members(y, passthrough):
    """With identical fitted members, columns, their names and predictions are those of scikit-learn's stacking."""
    members = [
        ("mlp", mlp(random_state=0).fit(X[:30], y[:30])),
        ("nb", GaussianNB().fit(X[:30], y[:30])),
        ("ridge", RidgeClassifier().fit(X[:30], y[:30])),
    ]
    params = {"final_estimator": LogisticRegression(max_iter=1000), "cv": "prefit", "passthrough": passthrough}
    ours = StackedKerasClassifier(members, **params).fit(X[30:], y[30:])
    theirs = StackingClassifier(members, **params).fit(X[30:], y[30:])
    assert ours.stack_method_ == theirs.stack_method_ == ["predict_proba", "predict_proba", "decision_function"]
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), **FLOAT32)
    assert list(ours.get_feature_names_out()) == [
        name.replace("stackingclassifier", "stackedkerasclassifier") for name in theirs.get_feature_names_out()
    ]
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.named_estimators_["mlp"] is members[0][1]
    assert ours.engine_ == "none"


@pytest.mark.parametrize("passthrough", [False, True])
def test_regression_equal_to_scikit_learn_with_the_same_fitted_members(passthrough):
    """The same for regression, with the default final estimator."""
    members = [
        ("mlp", mlp_regressor(random_state=0).fit(X_REGRESSION[:30], Y_REGRESSION[:30])),
        ("linear", LinearRegression().fit(X_REGRESSION[:30], Y_REGRESSION[:30])),
    ]
    ours = StackedKerasRegressor(members, cv="prefit", passthrough=passthrough).fit(X_REGRESSION, Y_REGRESSION)
    theirs = StackingRegressor(members, cv="prefit", passthrough=passthrough).fit(X_REGRESSION, Y_REGRESSION)
    assert ours.stack_method_ == theirs.stack_method_
    np.testing.assert_allclose(ours.transform(X_REGRESSION), theirs.transform(X_REGRESSION), **FLOAT32)
    np.testing.assert_allclose(ours.predict(X_REGRESSION), theirs.predict(X_REGRESSION), rtol=1e-3, atol=1e-4)


def test_equal_to_scikit_learn_trained_from_the_start():
    """With members of fixed seeds, folds, members and final estimator are those of scikit-learn's stacking."""
    members = [("mlp", mlp(**EAGER, random_state=0, shuffle=False)), ("tree", DecisionTreeClassifier(random_state=0))]
    ours = StackedKerasClassifier(members, cv=2, engine="keras").fit(X, LABELS)
    theirs = StackingClassifier(members, cv=2).fit(X, LABELS)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), **TRAINED_FLOAT32)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("method", ["decision_function", "predict"])
def test_other_methods_are_those_of_cross_val_predict(method):
    """Members may give decision functions or labels, which count from 0 in the order of `classes_`."""
    ensemble = stacked(("svc", SVC()), ("logistic", LogisticRegression()), final=Watching(), stack_method=method)
    columns = ensemble.fit(X, LABELS).final_estimator_.columns_
    expected = [cross_val_predict(one, X, Y, cv=2, method=method).reshape(60, -1) for _, one in ensemble.estimators]
    np.testing.assert_allclose(columns, np.hstack(expected), rtol=1e-5, atol=1e-5)


def test_networks_may_give_labels():
    """With `stack_method="predict"`, a network's column is the number of its class."""
    ensemble = stacked(("mlp", mlp()), stack_method="predict").fit(X, LABELS)
    labels = ensemble.classes_[ensemble.transform(X)[:, 0].astype(int)]
    np.testing.assert_array_equal(labels, ensemble.estimators_[0].predict(X))


# Folds


@pytest.mark.parametrize(
    ("cv", "splitter"),
    [
        (None, StratifiedKFold(5)),
        (2, StratifiedKFold(2)),
        (KFold(3), KFold(3)),
        (list(KFold(2).split(X)), KFold(2)),
        (KFold(2, shuffle=True, random_state=1), KFold(2, shuffle=True, random_state=1)),
    ],
    ids=str,
)
def test_folds_are_those_of_scikit_learn(cv, splitter):
    """None is 5 folds stratified by class; a number, a splitter and an iterable mean what they mean elsewhere."""
    ensemble = stacked(("nb", GaussianNB()), final=Watching(), cv=cv).fit(X, Y)
    expected = cross_val_predict(GaussianNB(), X, Y, cv=splitter, method="predict_proba")
    np.testing.assert_allclose(ensemble.final_estimator_.columns_, expected, rtol=1e-6)


@pytest.mark.parametrize("y", [LABELS, 10 * Y, MULTILABEL], ids=["text", "numbers", "multilabel"])
@pytest.mark.parametrize("cv", [3, "prefit"])
def test_regressors_as_members_of_a_classifier(y, cv):
    """As in scikit-learn: they learn the positions of the labels, and what they predict is a column."""
    encoded = y if y.ndim > 1 else Y
    ridge, neighbors = Ridge(), KNeighborsClassifier()
    if cv == "prefit":
        ridge.fit(X, encoded), neighbors.fit(X, y)
    members = [("ridge", ridge), ("neighbors", neighbors)]
    model = StackedKerasClassifier(members, KNeighborsClassifier(), cv=cv).fit(X, y)
    expected = StackingClassifier(members, KNeighborsClassifier(), cv=cv).fit(X, y)
    np.testing.assert_allclose(model.transform(X), expected.transform(X), rtol=1e-5)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))
    if y.ndim == 1:
        with pytest.raises(ValueError, match="need classifiers: got Ridge. Use transform"):
            model.predict_members(X)


def test_rows_that_no_fold_predicts_are_left_out():
    """With TimeSeriesSplit the final estimator learns from the later rows alone, members from all rows at the end."""
    cv = TimeSeriesSplit(3)
    frozen = FrozenEstimator(GaussianNB().fit(X, TWO))
    model = StackedKerasClassifier(
        [("bayes", GaussianNB()), ("frozen", frozen)], Watching(), cv=cv, passthrough=True, random_state=0
    ).fit(X, TWO, sample_weight=WEIGHTS)
    final = model.final_estimator_
    expected = [GaussianNB().fit(X[a], TWO[a], WEIGHTS[a]).predict_proba(X[b])[:, 1] for a, b in cv.split(X)]
    np.testing.assert_allclose(final.columns_[:, 0], np.concatenate(expected))
    np.testing.assert_array_equal(final.columns_[:, 1], frozen.predict_proba(X[15:])[:, 1])
    np.testing.assert_array_equal(final.columns_[:, 2:], X[15:])
    np.testing.assert_array_equal(final.y_, TWO[15:])
    np.testing.assert_array_equal(final.sample_weight_, WEIGHTS[15:])
    assert model.predict_proba(X).shape == (60, 2)
    np.testing.assert_allclose(model.estimators_[0].theta_, GaussianNB().fit(X, TWO, WEIGHTS).theta_)


def test_fit_leaves_the_splitter_alone():
    """A splitter keeps its own random state, and one without a seed gets it from the ensemble: fits repeat."""
    generator = np.random.RandomState(0)
    ensemble = stacked(("nb", GaussianNB()), cv=KFold(3, shuffle=True, random_state=generator)).fit(X, Y)
    np.testing.assert_array_equal(generator.get_state()[1], np.random.RandomState(0).get_state()[1])
    assert ensemble.cv.random_state is generator

    unseeded = KFold(3, shuffle=True)
    once, again = (stacked(("nb", GaussianNB()), final=Watching(), cv=unseeded).fit(X, Y) for _ in range(2))
    assert unseeded.random_state is None
    np.testing.assert_array_equal(once.final_estimator_.columns_, again.final_estimator_.columns_)


def test_frozen_members_predict_as_they_are(fitted):
    """A fitted member is not trained in any fold, and its predictions are the final estimator's columns."""
    network, logistic, _ = fitted.estimators_
    before = copy.deepcopy(network.model_.get_weights())
    members = [("network", FrozenEstimator(network)), ("nb", GaussianNB()), ("linear", FrozenEstimator(logistic))]
    ensemble = stacked(*members, final=Watching()).fit(X, LABELS)
    columns = ensemble.final_estimator_.columns_
    np.testing.assert_allclose(columns[:, :3], network.predict_proba(X), **FLOAT32)
    np.testing.assert_allclose(columns[:, 6:], logistic.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(before[0], network.model_.get_weights()[0])
    assert ensemble.engine_ == "none"


# Weights of rows


def test_weights_of_rows_reach_members_and_the_final_estimator():
    """Members count rows by their weights, in each fold, and so does the final estimator."""
    network = mlp(optimizer="sgd")  # Adam hardly looks at the size of gradients
    ensemble = stacked(("nb", GaussianNB()), ("mlp", network), final=Watching()).fit(X, Y, sample_weight=WEIGHTS)
    np.testing.assert_array_equal(ensemble.final_estimator_.sample_weight_, WEIGHTS)
    for train, test in StratifiedKFold(2).split(X, Y):
        member = GaussianNB().fit(X[train], Y[train], WEIGHTS[train])
        np.testing.assert_allclose(
            ensemble.final_estimator_.columns_[test, :3], member.predict_proba(X[test]), rtol=1e-5
        )
    weighted = ensemble.predict_members(X)[1]
    assert not np.allclose(weighted, stacked(*ensemble.estimators).fit(X, Y).predict_members(X)[1])


def test_weights_of_rows_reach_a_head():
    """A head that sees rows of one class alone predicts it."""
    ensemble = stacked(("nb", GaussianNB()), final=head(epochs=30, optimizer__learning_rate=0.1, run_eagerly=False))
    ensemble.fit(X, Y, sample_weight=np.where(Y == 2, 1.0, 1e-6))
    assert (ensemble.predict(X) == 2).mean() > 0.9


# Heads and other final estimators


@pytest.mark.parametrize("merge", ["concatenate", "average", "weighted_average"])
def test_names_of_heads(merge):
    """A name stands for the head with default parameters."""
    ensemble = StackedKerasClassifier([("nb", GaussianNB())], merge)
    assert ensemble._final().get_params() == KerasHeadClassifier(merge).get_params()
    regressor = StackedKerasRegressor([("linear", Ridge())], merge)
    assert regressor._final().get_params() == KerasHeadRegressor(merge).get_params()


@pytest.mark.parametrize("y", [LABELS, TWO], ids=["three classes", "two classes"])
@pytest.mark.parametrize("merge", ["concatenate", "average", "weighted_average"])
def test_heads_learn_the_columns_of_members(merge, y):
    """The head is told how many columns each member has; its network on the columns is the prediction."""
    ensemble = stacked(("mlp", mlp()), ("nb", GaussianNB()), final=head(merge)).fit(X, y)
    width = 1 if y is TWO else 3
    assert ensemble.final_estimator_.member_columns == (width, width)
    outputs = ensemble.final_estimator_.model_.predict(ensemble.transform(X), verbose=0)
    expected = np.hstack([1 - outputs, outputs]) if y is TWO else outputs
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, **FLOAT32)
    np.testing.assert_array_equal(ensemble.predict(X), np.unique(y)[expected.argmax(axis=1)])
    assert ensemble.final_estimator.member_columns is None


def test_a_learned_weighted_mean_is_readable():
    """With nothing after it, the weighted average is the mean of the members by `weights_` of the head."""
    final = head("weighted_average", output_layer=False, epochs=10, optimizer__learning_rate=0.1)
    ensemble = stacked(("knows", GaussianNB()), ("dull", mlp(epochs=1)), final=final).fit(X, LABELS)
    weights = ensemble.final_estimator_.weights_
    assert weights[0] > 0.6
    mean = np.average(ensemble.predict_members(X), axis=0, weights=weights)
    np.testing.assert_allclose(ensemble.predict_proba(X), mean, **FLOAT32)


def test_regression_with_heads():
    """Heads of regressors give values; the weighted mean is that of the members."""
    members = [("mlp", mlp_regressor()), ("ridge", Ridge())]
    final = KerasHeadRegressor("weighted_average", output_layer=False, **EAGER)
    ensemble = StackedKerasRegressor(members, final, cv=2, random_state=0).fit(X_REGRESSION, Y_REGRESSION)
    mean = np.average(ensemble.predict_members(X_REGRESSION), axis=0, weights=ensemble.final_estimator_.weights_)
    np.testing.assert_allclose(ensemble.predict(X_REGRESSION), mean, **FLOAT32)


@pytest.mark.slow
def test_search_reaches_into_the_head_and_the_members():
    """Dropout, units, epochs and learning rate of the head, the kind of head and its members are searched."""
    ensemble = stacked(("mlp", mlp()), ("nb", GaussianNB()), final=head(), cv=2)
    grid = {
        "final_estimator__dropout": [0.1],
        "final_estimator__hidden_layer_sizes": [(4,)],
        "final_estimator__optimizer__learning_rate": [0.5],
        "final_estimator__epochs": [1],
        "mlp__epochs": [1],
    }
    search = GridSearchCV(ensemble, [grid, {"final_estimator": [LogisticRegression()]}], cv=2, error_score="raise")
    search.fit(X, LABELS)
    best = clone(ensemble).set_params(**{name: values[0] for name, values in grid.items()}).fit(X, LABELS)
    assert float(best.final_estimator_.model_.optimizer.learning_rate) == 0.5
    assert [layer.units for layer in best.final_estimator_.model_.layers if hasattr(layer, "units")] == [4, 3]
    assert len(best.final_estimator_.history_["loss"]) == len(best.estimators_[0].history_["loss"]) == 1
    assert len(search.cv_results_["params"]) == 2


def test_any_scikeras_estimator_may_be_final():
    """A scikeras estimator of the user's own learns from the columns as float32."""
    final = scikeras.wrappers.KerasClassifier(
        lambda meta: keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(3, activation="softmax")]),
        loss="sparse_categorical_crossentropy",
        **EAGER,
    )
    ensemble = stacked(("nb", GaussianNB()), ("tree", DecisionTreeClassifier()), final=final).fit(X, LABELS)
    assert ensemble.predict_proba(X[:1]).shape == (1, 3)
    assert ensemble.final_estimator_.X_dtype_ == np.float32
    assert set(ensemble.predict(X)) <= set("abc")


def test_predict_hands_parameters_to_the_final_estimator():
    """Such as `return_std` of a Bayesian regression."""
    ensemble = StackedKerasRegressor([("ridge", Ridge())], BayesianRidge()).fit(X_REGRESSION, Y_REGRESSION)
    mean, std = ensemble.predict(X_REGRESSION, return_std=True)
    np.testing.assert_array_equal(mean, ensemble.predict(X_REGRESSION))
    assert std.shape == (60,)


def test_methods_are_those_of_the_final_estimator():
    """`predict_proba` and `decision_function` exist where the final estimator has them, before and after `fit`."""
    ridge = stacked(("nb", GaussianNB()), final=RidgeClassifier())
    assert [hasattr(ridge, "predict_proba"), hasattr(ridge, "decision_function")] == [False, True]
    network = stacked(("nb", GaussianNB()), final="average")
    assert [hasattr(network, "predict_proba"), hasattr(network, "decision_function")] == [True, False]
    ridge.fit(X, LABELS)
    assert not hasattr(ridge, "predict_proba")
    assert ridge.decision_function(X).shape == (60, 3)


# Shapes of X and y


@pytest.mark.parametrize("passthrough", [False, "flatten"])
def test_images(passthrough):
    """Members see images as they are; passed through, each is one line of numbers."""
    ensemble = stacked(("one", mlp()), ("other", mlp(4)), passthrough=passthrough).fit(IMAGES, LABELS)
    columns = ensemble.transform(IMAGES)
    assert columns.shape == (60, 6 + 4 * bool(passthrough))
    assert len(ensemble.get_feature_names_out()) == columns.shape[1]
    if passthrough:
        np.testing.assert_array_equal(columns[:, 6:], X)
        assert ensemble.get_feature_names_out()[-1] == "x3"


def test_flatten_leaves_tables_as_they_are():
    """For X of two dimensions, "flatten" is the same as True."""
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    ensemble = stacked(("nb", GaussianNB()), passthrough="flatten").fit(frame, Y)
    np.testing.assert_array_equal(ensemble.transform(frame)[:, 3:], X)
    assert list(ensemble.get_feature_names_out()[3:]) == ["a", "b", "c", "d"]


def test_several_labels_per_row():
    """With an indicator matrix, the columns of a member are the probabilities of its labels."""
    members = [("mlp", mlp()), ("forest", RandomForestClassifier(3, random_state=0))]
    for final in (head(), KNeighborsClassifier(3)):
        ensemble = stacked(*members, final=final).fit(X, MULTILABEL)
        assert ensemble.transform(X).shape == (60, 6)
        proba = ensemble.predict_proba(X)
        assert proba.shape == (60, 3)
        np.testing.assert_array_equal(ensemble.predict(X), (proba > 0.5).astype(int))


def test_several_targets():
    """With several targets, the columns of a member are its values; a ridge and heads take them."""
    y = np.stack([Y_REGRESSION, -Y_REGRESSION], axis=1)
    members = [("mlp", mlp_regressor()), ("ridge", Ridge())]
    for final in (None, KerasHeadRegressor("average", **EAGER)):
        ensemble = StackedKerasRegressor(members, final, cv=2, random_state=0).fit(X_REGRESSION, y)
        assert ensemble.transform(X_REGRESSION).shape == (60, 4)
        assert ensemble.predict(X_REGRESSION).shape == (60, 2)


# A scikit-learn estimator


def test_same_seed_same_result():
    """The seed of the ensemble is that of members, forests, folds and head; another one gives another result."""
    members = [("mlp", mlp()), ("forest", RandomForestClassifier(2))]
    ensemble = stacked(*members, final=head(), cv=StratifiedKFold(2, shuffle=True))
    once, again = (clone(ensemble).fit(X, LABELS).predict_proba(X) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once, ensemble.set_params(random_state=1).fit(X, LABELS).predict_proba(X))


def test_columns_as_a_frame():
    """`set_output` gives the columns of `transform` their names."""
    ensemble = stacked(("mlp", mlp()), ("nb", GaussianNB())).set_output(transform="pandas")
    frame = ensemble.fit_transform(X, TWO)
    assert list(frame.columns) == ["stackedkerasclassifier_mlp", "stackedkerasclassifier_nb"]
    np.testing.assert_array_equal(frame["stackedkerasclassifier_nb"], ensemble.estimators_[1].predict_proba(X)[:, 1])
    assert set(ensemble.predict(X)) <= {"yes", "no"}


@pytest.mark.slow
@pytest.mark.workers
def test_workers_train_the_same_members(workers_pay):
    """Two worker processes give what one gives, but for rounding."""
    members = [("narrow", mlp(3)), ("wide", mlp(5)), ("nb", GaussianNB())]
    one, two = (stacked(*members, final=head(), n_jobs=n_jobs, cv=2).fit(X, LABELS) for n_jobs in (None, 2))
    np.testing.assert_allclose(one.predict_proba(X), two.predict_proba(X), **TRAINED_FLOAT32)


def test_fit_changes_nothing_of_the_users():
    """Members and the final estimator are cloned."""
    member, final = mlp(), head("average")
    before = copy.deepcopy((member.get_params(), final.get_params()))
    stacked(("mlp", member), ("nb", GaussianNB()), final=final).fit(X, LABELS)
    assert (member.get_params(), final.get_params()) == before
    assert not hasattr(member, "model_")
    assert not hasattr(final, "model_")


def test_html_shows_members_and_the_final_estimator():
    """The diagram of a notebook has every member and what combines them."""
    html = stacked(("mlp", mlp()), ("nb", GaussianNB()), final="average")._repr_html_()
    for text in ("GaussianNB", "KerasClassifier", "final_estimator", "KerasHeadClassifier"):
        assert text in html


def test_not_fitted():
    """Before `fit`, predictions say that there are none."""
    ensemble = stacked(("nb", GaussianNB()))
    for method in ("predict", "predict_proba", "decision_function", "transform", "predict_members"):
        with pytest.raises(NotFittedError):
            getattr(ensemble, method)(X)
    with pytest.raises(NotFittedError):
        ensemble.get_feature_names_out()


UNBUILT = ("network", KerasClassifier(must_not_build))
NB = ("nb", GaussianNB())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"estimators": []}, "`estimators` must not be empty"),
        ({"estimators": [GaussianNB()]}, r"must be a list of \(name, estimator\): got the entry GaussianNB\(\)"),
        (
            {"estimators": [UNBUILT, ("mlp", mlp_regressor())]},
            "`mlp` must be a classifier, as the ensemble is: got KerasRegressor",
        ),
        ({"final_estimator": Ridge()}, "`final_estimator` must be a classifier, as the ensemble is: got Ridge"),
        ({"final_estimator": "mean"}, "The 'final_estimator' parameter of StackedKerasClassifier must be a str among"),
        ({"cv": "fitted"}, "The 'cv' parameter"),
        (
            {"cv": ShuffleSplit(2, random_state=0)},
            "`cv` must predict no row twice: got one that predicts 11 of 60 rows, in 12",
        ),
        ({"cv": RepeatedKFold(n_splits=2, n_repeats=2)}, "predicts 60 of 60 rows, in 120 predictions"),
        ({"cv": [(np.flatnonzero(Y < 2), np.flatnonzero(Y == 2))]}, "have 1 of 3 classes"),
        ({"cv": [(np.arange(30), [*range(30, 60), 30])]}, "predicts 30 of 60 rows, in 31 predictions"),
        ({"cv": GroupKFold(2)}, "groups"),
        ({"cv": 50}, "n_splits=50 cannot be greater"),
        ({"passthrough": "both"}, "The 'passthrough' parameter"),
        ({"stack_method": "score"}, "The 'stack_method' parameter"),
        (
            {"stack_method": "decision_function"},
            "`stack_method` must be a method of every member: 'network' is KerasClassifier, which has no",
        ),
        ({"final_estimator": KerasHeadClassifier("sum")}, "`merge` must be one of"),
        (
            {"final_estimator": KerasHeadClassifier("weighted_average", weights=[1, 2, 3])},
            "`weights` must have one entry per member: got 3 weights for 2 members",
        ),
        (
            {"final_estimator": "average", "estimators": [UNBUILT, ("ridge", RidgeClassifier())]},
            "merge='average' needs members whose outputs mean the same",
        ),
        (
            {"final_estimator": KerasHeadClassifier("weighted_average", output_layer=False), "passthrough": True},
            "a head takes nothing but members: got passthrough=True",
        ),
        (
            {
                "final_estimator": KerasHeadClassifier("weighted_average", output_layer=False),
                "stack_method": "predict",
            },
            "the outputs of the members must be those of the head, by predict_proba: got the method 'predict'",
        ),
    ],
)
def test_bad_parameters_are_refused(params, message):
    """Parameters that cannot work are refused before any network is built."""
    with pytest.raises((TypeError, ValueError), match=message):
        StackedKerasClassifier(**{"estimators": [UNBUILT, NB], **params}).fit(X, LABELS)


@pytest.mark.parametrize(
    ("params", "X", "y", "sample_weight", "message"),
    [
        ({"passthrough": True}, IMAGES, LABELS, None, "needs X of two dimensions: got 4. Use passthrough='flatten'"),
        ({"estimators": [UNBUILT, NB]}, IMAGES, LABELS, None, "'nb' is GaussianNB, X has 4"),
        ({}, X, MULTILABEL, None, "`final_estimator` is LogisticRegression, y has 3 columns. Use"),
        ({"final_estimator": KNeighborsClassifier()}, X, LABELS, WEIGHTS, "KNeighborsClassifier, whose fit does not"),
        (
            {"estimators": [UNBUILT, ("near", KNeighborsClassifier())]},
            X,
            LABELS,
            WEIGHTS,
            "'near' is KNeighborsClassifier, whose fit does not",
        ),
        ({"cv": KFold(2)}, X, LABELS, np.arange(60) < 20, "must not be 0 for every row that a member is trained on"),
        ({"cv": "prefit", "estimators": [NB]}, X, LABELS, None, "This GaussianNB instance is not fitted yet"),
    ],
)
def test_bad_data_is_refused(params, X, y, sample_weight, message):
    """Data that members or the final estimator do not take are refused before any network is built."""
    with pytest.raises(ValueError, match=message):
        StackedKerasClassifier(**{"estimators": [UNBUILT], **params}).fit(X, y, sample_weight)


def test_decision_functions_need_every_class_in_every_fold():
    """A fold that lacks a class has other columns: that is said, not guessed."""
    order = np.argsort(Y)
    ensemble = stacked(("ridge", RidgeClassifier()), cv=KFold(3), stack_method="decision_function")
    with pytest.raises(ValueError, match="each fold must have rows of every class: got one with 2 of 3"):
        ensemble.fit(X[order], Y[order])
    assert not hasattr(ensemble, "estimators_")
