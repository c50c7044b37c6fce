"""Members of an ensemble before and after training: seeded, checked, built when asked for; their predictions."""

import dataclasses
import itertools
import warnings
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skensemble._combine import align_classes
from skensemble._compat import (
    BaseWrapper,
    ScikerasClassifier,
    ScikerasRegressor,
    build_optimizer,
    decode_outputs,
    encode_features,
    encodes_features,
    rebuild_model,
    replace_model,
)
from skensemble._pickling import CheckedPickling
from skensemble._program import NotFusable, State, get_program, signature, stack_values, why_not_fusable, write_state

# Rows that go through a network at once where it is called by itself: bounds the memory of the activations.
PREDICTION_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Member:
    """One member to train.

    Attributes
    ----------
    estimator : estimator
        The user's, cloned before it is trained; members with the same one are copies of each other. A FrozenEstimator
        is fitted already.
    seed : int
        Of its starting values, its dropout and the order of its rows.
    rows : ndarray of int of shape (n_rows,), default=None
        Rows of X to train on, some perhaps more than once; None means all.
    validation_rows : ndarray of int of shape (n_validation_rows,), default=None
        Rows of X that are evaluated after each epoch, instead of those of the estimator's own `validation_split`.
    """

    estimator: BaseEstimator
    seed: int
    rows: np.ndarray | None = None
    validation_rows: np.ndarray | None = None


@dataclasses.dataclass
class Trained(CheckedPickling):
    """Copies of one estimator after the fused training: one initialized estimator, and the values of every copy.

    Attributes
    ----------
    template : scikeras estimator
        Initialized; its model stands for the architecture, its values are not those of any member.
    seeds : list of int
    state : (trainable, non_trainable, optimizer)
        Lists of arrays with one row a copy, as of `Program.stack`.
    histories : list of dict of str to list of float
    """

    template: BaseEstimator
    seeds: list
    state: tuple
    histories: list

    def __getstate__(self):
        build_optimizer(self.template.model_)
        return vars(self)

    def values(self, k):
        """Variables of copy `k`, as of `read_state`."""
        return tuple([v[k] for v in part] for part in self.state)

    def build(self, k):
        """Copy `k` as an ordinary fitted scikeras estimator."""
        member = clone(self.template).set_params(random_state=self.seeds[k])
        model = rebuild_model(self.template, self.seeds[k])
        write_state(model, self.values(k))
        build_optimizer(model)  # Keras warns when it loads a model whose optimizer had no slots
        return replace_model(self.template, member, model, self.histories[k])

    def predict(self, copies, built, X):
        """Outputs of some copies, (len(copies), n_samples, ...).

        Parameters
        ----------
        copies : list of int
        built : list of Built or None
            Copies that were built have their values in their models, where they may have been trained further.
        X : ndarray of shape (n_samples, ...)
        """
        state = self.state[:2]
        if any(copy is not None for copy in built):
            values = [
                self.values(k)[:2] if copy is None else copy.values() for k, copy in zip(copies, built, strict=True)
            ]
            state = stack_values(values)
        elif copies != list(range(len(self.seeds))):
            state = tuple([v[copies] for v in part] for part in state)
        return forward(self.template.model_, state, X)


class Built:
    """A copy that was built, and the variables that the forward pass reads: finding them takes longer than reading."""

    def __init__(self, estimator):
        self.estimator, self.model = estimator, estimator.model_
        self.variables = self.model.trainable_variables, self.model.non_trainable_variables

    def values(self):
        """Values of the variables as they are now, (trainable, non_trainable)."""
        return tuple([v.value for v in part] for part in self.variables)

    def is_current(self):
        """Whether the estimator still has the model it was built with: another `fit` gives it a new one."""
        return self.estimator.model_ is self.model

    def is_unchanged(self, trained, k):
        """Whether the estimator is still what `trained.build(k)` gives."""
        if not self.is_current() or self.estimator.history_ != trained.histories[k]:
            return False
        params = {**trained.template.get_params(), "random_state": trained.seeds[k]}
        own = self.estimator.get_params()
        pairs = zip(itertools.chain(*self.values()), itertools.chain(*trained.values(k)[:2]), strict=True)
        return (
            own.keys() == params.keys()
            and all(_is_same(value, params[name]) for name, value in own.items())
            and all(np.array_equal(value, kept, equal_nan=True) for value, kept in pairs)
        )


