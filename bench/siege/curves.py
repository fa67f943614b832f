"""How schedules were kept, and how memory grew."""

from typing import Any

Row = dict[str, Any]

_LAG, _BUSY, _HINT = "#1f77b4", "#e58606", "#9aa0a6"


def steps(axis: Any, rows: list[Row]) -> None:
    """The lag's p50 and p99 against the rate, and on a second axis how busy the core was; invalid steps are hollow."""
    rates = [row["rate"] for row in rows]
    fills = [_LAG if row["valid"] * 2 > row["rounds"] else "white" for row in rows]
    for key, style in (("lag_p50", ":"), ("lag_p99", "-")):
        lags = [row[key]["median"] for row in rows]
        axis.plot(rates, lags, color=_LAG, linestyle=style, label=f"{key[4:]} of the lag")
        axis.scatter(rates, lags, color=fills, edgecolors=_LAG, zorder=3, s=25)
    axis.axhline(1, color=_HINT, linewidth=1)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("requests a second")
    axis.set_ylabel("ms late", color=_LAG)
    axis.legend(frameon=False)
    busy = axis.twinx()
    busy.spines["right"].set_visible(True)
    busy.plot(rates, [row["busy"]["median"] * 100 for row in rows], color=_BUSY, marker="o", markersize=4)
    busy.set_ylim(0, 105)
    busy.set_ylabel("its core, % busy", color=_BUSY)


def memory(axis: Any, rows: list[Row]) -> None:
    """Resident memory against the requests until then."""
    for row in rows:
        rounds = len(row["samples"]) - 1
        axis.plot([row["requests"] * turn / rounds / 1e6 for turn in range(rounds + 1)], row["samples"], color=_LAG)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("million requests")
    axis.set_ylabel("resident, MiB")
