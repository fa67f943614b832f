"""Text of a report, for people."""

from collections.abc import Mapping
from types import MappingProxyType

from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.outcomes import Counts
from yais.clients.stats.report import Report
from yais.clients.stats.verdict import Limit, Verdict

_INVALID: Mapping[Limit, str] = MappingProxyType(
    {
        "generator": "siege did not send on time",
        "cap": "siege did not send all requests",
        "server": "the server did not keep up",
    }
)


def render(report: Report, verdict: Verdict | None = None) -> str:
    """The whole report; one line a percentile, as in `p99   12.3 ms`."""
    is_open = report.info.loop == "open"
    counts = report.counts
    offered = f"offered {counts.offered:,} = sent {counts.sent:,} + dropped {counts.dropped:,}; " if is_open else ""
    lines = [f"{offered}{_sent(counts)}", _rates(report)]
    lines += [f"failed {failure.count} x {failure.status}: {failure.text}" for failure in report.failures]
    if report.latency.ms:
        origin = "the due time" if is_open else "the send"
        lines += ["", f"latency from {origin} to the answer", *latency_lines(report.latency.ms)]
    if is_open and report.lag.ms:
        lines += ["", *_side_by_side({"service": report.service.ms, "send lag": report.lag.ms})]
    for kind in report.kinds:
        shown = ((name, kind.latency.ms[name]) for name in ("p50", "p99") if kind.latency.ms)
        latency = "".join(f"; {name} {milliseconds(value)} ms" for name, value in shown)
        lines.append(f"{kind.name}: {_sent(kind.counts)}{latency}")
    addresses = report.info.addresses
    if len(addresses) > 1:
        width = max(map(len, addresses))
        lines += ["", "sent to each address", *(f"  {name:<{width}}{n:>14,}" for name, n in addresses.items())]
    return "\n".join(lines + ([] if verdict is None else ["", *verdict_lines(verdict)]))


def verdict_lines(verdict: Verdict) -> list[str]:
    """One that begins with VALID, FAILED or INVALID, and a sentence a line; what failed comes first."""
    sentences = [*verdict.failures, *verdict.reasons, *verdict.remarks]
    if verdict.limit:
        first = f"INVALID: {_INVALID[verdict.limit]}"
    elif verdict.result == "failed":
        first = f"FAILED: {sentences.pop(0)}"
    elif verdict.failures:
        first = "VALID: the load was the one asked for, and the objectives allow what failed"
    else:
        first = "VALID: the load was the one asked for, and the server answered all of it"
    return [first, *(f"  {sentence}" for sentence in sentences)]


def latency_lines(distribution: dict[str, float]) -> list[str]:
    values = {name: milliseconds(value) for name, value in distribution.items()}
    width = max(map(len, values.values())) + 1
    return [f"{name:<6}{value:>{width}} ms" for name, value in values.items()]


def _sent(counts: Counts) -> str:
    outcomes = ", ".join(f"{name} {count:,}" for name, count in counts.failed_by_outcome.items())
    failed = f"failed {counts.failed:,} ({outcomes})" if outcomes else "failed 0"
    late = f"; completed late {counts.late:,}" if counts.late else ""
    return f"sent {counts.sent:,} = completed {counts.completed:,} + {failed}{late}"


def _rates(report: Report) -> str:
    elapsed = f"{report.elapsed:.1f} s" if report.elapsed >= 1 else f"{report.elapsed * 1000:.0f} ms"
    answered = f"{report.rate_answered:,.1f}/s answered over {elapsed}"
    if report.info.loop == "closed":
        return f"closed loop: rate {answered}, which the server's pace set"
    asked = "" if report.info.rate_asked is None else f"{report.info.rate_asked:,.1f}/s asked, "
    return f"rate {asked}{report.rate_sent:,.1f}/s sent, {answered}"


def _side_by_side(columns: dict[str, dict[str, float]]) -> list[str]:
    names = dict.fromkeys(name for column in columns.values() for name in column)
    lines = [" " * 8 + "".join(f"{title:>14}" for title in columns)]
    for name in names:
        cells = (f"{milliseconds(column[name])} ms" if column else "-" for column in columns.values())
        lines.append(f"  {name:<6}" + "".join(f"{cell:>14}" for cell in cells))
    return lines
