"""Members that are different estimators, each with a name: their parameters, checks and seeds."""

import numbers

from sklearn.utils import Bunch, get_tags
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from skensemble._base import BaseKerasEnsemble
from skensemble._checkpoint import keep_entropy
from skensemble._compat import BaseComposition, BaseWrapper
from skensemble._members import Member, check_kind, is_frozen, spawn_seeds, unwrapped


class BaseNamedMembers(BaseKerasEnsemble, BaseComposition):
    """Ensemble whose parameter `estimators` is a list of (name, estimator)."""

    def get_params(self, deep=True):
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

    def set_params(self, **params):
        """Set parameters of the ensemble, exchange a member by its name, or set parameters of members.

        Parameters
        ----------
        **params : dict
            Such as `n_jobs=2`, `mlp=KerasClassifier()` or `mlp__optimizer__learning_rate=0.01`.

        Returns
        -------
        estimator
            Itself.
        """
        self._set_params("estimators", **params)
        return self

    @property
    def named_estimators_(self):
        """Fitted members by name.

        Returns
        -------
        Bunch
        """
        check_is_fitted(self)
        return Bunch(**dict(zip(self._names, self.estimators_, strict=True)))

    def _seeded_members(self, entries, checkpoint):
        """Members of the entries, a seed for each; draws `_entropy` and learns the names."""
        self._entropy = keep_entropy(checkpoint, self.random_state)
        self._names = [name for name, _ in entries]
        seeds = spawn_seeds(self._entropy, len(entries))
        return [Member(one, own_seed(one, seed)) for (_, one), seed in zip(entries, seeds, strict=True)]

    def _entries(self):
        """The entries of `estimators`, which are as they must be."""
        if not self.estimators:
            raise ValueError("`estimators` must not be empty: give a list of (name, estimator).")
        for entry in self.estimators:
            if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)):
                raise TypeError(f"`estimators` must be a list of (name, estimator): got the entry {entry!r}.")
        self._validate_names([name for name, _ in self.estimators])
        return self.estimators

    def _check_estimators(self, X, sample_weight, classifier):
        """The entries of `estimators`; raises where one cannot be a member."""
        entries = self._entries()
        for name, estimator in entries:
            check_kind(estimator, classifier=classifier, name=name)
            if not isinstance(unwrapped(estimator), BaseWrapper):
                self._check_other(name, estimator, X, sample_weight)
        return entries

    def _check_other(self, name, estimator, X, sample_weight):
        """Raise where a scikit-learn estimator that is no network cannot be a member."""
        if X.ndim > 2:
            raise ValueError(
                f"Members that are no networks take X of two dimensions: {describe(name, estimator)}, X has {X.ndim}. "
                "Leave it out, or flatten X and reshape it in the networks."
            )
        if sample_weight is not None and not (is_frozen(estimator) or has_fit_parameter(estimator, "sample_weight")):
            raise ValueError(
                f"`sample_weight` needs members that take it: {describe(name, estimator)}, whose fit does not."
            )

    def _takes_several_targets(self):
        return all(map(takes_several_targets, self._tags_of_others()))

    def _tags_of_others(self):
        """scikit-learn's tags of the members that are no networks; of none where `estimators` is not as it must be."""
        try:
            return [get_tags(one) for _, one in self.estimators if not isinstance(unwrapped(one), BaseWrapper)]
        except (AttributeError, TypeError, ValueError):
            return []

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = not self._tags_of_others()
        return tags


def describe(name, estimator):
    """A named member, for messages."""
    return f"{name!r} is {type(unwrapped(estimator)).__name__}"


def takes_several_targets(tags):
    """Whether an estimator with these tags takes several labels or targets per row."""
    return tags.classifier_tags.multi_label if tags.classifier_tags else tags.target_tags.multi_output


def own_seed(estimator, seed):
    """The seed that a network has itself, as in scikit-learn's voting, else the one that is spawned for it."""
    own = getattr(estimator, "random_state", None)
    return own if isinstance(own, numbers.Integral) and isinstance(estimator, BaseWrapper) else seed
