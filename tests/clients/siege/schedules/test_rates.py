from collections.abc import Callable
from itertools import pairwise
from math import cos, pi

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from yais.clients.siege.schedules.pacer import Pacer, count_before
from yais.clients.siege.schedules.pacers import SinePacer, pulses, ramp, steps
from yais.clients.stats.histogram import SECOND

some_rate = st.one_of(st.just(0.0), st.floats(0.01, 2000.0))
above_0 = st.floats(0.01, 2000.0)
some_time = st.integers(1_000_000, 20 * SECOND)


def dues_of(pacer: Pacer, count: int) -> list[int]:
    dues = (pacer.due(arrival) for arrival in range(count))
    return [due for due in dues if due is not None]


def per_second(pacer: Pacer, seconds: int) -> list[int]:
    counts = [count_before(pacer, second * SECOND) for second in range(seconds + 1)]
    return [after - before for before, after in pairwise(counts)]


def check(pacer: Pacer, integral: Callable[[float], float], arrivals: int = 1500) -> None:
    """Arrival k is due where the integral of the rate, a function of seconds, is k, but for rounding."""
    dues = dues_of(pacer, arrivals)
    assert all(due <= later for due, later in pairwise(dues))
    for arrival, due in enumerate(dues):
        before, after = integral(max(due - 2, 0) / SECOND), integral((due + 2) / SECOND)
        tolerance = 1e-5 + 1e-9 * arrival
        assert before - tolerance <= arrival <= after + tolerance


def integral_of(pieces: list[tuple[float, float, float]]) -> Callable[[float], float]:
    """Of (begin, end, seconds) one after the other, the last rate going on."""

    def integral(time: float) -> float:
        total = 0.0
        for begin, end, seconds in pieces:
            here = min(time, seconds)
            total += begin * here + (end - begin) * here**2 / seconds / 2
            time -= here
        return total + pieces[-1][1] * time

    return integral


@settings(deadline=None, max_examples=60)
@given(low=some_rate, more=above_0, period=some_time, duty=st.floats(0.01, 0.99))
@example(low=99.9, more=0.01, period=1_000_000, duty=0.01)  # the 1,000th arrival is due as a cycle begins
def test_pulses_come_to_their_integral(low: float, more: float, period: int, duty: float) -> None:
    high, length = low + more, round(period * duty)

    def integral(time: float) -> float:
        cycles, within = divmod(time * SECOND, period)
        cycle = high * length + low * (period - length)
        return (cycles * cycle + high * min(within, length) + low * max(within - length, 0)) / SECOND

    check(pulses(low, high, period, duty), integral)


@settings(deadline=None, max_examples=60)
@given(rates=st.lists(st.tuples(some_rate, some_time), min_size=1, max_size=5))
def test_steps_come_to_their_integral(rates: list[tuple[float, int]]) -> None:
    check(steps(rates), integral_of([(rate, rate, duration / SECOND) for rate, duration in rates]))


@settings(deadline=None, max_examples=60)
@given(begin=some_rate, end=some_rate, duration=some_time)
def test_a_ramp_comes_to_its_integral(begin: float, end: float, duration: int) -> None:
    check(ramp(begin, end, duration), integral_of([(begin, end, duration / SECOND)]))


@settings(deadline=None, max_examples=60)
@given(mean=above_0, share=st.floats(0, 1), period=some_time)
def test_a_sine_comes_to_its_integral(mean: float, share: float, period: int) -> None:
    amplitude, seconds = mean * share, period / SECOND

    def integral(time: float) -> float:
        return mean * time + amplitude * seconds / (2 * pi) * (1 - cos(2 * pi * time / seconds))

    check(SinePacer(mean, amplitude, period), integral)


def test_a_slow_sine_that_goes_down_to_0_is_exact_to_the_nanosecond() -> None:
    pacer, mean, seconds = SinePacer(1000, 1000, 1000 * SECOND), 1000, 1000
    for arrival in range(0, 1_000_000, 499):
        time = (pacer.due(arrival) or 0) / SECOND
        integral = mean * time + mean * seconds / (2 * pi) * (1 - cos(2 * pi * time / seconds))
        assert integral == pytest.approx(arrival, abs=2e-6, rel=0)


