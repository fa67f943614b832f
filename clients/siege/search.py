"""Search for the highest rate that is kept, and the curve of its probes; it knows neither clock nor server."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from yais.clients.stats.histogram import milliseconds
from yais.clients.stats.report import Report
from yais.clients.stats.verdict import SiegeExitCode

ProbeOutcome = Literal["kept", "missed", "invalid"]
SearchEnd = Literal["found", "none", "ceiling", "generator", "unsteady", "interrupted"]

# A server that misses even this part of the start misses for another reason than the rate.
_DEEPEST = 1000

SCHEMA = "yais.siege.curve/1"

_TITLES = ("asked", "answered", "p50", "p99", "errors", "requests", "")
_EXIT_CODES = {
    "found": SiegeExitCode.CLEAN,
    "ceiling": SiegeExitCode.CLEAN,
    "none": SiegeExitCode.MISSED,
    "unsteady": SiegeExitCode.MISSED,
    "generator": SiegeExitCode.GENERATOR_LIMIT,
    "interrupted": SiegeExitCode.FAILED,
}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """How a search ended; `kept` is the highest rate that was kept and not missed later, `missed` the lowest missed.

    `found`: they are no further apart than the tolerance, and `kept` was kept twice. `none`: not even a thousandth of
    the start was kept. `ceiling`: the highest rate that may be tried was kept, twice. `generator`: a probe was
    invalid, and once more, because of siege itself. `unsteady`: rates were kept and then missed, again and again.
    """

    end: SearchEnd
    kept: float | None
    missed: float | None

    @property
    def rate(self) -> float | None:
        """The answer, where there is one."""
        return self.kept if self.end in ("found", "ceiling") else None


class Search:
    """Doubles the rate until it is missed (halves it until it is kept), then bisects; what it ends at is tried twice.

    Ask `next_rate`, try it, `record` what came of it, until the next rate is None. It takes for granted that a server
    that keeps a rate keeps every lower one; a rate that is missed when it is tried again is searched below anew.
    """

    def __init__(self, start: float, tolerance: float = 0.01, ceiling: float = 1e6, most_probes: int = 40) -> None:
        if not 0 < start <= ceiling:
            raise ValueError(f"a search cannot start at {start}/s: it is not above 0 and up to {ceiling}/s")
        self._start = start
        self._tolerance = tolerance
        self._ceiling = ceiling
        self._probes_left = most_probes
        self._kept: list[float] = []
        self._missed: float | None = None
        self._doubted: float | None = None
        self._end: SearchEnd | None = None

    @property
    def is_over(self) -> bool:
        return self._end is not None

    @property
    def result(self) -> SearchResult:
        """Raises RuntimeError while the search goes on."""
        if self._end is None:
            raise RuntimeError("the search is not over")
        return SearchResult(self._end, max(self._kept, default=None), self._missed)

    def next_rate(self) -> float | None:
        if self._end is not None:
            return None
        if self._doubted is not None:
            return self._doubted
        kept, missed = max(self._kept, default=None), self._missed
        if kept is None:
            return self._start if missed is None else missed / 2
        if missed is None:
            return min(2 * kept, self._ceiling)
        # Within the tolerance `kept` is tried once more; if it is kept again, the search is over.
        return (kept + missed) / 2 if missed - kept > self._tolerance * kept else kept

    def record(self, rate: float, outcome: ProbeOutcome) -> None:
        """What came of the rate that was asked for last."""
        self._probes_left -= 1
        if outcome == "invalid":
            # A rate is tried once more when siege itself was the limit.
            if self._doubted == rate:
                self._end = "generator"
            self._doubted = rate
        else:
            self._doubted = None
        if outcome == "missed":
            # Always the lowest so far: nothing above a missed rate is tried.
            self._missed = rate
            # Higher rates that were kept before were luck.
            self._kept = [kept for kept in self._kept if kept < rate]
            if not self._kept and rate <= self._start / _DEEPEST:
                self._end = "none"
        # `next_rate` gives the very same float for the second time, so that rates can be compared by ==.
        elif outcome == "kept" and rate in self._kept:
            self._end = "found" if self._missed is not None else "ceiling"
        elif outcome == "kept":
            self._kept.append(rate)
        if self._end is None and self._probes_left <= 0:
            self._end = "unsteady"

    def abandon(self) -> None:
        """Ends the search here."""
        self._end = self._end or "interrupted"


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
    outcome: ProbeOutcome
    certain: bool
    settled: bool = True

    @classmethod
    def of(cls, rate: float, report: Report, outcome: ProbeOutcome, certain: bool, settled: bool = True) -> "Point":
        counts, percentiles = report.counts, report.latency.ms
        failed = counts.failed / counts.sent if counts.sent else 0.0
        p50, p99 = percentiles.get("p50"), percentiles.get("p99")
        return cls(
            rate=rate,
            answered=report.rate_answered,
            p50=p50,
            p99=p99,
            errors=failed,
            requests=counts.offered,
            outcome=outcome,
            certain=certain,
            settled=settled,
        )

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
        """A line of progress."""
        return "  ".join(f"{title} {cell}".strip() for title, cell in zip(_TITLES, self.cells(), strict=True))


@dataclass(frozen=True, slots=True)
class Curve:
    """All probes in the order in which they were made, and what the search ended with.

    `invalid`: why the last probe that siege itself spoilt was invalid, in sentences.
    """

    objectives: str
    confidence: float
    points: tuple[Point, ...]
    result: SearchResult
    invalid: tuple[str, ...] = ()

    @property
    def exit_code(self) -> SiegeExitCode:
        return _EXIT_CODES[self.result.end]

    @property
    def shown(self) -> float | None:
        """The highest rate that was shown to be kept with the confidence asked for, and not missed at all.

        It is below the rate that was found, or equal to it: that one lies where more and more requests show nothing.
        """
        # A rate may have several points; a single one that was missed or not certain takes it out.
        unproven = {point.rate for point in self.points if point.outcome != "kept" or not point.certain}
        return max({point.rate for point in self.points} - unproven, default=None)

    def table(self) -> str:
        """The probes by rate, and a sentence about how it ended."""
        rows = [_TITLES, *(point.cells() for point in sorted(self.points, key=lambda point: point.rate))]
        # Right-aligned, but for the last column.
        *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = (
            "  ".join([*(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
            for row in rows
        )
        advice = [f"  {sentence}" for sentence in self.invalid] if self.result.end == "generator" else []
        return "\n".join([*lines, "", self.conclusion(), *advice])

    def conclusion(self) -> str:
        result = self.result
        kept = "no rate" if result.kept is None else f"{result.kept:,.1f}/s"
        missed = "no rate" if result.missed is None else f"{result.missed:,.1f}/s"
        return {
            "found": f"highest rate that keeps {self.objectives}: {kept}, {self._certainty()}; {missed} does not",
            "ceiling": f"{self.objectives}: kept at {kept}, {self._certainty()}, the highest rate that is tried",
            "none": f"no rate keeps {self.objectives}: {missed} does not",
            "generator": f"INVALID: siege did not send a probe on time, twice; {kept} was kept, {missed} missed",
            "unsteady": f"no answer: the server keeps {self.objectives} at a rate and then not; lately {kept}",
            "interrupted": f"interrupted: {kept} was kept, {missed} missed",
        }[result.end]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "objectives": self.objectives,
            "confidence": self.confidence,
            **asdict(self.result),
            "rate": self.result.rate,
            "shown": self.shown,
            "curve": [asdict(point) for point in self.points],
        }

    def _certainty(self) -> str:
        confidence = f"shown with {self.confidence:.4g} confidence"
        if self.shown == self.result.kept:
            return confidence
        return f"as measured ({'no rate' if self.shown is None else f'{self.shown:,.1f}/s'} {confidence})"
