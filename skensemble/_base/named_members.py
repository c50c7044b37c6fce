"""Members that are different estimators, each with a name: their parameters, checks and seeds."""

import numbers
from typing import Any, Self

from sklearn.base import TransformerMixin, is_classifier
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from skensemble._base.ensemble import BaseKerasEnsemble
from skensemble._base.metadata_routing import fit_metadata, split_metadata
from skensemble._compat.scikeras import BaseWrapper
from skensemble._compat.sklearn import BaseComposition, InvalidParameterError, routing_enabled, tags_of
from skensemble._members.member_checks import check_kind
from skensemble._members.other_estimators import takes_any_shape, weight_parameter
from skensemble._members.random_draws import spawn_seeds
from skensemble._members.spec import MemberSpec, is_frozen, is_network, unwrapped
from skensemble._wrappers.adapters import as_member

#: scikit-learn's word for a member that is left out.
DROPPED = "drop"


class BaseNamedMembers(TransformerMixin, BaseKerasEnsemble, BaseComposition):
    """Ensemble whose parameter `estimators` is a list of (name, estimator)."""

    _fitted_state = ("estimators_", "_entropy", "_entry_names", "_names")
    _parameter_constraints = {
        **BaseKerasEnsemble._parameter_constraints,
        "estimators": [list],
        "n_jobs": [numbers.Integral, None],
    }
    _consumes_weights = False

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the ensemble and of its members.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the members, by name, and their parameters as `<name>__<parameter>`.

        Returns
        -------
        dict of str to object
        """
        return self._get_params("estimators", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the ensemble, exchange a member by its name, or set parameters of members.

        Parameters
        ----------
        **params : dict
            Such as `n_jobs=2`, `mlp=KerasClassifier()`, `mlp="drop"` to leave the member out, or
            `mlp__optimizer__learning_rate=0.01`.

        Returns
        -------
        estimator
            Itself.
        """
        self._set_params("estimators", **params)
        return self

    @property
    def named_estimators(self) -> Bunch:
        """The entries of `estimators` by name, as given.

        Returns
        -------
        Bunch
        """
        return Bunch(**dict(self.estimators))

    @property
    def named_estimators_(self) -> Bunch:
        """Fitted members by name, "drop" for those that are left out.

        Returns
        -------
        Bunch
        """
        check_is_fitted(self)
        fitted = dict(zip(self._names, self.estimators_, strict=True))
        return Bunch(**{name: fitted.get(name, DROPPED) for name in self._entry_names})

    def _routed_members(self):
        """The entries of `estimators` that are well-formed and not dropped."""
        entries = [entry for entry in self.estimators if _is_well_formed(entry) and not _is_dropped(entry[1])]
        return [(name, as_member(estimator)) for name, estimator in entries]

    def _seeded_members(self, entries, arguments=None):
        """Members of the entries, each with its seed and arguments of `MemberSpec`; learns the names."""
        self._names = [name for name, _ in entries]
        self._entry_names = [name for name, _ in self.estimators]
        seeds = spawn_seeds(self._entropy, len(entries))
        return [
            MemberSpec(one, own_seed(one, seed), name=f"member {name!r}", **(arguments or {}).get(name, {}))
            for (name, one), seed in zip(entries, seeds, strict=True)
        ]

    def _entries(self):
        """The entries of `estimators` that are not dropped; raises where one is not well-formed."""
        if not self.estimators:
            raise ValueError("`estimators` must not be empty: give a list of (name, estimator).")
        for entry in self.estimators:
            if not _is_well_formed(entry):
                raise InvalidParameterError(
                    f"`estimators` must be a list of (name, estimator): got the entry {entry!r}."
                )
        self._validate_names([name for name, _ in self.estimators])
        kept = self._routed_members()
        if not kept:
            raise ValueError(
                f"`estimators` must have a member that is not {DROPPED!r}: got {DROPPED!r} for all of "
                f"{[name for name, _ in self.estimators]}. Give one of them an estimator."
            )
        return kept

    def _check_estimators(self, X, sample_weight, params):
        """The entries of `estimators`, and arguments of `MemberSpec` by name; raises where one cannot be a member.

        Parameters
        ----------
        X : Inputs
        sample_weight : ndarray or None
        params : dict
            Other metadata.
        """
        entries = self._entries()
        for name, one in entries:
            check_kind(one, classifier=is_classifier(self) and not self._is_regressor_among(one), name=name)
        metadata = fit_metadata(self, entries, sample_weight, params)
        for name, one in entries:
            if not isinstance(unwrapped(one), BaseWrapper):
                # Requested metadata are taken.
                self._check_other(name, one, X, None if routing_enabled() else sample_weight)
        return entries, {
            name: {**split_metadata(metadata[name], sample_weight), "encodes_labels": self._is_regressor_among(one)}
            for name, one in entries
        }

    def _is_regressor_among(self, estimator):
        """Whether a member is a regressor in an ensemble of classifiers that takes regressors."""
        return False

    def _check_other(self, name, estimator, X, sample_weight):
        """Raise where a scikit-learn estimator that is not a network cannot be a member."""
        if len(X.row_shape) > 1 and not takes_any_shape(estimator):
            raise ValueError(
                f"Members that are not networks take X of two dimensions: {describe(name, estimator)}, X has "
                f"{1 + len(X.row_shape)}. Leave it out, or flatten X and reshape it in the networks."
            )
        if sample_weight is not None and not is_frozen(estimator) and weight_parameter(estimator) is None:
            raise InvalidParameterError(  # also a TypeError, as scikit-learn's is
                f"`sample_weight` needs members that take it: {describe(name, estimator)}, whose fit does not."
            )

    def _find_network(self, *, fitted):
        if fitted:
            i = self.estimators_.first_network()
            return None if i is None else f"{self._names[i]!r} (a network)", self.estimators_.has_networks_only()
        entries = self._entries()
        names = [f"{name!r} ({type(unwrapped(one)).__name__})" for name, one in entries if is_network(one)]
        return names[0] if names else None, len(names) == len(entries)

    def _takes_several_targets(self):
        return all(map(takes_several_targets, self._tags_of_others()))

    def _tags_of_others(self):
        """scikit-learn's tags of the members that are not networks; none where `estimators` is not well-formed."""
        try:
            return [tags_of(one) for _, one in self._routed_members() if not isinstance(unwrapped(one), BaseWrapper)]
        except (AttributeError, TypeError, ValueError):
            return []

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []
        others = self._tags_of_others()
        tags.input_tags.three_d_array = not others
        if others and len(others) == len(self._routed_members()):
            tags.input_tags.allow_nan = all(one.input_tags.allow_nan for one in others)
        return tags


