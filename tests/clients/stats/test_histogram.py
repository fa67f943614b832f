import base64
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from yais.clients.stats.histogram import HALF_OCTAVE, QUANTILES, Histogram, decode_histogram, encode_histogram

DAY = 86_400 * 10**9

# As many of each magnitude: those of one octave have slots of their own width.
durations = st.integers(0, 46).flatmap(lambda bits: st.integers(0, min(2**bits, DAY)))
samples = st.lists(durations, max_size=60)

# HdrHistogram's Python code walks through all its slots.
slow = settings(deadline=None, max_examples=25)


def counted(values: list[int]) -> Histogram:
    histogram = Histogram()
    histogram.add(np.array(values, np.int64))
    return histogram


def reference(values: list[int]) -> HdrHistogram:
    histogram = HdrHistogram(1, DAY, 3)
    for value in values:
        assert histogram.record_value(value)
    return histogram


@slow
@given(samples)
def test_percentiles_agree_with_hdrhistogram_to_the_last_digit(values: list[int]) -> None:
    expected = reference(values).get_percentile_to_value_dict(list(QUANTILES.values()))
    assert counted(values).values_at(list(QUANTILES.values())).tolist() == [
        expected[percentile] if values else 0 for percentile in QUANTILES.values()
    ]


@pytest.mark.parametrize("magnitude", [5, 12, 18])
def test_mean_and_deviation_agree_with_hdrhistogram(magnitude: int) -> None:
    values = np.random.default_rng(magnitude).lognormal(magnitude, 0.5, 50).astype(int).tolist()
    histogram, expected = counted(values), reference(values)
    assert histogram.mean() == pytest.approx(expected.get_mean_value(), rel=1e-12)
    assert histogram.deviation() == pytest.approx(expected.get_stddev(), rel=1e-9)


@given(samples, st.floats(0, 100))
def test_a_percentile_is_within_a_thousandth_of_a_duration_that_was_measured(
    values: list[int], percentile: float
) -> None:
    if values:
        rank = max(int(percentile * len(values) / 100 + 0.5), 1)
        exact = sorted(values)[rank - 1]
        assert exact <= counted(values).value_at(percentile) <= exact * 1.001


def test_percentiles_are_in_milliseconds_and_absent_without_data() -> None:
    assert Histogram().percentiles() == {}
    assert counted([1_000_000] * 3).percentiles() == dict.fromkeys(QUANTILES, 1_000_447 / 1e6)


@given(samples, samples)
def test_what_two_have_counted_is_what_one_would_have(one: list[int], other: list[int]) -> None:
    both = counted(one)
    both.merge(counted(other))
    assert both == counted(one + other)
    assert both.total == len(one) + len(other)
    assert both.minus(counted(one)) == counted(other)


def test_a_copy_is_left_alone_by_what_is_added_later() -> None:
    histogram = counted([1])
    before = histogram.copy()
    histogram.add(np.array([1, 2]))
    assert (before.total, histogram.total) == (1, 3)


def test_it_grows_by_octaves_and_only_as_far_as_needed() -> None:
    histogram = counted([2047])
    assert (histogram.octaves, histogram.counts.size) == (1, 2 * HALF_OCTAVE)
    histogram.add(np.array([2048]))
    assert (histogram.octaves, histogram.counts.size) == (2, 3 * HALF_OCTAVE)
    histogram.add(np.array([2**62]))
    assert histogram.value_at(100) >= 2**62


@given(samples, durations)
def test_above_counts_what_is_longer(values: list[int], bound: int) -> None:
    histogram = counted(values)
    same = counted([bound]).value_at(100)
    assert histogram.above(bound) == sum(value > same for value in values)


@given(samples)
def test_steps_are_the_values_that_occurred(values: list[int]) -> None:
    steps, counts = counted(values).steps()
    rounded = [counted([value]).value_at(100) for value in values]
    assert dict(zip(steps.tolist(), counts.tolist(), strict=True)) == {value: rounded.count(value) for value in rounded}


def test_a_negative_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="a duration of -3 ns: it cannot be below 0"):
        counted([5, -3])


@slow
@given(samples)
def test_hdrhistogram_reads_the_text_form(values: list[int]) -> None:
    read = HdrHistogram.decode(encode_histogram(counted(values)))
    assert read.get_total_count() == len(values)
    expected = reference(values)
    for percentile in QUANTILES.values():
        assert read.get_value_at_percentile(percentile) == expected.get_value_at_percentile(percentile)


@slow
@given(samples)
def test_the_text_form_of_hdrhistogram_is_read(values: list[int]) -> None:
    assert decode_histogram(reference(values).encode().decode()) == counted(values)


@given(samples)
def test_the_text_form_loses_nothing(values: list[int]) -> None:
    histogram = counted(values)
    text = encode_histogram(histogram)
    assert decode_histogram(text) == histogram
    assert encode_histogram(decode_histogram(text)) == text


@pytest.mark.parametrize("count", [1, 63, 64, 127, 128, 8191, 8192, 2**20, 2**35, 2**60])
def test_counts_of_every_length_survive(count: int) -> None:
    counts = np.zeros(5000, np.int64)
    counts[[0, 1, 4000]] = count
    assert decode_histogram(encode_histogram(Histogram(counts))) == Histogram(counts)


def with_body(body: bytes) -> str:
    """A text whose counts are `body`."""
    payload = zlib.compress(struct.pack(">IIIIQQd", 0x1C849313, len(body), 0, 3, 1, DAY, 1.0) + body)
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(payload)) + payload).decode()


TEXT = encode_histogram(Histogram(np.array([1, 0, 300])))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no HdrHistogram in its compressed form"),
        ("not base64!", "no HdrHistogram in its compressed form"),
        (TEXT[:24], "no HdrHistogram in its compressed form"),
        (TEXT + "!", "no HdrHistogram in its compressed form"),
        (with_body(b"\x02\x80"), "an HdrHistogram that breaks off"),
        (with_body(b"\x80" * 9 + b"\x01"), "an HdrHistogram with a count of more than 9 bytes"),
        (with_body(b"\xff\xff\xff\x7f\x02"), "an HdrHistogram of 134217729 slots; there are 55296 at most"),
        ("AAAA" + TEXT[4:], "no HdrHistogram of version 2"),
        (
            HdrHistogram(1, DAY, 2).encode().decode(),
            "an HdrHistogram of 2 digits from 1 on; here they have 3 from 1 on",
        ),
        (HdrHistogram(1000, DAY, 3).encode().decode(), "an HdrHistogram of 3 digits from 1000 on"),
    ],
    ids=[
        "empty",
        "not base64",
        "cut off",
        "more behind it",
        "half a count",
        "a long count",
        "too many slots",
        "another cookie",
        "two digits",
        "another unit",
    ],
)
def test_what_is_no_such_histogram_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_histogram(text)
