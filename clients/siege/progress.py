"""Progress of a siege: snapshots each second, merged over processes, and what they say in words."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import monotonic_ns
from typing import NamedTuple

from yais.clients.siege.closed_loop import ClosedLoop
from yais.clients.siege.open_loop import OpenLoop
from yais.clients.siege.schedules.pacer import Pacer
from yais.clients.stats.histogram import SECOND, Histogram, milliseconds
from yais.clients.stats.outcomes import Counts, failures

# Seconds.
INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`elapsed` seconds since the start, and `interval` seconds since the one before; all else without the warm-up.

    `counts` and `failures` (by the name of their status) are of what has ended since the start, `warm_up` of what ended
    before; `latency` is of what completed within the interval, `lag` of what was sent and ended in it. `asked` is the
    rate that the schedule asks for now, a second; None in a closed loop. The `last` one is taken when all has ended.
    """

    elapsed: float = 0.0
    interval: float = 0.0
    asked: float | None = None
    counts: Counts = field(default_factory=Counts)
    failures: dict[str, int] = field(default_factory=dict)
    warm_up: int = 0
    in_flight: int = 0
    latency: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    last: bool = False

    @classmethod
    def merged(cls, snapshots: Sequence["Snapshot"]) -> "Snapshot":
        """The sum over processes that were observed together."""
        asked = [snapshot.asked for snapshot in snapshots if snapshot.asked is not None]
        failures: Counter[str] = Counter()
        for snapshot in snapshots:
            failures.update(snapshot.failures)
        return cls(
            elapsed=max(snapshot.elapsed for snapshot in snapshots),
            interval=max(snapshot.interval for snapshot in snapshots),
            asked=sum(asked) if asked else None,
            counts=sum((snapshot.counts for snapshot in snapshots), Counts()),
            failures=dict(failures.most_common()),
            warm_up=sum(snapshot.warm_up for snapshot in snapshots),
            in_flight=sum(snapshot.in_flight for snapshot in snapshots),
            latency=sum_histograms(snapshot.latency for snapshot in snapshots),
            lag=sum_histograms(snapshot.lag for snapshot in snapshots),
            last=all(snapshot.last for snapshot in snapshots),
        )

    def combine(self, later: "Snapshot") -> "Snapshot":
        """Both intervals as one."""
        return replace(
            later,
            interval=self.interval + later.interval,
            latency=sum_histograms([self.latency, later.latency]),
            lag=sum_histograms([self.lag, later.lag]),
        )

    @property
    def final(self) -> "Snapshot":
        """What remains of it when its run is over: what was done."""
        asked = None if self.asked is None else 0.0
        return replace(self, interval=0.0, asked=asked, in_flight=0, latency=Histogram(), lag=Histogram())

    @property
    def answered(self) -> float:
        """Completed requests a second, in the interval."""
        return self.latency.total / self.interval if self.interval else 0.0


def sum_histograms(histograms: Iterable[Histogram]) -> Histogram:
    """A histogram of its own, which leaves those as they are."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


class Observer:
    """Observes what a sender's records add up to, and what was added since; `pacer` None for a closed loop.

    It runs on the event loop that sends, whose next send it delays.
    """

    def __init__(self, sender: OpenLoop | ClosedLoop, pacer: Pacer | None) -> None:
        self._sender = sender
        self._pacer = pacer
        self._latency = Histogram()
        self._lag = Histogram()
        self._observed_at = sender.started_at

    def observe(self, now: int, last: bool = False) -> Snapshot:
        """What happened since the last snapshot; `now` in nanoseconds of the monotonic clock."""
        tally, started_at = self._sender.recorder.tally, self._sender.started_at
        # A sender that shall begin at a time yet to come has not.
        now = max(now, started_at)
        total, lag = tally.total(), tally.lag.copy()
        snapshot = Snapshot(
            elapsed=(now - started_at) / SECOND,
            interval=(now - self._observed_at) / SECOND,
            asked=None if self._pacer is None else self._pacer.rate(now - started_at),
            counts=total.counts,
            failures=failures(total.statuses),
            warm_up=tally.warm_up,
            in_flight=self._sender.in_flight,
            latency=total.latency.minus(self._latency),
            lag=lag.minus(self._lag),
            last=last,
        )
        self._latency, self._lag, self._observed_at = total.latency, lag, now
        return snapshot


async def show_snapshots(
    sender: OpenLoop | ClosedLoop,
    pacer: Pacer | None,
    show: Callable[[Snapshot], object],
    now: Callable[[], int] = monotonic_ns,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Shows a snapshot each second until it is cancelled, and then the last one; to be cancelled when all has ended."""
    # The sender's `started_at` is set by now: this task gets its first turn when `run` first waits.
    observer = Observer(sender, pacer)
    try:
        while True:
            await sleep(INTERVAL)
            # To add up takes longest; what has become due meanwhile is sent before the rest.
            _ = sender.recorder.tally
            await sleep(0)
            show(observer.observe(now()))
    except asyncio.CancelledError:
        show(observer.observe(now(), last=True))
        raise


