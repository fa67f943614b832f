import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.clients.siege.schedules.pacer import Arrivals, Constant, Pacer, Shard, Until, count_before
from yais.clients.stats.histogram import SECOND

rates = st.floats(0.001, 1e6)


def all_of(pacer: Pacer, block: int = 256) -> list[int]:
    arrivals, dues = Arrivals(pacer, block), list[int]()
    while taken := arrivals.take(10**18):
        dues += taken
    return dues


@pytest.mark.parametrize(
    ("rate", "arrival", "due"),
    [
        (1.0, 0, 0),
        (1.0, 7, 7 * SECOND),
        (2500.0, 1, 400_000),
        (3.0, 1, 333_333_333),
        (3.0, 3, SECOND),
        (3.0, 3 * 86_400 * 365, 86_400 * 365 * SECOND),
        (0.5, 2, 4 * SECOND),
        (40_000.0, 40_000 * 3600 + 1, 3600 * SECOND + 25_000),
    ],
)
def test_arrival_k_is_due_at_k_by_rate_without_drift(rate: float, arrival: int, due: int) -> None:
    assert Constant(rate).due(arrival) == due


@settings(deadline=None)
@given(rates, st.integers(0, 10**9))
def test_arrivals_are_in_order_and_exact_to_the_nanosecond(rate: float, arrival: int) -> None:
    pacer = Constant(rate)
    assert pacer.due(arrival) <= pacer.due(arrival + 1)
    assert pacer.due(arrival) == pytest.approx(arrival / rate * 1e9, rel=1e-12, abs=1)


@pytest.mark.parametrize(
    ("pacer", "arrivals"),
    [
        (Until(Constant(10.0), count=3), 3),
        (Until(Constant(10.0), duration=SECOND), 10),
        (Until(Constant(10.0), duration=SECOND + 1), 11),
        (Until(Constant(3.0), duration=10 * SECOND), 30),
        (Until(Constant(10.0), duration=1), 1),
        (Until(Constant(10.0), count=5, duration=SECOND), 5),
        (Until(Until(Constant(10.0), count=5), count=9), 5),
        (Until(Constant(10.0), count=700), 700),
    ],
)
def test_a_bounded_schedule_ends(pacer: Pacer, arrivals: int) -> None:
    dues = all_of(pacer)
    assert dues == [pacer.due(arrival) for arrival in range(arrivals)]
    assert pacer.due(arrivals) is None
    assert pacer.rate(0) in (3.0, 10.0)


def test_a_schedule_without_bounds_goes_on() -> None:
    assert Until(Constant(1.0)).due(10**12) == 10**12 * SECOND


@pytest.mark.parametrize(
    ("looks", "dues"),
    [
        ([0], [[0]]),
        ([0, 99], [[0], []]),
        ([0, 100], [[0], [100]]),
        ([0, 350], [[0], [100, 200, 300]]),
        ([350, 350], [[0, 100, 200, 300], []]),
    ],
)
def test_all_that_is_due_is_taken_each_with_its_own_time(looks: list[int], dues: list[list[int]]) -> None:
    arrivals = Arrivals(Constant(1e7))
    assert [arrivals.take(elapsed) for elapsed in looks] == dues
    assert arrivals.taken == sum(map(len, dues))
    assert arrivals.next_due == arrivals.taken * 100


@settings(deadline=None)
@given(rates, st.integers(1, 9), st.lists(st.integers(0, 10**7), max_size=20))
def test_however_one_looks_every_arrival_is_taken_once(rate: float, block: int, waits: list[int]) -> None:
    pacer, elapsed, dues = Constant(rate), 0, list[int]()
    arrivals = Arrivals(pacer, block)
    for wait in waits:
        elapsed += wait
        dues += arrivals.take(elapsed)
    assert dues == [pacer.due(arrival) for arrival in range(len(dues))]
    assert all(due <= elapsed for due in dues)


def test_after_a_stall_arrivals_are_taken_a_block_at_a_time() -> None:
    arrivals = Arrivals(Until(Constant(1e6), count=10), block=4)
    assert [len(arrivals.take(SECOND)) for _ in range(4)] == [4, 4, 2, 0]
    assert arrivals.next_due is None


def test_a_pacer_needs_to_know_no_blocks() -> None:
    class Doubling(Pacer):
        def due(self, arrival: int) -> int | None:
            return 2**arrival if arrival < 5 else None

        def rate(self, elapsed: int) -> float:
            return 0.0

    assert all_of(Doubling()) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize(("elapsed", "count"), [(0, 0), (1, 1), (SECOND, 100_000), (SECOND + 1, 100_001)])
def test_what_is_due_before_a_time_is_counted(elapsed: int, count: int) -> None:
    assert count_before(Constant(1e5), elapsed) == count


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_shares_of_processes_make_up_the_whole_schedule(of: int) -> None:
    whole = Until(Constant(777.0), count=500)
    shares = [Shard(whole, first, of) for first in range(of)]
    assert sorted(due for share in shares for due in all_of(share, block=16)) == all_of(whole)
    assert shares[-1].due(0) == whole.due(of - 1)
    assert sum(share.rate(0) for share in shares) == pytest.approx(777.0)
