"""The percentile spectrum that HdrHistogram's plotters read (.hgrm), as wrk2 prints it."""

from collections.abc import Iterator
from itertools import accumulate
from math import log2

from yais.clients.stats.histogram import HALF_OCTAVE, Histogram

_TICKS = 5
_MS = 1e6


def spectrum(histogram: Histogram) -> str:
    """Values in milliseconds, at percentiles that come closer to 100 in `_TICKS` steps each time the rest halves."""
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>16}", ""]
    for value, percentile, count in _rows(histogram):
        rest = f" {1 / (1 - percentile / 100):16.2f}" if percentile < 100 else ""
        lines.append(f"{value / _MS:12.3f} {percentile / 100:14.12f} {count:10d}{rest}")
    return "\n".join([*lines, *_footer(histogram)]) + "\n"


def _rows(histogram: Histogram) -> Iterator[tuple[int, float, int]]:
    """The first value that reaches each percentile, and how many there are up to it; the last one again for 100 %."""
    values, counts = (column.tolist() for column in histogram.steps())
    level, total = 0.0, histogram.total
    for value, count in zip(values, accumulate(counts), strict=True):
        while 100.0 * count / total >= level:
            yield value, level, count
            if count == total:
                yield value, 100.0, count
                return
            level = _next(level)


def _next(level: float) -> float:
    halvings = int(log2(100 / (100 - level)))
    return level + 50.0 / _TICKS / (1 << halvings)


def _footer(histogram: Histogram) -> list[str]:
    most = histogram.value_at(100)
    return [
        f"#[Mean    = {histogram.mean() / _MS:12.3f}, StdDeviation   = {histogram.deviation() / _MS:12.3f}]",
        f"#[Max     = {most / _MS:12.3f}, Total count    = {histogram.total:12d}]",
        f"#[Buckets = {histogram.octaves:12d}, SubBuckets     = {2 * HALF_OCTAVE:12d}]",
    ]
