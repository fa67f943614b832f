"""`--find-max`: probes of a server, one rate each, for as long as it takes to see whether the objectives are kept."""

import asyncio
import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import pairwise
from time import monotonic_ns
from typing import Protocol

import click

from yais.clients.siege.balancer import RoundRobinPicker, connect
from yais.clients.siege.cores import CoreMeter
from yais.clients.siege.runner import LoadConfig, Show, send
from yais.clients.siege.search import Curve, Point, ProbeOutcome, Search
from yais.clients.siege.transports import UnaryCall
from yais.clients.stats.histogram import SECOND, Histogram
from yais.clients.stats.outcomes import OK
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Report, RunInfo, summarise
from yais.clients.stats.slo import Measured, Objective, Proportion, assess
from yais.clients.stats.statistics import design_effect, shows_fewer, shows_more
from yais.clients.stats.verdict import judge as judge_run

_CHECKPOINTS = 16
# A percentile.
_SLOW = 90.0

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A share as it was measured; requests over come `bursts` at a time, and those `in_flight` may yet become either.

    As so many fewer requests it is put to the test, rounded to what it shows less of.
    """

    share: Proportion
    design_effect: float = 1.0
    in_flight: int = 0

    def shows_fewer(self, risk: float) -> bool:
        over, total = self.share.over + self.in_flight, self.share.total + self.in_flight
        # Kish's effective sample size: n / design effect.
        over, total = math.ceil(over / self.design_effect), int(total / self.design_effect)
        return shows_fewer(over, total, float(self.share.allowed), risk)

    def shows_more(self, risk: float) -> bool:
        over, total = self.share.over, self.share.total + self.in_flight
        # However they come, one is one burst at least.
        over, total = max(int(over / self.design_effect), min(over, 1)), math.ceil(total / self.design_effect)
        return shows_more(over, total, float(self.share.allowed), risk)


@dataclass(frozen=True, slots=True)
class Judge:
    """Says of a probe whether it kept the objectives, and how long it must go on to say so; seconds.

    It checks after `shortest`, twice that, four times that and so on, and at the end, after `longest` at most. Each
    check may be wrong with an equal part of the risk, so that all of them together are wrong no more often than
    `confidence` allows. Objectives that are no share of the requests (mean, rate, goodput) are taken as measured.
    """

    objectives: tuple[Objective, ...]
    confidence: float = 0.99
    shortest: float = 2.0
    longest: float = 60.0

    @property
    def checks(self) -> int:
        """The most checks of one probe; the last one is at its end."""
        return 1 + max(math.ceil(math.log2(self.longest / self.shortest)), 0)

    def shares(self, measured: Measured) -> list[Proportion]:
        return [share for objective in self.objectives if (share := objective.share(measured))]

    def shown(self, samples: Sequence[Sample]) -> ProbeOutcome | None:
        """What it shows with confidence; None for nothing."""
        # Bonferroni: the chance that any check is wrong is at most the sum of their chances.
        risk = (1 - self.confidence) / self.checks
        # Any one of them makes a miss, and has its part of the risk; all of them are needed for the opposite.
        if any(each.shows_more(risk / len(samples)) for each in samples):
            return "missed"
        return "kept" if samples and all(each.shows_fewer(risk) for each in samples) else None

    def conclude(self, rate: float, report: Report, test: "SequentialTest", settled: bool = True) -> Point:
        """What became of a probe that is over: as measured, and `certain` where the requests show that."""
        limit = judge_run(report).limit
        if limit == "generator":
            return Point.of(rate, report, "invalid", certain=False, settled=settled)
        # Dropped requests are over every percentile; where an objective bounds their number, they may be some.
        may_drop = any(objective.metric == "dropped" for objective in self.objectives)
        was_borne = limit is None or (limit == "cap" and may_drop)
        kept = was_borne and all(each.kept for each in assess(self.objectives, report))
        outcome: ProbeOutcome = "kept" if kept else "missed"
        samples = test.samples(self.shares(Measured.of(report)))
        are_all = len(samples) == len(self.objectives)
        # One share that is over shows a miss; that all objectives are kept is shown only if each of them is a share.
        return Point.of(rate, report, outcome, self.shown(samples) == outcome and (are_all or not kept), settled)


async def find_max(load: LoadConfig, info: RunInfo, judge: Judge, search: Search, show: Show) -> Curve:
    """Searches with the load's arrivals at one rate after the other; each point is printed as soon as it is there."""

    async def probe(rate: float, test: SequentialTest) -> Report:
        arrivals = replace(load.arrivals, rate=rate, duration=judge.longest)
        recorder = Recorder(late_after=load.late_after)
        probed = replace(load, arrivals=arrivals)
        cores = CoreMeter()
        sent = await send(probed, recorder, show, follow=test.follow, on_stop=search.abandon)
        cost = replace(info, cpu=(sent.cpu,), cores=cores.cores, busy_cores=cores.busy())
        return summarise(recorder.tally, replace(cost, schedule=str(arrivals), rate_asked=rate))

    # Pings have a connection of their own, open all through: no probe's end takes it along.
    async with connect(replace(load.endpoint, connections=1), load.timeout) as balancer:
        idle = IdleDetector(make_ping(load, balancer.picker))
        show_point = partial(click.echo, err=True)
        return await run_search(search, probe, judge, idle.wait_until_idle, show_point)


