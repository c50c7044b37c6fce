"""How a search trains many networks on one model: each gives it back, and builds its own when it is needed."""

from skensemble._compat.scikeras_building import build_from_rows
from skensemble._engine.lent import lent_network


class LentModelMixin:
    """Takes a model that is lent instead of building one; comes left of `BuildingMixin`."""

    def _initialize(self, X, y=None):
        vars(self).pop("_lent", None)
        lent = lent_network(self, X, y)
        if lent is not None:
            self._lent = lent
        return super()._initialize(X, y)

    def _build_keras_model(self):
        return self._lent.model if "_lent" in vars(self) else super()._build_keras_model()

    def _give_back(self):
        """Build its own model in place of the one that was lent, before or after training."""
        lent = vars(self).pop("_lent", None)
        if lent is None:
            return
        vars(self).pop("model_", None)
        if lent.values is not None:
            self.model_ = lent.build(self)
            return
        self.model_ = self._build_keras_model()
        build_from_rows(self, self.model_)
        self._ensure_compiled_model()

    def __getattr__(self, name):
        if name == "model_" and "_lent" in vars(self):
            self._give_back()
            return self.model_
        return object.__getattribute__(self, name)  # raises, in the words of a property too

    @property
    def initialized_(self) -> bool:
        """Whether the network is built; it may have been trained elsewhere."""
        return "model_" in vars(self) or "_lent" in vars(self)
