"""Versions of what a file depends on: written into it, and compared when it is loaded."""

import warnings
from importlib import metadata

from skensemble._compat.python import find_stacklevel

#: Packages whose own files tell estimators of another version apart.
_PACKAGES = ("skensemble", "keras", "tensorflow", "scikit-learn", "scikeras", "numpy", "skops", "safetensors")
#: Packages of which another minor version may predict differently.
_WATCHED = ("keras", "scikit-learn")


def versions():
    """Version of each package, None where it is not installed.

    Returns
    -------
    dict of str to str or None
    """
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def warn_of_versions(written):
    """Warn where the file was written with another minor version of Keras or scikit-learn.

    Parameters
    ----------
    written : dict
        As returned by `versions`.
    """
    from sklearn.exceptions import InconsistentVersionWarning

    present = versions()
    for name in _WATCHED:
        if _minor(written.get(name)) != _minor(present[name]):
            warning = InconsistentVersionWarning(
                estimator_name=f"The file ({name})",
                current_sklearn_version=present[name],
                original_sklearn_version=str(written.get(name))[:40],
            )
            warnings.warn(warning, stacklevel=find_stacklevel())


def _minor(version):
    return str(version).split(".")[:2]
