"""Saving and loading, as the user sees them: read, audit, construct; and write, load again, compare, publish."""

import io
import os

from skensemble._files.atomic import published
from skensemble._files.strict_json import read_json, write_json
from skensemble.io._audit.trusted_names import all_names, needed_names
from skensemble.io._errors import IntegrityError, PersistenceError, UntrustedTypesFoundError
from skensemble.io._manifest import check_manifest
from skensemble.io._versions import warn_of_versions
from skensemble.io._zip_container import Container, write_container


def dump(obj, file, *, include_optimizer=False, verify=True, check_finite=True, metadata=None):
    """Save a fitted estimator without pickle.

    The file appears whole or not at all: until the end, an existing file stays as it is.

    Parameters
    ----------
    obj : fitted estimator
        One of skensemble's ensembles or members, a scikeras estimator, or a Pipeline, search or other meta-estimator of
        scikit-learn with one of these in it.
    file : str or path
        By convention ending in ".skens".
    include_optimizer : bool, default=False
        Whether the variables of the optimizers are saved, from which training can continue; the file becomes up to
        three times as large.
    verify : bool, default=True
        Whether the file is loaded and compared with `obj`, bit for bit, before it takes its place.
    check_finite : bool, default=True
        Whether networks with NaN or infinite variables are an error.
    metadata : dict, default=None
        Values of JSON's types that `inspect` shows, such as a description.

    Raises
    ------
    PersistenceError
        Where `obj` cannot be saved, or would not be the same after loading.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> io.dump(ensemble, "iris.skens", metadata={"trained on": "iris"})
    >>> io.inspect("iris.skens").metadata
    {'trained on': 'iris'}
    """
    data = dumps(obj, include_optimizer=include_optimizer, verify=verify, check_finite=check_finite, metadata=metadata)
    with published(file) as temporary:
        temporary.write(data)


def dumps(obj, *, include_optimizer=False, verify=True, check_finite=True, metadata=None):
    """Save a fitted estimator as bytes; see `dump`.

    Parameters
    ----------
    obj : fitted estimator
    include_optimizer : bool, default=False
        Whether the variables of the optimizers are saved.
    verify : bool, default=True
        Whether the bytes are loaded and compared with `obj`, bit for bit.
    check_finite : bool, default=True
        Whether networks with NaN or infinite variables are an error.
    metadata : dict, default=None
        Values of JSON's types that `inspect` shows.

    Returns
    -------
    bytes

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> data = io.dumps(ensemble)
    >>> io.loads(data).classes_
    array([0, 1, 2])
    """
    from skensemble.io._round_trip import check_round_trip
    from skensemble.io._writer import Writer

    _check_metadata(metadata)
    writer = Writer(include_optimizer=include_optimizer, check_finite=check_finite)
    manifest, entries = writer.write(obj, metadata)
    stream = io.BytesIO()
    write_container(stream, manifest, entries)
    data = stream.getvalue()
    if verify:
        check_round_trip(writer, obj, data)
    return data


def load(file, *, trusted=None, custom_objects=None, lazy=False, expected_fingerprint=None):
    """Load an estimator that `dump` saved.

    Nothing is imported or built before everything in the file has been audited. The predictions of a file can still be
    wrong: pin the files you know with `expected_fingerprint`.

    Parameters
    ----------
    file : str or path
    trusted : list of str, default=None
        Names that the file may import, as returned by `get_untrusted_types`. Functions that are only needed to train
        again (such as the `model` of a member) may be left out: the estimator predicts without them, and its `fit`
        raises NotRestoredError.
    custom_objects : dict of str to object, default=None
        Layers and functions of your own, by their names in the networks; they are trusted.
    lazy : bool, default=False
        Whether the variables of a member are read only when it is first used; until then the file must not change.
    expected_fingerprint : str, default=None
        Fingerprint of the file, as `inspect` shows it; any other file is refused.

    Returns
    -------
    estimator

    Raises
    ------
    UntrustedTypesFoundError
        Where the file needs names that are not trusted; it lists all of them.
    FormatError, IntegrityError, UnsupportedVersionError
        Where the file is not what was written.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> io.dump(ensemble, "iris.skens")
    >>> loaded = io.load("iris.skens")
    >>> bool((loaded.predict_proba(X) == ensemble.predict_proba(X)).all())
    True

    The file of another model is refused:

    >>> fingerprint = io.inspect("iris.skens").fingerprint
    >>> io.dump(ensemble.subset([0]), "iris.skens")
    >>> io.load("iris.skens", expected_fingerprint=fingerprint)
    Traceback (most recent call last):
    ...
    skensemble.io._errors.IntegrityError: The file must have the fingerprint ...
    """
    return _load(os.fspath(file), trusted, custom_objects, lazy, expected_fingerprint)


