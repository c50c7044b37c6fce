import matplotlib.pyplot as plt
import numpy as np
import pytest

from skensemble._display.axes import as_numbers, make_headroom, name_positions


@pytest.mark.parametrize(
    ("names", "rotation"), [(["a", "b"], 0), (["a long name of a member"] * 3, 30), (["member"] * 40, 90)]
)
def test_names_have_room(names, rotation):
    """Names lie where they have room, slanted where they are long, vertical where they are many."""
    figure, ax = plt.subplots()
    name_positions(ax, names, len(names))
    figure.canvas.draw()
    assert [label.get_text() for label in ax.get_xticklabels()] == names
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {rotation}
    np.testing.assert_array_equal(ax.get_xticks(), np.arange(1, len(names) + 1))
    plt.close(figure)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "`w` must be one or more numbers in a row: got an array of shape (0,)"),
        ([[1, 2]], "got an array of shape (1, 2)"),
        (3, "got an array of shape ()"),
        ([1, np.nan], "`w` must be finite: got nan"),
    ],
)
def test_what_is_no_row_of_numbers(values, message):
    """What cannot be drawn is refused with its shape or value."""
    with pytest.raises(ValueError) as raised:
        as_numbers(values, "`w`")
    assert message in str(raised.value)


@pytest.mark.parametrize("others", [[], [np.nan], [-np.inf, np.nan]])
def test_headroom(others):
    """The axes leave room for a legend above the largest finite value."""
    figure, ax = plt.subplots()
    ax.plot([1, 2], [0, 1])
    make_headroom(ax, [0, 1, *others])
    assert ax.get_ylim()[1] > 1.1
    plt.close(figure)


def test_headroom_without_finite_values():
    """Where there is no finite value, such as where all scores are NaN, the axes stay as they are."""
    figure, ax = plt.subplots()
    make_headroom(ax, [np.nan, np.nan])
    assert ax.get_ylim() == (0, 1)
    plt.close(figure)
