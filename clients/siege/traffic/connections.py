"""The connections that a run keeps to its servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import click

from yais.clients.channel import parse_target
from yais.clients.siege.beside import beside
from yais.clients.siege.traffic import resolving
from yais.clients.siege.traffic.lines import TransportName, open_line
from yais.clients.siege.traffic.resolving import Pace, Resolve, find_addresses, keep_resolving
from yais.clients.siege.traffic.spread import Spread

_PACE = Pace()


@dataclass(frozen=True, slots=True)
class Route:
    """Which way calls of `method` go: on `connections` to each address of `target`, which is as gRPC spells it."""

    transport: TransportName
    target: str
    method: str
    connections: int = 1


@asynccontextmanager
async def connected(
    route: Route, within: float, resolve: Resolve = resolving.resolve, pace: Pace = _PACE
) -> AsyncIterator[Spread]:
    """Connections along the route, one at least `within` seconds; as many as there can be, all through.

    Raises click's exception when there is none, ValueError for a target that cannot be.
    """
    target = parse_target(route.target)
    authority = None if target.name is None else str(target.name)
    addresses = await find_addresses(target, resolve)
    spread = Spread(
        lambda address: open_line(route.transport, address, route.method, authority),
        route.connections,
        addresses,
        grace=within,
    )
    try:
        await _settle(spread, route.target, within)
        async with beside(keep_resolving(target, resolve, spread.keep, spread.lost, pace)):
            yield spread
    finally:
        await spread.close()


async def _settle(spread: Spread, target: str, within: float) -> None:
    try:
        async with asyncio.timeout(within):
            await spread.settle()
    except TimeoutError:
        if not spread.is_ready:
            raise click.ClickException(f"{target}: no connection within {within} s") from None
    for address in spread.unconnected:
        click.echo(f"warning: {address}: no connection yet; calls go there as soon as there is one", err=True)
