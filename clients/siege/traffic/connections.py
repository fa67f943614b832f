"""The connections that a run keeps to its server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from yais.clients.siege.traffic.lines import Line, TransportName, open_line


@asynccontextmanager
async def connected(
    transport: TransportName, target: str, method: str, connections: int, timeout: float
) -> AsyncIterator[list[Line]]:
    """As many lines as asked for, all of them with a connection."""
    opened = [open_line(transport, target, method) for _ in range(connections)]
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(channel.channel_ready() for channel, _ in opened))
        yield [line for _, line in opened]
    except TimeoutError:
        raise click.ClickException(f"{target}: no connection within {timeout} s") from None
    finally:
        await asyncio.gather(*(channel.close() for channel, _ in opened))
