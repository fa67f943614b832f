"""What this side does, at either end: the calls, who listens to them, and the actions that an input asks for."""

import gc
from array import array
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from conformance.fuzz.connection.surroundings import Connection
from conformance.fuzz.program import Record

_SIZES = (0, 1, 5, 100, 4091, 4096, 4097, 16379, 16384, 20_000, 70_000, 140_000)
_PATTERN = bytes(range(251)) * 560
BUFFERS: tuple[Any, ...] = (
    *(_PATTERN[:size] for size in _SIZES),
    *(bytearray(_PATTERN[:size]) for size in _SIZES),
    *(memoryview(bytearray(_PATTERN[:size])) for size in _SIZES[:10]),
    memoryview(array("I", range(5000))),
    memoryview(_PATTERN)[::2],
)
_EXTRA: tuple[list[tuple[bytes, bytes]], ...] = (
    [],
    [(b"a", b"1")],
    [(b"a-bin", b"AAE"), (b"b", b"~" * 20_000)],
    [(b"n%d" % n, b"") for n in range(50)],
)
# More than nghttp2 sends unless it is told to.
_TOO_MUCH = [(b"b", b"~" * 70_000)]

Act = Callable[[Any, int, int], object]


class InjectedError(Exception):
    """Raised by a callback because the input said so."""


class Listener:
    """Hears of a call: an echo, or one that never reads."""

    def __init__(self, end: "End", call: Any, is_echo: bool) -> None:
        self.end = end
        self.call = call
        self.is_echo = is_echo
        self.is_closed = False

    def changed(self) -> None:
        assert not self.is_closed, "A listener is told of changes after the end"
        self.end.take_nested(self.call)
        while self.is_echo and self.call.has_message:
            with suppress(OverflowError):
                self.end.send(self.call, (self.end.take(self.call),))
        if self.is_echo and self.call.is_ended:
            self.end.finish(self.call)

    def closed(self) -> None:
        assert not self.is_closed, "A listener is told of the end twice"
        self.is_closed = True
        self.end.take_nested(self.call)


class End:
    """What both ends have in common: their calls, the actions on them, and what these have said should be sent."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.listeners: list[Listener] = []
        self.nested: deque[Record] = deque()
        self.is_lost = 0
        self.is_inside = False
        # What the calls were given to send, and those that were given their last.
        self.sent: dict[Any, bytearray] = {}
        self.ended: set[Any] = set()
        # What they were given, and those whose end was told.
        self.heard: dict[Any, list[bytes]] = {}
        self.over: set[Any] = set()
        self.lent: list[Any] = []

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        self.is_lost += 1

    def listen(self, call: Any, is_echo: bool) -> None:
        if not call.is_closed and call.listener is None:
            call.listener = listener = Listener(self, call, is_echo)
            self.listeners.append(listener)

    def send(self, call: Any, buffers: tuple[Any, ...], flag: bool = False) -> None:
        """Notes what `call` is given to send, which may be more than it takes, and gives it."""
        raise NotImplementedError

    def take(self, call: Any) -> bytes | None:
        message: bytes | None = call.take()
        if message is not None and call in self.heard:
            self.heard[call].append(message)
        return message

    def finish(self, call: Any) -> None:
        raise NotImplementedError

    def take_nested(self, call: Any) -> None:
        """Does what the input wants done inside of a callback."""
        if self.nested and not self.is_inside:
            record = self.nested.popleft()
            if record.argument == 255:
                raise InjectedError
            self.is_inside = True
            try:
                self.act(call.connection, record, call)
            finally:
                self.is_inside = False

    def act(self, connection: Any, record: Record, call: Any = None) -> None:
        """The payload is the call's number, which from 128 on goes before a given one, and two of the action's own."""
        number, first, second = record.payload[:3].ljust(3, b"\0")
        if self.calls and (call is None or number >= 128):
            call = self.calls[number % len(self.calls)]
        general = self.connection_actions()
        particular = self.call_actions()
        index = record.argument % (len(general) + len(particular))
        try:
            if index < len(general):
                general[index](connection, first, second)
            elif call is not None:
                particular[index - len(general)](call, first, second)
        except (OverflowError, BufferError):
            return
        except TypeError as error:
            if "C-contiguous" not in str(error):
                raise

    def connection_actions(self) -> list[Act]:
        return [
            lambda connection, a, b: connection.terminate(a, b"so" * b),
            lambda connection, a, b: connection.ping(bytes((a, b)) * 4),
            lambda connection, a, b: connection.abort(),
            lambda connection, a, b: gc.collect(),
            lambda connection, a, b: self.drop(a),
            lambda connection, a, b: setattr(connection, "keepalive_sent_at", monotonic()),
        ]

    def call_actions(self) -> list[Act]:
        return [
            lambda call, a, b: call.reset(a),
            lambda call, a, b: self.take(call),
            lambda call, a, b: self.send(call, buffers_of(a, b), bool(a & 128)),
            lambda call, a, b: self.finish(call),
            lambda call, a, b: self.lend(call, bytearray(200 * a)),
            lambda call, a, b: self.lend(call, memoryview(bytearray(200 * a))),
            lambda call, a, b: self.spoil(a),
            lambda call, a, b: self.listen(call, is_echo=bool(a & 1)),
            lambda call, a, b: setattr(call, "listener", None),
            lambda call, a, b: (call.has_message, call.is_writable, call.encoding, call.pending, call.connection),
        ]

    def drop(self, number: int) -> None:
        """Forgets a call, which goes on."""
        if self.calls:
            call = self.calls.pop(number % len(self.calls))
            self.sent.pop(call, None)
            self.heard.pop(call, None)
            self.ended.discard(call)
            self.over.discard(call)

    def lend(self, call: Any, buffer: Any) -> None:
        """Sends what `spoil` may change."""
        self.lent.append(buffer)
        self.send(call, (buffer,))

    def spoil(self, size: int) -> None:
        """Changes the size of a buffer, or gives it up; Python refuses that while it waits to be sent."""
        if self.lent:
            buffer = self.lent.pop()
            if isinstance(buffer, memoryview):
                buffer.release()
            elif size % 2:
                buffer.clear()
            else:
                buffer += bytes(size)

    def note(self, call: Any, buffers: tuple[Any, ...], flag: bool) -> None:
        parts = [bytes(buffer) for buffer in buffers]
        size = sum(map(len, parts))
        if call in self.sent:
            self.sent[call] += b"".join((bytes((flag,)), size.to_bytes(4, "big"), *parts))


def extra_of(kind: int) -> list[tuple[bytes, bytes]]:
    return _TOO_MUCH if kind >= 240 else _EXTRA[kind % len(_EXTRA)]


def buffers_of(kind: int, count: int) -> tuple[Any, ...]:
    return tuple(BUFFERS[(kind + n) % 64 % len(BUFFERS)] for n in range(count % 4))
