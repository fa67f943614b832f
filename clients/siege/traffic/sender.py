"""The open loop: sends whatever is due, whatever the replies do."""

from collections.abc import Callable, Sequence
from time import monotonic_ns

from yais.clients.siege.schedules.pacer import Arrivals, Pacer
from yais.clients.siege.traffic.alarm import Alarm
from yais.clients.siege.traffic.flights import Check, Flights, Take
from yais.clients.siege.traffic.lines import Line
from yais.clients.siege.traffic.turns import Turns
from yais.clients.stats.recorder import Recorder


class Sender:
    """Sends a request whenever `pacer` says that an arrival is due, and writes down what became of it.

    An arrival that finds `max_outstanding` requests in flight is held back: recorded as such and never sent, for to
    send it late would let the server set the pace. What is due in the first `warmup` nanoseconds is not counted.
    """

    def __init__(
        self,
        lines: Turns | Sequence[Line],
        take: Take,
        pacer: Pacer,
        *,
        timeout: float,
        max_outstanding: int,
        warmup: int = 0,
        recorder: Recorder | None = None,
        check: Check | None = None,
        on_first_held_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.recorder = recorder or Recorder()
        self.held_back = 0
        self.started_at = 0
        self._flights = Flights(lines, take, self.recorder, timeout=timeout, check=check)
        self._arrivals = Arrivals(pacer)
        self._max_outstanding = max_outstanding
        self._warmup = warmup
        self._on_first_held_back = on_first_held_back
        self._alarm: Alarm | None = None
        self._is_stopping = False

    @property
    def in_flight(self) -> int:
        return len(self._flights)

    @property
    def counted_from(self) -> int:
        return self.started_at + self._warmup

    async def run(self, at: int | None = None) -> None:
        """Goes through the schedule, then waits for what is in flight; every request carries its own deadline.

        The schedule begins `at`, in nanoseconds of the monotonic clock, as several processes agree; else now.
        """
        self._alarm = Alarm(self._release)
        self.started_at = monotonic_ns() if at is None else at
        self.recorder.start(self.counted_from)
        try:
            await self._alarm.run()
            await self._flights.all_landed()
        finally:
            self.cancel()

    def stop(self) -> None:
        """Ends the schedule here; what is in flight is still waited for."""
        self._is_stopping = True
        if self._alarm is not None:
            self._alarm.wake()

    def cancel(self) -> None:
        """Ends what is in flight, as cancelled."""
        self._flights.cancel()

    def _release(self) -> int | None:
        """Sends what is due, and tells when the next arrival will be; None at the end of the schedule.

        After a stall that is a block at a time, so that answers are read in between.
        """
        if self._is_stopping:
            return None
        for due in self._arrivals.take(monotonic_ns() - self.started_at):
            self._offer(self.started_at + due)
        next_due = self._arrivals.next_due
        return None if next_due is None else self.started_at + next_due

    def _offer(self, due: int) -> None:
        if len(self._flights) < self._max_outstanding:
            self._flights.send(due, monotonic_ns())
        else:
            self._hold_back(due)

    def _hold_back(self, due: int) -> None:
        self._flights.hold_back(due)
        self.held_back += 1
        if self.held_back == 1:
            self._on_first_held_back()
