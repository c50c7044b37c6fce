import pickle

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skensemble import (
    InputColumns,
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    io,
)
from skensemble._members.network_inputs import check_whole_numbers

N_KINDS = 5
PIXELS = [f"p{i}" for i in range(16)]
INPUTS = {"picture": PIXELS, "numbers": ["a", "b"], "kind": ["kind"]}


def make_data():
    """Pictures of 4 x 4 pixels, two numbers, and the number of a kind, side by side; three classes."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(30, 18)), columns=[*PIXELS, "a", "b"])
    X["kind"] = rng.integers(0, N_KINDS, len(X))
    return X, np.array(["r", "s", "t"])[np.arange(len(X)) % 3]


X, Y = make_data()
CUT = {
    "picture": X[PIXELS].to_numpy().reshape(-1, 4, 4, 1),
    "numbers": X[["a", "b"]].to_numpy(),
    "kind": X[["kind"]].to_numpy(),
}


def picture_and_table(meta=None, units=2, metrics=None):
    """Network on a picture, numbers and a kind; compiled where there are metrics."""
    picture = keras.Input((4, 4, 1), name="picture")
    numbers = keras.Input((2,), name="numbers")
    kind = keras.Input((1,), name="kind", dtype="int32")
    parts = [
        keras.layers.Flatten()(keras.layers.Conv2D(units, 3)(picture)),
        numbers,
        keras.layers.Flatten()(keras.layers.Embedding(N_KINDS, 2)(kind)),
    ]
    output = keras.layers.Dense(3, activation="softmax", name="classes")(keras.layers.Concatenate()(parts))
    model = keras.Model([picture, numbers, kind], output)
    if metrics:
        model.compile(keras.optimizers.SGD(0.25), {"classes": "sparse_categorical_crossentropy"}, metrics=metrics)
    return model


def two_outputs():
    inputs = [keras.Input((1,), name="a"), keras.Input((1,), name="b")]
    joined = keras.layers.Concatenate()(inputs)
    return keras.Model(inputs, [keras.layers.Dense(3)(joined), keras.layers.Dense(3)(joined)])


class OwnSteps(keras.Model):
    """Subclassed, made of inputs and outputs."""


def own_steps():
    model = picture_and_table()
    return OwnSteps(model.inputs, model.outputs)


def texts():
    text = keras.Input((1,), name="text", dtype="string")
    return keras.Model(text, keras.layers.Dense(3)(keras.layers.Hashing(3)(text)))


def member(model=picture_and_table, **params):
    return KerasClassifier(model, **{"inputs": INPUTS, "epochs": 2, "batch_size": 15, "shuffle": False} | params)


@pytest.fixture(scope="module")
def fused():
    """Two members, trained in one program."""
    return KerasAveragingClassifier(member(), 2, engine="fused", random_state=0).fit(X, Y)


def test_fused_training_is_that_of_keras(fused):
    """The program gives what Keras' own fit gives, and that is what Keras gives for the inputs themselves."""
    by_keras = KerasAveragingClassifier(member(run_eagerly=True), 2, engine="keras", random_state=0).fit(X, Y)
    np.testing.assert_allclose(fused.predict_members(X), by_keras.predict_members(X), rtol=1e-4, atol=1e-6)
    (inner,) = (layer for layer in fused[0].model_.layers if isinstance(layer, keras.Model))
    np.testing.assert_allclose(inner.predict(CUT, verbose=0), fused[0].predict_proba(X), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "table"),
    [
        ({"picture": slice(16), "numbers": [16, 17], "kind": 18}, X.to_numpy()),
        ({"picture": range(3, 19), "numbers": np.array([2, 0]), "kind": "kind"}, X[["b", "kind", "a", *PIXELS]]),
    ],
)
def test_columns_by_number(fused, inputs, table):
    """Columns may be given by numbers, in any order, by a slice, and one alone; that changes nothing."""
    other = KerasAveragingClassifier(member(inputs=inputs), 2, engine="fused", random_state=0).fit(table, Y)
    np.testing.assert_allclose(other.predict_members(table), fused.predict_members(X), rtol=1e-4, atol=1e-6)


def test_a_compiled_network_stays_as_compiled():
    """Optimizer, a loss by the name of the output, and metrics are those that the network was compiled with."""
    fitted = member(model__metrics=["accuracy"], epochs=1).fit(X, Y)
    assert float(fitted.model_.optimizer.learning_rate) == 0.25
    assert {"loss", "accuracy"} <= fitted.history_.keys()


