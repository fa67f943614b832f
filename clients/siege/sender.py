"""The open loop: sends whatever is due, whatever the replies do."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic_ns
from typing import Protocol

import grpc

from yais.clients.records import Records
from yais.clients.siege.alarm import Alarm
from yais.clients.siege.pacer import Pacer, released


class Method(Protocol):
    """A unary method of a channel, without serialisers: bytes in, bytes out."""

    def __call__(self, request: bytes, *, timeout: float) -> Awaitable[bytes]: ...


class Sender:
    """Sends `request` whenever `pacer` says that an arrival is due, and writes down what became of it.

    An arrival that finds `max_outstanding` requests in flight is held back: recorded as such and never sent, for to
    send it late would let the server set the pace. The `methods`, one a connection, take turns.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        request: bytes,
        pacer: Pacer,
        *,
        timeout: float,
        max_outstanding: int,
        on_first_held_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.records = Records()
        self.in_flight = 0
        self.held_back = 0
        self.started_at = 0
        self._methods = methods
        self._request = request
        self._pacer = pacer
        self._timeout = timeout
        self._max_outstanding = max_outstanding
        self._on_first_held_back = on_first_held_back
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: Alarm | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Goes through the schedule, then waits for what is in flight; every request carries its own deadline."""
        self._alarm = Alarm()
        try:
            await self._follow_schedule(self._alarm)
            if self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            self.cancel()
            self._alarm.close()

    def stop(self) -> None:
        """Ends the schedule here; what is in flight is still waited for."""
        self._stopping.set()
        if self._alarm is not None:
            self._alarm.wake()

    def cancel(self) -> None:
        """Ends what is in flight, as cancelled."""
        for task in self._tasks:
            task.cancel()

    async def _follow_schedule(self, alarm: Alarm) -> None:
        start = self.started_at = monotonic_ns()
        arrivals = 0
        while not self._stopping.is_set() and (next_due := self._pacer.due(arrivals)) is not None:
            await alarm.until(start + next_due)
            if self._stopping.is_set():
                return
            for due in released(self._pacer, monotonic_ns() - start, arrivals):
                self._offer(start + due, arrivals)
                arrivals += 1

    def _offer(self, due: int, arrival: int) -> None:
        if self.in_flight >= self._max_outstanding:
            self._hold_back(due)
            return
        self.in_flight += 1
        task = asyncio.create_task(self._exchange(due, self._methods[arrival % len(self._methods)]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _hold_back(self, due: int) -> None:
        self.records.hold_back(due)
        self.held_back += 1
        if self.held_back == 1:
            self._on_first_held_back()

    async def _exchange(self, due: int, method: Method) -> None:
        sent = monotonic_ns()
        try:
            await method(self._request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            self.records.add_failure(due, sent, monotonic_ns(), error.code(), error.details() or "no details given")
        except asyncio.CancelledError:
            self.records.add_failure(due, sent, monotonic_ns(), grpc.StatusCode.CANCELLED, "cancelled by siege")
        except Exception as error:
            # Whatever else the channel raises, the run goes on and the counts add up.
            self.records.add_failure(due, sent, monotonic_ns(), grpc.StatusCode.UNKNOWN, repr(error))
        else:
            self.records.add(due, sent, monotonic_ns())
        finally:
            self.in_flight -= 1
