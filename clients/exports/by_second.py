"""A report's seconds as CSV."""

import csv
import io
from dataclasses import asdict, fields

from yais.clients.stats.outcomes import Counts
from yais.clients.stats.report import Interval, Report

COLUMNS = ("second", *(field.name for field in fields(Counts)), "in_flight", "p50_ms", "p99_ms", "max_ms")


def by_second(report: Report) -> str:
    """One line a second, after a line of names; latencies are empty where nothing completed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_row(second) for second in report.intervals)
    return text.getvalue()


def _row(interval: Interval) -> list[object]:
    latencies = [interval.latency.ms.get(name, "") for name in ("p50", "p99", "max")]
    return [interval.second, *asdict(interval.counts).values(), interval.in_flight, *latencies]
