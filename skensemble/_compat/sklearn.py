"""Private names of scikit-learn, and differences between its versions."""

from contextlib import nullcontext

from sklearn import config_context
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.utils import get_tags

from skensemble._compat.private import private, refusing

safe_indexing = private("sklearn.utils", "_safe_indexing")  # scikit-learn 0.22 to 1.9: documented, but private
raise_for_params = private("sklearn.utils.metadata_routing", "_raise_for_params")  # scikit-learn 1.4 to 1.9
routing_enabled = private("sklearn.utils.metadata_routing", "_routing_enabled")  # scikit-learn 1.3 to 1.9
check_feature_names = private("sklearn.utils.validation", "_check_feature_names")  # scikit-learn 1.6 to 1.9
check_feature_names_in = private("sklearn.utils.validation", "_check_feature_names_in")  # scikit-learn 1.0 to 1.9
check_method_params = private("sklearn.utils.validation", "_check_method_params")  # scikit-learn 1.4 to 1.9
check_sample_weight = private("sklearn.utils.validation", "_check_sample_weight")  # scikit-learn 0.22 to 1.9


class _Unknown:
    """Replaces a constraint that a later scikit-learn lacks: classes can be defined with it, but not fitted."""

    def __init__(self, *args, **kwargs):
        pass


def _refusing_context(**_):
    """Replaces `fit_context` where a later scikit-learn lacks it."""
    return lambda _: refusing("sklearn.base", "_fit_context")


class _UnknownComposition(BaseEstimator):
    """Replaces `BaseComposition` where a later scikit-learn lacks it."""

    _get_params = _set_params = _validate_names = refusing("sklearn.utils.metaestimators", "_BaseComposition")


class _UnknownSearch(BaseEstimator):
    """Replaces the halving searches where a later scikit-learn lacks them."""

    fit = refusing("sklearn.model_selection._search_successive_halving", "HalvingGridSearchCV")


class _NoCallbacks:
    """Replaces `CallbackSupportMixin`: scikit-learn has no callbacks before version 1.9."""


# scikit-learn 1.2 to 1.9: the words of `_parameter_constraints`, and what checks them around `fit`.
HasMethods = private("sklearn.utils._param_validation", "HasMethods", _Unknown)
Interval = private("sklearn.utils._param_validation", "Interval", _Unknown)
RealNotInt = private("sklearn.utils._param_validation", "RealNotInt", _Unknown)
StrOptions = private("sklearn.utils._param_validation", "StrOptions", _Unknown)
InvalidParameterError = private("sklearn.utils._param_validation", "InvalidParameterError", ValueError)
validate_parameter_constraints = private("sklearn.utils._param_validation", "validate_parameter_constraints")
fit_context = private("sklearn.base", "_fit_context", _refusing_context)
# scikit-learn 0.19 to 1.9: parameters of named members.
BaseComposition = private("sklearn.utils.metaestimators", "_BaseComposition", _UnknownComposition)
# TODO(scikit-learn>=1.9): import it, it is public.
CallbackSupportMixin = private("sklearn.callback", "CallbackSupportMixin", _NoCallbacks)
# scikit-learn 1.9: what `fit_context` does about callbacks, for fits by other methods than `fit`.
callbacks_torn_down = private("sklearn.callback._callback_support", "callback_management_context", nullcontext)
# scikit-learn 1.6 to 1.9: public only after `enable_halving_search_cv` has changed sklearn.model_selection.
SklearnHalvingGridSearchCV = private(
    "sklearn.model_selection._search_successive_halving", "HalvingGridSearchCV", _UnknownSearch
)
SklearnHalvingRandomSearchCV = private(
    "sklearn.model_selection._search_successive_halving", "HalvingRandomSearchCV", _UnknownSearch
)
VisualBlock = private(  # scikit-learn 1.7 to 1.9
    "sklearn.utils._repr_html.estimator",
    "_VisualBlock",
    private("sklearn.utils._estimator_html_repr", "_VisualBlock"),  # TODO(scikit-learn>=1.7): drop it
)


def own_request(estimator):
    """Metadata that an estimator itself requests, without its members: a copy that may be changed."""
    return estimator._get_metadata_request()  # scikit-learn 1.3 to 1.9


def plain_transforms():
    """Let scikeras' transformers return arrays, even if scikit-learn is set to return tables (`transform_output`)."""
    return config_context(transform_output="default")


def begin_callbacks(estimator):
    """Set up scikit-learn's callbacks for a fit; returns their context, or None where no callback listens."""
    if not hasattr(estimator, "_init_callback_context"):  # scikit-learn 1.9: for the authors of estimators
        return None
    context = estimator._init_callback_context()
    return context if getattr(estimator, "_skl_callbacks", None) else None


def is_of_kind(estimator, *, classifier):
    """Whether scikit-learn takes an object for a classifier, or a regressor, whatever class it has.

    Estimators without the tags of scikit-learn 1.6 and later say so by an attribute, as before.
    """
    if not hasattr(estimator, "fit") or isinstance(estimator, type):
        return False
    if hasattr(estimator, "__sklearn_tags__"):
        return (is_classifier if classifier else is_regressor)(estimator)
    return getattr(estimator, "_estimator_type", None) == ("classifier" if classifier else "regressor")


def tags_of(estimator):
    """scikit-learn's tags of an estimator; the default ones where it has none."""
    return get_tags(estimator) if hasattr(estimator, "__sklearn_tags__") else BaseEstimator().__sklearn_tags__()


def put_curve_scorer(estimator):
    """Give a loaded TunedThresholdClassifierCV the scorer that its `predict` asks for the positive class."""
    if isinstance(estimator, TunedThresholdClassifierCV) and hasattr(estimator, "estimator_"):
        estimator._curve_scorer = estimator._get_curve_scorer()  # scikit-learn 1.5 to 1.9
