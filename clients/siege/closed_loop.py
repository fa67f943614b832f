"""Closed loop: the server sets the pace."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic_ns

from yais.clients.siege.balancer import RoundRobinPicker
from yais.clients.siege.in_flight import Check, InFlight, NextRequest
from yais.clients.siege.transports import UnaryCallable
from yais.clients.stats.histogram import SECOND
from yais.clients.stats.recorder import Recorder


class ClosedLoop:
    """Keeps `concurrency` requests in flight: the next one is sent when one ends; otherwise as an `OpenLoop`.

    Nothing is due at a time of its own, so that latency is service time: a server that stalls is sent less, and its
    stall counts once for each of those in flight. It ends after `count` requests or `duration` nanoseconds, both from
    the end of the `warmup` on, whose requests are not counted.
    """

    # Nothing can be dropped where a request is sent only when another one has ended.
    dropped = 0

    def __init__(
        self,
        callables: RoundRobinPicker | Sequence[UnaryCallable],
        next_request: NextRequest,
        *,
        concurrency: int,
        timeout: float,
        count: int | None = None,
        duration: int | None = None,
        warmup: int = 0,
        recorder: Recorder | None = None,
        check: Check | None = None,
    ) -> None:
        self.recorder = recorder or Recorder()
        self.started_at = 0
        self._in_flight = InFlight(
            callables, next_request, self.recorder, timeout=timeout, check=check, on_done=self._send_soon
        )
        self._concurrency = concurrency
        self._left = count
        self._duration = duration
        self._warmup = warmup
        self._is_stopping = asyncio.Event()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def counted_from(self) -> int:
        return self.started_at + self._warmup

    async def run(self, at: int | None = None) -> None:
        """Sends until the end, then waits for what is in flight; it begins `at`, as an `OpenLoop` does."""
        self.started_at = monotonic_ns() if at is None else at
        self.recorder.start(self.counted_from)
        seconds = None if self._duration is None else (self._warmup + self._duration) / SECOND
        try:
            await asyncio.sleep((self.started_at - monotonic_ns()) / SECOND)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._keep_sending(), seconds)
            self.stop()
            await self._in_flight.wait_idle()
        finally:
            self.cancel()

    def stop(self) -> None:
        """Sends no more; what is in flight is still waited for."""
        self._is_stopping.set()

    def cancel(self) -> None:
        """Ends what is in flight, as cancelled, and sends no more."""
        self.stop()
        self._in_flight.cancel()

    async def _keep_sending(self) -> None:
        for _ in range(self._concurrency):
            self._send()
        await self._is_stopping.wait()

    def _send(self) -> None:
        if self._is_stopping.is_set():
            return
        now = monotonic_ns()
        # Due when sent, so that its latency is service time.
        self._in_flight.send(now, now)
        # Requests of the warm-up come on top of `count`.
        if self._left is not None and now >= self.counted_from:
            self._left -= 1
            if not self._left:
                self.stop()

    def _send_soon(self) -> None:
        # Not at once: a callable that fails within the send would be asked again from within, without an end.
        asyncio.get_running_loop().call_soon(self._send)
