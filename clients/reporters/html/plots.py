"""Plots of a page, before anything is drawn: what happened by second, and how the durations are distributed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from yais.clients.reporters.html import NamedReport
from yais.clients.stats.outcomes import Counts
from yais.clients.stats.report import Distribution, Report

Values = NDArray[np.float64]
Dash = Literal["solid", "dashed", "dotted", "dotdash"]
Axis = Literal["second", "percentile"]

# Okabe and Ito's, which colour-blind readers can distinguish, without the yellow, which is hard to see on white.
_RUN_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#4d4d4d")

# Points each time the rest up to 100 % halves: more than there are pixels for.
_POINTS = 48

_BLUE, _GREEN, _ORANGE, _RED, _GREY = "#0072b2", "#009e73", "#e08a00", "#d0342c", "#7a7a7a"


@dataclass(frozen=True, slots=True)
class PlotLine:
    """Values of a run along a plot's x, NaN where there are none. One that is not `shown` waits in the legend."""

    run: int
    name: str
    values: Values
    colour: str
    dash: Dash
    shown: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """Lines along the same `x`: seconds of the run, or 1 / (1 - q) for the quantiles q."""

    name: str
    title: str
    text: str
    axis: Axis
    x: Values
    y_label: str
    lines: tuple[PlotLine, ...]
    logarithmic: bool = False


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is drawn of every run.

    One run has a colour for each quantity. Of several, each has its colour, and quantities differ by their
    dashes `among` them; only the `leading` ones are shown at first.
    """

    name: str
    of: Callable[[Report], Values]
    colour: str
    dash: Dash = "solid"
    among: Dash = "solid"
    leading: bool = True


def lines_of(runs: Sequence[NamedReport], quantities: Sequence[Quantity], length: int) -> tuple[PlotLine, ...]:
    """A line of each run's quantity, but for those without any value."""
    alone = len(runs) == 1
    lines = []
    for number, run in enumerate(runs):
        for quantity in quantities:
            values = quantity.of(run.report)
            line = PlotLine(
                run=number,
                name=quantity.name if alone else f"{run.name}: {quantity.name}",
                # Runs of different lengths share an x.
                values=np.pad(values, (0, length - values.size), constant_values=np.nan),
                colour=quantity.colour if alone else _RUN_COLOURS[number % len(_RUN_COLOURS)],
                dash=quantity.dash if alone else quantity.among,
                shown=alone or quantity.leading,
            )
            lines.append(line)
    return tuple(line for line in lines if not np.isnan(line.values).all())


def plots(runs: Sequence[NamedReport]) -> tuple[Plot, ...]:
    in_flight = Quantity(
        "in flight", lambda report: np.array([second.in_flight for second in report.intervals], float), _BLUE
    )
    text = "Requests without an answer at the end of each second. What grows steadily is a server that falls behind."
    return (
        _throughput_plot(runs),
        _latency_plot(runs),
        _spectrum_plot(runs),
        _lag_plot(runs),
        _plot_by_second(runs, [in_flight], name="in-flight", title="In flight", text=text, y_label="requests"),
    )


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


def _throughput_plot(runs: Sequence[NamedReport]) -> Plot:
    offered = _count(lambda counts: counts.offered)
    # Within a second sent - completed is not what failed: what is sent ends later.
    failed = _count(lambda c: c.rejected + c.timed_out + c.cancelled + c.errored + c.wrong)
    quantities = (
        Quantity("asked", lambda report: _if_open(report, offered(report)), _GREY, "dashed", "dashed", leading=False),
        Quantity("sent", _count(lambda counts: counts.sent), _BLUE, "dotted", "dotted", leading=False),
        Quantity("answered", _count(lambda counts: counts.completed), _GREEN),
        Quantity("failed", failed, _RED, among="dotdash"),
        Quantity("dropped", _dropped, _ORANGE, among="dashed"),
    )
    text = (
        "Requests a second: asked for in the second in which they were due, sent and answered in that of the send and "
        "of the answer. Failed are rejected, timed out, cancelled, errored and wrong. A last second that is less than "
        "half of one is left out."
    )
    return _plot_by_second(
        runs, quantities, name="throughput", title="Throughput", text=text, y_label="requests a second"
    )


