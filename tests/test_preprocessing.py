import builtins
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skensemble import EmbedCategories, KerasAveragingClassifier, KerasClassifier, KerasRegressor, io
from skensemble._keras_objects.table_layers import embedding_size
from skensemble.preprocessing import TableEncoder


def make_table():
    """Every kind of column, with missing values; y follows from a category of many values."""
    rng, n = np.random.default_rng(0), 60
    table = pd.DataFrame(
        {
            "size": rng.normal(3, 2, n),
            "count": pd.array(rng.integers(0, 9, n), dtype="Int64"),
            "colour": rng.choice(["red", "blue"], n),
            "town": pd.Categorical([f"town {i % 15}" for i in range(n)]),
            "flag": rng.random(n) > 0.5,
            "maybe": rng.choice(np.array([True, False, None], dtype=object), n),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 400, n), "D"),
            "id": [f"id {i}" for i in range(n)],
            "floor": pd.Categorical(np.arange(n) % 3),
            "nothing": None,
            "same": 1.0,
        },
        index=np.arange(n) + 7,
    )
    y = np.where(np.arange(n) % 15 < 7, "yes", "no")
    table.loc[table.index[::9], "size"] = np.nan
    table.loc[table.index[::10], "count"] = pd.NA
    table.loc[table.index[::11], "day"] = pd.NaT
    table.loc[table.index[::13], "colour"] = None
    return table, y


TABLE, Y = make_table()
EAGER = {"hidden_layer_sizes": (3,), "epochs": 1, "batch_size": -1, "run_eagerly": True}


@pytest.fixture(scope="module")
def encoded():
    """The table, encoded."""
    return TableEncoder().fit_transform(TABLE)


@parametrize_with_checks([TableEncoder()])
def test_scikit_learn_checks(estimator, check):
    """scikit-learn's checks of a transformer pass."""
    check(estimator)


def test_numbers_are_scaled(encoded):
    """Numbers, booleans and dates have mean 0 and variance 1, missing ones the median; a constant is 0."""
    size = TABLE["size"].fillna(TABLE["size"].median())
    np.testing.assert_allclose(encoded["size"], (size - size.mean()) / size.std(ddof=0))
    day = (TABLE["day"] - TABLE["day"].min()).dt.days
    day = day.fillna(day.median())
    np.testing.assert_allclose(encoded["day"], (day - day.mean()) / day.std(ddof=0))
    np.testing.assert_allclose(encoded["flag"], StandardScaler().fit_transform(TABLE[["flag"]])[:, 0])
    assert (encoded["missingindicator_maybe"] > 0).tolist() == TABLE["maybe"].isna().tolist()
    assert (encoded["same"] == 0).all()
    assert encoded.index.equals(TABLE.index)


def test_categories(encoded):
    """Few categories are columns of 0 and 1, missing values one of them; many are codes whose type tells how many."""
    for name, expected in (("blue", TABLE["colour"] == "blue"), ("None", TABLE["colour"].isna())):
        assert encoded[f"colour_{name}"].tolist() == expected.astype(float).tolist()
    assert encoded.filter(like="floor").columns.tolist() == ["floor_0", "floor_1", "floor_2"]
    assert encoded["town"].cat.categories.tolist() == list(range(16))
    assert encoded.iloc[:3]["town"].dtype == encoded["town"].dtype
    codes = TABLE.assign(code=encoded["town"].astype(int)).groupby("town", observed=True)["code"]
    assert sorted(codes.unique().tolist()) == [[i] for i in range(1, 16)]


def test_columns_that_tell_nothing_are_left_out(encoded):
    """Categories seen once, and columns without values, are not in the output."""
    assert not [name for name in encoded if name.startswith(("id", "nothing"))]
    kinds = TableEncoder().fit(TABLE).kinds_
    assert dict(zip(TABLE, kinds, strict=True))["day"] == "dates"
    with pytest.raises(ValueError, match="must have a column that tells rows apart"):
        TableEncoder().fit(TABLE[["id", "nothing"]])


