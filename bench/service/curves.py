"""How `service-overload` looks: goodput and p99 against what was offered."""

from math import floor, log10
from typing import Any

Row = dict[str, Any]

_GOODPUT, _P99, _HINT = "#1f77b4", "#e58606", "#9aa0a6"


def overload(axis: Any, rows: list[Row]) -> None:
    """Goodput on the left and, on a second axis, p99 of what was accepted; steps that do not count are hollow."""
    rates = [row["rate"] for row in rows]
    sustainable = rows[0]["rate"] / rows[0]["factor"]
    axis.plot([0, max(rates)], [0, max(rates)], color=_HINT, linestyle=":", linewidth=1)
    axis.axvline(sustainable, color=_HINT, linewidth=1)
    goodputs = [row["goodput"]["median"] for row in rows]
    _curve(axis, rows, rates, goodputs, _GOODPUT, "answers a second")
    axis.set_xlim(0, max(rates) * 1.03)
    axis.set_ylim(0, max(goodputs) * 1.25)
    axis.set_xlabel("requests a second; the line is what a closed loop reaches")
    axis.locator_params(axis="x", nbins=5)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    late = axis.twinx()
    late.spines["right"].set_visible(True)
    late.set_yscale("log")
    late.yaxis.set_major_formatter("{x:,g}")
    known = [row for row in rows if row["p99_ms"]]
    p99s = [row["p99_ms"]["median"] for row in known]
    late.set_ylim(10 ** floor(log10(min(p99s))), 10 ** (floor(log10(max(p99s))) + 1))
    _curve(late, known, [row["rate"] for row in known], p99s, _P99, "p99 of what was accepted, ms")


def _curve(axis: Any, rows: list[Row], rates: list[float], figures: list[float], colour: str, label: str) -> None:
    fills = [colour if row["counts"] else "white" for row in rows]
    axis.plot(rates, figures, color=colour)
    axis.scatter(rates, figures, color=fills, edgecolors=colour, zorder=3, s=25)
    axis.set_ylabel(label, color=colour)
