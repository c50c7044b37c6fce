import copy
import functools
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import scikeras.wrappers
from backends import tensorflow_only
from io_files import file_of
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import loguniform
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

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
    SnapshotEnsembleRegressor,
    StackedKerasClassifier,
    StackedKerasRegressor,
)
from skensemble.__main__ import main
from skensemble.exceptions import NotFusableError
from skensemble.io import (
    IntegrityError,
    NotRestoredError,
    PersistenceError,
    UnsupportedVersionError,
    UntrustedTypesFoundError,
    dump,
    dumps,
    get_untrusted_types,
    inspect,
    load,
    loads,
    verify,
)
from skensemble.io._zip_container import Container

ROOT = Path(__file__).parents[2]
SMALL = {"hidden_layer_sizes": (3,), "epochs": 2, "batch_size": -1}
RNG = np.random.default_rng(0)
X = RNG.random((24, 4), dtype=np.float32)
INDEX = np.arange(24) % 3
LABELS = {
    "integers with gaps": np.array([-3, 5, 40])[INDEX],
    "text": np.array(["ann", "bob", "eve"])[INDEX],
    "objects": np.array(["ann", "bob", "eve"], dtype=object)[INDEX],
    "bool": INDEX > 0,
    "floats": np.array([1.0, 2.0, 5.0])[INDEX],
    "several": np.stack([INDEX == 0, INDEX > 0, INDEX == 2], axis=1).astype(int),
}
TARGETS = {"one": X.sum(axis=1), "two": np.stack([X.sum(axis=1), X[:, 0]], axis=1)}
CLASSIFIERS = {
    "member": KerasClassifier(**SMALL, random_state=0),
    "averaging": KerasAveragingClassifier(KerasClassifier(**SMALL), 2, random_state=0),
    "averaging by Keras": KerasAveragingClassifier(KerasClassifier(**SMALL), 2, engine="keras", random_state=0),
    "voting": KerasVotingClassifier([("a", KerasClassifier(**SMALL)), ("b", KerasClassifier(**SMALL))], random_state=0),
    "snapshot": SnapshotEnsembleClassifier(KerasClassifier(**SMALL), 2, random_state=0),
    "polyak": PolyakWeightClassifier(KerasClassifier(**SMALL), n_checkpoints=2, random_state=0),
}
REGRESSORS = {
    "member": KerasRegressor(**SMALL, random_state=0),
    "averaging": KerasAveragingRegressor(KerasRegressor(**SMALL), 2, random_state=0),
    "voting": KerasVotingRegressor([("a", KerasRegressor(**SMALL)), ("b", KerasRegressor(**SMALL))], random_state=0),
    "snapshot": SnapshotEnsembleRegressor(KerasRegressor(**SMALL), 2, engine="keras", random_state=0),
    "polyak": PolyakWeightRegressor(KerasRegressor(**SMALL), n_checkpoints=2, random_state=0),
}


def build_softmax(meta, units=3):
    """Network whose builder is found by its name."""
    return keras.Sequential(
        [
            keras.Input(meta["X_shape_"][1:]),
            keras.layers.Dense(units),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.1),
            keras.layers.Dense(meta["n_classes_"], activation="softmax"),
        ]
    )


def own_loss(y_true, y_pred):
    """Loss of the user's."""
    return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)


class OwnClassifier(KerasClassifier):
    """Member class of the user's."""


class OwnCallback(keras.callbacks.Callback):
    """Callback of the user's."""


@pytest.fixture(scope="module")
def averaging():
    """An ensemble of two members."""
    return clone(CLASSIFIERS["averaging"]).fit(X, LABELS["objects"])


@pytest.fixture(scope="module")
def built_by_function():
    """An ensemble whose members come from a builder."""
    member = KerasClassifier(build_softmax, model__units=4, epochs=1, batch_size=-1)
    return KerasAveragingClassifier(member, 2, random_state=0).fit(X, INDEX)


def parts(data):
    """Manifest and entries of a file."""
    with Container(data) as container:
        return container.manifest, {
            entry["name"]: container.read(entry["name"]) for entry in container.manifest["entries"]
        }


def with_manifest(data, change):
    """The file with another manifest, every digest worked out again."""
    manifest, entries = parts(data)
    change(manifest)
    return file_of(manifest, entries)


def assert_same(loaded, estimator, X):
    """Predictions, of every kind, are equal bit for bit and of one type; so are parameters and what was learned."""
    for name in ("predict", "predict_proba", "predict_members"):
        if hasattr(estimator, name):
            first, second = getattr(loaded, name)(X), getattr(estimator, name)(X)
            assert_array_equal(first, second)
            assert first.dtype == second.dtype
    assert repr(loaded.get_params(deep=False)) == repr(estimator.get_params(deep=False))
    for name in ("classes_", "feature_names_in_", "weights_"):
        if hasattr(estimator, name):
            assert_array_equal(getattr(loaded, name), getattr(estimator, name))
            assert getattr(loaded, name).dtype == getattr(estimator, name).dtype


# What is saved is what is loaded


@pytest.mark.slow
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(name, labels):
    """A classifier with labels of any kind is the same after loading, and saves to the same bytes again."""
    if labels == "several" and name in ("snapshot", "polyak"):
        labels = "integers with gaps"  # several labels are for the others
    estimator = clone(CLASSIFIERS[name]).fit(X, LABELS[labels])
    data = dumps(estimator)
    loaded = loads(data)
    assert_same(loaded, estimator, X)
    assert dumps(loaded, verify=False) == data
    assert loaded.score(X, LABELS[labels]) == estimator.score(X, LABELS[labels])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_of_data_frames(name):
    """Names of columns are kept, and are checked after loading as before."""
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = clone(CLASSIFIERS[name]).fit(frame, LABELS["text"])
    loaded = loads(dumps(estimator))
    assert_same(loaded, estimator, frame)
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[list("bacd")])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors(name, target):
    """A regressor of one target or two is the same after loading, and saves to the same bytes again."""
    if target == "two" and name in ("snapshot", "polyak"):
        target = "one"
    estimator = clone(REGRESSORS[name]).fit(X, TARGETS[target])
    data = dumps(estimator)
    loaded = loads(data)
    assert_same(loaded, estimator, X)
    assert dumps(loaded, verify=False) == data