def loads(data, *, trusted=None, custom_objects=None, lazy=False, expected_fingerprint=None):
    """Load an estimator from bytes; see `load`.

    Parameters
    ----------
    data : bytes
    trusted : list of str, default=None
        Names that the file may import.
    custom_objects : dict of str to object, default=None
        Layers and functions of your own.
    lazy : bool, default=False
        Whether members are built when they are first used.
    expected_fingerprint : str, default=None
        Fingerprint of the file.

    Returns
    -------
    estimator

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> loaded = io.loads(io.dumps(ensemble))
    >>> len(loaded.estimators_)
    2
    """
    return _load(_bytes(data), trusted, custom_objects, lazy, expected_fingerprint)


def get_untrusted_types(*, file=None, data=None):
    """Names in a file that `load` imports only if they are trusted; does not import TensorFlow.

    Parameters
    ----------
    file : str or path, default=None
    data : bytes, default=None
        Bytes instead of a file.

    Returns
    -------
    list of str
        Sorted. They include functions that are only needed to train again.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skensemble import KerasAveragingClassifier, KerasClassifier, io
    >>> X, y = load_iris(return_X_y=True)
    >>> ensemble = KerasAveragingClassifier(KerasClassifier(epochs=2), n_estimators=2, random_state=0).fit(X, y)
    >>> io.get_untrusted_types(data=io.dumps(ensemble))
    []
    """
    if (file is None) == (data is None):
        raise TypeError("`get_untrusted_types` takes a file or data, one of them.")
    with Container(_bytes(data) if file is None else os.fspath(file)) as container:
        check_manifest(container.manifest, container.names)
        return all_names(container)


def _load(source, trusted, custom_objects, lazy, expected_fingerprint):
    trusted, custom_objects = _check_trusted(trusted), dict(custom_objects or {})
    container = Container(source)
    try:
        _check_fingerprint(container, expected_fingerprint)
        check_manifest(container.manifest, container.names)
        untrusted = needed_names(container) - trusted - custom_objects.keys()
        if untrusted:
            raise UntrustedTypesFoundError(untrusted)
        from skensemble.io._reader import Reader

        estimator = Reader(container, trusted, custom_objects, lazy=lazy).read()
        warn_of_versions(container.manifest["versions"])
    finally:
        if not lazy:
            container.close()
    return estimator


def _check_trusted(trusted):
    if isinstance(trusted, str | bool) or not all(isinstance(name, str) for name in trusted or ()):
        raise TypeError(
            f"`trusted` must be a list of names, as `get_untrusted_types` returns: got {trusted!r}. There is no way to "
            "trust everything: read the names, and pass those that you trust."
        )
    return frozenset(trusted or ())


def _check_fingerprint(container, expected):
    if expected is not None and expected != container.fingerprint:
        raise IntegrityError(
            f"The file must have the fingerprint {expected}: it has {container.fingerprint}. It is another file, or "
            "was written again."
        )


def _check_metadata(metadata):
    if metadata is None:
        return
    try:
        same = isinstance(metadata, dict) and read_json(write_json(metadata), "`metadata`") == metadata
    except (TypeError, ValueError, RecursionError) as error:
        raise PersistenceError(f"`metadata` must be a dict of JSON's types: {error}") from error
    if not same:
        raise PersistenceError("`metadata` must be a dict of JSON's types, with text as keys.")


def _bytes(data):
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"`data` must be bytes: got {type(data).__name__}. Give a path to `load`.")
    return bytes(data)
