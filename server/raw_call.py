"""A unary call whose messages are bytes, as a callback sees it; the native transport's `ServerCall` is one."""

import asyncio
from typing import Protocol

import grpc

Outcome = bytes | tuple[grpc.StatusCode, str]


class Listener(Protocol):
    """Who is told what becomes of a call."""

    def changed(self) -> None: ...

    def closed(self) -> None:
        """The call is over."""


class RawCall(Protocol):
    """Answered once, by `respond` or `fail`; whatever is said when it `is_over` is lost.

    `listener`, while there is one, hears of its end, also of one that the caller made. `deadline` is in seconds of the
    monotonic clock, infinite where there is none.
    """

    listener: Listener | None

    @property
    def deadline(self) -> float: ...

    @property
    def is_over(self) -> bool: ...

    def respond(self, *buffers: bytes) -> None: ...

    def fail(self, code: grpc.StatusCode, details: str = "") -> None: ...

    def hold_back(self) -> None:
        """More requests from the same client would be refused as well; it may be read more slowly."""


class AwaitedCall:
    """A `RawCall` for a coroutine of grpcio's, which waits for what becomes of it."""

    def __init__(self, deadline: float) -> None:
        self.listener: Listener | None = None
        self.deadline = deadline
        self._outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    @property
    def is_over(self) -> bool:
        # A cancelled task cancels the future that it waits for at once, but hears of it only in the next turn.
        return self._outcome.done()

    def respond(self, *buffers: bytes) -> None:
        if not self.is_over:
            self._outcome.set_result(b"".join(buffers))

    def fail(self, code: grpc.StatusCode, details: str = "") -> None:
        if not self.is_over:
            self._outcome.set_result((code, details))

    def hold_back(self) -> None:
        """Does nothing: grpcio reads as it likes."""

    async def wait(self) -> Outcome:
        """The response, or status and text; tells the listener when the waiting is cancelled."""
        try:
            return await self._outcome
        finally:
            if self.listener is not None:
                self.listener.closed()