def test_history_of_members(averaging):
    """Members of a loaded ensemble are ordinary estimators with the history of their training."""
    loaded = loads(dumps(averaging))
    for member, expected in zip(loaded.estimators_, averaging.estimators_, strict=True):
        assert member.history_ == expected.history_
        assert_array_equal(member.predict_proba(X), expected.predict_proba(X))
        assert isinstance(member, KerasClassifier)


def test_builder_with_arguments():
    """A partial of a function is left out as the function is, and built again where both are trusted."""
    member = KerasClassifier(functools.partial(build_softmax, units=2), epochs=1, batch_size=-1, random_state=0)
    ensemble = KerasAveragingClassifier(member, 2, random_state=0).fit(X, INDEX)
    data = dumps(ensemble)
    loaded = loads(data)
    assert_array_equal(loaded.predict_proba(X), ensemble.predict_proba(X))
    assert_array_equal(loaded[0].predict_proba(X), ensemble[0].predict_proba(X))
    assert dumps(loaded) == data
    with pytest.raises(NotRestoredError, match="build_softmax"):
        loaded.fit(X, INDEX)
    trusted = loads(data, trusted=get_untrusted_types(data=data))
    assert trusted.estimator.model.keywords == {"units": 2}


def test_looking_at_members_does_not_change_the_file():
    """Members that are built when they are asked for are written as before."""
    ensemble = clone(CLASSIFIERS["averaging"]).fit(X, INDEX)
    data = dumps(ensemble)
    ensemble.estimators_[0].predict(X)
    assert dumps(ensemble, verify=False) == data


def test_member_that_was_trained_further():
    """A member that was trained after the ensemble's fit is saved as it is now."""
    ensemble = clone(CLASSIFIERS["averaging"]).fit(X, INDEX)
    ensemble.estimators_[1].partial_fit(X, INDEX)
    loaded = loads(dumps(ensemble))
    for member, expected in zip(loaded.estimators_, ensemble.estimators_, strict=True):
        assert_array_equal(member.predict_proba(X), expected.predict_proba(X))
    # Both members went through TensorFlow as one program; loaded, each goes by itself, which may change the last bit.
    assert_allclose(loaded.predict_members(X), ensemble.predict_members(X), rtol=1e-6)
    assert loaded.estimators_[1].history_ == ensemble.estimators_[1].history_


def test_bootstrap_and_greedy_weights():
    """Drawn rows, out-of-bag predictions with NaN and selected weights are kept."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "[0-9]+ rows were drawn by every member")  # some are, by two members
        ensemble = KerasAveragingClassifier(
            KerasClassifier(**SMALL), 2, bootstrap=True, oob_score=True, weights="greedy", random_state=0
        ).fit(X, INDEX)
    loaded = loads(dumps(ensemble))
    assert_same(loaded, ensemble, X)
    assert_array_equal(loaded.oob_decision_function_, ensemble.oob_decision_function_)
    assert_array_equal(loaded.estimators_samples_, ensemble.estimators_samples_)


def test_warm_start_goes_on():
    """A loaded ensemble takes more members, those that one fit of all would have."""
    params = {"random_state": 0, "warm_start": True}
    ensemble = KerasAveragingClassifier(KerasClassifier(**SMALL), 1, **params).fit(X, INDEX)
    loaded = loads(dumps(ensemble)).set_params(n_estimators=2).fit(X, INDEX)
    ensemble.set_params(n_estimators=2).fit(X, INDEX)
    assert_array_equal(loaded.predict_members(X), ensemble.predict_members(X))


def test_polyak_averages_anew():
    """The checkpoints are in the file: `reweight` works after loading."""
    estimator = clone(CLASSIFIERS["polyak"]).fit(X, INDEX)
    loaded = loads(dumps(estimator))
    assert_array_equal(
        loaded.reweight(n_checkpoints=1).predict_proba(X), estimator.reweight(n_checkpoints=1).predict_proba(X)
    )


def test_frozen_members():
    """Fitted members that were averaged without training are the members of the loaded ensemble."""
    frozen = [FrozenEstimator(KerasClassifier(**SMALL, random_state=seed).fit(X, INDEX)) for seed in range(2)]
    ensemble = KerasAveragingClassifier(frozen, 2).fit(X, INDEX)
    loaded = loads(dumps(ensemble))
    assert_array_equal(loaded.predict_proba(X), ensemble.predict_proba(X))
    assert loaded.estimator[0].estimator is loaded.estimators_[0].estimator


def test_frozen_layers():
    """A frozen network that all members share, as for transfer learning, is frozen in the file, layer by layer."""
    backbone = keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(3, activation="relu") for _ in range(2))])
    backbone.trainable = False

    def build():
        inputs = keras.Input((4,))
        steps = keras.layers.TimeDistributed(keras.Sequential([backbone]))(keras.layers.Reshape((1, 4))(inputs))
        outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.Flatten()(steps))
        model = keras.Model(inputs, outputs)
        model.compile(loss="sparse_categorical_crossentropy")
        return model

    ensemble = KerasAveragingClassifier(KerasClassifier(build, epochs=1), 2, random_state=0).fit(X, INDEX)
    loaded = loads(dumps(ensemble))
    assert_array_equal(loaded.predict_proba(X), ensemble.predict_proba(X))
    (frozen,) = loaded.estimators_[0].model_.get_layer(index=2).layer.layers
    assert [frozen.trainable, *(layer.trainable for layer in frozen.layers)] == [False, False, False]


def test_prebuilt_model():
    """A model that was given instead of a builder is one object in the loaded member too."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    member = KerasClassifier(model, loss="sparse_categorical_crossentropy", epochs=1).fit(X, INDEX)
    loaded = loads(dumps(member))
    assert_array_equal(loaded.predict_proba(X), member.predict_proba(X))
    assert loaded.model is loaded.model_


