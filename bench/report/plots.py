"""Plots of the results of a folder, one beside each JSON file; matplotlib draws them, where it is installed."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from math import floor, log10
from pathlib import Path
from typing import Any

import click

from bench.report.columns import Row

# Benchmark -> what its figures are.
BARS = {
    "service-cost": "CPU of the server, µs a request",
    "service-latency": "p50, µs",
    "service-start": "seconds to the first answer",
    "gpu-served": "pictures/s",
    "transport-unary": "CPU of the server, µs a call",
    "transport-bodies": "CPU of the server, µs a call",
    "transport-latency": "p50, µs",
    "transport-clients": "CPU of the client, µs a call",
    "transport-streaming": "messages a CPU second",
    "transport-idle": "kB a connection",
    "siege-rate": "CPU of the generator, µs a request",
}
# Benchmark -> what there is an axis of for each series: the key of a row, and what it says.
LINES = {
    "service-concurrency": {"figure": "CPU of the server, µs a request", "rate": "requests/s"},
    "service-scaling": {"figure": "CPU of the server, µs a request"},
    "transport-scaling": {"figure": "CPU of the server, µs a call"},
}
_BLUE, _ORANGE, _GREEN, _GREY = "#1f77b4", "#e58606", "#2f6b2f", "#9aa0a6"
_COLOURS = {
    "native": _BLUE,
    "native, raw": "#0b3c5d",
    "native, bytes": "#6baed6",
    "YAIS": _BLUE,
    "YAIS, grpcio": "#6baed6",
    "grpc.aio": _ORANGE,
    "siege": _BLUE,
    "siege, grpcio": "#6baed6",
    "Triton, C++ backend": _GREEN,
    "Triton, Python backend": "#7fbf6f",
}
_COLUMNS = 2


def draw(folder: Path) -> None:
    """Draws whatever there are results of; the same results make the same files."""
    paths = [path for name in (*BARS, *LINES, *CASES) if (path := folder / f"{name}.json").exists()]
    if paths and not find_spec("matplotlib"):
        click.echo("  without plots: matplotlib: not installed (pip install 'yais[bench]')", err=True)
        return
    for path in paths:
        figure = _figure(path.stem, json.loads(path.read_text())["rows"])
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def _figure(name: str, rows: list[Row]) -> Any:
    if name in BARS:
        return _bars(rows, BARS[name])
    return _lines(rows, LINES[name]) if name in LINES else _cases(rows, CASES[name])


def _bars(rows: list[Row], label: str) -> Any:
    """An axis for each case, on which each contestant has a bar, and a whisker from its least to its most."""
    cases = list(dict.fromkeys(row["case"] for row in rows))
    bars = max(sum(row["case"] == case for row in rows) for case in cases)
    figure, axes = _axes(len(cases), height=0.9 + 0.3 * bars)
    for axis, case in zip(axes, cases, strict=False):
        # matplotlib draws the first bar at the bottom.
        mine = [row for row in rows if row["case"] == case][::-1]
        figures = [row["figure"] for row in mine]
        medians = [figure["median"] for figure in figures]
        whiskers = [_distances(figures, "least"), _distances(figures, "most")]
        drawn = axis.barh(
            [row["name"] for row in mine], medians, xerr=whiskers, color=[_colour(row["name"]) for row in mine]
        )
        axis.bar_label(drawn, [f" {median:,.{0 if median >= 100 else 1}f}" for median in medians])
        axis.margins(x=0.2)
        axis.locator_params(axis="x", nbins=4)
        axis.set_title(case, loc="left", fontsize=10)
        axis.set_xlabel(label)
    return figure


def _lines(rows: list[Row], labels: dict[str, str]) -> Any:
    """Axes for each series, whose cases end with a count: one of each key of `labels`."""
    by_series: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        by_series.setdefault(row["case"].partition(": ")[0], {}).setdefault(row["name"], []).append(row)
    figure, axes = _axes(len(by_series) * len(labels), height=3.5)
    drawn = ((series, key) for series in by_series for key in labels)
    for axis, (series, key) in zip(axes, drawn, strict=False):
        for name, points in by_series[series].items():
            counts = [int(row["case"].partition(": ")[2].replace(",", "")) for row in points]
            medians = [row[key]["median"] for row in points]
            axis.plot(counts, medians, marker="o", color=_colour(name), label=name)
        axis.set_xscale("log")
        axis.set_xticks(counts, labels=[f"{count:,}" for count in counts])
        axis.minorticks_off()
        axis.set_ylim(bottom=0)
        axis.set_xlabel(series)
        axis.set_ylabel(labels[key])
        axis.legend(frameon=False)
    return figure


def _cases(rows: list[Row], draw_case: Callable[[Any, list[Row]], None]) -> Any:
    """An axis for each contestant in each case."""
    by_case: dict[str, list[Row]] = {}
    for row in rows:
        by_case.setdefault(f"{row['name']}: {row['case']}", []).append(row)
    figure, axes = _axes(len(by_case), height=3.5)
    for axis, (title, mine) in zip(axes, by_case.items(), strict=True):
        draw_case(axis, mine)
        axis.set_title(title, loc="left", fontsize=10)
    return figure


def _axes(count: int, height: float) -> tuple[Any, list[Any]]:
    """As many axes as are wanted, in rows of a page's width."""
    # Without pyplot, which would look for a display and keep every figure.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Ids in an SVG are random without a salt, so that the same results would make another file each time.
    mpl.rcParams.update({"svg.hashsalt": "yais", "svg.fonttype": "none", "font.size": 9})
    mpl.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    columns = min(_COLUMNS, count)
    lines = -(-count // columns)
    figure = Figure(figsize=(9, height * lines), layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def _distances(figures: list[Row], end: str) -> list[float]:
    # Error bars are given as distances from the bar's end.
    return [abs(figure[end] - figure["median"]) for figure in figures]


def _colour(name: str) -> str:
    return _COLOURS.get(name, _GREY)


def draw_overload(axis: Any, rows: list[Row]) -> None:
    """Goodput on the left and, on a second axis, p99 of what was accepted; steps that do not count are hollow."""
    rates = [row["rate"] for row in rows]
    sustainable = rows[0]["rate"] / rows[0]["factor"]
    # On the diagonal every request that is offered is answered.
    axis.plot([0, max(rates)], [0, max(rates)], color=_GREY, linestyle=":", linewidth=1)
    axis.axvline(sustainable, color=_GREY, linewidth=1)
    goodputs = [row["goodput"]["median"] for row in rows]
    _judged_curve(axis, rows, rates, goodputs, _BLUE, "answers a second")
    axis.set_xlim(0, max(rates) * 1.03)
    axis.set_ylim(0, max(goodputs) * 1.25)
    axis.set_xlabel("requests a second; the line is what a closed loop reaches")
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    late = axis.twinx()
    # The rcParams hide the spine on which this axis has its ticks.
    late.spines["right"].set_visible(True)
    late.set_yscale("log")
    late.yaxis.set_major_formatter("{x:,g}")
    known = [row for row in rows if row["p99_ms"]]
    p99s = [row["p99_ms"]["median"] for row in known]
    # Whole decades.
    late.set_ylim(10 ** floor(log10(min(p99s))), 10 ** (floor(log10(max(p99s))) + 1))
    _judged_curve(late, known, [row["rate"] for row in known], p99s, _ORANGE, "p99 of what was accepted, ms")


def _judged_curve(
    axis: Any, rows: list[Row], rates: list[float], figures: list[float], colour: str, label: str
) -> None:
    fills = [colour if row["counts"] else "white" for row in rows]
    axis.plot(rates, figures, color=colour)
    axis.scatter(rates, figures, color=fills, edgecolors=colour, zorder=3, s=25)
    axis.set_ylabel(label, color=colour)


def draw_sweep(axis: Any, rows: list[Row]) -> None:
    """Pictures a second by the size of batch, a line for each setup of the engine."""
    setups: dict[str, list[Row]] = {}
    for row in rows:
        setups.setdefault(_setup(row), []).append(row)
    for setup, points in setups.items():
        style = "-" if points[0]["graphs"] and points[0]["page_locked"] else "--"
        rates = [row["rate"]["median"] for row in points]
        axis.plot([row["batch"] for row in points], rates, style, marker="o", markersize=3, label=setup)
    batches = sorted({row["batch"] for row in rows})
    axis.set_xscale("log")
    axis.set_xticks(batches, labels=[str(batch) for batch in batches])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("batch")
    axis.set_ylabel("pictures a second")
    axis.legend(frameon=False, fontsize=7)


def draw_knee(axis: Any, rows: list[Row]) -> None:
    """The load ratio and p99 through the service time on the left, and power on a second axis, where it is known."""
    _median_curve(axis, rows, "load_ratio", _BLUE, "load ratio")
    rates = [row["rate"] for row in rows if row["of_service"]]
    axis.plot(
        rates,
        [row["of_service"] for row in rows if row["of_service"]],
        color=_GREEN,
        label="p99 / service time",
    )
    axis.axvline(rows[0]["rate"] / rows[0]["factor"], color=_GREY, linewidth=1)
    axis.set_yscale("log")
    axis.set_xlabel("pictures a second; the line is what closed loops reach")
    axis.legend(frameon=False, loc="upper left")
    if any(row["power"] for row in rows):
        power = axis.twinx()
        power.spines["right"].set_visible(True)
        _median_curve(power, rows, "power", _ORANGE, "power")
        power.set_ylim(bottom=0)
        power.set_ylabel("power, W", color=_ORANGE)


def _median_curve(axis: Any, rows: list[Row], key: str, colour: str, label: str) -> None:
    known = [row for row in rows if row[key]]
    medians = [row[key]["median"] for row in known]
    axis.plot([row["rate"] for row in known], medians, marker="o", markersize=3, color=colour, label=label)


def _setup(row: Row) -> str:
    kinds = [f"{row['contexts']} contexts", *(["no graphs"] if not row["graphs"] else [])]
    return ", ".join([*kinds, *(["pageable"] if not row["page_locked"] else [])])


def draw_steps(axis: Any, rows: list[Row]) -> None:
    """The lag's p50 and p99 against the rate, and on a second axis how busy the core was; invalid steps are hollow."""
    rates = [row["rate"] for row in rows]
    fills = [_BLUE if row["valid"] * 2 > row["rounds"] else "white" for row in rows]
    for key, style in (("lag_p50", ":"), ("lag_p99", "-")):
        lags = [row[key]["median"] for row in rows]
        axis.plot(rates, lags, color=_BLUE, linestyle=style, label=f"{key[4:]} of the lag")
        axis.scatter(rates, lags, color=fills, edgecolors=_BLUE, zorder=3, s=25)
    # In ms: a run of siege is invalid when more than 1 % of its requests are later than this.
    axis.axhline(1, color=_GREY, linewidth=1)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("requests a second")
    axis.set_ylabel("ms late", color=_BLUE)
    axis.legend(frameon=False)
    busy = axis.twinx()
    busy.spines["right"].set_visible(True)
    busy.plot(rates, [row["busy"]["median"] * 100 for row in rows], color=_ORANGE, marker="o", markersize=4)
    busy.set_ylim(0, 105)
    busy.set_ylabel("its core, % busy", color=_ORANGE)


def draw_memory(axis: Any, rows: list[Row]) -> None:
    """Resident memory against the requests until then."""
    for row in rows:
        # The first sample was taken before there were any requests.
        rounds = len(row["samples"]) - 1
        axis.plot([row["requests"] * turn / rounds / 1e6 for turn in range(rounds + 1)], row["samples"], color=_BLUE)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("million requests")
    axis.set_ylabel("resident, MiB")


# Benchmark -> what draws the rows of a case on an axis.
CASES: dict[str, Callable[[Any, list[Row]], None]] = {
    "service-overload": draw_overload,
    "gpu-sweep": draw_sweep,
    "gpu-knee": draw_knee,
    "siege-steps": draw_steps,
    "siege-hour": draw_memory,
    "siege-memory": draw_memory,
}
