"""Our ensembles under the names and with the defaults of scikit-learn's, to stand in its own test modules."""

from skensemble import (
    KerasAveragingClassifier,
    KerasAveragingRegressor,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    KerasVotingRegressor,
    StackedKerasClassifier,
    StackedKerasRegressor,
)

SMALL = {"hidden_layer_sizes": (2,), "optimizer": "sgd", "epochs": 1, "batch_size": -1}


class VotingClassifier(KerasVotingClassifier):
    """Members vote by default, as in scikit-learn's."""

    def __init__(self, estimators, *, voting="hard", weights=None, n_jobs=None, flatten_transform=True, verbose=0):
        super().__init__(
            estimators,
            voting=voting,
            weights=weights,
            n_jobs=n_jobs,
            flatten_transform=flatten_transform,
            verbose=verbose,
        )


class VotingRegressor(KerasVotingRegressor):
    """Only the name differs."""


class StackingClassifier(StackedKerasClassifier):
    """Only the name differs."""


class StackingRegressor(StackedKerasRegressor):
    """Only the name differs."""


class SmallClassifier(KerasClassifier):
    """A network that is trained in no time."""

    def __init__(self, **params):
        super().__init__(**SMALL | params)


class SmallRegressor(KerasRegressor):
    """A network that is trained in no time."""

    def __init__(self, **params):
        super().__init__(**SMALL | params)


class BaggingClassifier(KerasAveragingClassifier):
    """Two small networks by default, which draw their rows with replacement."""

    def __init__(
        self,
        estimator=None,
        n_estimators=2,
        *,
        max_samples=1.0,
        max_features=1.0,
        bootstrap=True,
        oob_score=False,
        warm_start=False,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            estimator,
            n_estimators,
            max_samples=max_samples,
            max_features=max_features,
            bootstrap=bootstrap,
            oob_score=oob_score,
            warm_start=warm_start,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )

    def _template(self, classifier):
        return SmallClassifier() if self.estimator is None else super()._template(classifier)


class BaggingRegressor(KerasAveragingRegressor):
    """Two small networks by default, which draw their rows with replacement."""

    def __init__(
        self,
        estimator=None,
        n_estimators=2,
        *,
        max_samples=1.0,
        max_features=1.0,
        bootstrap=True,
        oob_score=False,
        warm_start=False,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            estimator,
            n_estimators,
            max_samples=max_samples,
            max_features=max_features,
            bootstrap=bootstrap,
            oob_score=oob_score,
            warm_start=warm_start,
            n_jobs=n_jobs,
            random_state=random_state,
            verbose=verbose,
        )

    def _template(self, classifier):
        return SmallRegressor() if self.estimator is None else super()._template(classifier)
