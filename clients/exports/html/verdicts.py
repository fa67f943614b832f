"""The verdict of each run, and the figures that most want to see first."""

from dataclasses import dataclass
from typing import Self

from yais.clients.exports.html.runs import Run
from yais.clients.rendering import verdict_lines
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Assessment
from yais.clients.stats.verdict import judge


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure under its name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """`sentence` begins with VALID or INVALID."""

    name: str
    valid: bool
    sentence: str
    reasons: tuple[str, ...]
    assessments: tuple[Assessment, ...]
    facts: tuple[Fact, ...]

    @classmethod
    def of(cls, run: Run) -> Self:
        verdict = judge(run.report)
        sentence = verdict_lines(verdict)[0]
        reasons = (*verdict.reasons, *verdict.remarks)
        return cls(run.name, verdict.valid, sentence, reasons, run.assessments, _facts(run.report))


def _facts(report: Report) -> tuple[Fact, ...]:
    counts = report.counts
    percentiles = (
        Fact(name, f"{milliseconds(report.latency.ms[name])} ms") for name in ("p50", "p99") if report.latency.ms
    )
    return (
        Fact("answered", f"{report.rate_answered:,.1f}/s"),
        *percentiles,
        Fact("errors", f"{counts.errors:,}"),
        Fact("held back", f"{counts.held_back:,}"),
    )
