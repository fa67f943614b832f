"""Probes: one rate each, for as long as it takes to see whether the objectives are kept."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from time import monotonic_ns
from typing import Protocol

from yais.clients.siege.search.curve import Curve, Point
from yais.clients.siege.search.search import Outcome, Search
from yais.clients.stats.histogram import Histogram
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Report
from yais.clients.stats.slo import Measured, Objective, Proportion, assess
from yais.clients.stats.statistics import design_effect, shows_fewer, shows_more
from yais.clients.stats.verdict import judge as judge_run

SECOND = 1_000_000_000

_PARTS = 16
_SLOW = 90.0

Sleep = Callable[[float], Awaitable[object]]


class Watched(Protocol):
    """The part of a `Sender` that is looked at; `counted_from` in nanoseconds of the monotonic clock."""

    @property
    def recorder(self) -> Recorder: ...

    @property
    def counted_from(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """A share as it was measured; requests over come `bursts` at a time, and those `in_flight` may yet become either.

    As so many fewer requests it is put to the test, rounded to what it shows less of.
    """

    share: Proportion
    bursts: float = 1.0
    in_flight: int = 0

    def shows_fewer(self, risk: float) -> bool:
        over, total = self.share.over + self.in_flight, self.share.total + self.in_flight
        return shows_fewer(math.ceil(over / self.bursts), int(total / self.bursts), float(self.share.allowed), risk)

    def shows_more(self, risk: float) -> bool:
        over, total = self.share.over, self.share.total + self.in_flight
        # However they come, one is one burst at least.
        over = max(int(over / self.bursts), min(over, 1))
        return shows_more(over, math.ceil(total / self.bursts), float(self.share.allowed), risk)


@dataclass(frozen=True, slots=True)
class Judge:
    """Says of a probe whether it kept the objectives, and how long it must go on to say so; seconds.

    It looks after `shortest`, twice that, four times that and so on, and at the end, after `longest` at most; each look
    may be wrong with an equal part of the risk, so that all of them together are wrong no more often than `confidence`
    allows. Objectives that are no share of the requests (mean, rate, goodput) are taken as measured.
    """

    objectives: tuple[Objective, ...]
    confidence: float = 0.99
    shortest: float = 2.0
    longest: float = 60.0

    @property
    def looks(self) -> int:
        """The most looks at one probe; the last one is at its end."""
        return 1 + max(math.ceil(math.log2(self.longest / self.shortest)), 0)

    def shares(self, measured: Measured) -> list[Proportion]:
        return [share for objective in self.objectives if (share := objective.share(measured))]

    def shown(self, evidence: Sequence[Evidence]) -> Outcome | None:
        """What it shows with confidence; None for nothing."""
        risk = (1 - self.confidence) / self.looks
        # Any one of them makes a miss, and has its part of the risk; all of them are needed for the opposite.
        if any(each.shows_more(risk / len(evidence)) for each in evidence):
            return "missed"
        return "kept" if evidence and all(each.shows_fewer(risk) for each in evidence) else None

    def conclude(self, rate: float, report: Report, watch: "Watch", settled: bool = True) -> Point:
        """What became of a probe that is over: as measured, and `certain` where the requests show that."""
        limit = judge_run(report).limit
        if limit == "generator":
            return Point.of(rate, report, "invalid", certain=False, settled=settled)
        # Held back requests are over every percentile; where an objective bounds their number, they may be some.
        may_hold_back = any(objective.metric == "held_back" for objective in self.objectives)
        was_borne = limit is None or (limit == "cap" and may_hold_back)
        kept = was_borne and all(each.kept for each in assess(self.objectives, report))
        outcome: Outcome = "kept" if kept else "missed"
        evidence = watch.evidence(self.shares(Measured.of(report)))
        are_all = len(evidence) == len(self.objectives)
        return Point.of(rate, report, outcome, self.shown(evidence) == outcome and (are_all or not kept), settled)


@dataclass(frozen=True, slots=True)
class Mark:
    """What was measured from the start to some moment of a probe."""

    shares: tuple[Proportion, ...]
    latency: Histogram


class Watch:
    """One probe as it goes, and how much its requests say: what waits in one queue is late together.

    So many requests say less than as many independent ones would. How much less shows in how unevenly those that are
    over lie in up to 16 equal parts of the probe; since these may be too few to show it, the slowest tenth of all is
    looked at as well, and the more uneven of the two counts. A look is taken when there are 16 parts; then two of them
    become one.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._marks: list[Mark] = []
        self._distance = judge.shortest / _PARTS

    @property
    def next_mark(self) -> float:
        """When to call `look` next, in seconds since the start."""
        return (len(self._marks) + 1) * self._distance

    def look(self, measured: Measured, in_flight: int) -> Outcome | None:
        """What is shown by now; None for what is not clear yet, and where a part ends without a look."""
        shares = tuple(self._judge.shares(measured))
        self._marks.append(Mark(shares, measured.latency.copy()))
        if len(self._marks) < _PARTS:
            return None
        evidence = self.evidence(shares, in_flight)
        self._marks = self._marks[1::2]
        self._distance *= 2
        return self._judge.shown(evidence)

    def evidence(self, shares: Sequence[Proportion], in_flight: int = 0) -> list[Evidence]:
        # Too few parts do not tell; the requests then count as independent.
        if len(self._marks) < _PARTS // 2:
            return [Evidence(share, in_flight=in_flight) for share in shares]
        slow = self._bursts([self._slow(mark) for mark in self._marks])
        over = [self._bursts([mark.shares[number] for mark in self._marks]) for number in range(len(shares))]
        return [Evidence(share, max(bursts, slow), in_flight) for share, bursts in zip(shares, over, strict=True)]

    async def follow(
        self, sender: Watched, now: Callable[[], int] = monotonic_ns, sleep: Sleep = asyncio.sleep
    ) -> None:
        """Stops the sender as soon as a look shows how its probe ends; to be run beside it, and cancelled after it."""
        while True:
            seconds = self.next_mark
            await sleep(max(sender.counted_from / SECOND + seconds - now() / SECOND, 0))
            tally = sender.recorder.tally
            if self.look(Measured(tally.counts, tally.latency, seconds), sender.in_flight):
                sender.stop()
                return

    def _slow(self, mark: Mark) -> Proportion:
        """Those that took longer than nine tenths of all did until the last mark."""
        return Proportion(
            mark.latency.above(self._marks[-1].latency.value_at(_SLOW)), mark.latency.total, Fraction(1, 10)
        )

    @staticmethod
    def _bursts(marks: Sequence[Proportion]) -> float:
        parts = list(pairwise([Proportion(0, 0, marks[0].allowed), *marks]))
        return design_effect([b.over - a.over for a, b in parts], [b.total - a.total for a, b in parts])


Probe = Callable[[float, Watch], Awaitable[Report]]


async def find_max(
    search: Search,
    probe: Probe,
    judge: Judge,
    settle: Callable[[], Awaitable[bool]],
    show: Callable[[Point], None] = lambda point: None,
) -> Curve:
    """Drives the search.

    `probe` sends at a rate, for `judge.longest` seconds unless the watch that it gets ends it, and waits for the
    answers; `show` gets each point as soon as it is there.

    A search that is abandoned during a probe ends without that probe, which was cut short.
    """
    points: list[Point] = []
    while (rate := search.next_rate()) is not None:
        settled = await settle()
        watch = Watch(judge)
        report = await probe(rate, watch)
        if search.is_over:
            break
        points.append(judge.conclude(rate, report, watch, settled))
        show(points[-1])
        search.tell(rate, points[-1].outcome)
    return Curve(", ".join(map(str, judge.objectives)), judge.confidence, tuple(points), search.finding)
