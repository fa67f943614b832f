"""The pause between probes, until the server has drained."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable


class Settling:
    """Waits between probes until the server has drained: until a lone request takes hardly longer than at the start.

    `ping` sends a lone request and gives its nanoseconds, infinite for one that failed. After `patience` seconds it
    waits no longer.
    """

    _PINGS = 9
    _HARDLY = 1.5
    _HARDLY_NS = 200_000
    _PAUSE = 0.1

    def __init__(
        self,
        ping: Callable[[], Awaitable[float]],
        patience: float = 30.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._ping = ping
        self._attempts = int(patience / self._PAUSE)
        self._sleep = sleep
        self._base: float | None = None

    async def settle(self) -> bool:
        """Whether the server has settled; the first call learns how quick it is."""
        if self._base is None:
            self._base = await self._latency()
            return True
        for _ in range(self._attempts):
            if await self._latency() <= self._base * self._HARDLY + self._HARDLY_NS:
                return True
            await self._sleep(self._PAUSE)
        return False

    async def _latency(self) -> float:
        return statistics.median([await self._ping() for _ in range(self._PINGS)])
