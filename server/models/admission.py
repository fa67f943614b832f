"""Admission of requests: none once the server drains. Counts the accepted ones that are still unanswered."""

import asyncio

from yais.server.errors import DrainingError


class Admission:
    """Counts requests, which are in flight from `enter` to `leave`."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.is_closed = False
        self._empty = asyncio.Event()

    def check(self) -> None:
        """Raises `DrainingError` after `close`."""
        if self.is_closed:
            raise DrainingError

    def enter(self) -> None:
        """Raises `DrainingError` after `close`."""
        self.check()
        self.in_flight += 1

    def leave(self) -> None:
        self.in_flight -= 1
        # The event has a meaning only once no further request can come.
        if self.is_closed:
            self._note_empty()

    def close(self) -> None:
        self.is_closed = True
        self._note_empty()

    async def wait_empty(self) -> None:
        """Waits, after `close`, until all accepted requests have been answered."""
        await self._empty.wait()

    def _note_empty(self) -> None:
        if not self.in_flight:
            self._empty.set()