def test_plain_scikeras_estimator():
    """Scikeras' own estimators can be saved."""
    member = scikeras.wrappers.KerasClassifier(
        build_softmax, loss="sparse_categorical_crossentropy", epochs=1, verbose=0
    ).fit(X, INDEX)
    assert_array_equal(loads(dumps(member)).predict_proba(X), member.predict_proba(X))


# What contains networks


def test_pipeline():
    """A pipeline that ends in an ensemble keeps its fitted steps."""
    pipeline = make_pipeline(StandardScaler(), clone(CLASSIFIERS["averaging"])).fit(X, LABELS["text"])
    data = dumps(pipeline)
    loaded = loads(data)
    assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))
    assert_array_equal(loaded[0].mean_, pipeline[0].mean_)
    assert dumps(loaded, verify=False) == data


def test_pipeline_for_tables():
    """Imputers, scalers and encoders of named columns need no trust."""
    table = pd.DataFrame({"size": X[:, 0], "age": X[:, 1], "color": np.array(["red", "green", "blue"])[INDEX]})
    table.loc[0, "age"] = np.nan
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    columns = [("numeric", numeric, ["size", "age"]), ("color", OneHotEncoder(sparse_output=False), ["color"])]
    pipeline = make_pipeline(ColumnTransformer(columns), clone(CLASSIFIERS["averaging"])).fit(table, LABELS["text"])
    assert_array_equal(loads(dumps(pipeline)).predict_proba(table), pipeline.predict_proba(table))


def test_pipeline_leaves_its_cache_behind(tmp_path):
    """The directory of a cache is not written: a fit would unpickle what is in there."""
    pipeline = make_pipeline(StandardScaler(), KerasClassifier(**SMALL), memory=str(tmp_path)).fit(X, INDEX)
    data = dumps(pipeline, verify=False)
    assert loads(data).memory is None


@pytest.mark.slow
def test_search():
    """A search keeps its results, its best estimator and its scorer."""
    search = GridSearchCV(KerasClassifier(**SMALL, random_state=0), {"epochs": [1, 2]}, cv=KFold(2), scoring="accuracy")
    search.fit(X, INDEX)
    loaded = loads(dumps(search))
    assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))
    assert loaded.best_params_ == search.best_params_
    assert_array_equal(loaded.cv_results_["param_epochs"], search.cv_results_["param_epochs"])
    assert loaded.score(X, INDEX) == search.score(X, INDEX)


@pytest.mark.slow
@pytest.mark.parametrize("scoring", [["accuracy", "neg_log_loss"], {"accuracy": "accuracy"}, "neg_log_loss", None])
def test_search_over_ensembles(scoring):
    """A search over a pipeline that ends in an ensemble, by one score or several."""
    pipeline = make_pipeline(StandardScaler(), KerasAveragingClassifier(KerasClassifier(**SMALL), 2, random_state=0))
    refit = "accuracy" if isinstance(scoring, list | dict) else True
    candidates = {"kerasaveragingclassifier__n_estimators": [1, 2]}
    search = GridSearchCV(pipeline, candidates, cv=KFold(2, shuffle=True, random_state=0), scoring=scoring, refit=refit)
    search.fit(X, INDEX)
    loaded = loads(dumps(search))
    assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))
    assert loaded.score(X, INDEX) == search.score(X, INDEX)
    assert loaded.multimetric_ == search.multimetric_
    assert not hasattr(loaded.estimator[-1], "estimators_")


@pytest.mark.slow
def test_randomized_search():
    """A search that draws learning rates keeps what it drew from."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**SMALL), 2, random_state=0)
    rates = {"estimator__optimizer__learning_rate": loguniform(1e-3, 1e-1), "n_estimators": [1, 2]}
    search = RandomizedSearchCV(ensemble, rates, n_iter=2, cv=KFold(2), random_state=0).fit(X, INDEX)
    loaded = loads(dumps(search))
    assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))
    assert loaded.best_params_ == search.best_params_
    assert_array_equal(loaded.fit(X, INDEX).predict_proba(X), search.predict_proba(X))


def test_parameters_that_were_set():
    """What `set_params` and searches set is the same after loading, in whatever order it was set."""
    member = KerasClassifier(build_softmax, epochs=1, batch_size=-1, units=3).set_params(
        validation_split=0.2, optimizer__momentum=0.5, optimizer__learning_rate=0.01, optimizer="sgd", model__units=4
    )
    loaded = loads(dumps(member.fit(X, INDEX)))
    assert loaded.get_params() | {"model": None} == member.get_params() | {"model": None}


@pytest.mark.parametrize(
    "callbacks",
    [
        {"callbacks": keras.callbacks.EarlyStopping, "callbacks__patience": 3, "callbacks__monitor": "loss"},
        {"callbacks": keras.callbacks.EarlyStopping("loss")},
        {"callbacks": [keras.callbacks.EarlyStopping("loss"), keras.callbacks.TerminateOnNaN]},
        {"callbacks": {"stop": keras.callbacks.EarlyStopping("loss"), "csv": keras.callbacks.CSVLogger("log.csv")}},
    ],
    ids=["class", "instance", "list", "dict"],
)
def test_callbacks_in_every_form(callbacks, tmp_path, monkeypatch):
    """Callbacks may be a class, an instance, or several in a list or dict; one that writes files is left out."""
    monkeypatch.chdir(tmp_path)
    member = KerasClassifier(**{**SMALL, "epochs": 2}, **callbacks).fit(X, INDEX)
    loaded = loads(dumps(member))
    assert_array_equal(loaded.predict_proba(X), member.predict_proba(X))
    assert type(loaded.callbacks) is type(member.callbacks)


def test_transformed_target():
    """A regressor of a transformed target is the same after loading."""
    regressor = TransformedTargetRegressor(KerasRegressor(**SMALL), transformer=StandardScaler())
    regressor.fit(X, TARGETS["one"])
    assert_array_equal(loads(dumps(regressor)).predict(X), regressor.predict(X))


@pytest.mark.parametrize("final_estimator", [None, KerasClassifier(**SMALL), "weighted_average"])
def test_stacked_classifiers(final_estimator):
    """Stacks are the same after loading, whatever combines their members."""
    members = [("a", KerasClassifier(**SMALL)), ("b", KerasClassifier(**SMALL))]
    stack = StackedKerasClassifier(members, final_estimator, cv=2, random_state=0).fit(X, LABELS["text"])
    data = dumps(stack)
    assert get_untrusted_types(data=data) == []
    loaded = loads(data)
    assert_same(loaded, stack, X)
    assert dumps(loaded, verify=False) == data


def test_stacked_regressor():
    """A stack of a network and a linear model is the same after loading."""
    members = [("network", KerasRegressor(**SMALL)), ("ridge", Ridge())]
    stack = StackedKerasRegressor(members, cv=2, random_state=0).fit(X, TARGETS["one"])
    assert_array_equal(loads(dumps(stack)).predict(X), stack.predict(X))


def test_directory_of_checkpoints_is_left_behind(tmp_path):
    """`checkpoint_dir` is of the machine that trained, and is not written."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**SMALL), 2, checkpoint_dir=str(tmp_path)).fit(X, INDEX)
    assert loads(dumps(ensemble)).checkpoint_dir is None