@pytest.mark.parametrize("engine", ["fused", "keras"])
def test_a_model_in_place_of_a_function(engine):
    """A Keras model with several inputs trains on from its values, with its optimizer."""
    model = picture_and_table(metrics=["accuracy"])
    model.optimizer.learning_rate = 0.0
    expected = model.predict(CUT, verbose=0)
    given = member(model, reinitialize=False, epochs=1, shuffle=True)
    n_members = 3 if engine == "fused" else 1  # the program builds all but the first two in another way
    ensemble = KerasAveragingClassifier(given, n_members, engine=engine, bootstrap=True, random_state=0).fit(X, Y)
    np.testing.assert_allclose(ensemble.predict_members(X), [expected] * n_members, rtol=1e-4, atol=1e-6)


def test_searches_pickles_files_and_exports(fused, tmp_path):
    """Parameters of the builder are searched; pickles, files without pickle and exported models predict the same."""
    expected = fused.predict_proba(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fused)).predict_proba(X), expected)
    io.dump(fused, tmp_path / "ensemble.skens")
    loaded = io.load(tmp_path / "ensemble.skens")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)
    assert loaded.estimator.inputs == INPUTS
    exported = fused.to_keras()
    np.testing.assert_allclose(exported.predict(X.to_numpy(), verbose=0), expected, rtol=1e-5, atol=1e-6)
    exported.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(X.to_numpy(), verbose=0), expected, rtol=1e-5, atol=1e-6)

    eager = member(units=1, epochs=1, batch_size=-1, run_eagerly=True, random_state=0)
    search = GridSearchCV(
        make_pipeline(FunctionTransformer(), eager), {"kerasclassifier__units": [1, 3]}, cv=2, refit=False
    )
    assert search.fit(X, Y).best_params_["kerasclassifier__units"] in (1, 3)


class DictOfInputs(KerasClassifier):
    """Encodes X in scikeras' way."""

    @property
    def feature_encoder(self):
        return FunctionTransformer(lambda table: {"a": table[:, :1], "b": table[:, 1:2]})


def test_encoders_of_scikeras():
    """Where an encoder makes the inputs, `inputs` is not needed, and Keras' own fit trains the network."""

    def build():
        inputs = {name: keras.Input((1,), name=name) for name in ("a", "b")}
        joined = keras.layers.Concatenate()(list(inputs.values()))
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(joined))

    network = DictOfInputs(build, epochs=1, batch_size=30, run_eagerly=True)
    ensemble = KerasAveragingClassifier(network, 2).fit(X, Y)
    assert ensemble.predict_proba(X).shape == (30, 3)
    assert ensemble.engine_ == "keras"


BAD = [
    ({"inputs": ["a", "b"]}, TypeError, "`inputs` must be a dict"),
    ({"inputs": INPUTS | {"more": ["a"]}}, ValueError, "must have the names of the inputs.*'more'"),
    ({"inputs": {"numbers": ["a", "b"]}}, ValueError, "must have the names of the inputs"),
    ({"inputs": INPUTS | {"numbers": ["a"]}}, ValueError, r"'numbers' takes rows of shape \(2,\), and.* 1 columns"),
    ({"inputs": INPUTS | {"kind": []}}, ValueError, "at least one column: 'kind' has none"),
    ({"inputs": INPUTS | {"kind": slice(3, 3)}}, ValueError, "at least one column: 'kind' has none"),
    ({"inputs": INPUTS | {"kind": ["sort"]}}, ValueError, "must name columns of X: got 'sort' for the input 'kind'"),
    ({"inputs": INPUTS | {"kind": [19]}}, ValueError, "which has 19, counted from 0: got 19"),
    ({"inputs": INPUTS | {"kind": [-1]}}, ValueError, "counted from 0: got -1"),
    ({"inputs": INPUTS | {"kind": [True]}}, TypeError, "must be names, numbers or a slice of numbers: got True"),
    ({"inputs": INPUTS | {"numbers": slice("a", "b")}}, TypeError, "must be one of numbers"),
    ({"inputs": INPUTS | {"numbers": slice(18, 20)}}, ValueError, r"which has 19: got slice\(18, 20, None\)"),
    ({"inputs": INPUTS | {"kind": ["a"]}}, ValueError, "type int32 takes whole numbers: got .* in its columns"),
    ({"inputs": None}, ValueError, "the network has 3 inputs: \\['picture', 'numbers', 'kind'\\].*`inputs`"),
    ({"model": own_steps}, ValueError, "made of inputs and outputs.*got OwnSteps"),
    (
        {"model": lambda: keras.Sequential([keras.layers.Dense(3)]), "inputs": {"x": ["a"]}},
        ValueError,
        "must begin with keras.Input",
    ),
    ({"model": texts, "inputs": {"text": ["a"]}}, ValueError, "'text' must take numbers"),
    ({"model": two_outputs, "inputs": {"a": ["a"], "b": ["b"]}}, ValueError, "2 outputs"),
]


