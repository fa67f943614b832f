"""`--find-max`: probes of a server, one after the other, in one event loop."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from time import monotonic_ns

import click

from yais.clients.records import OK, Recorder
from yais.clients.report import Facts, Report, summarise
from yais.clients.siege.run import Load, send
from yais.clients.siege.search.curve import Curve, Point
from yais.clients.siege.search.probing import Judge, Watch, find_max
from yais.clients.siege.search.search import Search
from yais.clients.siege.search.settling import Settling
from yais.clients.siege.traffic.connections import connected
from yais.clients.siege.traffic.lines import Call, Line


async def find(load: Load, facts: Facts, judge: Judge, search: Search) -> Curve:
    """Searches with the load's plan at other rates; each point is told as soon as it is there."""

    async def probe(rate: float, watch: Watch) -> Report:
        plan = replace(load.plan, rate=rate, duration=judge.longest)
        recorder = Recorder()
        cpu = await send(replace(load, plan=plan), recorder, follow=watch.follow, on_stop=search.abandon)
        return summarise(recorder.tally, replace(facts, schedule=str(plan), rate_asked=rate, cpu=(cpu,)))

    async with connected(load.transport, load.target, load.method, 1, load.timeout) as (line,):
        settling = Settling(pinging(load, line))
        return await find_max(search, probe, judge, settling.settle, show)


def pinging(load: Load, line: Line) -> Callable[[], "asyncio.Future[float]"]:
    """Sends a lone request, and gives the nanoseconds that it took, infinite when it failed."""

    def ping() -> "asyncio.Future[float]":
        took: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        sent = monotonic_ns()

        def ended(call: Call) -> None:
            took.set_result(monotonic_ns() - sent if call.status == OK else math.inf)

        _, request = load.take()
        line(request, ended, load.timeout)
        return took

    return ping


def show(point: Point) -> None:
    click.echo(str(point), err=True)
