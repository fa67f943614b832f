import math
from bisect import bisect_left
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yais.clients.stats.statistics import (
    at_least,
    at_most,
    design_effect,
    quantile_ranks,
    share_interval,
    shows_fewer,
    shows_more,
)

shares = st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000)


def exactly_at_most(count: int, total: int, share: Fraction) -> Fraction:
    return sum(
        (math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(max(count + 1, 0))), Fraction(0)
    )


@given(st.integers(-1, 60), st.integers(0, 60), shares)
def test_chances_are_those_of_exact_arithmetic(count: int, total: int, share: Fraction) -> None:
    below, above = exactly_at_most(count, total, share), 1 - exactly_at_most(count - 1, total, share)
    assert at_most(count, total, float(share)) == pytest.approx(float(below), rel=1e-9, abs=1e-15)
    assert at_least(count, total, float(share)) == pytest.approx(float(above), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("count", "total", "share", "chance"),
    [(0, 0, 0.5, 1.0), (0, 5, 0.0, 1.0), (4, 5, 1.0, 0.0), (5, 5, 1.0, 1.0), (-1, 5, 0.0, 0.0), (-1, 0, 0.5, 0.0)],
)
def test_chances_at_the_ends_are_certain(count: int, total: int, share: float, chance: float) -> None:
    assert at_most(count, total, share) == chance


@pytest.mark.parametrize("deviations", [-4, -1, 0, 1, 4])
def test_an_hour_of_requests_has_the_chances_of_a_normal_distribution(deviations: int) -> None:
    total, share = 36_000_000, 0.01
    count = round(total * share + deviations * math.sqrt(total * share * (1 - share)))
    expected = math.erfc(-(count + 0.5 - total * share) / math.sqrt(2 * total * share * (1 - share))) / 2
    assert at_most(count, total, share) == pytest.approx(expected, rel=0.02)
    assert at_most(count, total, share) + at_least(count + 1, total, share) == pytest.approx(1.0, rel=1e-6)


def requests_needed(over: int, allowed: float, risk: float) -> int:
    """The fewest requests, `over` of them over, that show fewer than `allowed`; LoadGen's h + t for `over` = t."""
    most = over + 1
    while not shows_fewer(over, most, allowed, risk):
        most *= 2
    return bisect_left(range(most), True, lo=over, key=lambda total: shows_fewer(over, total, allowed, risk))


# h + t for t = 0, 1, 5, 20, 100, 1000 from MinPassingQueriesFinder of mlcommons/inference, loadgen/early_stopping.cc.
@pytest.mark.parametrize(
    ("percentile", "confidence", "in_time"),
    [
        (0.99, 0.99, (459, 661, 1302, 3284, 12471, 106569)),
        (0.99, 0.9, (230, 387, 921, 2681, 11301, 103155)),
        (0.9, 0.99, (44, 63, 122, 305, 1146, 9722)),
    ],
)
def test_as_many_requests_are_needed_as_by_loadgen(
    percentile: float, confidence: float, in_time: tuple[int, ...]
) -> None:
    needed = [requests_needed(over, 1 - percentile, 1 - confidence) for over in (0, 1, 5, 20, 100, 1000)]
    assert needed == [h + t for h, t in zip(in_time, (0, 1, 5, 20, 100, 1000), strict=True)]


@pytest.mark.parametrize("over", [0, 1, 2, 7])
@pytest.mark.parametrize("allowed", [Fraction(1, 10), Fraction(1, 50)])
@pytest.mark.parametrize("risk", [Fraction(1, 10), Fraction(1, 100)])
def test_the_requests_needed_are_the_fewest_that_exact_arithmetic_allows(
    over: int, allowed: Fraction, risk: Fraction
) -> None:
    needed = requests_needed(over, float(allowed), float(risk))
    assert exactly_at_most(over, needed, allowed) < risk <= exactly_at_most(over, needed - 1, allowed)


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.001, 0.5))
def test_requests_never_show_both_too_many_and_few_enough(over: int, total: int, allowed: float) -> None:
    over = min(over, total)
    fewer, more = shows_fewer(over, total, allowed, 0.01), shows_more(over, total, allowed, 0.01)
    assert not (fewer and more)
    assert not fewer or over < allowed * total
    assert not more or over > allowed * total


def test_one_request_over_shows_that_not_none_are() -> None:
    assert shows_more(1, 10**6, 0.0, 1e-9)
    assert not shows_more(0, 10**6, 0.0, 1e-9)
    assert not shows_fewer(0, 10**6, 0.0, 0.5)


@pytest.mark.parametrize("total", [1, 10, 100, 459, 1000])
@pytest.mark.parametrize("quantile", [Fraction(1, 2), Fraction(99, 100)])
@pytest.mark.parametrize("confidence", [Fraction(9, 10), Fraction(99, 100)])
def test_the_ranks_around_a_quantile_are_the_closest_with_half_of_the_risk_on_each_side(
    total: int, quantile: Fraction, confidence: Fraction
) -> None:
    low, high = quantile_ranks(total, float(quantile), float(confidence))
    risk = (1 - confidence) / 2
    assert exactly_at_most(low - 1, total, quantile) <= risk < exactly_at_most(low, total, quantile)
    assert 1 - exactly_at_most(high - 1, total, quantile) <= risk
    assert 1 - exactly_at_most(high - 2, total, quantile) > risk


def test_too_few_values_give_no_bound() -> None:
    assert quantile_ranks(0, 0.5, 0.9) == (0, 1)
    assert quantile_ranks(100, 0.99, 0.95)[1] == 101
    assert quantile_ranks(10, 0.5, 0.95) == (2, 9)


@pytest.mark.parametrize(("count", "total"), [(0, 100), (1, 7), (10, 100), (7, 7), (500, 100_000)])
def test_shares_outside_of_the_interval_would_have_made_the_count_unlikely(count: int, total: int) -> None:
    low, high = share_interval(count, total, 0.95)
    assert low <= count / total <= high
    assert at_least(count, total, low) == pytest.approx(0.025) if count else low == 0
    assert at_most(count, total, high) == pytest.approx(0.025) if count < total else high == 1


def test_without_requests_every_share_is_plausible() -> None:
    assert share_interval(0, 0, 0.95) == (0.0, 1.0)


def test_requests_that_are_over_together_count_as_fewer() -> None:
    random = np.random.default_rng(5)
    alone = (random.random((400, 500)) < 0.02).sum(axis=1)
    together = 10 * (random.random((400, 50)) < 0.02).sum(axis=1)
    assert design_effect(alone.tolist(), [500] * 400) == pytest.approx(1, abs=0.2)
    assert design_effect(together.tolist(), [500] * 400) == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize("overs", [[0, 0, 0], [5, 5, 5], [1, 1, 1]])
def test_burstiness_is_never_below_one(overs: list[int]) -> None:
    assert design_effect(overs, [5, 5, 5]) == 1.0
