"""Continued training: from fitted members to where they start, and the histories of both."""

from typing import Any

import keras
import numpy as np
from sklearn.base import BaseEstimator

from skensemble._engine.records import Variables
from skensemble._engine.stacked_members import FittedMember, History, StackedMember, estimator_of
from skensemble._engine.variables import read_state
from skensemble._members.spec import Start


def start_of(member: FittedMember, classes: np.ndarray | None) -> Start:
    """What a fitted member has reached.

    Parameters
    ----------
    member : fitted scikeras estimator or StackedMember
    classes : ndarray of shape (n_classes,) or None
        As in `Start`.
    """
    estimator = estimator_of(member)
    model = estimator.model_
    state = member.values() if isinstance(member, StackedMember) else read_state(model)
    values = dict(zip(map(id, model.trainable_variables), state.trainable, strict=True))
    values |= zip(map(id, model.non_trainable_variables), state.non_trainable, strict=True)
    return Start(
        classes,
        len(history_of_member(member).get("loss", [])),
        [np.asarray(values[id(variable)]) for variable in model.variables],
        [np.asarray(value) for value in state.optimizer],
        _phase(model),
    )


def started(model: keras.Model, state: Variables, start: Start | None) -> Variables:
    """Values from which a member is trained.

    Parameters
    ----------
    model : keras.Model
        New, compiled.
    state : Variables
        Its own values, as returned by `read_state`.
    start : Start or None

    Raises
    ------
    ValueError
        Where the network has other variables than before.
    """
    if start is None or start.values is None:
        return state
    shapes = [value.shape for value in start.values]
    if shapes != [tuple(variable.shape) for variable in model.variables]:
        raise ValueError(
            "Training continues with networks that have the variables of those before: the function that builds them "
            f"now gives others. Before, they had the shapes {shapes}. Which of them are trained may change."
        )
    values = dict(zip(map(id, model.variables), start.values, strict=True))
    goes_on = bool(start.optimizer) and _phase(model) == start.phase
    return Variables(
        [values[id(variable)] for variable in model.trainable_variables],
        [values[id(variable)] for variable in model.non_trainable_variables],
        start.optimizer if goes_on and start.optimizer is not None else state.optimizer,
    )


def _phase(model: keras.Model) -> Any:
    config = {name: value for name, value in model.optimizer.get_config().items() if name != "name"}
    return type(model.optimizer).__name__, config, [variable.trainable for variable in model.variables]


def history_of_member(member: FittedMember) -> History:
    """Keras' history of the training of a network."""
    return member.history if isinstance(member, StackedMember) else member.history_


def put_history_before(member: FittedMember, before: History) -> None:
    """Let the history of a member begin with that of an earlier training."""
    after = history_of_member(member)
    for name in dict.fromkeys([*before, *after]):
        after[name] = [*before.get(name, []), *after.get(name, [])]


def epochs_parameter(estimator: BaseEstimator) -> str:
    """Name of the parameter that says for how many epochs a network is trained."""
    return "fit__epochs" if hasattr(estimator, "fit__epochs") else "epochs"


def put_epochs_back(member: FittedMember, given: BaseEstimator) -> None:
    """Give a member that was trained for only some epochs the number of epochs that the user set."""
    name = epochs_parameter(given)
    estimator_of(member).set_params(**{name: getattr(given, name)})
