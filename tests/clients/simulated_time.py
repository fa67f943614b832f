"""A clock that is set forward instead of waited for: minutes of traffic in a second, and no machine too busy for it."""

import asyncio
from collections.abc import Callable, Coroutine
from selectors import DefaultSelector, SelectorKey
from typing import Any, TypeVar

import pytest

from yais.clients.siege import closed_loop, in_flight, open_loop
from yais.clients.stats.histogram import SECOND

Result = TypeVar("Result")

_START = 100 * SECOND


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose waits are over at once, when its clock has been set to their end."""

    def __init__(self) -> None:
        self._now = _START
        super().__init__(_Skipping(self.skip))
        # Times are whole nanoseconds: what is due in one of them is not due in the one before.
        self._clock_resolution = 1e-10

    def now_ns(self) -> int:
        return self._now

    def time(self) -> float:
        return self._now / SECOND

    def skip(self, seconds: float) -> None:
        self._now += round(seconds * SECOND)


class _Skipping(DefaultSelector):
    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing is left that could happen")
        self._skip(timeout)
        return super().select(0)


class SimulatedTimer:
    """The timer of an open loop, on one of the loop, which here is as exact as the clock."""

    def __init__(self, fire: Callable[[], int | None]) -> None:
        self._fire = fire

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while (when := self._fire()) is not None:
            reached = asyncio.Event()
            loop.call_at(when / SECOND, reached.set)
            await reached.wait()


def run_simulated(patch: pytest.MonkeyPatch, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """What `work` comes to where all of siege's traffic goes by a simulated clock."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, SimulatedLoop)
        for module in (closed_loop, in_flight, open_loop):
            patch.setattr(module, "monotonic_ns", loop.now_ns)
        patch.setattr(open_loop, "Timer", SimulatedTimer)
        return runner.run(work())
