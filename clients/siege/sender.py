"""The open loop: sends whatever is due, whatever the replies do."""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic_ns

import grpc

from yais.clients.records import OK, STATUS_NUMBERS, Records
from yais.clients.siege.alarm import Alarm
from yais.clients.siege.lines import Call, Line
from yais.clients.siege.pacer import Pacer, released

_CANCELLED = STATUS_NUMBERS[grpc.StatusCode.CANCELLED]
_CODES = {number: code for code, number in STATUS_NUMBERS.items()}


class Sender:
    """Sends `request` whenever `pacer` says that an arrival is due, and writes down what became of it.

    An arrival that finds `max_outstanding` requests in flight is held back: recorded as such and never sent, for to
    send it late would let the server set the pace. The `lines`, one a connection, take turns.
    """

    def __init__(
        self,
        lines: Sequence[Line],
        request: bytes,
        pacer: Pacer,
        *,
        timeout: float,
        max_outstanding: int,
        on_first_held_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.records = Records()
        self.held_back = 0
        self.started_at = 0
        self._lines = lines
        self._request = request
        self._pacer = pacer
        self._timeout = timeout
        self._max_outstanding = max_outstanding
        self._on_first_held_back = on_first_held_back
        # What is in flight: when it was due, when it was sent, and on which line it may be sent again.
        self._calls: dict[Call, tuple[int, int, Line | None]] = {}
        self._none_in_flight = asyncio.Event()
        self._arrivals = 0
        self._alarm: Alarm | None = None
        self._is_stopping = False

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    async def run(self) -> None:
        """Goes through the schedule, then waits for what is in flight; every request carries its own deadline."""
        self._alarm = Alarm(self._release)
        self.started_at = monotonic_ns()
        try:
            await self._alarm.run()
            if self._calls:
                self._none_in_flight.clear()
                await self._none_in_flight.wait()
        finally:
            self.cancel()

    def stop(self) -> None:
        """Ends the schedule here; what is in flight is still waited for."""
        self._is_stopping = True
        if self._alarm is not None:
            self._alarm.wake()

    def cancel(self) -> None:
        """Ends what is in flight, as cancelled."""
        for call in list(self._calls):
            call.cancel(_CANCELLED, "cancelled by siege")

    def _release(self) -> int | None:
        """Sends what is due, and tells when the next arrival will be; None at the end of the schedule."""
        if self._is_stopping:
            return None
        for due in released(self._pacer, monotonic_ns() - self.started_at, self._arrivals):
            self._offer(self.started_at + due, self._lines[self._arrivals % len(self._lines)])
            self._arrivals += 1
        next_due = self._pacer.due(self._arrivals)
        return None if next_due is None else self.started_at + next_due

    def _offer(self, due: int, line: Line) -> None:
        if len(self._calls) < self._max_outstanding:
            self._send(due, monotonic_ns(), line, again=line)
        else:
            self._hold_back(due)

    def _send(self, due: int, sent: int, line: Line, again: Line | None) -> None:
        try:
            call = line(self._request, self._ended, self._timeout)
        except ConnectionError as error:
            self._fail(due, sent, grpc.StatusCode.UNAVAILABLE, str(error))
        except Exception as error:
            # Whatever else a line raises, the run goes on and the counts add up.
            self._fail(due, sent, grpc.StatusCode.UNKNOWN, repr(error))
        else:
            self._calls[call] = due, sent, again

    def _hold_back(self, due: int) -> None:
        self.records.hold_back(due)
        self.held_back += 1
        if self.held_back == 1:
            self._on_first_held_back()

    def _ended(self, call: Call) -> None:
        due, sent, again = self._calls.pop(call)
        if call.status == OK:
            self.records.add(due, sent, monotonic_ns())
        elif again is not None and call.was_refused:
            self._send(due, sent, again, again=None)
        else:
            self._fail(due, sent, _CODES.get(call.status, grpc.StatusCode.UNKNOWN), call.details)
        if not self._calls:
            self._none_in_flight.set()

    def _fail(self, due: int, sent: int, code: grpc.StatusCode, details: str) -> None:
        self.records.add_failure(due, sent, monotonic_ns(), code, details or "no details given")