class SnapshotMerger:
    """Shows the sum as soon as every process that still sends has a new snapshot.

    A process whose last snapshot has come is not waited for; what it did stays in the sum.
    """

    def __init__(self, processes: int, show: Callable[[Snapshot], object]) -> None:
        self._sending = set(range(processes))
        self._show = show
        self._new: dict[int, Snapshot] = {}
        self._finals: dict[int, Snapshot] = {}

    def take(self, process: int, snapshot: Snapshot) -> None:
        # One that stalled and looked once while the others looked often must not leave the view behind for good.
        earlier = self._new.get(process)
        self._new[process] = earlier.combine(snapshot) if earlier else snapshot
        if snapshot.last:
            self._sending.discard(process)
        self._show_when_complete()

    def _show_when_complete(self) -> None:
        if self._new and self._sending <= self._new.keys():
            # A process that is over has no new snapshot, and counts with its final one.
            snapshot = Snapshot.merged(list((self._finals | self._new).values()))
            self._finals |= {process: new.final for process, new in self._new.items()}
            self._new = {}
            self._show(snapshot)


class Cell(NamedTuple):
    """A figure; an alarming one is of what should not happen."""

    label: str
    value: str
    is_alarming: bool = False

    def __str__(self) -> str:
        return f"{self.label} {self.value}"


def rates(snapshot: Snapshot) -> list[Cell]:
    # Requests of the warm-up are not counted: without a word about them it would seem that nothing is answered.
    is_warming_up = snapshot.warm_up and not snapshot.counts.offered
    return [
        Cell("at", f"{snapshot.elapsed:.0f} s"),
        *([Cell("warm-up", f"{snapshot.warm_up:,}")] if is_warming_up else []),
        *([] if snapshot.asked is None else [Cell("asked", f"{snapshot.asked:,.1f}/s")]),
        Cell("answered", f"{snapshot.answered:,.1f}/s"),
        Cell("in flight", f"{snapshot.in_flight:,}"),
    ]


def latencies(snapshot: Snapshot) -> list[Cell]:
    return [*_cells(snapshot.latency, {"p50": 50.0, "p99": 99.0}), *lag(snapshot)]


def lag(snapshot: Snapshot) -> list[Cell]:
    """A closed loop has none."""
    return [] if snapshot.asked is None else _cells(snapshot.lag, {"lag p99": 99.0})


def losses(snapshot: Snapshot) -> list[Cell]:
    failed, dropped = snapshot.counts.failed, snapshot.counts.dropped
    kinds = ", ".join(f"{status} {count:,}" for status, count in snapshot.failures.items())
    return [
        Cell("failed", f"{failed:,} ({kinds})" if kinds else f"{failed:,}", failed > 0),
        Cell("dropped", f"{dropped:,}", dropped > 0),
    ]


def _cells(histogram: Histogram, quantiles: dict[str, float]) -> list[Cell]:
    if not histogram.total:
        return []
    values = (histogram.values_at(list(quantiles.values())) / 1e6).tolist()
    return [Cell(name, f"{milliseconds(value)} ms") for name, value in zip(quantiles, values, strict=True)]
