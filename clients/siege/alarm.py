"""Waking up on time."""

import asyncio
import ctypes
import os
from functools import cache

_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1
_LATEST = 2**63 - 1
_TFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


class _Specification(ctypes.Structure):
    """`struct itimerspec`: the interval (0: ring once), then the time of the first ring."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "at_s", "at_ns")]


class Alarm:
    """Wakes one coroutine at a time of the monotonic clock, within about 0.1 ms on an idle machine.

    The timers of an event loop only count whole milliseconds, which would show in every latency; a Linux timerfd has
    the clock's own resolution. (The `os` module wraps it from Python 3.13 on.)
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring: asyncio.Future[None] | None = None
        self._timer = _checked(_libc().timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK_CLOEXEC))
        self._loop.add_reader(self._timer, self._rang)

    async def until(self, when: int) -> None:
        """Returns at `when`, in nanoseconds, at once when that has passed, or on `wake`."""
        self._ring = self._loop.create_future()
        # All zero would disarm the timer instead of ringing at once; a slow schedule may exceed what a C long holds.
        seconds, nanoseconds = divmod(min(max(when, 1), _LATEST), 1_000_000_000)
        specification = _Specification(0, 0, seconds, nanoseconds)
        _checked(_libc().timerfd_settime(self._timer, _TFD_TIMER_ABSTIME, ctypes.byref(specification), None))
        await self._ring

    def wake(self) -> None:
        if self._ring is not None and not self._ring.done():
            self._ring.set_result(None)

    def close(self) -> None:
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    def _rang(self) -> None:
        # A ring that was set anew between the event and this call has nothing to read yet.
        try:
            os.read(self._timer, 8)
        except BlockingIOError:
            return
        self.wake()


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
