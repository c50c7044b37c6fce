"""Meta-features of stacking: the columns that a final estimator takes, predicted by members not trained on the row."""

import copy
import dataclasses

import numpy as np
from scipy.sparse import hstack, issparse
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import check_cv

from skensemble._base.independent_runs import check_weights_of_rows
from skensemble._base.named_members import describe
from skensemble._engine.prediction import predict_each
from skensemble._members.other_estimators import known_labels, knows_positions, unnamed_columns
from skensemble._members.spec import is_frozen, is_network, unwrapped
from skensemble._numeric.combination import align_classes
from skensemble._numeric.host_rows import without_rows

#: Methods of members that give columns, the preferred ones first.
METHODS = ("predict_proba", "decision_function", "predict")


def find_stack_method(stacked, name, estimator):
    """The method of a member that gives its columns; raises where it has none."""
    if is_regressor(stacked):
        return "predict"
    for method in METHODS if stacked.stack_method == "auto" else (stacked.stack_method,):
        if hasattr(unwrapped(estimator), method):
            return method
    raise ValueError(
        f"`stack_method` must be a method of every member: {describe(name, estimator)}, which has no "
        f"{stacked.stack_method!r}. Use stack_method='auto'."
    )


def split_rows(stacked, data, members):
    """Rows that the members of each fold are trained on and rows they predict; none where nothing is trained.

    Parameters
    ----------
    stacked : estimator
    data : TrainingData
    members : list of MemberSpec

    Returns
    -------
    list of (ndarray of int, ndarray of int)
    """
    if all(is_frozen(member.estimator) for member in members):
        return []
    # Copied, since a splitter may draw from its own seed.
    cv = copy.deepcopy(stacked.cv) if hasattr(stacked.cv, "split") else stacked.cv
    splitter = check_cv(cv, data.y, classifier=is_classifier(stacked))
    if getattr(splitter, "random_state", 0) is None:
        splitter.random_state = stacked._entropy % 2**32
    splits = list(splitter.split(data.X.given, data.y))
    _check_predicted(splits, data, stacked._member_classes())
    return splits


def predicted_rows(splits, n_samples):
    """Rows that the folds predict, in ascending order; all where there are no folds."""
    return np.unique(np.concatenate([test for _, test in splits])) if splits else np.arange(n_samples)


def _check_predicted(splits, data, classes):
    """Raise where folds predict rows more than once, or too few for the final estimator to learn from."""
    _, y, sample_weight = data
    rows, n_predictions = predicted_rows(splits, len(y)), sum(len(test) for _, test in splits)
    if len(rows) < n_predictions:
        raise ValueError(
            f"`cv` must predict no row twice: got one that predicts {len(rows)} of {len(y)} rows, in "
            f"{n_predictions} predictions. Use a splitter such as KFold, StratifiedKFold or TimeSeriesSplit."
        )
    if classes is not None and len(np.unique(y[rows])) < len(classes):
        raise ValueError(
            f"`cv` must predict rows of every class, from which the final estimator learns: the {len(rows)} of "
            f"{len(y)} rows that it predicts have {len(np.unique(y[rows]))} of {len(classes)} classes. Use fewer "
            "folds, or a splitter such as StratifiedKFold."
        )
    if sample_weight is not None and not sample_weight[rows].any():
        raise ValueError(
            "`cv` must predict rows of positive weight, from which the final estimator learns: all of the "
            f"{len(rows)} rows that it predicts have `sample_weight` 0. Use another splitter, or other weights."
        )


def in_folds(members, splits, sample_weight):
    """Copies of the members to train in each fold, one fold after the other."""
    copies = [
        dataclasses.replace(
            member,
            sample_indices=rows,
            name=f"{member.name or f'member {i}'} in fold {fold}",
            keeps_optimizer=False,
        )
        for fold, (rows, _) in enumerate(splits)
        for i, member in enumerate(members)
        if not is_frozen(member.estimator)
    ]
    check_weights_of_rows(copies, sample_weight)
    return copies


