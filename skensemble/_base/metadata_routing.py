"""Metadata routing: which arguments of `fit` members and final estimators are given, depending on their requests."""

import inspect

import keras
from sklearn.base import is_classifier
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, get_routing_for_object, process_routing

from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import own_request, raise_for_params, routing_enabled

_FIT = MethodMapping().add(caller="fit", callee="fit")
# Of these, members have parameters with the same name; the others are given as `fit__<argument>`.
_PARAMETERS = (
    "batch_size",
    "callbacks",
    "class_weight",
    "epochs",
    "shuffle",
    "validation_batch_size",
    "validation_split",
)


def check_metadata(ensemble, params):
    """Raise where `fit` was given what is no metadata, such as arguments of `Model.fit`, which members have.

    Parameters
    ----------
    ensemble : estimator
    params : dict
        Arguments of `fit` besides X, y and `sample_weight`.
    """
    of_keras = [name for name in params if name in inspect.signature(keras.Model.fit).parameters]
    if of_keras and not routing_enabled():
        places = [_place_of(name, ensemble) for name in of_keras]
        raise TypeError(
            "Arguments of Keras' `fit` are parameters of the member or of the ensemble, not of `fit`: got "
            f"{', '.join(of_keras)}. Use {' and '.join(places)}."
        )
    raise_for_params(params, ensemble, "fit")


def _place_of(name, ensemble):
    """The parameter that has the meaning of an argument of `Model.fit`."""
    if name == "verbose":
        return f"{type(ensemble).__name__}(verbose=...)"
    member = "KerasClassifier" if is_classifier(ensemble) else "KerasRegressor"
    return f"{member}({name if name in _PARAMETERS else f'fit__{name}'}=...)"


def make_router(ensemble):
    """Router of an ensemble to the members that take part in metadata routing.

    The ensemble's own request for `sample_weight` applies to the members that have none.

    Parameters
    ----------
    ensemble : estimator
        `_consumes_weights` says whether it takes `sample_weight` itself if no member requested it.

    Returns
    -------
    MetadataRouter
    """
    own = own_request(ensemble)
    routings = {name: get_routing_for_object(member) for name, member in ensemble._routed_members()}
    no_requests = all(_has_no_request(one) for one in routings.values())
    stands_in = _request(own) is not None or (ensemble._consumes_weights and no_requests)
    for requests in () if stands_in else (own.fit.requests, own.score.requests):
        if requests.get("sample_weight") is None:
            requests.pop("sample_weight", None)
    router = MetadataRouter(owner=ensemble).add_self_request(own)
    for name, routing in routings.items():
        if stands_in and _has_no_request(routing):
            routing.fit.requests.pop("sample_weight", None)
        router.add(**{name: routing}, method_mapping=_FIT)
    return router


def _request(routing):
    """The request for `sample_weight` of `fit`: True, False, another name, or None where there is none."""
    return routing.fit.requests.get("sample_weight")


def _has_no_request(routing):
    return not isinstance(routing, MetadataRouter) and _request(routing) is None


def asks_in_fit(estimator):
    """Whether an estimator has set requests of `fit`, or routes metadata itself."""
    routing = get_routing_for_object(estimator)
    return isinstance(routing, MetadataRouter) or any(one is not None for one in routing.fit.requests.values())


def fit_metadata(ensemble, members, sample_weight, params):
    """What `fit` of each member is given in addition to X and y.

    Parameters
    ----------
    ensemble : estimator
        With the router of `make_router`.
    members : list of (str, estimator)
    sample_weight : ndarray or None
        Given to `fit` of the ensemble, as `params` is.
    params : dict
        Other metadata.

    Returns
    -------
    dict of str to dict
        By the name of the member, or of any other object in the router.

    Raises
    ------
    UnsetMetadataPassedError
        Where a member takes metadata for which its request is not set.
    """
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    if not routing_enabled():
        return {name: dict(weights) for name, _ in members}
    routed = process_routing(ensemble, "fit", **weights, **params)
    stands_in = ensemble._consumes_weights or _request(own_request(ensemble)) is not None
    given = {}
    for name, member in members:
        given[name] = dict(routed[name].fit)
        if stands_in and _has_no_request(get_routing_for_object(member)):
            given[name] |= weights
        _check_network(name, member, given[name], sample_weight)
    return given


def _check_network(name, member, given, sample_weight):
    if not isinstance(member, BaseWrapper):
        return
    others = sorted(given.keys() - {"sample_weight"})
    if others:
        raise ValueError(
            f"Networks take `sample_weight` as metadata, and nothing else: {name!r} is {type(member).__name__}, which "
            f"requests {others}. Remove the request, or use the metadata in a Pipeline before the network."
        )
    if "sample_weight" in given and given["sample_weight"] is not sample_weight:
        raise ValueError(
            f"Networks take `sample_weight` under this name: {name!r} is {type(member).__name__}, which requests it as "
            f"{_request(get_routing_for_object(member))!r}. Use set_fit_request(sample_weight=True)."
        )


def member_metadata(ensemble, sample_weight, params):
    """Arguments of `MemberSpec` for what each member of an ensemble of copies is given; see `fit_metadata`."""
    given = fit_metadata(ensemble, ensemble._routed_members(), sample_weight, params)
    return split_metadata(given["estimator"], sample_weight) if given else {}


def split_metadata(given, sample_weight):
    """Arguments of `MemberSpec` for what a member is given by `fit_metadata`."""
    is_weighted = sample_weight is not None and given.get("sample_weight") is sample_weight
    others = {name: value for name, value in given.items() if not (is_weighted and name == "sample_weight")}
    return {"is_weighted": is_weighted, "metadata": others}
