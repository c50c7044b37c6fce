"""Every public entry of Keras trains in the fused engine as in Keras' own fit, or is refused with a reason."""

import pytest
import refusals
import sweep
from sweep_recipes import CASES, NOT_IN_A_MEMBER, TRIED_ELSEWHERE


@pytest.mark.parametrize("namespace", NOT_IN_A_MEMBER)
def test_every_entry_has_a_recipe(namespace):
    """What Keras adds is missing here until there is a recipe for it."""
    tried = TRIED_ELSEWHERE.get(namespace, set()) | NOT_IN_A_MEMBER[namespace].keys()
    tried |= {name for case in CASES.values() if case.namespace == namespace for name in " ".join(case.recipes).split()}
    missing = [names[0] for names in sweep.entries(namespace).values() if not set(names) & tried]
    recipes = "sweep_layers.py" if namespace == "keras.layers" else "sweep_recipes.py"
    assert missing == [], (
        f"Add recipes for {', '.join(f'{namespace}.{name}' for name in missing)} to tests/sweep/{recipes}, or to "
        "NOT_IN_A_MEMBER there the reason why there can be none. Then run `python tests/sweep/refusals.py`."
    )


#: Cases that `make test-jax` tries; the others are slow there, too.
QUICK_ON_JAX = {"optimizers: MultiOptimizer OptimizerMap", "schedules"}


@pytest.mark.parametrize(
    "name",
    [name if sweep.ON_JAX and name in QUICK_ON_JAX else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
# Metrics of Keras ask for integers of 64 bits, of which JAX warns (`MeanIoU`, say); they have 32.
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")
def test_fused_as_keras_or_refused(name):
    """Variables, histories, validation and predictions are those of Keras' fit; refusals are those of the guide."""
    case = CASES[name]
    listed = {
        entries: reason
        for (namespace, entries), reason in refusals.listed(refusals.REFUSED).items()
        if namespace == case.namespace and entries in sweep.available(case)
    }
    failures, reasons = sweep.sweep(case, listed.keys())
    assert failures == {}
    assert reasons == listed, "The guide is not up to date: run `python tests/sweep/refusals.py`."


def test_the_guide_lists_what_no_member_can_hold():
    """The second list of the guide is that of the recipes."""
    reasons = {
        (namespace, entry): reason for namespace, known in NOT_IN_A_MEMBER.items() for entry, reason in known.items()
    }
    assert refusals.listed("not in a member") == reasons, "Run `python tests/sweep/refusals.py`."
