"""A line that leads nowhere: what is sent on it is answered as a test says."""

import asyncio
from collections.abc import Callable

from yais.clients.siege.transports import Done
from yais.clients.stats.outcomes import OK


class FakeCall:
    """Ends by `end`, once."""

    def __init__(self, request: bytes, done: Done) -> None:
        self.request = request
        self.status = -1
        self.details = ""
        self.was_refused = False
        self._done = done

    def end(self, status: int = OK, details: str = "", was_refused: bool = False) -> None:
        if self.status < 0:
            self.status, self.details, self.was_refused = status, details, was_refused
            self._done(self)

    def cancel(self, status: int, details: str, /) -> None:
        self.end(status, details)


class FakeCallable:
    """Keeps what was sent as `calls`, and shows each of them to `receive`; without it, none is answered."""

    def __init__(self, receive: Callable[[FakeCall], object] = lambda call: None) -> None:
        self.calls: list[FakeCall] = []
        self.timeouts: set[float] = set()
        self._receive = receive

    def __call__(self, request: bytes, done: Done, timeout: float, /) -> FakeCall:
        call = FakeCall(request, done)
        self.calls.append(call)
        self.timeouts.add(timeout)
        self._receive(call)
        return call

    def end_all(self) -> None:
        for call in self.calls:
            call.end()


def answer_soon(call: FakeCall) -> None:
    asyncio.get_running_loop().call_soon(call.end)
