"""What this side does: a server's methods, a client's callbacks, and the actions that an input asks for."""

import asyncio
import gc
from array import array
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from time import monotonic
from typing import Any

import grpc

from fuzz.program import Record
from fuzz.surroundings import Connection
from yais.transport.client_call import ClientCall
from yais.transport.handlers import Runner
from yais.transport.protocols import ClientProtocol, ServerProtocol
from yais.transport.server_call import Method, ServerCall

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
_CODES = tuple(grpc.StatusCode)
_REQUEST = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/f/now"), (b"te", b"trailers")]

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
                self.end.send(self.call, (self.call.take(),))
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
        self.sent: dict[int, bytearray] = {}
        # What was lent to be sent, and what may be raised because it was changed against the rules.
        self.lent: list[Any] = []
        self.expected: list[type[Exception]] = []

    def connection_closed(self, connection: Connection, error: Exception | None) -> None:
        self.is_lost += 1

    def listen(self, call: Any, is_echo: bool) -> None:
        if not call.is_closed and call.listener is None:
            call.listener = listener = Listener(self, call, is_echo)
            self.listeners.append(listener)

    def send(self, call: Any, buffers: tuple[Any, ...], flag: bool = False) -> None:
        """Notes what `call` is given to send, which may be more than it takes, and gives it."""
        raise NotImplementedError

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
        """The payload is the call's number, unless one is given, and two numbers for the action itself."""
        number, first, second = record.payload[:3].ljust(3, b"\0")
        if call is None and self.calls:
            call = self.calls[number % len(self.calls)]
        general = self.connection_actions()
        particular = self.call_actions()
        index = record.argument % (len(general) + len(particular))
        with suppress(OverflowError, BufferError):
            if index < len(general):
                general[index](connection, first, second)
            elif call is not None:
                particular[index - len(general)](call, first, second)

    def connection_actions(self) -> list[Act]:
        return [
            lambda connection, a, b: connection.terminate(a, b"so" * b),
            lambda connection, a, b: connection.ping(bytes((a, b)) * 4),
            lambda connection, a, b: connection.abort(),
            lambda connection, a, b: gc.collect(),
            lambda connection, a, b: self.calls and self.calls.pop(a % len(self.calls)),
            lambda connection, a, b: setattr(connection, "keepalive_sent_at", monotonic()),
        ]

    def call_actions(self) -> list[Act]:
        return [
            lambda call, a, b: call.reset(a),
            lambda call, a, b: call.take(),
            lambda call, a, b: self.send(call, buffers_of(a, b), bool(a & 128)),
            lambda call, a, b: self.finish(call),
            lambda call, a, b: self.lend(call, bytearray(200 * a)),
            lambda call, a, b: self.lend(call, memoryview(bytearray(200 * a))),
            lambda call, a, b: self.spoil(a),
            lambda call, a, b: self.listen(call, is_echo=bool(a & 1)),
            lambda call, a, b: setattr(call, "listener", None),
            lambda call, a, b: (call.has_message, call.is_writable, call.encoding, call.pending, call.connection),
        ]

    def lend(self, call: Any, buffer: Any) -> None:
        """Sends what `spoil` may change."""
        self.lent.append(buffer)
        self.send(call, (buffer,))
        self.sent.pop(call.id, None)

    def spoil(self, size: int) -> None:
        """Changes a buffer that must not be changed any more, unless that is found out now."""
        if self.lent and isinstance(self.lent[-1], memoryview):  # WAIT-FUZZ-3
            self.expected += [ValueError, IndexError, BufferError]
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
        if call.id in self.sent:
            self.sent[call.id] += b"".join((bytes((flag,)), size.to_bytes(4, "big"), *parts))