def _is_same(value, other):
    """Whether two parameters are equal; objects that do not say so count as equal when they are of one class."""
    if value is other or type(value).__eq__ is object.__eq__:
        return type(value) is type(other)
    return type(value) is type(other) and repr(value) == repr(other)


class FittedMembers(CheckedPickling, Sequence):
    """Fitted members in order; those of the fused training become scikeras estimators when they are first asked for.

    Building a small Keras model takes longer than the fused training of a member, and prediction does not need it.

    Parameters
    ----------
    entries : iterable of fitted estimator or (Trained, int)
        A sequence is kept as it is, so that its items may be made when they are asked for.
    """

    def __init__(self, entries):
        self._entries = entries if isinstance(entries, Sequence) else list(entries)
        self._built = {}

    def __getstate__(self):
        return {"_entries": [self._current(i) for i in range(len(self))], "_built": {}}

    def _current(self, i):
        """Member `i`: its estimator where there is one, else (Trained, int)."""
        return self._built[i].estimator if i in self._built else self._entries[i]

    def entries(self):
        """Members as they can be kept: estimators, or (Trained, int) for copies that are not built or unchanged."""
        return [
            self._built[i].estimator if i in self._built and not self._built[i].is_unchanged(*entry) else entry
            for i, entry in enumerate(self._entries)
        ]

    def __len__(self):
        return len(self._entries)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        if isinstance(self._entries[i], tuple) and i not in self._built:
            trained, k = self._entries[i]
            self._built[i] = Built(trained.build(k))
        return self._current(i)

    def __repr__(self):
        return repr(list(self))

    def __add__(self, other):
        both = self.select(range(len(self)))
        both._entries += other._entries
        both._built.update({len(self) + i: built for i, built in other._built.items()})
        return both

    def select(self, indices):
        """Some of the members, those that were not built yet still unbuilt."""
        selected = FittedMembers(self._entries[i] for i in indices)
        selected._built = {new: self._built[i] for new, i in enumerate(indices) if i in self._built}
        return selected

    def final_losses(self):
        """Training loss of each member in its last epoch, 0 for those without epochs or that are no networks."""
        losses = []
        for entry in self._entries:
            if isinstance(entry, tuple):
                history = entry[0].histories[entry[1]]
            else:
                history = entry.history_ if isinstance(entry, BaseWrapper) else {}
            losses.append([0.0, *history.get("loss", [])][-1])
        return losses

    def predict(self, X):
        """Decoded predictions of all members, a list, each beside its scikeras estimator.

        Members of one architecture go through one fused forward pass.
        """
        results = [None] * len(self)
        for indices in self._groups():
            first = unwrapped(self._entries[indices[0]])
            if not isinstance(first, tuple | BaseWrapper):
                results[indices[0]] = first, _predict_other(first, X)
                continue
            estimators, outputs = self._forward_group(indices, X)
            for i, estimator, prediction in zip(indices, estimators, _decode(estimators, outputs), strict=True):
                results[i] = estimator, prediction
        return results

    def _groups(self):
        """Indices of members that share one forward pass."""
        groups = {}
        for i, entry in enumerate(self._entries):
            if isinstance(entry, tuple) and (i not in self._built or self._built[i].is_current()):
                key = id(entry[0])
            else:
                fitted = unwrapped(self._current(i))
                key = i
                if isinstance(fitted, BaseWrapper):
                    key = signature(fitted.model_), id(fitted) if encodes_features(fitted) else None
            groups.setdefault(key, []).append(i)
        return groups.values()

    def _forward_group(self, indices, X):
        entries, built = [self._entries[i] for i in indices], [self._built.get(i) for i in indices]
        if isinstance(entries[0], tuple) and (built[0] is None or built[0].is_current()):
            trained = entries[0][0]
            outputs = trained.predict([k for _, k in entries], built, encode_features(trained.template, X))
            return [trained.template] * len(entries), outputs
        estimators = [unwrapped(self._current(i)) for i in indices]
        models = [estimator.model_ for estimator in estimators]
        X = encode_features(estimators[0], X)
        if why_not_fusable(models[0]) is not None:
            return estimators, [_forward_alone(model, X) for model in models]
        values = [Built(estimator).values() for estimator in estimators]
        try:
            return estimators, forward(models[0], stack_values(values), X)
        except NotFusable:  # found only when the model is copied
            return estimators, [_forward_alone(model, X) for model in models]


