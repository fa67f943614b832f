"""One siege: its lines, its sender, and what it looks like meanwhile."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic_ns, thread_time_ns

import click

from yais.clients import interrupts
from yais.clients.records import Recorder
from yais.clients.siege.schedules.options import Plan, make_pacer
from yais.clients.siege.traffic.closed import ClosedLoop
from yais.clients.siege.traffic.connections import connected
from yais.clients.siege.traffic.flights import Check, Take
from yais.clients.siege.traffic.lines import Line, TransportName
from yais.clients.siege.traffic.sender import Sender
from yais.clients.siege.views.live import open_view, watch

Follow = Callable[[Sender | ClosedLoop], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent where and when, and within which bounds; `timeout` in seconds."""

    target: str
    method: str
    take: Take
    plan: Plan
    timeout: float
    max_outstanding: int
    connections: int
    transport: TransportName
    check: Check | None = None


async def send(
    load: Load,
    recorder: Recorder,
    follow: Follow | None = None,
    on_stop: Callable[[], None] = lambda: None,
) -> float:
    """Goes through the plan, or what a signal leaves of it; returns the share of a core that it took.

    `follow` runs beside the sender until that has ended; `on_stop` is called besides at the first signal.
    """
    async with connected(load.transport, load.target, load.method, load.connections, load.timeout) as lines:
        sender = make_sender(load, lines, recorder)
        # What lives by now lives for the whole run; the collector need not go through it in the midst of a send.
        gc.collect()
        gc.freeze()

        def stop() -> None:
            on_stop()
            sender.stop()

        with open_view() as view, interrupts.handled(stop, sender.cancel):
            beside = [asyncio.create_task(watch(sender, load.plan, view))]
            if follow is not None:
                beside.append(asyncio.ensure_future(follow(sender)))
            began = monotonic_ns(), thread_time_ns()
            await sender.run()
            cpu = (thread_time_ns() - began[1]) / max(monotonic_ns() - began[0], 1)
            await _end(beside)
    return cpu


def make_sender(load: Load, lines: list[Line], recorder: Recorder) -> Sender | ClosedLoop:
    plan = load.plan
    if plan.concurrency is not None:
        return ClosedLoop(
            lines,
            load.take,
            concurrency=plan.concurrency,
            timeout=load.timeout,
            count=plan.count,
            duration=plan.duration_ns,
            warmup=plan.warmup_ns,
            recorder=recorder,
            check=load.check,
        )
    return Sender(
        lines,
        load.take,
        make_pacer(plan),
        timeout=load.timeout,
        max_outstanding=load.max_outstanding,
        warmup=plan.warmup_ns,
        recorder=recorder,
        check=load.check,
        on_first_held_back=lambda: warn_of_holding_back(load.max_outstanding),
    )


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancels what still runs; raises what went wrong in the rest."""
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def warn_of_holding_back(max_outstanding: int) -> None:
    click.echo(
        f"warning: {max_outstanding} requests are in flight (--max-outstanding): answers come more slowly than "
        "requests are due, which are held back until there is room",
        err=True,
    )
