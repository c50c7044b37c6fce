import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from skensemble import (
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    StackedKerasClassifier,
    StackedKerasRegressor,
)
from skensemble._checkpoint.fingerprint import digest_given
from skensemble._members.inputs import Inputs


def _make_table():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    table["c"] = pd.Categorical(rng.choice(["r", "g"], 60))
    return table, np.where(table["a"] + (table["c"] == "r") > 0.3, "yes", "no")


TABLE, Y = _make_table()
NUMBERS = TABLE[["a", "b"]]


def mlp(**params):
    # Eager: tracing a graph takes longer than so few steps.
    return KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=-1, run_eagerly=True, **params)


def encoder():
    return make_column_transformer((OneHotEncoder(sparse_output=False), ["c"]), (StandardScaler(), ["a", "b"]))


def table_members():
    return [("net", make_pipeline(encoder(), mlp())), ("lr", make_pipeline(encoder(), LogisticRegression()))]


@pytest.mark.parametrize(
    "ensemble",
    [
        KerasVotingClassifier(table_members(), weights="greedy", random_state=0),
        StackedKerasClassifier(table_members(), cv=2, random_state=0),
        KerasAveragingClassifier(
            table_members()[0][1], n_estimators=2, bootstrap=True, weights="greedy", random_state=0
        ),
    ],
    ids=["voting", "stacking", "averaging"],
)
def test_members_see_the_users_table(ensemble, tmp_path):
    """Pipelines choose columns by name, categories included; members know the names; files change nothing."""
    fitted = ensemble.fit(TABLE, Y)
    for member in fitted.estimators_:
        assert member.feature_names_in_.tolist() == ["a", "b", "c"]
    assert fitted.feature_names_in_.tolist() == ["a", "b", "c"]
    joblib.dump(fitted, tmp_path / "ensemble.joblib")
    loaded = joblib.load(tmp_path / "ensemble.joblib")
    np.testing.assert_array_equal(loaded.predict_proba(TABLE), fitted.predict_proba(TABLE))
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(TABLE[["a", "c", "b"]])


def test_results_are_those_of_scikit_learn():
    """On a table with missing values and categories, without networks, voting and stacking are scikit-learn's own."""
    table = TABLE.copy()
    table.loc[::7, "a"] = np.nan
    members = [
        ("trees", HistGradientBoostingClassifier(max_iter=3, categorical_features="from_dtype")),
        ("lr", make_pipeline(encoder(), SimpleImputer(), LogisticRegression())),
    ]
    voting = KerasVotingClassifier(members).fit(table, Y)
    reference = VotingClassifier(members, voting="soft").fit(table, Y)
    np.testing.assert_allclose(voting.predict_proba(table), reference.predict_proba(table))
    stacking = StackedKerasClassifier(members, cv=3).fit(table, Y)
    reference = StackingClassifier(members, cv=3).fit(table, Y)
    np.testing.assert_allclose(stacking.predict_proba(table), reference.predict_proba(table))


def test_other_members_see_every_digit():
    """Numbers that differ by less than the networks' float type can tell stay apart; so do those passed through."""
    X, y = 1e8 + np.arange(60.0)[:, np.newaxis], np.arange(60.0)
    nearest = KNeighborsRegressor(1)
    member = [("nearest", nearest), ("net", KerasRegressor(epochs=1, batch_size=-1, run_eagerly=True))]
    voting = KerasVotingRegressor(member, weights=[1, 0]).fit(X, y)
    np.testing.assert_array_equal(voting.predict(X), y)
    frozen = KerasVotingRegressor([("nearest", FrozenEstimator(nearest.fit(X, y)))], weights="greedy").fit(X, y)
    np.testing.assert_array_equal(frozen.predict(X), y)
    stacking = StackedKerasRegressor(member, LinearRegression(), cv=3, passthrough=True).fit(X, y)
    columns = stacking.transform(X)
    assert columns.dtype == np.float64
    np.testing.assert_array_equal(columns[:, 2:], X)


