"""A connected socket without the manners of asyncio's streams: what came before a reset can still be read."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Self

_PORTION = 2**16
_RESET = bytes((1, 0, 0, 0, 0, 0, 0, 0))


class Line:
    """The bytes of one connection. Nothing is read that nobody asks for."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = sock
        self.received = bytearray()
        # Whether the other end has hung up, as far as reading or writing has shown.
        self.is_over = False

    @classmethod
    async def connect(cls, port: int) -> Self:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        return cls(sock)

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes. Raises EOFError or ConnectionError when they do not come any more."""
        await self.fill(size)
        data = bytes(self.received[:size])
        del self.received[:size]
        return data

    async def fill(self, size: int) -> None:
        """Waits until `received` has so many bytes; raises as `read` does."""
        while len(self.received) < size:
            await self._receive()

    async def write(self, data: bytes) -> None:
        """Waits until all is sent. That the other end has gone is found out by reading."""
        try:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except ConnectionError:
            self.is_over = True

    def push(self, data: bytes) -> None:
        """Sends what can be sent without waiting."""
        with suppress(BlockingIOError, ConnectionError):
            self.socket.send(data)

    def abort(self) -> None:
        """Ends the connection by a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    async def _receive(self) -> None:
        try:
            data = await asyncio.get_running_loop().sock_recv(self.socket, _PORTION)
        except ConnectionError:
            self.is_over = True
            raise
        if not data:
            self.is_over = True
            raise EOFError
        self.received += data


@asynccontextmanager
async def listening(accept: Callable[[socket.socket], None]) -> AsyncIterator[int]:
    """The port of a server that hands each of its connections to `accept`."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        server.setblocking(False)

        async def take() -> None:
            while True:
                accept((await asyncio.get_running_loop().sock_accept(server))[0])

        task = asyncio.create_task(take())
        try:
            yield server.getsockname()[1]
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