def make_ping(load: LoadConfig, picker: RoundRobinPicker) -> Callable[[], "asyncio.Future[float]"]:
    """Sends a lone request, and gives the nanoseconds that it took, infinite when it failed."""

    def ping() -> "asyncio.Future[float]":
        took: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        sent = monotonic_ns()

        def ended(call: UnaryCall) -> None:
            took.set_result(monotonic_ns() - sent if call.status == OK else math.inf)

        _, request = load.requests.next()
        picker.pick()(request, ended, load.timeout)
        return took

    return ping


class SenderStats(Protocol):
    """The part of a sending loop that is observed; `counted_from` in nanoseconds of the monotonic clock."""

    @property
    def recorder(self) -> Recorder: ...

    @property
    def counted_from(self) -> int: ...

    @property
    def in_flight(self) -> int: ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was measured from the start to some moment of a probe."""

    shares: tuple[Proportion, ...]
    latency: Histogram


class SequentialTest:
    """One probe as it goes, and how much its requests say: what waits in one queue is late together.

    So many requests say less than as many independent ones would. How much less shows in how unevenly those that are
    over lie in up to 16 equal parts of the probe; since these may be too few to show it, the slowest tenth of all is
    taken as well, and the more uneven of the two counts. A check is made when there are 16 parts; then two of them
    become one.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._checkpoints: list[Checkpoint] = []
        self._distance = judge.shortest / _CHECKPOINTS

    @property
    def next_checkpoint(self) -> float:
        """When to call `check` next, in seconds since the start."""
        return (len(self._checkpoints) + 1) * self._distance

    def check(self, measured: Measured, in_flight: int) -> ProbeOutcome | None:
        """What is shown by now; None for what is not clear yet, and where a part ends without a check."""
        shares = tuple(self._judge.shares(measured))
        self._checkpoints.append(Checkpoint(shares, measured.latency.copy()))
        if len(self._checkpoints) < _CHECKPOINTS:
            return None
        samples = self.samples(shares, in_flight)
        # Checkpoints count from the start: two parts become one by leaving out the checkpoint between them.
        self._checkpoints = self._checkpoints[1::2]
        self._distance *= 2
        return self._judge.shown(samples)

    def samples(self, shares: Sequence[Proportion], in_flight: int = 0) -> list[Sample]:
        # Too few parts show nothing; the requests then count as independent.
        if len(self._checkpoints) < _CHECKPOINTS // 2:
            return [Sample(share, in_flight=in_flight) for share in shares]
        slow = self._design_effect([self._slow(checkpoint) for checkpoint in self._checkpoints])
        # The shares of one objective at all checkpoints, for each of them.
        over = map(self._design_effect, zip(*(checkpoint.shares for checkpoint in self._checkpoints), strict=True))
        return [Sample(share, max(effect, slow), in_flight) for share, effect in zip(shares, over, strict=True)]

    async def follow(
        self, sender: SenderStats, now: Callable[[], int] = monotonic_ns, sleep: Sleep = asyncio.sleep
    ) -> None:
        """Stops the sender as soon as a check shows how its probe ends; to be run beside it, and cancelled after it."""
        while True:
            seconds = self.next_checkpoint
            await sleep(max(sender.counted_from / SECOND + seconds - now() / SECOND, 0))
            tally = sender.recorder.tally
            if self.check(Measured(tally.counts, tally.latency, seconds), sender.in_flight):
                sender.stop()
                return

    def _slow(self, checkpoint: Checkpoint) -> Proportion:
        """Those that took longer than nine tenths of all did until the last checkpoint."""
        bound = self._checkpoints[-1].latency.value_at(_SLOW)
        return Proportion(checkpoint.latency.above(bound), checkpoint.latency.total, Fraction(1, 10))

    @staticmethod
    def _design_effect(checkpoints: Sequence[Proportion]) -> float:
        parts = list(pairwise([Proportion(0, 0, checkpoints[0].allowed), *checkpoints]))
        return design_effect([b.over - a.over for a, b in parts], [b.total - a.total for a, b in parts])


