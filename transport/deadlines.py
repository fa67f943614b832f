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
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def watch(self, call: ClientCall) -> None:
        deadline = self._loop.time() + self._timeout
        self._calls[call] = deadline
        call.timer = _DeadlineTimer(self, call)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)

    def forget(self, call: ClientCall) -> None:
        """The call is over. Without any, no timer stays behind in the event loop."""
        del self._calls[call]
        if not self._calls and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        # A list, since a call that is cancelled here leaves `_calls`, as may others in its callback.
        for call, _ in list(takewhile(lambda watched: watched[1] <= now, self._calls.items())):
            call.cancel(_DEADLINE_EXCEEDED, "Deadline Exceeded")
        # A callback may have begun a call, and set the timer.
        if self._calls and self._timer is None:
            self._timer = self._loop.call_at(next(iter(self._calls.values())), self._expire)


class _DeadlineTimer:
    """The timer of one call, which the call cancels at its end."""

    __slots__ = ("_call", "_deadlines")

    def __init__(self, deadlines: Deadlines, call: ClientCall) -> None:
        self._deadlines = deadlines
        self._call = call

    def cancel(self) -> None:
        self._deadlines.forget(self._call)
