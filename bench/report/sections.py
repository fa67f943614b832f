"""The results of a folder as one page of markdown tables."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.gpu import columns as gpu
from bench.report.columns import (
    OTHERS,
    Column,
    contest,
    is_noisy,
    judgements,
    median,
    memory_target,
    plain,
    ratio,
    spread,
    verdicts,
)
from bench.siege import columns as siege

# Benchmark -> the title of its section, and its table.
SECTIONS: dict[str, tuple[str, list[Column]]] = {
    "service-cost": (
        "Service: CPU of the whole server for a request",
        contest("CPU a request, us", ",.1f", "of C++'s", "requests/s"),
    ),
    "service-latency": (
        "Service: median latency of one request at a time",
        contest("p50, us", ".0f", "of C++'s", "requests/s"),
    ),
    "service-concurrency": (
        "Service: requests a second and what each costs, by how many are under way",
        contest("CPU a request, us", ",.1f", "of C++'s", "requests/s"),
    ),
    "service-start": (
        "Service: from its start to its first answers",
        [
            plain("case", "case"),
            plain("who", "name"),
            spread("ready after, s", "figure", ".2f"),
            Column("target", verdicts),
            spread("memory then, MB", "memory", ".0f"),
            memory_target(lambda row: row["memory"]["median"]),
            plain("requests", "calls", ","),
            plain("memory after them, MB", "memory_after", ".0f"),
            memory_target(lambda row: row["memory_after"]),
        ],
    ),
    "service-engines": (
        "Service: image classifiers on the CPU",
        contest("ms an image", ".2f", "of bare ONNX Runtime's", "images/s"),
    ),
    "service-overload": (
        "Service: under more than it can do",
        [
            plain("case", "case"),
            plain("who", "name"),
            plain("x the sustainable rate", "factor", "g"),
            plain("requests/s", "rate", ",.0f"),
            spread("answers/s", "goodput", ",.0f"),
            plain("offered", "offered", ","),
            plain("sent", "sent", ","),
            plain("accepted", "accepted", ","),
            plain("refused", "refused", ","),
            plain("failed", "failed", ","),
            spread("p50, ms", "p50_ms", ",.1f"),
            spread("p99, ms", "p99_ms", ",.1f"),
            spread("p99 of refusals, ms", "refused_p99_ms", ",.1f"),
            spread("sent late by, ms", "lag_ms", ",.1f"),
            Column("target", judgements),
            OTHERS,
        ],
    ),
    "service-scaling": (
        "Service: CPU of the whole server for a request, with many connections and with many requests in flight",
        contest("CPU a request, us", ".1f", "of the least before", "requests/s"),
    ),
    "service-workers": (
        "Service: processes that share a port, on all cores",
        [
            plain("case", "case"),
            plain("processes", "processes"),
            spread("requests/s", "rate", ",.0f"),
            spread("of one process's", "of_one", ".2f"),
            spread("CPU a request, us", "server_us", ".1f"),
            spread("h2load's, us", "load_us", ".1f"),
            spread("cores used", "cores", ".2f"),
            median("of that by the busiest process", "busiest", ".0%"),
            Column("requests/s for each further core", lambda row: f"{1e6 / row['server_us']['median']:,.0f}"),
            OTHERS,
        ],
    ),
    "memory": (
        "Resident memory",
        [
            plain("case", "case"),
            plain("requests", "requests", ","),
            plain("at first, MiB", "first", ".1f"),
            plain("after a tenth, MiB", "settled", ".1f"),
            plain("at last, MiB", "last", ".1f"),
            plain("from the tenth on, KiB per 100,000", "slope", "+.0f"),
            Column("statuses", lambda row: ", ".join(f"{name} {count:,}" for name, count in row["statuses"].items())),
        ],
    ),
    "service-stages": (
        "Service: the parts of a request, without a transport",
        [plain("case", "case"), plain("part", "part"), spread("ns a request", "ns", ",.0f")],
    ),
    "recording": (
        "Recording the metrics of a request, ns of CPU",
        [
            plain("case", "case"),
            spread("recorder", "recorder_ns", ",.0f"),
            spread("5 prometheus_client histograms", "histogram_ns", ",.0f"),
            spread("5 prometheus_client summaries", "summary_ns", ",.0f"),
        ],
    ),
    "instructions": (
        "Instructions of a request, outside the kernel, beside those of another commit",
        [
            plain("case", "case"),
            plain("who", "name"),
            spread("instructions a request", "instructions", ",.0f"),
            ratio("of the other commit's", ".4f"),
            Column("target", verdicts),
            spread("CPU a request, us", "cpu_us", ",.1f"),
            ratio("of the other commit's", ".2f", "cpu_of_medians", "cpu_ratio"),
        ],
    ),
    **gpu.SECTIONS,
    **siege.SECTIONS,
    "transport-unary": (
        "Transport: CPU of a server for a unary call",
        contest("CPU a call, us", ".1f", "of C++'s"),
    ),
    "transport-bodies": (
        "Transport: CPU of a server for a large unary call",
        contest("CPU a call, us", ",.0f", "of C++'s"),
    ),
    "transport-latency": (
        "Transport: median latency of one call at a time",
        contest("p50, us", ".0f", "of C++'s"),
    ),
    "transport-clients": (
        "Transport: CPU of a client for a unary call to the C++ server",
        contest("CPU a call, us", ".1f", "of h2load's"),
    ),
    "transport-streaming": (
        "Transport: messages of streams",
        contest("messages a CPU second", ",.0f", "of grpc.aio's", "messages/s"),
    ),
    "transport-scaling": (
        "Transport: CPU of a server for a unary call, with many connections and with many streams",
        contest("CPU a call, us", ".1f", "of the least before"),
    ),
    "transport-idle": (
        "Transport: memory of an idle connection",
        [
            plain("case", "case"),
            plain("who", "name"),
            spread("kB a connection", "figure", ".1f"),
            Column("target", verdicts),
        ],
    ),
}


def noisy_rows(path: Path) -> int:
    """How many rows of a benchmark's results were taken while other processes had too much."""
    return sum(is_noisy(row) for row in json.loads(path.read_text())["rows"])


def exceeded(path: Path) -> list[str]:
    """The rows of a comparison that are above their bound, in a line each."""
    return [
        f"{row['case']}: {row['of_medians']:.4f} of the other commit's, and at most {row['bound']['value']:g} was asked"
        for row in json.loads(path.read_text())["rows"]
        if row["bound"] and row["of_medians"] > row["bound"]["value"]
    ]


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
        f"{facts['kernel']}, {facts['python']}, {packages}{_gpu(facts.get('gpu'))}."
    )


def _gpu(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return ""
    told = ", ".join(f"{name} {value}" for name, value in (*facts["nvml"].items(), *facts["packages"].items()))
    return f"; {facts['name']}, {facts['memory_gib']:g} GiB, CUDA {facts['cuda']}, {facts['runtime']}, {told}"
