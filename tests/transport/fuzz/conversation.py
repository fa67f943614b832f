"""Plays one input against a connection, and checks what must hold whatever the peer and the application do."""

import asyncio
import gc
import logging
import sys
import weakref

from fuzz.client_end import ClientEnd
from fuzz.end import BUFFERS, End, InjectedError
from fuzz.output import Grants, Output
from fuzz.peer import bytes_of, greeting
from fuzz.program import Kind, Program, Record, Setup, decode
from fuzz.server_end import ServerEnd
from fuzz.surroundings import Connection, Loop, Socket
from yais.transport.options import Settings
from yais.transport.protocols import ClientProtocol, ServerProtocol

try:
    from fuzzer import poison
except ImportError:

    def poison(buffer: memoryview, size: int) -> None:
        """Under AddressSanitizer, makes reading behind the first `size` bytes an error."""


_PROFILES = (
    Settings(),
    Settings(
        max_receive_message=1000,
        max_send_message=5000,
        max_metadata=512,
        max_concurrent_streams=3,
        stream_window=65_535,
        connection_window=65_535,
        max_held=4000,
        min_ping_interval=0.0,
    ),
    Settings(max_receive_message=100_000, stream_window=65_535, connection_window=2**20, max_held=70_000),
    Settings(max_receive_message=8 * 2**20, max_concurrent_streams=1, max_send_message=100_000),
)
_PORTIONS = 100
_AGAIN = 50_000
_EXCHANGES = 1000
_REPEATS = 3
_HELD_BACK = 255

# What a loop reports when it is forgotten while tasks are pending.
_DESTROYED = "Task was destroyed but it is pending!"


