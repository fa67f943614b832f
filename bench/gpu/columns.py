"""The tables of what is measured on a GPU."""

from bench.report.columns import Column, Row, contest, plain, spread, verdict

_CASE, _NAME = plain("case", "case"), plain("runs on", "name")


def _agreement(row: Row) -> str:
    return f"{row['agreement']:.1%}{_judged(row['agreement_bound'], row['agreement'])}"


def _error(row: Row) -> str:
    return f"{row['error']:.4f}{_judged(row['error_bound'], row['error'])}"


def _of_service(row: Row) -> str:
    if not row["counts"]:
        return "sent late: **does not count**"
    if row["of_service"] is None:
        return ""
    return f"{row['of_service']:.2f}{_judged(row['bound'], row['of_service'])}"


def _energy(row: Row) -> str:
    if row["power"] is None or not row["goodput"]["median"]:
        return ""
    return f"{row['power']['median'] / row['goodput']['median'] * 1e3:,.1f}"


def _judged(bound: Row | None, figure: float) -> str:
    return f", {verdict(bound, figure)}" if bound else ""


def _yes(key: str, heading: str) -> Column:
    return Column(heading, lambda row: "yes" if row[key] else "no")


def _ends(key: str, heading: str) -> Column:
    """Memory after the first step, after the tenth part of them, and after the last."""

    def cell(row: Row) -> str:
        samples = row[key]
        return f"{samples[0]:,.1f}, {samples[len(samples) // 10]:,.1f}, {samples[-1]:,.1f}"

    return Column(heading, cell)


# Benchmark -> the title of its section, and its table.
SECTIONS: dict[str, tuple[str, list[Column]]] = {
    "gpu-accuracy": (
        "GPU: against ONNX Runtime on the CPU",
        [
            _CASE,
            _NAME,
            plain("pictures", "pictures", ","),
            plain("of photographs", "photographs", ","),
            Column("largest error of a logit", _error),
            plain("of a probability", "probability_error", ".4f"),
            plain("classes", "classes", ","),
            Column("same best class", _agreement),
        ],
    ),
    "gpu-sweep": (
        "GPU: engines by themselves",
        [
            _CASE,
            _NAME,
            plain("contexts", "contexts"),
            _yes("graphs", "graphs"),
            _yes("page_locked", "page-locked"),
            plain("batch", "batch"),
            spread("pictures/s", "rate", ",.0f"),
            spread("p50 of a run, ms", "p50_ms", ".2f"),
            spread("p99, ms", "p99_ms", ".2f"),
            spread("engine, ms", "engine_ms", ".2f"),
            plain("device memory, MiB", "device_mib", ",.0f"),
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
            _NAME,
            plain("x the sustainable rate", "factor", "g"),
            plain("pictures/s", "rate", ",.0f"),
            spread("answers/s", "goodput", ",.0f"),
            plain("refused", "refused", ","),
            plain("failed", "failed", ","),
            spread("p50, ms", "p50_ms", ",.2f"),
            spread("p99, ms", "p99_ms", ",.2f"),
            plain("service time, ms", "service_ms", ",.2f"),
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
            _NAME,
            Column("count", lambda row: f"{row['count']:,} {row['unit']}"),
            _ends("device", "on the GPU at first, after a tenth, at last, MiB"),
            plain("from the tenth on, MiB per 1,000", "device_slope", "+.3f"),
            _ends("host", "resident on the host, MiB"),
            plain("MiB per 1,000", "host_slope", "+.3f"),
        ],
    ),
}