def test_unknown_and_rare_categories():
    """Categories that were not seen, or too rarely, have the code 0; as columns of 0 and 1 they share one."""
    town = TABLE["town"].astype(str).where(TABLE.index > 9, "rare")  # three rows
    table = pd.DataFrame({"town": town, "few": np.where(TABLE.index == 7, "rare", TABLE["flag"].astype(str))})
    encoder = TableEncoder(min_frequency=4).fit(table)
    assert encoder.n_categories_ == {"town": 13}  # three towns lost a row to "rare", and have three
    new = pd.DataFrame({"town": ["town 7", "rare", "nowhere", None], "few": ["True", "rare", "new", None]})
    out = encoder.transform(new)
    assert out["town"].astype(int).tolist()[1:] == [0, 0, 0]
    assert out["town"].astype(int)[0] > 0
    assert out.filter(like="few").to_numpy().tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    assert out.iloc[3].tolist() == encoder.transform(pd.DataFrame({"town": [np.nan], "few": [np.nan]})).iloc[0].tolist()
    assert TableEncoder(max_categories=4).fit(table).n_categories_ == {"town": 4}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"colour": 3}, TypeError, "'colour' must hold categories, as in fit: got numbers"),
        ({"size": "large"}, TypeError, "'size' must hold numbers, as in fit: got categories"),
        ({"size": TABLE["day"]}, TypeError, "'size' must hold numbers, as in fit: got dates"),
        ({"size": np.inf}, ValueError, "'size' must hold finite numbers: it contains infinity"),
        ({"size": 1j}, TypeError, "'size' must hold numbers, categories, booleans or dates: got the type complex128"),
        ({"colour": ["red", 1] * 30}, TypeError, "'colour' has values of int, str"),
        ({"colour": [["red"]] * 60}, TypeError, "'colour' has values of list"),
        ({"more": 1}, ValueError, "feature names should match"),
    ],
)
def test_bad_tables(change, error, message):
    """Columns of another kind than in fit, of several kinds or of none, are refused."""
    encoder = TableEncoder().fit(TABLE)
    with pytest.raises(error, match=message):
        encoder.transform(TABLE.assign(**change))


def test_names_that_are_not_unique():
    """Columns of one name are refused: one would have taken the place of the others."""
    with pytest.raises(ValueError, match="names of their own|unique column names"):
        TableEncoder(max_one_hot=0).fit(pd.DataFrame([["a", "b"], ["a", "b"]], columns=["town", "town"]))


def test_output_is_a_table():
    """The output has types, which a table of polars would lose."""
    encoder = TableEncoder().set_output(transform="pandas")
    with pytest.raises(ValueError, match="returns a pandas DataFrame"):
        encoder.set_output(transform="polars")
    trees = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype")
    pipeline = make_pipeline(encoder, trees).fit(TABLE, Y)
    assert pipeline[-1].is_categorical_.sum() == 1


def test_without_pandas(monkeypatch):
    """Numbers alone need no pandas; codes do, whose types tell what they are."""
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    towns = np.array([["a"], ["b"], ["a"], ["b"]])
    numbers, codes = TableEncoder().fit(X), TableEncoder(max_one_hot=1).fit(towns)
    original = builtins.__import__

    def without_pandas(name, scope=None, *args):
        if name == "pandas" and scope["__name__"] == "skensemble.preprocessing":
            raise ImportError(name)
        return original(name, scope, *args)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    np.testing.assert_array_equal(numbers.transform(X), [[-1, -1], [1, 1]])
    with pytest.raises(ImportError, match="install pandas, or set max_one_hot=None"):
        codes.transform(towns)


def test_it_needs_no_network_library():
    """Importing it imports no Keras."""
    code = "import sys; import skensemble.preprocessing; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Networks on the output


@pytest.fixture(scope="module")
def fused():
    """A pipeline with two networks, trained in one program."""
    member = KerasClassifier(hidden_layer_sizes=(3,), epochs=2, batch_size=30, shuffle=False)
    return make_pipeline(TableEncoder(), KerasAveragingClassifier(member, 2, engine="fused", random_state=0)).fit(
        TABLE, Y
    )


def test_fused_embeddings_are_those_of_keras(fused, encoded):
    """The program with embeddings gives what Keras' own fit gives; the prediction is that of NumPy."""
    member = fused[-1][0]
    by_keras = clone(fused[-1]).set_params(engine="keras", estimator__run_eagerly=True).fit(encoded, Y)
    np.testing.assert_allclose(
        fused[-1].predict_members(encoded), by_keras.predict_members(encoded), rtol=1e-4, atol=1e-6
    )
    embedding, kernel, bias, last_kernel, last_bias = (v.numpy() for v in member.model_.trainable_variables)
    assert embedding.shape == (16, embedding_size(16)) == (16, 8)
    town = encoded.pop("town") if "town" in encoded else None
    hidden = np.hstack([encoded.to_numpy(), embedding[town.astype(int)]]) @ kernel + bias
    encoded["town"] = town
    logits = np.maximum(hidden, 0) @ last_kernel + last_bias
    np.testing.assert_allclose(member.predict_proba(encoded)[:, 1], 1 / (1 + np.exp(-logits[:, 0])), rtol=1e-4)


def test_members_with_other_rows_share_the_program():
    """The number of categories is that of the table, whatever rows a member draws."""
    member = KerasClassifier(**EAGER | {"run_eagerly": False})
    ensemble = KerasAveragingClassifier(member, 2, bootstrap=True, max_samples=0.2, engine="fused", random_state=0)
    pipeline = make_pipeline(TableEncoder(), ensemble).fit(TABLE, Y)
    assert pipeline[-1].engine_ == "fused"
    assert pipeline[-1][0].n_categories_[-1] == 16


