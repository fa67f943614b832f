"""Deadlines of many calls, kept by one timer."""

import asyncio
from itertools import takewhile

from yais.transport.client_call import ClientCall

_DEADLINE_EXCEEDED = 4


class Deadlines:
    """Ends the calls that are not over `timeout` seconds after they began.

    They expire in the order in which they began, so that the timer of the oldest is enough. A timer of the event loop
    for each would be a sixth of what a call costs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        self._loop = loop
        self._timeout = timeout
        self._calls: dict[ClientCall, float] = {}
        self._is_set = False

    def __len__(self) -> int:
        return len(self._calls)

    def watch(self, call: ClientCall) -> None:
        deadline = self._loop.time() + self._timeout
        self._calls[call] = deadline
        call.timer = _Watched(self._calls, call)
        if not self._is_set:
            self._set(deadline)

    def _set(self, deadline: float) -> None:
        self._is_set = True
        self._loop.call_at(deadline, self._expire)

    def _expire(self) -> None:
        self._is_set = False
        now = self._loop.time()
        for call, _ in list(takewhile(lambda watched: watched[1] <= now, self._calls.items())):
            call.cancel(_DEADLINE_EXCEEDED, "Deadline Exceeded")
        if self._calls and not self._is_set:
            self._set(next(iter(self._calls.values())))


class _Watched:
    """What a call knows of its timer."""

    __slots__ = ("_call", "_calls")

    def __init__(self, calls: dict[ClientCall, float], call: ClientCall) -> None:
        self._calls = calls
        self._call = call

    def cancel(self) -> None:
        del self._calls[self._call]
