"""Network of real sockets with a proxy between them, and a clock that tests advance."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from yais.clients.siege.chaos.proxy import Proxy
from yais.clients.siege.chaos.toxics import ConfiguredToxic

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@dataclass
class Clock:
    """Sleeping takes no time, and moves the clock on; what was slept is in `slept`."""

    time: float = 100.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


@dataclass
class Asleep(Clock):
    """Sleeping lasts until the test wakes all sleepers."""

    woken: asyncio.Event = field(default_factory=asyncio.Event)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self.woken.wait()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def proxied(
    *toxics: ConfiguredToxic, talk: Talk = echo, clock: Clock | None = None, seed: str = "0"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server that does `talk`, through a proxy."""
    async with served(talk) as port:
        proxy = proxy_to(port, *toxics, clock=clock, seed=seed)
        async with asyncio.timeout(20), proxy.listening() as front:
            reader, writer = await asyncio.open_connection("127.0.0.1", front)
            yield reader, writer
            await gone(writer)


def proxy_to(port: int, *toxics: ConfiguredToxic, clock: Clock | None = None, seed: str = "0") -> Proxy:
    if clock is None:
        return Proxy("127.0.0.1", port, toxics, seed)
    return Proxy("127.0.0.1", port, toxics, seed, now=clock.now, sleep=clock.sleep)


async def gone(writer: asyncio.StreamWriter) -> None:
    """Closes it, and waits until that is done."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@asynccontextmanager
async def served(talk: Talk) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            await gone(writer)
            tasks.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
