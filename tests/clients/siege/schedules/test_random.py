from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.clients.siege.schedules.pacer import FOREVER, Pacer
from yais.clients.siege.schedules.pacers import gamma_gaps, poisson_gaps, uniform_gaps
from yais.clients.stats.histogram import SECOND

Maker = Callable[..., Pacer]

MAKERS: dict[str, Maker] = {
    "poisson": poisson_gaps,
    "bursty": lambda rate, seed, size=256: gamma_gaps(rate, 0.25, seed, size),
    "smooth": lambda rate, seed, size=256: gamma_gaps(rate, 16.0, seed, size),
    "uniform": uniform_gaps,
}
# The deviation of the gaps, in means.
DEVIATIONS = {"poisson": 1.0, "bursty": 2.0, "smooth": 0.25, "uniform": 1 / sqrt(3)}

kinds = pytest.mark.parametrize("kind", MAKERS)


def first_of(pacer: Pacer, count: int) -> list[int]:
    return [pacer.due(arrival) for arrival in range(count)]  # type: ignore[misc]


@kinds
def test_gaps_have_the_mean_and_the_deviation_of_their_distribution(kind: str) -> None:
    count = 100_000
    gaps = np.diff(first_of(MAKERS[kind](1000.0, 7), count + 1)) / 1e6
    deviation = DEVIATIONS[kind]
    assert gaps.mean() == pytest.approx(1.0, abs=4 * deviation / sqrt(count))
    assert gaps.std() == pytest.approx(deviation, rel=0.03)
    # Independent ones: without a correlation from one to the next.
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 4 / sqrt(count)


def test_gaps_are_rounded_and_not_cut_off_to_nanoseconds() -> None:
    gaps = np.diff(first_of(gamma_gaps(1e6, 10_000.0, 1), 10_001))
    assert gaps.mean() == pytest.approx(1000, abs=0.35)


def test_poisson_arrivals_of_a_second_vary_as_much_as_their_mean() -> None:
    seconds = np.array(first_of(poisson_gaps(100.0, 3), 100_000)) // SECOND
    counts = np.bincount(seconds)[:-1]
    assert counts.mean() == pytest.approx(100, rel=0.02)
    assert counts.var() == pytest.approx(100, rel=0.15)


def test_gamma_of_shape_1_is_poisson_and_a_large_one_nearly_constant() -> None:
    assert first_of(gamma_gaps(50.0, 1.0, 5), 1000) == first_of(poisson_gaps(50.0, 5), 1000)
    gaps = np.diff(first_of(gamma_gaps(50.0, 10_000.0, 5), 1000)) / 1e6
    assert gaps.min() > 18
    assert gaps.max() < 22


@kinds
@settings(deadline=None, max_examples=30)
@given(
    rate=st.floats(0.001, 1e6),
    seed=st.integers(0, 2**64),
    size=st.integers(1, 700),
    arrivals=st.lists(st.integers(0, 2000), min_size=1, max_size=8),
)
def test_a_seed_is_one_schedule_whatever_the_block_size_and_the_order_of_asking(
    kind: str, rate: float, seed: int, size: int, arrivals: list[int]
) -> None:
    make = MAKERS[kind]
    whole, pieces = first_of(make(rate, seed), 2010), make(rate, seed, size)
    assert [pieces.due(arrival) for arrival in arrivals] == [whole[arrival] for arrival in arrivals]
    block = pieces.due_block(arrivals[0], 5)
    assert block == whole[arrivals[0] : arrivals[0] + len(block)]
    assert all(due <= later for due, later in pairwise(whole))


@kinds
def test_another_seed_is_another_schedule(kind: str) -> None:
    assert first_of(MAKERS[kind](10.0, 1), 5) != first_of(MAKERS[kind](10.0, 2), 5)


@kinds
def test_a_rate_stretches_the_schedule(kind: str) -> None:
    slow, quick = (np.array(first_of(MAKERS[kind](rate, 1), 1000)) for rate in (1.0, 1000.0))
    assert np.abs(slow - quick * 1000).max() <= 1000 * 1000


@kinds
def test_a_schedule_of_centuries_stays_in_order(kind: str) -> None:
    dues = first_of(MAKERS[kind](1e-300, 1), 5000)
    assert dues == sorted(dues)
    assert dues[-1] == FOREVER


def test_only_one_block_is_kept() -> None:
    pacer = poisson_gaps(10.0, 1, size=8)
    assert pacer.due(100_000) is not None
    assert len(pacer.due_block(100_000, 10**6)) == 8
