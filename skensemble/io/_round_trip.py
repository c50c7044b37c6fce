"""What was written is loaded and compared with the original, before anybody relies on it."""

import numpy as np

from skensemble._compat.scikeras import BaseWrapper
from skensemble._engine.fitted import FittedMembers
from skensemble._engine.prediction import predict_each
from skensemble._engine.stacked_members import estimator_of
from skensemble._members.lazy_networks import in_memory
from skensemble._members.spec import unwrapped
from skensemble.io._audit.trusted_names import needed_names
from skensemble.io._errors import PersistenceError
from skensemble.io._manifest import check_manifest
from skensemble.io._reader import Reader
from skensemble.io._writer import Writer
from skensemble.io._zip_container import Container

_N_ROWS = 4


def check_round_trip(writer, estimator, data):
    """Raise PersistenceError where the estimator in `data` is not the one that was written.

    It is loaded and written again, which must give the same entries, including the predictions of each network. Its
    members must also predict together, as in the ensemble, bit for bit as before.

    Parameters
    ----------
    writer : Writer
        The writer that wrote it.
    estimator : fitted estimator
    data : bytes
    """
    name = type(estimator).__name__
    again = Writer(include_optimizer=writer.include_optimizer, check_finite=writer.check_finite)
    try:
        with Container(data) as container:
            check_manifest(container.manifest, container.names)
            loaded = Reader(container, needed_names(container), writer.own_classes).read()
            manifest, entries = again.write(loaded, container.manifest["metadata"])
            changed = [key for key in manifest if manifest[key] != container.manifest[key]]
            common = sorted(container.names & entries.keys())
            changed += [key for key in common if entries[key] != container.read(key)]
            changed += sorted(container.names - entries.keys() - {"manifest.json"})
    except PersistenceError as error:
        raise PersistenceError(f"{name} cannot be saved, since it could not be loaded again: {error}") from error
    if changed:
        raise PersistenceError(
            f"{name} cannot be saved, since it would not be the same after loading: {', '.join(changed)} would differ. "
            "Save with joblib."
        )
    for members, others in zip(writer.member_lists, again.member_lists, strict=True):
        if not _predict_alike(members, others):
            raise PersistenceError(f"{name} cannot be saved: its members would predict differently after loading.")


def _predict_alike(members, others):
    """Whether two lists of members give the same predictions, bit for bit."""
    shape = _row_shape(members)
    if shape is None:
        return True
    X = np.random.default_rng(0).random((_N_ROWS, *shape), dtype=np.float32)
    entries = [in_memory(unwrapped(entry)) for entry in members.entries()]
    first, second = (predict_each(one, X, check=False) for one in (FittedMembers(entries), others))
    return all(
        np.array_equal(one.values, other.values, equal_nan=True) and _same_scales(one.scales, other.scales)
        for one, other in zip(first, second, strict=True)
    )


def _same_scales(scales, others):
    """Whether standard deviations, None where a member has none, are the same."""
    if scales is None or others is None:
        return scales is others
    return np.array_equal(scales, others, equal_nan=True)


def _row_shape(members):
    """Shape of a row of X, None where there is no network."""
    for entry in members.entries():
        network = estimator_of(entry)
        if isinstance(network, BaseWrapper):
            return network.X_shape_[1:]
    return None
