"""What a search found out: a point for each probe, as a table and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from yais.clients.siege.search.search import Finding, Outcome
from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.report import Report
from yais.clients.stats.verdict import ExitCode

SCHEMA = "yais.siege.curve/1"

_TITLES = ("asked", "answered", "p50", "p99", "errors", "requests", "")
_EXIT_CODES = {
    "found": ExitCode.CLEAN,
    "ceiling": ExitCode.CLEAN,
    "none": ExitCode.MISSED,
    "unsteady": ExitCode.MISSED,
    "generator": ExitCode.GENERATOR_LIMIT,
    "interrupted": ExitCode.FAILED,
}


@dataclass(frozen=True, slots=True)
class Point:
    """One probe: rates per second, percentiles of the latency in milliseconds (None without data), `errors` of 1.

    `certain`: as few or as many requests over the bounds as these show the outcome with the confidence asked for;
    otherwise it is merely what was measured. `settled`: before it, the server was as quick as before the search.
    """

    rate: float
    answered: float
    p50: float | None
    p99: float | None
    errors: float
    requests: int
    outcome: Outcome
    certain: bool
    settled: bool = True

    @classmethod
    def of(cls, rate: float, report: Report, outcome: Outcome, certain: bool, settled: bool = True) -> "Point":
        counts, percentiles = report.counts, report.latency.ms
        errors = counts.errors / counts.sent if counts.sent else 0.0
        p50, p99 = percentiles.get("p50"), percentiles.get("p99")
        return cls(rate, report.rate_answered, p50, p99, errors, counts.offered, outcome, certain, settled)

    def cells(self) -> tuple[str, ...]:
        """By `_TITLES`."""
        latencies = ("-" if value is None else f"{milliseconds(value)} ms" for value in (self.p50, self.p99))
        return (
            f"{self.rate:,.1f}/s",
            f"{self.answered:,.1f}/s",
            *latencies,
            f"{self.errors:.2%}",
            f"{self.requests:,}",
            self.judgement,
        )

    @property
    def judgement(self) -> str:
        doubt = "" if self.certain or self.outcome == "invalid" else " as measured"
        return f"{self.outcome}{doubt}{'' if self.settled else ', server had not settled'}"

    def __str__(self) -> str:
        """A line for whoever watches."""
        return "  ".join(f"{title} {cell}".strip() for title, cell in zip(_TITLES, self.cells(), strict=True))


@dataclass(frozen=True, slots=True)
class Curve:
    """All probes in the order in which they were made, and what the search ended with."""

    objectives: str
    confidence: float
    points: tuple[Point, ...]
    finding: Finding

    @property
    def exit_code(self) -> ExitCode:
        return _EXIT_CODES[self.finding.end]

    @property
    def shown(self) -> float | None:
        """The highest rate that was shown to be kept with the confidence asked for, and not missed at all.

        It is below the rate that was found, or equal to it: that one lies where more and more requests show nothing.
        """
        unproven = {point.rate for point in self.points if point.outcome != "kept" or not point.certain}
        return max({point.rate for point in self.points} - unproven, default=None)

    def table(self) -> str:
        """The probes by rate, and a sentence that tells the end."""
        rows = [_TITLES, *(point.cells() for point in sorted(self.points, key=lambda point: point.rate))]
        return "\n".join([*_aligned(rows), "", self.conclusion()])

    def conclusion(self) -> str:
        finding = self.finding
        kept = "no rate" if finding.kept is None else f"{finding.kept:,.1f}/s"
        missed = "no rate" if finding.missed is None else f"{finding.missed:,.1f}/s"
        return {
            "found": f"highest rate that keeps {self.objectives}: {kept}, {self._certainty()}; {missed} does not",
            "ceiling": f"{self.objectives}: kept at {kept}, {self._certainty()}, the highest rate that is tried",
            "none": f"no rate keeps {self.objectives}: {missed} does not",
            "generator": f"INVALID: siege could not keep up with a probe; {kept} was still kept, {missed} missed",
            "unsteady": f"no answer: the server keeps {self.objectives} at a rate and then not; lately {kept}",
            "interrupted": f"interrupted: {kept} was kept, {missed} missed",
        }[finding.end]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "objectives": self.objectives,
            "confidence": self.confidence,
            **asdict(self.finding),
            "rate": self.finding.rate,
            "shown": self.shown,
            "curve": [asdict(point) for point in self.points],
        }

    def _certainty(self) -> str:
        confidence = f"shown with {self.confidence:.4g} confidence"
        if self.shown == self.finding.kept:
            return confidence
        return f"as measured ({'no rate' if self.shown is None else f'{self.shown:,.1f}/s'} {confidence})"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Right-aligned, but for the last column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    return [
        "  ".join([*(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        for row in rows
    ]