Probe = Callable[[float, SequentialTest], Awaitable[Report]]


async def run_search(
    search: Search,
    probe: Probe,
    judge: Judge,
    settle: Callable[[], Awaitable[bool]],
    show: Callable[[Point], None] = lambda point: None,
) -> Curve:
    """Drives the search.

    `probe` sends at a rate, for `judge.longest` seconds unless the test that it gets ends it, and waits for the
    answers; `show` gets each point as soon as it is there.

    A search that is abandoned during a probe ends without that probe, which was cut short.
    """
    points: list[Point] = []
    invalid: tuple[str, ...] = ()
    while (rate := search.next_rate()) is not None:
        settled = await settle()
        test = SequentialTest(judge)
        report = await probe(rate, test)
        if search.is_over:
            break
        points.append(judge.conclude(rate, report, test, settled))
        if points[-1].outcome == "invalid":
            invalid = judge_run(report).reasons
        show(points[-1])
        search.record(rate, points[-1].outcome)
    return Curve(", ".join(map(str, judge.objectives)), judge.confidence, tuple(points), search.result, invalid)


class IdleDetector:
    """Waits between probes until the server has drained: until a lone request takes hardly longer than at the start.

    `ping` sends a lone request and gives its nanoseconds, infinite for one that failed. After `patience` seconds it
    waits no longer.
    """

    _PINGS = 9
    _TOLERANCE = 1.5
    # Of a very short latency, half as much again may be chance.
    _TOLERANCE_NS = 200_000
    _PAUSE = 0.1

    def __init__(
        self,
        ping: Callable[[], Awaitable[float]],
        patience: float = 30.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._ping = ping
        self._attempts = int(patience / self._PAUSE)
        self._sleep = sleep
        self._base: float | None = None

    async def wait_until_idle(self) -> bool:
        """Whether the server has settled; the first call learns how quick it is."""
        if self._base is None:
            self._base = await self._latency()
            return True
        for _ in range(self._attempts):
            if await self._latency() <= self._base * self._TOLERANCE + self._TOLERANCE_NS:
                return True
            await self._sleep(self._PAUSE)
        return False

    async def _latency(self) -> float:
        return statistics.median([await self._ping() for _ in range(self._PINGS)])
