"""Who may come in: nobody once the server drains. Knows how much accepted work is still unanswered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from yais.server.errors import DrainingError


class Admission:
    """The server's door. `in_flight` requests have come in and not been answered yet."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.is_closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Counts the request for as long as the block runs. Raises `DrainingError` after `close`."""
        if self.is_closed:
            raise DrainingError
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if self.is_closed and not self.in_flight:
                self._empty.set()

    def close(self) -> None:
        self.is_closed = True
        if self.in_flight:
            self._empty.clear()

    async def wait_empty(self) -> None:
        """Waits, after `close`, until all accepted requests have been answered."""
        await self._empty.wait()
