"""How an estimator is cloned, copied and pickled: with its network, and with what shows that a model is untrained."""

from skensemble._compat.keras import build_optimizer
from skensemble._compat.scikeras_building import given_model
from skensemble._members.callback_factories import picklable
from skensemble._members.given_models import initializer_seeds, set_initializer_seeds
from skensemble._members.pickling import CheckedPickling


class CopiesMixin(CheckedPickling):
    """Copies with everything that Keras leaves out; comes left of scikeras' estimators.

    Copies of a Keras model have initializers with other seeds. With the original seeds, copies can be recognized as
    untrained.
    """

    def __sklearn_clone__(self):
        cloned = super().__sklearn_clone__()
        if given_model(self) is not None:
            set_initializer_seeds(given_model(cloned), initializer_seeds(given_model(self)))
        return cloned

    def __getstate__(self):
        state = super().__getstate__()
        model = given_model(self)
        return state if model is None else {**state, "_initializer_seeds": initializer_seeds(model)}

    def __setstate__(self, state):
        seeds = state.get("_initializer_seeds")
        super().__setstate__({name: value for name, value in state.items() if name != "_initializer_seeds"})
        if seeds is not None:
            set_initializer_seeds(given_model(self), seeds)

    def __deepcopy__(self, memo):
        _complete(self)
        return super().__deepcopy__(memo)

    def __reduce_ex__(self, protocol):
        _complete(self)
        make, arguments, state, *rest = super().__reduce_ex__(protocol)
        names = [name for name in ("_fit_callbacks", "_predict_callbacks") if state.get(name)]
        return make, arguments, state | {name: picklable(state[name]) for name in names}, *rest


def _complete(estimator):
    """Build the network, and give its optimizer its variables: Keras cannot copy or load a model without."""
    estimator._give_back()
    if getattr(vars(estimator).get("model_"), "optimizer", None) is not None and estimator.model_.built:
        build_optimizer(estimator.model_)