def test_texts():
    """A list of texts goes to pipelines as it is, those that end in a network included."""
    texts = [f"{'good fine' if label == 'yes' else 'poor bad'} {i}" for i, label in enumerate(Y)]
    members = [
        (f"m{i}", make_pipeline(TfidfVectorizer(), last)) for i, last in enumerate((LogisticRegression(), mlp()))
    ]
    voting = KerasVotingClassifier(members, weights=[1, 0], random_state=0).fit(texts, Y)
    alone = members[0][1].fit(texts, Y)
    np.testing.assert_allclose(voting.predict_proba(texts), alone.predict_proba(texts))
    stacking = StackedKerasClassifier(members[:1], cv=2, random_state=0).fit(texts, Y)
    assert stacking.score(texts, Y) == 1
    with pytest.raises(ValueError, match="`passthrough` needs X of two dimensions: got texts"):
        stacking.set_params(passthrough=True).fit(texts, Y)


class Refuses(LogisticRegression):
    """Tells that it was trained."""

    def fit(self, X, y):
        raise AssertionError("members are trained")


@pytest.mark.parametrize("cls", [KerasVotingClassifier, StackedKerasClassifier])
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (NUMBERS.where(NUMBERS > -2), "'net' \\(KerasClassifier\\) does not accept missing values"),
        (TABLE, "'net' \\(KerasClassifier\\) takes X as numbers: could not convert string to float.*Pipeline"),
    ],
    ids=["nan", "text"],
)
def test_what_a_network_cannot_see_is_told_before_training(cls, X, message):
    """A value that is no number is an error that names the network which would see it, before anything is trained."""
    with pytest.raises(ValueError, match=message):
        cls([("trees", Refuses()), ("net", mlp())]).fit(X, Y)


def test_a_network_as_final_estimator_sees_numbers_only():
    """Where X is passed through to a network, a NaN names the final estimator."""
    trees = [("trees", HistGradientBoostingClassifier(max_iter=3))]
    stacking = StackedKerasClassifier(trees, mlp(), cv=2, passthrough=True)
    with pytest.raises(ValueError, match="final_estimator \\(KerasClassifier\\) does not accept missing values"):
        stacking.fit(NUMBERS.where(NUMBERS > -2), Y)
    stacking.set_params(passthrough=False).fit(NUMBERS.where(NUMBERS > -2), Y)


def test_networks_know_the_names_of_columns():
    """Networks that were trained together know the columns as scikit-learn's estimators do."""
    fitted = KerasAveragingClassifier(KerasClassifier(epochs=1), n_estimators=2, random_state=0).fit(NUMBERS, Y)
    assert fitted.estimators_[1].feature_names_in_.tolist() == ["a", "b"]
    fitted.estimators_[1].predict(NUMBERS)
    with pytest.warns(UserWarning, match="X does not have valid feature names, but KerasClassifier was fitted"):
        fitted.estimators_[1].predict(NUMBERS.to_numpy())
    assert not hasattr(fitted.fit(NUMBERS.to_numpy(), Y).estimators_[1], "feature_names_in_")


@pytest.mark.slow
@pytest.mark.workers
def test_members_in_workers(tmp_path, workers_pay):
    """Workers of `n_jobs` and a directory of states change nothing; other tables are refused in that directory."""
    members = [("net", KerasClassifier(epochs=1)), ("lr", LogisticRegression())]
    alone = KerasVotingClassifier(members, random_state=0).fit(NUMBERS, Y)
    apart = KerasVotingClassifier(members, random_state=0, n_jobs=2, checkpoint_dir=tmp_path).fit(NUMBERS, Y)
    np.testing.assert_allclose(apart.predict_proba(NUMBERS), alone.predict_proba(NUMBERS), rtol=1e-5)
    np.testing.assert_array_equal(apart.fit(NUMBERS, Y).predict(NUMBERS), apart.predict(NUMBERS))
    with pytest.raises(ValueError, match="Changed: `X`"):
        apart.fit(NUMBERS + 1e-12, Y)  # the same to a network


