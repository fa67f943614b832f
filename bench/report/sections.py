"""Sections of the page of results: the title and the columns of each benchmark."""

from bench.report.columns import (
    OTHERS,
    Column,
    Row,
    contest,
    judgements,
    median,
    memory_target,
    plain,
    ratio,
    spread,
    verdict,
    verdicts,
)

_CASE, _WHO, _RUNS_ON = plain("case", "case"), plain("who", "name"), plain("runs on", "name")


def _figure(heading: str, key: str, format_spec: str) -> Column:
    """A figure, and whether it keeps the bound that was set on it."""
    return Column(heading, lambda row: f"{row[key]:{format_spec}}{_with_verdict(row[f'{key}_bound'], row[key])}")


def _of_service(row: Row) -> str:
    if not row["counts"]:
        return "sent late: **does not count**"
    # Nothing was accepted, so there is no p99.
    if row["of_service"] is None:
        return ""
    return f"{row['of_service']:.2f}{_with_verdict(row['bound'], row['of_service'])}"


def _energy(row: Row) -> str:
    if row["power"] is None or not row["goodput"]["median"]:
        return ""
    # Watts by pictures a second are joules a picture.
    return f"{row['power']['median'] / row['goodput']['median'] * 1e3:,.1f}"


def _with_verdict(bound: Row | None, figure: float) -> str:
    return f", {verdict(bound, figure)}" if bound else ""


def _yes(key: str, heading: str) -> Column:
    return Column(heading, lambda row: "yes" if row[key] else "no")


def _ends(key: str, heading: str) -> Column:
    """Memory after the first step, after the tenth part of them, and after the last."""

    def cell(row: Row) -> str:
        samples = row[key]
        # Growth counts from the tenth on: before, memory grows as that of any program does at first.
        return f"{samples[0]:,.1f}, {samples[len(samples) // 10]:,.1f}, {samples[-1]:,.1f}"

    return Column(heading, cell)


def _sending_targets(row: Row) -> str:
    """What was asked of a schedule's keeping, and whether it holds."""
    asked = []
    if row["achieved_bound"]:
        asked.append(f"achieved {verdict(row['achieved_bound'], row['achieved']['median'])}")
    if row["lag_bound"]:
        asked.append(f"lag's p99 {verdict(row['lag_bound'], row['lag_p99']['median'], ' ms')}")
    if row["must_be_valid"]:
        # Most rounds have to be valid, not all: what else runs on the machine can make one invalid.
        asked.append(f"valid: {'yes' if row['valid'] * 2 > row['rounds'] else '**no**'}")
    return ", ".join(asked)


_SENDING = [
    _CASE,
    _WHO,
    plain("requests/s", "rate", ",.0f"),
    plain("requests", "requests", ","),
    spread("achieved", "achieved", ".3%"),
    spread("lag p50, ms", "lag_p50", ".3f"),
    spread("lag p99, ms", "lag_p99", ".2f"),
    spread("lag max, ms", "lag_max", ".1f"),
    median("core busy", "busy", ".0%"),
    # LoadGen judges no schedule.
    Column("valid", lambda row: "" if row["valid"] is None else f"{row['valid']} of {row['rounds']}"),
    Column("target", _sending_targets),
    OTHERS,
]

