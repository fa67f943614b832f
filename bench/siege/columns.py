"""The tables of what is measured of siege."""

from bench.report.columns import OTHERS, Column, Row, contest, median, plain, spread, verdict

_CASE, _NAME = plain("case", "case"), plain("who", "name")


def _judged(row: Row) -> str:
    """What was asked of a schedule's keeping, and whether it holds."""
    asked = []
    if row["achieved_bound"]:
        asked.append(f"achieved {verdict(row['achieved_bound'], row['achieved']['median'])}")
    if row["lag_bound"]:
        asked.append(f"lag's p99 {verdict(row['lag_bound'], row['lag_p99']['median'], ' ms')}")
    if row["must_be_valid"]:
        asked.append(f"valid: {'yes' if row['valid'] * 2 > row['rounds'] else '**no**'}")
    return ", ".join(asked)


def _valid(row: Row) -> str:
    return "" if row["valid"] is None else f"{row['valid']} of {row['rounds']}"


def _slope(row: Row) -> str:
    return "too short to say" if row["slope"] is None else format(row["slope"], "+.1f")


_SENDING = [
    _CASE,
    _NAME,
    plain("requests/s", "rate", ",.0f"),
    plain("requests", "requests", ","),
    spread("achieved", "achieved", ".3%"),
    spread("lag p50, ms", "lag_p50", ".3f"),
    spread("lag p99, ms", "lag_p99", ".2f"),
    spread("lag max, ms", "lag_max", ".1f"),
    median("core busy", "busy", ".0%"),
    Column("valid", _valid),
    Column("target", _judged),
    OTHERS,
]

_GROWTH = [
    _CASE,
    _NAME,
    plain("requests", "requests", ","),
    plain("at first, MiB", "first", ".1f"),
    plain("after a tenth, MiB", "settled", ".1f"),
    plain("at last, MiB", "last", ".1f"),
    Column("from the tenth on, MiB an hour", _slope),
]

SECTIONS: dict[str, tuple[str, list[Column]]] = {
    "siege-rate": (
        "siege: CPU of a load generator for a request, and what one process of it sends, in a closed loop",
        contest("CPU a request, us", ".1f", "of h2load's", "requests/s"),
    ),
    "siege-steps": ("siege: up to which rate one process keeps a schedule", _SENDING),
    "siege-lag": ("siege: how late requests are sent", _SENDING),
    "siege-recorder": (
        "siege: recording a request, ns of CPU",
        [
            _CASE,
            spread("recorder", "recorder_ns", ",.0f"),
            spread("3 prometheus_client histograms", "histogram_ns", ",.0f"),
            Column("target", lambda row: verdict(row["bound"], row["recorder_ns"]["median"], " ns")),
        ],
    ),
    "siege-hour": ("siege: resident memory of what is recorded, an hour of it as fast as that goes", _GROWTH),
    "siege-memory": ("siege: resident memory while it sends", _GROWTH),
}
