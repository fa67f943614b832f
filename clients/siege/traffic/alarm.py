"""Waking up on time."""

import asyncio
import ctypes
import os
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_LATEST = 2**63 - 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class _Specification(ctypes.Structure):
    """`struct itimerspec`: the interval (0: ring once), then the time of the first ring."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """Calls `ring`, and again at the time of the monotonic clock that it returns: 0.1 ms late on an idle machine.

    Times are in nanoseconds; one that has passed rings at once, and None ends it. The timers of an event loop only
    count whole milliseconds, which would show in every latency; a Linux timerfd has the clock's own resolution. (The
    `os` module wraps it from Python 3.13 on.)
    """

    def __init__(self, ring: Callable[[], int | None]) -> None:
        self._ring = ring
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._timer = _checked(self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC))
        self._specification = _Specification()

    async def run(self) -> None:
        """Rings for the first time, and goes on until the end; raises what `ring` does."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._timer, self._rang)
        try:
            self._rang()
            await self._over
        finally:
            loop.remove_reader(self._timer)
            os.close(self._timer)

    def wake(self) -> None:
        """Has it ring now, whatever the time was."""
        if not self._over.done():
            self._set(0)

    def _rang(self) -> None:
        """The timer needs no reading: setting it anew also takes the ring back."""
        if self._over.done():
            return
        try:
            when = self._ring()
        except Exception as error:
            self._over.set_exception(error)
        else:
            if when is None:
                self._over.set_result(None)
            else:
                self._set(when)

    def _set(self, when: int) -> None:
        # All zero would disarm the timer instead of ringing at once; a slow schedule may exceed what a C long holds.
        specification = self._specification
        specification.at_s, specification.at_ns = divmod(min(max(when, 1), _LATEST), 1_000_000_000)
        _checked(self._libc.timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, ctypes.byref(specification), None))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
