"""Notification of changes of a call: to the tasks that wait for them, and to the application's callbacks."""

import asyncio
from collections.abc import Callable
from typing import Any


class Condition:
    """`asyncio.Condition` without its lock: on one event loop nothing can change between a predicate and the wait."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []

    def notify_all(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            # The future of a task that was cancelled is done already.
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Returns once `predicate()` is true; it is asked at once, and again after each `notify_all`."""
        while not predicate():
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter


def run_callback(loop: asyncio.AbstractEventLoop, callback: Callable[[Any], object], call: object) -> None:
    """Calls `callback(call)` at the end of a call. Its errors go to the loop's handler, so that other callbacks run."""
    try:
        callback(call)
    except Exception as error:
        loop.call_exception_handler({"message": "A callback of a call failed", "exception": error})
