"""A report as text for people."""

from yais.clients.report import Report


def render(report: Report) -> str:
    """The whole report; one line a percentile, as in `p99   12.3 ms`."""
    lines = [_counts(report), _rates(report)]
    lines += [f"failed {kind.count} x {kind.status}: {kind.text}" for kind in report.failures]
    if report.latency:
        origin = "the send" if report.rate_asked is None else "the due time"
        lines += ["", f"latency from {origin} to the answer", *latency_lines(report.latency)]
    if report.rate_asked is not None and report.service:
        lines += ["", *_side_by_side({"service": report.service, "send lag": report.lag})]
    return "\n".join(lines)


def latency_lines(distribution: dict[str, float]) -> list[str]:
    values = {name: milliseconds(value) for name, value in distribution.items()}
    width = max(map(len, values.values())) + 1
    return [f"{name:<5}{value:>{width}} ms" for name, value in values.items()]


def milliseconds(value: float) -> str:
    """At least three significant digits."""
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f}"


def _counts(report: Report) -> str:
    sent = f"sent {report.sent:,} = completed {report.completed:,} + failed {report.failed:,}"
    if report.rate_asked is None:
        return sent
    return f"offered {report.offered:,} = sent {report.sent:,} + held back {report.held_back:,}; {sent}"


def _rates(report: Report) -> str:
    answered = f"{report.rate_answered:,.1f}/s answered over {_seconds(report.elapsed)}"
    if report.rate_asked is None:
        return f"rate {answered}"
    return f"rate {report.rate_asked:,.1f}/s asked, {report.rate_sent:,.1f}/s sent, {answered}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value >= 1 else f"{value * 1000:.0f} ms"


def _side_by_side(columns: dict[str, dict[str, float]]) -> list[str]:
    names = list(next(iter(columns.values())))
    lines = [" " * 7 + "".join(f"{title:>14}" for title in columns)]
    for name in names:
        cells = (f"{milliseconds(column[name]):>11} ms" for column in columns.values())
        lines.append(f"  {name:<5}" + "".join(cells))
    return lines
