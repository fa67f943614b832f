"""Tables of a report that other tools read: CSV, and HdrHistogram's percentiles and log."""

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime
from itertools import accumulate
from math import log2
from typing import TextIO

import numpy as np

from yais.clients.stats.histogram import HALF_OCTAVE, Histogram
from yais.clients.stats.outcomes import LOWEST_STATUS, STATUS_NAMES, STATUSES, Counts
from yais.clients.stats.recorder import RecordBatch
from yais.clients.stats.report import Report

REQUEST_COLUMNS = ("due_ns", "sent_ns", "done_ns", "status", "kind")

_LINE = "%d,%d,%d,%s,%d\n"

SECOND_COLUMNS = ("second", *(field.name for field in fields(Counts)), "in_flight", "p50_ms", "p99_ms", "max_ms")

# HdrHistogram's default for percentile ticks per half distance.
_TICKS = 5
# Histograms count nanoseconds.
_MS = 1e6

# As HistogramLogWriter of the Java library writes it, so that HistogramLogProcessor reads it.
_LOG_HEADER = "#[Histogram log format version 1.3]"
_LOG_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


class RequestLog:
    """A recorder's sink. Times are nanoseconds since second 0, below 0 for what was due in the warm-up.

    `error` is why the file could not be written any further, which ends the log and not the run.
    """

    def __init__(self, file: TextIO) -> None:
        self.error: OSError | None = None
        self._file = file
        self._names = [STATUS_NAMES[number] for number in range(LOWEST_STATUS, LOWEST_STATUS + STATUSES)]
        file.write(",".join(REQUEST_COLUMNS) + "\n")

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:
            self.error = self.error or error

    def __call__(self, batch: RecordBatch, start: int) -> None:
        if self.error is not None:
            return
        times = np.stack((batch.due, batch.sent, batch.done)) - start
        # One write and one format for a line: rows come by the hundred thousand.
        names = [self._names[status - LOWEST_STATUS] for status in batch.status.tolist()]
        rows = zip(*times.tolist(), names, batch.kind.tolist(), strict=True)
        try:
            self._file.write("".join([_LINE % row for row in rows]))
        except OSError as error:
            self.error = error


def by_second(report: Report) -> str:
    """One line a second, after a line of names; latencies are empty where nothing completed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(SECOND_COLUMNS)
    for interval in report.intervals:
        latencies = [interval.latency.ms.get(name, "") for name in ("p50", "p99", "max")]
        writer.writerow([interval.second, *asdict(interval.counts).values(), interval.in_flight, *latencies])
    return text.getvalue()


def spectrum(histogram: Histogram) -> str:
    """Values in milliseconds, at percentiles that come closer to 100 in `_TICKS` steps each time the rest halves."""
    # The columns of HdrHistogram's outputPercentileDistribution, to the letter: plotters split at them.
    lines = [f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>16}", ""]
    for value, percentile, count in _steps(histogram):
        # At 100 % it is infinite, and HdrHistogram leaves it out.
        rest = f" {1 / (1 - percentile / 100):16.2f}" if percentile < 100 else ""
        lines.append(f"{value / _MS:12.3f} {percentile / 100:14.12f} {count:10d}{rest}")
    lines += [
        f"#[Mean    = {histogram.mean() / _MS:12.3f}, StdDeviation   = {histogram.deviation() / _MS:12.3f}]",
        f"#[Max     = {histogram.value_at(100) / _MS:12.3f}, Total count    = {histogram.total:12d}]",
        f"#[Buckets = {histogram.octaves:12d}, SubBuckets     = {2 * HALF_OCTAVE:12d}]",
    ]
    return "\n".join(lines) + "\n"


def histogram_log(report: Report) -> str:
    """The latencies of each second in which something completed; values in nanoseconds, maxima in milliseconds."""
    lines = [_LOG_HEADER]
    if report.info.started:
        started = datetime.fromisoformat(report.info.started)
        lines.append(f"#[StartTime: {started.timestamp():.3f} (seconds since epoch), {started.isoformat()}]")
    lines.append(_LOG_LEGEND)
    for interval in report.intervals:
        if interval.latency.count:
            latency = interval.latency
            lines.append(f"{interval.second:.3f},1.000,{latency.ms['max']:.3f},{latency.histogram}")
    return "\n".join(lines) + "\n"


def _steps(histogram: Histogram) -> Iterator[tuple[int, float, int]]:
    """The first value that reaches each percentile, and how many there are up to it; the last one again for 100 %."""
    values, counts = (column.tolist() for column in histogram.steps())
    # HdrHistogram's PercentileIterator: ticks of 10 % up to 50 %, of 5 % up to 75 %, and so on.
    level, total = 0.0, histogram.total
    for value, count in zip(values, accumulate(counts), strict=True):
        while 100.0 * count / total >= level:
            yield value, level, count
            if count == total:
                yield value, 100.0, count
                return
            halvings = int(log2(100 / (100 - level)))
            level += 50.0 / _TICKS / (1 << halvings)
