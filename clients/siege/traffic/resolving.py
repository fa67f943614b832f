"""The addresses that a name has, found out again and again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import click

from yais.clients.channel import HostPort, Target, join_address

Resolve = Callable[[HostPort], Awaitable[Sequence[str]]]
"""Gives the addresses of a name, at least one. Raises OSError when there are none."""

Keep = Callable[[Sequence[str]], None]
"""Takes the addresses that a name has now."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When a name is resolved again, in seconds after the last time.

    `latest` is when all is well, since nothing else tells of new addresses; when a connection is lost or cannot be
    made, it is at once, but not before `soonest`.
    """

    soonest: float = 5.0
    latest: float = 30.0


async def resolve(name: HostPort) -> tuple[str, ...]:
    """What the system knows, in its order of preference; it does not tell for how long that holds."""
    found = await asyncio.get_running_loop().getaddrinfo(name.host, name.port)
    return tuple(dict.fromkeys(_address(*sockaddr) for *_, sockaddr in found))


def _address(host: str, port: int, flow: int = 0, scope: int = 0) -> str:
    return join_address(f"{host}%{scope}" if scope and "%" not in host else host, port)


async def find_addresses(target: Target, resolve: Resolve) -> Sequence[str]:
    """Raises click's exception for a name that has none."""
    if target.name is None:
        return target.addresses
    try:
        return await resolve(target.name)
    except OSError as error:
        raise click.ClickException(f"{target.text}: the name cannot be resolved: {error}") from error


async def keep_resolving(target: Target, resolve: Resolve, keep: Keep, lost: asyncio.Event, pace: Pace) -> None:
    """Has `keep` take the addresses for as long as this runs; `lost` is set when a connection was.

    A name that cannot be resolved any more is warned of, once, and keeps the addresses that it had.
    """
    if target.name is None:
        return
    is_known = True
    while True:
        await _wait(lost, pace)
        try:
            keep(await resolve(target.name))
            is_known = True
        except OSError as error:
            if is_known:
                click.echo(f"warning: {target.text}: its addresses stay as they were: {error}", err=True)
            is_known = False


async def _wait(lost: asyncio.Event, pace: Pace) -> None:
    await asyncio.sleep(pace.soonest)
    try:
        async with asyncio.timeout(pace.latest - pace.soonest):
            await lost.wait()
    except TimeoutError:
        return
    finally:
        lost.clear()