def _decode(estimators, outputs):
    """Predictions from raw outputs, those of copies all at once: decoding takes as long as the networks themselves."""
    if all(estimator is estimators[0] for estimator in estimators):
        rows = np.reshape(outputs, (-1, *outputs[0].shape[1:]))
        decoded = decode_outputs(estimators[0], rows)
        return decoded.reshape(len(outputs), -1, *decoded.shape[1:])
    return [decode_outputs(estimator, output) for estimator, output in zip(estimators, outputs, strict=True)]


@contextmanager
def unnamed_columns():
    """Let estimators that were fitted on a DataFrame take an array, whose columns were compared in `fit`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
        yield


def _predict_other(estimator, X):
    """Prediction of a scikit-learn estimator that is no network, shaped like that of one."""
    with unnamed_columns():
        if not is_classifier(estimator):
            return estimator.predict(X)
        if hasattr(estimator, "predict_proba"):
            proba = estimator.predict_proba(X)
            return _present(proba, estimator.classes_) if isinstance(proba, list) else proba
        predictions = estimator.predict(X)
    if predictions.ndim == 2:
        return predictions.astype(float)
    return (predictions[:, np.newaxis] == estimator.classes_).astype(float)


def _present(proba, classes):
    """Probability of each label, where forests and neighbours give an array with a column for each value of it.

    A label that was always or never there in training has one column.
    """
    return np.stack([(p * (known == 1)).sum(axis=1) for p, known in zip(proba, classes, strict=True)], axis=1)


def unwrapped(estimator):
    """The fitted estimator in a frozen one; any other as it is."""
    return estimator.estimator if is_frozen(estimator) else estimator


def draw_entropy(random_state):
    """Number from which all seeds of an ensemble follow; a RandomState is advanced by one draw, None gives another."""
    if random_state is None:
        return np.random.SeedSequence().entropy
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(np.iinfo(np.int32).max))
    return int(random_state)


def spawn_seeds(entropy, n_members):
    """One seed per member; that of member i does not depend on how many members there are.

    Parameters
    ----------
    entropy : int
        As of `draw_entropy`.
    n_members : int

    Returns
    -------
    list of int
    """
    children = np.random.SeedSequence(entropy).spawn(n_members)
    # Keras and scikit-learn take seeds that fit a signed 32-bit integer.
    return [int(child.generate_state(1)[0] >> 1) for child in children]


def is_frozen(estimator):
    """Whether the estimator is already fitted and must not be trained."""
    return isinstance(estimator, FrozenEstimator)


def check_member(estimator, *, classifier, name="estimator"):
    """Raise where `estimator` is not a scikeras estimator of the kind of the ensemble, or frozen and not fitted.

    Parameters
    ----------
    estimator : object
        What the user gave.
    classifier : bool
        Whether the ensemble is a classifier.
    name : str, default="estimator"
        What the message calls it.
    """
    inner = unwrapped(estimator)
    if not isinstance(inner, BaseWrapper):
        raise TypeError(
            f"`{name}` must be a scikeras estimator: got {type(inner).__name__}. Wrap a Keras model in "
            "skensemble.KerasClassifier or skensemble.KerasRegressor."
        )
    check_kind(estimator, classifier=classifier, name=name)


def check_kind(estimator, *, classifier, name):
    """Raise where `estimator` is a classifier in an ensemble of regressors or the reverse, or frozen and not fitted."""
    inner = unwrapped(estimator)
    if isinstance(inner, BaseWrapper):  # a plain scikeras estimator is neither to scikit-learn 1.6 and later
        is_kind = isinstance(inner, ScikerasClassifier if classifier else ScikerasRegressor)
    else:
        is_kind = isinstance(inner, BaseEstimator) and (is_classifier if classifier else is_regressor)(inner)
    if not is_kind:
        kind = "classifier" if classifier else "regressor"
        raise TypeError(f"`{name}` must be a {kind}, as the ensemble is: got {type(inner).__name__}.")
    if is_frozen(estimator):
        check_is_fitted(inner)


def check_frozen_members(members, X, y, classes, feature_names=None):
    """Raise where a fitted member saw other features, or predicts other classes or targets than the ensemble."""
    n_targets = 1 if y.ndim == 1 else y.shape[1]
    for i, member in enumerate(members):
        if not is_frozen(member.estimator):
            continue
        fitted = unwrapped(member.estimator)
        shape = fitted.X_shape_[1:] if isinstance(fitted, BaseWrapper) else (getattr(fitted, "n_features_in_", None),)
        if shape != (None,) and tuple(shape) != X.shape[1:]:
            raise ValueError(
                f"Fitted members must have seen rows shaped like X: member {i} was fitted on rows of shape {shape}, "
                f"X has rows of shape {X.shape[1:]}."
            )
        names = getattr(fitted, "feature_names_in_", None)
        if names is not None and feature_names is not None and names.tolist() != feature_names.tolist():
            raise ValueError(
                f"Fitted members must have seen the columns of X: member {i} was fitted on {names.tolist()}, X has "
                f"{feature_names.tolist()}."
            )
        n_predicted = _count_targets(fitted, X)
        if n_predicted != n_targets:
            raise ValueError(
                f"Fitted members must predict as many columns as y has: member {i} predicts {n_predicted}, y has "
                f"{n_targets}."
            )
        known = getattr(fitted, "classes_", None)
        if classes is not None and not np.isin(known, classes).all():
            raise ValueError(
                f"Fitted members must not know classes that y lacks: member {i} has classes {list(known)}, "
                f"y has {list(classes)}."
            )


def _count_targets(fitted, X):
    if isinstance(fitted, ScikerasClassifier):
        return fitted.n_classes_ if fitted.target_type_ == "multilabel-indicator" else 1
    if isinstance(fitted, BaseWrapper):
        return fitted.n_outputs_
    with unnamed_columns():
        return np.size(fitted.predict(X[:1]))


def predict_members(members, X, classes=None):
    """What each fitted member predicts for X.

    Parameters
    ----------
    members : FittedMembers
    X : ndarray of shape (n_samples, ...)
        Validated.
    classes : ndarray of shape (n_classes,) or None
        Order of the columns for classifiers; None for regressors and for several labels per row.

    Returns
    -------
    ndarray of shape (n_members, n_samples, n_classes) or (n_members, n_samples[, n_outputs])
    """
    predictions = [
        prediction if classes is None else align_classes(prediction, estimator.classes_, classes)
        for estimator, prediction in members.predict(X)
    ]
    return np.stack(predictions)


def forward(model, state, X):
    """Outputs of all members with one architecture, (n_members, n_samples, ...); `state` is stacked values."""
    program = get_program(model, len((state[0] or state[1])[0]))
    return program.predict(State(*state, [], None, None), X)


def _forward_alone(model, X):
    """Outputs of one model, in chunks; calls the model itself, since `Model.predict` costs 70 ms a call."""
    chunks = [X[start : start + PREDICTION_ROWS] for start in range(0, len(X), PREDICTION_ROWS)]
    return np.concatenate([np.asarray(model(chunk, training=False)) for chunk in chunks])
