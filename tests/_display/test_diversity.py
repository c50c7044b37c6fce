import matplotlib.pyplot as plt
import numpy as np
import pytest

from skensemble import (
    DiversityDisplay,
    KerasAveragingClassifier,
    KerasClassifier,
    KerasRegressor,
    KerasVotingClassifier,
    SnapshotEnsembleRegressor,
)
from skensemble.metrics import diversity

QUICK = {"hidden_layer_sizes": (3,), "epochs": 4, "run_eagerly": True, "batch_size": -1}


@pytest.fixture(autouse=True)
def _close_figures():
    """Leave no figure open."""
    yield
    plt.close("all")


def test_squares_show_the_disagreement(blobs):
    """One for each pair, with its number, and none for a member with itself."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**QUICK), 3, random_state=0).fit(*blobs)
    display = DiversityDisplay.from_estimator(ensemble, *blobs)
    expected = diversity(ensemble, *blobs).disagreement
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_array_equal(np.ma.filled(display.image_.get_array(), np.nan), expected)
    assert len(display.ax_.texts) == 6
    assert display.ax_.texts[0].get_text() == f"{expected[0, 1]:.2f}"


def test_title_tells_the_gain(blobs):
    """The loss of a member less the ambiguity is that of the ensemble."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**QUICK), 2, random_state=0).fit(*blobs)
    _, _, member_loss, ensemble_loss, ambiguity = diversity(ensemble, *blobs)
    title = DiversityDisplay.from_estimator(ensemble, *blobs).ax_.get_title()
    assert title == f"loss of a member {member_loss:.3g} - gain {ambiguity:.3g} = {ensemble_loss:.3g}"


def test_members_have_their_names_and_order(blobs, regression):
    """Names of named members; snapshots are told to be the newest first."""
    members = [("a", KerasClassifier(**QUICK)), ("b", KerasClassifier(**QUICK))]
    display = DiversityDisplay.from_estimator(KerasVotingClassifier(members, random_state=0).fit(*blobs), *blobs)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["a", "b"]
    snapshots = SnapshotEnsembleRegressor(KerasRegressor(**QUICK), 2, random_state=0).fit(*regression)
    display = DiversityDisplay.from_estimator(snapshots, *regression, kind="error_correlation")
    assert display.ax_.get_xlabel() == "members, newest first"
    assert display.image_.get_clim() == (-1, 1)


def test_unknown_kind_is_refused(blobs):
    """The message names those that there are."""
    ensemble = KerasAveragingClassifier(KerasClassifier(**QUICK), 2, random_state=0).fit(*blobs)
    with pytest.raises(ValueError, match="`kind` must be one of 'disagreement', 'error_correlation'"):
        DiversityDisplay.from_estimator(ensemble, *blobs, kind="entropy")