def test_pipelines_are_saved_and_exported(fused, encoded, tmp_path):
    """A file without pickle and an exported model predict the same."""
    expected = fused.predict_proba(TABLE)
    io.dump(fused, tmp_path / "pipeline.skens")
    assert io.get_untrusted_types(file=tmp_path / "pipeline.skens") == []
    loaded = io.load(tmp_path / "pipeline.skens")
    np.testing.assert_array_equal(loaded.predict_proba(TABLE), expected)
    exported = fused[-1].to_keras()
    np.testing.assert_allclose(exported.predict(encoded.astype(float), verbose=0), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_pipelines_are_searched():
    """Parameters of both steps are searched."""
    small = make_pipeline(TableEncoder(), KerasAveragingClassifier(KerasClassifier(**EAGER), 2, random_state=0))
    grid = {"tableencoder__max_one_hot": [2, None], "kerasaveragingclassifier__estimator__epochs": [1]}
    assert GridSearchCV(small, grid, cv=2, refit=False).fit(TABLE, Y).best_score_ > 0


def test_builders_are_told_of_the_columns(encoded):
    """Functions that build models get the columns' names and numbers of categories, alone and in ensembles."""
    seen = []

    def build(meta):
        seen.append((meta["n_categories_"], meta.get("feature_names_in_")))
        embed = [EmbedCategories(meta["n_categories_"])] if any(meta["n_categories_"]) else []
        return keras.Sequential([keras.Input(meta["X_shape_"][1:]), *embed, keras.layers.Dense(1, "sigmoid")])

    params = {"epochs": 1, "batch_size": -1, "run_eagerly": True}
    KerasClassifier(build, **params).fit(encoded, Y)
    KerasAveragingClassifier(KerasClassifier(build, **params), 2).fit(encoded, Y)
    assert len(seen) >= 2
    for n_categories, names in seen:
        assert n_categories == (0,) * (encoded.shape[1] - 1) + (16,)
        assert names.tolist() == encoded.columns.tolist()
    seen.clear()
    KerasClassifier(build, **params).fit(encoded.to_numpy(float), Y)
    assert seen == [((0,) * encoded.shape[1], None)]


def test_codes_as_numbers(encoded):
    """A network that takes codes of categories for numbers is trained, with a warning that tells what to do."""

    def build(meta):
        return keras.Sequential([keras.Input(meta["X_shape_"][1:]), keras.layers.Dense(1, "sigmoid")])

    with pytest.warns(UserWarning, match="1 columns of X hold categories, whose codes the network takes as numbers"):
        KerasClassifier(build, epochs=1, run_eagerly=True, batch_size=-1).fit(encoded, Y)


def test_codes_that_are_not_known_count_as_zero():
    """Codes outside of a column's categories are those of an unknown category; numbers stay as they are."""
    layer = EmbedCategories([3, 0])
    out = np.asarray(layer(np.array([[0, 5.0], [7, 5.0], [-2, 5.0], [2, 5.0]])))
    np.testing.assert_array_equal(out[1:3], out[[0, 0]])
    assert (out[3] != out[0]).any()
    assert (out[:, 0] == 5).all()
    again = EmbedCategories.from_config(layer.get_config())
    assert again.n_categories == [3, 0]
    with pytest.raises(ValueError, match="0 for those without categories, and one above 0"):
        EmbedCategories([0, 0])
    with pytest.raises(ValueError, match="of 2 columns takes tables of as many"):
        layer.build((None, 3))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (TABLE[["colour", "flag"]], "takes X as numbers: could not convert string.*TableEncoder"),
        (pd.DataFrame({"a": pd.Categorical([3, 4] * 30)}), r"'a' has the categories \[3, 4\].*TableEncoder"),
        (pd.DataFrame({"a": pd.Categorical(["0", "1"] * 30)}), r"'a' has the categories \['0', '1'\]"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: KerasAveragingClassifier(one, 2)])
def test_tables_that_are_not_encoded(table, message, wrap):
    """Categories that are no numbers from 0 are refused, with the way out."""
    with pytest.raises(ValueError, match=message):
        wrap(KerasClassifier(**EAGER)).fit(table, Y)


def test_drawn_columns_hold_numbers(encoded):
    """Members that draw columns take no categories."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**EAGER), 2, max_features=0.5)
    with pytest.raises(ValueError, match=r"1 columns hold categories.*max_one_hot=None"):
        ensemble.fit(encoded, Y)
    numbers = TableEncoder(max_one_hot=None).fit_transform(TABLE)
    assert ensemble.fit(numbers, Y).n_features_in_ == numbers.shape[1]


def test_a_new_fit_forgets_categories(encoded):
    """A regressor fitted on categories and then on numbers is that of the numbers."""
    regressor = KerasRegressor(**EAGER, random_state=0).fit(encoded, np.arange(60.0))
    assert [type(layer).__name__ for layer in regressor.model_.layers] == ["EmbedCategories", "Dense", "Dense"]
    numbers = encoded.to_numpy(float)
    regressor.fit(numbers, np.arange(60.0))
    assert not hasattr(regressor, "n_categories_")
    expected = KerasRegressor(**EAGER, random_state=0).fit(numbers, np.arange(60.0)).predict(numbers)
    np.testing.assert_array_equal(regressor.predict(numbers), expected)
