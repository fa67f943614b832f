import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from yais.server.metrics.quantiles import ERROR, SUB_WINDOWS, SlidingQuantiles

RANKS = (0.5, 0.9, 0.95, 0.99, 0.999)
HOUR_NS = 3600 * 10**9
# What float arithmetic may add at the edge of a bucket.
SLACK = 1e-9

durations = st.lists(st.integers(100, 3 * HOUR_NS), min_size=1, max_size=200)


def array(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)


def observed(*values: int, slot: int = 0) -> SlidingQuantiles:
    quantiles = SlidingQuantiles()
    quantiles.observe(array(*values), slot)
    return quantiles


def median(quantiles: SlidingQuantiles, slot: int) -> float:
    return quantiles.quantiles([0.5], slot)[0]


@given(durations, st.lists(st.floats(0, 1), min_size=1, max_size=4) | st.just(list(RANKS)))
@settings(deadline=None)
def test_quantiles_are_within_the_error_of_the_true_ones(values: list[int], ranks: list[float]) -> None:
    got = observed(*values).quantiles(ranks, 0)
    ordered = sorted(values)
    for rank, value in zip(ranks, got, strict=True):
        true = ordered[max(1, math.ceil(rank * len(ordered))) - 1]
        assert abs(value - true) <= (ERROR + SLACK) * true


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 3))
@settings(deadline=None, max_examples=25)
def test_quantiles_of_a_latency_distribution_are_those_of_numpy_within_1_percent(seed: int, spread: float) -> None:
    values = np.random.default_rng(seed).lognormal(math.log(3e6), spread, 5000).astype(np.int64).clip(100)
    quantiles = SlidingQuantiles()
    for part in np.array_split(values, 7):
        quantiles.observe(part, 0)
    want = np.quantile(values, RANKS, method="inverted_cdf")
    np.testing.assert_allclose(quantiles.quantiles(RANKS, 0), want, rtol=0.01 + SLACK)


@pytest.mark.parametrize("value", [0, 1, 50, 99, 100])
def test_what_is_too_short_to_tell_apart_counts_as_100_ns(value: int) -> None:
    assert median(observed(value), 0) == pytest.approx(100, rel=ERROR + SLACK)


def test_what_is_longer_than_the_last_bucket_counts_in_it() -> None:
    value = median(observed(10**18), 0)
    assert 3 * HOUR_NS < value < 5 * HOUR_NS


def test_nothing_observed_is_not_a_number() -> None:
    values = SlidingQuantiles().quantiles(RANKS, 12345)
    assert len(values) == len(RANKS)
    assert all(map(math.isnan, values))


@pytest.mark.parametrize("age", range(SUB_WINDOWS))
def test_a_value_counts_for_as_many_sub_windows_as_there_are(age: int) -> None:
    assert median(observed(1000, slot=7), 7 + age) == pytest.approx(1000, rel=0.011)


@pytest.mark.parametrize("age", [*range(SUB_WINDOWS, 3 * SUB_WINDOWS), 1000])
def test_a_value_is_forgotten_after_that(age: int) -> None:
    assert math.isnan(median(observed(1000, slot=7), 7 + age))


def test_values_are_forgotten_a_sub_window_at_a_time() -> None:
    quantiles = SlidingQuantiles()
    for slot in range(10):
        quantiles.observe(array(1000 * 2**slot), slot)
        ranks = [i / SUB_WINDOWS for i in range(1, SUB_WINDOWS + 1)]
        held = range(max(0, slot - SUB_WINDOWS + 1), slot + 1)
        if len(held) == SUB_WINDOWS:
            want = [1000 * 2.0**each for each in held]
            assert quantiles.quantiles(ranks, slot) == pytest.approx(want, rel=ERROR + SLACK)


def test_a_place_in_the_ring_is_emptied_before_it_is_used_again() -> None:
    quantiles = observed(10**9, slot=3)
    quantiles.observe(array(1000), 3 + SUB_WINDOWS)
    assert quantiles.quantiles([0.01, 1.0], 3 + SUB_WINDOWS) == pytest.approx([1000, 1000], rel=ERROR + SLACK)


def test_values_of_an_earlier_sub_window_still_count_until_it_is_over() -> None:
    quantiles = observed(1000, slot=10)
    quantiles.observe(array(8000, 8000), 10 - SUB_WINDOWS + 1)
    assert median(quantiles, 10) == pytest.approx(8000, rel=ERROR + SLACK)
    assert median(quantiles, 11) == pytest.approx(1000, rel=ERROR + SLACK)


@pytest.mark.parametrize("age", [SUB_WINDOWS, SUB_WINDOWS + 3, 100])
def test_values_of_a_sub_window_that_is_over_are_left_out(age: int) -> None:
    quantiles = observed(1000, slot=200)
    quantiles.observe(array(8000, 8000), 200 - age)
    assert median(quantiles, 200) == pytest.approx(1000, rel=ERROR + SLACK)


@given(st.lists(st.tuples(st.integers(-8, 20), durations), max_size=20))
@settings(deadline=None)
def test_the_window_holds_exactly_what_the_last_sub_windows_saw(steps: list[tuple[int, list[int]]]) -> None:
    quantiles = SlidingQuantiles()
    seen: list[tuple[int, int]] = []
    slot = latest = 100
    for step, values in steps:
        slot = max(0, slot + step)
        latest = max(latest, slot)
        if slot > latest - SUB_WINDOWS:
            seen += [(slot, value) for value in values]
        quantiles.observe(array(*values), slot)
    held = sorted(value for each, value in seen if each > latest - SUB_WINDOWS)
    got = quantiles.quantiles([0.0, 0.5, 1.0], latest)
    if not held:
        assert all(map(math.isnan, got))
    else:
        want = [held[0], held[math.ceil(len(held) / 2) - 1], held[-1]]
        assert got == pytest.approx(want, rel=ERROR + SLACK)


def test_no_values_change_nothing() -> None:
    quantiles = observed(1000, slot=5)
    quantiles.observe(array(), 5)
    assert median(quantiles, 5) == pytest.approx(1000, rel=ERROR + SLACK)