@pytest.mark.parametrize(("params", "error", "message"), BAD)
def test_bad_inputs(params, error, message):
    """What does not go together is refused before training, with the way out."""
    model = params.get("model", picture_and_table)
    with pytest.raises(error, match=message):
        KerasAveragingClassifier(member(model, **{k: v for k, v in params.items() if k != "model"}), 2).fit(X, Y)


def test_names_that_are_not_unique():
    """A name that several columns have is refused: only the first one would have been read."""
    twice = X.rename(columns={"b": "a"})
    with pytest.raises(ValueError, match="2 columns of this name|unique column names"):
        member(inputs=INPUTS | {"numbers": ["a", "a"]}).fit(twice, Y)


def test_bad_tables():
    """Names of columns need a DataFrame, columns a table, and columns that members draw have no place of their own."""
    with pytest.raises(ValueError, match="X has no names of columns. Give X as a DataFrame"):
        member().fit(X.to_numpy(), Y)
    with pytest.raises(ValueError, match="X must be a table, of two dimensions"):
        member().fit(CUT["picture"], Y)
    with pytest.raises(ValueError, match="`inputs` says where each column goes"):
        KerasAveragingClassifier(member(), 2, max_features=0.5).fit(X, Y)


def test_one_input_of_another_shape():
    """A network with one input, too, may take columns by name, in an input of any shape."""

    def lines():
        return keras.Sequential(
            [keras.Input((None, 2), name="line"), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
        )

    chosen = ["b", "a", "p0", "p1"]
    network = KerasRegressor(lines, inputs={"line": chosen}, epochs=1, run_eagerly=True, batch_size=-1, random_state=0)
    network.fit(X, X["a"])
    kernel, bias = (variable.numpy() for variable in network.model_.trainable_variables)
    expected = X[chosen].to_numpy().reshape(-1, 2, 2).mean(axis=1) @ kernel + bias
    np.testing.assert_allclose(network.predict(X), expected[:, 0], rtol=1e-5, atol=1e-6)


def test_columns_of_a_layer_fill_its_shape():
    """The layer refuses columns that do not fill the shape, and tables without them."""
    with pytest.raises(ValueError, match="got 3 columns for the shape"):
        InputColumns([0, 1, 2], (2,))
    with pytest.raises(ValueError, match="columns up to 4"):
        InputColumns([4], (1,))(keras.Input((4,)))


def test_large_whole_numbers():
    """Whole numbers that Keras' float type does not tell apart are refused, and not rounded to others."""

    def build():
        layers = [keras.layers.Hashing(5), keras.layers.Embedding(5, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
        return keras.Sequential([keras.Input((1,), dtype="int32"), *layers])

    check_whole_numbers(build(), np.array([[2.0**24 - 1]], "float32"))
    with pytest.raises(ValueError, match="below 16777216: got larger ones in X for an input of type int32"):
        KerasRegressor(build).fit([[2**24], [2**24 + 1]], [0.0, 1.0])


@pytest.mark.parametrize("later", ["predict", "partial_fit"])
def test_large_whole_numbers_come_later(later):
    """They are refused in predictions and further training as well, by single networks, ensembles, trained models."""

    def build():
        layers = [keras.layers.Embedding(5, 2), keras.layers.Flatten(), keras.layers.Dense(1)]
        return keras.Sequential([keras.Input((1,), dtype="int32"), *layers])

    small, large, y = np.array([[1], [2]]), np.array([[2**24], [2**24 + 1]]), np.array([0.0, 1.0])
    single = KerasRegressor(build, epochs=1).fit(small, y)
    ensemble = KerasAveragingRegressor(KerasRegressor(build, epochs=1), n_estimators=2).fit(small, y)
    fitted = [single, ensemble]
    if later == "predict":
        fitted.append(KerasAveragingRegressor.from_models([build()]))
    for one in fitted:
        with pytest.raises(ValueError, match="below 16777216: got larger ones in X"):
            one.predict(large) if later == "predict" else one.partial_fit(large, y)


def test_parts_of_whole_numbers_are_refused_in_predictions(fused):
    """What `fit` refuses for an input of whole numbers, predictions refuse: it was cut off."""
    with pytest.raises(ValueError, match="takes whole numbers: got"):
        fused.predict(X.assign(kind=X["kind"] + 0.5))
