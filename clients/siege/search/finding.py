"""`--find-max`: probes of a server, one after the other, in one event loop."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import replace
from time import monotonic_ns

import click

from yais.clients.siege.load import Load
from yais.clients.siege.run import Show, send
from yais.clients.siege.search.curve import Curve
from yais.clients.siege.search.probing import Judge, Watch, find_max
from yais.clients.siege.search.search import Search
from yais.clients.siege.search.settling import Settling
from yais.clients.siege.traffic.connections import connected
from yais.clients.siege.traffic.lines import Call
from yais.clients.siege.traffic.turns import Turns
from yais.clients.stats.outcomes import OK
from yais.clients.stats.recorder import Recorder
from yais.clients.stats.report import Report, RunInfo, summarise


async def find(load: Load, facts: RunInfo, judge: Judge, search: Search, show: Show) -> Curve:
    """Searches with the load's plan at other rates; each point is told as soon as it is there."""

    async def probe(rate: float, watch: Watch) -> Report:
        plan = replace(load.plan, rate=rate, duration=judge.longest)
        recorder = Recorder()
        probed = replace(load, plan=plan)
        sent = await send(probed, recorder, show, follow=watch.follow, on_stop=search.abandon)
        return summarise(recorder.tally, replace(facts, schedule=str(plan), rate_asked=rate, cpu=(sent.cpu,)))

    async with connected(replace(load.route, connections=1), load.timeout) as lines:
        settling = Settling(pinging(load, lines.turns))
        return await find_max(search, probe, judge, settling.settle, lambda point: click.echo(str(point), err=True))


def pinging(load: Load, lines: Turns) -> Callable[[], "asyncio.Future[float]"]:
    """Sends a lone request, and gives the nanoseconds that it took, infinite when it failed."""

    def ping() -> "asyncio.Future[float]":
        took: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        sent = monotonic_ns()

        def ended(call: Call) -> None:
            took.set_result(monotonic_ns() - sent if call.status == OK else math.inf)

        _, request = load.requests.next()
        lines.next()(request, ended, load.timeout)
        return took

    return ping