def _latency_plot(runs: Sequence[NamedReport]) -> Plot:
    quantities = (
        Quantity("p50", _percentile("p50"), _BLUE, among="dashed"),
        Quantity("p90", _percentile("p90"), _GREEN, among="dotted", leading=False),
        Quantity("p99", _percentile("p99"), _ORANGE),
        Quantity("max", _percentile("max"), _RED, among="dotdash", leading=False),
    )
    text = "Of what was answered in each second, from the due time to the answer; in a closed loop from the send."
    return _plot_by_second(
        runs,
        quantities,
        name="latency",
        title="Latency over time",
        text=text,
        y_label="milliseconds",
        logarithmic=True,
    )


def _plot_by_second(
    runs: Sequence[NamedReport],
    quantities: Sequence[Quantity],
    *,
    name: str,
    title: str,
    text: str,
    y_label: str,
    logarithmic: bool = False,
) -> Plot:
    length = max(len(run.report.intervals) for run in runs)
    return Plot(
        name=name,
        title=title,
        text=text,
        axis="second",
        x=np.arange(length, dtype=float),
        y_label=y_label,
        lines=lines_of(runs, quantities, length),
        logarithmic=logarithmic,
    )


def _plot_by_percentile(
    x: Values, runs: Sequence[NamedReport], quantities: Sequence[Quantity], *, name: str, title: str, text: str
) -> Plot:
    return Plot(
        name=name,
        title=title,
        text=text,
        axis="percentile",
        x=x,
        y_label="milliseconds",
        lines=lines_of(runs, quantities, x.size),
        logarithmic=True,
    )


def _spectrum_plot(runs: Sequence[NamedReport]) -> Plot:
    x = rests(max(run.report.latency.count for run in runs))
    quantities = (
        Quantity("latency", lambda report: values_at(report.latency, x), _BLUE),
        Quantity("service", lambda report: values_at(report.service, x), _GREEN, "dashed", "dashed", leading=False),
    )
    text = (
        "How long the given share of the answers took at most: latency from the due time, service time from the send. "
        "With each equal step to the right the rest becomes a tenth; the line ends at the slowest answer."
    )
    return _plot_by_percentile(x, runs, quantities, name="spectrum", title="Latency by percentile", text=text)


def _lag_plot(runs: Sequence[NamedReport]) -> Plot:
    x = rests(max(run.report.lag.count for run in runs))
    quantities = (
        Quantity("send lag", lambda report: _if_open(report, values_at(report.lag, x)), _BLUE),
        Quantity(
            "bound",
            lambda report: _if_open(report, np.full(x.size, report.info.max_lag, float)),
            _GREY,
            "dashed",
            "dashed",
            leading=False,
        ),
    )
    text = (
        "How long after they were due requests were sent, which is siege's own delay, drawn from 1 µs up. Where the "
        "line is above the bound (--max-lag) at 99 %, the run is INVALID."
    )
    return _plot_by_percentile(x, runs, quantities, name="lag", title="Send lag by percentile", text=text)


def _dropped(report: Report) -> Values:
    """None where nothing was, which is as it should be and needs no line."""
    values = _count(lambda counts: counts.dropped)(report)
    return values if values.any() else _none(values)


def _if_open(report: Report, values: Values) -> Values:
    """None in a closed loop, where nothing is due."""
    return _none(values) if report.info.loop == "closed" else values


def _count(of: Callable[[Counts], int]) -> Callable[[Report], Values]:
    def count(report: Report) -> Values:
        seconds = report.intervals
        # A last second that is less than half of one has no rate.
        if len(seconds) > 1 and report.elapsed < len(seconds) - 0.5:
            seconds = seconds[:-1]
        return np.array([of(second.counts) for second in seconds], float)

    return count


def _percentile(name: str) -> Callable[[Report], Values]:
    return lambda report: np.array([second.latency.ms.get(name, np.nan) for second in report.intervals], float)


def _none(values: Values) -> Values:
    return np.full(values.size, np.nan)
