"""A hostile server, and the native channel that it has caught."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from hyperframe.frame import DataFrame, HeadersFrame

from conformance.protocol.fields import Fields
from conformance.protocol.line import listening
from conformance.protocol.peer import Peer
from conformance.protocol.serving import PATIENCE_S
from yais import transport
from yais.clients.siege.chaos.h2 import DATA, END_HEADERS, END_STREAM, frame, message

OK: Fields = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS: Fields = [("grpc-status", "0")]


class Hostile:
    """Takes the connections of `channel`, one by one, as peers that a test speaks for."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.taken: list[Peer] = []
        self.channel: transport.Channel

    def call(self, body: bytes = b"hello", timeout: float = PATIENCE_S) -> "asyncio.Future[bytes]":
        """A unary call, which begins at once."""
        return asyncio.ensure_future(self._answer(self.channel.unary_unary("/test.Probe/Echo")(body, timeout=timeout)))

    async def connection(self, values: dict[int, int] | None = None) -> Peer:
        """The channel's next connection, which has shaken hands."""
        peer = await self.bare_connection()
        await peer.shake_hands(values, is_client=False)
        return peer

    async def bare_connection(self) -> Peer:
        async with asyncio.timeout(PATIENCE_S):
            peer = await self.peers.get()
        self.taken.append(peer)
        return peer

    async def called(self, body: bytes = b"hello") -> tuple[asyncio.Future[bytes], Peer]:
        """A call whose request has come in, as the first of a connection."""
        call = self.call(body)
        peer = await self.connection()
        await peer.expect(HeadersFrame, 1)
        while "END_STREAM" not in (await peer.expect(DataFrame, 1)).flags:
            pass
        return call, peer

    async def _answer(self, call: Awaitable[bytes]) -> bytes:
        return await call

    def accept(self, sock: socket.socket) -> None:
        self.peers.put_nowait(Peer(sock))

    def close(self) -> None:
        while not self.peers.empty():
            self.taken.append(self.peers.get_nowait())
        for peer in self.taken:
            peer.close()


@asynccontextmanager
async def hostile_server(*options: tuple[str, int]) -> AsyncIterator[Hostile]:
    hostile = Hostile()
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(hostile.accept))
        hostile.channel = await stack.enter_async_context(
            transport.insecure_channel(f"127.0.0.1:{port}", options=options)
        )
        stack.callback(hostile.close)
        yield hostile


def answer(peer: Peer, stream: int = 1, body: bytes = b"hello") -> bytes:
    """All frames of a legal answer."""
    return b"".join(
        (
            peer.headers(stream, OK),
            frame(DATA, 0, stream, message(body)),
            peer.headers(stream, TRAILERS, END_HEADERS | END_STREAM),
        )
    )


async def error_of(call: Awaitable[bytes]) -> grpc.aio.AioRpcError:
    """What a call fails with."""
    try:
        result = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call was answered with {result!r}")


async def status_of(call: Awaitable[bytes]) -> grpc.StatusCode:
    return (await error_of(call)).code()
