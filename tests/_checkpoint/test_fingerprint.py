import numpy as np

from skensemble import KerasClassifier
from skensemble._checkpoint.fingerprint import changes, fingerprint
from skensemble._members.inputs import as_inputs
from skensemble._members.spec import MemberSpec


def test_changes_are_named():
    """Each part that differs is named; members that only one of the two has are no change."""
    X, y = as_inputs(np.zeros((4, 2))), np.arange(4)
    member = KerasClassifier(epochs=3)
    before = fingerprint([MemberSpec(member, 1)], X, y, None, "auto")
    more = fingerprint([MemberSpec(member, 1), MemberSpec(member, 2)], X, y, None, "auto")
    assert changes(before, more) == changes(more, before) == []
    later = fingerprint([MemberSpec(member, 2)], X, y, None, "auto", first=1)
    assert changes(more, later) == []
    other = fingerprint(
        [MemberSpec(member.set_params(epochs=4), 2, sample_indices=y)],
        as_inputs(X.given + 1),
        y,
        np.ones(4),
        "keras",
        run=1,
    )
    assert changes(before, other) == [
        "`X`",
        "`sample_weight`",
        "`engine` (auto, now keras)",
        "what is kept of the run (the parameters of the ensemble)",
        "`epochs` of member 0 (3, now 4)",
        "the seed of member 0 (`random_state`)",
        "the rows of member 0 (`random_state`, `bootstrap`, `max_samples`, `weights` or alike)",
    ]
