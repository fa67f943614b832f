"""The connections that a run keeps to its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from yais.clients.siege.traffic.lines import Line, TransportName, open_line


@asynccontextmanager
async def connected(
    transport: TransportName, target: str, method: str, connections: int, within: float
) -> AsyncIterator[list[Line]]:
    """As many lines as asked for, all of them with a connection `within` seconds."""
    opened = [open_line(transport, target, method) for _ in range(connections)]
    try:
        async with asyncio.timeout(within):
            await asyncio.gather(*(channel.channel_ready() for channel, _ in opened))
        yield [line for _, line in opened]
    except TimeoutError:
        raise click.ClickException(f"{target}: no connection within {within} s") from None
    finally:
        await asyncio.gather(*(channel.close() for channel, _ in opened))
