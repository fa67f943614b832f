"""Proxy for TCP that does to connections what networks do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from random import Random
from time import monotonic
from typing import Any, Literal

from yais.clients.siege.chaos.h2 import abort
from yais.clients.siege.chaos.toxics import Chunk, Chunks, ConfiguredToxic

_CHUNK_BYTES = 65_536
# What may have come in on one side and not gone out on the other yet, before the side is no longer read.
_CHUNKS = 16
# A client that does not read must not keep the proxy from its end.
_FLUSH_S = 0.5

Now = Callable[[], float]
Sleep = Callable[[float], Awaitable[object]]


class Proxy:
    """Passes connections on to `host:port`, through `toxics`; each connection has random numbers of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        toxics: Sequence[ConfiguredToxic],
        seed: str = "0",
        *,
        now: Now = monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.connections = 0
        self._host, self._port = host, port
        self._toxics = toxics
        self._seed = seed
        self._now, self._sleep = now, sleep
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
        """Gives the port that it listens on. Raises OSError when that cannot be had."""
        server = await asyncio.start_server(self._accept, host, port)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        random = Random(f"{self._seed}/{self.connections}")
        self.connections += 1
        task = asyncio.create_task(self._pass_on(reader, writer, random))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Also for one that is cancelled before it has begun.
        task.add_done_callback(lambda _: writer.close())

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, random: Random) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            # Nobody is there, which a network reports by RST.
            abort(writer)
            return
        link = ProxiedConnection(writer, far_writer, random, self._now, self._sleep)
        try:
            # One draw for each toxic and both directions; all are drawn, so that none shifts the others.
            drawn = [(configured, random.random() < configured.toxicity) for configured in self._toxics]
            applied = [configured for configured, applies in drawn if applies]
            await link.run(_towards("up", applied), reader, _towards("down", applied), far_reader)
        finally:
            await link.end()


class ProxiedConnection:
    """One client and the server, with what is between them; a `ToxicLink`."""

    def __init__(
        self, near: asyncio.StreamWriter, far: asyncio.StreamWriter, random: Random, now: Now, sleep: Sleep
    ) -> None:
        self.random = random
        self.now, self.sleep = now, sleep
        self._near, self._far = near, far
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []

    async def run(
        self,
        up: Sequence[ConfiguredToxic],
        near: asyncio.StreamReader,
        down: Sequence[ConfiguredToxic],
        far: asyncio.StreamReader,
    ) -> None:
        """Returns when both directions have come to their end, or a toxic has ended them."""
        ways = [
            asyncio.create_task(self._carry(near, up, self._far)),
            asyncio.create_task(self._carry(far, down, self._near)),
        ]
        self._tasks += ways
        over = asyncio.create_task(self._over.wait())
        self._tasks.append(over)
        going = set(ways)
        while going and not over.done():
            done, _ = await asyncio.wait((*going, over), return_when=asyncio.FIRST_COMPLETED)
            for way in going & done:
                way.result()
            going -= done

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        async def wait_and_act() -> None:
            await self.sleep(seconds)
            action()

        self._tasks.append(asyncio.create_task(wait_and_act()))

    def close(self) -> None:
        self._over.set()

    def reset(self) -> None:
        for writer in (self._near, self._far):
            abort(writer)
        self._over.set()

    async def closed(self) -> None:
        await self._over.wait()

    async def end(self) -> None:
        self._over.set()
        for task in self._tasks:
            task.cancel()
        # Before anything is waited for, since that may be cancelled.
        for writer in (self._near, self._far):
            writer.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in (self._near, self._far):
            await _flush(writer)

    async def _carry(
        self, reader: asyncio.StreamReader, toxics: Sequence[ConfiguredToxic], writer: asyncio.StreamWriter
    ) -> None:
        queue: asyncio.Queue[Chunk | None] = asyncio.Queue(_CHUNKS)
        self._tasks.append(asyncio.create_task(self._receive(reader, queue)))
        chunks: Chunks = _until_the_end(queue)
        for configured in toxics:
            chunks = configured.toxic.apply(chunks, self)
        with suppress(ConnectionError):
            async for chunk in chunks:
                # One that a toxic has reset takes no more.
                if writer.is_closing():
                    return
                writer.write(chunk.data)
                await writer.drain()
            if not writer.is_closing():
                # Half-closed: the other direction may still have bytes to carry.
                writer.write_eof()

    async def _receive(self, reader: asyncio.StreamReader, queue: "asyncio.Queue[Chunk | None]") -> None:
        """Reads on while toxics take their time, so that each chunk has the time when it came."""
        try:
            while data := await reader.read(_CHUNK_BYTES):
                await queue.put(Chunk(data, self.now()))
            await queue.put(None)
        except ConnectionError:
            # The other side must not wait for a side that was reset.
            self.reset()


def _towards(way: Literal["up", "down"], toxics: Sequence[ConfiguredToxic]) -> list[ConfiguredToxic]:
    return [configured for configured in toxics if configured.stream in (way, "both")]


async def _flush(writer: asyncio.StreamWriter) -> None:
    """Waits until what was written has been read, though not for long."""
    try:
        async with asyncio.timeout(_FLUSH_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        return


async def _until_the_end(queue: "asyncio.Queue[Chunk | None]") -> Chunks:
    while (chunk := await queue.get()) is not None:
        yield chunk
