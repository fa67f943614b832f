"""How the results of a GPU look."""

from typing import Any

Row = dict[str, Any]

_RATIO, _POWER, _P99 = "#1f77b4", "#e58606", "#2f6b2f"


def sweep(axis: Any, rows: list[Row]) -> None:
    """Pictures a second by the size of batch, a line for each way to run the engine."""
    ways: dict[str, list[Row]] = {}
    for row in rows:
        ways.setdefault(_way(row), []).append(row)
    for way, points in ways.items():
        style = "-" if points[0]["graphs"] and points[0]["page_locked"] else "--"
        rates = [row["rate"]["median"] for row in points]
        axis.plot([row["batch"] for row in points], rates, style, marker="o", markersize=3, label=way)
    batches = sorted({row["batch"] for row in rows})
    axis.set_xscale("log")
    axis.set_xticks(batches, labels=[str(batch) for batch in batches])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("batch")
    axis.set_ylabel("pictures a second")
    axis.legend(frameon=False, fontsize=7)


def knee(axis: Any, rows: list[Row]) -> None:
    """The load ratio and p99 through the service time on the left, and power on a second axis, where it is known."""
    _curve(axis, rows, "load_ratio", _RATIO, "load ratio")
    rates = [row["rate"] for row in rows if row["of_service"]]
    axis.plot(rates, [row["of_service"] for row in rows if row["of_service"]], color=_P99, label="p99 / service time")
    axis.axvline(rows[0]["rate"] / rows[0]["factor"], color="#9aa0a6", linewidth=1)
    axis.set_yscale("log")
    axis.set_xlabel("pictures a second; the line is what closed loops reach")
    axis.legend(frameon=False, loc="upper left")
    if any(row["power"] for row in rows):
        power = axis.twinx()
        power.spines["right"].set_visible(True)
        _curve(power, rows, "power", _POWER, "power")
        power.set_ylim(bottom=0)
        power.set_ylabel("power, W", color=_POWER)


def _curve(axis: Any, rows: list[Row], key: str, colour: str, label: str) -> None:
    known = [row for row in rows if row[key]]
    medians = [row[key]["median"] for row in known]
    axis.plot([row["rate"] for row in known], medians, marker="o", markersize=3, color=colour, label=label)


def _way(row: Row) -> str:
    kinds = [f"{row['contexts']} contexts", *(["no graphs"] if not row["graphs"] else [])]
    return ", ".join([*kinds, *(["pageable"] if not row["page_locked"] else [])])