def test_other_members():
    """Linear members beside networks need no trust, and predict alike."""
    ensemble = KerasVotingRegressor([("network", KerasRegressor(**SMALL)), ("ridge", Ridge())]).fit(X, TARGETS["one"])
    assert_array_equal(loads(dumps(ensemble)).predict(X), ensemble.predict(X))


def test_trees_need_trust():
    """A forest is loaded where its types are trusted: a changed tree could crash the process."""
    members = [("network", KerasClassifier(**SMALL)), ("forest", RandomForestClassifier(2, random_state=0))]
    ensemble = KerasVotingClassifier(members).fit(X, INDEX)
    data = dumps(ensemble)
    names = get_untrusted_types(data=data)
    assert "sklearn.tree._tree.Tree" in names
    with pytest.raises(UntrustedTypesFoundError, match=r"sklearn\.tree\._tree\.Tree") as caught:
        loads(data)
    assert caught.value.names == names
    assert_array_equal(loads(data, trusted=names).predict_proba(X), ensemble.predict_proba(X))
    assert dumps(ensemble, verify=False) == data


# Functions and classes of the user's


def test_builder_is_left_out_unless_trusted(built_by_function):
    """Without its builder an ensemble predicts, scores, prints and clones, and `fit` says what is missing."""
    data = dumps(built_by_function)
    path = f"{__name__}.build_softmax"
    assert get_untrusted_types(data=data) == [path]
    loaded = loads(data)
    assert_array_equal(loaded.predict_proba(X), built_by_function.predict_proba(X))
    assert_array_equal(loaded.estimators_[1].predict(X), built_by_function.estimators_[1].predict(X))
    assert "NotRestored" in repr(loaded)
    for unfit in (clone(loaded), loaded, loaded.estimators_[0], pickle.loads(pickle.dumps(loaded))):
        with pytest.raises(NotRestoredError, match=path):
            unfit.fit(X, INDEX)
    assert dumps(loaded, verify=False) == data


def test_trusted_builder(built_by_function):
    """With its builder trusted, an ensemble is trained again as before."""
    loaded = loads(dumps(built_by_function), trusted=[f"{__name__}.build_softmax"])
    again = clone(loaded).fit(X, INDEX)
    assert again.estimator.model is build_softmax
    assert_array_equal(again.predict_proba(X), built_by_function.predict_proba(X))


def with_local_builder(units):
    """A function inside of a function."""

    def build(meta):
        return build_softmax(meta, units)

    return build


def shadowed(meta):
    """Not the function that its name leads to."""


SHADOWED = shadowed
shadowed = build_softmax


@pytest.mark.parametrize(
    ("builder", "path"),
    [
        (lambda meta: build_softmax(meta), f"{__name__}.<lambda>"),
        (with_local_builder(2), f"{__name__}.with_local_builder.<locals>.build"),
        (SHADOWED, f"{__name__}.shadowed"),
    ],
    ids=["lambda", "local", "shadowed"],
)
def test_builder_that_cannot_be_imported(averaging, builder, path):
    """It is not in the file and cannot be trusted; the ensemble predicts without it, and `fit` says what is missing."""
    ensemble = copy.copy(averaging).set_params(estimator=KerasClassifier(builder))
    data = dumps(ensemble)
    assert get_untrusted_types(data=data) == []
    loaded = loads(data)
    assert_array_equal(loaded.predict_proba(X), averaging.predict_proba(X))
    assert dumps(loaded, verify=False) == data
    with pytest.raises(NotRestoredError, match=f"{re.escape(path)} was not restored.*no name that it can be imported"):
        loaded.fit(X, INDEX)


def test_loss_and_callbacks():
    """Keras' own optimizers and callbacks are restored; a loss and a callback of the user's only stop a new fit."""
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    member = KerasClassifier(
        build_softmax,
        loss=own_loss,
        optimizer=keras.optimizers.SGD(schedule, momentum=0.5),
        callbacks=[keras.callbacks.EarlyStopping(monitor="loss", min_delta=0.25, patience=3), OwnCallback()],
        epochs=1,
    ).fit(X, INDEX)
    loaded = loads(dumps(member))
    assert_array_equal(loaded.predict_proba(X), member.predict_proba(X))
    assert loaded.optimizer.get_config() == member.optimizer.get_config()
    stopping = loaded.callbacks[0]
    assert (stopping.monitor, stopping.patience, abs(stopping.min_delta)) == ("loss", 3, 0.25)
    loaded.set_params(model=build_softmax, callbacks=None)
    with pytest.raises(NotRestoredError, match="own_loss"):
        loaded.fit(X, INDEX)
    loaded.set_params(loss=own_loss).fit(X, INDEX)


