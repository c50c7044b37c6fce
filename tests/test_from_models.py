"""Tests for ensembles of networks that were trained before: models, files, and members of other ensembles."""

import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
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
    PolyakWeightRegressor,
    SnapshotEnsembleClassifier,
    StackedKerasClassifier,
    io,
)
from skensemble._from_models.reading import NetworkFile
from skensemble.preprocessing import TableEncoder

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 4)).astype("float32")
Y = np.where(X[:, 0] > 0.5, "c", np.where(X[:, 1] > 0, "a", "b"))
CLASSES = ["a", "b", "c"]


def build(units=3, activation="softmax", seed=None):
    """A network of one layer; with a seed, its values are drawn from it."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units, activation=activation)])
    if seed is not None:
        rng = np.random.default_rng(seed)
        model.set_weights([rng.normal(size=v.shape) for v in model.get_weights()])
    return model


def compiled(**arguments):
    """A trained model as users have it."""
    model = build(**arguments)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def outputs(model):
    """What Keras says that a model gives; `model.predict` would trace a graph for these few rows."""
    return keras.ops.convert_to_numpy(model(X))


@pytest.fixture
def files(tmp_path):
    """Two trained models in files, and the models."""
    models = [compiled(seed=0), compiled(seed=1)]
    paths = [tmp_path / "first.keras", tmp_path / "second.keras"]
    for model, path in zip(models, paths, strict=True):
        model.save(path)
    return paths, models


def test_models_are_averaged_without_training():
    """The ensemble of Keras models gives the mean of what Keras predicts, and knows the labels in their order."""
    models = [compiled(seed=0), compiled(seed=1)]
    before = [model.get_weights() for model in models]
    ensemble = KerasAveragingClassifier.from_models(models, classes=CLASSES)
    expected = np.mean([outputs(model) for model in models], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)
    assert ensemble.predict(X).tolist() == [CLASSES[i] for i in expected.argmax(axis=1)]
    assert ensemble.engine_ == "none"
    assert ensemble.n_features_in_ == 4
    for model, values in zip(models, before, strict=True):
        np.testing.assert_array_equal(model.get_weights()[0], values[0])


@pytest.mark.parametrize("lazy", [False, True])
def test_files_are_averaged(files, lazy):
    """Files of Keras give what the models give, whether they are kept in memory or read anew."""
    paths, models = files
    ensemble = KerasAveragingClassifier.from_models(paths, classes=CLASSES, lazy=lazy)
    expected = np.mean([outputs(model) for model in models], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)


def test_all_kinds_are_mixed(files, tmp_path):
    """A model, a file of Keras, a file of variables, a file of skensemble and a fitted member are one ensemble."""
    paths, models = files
    third, fourth = compiled(seed=2), KerasClassifier(build, epochs=1, random_state=0).fit(X, Y)
    third.save_weights(tmp_path / "third.weights.h5")
    io.dump(fourth, tmp_path / "fourth.skens")
    given = [models[0], paths[1], tmp_path / "third.weights.h5", tmp_path / "fourth.skens", fourth]
    with pytest.warns(UserWarning, match=r"Members \[3, 4\] are equal"):
        ensemble = KerasAveragingClassifier.from_models(given, classes=CLASSES, build=build)
    expected = [outputs(models[0]), outputs(models[1]), outputs(third), *2 * [fourth.predict_proba(X)]]
    np.testing.assert_allclose(ensemble.predict_members(X), expected, rtol=1e-5)


def test_lazy_files_are_found_from_elsewhere(tmp_path, monkeypatch):
    """A relative path means what it meant when it was given, whatever the working directory is later."""
    model = compiled(seed=0)
    model.save(tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)
    ensemble = KerasAveragingClassifier.from_models(["model.keras"], classes=CLASSES, lazy=True)
    monkeypatch.chdir(tmp_path.parent)
    np.testing.assert_allclose(ensemble.predict_proba(X), outputs(model), rtol=1e-5)


def test_lazy_files_need_the_memory_of_one(files, monkeypatch):
    """With `lazy=True`, a prediction has no more than one of the networks in memory."""
    paths, _ = files
    ensemble = KerasAveragingClassifier.from_models([*paths, *paths[:1]][:2], classes=CLASSES, lazy=True)
    alive, most = weakref.WeakSet(), []
    read = NetworkFile._read

    def watched(file):
        most.append(len(alive))
        model = read(file)
        alive.add(model)
        return model

    monkeypatch.setattr(NetworkFile, "_read", watched)
    ensemble.predict(X)
    gc.collect()
    assert most == [0, 0]
    assert len(alive) == 0


def test_lazy_ensembles_are_saved_whole(files, tmp_path):
    """The file of a lazy ensemble holds its networks, in which nothing is lazy any more."""
    paths, models = files
    ensemble = KerasAveragingClassifier.from_models(paths, classes=CLASSES, lazy=True)
    io.dump(ensemble, tmp_path / "ensemble.skens")
    for path in paths:
        path.unlink()
    loaded = io.load(tmp_path / "ensemble.skens")
    expected = np.mean([outputs(model) for model in models], axis=0)
    np.testing.assert_allclose(loaded.predict_proba(X), expected, rtol=1e-5)
    assert type(loaded.estimators_[0].estimator) is KerasClassifier


@pytest.mark.parametrize("lazy", [False, True])
def test_ensembles_of_files_can_do_all(files, lazy):
    """They are scored, cross-validated, exported, pickled and cut, and learn greedy weights, without training."""
    paths, models = files
    ensemble = KerasAveragingClassifier.from_models(paths, classes=CLASSES, lazy=lazy)
    proba = ensemble.predict_proba(X)
    scores = cross_val_score(ensemble, X, Y, cv=[(np.arange(15), np.arange(15, 30))])
    assert scores == [np.mean(np.array(CLASSES)[proba[15:].argmax(axis=1)] == Y[15:])]
    np.testing.assert_allclose(outputs(ensemble.to_keras()), proba, rtol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(ensemble)).predict_proba(X), proba)
    np.testing.assert_allclose(ensemble.subset([1]).predict_proba(X), outputs(models[1]), rtol=1e-5)
    ensemble.reweight("greedy", X=X, y=Y)
    best = min(log_loss(Y, outputs(model)) for model in models)
    assert log_loss(Y, ensemble.predict_proba(X)) <= best + 1e-6


def test_models_of_one_hot_labels():
    """Models that were trained with categorical cross-entropy are taken as they are."""
    model = build(seed=0)
    model.compile("adam", "categorical_crossentropy")
    ensemble = KerasAveragingClassifier.from_models([model], classes=CLASSES)
    np.testing.assert_allclose(ensemble.predict_proba(X), outputs(model), rtol=1e-5)


@pytest.mark.parametrize("loss", ["categorical_focal_crossentropy", "kl_divergence", "mse"])
def test_losses_of_trained_models_do_not_matter(loss):
    """Models that were trained on one-hot labels with other losses are taken as those of files are."""
    model = build(seed=0)
    model.compile("adam", loss)
    ensemble = KerasAveragingClassifier.from_models([model], classes=CLASSES)
    np.testing.assert_allclose(ensemble.predict_proba(X), outputs(model), rtol=1e-5)


def test_models_that_are_not_compiled_are_copied():
    """A model that is not compiled stays so."""
    model = build(seed=0)
    ensemble = KerasAveragingClassifier.from_models([model], classes=CLASSES)
    np.testing.assert_allclose(ensemble.predict_proba(X), outputs(model), rtol=1e-5)
    assert not model.compiled


@pytest.mark.parametrize("classes", [["dog", "cat"], [2, 1]])
def test_classes_are_in_the_order_of_the_outputs(classes):
    """Labels are given in the order of the outputs, whatever their order is."""
    model = compiled(units=2, seed=0)
    ensemble = KerasAveragingClassifier.from_models([model], classes=classes)
    assert ensemble.classes_.tolist() == classes[::-1]
    np.testing.assert_allclose(ensemble.predict_proba(X), outputs(model)[:, ::-1], rtol=1e-5)


def test_one_output_for_two_classes():
    """One sigmoid unit gives the probability of the second class."""
    model = build(units=1, activation="sigmoid", seed=0)
    ensemble = KerasAveragingClassifier.from_models([model], classes=[False, True])
    np.testing.assert_allclose(ensemble.predict_proba(X)[:, 1], outputs(model)[:, 0], rtol=1e-5)


def test_several_labels_per_row():
    """Without classes, sigmoid units are labels of their own."""
    models = [build(activation="sigmoid", seed=seed) for seed in range(2)]
    ensemble = KerasAveragingClassifier.from_models(models)
    expected = np.mean([outputs(model) for model in models], axis=0)
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)
    np.testing.assert_array_equal(ensemble.predict(X), expected > 0.5)


@pytest.mark.parametrize("units", [1, 2])
def test_regressors(units):
    """Regressors predict the mean of what Keras predicts, shaped as y was."""
    models = [build(units=units, activation=None, seed=seed) for seed in range(2)]
    ensemble = KerasAveragingRegressor.from_models(models)
    expected = np.mean([outputs(model) for model in models], axis=0)
    np.testing.assert_allclose(ensemble.predict(X), expected[:, 0] if units == 1 else expected, rtol=1e-5)


def test_pipelines_on_tables():
    """Pipelines are what their last step is, whatever their first takes, beside what takes tables as they are."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"size": X[:, 0], "colour": pandas.Categorical(Y)})
    net = make_pipeline(TableEncoder(), KerasRegressor(epochs=1)).fit(table, X[:, 1])
    trees = HistGradientBoostingRegressor(max_iter=1, categorical_features="from_dtype").fit(table, X[:, 1])
    ensemble = KerasVotingRegressor.from_models([("net", net), ("trees", trees)])
    expected = (net.predict(table) + trees.predict(table)) / 2
    np.testing.assert_allclose(ensemble.predict(table), expected, rtol=1e-5)


