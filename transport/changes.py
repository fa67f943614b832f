"""Notification of those who wait for changes of a call."""

import asyncio
from collections.abc import Callable
from typing import Any


class Changes:
    """A condition of one event loop: `until` waits, and looks again after each `changed`."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def changed(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[[Any], object], call: object) -> None:
    """Calls what an application wants to be called at the end of a call; its mistakes keep nobody else from hearing."""
    try:
        callback(call)
    except Exception as error:
        loop.call_exception_handler({"message": "A callback of a call failed", "exception": error})
