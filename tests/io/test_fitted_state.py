"""What of each public class is saved: the attributes that it names, no others, and by public names only."""

import functools
import pickle

import pytest
from golden.make import data_for, public_estimators, unfitted
from sklearn.base import clone

import skensemble
from skensemble.io import PersistenceError, dumps, loads
from skensemble.io._objects.fitted_state import NOT_WRITTEN, fitted_state
from skensemble.io._zip_container import Container

every_class = pytest.mark.parametrize("name", public_estimators())


@functools.cache
def fitted(name):
    return unfitted(name).fit(*data_for(name))


@functools.cache
def saved(name):
    return dumps(fitted(name))


def learned(estimator):
    """Names of what is not a parameter and not made anew."""
    apart = {*estimator.get_params(deep=False), *NOT_WRITTEN, "model_"}
    return vars(estimator).keys() - apart


@every_class
def test_class_names_what_it_learns(name):
    """All that a fit sets is in the list of the class, and a file gives all of it back."""
    estimator = fitted(name)
    assert learned(estimator) <= set(fitted_state(type(estimator)))
    assert learned(loads(saved(name))) == learned(estimator)


@every_class
def test_names_are_free(name):
    """No name in the list is that of a method or property, which a file could then replace."""
    kind = getattr(skensemble, name)
    assert [one for one in fitted_state(kind) if hasattr(kind, one)] == []


@every_class
def test_attribute_in_no_list_cannot_be_saved(name):
    """What a later version learns and does not name is an error of `dump`, not lost."""
    estimator = pickle.loads(pickle.dumps(fitted(name)))
    estimator.learned_ = 1
    with pytest.raises(PersistenceError, match="`_fitted_state`, and learned_ is not among it"):
        dumps(estimator)


@every_class
def test_pickle_keeps_what_is_named_and_clones_lose_it(name):
    """A pickle has what a file has; a clone has nothing of it."""
    estimator = fitted(name)
    assert learned(pickle.loads(pickle.dumps(estimator))) == learned(estimator)
    assert learned(clone(estimator)) == set()


@every_class
def test_file_does_not_depend_on_the_order_of_attributes(name):
    """Attributes are written in the order of the list."""
    estimator = loads(saved(name))
    items = list(vars(estimator).items())
    vars(estimator).clear()
    vars(estimator).update(reversed(items))
    assert dumps(estimator, verify=False) == saved(name)


@every_class
def test_files_name_nothing_by_private_modules(name):
    """Modules may move: a file names classes as users import them."""
    assert b"skensemble._" not in saved(name)
    with Container(saved(name)) as container:
        assert container.manifest["objects"][container.manifest["root"]]["class"] == f"skensemble.{name}"


def test_subclasses_add_to_the_list():
    """Who derives a class names what it learns besides."""

    class Noted(skensemble.KerasClassifier):
        _fitted_state = ("note_",)

    assert set(fitted_state(Noted)) == {"note_", *fitted_state(skensemble.KerasClassifier)}