def test_pipelines_of_several_labels_per_row():
    """A pipeline that ends in a network with several labels per row predicts several."""
    pipeline = make_pipeline(StandardScaler(), KerasClassifier(epochs=1)).fit(X, (X > 0).astype(int))
    np.testing.assert_array_equal(KerasAveragingClassifier.from_models([pipeline]).predict(X), pipeline.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [DecisionTreeClassifier, MLPClassifier])
def test_other_classifiers_of_several_labels_per_row(kind):
    """Trees and others with several labels per row predict several."""
    classifier = kind(random_state=0).fit(X, (X > 0).astype(int))
    ensemble = KerasVotingClassifier.from_models([("only", classifier)])
    np.testing.assert_array_equal(ensemble.predict(X), classifier.predict(X))


def test_columns_of_several_classes():
    """A column of more than two classes is refused."""
    tree = DecisionTreeClassifier().fit(X, np.stack([Y == Y[0], np.arange(len(X)) % 3], axis=1).astype(int))
    with pytest.raises(ValueError, match=r"must be 0 or 1 each: .*tree.* predicts a column of \[0, 1, 2\]"):
        KerasVotingClassifier.from_models([("tree", tree)])


def test_ensembles_in_files_stand_for_their_members(tmp_path):
    """Ensembles that two machines trained are joined: every member counts, by its weight in its own ensemble."""
    member = KerasClassifier(build, epochs=1)
    first = KerasAveragingClassifier(member, n_estimators=2, random_state=0).fit(X, Y)
    second = KerasAveragingClassifier(member, n_estimators=2, random_state=1).fit(X, Y).reweight([3, 1])
    io.dump(first, tmp_path / "first.skens")
    io.dump(second, tmp_path / "second.skens")
    joined = KerasAveragingClassifier.from_models([tmp_path / "first.skens", tmp_path / "second.skens"])
    # 2 members of weight 1/2 and 2 of weights 3/4 and 1/4, each pair times 2, scaled to sum to 1
    np.testing.assert_allclose(joined.weights_, [0.25, 0.25, 0.375, 0.125])
    expected = (first.predict_proba(X) + second.predict_proba(X)) / 2
    np.testing.assert_allclose(joined.predict_proba(X), expected, rtol=1e-5)