class Conversation:
    """One connection from its beginning to its end, as a program wants it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.is_client = bool(program.setup & Setup.CLIENT)
        self.loop = Loop()
        self.socket = Socket(self.loop, bool(program.setup & Setup.SLOW_SOCKET))
        self.end: ServerEnd | ClientEnd = ClientEnd() if self.is_client else ServerEnd()
        self.settings = _PROFILES[program.profile % len(_PROFILES)]
        self.connection = self._connection()
        self.received = bytearray()
        self.unread = bytearray()
        self.said = b""
        # What was open at the end: the connection, and the streams of which all has been taken.
        self.is_open = False
        self.readers: list[int] = []

    def play(self) -> None:
        self.socket.connection = self.connection
        self.connection.connection_made(self.socket)
        if self.program.setup & Setup.GREETED:
            self._arrive(greeting(self.program.setup), 0)
        for record in self.program.records:
            self._do(record)
            if self.program.setup & Setup.EAGER:
                self.loop.turn()
        self._read(0)
        self.loop.settle()
        self._check()
        if self.program.setup & Setup.FORGOTTEN:
            self.socket.forget()
        else:
            self._part()

    def check(self) -> None:
        """After the end: what was said, and that nothing is left."""
        is_forgotten = bool(self.program.setup & Setup.FORGOTTEN)
        self._check_reports()
        output = Output(Grants(bytes(self.received)), {call.id: content for call, content in self.end.sent.items()})
        output.check(bytes(self.socket.taken), self.is_client, bool(self.program.setup & Setup.SLOW_SOCKET))
        if self.is_open:
            output.check_windows(self.readers, self.settings)
        if is_forgotten:
            return
        assert self.end.is_lost == 1, f"The owner heard {self.end.is_lost} times of the connection's end"
        assert not self.connection.streams, "Calls outlive their connection"
        assert not getattr(self.connection, "held", 0), "Bytes are held for calls that are over"
        assert all(listener.is_closed for listener in self.end.listeners if listener.call.listener is listener)
        assert all(call.is_closed for call in self.end.calls), "A call is not told of the connection's end"

    def _connection(self) -> Connection:
        if isinstance(self.end, ClientEnd):
            return ClientProtocol(self.loop, self.end, self.settings)
        return ServerProtocol(self.loop, self.end, self.settings, self.end.methods)

    def _do(self, record: Record) -> None:
        match record.kind:
            case Kind.TURN:
                self._pass_time(record.argument)
            case Kind.PEER_READS:
                self.socket.drain(record.argument * 97 + len(record.payload))
            case Kind.ACTION:
                self.end.act(self.connection, record)
            case Kind.NESTED:
                self.end.nested.append(record)
            case Kind.AGAIN:
                self._arrive(self.said * min(record.argument * 8, _AGAIN // (len(self.said) or 1)), 0)
            case _:
                self.said = bytes_of(record)
                self._arrive(self.said, record.argument)
        self._check()

    def _pass_time(self, argument: int) -> None:
        if argument == 255:
            self.socket.break_off(ConnectionResetError())
        elif argument == 254:
            self.socket.half_close()
        elif argument & 1:
            self.loop.ring()
        self.loop.turn()
        self._read(0)

    def _arrive(self, data: bytes, portion: int) -> None:
        """`portion` is how much is read at a time; 0 is all, and 255 leaves it unread until more comes."""
        self.received += data
        self.unread += data
        if portion != _HELD_BACK:
            self._read(portion)

    def _read(self, portion: int) -> None:
        """As an event loop does: not while reading is paused, and not once the transport is closed."""
        count = 0
        while self.unread and self.socket.reads and not self.socket.is_closing():
            buffer = self.connection.get_buffer(-1)
            size = min(len(self.unread), len(buffer))
            if portion and count < _PORTIONS:
                size = min(size, portion)
            buffer[:size] = self.unread[:size]
            del self.unread[:size]
            poison(buffer, size)
            self.connection.buffer_updated(size)
            poison(buffer, len(buffer))
            count += 1

    def _part(self) -> None:
        """All that can still be read and written is; then the socket is gone."""
        self._exchange()
        size = len(self.socket.taken)
        self.connection.flush()
        assert (self.socket.waiting, len(self.socket.taken)) == (0, size), "Something was left unwritten"
        if not self.socket.is_closing():
            self.is_open = True
            calls = self.connection.streams.items()
            self.readers = [number for number, call in calls if not call.has_message and not call.is_ended]
        self.socket.break_off(None)
        self.loop.settle()
        self.loop.ring()
        self.loop.settle()
        self.connection.flush()

    def _exchange(self) -> None:
        for _ in range(_EXCHANGES):
            self.socket.drain(self.socket.waiting)
            self.loop.settle()
            self._read(0)
            self.loop.settle()
            if not self.socket.waiting and (not self.unread or self.socket.is_closing()):
                return
        raise AssertionError("The conversation does not end")

    def _check(self) -> None:
        """What the connection says that its calls hold is what they do; only a build with its insides open shows it."""
        assert self.socket.is_closing() or not self.socket.was_overrun, "Something was written to a full socket"
        if hasattr(self.connection, "held"):
            calls = [*self.connection.streams.values(), *getattr(self.connection, "waiting", ())]
            assert self.connection.held == sum(call.held for call in calls), "Bytes held are miscounted"
            assert self.connection.pending == sum(call.pending for call in calls), "Bytes to be sent are miscounted"

    def _check_reports(self) -> None:
        for report in self.loop.reported:
            error = report.get("exception")
            if not isinstance(error, InjectedError | OverflowError) and report["message"] != _DESTROYED:
                raise AssertionError(f"Reported to the loop: {report}") from error


def play(data: bytes) -> None:
    """Raises AssertionError, or whatever the transport lets out, when something does not hold for the input `data`."""
    program = decode(data)
    if _leftovers(program):
        # The first time something of Python's own may have come to stay.
        left = min((_leftovers(program) for _ in range(_REPEATS)), key=len)
        assert not left, f"Objects are left over: {left}"


def _leftovers(program: Program) -> list[str]:
    """The types of the objects that a conversation makes and that outlive it.

    Empty lists do not count: each write leaves one to the next, in the place of the last.
    """
    gc.disable()
    gc.freeze()
    logging.disable()
    try:
        _converse(program)
        left = gc.get_objects()
        return [type(item).__name__ for item in left if item != []]
    finally:
        logging.disable(logging.NOTSET)
        gc.unfreeze()
        gc.enable()


def _converse(program: Program) -> None:
    counts = _references()
    conversation = Conversation(program)
    asyncio._set_running_loop(conversation.loop)
    try:
        conversation.play()
        conversation.check()
    finally:
        asyncio._set_running_loop(None)
    conversation.loop.reported.clear()
    _check_calls(conversation.end, bool(program.setup & Setup.FORGOTTEN))
    connection = weakref.ref(conversation.connection)
    del conversation
    if program.setup & Setup.FORGOTTEN:
        # Coroutines that are thrown away clean up first.
        while gc.collect():
            pass
    assert connection() is None, f"The connection is still referred to: {gc.get_referrers(connection())}"
    assert _references() == counts, "Buffers that were sent are still referred to"
    _check_exports()


def _references() -> list[int]:
    """Of the buffers that are sent; Python itself shares the shortest."""
    return [sys.getrefcount(buffer) for buffer in BUFFERS if len(buffer) > 1]


def _check_exports() -> None:
    """A buffer that is still lent to somebody cannot be resized; raises BufferError."""
    for buffer in BUFFERS:
        if isinstance(buffer, bytearray) and buffer:
            buffer.append(buffer.pop())


def _check_calls(end: End, is_forgotten: bool) -> None:
    """Nothing but the application refers to a call that is over."""
    end.listeners.clear()
    end.sent.clear()
    end.ended.clear()
    calls, end.calls = end.calls, []
    if isinstance(end, ServerEnd):
        end.methods.clear()
    while calls and not is_forgotten:
        call = calls.pop()
        others = calls.count(call)
        assert sys.getrefcount(call) - others == 2, f"A call is still referred to: {gc.get_referrers(call)}"
