"""Looks at a sender while it sends."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic_ns

from yais.clients.siege.schedules.pacer import Pacer
from yais.clients.siege.traffic.closed import ClosedLoop
from yais.clients.siege.traffic.sender import Sender
from yais.clients.siege.views.glance import Glance
from yais.clients.stats.histogram import SECOND, Histogram
from yais.clients.stats.outcomes import failures

INTERVAL = 1.0


class Observer:
    """Looks at what a sender's records add up to, and at what was added since; `pacer` None for a closed loop.

    It looks on the event loop that sends, whose next send it delays.
    """

    def __init__(self, sender: Sender | ClosedLoop, pacer: Pacer | None) -> None:
        self._sender = sender
        self._pacer = pacer
        self._latency = Histogram()
        self._lag = Histogram()
        self._looked_at = sender.started_at

    def look(self, now: int, last: bool = False) -> Glance:
        """What happened since the last look; `now` in nanoseconds of the monotonic clock."""
        tally, started_at = self._sender.recorder.tally, self._sender.started_at
        # A sender that shall begin at a time yet to come has not.
        now = max(now, started_at)
        total, lag = tally.total(), tally.lag.copy()
        glance = Glance(
            elapsed=(now - started_at) / SECOND,
            interval=(now - self._looked_at) / SECOND,
            asked=None if self._pacer is None else self._pacer.rate(now - started_at),
            counts=total.counts,
            failures=failures(total.statuses),
            warm_up=tally.warm_up,
            in_flight=self._sender.in_flight,
            latency=total.latency.minus(self._latency),
            lag=lag.minus(self._lag),
            last=last,
        )
        self._latency, self._lag, self._looked_at = total.latency, lag, now
        return glance


async def watch(
    sender: Sender | ClosedLoop,
    pacer: Pacer | None,
    show: Callable[[Glance], object],
    now: Callable[[], int] = monotonic_ns,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Shows a glance each second until it is cancelled, and then the last one; to be cancelled when all has ended."""
    observer = Observer(sender, pacer)
    try:
        while True:
            await sleep(INTERVAL)
            # To add up takes longest; what has become due meanwhile is sent before the rest.
            _ = sender.recorder.tally
            await sleep(0)
            show(observer.look(now()))
    except asyncio.CancelledError:
        show(observer.look(now(), last=True))
        raise