def test_fits_keep_names_of_columns(tmp_path):
    """Members that know the names of their columns make the ensemble know them."""
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=list("pqrs"))
    io.dump(KerasClassifier(build, epochs=1).fit(table, Y), tmp_path / "member.skens")
    ensemble = KerasAveragingClassifier.from_models([tmp_path / "member.skens", compiled(seed=0)], classes=CLASSES)
    assert ensemble.feature_names_in_.tolist() == list("pqrs")
    with pytest.raises(ValueError, match="feature names"):
        ensemble.predict(table[list("srqp")])


def test_voting_has_names(files, tmp_path):
    """Members of voting have names; other estimators, and ensembles as one member each, stand beside networks."""
    paths, models = files
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(X, Y)
    snapshots = SnapshotEnsembleClassifier(KerasClassifier(build, epochs=2), n_estimators=2).fit(X, Y)
    io.dump(snapshots, tmp_path / "snapshots.skens")
    given = [("net", paths[0]), ("forest", forest), ("snapshots", tmp_path / "snapshots.skens")]
    ensemble = KerasVotingClassifier.from_models(given, classes=CLASSES, weights=[2, 1, 1])
    assert list(ensemble.named_estimators_) == ["net", "forest", "snapshots"]
    expected = np.average(
        [outputs(models[0]), forest.predict_proba(X), snapshots.predict_proba(X)], axis=0, weights=[2, 1, 1]
    )
    np.testing.assert_allclose(ensemble.predict_proba(X), expected, rtol=1e-5)
    assert ensemble.transform(X).shape == (30, 9)