def test_class_of_the_users():
    """A subclass needs trust, since nothing can be loaded without it."""
    member = OwnClassifier(**SMALL).fit(X, INDEX)
    data = dumps(member)
    name = f"{__name__}.OwnClassifier"
    with pytest.raises(UntrustedTypesFoundError, match=name):
        loads(data)
    assert type(loads(data, trusted=[name])) is OwnClassifier


def test_layer_of_the_users():
    """A layer of the user's needs `custom_objects`, or trust where it is registered."""

    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    model = keras.Sequential([keras.Input((4,)), Twice(), keras.layers.Dense(3, activation="softmax")])
    member = KerasClassifier(model, loss="sparse_categorical_crossentropy", epochs=1).fit(X, INDEX)
    data = dumps(member)
    with pytest.raises(UntrustedTypesFoundError, match="Twice"):
        loads(data)
    assert_array_equal(loads(data, custom_objects={"Twice": Twice}).predict_proba(X), member.predict_proba(X))


def bauen_für(meta):
    """Network whose builder has a name that is not English."""
    return build_softmax(meta)


class Schätzer(KerasClassifier):
    """Member class of a user who does not write English."""


def test_names_in_any_alphabet():
    """Functions and classes are named as Python allows it, and need trust like any others."""
    member = Schätzer(bauen_für, loss="sparse_categorical_crossentropy", epochs=1, random_state=0).fit(X, INDEX)
    data = dumps(member)
    names = get_untrusted_types(data=data)
    assert names == [f"{__name__}.Schätzer", f"{__name__}.bauen_für"]
    with pytest.raises(UntrustedTypesFoundError, match="Schätzer"):
        loads(data)
    loaded = loads(data, trusted=names)
    assert (type(loaded), loaded.model) == (Schätzer, bauen_für)


def test_own_layers_inside_of_layers():
    """A layer of the user's that a layer of Keras applies is found like any other, without being registered."""

    class Twice(keras.layers.Layer):
        def call(self, x):
            return 2 * x

        def compute_output_shape(self, input_shape):
            return input_shape

    layers = [keras.layers.Reshape((2, 2)), keras.layers.TimeDistributed(Twice()), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(3, activation="softmax")])
    member = KerasClassifier(model, loss="sparse_categorical_crossentropy", epochs=1).fit(X, INDEX)
    loaded = loads(dumps(member), custom_objects={"Twice": Twice})
    assert_array_equal(loaded.predict_proba(X), member.predict_proba(X))


FRESH = """
import sys, warnings
import numpy as np
import skensemble, skensemble.io

sys.modules["test_io"] = None  # importing it raises ImportError
loaded = skensemble.io.load(sys.argv[1])
X = np.load(sys.argv[2])
# One network, called by Keras, and then all as one program, whose last bit depends on what the process ran before.
assert np.array_equal(loaded.estimators_[0].predict_proba(X), np.load(sys.argv[3]))
assert np.allclose(loaded.predict_proba(X), np.load(sys.argv[4]), rtol=1e-6, atol=1e-7)
try:
    loaded.fit(X, np.arange(len(X)) % 3)
except skensemble.io.NotRestoredError as error:
    assert "build_softmax" in str(error), error
else:
    raise AssertionError("fit must raise")
"""


@pytest.mark.slow
def test_fresh_process_without_the_builder(built_by_function, tmp_path):
    """In another process, where the builder's module does not exist, networks predict the same bit for bit."""
    dump(built_by_function, tmp_path / "file.skens")
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "one.npy", built_by_function.estimators_[0].predict_proba(X))
    np.save(tmp_path / "all.npy", built_by_function.predict_proba(X))
    names = [str(tmp_path / name) for name in ("file.skens", "X.npy", "one.npy", "all.npy")]
    completed = subprocess.run([sys.executable, "-c", FRESH, *names], capture_output=True, text=True, cwd=ROOT)
    assert completed.returncode == 0, completed.stderr


SAME_BYTES = """
import sys
import joblib
from skensemble.io import dumps
sys.stdout.buffer.write(dumps(joblib.load(sys.argv[1])))
"""


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_process(tmp_path):
    """The same ensemble saves to the same bytes in a process that hashes text otherwise."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") == "0" else "0"
    ensemble = clone(CLASSIFIERS["averaging"]).fit(X, LABELS["objects"])
    joblib.dump(ensemble, tmp_path / "file.joblib")
    completed = subprocess.run(
        [sys.executable, "-c", SAME_BYTES, str(tmp_path / "file.joblib")],
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout == dumps(ensemble)


# Reading without TensorFlow, and the command line


WITHOUT_TENSORFLOW = """
import sys
import skensemble, skensemble.io as io
from skensemble.__main__ import main
from skensemble.exceptions import NotFusableError

