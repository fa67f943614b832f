"""Who may come in: nobody once the server drains. Knows how much accepted work is still unanswered."""

import asyncio

from yais.server.errors import DrainingError


class Admission:
    """The server's door: a request is in flight for as long as a `with` block on it runs.

    Entering raises `DrainingError` after `close`.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.is_closed = False
        self._empty = asyncio.Event()

    def __enter__(self) -> None:
        if self.is_closed:
            raise DrainingError
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1
        self._note_empty()

    def close(self) -> None:
        self.is_closed = True
        self._note_empty()

    async def wait_empty(self) -> None:
        """Waits, after `close`, until all accepted requests have been answered."""
        await self._empty.wait()

    def _note_empty(self) -> None:
        if self.is_closed and not self.in_flight:
            self._empty.set()
