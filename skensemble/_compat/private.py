"""Private names of other packages, looked up so that skensemble imports where a later version lacks one."""

from importlib import import_module


def private(module, name, otherwise=None):
    """A private name of another package; where the installed version lacks it, what stands in for it.

    Parameters
    ----------
    module, name : str
    otherwise : object, default=None
        The stand-in. None means a function that raises a clear error when it is called.
    """
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return refusing(module, name) if otherwise is None else otherwise


def refusing(module, name):
    """A function that stands in for a private name that is missing, and says so when it is called."""
    package = module.partition(".")[0]

    def refuse(*args, **kwargs):
        raise ImportError(
            f"skensemble needs {module}.{name}, which {package} {import_module(package).__version__} does not have. "
            f"Install an earlier version of {package}, or a later one of skensemble."
        )

    return refuse


def is_missing(value):
    """Whether `private` gave a stand-in that can only raise."""
    return getattr(value, "__module__", None) == __name__