def test_images_beside_pipelines_that_flatten():
    """A pipeline that takes X of any shape stands beside networks; an estimator that does not is refused."""
    images = NUMBERS.to_numpy().reshape(60, 2, 1)
    flatten = make_pipeline(FunctionTransformer(lambda X: X.reshape(len(X), -1)), LogisticRegression())
    voting = KerasVotingClassifier([("flat", flatten), ("net", mlp())], weights=[1, 0]).fit(images, Y)
    alone = LogisticRegression().fit(NUMBERS.to_numpy(), Y)
    np.testing.assert_allclose(voting.predict_proba(images), alone.predict_proba(NUMBERS.to_numpy()))
    with pytest.raises(ValueError, match="take X of two dimensions: 'lr' is LogisticRegression, X has 3"):
        KerasVotingClassifier([("lr", LogisticRegression()), ("net", mlp())]).fit(images, Y)


def test_memory_maps_stay_on_disk(tmp_path):
    """X that is a memory map of Keras' float type is given to all members as it is."""
    seen = []

    class Records(LogisticRegression):
        def fit(self, X, y):
            seen.append(X)
            return super().fit(X, y)

    np.save(tmp_path / "X.npy", NUMBERS.to_numpy(np.float32))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    KerasVotingClassifier([("lr", Records()), ("net", mlp())]).fit(X, Y)
    assert seen[0] is X


@pytest.mark.parametrize(
    "X", [NUMBERS, NUMBERS.to_numpy(), NUMBERS.to_numpy().tolist(), scipy.sparse.csr_array(NUMBERS.to_numpy())]
)
def test_rows_of_inputs(X):
    """Rows are taken of both forms, whatever the first one is; a form that is not needed is not there."""
    floats = NUMBERS.to_numpy(np.float32)
    inputs = Inputs(X, floats).take([4, 2])
    given = inputs.given.toarray() if scipy.sparse.issparse(X) else np.asarray(inputs.given)
    np.testing.assert_array_equal(given, NUMBERS.to_numpy()[[4, 2]])
    np.testing.assert_array_equal(inputs.floats, floats[[4, 2]])
    assert (len(inputs), inputs.row_shape) == (2, (2,))
    assert (len(Inputs(X)), Inputs(X).row_shape) == (60, (2,))
    assert inputs.forms(given=False, floats=True).given is None
    assert inputs.forms(given=True, floats=False).floats is None


@pytest.mark.parametrize("kind", ["table", "repeated", "sparse", "texts"])
def test_digests_tell_data_apart(kind):
    """A digest follows from values, types and names of any form of X, and from nothing else."""
    make = {
        "table": lambda: TABLE.copy(),
        "repeated": lambda: TABLE.set_axis(["a", "a", "c"], axis=1),
        "sparse": lambda: scipy.sparse.csc_array(NUMBERS.to_numpy() * (NUMBERS.to_numpy() > 0)),
        "texts": lambda: [f"text {i}" for i in range(5)],
    }[kind]
    change = {
        "table": lambda X: X.rename(columns={"a": "z"}),
        "repeated": lambda X: X.iloc[::-1],
        "sparse": lambda X: 2 * X,
        "texts": lambda X: X[::-1],
    }[kind]
    assert digest_given(make()) == digest_given(make())
    assert digest_given(change(make())) != digest_given(make())


@pytest.mark.parametrize("estimator", [mlp(), KerasAveragingClassifier(mlp())])
def test_dates_are_no_numbers(estimator):
    """Dates and durations, which NumPy makes numbers of, are refused in tables and in arrays."""
    dates = pd.date_range("2020-01-01", periods=60)
    for X, message in (
        (TABLE[["a"]].assign(day=dates), "the column 'day' holds the type datetime64"),
        (TABLE[["a"]].assign(age=dates - dates[0]), "the column 'age' holds the type timedelta64"),
        (dates.to_numpy()[:, np.newaxis], "X holds the type datetime64"),
    ):
        with pytest.raises(TypeError, match=f"Networks take X as numbers: {message}.*TableEncoder"):
            estimator.fit(X, Y)
    with pytest.raises(TypeError, match="takes X as numbers: .* not 'Timestamp'.*TableEncoder"):
        estimator.fit(TABLE[["a"]].assign(day=dates.astype(object)), Y)