def test_voting_regressors():
    """Regressors vote by name too; a dict of models is a list of pairs."""
    models = {name: build(units=1, activation=None, seed=seed) for seed, name in enumerate("ab")}
    ensemble = KerasVotingRegressor.from_models(models)
    np.testing.assert_allclose(ensemble.predict_members(X)[1], outputs(models["b"])[:, 0], rtol=1e-5)


def test_polyak_averages_checkpoints(tmp_path):
    """Variables of checkpoints are averaged by hand, from the newest, the last one, backwards."""
    models = [compiled(seed=seed) for seed in range(3)]
    paths = [tmp_path / f"epoch-{i}.keras" for i in range(3)]
    for model, path in zip(models, paths, strict=True):
        model.save(path)
    polyak = PolyakWeightClassifier.from_models(sorted(paths), classes=CLASSES, n_checkpoints=2)
    expected = np.mean([model.get_weights()[0] for model in models[1:]], axis=0)
    np.testing.assert_allclose(polyak.estimator_.model_.get_weights()[0], expected, rtol=1e-6)
    np.testing.assert_allclose(polyak.predict_members(X)[0], outputs(models[2]), rtol=1e-5)
    polyak.reweight("linear", n_checkpoints=3)  # 3/6, 2/6, 1/6, newest first
    expected = np.average([model.get_weights()[0] for model in models], axis=0, weights=[1, 2, 3])
    np.testing.assert_allclose(polyak.estimator_.model_.get_weights()[0], expected, rtol=1e-6)
    loaded = io.loads(io.dumps(polyak))
    np.testing.assert_array_equal(loaded.predict_proba(X), polyak.predict_proba(X))
    with pytest.raises(io.NotRestoredError, match="the function that built"):
        polyak.fit(X, Y)


