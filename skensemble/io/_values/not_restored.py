"""The placeholder for a function or class that was not imported when an estimator was loaded."""

import functools

from skensemble.io._errors import NotRestoredError

#: Before the class of an object that no file restores.
LEFT_OUT = "an object of "
#: Before the path of a function that cannot be imported: a lambda, or a function inside another.
UNNAMED = "the function "


def _refuse(path, *args, **kwargs):
    if path.startswith(LEFT_OUT):
        way_out = "No file restores it."
    elif path.startswith(UNNAMED):
        way_out = "It has no name that it can be imported by."
    else:
        way_out = f"Pass trusted=[{path!r}] to `skensemble.io.load`, if it can be imported and you trust it."
    raise NotRestoredError(
        f"{path} was not restored when the estimator was loaded. {way_out} Or set the parameter anew with `set_params`."
    )


class NotRestored(functools.partial):
    """A function or class of which only the path is known; calling it raises NotRestoredError.

    A partial, since scikeras takes no other callable objects as `model`.

    Parameters
    ----------
    path : str
        Where it would be imported from.
    parts : tuple of (function, args, keywords), default=None
        For a partial in which a part was not restored: what it is made of, so that it can be saved again.
    """

    def __new__(cls, path, parts=None):
        placeholder = super().__new__(cls, _refuse, path)
        placeholder.parts = parts
        return placeholder

    def __reduce__(self):
        return type(self), (self.path, self.parts)

    def __deepcopy__(self, memo):
        return self  # as for a function

    def __eq__(self, other):
        return type(other) is type(self) and (other.args, other.parts) == (self.args, self.parts)

    def __hash__(self):
        return hash(self.args)

    def __repr__(self):
        return f"NotRestored({self.path!r})"

    @property
    def path(self):
        """Where it would be imported from."""
        return self.args[0]

    @property
    def __name__(self):
        return self.path.rpartition(".")[2]

    def raise_not_restored(self):
        """Raise NotRestoredError."""
        self()
