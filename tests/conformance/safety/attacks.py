"""What attackers do in common."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from conformance.protocol.peer import Peer

# Enough for a server to lose patience: of the smallest frames these are 200,000.
PORTIONS = 64
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


def portion(frame: bytes) -> bytes:
    """About as many copies of a frame as the server reads at a time."""
    return frame * max(1, _PORTION // len(frame))


def code_of(peer: Peer) -> ErrorCodes | None:
    """Why the server said that it hung up, if it was heard."""
    codes = [ErrorCodes(frame.error_code) for frame in peer.seen if isinstance(frame, GoAwayFrame)]
    return codes[-1] if codes else None
