from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.clients.siege.pacer import SECOND, Constant, Pacer, Until, released

rates = st.floats(0.001, 1e6)


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
    ],
)
def test_a_bounded_schedule_ends(pacer: Pacer, arrivals: int) -> None:
    assert len(list(released(pacer, 100 * SECOND, 0))) == arrivals
    assert pacer.due(arrivals) is None
    assert pacer.rate(0) in (3.0, 10.0)


def test_a_schedule_without_bounds_goes_on() -> None:
    assert Until(Constant(1.0)).due(10**12) == 10**12 * SECOND


@pytest.mark.parametrize(
    ("elapsed", "count", "dues"),
    [
        (0, 0, [0]),
        (99, 1, []),
        (100, 1, [100]),
        (350, 1, [100, 200, 300]),
        (350, 4, []),
    ],
)
def test_all_that_is_due_is_released_each_with_its_own_time(elapsed: int, count: int, dues: list[int]) -> None:
    assert list(released(Constant(1e7), elapsed, count)) == dues


@settings(deadline=None)
@given(rates, st.lists(st.integers(0, 10**7), max_size=20))
def test_however_one_looks_every_arrival_is_released_once(rate: float, waits: list[int]) -> None:
    pacer, elapsed, dues = Constant(rate), 0, list[int]()
    for wait in waits:
        elapsed += wait
        dues += islice(released(pacer, elapsed, len(dues)), 1000)
    assert dues == [pacer.due(arrival) for arrival in range(len(dues))]
