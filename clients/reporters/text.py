"""Text of a report, for people."""

from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.outcomes import Counts
from yais.clients.stats.report import Report
from yais.clients.stats.verdict import Verdict

_SELDOM = ("rejected", "timed_out", "cancelled", "wrong")


def render(report: Report, verdict: Verdict | None = None) -> str:
    """The whole report; one line a percentile, as in `p99   12.3 ms`."""
    is_open = report.info.loop == "open"
    lines = [_counts(report), _rates(report)]
    lines += [f"failed {kind.count} x {kind.status}: {kind.text}" for kind in report.failures]
    if report.latency.ms:
        origin = "the due time" if is_open else "the send"
        lines += ["", f"latency from {origin} to the answer", *latency_lines(report.latency.ms)]
    if is_open and report.lag.ms:
        lines += ["", *_side_by_side({"service": report.service.ms, "send lag": report.lag.ms})]
    lines += [f"{kind.name}: {_sent(kind.counts)}{_tail(kind.latency.ms)}" for kind in report.kinds]
    lines += _addresses(report.info.addresses)
    return "\n".join(lines + ([] if verdict is None else ["", *verdict_lines(verdict)]))


def verdict_lines(verdict: Verdict) -> list[str]:
    first = "VALID: the load was the one asked for, and the server kept up with it"
    if not verdict.valid:
        first = f"INVALID, by the {verdict.limit}'s limit:"
    return [first, *(f"  {sentence}" for sentence in (*verdict.reasons, *verdict.remarks))]


def latency_lines(distribution: dict[str, float]) -> list[str]:
    values = {name: milliseconds(value) for name, value in distribution.items()}
    width = max(map(len, values.values())) + 1
    return [f"{name:<6}{value:>{width}} ms" for name, value in values.items()]


def _counts(report: Report) -> str:
    counts = report.counts
    if report.info.loop == "closed":
        return _sent(counts)
    return f"offered {counts.offered:,} = sent {counts.sent:,} + dropped {counts.dropped:,}; {_sent(counts)}"


def _sent(counts: Counts) -> str:
    """Outcomes that did not occur are left out, but for `failed`."""
    seldom = [(name.replace("_", " "), getattr(counts, name)) for name in _SELDOM if getattr(counts, name)]
    ended = [("completed", counts.completed), *seldom, ("failed", counts.failed)]
    late = f"; completed late {counts.late:,}" if counts.late else ""
    return f"sent {counts.sent:,} = " + " + ".join(f"{name} {count:,}" for name, count in ended) + late


def _rates(report: Report) -> str:
    answered = f"{report.rate_answered:,.1f}/s answered over {_seconds(report.elapsed)}"
    if report.info.loop == "closed":
        return f"closed loop: rate {answered}, which the server's pace set"
    asked = "" if report.info.rate_asked is None else f"{report.info.rate_asked:,.1f}/s asked, "
    return f"rate {asked}{report.rate_sent:,.1f}/s sent, {answered}"


def _addresses(counts: dict[str, int]) -> list[str]:
    """Of only one there is nothing to be told."""
    if len(counts) < 2:
        return []
    width = max(map(len, counts))
    return ["", "sent to each address", *(f"  {address:<{width}}{count:>14,}" for address, count in counts.items())]


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _tail(distribution: dict[str, float]) -> str:
    return "".join(f"; {name} {milliseconds(distribution[name])} ms" for name in ("p50", "p99") if distribution)


def _side_by_side(columns: dict[str, dict[str, float]]) -> list[str]:
    names = dict.fromkeys(name for column in columns.values() for name in column)
    lines = [" " * 8 + "".join(f"{title:>14}" for title in columns)]
    for name in names:
        cells = (f"{milliseconds(column[name])} ms" if column else "-" for column in columns.values())
        lines.append(f"  {name:<6}" + "".join(f"{cell:>14}" for cell in cells))
    return lines
