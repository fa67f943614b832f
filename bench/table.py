"""The results of a folder as one page of markdown tables."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]

NOISY = 0.15  # Of a core.


class Column(NamedTuple):
    """A heading, and how a row fills the cell below it."""

    heading: str
    cell: Callable[[Row], str]


def _plain(heading: str, key: str, format_spec: str = "") -> Column:
    return Column(heading, lambda row: format(row[key], format_spec))


def _median(heading: str, key: str, format_spec: str) -> Column:
    return Column(heading, lambda row: format(row[key]["median"], format_spec))


def _spread(heading: str, key: str, format_spec: str) -> Column:
    """The median of all rounds, with the least and the most of them; nothing where there is no such figure."""

    def cell(row: Row) -> str:
        if row[key] is None:
            return ""
        middle, least, most = (format(row[key][which], format_spec) for which in ("median", "least", "most"))
        return f"{middle} ({least} to {most})"

    return Column(heading, cell)


def _others(row: Row) -> str:
    shares = f"{row['others']['median']:.0%}, at most {row['others']['most']:.0%}"
    return f"**noisy, measure again:** {shares}" if _is_noisy(row) else shares


def _is_noisy(row: Row) -> bool:
    """Whether other processes had so much in the median of the rounds that the figures do not count."""
    return "others" in row and bool(row["others"]["median"] > NOISY)


_OTHERS = Column("other processes, of a core", _others)


def _memory_target(figure: Callable[[Row], float]) -> Column:
    return Column("target", lambda row: _verdict(row["memory_bound"], figure(row)) if row["memory_bound"] else "")


def _of_yardstick(row: Row) -> str:
    """The ratio of the medians, with the least and the most of the rounds' own ratios."""
    if row["of_medians"] is None:
        return ""
    return f"{row['of_medians']:.2f} ({row['ratio']['least']:.2f} to {row['ratio']['most']:.2f})"


def _verdicts(row: Row) -> str:
    """What was asked of a contestant, and whether it holds."""
    asked = []
    if row["bound"]:
        asked.append(_verdict(row["bound"], row["of_medians"] if "of_medians" in row else row["figure"]["median"]))
    if row.get("least_rate"):
        asked.append(_verdict({"kind": "at least", "value": row["least_rate"]}, row["rate"]["median"], "/s"))
    return ", ".join(asked)


def _verdict(bound: Row, figure: float, unit: str = "") -> str:
    holds = figure <= bound["value"] if bound["kind"] == "at most" else figure >= bound["value"]
    return f"{bound['kind']} {bound['value']:,g}{unit}: {'yes' if holds else '**no**'}"


def _judgements(row: Row) -> str:
    """What was asked of a step, and of the generator."""
    judged = [f"{one['name']} {_verdict(one['bound'], one['figure'])}" for one in row["judgements"]]
    if row["left_out"]:
        what = "left out" if row["counts"] else "**does not count**"
        judged.append(f"sent late in {row['left_out']} rounds: {what}")
    return ", ".join(judged)


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
    "service-cost": (
        "Service: CPU of the whole server for a request",
        _contest("CPU a request, us", ",.1f", "of C++'s", "requests/s"),
    ),
    "service-latency": (
        "Service: median latency of one request at a time",
        _contest("p50, us", ".0f", "of C++'s", "requests/s"),
    ),
    "service-concurrency": (
        "Service: requests a second and what each costs, by how many are under way",
        _contest("CPU a request, us", ",.1f", "of C++'s", "requests/s"),
    ),
    "service-start": (
        "Service: from its start to its first answers",
        [
            _plain("case", "case"),
            _plain("who", "name"),
            _spread("ready after, s", "figure", ".2f"),
            Column("target", _verdicts),
            _spread("memory then, MB", "memory", ".0f"),
            _memory_target(lambda row: row["memory"]["median"]),
            _plain("requests", "calls", ","),
            _plain("memory after them, MB", "memory_after", ".0f"),
            _memory_target(lambda row: row["memory_after"]),
        ],
    ),
    "service-engines": (
        "Service: image classifiers on the CPU",
        _contest("ms an image", ".2f", "of bare ONNX Runtime's", "images/s"),
    ),
    "service-overload": (
        "Service: under more than it can do",
        [
            _plain("case", "case"),
            _plain("who", "name"),
            _plain("x the sustainable rate", "factor", "g"),
            _plain("requests/s", "rate", ",.0f"),
            _spread("answers/s", "goodput", ",.0f"),
            _plain("offered", "offered", ","),
            _plain("sent", "sent", ","),
            _plain("accepted", "accepted", ","),
            _plain("refused", "refused", ","),
            _plain("failed", "failed", ","),
            _spread("p50, ms", "p50_ms", ",.1f"),
            _spread("p99, ms", "p99_ms", ",.1f"),
            _spread("p99 of refusals, ms", "refused_p99_ms", ",.1f"),
            _spread("sent late by, ms", "lag_ms", ",.1f"),
            Column("target", _judgements),
            _OTHERS,
        ],
    ),
    "service-scaling": (
        "Service: CPU of the whole server for a request, with many connections and with many requests in flight",
        _contest("CPU a request, us", ".1f", "of the least before", "requests/s"),
    ),
    "service-workers": (
        "Service: processes that share a port, on all cores",
        [
            _plain("case", "case"),
            _plain("processes", "processes"),
            _spread("requests/s", "rate", ",.0f"),
            _spread("of one process's", "of_one", ".2f"),
            _spread("CPU a request, us", "server_us", ".1f"),
            _spread("h2load's, us", "load_us", ".1f"),
            _spread("cores used", "cores", ".2f"),
            _median("of that by the busiest process", "busiest", ".0%"),
            Column("requests/s for each further core", lambda row: f"{1e6 / row['server_us']['median']:,.0f}"),
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
    "service-stages": (
        "Service: the parts of a request, without a transport",
        [_plain("case", "case"), _plain("part", "part"), _spread("ns a request", "ns", ",.0f")],
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


def noisy_rows(path: Path) -> int:
    """How many rows of a benchmark's results were taken while other processes had too much."""
    return sum(_is_noisy(row) for row in json.loads(path.read_text())["rows"])


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
