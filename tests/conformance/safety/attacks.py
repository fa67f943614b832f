"""What attackers do in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, PingFrame

from conformance.protocol.peer import Peer
from yais.clients.siege.chaos.h2 import PING, frame

# Enough for a server to lose patience: of the smallest frames these are 200,000.
PORTIONS = 64
_QUESTION = b"are you?"
_PORTION = 32 * 1024


@asynccontextmanager
async def reading(peer: Peer) -> AsyncIterator[None]:
    """Takes all that the server sends meanwhile, into `peer.seen`."""

    async def read() -> None:
        with suppress(EOFError, ConnectionError):
            while True:
                await peer.frame(patience=None)

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def flood(peer: Peer, make: Callable[[int], bytes], times: int = PORTIONS) -> None:
    """Sends `make(0)`, `make(1)` and so on, as fast as the server takes it, until it hangs up."""
    async with reading(peer):
        for number in range(times):
            await peer.send(make(number))
            if peer.is_over:
                break
            await asyncio.sleep(0)


async def survives(peer: Peer) -> bool:
    """Whether the connection does, once the server has read all that was sent; it may take no more calls even so."""
    await peer.send(frame(PING, payload=_QUESTION))
    with suppress(EOFError, ConnectionError):
        while True:
            reply = await peer.frame()
            if isinstance(reply, PingFrame) and "ACK" in reply.flags and reply.opaque_data == _QUESTION:
                return True
    return False


def portion(piece: bytes) -> bytes:
    """About as many copies of a frame as the server reads at a time."""
    return piece * max(1, _PORTION // len(piece))


def code_of(peer: Peer) -> ErrorCodes | None:
    """Why the server said that it hung up, if it was heard."""
    codes = [ErrorCodes(frame.error_code) for frame in peer.seen if isinstance(frame, GoAwayFrame)]
    return codes[-1] if codes else None