_GROWTH = [
    _CASE,
    _WHO,
    plain("requests", "requests", ","),
    plain("at first, MiB", "first", ".1f"),
    plain("after a tenth, MiB", "settled", ".1f"),
    plain("at last, MiB", "last", ".1f"),
    Column(
        "from the tenth on, MiB an hour",
        # The slope of a short run is that of the allocator, which settles first.
        lambda row: "too short to say" if row["slope"] is None else format(row["slope"], "+.1f"),
    ),
]

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
            _CASE,
            _WHO,
            spread("ready after, s", "figure", ".2f"),
            Column("target", verdicts),
            # MB are 1,000,000 bytes, as in the target; MiB elsewhere are 2^20.
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
            _CASE,
            _WHO,
            plain("x the sustainable rate", "factor", "g"),
            plain("requests/s", "rate", ",.0f"),
            spread("answers/s", "goodput", ",.0f"),
            plain("offered", "offered", ","),
            # Less than offered where the generator had too many requests unanswered.
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
            _CASE,
            plain("processes", "processes"),
            spread("requests/s", "rate", ",.0f"),
            spread("of one process's", "of_one", ".2f"),
            spread("CPU a request, us", "server_us", ".1f"),
            spread("h2load's, us", "load_us", ".1f"),
            spread("cores used", "cores", ".2f"),
            median("of that by the busiest process", "busiest", ".0%"),
            # With a core to itself: what the load generator takes of it is not subtracted.
            Column("requests/s for each further core", lambda row: f"{1e6 / row['server_us']['median']:,.0f}"),
            OTHERS,
        ],
    ),
    "memory": (
        "Resident memory",
        [
            _CASE,
            plain("requests", "requests", ","),
            plain("at first, MiB", "first", ".1f"),
            plain("after a tenth, MiB", "settled", ".1f"),
            plain("at last, MiB", "last", ".1f"),
            plain("from the tenth on, KiB per 100,000", "slope", "+.0f"),
            # Some requests are bad or cancelled on purpose.
            Column("statuses", lambda row: ", ".join(f"{name} {count:,}" for name, count in row["statuses"].items())),
        ],
    ),
    "service-stages": (
        "Service: the parts of a request, without a transport",
        [_CASE, plain("part", "part"), spread("ns a request", "ns", ",.0f")],
    ),
    "recording": (
        "Recording the metrics of a request, ns of CPU",
        [
            _CASE,
            spread("recorder", "recorder_ns", ",.0f"),
            spread("5 prometheus_client histograms", "histogram_ns", ",.0f"),
            spread("5 prometheus_client summaries", "summary_ns", ",.0f"),
        ],
    ),
    "instructions": (
        "Instructions of a request, outside the kernel, beside those of another commit",
        [
            _CASE,
            _WHO,
            spread("instructions a request", "instructions", ",.0f"),
            # Instructions of the same code differ by less than 0.1 %, which two decimals would not show.
            ratio("of the other commit's", ".4f"),
            Column("target", verdicts),
            spread("CPU a request, us", "cpu_us", ",.1f"),
            ratio("of the other commit's", ".2f", "cpu_of_medians", "cpu_ratio"),
        ],
    ),
    "gpu-accuracy": (
        "GPU: against ONNX Runtime on the CPU",
        [
            _CASE,
            _RUNS_ON,
            plain("pictures", "pictures", ","),
            plain("of photographs", "photographs", ","),
            _figure("largest error of a logit", "error", ".4f"),
            plain("of a probability", "probability_error", ".4f"),
            # With one class for nearly all pictures, as drawn weights give, agreement says little.
            plain("classes", "classes", ","),
            _figure("same best class", "agreement", ".1%"),
        ],
    ),
    "gpu-sweep": (
        "GPU: engines by themselves",
        [
            _CASE,
            _RUNS_ON,
            plain("contexts", "contexts"),
            _yes("graphs", "graphs"),
            _yes("page_locked", "page-locked"),
            plain("batch", "batch"),
            spread("pictures/s", "rate", ",.0f"),
            spread("p50 of a run, ms", "p50_ms", ".2f"),
            spread("p99, ms", "p99_ms", ".2f"),
            spread("engine, ms", "engine_ms", ".2f"),
            plain("device memory, MiB", "device_mib", ",.0f"),
            # Where runs are captured, batches are padded to the next size that has a graph.
            plain("rows of padding", "padding", ".1f"),
        ],
    ),
    "gpu-served": (
        "GPU: the server beside the bare engine",
        contest("pictures/s", ",.0f", "of the bare engine's", "requests/s"),
    ),
    "gpu-knee": (
        "GPU: below, at and above the knee",
        [
            _CASE,
            _RUNS_ON,
            plain("x the sustainable rate", "factor", "g"),
            plain("pictures/s", "rate", ",.0f"),
            spread("answers/s", "goodput", ",.0f"),
            plain("refused", "refused", ","),
            plain("failed", "failed", ","),
            spread("p50, ms", "p50_ms", ",.2f"),
            spread("p99, ms", "p99_ms", ",.2f"),
            plain("service time, ms", "service_ms", ",.2f"),
            # In service times, of which the column before has the length.
            Column("p99 of it", _of_service),
            spread("load ratio", "load_ratio", ",.2f"),
            spread("power, W", "power", ",.0f"),
            Column("energy of a picture, mJ", _energy),
            spread("utilization", "utilization", ".0%"),
            spread("SM clock, MHz", "sm_mhz", ",.0f"),
            spread("memory, MiB", "memory_mib", ",.0f"),
        ],
    ),
    "gpu-soak": (
        "GPU: memory over time",
        [
            _CASE,
            _RUNS_ON,
            Column("count", lambda row: f"{row['count']:,} {row['unit']}"),
            _ends("device", "on the GPU at first, after a tenth, at last, MiB"),
            plain("from the tenth on, MiB per 1,000", "device_slope", "+.3f"),
            _ends("host", "resident on the host, MiB"),
            plain("MiB per 1,000", "host_slope", "+.3f"),
        ],
    ),
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
            _CASE,
            _WHO,
            spread("kB a connection", "figure", ".1f"),
            Column("target", verdicts),
        ],
    ),
}
