"""What the result of a fit depends on, as text and digests that another process can compare: data, code, versions."""

import importlib.metadata
import json
import sys

import keras
import numpy as np
from scipy.sparse import issparse

from skensemble._compat.scikeras import BaseWrapper
from skensemble._members.spec import is_frozen
from skensemble._members.stable_description import PACKAGES, describe, describe_parameters, digest_array, digest_text
from skensemble._numeric.host_rows import without_rows
from skensemble._numeric.lazy_rows import LazyRows

# Format of a checkpoint's files; those of another format are refused.
FORMAT = 2
_INDICES = ("sample_indices", "validation_indices", "columns")
# Longer texts are shown as "changed" only.
_LONGEST_SHOWN = 60


def fingerprint(members, X, y, sample_weight, engine, *, first=0, run=None):
    """What the training of members depends on.

    Parameters
    ----------
    members : list of MemberSpec
    X : Inputs
    y, sample_weight : ndarray
    engine : str
    first : int, default=0
        Position of the first member in the ensemble.
    run : object, default=None
        What is kept of a single run.

    Returns
    -------
    dict
        Plain data for JSON. "members" maps the position to the seed, the digests of the rows, of the columns and of the
        estimator, "estimators" maps the latter to the text of each parameter.
    """
    estimators, records, digests = {}, {}, {}
    for i, member in enumerate(members, first):
        if id(member.estimator) not in digests:
            parameters = describe_parameters(member.estimator)
            digests[id(member.estimator)] = digest_text(json.dumps(parameters))
            estimators[digests[id(member.estimator)]] = parameters
        indices = [member.sample_indices, member.validation_indices, member.columns]
        seed = None if is_frozen(member.estimator) else member.seed
        records[str(i)] = {
            "estimator": digests[id(member.estimator)],
            "seed": seed,
            "is_weighted": member.is_weighted,
            **{name: None if one is None else digest_array(one) for name, one in zip(_INDICES, indices, strict=True)},
        }
    data = {"y": y, "sample_weight": sample_weight}
    return {
        "format": FORMAT,
        "versions": _versions(),
        "settings": {"floatx": keras.config.floatx(), "dtype_policy": keras.config.dtype_policy().name},
        "data": {"X": _digest_inputs(X, members)}
        | {name: None if array is None else digest_array(array) for name, array in data.items()},
        "engine": engine,
        "run": None if run is None else describe(run),
        "estimators": estimators,
        "members": records,
    }


def _digest_inputs(X, members):
    """Digest of X in the forms that the members are trained on."""
    networks = [isinstance(member.estimator, BaseWrapper) for member in members]
    digests = [] if all(networks) else [digest_given(X.given)]
    digests += [digest_given(X.floats)] if any(networks) else []
    digests += [] if X.n_categories is None else [digest_text(str(X.n_categories))]
    return " ".join(digests)


def _versions():
    versions = {name: sys.modules[name].__version__ for name in PACKAGES}
    versions["python"] = f"{sys.version_info[0]}.{sys.version_info[1]}"
    try:
        versions["skensemble"] = importlib.metadata.version("skensemble")
    except importlib.metadata.PackageNotFoundError:
        versions["skensemble"] = "not installed"
    return versions


def changes(before, now):
    """In words, what differs between two fingerprints, for members that both have; an empty list if nothing does."""
    if before.get("format") != now["format"] or before.keys() != now.keys():
        return [f"the format of the files{_shown(before.get('format'), now['format'])}"]
    found = [
        f"{words} {name}{_shown(before[part].get(name), value)}"
        for part, words in (("versions", "the version of"), ("settings", "Keras' setting"))
        for name, value in now[part].items()
        if before[part].get(name) != value
    ]
    found += [f"`{name}`" for name, digest in now["data"].items() if before["data"][name] != digest]
    if before["engine"] != now["engine"]:
        found.append(f"`engine`{_shown(before['engine'], now['engine'])}")
    if before["run"] != now["run"]:
        found.append("what is kept of the run (the parameters of the ensemble)")
    for i in sorted(before["members"].keys() & now["members"].keys(), key=int):
        found += _member_changes(i, before, now)
        if found:
            break
    return found


def _member_changes(i, before, now):
    old, new = before["members"][i], now["members"][i]
    found = []
    if old["estimator"] != new["estimator"]:
        parameters = before["estimators"][old["estimator"]], now["estimators"][new["estimator"]]
        for name in sorted(parameters[0].keys() | parameters[1].keys()):
            texts = [one.get(name, "absent") for one in parameters]
            if texts[0] != texts[1]:
                found.append(f"`{name}` of member {i}{_shown(*texts)}")
    if old["seed"] != new["seed"]:
        found.append(f"the seed of member {i} (`random_state`)")
    if old["is_weighted"] != new["is_weighted"]:
        found.append(f"whether member {i} requests `sample_weight`{_shown(old['is_weighted'], new['is_weighted'])}")
    if old["columns"] != new["columns"]:
        found.append(f"the columns of member {i} (`random_state`, `max_features`)")
    if any(old[name] != new[name] for name in ("sample_indices", "validation_indices")):
        found.append(f"the rows of member {i} (`random_state`, `bootstrap`, `max_samples`, `weights` or alike)")
    return found


def _shown(before, now):
    return f" ({before}, now {now})" if len(f"{before}{now}") <= _LONGEST_SHOWN else ""


def digest_given(X):
    """Digest of the types and the values of an X as the user may give it."""
    if isinstance(X, np.ndarray | LazyRows):
        return digest_array(X)  # in chunks of rows
    X = without_rows(X)
    if issparse(X):
        X = X.tocsr()
        return digest_text(" ".join([f"{X.shape}", *map(digest_array, (X.data, X.indices, X.indptr))]))
    if hasattr(X, "columns"):  # a DataFrame
        columns = [X.iloc[:, i] if hasattr(X, "iloc") else X[name] for i, name in enumerate(X.columns)]
        named = zip(X.columns, columns, strict=True)
        return digest_text(" ".join(f"{name!r} {one.dtype} {digest_array(np.asarray(one))}" for name, one in named))
    return digest_array(np.asarray(X, dtype=object))
