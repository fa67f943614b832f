"""HdrHistogram's log of interval histograms, of version 1.3, which its readers and plotters take."""

from datetime import datetime

from yais.clients.stats.report import Interval, Report

_HEADER = "#[Histogram log format version 1.3]"
_LEGEND = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def histogram_log(report: Report) -> str:
    """The latencies of each second in which something completed; values in nanoseconds, maxima in milliseconds."""
    lines = [_HEADER]
    if report.facts.started:
        started = datetime.fromisoformat(report.facts.started)
        lines.append(f"#[StartTime: {started.timestamp():.3f} (seconds since epoch), {started.isoformat()}]")
    lines.append(_LEGEND)
    return "\n".join(lines + [_line(second) for second in report.intervals if second.latency.count]) + "\n"


def _line(interval: Interval) -> str:
    return f"{interval.second:.3f},1.000,{interval.latency.ms['max']:.3f},{interval.latency.histogram}"