def _is_well_formed(entry):
    return isinstance(entry, tuple | list) and len(entry) == 2 and isinstance(entry[0], str)


def _is_dropped(estimator):
    return isinstance(estimator, str) and estimator == DROPPED


def describe(name, estimator):
    """A named member, for messages."""
    return f"{name!r} is {type(unwrapped(estimator)).__name__}"


def takes_several_targets(tags):
    """Whether an estimator with these tags takes several labels or targets per row."""
    return tags.classifier_tags.multi_label if tags.classifier_tags else tags.target_tags.multi_output


def own_seed(estimator, seed):
    """A network's own seed, as in scikit-learn's voting, otherwise the one that is spawned for it."""
    own = getattr(estimator, "random_state", None)
    return own if isinstance(own, numbers.Integral) and isinstance(estimator, BaseWrapper) else seed


def column_names(ensemble, counts):
    """Names of the columns that each fitted member predicts: of the class, of the member, and a number for several.

    Parameters
    ----------
    ensemble : estimator
    counts : iterable of int
        How many columns each member predicts.

    Returns
    -------
    list of str
    """
    prefix = type(ensemble).__name__.lower()
    return [
        f"{prefix}_{name}" if count == 1 else f"{prefix}_{name}{i}"
        for name, count in zip(ensemble._names, counts, strict=True)
        for i in range(count)
    ]