print(io.inspect(sys.argv[1]))
io.verify(sys.argv[1])
assert io.get_untrusted_types(file=sys.argv[1]) == []
assert main(["verify", sys.argv[1]]) == 0
assert "KerasClassifier" in dir(skensemble)
assert not {"tensorflow", "keras", "scikeras"} & set(sys.modules), sorted(sys.modules)
"""


def test_inspection_does_not_import_tensorflow(averaging, tmp_path):
    """A file can be looked at, checked and audited without TensorFlow."""
    dump(averaging, tmp_path / "file.skens", metadata={"note": "spring"})
    completed = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path / "file.skens")],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert completed.returncode == 0, completed.stderr
    for text in ("skensemble.KerasAveragingClassifier", "Dense", "n_estimators", "spring", "'ann'", keras.__version__):
        assert text in completed.stdout


def test_summary(averaging, tmp_path):
    """The summary tells class, parameters, labels, networks, architectures and versions."""
    dump(averaging, tmp_path / "file.skens")
    summary = inspect(tmp_path / "file.skens")
    assert summary.class_name == "skensemble.KerasAveragingClassifier"
    assert summary.params["n_estimators"] == "2"
    assert summary.classes == ["ann", "bob", "eve"]
    assert summary.n_networks == 2
    assert summary.architectures == ["Sequential: InputLayer, Dense, Dense"]
    assert summary.versions["keras"] == keras.__version__
    assert summary.size == (tmp_path / "file.skens").stat().st_size
    assert summary.metadata is None


def test_command_line(averaging, tmp_path, capsys):
    """`inspect` prints the summary, `verify` says whether the file is whole; a bad file gives 1 and the reason."""
    path = tmp_path / "file.skens"
    dump(averaging, path)
    assert main(["inspect", str(path)]) == 0
    assert "KerasAveragingClassifier" in capsys.readouterr().out
    assert main(["verify", str(path)]) == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["verify", str(path)]) == 1
    assert "was not written by" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "none.skens")]) == 1
    assert "none.skens" in capsys.readouterr().err


# Lazy loading and pins


def test_lazy_loading_reads_the_members_that_are_asked_for(tmp_path, monkeypatch):
    """Of a large file, only the bytes of the member that is used are read."""
    read, n_bytes_read = Container.read, Counter()

    def counting(self, name):
        data = read(self, name)
        n_bytes_read[name] += len(data)
        return data

    monkeypatch.setattr(Container, "read", counting)
    member = KerasClassifier(hidden_layer_sizes=(2000,), dropout=0.1, epochs=1, batch_size=-1)
    ensemble = KerasAveragingClassifier(member, 4, random_state=0).fit(X, INDEX)
    dump(ensemble, tmp_path / "file.skens", verify=False)
    n_bytes_read.clear()
    loaded = load(tmp_path / "file.skens", lazy=True)
    assert_array_equal(loaded.estimators_[0].predict_proba(X), ensemble.estimators_[0].predict_proba(X))
    assert n_bytes_read["members/00000.safetensors"] > n_bytes_read.total() / 2
    assert not any(n_bytes_read[f"members/{i:05}.safetensors"] for i in (1, 2, 3))
    assert_array_equal(loaded.predict_members(X), ensemble.predict_members(X))
    # The member that was used is pickled as a network of its own, called alone: rounded otherwise on some machines.
    pickled = pickle.loads(pickle.dumps(loaded))
    assert_allclose(pickled.predict_proba(X), ensemble.predict_proba(X), rtol=1e-6)


def test_lazy_members_that_no_program_runs(averaging, tmp_path, monkeypatch):
    """Members that the program of this backend refuses, such as those of another backend, predict one by one."""
    dump(averaging, tmp_path / "file.skens")
    loaded = load(tmp_path / "file.skens", lazy=True)

    def refuse(*_):
        raise NotFusableError("not on this backend")

    monkeypatch.setattr("skensemble._engine.stacked_members.forward", refuse)
    assert_allclose(loaded.predict_members(X), averaging.predict_members(X), rtol=1e-5, atol=1e-6)


def test_file_that_changes_while_it_is_read(averaging, tmp_path):
    """A lazily loaded ensemble refuses bytes of a file that was written over."""
    path = tmp_path / "file.skens"
    dump(averaging, path)
    loaded = load(path, lazy=True)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="changed while it was read"):
        loaded.predict_members(X)


def test_fingerprint(averaging, tmp_path):
    """A file that is pinned by its fingerprint is loaded, any other is refused."""
    path = tmp_path / "file.skens"
    dump(averaging, path)
    fingerprint = inspect(path).fingerprint
    load(path, expected_fingerprint=fingerprint)
    dump(averaging, path, metadata={"changed": True})
    with pytest.raises(IntegrityError, match=fingerprint):
        load(path, expected_fingerprint=fingerprint)


# The optimizer


def test_training_goes_on_with_the_optimizer():
    """With the optimizer in the file, the next epochs are those of the estimator that was not saved, bit for bit."""
    member = KerasClassifier(**SMALL, warm_start=True, shuffle=False, optimizer="sgd", optimizer__momentum=0.9)
    member.fit(X, INDEX)
    loaded = loads(dumps(member, include_optimizer=True))
    assert_array_equal(loaded.fit(X, INDEX).predict_proba(X), member.fit(X, INDEX).predict_proba(X))


def test_size_without_the_optimizer(averaging):
    """The optimizer's variables are left out unless they are asked for."""
    with_adam, without = dumps(averaging, include_optimizer=True), dumps(averaging)
    assert "members/00002.optimizer.safetensors" in parts(with_adam)[1]
    assert not any("optimizer" in name for name in parts(without)[1])


# Versions


def test_later_major_version_is_refused(averaging):
    """A file of a later format is refused, and the message says by which versions it was written."""
    data = with_manifest(dumps(averaging), lambda manifest: manifest.update(format_version=[2, 0]))
    with pytest.raises(UnsupportedVersionError, match=keras.__version__.replace(".", r"\.")):
        loads(data)


def test_later_minor_version_is_read_with_a_warning(averaging):
    """What a later minor version adds is not read, and named."""

    def change(manifest):
        manifest["format_version"] = [1, 99]
        manifest["mood"] = "good"

    with pytest.warns(UserWarning, match="mood") as caught:
        loaded = loads(with_manifest(dumps(averaging), change))
    assert [one.filename for one in caught if issubclass(one.category, UserWarning)] == [__file__]
    assert_array_equal(loaded.predict_proba(X), averaging.predict_proba(X))


@pytest.mark.parametrize(("package", "warns"), [("keras", True), ("scikit-learn", True), ("numpy", False)])
def test_other_versions_of_packages(averaging, package, warns):
    """Another minor version of Keras or scikit-learn gives scikit-learn's warning of other versions."""
    data = with_manifest(dumps(averaging), lambda manifest: manifest["versions"].update({package: "0.1.0"}))
    if warns:
        with pytest.warns(InconsistentVersionWarning, match=package) as caught:
            loads(data)
        assert caught[0].filename == __file__
    else:
        loads(data)


def test_network_that_works_differently_is_refused(averaging):
    """A network that does not predict what it predicted when it was saved is refused."""
    manifest, entries = parts(dumps(averaging))
    name = next(name for name in entries if name.startswith("architectures"))
    config = json.loads(entries[name])
    config["config"]["layers"][1]["config"]["activation"] = "elu"  # as if Keras' "relu" had become this
    entries[name] = json.dumps(config).encode()
    with pytest.raises(IntegrityError, match="does not predict what it predicted"):
        loads(file_of(manifest, entries))


