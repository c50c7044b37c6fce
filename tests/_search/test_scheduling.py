"""Functions that take turns, and what they ask for together."""

import contextvars
import threading
import warnings

import pytest

from skensemble._search.scheduling import take_turns

ASKED = contextvars.ContextVar("asked")


class Request:
    """A number to be doubled."""

    def __init__(self, number, n_bytes=1):
        self.number, self.n_bytes, self.seconds = number, n_bytes, 0.25


def run(functions, answer=None, most_bytes=10):
    """The turns of functions, and the numbers that were asked for at once."""
    asked = []

    def double(requests):
        asked.append([request.number for request in requests])
        return [2 * request.number for request in requests]

    return take_turns(functions, answer or double, ASKED, most_bytes), asked


def asking(*numbers):
    """A function that asks for numbers, one after the other, and returns the answers."""
    return lambda: [ASKED.get()(Request(number)) for number in numbers]


def test_what_all_ask_for_is_answered_together():
    """Functions wait for each other where they ask, and those that ask no more are not waited for."""
    turns, asked = run([asking(1, 2), asking(3), asking()])
    assert [turn.result for turn in turns] == [[2, 4], [6], []]
    assert asked == [[1, 3], [2]]
    assert [turn.answered for turn in turns] == [0.5, 0.25, 0]
    assert all(turn.waited >= 0 for turn in turns)


def test_few_begin_where_requests_are_large():
    """No more functions begin while what is asked for has so many bytes."""
    turns, asked = run([asking(1), asking(2), asking(3)], most_bytes=2)
    assert [turn.result for turn in turns] == [[2], [4], [6]]
    assert asked == [[1, 2], [3]]


def test_one_runs_at_a_time():
    """Functions need no locks: none is interrupted by another one but where it asks."""
    running = []

    def function():
        for number in (1, 2):
            running.append(threading.get_ident())
            assert len(running) == 1
            running.pop()
            ASKED.get()(Request(number))

    run([function] * 5)


def test_answers_may_be_errors():
    """An answer that is an exception is raised where it was asked for."""

    def function():
        with pytest.raises(KeyError, match="no answer"):
            ASKED.get()(Request(1))
        return "caught"

    turns, _ = run([function], answer=lambda requests: [KeyError("no answer")])
    assert turns[0].result == "caught"


def test_errors_end_all():
    """The first error is raised; the others are ended where they wait, and clean up behind them."""
    cleaned = []

    def waits():
        try:
            ASKED.get()(Request(1))
        finally:
            cleaned.append(True)

    def fails():
        raise ZeroDivisionError("mine")

    n_threads = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="mine"):
        run([waits, waits, fails])
    assert cleaned == [True, True]
    assert threading.active_count() == n_threads


def test_warnings_are_those_of_each():
    """Blocks of `catch_warnings` of functions that take turns do not disturb each other."""
    filters = warnings.filters

    def function(action):
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            ASKED.get()(Request(1))
            return warnings.filters[0][0]

    turns, _ = run([lambda: function("error"), lambda: function("ignore")])
    assert [turn.result for turn in turns] == ["error", "ignore"]
    assert warnings.filters is filters
