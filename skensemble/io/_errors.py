"""What `skensemble.io` raises."""


class PersistenceError(ValueError):
    """An ensemble cannot be saved, or a file cannot be loaded; the base of all errors of `skensemble.io`."""


class FormatError(PersistenceError):
    """The file is not a well-formed skensemble file, or it holds what no skensemble file may hold."""


class IntegrityError(PersistenceError):
    """The file's bytes are not those that were written: damaged, cut short, or changed."""


class UnsupportedVersionError(PersistenceError):
    """The file was written in a later format than this version of skensemble can read."""


class UntrustedTypesFoundError(PersistenceError):
    """
    The file names functions or classes that are not trusted.

    Parameters
    ----------
    names : list of str
        The names, as `trusted` takes them.

    Attributes
    ----------
    names : list of str
        The names.
    """

    def __init__(self, names):
        self.names = sorted(set(names))
        super().__init__(
            f"The file names functions or classes that are not trusted: {self.names}. "
            "Read what they are; when you trust every one, pass their names to `load(..., trusted=[...])`."
        )

    def __reduce__(self):
        return type(self), (self.names,)


class NotRestoredError(PersistenceError):
    """Something that was left out at loading, because it was not trusted, is now needed."""