# What cannot be saved


def unfitted():
    return KerasAveragingClassifier(KerasClassifier(**SMALL))


def fitted(**params):
    return KerasClassifier(**{**SMALL, "run_eagerly": True, **params}).fit(X, INDEX)


def after_a_failed_fit():
    member = scikeras.wrappers.KerasClassifier(build_softmax, loss="sparse_categorical_crossentropy", verbose=0)
    with pytest.raises(RuntimeError, match="early"):
        member.set_params(callbacks=[keras.callbacks.LambdaCallback(on_train_begin=fail)]).fit(X, INDEX)
    return member.set_params(callbacks=None)


def fail(logs):
    raise RuntimeError("early")


def with_nan():
    member = fitted()
    member.model_.set_weights([np.full_like(values, np.nan) for values in member.model_.get_weights()])
    return member


def with_vocabulary():
    text = np.array([["a"], ["b"]] * 12)
    lookup = keras.layers.StringLookup(output_mode="one_hot", vocabulary=["a", "b"])
    model = keras.Sequential([keras.Input((1,), dtype="string"), lookup, keras.layers.Dense(3, activation="softmax")])
    model(text)
    member = fitted()
    member.model_ = model
    return member


class WithOwnEncoder(KerasClassifier):
    """Transforms X before the network sees it."""

    @property
    def feature_encoder(self):
        return FunctionTransformer(np.abs)


def with_own_encoder():
    return WithOwnEncoder(**SMALL).fit(X, INDEX)


def with_half_precision():
    member = fitted()
    member.model_ = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax", dtype="bfloat16")])
    return member


def other_class():
    """Has the name of a function."""
    return type("build_softmax", (), {"__module__": __name__})


def having(value):
    """Makes a member with an attribute that skensemble.io cannot write."""

    def make():
        member = fitted()
        member.history_ = value
        return member

    return make


class OwnMeta(BaseEstimator):
    """Meta-estimator of the user's."""

    def fit(self, X, y):
        self.members_ = {"member": [KerasClassifier(**SMALL).fit(X, y)]}
        return self


def in_an_estimator_of_the_users():
    return OwnMeta().fit(X, INDEX)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (unfitted, "must be fitted before it is saved"),
        (after_a_failed_fit, "no training ended"),
        (with_nan, "must have finite variables"),
        pytest.param(with_vocabulary, "vocabulary", marks=tensorflow_only("JAX has no text")),
        (with_own_encoder, "target_encoder or feature_encoder of its own"),
        (with_half_precision, "variables of bfloat16"),
        (having(object()), "not one of the types that"),
        (having(np.ones(2, "complex64")), "arrays of complex64 are not supported"),
        (having(np.ones(2, np.longdouble)), f"arrays of {np.dtype(np.longdouble)} are not supported"),
        (having(other_class()), "Define it at the top of a module"),
        (in_an_estimator_of_the_users, "OwnMeta with a Keras network in it cannot be saved"),
        (lambda: LogisticRegression().fit(X, INDEX), "has no Keras network: save it with skops"),
        (lambda: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), "with its own `save`"),
    ],
)
def test_what_cannot_be_saved(make, message, tmp_path):
    """What could not be loaded is refused when it is saved, and no file is written."""
    with pytest.raises(PersistenceError, match=message):
        dump(make(), tmp_path / "file.skens")
    assert list(tmp_path.iterdir()) == []


def test_nan_on_request():
    """Networks with NaN can be saved as they are."""
    member = with_nan()
    assert np.isnan(loads(dumps(member, check_finite=False)).predict_proba(X)).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"trusted": True}, "must be a list of names"),
        ({"trusted": "test_io.build_softmax"}, "must be a list of names"),
        ({"trusted": [build_softmax]}, "must be a list of names"),
    ],
)
def test_trust_is_a_list_of_names(averaging, params, message):
    """There is no way to trust everything."""
    with pytest.raises(TypeError, match=message):
        loads(dumps(averaging), **params)


@pytest.mark.parametrize("metadata", [{"rate": np.float32(1)}, {1: 2}, ["a"], {"x": float("nan")}, {"x": (1, 2)}])
def test_metadata_is_json(averaging, metadata):
    """Metadata that JSON does not give back are refused."""
    with pytest.raises(PersistenceError, match="`metadata` must be a dict"):
        dumps(averaging, metadata=metadata)


def test_bytes_and_paths(averaging, tmp_path):
    """Paths go to `load`, bytes to `loads`, and one of them to `get_untrusted_types`."""
    with pytest.raises(TypeError, match="must be bytes"):
        loads("file.skens")
    with pytest.raises(TypeError, match="one of them"):
        get_untrusted_types()
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.skens")
    assert_array_equal(loads(bytearray(dumps(averaging))).predict(X), averaging.predict(X))


def test_trusted_name_that_is_not_there(built_by_function):
    """A trusted builder that cannot be imported is an error that names it."""
    data = dumps(built_by_function)
    manifest, entries = parts(data)
    text = json.dumps(manifest).replace(f"{__name__}.build_softmax", "no_such_module.build")
    with pytest.raises(PersistenceError, match=r"'no_such_module\.build' is trusted, but"):
        loads(file_of(json.loads(text), entries), trusted=["no_such_module.build"])


def test_whole_file_is_verified(averaging, tmp_path):
    """`verify` reads every byte."""
    path = tmp_path / "file.skens"
    dump(averaging, path)
    verify(path)
    data = bytearray(path.read_bytes())
    start = data.rindex(b"PK\x03\x04", 0, data.rindex(b"members/00001", 0, data.index(b"PK\x01\x02")))
    data[start + 30 + len("members/00001.safetensors") + 100] ^= 1  # behind the header of the entry
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="members/00001"):
        verify(path)


# Layers

