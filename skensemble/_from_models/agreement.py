"""What trained models that become one ensemble must have in common: rows of X, columns of y, and classes."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import tags_of
from skensemble._from_models.networks import TrainedNetwork, indicators
from skensemble._from_models.reading import Reading
from skensemble._members.other_estimators import known_labels, last_step, unnamed_columns


def common_rows(members: Sequence[TrainedNetwork]) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Shape of the rows that all members take, and the names of the columns where a member knows them.

    Raises
    ------
    ValueError
        Where members disagree.
    """
    shapes = [_row_shape_of(member.fitted) for member in members]
    _check_alike(members, shapes, "take rows of one shape", "takes")
    names = [getattr(member.fitted, "feature_names_in_", None) for member in members]
    _check_alike(members, [None if one is None else one.tolist() for one in names], "take the same columns", "takes")
    return shapes[0], next((one for one in names if one is not None), None)


def common_target(members: Sequence[TrainedNetwork], reading: Reading) -> np.ndarray:
    """A minimal y, from which an ensemble of the members learns what `fit` learns from y.

    Raises
    ------
    ValueError
        Where members do not predict the same labels, or as many columns.
    """
    counts = [_count_columns(member.fitted, reading) for member in members]
    _check_alike(members, counts, "predict as many columns of y", "predicts")
    if not reading.classifier:
        return np.zeros((2, counts[0])) if counts[0] > 1 else np.zeros(2)
    if counts[0] == 1:
        return _common_classes(members, reading)
    if reading.classes is not None:
        raise ValueError(
            f"`classes` are for one label per row: {members[0].label} predicts {counts[0]} labels per row. Leave "
            "`classes` out."
        )
    _check_binary_columns(members)
    return indicators(counts[0])


def _check_alike(members: Sequence[TrainedNetwork], values: Sequence[Any], rule: str, verb: str) -> None:
    """Raise, by the name of a member, where it has another value than those before it; None means not known."""
    known = [(member, value) for member, value in zip(members, values, strict=True) if value is not None]
    for member, value in known:
        first, expected = known[0]
        if value != expected:
            raise ValueError(f"Models must {rule}: {first.label} {verb} {expected}, {member.label} {verb} {value}.")


def _common_classes(members: Sequence[TrainedNetwork], reading: Reading) -> np.ndarray:
    """The classes as given, otherwise those that members know."""
    if reading.classes is None:
        return np.unique(np.concatenate([member.fitted.classes_ for member in members]))
    given = np.asarray(reading.classes)
    if given.ndim != 1 or len(np.unique(given)) < len(given):
        raise ValueError(f"`classes` must be a list of different labels: got {reading.classes!r}.")
    for member in members:
        known = known_labels(member.fitted, np.sort(given))
        if not np.isin(known, given).all():
            raise ValueError(
                f"`classes` must have every class that a model knows: {member.label} knows {known.tolist()}, got "
                f"{given.tolist()}."
            )
    return given


def _check_binary_columns(members: Sequence[TrainedNetwork]) -> None:
    """Raise where a member chooses among several classes in each column."""
    for member in members:
        of_columns = getattr(last_step(member.fitted)[1], "classes_", None)
        for classes in of_columns if isinstance(of_columns, list) else []:
            if not np.isin(classes, [0, 1]).all():
                raise ValueError(
                    f"Several labels per row must be 0 or 1 each: {member.label} predicts a column of "
                    f"{np.asarray(classes).tolist()}. Make an ensemble for each column."
                )


def _count_columns(fitted: Any, reading: Reading) -> int:
    """How many labels or targets a fitted estimator predicts for each row."""
    _, fitted = last_step(fitted)  # which takes numbers, and knows more than a pipeline
    if reading.classifier:
        if hasattr(fitted, "_multilabel"):
            return len(fitted.classes_) if fitted._multilabel else 1
        if isinstance(fitted, BaseWrapper):
            return len(fitted.classes_) if fitted.target_type_ == "multilabel-indicator" else 1
    elif isinstance(fitted, BaseWrapper):
        return fitted.n_outputs_
    tags = tags_of(fitted)
    if not tags.target_tags.multi_output and not (tags.classifier_tags and tags.classifier_tags.multi_label):
        return 1
    with unnamed_columns():
        return int(np.size(fitted.predict(np.zeros((1, *_row_shape_of(fitted)), dtype=keras.config.floatx()))))


def _row_shape_of(fitted: Any) -> tuple[int, ...]:
    """Shape of the rows that a fitted estimator takes."""
    if isinstance(fitted, BaseWrapper):
        return tuple(fitted.X_shape_[1:])
    return tuple(getattr(fitted, "_row_shape", None) or (fitted.n_features_in_,))