def test_polyak_estimates_statistics():
    """Statistics of BatchNormalization need the training rows; without an average of them, rows are not needed."""

    def normalized(seed):
        layers = [keras.layers.BatchNormalization(), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        rng = np.random.default_rng(seed)
        model.set_weights([rng.random(v.shape) for v in model.get_weights()])
        return model

    models = [normalized(seed) for seed in range(2)]
    with pytest.raises(ValueError, match="`X` must hold the training rows"):
        PolyakWeightRegressor.from_models(models)
    polyak = PolyakWeightRegressor.from_models(models, X=X)
    statistics = polyak.estimator_.model_.layers[0].moving_mean.numpy()
    np.testing.assert_allclose(statistics, X.mean(axis=0), rtol=1e-4, atol=1e-6)  # one batch of 30 rows
    averaged = PolyakWeightRegressor.from_models(models, update_batch_norm=False)
    expected = np.mean([model.layers[0].moving_mean.numpy() for model in models], axis=0)
    np.testing.assert_allclose(averaged.estimator_.model_.layers[0].moving_mean.numpy(), expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras saves the lambda
def test_lambdas_in_files_are_refused(tmp_path):
    """Code in a file is not run: the error says what to do with a file that is trusted."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x), keras.layers.Dense(1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(ValueError, match=r"models\[0\] \('.*lambda.keras'\) cannot be read.* if you trust it"):
        KerasAveragingRegressor.from_models([tmp_path / "lambda.keras"])


def test_networks_without_a_shape_need_it():
    """A network that takes rows of any length is told theirs."""
    model = keras.Sequential([keras.Input((None, 2)), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"shape of a row of X: it takes \(None, 2\)"):
        KerasAveragingRegressor.from_models([model])
    ensemble = KerasAveragingRegressor.from_models([model], row_shape=(5, 2))
    assert ensemble.predict(np.ones((3, 5, 2))).shape == (3,)


def test_members_can_be_trained_further(files):
    """A member that was loaded is an ordinary one: `partial_fit` trains it further, `fit` has nothing to build."""
    paths, _ = files
    member = KerasAveragingClassifier.from_models(paths, classes=CLASSES)[0].estimator
    before = member.model_.get_weights()[0]
    member.partial_fit(X, Y)
    assert not np.array_equal(member.model_.get_weights()[0], before)
    with pytest.raises(io.NotRestoredError, match=r"built 'first.keras'"):
        member.fit(X, Y)


def test_lazy_members_are_not_trained(files):
    """A network that is read anew whenever it is used cannot keep what it would learn."""
    paths, _ = files
    member = KerasAveragingClassifier.from_models(paths, classes=CLASSES, lazy=True)[0].estimator
    with pytest.raises(TypeError, match="lazy=False"):
        member.partial_fit(X, Y)


@pytest.fixture(scope="module")
def misfits(tmp_path_factory):
    """Functions that make models that do not go together, and what is said of them."""
    tmp_path, model = tmp_path_factory.mktemp("models"), compiled(seed=0)
    model.save(tmp_path / "good.keras")
    model.save_weights(tmp_path / "good.weights.h5")
    (tmp_path / "broken.keras").write_bytes(b"nothing")
    (tmp_path / "other.skens").write_bytes(b"nothing")
    (tmp_path / "old.h5").write_bytes(b"nothing")
    wide = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, activation="softmax")])
    two = keras.Model(inputs := [keras.Input((2,)), keras.Input((2,))], keras.layers.Concatenate()(inputs))
    stacked = StackedKerasClassifier([("net", KerasClassifier(build, epochs=1))], cv=2)
    return {
        "no list": lambda: (tmp_path / "good.keras", {}, TypeError, "`models` must be a list"),
        "empty": lambda: ([], {}, ValueError, "`models` must not be empty"),
        "no file": lambda: ([tmp_path / "absent.keras"], {}, FileNotFoundError, r"models\[0\].*must be a file"),
        "directory": lambda: ([tmp_path], {}, FileNotFoundError, "must be a file: there is a directory"),
        "broken": lambda: (
            [tmp_path / "broken.keras"],
            {},
            ValueError,
            r"models\[0\] \('.*broken.keras'\) cannot be read",
        ),
        "no skens": lambda: (
            [tmp_path / "other.skens"],
            {},
            ValueError,
            r"models\[0\] \('.*other.skens'\) cannot be read",
        ),
        "old": lambda: ([tmp_path / "old.h5"], {}, ValueError, "old format can run code"),
        "no build": lambda: ([tmp_path / "good.weights.h5"], {}, ValueError, "holds only variables"),
        "wrong build": lambda: (
            [tmp_path / "good.weights.h5"],
            {"build": lambda: build(units=2)},
            ValueError,
            r"good.weights.h5'\) cannot be read",
        ),
        "build is a model": lambda: (
            [model],
            {"build": model},
            TypeError,
            "`build` must be a function without arguments",
        ),
        "rows": lambda: ([model, wide], {}, ValueError, r"rows of one shape: models\[0\].*\(4,\).*models\[1\].*\(5,\)"),
        "classes": lambda: ([model], {"classes": [0, 1]}, ValueError, r"models\[0\].*one unit for each class"),
        "equal classes": lambda: (
            [model],
            {"classes": ["a", "a", "b"]},
            ValueError,
            "different labels|one unit for each class",
        ),
        "no classes": lambda: ([model], {"classes": None}, ValueError, "sum to 1"),
        "logits": lambda: (
            [build(activation=None, seed=0)],
            {},
            ValueError,
            r"keras\.Sequential\(\[model, keras\.layers\.Soft",
        ),
        "inputs": lambda: ([two], {}, ValueError, "has 2 inputs"),
        "greedy": lambda: ([model], {"weights": "greedy"}, ValueError, r"reweight\('greedy', X=X, y=y\)"),
        "weights": lambda: ([model], {"weights": [1, 2]}, ValueError, "one entry per member"),
        "voting": lambda: ([model], {"voting": "loud"}, ValueError, "voting"),
        "regressor": lambda: (
            [KerasRegressor(epochs=1).fit(X, X[:, 0])],
            {},
            ValueError,
            r"`models\[0\]` must be a classifier",
        ),
        "unknown class": lambda: (
            [KerasClassifier(build, epochs=1).fit(X, Y), build(units=2, seed=0)],
            {"classes": ["a", "b"]},
            ValueError,
            "`classes` must have every class",
        ),
        "stacked": lambda: ([stacked.fit(X, Y)], {}, TypeError, "KerasVotingClassifier"),
        "not built": lambda: ([keras.Sequential([keras.layers.Dense(3)])], {}, ValueError, "no variables yet"),
    }


@pytest.mark.parametrize(
    "kind",
    [
        *("no list", "empty", "no file", "directory", "broken", "no skens", "old", "no build", "wrong build"),
        *(
            "build is a model",
            "rows",
            "classes",
            "equal classes",
            "no classes",
            "logits",
            "inputs",
            "greedy",
            "weights",
        ),
        *("voting", "regressor", "unknown class", "stacked", "not built"),
    ],
)
def test_bad_models_are_refused(misfits, kind):
    """What does not go together is said in words that name the model."""
    models, arguments, error, message = misfits[kind]()
    with pytest.raises(error, match=message):
        KerasAveragingClassifier.from_models(models, **{"classes": CLASSES, **arguments})


def test_lazy_ensembles_in_files_are_refused(tmp_path):
    """With `lazy=True` a file holds one network."""
    ensemble = KerasAveragingClassifier(KerasClassifier(build, epochs=1), n_estimators=2, random_state=0).fit(X, Y)
    io.dump(ensemble, tmp_path / "ensemble.skens")
    with pytest.raises(ValueError, match="each file must hold one network"):
        KerasAveragingClassifier.from_models([tmp_path / "ensemble.skens"], lazy=True)


def test_checkpoints_of_other_architectures_are_refused():
    """Variables of different networks have no average."""
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dense(3, activation="softmax")])
    with pytest.raises(ValueError, match=r"models\[1\].* differs from that of models\[0\]"):
        PolyakWeightClassifier.from_models([build(seed=0), other], classes=CLASSES)


@pytest.mark.parametrize("entry", [build(seed=0), ("a",), (1, build(seed=0))], ids=["model", "short", "number"])
def test_voting_needs_names(entry):
    """Models of voting are pairs of name and model."""
    with pytest.raises(TypeError, match=r"list of \(name, model\)"):
        KerasVotingClassifier.from_models([entry], classes=CLASSES)