KINDS = {
    "convolution": (
        (8, 8, 2),
        [
            keras.layers.Conv2D(3, 3, strides=2),
            keras.layers.DepthwiseConv2D(2),
            keras.layers.GlobalAveragePooling2D(),
        ],
    ),
    "separable": ((8, 8, 2), [keras.layers.SeparableConv2D(3, 3), keras.layers.MaxPooling2D(), keras.layers.Flatten()]),
    "transposed": ((4, 4, 2), [keras.layers.Conv2DTranspose(2, 3), keras.layers.Flatten()]),
    "convolution 1D": ((8, 2), [keras.layers.Conv1D(3, 3, padding="causal"), keras.layers.GlobalMaxPooling1D()]),
    "LSTM": ((6, 2), [keras.layers.LSTM(3)]),
    "GRU": ((6, 2), [keras.layers.GRU(3, return_sequences=True), keras.layers.Flatten()]),
    "stacked RNN": ((6, 2), [keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(2)])]),
    "bidirectional": ((6, 2), [keras.layers.Bidirectional(keras.layers.LSTM(3))]),
    "time distributed": ((6, 2), [keras.layers.TimeDistributed(keras.layers.Dense(3)), keras.layers.Flatten()]),
    "ConvLSTM": ((3, 4, 4, 1), [keras.layers.ConvLSTM2D(2, 2), keras.layers.Flatten()]),
    "embedding": ((6,), [keras.layers.Embedding(5, 3), keras.layers.GlobalAveragePooling1D()]),
    "masked embedding": ((6,), [keras.layers.Embedding(5, 3, mask_zero=True), keras.layers.LSTM(2)]),
    "einsum": ((4,), [keras.layers.EinsumDense("ab,bc->ac", output_shape=3)]),
    "batch normalization": ((4,), [keras.layers.BatchNormalization()]),
    "layer normalization": ((4,), [keras.layers.LayerNormalization()]),
    "group normalization": ((4, 4, 4), [keras.layers.GroupNormalization(2), keras.layers.Flatten()]),
    "unit normalization": ((4,), [keras.layers.UnitNormalization()]),
    "spectral normalization": ((4,), [keras.layers.SpectralNormalization(keras.layers.Dense(3))]),
    "dropouts": (
        (4,),
        [keras.layers.Dropout(0.2), keras.layers.GaussianDropout(0.2), keras.layers.GaussianNoise(0.1)],
    ),
    "alpha dropout": ((4,), [keras.layers.Dense(3, "selu"), keras.layers.AlphaDropout(0.2)]),
    "PReLU": ((4,), [keras.layers.PReLU(), keras.layers.LeakyReLU()]),
    "regularized": (
        (4,),
        [keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1), kernel_constraint="non_neg")],
    ),
    "shapes": ((4,), [keras.layers.Reshape((2, 2)), keras.layers.Permute((2, 1)), keras.layers.Flatten()]),
    "padding": (
        (4, 4, 1),
        [
            keras.layers.ZeroPadding2D(1),
            keras.layers.Cropping2D(1),
            keras.layers.UpSampling2D(2),
            keras.layers.Flatten(),
        ],
    ),
    "rescaling": ((4,), [keras.layers.Rescaling(0.5)]),
    "random images": ((4, 4, 1), [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), keras.layers.Flatten()]),
    "adapted normalization": ((4,), "normalization"),
    "given normalization": ((4,), [keras.layers.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 1, 2])]),
    "float16 parts": ((4,), [keras.layers.Dense(3, dtype="float16"), keras.layers.Dense(3, dtype="float32")]),
    "frozen layer": ((4,), [keras.layers.Dense(3, trainable=False), keras.layers.Dense(3)]),
    "nested model": ((4,), "nested"),
    "shared layer": ((4,), "shared"),
    "attention": ((6, 4), "attention"),
    "nested twice": ((4,), "nested twice"),
}


def network_of(kind):
    """A model with the layers of a kind, whose input has the shape of a kind, and three outputs."""
    shape, layers = KINDS[kind]
    inputs = keras.Input(shape)
    if layers == "nested":
        layers = [keras.Sequential([keras.Input(shape), keras.layers.Dense(3), keras.layers.BatchNormalization()])]
    if layers == "nested twice":
        inner = keras.Sequential([keras.Input(shape), keras.layers.Dense(4), keras.layers.Dropout(0.1)])
        layers = [keras.Sequential([keras.Input(shape), inner, keras.layers.Dense(2)])]
    if layers == "normalization":
        normalization = keras.layers.Normalization()
        normalization.adapt(1 + 3 * RNG.random((8, *shape)))
        layers = [normalization]
    if layers == "shared":
        dense = keras.layers.Dense(4, "tanh")
        outputs = keras.layers.Add()([dense(dense(inputs)), inputs])
    elif layers == "attention":
        outputs = keras.layers.MultiHeadAttention(2, 3)(inputs, inputs)
        outputs = keras.layers.Flatten()(keras.layers.LayerNormalization()(outputs + inputs))
    else:
        outputs = inputs
        for layer in layers:
            outputs = type(layer).from_config(layer.get_config())(outputs) if kind not in ADAPTED else layer(outputs)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(outputs))


ADAPTED = ("adapted normalization", "nested model", "nested twice")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_layers(kind):
    """A network of any of Keras' layers predicts the same bit for bit after loading."""
    shape, _ = KINDS[kind]
    rows = np.random.default_rng(1).integers(0, 5, (12, *shape)).astype("float32")
    member = KerasClassifier(
        network_of(kind), loss="sparse_categorical_crossentropy", epochs=1, batch_size=-1, run_eagerly=True
    )
    member.fit(rows, np.arange(12) % 3)
    loaded = loads(dumps(member))
    assert_array_equal(loaded.predict_proba(rows), member.predict_proba(rows))


def test_file_is_a_zip():
    """A file is a zip that other programs can list."""
    with zipfile.ZipFile(BytesIO(dumps(fitted()))) as archive:
        assert archive.namelist()[0] == "manifest.json"
        assert archive.testzip() is None