class ServerEnd(End):
    """Owns a `ServerConnection`, and serves `methods`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = 0
        self.methods = self._methods() | self._coroutines()

    def connection_opened(self, connection: ServerProtocol) -> None:
        self.is_open += 1

    def send(self, call: ServerCall, buffers: tuple[Any, ...], flag: bool = False) -> None:
        is_over = call.is_over
        call.send(buffers[0] if buffers else b"", flag)
        if not is_over:
            self.note(call, buffers[:1], flag)

    def finish(self, call: ServerCall) -> None:
        call.finish(0)

    def respond(self, call: ServerCall, buffers: tuple[Any, ...]) -> None:
        is_over = call.is_over
        call.respond(*buffers)
        if not is_over:
            self.note(call, buffers, False)

    def connection_actions(self) -> list[Act]:
        return [
            *super().connection_actions(),
            lambda connection, a, b: connection.drain(),
            lambda connection, a, b: connection.cancel_all(a),
            lambda connection, a, b: connection.sweep(monotonic() + a - 128, b) or connection.abort(),
        ]

    def call_actions(self) -> list[Act]:
        return [
            *super().call_actions(),
            lambda call, a, b: self.respond(call, buffers_of(a, b)),
            lambda call, a, b: call.fail(_CODES[a % len(_CODES)], "why? \u00e9\n" * b),
            lambda call, a, b: call.finish(a, "" if b & 4 else "text", list(_EXTRA[b & 3])),
            lambda call, a, b: call.send_headers(list(_EXTRA[a & 3])),
            lambda call, a, b: (call.metadata, call.path, call.accepted_encodings, call.deadline, call.is_over),
        ]

    def _methods(self) -> dict[bytes, Method]:
        def unary(answer: Callable[[Any, Any], None], *, is_raw: bool = True) -> Method:
            return Method(self._taking(answer), is_raw=is_raw)

        def stream(answer: Callable[[Any, Any], None]) -> Method:
            return Method(self._taking(answer), takes_stream=True)

        return {
            b"/f/raw": unary(lambda call, message: None),
            b"/f/now": unary(lambda call, message: self.respond(call, (message,))),
            b"/f/large": unary(lambda call, message: self.respond(call, BUFFERS[5:12]), is_raw=False),
            b"/f/fail": unary(lambda call, message: call.fail(grpc.StatusCode.NOT_FOUND, "no")),
            b"/f/raise": unary(_raise),
            b"/f/reset": unary(lambda call, message: call.reset(8)),
            b"/f/echo": stream(lambda call, _: self.listen(call, is_echo=True)),
            b"/f/deaf": stream(lambda call, _: self.listen(call, is_echo=False)),
            b"/f/close": stream(lambda call, _: call.connection.terminate()),
        }

    def _taking(self, answer: Callable[[Any, Any], None]) -> Callable[[ServerCall, Any], None]:
        def callback(call: ServerCall, message: Any) -> None:
            self.calls.append(call)
            self.sent[call.id] = bytearray()
            self.take_nested(call)
            answer(call, message)

        return callback

    def _coroutines(self) -> dict[bytes, Method]:
        """The same through the servicer's machinery, whose calls are tasks."""
        runner = Runner(20, grpc.Compression.Gzip)
        return {
            b"/f/unary": runner.method(grpc.unary_unary_rpc_method_handler(_reverse)),
            b"/f/stream": runner.method(grpc.unary_stream_rpc_method_handler(_split)),
            b"/f/both": runner.method(grpc.stream_stream_rpc_method_handler(_each)),
        }


class ClientEnd(End):
    """Owns a `ClientConnection`, and makes calls on it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ready = 0
        self.ended: list[int] = []

    def connection_ready(self, connection: ClientProtocol) -> None:
        self.is_ready += 1

    def connection_draining(self, connection: ClientProtocol, error_code: int, reason: bytes) -> None:
        assert isinstance(reason, bytes)

    def send(self, call: ClientCall, buffers: tuple[Any, ...], flag: bool = False) -> None:
        is_over = call.is_closed or call.id in self.ended
        call.send(*buffers, is_compressed=flag, is_last=len(buffers) == 2)
        if not is_over:
            self.note(call, buffers, flag)
        if len(buffers) == 2:
            self.ended.append(call.id)

    def finish(self, call: ClientCall) -> None:
        call.finish()
        self.ended.append(call.id)

    def start(self, connection: ClientProtocol, a: int, b: int) -> None:
        """A call in one of the ways in which they are made; a connection that takes no more says so."""
        buffers = buffers_of(a, b) if a & 64 else ()
        fields = _REQUEST + _EXTRA[b & 3]
        try:
            call = connection.start(
                fields, *buffers, callback=self._done, is_last=bool(b & 4), is_single=bool(b & 8), is_compressed=False
            )
        except ConnectionError:
            return
        self.calls.append(call)
        self.sent[call.id] = bytearray()
        if buffers:
            self.note(call, buffers, False)
        if b & 4:
            self.ended.append(call.id)
        if b & 16:
            self.listen(call, is_echo=bool(b & 32))
        if b & 64:
            call.timer = connection.loop.call_later(a, call.cancel, 4, "Deadline Exceeded")

    def connection_actions(self) -> list[Act]:
        return [
            *super().connection_actions(),
            self.start,
            self.start,
            lambda connection, a, b: connection.leave(),
            lambda connection, a, b: connection.cancel_all(),
        ]

    def call_actions(self) -> list[Act]:
        return [
            *super().call_actions(),
            lambda call, a, b: call.cancel(),
            lambda call, a, b: call.cancel(a % 17, "because"),
            lambda call, a, b: (call.details, call.message, call.peek(), call.status, call.initial, call.trailing),
        ]

    def _done(self, call: ClientCall) -> None:
        assert call.status >= 0, "A call is over without a status"
        assert call.is_closed
        assert isinstance(call.details, str)
        self.take_nested(call)


def buffers_of(kind: int, count: int) -> tuple[Any, ...]:
    return tuple(BUFFERS[(kind + n) % 64 % len(BUFFERS)] for n in range(count % 4))


def _raise(call: ServerCall, message: Any) -> None:
    raise InjectedError


async def _reverse(message: bytes, context: Any) -> bytes:
    if message.startswith(b"w"):
        await asyncio.get_running_loop().create_future()
    context.set_trailing_metadata((("key", "value"),))
    return message[::-1]


async def _split(message: bytes, context: Any) -> AsyncIterator[bytes]:
    await context.send_initial_metadata((("key", "value"),))
    for at in range(0, len(message), 1000):
        yield message[at : at + 1000]


async def _each(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.startswith(b"a"):
            await context.abort(grpc.StatusCode.ABORTED, "as asked")
        yield message
