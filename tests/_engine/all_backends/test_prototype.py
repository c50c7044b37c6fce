"""What holds while a program is traced."""

import random
from random import random as taken_before
from threading import Thread

import numpy as np
import pytest

from skensemble._engine.all_backends.prototype import refuse_global_random_numbers
from skensemble.exceptions import NotFusableError


def in_another_thread(function):
    thread = Thread(target=function)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("draw", "name"),
    [
        (lambda: random.randint(1, 5), "Python"),
        (lambda: random.seed(3), "Python"),
        (taken_before, "Python"),
        (lambda: np.random.normal(), "NumPy"),
        (lambda: np.random.seed(3), "NumPy"),
    ],
)
def test_global_random_numbers_are_refused(draw, name):
    """Whoever draws them is told; the generators are as they were, and so are the functions of the modules."""
    before = random.getstate(), np.random.get_state()[2], random.random, np.random.normal
    with pytest.raises(NotFusableError, match=f"draws random numbers of {name}"), refuse_global_random_numbers():
        draw()
    assert before == (random.getstate(), np.random.get_state()[2], random.random, np.random.normal)


@pytest.mark.parametrize("draw", [lambda: random.random(), lambda: np.random.normal()])
def test_other_threads_may_draw(draw):
    """A server, or a Dask worker, draws while a network is traced: that is not the network's doing."""
    with refuse_global_random_numbers(), refuse_global_random_numbers():
        in_another_thread(draw)

    def both():
        in_another_thread(draw)
        draw()

    with pytest.raises(NotFusableError), refuse_global_random_numbers():
        both()
