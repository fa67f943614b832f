"""One siege by one process: its lines, its sender, and what it looks like meanwhile."""

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic_ns, thread_time_ns

import click

from yais.clients.options import handle_signals
from yais.clients.siege.beside import beside
from yais.clients.siege.load import Load
from yais.clients.siege.traffic.closed import ClosedLoop
from yais.clients.siege.traffic.connections import connected
from yais.clients.siege.traffic.sender import Sender
from yais.clients.siege.traffic.spread import Spread
from yais.clients.siege.traffic.turns import Turns
from yais.clients.siege.views.glance import Glance
from yais.clients.siege.views.observer import watch
from yais.clients.stats.recorder import Recorder

Follow = Callable[[Sender | ClosedLoop], Awaitable[None]]
Show = Callable[[Glance], None]


@dataclass(frozen=True, slots=True)
class Sent:
    """What it took to send: the share of a core, and which of several addresses got how many requests."""

    cpu: float
    addresses: dict[str, int]


async def send(
    load: Load,
    recorder: Recorder,
    show: Show,
    follow: Follow | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> Sent:
    """Goes through the plan, or what a signal leaves of it; `show` gets a glance each second.

    `follow` runs beside the sender until that has ended; `on_stop` is called besides at the first signal.
    """
    async with ready(load, recorder, lambda: warn_of_holding_back(load)) as run:

        def stop() -> None:
            on_stop()
            run.sender.stop()

        with handle_signals(stop, run.sender.cancel):
            followers = [] if follow is None else [follow(run.sender)]
            return await run.go(show, *followers)


@dataclass(frozen=True, slots=True)
class Run:
    """A sender that is connected, and waits to `go`."""

    load: Load
    sender: Sender | ClosedLoop
    lines: Spread

    async def go(self, show: Show, *followers: Awaitable[None], at: int | None = None) -> Sent:
        """Sends, from `at` on where several processes have agreed on a time; `followers` run beside that."""
        began = monotonic_ns(), thread_time_ns()
        async with beside(watch(self.sender, self.load.pacer(), show), *followers):
            await self.sender.run(at)
        cpu = (thread_time_ns() - began[1]) / max(monotonic_ns() - began[0], 1)
        return Sent(cpu, self.lines.counts())


@asynccontextmanager
async def ready(load: Load, recorder: Recorder, on_first_held_back: Callable[[], None]) -> AsyncIterator[Run]:
    async with connected(load.route, load.timeout) as lines:
        sender = make_sender(load, lines.turns, recorder, on_first_held_back)
        # What lives by now lives for the whole run; the collector need not go through it in the midst of a send.
        gc.collect()
        gc.freeze()
        yield Run(load, sender, lines)


def make_sender(
    load: Load, lines: Turns, recorder: Recorder, on_first_held_back: Callable[[], None]
) -> Sender | ClosedLoop:
    plan, pacer = load.plan, load.pacer()
    if pacer is None:
        return ClosedLoop(
            lines,
            load.requests.next,
            concurrency=plan.concurrency or 1,
            timeout=load.timeout,
            count=plan.count,
            duration=plan.duration_ns,
            warmup=plan.warmup_ns,
            recorder=recorder,
            check=load.check,
        )
    return Sender(
        lines,
        load.requests.next,
        pacer,
        timeout=load.timeout,
        max_outstanding=load.max_outstanding,
        warmup=plan.warmup_ns,
        recorder=recorder,
        check=load.check,
        on_first_held_back=on_first_held_back,
    )


def warn_of_holding_back(load: Load) -> None:
    click.echo(
        f"warning: {load.max_outstanding} requests are in flight (--max-outstanding): answers come more slowly than "
        "requests are due, which are held back until there is room",
        err=True,
    )
