"""A relay between a channel and a server, which counts what passes and can hold it back or cut it off."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

_PIECE = 64 * 1024
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Relay:
    """`sent` and `received` count the bytes that passed from and to the channel; `connections` all that were made."""

    host: str
    port: int
    sent: int = 0
    received: int = 0
    connections: int = 0
    target: str = ""
    _is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _passed: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def to(cls, target: str) -> AsyncIterator[Self]:
        host, _, port = target.rpartition(":")
        relay = cls(host, int(port))
        server = await asyncio.start_server(relay._begin, "127.0.0.1", 0)
        relay.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        relay.resume()
        try:
            yield relay
        finally:
            server.close()
            await relay.cut()

    def hold(self) -> None:
        """Passes nothing on, in either direction, until `resume`."""
        self._is_open.clear()

    def resume(self) -> None:
        self._is_open.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looks at `condition` again whenever something has passed."""
        while not condition():
            self._passed.clear()
            await self._passed.wait()

    async def cut(self) -> None:
        """Drops all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._run((reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, client: Connection) -> None:
        server = await asyncio.open_connection(self.host, self.port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(client[0], server[1], "sent"))
                group.create_task(self._pass_on(server[0], client[1], "received"))
        except* ConnectionError:
            pass
        finally:
            client[1].transport.abort()
            server[1].transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counter: str) -> None:
        while piece := await reader.read(_PIECE):
            await self._is_open.wait()
            setattr(self, counter, getattr(self, counter) + len(piece))
            self._passed.set()
            writer.write(piece)
            await writer.drain()
        raise ConnectionError("One side has closed")