def out_of_fold(stacked, trained, members, splits, X):
    """What each member predicts for rows it was not trained on; a fitted member predicts as it is.

    Parameters
    ----------
    stacked : estimator
    trained : FittedMembers
        The members, then those of each fold.
    members : list of MemberSpec
    splits : list of (ndarray of int, ndarray of int)
    X : Inputs

    Returns
    -------
    list of ndarray of shape (n_predicted, n_columns)
        For the rows of `predicted_rows`.
    """
    frozen = [i for i, member in enumerate(members) if is_frozen(member.estimator)]
    others = [i for i, member in enumerate(members) if not is_frozen(member.estimator)]

    def columns_of(indices, fitted, rows):
        return _columns_of(stacked, fitted, [stacked.stack_method_[i] for i in indices], X.take(rows))

    rows = predicted_rows(splits, len(X))
    outputs = dict(zip(frozen, columns_of(frozen, trained.select(frozen), rows), strict=True))
    parts = []
    for fold, (_, test) in enumerate(splits):
        first = len(members) + fold * len(others)
        parts.append(columns_of(others, trained.select(range(first, first + len(others))), test))
    order = np.argsort(np.concatenate([test for _, test in splits])) if others else None
    for i, columns in zip(others, zip(*parts, strict=True), strict=True):
        outputs[i] = np.concatenate(columns)[order]
    return [outputs[i] for i in range(len(members))]


def side_by_side(stacked, outputs, X):
    """Columns of all members, and those of X where it is passed through."""
    if not stacked.passthrough:
        return np.hstack(outputs)
    if issparse(X.given):
        return hstack([*outputs, X.given], format=X.given.format)
    given = X.given if len(X.row_shape) < 2 else np.asarray(X.given).reshape(len(X), -1)
    return np.hstack([*outputs, given])


def meta_features(stacked, X):
    """Columns of the fitted members for `Inputs`, (n_samples, n_columns)."""
    return side_by_side(stacked, _columns_of(stacked, stacked.estimators_, stacked.stack_method_, X), X)


def _columns_of(stacked, fitted, methods, X):
    """Columns of each fitted member by its method, a list; those of `_method_of_members` by fused forward passes."""
    together = [k for k, method in enumerate(methods) if method == stacked._method_of_members]
    predictions = predict_each(fitted.select(together), X)
    outputs = {
        k: _as_columns(one.estimator, one.values, stacked._member_classes())
        for k, one in zip(together, predictions, strict=True)
    }
    return [
        outputs[k] if k in outputs else _columns_by(stacked, method, unwrapped(fitted[k]), X)
        for k, method in enumerate(methods)
    ]


def _as_columns(estimator, values, classes):
    """Columns of what a member predicts; `classes` is None for values and for several labels per row."""
    if classes is None:
        return values.reshape(len(values), -1)
    proba = align_classes(values, known_labels(estimator, classes), classes)
    # The other column holds the same information.
    return proba[:, 1:] if len(classes) == 2 else proba


def _columns_by(stacked, method, estimator, X):
    """Columns of a member of a classifier by its labels, or by its decision function."""
    with unnamed_columns():
        values = getattr(estimator, method)(without_rows(X.floats) if is_network(estimator) else X.given)
    classes = stacked._member_classes()
    if method == "predict":
        encoded = stacked._is_regressor_among(estimator) or (
            classes is not None and knows_positions(estimator, classes)
        )
        return (values if encoded else stacked._encode(values)).reshape(len(X), -1)
    if classes is not None and len(estimator.classes_) < len(classes):
        raise ValueError(
            f"With `stack_method='decision_function'`, each fold must have rows of every class: got one with "
            f"{len(estimator.classes_)} of {len(classes)}. Use fewer folds, or stack_method='predict'."
        )
    return values.reshape(len(X), -1)
