"""Open loop: sends whatever is due, whatever the replies do; and the timer that wakes it on time."""

import asyncio
import ctypes
import os
from collections.abc import Callable, Sequence
from time import monotonic_ns

from yais.clients.siege.balancer import RoundRobinPicker
from yais.clients.siege.in_flight import Check, InFlight, NextRequest
from yais.clients.siege.schedules.pacer import Arrivals, Pacer
from yais.clients.siege.transports import UnaryCallable
from yais.clients.stats.recorder import Recorder

# Linux's own values, from <time.h> and <sys/timerfd.h>.
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_LATEST = 2**63 - 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class OpenLoop:
    """Sends a request whenever `pacer` says that an arrival is due, and writes down what became of it.

    An arrival that finds `max_outstanding` requests in flight is dropped: recorded as such and never sent, for to
    send it late would let the server set the pace. What is due in the first `warmup` nanoseconds is not counted.
    """

    def __init__(
        self,
        callables: RoundRobinPicker | Sequence[UnaryCallable],
        next_request: NextRequest,
        pacer: Pacer,
        *,
        timeout: float,
        max_outstanding: int,
        warmup: int = 0,
        recorder: Recorder | None = None,
        check: Check | None = None,
        on_first_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self.recorder = recorder or Recorder()
        self.dropped = 0
        self.started_at = 0
        self._in_flight = InFlight(callables, next_request, self.recorder, timeout=timeout, check=check)
        self._arrivals = Arrivals(pacer)
        self._max_outstanding = max_outstanding
        self._warmup = warmup
        self._on_first_drop = on_first_drop
        self._timer: Timer | None = None
        self._is_stopping = False

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def counted_from(self) -> int:
        return self.started_at + self._warmup

    async def run(self, at: int | None = None) -> None:
        """Goes through the schedule, then waits for what is in flight; every request carries its own deadline.

        The schedule begins `at`, in nanoseconds of the monotonic clock, as several processes agree; else now.
        """
        self._timer = Timer(self._release)
        self.started_at = monotonic_ns() if at is None else at
        self.recorder.start(self.counted_from)
        try:
            await self._timer.run()
            await self._in_flight.wait_idle()
        finally:
            self.cancel()

    def stop(self) -> None:
        """Ends the schedule here; what is in flight is still waited for."""
        self._is_stopping = True
        # The timer may be set to an arrival that will not be sent any more.
        if self._timer is not None:
            self._timer.wake()

    def cancel(self) -> None:
        """Ends what is in flight, as cancelled."""
        self._in_flight.cancel()

    def _release(self) -> int | None:
        """Sends what is due, and returns when the next arrival will be; None at the end of the schedule.

        After a stall that is a block at a time, so that answers are read in between.
        """
        if self._is_stopping:
            return None
        for due in self._arrivals.take(monotonic_ns() - self.started_at):
            due += self.started_at
            if len(self._in_flight) < self._max_outstanding:
                # The clock is read for each request: those before it in the block have taken their time.
                self._in_flight.send(due, monotonic_ns())
            else:
                self._in_flight.drop(due)
                self.dropped += 1
                if self.dropped == 1:
                    self._on_first_drop()
        next_due = self._arrivals.next_due
        return None if next_due is None else self.started_at + next_due


class Timer:
    """Calls `fire`, and again at the time of the monotonic clock that it returns: 0.1 ms late on an idle machine.

    Times are in nanoseconds; one that has passed fires at once, and None ends it. The timers of an event loop only
    count whole milliseconds, which would show in every latency; a Linux timerfd has the clock's own resolution. (The
    `os` module wraps it from Python 3.13 on.)
    """

    def __init__(self, fire: Callable[[], int | None]) -> None:
        self._fire = fire
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # The symbols of this process, whichever C library it was linked with.
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = _checked(self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC))
        self._specification = _Specification()

    async def run(self) -> None:
        """Fires for the first time, and goes on until the end; raises what `fire` does."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._descriptor, self._fired)
        try:
            self._fired()
            await self._over
        finally:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)

    def wake(self) -> None:
        """Has it fire now, whatever the time was."""
        if not self._over.done():
            self._set(0)

    def _fired(self) -> None:
        """The timer needs no reading: setting it anew also takes the expiry back."""
        if self._over.done():
            return
        try:
            when = self._fire()
        # The event loop would only log what a reader's callback raises.
        except Exception as error:
            self._over.set_exception(error)
        else:
            if when is None:
                self._over.set_result(None)
            else:
                self._set(when)

    def _set(self, when: int) -> None:
        # All zero would disarm the timer instead of firing at once; a slow schedule may exceed what a C long holds.
        specification = self._specification
        specification.at_s, specification.at_ns = divmod(min(max(when, 1), _LATEST), 1_000_000_000)
        _checked(self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(specification), None))


class _Specification(ctypes.Structure):
    """`struct itimerspec`: the interval (0: fire once), then the time of the first expiry."""

    # On 64-bit Linux time_t is as wide as a long.
    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
