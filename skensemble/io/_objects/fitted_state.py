"""What is saved of a fitted estimator in addition to its parameters: the attributes that its classes name."""

from skensemble._compat.scikeras import FITTED_STATE, BaseWrapper
from skensemble.io._errors import FormatError, PersistenceError

#: Set by `__init__` (what heads of stacking ensembles have no parameters for), or made anew when a file is loaded:
#: scorers, encoders, callbacks of networks. scikit-learn's callbacks are only for fits.
NOT_WRITTEN = {"build_fn", "model", "reinitialize", "inputs", "distribution", "_user_params"} | {
    "feature_encoder_",
    "scorer_",
    "target_encoder_",
    "_curve_scorer",
    "_fit_callbacks",
    "_predict_callbacks",
    "_skl_callbacks",
    "_told_columns",
}


def fitted_state(kind):
    """Names of the attributes that are saved for a class, in order; None for scikit-learn's classes.

    Parameters
    ----------
    kind : type
        Its own and its bases' `_fitted_state` count.

    Returns
    -------
    list of str or None
    """
    names = [name for base in reversed(kind.__mro__) for name in vars(base).get("_fitted_state", ())]
    names += FITTED_STATE if issubclass(kind, BaseWrapper) else ()
    return list(dict.fromkeys(names)) or None


def saved_attributes(estimator, *, without=()):
    """What an estimator learned, by name; raises where it learned something that its class does not name.

    Parameters
    ----------
    estimator : fitted estimator
    without : collection of str
        Parameters and other attributes that are saved separately.

    Returns
    -------
    dict of str to object
    """
    names = fitted_state(type(estimator))
    learned = {k: v for k, v in vars(estimator).items() if k not in without and k not in NOT_WRITTEN}
    if names is None:
        return learned
    unknown = sorted(learned.keys() - set(names))
    if unknown:
        raise PersistenceError(
            f"{type(estimator).__name__} cannot be saved: its class names what is saved in `_fitted_state`, and "
            f"{', '.join(unknown)} is not among it. Name it there, where the class is yours, or delete it."
        )
    return {name: learned[name] for name in names if name in learned}


def check_attributes(estimator, attributes):
    """Raise FormatError where a file has attributes that `saved_attributes` would not give (T25).

    Parameters
    ----------
    estimator : estimator
        Not fitted yet.
    attributes : dict
    """
    kind, names = type(estimator), fitted_state(type(estimator))
    if names is None:
        names = {name for name in attributes if isinstance(name, str) and not hasattr(kind, name)}
    other = sorted(str(name)[:80] for name in attributes if name not in names)
    if other:
        raise FormatError(
            f"The learned attributes of {kind.__name__} must be those that it saves, and not hide its methods: got "
            f"{other}."
        )
