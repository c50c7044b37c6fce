"""What the sweep over Keras' public names is made of: names, recipes together and one by one, and what is refused.

A *recipe* makes a member in which one entry of a namespace (`keras.layers.Dense`) has a part. Several share a network;
where that one fails, each is tried by itself, so that a failure names the entry.
"""

import inspect
from typing import NamedTuple

import keras
import numpy as np
from comparison import TRAINED_FLOAT32, assert_same_members
from sklearn.base import clone

from skensemble import KerasAveragingClassifier, KerasAveragingRegressor, KerasClassifier, KerasRegressor
from skensemble.exceptions import NotFusableError

ON_JAX = keras.backend.backend() == "jax"
#: On JAX both engines compile the same steps; on TensorFlow Keras runs eagerly.
ROUNDING = {"rtol": 1e-5, "atol": 1e-6} if ON_JAX else TRAINED_FLOAT32
#: Functions of every namespace that are no part of a network.
NO_ENTRIES = {"deserialize", "get", "serialize"}


class Case(NamedTuple):
    """Recipes that can be tried together.

    Attributes
    ----------
    namespace : str
        As in "keras.layers".
    recipes : dict of str to anything
        By the names of the entries that a recipe tries, separated by spaces.
    member : callable
        From recipes, their names and whether to run eagerly to (builder of a compiled network, X, y, and parameters of
        its estimator).
    n_members : int
    eager : bool
        Whether Keras runs eagerly on TensorFlow, where tracing takes longer than so few steps.
    """

    namespace: str
    recipes: dict
    member: callable
    n_members: int = 2
    eager: bool = True


def entries(namespace):
    """Every class and function of a namespace once: object -> its names. Of a function, its arguments."""
    module = keras
    for part in namespace.split(".")[1:]:
        module = getattr(module, part)
    if inspect.isfunction(module):
        return {name: [name] for name in inspect.signature(module).parameters if name != "self"}
    found = {}
    for name in dir(module):
        value = getattr(module, name)
        if not name.startswith("_") and not inspect.ismodule(value) and name not in NO_ENTRIES:
            found.setdefault(value, []).append(name)
    return found


def available(case):
    """The recipes of a case whose entries this version of Keras has."""
    known = {name for names in entries(case.namespace).values() for name in names}
    return [names for names in case.recipes if set(names.split()) <= known]


def outcome(case, recipes):
    """Train members fused and by Keras, and compare; or the reason why they are not fused, after training by Keras.

    Where Keras itself cannot train them, that is the reason.

    Raises
    ------
    AssertionError
        Where the results differ.
    """
    keras.utils.set_random_seed(0)
    fused, X, y = _ensemble(case, recipes, eager=False)
    try:
        fused.fit(X, y)
    except NotFusableError as error:
        reason = " ".join(str(error.__cause__).split())
    except Exception:  # whatever an entry raises
        return _raised_by_keras(fused, X, y)
    else:
        expected, *_ = _ensemble(case, recipes, eager=case.eager and not ON_JAX)
        assert_same_members(fused, expected.set_params(engine="keras").fit(X, y), X, ROUNDING)
        return None
    try:
        fallback = clone(fused).set_params(engine="auto").fit(X, y)
    except Exception:  # whatever an entry raises
        return _raised_by_keras(fused, X, y)
    assert fallback.engine_ == "keras"
    expected = clone(fused).set_params(engine="keras").fit(X, y)
    np.testing.assert_allclose(fallback.predict_members(X), expected.predict_members(X), **ROUNDING)
    return reason


def _raised_by_keras(ensemble, X, y):
    """The reason where Keras' own fit raises, too; otherwise the error that is being handled is raised again."""
    try:
        clone(ensemble).set_params(engine="keras").fit(X, y)
    except Exception as error:  # whatever an entry raises
        return f"Keras itself cannot train it here ({type(error).__name__})"
    raise


def _ensemble(case, recipes, eager):
    build, X, y, params = case.member([case.recipes[names] for names in recipes], recipes, eager)
    classifies = y.dtype.kind == "i"
    member = (KerasClassifier if classifies else KerasRegressor)(
        build,
        **{"epochs": 2, "batch_size": 4, "verbose": 0, "fit__shuffle": False, "validation_split": 0.3, **params},
    )
    kind = KerasAveragingClassifier if classifies else KerasAveragingRegressor
    return kind(member, n_estimators=case.n_members, engine="fused", random_state=0), X, y


def sweep(case, refused=()):
    """Try a case. Returns (what fails: name -> what is wrong, what is refused: name -> reason).

    Parameters
    ----------
    case : Case
    refused : set of str
        Recipes that are known to be refused: they are tried by themselves.
    """
    names = available(case)
    failures, reasons = {}, {}
    _try(case, [name for name in names if name not in refused], failures, reasons)
    for name in names:
        if name in refused:
            _try(case, [name], failures, reasons)
    return failures, reasons


def _try(case, names, failures, reasons):
    """Enter in `failures` and `reasons` which of some recipes fail or are refused: halves of halves are tried."""
    if not names:
        return
    try:
        result = outcome(case, names)
    except Exception as error:  # whatever an entry raises is what is reported
        result = f"{type(error).__name__}: {error}"
        found = failures
    else:
        found = reasons
    if result is None:
        return
    if len(names) == 1:
        found[names[0]] = result
        return
    before = len(failures) + len(reasons)
    _try(case, names[: len(names) // 2], failures, reasons)
    _try(case, names[len(names) // 2 :], failures, reasons)
    if len(failures) + len(reasons) == before:
        failures[" ".join(names)] = f"right in parts, but not together: {result}"
