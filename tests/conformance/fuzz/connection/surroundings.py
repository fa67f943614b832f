"""The event loop and the socket's transport around the tried connection: nothing waits, and all is deterministic."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from yais.transport.protocols import ClientProtocol, ServerProtocol

Connection = ServerProtocol | ClientProtocol

_TURNS = 1000
_HIGH_WATER, _LOW_WATER = 3000, 700


class Loop:
    """Runs what is ready when it is told to; its timers ring when it is told that their time has come."""

    def __init__(self) -> None:
        self.reported: list[dict[str, Any]] = []
        self._ready: deque[asyncio.Handle] = deque()
        self.timers: list[asyncio.TimerHandle] = []

    def get_debug(self) -> bool:
        return False

    def time(self) -> float:
        return 0.0

    def is_running(self) -> bool:
        return True

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        self._ready.append(handle := asyncio.Handle(callback, args, self, context))
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self.timers.append(handle := asyncio.TimerHandle(when, callback, args, self, context))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if handle in self.timers:
            self.timers.remove(handle)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coroutine: Any, **_: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coroutine, loop=self)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context)

    def turn(self) -> None:
        """Runs what is ready, but not what that makes ready."""
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle.cancelled():
                handle._run()

    def settle(self) -> None:
        """Runs until nothing is ready."""
        for _ in range(_TURNS):
            if not self._ready:
                return
            self.turn()
        raise AssertionError(f"The loop is still busy after {_TURNS} turns with {self._ready[0]}")

    def ring(self) -> None:
        """The time of all timers has come."""
        for timer in list(self.timers):
            if not timer.cancelled():
                self.timers.remove(timer)
                timer._run()


class Socket(asyncio.Transport):
    """Takes what `connection` writes into `taken`, at once or as the peer reads; loses it as asyncio does."""

    def __init__(self, loop: Loop, is_slow: bool) -> None:
        super().__init__()
        self.loop = loop
        self.connection: Connection | None = None
        self.taken = bytearray()
        self.reads = True
        self.is_lost = False
        self._is_slow = is_slow
        self._is_closing = False
        self._pieces: deque[Any] = deque()
        self.waiting = 0
        self._is_full = False
        self.was_overrun = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 50051) if name in ("peername", "sockname") else default

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        assert self.reads or self._is_closing, "Reading is paused twice"
        self.reads = False

    def resume_reading(self) -> None:
        assert not self.reads or self._is_closing, "Reading is resumed twice"
        self.reads = True

    def write(self, data: Any) -> None:
        self.writelines([data])

    def writelines(self, pieces: Any) -> None:
        assert not self._is_closing, "A connection writes after it was closed"
        self.was_overrun |= self._is_full
        for piece in pieces:
            assert len(piece), "A write of nothing"
            self._pieces.append(piece)
            self.waiting += len(piece)
        if not self._is_slow:
            self.drain(self.waiting)
        elif self.waiting > _HIGH_WATER and not self._is_full:
            self._is_full = True
            self._protocol.pause_writing()

    def drain(self, size: int) -> None:
        """The peer takes up to `size` bytes."""
        while size and self._pieces:
            piece = self._pieces.popleft()
            self.taken += piece[:size]
            if size < len(piece):
                self._pieces.appendleft(memoryview(piece)[size:])
            self.waiting -= min(size, len(piece))
            size -= min(size, len(piece))
        if self._is_full and self.waiting <= _LOW_WATER:
            self._is_full = False
            self._protocol.resume_writing()
        if self._is_closing and not self._pieces and not self.is_lost:
            self._lose(None)

    def half_close(self) -> None:
        """The peer says that it sends nothing more."""
        if not self._is_closing and not self._protocol.eof_received():
            self.close()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._pieces:
                self._lose(None)

    def abort(self) -> None:
        self.break_off(None)

    def break_off(self, error: Exception | None) -> None:
        self._drop()
        if not self.is_lost:
            self._lose(error)

    def forget(self) -> None:
        """As a loop that is dropped does: nobody is told."""
        self._drop()
        self.is_lost = True
        self.connection = None

    def _drop(self) -> None:
        self._is_closing = True
        self._is_full = False
        self._pieces.clear()
        self.waiting = 0

    @property
    def _protocol(self) -> Connection:
        assert self.connection is not None
        return self.connection

    def _lose(self, error: Exception | None) -> None:
        self.is_lost = True
        self.loop.call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: Exception | None) -> None:
        connection, self.connection = self._protocol, None
        connection.connection_lost(error)
