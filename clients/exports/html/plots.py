"""The plots of a page: what happened by second, and how the durations are distributed."""

from collections.abc import Callable, Sequence

import numpy as np

from yais.clients.exports.html.lines import Plot, Quantity, Values, lines_of
from yais.clients.exports.html.runs import Run
from yais.clients.stats.outcomes import Counts
from yais.clients.stats.report import Distribution, Interval, Report

# Points each time the rest up to 100 % halves: more than there are pixels for.
_POINTS = 48

_BLUE, _GREEN, _ORANGE, _RED, _GREY = "#0072b2", "#009e73", "#e08a00", "#d0342c", "#7a7a7a"


def plots(runs: Sequence[Run]) -> tuple[Plot, ...]:
    return _throughput(runs), _latency(runs), _spectrum(runs), _lag(runs), _in_flight(runs)


def _throughput(runs: Sequence[Run]) -> Plot:
    quantities = (
        Quantity("asked", _asked, _GREY, "dashed", "dashed", leading=False),
        Quantity("sent", _count(lambda counts: counts.sent), _BLUE, "dotted", "dotted", leading=False),
        Quantity("answered", _count(lambda counts: counts.completed), _GREEN),
        Quantity("errors", _count(_errors), _RED, among="dotdash"),
        Quantity("held back", _held_back, _ORANGE, among="dashed"),
    )
    text = (
        "Requests a second: asked for in the second in which they were due, sent and answered in that of the send and "
        "of the answer. Errors are rejected, timed out, cancelled, wrong and failed. A last second that is less than "
        "half of one is left out."
    )
    return _by_second("throughput", "Throughput", text, "requests a second", runs, quantities)


def _latency(runs: Sequence[Run]) -> Plot:
    quantities = (
        Quantity("p50", _percentile("p50"), _BLUE, among="dashed"),
        Quantity("p90", _percentile("p90"), _GREEN, among="dotted", leading=False),
        Quantity("p99", _percentile("p99"), _ORANGE),
        Quantity("max", _percentile("max"), _RED, among="dotdash", leading=False),
    )
    text = "Of what was answered in each second, from the due time to the answer; in a closed loop from the send."
    return _by_second("latency", "Latency over time", text, "milliseconds", runs, quantities, logarithmic=True)


def _in_flight(runs: Sequence[Run]) -> Plot:
    quantities = (Quantity("in flight", _in_flight_of, _BLUE),)
    text = "Requests without an answer at the end of each second. What grows steadily is a server that falls behind."
    return _by_second("in-flight", "In flight", text, "requests", runs, quantities)


def _by_second(
    name: str,
    title: str,
    text: str,
    y_label: str,
    runs: Sequence[Run],
    quantities: Sequence[Quantity],
    *,
    logarithmic: bool = False,
) -> Plot:
    length = max(len(run.report.intervals) for run in runs)
    lines = lines_of(runs, quantities, length)
    return Plot(name, title, text, "second", np.arange(length, dtype=float), y_label, lines, logarithmic)


def _spectrum(runs: Sequence[Run]) -> Plot:
    x = rests(max(run.report.latency.count for run in runs))
    quantities = (
        Quantity("latency", lambda report: values_at(report.latency, x), _BLUE),
        Quantity("service", lambda report: values_at(report.service, x), _GREEN, "dashed", "dashed", leading=False),
    )
    text = (
        "How long the given share of the answers took at most: latency from the due time, service time from the send. "
        "With each equal step to the right the rest becomes a tenth; the line ends at the slowest answer."
    )
    lines = lines_of(runs, quantities, x.size)
    return Plot("spectrum", "Latency by percentile", text, "percentile", x, "milliseconds", lines, logarithmic=True)


def _lag(runs: Sequence[Run]) -> Plot:
    x = rests(max(run.report.lag.count for run in runs))
    quantities = (
        Quantity("send lag", lambda report: _open_lag(report, x), _BLUE),
        Quantity("bound", lambda report: _bound(report, x), _GREY, "dashed", "dashed", leading=False),
    )
    text = (
        "How long after they were due requests were sent, which is siege's own delay, drawn from 1 µs up. Where the "
        "line is above the bound (--max-lag) at 99 %, the run is INVALID by the generator's limit."
    )
    lines = lines_of(runs, quantities, x.size)
    return Plot("lag", "Send lag by percentile", text, "percentile", x, "milliseconds", lines, logarithmic=True)


def rests(count: int) -> Values:
    """1 / (1 - q), evenly on a logarithmic scale, from q = 0 to past where q means the last of `count` durations."""
    if not count:
        return np.zeros(0)
    return 2.0 ** (np.arange(np.ceil(_POINTS * np.log2(4 * count)) + 1) / _POINTS)


def values_at(distribution: Distribution, x: Values) -> Values:
    """The durations at `x`, which is 1 / (1 - q), in milliseconds; NaN after the longest."""
    own = rests(distribution.count)
    percentiles = 100 * (1 - 1 / own)
    values = np.full(x.size, np.nan)
    values[: own.size] = distribution.opened().values_at(percentiles.tolist()) / 1e6
    return values


def _open_lag(report: Report, x: Values) -> Values:
    return _none(x) if report.facts.loop == "closed" else values_at(report.lag, x)


def _bound(report: Report, x: Values) -> Values:
    return _none(x) if report.facts.loop == "closed" else np.full(x.size, report.facts.max_lag, float)


def _asked(report: Report) -> Values:
    values = _count(lambda counts: counts.offered)(report)
    return _none(values) if report.facts.loop == "closed" else values


def _held_back(report: Report) -> Values:
    """None where nothing was, which is as it should be and needs no line."""
    values = _count(lambda counts: counts.held_back)(report)
    return values if values.any() else _none(values)


def _count(of: Callable[[Counts], int]) -> Callable[[Report], Values]:
    return lambda report: np.array([of(second.counts) for second in _rated(report)], float)


def _rated(report: Report) -> Sequence[Interval]:
    """The seconds of which a count is a rate."""
    seconds = report.intervals
    return seconds[:-1] if len(seconds) > 1 and report.elapsed < len(seconds) - 0.5 else seconds


def _errors(counts: Counts) -> int:
    # Within a second sent - completed are not the errors: what is sent ends later.
    return counts.rejected + counts.timed_out + counts.cancelled + counts.wrong + counts.failed


def _percentile(name: str) -> Callable[[Report], Values]:
    return lambda report: np.array([second.latency.ms.get(name, np.nan) for second in report.intervals], float)


def _in_flight_of(report: Report) -> Values:
    return np.array([second.in_flight for second in report.intervals], float)


def _none(values: Values) -> Values:
    return np.full(values.size, np.nan)
