"""The results of a folder as one page of markdown tables."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Column(NamedTuple):
    """A heading, and how a row fills the cell below it."""

    heading: str
    cell: Callable[[Row], str]


def _plain(heading: str, key: str, format_spec: str = "") -> Column:
    return Column(heading, lambda row: format(row[key], format_spec))


def _median(heading: str, key: str, format_spec: str) -> Column:
    return Column(heading, lambda row: format(row[key]["median"], format_spec))


def _spread(heading: str, key: str, format_spec: str) -> Column:
    """The median of all rounds, with the least and the most of them."""

    def cell(row: Row) -> str:
        middle, least, most = (format(row[key][which], format_spec) for which in ("median", "least", "most"))
        return f"{middle} ({least} to {most})"

    return Column(heading, cell)


_OTHERS = Column(
    "other processes, of a core", lambda row: f"{row['others']['median']:.0%}, at most {row['others']['most']:.0%}"
)


def _of_yardstick(row: Row) -> str:
    """The ratio of the medians, with the least and the most of the rounds' own ratios."""
    if row["of_medians"] is None:
        return ""
    return f"{row['of_medians']:.2f} ({row['ratio']['least']:.2f} to {row['ratio']['most']:.2f})"


def _verdicts(row: Row) -> str:
    """What was asked of a contestant, and whether it holds."""
    asked = []
    if row["bound"]:
        figure = row["of_medians"] if "of_medians" in row else row["figure"]["median"]
        asked.append((row["bound"]["kind"], row["bound"]["value"], figure, ""))
    if row.get("least_rate"):
        asked.append(("at least", row["least_rate"], row["rate"]["median"], "/s"))
    return ", ".join(
        f"{kind} {value:,g}{unit}: {'yes' if (figure <= value) == (kind == 'at most') else '**no**'}"
        for kind, value, figure, unit in asked
    )


def _contest(figure: str, format_spec: str, yardstick: str, rate: str = "calls/s") -> list[Column]:
    """The columns of contestants that are compared with a yardstick."""
    return [
        _plain("case", "case"),
        _plain("who", "name"),
        _spread(figure, "figure", format_spec),
        Column(yardstick, _of_yardstick),
        Column("target", _verdicts),
        _median(rate, "rate", ",.0f"),
        _median("core busy", "busy", ".0%"),
        _OTHERS,
    ]


# Benchmark -> the title of its section, and its table.
SECTIONS: dict[str, tuple[str, list[Column]]] = {
    "overhead": (
        "CPU per request, beside a bare grpc.aio echo",
        [
            _plain("case", "case"),
            _spread("bare echo, us", "echo_us", ".0f"),
            _spread("YAIS, us", "yais_us", ".0f"),
            _spread("above the echo, us", "above_us", ".0f"),
            _spread("ratio", "ratio", ".2f"),
            _median("requests/s", "rate", ",.0f"),
            _median("core busy", "busy", ".0%"),
            _OTHERS,
        ],
    ),
    "resnet": (
        "ResNet-50 on the CPU, beside ONNX Runtime alone",
        [
            _plain("case", "case"),
            _spread("bare, images/s", "bare_rate", ".2f"),
            _spread("served, images/s", "served_rate", ".2f"),
            _spread("served, ms", "served_ms", ".1f"),
            _spread("slower by, %", "slower", ".1f"),
            _OTHERS,
        ],
    ),
    "memory": (
        "Resident memory",
        [
            _plain("case", "case"),
            _plain("requests", "requests", ","),
            _plain("at first, MiB", "first", ".1f"),
            _plain("after a tenth, MiB", "settled", ".1f"),
            _plain("at last, MiB", "last", ".1f"),
            _plain("from the tenth on, KiB per 100,000", "slope", "+.0f"),
            Column("statuses", lambda row: ", ".join(f"{name} {count:,}" for name, count in row["statuses"].items())),
        ],
    ),
    "recording": (
        "Recording the metrics of a request, ns of CPU",
        [
            _plain("case", "case"),
            _spread("recorder", "recorder_ns", ",.0f"),
            _spread("5 prometheus_client histograms", "histogram_ns", ",.0f"),
            _spread("5 prometheus_client summaries", "summary_ns", ",.0f"),
        ],
    ),
    "transport-unary": (
        "Transport: CPU of a server for a unary call",
        _contest("CPU a call, us", ".1f", "of C++'s"),
    ),
    "transport-bodies": (
        "Transport: CPU of a server for a large unary call",
        _contest("CPU a call, us", ",.0f", "of C++'s"),
    ),
    "transport-latency": (
        "Transport: median latency of one call at a time",
        _contest("p50, us", ".0f", "of C++'s"),
    ),
    "transport-clients": (
        "Transport: CPU of a client for a unary call to the C++ server",
        _contest("CPU a call, us", ".1f", "of h2load's"),
    ),
    "transport-streaming": (
        "Transport: messages of streams",
        _contest("messages a CPU second", ",.0f", "of grpc.aio's", "messages/s"),
    ),
    "transport-scaling": (
        "Transport: CPU of a server for a unary call, with many connections and with many streams",
        _contest("CPU a call, us", ".1f", "of the least before"),
    ),
    "transport-idle": (
        "Transport: memory of an idle connection",
        [
            _plain("case", "case"),
            _plain("who", "name"),
            _spread("kB a connection", "figure", ".1f"),
            Column("target", _verdicts),
        ],
    ),
}


def page(folder: Path) -> str:
    """All benchmarks that have results in `folder`."""
    return "\n".join(line for name in SECTIONS for line in _section(name, folder / f"{name}.json"))


def _section(name: str, path: Path) -> Iterator[str]:
    if not path.exists():
        return
    result = json.loads(path.read_text())
    title, columns = SECTIONS[name]
    yield f"## {title}\n"
    yield _line([column.heading for column in columns])
    yield _line(["---"] * len(columns))
    for row in result["rows"]:
        yield _line([column.cell(row) for column in columns])
    yield f"\n{_origin(result)}\n"
    if (plot := path.with_suffix(".svg")).exists():
        yield f"![{title}]({plot.name})\n"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _origin(result: dict[str, Any]) -> str:
    size, facts = result["size"], result["facts"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    machine = f"{facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']:g} GiB"
    commit = f"commit {facts['commit']}" if facts["commit"] else "sources that are not those of a commit"
    return (
        f"{size['rounds']} rounds of {size['requests']:,}. {facts['taken']}; {commit}; {machine}; "
        f"{facts['kernel']}, {facts['python']}, {packages}."
    )