@pytest.mark.parametrize(
    ("pacer", "counts"),
    [
        (pulses(1, 10, 2 * SECOND, 0.5), [10, 1, 10, 1]),
        (pulses(0, 10, 2 * SECOND, 0.5), [10, 0, 10, 0]),
        (steps([(5, SECOND), (0, SECOND), (7, SECOND)]), [5, 0, 7, 7]),
        (steps([(0, SECOND), (3, SECOND)]), [0, 3, 3, 3]),
        (
            steps([(0.1, 30 * SECOND), (0, 10 * SECOND), (4, SECOND)]),
            [1] + [0] * 9 + [1] + [0] * 9 + [1] + [0] * 19 + [4],
        ),
        (ramp(0, 40, 4 * SECOND), [5, 15, 25, 35, 40]),
        (ramp(40, 0, 4 * SECOND), [35, 25, 15, 5, 0, 0]),
        (SinePacer(100, 0, SECOND), [100, 100]),
    ],
    ids=[
        "pulses",
        "pulses from 0",
        "steps with a pause",
        "a pause first",
        "a slow rate",
        "up",
        "down",
        "flat",
    ],
)
def test_each_second_has_its_arrivals(pacer: Pacer, counts: list[int]) -> None:
    assert per_second(pacer, len(counts)) == counts


def test_pulses_are_high_first() -> None:
    offsets = [0, SECOND // 8, SECOND // 4, 3 * SECOND // 8]
    assert dues_of(pulses(0, 8, SECOND, 0.5), 8) == offsets + [SECOND + offset for offset in offsets]


@pytest.mark.parametrize(
    ("pacer", "rates"),
    [
        (pulses(1, 10, 2 * SECOND, 0.25), {0: 10, 0.49: 10, 0.5: 1, 1.99: 1, 2: 10, 102.1: 10, 102.6: 1}),
        (steps([(5, SECOND), (7, SECOND)]), {0: 5, 0.99: 5, 1: 7, 1.5: 7, 100: 7}),
        (ramp(10, 30, 2 * SECOND), {0: 10, 0.5: 15, 1: 20, 2: 30, 100: 30}),
        (ramp(10, 0, 2 * SECOND), {0: 10, 1: 5, 2: 0, 3: 0}),
        (SinePacer(10, 5, 4 * SECOND), {0: 10, 1: 15, 2: 10, 3: 5, 41: 15}),
    ],
    ids=["pulses", "steps", "ramp", "ramp to 0", "sine"],
)
def test_the_rate_is_that_of_the_time(pacer: Pacer, rates: dict[float, float]) -> None:
    asked = {seconds: pacer.rate(round(seconds * SECOND)) for seconds in rates}
    assert asked == pytest.approx(rates)


@pytest.mark.parametrize(
    ("pacer", "arrivals"),
    [(ramp(10, 0, SECOND), 5), (ramp(9, 0, SECOND), 5), (steps([(700, SECOND), (0, SECOND)]), 700)],
    ids=["of a whole count", "of half a one more", "of several blocks"],
)
def test_a_last_rate_of_0_is_the_end(pacer: Pacer, arrivals: int) -> None:
    assert len(dues_of(pacer, arrivals + 600)) == arrivals
    assert pacer.due(10**9) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda size: pulses(3, 777, 123_456_789, 0.3, size),
        lambda size: steps([(33.3, SECOND), (0, SECOND), (1234.5, SECOND)], size),
        lambda size: ramp(1, 3000, 7 * SECOND, size),
        lambda size: SinePacer(1000, 999, 3 * SECOND + 1, size),
    ],
    ids=["pulses", "steps", "ramp", "sine"],
)
@pytest.mark.parametrize("size", [1, 7, 100, 1000])
def test_a_schedule_does_not_depend_on_the_block_size(make: Callable[[int], Pacer], size: int) -> None:
    assert dues_of(make(size), 3000) == dues_of(make(256), 3000)


@pytest.mark.parametrize(
    "pacer",
    [pulses(0, 0.001, 10**15, 0.5), steps([(0.001, SECOND)]), SinePacer(0.001, 0.001, 10**15)],
    ids=["pulses", "steps", "sine"],
)
def test_a_rate_without_an_end_goes_on_for_a_century(pacer: Pacer) -> None:
    dues = [pacer.due(arrival) for arrival in range(0, 10**10, 10**9 - 1)]
    assert dues == sorted(due for due in dues if due is not None)
    assert dues[-1] is not None
    assert dues[-1] > 10**18
