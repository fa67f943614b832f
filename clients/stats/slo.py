"""Service-level objectives: `p99<20ms, errors<0.1%, goodput>1000/s@50ms`, and whether a run kept them.

objectives = objective {"," objective}
objective  = metric ("<" | "<=" | ">" | ">=") number unit ["@" number unit]
metric     = "p" percentile | "max" | "mean" | "errors" | "dropped" | "late" | "rate" | "goodput"
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Literal, Self

import numpy as np

from yais.clients.stats.histogram import Histogram, milliseconds
from yais.clients.stats.outcomes import Counts
from yais.clients.stats.report import Report

Unit = Literal["time", "share", "rate"]

METRICS: Mapping[str, Unit] = MappingProxyType(
    {
        "max": "time",
        "mean": "time",
        "errors": "share",
        "dropped": "share",
        "late": "share",
        "rate": "rate",
        "goodput": "rate",
    }
)
# The longer ones first: as alternatives of a regular expression they are tried in this order.
COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = MappingProxyType(
    {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
)

# Fractions, since a float is not exactly 0.1 %: a share that equals its bound must compare as equal. Times become
# nanoseconds.
_UNITS: Mapping[Unit, Mapping[str, Fraction]] = MappingProxyType(
    {
        "time": {"us": Fraction(10**3), "µs": Fraction(10**3), "ms": Fraction(10**6), "s": Fraction(10**9)},
        "share": {"%": Fraction(1, 100)},
        "rate": {"/s": Fraction(1)},
    }
)
_PERCENTILE = re.compile(r"p\d{1,2}(\.\d+)?")
_METRIC_NAMES = f"a metric (p50, p99, p99.9 and so on, {', '.join(METRICS)})"


@dataclass(frozen=True, slots=True)
class Measured:
    """What objectives are about: the outcomes, the latencies of what was completed, and the seconds it took."""

    counts: Counts
    latency: Histogram
    elapsed: float

    @classmethod
    def of(cls, report: Report) -> Self:
        return cls(report.counts, report.latency.opened(), report.elapsed)


@dataclass(frozen=True, slots=True)
class Proportion:
    """`over` of `total` requests went wrong in some way, in which `allowed`, a share of 1, may go."""

    over: int
    total: int
    allowed: Fraction


@dataclass(frozen=True, slots=True)
class Objective:
    """One bound: nanoseconds for a time, of 1 for a share, per second for a rate.

    Percentiles and the maximum are those of all that was offered, where what was not completed counts as later than
    any bound: a server that refuses most of its requests does not keep them by being quick with the rest. `mean` is of
    what was completed; `errors` is the share of what was sent that was not; `dropped` and `late` are shares of what
    was offered; `rate` counts what was completed, `goodput` what was completed `within` so many nanoseconds.
    """

    text: str
    metric: str
    comparison: str
    bound: Fraction
    within: int = 0

    @property
    def unit(self) -> Unit:
        return METRICS.get(self.metric, "time")

    @property
    def quantile(self) -> Fraction | None:
        """Of 1; None for what is neither a percentile nor the maximum."""
        if self.metric in METRICS:
            return Fraction(1) if self.metric == "max" else None
        return Fraction(self.metric.removeprefix("p")) / 100

    def measure(self, measured: Measured) -> float | Fraction | None:
        """In the unit of the bound: infinite for the latency of what was not completed, None without anything."""
        if self.quantile is not None:
            # The least latency that covers this part of what was offered.
            # A product of fractions: as floats 0.07 * 100 is above 7, and the rank of a p7 would be 8.
            rank = math.ceil(self.quantile * measured.counts.offered)
            if not rank or rank > measured.latency.total:
                return math.inf if rank else None
            values, counts = measured.latency.steps()
            return float(values[np.searchsorted(np.cumsum(counts), rank)])
        if self.unit == "share":
            part, whole = self._parts(measured.counts)
            return Fraction(part, whole) if whole else None
        latency, elapsed = measured.latency, measured.elapsed
        if self.metric == "mean":
            return latency.mean() if latency.total else None
        done = latency.total - latency.above(self.within) if self.metric == "goodput" else measured.counts.completed
        return done / elapsed if elapsed else None

    def share(self, measured: Measured) -> Proportion | None:
        """What the objective comes down to where it bounds how many requests may go wrong, which can be estimated."""
        counts = measured.counts
        # Only an upper bound limits how many may go wrong; a mean or a rate is no share of the requests.
        if not self.comparison.startswith("<") or self.metric == "mean" or self.unit == "rate":
            return None
        if self.quantile is not None:
            values, times = measured.latency.steps()
            within = int(times[COMPARISONS[self.comparison](values, float(self.bound))].sum())
            return Proportion(counts.offered - within, counts.offered, 1 - self.quantile)
        return Proportion(*self._parts(counts), self.bound)

    def _parts(self, counts: Counts) -> tuple[int, int]:
        if self.metric == "errors":
            return counts.failed, counts.sent
        return counts.late if self.metric == "late" else counts.dropped, counts.offered

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Assessment:
    """An objective beside what was measured, which is None, and not kept, where there was nothing to measure."""

    objective: Objective
    measured: float | Fraction | None
    kept: bool

    def __str__(self) -> str:
        return f"objective {self.objective}: {'kept' if self.kept else 'MISSED'}, {self._measured()}"

    def as_json(self) -> dict[str, Any]:
        """Times in milliseconds; null for the latency of what was not completed, too."""
        scale = 1e6 if self.objective.unit == "time" else 1.0
        value = math.inf if self.measured is None else float(self.measured)
        return {
            "objective": self.objective.text,
            "unit": {"time": "ms", "share": "of 1", "rate": "1/s"}[self.objective.unit],
            "bound": float(self.objective.bound) / scale,
            # JSON has no infinity.
            "measured": value / scale if math.isfinite(value) else None,
            "kept": self.kept,
        }

    def _measured(self) -> str:
        if self.measured is None:
            return "nothing was measured"
        value = float(self.measured)
        if math.isinf(value):
            return "too many were not completed"
        by_unit = {"time": f"{milliseconds(value / 1e6)} ms", "share": f"{value:.4%}", "rate": f"{value:,.1f}/s"}
        return by_unit[self.objective.unit]


def assess(objectives: Sequence[Objective], report: Report) -> tuple[Assessment, ...]:
    measured = Measured.of(report)
    return tuple(assess_one(objective, measured) for objective in objectives)


def objectives_met(assessments: Sequence[Assessment]) -> bool | None:
    """None without objectives."""
    return all(each.kept for each in assessments) if assessments else None


def assess_one(objective: Objective, measured: Measured) -> Assessment:
    value = objective.measure(measured)
    kept = value is not None and COMPARISONS[objective.comparison](value, objective.bound)
    return Assessment(objective, value, kept)


class ObjectiveError(ValueError):
    """A text that is no objective: `expected` is what should stand at character `at`, which the message points to."""

    def __init__(self, text: str, at: int, expected: str) -> None:
        super().__init__(f"expected {expected}\n  {text}\n  {' ' * at}^")
        self.at = at
        self.expected = expected


def parse_objectives(text: str) -> tuple[Objective, ...]:
    """Raises ObjectiveError."""
    reader = _Scanner(text)
    objectives = [_read_objective(reader)]
    while not reader.is_at_end:
        reader.take(",", "a comma or the end")
        objectives.append(_read_objective(reader))
    return tuple(objectives)


class _Scanner:
    """Goes through a text, past what is taken and past blanks."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip_blanks()

    @property
    def is_at_end(self) -> bool:
        return self.at == len(self.text)

    def take(self, pattern: str, expected: str) -> str:
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            raise ObjectiveError(self.text, self.at, expected)
        self.at = match.end()
        self._skip_blanks()
        return match[0]

    def _skip_blanks(self) -> None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1


