"""The results of a folder as pictures, one beside each JSON file; matplotlib draws them, where it is installed."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from bench.gpu import curves as gpu
from bench.service import curves
from bench.siege import curves as siege

Row = dict[str, Any]

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
# Benchmark -> what draws the rows of a case on an axis.
CASES: dict[str, Callable[[Any, list[Row]], None]] = {
    "service-overload": curves.overload,
    "gpu-sweep": gpu.sweep,
    "gpu-knee": gpu.knee,
    "siege-steps": siege.steps,
    "siege-hour": siege.memory,
    "siege-memory": siege.memory,
}

_COLOURS = {
    "native": "#1f77b4",
    "native, raw": "#0b3c5d",
    "native, bytes": "#6baed6",
    "YAIS": "#1f77b4",
    "YAIS, grpcio": "#6baed6",
    "grpc.aio": "#e58606",
    "siege": "#1f77b4",
    "siege, grpcio": "#6baed6",
    "Triton, C++ backend": "#2f6b2f",
    "Triton, Python backend": "#7fbf6f",
}
_OTHERS = "#9aa0a6"
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
    import matplotlib as mpl
    from matplotlib.figure import Figure

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
    return [abs(figure[end] - figure["median"]) for figure in figures]


def _colour(name: str) -> str:
    return _COLOURS.get(name, _OTHERS)
