"""How many parts members are split into for workers, and which goes where: by numbers known before training."""

import pytest

from skensemble._engine.workers import parts as _parts
from skensemble._engine.workers.parts import Work, network_work, other_work, split

WORKER = _parts.WORKER_SECONDS


def work(n_members, seconds, *, is_fused=True, fills_cores=True, first=0):
    return Work(tuple(range(first, first + n_members)), seconds, is_fused, fills_cores)


def of_network(n_members=20, **numbers):
    """The averaging tutorial: 20 networks of 2, 25 and 3 units, 150 rows, 200 epochs."""
    defaults = {"n_values": 153, "row_products": 153, "n_rows": 150, "epochs": 200, "batch_size": 32}
    return network_work(range(n_members), **{**defaults, "trained_by": "program", **numbers})


@pytest.mark.parametrize("n_workers", [1, 2, 20, 1000])
def test_small_fused_members_stay_together(n_workers):
    """A program of 20 small networks is not torn apart, however many workers there are."""
    assert split([of_network()], n_workers) == [list(range(20))]


@pytest.mark.parametrize(("n_workers", "sizes"), [(2, [4, 4]), (3, [2, 3, 3]), (8, [1] * 8), (100, [1] * 8)])
def test_large_members_go_one_or_a_few_a_worker(n_workers, sizes):
    """Networks of six million values, which Keras' own fit trains for many epochs, are shared out to all workers."""
    large = of_network(8, n_values=6_200_000, row_products=6_200_000, n_rows=10_000, epochs=50, trained_by="keras")
    parts = split([large], n_workers)
    assert sorted(map(len, parts)) == sizes
    assert sorted(i for part in parts for i in part) == list(range(8))


def test_seconds_of_a_fused_member():
    """The arithmetic, and the update of each value in each step: 5 epochs of 313 steps on 20,000 rows."""
    own = of_network(10, n_values=85_000, row_products=85_000, n_rows=20_000, epochs=5, batch_size=64)
    assert own.seconds == pytest.approx(1e-10 * 85_000 * 20_000 * 5 + 2e-8 * 85_000 * 5 * 313)
    assert own.fills_cores


def test_seconds_of_a_fit_of_keras():
    """Beside the arithmetic: tracing, each epoch, each step. Only large steps fill the cores."""
    own = of_network(10, trained_by="keras")
    assert own.seconds == pytest.approx(1 + 0.05 * 200 + 1e-3 * 1000, rel=1e-3)
    assert not own.fills_cores
    assert of_network(10, row_products=10**6, trained_by="keras").fills_cores


def test_eager_steps_are_worth_workers():
    """Steps that run operation by operation take so long that few of them are worth a worker."""
    few_steps = {"n_rows": 1000, "epochs": 2, "batch_size": 8}
    parts = [len(split([of_network(8, **few_steps, trained_by=one)], 2)) for one in ("keras", "keras eagerly")]
    assert parts == [1, 2]


def test_rows_of_a_batch_that_takes_all():
    """A batch of more rows than there are is one step."""
    assert of_network(batch_size=10**6).seconds == of_network(batch_size=150).seconds


@pytest.mark.parametrize(
    ("fills_cores", "seconds", "n_parts"),
    [
        (True, 9 * WORKER, 1),
        (True, 20 * WORKER, 2),
        (True, 29 * WORKER, 2),
        (False, 2 * WORKER, 1),
        (False, 8 * WORKER, 4),
    ],
)
def test_a_part_is_worth_a_worker(fills_cores, seconds, n_parts):
    """A part takes ten times as long as the start of its worker, or twice as long where cores are idle."""
    assert len(split([work(100, seconds / 100, fills_cores=fills_cores, is_fused=fills_cores)], 10)) == n_parts


def test_members_of_one_program_stay_together():
    """Two small families and a large one: only the large one is torn apart."""
    works = [work(5, 1.0), work(5, 1.0, first=5), work(40, WORKER, first=10)]
    parts = split(works, 4)
    assert len(parts) == 4
    for family in (range(5), range(5, 10)):
        assert sum(not set(family).isdisjoint(part) for part in parts) == 1


def test_parts_take_about_as_long():
    """Members that take long are spread first, the others fill up."""
    works = [work(1, seconds, is_fused=False, fills_cores=False, first=i) for i, seconds in enumerate([9, 5, 4, 100])]
    assert split([work(1, 18.0, is_fused=False, fills_cores=False, first=4), *works], 2) == [[0, 1, 2, 4], [3]]


def test_many_fits_of_keras_that_trace():
    """A hundred small networks that Keras trains one by one, a second each for tracing, are worth several workers."""
    assert len(split([of_network(100, epochs=1, trained_by="keras")], 10)) == 6


def test_other_estimators():
    """They count by the numbers they are trained on, a network in them by its tracing."""
    small, large = (other_work(i, n_numbers=n, has_network=False) for i, n in enumerate([600, 10**9]))
    assert len(split([small, of_network()], 10)) == 1
    assert len(split([large, other_work(2, n_numbers=10**9, has_network=False)], 10)) == 2
    assert other_work(0, n_numbers=600, has_network=True).seconds > 1


def test_no_work_is_one_part():
    """Members that take no time at all go into one part."""
    assert split([work(3, 0.0)], 5) == [[0, 1, 2]]