def _read_objective(reader: _Scanner) -> Objective:
    start = reader.at
    metric = _read_metric(reader)
    comparison = reader.take("|".join(COMPARISONS), "<, <=, > or >=")
    bound = _read_quantity(reader, METRICS.get(metric, "time"))
    within = 0
    if metric == "goodput":
        reader.take("@", "@ and a time, as in goodput>1000/s@50ms")
        within = int(_read_quantity(reader, "time"))
    # Without blanks, so that `p99 < 20ms` and `p99<20ms` are called the same.
    text = "".join(reader.text[start : reader.at].split())
    return Objective(text, metric, comparison, bound, within)


def _read_metric(reader: _Scanner) -> str:
    start = reader.at
    # Any word is taken, known or not, so that the message points to its beginning.
    word = reader.take(r"[a-z_]\w*(\.\d+)?", _METRIC_NAMES)
    if word not in METRICS and not (_PERCENTILE.fullmatch(word) and Fraction(word[1:])):
        raise ObjectiveError(reader.text, start, _METRIC_NAMES)
    return word


def _read_quantity(reader: _Scanner, unit: Unit) -> Fraction:
    start = reader.at
    number = Fraction(reader.take(r"\d+(\.\d+)?", "a number"))
    units = _UNITS[unit]
    *others, last = units
    expected = f"{', '.join(others)} or {last}" if others else last
    # The lookahead keeps a unit from being the beginning of a longer word, such as `20msec`.
    quantity = number * units[reader.take(rf"({'|'.join(units)})(?![\w%/])", expected)]
    if unit == "share" and quantity > 1:
        raise ObjectiveError(reader.text, start, "at most 100 %")
    if unit != "share" and not quantity:
        raise ObjectiveError(reader.text, start, "more than 0")
    return quantity
